// silu-gate: out = y ⊙ SiLU(z) with SiLU(z) = z·σ(z) (Elfwing et al. 2018), over rows of which z is a part, and back.
// The shapes stand beside the bindings in shaders/silu-gate.wgsl.
import source from "../../shaders/silu-gate.wgsl?raw";
import { defineKernel, entry, linearWorkgroups } from "../runtime/kernel.ts";
import { pad4 } from "../runtime/tensor.ts";
import { sigmoid } from "./recurrent.ts";

const params = { N: "u32", W: "u32", first: "u32", yFirst: "u32", zColumn: "u32", zStride: "u32" } as const;
type GateParams = { readonly [K in keyof typeof params]: number };

/** vec4s that a workgroup covers. */
const ITEMS = 64;
const shared = {
  params,
  workgroups: ({ N, W }: GateParams) => linearWorkgroups((N * W) / 4, ITEMS),
  work: ({ N, W }: GateParams) => 20 * N * W,
};

/** Visits the elements: where each lies in y, z and out. */
function forEach(
  { N, W, first, yFirst, zColumn, zStride }: GateParams,
  visit: (y: number, z: number, out: number) => void,
): void {
  for (let n = 0; n < N; n++) {
    const row = first + n;
    for (let i = 0; i < W; i++) visit((yFirst + n) * W + i, row * zStride + zColumn + i, row * W + i);
  }
}

const forward = entry({
  ...shared,
  bindings: { y: "read", z: "read", out: "read_write" },
  reference: ({ y, z, out }, p) => forEach(p, (iY, iZ, i) => (out[i] = y[iY]! * z[iZ]! * sigmoid(z[iZ]!))),
  cases: () => cases((N, width, first, yFirst) => ({ ...inputs(N, width, first, yFirst), out: { shape: [first + N, width] } })),
});

const backward = entry({
  ...shared,
  bindings: { y: "read", z: "read", d: "read_write", dZ: "read_write" },
  reference: ({ y, z, d, dZ }, p) =>
    forEach(p, (iY, iZ, i) => {
      const s = sigmoid(z[iZ]!);
      dZ[iZ] = d[i]! * y[iY]! * (s + z[iZ]! * s * (1 - s));
      d[i]! *= z[iZ]! * s;
    }),
  cases: () =>
    cases((N, width, first, yFirst) => ({
      ...inputs(N, width, first, yFirst),
      d: { shape: [first + N, width] },
      dZ: { shape: [first + N, 2, width] },
    })),
});

const inputs = (N: number, width: number, first: number, yFirst: number) => ({
  y: { shape: [yFirst + N, width] },
  z: { shape: [first + N, 2, width], fill: (i: number) => 8 * Math.sin(3 * i) },
});

function cases<T>(tensors: (N: number, width: number, first: number, yFirst: number) => T) {
  return [
    { N: 1, width: 1, first: 0, yFirst: 0, half: 1 },
    { N: 3, width: 65, first: 0, yFirst: 3, half: 1 },
    { N: 65, width: 3, first: 2, yFirst: 1, half: 0 },
  ].map(({ N, width, first, yFirst, half }) => ({
    name: `N=${N} W=${width} from rows ${first} and ${yFirst}`,
    params: { N, W: pad4(width), first, yFirst, zColumn: half * pad4(width), zStride: 2 * pad4(width) },
    tensors: tensors(N, width, first, yFirst),
  }));
}

export const siluGate = defineKernel("silu-gate", source, { forward, backward });

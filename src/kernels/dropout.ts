// dropout: y = keep ? x / (1 − p) : 0 over rows [N,W], W stored, and the same mask in place on dX. The mask is not stored:
// forward and backward draw it from rng[4] = {seed, counter, 0, 0}, the place of the element and the layer.
// `offset` is where x, or dX, starts in its tensor, in elements, a multiple of four.
import source from "../../shaders/dropout.wgsl?raw";
import { fraction, pcg4d, STREAM } from "../random.ts";
import { defineKernel, entry, type KernelCase, linearWorkgroups } from "../runtime/kernel.ts";
import { pad4, type NumberArray } from "../runtime/tensor.ts";
import { integers } from "./integers.ts";

const params = { N: "u32", W: "u32", offset: "u32", layer: "u32", p: "f32" } as const;
type DropoutParams = { readonly [K in keyof typeof params]: number };

/** vec4s that a workgroup covers. */
const ITEMS = 64;
const shared = {
  params,
  workgroups: ({ N, W }: DropoutParams) => linearWorkgroups((N * W) / 4, ITEMS),
  work: ({ N, W }: DropoutParams) => 12 * N * W,
};

function drop(x: NumberArray, out: NumberArray, outOffset: number, rng: NumberArray, params: DropoutParams): void {
  const { N, W, offset, layer, p } = params;
  const words = new Uint32Array(4);
  const threshold = Math.fround(p);
  for (let i = 0; i < N * W; i++) {
    if (i % 4 === 0) pcg4d(rng[0]!, rng[1]!, i / 4, ((layer << 8) | STREAM.dropout) >>> 0, words);
    out[outOffset + i] = fraction(words[i % 4]!) >= threshold ? x[offset + i]! / (1 - p) : 0;
  }
}

const forward = entry({
  ...shared,
  bindings: { x: "read", rng: "read", y: "read_write" },
  reference: ({ x, rng, y }, p) => drop(x, y, 0, rng, p),
  cases: () =>
    cases((N, width, firstRow) => ({
      x: { shape: [firstRow + N, width] },
      rng: integers(7, 4000000000, 0, 0),
      y: { shape: [N, width] },
    })),
});

const backward = entry({
  ...shared,
  bindings: { dX: "read_write", rng: "read" },
  reference: ({ dX, rng }, p) => drop(dX, dX, p.offset, rng, p),
  cases: () => cases((N, width, firstRow) => ({ dX: { shape: [firstRow + N, width] }, rng: integers(7, 4000000000, 0, 0) })),
});

function cases(tensors: (N: number, width: number, firstRow: number) => KernelCase["tensors"]): readonly KernelCase[] {
  return [
    { N: 1, width: 1, firstRow: 0, layer: 0, p: 0 },
    { N: 3, width: 65, firstRow: 2, layer: 1, p: 0.1 },
    { N: 65, width: 3, firstRow: 0, layer: 3, p: 0.5 },
    { N: 130, width: 20, firstRow: 1, layer: 0, p: 0.9 },
  ].map(({ N, width, firstRow, layer, p }) => ({
    name: `N=${N} W=${width} from row ${firstRow} layer ${layer} p=${p}`,
    params: { N, W: pad4(width), offset: firstRow * pad4(width), layer, p },
    tensors: tensors(N, width, firstRow),
  }));
}

export const dropout = defineKernel("dropout", source, { forward, backward });

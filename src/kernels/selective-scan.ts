// selective-scan: the recurrence of S6 (Gu & Dao, "Mamba", 2023), N states a channel:
//   h′ = exp(ΔA) h + ΔBx, y = C·h + Dx, forward and backward,
// with A [N,H] and D [H] of the layer, Δ [T,B,H], and B and C, N each, behind the R columns of xDbl [T,B,R+2N].
// Backward, with λ the gradient of h after step t: λ_t = C_t ∂y_t + a_{t+1} λ_{t+1}, α = λ h_{t−1} a;
//   ∂A = Σ Δα; ∂Δ = Σ_N αA + x Σ_N λB, of which, where Δ = softplus(δ), ∂δ = ∂Δ (1 − e^−Δ);
//   ∂x = Δ Σ_N λB + D ∂y; ∂B = Σ_H λΔx; ∂C = Σ_H ∂y h; ∂D = Σ ∂y x.
// S is N padded to a multiple of four.
import lanesSource from "../../shaders/scan-lanes.wgsl?raw";
import subgroupSource from "../../shaders/scan-lanes-subgroup.wgsl?raw";
import source from "../../shaders/selective-scan.wgsl?raw";
import { fraction, randomWord, STREAM } from "../random.ts";
import {
  defineKernel,
  divideUp,
  entry,
  linearWorkgroups,
  type CaseTensor,
  type KernelCase,
  type Variant,
} from "../runtime/kernel.ts";
import { pad4 } from "../runtime/tensor.ts";
import { unitTensor, unitWorkgroups } from "./recurrent.ts";

/** States are kept in front of every step whose number is a multiple of this. */
export const KEPT = 8;
/** Channels whose part of the gradients of B and C is summed up at once. */
const GROUP = 32;

interface Sizes {
  readonly T: number;
  readonly B: number;
  readonly H: number;
  readonly N: number;
}

/** Rows of H of the tensor `states`: where in it, behind what is kept, others begin. */
export function stateRows({ T, B, N }: Omit<Sizes, "H">): {
  readonly rows: number;
  /** The states behind all steps [B, S], their gradient, that of A, and that of D [B]. */
  readonly final: number;
  readonly gradient: number;
  readonly ofA: number;
  readonly ofD: number;
} {
  const slots = divideUp(T, KEPT);
  const slot = B * pad4(N);
  const ofD = (slots + 3) * slot;
  return { rows: ofD + B, final: slots * slot, gradient: (slots + 1) * slot, ofA: (slots + 2) * slot, ofD };
}

/** The shape of the tensor `layer`: A [S,H], then D [H]. */
export const layerShape = ({ H, N }: Pick<Sizes, "H" | "N">): readonly number[] => [pad4(N) + 1, H];

/** The shape of the tensor `partials`: of KEPT steps of each state, those of B, then those of C. */
export const partialsShape = ({ T, B, H, N }: Sizes): readonly number[] => [
  divideUp(H, GROUP),
  divideUp(T, KEPT),
  B,
  N,
  2 * KEPT,
];

const prepare = entry({
  params: { H: "u32", N: "u32" },
  bindings: { aLog: "read", d: "read", prepared: "read_write" },
  workgroups: ({ H, N }) => [divideUp((pad4(H) * (pad4(N) + 1)) / 4, 64)],
  work: ({ H, N }) => 20 * H * N,
  reference({ aLog, d, prepared }, { H, N }) {
    prepared.fill(0);
    for (let h = 0; h < H; h++) {
      for (let n = 0; n < N; n++) prepared[n * pad4(H) + h] = -Math.exp(aLog[h * pad4(N) + n]!);
      prepared[pad4(N) * pad4(H) + h] = d[h]!;
    }
  },
  cases: () =>
    LAYERS.map(([H, N]) => ({
      name: `H=${H} N=${N}`,
      params: { H, N },
      tensors: {
        aLog: { shape: [H, N], fill: (i) => 6 * drawn(5, i) - 3 },
        d: { shape: [H] },
        prepared: { shape: layerShape({ H, N }) },
      },
    })),
});

const softplus = entry({
  params: { B: "u32", H: "u32", t: "u32", count: "u32", ragged: "u32" },
  bindings: { lengths: "read", values: "read_write" },
  workgroups: ({ B, H, count }) => linearWorkgroups((count * B * pad4(H)) / 4, 64),
  work: ({ B, H, count }) => 40 * count * B * H,
  reference({ lengths, values }, { B, H, t: first, count, ragged }) {
    for (let row = first * B; row < (first + count) * B; row++)
      for (let at = row * pad4(H); at < row * pad4(H) + H; at++) {
        const x = values[at]!;
        const ended = ragged && Math.floor(row / B) >= lengths[row % B]!;
        values[at] = ended ? 0 : Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
      }
  },
  cases: () =>
    [
      { B: 1, H: 1, t: 0, count: 1, ragged: 0 },
      { B: 3, H: 65, t: 1, count: 3, ragged: 1 },
      { B: 9, H: 3, t: 2, count: 65, ragged: 0 },
    ].map((params) => {
      const { B, H, t, count, ragged } = params;
      return {
        name: `B=${B} H=${H}, ${count} from t=${t}${ragged ? ", rows of unequal length" : ""}`,
        params,
        tensors: {
          lengths: { shape: [B], dtype: "u32" as const, fill: (b: number) => 2 * b },
          values: { shape: [t + count + 1, B, H], fill: (i: number) => 40 * drawn(6, i) ** 3 - 12 },
        },
      };
    }),
});

const PARAMS = { T: "u32", B: "u32", H: "u32", N: "u32", R: "u32", t: "u32", count: "u32", xOffset: "u32" } as const;
type ScanParams = { readonly [K in keyof typeof PARAMS]: number };

const partialPlace = ({ T, B, N }: Omit<Sizes, "H">, part: number, t: number, b: number, n: number, ofC: number): number =>
  ((((part * divideUp(T, KEPT) + Math.floor(t / KEPT)) * B + b) * N + n) * 2 + ofC) * KEPT + (t % KEPT);

/** Where things lie for a channel of a row. */
function placesOf({ T, B, H, N, R, xOffset }: ScanParams, b: number, h: number) {
  const [W, S] = [pad4(H), pad4(N)];
  const { gradient, ofA, ofD } = stateRows({ T, B, N });
  const inSlot = (start: number, n: number): number => (start + b * S + n) * W + h;
  return {
    state: (slot: number, n: number): number => inSlot(slot * B * S, n),
    gradient: (n: number): number => inSlot(gradient, n),
    ofA: (n: number): number => inSlot(ofA, n),
    ofD: (ofD + b) * W + h,
    rate: (n: number): number => n * W + h,
    skip: S * W + h,
    step: (t: number): number => (t * B + b) * W + h,
    x: (t: number): number => xOffset + (t * B + b) * W + h,
    /** Of B; that of C is N elements further. */
    input: (t: number, n: number): number => (t * B + b) * pad4(R + 2 * N) + R + n,
    partial: (t: number, n: number, ofC: number): number => partialPlace({ T, B, N }, Math.floor(h / GROUP), t, b, n, ofC),
  };
}

function forChannels({ B, H }: ScanParams, visit: (b: number, h: number) => void): void {
  for (let b = 0; b < B; b++) for (let h = 0; h < H; h++) visit(b, h);
}

/** The first that can run is taken: where a GPU's lanes are many, so are a workgroup's, whose states take turns in its memory. */
const VARIANTS: readonly Variant[] = [
  { name: "subgroups of 8", family: "software", subgroupSize: 8, constants: { LANES: 8 } },
  { name: "32 lanes", family: "gpu", constants: { LANES: 32, BATCH: 8 } },
  { name: "8 lanes", family: "software", constants: { LANES: 8 } },
];

const shared = {
  params: PARAMS,
  workgroups: ({ B, H }: ScanParams, { LANES }: { LANES?: number }) => [unitWorkgroups(H, LANES!), B] as const,
};

const forward = entry({
  ...shared,
  bindings: { x: "read", xDbl: "read", layer: "read", delta: "read", states: "read_write", y: "read_write" },
  variants: VARIANTS,
  work: ({ B, H, N, count }) => 32 * B * H * N * count,
  reference({ x, xDbl, layer, delta, states, y }, params) {
    const { N, t: first, count } = params;
    forChannels(params, (b, h) => {
      const at = placesOf(params, b, h);
      for (let t = first; t < first + count; t++) {
        const [step, xt] = [delta[at.step(t)]!, x[at.x(t)]!];
        // The slot behind holds the states while its steps are under way.
        const behind = Math.floor(t / KEPT) + 1;
        let sum = layer[at.skip]! * xt;
        for (let n = 0; n < N; n++) {
          const before = states[at.state(t % KEPT === 0 ? behind - 1 : behind, n)]!;
          const after = Math.exp(step * layer[at.rate(n)]!) * before + step * xt * xDbl[at.input(t, n)]!;
          states[at.state(behind, n)] = after;
          sum += after * xDbl[at.input(t, n) + N]!;
        }
        y[at.step(t)] = sum;
      }
    });
  },
  cases: () =>
    [
      ...SIZES.map((sizes) => ({ ...sizes, t: 0, count: sizes.T })),
      { T: 40, B: 3, H: 5, N: 3, R: 2, t: 20, count: 15 },
      { T: 40, B: 3, H: 3, N: 2, R: 1, t: 16, count: 1 },
      { T: 33, B: 9, H: 65, N: 4, R: 5, t: 32, count: 1 },
    ].map((sizes) => scanCase(sizes, ["x", "xDbl", "layer", "delta", "states", "y"])),
});

const backward = entry({
  ...shared,
  bindings: {
    x: "read",
    xDbl: "read",
    layer: "read",
    delta: "read",
    dOutput: "read_write",
    dX: "read_write",
    partials: "read_write",
    kept: "read_write",
  },
  variants: VARIANTS,
  work: ({ B, H, N, count }) => 80 * B * H * N * count,
  reference({ x, xDbl, layer, delta, dOutput, dX, partials, kept }, params) {
    const { N, H, t: last, count } = params;
    for (let part = 0; part < divideUp(H, GROUP); part++) {
      const [low, high] = [last + 1 - count, KEPT * divideUp(last + 1, KEPT)];
      partials.fill(0, partialPlace(params, part, low, 0, 0, 0), partialPlace(params, part, high, 0, 0, 0));
    }
    const [held, decay] = [new Float64Array(KEPT + 1), new Float64Array(KEPT)];
    const [ofU, ofStep] = [new Float64Array(KEPT), new Float64Array(KEPT)];
    forChannels(params, (b, h) => {
      const at = placesOf(params, b, h);
      for (let before = last + 1; before > last + 1 - count;) {
        const first = KEPT * Math.floor((before - 1) / KEPT);
        ofU.fill(0);
        ofStep.fill(0);
        for (let n = 0; n < N; n++) {
          const rate = layer[at.rate(n)]!;
          held[0] = kept[at.state(first / KEPT, n)]!;
          for (let t = first; t < before; t++) {
            const [k, step] = [t - first, delta[at.step(t)]!];
            decay[k] = Math.exp(step * rate);
            held[k + 1] = decay[k]! * held[k]! + step * x[at.x(t)]! * xDbl[at.input(t, n)]!;
          }
          for (let t = before - 1; t >= first; t--) {
            const [k, step, dy] = [t - first, delta[at.step(t)]!, dOutput[at.step(t)]!];
            const lambda = kept[at.gradient(n)]! + dy * xDbl[at.input(t, n) + N]!;
            const carried = decay[k]! * lambda;
            const alpha = carried * held[k]!;
            ofU[k]! += lambda * xDbl[at.input(t, n)]!;
            ofStep[k]! += alpha * rate;
            kept[at.gradient(n)] = carried;
            kept[at.ofA(n)]! += alpha * step;
            partials[at.partial(t, n, 0)]! += lambda * step * x[at.x(t)]!;
            partials[at.partial(t, n, 1)]! += dy * held[k + 1]!;
          }
        }
        for (let t = first; t < before; t++) {
          const [k, step, dy, xt] = [t - first, delta[at.step(t)]!, dOutput[at.step(t)]!, x[at.x(t)]!];
          kept[at.ofD]! += dy * xt;
          dX[at.step(t)] = step * ofU[k]! + layer[at.skip]! * dy;
          dOutput[at.step(t)] = (ofStep[k]! + xt * ofU[k]!) * -Math.expm1(-step);
        }
        before = first;
      }
    });
  },
  cases: () =>
    [
      ...SIZES.map((sizes) => ({ ...sizes, t: sizes.T - 1, count: sizes.T })),
      { T: 40, B: 3, H: 5, N: 3, R: 2, t: 31, count: 16 },
    ].map((sizes) => scanCase(sizes, ["x", "xDbl", "layer", "delta", "dOutput", "dX", "partials", "kept"])),
});

const sums = entry({
  params: { T: "u32", B: "u32", H: "u32", N: "u32", R: "u32" },
  bindings: { parts: "read", dXDbl: "read_write" },
  workgroups: ({ T, B, N }) => linearWorkgroups(T * B * 2 * N, 64),
  work: ({ T, B, H, N }) => T * B * 2 * N * divideUp(H, GROUP),
  reference({ parts, dXDbl }, { T, B, H, N, R }) {
    for (let row = 0; row < T * B; row++)
      for (let j = 0; j < 2 * N; j++) {
        let sum = 0;
        for (let part = 0; part < divideUp(H, GROUP); part++)
          sum += parts[partialPlace({ T, B, N }, part, Math.floor(row / B), row % B, j % N, Number(j >= N))]!;
        dXDbl[row * pad4(R + 2 * N) + R + j] = sum;
      }
  },
  cases: () =>
    LAYERS.map(([H, N], i) => {
      const [T, B, R] = [11, 1 + i, i + 1];
      return {
        name: `T=${T} B=${B} H=${H} N=${N} R=${R}`,
        params: { T, B, H, N, R },
        tensors: { parts: { shape: partialsShape({ T, B, H, N }) }, dXDbl: { shape: [T, B, R + 2 * N] } },
      };
    }),
});

const rates = entry({
  params: { B: "u32", H: "u32", N: "u32", offset: "u32" },
  bindings: { gathered: "read", scalars: "read", dALog: "read_write" },
  workgroups: ({ H, N }) => [divideUp(pad4(H) * N, 64)],
  work: ({ B, H, N }) => B * H * N,
  reference({ gathered, scalars, dALog }, { B, H, N, offset }) {
    for (let h = 0; h < H; h++)
      for (let n = 0; n < N; n++) {
        let sum = 0;
        for (let b = 0; b < B; b++) sum += gathered[offset + (b * pad4(N) + n) * pad4(H) + h]!;
        dALog[h * pad4(N) + n] = scalars[n * pad4(H) + h]! * sum;
      }
  },
  cases: () =>
    LAYERS.map(([H, N], i) => {
      const sizes = { T: 17, B: 1 + 2 * i, H, N };
      const { rows, ofA } = stateRows(sizes);
      return {
        name: `B=${sizes.B} H=${H} N=${N}`,
        params: { B: sizes.B, H, N, offset: ofA * pad4(H) },
        tensors: { gathered: { shape: [rows, H] }, scalars: layerTensor(sizes), dALog: { shape: [H, N] } },
      };
    }),
});

const turn = entry({
  params: { batch: "u32", rows: "u32", columns: "u32", inOffset: "u32", outOffset: "u32" },
  bindings: { matrices: "read", turned: "read_write" },
  workgroups: ({ batch, rows, columns }) => linearWorkgroups((batch * columns * pad4(rows)) / 4, 64),
  work: ({ batch, rows, columns }) => 2 * batch * rows * columns,
  reference({ matrices, turned }, { batch, rows, columns, inOffset, outOffset }) {
    for (let i = 0; i < batch; i++)
      for (let c = 0; c < columns; c++)
        for (let r = 0; r < rows; r++)
          turned[outOffset + (i * columns + c) * pad4(rows) + r] = matrices[inOffset + (i * rows + r) * pad4(columns) + c]!;
  },
  cases: () =>
    [
      [1, 1, 1],
      [3, 65, 16],
      [9, 3, 65],
    ].map(([batch, rows, columns]) => ({
      name: `${batch} of ${rows}×${columns}`,
      params: { batch: batch!, rows: rows!, columns: columns!, inOffset: pad4(columns!), outOffset: 2 * pad4(rows!) },
      tensors: {
        matrices: { shape: [1 + batch! * rows!, columns!] },
        turned: unitTensor([2 + batch! * columns!, rows!]),
      },
    })),
});

export const selectiveScan = defineKernel("selective-scan", source, { prepare, softplus, forward, backward, sums, rates, turn }, [
  { name: "scan-lanes", source: lanesSource, withSubgroups: { name: "scan-lanes-subgroup", source: subgroupSource } },
]);

// ---- Cases.
interface CaseSizes extends Sizes {
  readonly R: number;
}

const SIZES: readonly CaseSizes[] = [
  { T: 1, B: 1, H: 1, N: 1, R: 1 },
  { T: 2, B: 3, H: 3, N: 4, R: 3 },
  { T: 3, B: 9, H: 65, N: 16, R: 4 },
  { T: 65, B: 3, H: 65, N: 5, R: 5 },
  { T: 65, B: 1, H: 3, N: 16, R: 1 },
  { T: 1000, B: 1, H: 3, N: 1, R: 2 },
];

const LAYERS = [
  [1, 1],
  [3, 4],
  [64, 16], // with D a workgroup more than without
  [65, 16],
  [130, 3],
] as const;

/** The number for element i of a tensor of a case, from [0, 1). */
const drawn = (stream: number, i: number): number => fraction(randomWord(2, stream, i, STREAM.init));

/** Of rows of H, one a state, those of states that only pad are zero. */
const ofStates =
  ({ H, N }: Pick<Sizes, "H" | "N">, fill: (i: number) => number) =>
  (i: number): number =>
    Math.floor(i / H) % pad4(N) < N ? fill(i) : 0;

const layerTensor = (sizes: Pick<Sizes, "H" | "N">): CaseTensor => ({
  shape: layerShape(sizes),
  fill: (i) => (i < pad4(sizes.N) * sizes.H ? ofStates(sizes, (j) => -4 * drawn(1, j))(i) : 2 * drawn(2, i) - 1),
});

function statesTensor(sizes: Sizes): CaseTensor {
  const { rows, ofD } = stateRows(sizes);
  const uniform = (i: number): number => 2 * drawn(3, i) - 1;
  return { shape: [rows, sizes.H], fill: (i) => (i < ofD * sizes.H ? ofStates(sizes, uniform)(i) : uniform(i)) };
}

function scanCase(sizes: CaseSizes & { t: number; count: number }, names: readonly string[]): KernelCase {
  const { T, B, H, N, R, t, count } = sizes;
  const all: Record<string, CaseTensor> = {
    x: { shape: [T * B + 1, H] },
    xDbl: { shape: [T, B, R + 2 * N] },
    layer: layerTensor(sizes),
    delta: { shape: [T, B, H], fill: (i) => drawn(4, i) ** 3 },
    states: statesTensor(sizes),
    kept: statesTensor(sizes),
    y: { shape: [T, B, H] },
    dOutput: { shape: [T, B, H] },
    dX: { shape: [T, B, H] },
    partials: { shape: partialsShape(sizes) },
  };
  return {
    name: `T=${T} B=${B} H=${H} N=${N} R=${R}, ${count} from t=${t}`,
    params: { T, B, H, N, R, t, count, xOffset: pad4(H) },
    tensors: Object.fromEntries(names.map((name) => [name, all[name]!])),
  };
}

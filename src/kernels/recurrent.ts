// What the recurrent cells share: the params of a fused step, the products with the recurrent weights as the
// references compute them, the variants, and the sizes of the cases.
import sharedSource from "../../shaders/recurrent.wgsl?raw";
import sumsSource from "../../shaders/sums.wgsl?raw";
import subgroupSource from "../../shaders/sums-subgroup.wgsl?raw";
import {
  divideUp,
  type CaseTensor,
  type Constants,
  type KernelCase,
  type Params,
  type ShaderFile,
  type Variant,
} from "../runtime/kernel.ts";
import { fraction, randomWord, STREAM } from "../random.ts";
import { pad4, type NumberArray } from "../runtime/tensor.ts";

/** The WGSL that every cell's file builds on. */
export const recurrentFiles: readonly ShaderFile[] = [
  { name: "recurrent", source: sharedSource },
  { name: "sums", source: sumsSource, withSubgroups: { name: "sums-subgroup", source: subgroupSource } },
];

/** Params of every fused step; the comments stand in shaders/recurrent.wgsl. */
export const STEP_PARAMS = {
  B: "u32",
  H: "u32",
  t: "u32",
  count: "u32",
  gather: "u32",
  last: "u32",
  relu: "u32",
} as const;
/** Bindings of the steps that may be f16, and what the shader calls their format. */
export const STEP_HALVES = { packed: "Weight4", weight: "Weight4", gates: "Saved4", savedGates: "Saved4" } as const;
export type StepParams = Params<typeof STEP_PARAMS>;

/**
 * out[j] = b_hh[j] + Σ_k h[k] · W_hh[j, k] for all gates j = gate·H + unit, from the packed weights
 * [H + 1, G, H]: row k holds column k of W_hh, the last row b_hh. `width` is the stored length of a row.
 */
export function gateSums(packed: NumberArray, h: NumberArray, hAt: number, H: number, width: number, out: Float64Array): void {
  const bias = pad4(H) * width;
  for (let j = 0; j < width; j++) out[j] = packed[bias + j]!;
  for (let k = 0; k < H; k++) {
    const value = h[hAt + k]!;
    const row = k * width;
    for (let j = 0; j < width; j++) out[j]! += value * packed[row + j]!;
  }
}

/** out[k] = Σ_j d[dAt + j] · W_hh[firstRow + j, k] over `count` stored rows of W_hh, stored as [G, H, H]. */
export function gradientSums(
  weight: NumberArray,
  firstRow: number,
  count: number,
  d: NumberArray,
  dAt: number,
  H: number,
  out: Float64Array,
): void {
  const rowLength = pad4(H);
  out.fill(0);
  for (let j = 0; j < count; j++) {
    const value = d[dAt + j]!;
    const row = (firstRow + j) * rowLength;
    for (let k = 0; k < H; k++) out[k]! += value * weight[row + k]!;
  }
}

export const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** vec4s of units that a workgroup covers. */
export const unitWorkgroups = (H: number, lanes: number): number => divideUp(pad4(H) / 4, lanes);
/** Only a single step. */
export const single = ({ count }: Params): boolean => count === 1;

/** What a form of the steps needs whose lanes hand each other their rows: 8 or 16 rows. */
export const withSubgroups = (rows: number, lanes: number, subgroupSize: number) =>
  ({ family: "software", subgroupSize, constants: { ROWS: rows, WORKGROUP: lanes, SUBGROUP: subgroupSize } }) as const;

const subgroupStep = (rows: number, subgroupSize: number): Variant => ({
  name: `${rows} rows, subgroups of ${subgroupSize}`,
  ...withSubgroups(rows, 8, subgroupSize),
  supports: ({ count, B }) => count === 1 && B! > rows / 4,
  preferred: ({ B }) => B! > (rows > 8 ? 8 : 4),
});

/** Many batch rows an invocation share each load of a weight; a single one wastes nothing at B = 1. */
export const STEP_VARIANTS: readonly Variant[] = [
  subgroupStep(16, 8),
  subgroupStep(8, 8),
  subgroupStep(16, 4),
  subgroupStep(8, 4),
  { name: "8 rows", constants: { ROWS: 8, WORKGROUP: 8 }, supports: single },
  { name: "4 rows", constants: { ROWS: 4, WORKGROUP: 8 }, supports: single },
  {
    name: "2 rows",
    family: "gpu",
    constants: { ROWS: 2, WORKGROUP: 32 },
    supports: single,
    preferred: ({ B }) => B! > 1,
  },
  {
    name: "1 row",
    constants: { ROWS: 1, WORKGROUP: 8 },
    supports: ({ count, B }) => count === 1 && B! <= 4,
    preferred: ({ B }, family) => family === "software" && B === 1,
  },
];

/** Workgroups of a fused step: units along x, batch rows along y. */
export const stepWorkgroups = (p: StepParams, { WORKGROUP, ROWS }: Constants): readonly [number, number] => [
  unitWorkgroups(p.H, WORKGROUP!),
  divideUp(p.B, ROWS!),
];

/** What the time of a fused step depends on. A sequence is another matter, and so is the last step, backward. */
export const stepSizes = ({ B, H, count, last }: StepParams): readonly number[] => [
  B,
  H,
  count > 1 ? 2 : 1,
  count === 1 && last ? 2 : 1,
];

/** A tensor of a case whose last axis is H, and whose last but one, if `square`, is H too. */
export const unitTensor = (shape: readonly number[], square = false): CaseTensor => ({
  shape,
  stored: shape.map((n, axis) => (axis >= shape.length - (square ? 2 : 1) ? pad4(n) : n)),
});

const SIZES = [
  { B: 1, H: 1, T: 1, t: 0, gather: 1 },
  { B: 3, H: 3, T: 2, t: 0, gather: 0 },
  { B: 3, H: 5, T: 3, t: 1, gather: 1 },
  { B: 65, H: 3, T: 1, t: 0, gather: 1 },
  { B: 9, H: 65, T: 2, t: 1, gather: 1 },
  { B: 9, H: 65, T: 2, t: 0, gather: 1 },
  { B: 1, H: 130, T: 2, t: 0, gather: 0 },
];
const TOKENS = 7;

/** Of each sequence: more rows than a workgroup takes, more units than it has lanes, as many as it can keep; all steps, or some. */
const SEQUENCES = [
  { B: 1, H: 1, T: 3, t: 0, count: 3, gather: 1 },
  { B: 9, H: 5, T: 4, t: 1, count: 2, gather: 0 },
  { B: 3, H: 65, T: 3, t: 0, count: 3, gather: 1 },
  { B: 2, H: 133, T: 2, t: 0, count: 2, gather: 1 },
  { B: 17, H: 31, T: 2, t: 0, count: 2, gather: 0 },
];

/** Cases at odd sizes; `tensors` lists those of the entry. `direction` −1 for a backward entry with sequences. */
export function stepCases(
  tensors: (sizes: { readonly B: number; readonly H: number; readonly T: number }) => KernelCase["tensors"],
  { relu = 0, direction = 0 }: { relu?: number; direction?: -1 | 0 | 1 } = {},
): readonly KernelCase[] {
  const steps = SIZES.map((sizes) => ({ ...sizes, count: 1 }));
  return [...steps, ...(direction === 0 ? [] : SEQUENCES)].map(({ B, H, T, t: first, count, gather }) => {
    const t = direction < 0 ? first + count - 1 : first;
    const steps = count === 1 ? `t=${t}` : `${count} steps from t=${t}`;
    return {
      name: `B=${B} H=${H} T=${T} ${steps}${gather ? " gathered" : ""}${relu ? " relu" : ""}`,
      params: { B, H, t, count, gather, last: Number(t === T - 1), relu },
      tensors: tensors({ B, H, T }),
    };
  });
}

/** The tensors that every cell's forward step reads, for a case. */
export const forwardInputs = (B: number, H: number, T: number, gates: number): KernelCase["tensors"] => ({
  xProjection: unitTensor([Math.max(T * B, TOKENS), gates, H]),
  rows: { shape: [T, B], dtype: "u32", fill: (i) => (i * 5 + 3) % TOKENS },
  packed: {
    ...unitTensor([pad4(H) + 1, gates, H]),
    // The rows between W_hhᵀ and b_hh are padding too. With other numbers f16 may cancel where H is 1.
    fill: (i) => {
      const row = Math.floor(i / (gates * H));
      return row >= H && row < pad4(H) ? 0 : 2 * fraction(randomWord(1, 2, i, STREAM.init)) - 1;
    },
  },
});

// The entry points that rnn, gru and lstm share: one step a dispatch in several forms, or a sequence of steps.
import source from "../../shaders/steps.wgsl?raw";
import workgroupSource from "../../shaders/steps-workgroup.wgsl?raw";
import { divideUp, type Family, type ShaderFile, type Variant } from "../runtime/kernel.ts";
import { pad4 } from "../runtime/tensor.ts";
import { single, STEP_VARIANTS, unitWorkgroups, withSubgroups, type StepParams } from "./recurrent.ts";

export const stepsFiles: readonly ShaderFile[] = [
  { name: "steps", source },
  { name: "steps-workgroup", source: workgroupSource, withSubgroups: null },
];

/** A reference of one step, over `count` steps: upwards from t, or downwards, where only the first may be the last. */
export function overSteps<A>(
  reference: (arrays: A, params: StepParams) => void,
  direction: 1 | -1,
): (arrays: A, params: StepParams) => void {
  return (arrays, params) => {
    for (let i = 0; i < params.count; i++) {
      reference(arrays, { ...params, t: params.t + direction * i, last: i === 0 ? params.last : 0 });
    }
  };
}

/** The first steps of a sequence tell which variant is fastest. */
export const fewerSteps = (params: StepParams): StepParams => ({ ...params, count: Math.min(params.count, 8) });

/** Variants of the entry `forward` or `backward` of shaders/steps.wgsl: one step a dispatch, or a sequence. */
export const sequenceVariants = (entry: "forward" | "backward", gates: number): readonly Variant[] => [
  // Before those that many shapes prefer.
  {
    name: "workgroup tile",
    family: "gpu",
    entryPoint: `${entry}Tiled`,
    supports: single,
    preferred: ({ B, H }, family) => family === "gpu" && B! >= 32 && H! >= 512,
    workgroups: ({ B, H }) => [unitWorkgroups(H!, 8), divideUp(B!, 32)],
  },
  ...STEP_VARIANTS,
  {
    name: "split sums",
    entryPoint: `${entry}Split`,
    constants: { ROWS: 1 },
    supports: ({ count, B }) => count === 1 && B! <= 4,
    preferred: ({ B }, family) => family === "gpu" && B === 1,
    workgroups: ({ B, H }) => [unitWorkgroups(H!, 8), B],
  },
  ...[8, 4].flatMap((size) => {
    const [many, few] = [subgroupSequence(entry, 16, 8, size), subgroupSequence(entry, 8, 8, size)];
    return [many, few, cached(many, gates), cached(few, gates)];
  }),
  sequence(entry, 8, 32),
  sequence(entry, 8, 8),
  sequence(entry, 2, 64, "gpu"),
  cached(sequence(entry, 1, 64, "gpu"), gates),
  { ...sequence(entry, 1, 128, "gpu"), preferred: () => true },
];

/** Vec4fs of workgroup memory that every adapter has: 16 KiB. */
const CACHE = 1024;

/** A sequence that keeps the recurrent weights in workgroup memory, for those that fit. */
const cached = (variant: Variant, gates: number): Variant => ({
  ...variant,
  name: `${variant.name}, weights kept`,
  constants: { ...variant.constants, CACHE },
  supports: ({ count, H }) => count! > 1 && (gates * pad4(H!) ** 2) / 4 <= CACHE,
});

const subgroupSequence = (entry: string, rows: number, lanes: number, subgroupSize: number): Variant => ({
  ...sequence(entry, rows, lanes),
  name: `sequence of ${rows} rows, subgroups of ${subgroupSize}`,
  ...withSubgroups(rows, lanes, subgroupSize),
  // Workgroups for two cores at least.
  preferred: ({ B }) => B! > 16 || rows === 8,
});

const sequence = (entry: string, rows: number, lanes: number, family?: Family): Variant => ({
  name: `sequence of ${rows} ${rows === 1 ? "row" : "rows"}, ${lanes} lanes`,
  ...(family && { family }),
  entryPoint: `${entry}Sequence`,
  constants: { ROWS: rows, WORKGROUP: lanes },
  supports: ({ count }) => count! > 1,
  workgroups: ({ B }) => [divideUp(B!, rows)],
});

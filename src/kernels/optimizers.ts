// What the optimizers share: the tensor of per-step numbers, and the cases.
import type { CaseTensor, KernelCase } from "../runtime/kernel.ts";
import { metricsTensor } from "./reduce.ts";

/** Elements of `schedule`[4], which the host writes before every step; 1 − betaᵗ are Adam's bias corrections. */
export const SCHEDULE = { learningRate: 0, biasCorrection1: 1, biasCorrection2: 2, count: 4 } as const;

/** A gradient, of which ±2⁶² is the most that counts, so that its square is an f32. */
export const squarable = (g: number): number => Math.max(-(2 ** 62), Math.min(2 ** 62, g));

/** vec4s that a workgroup covers. */
export const OPTIMIZER_ITEMS = 64;

/** Cases with each set of hyperparameters, the last parameters of the larger ones without decay; `moments` names the optimizer's own tensors. */
export function optimizerCases(
  hyperparameters: readonly Readonly<Record<string, number>>[],
  moments: readonly string[],
): readonly KernelCase[] {
  const steps = [
    { count: 1, factor: 1, skipped: 0 },
    { count: 3, factor: 0.37, skipped: 0 },
    { count: 65, factor: 1, skipped: 0 },
    { count: 3, factor: 0, skipped: 1 },
    { count: 65, factor: 1e25, skipped: 0 },
  ];
  return hyperparameters.flatMap((each) =>
    steps.map(({ count, factor, skipped }) => ({
      name: `${count} vec4, factor ${factor}${skipped ? ", skipped" : ""}, ${JSON.stringify(each)}`,
      params: { count, decayed: count > 3 ? count - 2 : count, ...each },
      tensors: {
        parameters: { shape: [4 * count] },
        // The first gradients are zero, as those of the padding are.
        gradients: { shape: [4 * count], fill: (i) => (i < 2 ? 0 : Math.sin(7 * i)) },
        ...Object.fromEntries(moments.map((name) => [name, moment(count)])),
        schedule: { shape: [SCHEDULE.count], fill: (i) => [0.002, 0.19, 0.002, 0][i]! },
        metrics: metricsTensor(skipped, factor),
      },
    })),
  );
}

// Not negative, because the second moments are not.
const moment = (count: number): CaseTensor => ({ shape: [4 * count], fill: (i) => (i < 2 ? 0 : (i % 13) / 13) });

import { GatewiseError } from "../errors.ts";

export const SCHEDULES = ["constant", "cosine", "step"] as const;
export type ScheduleName = (typeof SCHEDULES)[number];

/** Part of the peak that the cosine schedule ends at. */
const COSINE_FLOOR = 0.1;

/**
 * The learning rate of step `step` (from 0) of `totalSteps`: a linear warm-up over the first `warmupSteps`, then
 * constant; or half a cosine from the peak to a tenth of it (Loshchilov & Hutter 2017); or "step", halved after each
 * quarter of the run.
 */
export function learningRateAt(
  step: number,
  {
    learningRate,
    schedule,
    warmupSteps,
    totalSteps,
  }: { learningRate: number; schedule: ScheduleName; warmupSteps: number; totalSteps: number },
): number {
  if (step < warmupSteps) return (learningRate * (step + 1)) / warmupSteps;
  const progress = Math.min(1, (step - warmupSteps) / Math.max(1, totalSteps - warmupSteps));
  switch (schedule) {
    case "constant":
      return learningRate;
    case "cosine":
      return learningRate * (COSINE_FLOOR + (1 - COSINE_FLOOR) * 0.5 * (1 + Math.cos(Math.PI * progress)));
    case "step":
      return learningRate * 0.5 ** Math.min(3, Math.floor(4 * progress));
    default:
      throw new GatewiseError("E_CONFIG", `schedule must be one of ${SCHEDULES.join(", ")}, got ${String(schedule)}`);
  }
}

import { checkInteger, checkNumber, checkObject, checkOneOf } from "../checks.ts";
import { GatewiseError } from "../errors.ts";

/** How the learning rate goes after the warm-up: see `TrainingOptions.schedule`. */
export type ScheduleName = "constant" | "cosine" | "step";
export const SCHEDULES = ["constant", "cosine", "step"] as const satisfies readonly ScheduleName[];

/** Part of the peak that the cosine schedule ends at. */
const COSINE_FLOOR = 0.1;

/** The learning rate over a run. */
export interface Schedule {
  /** The peak. */
  readonly learningRate: number;
  /** How it goes after the warm-up. */
  readonly schedule: ScheduleName;
  /** Steps over which it rises to the peak. */
  readonly warmupSteps: number;
  /** Step at which the schedule begins: above 0 where a resumed run was given a new one; 0 if left out. */
  readonly scheduleStart?: number;
  /** Step at which it ends. */
  readonly totalSteps: number;
}

/**
 * The learning rate of step `step` (from 0) of `totalSteps`: a linear warm-up over the first `warmupSteps`, then
 * constant; or half a cosine from the peak to a tenth of it (Loshchilov & Hutter 2017); or "step", halved after each
 * quarter of the run. All is counted from `scheduleStart`.
 */
export function learningRateAt(
  step: number,
  { learningRate, schedule, warmupSteps, scheduleStart = 0, totalSteps }: Schedule,
): number {
  const done = step - scheduleStart;
  if (done < warmupSteps) return (learningRate * (done + 1)) / warmupSteps;
  const progress = Math.min(1, (done - warmupSteps) / Math.max(1, totalSteps - scheduleStart - warmupSteps));
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

/** @throws GatewiseError E_CONFIG naming the field, what it must be and what came */
export function checkSchedule({ learningRate, schedule, warmupSteps, scheduleStart = 0, totalSteps }: Schedule): void {
  checkNumber("learningRate", learningRate, (rate) => rate > 0 && rate < Infinity, "a number above 0");
  checkOneOf("schedule", schedule, SCHEDULES);
  checkInteger("warmupSteps", warmupSteps, 0);
  checkInteger("scheduleStart", scheduleStart, 0);
  checkInteger("totalSteps", totalSteps, 1);
}

/** The rate of the last of `steps` steps. */
export const reachedRate = (steps: number, schedule: Schedule): number => learningRateAt(Math.max(0, steps - 1), schedule);

/**
 * A new schedule over the steps that remain after `step`, for `resumeTrainer`: stretching the old one over more steps
 * would raise the rate again half-way. "reached" begins at the rate that the run had come to, without a warm-up; "peak"
 * at the old peak, with it (a warm restart).
 *
 * @param options those of the run so far, `checkpoint.training.options`, with their old `totalSteps`
 * @throws GatewiseError E_CONFIG
 */
export function restartSchedule(step: number, options: Schedule, from: "reached" | "peak"): Partial<Schedule> {
  checkInteger("restartSchedule: step", step, 0);
  checkObject("restartSchedule", options);
  checkSchedule(options);
  checkOneOf("restartSchedule: from", from, ["reached", "peak"]);
  return from === "peak"
    ? { scheduleStart: step }
    : { scheduleStart: step, learningRate: reachedRate(step, options), warmupSteps: 0 };
}

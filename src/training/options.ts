import { GatewiseError } from "../errors.ts";
import { OPTIMIZER_NAMES, type OptimizerName } from "./optimizers.ts";
import { SCHEDULES, type ScheduleName } from "./schedule.ts";

/** How to train. The command line's options carry the same names. */
export interface TrainingOptions {
  /** B, streams or windows side by side. */
  readonly batchSize: number;
  /** T, time steps that gradients flow back through. */
  readonly seqLen: number;
  readonly optimizer: OptimizerName;
  readonly learningRate: number;
  /** SGD only. */
  readonly momentum: number;
  readonly weightDecay: number;
  readonly schedule: ScheduleName;
  readonly warmupSteps: number;
  /** Step at which the schedule begins; `restartSchedule` gives a resumed run a new one. */
  readonly scheduleStart: number;
  /** Steps over which the schedule runs; `run` may stop earlier or go on. */
  readonly totalSteps: number;
  /** Largest global norm of the gradient; 0 for no clipping. */
  readonly clip: number;
  /** The mean over all time steps, or over the last one only (many-to-one). */
  readonly loss: "all" | "last";
  /** "carry": consecutive windows, the state carried and detached; "zero": random windows from a zero state. */
  readonly state: "carry" | "zero";
  /** Last part of the tokens, kept for validation. */
  readonly valFraction: number;
  /** Of the windows (state "zero") and of dropout. */
  readonly seed: number;
  /** Steps between two events of a kind; 0 for none. */
  readonly logInterval: number;
  readonly evalInterval: number;
  readonly sampleInterval: number;
  readonly checkpointInterval: number;
}

export const TRAINING_DEFAULTS: TrainingOptions = {
  batchSize: 64,
  seqLen: 64,
  optimizer: "adam",
  learningRate: 2e-3,
  momentum: 0,
  weightDecay: 0,
  schedule: "constant",
  warmupSteps: 0,
  scheduleStart: 0,
  totalSteps: 1000,
  clip: 1,
  loss: "all",
  state: "carry",
  valFraction: 0.05,
  seed: 1,
  logInterval: 10,
  evalInterval: 250,
  sampleInterval: 250,
  checkpointInterval: 250,
};

/**
 * Fills in defaults and checks every field.
 *
 * @throws GatewiseError E_CONFIG naming the field, what it must be and what came.
 */
export function trainingOptions(given: Partial<TrainingOptions>): TrainingOptions {
  const options = { ...TRAINING_DEFAULTS };
  for (const name of Object.keys(TRAINING_DEFAULTS) as (keyof TrainingOptions)[]) {
    if (given[name] !== undefined) Object.assign(options, { [name]: given[name] });
  }
  const require = (ok: boolean, name: keyof TrainingOptions, expected: string): void => {
    if (!ok) throw new GatewiseError("E_CONFIG", `${name} must be ${expected}, got ${JSON.stringify(options[name])}`);
  };
  const integer = (name: keyof TrainingOptions, least: number): void =>
    require(Number.isInteger(options[name]) && (options[name] as number) >= least, name, `an integer of at least ${least}`);
  const number = (name: keyof TrainingOptions, least: number): void =>
    require(Number.isFinite(options[name]) && (options[name] as number) >= least, name, `a number of at least ${least}`);
  const oneOf = (name: keyof TrainingOptions, values: readonly string[]): void =>
    require(values.includes(options[name] as string), name, `one of ${values.join(", ")}`);
  for (const name of ["batchSize", "seqLen", "totalSteps"] as const) integer(name, 1);
  for (const name of [
    "warmupSteps",
    "scheduleStart",
    "seed",
    "logInterval",
    "evalInterval",
    "sampleInterval",
    "checkpointInterval",
  ] as const)
    integer(name, 0);
  for (const name of ["weightDecay", "clip", "momentum"] as const) number(name, 0);
  require(Number.isFinite(options.learningRate) && options.learningRate > 0, "learningRate", "a number above 0");
  require(options.momentum < 1, "momentum", "less than 1");
  require(options.valFraction >= 0 && options.valFraction < 1, "valFraction", "at least 0 and less than 1");
  oneOf("optimizer", OPTIMIZER_NAMES);
  oneOf("schedule", SCHEDULES);
  oneOf("loss", ["all", "last"]);
  oneOf("state", ["carry", "zero"]);
  return options;
}

import {
  checkFunction,
  checkInteger,
  checkNumber,
  checkOneOf,
  checkOptions,
  checkSeed,
  checkSignal,
  given,
  namesOf,
  shown,
} from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import { sampleSettingsOf, type SampleOptions } from "../models/sample.ts";
import { OPTIMIZER_NAMES, type OptimizerName } from "./optimizers.ts";
import { checkSchedule, type ScheduleName } from "./schedule.ts";

/** How to train. */
export interface TrainingOptions {
  /** B, streams or windows side by side; 64 by default. */
  readonly batchSize: number;
  /** T, time steps that gradients flow back through; 64 by default. */
  readonly seqLen: number;
  /** What makes an update of a gradient; "adam" by default. */
  readonly optimizer: OptimizerName;
  /** The peak of the schedule; 2e-3 by default. */
  readonly learningRate: number;
  /** SGD only; 0 by default. */
  readonly momentum: number;
  /** Added to the gradient as weightDecay · parameter, with adamw apart from it; 0 by default. */
  readonly weightDecay: number;
  /** "constant", "cosine" down to a tenth of the peak, or "step": halved after each quarter of the run; "constant" by default. */
  readonly schedule: ScheduleName;
  /** Steps over which the rate rises to the peak; 0 by default. */
  readonly warmupSteps: number;
  /** Step at which the schedule begins; `restartSchedule` gives a resumed run a new one; 0 by default. */
  readonly scheduleStart: number;
  /** Steps over which the schedule runs; `run` may stop earlier or go on; 1,000 by default. */
  readonly totalSteps: number;
  /** Largest global norm of the gradient, 1 by default; 0 for no clipping. */
  readonly clip: number;
  /** The mean over all time steps, or over the last one only (many-to-one); "all" by default. */
  readonly loss: "all" | "last";
  /** "carry": consecutive windows, the state carried and detached; "zero": random windows from a zero state; "carry" by default. */
  readonly state: "carry" | "zero";
  /** Part of the tokens, behind those for training, kept for validation; 0.05 by default. */
  readonly valFraction: number;
  /** Last part of the tokens, behind those for validation, that a run never looks at; 0 by default. */
  readonly testFraction: number;
  /** Tokens of the validation part that an evaluation reads at most, about, evenly spread, 200,000 by default; 0 for all. */
  readonly evalTokens: number;
  /** Evaluations in a row without a new best after which a run ends; 0, the default, for no such end. */
  readonly patience: number;
  /** Of the windows (state "zero") and of dropout; 1 by default. */
  readonly seed: number;
  /** Steps between two events of a kind, 10 by default; 0 for none. */
  readonly logInterval: number;
  /** Steps between two evaluations, 250 by default; 0 for none. */
  readonly evalInterval: number;
  /** Steps between two samples, 250 by default; 0 for none. */
  readonly sampleInterval: number;
  /** Steps between two checkpoints, 250 by default; 0 for none. */
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
  testFraction: 0,
  evalTokens: 200_000,
  patience: 0,
  seed: 1,
  logInterval: 10,
  evalInterval: 250,
  sampleInterval: 250,
  checkpointInterval: 250,
};

const COUNTS = ["evalTokens", "patience", "logInterval", "evalInterval", "sampleInterval", "checkpointInterval"] as const;
/** What the command line and other libraries call them. */
const OTHER_NAMES = { lr: "learningRate", batch: "batchSize", seq: "seqLen", steps: "totalSteps" };

/**
 * Fills in defaults and checks every field.
 *
 * @throws GatewiseError E_CONFIG naming the field, what it must be and what came.
 */
export function trainingOptions(options: Partial<TrainingOptions>): TrainingOptions {
  checkOptions("training options", options, Object.keys(TRAINING_DEFAULTS), OTHER_NAMES);
  const all: TrainingOptions = { ...TRAINING_DEFAULTS, ...given(options ?? {}) };
  const number = (name: keyof TrainingOptions, ok: (value: number) => boolean, expected: string): void =>
    checkNumber(name, all[name], (value) => Number.isFinite(value) && ok(value), expected);
  checkSchedule(all);
  for (const name of ["batchSize", "seqLen"] as const) checkInteger(name, all[name], 1);
  for (const name of COUNTS) checkInteger(name, all[name], 0);
  checkSeed("seed", all.seed);
  for (const name of ["weightDecay", "clip", "momentum"] as const) number(name, (x) => x >= 0, "a number of at least 0");
  number("momentum", (x) => x < 1, "less than 1");
  for (const name of ["valFraction", "testFraction"] as const) number(name, (x) => x >= 0 && x < 1, "at least 0 and less than 1");
  if (all.valFraction + all.testFraction >= 1)
    throw new GatewiseError(
      "E_CONFIG",
      `testFraction must be less than 1 - valFraction, which is ${all.valFraction}, got ${all.testFraction}`,
    );
  checkOneOf("optimizer", all.optimizer, OPTIMIZER_NAMES);
  checkOneOf("loss", all.loss, ["all", "last"]);
  checkOneOf("state", all.state, ["carry", "zero"]);
  return all;
}

/** What a trainer is given beside the training options; `Trainer`: what it is. */
export interface TrainerSettings<Trainer> {
  /** The text's tokenizer: needed for samples while training and for checkpoints. */
  readonly tokenizer?: Tokenizer;
  /** How to sample while training. */
  readonly sample?: Pick<SampleOptions, "prompt" | "length" | "temperature">;
  /** Told of an evaluation while it goes on: windows done, of how many. */
  readonly onEvaluation?: ((done: number, of: number) => void) | undefined;
  /**
   * Called every `checkpointInterval` steps; keeps the checkpoint and returns where, for the event, or undefined if it
   * could not be kept but the run shall go on.
   */
  readonly onCheckpoint?: (
    trainer: Trainer,
    info: { readonly step: number; readonly best: boolean },
  ) => Promise<string | undefined>;
}

const TRAINER_NAMES = [
  ...Object.keys(TRAINING_DEFAULTS),
  ...namesOf<TrainerSettings<unknown>>({ tokenizer: true, sample: true, onEvaluation: true, onCheckpoint: true }),
];
const SAMPLE_NAMES = namesOf<NonNullable<TrainerSettings<unknown>["sample"]>>({ prompt: true, length: true, temperature: true });
/** How far to train. */
export interface RunOptions {
  /** Step to train up to, counted from the run's first; Infinity to train until the loop is left. */
  readonly maxSteps: number;
  /** Ends the run after the step that is being done. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Wait for the numbers of each step that is logged before the next is begun, so that the trainer stands where the event
   * says: for saving the parameters that had this loss. False by default, which is faster where the GPU is.
   */
  readonly exact?: boolean | undefined;
}
const RUN_NAMES = namesOf<RunOptions>({ maxSteps: true, signal: true, exact: true });

/** @throws GatewiseError E_CONFIG unless it is a tokenizer, or left out */
export function checkTokenizer(where: string, tokenizer: Tokenizer | undefined): void {
  if (tokenizer !== undefined && typeof tokenizer?.encode !== "function")
    throw new GatewiseError("E_CONFIG", `${where}: tokenizer must be a tokenizer, got ${shown(tokenizer)}`);
}

/** Checks what is no training option, and the names of all. @throws GatewiseError E_CONFIG */
export function checkTrainerOptions(where: string, options: Partial<TrainingOptions> & TrainerSettings<never>): void {
  checkOptions(where, options, TRAINER_NAMES, OTHER_NAMES);
  const { tokenizer, sample, onEvaluation, onCheckpoint } = options;
  checkOptions(`${where}: sample`, sample, SAMPLE_NAMES);
  if (sample) sampleSettingsOf(sample);
  checkTokenizer(where, tokenizer);
  checkFunction(`${where}: onEvaluation`, onEvaluation);
  checkFunction(`${where}: onCheckpoint`, onCheckpoint);
}

/** Fills in defaults and checks every field. @throws GatewiseError E_CONFIG */
export function runOptions(options: RunOptions): RunOptions & { readonly exact: boolean } {
  checkOptions("Trainer.run", options, RUN_NAMES, { steps: "maxSteps", totalSteps: "maxSteps" });
  const { maxSteps, signal, exact = false }: RunOptions = options ?? {};
  const countable = (n: number): boolean => n >= 0 && (n === Infinity || Number.isSafeInteger(n));
  checkNumber("Trainer.run: maxSteps", maxSteps, countable, "an integer of at least 0, or Infinity");
  checkSignal("Trainer.run", signal);
  checkOneOf("Trainer.run: exact", exact, [true, false]);
  return { maxSteps, signal, exact };
}

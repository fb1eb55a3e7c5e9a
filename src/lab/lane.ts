// One model of a run with its trainer and its log. A race has several, which train on the same batches.
import { GatewiseError } from "../errors.ts";
import { languageModelConfig, PRESETS, type LanguageModelConfig, type PresetName } from "../models/config.ts";
import { LanguageModel } from "../models/language-model.ts";
import type { Device } from "../runtime/device.ts";
import {
  loadCheckpoint,
  modelFromCheckpoint,
  resumeTrainer,
  saveCheckpoint,
  type Checkpoint,
  type Intervals,
} from "../training/checkpoint.ts";
import type { TrainingEvent } from "../training/events.ts";
import { TRAINING_DEFAULTS } from "../training/options.ts";
import { Trainer, type TrainerOptions } from "../training/trainer.ts";
import { EVAL_FIELDS, STEP_FIELDS } from "./protocol.ts";
import type { Settings } from "./settings.ts";
import type { LoadedText } from "./texts.ts";

export interface Lane {
  readonly preset: PresetName;
  model: LanguageModel;
  trainer: Trainer;
  events: AsyncGenerator<TrainingEvent, void, void> | undefined;
  /** What ends its present events. */
  signal: AbortSignal | undefined;
  /** Rows of STEP_FIELDS and of EVAL_FIELDS numbers. */
  points: number[];
  evaluations: number[];
  /** Numbers of the two that the page has. */
  sentPoints: number;
  sentEvaluations: number;
  /** The run as it was last saved, and at which step. */
  snapshot: { readonly step: number; readonly bytes: Uint8Array } | undefined;
  /** What a checkpoint says in place of LOGGING. */
  readonly intervals: Intervals;
  /** Why it trains no more, where that is not the run's end. */
  failure: string | undefined;
  finished: boolean;
  /** Milliseconds and steps of the time in which it trained, for the rate. */
  readonly pace: { milliseconds: number; steps: number };
}

export const laneConfig = (settings: Settings, preset: PresetName, vocabSize: number): LanguageModelConfig =>
  languageModelConfig({
    ...PRESETS[preset],
    vocabSize,
    embeddingSize: settings.embeddingSize,
    hiddenSize: settings.hiddenSize,
    numLayers: settings.numLayers,
    dropout: settings.dropout,
  });

const trainerOptions = (settings: Settings, text: LoadedText): TrainerOptions => ({
  tokenizer: text.tokenizer,
  batchSize: settings.batchSize,
  seqLen: settings.seqLen,
  optimizer: settings.optimizer,
  learningRate: settings.learningRate,
  schedule: settings.schedule,
  warmupSteps: settings.warmupSteps,
  totalSteps: settings.totalSteps,
  clip: settings.clip,
  weightDecay: settings.weightDecay,
  valFraction: settings.valFraction,
  evalInterval: settings.evalInterval,
  seed: settings.seed,
  ...LOGGING,
});
/** Every step is logged, so that the log of a resumed run has no gaps; samples and checkpoints are the lab's own. */
const LOGGING: Required<Intervals> = { logInterval: 1, sampleInterval: 0, checkpointInterval: 0 };

function laneOf(preset: PresetName, model: LanguageModel, trainer: Trainer, given: Intervals = TRAINING_DEFAULTS): Lane {
  const { logInterval, sampleInterval, checkpointInterval } = given;
  return {
    preset,
    model,
    trainer,
    events: undefined,
    signal: undefined,
    points: [],
    evaluations: [],
    sentPoints: 0,
    sentEvaluations: 0,
    snapshot: undefined,
    intervals: { logInterval, sampleInterval, checkpointInterval },
    failure: undefined,
    finished: false,
    pace: { milliseconds: 0, steps: 0 },
  };
}

/** A model at step 0. */
export function newLane(device: Device, settings: Settings, preset: PresetName, text: LoadedText): Lane {
  const model = LanguageModel.create(device, { ...laneConfig(settings, preset, text.tokenizer.size), seed: settings.seed });
  try {
    return laneOf(preset, model, Trainer.create(model, text.tokens, trainerOptions(settings, text)));
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/** A model as a checkpoint left it, in f32 where the device has no f16. `text` must be in its vocabulary. */
export function laneFromCheckpoint(
  device: Device,
  preset: PresetName,
  bytes: Uint8Array,
  text: LoadedText,
  saved: Checkpoint = loadCheckpoint(bytes),
): Lane {
  const { tokenizer, training } = saved;
  // The models of a race share one array of what may be a long text.
  const same = JSON.stringify(tokenizer) === JSON.stringify(text.tokenizer);
  const tokens = same ? text.tokens : tokenizer.encode(text.text);
  const model = modelFromCheckpoint(device, saved);
  const checkpoint = { ...saved, config: model.config };
  try {
    const trainer = resumeTrainer(model, tokens, checkpoint, LOGGING);
    return { ...laneOf(preset, model, trainer, training?.options), snapshot: { step: trainer.step, bytes } };
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/** Makes the models of a run, or none of them. */
export async function makeLanes(
  presets: readonly PresetName[],
  make: (preset: PresetName, index: number) => Promise<Lane> | Lane,
): Promise<Lane[]> {
  const lanes: Lane[] = [];
  try {
    for (const [i, preset] of presets.entries()) lanes.push(await make(preset, i));
  } catch (error) {
    lanes.forEach(disposeLane);
    throw error;
  }
  return lanes;
}

/** Puts a log into a lane: what lies beyond the step that it stands at never happened. */
export function setLog(lane: Lane, points: readonly number[], evaluations: readonly number[]): void {
  lane.points = upTo(points, lane.trainer.step, STEP_FIELDS);
  lane.evaluations = upTo(evaluations, lane.trainer.step, EVAL_FIELDS);
  lane.sentPoints = 0;
  lane.sentEvaluations = 0;
}

function upTo(rows: readonly number[], step: number, fields: number): number[] {
  let end = rows.length;
  while (end > 0 && rows[end - fields]! > step) end -= fields;
  return rows.slice(0, end);
}

/** Whether there is anything left to train. */
export const isActive = (lane: Lane): boolean => lane.failure === undefined && !lane.finished;

/** Whether a run of so many steps is done: its last validation too, which may have been cut short. */
export const isDone = ({ trainer }: Lane, totalSteps: number): boolean => trainer.step >= totalSteps && !trainer.evaluationDue;

/** Begins a stretch of training, which ends when it is aborted. `exact`: one step at a time, each when it is asked for. */
export function start(lane: Lane, maxSteps: number, signal: AbortSignal, exact = false): void {
  lane.signal = signal;
  lane.events = lane.trainer.run({ maxSteps, signal, exact });
}

/** Trains until the next number is there. Returns false when the lane's events have come to an end. */
export async function pull(lane: Lane): Promise<boolean> {
  const begun = performance.now();
  const before = lane.trainer.step;
  try {
    const { value, done } = await lane.events!.next();
    if (done) return false;
    if (value.event === "step") {
      lane.points.push(value.step, value.loss, value.gradNorm, value.learningRate);
      lane.pace.milliseconds += performance.now() - begun;
      lane.pace.steps += lane.trainer.step - before;
    } else if (value.event === "eval") {
      lane.evaluations.push(value.step, value.valLoss, value.valAccuracy);
    } else if (value.event === "end" && value.reason === "done") {
      lane.finished = !lane.trainer.evaluationDue;
    }
    return true;
  } catch (error) {
    // Stopped while it was compiled or tuned.
    if (!(lane.signal?.aborted && error === lane.signal.reason)) stopAtNaN(lane, error);
    return false;
  }
}

/** Keeps the run as it stands. A model whose numbers are not finite stops, and keeps what it had. */
export async function takeSnapshot(lane: Lane): Promise<void> {
  if (lane.failure !== undefined) return;
  const { step } = lane.trainer;
  try {
    lane.snapshot = { step, bytes: await saveCheckpoint(lane.trainer, lane.intervals) };
  } catch (error) {
    stopAtNaN(lane, error);
  }
}

function stopAtNaN(lane: Lane, error: unknown): void {
  if (!(error instanceof GatewiseError) || error.code !== "E_NAN_LOSS") throw error;
  lane.failure = error.message;
}

export function disposeLane(lane: Lane): void {
  lane.trainer.dispose();
  lane.model.dispose();
}

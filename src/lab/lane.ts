// One model of a run with its trainer and its log. A race has four of them, which train on the same batches.
import { GatewiseError } from "../errors.ts";
import { languageModelConfig, PRESETS, type LanguageModelConfig, type PresetName } from "../models/config.ts";
import { LanguageModel } from "../models/language-model.ts";
import type { Device } from "../runtime/device.ts";
import { loadCheckpoint, modelFromCheckpoint, resumeTrainer, saveCheckpoint } from "../training/checkpoint.ts";
import type { TrainingEvent } from "../training/events.ts";
import { Trainer, type TrainerOptions } from "../training/trainer.ts";
import { EVAL_FIELDS, STEP_FIELDS } from "./protocol.ts";
import type { Settings } from "./settings.ts";
import type { LoadedText } from "./texts.ts";

export interface Lane {
  readonly preset: PresetName;
  model: LanguageModel;
  trainer: Trainer;
  events: AsyncGenerator<TrainingEvent, void, void> | undefined;
  /** Rows of STEP_FIELDS and of EVAL_FIELDS numbers. */
  points: number[];
  evaluations: number[];
  /** Numbers of the two that the page has. */
  sentPoints: number;
  sentEvaluations: number;
  /** The run as it was last saved. */
  snapshot: Uint8Array | undefined;
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

/** Every step is logged, so that the log of a resumed run has no gaps; samples and checkpoints are the lab's own. */
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
const LOGGING = { logInterval: 1, sampleInterval: 0, checkpointInterval: 0 };

function laneOf(preset: PresetName, model: LanguageModel, trainer: Trainer): Lane {
  return {
    preset,
    model,
    trainer,
    events: undefined,
    points: [],
    evaluations: [],
    sentPoints: 0,
    sentEvaluations: 0,
    snapshot: undefined,
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

/** A model as a checkpoint left it. `text` must be in its vocabulary. */
export function laneFromCheckpoint(device: Device, preset: PresetName, bytes: Uint8Array, text: LoadedText): Lane {
  const checkpoint = loadCheckpoint(bytes);
  const tokens = checkpoint.tokenizer.encode(text.text);
  const model = modelFromCheckpoint(device, checkpoint);
  try {
    return { ...laneOf(preset, model, resumeTrainer(model, tokens, checkpoint, LOGGING)), snapshot: bytes };
  } catch (error) {
    model.dispose();
    throw error;
  }
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
      lane.finished = true;
    }
    return true;
  } catch (error) {
    if (!(error instanceof GatewiseError) || error.code !== "E_NAN_LOSS") throw error;
    lane.failure = error.message;
    return false;
  }
}

/** Keeps the run as it stands. A run that has stopped for good keeps what it had. */
export async function takeSnapshot(lane: Lane): Promise<void> {
  if (lane.failure === undefined) lane.snapshot = await saveCheckpoint(lane.trainer);
}

export function disposeLane(lane: Lane): void {
  lane.trainer.dispose();
  lane.model.dispose();
}

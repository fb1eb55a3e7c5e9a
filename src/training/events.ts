// What a training run reports: the events of `trainer.run` and, line by line, of the command line's --json.
import type { LanguageModelConfig } from "../models/config.ts";
import type { TrainingOptions } from "./options.ts";

/** First of a run. */
export interface StartEvent {
  /** Version of the events' form. */
  readonly v: 1;
  /** Its kind. */
  readonly event: "start";
  /** The device's description. */
  readonly device: string;
  /** Number of parameters. */
  readonly parameters: number;
  /** Step that the run begins after; 0 unless resumed. */
  readonly step: number;
  /** Tokens trained on. */
  readonly trainTokens: number;
  /** Tokens kept for validation. */
  readonly valTokens: number;
  /** The model's whole configuration. */
  readonly config: LanguageModelConfig;
  /** How it trains, defaults filled in. */
  readonly options: TrainingOptions;
}
/** A step of training that was logged. */
export interface StepEvent {
  /** Version of the events' form. */
  readonly v: 1;
  /** Its kind. */
  readonly event: "step";
  /** Steps done since the run's first. */
  readonly step: number;
  /** Since the run began. */
  readonly seconds: number;
  /** Nats per predicted token, of this step's batch. */
  readonly loss: number;
  /** Over about the last second of training; evaluations, samples and checkpoints do not count. */
  readonly tokensPerSecond: number;
  /** Of this step. */
  readonly learningRate: number;
  /** Global norm before clipping. */
  readonly gradNorm: number;
}
/** An evaluation on the validation part. */
export interface EvalEvent {
  /** Version of the events' form. */
  readonly v: 1;
  /** Its kind. */
  readonly event: "eval";
  /** Steps done since the run's first. */
  readonly step: number;
  /** Since the run began. */
  readonly seconds: number;
  /** Nats per token over the validation text. */
  readonly valLoss: number;
  /** valLoss / ln 2 */
  readonly valBitsPerToken: number;
  /** The same per byte of UTF-8, which can be compared whatever a token is; left out without a tokenizer that says. */
  readonly valBitsPerByte?: number;
  /** Bits per character, where tokens are characters. */
  readonly valBpc?: number;
  /** Part of the next tokens that the model's first guess gets right. */
  readonly valAccuracy: number;
  /** Whether no evaluation before it had a lower loss. */
  readonly best: boolean;
}
/** A text that the model wrote. */
export interface SampleEvent {
  /** Version of the events' form. */
  readonly v: 1;
  /** Its kind. */
  readonly event: "sample";
  /** Steps done since the run's first. */
  readonly step: number;
  /** The text, prompt included. */
  readonly text: string;
}
/** A checkpoint that was kept. */
export interface CheckpointEvent {
  /** Version of the events' form. */
  readonly v: 1;
  /** Its kind. */
  readonly event: "checkpoint";
  /** Steps done since the run's first. */
  readonly step: number;
  /** Where `onCheckpoint` put it. */
  readonly path: string;
  /** True of the best checkpoint so far, which is kept beside the newest. */
  readonly best?: true;
}
/** Last of a run. */
export interface EndEvent {
  /** Version of the events' form. */
  readonly v: 1;
  /** Its kind. */
  readonly event: "end";
  /** Steps done since the run's first. */
  readonly step: number;
  /** Why it ended: all steps are done, its signal was aborted, or too many evaluations in a row were no new best. */
  readonly reason: "done" | "aborted" | "patience";
  /** Time since the run began. */
  readonly seconds: number;
  /** Of the last log, nats per token. */
  readonly loss: number;
  /** Of the last evaluation, nats per token. */
  readonly valLoss?: number;
  /** The lowest validation loss so far, nats per token. */
  readonly bestValLoss?: number;
}
/** What `trainer.run` yields. */
export type TrainingEvent = StartEvent | StepEvent | EvalEvent | SampleEvent | CheckpointEvent | EndEvent;

// What a training run reports: the events of `trainer.run` and, line by line, of the command line's --json.
import type { LanguageModelConfig } from "../models/config.ts";
import type { TrainingOptions } from "./options.ts";

export interface StartEvent {
  readonly v: 1;
  readonly event: "start";
  readonly device: string;
  /** Number of parameters. */
  readonly parameters: number;
  /** Step that the run begins after; 0 unless resumed. */
  readonly step: number;
  readonly trainTokens: number;
  readonly valTokens: number;
  readonly config: LanguageModelConfig;
  readonly options: TrainingOptions;
}
export interface StepEvent {
  readonly v: 1;
  readonly event: "step";
  readonly step: number;
  /** Since the run began. */
  readonly seconds: number;
  /** Nats per predicted token, of this step's batch. */
  readonly loss: number;
  /** Over about the last second of training; evaluations, samples and checkpoints do not count. */
  readonly tokensPerSecond: number;
  readonly learningRate: number;
  /** Global norm before clipping. */
  readonly gradNorm: number;
}
export interface EvalEvent {
  readonly v: 1;
  readonly event: "eval";
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
  readonly best: boolean;
}
export interface SampleEvent {
  readonly v: 1;
  readonly event: "sample";
  readonly step: number;
  readonly text: string;
}
export interface CheckpointEvent {
  readonly v: 1;
  readonly event: "checkpoint";
  readonly step: number;
  readonly path: string;
  /** True of the best checkpoint so far, which is kept beside the newest. */
  readonly best?: true;
}
export interface EndEvent {
  readonly v: 1;
  readonly event: "end";
  readonly step: number;
  /** Why it ended: all steps are done, its signal was aborted, or too many evaluations in a row were no new best. */
  readonly reason: "done" | "aborted" | "patience";
  readonly seconds: number;
  /** Of the last log, nats per token. */
  readonly loss: number;
  /** Of the last evaluation, nats per token. */
  readonly valLoss?: number;
  readonly bestValLoss?: number;
}
export type TrainingEvent = StartEvent | StepEvent | EvalEvent | SampleEvent | CheckpointEvent | EndEvent;

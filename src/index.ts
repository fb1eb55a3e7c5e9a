export { GatewiseError, type ErrorCode } from "./errors.ts";
export type { Device, KernelTime, Plan, Tuner } from "./runtime/device.ts";
export { openDevice, type OpenDeviceOptions } from "./runtime/open.ts";
export type { TuningProgress } from "./runtime/tuner.ts";
export type { Tuned, TuningStore } from "./runtime/tuning-memory.ts";
export { LanguageModel, sampleText, type LanguageModelOptions } from "./models/language-model.ts";
export { parameterCount, type LanguageModelConfig } from "./models/config.ts";
export { PRESETS, type PresetName } from "./models/presets.ts";
export {
  Recurrent,
  type BackwardResult,
  type FinalGradients,
  type ForwardOptions,
  type ForwardResult,
  type RecurrentConfig,
  type RecurrentOptions,
  type StepState,
} from "./models/recurrent.ts";
export type { CellName } from "./models/cells.ts";
export type { StateDict } from "./models/parameters.ts";
export type { SampleOptions, TextCodec } from "./models/sample.ts";
export { CharTokenizer, type Tokenizer } from "./data/tokenizer.ts";
export { ByteTokenizer } from "./data/byte-tokenizer.ts";
export { WordTokenizer } from "./data/word-tokenizer.ts";
export { BpeTokenizer } from "./data/bpe-tokenizer.ts";
export { BOOKS, fetchText, findBook, stripGutenberg, type FetchOptions, type FetchProgress } from "./data/books.ts";
export { Trainer, type RunOptions, type TrainerOptions } from "./training/trainer.ts";
export type { TrainingOptions } from "./training/options.ts";
export { restartSchedule } from "./training/schedule.ts";
export type * from "./training/events.ts";
export { makeEvaluator, type Evaluation, type Evaluator } from "./training/evaluate.ts";
export {
  loadCheckpoint,
  modelFromCheckpoint,
  resumeTrainer,
  sameText,
  saveCheckpoint,
  type Checkpoint,
  type Intervals,
  type LoadOptions,
  type ModelFileOptions,
  type ResumeNotice,
  type TrainingProgress,
} from "./training/checkpoint.ts";
export { readSafetensors, writeSafetensors, type NamedTensor, type Safetensors } from "./training/safetensors.ts";
export {
  BREAKAGES,
  checkGradients,
  CHECKED_CELLS,
  type Breakage,
  type CheckedCell,
  type CheckOptions,
  type CheckReport,
  type CheckResult,
} from "./training/gradient-check.ts";
export { fromTransformers, toTransformers, type TransformersFiles, type TransformersSource } from "./interop/transformers.ts";

export { GatewiseError, type ErrorCode } from "./errors.ts";
export type { Device, KernelTime, Tuner } from "./runtime/device.ts";
export type { Family, Target } from "./runtime/kernel.ts";
export type { Choices } from "./runtime/recorder.ts";
export type { Gpu, GpuDevice } from "./runtime/webgpu-types.ts";
export { openDevice, type OpenDeviceOptions, type WebGpuOptions } from "./runtime/open.ts";
export type { ThreadWorker } from "./runtime/wasm-threads.ts";
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
export { CELLS, type CellName, type CellOptions, type FormName } from "./models/cells.ts";
export type { BlockOptions } from "./kernels/block.ts";
export type { Activation, Cell, CellOption } from "./kernels/cell.ts";
export type { GruOptions } from "./kernels/gru.ts";
export type { LstmOptions } from "./kernels/lstm.ts";
export type { MambaOptions } from "./kernels/mamba.ts";
export type { RnnOptions } from "./kernels/rnn.ts";
export type { StateSizeOption } from "./kernels/state-size.ts";
export type { StateDict } from "./models/parameters.ts";
export type { SampleOptions, TextCodec } from "./models/sample.ts";
export { CharTokenizer, type Tokenizer } from "./data/tokenizer.ts";
export { ByteTokenizer, type PieceTokenizer } from "./data/byte-tokenizer.ts";
export { WordTokenizer } from "./data/word-tokenizer.ts";
export { BpeTokenizer, type Merge } from "./data/bpe-tokenizer.ts";
export {
  BOOKS,
  type Book,
  fetchText,
  findBook,
  stripGutenberg,
  type FetchedResponse,
  type FetchOptions,
  type FetchProgress,
} from "./data/books.ts";
export { Trainer, type RunOptions, type TrainerOptions } from "./training/trainer.ts";
export { makeOptimizer, type ArrayOptimizer, type ArrayOptimizerOptions } from "./training/array-optimizer.ts";
export type { OptimizerName } from "./training/optimizers.ts";
export type { TrainerSettings, TrainingOptions } from "./training/options.ts";
export { restartSchedule, type Schedule, type ScheduleName } from "./training/schedule.ts";
export type * from "./training/events.ts";
export { makeEvaluator, type Evaluation, type Evaluator, type EvaluatorOptions } from "./training/evaluate.ts";
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
export { extendVocabulary } from "./training/vocabulary.ts";
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

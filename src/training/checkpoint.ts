// Checkpoints: one .safetensors file that PyTorch, the command line and the page all read. More than 400 lines: writing,
// and checking what was written by whom, are two sides of one format.
import { checkBytes, checkOptions, checkTokens, given, namesOf, shown } from "../checks.ts";
import { isTokenizer, type Tokenizer } from "../data/tokenizer.ts";
import { isKnownKind, tokenizerFromJSON } from "../data/tokenizers.ts";
import { GatewiseError } from "../errors.ts";
import { languageModelConfig, parameterSpecs, stateSpecs, type LanguageModelConfig } from "../models/config.ts";
import { checkModel, LanguageModel } from "../models/language-model.ts";
import type { ParameterSet } from "../models/parameters.ts";
import { checkDevice, type Device } from "../runtime/device.ts";
import type { Choices } from "../runtime/recorder.ts";
import { sizeOf } from "../runtime/tensor.ts";
import { OPTIMIZERS, type Moment } from "./optimizers.ts";
import { checkTrainerOptions, trainingOptions, type TrainingOptions } from "./options.ts";
import { ALL_DTYPES, copyTensors, writeSafetensors, readHeader, parseJson, shownShape, type NamedTensor } from "./safetensors.ts";
import { learningRateAt, reachedRate } from "./schedule.ts";
import { Trainer, type TrainerOptions } from "./trainer.ts";

const FORMAT = "gatewise";
const VERSION = "1";

/** How often a run tells, samples and keeps; what it learns does not depend on them. */
export type Intervals = Partial<Pick<TrainingOptions, "logInterval" | "sampleInterval" | "checkpointInterval">>;

/** Where a run stands. */
export interface TrainingProgress {
  /** Steps done. */
  readonly step: number;
  /** How it was trained. */
  readonly options: TrainingOptions;
  /** Counter of the random numbers and cursor into the data: both follow from the step. */
  readonly rngCounter: number;
  /** Where the next batch begins. */
  readonly dataCursor: number;
  /** The lowest validation loss so far. */
  readonly bestValLoss: number | null;
  /** The step that had it; null where there is none, or an older version did not note it. */
  readonly bestStep: number | null;
  /** The step at which the optimizer's moments began from zero: above 0 where it replaced another. */
  readonly momentsSince: number;
  /** Whether the step's evaluation is still to be made. */
  readonly evaluationDue: boolean;
  /** Fingerprint of the text, so that a run resumed on another one can be told. */
  readonly data: { readonly tokens: number; readonly hash: number };
}

/** A decoded checkpoint. */
export interface Checkpoint {
  /** The model's configuration. */
  readonly config: LanguageModelConfig;
  /** The text's tokenizer. */
  readonly tokenizer: Tokenizer;
  /** Parameters, optimizer moments and carried state by name. */
  readonly tensors: Readonly<Record<string, NamedTensor>>;
  /** Undefined in a file that holds a model only. */
  readonly training: TrainingProgress | undefined;
  /** Description of the device that wrote it. */
  readonly device: string | undefined;
  /** The kernels that its run takes on that device where there are several, as `Plan.choices`. */
  readonly tuning: Choices;
}

/** What a file that holds a model only needs besides the model. */
export interface ModelFileOptions {
  /** The text's tokenizer. */
  readonly tokenizer: Tokenizer;
}

/** What a file needs to be read, if it has a tokenizer of another kind than Gatewise's own. */
export interface LoadOptions {
  /** The tokenizer that it was saved with, or what makes it of the JSON that was kept. */
  readonly tokenizer?: Tokenizer | ((json: unknown) => Tokenizer);
}

const MODEL_FILE_NAMES = namesOf<ModelFileOptions>({ tokenizer: true });
const LOAD_NAMES = namesOf<LoadOptions>({ tokenizer: true });
const INTERVAL_NAMES = namesOf<Intervals>({ logInterval: true, sampleInterval: true, checkpointInterval: true });

/**
 * Encodes a run as it stands, so that `resumeTrainer` continues it bit for bit (a float64 device is rounded to float32).
 * While `run` works this is between two steps, after the evaluation that is due. The trainer must have been given its
 * tokenizer.
 *
 * @param intervals written in place of the trainer's own, which may suit only the program that it runs in
 * @throws GatewiseError E_NAN_LOSS if a gradient was not finite, or a parameter is not; E_CONFIG without a tokenizer, or with one that
 * `loadCheckpoint` could not read; E_DISPOSED
 */
export async function saveCheckpoint(trainer: Trainer, intervals?: Intervals): Promise<Uint8Array>;
/**
 * Encodes a model without a run: `modelFromCheckpoint` makes it again, and another run may begin from its weights.
 *
 * @throws GatewiseError E_NAN_LOSS if a parameter is not finite; E_CONFIG without a tokenizer that `loadCheckpoint` can read; E_DISPOSED
 */
export async function saveCheckpoint(model: LanguageModel, options: ModelFileOptions): Promise<Uint8Array>;
export async function saveCheckpoint(
  of: Trainer | LanguageModel,
  options: Intervals | ModelFileOptions = {},
): Promise<Uint8Array> {
  if (of instanceof LanguageModel) {
    checkOptions("saveCheckpoint", options, MODEL_FILE_NAMES);
    const tokenizer = readableTokenizer("saveCheckpoint", (options as Partial<ModelFileOptions>).tokenizer, of);
    return of.life.serve("saveCheckpoint", async () => encode(of, tokenizer, await readParameters(of)));
  }
  if (!(of instanceof Trainer))
    throw new GatewiseError("E_CONFIG", `saveCheckpoint: expected a Trainer or a LanguageModel, got ${shown(of)}`);
  checkOptions("saveCheckpoint", options, INTERVAL_NAMES);
  const training = trainingOptions({ ...of.options, ...given(options) });
  const tokenizer = readableTokenizer("saveCheckpoint", of.settings.tokenizer, of.model, " to Trainer.create");
  return of.life.serve("saveCheckpoint", () => encodeRun(of, training, tokenizer));
}

/**
 * A tokenizer as JSON.
 *
 * @param to whom it is to be given, if it is not
 * @throws GatewiseError E_CONFIG if a checkpoint could not be read with it
 */
export function readableTokenizer(
  where: string,
  tokenizer: ModelFileOptions["tokenizer"] | undefined,
  { config }: Pick<LanguageModel, "config">,
  to = "",
): string {
  if (!tokenizer) throw new GatewiseError("E_CONFIG", `${where}: give the tokenizer${to}, { tokenizer }`);
  try {
    const json = JSON.stringify(tokenizer.toJSON());
    const value = JSON.parse(json) as { kind?: unknown } | null;
    if (typeof value?.kind !== "string") throw new Error(`its toJSON must give { kind: "…", … }, it gives ${json.slice(0, 60)}`);
    const { size } = isKnownKind(value) ? tokenizerFromJSON(value) : tokenizer;
    if (size === config.vocabSize) return json;
    throw new Error(`it has ${shown(size)} tokens, the model ${config.vocabSize}`);
  } catch (cause) {
    throw new GatewiseError(
      "E_CONFIG",
      `${where}: loadCheckpoint could not read a checkpoint with this tokenizer (${(cause as Error).message}); give one of the model's size, whose toJSON says its kind`,
      { cause },
    );
  }
}

type Named = Record<string, NamedTensor>;

/** Reads a set's tensors, as files name them. */
async function readSet(device: Device, set: ParameterSet, prefix = ""): Promise<Named> {
  const tensors: Named = {};
  for (const [i, { name, shape }] of set.specs.entries())
    tensors[prefix + name] = { shape, data: Float32Array.from(await device.read(set.flat.parts[i]!)) };
  return tensors;
}

/** @throws GatewiseError E_NAN_LOSS if one is not finite */
async function readParameters({ device, parameters }: LanguageModel): Promise<Named> {
  const tensors = await readSet(device, parameters);
  const found = firstNotFinite(tensors, Object.keys(tensors));
  if (found)
    throw new GatewiseError(
      "E_NAN_LOSS",
      `saveCheckpoint: the model's ${found}, so that the checkpoint could not be used; lower the learning rate, or clip the gradient`,
    );
  return tensors;
}

/** A file of a model, and of the run that metadata says more of. */
const encode = (
  { config, device }: Pick<LanguageModel, "config"> & { readonly device: Pick<Device, "description"> | undefined },
  tokenizer: string,
  tensors: Named,
  run: Partial<Record<"training" | "tuning", string>> = {},
): Uint8Array =>
  writeSafetensors({
    tensors,
    metadata: {
      format: FORMAT,
      version: VERSION,
      config: JSON.stringify(config),
      tokenizer,
      ...(run.training && { training: run.training }),
      ...(device && { device: device.description }),
      ...(run.tuning && { tuning: run.tuning }),
    },
  });

/**
 * Encodes what was decoded, or made of other programs' files.
 *
 * @throws GatewiseError E_BAD_CHECKPOINT if tensors are not those of the configuration and the run, or not finite; E_CONFIG
 */
export function encodeCheckpoint(checkpoint: Checkpoint): Uint8Array {
  const { config, tensors, training, tuning } = checkDecoded("encodeCheckpoint", checkpoint);
  const { device: description } = checkpoint;
  const tokenizer = readableTokenizer("encodeCheckpoint", checkpoint.tokenizer, { config });
  checkShapes(config, training, tensors);
  checkFinite(tensors, Object.keys(tensors));
  return encode({ config, device: description === undefined ? undefined : { description } }, tokenizer, tensors, {
    ...(training && { training: JSON.stringify(writtenProgress(training)) }),
    ...(tuning.size > 0 && { tuning: JSON.stringify(Object.fromEntries(tuning)) }),
  });
}

/** Fields left out where they say nothing, as by the versions before there were such fields. */
const writtenProgress = ({ bestStep, momentsSince, evaluationDue, data, ...training }: TrainingProgress): object => ({
  ...training,
  ...(bestStep && { bestStep }),
  ...(momentsSince > 0 && { momentsSince }),
  ...(evaluationDue && { evaluationDue }),
  data,
});

async function encodeRun(trainer: Trainer, options: TrainingOptions, tokenizer: string): Promise<Uint8Array> {
  const { model, step, bestValLoss, bestStep, momentsSince, evaluationDue } = trainer;
  const { device } = model;
  await trainer.readFinite();
  // A last step that was too long leaves them not finite, before any gradient is.
  const tensors = await readParameters(model);
  for (const [moment, set] of Object.entries(trainer.moments))
    Object.assign(tensors, await readSet(device, set, momentPrefix(moment as Moment)));
  for (const tensor of Object.values(trainer.state ?? {})) {
    tensors[tensor.name] = { shape: tensor.shape, data: Float32Array.from(await device.read(tensor)) };
  }
  const training = writtenProgress({
    step,
    options,
    rngCounter: step,
    dataCursor: step,
    bestValLoss: Number.isFinite(bestValLoss) ? bestValLoss : null,
    bestStep,
    momentsSince,
    evaluationDue,
    data: fingerprint(trainer.tokens),
  });
  return encode(model, tokenizer, tensors, {
    training: JSON.stringify(training),
    ...(trainer.choices.size > 0 && { tuning: JSON.stringify(Object.fromEntries(trainer.choices)) }),
  });
}

/**
 * Decodes a checkpoint and checks that it is whole: that its header has the tensors that its configuration and its run
 * ask for, each of its shape, is known before a tensor is copied. A model alone may be in F16, BF16 or F64: its numbers become
 * the nearest float32.
 *
 * @param file the file's bytes: a Uint8Array or other view, or an ArrayBuffer
 * @param options the tokenizer, if it is of a kind of the caller's own
 * @throws GatewiseError E_BAD_CHECKPOINT that says what is wrong, E_DATA if these are no bytes, E_CONFIG for a tokenizer
 * that is not the one that was saved.
 */
export function loadCheckpoint(file: ArrayBufferLike | ArrayBufferView, options: LoadOptions = {}): Checkpoint {
  const bytes = checkBytes("loadCheckpoint", file);
  checkOptions("loadCheckpoint", options, LOAD_NAMES);
  const { places, metadata } = readHeader(bytes, ALL_DTYPES);
  if (metadata.format !== FORMAT) {
    throw bad(`not a Gatewise checkpoint: its format is ${shown(metadata.format ?? "unknown")}, expected "${FORMAT}"`);
  }
  if (metadata.version !== VERSION) {
    const version = metadata.version?.slice(0, 20);
    throw bad(`checkpoint of version ${version}, this Gatewise reads version ${VERSION}; use the newer Gatewise that wrote it`);
  }
  const config = readMetadata(metadata, "config", languageModelConfig);
  const tokenizer = readMetadata(metadata, "tokenizer", (json) =>
    options.tokenizer === undefined ? tokenizerFromJSON(json) : ownTokenizer(options.tokenizer, json),
  );
  if (tokenizer.size !== config.vocabSize)
    throw bad(`the checkpoint's tokenizer has ${tokenizer.size} tokens, its model ${config.vocabSize}`);
  const training = metadata.training === undefined ? undefined : readMetadata(metadata, "training", trainingProgress);
  const tuning = metadata.tuning === undefined ? new Map() : readMetadata(metadata, "tuning", tuningChoices);
  const [name, place] = Object.entries(places).find(([, { dtype }]) => dtype !== "F32") ?? [];
  if (training && place)
    throw bad(
      `the run could not go on bit for bit: tensor ${shown(name)} is ${place.dtype}, a run's are F32; only a model alone may be`,
    );
  checkShapes(config, training, places);
  return { config, tokenizer, tensors: copyTensors(bytes, places), training, device: metadata.device, tuning };
}

/** The caller's tokenizer. @throws GatewiseError E_CONFIG unless it is the one that was saved as `json` */
function ownTokenizer(given: NonNullable<LoadOptions["tokenizer"]>, json: unknown): Tokenizer {
  const tokenizer = typeof given === "function" ? given(json) : given;
  const saved = JSON.stringify(json);
  const refuse = (problem: string): never => {
    throw new GatewiseError("E_CONFIG", `loadCheckpoint: tokenizer must be the one that was saved, ${problem}`);
  };
  if (!isTokenizer(tokenizer)) return refuse(`got ${shown(tokenizer)}`);
  const now = JSON.stringify(tokenizer.toJSON());
  if (now !== saved) refuse(`${saved.slice(0, 60)}, got ${now?.slice(0, 60)}`);
  return tokenizer;
}

const bad = (message: string, cause?: unknown): GatewiseError => new GatewiseError("E_BAD_CHECKPOINT", message, { cause });

/** Reads one entry of the metadata, which is JSON. */
function readMetadata<T>(metadata: Readonly<Record<string, string>>, key: string, read: (value: any) => T): T {
  return readEntry(key, parseJson(`the checkpoint's ${key} is missing or damaged: it`, metadata[key] ?? ""), read);
}

/** Reads one entry of the metadata's value. `read` may throw whatever it likes at one that it does not expect. */
export function readEntry<T>(key: string, value: any, read: (value: any) => T): T {
  try {
    return read(value);
  } catch (cause) {
    if (cause instanceof GatewiseError && (cause.code === "E_BAD_CHECKPOINT" || key === "tokenizer")) throw cause;
    throw bad(`the checkpoint's ${key} is damaged: ${(cause as Error).message}`, cause);
  }
}

export function tuningChoices(value: Record<string, string>): Choices {
  const choices = Object.entries(value);
  const named = typeof value === "object" && !Array.isArray(value) && choices.every(([, name]) => typeof name === "string");
  if (!named) throw new Error("it does not name a kernel for each choice");
  return new Map(choices);
}

export function trainingProgress(value: TrainingProgress): TrainingProgress {
  const check = (name: string, given: unknown, valid: boolean): void => {
    if (!valid) throw new Error(`${name} is ${shown(given)}`);
  };
  check("it", value, typeof value === "object" && value !== null && !Array.isArray(value));
  const { step, options, rngCounter, dataCursor, bestValLoss, bestStep = null, data, ...rest } = value;
  const { momentsSince = 0, evaluationDue = false, ...others } = rest;
  const integer = (name: string, given: unknown, most = Number.MAX_SAFE_INTEGER): void =>
    check(name, given, Number.isInteger(given) && (given as number) >= 0 && (given as number) <= most);
  for (const [name, given] of Object.entries(others)) check(`the unknown field ${shown(name)}`, given, false);
  integer("step", step);
  integer("rngCounter", rngCounter);
  integer("dataCursor", dataCursor);
  integer("momentsSince", momentsSince, step);
  check("evaluationDue", evaluationDue, typeof evaluationDue === "boolean");
  check("bestValLoss", bestValLoss, bestValLoss === null || Number.isFinite(bestValLoss));
  if (bestStep !== null) integer("bestStep", bestStep, step);
  check("data", data, Number.isInteger(data?.tokens) && Number.isInteger(data.hash));
  check("options", options, typeof options === "object" && options !== null);
  const { tokens, hash } = data;
  return {
    step,
    options: trainingOptions(options),
    rngCounter,
    dataCursor,
    bestValLoss,
    bestStep,
    momentsSince,
    evaluationDue,
    data: { tokens, hash },
  };
}

export const momentPrefix = (moment: Moment): string => `optimizer.${moment}.`;

/** The tensors of a model's file, and of its run's, with their shapes: they follow from the configuration. */
export function expectedShapes(
  config: LanguageModelConfig,
  training: TrainingProgress | undefined,
): ReadonlyMap<string, readonly number[]> {
  const parameters = parameterSpecs(config);
  const shapes = new Map(parameters.map(({ name, shape }) => [name, shape]));
  if (!training) return shapes;
  const { optimizer, state, batchSize } = training.options;
  for (const moment of OPTIMIZERS[optimizer].moments)
    for (const { name, shape } of parameters) shapes.set(momentPrefix(moment) + name, shape);
  if (state === "carry") for (const { name, shape } of stateSpecs(config, batchSize)) shapes.set(name, shape);
  return shapes;
}

/** Tensors of each kind that an error lists. */
const LISTED = 4;

/**
 * @param who does not hold what, if it does not
 * @throws GatewiseError E_BAD_CHECKPOINT unless the tensors are those expected: their names, and shapes, not only sizes
 */
export function checkShapes(
  config: LanguageModelConfig,
  training: TrainingProgress | undefined,
  tensors: Readonly<Record<string, { readonly shape: readonly number[] }>>,
  who = `the checkpoint does not hold the ${training ? "model and run" : "model"} that it describes`,
): void {
  const expected = expectedShapes(config, training);
  const list = (found: readonly string[]): string =>
    found.slice(0, LISTED).join(", ") + (found.length > LISTED ? ` and ${found.length - LISTED} more` : "");
  const problems: string[] = [];
  const missing: string[] = [];
  for (const [name, shape] of expected) {
    const got = Object.hasOwn(tensors, name) ? tensors[name]!.shape : undefined;
    if (!got) missing.push(`"${name}" ${shownShape(shape)}`);
    else if (got.join() !== shape.join()) problems.push(`"${name}" must be ${shownShape(shape)}, got ${shownShape(got)}`);
  }
  const leftOver = Object.keys(tensors).filter((name) => !expected.has(name));
  const findings = [
    ...(problems.length > 0 ? [list(problems)] : []),
    ...(missing.length > 0 ? [`missing ${list(missing)}`] : []),
    ...(leftOver.length > 0
      ? [`left over ${list(leftOver.map((name) => `${shown(name)} ${shownShape(tensors[name]!.shape)}`))}`]
      : []),
  ];
  if (findings.length > 0) throw bad(`${who}: ${findings.join("; ")}`);
}

/** The first value that is NaN or infinite, and where: '"head.bias" holds NaN at 3'. */
function firstNotFinite(tensors: Checkpoint["tensors"], names: Iterable<string>): string | undefined {
  for (const name of names) {
    const { data } = tensors[name]!;
    const at = data.findIndex((value) => !Number.isFinite(value));
    if (at >= 0) return `"${name}" holds ${data[at]} at ${at}`;
  }
  return undefined;
}

/** @throws GatewiseError E_BAD_CHECKPOINT that names the tensor, if one has a value that is NaN or infinite */
function checkFinite(tensors: Checkpoint["tensors"], names: Iterable<string>): void {
  const found = firstNotFinite(tensors, names);
  if (found) throw bad(`the checkpoint's ${found}: it was damaged, or its run had diverged; use an earlier one`);
}

/**
 * What is used of a checkpoint, whose fields the caller may have changed.
 *
 * @throws GatewiseError E_CONFIG unless it is what loadCheckpoint gives, E_BAD_CHECKPOINT where a field could not be a file's
 */
export function checkDecoded(where: string, checkpoint: unknown): Pick<Checkpoint, "config" | "tensors" | "training" | "tuning"> {
  const { config, tensors, training, tuning = new Map() } = (checkpoint ?? {}) as Partial<Checkpoint>;
  const whole = (tensor: Partial<NamedTensor> | null): boolean =>
    Array.isArray(tensor?.shape) && tensor.data instanceof Float32Array && tensor.data.length === sizeOf(tensor.shape);
  if (typeof config !== "object" || typeof tensors !== "object" || !Object.values(tensors ?? [{}]).every(whole))
    throw new GatewiseError("E_CONFIG", `${where}: expected a checkpoint, as loadCheckpoint gives it, got ${shown(checkpoint)}`);
  return {
    config: readEntry("config", config, languageModelConfig),
    training: training && readEntry("training", training, trainingProgress),
    tensors,
    tuning,
  };
}

/** Whether a device takes half precision: the CPU device, and GPUs with the feature. */
const hasHalf = ({ gpuDevice }: Device): boolean => !gpuDevice || gpuDevice.features.has("shader-f16");

/**
 * Makes the model of a checkpoint, with its weights. They are float32 whatever the precision it was trained in, so that
 * a device without shader-f16 gets a model that computes in f32.
 *
 * @throws GatewiseError E_BAD_CHECKPOINT if tensors are not those of the configuration, or not finite; E_LIMIT
 */
export function modelFromCheckpoint(device: Device, checkpoint: Checkpoint): LanguageModel {
  checkDevice("modelFromCheckpoint", device);
  const { config, training, tensors } = checkDecoded("modelFromCheckpoint", checkpoint);
  checkShapes(config, training, tensors);
  const names = parameterSpecs(config).map(({ name }) => name);
  checkFinite(tensors, names);
  const model = LanguageModel.create(device, { ...config, ...(!hasHalf(device) && { precision: "f32" }) });
  model.loadStateDict(Object.fromEntries(names.map((name) => [name, tensors[name]!.data])));
  return model;
}

/**
 * Refuses to train a checkpoint's model on in another precision than its run's without a word: f16 where the device
 * has none.
 *
 * @throws GatewiseError E_CONFIG
 */
export function checkPrecision({ config, device }: LanguageModel, { config: { precision } }: Checkpoint): void {
  if (config.precision === precision) return;
  throw new GatewiseError(
    "E_CONFIG",
    `this checkpoint was trained in ${precision}, and ${device.description} has no shader-f16; to train it on in f32, give ` +
      '--precision f32 (in the library, a checkpoint whose config has precision: "f32")',
  );
}

/** What a resumed run does in another way than the unbroken one, for people. */
export interface ResumeNotice {
  /** What it is about. */
  readonly about: "optimizer" | "learningRate" | "batchSize" | "windows";
  /** What to tell people. */
  readonly message: string;
}

/**
 * Continues the run of a checkpoint, bit for bit if `tokens`, device and build are the same: on the device that wrote
 * it the kernels are those that the run took so far, unless the device was opened with `tuning: "again"`.
 *
 * @param overrides options to change; another optimizer begins with moments of zero
 * @param onNotice told of what such a change means for the run
 * @throws GatewiseError E_BAD_CHECKPOINT, E_CONFIG, E_DATA
 */
export function resumeTrainer(
  model: LanguageModel,
  tokens: ArrayLike<number>,
  checkpoint: Checkpoint,
  overrides: TrainerOptions = {},
  onNotice: (notice: ResumeNotice) => void = () => {},
): Trainer {
  checkModel("resumeTrainer", model);
  const { training, tensors, tuning } = checkDecoded("resumeTrainer", checkpoint);
  checkTrainerOptions("resumeTrainer", overrides);
  if (!training) throw bad("this checkpoint holds a model but no run; start a new run from it with --init-from");
  checkPrecision(model, checkpoint);
  checkShapes(model.config, training, tensors);
  checkFinite(tensors, expectedShapes(model.config, training).keys());
  const { step, options: before } = training;
  const trainer = Trainer.create(model, tokens, { tokenizer: checkpoint.tokenizer, ...before, ...given(overrides) });
  try {
    const { device } = model;
    const { options } = trainer;
    trainer.step = step;
    trainer.bestValLoss = training.bestValLoss ?? Infinity;
    trainer.bestStep = training.bestStep ?? 0;
    trainer.sinceBest = evaluationsSince(training);
    trainer.evaluationDue = training.evaluationDue;
    // Kernels that add in another order would round in another way.
    if (checkpoint.device === device.description && !device.tuner?.again) trainer.choices = tuning;
    if (keepsMoments(before, options)) {
      trainer.momentsSince = training.momentsSince;
      for (const [moment, set] of Object.entries(trainer.moments))
        for (const [i, { name }] of set.specs.entries())
          device.write(set.flat.parts[i]!, tensors[momentPrefix(moment as Moment) + name]!.data);
    } else {
      // A moment of one optimizer is not the other's, even where both have an m: a mean is no momentum.
      trainer.momentsSince = step;
    }
    // With another batch size the streams are others, which begin from zero.
    if (before.state === "carry" && options.batchSize === before.batchSize) {
      for (const tensor of Object.values(trainer.state ?? {})) device.write(tensor, tensors[tensor.name]!.data);
    }
    for (const notice of resumeNotices(step, before, options)) onNotice(notice);
  } catch (error) {
    trainer.dispose();
    throw error;
  }
  return trainer;
}

/** Evaluations that a run made since its best one. */
function evaluationsSince({ step, bestStep, evaluationDue, options: { evalInterval } }: TrainingProgress): number {
  if (evalInterval === 0) return 0;
  const evaluations = (steps: number): number => Math.floor(steps / evalInterval);
  return evaluations(evaluationDue ? step - 1 : step) - evaluations(bestStep ?? step);
}

/**
 * Whether the moments go on. One optimizer's are not the other's, and SGD without momentum has none: what it leaves is its
 * last gradient, which torch.optim.SGD would not take for a momentum either.
 */
const keepsMoments = (before: TrainingOptions, now: TrainingOptions): boolean =>
  now.optimizer === before.optimizer && !(now.optimizer === "sgd" && before.momentum === 0 && now.momentum > 0);

function resumeNotices(step: number, before: TrainingOptions, now: TrainingOptions): readonly ResumeNotice[] {
  const notices: ResumeNotice[] = [];
  if (now.optimizer !== before.optimizer) {
    const message = `the optimizer is ${now.optimizer} now, and was ${before.optimizer}: its moments begin from zero`;
    notices.push({ about: "optimizer", message });
  } else if (!keepsMoments(before, now)) {
    notices.push({ about: "optimizer", message: `the momentum is ${now.momentum} now, and was 0: it begins from zero` });
  }
  const [reached, next] = [reachedRate(step, before), learningRateAt(step, now)];
  // A rate that was asked for is no surprise, one that follows from the schedule's new length is.
  const replanned = learningRateAt(step, { ...now, learningRate: before.learningRate }) !== learningRateAt(step, before);
  if (replanned && step > 0 && short(next) !== short(reached)) {
    const message = `the learning rate goes from ${short(reached)} at step ${step} to ${short(next)}, by the ${now.schedule} schedule over ${now.totalSteps} steps`;
    notices.push({ about: "learningRate", message });
  }
  if (now.batchSize !== before.batchSize && before.state === "carry" && now.state === "carry") {
    const message = `the batch is ${now.batchSize} now, and was ${before.batchSize}: the text is cut into other streams, whose state begins from zero`;
    notices.push({ about: "batchSize", message });
  } else if (now.state === "carry" && (now.seqLen !== before.seqLen || now.valFraction !== before.valFraction)) {
    const cut = (of: TrainingOptions): string => `windows of ${of.seqLen} with ${of.valFraction} for validation`;
    const message = `the text is cut into ${cut(now)} now, and was into ${cut(before)}: reading goes on at another place`;
    notices.push({ about: "windows", message });
  }
  return notices;
}

/** A rate as people read it. */
const short = (rate: number): string => String(Number(rate.toPrecision(3)));

/** Whether a text is the one that a checkpoint's run was trained on. @throws GatewiseError E_DATA, E_CONFIG */
export function sameText(checkpoint: Checkpoint, tokens: ArrayLike<number>): boolean {
  const { config, training } = checkDecoded("sameText", checkpoint);
  checkTokens("sameText", tokens, config.vocabSize);
  const { hash, tokens: count } = fingerprint(tokens);
  return training?.data.hash === hash && training.data.tokens === count;
}

/** Length and FNV-1a hash of a text's tokens. */
function fingerprint(tokens: ArrayLike<number>): TrainingProgress["data"] {
  let hash = 0x811c9dc5;
  for (let i = 0; i < tokens.length; i++) hash = Math.imul(hash ^ tokens[i]!, 0x01000193) >>> 0;
  return { tokens: tokens.length, hash };
}

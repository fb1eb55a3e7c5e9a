// Checkpoints: one .safetensors file that PyTorch, the command line and the page all read.
import { GatewiseError } from "../errors.ts";
import { CharTokenizer } from "../data/tokenizer.ts";
import { languageModelConfig, type LanguageModelConfig } from "../models/config.ts";
import { LanguageModel } from "../models/language-model.ts";
import type { ParameterSet } from "../models/parameters.ts";
import type { Device } from "../runtime/device.ts";
import { sizeOf } from "../runtime/tensor.ts";
import { trainingOptions, type TrainingOptions } from "./options.ts";
import { decodeSafeTensors, encodeSafeTensors, type NamedTensor } from "./safetensors.ts";
import { Trainer, type TrainerOptions } from "./trainer.ts";

const FORMAT = "gatewise";
const VERSION = "1";

/** How often a run tells, samples and keeps; what it learns does not depend on them. */
export type Intervals = Partial<Pick<TrainingOptions, "logInterval" | "sampleInterval" | "checkpointInterval">>;

/** Where a run stands. */
export interface TrainingProgress {
  readonly step: number;
  readonly options: TrainingOptions;
  /** Counter of the random numbers and cursor into the data: both follow from the step. */
  readonly rngCounter: number;
  readonly dataCursor: number;
  readonly bestValLoss: number | null;
  /** Fingerprint of the text, so that a run resumed on another one can be told. */
  readonly data: { readonly tokens: number; readonly hash: number };
}

/** A decoded checkpoint. */
export interface Checkpoint {
  readonly config: LanguageModelConfig;
  readonly tokenizer: CharTokenizer;
  readonly tensors: Readonly<Record<string, NamedTensor>>;
  /** Undefined in a file that holds a model only. */
  readonly training: TrainingProgress | undefined;
}

/**
 * Encodes a run as it stands, so that `resumeTrainer` continues it bit for bit (a float64 device is rounded to float32). The trainer must have been given its
 * tokenizer, and must not be in the middle of a step.
 *
 * @param intervals written in place of the trainer's own, which may suit only the program that it runs in
 * @throws GatewiseError E_NAN_LOSS if a gradient was not finite, E_CONFIG without a tokenizer
 */
export async function saveCheckpoint(trainer: Trainer, intervals: Intervals = {}): Promise<Uint8Array> {
  const { model, options, step, bestValLoss } = trainer;
  const { device } = model;
  const { tokenizer } = trainer.settings;
  if (!tokenizer) throw new GatewiseError("E_CONFIG", "saveCheckpoint: give the tokenizer to Trainer.create, { tokenizer }");
  await trainer.checkFinite();
  const tensors: Record<string, NamedTensor> = {};
  const add = async (set: ParameterSet, prefix: string): Promise<void> => {
    for (const [i, { name, shape }] of set.specs.entries()) {
      tensors[prefix + name] = { shape, data: Float32Array.from(await device.read(set.flat.parts[i]!)) };
    }
  };
  await add(model.parameters, "");
  for (const [moment, set] of Object.entries(trainer.moments)) await add(set, `optimizer.${moment}.`);
  for (const tensor of [trainer.state?.h, trainer.state?.c]) {
    if (tensor) tensors[tensor.name] = { shape: tensor.shape, data: Float32Array.from(await device.read(tensor)) };
  }
  const training: TrainingProgress = {
    step,
    options: { ...options, ...intervals },
    rngCounter: step,
    dataCursor: step,
    bestValLoss: Number.isFinite(bestValLoss) ? bestValLoss : null,
    data: fingerprint(trainer.tokens),
  };
  return encodeSafeTensors({
    tensors,
    metadata: {
      format: FORMAT,
      version: VERSION,
      config: JSON.stringify(model.config),
      tokenizer: JSON.stringify(tokenizer.toJSON()),
      training: JSON.stringify(training),
    },
  });
}

/**
 * Decodes a checkpoint and checks that it is whole.
 *
 * @throws GatewiseError E_BAD_CHECKPOINT that says what is wrong.
 */
export function loadCheckpoint(bytes: Uint8Array): Checkpoint {
  const { tensors, metadata } = decodeSafeTensors(bytes);
  if (metadata.format !== FORMAT) {
    throw new GatewiseError(
      "E_BAD_CHECKPOINT",
      `not a Gatewise checkpoint: its format is ${JSON.stringify(metadata.format ?? "unknown")}, expected "${FORMAT}"`,
    );
  }
  if (metadata.version !== VERSION) {
    throw new GatewiseError(
      "E_BAD_CHECKPOINT",
      `checkpoint of version ${metadata.version}, this Gatewise reads version ${VERSION}; use the newer Gatewise that wrote it`,
    );
  }
  const parse = (key: string): unknown => {
    try {
      return JSON.parse(metadata[key] ?? "");
    } catch (cause) {
      throw new GatewiseError("E_BAD_CHECKPOINT", `the checkpoint's ${key} is missing or damaged`, { cause });
    }
  };
  const checked = <T>(key: string, read: (value: any) => T): T => {
    try {
      return read(parse(key));
    } catch (cause) {
      if (cause instanceof GatewiseError && cause.code === "E_BAD_CHECKPOINT") throw cause;
      throw new GatewiseError("E_BAD_CHECKPOINT", `the checkpoint's ${key} is damaged: ${(cause as Error).message}`, { cause });
    }
  };
  const config = checked("config", languageModelConfig);
  const tokenizer = checked("tokenizer", (value) => CharTokenizer.fromJSON(value));
  if (tokenizer.size !== config.vocabSize) {
    throw new GatewiseError(
      "E_BAD_CHECKPOINT",
      `the checkpoint's tokenizer has ${tokenizer.size} characters, its model ${config.vocabSize}`,
    );
  }
  return {
    config,
    tokenizer,
    tensors,
    training: metadata.training === undefined ? undefined : checked("training", trainingProgress),
  };
}

function trainingProgress(value: TrainingProgress): TrainingProgress {
  const check = (name: string, number: unknown, valid: boolean): void => {
    if (!valid) throw new Error(`${name} is ${JSON.stringify(number)}`);
  };
  const { step, bestValLoss, data } = value;
  check("step", step, Number.isInteger(step) && step >= 0);
  check("bestValLoss", bestValLoss, bestValLoss === null || Number.isFinite(bestValLoss));
  check("data", data, Number.isInteger(data?.tokens) && Number.isInteger(data?.hash));
  return { ...value, options: trainingOptions(value.options) };
}

/** The tensors of a checkpoint whose names begin with `prefix`, without it. */
function withPrefix({ tensors }: Checkpoint, prefix: string): Record<string, Float32Array> {
  const found = Object.entries(tensors).filter(([name]) => name.startsWith(prefix));
  return Object.fromEntries(found.map(([name, { data }]) => [name.slice(prefix.length), data]));
}

/**
 * Makes the model of a checkpoint, with its weights.
 *
 * @throws GatewiseError E_BAD_CHECKPOINT if tensors are missing or of the wrong size, E_LIMIT
 */
export function modelFromCheckpoint(device: Device, checkpoint: Checkpoint): LanguageModel {
  const model = LanguageModel.create(device, checkpoint.config);
  try {
    const parameters = Object.entries(withPrefix(checkpoint, "")).filter(([name]) => !/^(optimizer|state)\./.test(name));
    model.loadStateDict(Object.fromEntries(parameters));
  } catch (cause) {
    model.dispose();
    throw new GatewiseError("E_BAD_CHECKPOINT", `the checkpoint does not hold its own model: ${(cause as Error).message}`, {
      cause,
    });
  }
  return model;
}

/**
 * Continues the run of a checkpoint, bit for bit if `tokens` are the same.
 *
 * @param overrides options to change; those that the data or the optimizer's state depend on are better left alone
 * @throws GatewiseError E_BAD_CHECKPOINT, E_CONFIG, E_DATA
 */
export function resumeTrainer(
  model: LanguageModel,
  tokens: Uint32Array,
  checkpoint: Checkpoint,
  overrides: TrainerOptions = {},
): Trainer {
  const { training } = checkpoint;
  if (!training)
    throw new GatewiseError(
      "E_BAD_CHECKPOINT",
      "this checkpoint holds a model but no run; start a new run from it with --init-from",
    );
  const trainer = Trainer.create(model, tokens, { tokenizer: checkpoint.tokenizer, ...training.options, ...overrides });
  try {
    const { device } = model;
    for (const [moment, set] of Object.entries(trainer.moments)) {
      const values = withPrefix(checkpoint, `optimizer.${moment}.`);
      for (const [i, { name, shape }] of set.specs.entries()) {
        const given = values[name];
        if (given?.length !== sizeOf(shape)) {
          const problem = given ? `has ${given.length} values` : "is missing";
          throw new GatewiseError(
            "E_BAD_CHECKPOINT",
            `optimizer.${moment}.${name} [${shape.join(", ")}] ${problem}; was the run trained with another optimizer?`,
          );
        }
        device.write(set.flat.parts[i]!, given);
      }
    }
    for (const tensor of [trainer.state?.h, trainer.state?.c]) {
      if (!tensor || training.options.state !== "carry") continue;
      const values = checkpoint.tensors[tensor.name];
      if (!values) throw new GatewiseError("E_BAD_CHECKPOINT", `the carried state ${tensor.name} is missing`);
      // With another batch size the streams are others, which begin from zero.
      if (values.shape.join() === tensor.shape.join()) device.write(tensor, values.data);
    }
    trainer.step = training.step;
    trainer.bestValLoss = training.bestValLoss ?? Infinity;
  } catch (error) {
    trainer.dispose();
    throw error;
  }
  return trainer;
}

/** Whether a text is the one that a checkpoint's run was trained on. */
export const sameText = (checkpoint: Checkpoint, tokens: Uint32Array): boolean =>
  checkpoint.training !== undefined && JSON.stringify(fingerprint(tokens)) === JSON.stringify(checkpoint.training.data);

/** Length and FNV-1a hash of a text's tokens. */
function fingerprint(tokens: Uint32Array): TrainingProgress["data"] {
  let hash = 0x811c9dc5;
  for (const token of tokens) hash = Math.imul(hash ^ token, 0x01000193) >>> 0;
  return { tokens: tokens.length, hash };
}

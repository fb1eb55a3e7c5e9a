// A checkpoint as a folder that PyTorch opens without Gatewise, trains on by itself or by torchrun, and gives back: tensors,
// a description, and readable Python (pytorch/*.py), which goes as it stands.
import { shown } from "../checks.ts";
import { languageModelConfig, parameterSpecs, stateSpecs, type LanguageModelConfig } from "../models/config.ts";
import {
  checkDecoded,
  checkShapes,
  expectedShapes,
  momentPrefix,
  readableTokenizer,
  readEntry,
  trainingProgress,
  tuningChoices,
  type Checkpoint,
  type TrainingProgress,
} from "../training/checkpoint.ts";
import { GatewiseError } from "../errors.ts";
import { TRAINING_DEFAULTS } from "../training/options.ts";
import type { Moment } from "../training/optimizers.ts";
import { writeSafetensors, type NamedTensor } from "../training/safetensors.ts";
import { PYTORCH } from "./layouts.ts";
import model from "./pytorch/model.py?raw";
import trainDdp from "./pytorch/train_ddp.py?raw";
import { copyStored, type StoredTensors } from "./stored.ts";

const FORMAT = "gatewise-pytorch";
const VERSION = 1;

/** A folder's files by their names. */
export type PyTorchFiles = {
  /** The parameters, under their names. */
  readonly "model.safetensors": Uint8Array;
  /** The optimizer's moments, `exp_avg.<name>` and so on, and the carried state; not there without a run. */
  readonly "optimizer.safetensors"?: Uint8Array;
  /** `{ format, version, model, training, … }` */
  readonly "config.json": string;
  /** `JSON.stringify` of the tokenizer; of one of byte pairs, Hugging Face's format. */
  readonly "tokenizer.json": string;
  /** `load(directory)`, the model in `torch.nn`. */
  readonly "model.py": string;
  /** Trains it on, on one process or many. */
  readonly "train_ddp.py": string;
};

/** What a checkpoint's tensors beside its parameters are called here and there. */
function besides(config: LanguageModelConfig, { options }: Pick<TrainingProgress, "options">): ReadonlyMap<string, string> {
  const { moments } = PYTORCH.optimizers[options.optimizer];
  const names = new Map<string, string>();
  for (const [moment, theirs] of Object.entries(moments))
    for (const { name } of parameterSpecs(config)) names.set(momentPrefix(moment as Moment) + name, `${theirs}.${name}`);
  if (options.state === "carry") for (const { name } of stateSpecs(config, options.batchSize)) names.set(name, name);
  return names;
}

/**
 * A checkpoint as the files of a folder for PyTorch: its model and, if it has one, its run. `importTensors` makes the same
 * checkpoint of them again, bit for bit.
 *
 * @example
 * const files = exportPyTorch(loadCheckpoint(bytes));
 * for (const [name, content] of Object.entries(files)) writeFileSync(name, content);
 * @throws GatewiseError E_CONFIG, E_BAD_CHECKPOINT
 */
export function exportPyTorch(checkpoint: Checkpoint): PyTorchFiles {
  const { config, tensors, training, tuning } = checkDecoded("exportPyTorch", checkpoint);
  checkShapes(config, training, tensors);
  const own = readableTokenizer("exportPyTorch", checkpoint.tokenizer, { config });
  const theirs = checkpoint.tokenizer.toHuggingFace?.();
  const tokenizer = theirs ? JSON.stringify(theirs) : own;
  // What a first run would begin with, which no text has been read for yet.
  const progress = training ?? {
    step: 0,
    options: TRAINING_DEFAULTS,
    rngCounter: 0,
    dataCursor: 0,
    bestValLoss: null,
    bestStep: null,
    momentsSince: 0,
    evaluationDue: false,
    data: null,
  };
  const { class: name, moments, settings } = PYTORCH.optimizers[progress.options.optimizer];
  const parameters = parameterSpecs(config);
  const json = {
    format: FORMAT,
    version: VERSION,
    model: config,
    training: progress,
    optimizer: {
      class: name,
      settings,
      moments: Object.values(moments),
      noDecay: parameters.flatMap(({ name, decay }) => (decay === false ? [name] : [])),
    },
    state: stateSpecs(config, 1).map(({ name }) => name),
    ...(checkpoint.device !== undefined && { device: checkpoint.device }),
    ...(tuning.size > 0 && { tuning: Object.fromEntries(tuning) }),
  };
  const file = (named: Iterable<readonly [ours: string, theirs: string]>): Uint8Array =>
    writeSafetensors({
      tensors: Object.fromEntries([...named].map(([ours, theirs]) => [theirs, tensors[ours]!])),
      metadata: { format: "pt" },
    });
  return {
    "model.safetensors": file(parameters.map(({ name }) => [name, name])),
    ...(training && { "optimizer.safetensors": file(besides(config, training)) }),
    "config.json": `${JSON.stringify(json, null, 2)}\n`,
    "tokenizer.json": `${tokenizer}\n`,
    "model.py": model,
    "train_ddp.py": trainDdp,
  };
}

/** Whether a config.json is that of such a folder. */
export const isPyTorchFolder = ({ format }: Readonly<Record<string, unknown>>): boolean => format === FORMAT;

/**
 * The checkpoint of such a folder, but for its tokenizer.
 *
 * @throws GatewiseError E_BAD_CHECKPOINT
 */
export function readPyTorchFolder(
  json: Readonly<Record<string, unknown>>,
  modelTensors: StoredTensors,
  optimizerTensors: StoredTensors | undefined,
): Omit<Checkpoint, "tokenizer"> {
  const refuse = (message: string): never => {
    throw new GatewiseError("E_BAD_CHECKPOINT", message);
  };
  if (json.version !== VERSION)
    refuse(`config.json: version must be ${VERSION}, got ${shown(json.version)}; use the newer Gatewise that wrote it`);
  const entry = <T>(name: string, read: (value: any) => T): T => readEntry(`${name} in config.json`, json[name], read);
  const config = entry("model", languageModelConfig);
  const begun = json.training !== null && (json.training as { data?: unknown } | undefined)?.data !== null;
  const training = begun ? entry("training", trainingProgress) : undefined;
  if (training && !optimizerTensors)
    refuse(
      "optimizer.safetensors is missing, without which training cannot go on; for the model alone, set training to null in config.json",
    );
  const ours = new Map(training && [...besides(config, training)].map(([ours, theirs]) => [theirs, ours]));
  const stored: StoredTensors = Object.fromEntries([
    ...Object.entries(modelTensors),
    ...(training ? Object.entries(optimizerTensors!).map(([name, tensor]) => [ours.get(name) ?? name, tensor] as const) : []),
  ]);
  checkShapes(config, training, stored, "the tensors are not those that config.json describes");
  const tensors: Record<string, NamedTensor> = {};
  for (const name of expectedShapes(config, training).keys()) tensors[name] = copyStored(stored[name]!);
  return {
    config,
    training,
    tensors,
    device: typeof json.device === "string" ? json.device : undefined,
    tuning: json.tuning === undefined ? new Map() : entry("tuning", tuningChoices),
  };
}

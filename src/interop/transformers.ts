// A language model of blocks as Hugging Face's transformers keeps it: config.json and model.safetensors, which
// from_pretrained reads and save_pretrained writes, and beside them tokenizer.json as Gatewise keeps it, since transformers
// has no tokenizer of characters. Tensors have the same names and shapes on both sides.
import { checkBytes, checkObject, checkOptions, checkText, namesOf, shown } from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import { insideOf } from "../kernels/block.ts";
import { CELL_NAMES, cellOf, layerOf, type CellName } from "../models/cells.ts";
import { languageModelConfig, parameterSpecs, modelNames, type LanguageModelConfig } from "../models/config.ts";
import { checkDecoded, checkShapes, readableTokenizer, type Checkpoint } from "../training/checkpoint.ts";
import { writeSafetensors } from "../training/safetensors.ts";
import { readTokenizer } from "../training/tokenizer-file.ts";
import { copyStored, objectOf, readStored, sameTensor, type StoredTensors } from "./stored.ts";

/** A model's files by their names. */
export interface TransformersFiles {
  /** The configuration, as transformers reads it. */
  readonly "config.json": string;
  /** The parameters. */
  readonly "model.safetensors": Uint8Array;
  /** `JSON.stringify` of a tokenizer. */
  readonly "tokenizer.json": string;
}

/** The same as they come: bytes of any kind, and without a tokenizer to be told what to give. */
export interface TransformersSource {
  /** The configuration. */
  readonly "config.json": string;
  /** The parameters. */
  readonly "model.safetensors": ArrayBufferLike | ArrayBufferView;
  /** As Gatewise writes it. */
  readonly "tokenizer.json"?: string | undefined;
}

const NAMES = namesOf<TransformersFiles>({ "config.json": true, "model.safetensors": true, "tokenizer.json": true });

/** What such a model is in these fields; in transformers they have these values where they are left out. */
const FIXED: Readonly<Record<string, unknown>> = {
  hidden_act: "silu",
  layer_norm_epsilon: 1e-5,
  tie_word_embeddings: true,
  use_bias: false,
  use_conv_bias: true,
};
const SIZES = { vocab_size: "vocabSize", hidden_size: "hiddenSize", num_hidden_layers: "numLayers" } as const;
/** The head's tensor, which is left out where it is the embedding. */
const HEAD = "lm_head.weight";

/** The cells whose models transformers has. */
const cells = (): readonly CellName[] => CELL_NAMES.filter((cell) => typeOf(cell));
const typeOf = (cell: CellName) => cellOf({ cell }).block?.transformers;

/** Fields of config.json that are numbers, and what the configuration here calls them. */
const fieldsOf = (cell: CellName): readonly (readonly [theirs: string, ours: keyof LanguageModelConfig])[] => [
  ...Object.entries(SIZES),
  ...Object.entries(layerOf({ cell }).options).flatMap(([ours, { transformers }]) =>
    transformers ? [[transformers, ours as keyof LanguageModelConfig] as const] : [],
  ),
];

const refuse = (message: string, cause?: unknown): never => {
  throw new GatewiseError("E_CONFIG", message, { cause });
};

/**
 * A checkpoint's model as files that transformers' `from_pretrained` opens; its run stays behind.
 *
 * @throws GatewiseError E_CONFIG if transformers has no such model, E_BAD_CHECKPOINT
 */
export function toTransformers(checkpoint: Checkpoint): TransformersFiles {
  const { config, tensors, training } = checkDecoded("toTransformers", checkpoint);
  checkShapes(config, training, tensors);
  const type = typeOf(config.cell);
  if (!type)
    return refuse(
      `transformers has no model of the cell ${config.cell}, only of ${cells().join(", ")}; the checkpoint itself is a .safetensors file, which PyTorch reads`,
    );
  const tokenizer = readableTokenizer("toTransformers", checkpoint.tokenizer, { config });
  const json = {
    architectures: [type.architecture],
    model_type: type.modelType,
    ...Object.fromEntries(fieldsOf(config.cell).map(([theirs, ours]) => [theirs, config[ours]])),
    ...type.fields(insideOf(config)),
    ...FIXED,
    residual_in_fp32: true,
    dtype: "float32",
    // By default the first token would end a text.
    bos_token_id: null,
    eos_token_id: null,
    pad_token_id: null,
  };
  const own = Object.fromEntries(parameterSpecs(config).map(({ name }) => [name, tensors[name]!]));
  return {
    "config.json": `${JSON.stringify(json, null, 2)}\n`,
    "model.safetensors": writeSafetensors({ tensors: own, metadata: { format: "pt" } }),
    "tokenizer.json": `${tokenizer}\n`,
  };
}

/**
 * The model of files that transformers' `save_pretrained` wrote, as a checkpoint without a run. Numbers in other formats
 * become float32.
 *
 * @throws GatewiseError E_CONFIG for a model that Gatewise has not, or without a tokenizer; E_BAD_CHECKPOINT for damaged files; E_DATA
 */
export function fromTransformers(files: TransformersSource): Checkpoint {
  checkObject("fromTransformers", files);
  checkOptions("fromTransformers", files, NAMES);
  const { "config.json": json, "model.safetensors": file, "tokenizer.json": tokens } = files;
  checkText("fromTransformers: config.json", json);
  const bytes = checkBytes("fromTransformers: model.safetensors", file);
  if (tokens !== undefined) checkText("fromTransformers: tokenizer.json", tokens);
  const own = { "config.json": json, "model.safetensors": bytes };
  return ofModel(readTransformersFolder(objectOf(own, "config.json")!, readStored(own).tensors), tokens);
}

/**
 * The model of such a folder: what its config.json says, and its tensors, none copied yet.
 *
 * @throws GatewiseError E_CONFIG, E_BAD_CHECKPOINT
 */
export function readTransformersFolder(
  json: Readonly<Record<string, unknown>>,
  { [HEAD]: head, ...tensors }: StoredTensors,
): Pick<Checkpoint, "config" | "tensors"> {
  const config = readConfig(json);
  checkShapes(config, undefined, tensors, "model.safetensors does not hold the model that config.json describes");
  const { embedding } = modelNames(config);
  if (head && !sameTensor(head, tensors[embedding]!))
    refuse(`model.safetensors: ${HEAD} must be left out, or the same as ${embedding}; the two are one tensor here`);
  return { config, tensors: Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name, copyStored(tensor)])) };
}

/**
 * A checkpoint without a run.
 *
 * @param tokens the text of a tokenizer.json
 * @throws GatewiseError E_CONFIG
 */
export const ofModel = ({ config, tensors }: Pick<Checkpoint, "config" | "tensors">, tokens: string | undefined): Checkpoint => ({
  config,
  tokenizer: checkTokenizer(tokens, config),
  tensors,
  training: undefined,
  device: undefined,
  tuning: new Map(),
});

/** @throws GatewiseError E_CONFIG, E_BAD_CHECKPOINT */
function readConfig(own: Readonly<Record<string, unknown>>): LanguageModelConfig {
  const cell = cells().find((name) => typeOf(name)!.modelType === own.model_type);
  const types = cells().map((name) => typeOf(name)!.modelType);
  if (!cell) return refuse(`config.json: model_type must be ${types.join(" or ")}, got ${shown(own.model_type)}`);
  const { architecture } = typeOf(cell)!;
  const { architectures } = own;
  if (architectures !== undefined && !(Array.isArray(architectures) && architectures.includes(architecture)))
    refuse(`config.json: architectures must be ["${architecture}"], got ${JSON.stringify(architectures).slice(0, 80)}`);
  for (const [name, value] of Object.entries(FIXED))
    if (own[name] !== undefined && own[name] !== value)
      refuse(`config.json: ${name} must be ${String(value)}, as in every model here, got ${shown(own[name])}`);
  for (const name of Object.keys(SIZES)) if (own[name] === undefined) refuse(`config.json: ${name} is missing`);
  const fields = fieldsOf(cell);
  const given = fields.flatMap(([name, ours]) => (own[name] === undefined ? [] : [[ours, own[name]]]));
  try {
    return languageModelConfig({ cell, ...Object.fromEntries(given) });
  } catch (cause) {
    const message = (cause as Error).message.replace(/^\w+/, (ours) => fields.find(([, each]) => each === ours)?.[0] ?? ours);
    return refuse(`config.json: ${message}`, cause);
  }
}

/** @throws GatewiseError E_CONFIG */
export function checkTokenizer(json: string | undefined, { vocabSize }: LanguageModelConfig): Checkpoint["tokenizer"] {
  const advice = `give a tokenizer of ${vocabSize} tokens, JSON.stringify(tokenizer) (gatewise import: --tokenizer FILE, or --data TEXT)`;
  if (json === undefined) return refuse(`tokenizer.json is missing: ${advice}`);
  let tokenizer: Checkpoint["tokenizer"];
  try {
    tokenizer = readTokenizer("it", json);
  } catch (cause) {
    return refuse(`tokenizer.json must be a tokenizer of Gatewise's (${(cause as Error).message}): ${advice}`, cause);
  }
  if (tokenizer.size !== vocabSize) refuse(`tokenizer.json has ${tokenizer.size} tokens, the model ${vocabSize}: ${advice}`);
  return tokenizer;
}

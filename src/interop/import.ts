// A checkpoint of files that PyTorch or transformers wrote: a folder that says what it is, or tensors alone.
import { checkObject, checkOneOf, checkOptions, shown } from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import { CELL_NAMES } from "../models/cells.ts";
import type { LanguageModelConfig } from "../models/config.ts";
import { loadCheckpoint, type Checkpoint } from "../training/checkpoint.ts";
import { placeTensors, UNTOLD, type Described, type ImportOptions } from "./place.ts";
import { isPyTorchFolder, readPyTorchFolder } from "./pytorch.ts";
import { objectOf, OPTIMIZER, readStored, textOf, type ModelFiles } from "./stored.ts";
import { checkTokenizer, ofModel, readTransformersFolder } from "./transformers.ts";

const NAMES = ["cell", "input", "tokenizer", ...Object.keys(UNTOLD)];

/**
 * The checkpoint of a model's files, by their names: those of a folder that `exportPyTorch` made, with its run; those that
 * transformers' `save_pretrained` wrote; or any .safetensors files of torch.nn's recurrent layers between an embedding and
 * a head, or of blocks, whatever their modules are called. Several files go with their index. F16, BF16 and F64 become
 * float32, head and embedding that are one become two, and biases that are not there become zero. All tensors have a place
 * or none is taken.
 *
 * @example
 * const checkpoint = importTensors({ "model.safetensors": bytes }, { resetAfter: true, tokenizer });
 * const model = modelFromCheckpoint(device, checkpoint);
 * @throws GatewiseError E_CONFIG for what only the caller can tell, and for what Gatewise has not; E_BAD_CHECKPOINT for damaged
 * files, and for tensors without a place; E_DATA
 */
export function importTensors(files: ModelFiles, options: ImportOptions = {}): Checkpoint {
  checkObject("importTensors: files", files);
  checkOptions("importTensors", options, NAMES);
  checkOneOf("importTensors: cell", options.cell, [undefined, ...CELL_NAMES]);
  checkOneOf("importTensors: input", options.input, [undefined, "embedding", "one-hot"]);
  for (const [name, { values }] of Object.entries(UNTOLD))
    checkOneOf(`importTensors: ${name}`, options[name as keyof ImportOptions], [undefined, ...values!]);
  const { tokenizer, ...described } = options;
  const tokens = tokenizer === undefined ? textOf(files, "tokenizer.json") : JSON.stringify(tokenizer);
  const { tensors, metadata } = readStored(files);
  const [first] = Object.values(tensors);
  if (metadata.format === "gatewise" && first) return loadCheckpoint(first.file);
  const json = objectOf(files, "config.json");
  if (json && isPyTorchFolder(json)) {
    const optimizer = files[OPTIMIZER] === undefined ? undefined : readStored({ "model.safetensors": files[OPTIMIZER] }).tensors;
    const read = readPyTorchFolder(json, tensors, optimizer);
    checkAgrees(read.config, described);
    return { ...read, tokenizer: checkTokenizer(tokens, read.config) };
  }
  if (json && isTransformersFolder(json)) {
    const read = readTransformersFolder(json, tensors);
    checkAgrees(read.config, described);
    return ofModel(read, tokens);
  }
  return ofModel(placeTensors(tensors, described, tokens === undefined ? [TOKENIZER] : []), tokens);
}

const isTransformersFolder = (json: Readonly<Record<string, unknown>>): boolean => json.model_type !== undefined;

/** Who wrote a model's files. */
export function originOf(files: ModelFiles): "pytorch" | "transformers" | "tensors" {
  const json = objectOf(files, "config.json");
  if (!json) return "tensors";
  return isPyTorchFolder(json) ? "pytorch" : isTransformersFolder(json) ? "transformers" : "tensors";
}

const TOKENIZER = "which character each token is (--tokenizer FILE or --data TEXT)";

/** @throws GatewiseError E_CONFIG for what was said to be otherwise than config.json says */
function checkAgrees(config: LanguageModelConfig, described: Described): void {
  for (const [name, said] of Object.entries(described)) {
    const own = config[name as keyof Described];
    if (said !== undefined && said !== own)
      throw new GatewiseError(
        "E_CONFIG",
        `${name} must be ${shown(own)}, as config.json says, or be left out, got ${shown(said)}`,
      );
  }
}

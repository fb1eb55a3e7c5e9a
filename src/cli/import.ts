import { readFile, stat } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { CharTokenizer } from "../data/tokenizer.ts";
import { GatewiseError } from "../errors.ts";
import { fromTransformers } from "../interop/transformers.ts";
import { parameterCount } from "../models/config.ts";
import { modelName } from "../models/presets.ts";
import { openDevice } from "../runtime/open.ts";
import { modelFromCheckpoint, saveCheckpoint, type Checkpoint } from "../training/checkpoint.ts";
import { loadText } from "./data.ts";
import { claimFolder, isFile, keepCheckpoint, releaseFolder } from "./files.ts";
import { count, printJson, programName, quote, say, shown } from "./progress.ts";

export interface ImportFlags {
  readonly out?: string;
  readonly tokenizer?: string;
  readonly data?: string;
  readonly json?: boolean;
}

/** What lies in the place of model.safetensors, and what to do then. */
const OTHERS: Readonly<Record<string, string>> = {
  "model.safetensors.index.json":
    "its tensors lie in several files, which is not read yet; save_pretrained(folder, max_shard_size=…) writes one",
  "pytorch_model.bin": "its tensors lie in pytorch_model.bin; save it anew with a transformers that writes .safetensors",
};

/** `gatewise import`. Returns the exit code. */
export async function importModel(path: string, flags: ImportFlags): Promise<number> {
  const checkpoint = await readModel(path, flags);
  const { config, tokenizer } = checkpoint;
  const bytes = await encode(checkpoint);
  const wanted = flags.out ?? join("runs", basename(resolve(path)));
  const { folder, lock } = await claimFolder(wanted);
  let saved: string;
  try {
    saved = await keepCheckpoint(folder, 0, bytes, 0);
  } finally {
    await releaseFolder(folder, lock);
  }
  const parameters = parameterCount(config);
  if (flags.json) {
    printJson({ v: 1, event: "import", from: "transformers", path: saved, out: folder, parameters, config });
    return 0;
  }
  say(`model:  ${modelName(config)} · ${count(parameters)} parameters · vocabulary of ${tokenizer.size}`);
  say(`saved:  ${shown(saved)}`);
  const target = quote(shown(folder));
  say("next:");
  say(`  ${programName()} sample ${target}`);
  say(`  ${programName()} train --init-from ${target}${flags.data === undefined ? "" : ` --data ${quote(flags.data)}`}`);
  return 0;
}

/** A file of the checkpoint, as one device's bytes: the model as any program will make it, or why it cannot. */
async function encode(checkpoint: Checkpoint): Promise<Uint8Array> {
  const device = await openDevice({ prefer: "cpu" });
  try {
    return await saveCheckpoint(modelFromCheckpoint(device, checkpoint), { tokenizer: checkpoint.tokenizer });
  } finally {
    device.dispose();
  }
}

/** @throws GatewiseError that names the folder */
async function readModel(folder: string, { tokenizer, data }: ImportFlags): Promise<Checkpoint> {
  const bad = (problem: string, cause?: unknown): never => {
    throw new GatewiseError("E_BAD_CHECKPOINT", `${folder}: ${problem}`, { cause });
  };
  const info = await stat(folder).catch((cause: unknown) => bad("there is no such folder", cause));
  if (!info.isDirectory()) bad("expected a folder, with config.json and model.safetensors in it");
  const at = (name: string): string => join(folder, name);
  if (!(await isFile(at("config.json")))) bad("it has no config.json; expected a folder as save_pretrained writes it");
  if (!(await isFile(at("model.safetensors")))) {
    for (const [name, advice] of Object.entries(OTHERS)) if (await isFile(at(name))) bad(advice);
    bad("it has no model.safetensors; expected a folder as save_pretrained writes it");
  }
  const own = (await isFile(at("tokenizer.json"))) ? at("tokenizer.json") : undefined;
  const tokens =
    data === undefined
      ? (tokenizer ?? own) && (await readText((tokenizer ?? own)!))
      : JSON.stringify(CharTokenizer.fromText((await loadText(data)).text));
  const config = await readText(at("config.json"));
  const weights = await readFile(at("model.safetensors")).catch((cause: Error) => bad(cause.message, cause));
  try {
    return fromTransformers({ "config.json": config, "model.safetensors": weights, "tokenizer.json": tokens });
  } catch (cause) {
    if (!(cause instanceof GatewiseError)) throw cause;
    throw new GatewiseError(cause.code, `${folder}: ${cause.message}`, { cause });
  }
}

/** @throws GatewiseError E_DATA */
async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    throw new GatewiseError("E_DATA", `could not read ${path}: ${(cause as Error).message}`, { cause });
  }
}

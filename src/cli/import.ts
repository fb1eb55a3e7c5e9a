import type { Command } from "commander";
import { open, readdir, readFile, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { CharTokenizer } from "../data/tokenizer.ts";
import { GatewiseError } from "../errors.ts";
import { importTensors, originOf } from "../interop/import.ts";
import { UNTOLD, type ImportOptions } from "../interop/place.ts";
import { indexedFiles, OPTIMIZER, type ModelFiles } from "../interop/stored.ts";
import { parameterCount } from "../models/config.ts";
import { modelName } from "../models/presets.ts";
import { encodeCheckpoint } from "../training/checkpoint.ts";
import { otherKind } from "../training/file-kinds.ts";
import { loadText, vocabularyOf, type TextSource } from "./data.ts";
import { claimFolder, isFile, keepCheckpoint, releaseFolder } from "./files.ts";
import { readTrainingFlags } from "./options.ts";
import { count, printJson, programName, quote, say, shown } from "./progress.ts";

export interface ImportFlags {
  readonly out?: string;
  readonly tokenizer?: string;
  readonly data?: string;
  readonly json?: boolean;
}

/** What flags may say of tensors that nothing else describes. */
export const DESCRIBED: readonly string[] = ["cell", "input", ...Object.keys(UNTOLD)];

/** `gatewise import`. Returns the exit code. */
export async function importModel(path: string, flags: ImportFlags, command: Command): Promise<number> {
  const found = await readFiles(path);
  const origin = named(path, () => originOf(found));
  const text = flags.data === undefined ? undefined : await loadText(flags.data);
  // A run's folder has its tokenizer: there the text is the one to train on.
  const files = origin === "pytorch" && text ? found : { ...found, ...(await readTokenizer(flags, text)) };
  const checkpoint = named(path, () => importTensors(files, readTrainingFlags(command).typed.model as ImportOptions));
  const { config, tokenizer, training } = checkpoint;
  const bytes = named(path, () => encodeCheckpoint(checkpoint));
  const wanted = flags.out ?? join("runs", basename(resolve(path), ".safetensors"));
  const run = training && text && { data: text.source, device: "auto" as const, adapter: checkpoint.device ?? "another program" };
  const { folder, lock } = await claimFolder(wanted, run);
  let saved: string;
  const step = training?.step ?? 0;
  try {
    saved = await keepCheckpoint(folder, step, bytes, step);
  } finally {
    await releaseFolder(folder, lock);
  }
  const parameters = parameterCount(config);
  if (flags.json) {
    printJson({ v: 1, event: "import", from: origin, path: saved, out: folder, parameters, config, ...(training && { step }) });
    return 0;
  }
  const at = training ? ` · step ${count(step)}` : "";
  say(`model:  ${modelName(config)} · ${count(parameters)} parameters · ${vocabularyOf(tokenizer)}${at}`);
  say(`saved:  ${shown(saved)}`);
  const target = quote(shown(folder));
  say("next:");
  say(`  ${programName()} sample ${target}`);
  const data = flags.data === undefined ? "" : ` --data ${quote(flags.data)}`;
  if (training)
    say(
      `  ${programName()} train --resume ${target}${run ? "" : " --data TEXT"} --steps ${training.options.totalSteps + 1000}${training.options.schedule === "constant" ? "" : " --schedule-from reached"}`,
    );
  else say(`  ${programName()} train --init-from ${target}${data}`);
  return 0;
}

/** Does `work`, and names the path in its errors. */
function named<T>(path: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (!(cause instanceof GatewiseError)) throw cause;
    throw new GatewiseError(cause.code, `${path}: ${cause.message}`, { cause });
  }
}

/** The tokenizer that flags name, in the place of the folder's. */
async function readTokenizer({ tokenizer }: ImportFlags, text: TextSource | undefined): Promise<ModelFiles> {
  if (text) return { [TOKENIZER]: JSON.stringify(CharTokenizer.fromText(text.text)) };
  return tokenizer === undefined ? {} : { [TOKENIZER]: await readText(tokenizer) };
}

const TOKENIZER = "tokenizer.json";
const MODEL = "model.safetensors";
const INDEX = ".safetensors.index.json";

/** A model's files: a folder's, or a file alone, or an index with the files beside it. @throws GatewiseError */
async function readFiles(path: string): Promise<ModelFiles> {
  const bad = (problem: string, cause?: unknown): never => {
    throw new GatewiseError("E_BAD_CHECKPOINT", `${path}: ${problem}`, { cause });
  };
  const read = (file: string): Promise<Buffer> => readFile(file).catch((cause: Error) => bad(cause.message, cause));
  const info = await stat(path).catch((cause: unknown) => bad("there is no such file or folder", cause));
  if (info.isFile() && !path.endsWith(INDEX)) return { [MODEL]: await read(path) };
  if (!info.isFile() && !info.isDirectory()) bad("it is neither a file nor a folder");
  const folder = info.isFile() ? dirname(path) : path;
  const names = await readdir(folder);
  const files: Record<string, Buffer> = {};
  const add = async (...wanted: readonly string[]): Promise<void> => {
    for (const name of wanted) if (await isFile(join(folder, name))) files[name] = await read(join(folder, name));
  };
  const index = info.isFile() ? basename(path) : names.find((name) => name.endsWith(INDEX));
  if (!info.isFile()) await add("config.json", TOKENIZER, OPTIMIZER);
  const weights = names.filter((name) => name.endsWith(".safetensors") && name !== OPTIMIZER);
  if (weights.includes(MODEL) && !info.isFile()) await add(MODEL);
  else if (index !== undefined) {
    await add(index);
    await add(...new Set(named(path, () => indexedFiles(files))?.values()));
  } else if (weights.length === 1) await add(...weights);
  else if (weights.length > 1) bad(`it has several .safetensors files and no index; give the file that has the model`);
  else
    bad((await otherFile(folder, names)) ?? `it has no ${MODEL}; expected a folder of export --to pytorch or of save_pretrained`);
  return files;
}

/** What a file of another kind in a folder is. */
async function otherFile(folder: string, names: readonly string[]): Promise<string | undefined> {
  for (const name of names) {
    if (name.startsWith(".") || !(await isFile(join(folder, name)))) continue;
    const file = await open(join(folder, name));
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(4096), 0, 4096, 0);
      const kind = otherKind(buffer.subarray(0, bytesRead));
      if (kind?.startsWith("this is ")) return `it has no ${MODEL}; of ${name}, ${kind}`;
    } finally {
      await file.close();
    }
  }
  return undefined;
}

/** @throws GatewiseError E_DATA */
async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    throw new GatewiseError("E_DATA", `could not read ${path}: ${(cause as Error).message}`, { cause });
  }
}

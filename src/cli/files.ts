// The folder of a run: checkpoint-<step>.safetensors (the last few), best.safetensors, run.json with what a checkpoint
// does not say, and log.csv with its curves. Every file appears whole or not at all, whatever kills the process.
// A folder or a pipe that bears such a name is passed over.
import { mkdir, open, readdir, readFile, rename, rm, rmdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { checkOptions, shown } from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import { loadCheckpoint, type Checkpoint } from "../training/checkpoint.ts";
import type { DataNames } from "./data.ts";
import { UNKNOWN, type Unknown } from "./fine-tune.ts";
import { lockFolder, type Lock } from "./lock.ts";
import { DEVICE_CHOICES, type DeviceChoice } from "../runtime/device.ts";
import { BUILDS, type Build } from "../runtime/wasm-module.ts";
import { shown as shownPath } from "./progress.ts";

/** Checkpoints that stay of a run, unless it is told how many. */
export const KEPT = 3;
const BEST = "best.safetensors";
const RUN = "run.json";
/** The run's curves. */
export const LOG = "log.csv";
const NAME = /^checkpoint-(\d+)\.safetensors$/;
/** Temporary files are named so that no pattern for checkpoints finds them. */
const TEMPORARY = /^\.(?:checkpoint-\d+\.safetensors|best\.safetensors|run\.json|log\.csv)\.\d+\.tmp$/;

/** Bytes of a run.json at the most; what is larger is none. */
const MOST_RUN_INFO = 2 ** 16;

/** What resuming needs besides the checkpoint. */
export interface RunInfo {
  /** As TextSource.source. */
  readonly data: DataNames;
  /** As --pattern and --encoding were given. */
  readonly pattern?: string | undefined;
  readonly encoding?: string | undefined;
  /** As --device was given. */
  readonly device: DeviceChoice;
  /** The device's description: another one does not continue bit for bit. */
  readonly adapter: string;
  /** As --keep was given, if it was: how many checkpoints stay, 0 for all. */
  readonly keep?: number;
  /** As --simd was given, if it was. */
  readonly simd?: Build;
  /** As --unknown was given, if it was: what became of characters that the model does not know. */
  readonly unknown?: Unknown;
  /** As --init-from and --extend-vocabulary were given, if they were. */
  readonly initFrom?: string;
  readonly extendVocabulary?: true;
  /** How to sample while training, where that was said. */
  readonly sample?: SampleSettings;
  /** Bytes that a token of the validations stands for, once there was one: what makes losses of runs comparable. */
  readonly bytesPerToken?: number;
}

/** As --sample-prompt, --sample-length and --sample-temperature were given. */
export interface SampleSettings {
  readonly prompt?: string;
  readonly length?: number;
  readonly temperature?: number;
}

/** Replaces or makes a file in one move: the new bytes are on the disk before the name points to them. */
export async function writeSafely(path: string, bytes: Uint8Array | string): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
  try {
    const file = await open(temporary, "w");
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (cause) {
    await rm(temporary, { force: true });
    throw new Error(`could not write ${path}: ${(cause as Error).message}`, { cause });
  }
  await syncFolder(dirname(path));
}

/** Makes the names in a folder durable. Windows neither needs nor allows it. */
async function syncFolder(path: string): Promise<void> {
  if (process.platform === "win32") return;
  const folder = await open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

/**
 * Takes `wanted` for a new run, or the first of wanted-2, wanted-3, … that no run has: another run is never
 * overwritten, nor does a run that begins at the same time get the same folder. A folder in which a run was killed
 * before it saved anything is taken again. The lock is this process's then.
 *
 * @param info what run.json says; without it there is none, as for a model that no run has made
 */
export async function claimFolder(wanted: string, info?: RunInfo): Promise<{ readonly folder: string; readonly lock: Lock }> {
  for (let number = 1; ; number++) {
    const folder = number === 1 ? wanted : `${wanted}-${number}`;
    const lock = await tryClaim(folder).catch((cause: unknown) => {
      throw new GatewiseError("E_CONFIG", `cannot make the run's folder ${folder}: ${(cause as Error).message}`, { cause });
    });
    if (!lock) continue;
    await removeLeftovers(folder);
    await rm(join(folder, LOG), { force: true });
    if (info) await writeRunInfo(folder, info);
    return { folder, lock };
  }
}

async function tryClaim(folder: string): Promise<Lock | undefined> {
  await mkdir(folder, { recursive: true });
  if (await isTaken(folder)) return undefined;
  let lock: Lock;
  try {
    lock = await lockFolder(folder);
  } catch (error) {
    // Its last run has just given it back.
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return tryClaim(folder);
    throw error;
  }
  if (lock.heldBy) return undefined;
  // Its last run may have saved and ended in the meantime.
  if (!(await isTaken(folder))) return lock;
  lock.release();
  return undefined;
}

const isTaken = async (folder: string): Promise<boolean> =>
  (await readdir(folder)).some((name) => NAME.test(name) || name === BEST);

/** A loss of a run, in nats a token, by the bytes of its text, if the run knows these. */
export const bitsPerByte = (loss: number, { bytesPerToken }: Partial<RunInfo>): number | undefined =>
  bytesPerToken === undefined ? undefined : loss / Math.LN2 / bytesPerToken;

export const writeRunInfo = (folder: string, info: RunInfo): Promise<void> =>
  writeSafely(join(folder, RUN), `${JSON.stringify({ format: "gatewise-run", ...info }, null, 2)}\n`);

/**
 * What a run's folder remembers; empty where there is no run.json.
 *
 * @throws GatewiseError E_BAD_CHECKPOINT for one that no run has written
 */
export async function readRunInfo(folder: string): Promise<Partial<RunInfo>> {
  const path = join(folder, RUN);
  const file = await stat(path).catch(() => undefined);
  if (!file?.isFile()) return {};
  try {
    if (file.size > MOST_RUN_INFO) throw new Error(`it has ${file.size} bytes, more than any run's`);
    return checkRunInfo(JSON.parse(await readFile(path, "utf8")));
  } catch (cause) {
    throw new GatewiseError(
      "E_BAD_CHECKPOINT",
      `${path} is damaged: ${(cause as Error).message}; mend it, or remove it and say with --data which text the run reads`,
      { cause },
    );
  }
}

function checkRunInfo(info: unknown): Partial<RunInfo> {
  if (info === null || info === undefined) throw new Error(`expected an object, got ${shown(info)}`);
  checkOptions("it", info, [
    "format",
    "data",
    "pattern",
    "encoding",
    "device",
    "adapter",
    "keep",
    "simd",
    "unknown",
    "initFrom",
    "extendVocabulary",
    "sample",
    "bytesPerToken",
  ]);
  const {
    format,
    data,
    pattern,
    encoding,
    device,
    adapter,
    keep,
    simd,
    unknown,
    initFrom,
    extendVocabulary,
    sample,
    bytesPerToken,
  } = info as Partial<Record<keyof RunInfo | "format", unknown>>;
  const require = (ok: boolean, name: string, expected: string, value: unknown): void => {
    if (!ok) throw new Error(`${name} must be ${expected}, got ${shown(value)}`);
  };
  const isText = (value: unknown): boolean => typeof value === "string" && value !== "" && !value.includes("\0");
  require(format === "gatewise-run", "format", '"gatewise-run"', format);
  const isData = isText(data) || (Array.isArray(data) && data.length > 0 && data.every(isText));
  require(data === undefined || isData, "data", "a file, an address or a book's name", data);
  require(pattern === undefined || isText(pattern), "pattern", "a pattern of files", pattern);
  require(encoding === undefined || isText(encoding), "encoding", "an encoding's name", encoding);
  const choices: readonly unknown[] = DEVICE_CHOICES;
  require(device === undefined || choices.includes(device), "device", `one of ${choices.join(", ")}`, device);
  require(adapter === undefined || isText(adapter), "adapter", "a device's description", adapter);
  require(keep === undefined || (Number.isSafeInteger(keep) && (keep as number) >= 0), "keep", "an integer of at least 0", keep);
  require(simd === undefined || BUILDS.includes(simd as Build), "simd", `one of ${BUILDS.join(", ")}`, simd);
  require(unknown === undefined || UNKNOWN.includes(unknown as Unknown), "unknown", `one of ${UNKNOWN.join(", ")}`, unknown);
  require(initFrom === undefined || isText(initFrom), "initFrom", "a checkpoint's place", initFrom);
  require(extendVocabulary === undefined || extendVocabulary === true, "extendVocabulary", "true", extendVocabulary);
  const isRatio = Number.isFinite(bytesPerToken) && (bytesPerToken as number) > 0;
  require(bytesPerToken === undefined || isRatio, "bytesPerToken", "a number above 0", bytesPerToken);
  if (sample !== undefined) {
    checkOptions("sample", sample, ["prompt", "length", "temperature"]);
    const { prompt, length, temperature } = sample as Partial<Record<keyof SampleSettings, unknown>>;
    require(prompt === undefined || typeof prompt === "string", "sample.prompt", "a text", prompt);
    const isLength = Number.isSafeInteger(length) && (length as number) >= 0;
    require(length === undefined || isLength, "sample.length", "an integer of at least 0", length);
    const isTemperature = Number.isFinite(temperature) && (temperature as number) >= 0;
    require(temperature === undefined || isTemperature, "sample.temperature", "a number of at least 0", temperature);
  }
  return { ...(info as Partial<RunInfo>) };
}

/** Gives a folder back in which nothing was saved. */
export async function releaseFolder(folder: string, lock: Lock | undefined): Promise<void> {
  const taken = await isTaken(folder).catch(() => true);
  if (!taken) for (const name of [RUN, LOG]) await rm(join(folder, name), { force: true }).catch(() => {});
  lock?.release();
  if (!taken) await rmdir(folder).catch(() => {});
}

export const isFile = (path: string): Promise<boolean> =>
  stat(path).then(
    (info) => info.isFile(),
    () => false,
  );

const isFolder = (path: string): Promise<boolean> =>
  stat(path).then(
    (info) => info.isDirectory(),
    () => false,
  );

/** Checkpoints of a run's folder, newest first; none where the folder is gone. */
export async function checkpointsIn(folder: string): Promise<{ readonly path: string; readonly step: number }[]> {
  const found: { path: string; step: number }[] = [];
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return [];
    throw error;
  });
  for (const name of names) {
    const match = NAME.exec(name);
    const path = join(folder, name);
    if (match && (await isFile(path))) found.push({ path, step: Number(match[1]) });
  }
  return found.sort((a, b) => b.step - a.step);
}

/**
 * Saves a step's checkpoint and returns its path. The last `keep` stay, or all for 0, and the newest from before step
 * `proven`, the last one at which the loss was seen to be sound.
 */
export async function keepCheckpoint(
  folder: string,
  step: number,
  bytes: Uint8Array,
  proven: number,
  keep = KEPT,
): Promise<string> {
  const path = join(folder, `checkpoint-${step}.safetensors`);
  await writeSafely(path, bytes);
  // Those of later steps, left by a damaged or abandoned end of the run, do not count.
  const kept = (await checkpointsIn(folder)).filter((checkpoint) => checkpoint.step <= step);
  const sound = kept.find((checkpoint) => checkpoint.step < proven);
  // One that cannot be removed costs room, not the run.
  for (const checkpoint of kept.slice(keep || kept.length)) if (checkpoint !== sound) await rm(checkpoint.path).catch(() => {});
  return path;
}

/** The newest checkpoint from before step `proven`, else the best one, if there is any. */
export async function soundCheckpoint(folder: string, proven: number): Promise<string | undefined> {
  const found = (await checkpointsIn(folder)).find((checkpoint) => checkpoint.step < proven);
  return found?.path ?? ((await isFile(join(folder, BEST))) ? join(folder, BEST) : undefined);
}

/** Saves the best checkpoint so far and returns its path. */
export async function keepBest(folder: string, bytes: Uint8Array): Promise<string> {
  const path = join(folder, BEST);
  await writeSafely(path, bytes);
  return path;
}

/** Removes what a killed process left half written. */
export async function removeLeftovers(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    if (TEMPORARY.test(name) && (await isFile(path))) await rm(path, { force: true });
  }
}

/** The lock of the run that a folder or a checkpoint in it belongs to; undefined where there is no run's folder. */
export async function lockRun(path: string): Promise<Lock | undefined> {
  const folder = (await isFolder(path)) ? path : dirname(path);
  if (!(await isFile(join(folder, RUN)))) return undefined;
  return lockFolder(folder);
}

export interface FoundCheckpoint {
  readonly checkpoint: Checkpoint;
  readonly path: string;
  readonly folder: string;
}

/** "runs/alice-lstm-128/best.safetensors · step 400 · best validation loss 1.854 at step 400" */
export function whichCheckpoint({ path, checkpoint: { training } }: FoundCheckpoint): string {
  if (!training) return shownPath(path);
  const { step, bestValLoss, bestStep } = training;
  const at = bestStep === null ? "" : bestStep === step ? ", here" : `, at step ${bestStep}`;
  const best = bestValLoss === null ? [] : [`best validation loss ${bestValLoss.toFixed(3)}${at}`];
  return [shownPath(path), `step ${step}`, ...best].join(" · ");
}

/**
 * Reads a checkpoint file, or the newest whole checkpoint of a run's folder, or the best one.
 *
 * @param warn told when a damaged file is passed over
 * @throws GatewiseError E_BAD_CHECKPOINT
 */
export async function findCheckpoint(
  path: string,
  warn: (message: string) => void,
  { best: wantsBest = false }: { readonly best?: boolean } = {},
): Promise<FoundCheckpoint> {
  const info = await stat(path).catch((cause: unknown) => {
    throw new GatewiseError("E_BAD_CHECKPOINT", `no such checkpoint or run folder: ${path}`, { cause });
  });
  if (!info.isDirectory() && !info.isFile()) {
    // A pipe that nobody writes to would be waited for for ever.
    throw new GatewiseError("E_BAD_CHECKPOINT", `${path} is neither a file nor a run's folder`);
  }
  if (!info.isDirectory()) {
    if (wantsBest && basename(path) !== BEST)
      throw new GatewiseError("E_CONFIG", `--best is for a run's folder, and ${path} is a file; leave it out`);
    return { checkpoint: await read(path), path, folder: dirname(path) };
  }
  const best = join(path, BEST);
  if (wantsBest) {
    if (!(await isFile(best)))
      throw new GatewiseError("E_BAD_CHECKPOINT", `${path} has no ${BEST}: its run made no validation; leave --best out`);
    return { checkpoint: await read(best), path: best, folder: path };
  }
  const candidates = (await checkpointsIn(path)).map((candidate) => candidate.path);
  if (await isFile(best)) candidates.push(best);
  if (candidates.length === 0) throw new GatewiseError("E_BAD_CHECKPOINT", `no checkpoint in the folder ${path}`);
  const problems: string[] = [];
  for (const candidate of candidates) {
    try {
      const found = { checkpoint: await read(candidate), path: candidate, folder: path };
      if (problems.length > 0) warn(`${problems.join("; ")}; using ${candidate} instead`);
      return found;
    } catch (error) {
      if (!(error instanceof GatewiseError)) throw error;
      problems.push(error.message);
    }
  }
  throw new GatewiseError("E_BAD_CHECKPOINT", `no whole checkpoint in ${path}: ${problems.join("; ")}`);
}

async function read(path: string): Promise<Checkpoint> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    throw new GatewiseError("E_BAD_CHECKPOINT", `could not read ${path}: ${(cause as Error).message}`, { cause });
  }
  try {
    return loadCheckpoint(bytes);
  } catch (cause) {
    if (!(cause instanceof GatewiseError)) throw cause;
    throw new GatewiseError("E_BAD_CHECKPOINT", `${path}: ${cause.message}`, { cause });
  }
}

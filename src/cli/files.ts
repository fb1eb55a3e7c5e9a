// The folder of a run: checkpoint-<step>.safetensors (the last three), best.safetensors, and run.json with what a
// checkpoint does not say. Every file appears whole or not at all, whatever kills the process.
import { mkdir, open, readdir, readFile, rename, rm, rmdir, stat, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { GatewiseError } from "../errors.ts";
import { loadCheckpoint, type Checkpoint } from "../training/checkpoint.ts";

const KEPT = 3;
const BEST = "best.safetensors";
const RUN = "run.json";
const NAME = /^checkpoint-(\d+)\.safetensors$/;
/** Temporary files are named so that no pattern for checkpoints finds them. */
const TEMPORARY = /^\.(?:checkpoint-\d+\.safetensors|best\.safetensors|run\.json)\.\d+\.tmp$/;

/** What resuming needs besides the checkpoint. */
export interface RunInfo {
  /** As TextSource.source. */
  readonly data: string;
  /** As --device was given. */
  readonly device: string;
  /** The device's description: another one does not continue bit for bit. */
  readonly adapter: string;
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
 * overwritten, nor does a run that begins at the same time get the same folder.
 */
export async function claimFolder(wanted: string, info: RunInfo): Promise<string> {
  for (let number = 1; ; number++) {
    const folder = number === 1 ? wanted : `${wanted}-${number}`;
    await mkdir(folder, { recursive: true }).catch((cause: unknown) => {
      throw new GatewiseError("E_CONFIG", `cannot make the run's folder ${folder}: ${(cause as Error).message}`, { cause });
    });
    if ((await readdir(folder)).some((name) => NAME.test(name) || name === BEST)) continue;
    try {
      const file = await open(join(folder, RUN), "wx");
      await file.close();
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "EEXIST") continue;
      throw cause;
    }
    await writeRunInfo(folder, info);
    return folder;
  }
}

export const writeRunInfo = (folder: string, info: RunInfo): Promise<void> =>
  writeSafely(join(folder, RUN), `${JSON.stringify({ format: "gatewise-run", ...info }, null, 2)}\n`);

/** What a run's folder remembers; empty where nothing readable is there. */
export async function readRunInfo(folder: string): Promise<Partial<RunInfo>> {
  try {
    const info: unknown = JSON.parse(await readFile(join(folder, RUN), "utf8"));
    return typeof info === "object" && info !== null ? info : {};
  } catch {
    return {};
  }
}

/** Gives a folder back in which nothing was saved. */
export async function releaseFolder(folder: string): Promise<void> {
  if ((await checkpointsIn(folder)).length > 0 || (await exists(join(folder, BEST)))) return;
  await rm(join(folder, RUN), { force: true });
  await rmdir(folder).catch(() => {});
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

/** Checkpoints of a run's folder, newest first. */
export async function checkpointsIn(folder: string): Promise<{ readonly path: string; readonly step: number }[]> {
  const found = (await readdir(folder)).flatMap((name) => {
    const match = NAME.exec(name);
    return match ? [{ path: join(folder, name), step: Number(match[1]) }] : [];
  });
  return found.sort((a, b) => b.step - a.step);
}

/**
 * Saves a step's checkpoint and returns its path. The last three stay, and the newest from before step `proven`, the
 * last one at which the loss was seen to be sound.
 */
export async function keepCheckpoint(folder: string, step: number, bytes: Uint8Array, proven: number): Promise<string> {
  const path = join(folder, `checkpoint-${step}.safetensors`);
  await writeSafely(path, bytes);
  // Those of later steps, left by a damaged or abandoned end of the run, do not count.
  const kept = (await checkpointsIn(folder)).filter((checkpoint) => checkpoint.step <= step);
  const sound = kept.find((checkpoint) => checkpoint.step < proven);
  for (const checkpoint of kept.slice(KEPT)) if (checkpoint !== sound) await unlink(checkpoint.path);
  return path;
}

/** The newest checkpoint from before step `proven`, else the best one, if there is any. */
export async function soundCheckpoint(folder: string, proven: number): Promise<string | undefined> {
  const found = (await checkpointsIn(folder)).find((checkpoint) => checkpoint.step < proven);
  return found?.path ?? ((await exists(join(folder, BEST))) ? join(folder, BEST) : undefined);
}

export async function keepBest(folder: string, bytes: Uint8Array): Promise<void> {
  await writeSafely(join(folder, BEST), bytes);
}

/** Removes what a killed process left half written. */
export async function removeLeftovers(folder: string): Promise<void> {
  for (const name of await readdir(folder)) if (TEMPORARY.test(name)) await rm(join(folder, name), { force: true });
}

export interface FoundCheckpoint {
  readonly checkpoint: Checkpoint;
  readonly path: string;
  readonly folder: string;
}

/**
 * Reads a checkpoint file, or the newest whole checkpoint of a run's folder.
 *
 * @param warn told when a damaged file is passed over
 * @throws GatewiseError E_BAD_CHECKPOINT
 */
export async function findCheckpoint(path: string, warn: (message: string) => void): Promise<FoundCheckpoint> {
  const info = await stat(path).catch((cause: unknown) => {
    throw new GatewiseError("E_BAD_CHECKPOINT", `no such checkpoint or run folder: ${path}`, { cause });
  });
  if (!info.isDirectory()) return { checkpoint: await read(path), path, folder: dirname(path) };
  const best = join(path, BEST);
  const candidates = (await checkpointsIn(path)).map((candidate) => candidate.path);
  if (await exists(best)) candidates.push(best);
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

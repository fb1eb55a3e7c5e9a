// Files of the runs, in the browser's private file system: runs/<id>/run.json, <preset>.safetensors, <preset>.log and,
// for a text of the visitor's own, text.txt. A file is replaced whole or not at all.
import { GatewiseError } from "../../errors.ts";
import type { PresetName } from "../../models/presets.ts";
import { EVAL_FIELDS, STEP_FIELDS, type Log, type StoredRun } from "../protocol.ts";
import { parseRun, soundRows } from "../stored.ts";

/** @throws GatewiseError E_DATA where browsers have none for a page: those that came over plain http */
async function filesOf(): Promise<FileSystemDirectoryHandle> {
  const { storage } = navigator as { readonly storage?: StorageManager };
  if (!storage?.getDirectory) throw new GatewiseError("E_DATA", "it keeps them for pages with a secure address only");
  return storage.getDirectory();
}

async function folder(id: string, create: boolean): Promise<FileSystemDirectoryHandle> {
  const runs = await (await filesOf()).getDirectoryHandle("runs", { create });
  return runs.getDirectoryHandle(id, { create });
}

/** Writes a file of a run. The browser swaps the new bytes in when they are complete. */
export async function writeRunFile(id: string, name: string, data: Uint8Array | Float32Array | string): Promise<void> {
  const file = await (await folder(id, true)).getFileHandle(name, { create: true });
  const writable = await file.createWritable();
  try {
    await writable.write(data as FileSystemWriteChunkType);
    await writable.close();
  } catch (error) {
    await writable.abort().catch(() => {});
    throw error;
  }
}

/** The bytes of a run's file; undefined where there is none. */
export async function readRunFile(id: string, name: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
  try {
    const file = await (await (await folder(id, false)).getFileHandle(name)).getFile();
    return new Uint8Array(await file.arrayBuffer());
  } catch (error) {
    if (error instanceof DOMException && error.name === "NotFoundError") return undefined;
    throw error;
  }
}

const checkpointName = (preset: PresetName): string => `${preset}.safetensors`;
const logNames = (preset: PresetName) => ({ points: `${preset}.log`, evaluations: `${preset}.evaluations` });

/** Writes the files of a model: the log first, which may be longer than the checkpoint. */
export async function writeModel(
  id: string,
  preset: PresetName,
  { points, evaluations }: Log,
  checkpoint: Uint8Array,
): Promise<void> {
  const names = logNames(preset);
  await Promise.all([
    writeRunFile(id, names.points, Float32Array.from(points)),
    writeRunFile(id, names.evaluations, Float32Array.from(evaluations)),
  ]);
  await writeRunFile(id, checkpointName(preset), checkpoint);
}

export const readCheckpoint = (id: string, preset: PresetName): Promise<Uint8Array | undefined> =>
  readRunFile(id, checkpointName(preset));

/** Whether the checkpoint of a model is there, as long as it was written. */
export async function holdsCheckpoint(id: string, preset: PresetName, bytes: number): Promise<boolean> {
  try {
    const { size } = await (await (await folder(id, false)).getFileHandle(checkpointName(preset))).getFile();
    return size === bytes;
  } catch {
    return false;
  }
}

export async function readLog(id: string, preset: PresetName) {
  const names = logNames(preset);
  const points = await readRows(id, names.points, STEP_FIELDS);
  return { preset, points, evaluations: await readRows(id, names.evaluations, EVAL_FIELDS) };
}

/** A log's rows; sound ones only, whatever the file holds. */
async function readRows(id: string, name: string, fields: number): Promise<number[]> {
  const bytes = await readRunFile(id, name);
  if (!bytes) return [];
  return soundRows(new Float32Array(bytes.buffer, 0, Math.floor(bytes.length / 4)), fields);
}

export const writeRun = (run: StoredRun): Promise<void> => writeRunFile(run.id, "run.json", JSON.stringify(run));

/** What a stored run says of itself; undefined where there is none. @throws GatewiseError E_DATA if it is damaged */
export async function readRun(id: string): Promise<StoredRun | undefined> {
  const bytes = await readRunFile(id, "run.json");
  return bytes && parseRun(new TextDecoder().decode(bytes));
}

export async function removeRun(id: string): Promise<void> {
  const runs = await (await filesOf()).getDirectoryHandle("runs", { create: true });
  await runs.removeEntry(id, { recursive: true }).catch(() => {});
}

/** A page that is being reloaded lets go of its run a little after the next one asks for it. */
const CLAIM_PATIENCE = 1500;

/**
 * Keeps a run for this page alone: two that train it would overwrite each other's files. Returns how to let go of it,
 * or nothing if another page has it. Where the browser refuses locks it refuses files too, and there is nothing to keep.
 */
export function claimRun(id: string): Promise<(() => void) | undefined> {
  const free = (): void => {};
  if (!("locks" in navigator)) return Promise.resolve(free);
  return new Promise((resolve) => {
    const held = (): Promise<void> => new Promise((release) => resolve(release));
    navigator.locks
      .request(`gatewise-${id}`, { signal: AbortSignal.timeout(CLAIM_PATIENCE) }, held)
      .catch((error: unknown) => resolve((error as Error).name === "TimeoutError" ? undefined : free));
  });
}

import { lstat, mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { GatewiseError } from "../errors.ts";
import { exportPyTorch } from "../interop/pytorch.ts";
import { toTransformers } from "../interop/transformers.ts";
import type { Checkpoint } from "../training/checkpoint.ts";
import { findCheckpoint, writeSafely } from "./files.ts";
import { printJson, say, shown, warn } from "./progress.ts";

/** The files that a checkpoint becomes, by name, for each who reads them. */
export const EXPORTS: Readonly<Record<string, (checkpoint: Checkpoint) => object>> = {
  pytorch: exportPyTorch,
  transformers: toTransformers,
};

export interface ExportFlags {
  readonly to: string;
  readonly json?: boolean;
}

/** `gatewise export`. Returns the exit code. */
export async function exportCheckpoint(path: string, folder: string, { to, json }: ExportFlags): Promise<number> {
  const found = await findCheckpoint(path, warn);
  const files = Object.entries<Uint8Array | string>({ ...EXPORTS[to]!(found.checkpoint) });
  for (const [name] of files) {
    const there = await lstat(join(folder, name)).catch(() => undefined);
    if (there) throw new GatewiseError("E_CONFIG", `${folder} has a ${name}, which is not overwritten; take another folder`);
  }
  await mkdir(folder, { recursive: true }).catch((cause: Error) => {
    throw new GatewiseError("E_CONFIG", `cannot make the folder ${folder}: ${cause.message}`, { cause });
  });
  const written: string[] = [];
  try {
    for (const [name, content] of files) {
      await writeSafely(join(folder, name), content);
      written.push(join(folder, name));
    }
  } catch (error) {
    // A part of a model would be in the way of another try.
    for (const each of written) await rm(each, { force: true }).catch(() => {});
    throw error;
  }
  if (json) printJson({ v: 1, event: "export", to, checkpoint: found.path, files: written });
  else say(`saved: ${written.map(shown).join(", ")}`);
  return 0;
}

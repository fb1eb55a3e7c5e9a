import { lstat, mkdir, rm } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { GatewiseError } from "../errors.ts";
import { exportPyTorch } from "../interop/pytorch.ts";
import { toTransformers } from "../interop/transformers.ts";
import type { Checkpoint } from "../training/checkpoint.ts";
import { findCheckpoint, writeSafely } from "./files.ts";
import { printJson, programName, quote, say, shown, warn } from "./progress.ts";

interface Export {
  /** The files that a checkpoint becomes, by name. */
  readonly files: (checkpoint: Checkpoint) => object;
  /** A line of Python, to be run in the folder, that reads them. */
  readonly python: string;
}

/** What a checkpoint can become, by who reads it. */
export const EXPORTS: Readonly<Record<string, Export>> = {
  pytorch: { files: exportPyTorch, python: "from model import load; print(load('.'))" },
  transformers: {
    files: toTransformers,
    python: "from transformers import MambaForCausalLM; print(MambaForCausalLM.from_pretrained('.'))",
  },
};

export interface ExportFlags {
  readonly to: string;
  readonly json?: boolean;
}

/** `gatewise export`. Returns the exit code. */
export async function exportCheckpoint(path: string, folder: string, { to, json }: ExportFlags): Promise<number> {
  const found = await findCheckpoint(path, warn);
  const { files: filesOf, python } = EXPORTS[to]!;
  const files = Object.entries<Uint8Array | string>({ ...filesOf(found.checkpoint) });
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
  else {
    const target = quote(shown(folder));
    say(`saved: ${written.map(shown).join(", ")}`);
    say("next:");
    say(`  (cd ${target} && python -c "${python}")`);
    say(
      `  ${programName()} import ${target} --out ${quote(shown(join("runs", basename(resolve(folder)))))}   # back here, as it is or trained on there`,
    );
  }
  return 0;
}

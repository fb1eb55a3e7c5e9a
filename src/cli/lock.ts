// One process at a time trains in a run's folder: its lock names the process, and one of a dead process does not count.
import { readFileSync, rmSync } from "node:fs";
import { open, readFile, rename, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { GatewiseError } from "../errors.ts";

const LOCK = "run.lock";
/** Times that a lock without a name in it is looked at, and milliseconds between them: its process may be about to write it. */
const LOOKS = 20;
const LOOK_INTERVAL = 50;

export interface Lock {
  /** Undefined if it is this process's own. */
  readonly heldBy: GatewiseError | undefined;
  /** Whether it is still there, and this process's own: a folder may be moved away with it. */
  isHeld(): boolean;
  release(): void;
}

/**
 * Takes the lock of a folder until this process ends, however it does, or `release` is called; or says which process
 * has it.
 *
 * @throws what the file system says where no lock can be made
 */
export async function lockFolder(folder: string): Promise<Lock> {
  const path = join(folder, LOCK);
  const own = JSON.stringify({ pid: process.pid, host: hostname() });
  const isHeld = (): boolean => {
    try {
      return readFileSync(path, "utf8") === own;
    } catch {
      return false;
    }
  };
  const release = (): void => {
    process.off("exit", release);
    if (isHeld()) rmSync(path, { force: true });
  };
  for (let look = 1; ; look++) {
    const file = await open(path, "wx").catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
    if (file) {
      // From here on, so that not even the shortest life leaves it behind.
      process.on("exit", release);
      try {
        await file.writeFile(own);
      } catch (cause) {
        rmSync(path, { force: true });
        throw new Error(`could not write ${path}: ${(cause as Error).message}`, { cause });
      } finally {
        await file.close();
      }
      return { heldBy: undefined, isHeld, release };
    }
    const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOENT") throw error;
    });
    if (text === undefined) continue;
    const holder = parseHolder(text);
    if (holder && isAlive(holder)) return { heldBy: heldError(path, holder), isHeld: () => false, release: () => {} };
    if (!holder && look < LOOKS) await wait(LOOK_INTERVAL);
    else await takeAway(path, text);
  }
}

/** Removes a dead process's lock, but not one that another process has made in its place since it was read. */
async function takeAway(path: string, text: string): Promise<void> {
  const aside = `${path}.${process.pid}`;
  try {
    await rename(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  if ((await readFile(aside, "utf8")) === text) await rm(aside);
  else await rename(aside, path);
}

interface Holder {
  readonly pid: number;
  readonly host: string;
}

function parseHolder(text: string): Holder | undefined {
  try {
    const { pid, host } = JSON.parse(text) as Partial<Holder>;
    return Number.isSafeInteger(pid) && pid! > 0 && typeof host === "string" ? { pid: pid!, host } : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a process is there. Of another computer nobody here can know; one of this process's number is long gone. */
function isAlive({ pid, host }: Holder): boolean {
  if (host !== hostname()) return true;
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return !isDefunct(pid);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Whether a process has ended and is only listed until its parent notices: where that is a container's first one, perhaps never. */
function isDefunct(pid: number): boolean {
  try {
    return /\) [ZX] [^)]*$/.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return false; // Linux alone says so there.
  }
}

const heldError = (path: string, { pid, host }: Holder): GatewiseError =>
  new GatewiseError(
    "E_CONFIG",
    `process ${pid}${host === hostname() ? "" : ` on ${host}`} is training in ${dirname(path)}, and two would overwrite each other's ` +
      `checkpoints; wait for it, or stop it. If there is no such training, remove ${path}`,
  );

// Bounds of time that other programs on the machine do not break.
import type * as Os from "node:os";

const os = globalThis.process?.getBuiltinModule?.("node:os") as typeof Os | undefined;

/** Milliseconds that this process has had of the processors. */
export function ownTime(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** Milliseconds by the clock, that the processors had nothing to do, and that what is tested has had of them. */
export interface TimeRead {
  readonly at: number;
  readonly idle: number;
  readonly own: number;
}

export function readTime(own = os ? ownTime() : 0): TimeRead {
  const idle = os?.cpus().reduce((sum, { times }) => sum + times.idle, 0) ?? 0;
  return { at: performance.now(), idle, own };
}

/**
 * The milliseconds between two readings that others took: what of all processors' time was neither idle nor of what is
 * tested, over their number. A page cannot know that, and counts none.
 */
export function othersTime(from: TimeRead, to: TimeRead = readTime()): number {
  if (!os) return 0;
  const cores = os.cpus().length;
  return Math.max(0, to.at - from.at - (to.idle - from.idle + to.own - from.own) / cores);
}

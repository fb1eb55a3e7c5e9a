// The command line in this process: what it prints, and its exit code.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, vi } from "vitest";
import { runProgram } from "../../src/cli/program.ts";

// However the tests were started, what a person is told to do next begins with "npx gatewise".
process.env.npm_command = "exec";

const EVENTS = ["exit", "SIGINT", "SIGTERM", "SIGHUP"] as const;
const listeners = (event: string): ((...args: unknown[]) => void)[] => process.listeners(event as "exit") as never;

/** Runs a command as a process of its own would, up to what that does at its exit. */
export async function gatewise(...args: readonly string[]): Promise<{ code: number; out: string; err: string }> {
  const said = { out: "", err: "" };
  const before = EVENTS.map(listeners);
  const closing = process.stdout.listeners("error");
  const streams = [
    [process.stdout, "out"],
    [process.stderr, "err"],
  ] as const;
  const spies = streams.map(([stream, name]) =>
    vi.spyOn(stream, "write").mockImplementation((text) => {
      said[name] += text;
      return true;
    }),
  );
  try {
    const code = await runProgram(args);
    return { code, ...said };
  } finally {
    for (const spy of spies) spy.mockRestore();
    EVENTS.forEach((event, i) => {
      for (const listener of listeners(event).filter((each) => !before[i]!.includes(each))) {
        if (event === "exit") listener(0);
        process.off(event, listener);
      }
    });
    for (const each of process.stdout.listeners("error"))
      if (!closing.includes(each)) process.stdout.off("error", each as () => void);
  }
}

export const lines = (text: string): any[] =>
  text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

/** Puts a test file to work in a folder of its own, as long as its tests take; also says where it came from. */
export function workInFolder(name: string): { readonly folder: string; readonly start: string } {
  const start = process.cwd();
  const folder = mkdtempSync(join(tmpdir(), `gatewise-${name}-`));
  process.chdir(folder);
  afterAll(() => {
    process.chdir(start);
    rmSync(folder, { recursive: true, force: true });
  });
  return { folder, start };
}

/** Trains, and expects no complaint. */
export async function train(...args: readonly string[]): Promise<{ code: number; out: string; err: string }> {
  const done = await gatewise("train", ...args);
  expect(done, args.join(" ")).toMatchObject({ code: 0 });
  return done;
}

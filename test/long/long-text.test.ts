// A long text: its validation is heard to stop, is seen to go on, and a run's line fits real terminals.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, describe, expect, it } from "vitest";

const CLI = resolve("dist/cli.js");
const folder = mkdtempSync(join(tmpdir(), "gatewise-long-text-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const words = "the rabbit ran down a long hole and never looked back at all but once; ";
writeFileSync(join(folder, "long.txt"), words.repeat(Math.ceil(30e6 / words.length)));

describe("a validation of 15 MB", () => {
  for (const device of ["cpu", "webgpu"]) {
    it(`on ${device} hears Ctrl-C within a second and saves the run`, async () => {
      const flags = ["--data", "long.txt", "--val", "0.5", "--eval-chars", "0", "--eval-every", "2", "--steps", "1000"];
      const sizes = ["--hidden", "64", "--batch", "64", "--seq", "64", "--no-tune", "--out", `stopped-${device}`];
      // Events by lines, and no first step that a driver compiles for.
      const run = spawn(process.execPath, [CLI, "train", ...flags, ...sizes, "--device", device, "--log-every", "1", "--json"], {
        cwd: folder,
      });
      let out = "";
      let stopped = 0;
      const ended = new Promise<number | null>((done) => run.on("exit", done));
      run.stdout.on("data", (text) => {
        out += text;
        if (stopped > 0 || !out.includes('"event":"step","step":2')) return;
        stopped = Infinity;
        // The evaluation behind that step takes far longer than this.
        setTimeout(() => {
          stopped = performance.now();
          run.kill("SIGINT");
        }, 1500);
      });
      expect(await ended).toBe(130);
      expect(performance.now() - stopped).toBeLessThan(1000);
      const events = out
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line));
      expect(events.map(({ event }) => event)).toEqual(["start", "step", "step", "checkpoint", "end"]);
      expect(events.at(-1)).toMatchObject({ step: 2, reason: "aborted" });
    });
  }
});

describe("in a terminal", () => {
  /** What a program draws in a pseudo-terminal of so many columns. */
  const drawnIn = (columns: number, ...args: readonly string[]): string => {
    const words = [process.execPath, CLI, ...args].map((word) => `'${word}'`).join(" ");
    const { status, stdout } = spawnSync("script", ["-qec", `stty cols ${columns} rows 24; ${words}`, "/dev/null"], {
      cwd: folder,
      encoding: "utf8",
    });
    expect(status, stdout).toBe(0);
    return stdout;
  };
  const flags = [
    "--data",
    "alice",
    "--val",
    "0.5",
    "--device",
    "cpu",
    "--hidden",
    "16",
    "--batch",
    "16",
    "--seq",
    "32",
    "--steps",
    "300",
  ];
  for (const columns of [60, 80, 120]) {
    it(`of ${columns} columns no drawing of the live line is longer, and each tells the time left`, () => {
      const out = drawnIn(columns, "train", ...flags, "--eval-every", "150", "--sample-every", "0", "--out", `c${columns}`);
      // What is said once stands in front of a line break.
      const drawings = out.split("\r\x1b[2K").filter((text) => text !== "" && !text.includes("\n"));
      const steps = drawings.filter((text) => text.startsWith("step") && text.includes("left"));
      expect(steps.length).toBeGreaterThan(3);
      for (const text of drawings) expect(text.length).toBeLessThan(columns);
      expect(steps.some((text) => text.includes("bits/character"))).toBe(columns === 120);
      expect(drawings.some((text) => /validating: \d+ %/.test(text))).toBe(true);
    });
  }
});

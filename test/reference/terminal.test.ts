// What reaches a terminal: nothing that it would obey, from wherever it comes.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, expect, it } from "vitest";

const CLI = resolve("dist/cli.js");
const folder = mkdtempSync(join(tmpdir(), "gatewise-terminal-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Sets a window's title, clears the screen by a C1 sequence, and has every other control character but NUL and CR. */
const others = Array.from({ length: 0x20 }, (_, i) => i).flatMap((i) => [i, 0x80 + i]);
const nasty =
  "\x1b]0;owned\x07\x9b2J\x7f" +
  others
    .filter((point) => point !== 0 && point !== 0x0d)
    .map((point) => String.fromCodePoint(point))
    .join("");
writeFileSync(join(folder, "nasty.txt"), `${nasty}plain words and\ttabs\n`.repeat(12));
const TINY = ["--device", "cpu", "--hidden", "6", "--embedding", "4", "--batch", "4", "--seq", "8", "--data", "nasty.txt"];

/** Tells the program that its pipes are terminals. */
const IN_TERMINAL = "--import=data:text/javascript,process.stdout.isTTY=process.stderr.isTTY=true";

function gatewise(terminal: boolean, ...args: readonly string[]): { code: number | null; out: string; err: string } {
  const env = { ...process.env, ...(terminal && { NODE_OPTIONS: IN_TERMINAL }) };
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...args], { cwd: folder, encoding: "utf8", env });
  return { code: status, out: stdout, err: stderr };
}

/** Everything but what a terminal may be sent: text, newlines, tabs, and the program's own way to draw its live line. */
const obeyed = (text: string): string[] => text.replaceAll("\r\x1b[2K", "").match(/[^\n\t\x20-\x7e\xa0-\uffff]/g) ?? [];

const run = gatewise(true, "train", ...TINY, "--steps", "4", "--sample-every", "2", "--lr", "0.05", "--out", "run");

it("a training's text and samples are shown with their control characters visible", () => {
  expect(run.code).toBe(0);
  expect(obeyed(run.out)).toEqual([]);
  expect(obeyed(run.err)).toEqual([]);
  expect(run.out).toMatch(/\\x[0-9a-f]{2}/);
});

it("so are samples as they come, several of them, and what info says of a vocabulary", () => {
  const sample = gatewise(true, "sample", "run", "--device", "cpu", "--prompt", nasty, "--length", "200", "--seed", "1");
  expect(sample.out).toContain("\\x1b]0;owned\\x07\\x9b2J\\x7f");
  const many = gatewise(true, "sample", "run", "--device", "cpu", "--count", "2", "--length", "200", "--temperature", "3");
  const info = gatewise(true, "info", "run");
  expect(info.out).toContain("\\x1b");
  for (const { code, out, err } of [sample, many, info]) {
    expect(code).toBe(0);
    expect([...obeyed(out), ...obeyed(err)]).toEqual([]);
  }
});

it("but a plot's own colours colour it, within the terminal's width", () => {
  const { code, out } = gatewise(true, "plot", "run");
  expect(code).toBe(0);
  // oxlint-disable-next-line no-control-regex
  const plain = out.replace(/\x1b\[\d+m/g, "");
  expect(plain.length).toBeLessThan(out.length);
  expect(obeyed(plain)).toEqual([]);
  expect(plain).not.toContain("\\x1b");
  for (const line of plain.split("\n")) expect(line.length).toBeLessThanOrEqual(80);
});

it("so are names and texts in messages", () => {
  const messages = [
    gatewise(true, "train", "--data", "\x1b[31mred.txt"),
    gatewise(true, "sample", "\x9b31m"),
    gatewise(true, "sample", "run", "--prompt", "\x1b[31mé"),
    gatewise(true, "train", "--out", "a\x07b", "--data", "\x07"),
    gatewise(true, "\x1b[31m"),
    gatewise(true, "train", "--hidden", "\x1b[31m"),
    gatewise(false, "train", "--data", "\x1b[31mred.txt"),
  ];
  for (const { code, err } of messages) {
    expect(code).toBe(2);
    expect(err).toMatch(/\\x1b|\\x9b|\\x07|\\u001b/);
    expect(obeyed(err)).toEqual([]);
  }
});

it("--raw sends them as they are, and so does what is not a terminal", () => {
  const args = ["sample", "run", "--device", "cpu", "--prompt", nasty, "--length", "60", "--seed", "1"];
  const piped = gatewise(false, ...args).out;
  expect(piped.startsWith(nasty)).toBe(true);
  expect(gatewise(true, ...args, "--raw").out).toBe(piped);
});

it("JSON says the same on a terminal and elsewhere", () => {
  const args = ["sample", "run", "--device", "cpu", "--prompt", nasty, "--length", "60", "--seed", "1", "--json"];
  const [shown, piped] = [gatewise(true, ...args).out, gatewise(false, ...args).out];
  expect(obeyed(shown)).toEqual([]);
  expect(JSON.parse(shown)).toEqual(JSON.parse(piped));
  expect(JSON.parse(piped).prompt).toBe(nasty);
});

it("one file alone writes to the terminal", () => {
  const sources = readdirSync(resolve("src/cli")).filter((name) => name.endsWith(".ts"));
  const writing = sources.filter((name) =>
    /\bstd(?:out|err)\.write\b|\bconsole\b/.test(readFileSync(resolve("src/cli", name), "utf8")),
  );
  expect(writing).toEqual(["progress.ts"]);
});

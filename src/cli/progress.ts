// What a person sees of a run, on stderr: one live line in a terminal, plain lines now and then elsewhere.
import { relative } from "node:path";
import type { EvalEvent, StepEvent } from "../training/events.ts";

/** Milliseconds between two plain lines where there is no terminal. */
const PLAIN_INTERVAL = 10_000;
/** Milliseconds between two drawings of the live line. */
const LIVE_INTERVAL = 100;
/** Weight of the past in the smoothed loss. */
const SMOOTHING = 0.9;

let liveLine = false;
let raw = false;

/** With --raw, control characters of texts and names reach the terminal, which obeys them. */
export function setRaw(wanted: boolean): void {
  raw = wanted;
}

/** C0 but newline and tab, DEL, and C1: a text or a name that holds them could rewrite the screen, or worse. */
// oxlint-disable-next-line no-control-regex
const CONTROL = /[\0-\x08\x0b-\x1f\x7f-\x9f]/g;
const shownAs =
  (prefix: string, digits: number) =>
  (control: string): string =>
    prefix + control.charCodeAt(0).toString(16).padStart(digits, "0");
/** A text with its control characters visible: "\x1b". */
export const visible = (text: string): string => (raw ? text : text.replace(CONTROL, shownAs("\\x", 2)));

// Everything that this program shows goes through the functions below, and so past `visible`.

/** Prints a line on stderr, in place of the live line if there is one. */
export function say(line: string): void {
  clearLive();
  process.stderr.write(`${visible(line)}\n`);
}

export const warn = (message: string): void => say(`warning: ${message}`);

/** Writes a result to stdout, under whatever the terminal shows. What is not a terminal gets the text as it is. */
export function print(text: string): void {
  clearLive();
  process.stdout.write(process.stdout.isTTY ? visible(text) : text);
}

/** DEL and C1 are all that JSON leaves as they are; their escapes mean the same. */
export function printJson(value: object): void {
  const json = JSON.stringify(value);
  clearLive();
  process.stdout.write(`${process.stdout.isTTY ? json.replace(CONTROL, shownAs("\\u", 4)) : json}\n`);
}

/** Draws the live line. Without a terminal it does nothing. */
export function live(line: string): void {
  if (!process.stderr.isTTY) return;
  const drawn = visible(line.replace(/[\n\t]/g, " ")).slice(0, (process.stderr.columns || 80) - 1);
  process.stderr.write(`\r\x1b[2K${drawn}`);
  liveLine = true;
}

function clearLive(): void {
  if (liveLine) process.stderr.write("\r\x1b[2K");
  liveLine = false;
}

/** Resolves when all that was written has been taken. */
export async function flushOutput(): Promise<void> {
  await Promise.all([process.stdout, process.stderr].map((stream) => new Promise((resolve) => stream.write("", resolve))));
}

/** An exponential mean that is not drawn to zero at its beginning. */
class Smooth {
  private sum = 0;
  private weight = 0;
  add(value: number): number {
    this.sum = SMOOTHING * this.sum + (1 - SMOOTHING) * value;
    this.weight = SMOOTHING * this.weight + (1 - SMOOTHING);
    return this.sum / this.weight;
  }
}

/** The progress of one run of training. */
export class Progress {
  private readonly loss = new Smooth();
  private shown = -Infinity;
  /** The first step that was told of, and when: the time left is told by all the time since, pauses too. */
  private first: { readonly step: number; readonly time: number } | undefined;

  constructor(
    private readonly totalSteps: number,
    private readonly charactersPerStep: number,
    private readonly label = "",
    private readonly unit = "character",
  ) {}

  step({ step, loss, tokensPerSecond }: StepEvent): void {
    const smoothLoss = this.loss.add(loss);
    const now = performance.now();
    this.first ??= { step, time: now };
    const seconds = (now - this.first.time) / 1000;
    const stepTime = seconds > 1 ? seconds / (step - this.first.step) : this.charactersPerStep / tokensPerSecond;
    const last = step === this.totalSteps;
    if (!last && now - this.shown < (process.stderr.isTTY ? LIVE_INTERVAL : PLAIN_INTERVAL)) return;
    this.shown = now;
    const line = [
      `${this.label}step ${String(step).padStart(String(this.totalSteps).length)}/${this.totalSteps}`,
      losses(smoothLoss, this.unit),
      `${rate(tokensPerSecond)} ${this.unit}s/s`,
      `${duration((this.totalSteps - step) * stepTime)} left`,
    ].join(" · ");
    if (process.stderr.isTTY) live(line);
    else say(line);
  }

  /** @param kept where the best checkpoint is, if it is this one */
  evaluated({ step, valLoss, valBitsPerByte, valAccuracy, best }: EvalEvent, kept?: string): void {
    const figures = [
      losses(valLoss, this.unit),
      ...(valBitsPerByte === undefined ? [] : [`${valBitsPerByte.toFixed(2)} bits/byte`]),
      `${percent(valAccuracy)} of next ${this.unit}s right`,
      ...(best ? [`best so far${kept === undefined ? "" : `: ${shown(kept)}`}`] : []),
    ];
    say(`${this.label}step ${step}: validation ${figures.join(" · ")}`);
  }
}

const losses = (nats: number, unit: string): string => `loss ${nats.toFixed(3)} · ${(nats / Math.LN2).toFixed(2)} bits/${unit}`;

/** Rows of a table, its headings first: names stand left, numbers right. */
export function plainTable(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((line) => line[i]!.length)));
  const pad = (cell: string, i: number): string => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!));
  return rows.map((line) => `${line.map(pad).join("  ")}\n`).join("");
}

export const percent = (part: number): string => `${(100 * part).toFixed(1)} %`;
export const count = (value: number): string => value.toLocaleString("en-US");

/** A rate to three digits: "980", "12.3k", "1.20M". */
export function rate(value: number): string {
  if (value < 1000) return value.toFixed(value < 10 ? 1 : 0);
  const [scaled, unit] = value < 999_500 ? [value / 1000, "k"] : [value / 1e6, "M"];
  return `${scaled.toFixed(scaled < 10 ? 2 : scaled < 100 ? 1 : 0)}${unit}`;
}

/** "45 s", "3 min 20 s", "2 h 5 min". */
export function duration(seconds: number): string {
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
}

/** How the user calls this program, for commands in messages. */
export function programName(): string {
  if (process.env.npm_command) return "npx gatewise";
  const [, script = ""] = process.argv;
  return script.endsWith(".js") ? `node ${quote(shown(script))}` : "gatewise";
}

/** A path as short as it can be said from here. */
export function shown(path: string): string {
  const short = relative(process.cwd(), path) || ".";
  return short.startsWith("..") ? path : short;
}

/** A word as a shell takes it. */
export const quote = (word: string): string => (/^[\w./:@+-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);

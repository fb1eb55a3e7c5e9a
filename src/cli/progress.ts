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

/** Prints a line on stderr, in place of the live line if there is one. */
export function say(line: string): void {
  clearLive();
  process.stderr.write(`${line}\n`);
}

export const warn = (message: string): void => say(`warning: ${message}`);

/** Writes a result to stdout, under whatever the terminal shows. */
export function print(text: string): void {
  clearLive();
  process.stdout.write(text);
}

export const printJson = (value: object): void => print(`${JSON.stringify(value)}\n`);

/** Draws the live line. Without a terminal it does nothing. */
export function live(line: string): void {
  if (!process.stderr.isTTY) return;
  process.stderr.write(`\r\x1b[2K${line.slice(0, (process.stderr.columns || 80) - 1)}`);
  liveLine = true;
}

function clearLive(): void {
  if (liveLine) process.stderr.write("\r\x1b[2K");
  liveLine = false;
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
      losses(smoothLoss),
      `${rate(tokensPerSecond)} characters/s`,
      `${duration((this.totalSteps - step) * stepTime)} left`,
    ].join(" · ");
    if (process.stderr.isTTY) live(line);
    else say(line);
  }

  evaluated({ step, valLoss, valAccuracy, best }: EvalEvent): void {
    const praise = best ? " · best so far" : "";
    say(`${this.label}step ${step}: validation ${losses(valLoss)} · ${percent(valAccuracy)} of next characters right${praise}`);
  }
}

const losses = (nats: number): string => `loss ${nats.toFixed(3)} · ${(nats / Math.LN2).toFixed(2)} bits/character`;
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

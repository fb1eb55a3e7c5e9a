// What a person sees of a run, on stderr: one live line in a terminal, plain lines now and then elsewhere.
import { relative } from "node:path";
import type { EvalEvent, StartEvent, StepEvent } from "../training/events.ts";
import type { TrainingOptions } from "../training/options.ts";

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

/** What this program has drawn itself, in colours; names in it have been through `shown`. */
export function printDrawn(text: string): void {
  clearLive();
  process.stdout.write(text);
}

/** DEL and C1 are all that JSON leaves as they are; their escapes mean the same. */
export function printJson(value: object): void {
  const json = JSON.stringify(value);
  clearLive();
  process.stdout.write(`${process.stdout.isTTY ? json.replace(CONTROL, shownAs("\\u", 4)) : json}\n`);
}

/** Characters that fit into a line without ending it. */
const terminalWidth = (): number => (process.stderr.columns || 80) - 1;

/** Draws the live line. Without a terminal it does nothing. */
export function live(line: string): void {
  if (!process.stderr.isTTY) return;
  const drawn = visible(line.replace(/[\n\t]/g, " ")).slice(0, terminalWidth());
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

/** What is told of a run beside its events. */
export interface ProgressOptions {
  /** What stands in front of each line. */
  readonly label?: string;
  /** What a token is called. */
  readonly unit?: string;
  /** Whether each report gets a line of its own, rather than as many as a person can follow. */
  readonly everyReport?: boolean;
  /** Milliseconds after which the run ends. */
  readonly milliseconds?: number | undefined;
}

/** An evaluation passes forward only: about a third of a step's work for as many tokens. */
const EVALUATION_SHARE = 1 / 3;

/** The progress of one run of training. */
export class Progress {
  /** When the run's time is up. */
  private readonly end: number;
  private readonly loss = new Smooth();
  private readonly label: string;
  private readonly unit: string;
  private shown = -Infinity;
  /** The first step that was told of, and when: the time of a step is taken from all since, pauses too. */
  private first: { readonly step: number; readonly time: number } | undefined;
  private reached = 0;
  private stepTime = NaN;
  /** Tokens that an evaluation reads. */
  private evalTokens = 0;
  /** Seconds of the last evaluation, and of all since the first step. */
  private evaluation: number | undefined;
  private evaluations = 0;
  private evaluationBegun: number | undefined;
  /** Mean loss of the last reports, as it is shown. */
  trainingLoss = NaN;

  constructor(
    private readonly options: Pick<TrainingOptions, "totalSteps" | "batchSize" | "seqLen" | "evalInterval" | "evalTokens">,
    private readonly settings: ProgressOptions = {},
  ) {
    this.label = settings.label ?? "";
    this.unit = settings.unit ?? "character";
    this.end = performance.now() + (settings.milliseconds ?? Infinity);
  }

  begin({ step, valTokens }: Pick<StartEvent, "step" | "valTokens">): void {
    this.reached = step;
    this.evalTokens = valTokens > 1 ? Math.min(valTokens, this.options.evalTokens || Infinity) : 0;
  }

  step({ step, loss, tokensPerSecond }: StepEvent): void {
    const { totalSteps, batchSize, seqLen } = this.options;
    this.trainingLoss = this.loss.add(loss);
    const now = performance.now();
    this.first ??= { step, time: now };
    this.reached = step;
    const seconds = (now - this.first.time) / 1000 - this.evaluations;
    this.stepTime = seconds > 1 ? seconds / (step - this.first.step) : (batchSize * seqLen) / tokensPerSecond;
    this.evaluation ??= (this.evalTokens / tokensPerSecond) * EVALUATION_SHARE;
    const interval = this.settings.everyReport ? 0 : process.stderr.isTTY ? LIVE_INTERVAL : PLAIN_INTERVAL;
    if (step !== totalSteps && now - this.shown < interval) return;
    this.show([
      [this.at(), 3],
      [`training loss ${this.trainingLoss.toFixed(3)}`, 2],
      [bits(this.trainingLoss, this.unit), 0],
      [`${rate(tokensPerSecond)} ${this.unit}s/s`, 1],
      [this.left(), 4],
    ]);
  }

  /** Called while an evaluation goes on: its windows done, of how many. */
  evaluating(done: number, of: number): void {
    const now = performance.now();
    this.evaluationBegun ??= now;
    const last = Math.max(this.shown, this.evaluationBegun);
    if (now - last < (process.stderr.isTTY ? LIVE_INTERVAL : PLAIN_INTERVAL)) return;
    this.show([
      [this.at(), 3],
      [`validating: ${Math.floor((100 * done) / of)} %`, 2],
      [this.left(), 4],
    ]);
  }

  /** @param kept where the best checkpoint is, if it is this one */
  evaluated({ step, valLoss, valBitsPerByte, valAccuracy, best }: EvalEvent, kept?: string): void {
    this.evaluation = (performance.now() - (this.evaluationBegun ?? performance.now())) / 1000;
    if (this.first) this.evaluations += this.evaluation;
    this.evaluationBegun = undefined;
    const figures = [
      `loss ${valLoss.toFixed(3)}`,
      bits(valLoss, this.unit),
      ...(valBitsPerByte === undefined ? [] : [`${valBitsPerByte.toFixed(2)} bits/byte`]),
      `${percent(valAccuracy)} of next ${this.unit}s right`,
      ...(best ? [`best so far${kept === undefined ? "" : `: ${shown(kept)}`}`] : []),
    ];
    say(`${this.label}step ${step}: validation ${figures.join(" · ")}`);
  }

  private at(): string {
    const { totalSteps } = this.options;
    return `${this.label}step ${String(this.reached).padStart(String(totalSteps).length)}/${totalSteps}`;
  }

  private left(): string {
    const { totalSteps, evalInterval } = this.options;
    const due =
      evalInterval > 0 && this.evalTokens > 0
        ? Math.ceil(totalSteps / evalInterval) - Math.floor(this.reached / evalInterval)
        : 0;
    const validating = this.evaluationBegun === undefined ? 0 : (performance.now() - this.evaluationBegun) / 1000;
    const work = (totalSteps - this.reached) * this.stepTime + Math.max(0, due * (this.evaluation ?? 0) - validating);
    const seconds = Math.min(work, Math.max(0, this.end - performance.now()) / 1000);
    return Number.isFinite(seconds) ? `${duration(seconds)} left` : "";
  }

  private show(parts: readonly Part[]): void {
    this.shown = performance.now();
    const told = parts.filter(([text]) => text !== "");
    if (process.stderr.isTTY && !this.settings.everyReport) live(fit(told, terminalWidth()));
    else say(fit(told, Infinity));
  }
}

/** A part of a line, and its rank: where there is no room, that of the lowest goes first. */
type Part = readonly [text: string, rank: number];

/** The parts that fit, joined. */
function fit(parts: readonly Part[], width: number): string {
  const line = parts.map(([text]) => text).join(" · ");
  if (line.length <= width || parts.length === 1) return line;
  const least = Math.min(...parts.map(([, rank]) => rank));
  return fit(
    parts.filter(([, rank]) => rank !== least),
    width,
  );
}

const bits = (nats: number, unit: string): string => `${(nats / Math.LN2).toFixed(2)} bits/${unit}`;
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

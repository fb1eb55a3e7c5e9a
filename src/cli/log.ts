// log.csv in a run's folder: its curves, a row for each step that was reported or evaluated.
import { appendFileSync, existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { GatewiseError } from "../errors.ts";
import type { EvalEvent, StepEvent } from "../training/events.ts";
import { isFile, LOG, writeSafely } from "./files.ts";
import { warn } from "./progress.ts";

const COLUMNS = ["step", "seconds", "loss", "valLoss", "learningRate", "gradNorm", "tokensPerSecond"] as const;
/** What is known of a step; of one that was only reported, or only evaluated, not all is. */
export type LogRow = { readonly step: number } & { readonly [column in (typeof COLUMNS)[number]]?: number };

const HEADER = `${COLUMNS.join()}\n`;
const line = (row: LogRow): string => `${COLUMNS.map((column) => row[column] ?? "").join()}\n`;
/** A log of whole rows. */
export const logText = (rows: readonly LogRow[]): string => HEADER + rows.map(line).join("");

/** Milliseconds that rows wait to be written together. */
const PATIENCE = 1000;

/**
 * The rows of a run's folder; none where it has no log.
 *
 * @throws GatewiseError E_DATA for one that no run has written
 */
export async function readLog(folder: string): Promise<LogRow[]> {
  const path = join(folder, LOG);
  if (!(await isFile(path))) return [];
  const [header, ...lines] = (await readFile(path, "utf8")).split("\n");
  // A killed process may have left half a line behind.
  lines.pop();
  const rows = lines.map((text) => {
    const values = text.split(",");
    const known = COLUMNS.flatMap((column, i) => (values[i] ? [[column, Number(values[i])]] : []));
    return Object.fromEntries(known) as LogRow;
  });
  const whole = (row: LogRow): boolean => Number.isInteger(row.step) && Object.values(row).every((value) => !Number.isNaN(value));
  const damaged = `${header}\n` === HEADER ? rows.findIndex((row) => !whole(row)) + 1 : 0;
  if (`${header}\n` !== HEADER || damaged > 0)
    throw new GatewiseError("E_DATA", `${path} is damaged in line ${damaged + 1}; mend or remove it`);
  return rows;
}

/** Writes a run's log as its events come. A row that cannot be written costs no step: it is tried again with the next. */
export class RunLog {
  private row: LogRow | undefined;
  private pending = "";
  private written = -Infinity;
  private warned = false;
  /** Seconds that the run took before it was resumed. */
  private before = 0;

  /** @param folder where the run's files go now; undefined while that is not known to be this run's own */
  constructor(private readonly folder: () => string | undefined) {}

  /** Goes on from the rows of a folder's log up to a step, in this run's own folder. */
  async continue(from: string, step: number): Promise<void> {
    const to = this.folder();
    if (to === undefined) return;
    try {
      const rows = (await readLog(from)).filter((row) => row.step <= step);
      this.before = rows.at(-1)?.seconds ?? 0;
      if (rows.length > 0) await writeSafely(join(to, LOG), logText(rows));
    } catch (error) {
      warn(`the curves so far are not continued: ${(error as Error).message}`);
    }
  }

  add(event: StepEvent | EvalEvent): void {
    if (this.row && this.row.step !== event.step) this.finishRow();
    const seconds = Number((this.before + event.seconds).toFixed(3));
    if (event.event === "eval") this.row = { seconds, ...this.row, step: event.step, valLoss: event.valLoss };
    else {
      const { step, loss, learningRate, gradNorm, tokensPerSecond } = event;
      this.row = { step, seconds, loss, learningRate, gradNorm, tokensPerSecond };
    }
    if (performance.now() - this.written > PATIENCE) this.write();
  }

  /** Writes all that is known. */
  end(): void {
    this.finishRow();
    this.write();
  }

  private finishRow(): void {
    if (this.row) this.pending += line(this.row);
    this.row = undefined;
  }

  private write(): void {
    const folder = this.folder();
    if (folder === undefined || this.pending === "") return;
    const path = join(folder, LOG);
    try {
      appendFileSync(path, (existsSync(path) ? "" : HEADER) + this.pending);
      this.pending = "";
      this.written = performance.now();
    } catch (error) {
      if (!this.warned) warn(`the curves are not written: ${(error as Error).message}; the run goes on`);
      this.warned = true;
    }
  }
}

// `gatewise plot`: the loss curves of runs, as an SVG file and in the terminal.
import { join } from "node:path";
import asciichart from "asciichart";
import { GatewiseError } from "../errors.ts";
import { LOG, writeSafely } from "./files.ts";
import { readLog, type LogRow } from "./log.ts";
import { printDrawn, printJson, say, shown } from "./progress.ts";
import { drawSvg, type Curve } from "./svg.ts";

interface PlotFlags {
  readonly out?: string;
  readonly json?: boolean;
}

const TITLES = { loss: "training loss", valLoss: "validation loss" } as const;
type Column = keyof typeof TITLES;
const COLUMNS = Object.keys(TITLES) as readonly Column[];

/** Columns that the chart's numbers take, and rows of a chart. */
const MARGIN = 13;
const ROWS = 16;
const COLOURS = ["blue", "red", "green", "magenta", "cyan", "yellow"] as const;

/** `gatewise plot`. Returns the exit code. */
export async function plot(folders: readonly string[], { out, json }: PlotFlags): Promise<number> {
  const runs = await Promise.all(folders.map(async (run) => ({ run, rows: await readLog(run) })));
  for (const { run, rows } of runs)
    if (rows.length === 0)
      throw new GatewiseError("E_DATA", `${run} has no ${LOG} with curves; give the folder of a run that has reported a step`);
  // Of one run both losses; of several that of validation, if it is a curve in all.
  const alone = runs.length === 1;
  const beside: Column = runs.every(({ rows }) => pointsOf(rows, "valLoss").length > 1) ? "valLoss" : "loss";
  const curves = runs
    .flatMap(({ run, rows }) =>
      (alone ? COLUMNS : [beside]).map((column): Curve => {
        const name = alone ? TITLES[column] : shown(run);
        return { name, points: pointsOf(rows, column) };
      }),
    )
    .filter(({ points }) => points.length > 0);
  const path = out ?? (folders.length === 1 ? join(folders[0]!, "loss.svg") : "loss.svg");
  await writeSafely(path, drawSvg(curves));
  if (json) for (const { run, rows } of runs) printJson({ v: 1, event: "plot", run, out: path, rows });
  else {
    printDrawn(`${chart(curves, alone ? "step ·" : `step · ${TITLES[beside]} of`)}\n`);
    say(`saved: ${shown(path)}`);
  }
  return 0;
}

const pointsOf = (rows: readonly LogRow[], column: Column): Curve["points"] =>
  rows.flatMap((row) => (row[column] === undefined ? [] : [[row.step, row[column]] as const]));

/** The value of a curve at a step, between its points on a straight line, beyond them that of the nearest. */
function valueAt({ points }: Curve, step: number): number {
  const next = points.findIndex(([at]) => at >= step);
  if (next <= 0) return points.at(next)![1];
  const [[x0, y0], [x1, y1]] = [points[next - 1]!, points[next]!];
  return y0 + ((y1 - y0) * (step - x0)) / (x1 - x0);
}

function chart(curves: readonly Curve[], axisTitle: string): string {
  const columns = Math.max(20, (process.stdout.columns || 80) - MARGIN);
  const first = Math.min(...curves.map(({ points }) => points[0]![0]));
  const last = Math.max(...curves.map(({ points }) => points.at(-1)![0]));
  const series = curves.map((curve) => {
    const end = curve.points.at(-1)![0];
    // A shorter run's curve ends where the run did.
    const values = Array.from({ length: columns }, (_, i) => first + ((last - first) * i) / (columns - 1));
    return values.filter((step, i) => i === 0 || step <= end).map((step) => valueAt(curve, step));
  });
  const colour = (i: number): string => asciichart[COLOURS[i % COLOURS.length]!];
  const coloured = process.stdout.isTTY ?? false;
  const drawn = asciichart.plot(series, { height: ROWS, ...(coloured && { colors: series.map((_, i) => colour(i)) }) });
  const names = curves.map(({ name }, i) => (coloured ? asciichart.colored(name, colour(i)) : name));
  const axis = `${" ".repeat(MARGIN)}${String(first).padEnd(columns - String(last).length)}${last}`;
  return [drawn, axis, `${" ".repeat(MARGIN)}${axisTitle} ${names.join(" · ")}`].join("\n");
}

// Loss curves: smoothing, what a chart of limited width shows of them, and their exports.
import type { PresetName } from "../../models/presets.ts";
import { EVAL_FIELDS, STEP_FIELDS, type Log } from "../protocol.ts";

/** The log of one model of one run. */
export interface Curve {
  readonly label: string;
  readonly preset: PresetName;
  /** Rows of STEP_FIELDS and EVAL_FIELDS numbers. */
  points: number[];
  evaluations: number[];
}

export const curveOf = (label: string, preset: PresetName, log?: Log): Curve => ({
  label,
  preset,
  points: Array.from(log?.points ?? []),
  evaluations: Array.from(log?.evaluations ?? []),
});

/** Steps that the smoothed curve remembers: few at first, while the loss falls fast. */
const memory = (seen: number): number => 1 - 1 / (1 + Math.min(24, seen / 6));
/** Points that a chart draws of a curve. */
const MOST_POINTS = 1500;

export interface AlignedCurves {
  /** Steps: the axis that all share. */
  readonly x: number[];
  readonly curves: readonly {
    readonly raw: (number | null)[];
    readonly smooth: (number | null)[];
    /** At the steps that were evaluated, else null. */
    readonly val: (number | null)[];
  }[];
}

const nothing = (): number | null => null;

/** Puts curves on one axis of steps; long ones by means over buckets of equal width. `scale` turns nats into the unit shown. */
export function alignCurves(curves: readonly Curve[], scale = 1): AlignedCurves {
  const last = Math.max(
    1,
    ...curves.map(({ points, evaluations }) => Math.max(lastStep(points, STEP_FIELDS), lastStep(evaluations, EVAL_FIELDS))),
  );
  const width = Math.max(1, Math.ceil(last / MOST_POINTS));
  const count = Math.ceil(last / width);
  const x = Array.from({ length: count }, (_, i) => Math.min(last, (i + 1) * width));
  const bucket = (step: number): number => Math.min(count - 1, Math.floor((step - 1) / width));
  return {
    x,
    curves: curves.map(({ points, evaluations }) => {
      const [raw, smooth, val] = [x.map(nothing), x.map(nothing), x.map(nothing)] as const;
      const sums = new Float64Array(count);
      const counts = new Float64Array(count);
      let mean = 0;
      for (let i = 0; i < points.length; i += STEP_FIELDS) {
        const b = bucket(points[i]!);
        const loss = points[i + 1]! * scale;
        sums[b] = sums[b]! + loss;
        counts[b] = counts[b]! + 1;
        const kept = memory(i / STEP_FIELDS);
        mean = kept * mean + (1 - kept) * loss;
        smooth[b] = mean;
      }
      for (let b = 0; b < count; b++) if (counts[b]! > 0) raw[b] = sums[b]! / counts[b]!;
      for (let i = 0; i < evaluations.length; i += EVAL_FIELDS) val[bucket(evaluations[i]!)] = evaluations[i + 1]! * scale;
      return { raw, smooth, val };
    }),
  };
}

/** The least and most of what is smoothed or validated in the last three quarters: where curves that began alike part. */
export function laterRange({ x, curves }: AlignedCurves): readonly [least: number, most: number] | undefined {
  const values = curves.flatMap(({ smooth, val }) => [...smooth.slice(x.length / 4), ...val.slice(x.length / 4)]);
  const known = values.filter((value) => value !== null);
  return known.length > 0 ? [Math.min(...known), Math.max(...known)] : undefined;
}

export const lastStep = (rows: readonly number[], fields: number): number => rows[rows.length - fields] ?? 0;

/** The last loss, smoothed as the curve is. */
export function smoothedLoss(points: readonly number[]): number | undefined {
  let mean: number | undefined;
  // What is older weighs less than a thousandth.
  const first = Math.max(0, points.length - 200 * STEP_FIELDS);
  for (let i = first; i < points.length; i += STEP_FIELDS) {
    const kept = i === first ? 0 : memory(i / STEP_FIELDS);
    mean = kept * (mean ?? 0) + (1 - kept) * points[i + 1]!;
  }
  return mean;
}

/** The least of those that there are. */
export function leastOf(values: readonly (number | null | undefined)[]): number | undefined {
  const known = values.filter((value): value is number => typeof value === "number");
  return known.length > 0 ? Math.min(...known) : undefined;
}

export function bestEvaluation(evaluations: readonly number[]): number | undefined {
  let best = Infinity;
  for (let i = 0; i < evaluations.length; i += EVAL_FIELDS) best = Math.min(best, evaluations[i + 1]!);
  return Number.isFinite(best) ? best : undefined;
}

/** A row a step and model, with all that was logged. */
export function curvesToCsv(curves: readonly Curve[]): string {
  const lines = ["model,step,loss,gradient_norm,learning_rate,validation_loss,validation_accuracy"];
  for (const { label, points, evaluations } of curves) {
    const evaluated = new Map<number, readonly [number, number]>();
    for (let i = 0; i < evaluations.length; i += EVAL_FIELDS)
      evaluated.set(evaluations[i]!, [evaluations[i + 1]!, evaluations[i + 2]!]);
    for (let i = 0; i < points.length; i += STEP_FIELDS) {
      const [step, loss, norm, rate] = points.slice(i, i + STEP_FIELDS);
      const [val, accuracy] = evaluated.get(step!) ?? ["", ""];
      lines.push([csvText(label), step, loss, norm, rate, val, accuracy].join(","));
    }
  }
  return `${lines.join("\n")}\n`;
}

/** A leading sign would make a spreadsheet take a name for a formula. */
const csvText = (text: string): string => `"${(/^[=+\-@]/.test(text) ? ` ${text}` : text).replaceAll('"', '""')}"`;

export function curvesToJson(curves: readonly Curve[], about: object): string {
  const models = curves.map(({ label, preset, points, evaluations }) => ({
    label,
    preset,
    steps: rows(points, STEP_FIELDS, ["step", "loss", "gradNorm", "learningRate"]),
    evaluations: rows(evaluations, EVAL_FIELDS, ["step", "valLoss", "valAccuracy"]),
  }));
  return JSON.stringify({ format: "gatewise-curves", ...about, models }, null, 1);
}

const rows = (values: readonly number[], fields: number, names: readonly string[]): object[] =>
  Array.from({ length: values.length / fields }, (_, i) =>
    Object.fromEntries(names.map((name, j) => [name, values[i * fields + j]!])),
  );

/** At most `most` steps that stand for the whole curve: for tables. */
export function tableSteps(x: readonly number[], most = 20): readonly number[] {
  const every = Math.max(1, Math.ceil(x.length / most));
  return x.map((_, i) => i).filter((i) => i === x.length - 1 || (i + 1) % every === 0);
}

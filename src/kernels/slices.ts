// Sums over all rows of a pass, for the gradients of small parameters: slices of rows side by side, then over the slices.
import type { Recorder } from "../runtime/recorder.ts";
import type { Tensor } from "../runtime/tensor.ts";
import { reduce } from "./reduce.ts";

/** Slices at most. */
export const SLICES = 32;

/** Rows of a slice: few rows stay one slice. */
export const sliceRowsOf = (rows: number): number => Math.max(64, Math.ceil(rows / SLICES));

/** Records `sum`, which writes a part [slices, …] for each slice, as out is stored, and what adds them up into `out`. */
export function recordSliceSums(
  recorder: Recorder,
  name: string,
  slices: number,
  out: Tensor,
  sum: (partials: Tensor) => void,
): void {
  if (slices === 1) return sum(out);
  const W = out.length;
  const values = recorder.tensor({ name, shape: [slices, W] });
  sum(values);
  recorder.dispatch(reduce.columns, { values, out }, { N: slices, W, accumulate: 0, inOffset: 0 });
}

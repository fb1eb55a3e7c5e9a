// Rows of tensors moved by index: gathered, and scattered with what is there already.
import type { Recorder } from "../runtime/recorder.ts";
import type { Tensor } from "../runtime/tensor.ts";
import { embedding } from "./embedding.ts";
import { scatter } from "./scatter.ts";

const rowsOf = (tensor: Tensor): { N: number; W: number } => {
  const W = tensor.stored.at(-1)!;
  return { N: tensor.length / W, W };
};

/** Records y[n] = x[index[n]] for all rows of y. */
export function recordGather(recorder: Recorder, x: Tensor, index: Tensor, y: Tensor): void {
  recorder.dispatch(embedding.forward, { tokens: index, weight: x, y }, { ...rowsOf(y), V: rowsOf(x).N, first: 0 });
}

/** Records y[index[offset + n]] += x[n] for all rows of x, but those whose index is NOWHERE. */
export function recordScatter(recorder: Recorder, x: Tensor, index: Tensor, y: Tensor, indexOffset = 0): void {
  recorder.dispatch(scatter.forward, { x, index, y }, { ...rowsOf(x), indexOffset });
}

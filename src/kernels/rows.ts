// Rows of tensors moved by index: gathered, and scattered with what is there already.
import type { Recorder } from "../runtime/recorder.ts";
import { pad4, type Tensor } from "../runtime/tensor.ts";
import type { LayerSite } from "./cell.ts";
import { embedding } from "./embedding.ts";
import type { Matrix } from "./matmul.ts";
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

/** A layer's input as rows of a matrix, and back to it. */
export interface InputRows {
  readonly rows: Matrix;
  /** Records `rows` of them, from the `first` on. */
  steps(first: number, rows: number): void;
  /** `record` is given where the gradient of the rows goes; what follows brings it to that of the input's part. */
  backward(recorder: Recorder, to: Matrix, record: (dX: Tensor) => void): void;
}

/** The rows that a layer reads, [T·B, columns]: those of its input, or of a table by token. */
export function rowsOfTokens(
  recorder: Recorder,
  { name, T, B, input }: Pick<LayerSite, "name" | "T" | "B" | "input">,
): InputRows {
  const [table] = input.parts as readonly [Matrix];
  const { tokens } = input;
  if (!tokens) return { rows: table, steps() {}, backward: (_, to, record) => record(to.tensor) };
  const shape = [T, B, table.columns];
  const y = recorder.tensor({ name: `${name}.x`, shape });
  const sizes = { V: tokens.V, W: pad4(table.columns) };
  return {
    rows: { tensor: y, rows: T * B, columns: table.columns },
    steps: (first, rows) =>
      recorder.dispatch(embedding.forward, { tokens: tokens.tokens, weight: table.tensor, y }, { ...sizes, N: rows, first }),
    backward(back, { tensor: dWeight }, record) {
      const dY = back.tensor({ name: `${name}.dX`, shape });
      record(dY);
      const { order, starts } = tokens.sorted!;
      back.dispatch(embedding.backward, { order, starts, dY, dWeight }, { ...sizes, N: T * B });
    },
  };
}

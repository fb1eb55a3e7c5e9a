// x·W_ihᵀ + b_ih, with which the steps of most cells begin: for all steps of a sequence by one product, or, where x takes
// few different values, from a table of them. Gradients of W_ih, b_ih and x.
import type { Recorder } from "../runtime/recorder.ts";
import { pad4, sizeOf, type Tensor } from "../runtime/tensor.ts";
import { gateTensor, type LayerGradients, type LayerSite, type Tensors } from "./cell.ts";
import { embedding } from "./embedding.ts";
import { recordMatmul, type Matrix } from "./matmul.ts";
import { reduce } from "./reduce.ts";
import { TRANSPOSE, transpose } from "./transpose.ts";

export interface InputProjection {
  /** As the steps bind it: [R, G, H], and the row that each (t, b) reads, if `gather`; else it is row t·B + b. */
  readonly tensors: { readonly xProjection: Tensor; readonly rows: Tensor };
  readonly gather: number;
  begin(): void;
  steps(t: number, count: number): void;
  /** From the gradient of x·W_ihᵀ + b_ih, [T, B, G, H]. */
  backward(recorder: Recorder, dProjection: Tensor, gradients: Pick<LayerGradients, "weights" | "inputs">): void;
}

/** The projection of a layer with the parameters `weight_ih` [G, H, in] and, if it has biases, `bias_ih` [G, H]. */
export function projectInput(recorder: Recorder, { name, T, B, config, weights, input }: LayerSite, G: number): InputProjection {
  const { parts, tokens } = input;
  const width = G * pad4(config.hiddenSize);
  // The input of a language model takes only V different values, so that the first layer's large product over T·B rows
  // becomes a small one over V and a gather in the steps.
  const xProjection = gateTensor(recorder, `${name}.xProjection`, [...(tokens ? [tokens.V] : [T, B]), G, config.hiddenSize]);
  const project = (firstRow: number, rows: number): void =>
    parts.forEach((x, i) =>
      recordMatmul(
        recorder,
        "nt",
        { ...x, rows, firstRow: (x.firstRow ?? 0) + firstRow },
        inputWeights(weights, i),
        { tensor: xProjection, rows, columns: width, firstRow },
        { bias: i === 0 ? weights.bias_ih : undefined, accumulate: i > 0 },
      ),
    );
  return {
    tensors: { xProjection, rows: tokens?.tokens ?? xProjection },
    gather: Number(tokens !== undefined),
    begin() {
      if (!tokens) return;
      if (parts.length > 0) return project(0, tokens.V);
      const { weight_ih: matrix, bias_ih: bias } = weights;
      recorder.dispatch(
        transpose.forward,
        { matrix: matrix!, bias: bias ?? matrix!, out: xProjection },
        { rows: width, columns: tokens.V, stride: pad4(tokens.V), mode: bias ? TRANSPOSE.add : TRANSPOSE.plain },
      );
    },
    steps(t, count) {
      if (!tokens) project(t * B, count * B);
    },
    backward(back, dProjection, { weights: dWeights, inputs }) {
      let d: Matrix = { tensor: dProjection, rows: T * B, columns: width };
      const dBias = dWeights?.bias_ih;
      if (tokens) {
        // Token by token the gradients sum to the table's; what follows then works on V rows instead of T·B.
        const dTable = gateTensor(back, `${name}.dTable`, xProjection.shape);
        const { order, starts } = tokens.sorted!;
        const sizes = { N: T * B, V: tokens.V, W: width };
        back.dispatch(embedding.backward, { order, starts, dY: dProjection, dWeight: dTable }, sizes);
        d = { tensor: dTable, rows: tokens.V, columns: width };
      }
      if (parts.length === 0 && dWeights) {
        if (dBias) recordColumnSums(back, d, dBias);
        back.dispatch(
          transpose.forward,
          { matrix: d.tensor, bias: d.tensor, out: dWeights.weight_ih! },
          { rows: d.rows, columns: width, stride: width, mode: TRANSPOSE.plain },
        );
      }
      parts.forEach((x, i) => {
        if (dWeights) recordMatmul(back, "tn", d, x, inputWeights(dWeights, i), { rowSums: i === 0 ? dBias : undefined });
        recordMatmul(back, "nn", d, inputWeights(weights, i), inputs[i]!);
      });
    },
  };
}

/** The columns of W_ih that multiply part i of the input. */
function inputWeights({ weight_ih: tensor }: Tensors, i: number): Matrix {
  const [gates, units, ...inner] = tensor!.stored as [number, number, ...number[]];
  const columns = tensor!.shape.at(-1)!;
  return { tensor: tensor!, rows: gates * units, columns, firstColumn: i * pad4(columns), stride: sizeOf(inner) };
}

/** Records out[j] = Σ over the rows of a matrix: the gradient of a bias. */
export function recordColumnSums(recorder: Recorder, { tensor, rows, columns }: Matrix, out: Tensor): void {
  recorder.dispatch(reduce.columns, { values: tensor, out }, { N: rows, W: pad4(columns), accumulate: 0, inOffset: 0 });
}

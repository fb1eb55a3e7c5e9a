// One recurrent layer over T time steps: the tensors it needs, its steps forward and backward, and the gradients of
// its weights. The input projection x·W_ihᵀ + b_ih is the caller's, because it differs by what x is.
import { cast } from "../kernels/cast.ts";
import { recordMatmul, type Matrix } from "../kernels/matmul.ts";
import type { StepParams } from "../kernels/recurrent.ts";
import { reduce } from "../kernels/reduce.ts";
import { TRANSPOSE, transpose } from "../kernels/transpose.ts";
import type { Recorder } from "../runtime/recorder.ts";
import { pad4, type Tensor } from "../runtime/tensor.ts";
import type { Cell, StepGradients, StepTensors } from "./cells.ts";

export interface LayerShape {
  readonly cell: Cell;
  readonly T: number;
  readonly B: number;
  readonly H: number;
  readonly relu: boolean;
  /** Whether recurrent weights and saved activations are f16; sums are f32 all the same. */
  readonly half?: boolean;
}

/** The parameters of a layer, or their gradients. */
export interface LayerWeights {
  /** [G, H, in] */
  readonly weightIh: Tensor;
  /** [G, H, H] */
  readonly weightHh: Tensor;
  /** [G, H]; a layer without biases has none. */
  readonly biasIh: Tensor | undefined;
  /** [G, H] */
  readonly biasHh: Tensor | undefined;
}

/** x·W_ihᵀ + b_ih as the steps read it: row `rows[t, b]` for cell (t, b) if gathered, else row t·B + b. */
export interface Projection {
  readonly xProjection: Tensor;
  readonly rows: Tensor;
  readonly gather: boolean;
}

/** A layer inside a plan. */
export interface Layer {
  readonly shape: LayerShape;
  readonly projection: Projection;
  readonly tensors: StepTensors;
}

/** A tensor [..., G, H] with its units padded. */
export const gateTensor = (recorder: Recorder, name: string, shape: readonly number[], half = false): Tensor =>
  recorder.tensor({ name, shape, stored: [...shape.slice(0, -1), pad4(shape.at(-1)!)], dtype: half ? "f16" : "f32" });

/** Makes the tensors of a layer. h[0] and c[0] are zero until something is copied there. */
export function makeLayer(recorder: Recorder, name: string, shape: LayerShape, projection: Projection): Layer {
  const { cell, T, B, H, half } = shape;
  return {
    shape,
    projection,
    tensors: {
      xProjection: projection.xProjection,
      rows: projection.rows,
      packed: gateTensor(recorder, `${name}.packed`, [pad4(H) + 1, cell.gates, H], half),
      h: recorder.tensor({ name: `${name}.h`, shape: [T + 1, B, H] }),
      c: cell.cellState ? recorder.tensor({ name: `${name}.c`, shape: [T + 1, B, H] }) : undefined,
      gates: cell.savedGates > 0 ? gateTensor(recorder, `${name}.gates`, [T, B, cell.savedGates, H], half) : undefined,
      resetH: cell.resetBefore ? recorder.tensor({ name: `${name}.resetH`, shape: [T, B, H] }) : undefined,
    },
  };
}

/** Packs W_hh and b_hh as the steps read them; once per change of the weights. */
export function recordPack(recorder: Recorder, layer: Layer, weights: LayerWeights): void {
  const { cell, H } = layer.shape;
  const { weightHh, biasHh } = weights;
  recorder.dispatch(
    transpose.forward,
    { matrix: weightHh, bias: biasHh ?? weightHh, out: layer.tensors.packed },
    // Without a bias the last row stays as it was made: zero.
    { rows: cell.gates * pad4(H), columns: H, stride: pad4(H), mode: biasHh ? TRANSPOSE.append : TRANSPOSE.plain },
  );
}

const stepParams = ({ shape, projection }: Layer, t: number, count: number): StepParams => ({
  B: shape.B,
  H: shape.H,
  t,
  count,
  gather: Number(projection.gather),
  last: Number(t === shape.T - 1),
  relu: Number(shape.relu),
});

/** Records time step t, forward. */
export function recordStep(recorder: Recorder, layer: Layer, t: number): void {
  layer.shape.cell.forward(recorder, layer.tensors, stepParams(layer, t, 1));
}

/** Up to this many units a GPU streams the recurrent weights faster than it dispatches step by step. */
const SEQUENCE_UNITS = 256;
/** On a software adapter a step of more work than this costs more than its dispatch, and its barriers most. */
const SEQUENCE_STEP_WORK = 1e6;
/** Work of the steps that tell whether a sequence is faster. */
const TRIAL_WORK = 4e7;
/** Work that one dispatch of a sequence may hold: what keeps it under a quarter of a second. */
const SEQUENCE_WORK = { software: 2.5e8, gpu: 4e9 } as const;

/**
 * Records all steps, one a dispatch or, where the cell has kernels for it and it is faster, many: `record` is given
 * how many steps were done before, and how many to do.
 */
function recordSequence(
  recorder: Recorder,
  { shape: { cell, T, B, H, relu, half } }: Layer,
  direction: "forward" | "backward",
  record: (recorder: Recorder, done: number, count: number) => void,
): void {
  const inParts =
    (most: number, T: number) =>
    (r: Recorder): void => {
      for (let done = 0; done < T; done += most) record(r, done, Math.min(most, T - done));
    };
  const stepWork = 2 * cell.gates * B * H * H;
  const most = Math.min(T, Math.floor(SEQUENCE_WORK[recorder.family] / stepWork));
  if (!cell.sequences || most <= 1) return inParts(1, T)(recorder);
  const trialSteps = Math.min(T, Math.max(2, Math.round(TRIAL_WORK / stepWork)));
  const candidates = {
    steps: { record: inParts(1, T), trial: inParts(1, trialSteps) },
    sequence: { record: inParts(most, T), trial: inParts(most, trialSteps) },
  };
  const name = `${cell.sequences} ${direction}${relu ? " relu" : ""}${half ? " f16" : ""} of all steps`;
  recorder.choose(name, [B, H, T], candidates, (family) =>
    (family === "gpu" ? H <= SEQUENCE_UNITS : stepWork <= SEQUENCE_STEP_WORK) ? "sequence" : "steps",
  );
}

/** Records all time steps, forward. */
export function recordSteps(recorder: Recorder, layer: Layer): void {
  recordSequence(recorder, layer, "forward", (r, done, count) =>
    layer.shape.cell.forward(r, layer.tensors, stepParams(layer, done, count)),
  );
}

/** The outputs h[1] … h[T] of a layer as a matrix [T·B, H]; h[0] … h[T−1], if `before`. */
export const outputs = ({ shape, tensors }: Layer, before = false): Matrix => ({
  tensor: tensors.h,
  rows: shape.T * shape.B,
  columns: shape.H,
  firstRow: before ? 0 : shape.B,
});

/** Makes the gradient tensors of a layer. */
export function makeLayerGradients(recorder: Recorder, name: string, layer: Layer, weights: LayerWeights): StepGradients {
  const { cell, T, B, H, half } = layer.shape;
  const dGates = gateTensor(recorder, `${name}.dGates`, [T, B, cell.gates, H]);
  return {
    weight: half ? recorder.tensor({ ...weights.weightHh, name: `${name}.weight`, dtype: "f16" }) : weights.weightHh,
    dOutput: recorder.tensor({ name: `${name}.dOutput`, shape: [T, B, H] }),
    dGates,
    dProjection: cell.separateProjection ? gateTensor(recorder, `${name}.dProjection`, [T, B, cell.gates, H]) : dGates,
    dCarry: cell.carry ? recorder.tensor({ name: `${name}.dCarry`, shape: [B, H] }) : undefined,
  };
}

/**
 * Records all steps backward, from dOutput to dGates and dProjection. dCarry must hold the final state's gradient;
 * `before` may record something in front of each step.
 */
export function recordStepsBackward(
  recorder: Recorder,
  layer: Layer,
  gradients: StepGradients,
  weights: LayerWeights,
  before?: (t: number) => void,
): void {
  const { cell, T, half } = layer.shape;
  if (half) recordCast(recorder, weights.weightHh, gradients.weight);
  if (before) {
    for (let t = T - 1; t >= 0; t--) {
      before(t);
      cell.backward(recorder, layer.tensors, gradients, stepParams(layer, t, 1));
    }
    return;
  }
  recordSequence(recorder, layer, "backward", (r, done, count) =>
    cell.backward(r, layer.tensors, gradients, stepParams(layer, T - 1 - done, count)),
  );
}

const recordCast = (recorder: Recorder, x: Tensor, y: Tensor): void =>
  recorder.dispatch(cast.forward, { x, y }, { count: x.length / 4 });

/** The matrix [T·B, G·H] of a gate gradient, or `count` gates of it from gate `first`. */
export function gateMatrix({ shape }: Layer, tensor: Tensor, first = 0, count = shape.cell.gates): Matrix {
  const H = pad4(shape.H);
  return { tensor, rows: shape.T * shape.B, columns: count * H, firstColumn: first * H, stride: shape.cell.gates * H };
}

/**
 * Records the gradients of W_hh, dGatesᵀ · h, and of b_hh; the candidate of a reset-before GRU has r ⊙ h for h.
 * `gradients` are the layer's.
 */
export function recordWeightHhGradient(
  recorder: Recorder,
  layer: Layer,
  dGates: Tensor,
  { weightHh, biasHh }: Pick<LayerWeights, "weightHh" | "biasHh">,
): void {
  const { cell, H } = layer.shape;
  const target = (first: number, count: number): Matrix => ({
    tensor: weightHh,
    rows: count * pad4(H),
    columns: H,
    firstRow: first * pad4(H),
  });
  if (!cell.resetBefore) {
    recordMatmul(recorder, "tn", gateMatrix(layer, dGates), outputs(layer, true), target(0, cell.gates), { rowSums: biasHh });
    return;
  }
  const resetH: Matrix = { tensor: layer.tensors.resetH!, rows: layer.shape.T * layer.shape.B, columns: H };
  recordMatmul(recorder, "tn", gateMatrix(layer, dGates, 0, 2), outputs(layer, true), target(0, 2));
  recordMatmul(recorder, "tn", gateMatrix(layer, dGates, 2, 1), resetH, target(2, 1));
  if (biasHh) recordColumnSums(recorder, gateMatrix(layer, dGates), biasHh);
}

/** Records out[j] = Σ over the rows of a matrix: the gradient of a bias. */
export function recordColumnSums(recorder: Recorder, { tensor, rows, columns, firstRow = 0 }: Matrix, out: Tensor): void {
  recorder.dispatch(
    reduce.columns,
    { values: tensor, out },
    { N: rows, W: pad4(columns), accumulate: 0, inOffset: firstRow * pad4(columns) },
  );
}

// What a plan of a language model is made of: input table, layers, head, loss, and the whole pass with its gradients.
import { dropout } from "../kernels/dropout.ts";
import { embedding } from "../kernels/embedding.ts";
import { recordMatmul, type Matrix } from "../kernels/matmul.ts";
import { softmaxCrossEntropy } from "../kernels/softmax-cross-entropy.ts";
import { TRANSPOSE, transpose } from "../kernels/transpose.ts";
import type { Recorder } from "../runtime/recorder.ts";
import { pad4, type Tensor } from "../runtime/tensor.ts";
import { cellOf } from "./cells.ts";
import type { LanguageModelConfig } from "./config.ts";
import type { LanguageModel } from "./language-model.ts";
import type { ParameterSet } from "./parameters.ts";
import {
  gateMatrix,
  gateTensor,
  makeLayer,
  makeLayerGradients,
  outputs,
  recordColumnSums,
  recordPack,
  recordSteps,
  recordStepsBackward,
  recordWeightHhGradient,
  type Layer,
  type LayerWeights,
  type Projection,
} from "./recurrent-layer.ts";

/** The parameters (or gradients) of layer l; a language model's layers have biases. */
export const layerWeights = ({ byName }: ParameterSet, l: number): LayerWeights & { biasIh: Tensor; biasHh: Tensor } => ({
  weightIh: byName[`rnn.weight_ih_l${l}`]!,
  weightHh: byName[`rnn.weight_hh_l${l}`]!,
  biasIh: byName[`rnn.bias_ih_l${l}`]!,
  biasHh: byName[`rnn.bias_hh_l${l}`]!,
});

/** W_ih [G, H, in] as a matrix. */
const weightIhMatrix = ({ weightIh }: LayerWeights): Matrix => {
  const [gates, H, columns] = weightIh.shape as [number, number, number];
  return { tensor: weightIh, rows: gates * pad4(H), columns };
};

/**
 * Records the table [V, G, H] of W_ih·x + b_ih for every token: the input of a language model takes only V different
 * values, so that the first layer's large GEMM over T·B rows becomes a small one over V and a gather in the steps.
 */
export function recordInputTable(recorder: Recorder, model: LanguageModel, table: Tensor): void {
  const { vocabSize: V, embeddingSize: E, input } = model.config;
  const weights = layerWeights(model.parameters, 0);
  const { rows } = weightIhMatrix(weights);
  if (input === "one-hot") {
    recorder.dispatch(
      transpose.forward,
      { matrix: weights.weightIh, bias: weights.biasIh, out: table },
      { rows, columns: V, stride: pad4(V), mode: TRANSPOSE.add },
    );
    return;
  }
  const e: Matrix = { tensor: model.parameters.byName["embedding.weight"]!, rows: V, columns: E };
  recordMatmul(recorder, "nt", e, weightIhMatrix(weights), { tensor: table, rows: V, columns: rows }, { bias: weights.biasIh });
}

/** Makes the table that `recordInputTable` fills. */
export function makeInputTable(recorder: Recorder, { config }: LanguageModel): Tensor {
  return gateTensor(recorder, "input.table", [config.vocabSize, cellOf(config).gates, config.hiddenSize]);
}

/** Records logits = h·W_headᵀ + b_head. */
export function recordHead(
  recorder: Recorder,
  { config, parameters }: LanguageModel,
  h: Matrix,
  logits: Tensor,
  firstRow = 0,
): void {
  const { vocabSize: V, hiddenSize: H } = config;
  const weight: Matrix = { tensor: parameters.byName["head.weight"]!, rows: V, columns: H };
  const target: Matrix = { tensor: logits, rows: h.rows, columns: V, firstRow };
  recordMatmul(recorder, "nt", h, weight, target, { bias: parameters.byName["head.bias"]! });
}

/** Records x·W_ihᵀ + b_ih of a layer above the first, for rows [firstRow, firstRow + x.rows) of its projection. */
export function recordLayerInput(
  recorder: Recorder,
  model: LanguageModel,
  l: number,
  x: Matrix,
  projection: Tensor,
  firstRow = 0,
): void {
  const weights = layerWeights(model.parameters, l);
  const w = weightIhMatrix(weights);
  recordMatmul(recorder, "nt", x, w, { tensor: projection, rows: x.rows, columns: w.rows, firstRow }, { bias: weights.biasIh });
}

/** The carried state of a batch: h and, for the LSTM, c, each [L, B, H]. */
export interface RecurrentState {
  readonly h: Tensor;
  readonly c: Tensor | undefined;
}

/** The tensors of a state: h and, if the cell has one, c. */
export function stateSpecs(config: LanguageModelConfig, B: number): readonly { name: string; shape: readonly number[] }[] {
  const shape = [config.numLayers, B, config.hiddenSize];
  return (cellOf(config).cellState ? ["state.h", "state.c"] : ["state.h"]).map((name) => ({ name, shape }));
}

/** Makes a state, all zero. `make` is a device's or a recorder's `tensor`. */
export function makeState(
  make: (spec: { name: string; shape: readonly number[] }) => Tensor,
  config: LanguageModelConfig,
  B: number,
): RecurrentState {
  const [h, c] = stateSpecs(config, B).map(make);
  return { h: h!, c };
}

/** Records the copy of a state into h[0] and c[0] of every layer ("load"), or of h[T] and c[T] back ("store"). */
export function recordState(
  recorder: Recorder,
  layers: readonly Layer[],
  state: RecurrentState,
  direction: "load" | "store",
): void {
  layers.forEach(({ shape: { T, B, H }, tensors }, l) => {
    const length = B * pad4(H);
    for (const [history, kept] of [
      [tensors.h, state.h],
      [tensors.c, state.c],
    ] as const) {
      if (!history || !kept) continue;
      if (direction === "load") recorder.copy(kept, history, { fromOffset: l * length, length });
      else recorder.copy(history, kept, { fromOffset: T * length, toOffset: l * length, length });
    }
  });
}

/** What a pass over windows of T × B tokens is made of. */
export interface PassOptions {
  readonly T: number;
  readonly B: number;
  /** The mean over all time steps, or over the last one only (many-to-one). */
  readonly loss: "all" | "last";
  /** Carried from pass to pass; zero before every pass if left out. */
  readonly state?: RecurrentState | undefined;
  /** Seed and step of the dropout masks, u32 [4]; no dropout if left out. */
  readonly rng?: Tensor | undefined;
  /** Where the gradients go; a forward pass only, for evaluation, if left out. */
  readonly gradients?: ParameterSet | undefined;
}

/** The tensors of a pass that the host writes. */
export interface PassInputs {
  /** u32 [T, B] */
  readonly inputs: Tensor;
  /** u32 [T, B], or [1, B] of the last step only */
  readonly targets: Tensor;
  /** Positions t·B + b sorted by input token, u32 [T·B], and where each token begins, u32 [V + 1]. */
  readonly order: Tensor;
  readonly starts: Tensor;
  /** Loss in nats and whether the most likely token was right, per predicted token, f32 [N, 2]. */
  readonly rows: Tensor;
  readonly logits: Tensor;
  readonly layers: readonly Layer[];
}

/** Records forward, loss and, if `gradients` are given, full backpropagation through time. */
export function recordPass(recorder: Recorder, model: LanguageModel, options: PassOptions): PassInputs {
  const { config, parameters } = model;
  const { T, B, loss, state, gradients } = options;
  const { vocabSize: V, embeddingSize: E, hiddenSize: H, numLayers } = config;
  const cell = cellOf(config);
  const rng = config.dropout > 0 ? options.rng : undefined;
  // Where V is larger than the batch, the table would cost more than it saves. One-hot input always has one: W_ihᵀ.
  const tabled = config.input === "one-hot" || V <= T * B;
  const N = loss === "all" ? T * B : B;
  const u32 = (name: string, shape: readonly number[]): Tensor => recorder.tensor({ name, shape, dtype: "u32" });

  const inputs = u32("inputs", [T, B]);
  const targets = u32("targets", [N / B, B]);
  const order = u32("order", [T * B]);
  const starts = u32("starts", [V + 1]);
  const logits = recorder.tensor({ name: "logits", shape: [N, V] });
  const rows = recorder.tensor({ name: "rows", shape: [N, 2], stored: [N, 2] });
  const table = tabled ? makeInputTable(recorder, model) : undefined;
  const x0 = tabled ? undefined : recorder.tensor({ name: "input.x", shape: [T, B, E] });

  const layers: Layer[] = [];
  const dropped: (Tensor | undefined)[] = [];
  for (let l = 0; l < numLayers; l++) {
    const xProjection = l === 0 && table ? table : gateTensor(recorder, `l${l}.xProjection`, [T, B, cell.gates, H]);
    const projection: Projection = { xProjection, rows: inputs, gather: l === 0 && tabled };
    layers.push(
      makeLayer(
        recorder,
        `l${l}`,
        { cell, T, B, H, relu: config.nonlinearity === "relu", half: config.precision === "f16" },
        projection,
      ),
    );
    dropped.push(l > 0 && rng ? recorder.tensor({ name: `l${l}.x`, shape: [T, B, H] }) : undefined);
  }
  const stepGradients =
    gradients && layers.map((layer, l) => makeLayerGradients(recorder, `l${l}`, layer, layerWeights(parameters, l)));
  for (const { dCarry } of stepGradients ?? []) if (dCarry) recorder.clear(dCarry);
  if (state) recordState(recorder, layers, state, "load");

  // Forward.
  if (table) {
    recordInputTable(recorder, model, table);
  } else {
    recorder.dispatch(
      embedding.forward,
      { tokens: inputs, weight: parameters.byName["embedding.weight"]!, y: x0! },
      { N: T * B, V, W: pad4(E) },
    );
    recordLayerInput(recorder, model, 0, { tensor: x0!, rows: T * B, columns: E }, layers[0]!.projection.xProjection);
  }
  /** The input of layer l > 0: the outputs of the layer below, after dropout. */
  const layerInput = (l: number): Matrix =>
    dropped[l] ? { tensor: dropped[l], rows: T * B, columns: H } : outputs(layers[l - 1]!);
  layers.forEach((layer, l) => {
    if (l > 0) {
      if (dropped[l]) {
        recorder.dispatch(
          dropout.forward,
          { rng: rng!, x: layers[l - 1]!.tensors.h, y: dropped[l] },
          { N: T * B, W: pad4(H), offset: B * pad4(H), layer: l, p: config.dropout },
        );
      }
      recordLayerInput(recorder, model, l, layerInput(l), layer.projection.xProjection);
    }
    recordPack(recorder, layer, layerWeights(parameters, l));
    recordSteps(recorder, layer);
  });
  const top = layers.at(-1)!;
  const predicted: Matrix = loss === "all" ? outputs(top) : { tensor: top.tensors.h, rows: B, columns: H, firstRow: T * B };
  recordHead(recorder, model, predicted, logits);
  recorder.dispatch(
    gradients ? softmaxCrossEntropy.backward : softmaxCrossEntropy.forward,
    { logits, targets, rows },
    { N, V, scale: 1 / N },
  );
  if (state) recordState(recorder, layers, state, "store");
  const io: PassInputs = { inputs, targets, order, starts, rows, logits, layers };
  if (!gradients) return io;

  // Backward. The logits now hold their gradient.
  const dLogits: Matrix = { tensor: logits, rows: N, columns: V };
  const g = gradients.byName;
  const dHead: Matrix = { tensor: g["head.weight"]!, rows: V, columns: H };
  recordMatmul(recorder, "tn", dLogits, predicted, dHead, { rowSums: g["head.bias"]! });
  const dTop = stepGradients![numLayers - 1]!.dOutput;
  recordMatmul(
    recorder,
    "nn",
    dLogits,
    { tensor: parameters.byName["head.weight"]!, rows: V, columns: H },
    { tensor: dTop, rows: N, columns: H, firstRow: T * B - N },
  );
  for (let l = numLayers - 1; l >= 0; l--) {
    const layer = layers[l]!;
    const step = stepGradients![l]!;
    const dWeights = layerWeights(gradients, l);
    const dProjection = gateMatrix(layer, step.dProjection);
    recordStepsBackward(recorder, layer, step, layerWeights(parameters, l));
    recordWeightHhGradient(recorder, layer, step.dGates, dWeights);
    if (l > 0) {
      recordMatmul(recorder, "tn", dProjection, layerInput(l), weightIhMatrix(dWeights), { rowSums: dWeights.biasIh });
      const dBelow = stepGradients![l - 1]!.dOutput;
      recordMatmul(recorder, "nn", dProjection, weightIhMatrix(layerWeights(parameters, l)), {
        tensor: dBelow,
        rows: T * B,
        columns: H,
      });
      if (dropped[l]) {
        recorder.dispatch(
          dropout.backward,
          { rng: rng!, dX: dBelow },
          { N: T * B, W: pad4(H), offset: 0, layer: l, p: config.dropout },
        );
      }
      continue;
    }
    recordInputBackward(recorder, model, gradients, layer, { order, starts, tabled, x0, dProjection: step.dProjection });
  }
  return io;
}

/** Records the gradients of the input's parameters: embedding.weight, W_ih and the biases of the first layer. */
function recordInputBackward(
  recorder: Recorder,
  { config, parameters }: LanguageModel,
  gradients: ParameterSet,
  layer: Layer,
  options: { order: Tensor; starts: Tensor; tabled: boolean; x0: Tensor | undefined; dProjection: Tensor },
): void {
  const { order, starts, tabled, x0, dProjection } = options;
  const { vocabSize: V, embeddingSize: E, hiddenSize: H, input } = config;
  const { T, B, cell } = layer.shape;
  const width = cell.gates * pad4(H);
  const weights = layerWeights(parameters, 0);
  const dWeights = layerWeights(gradients, 0);
  const dEmbedding = gradients.byName["embedding.weight"];
  const e: Matrix = { tensor: parameters.byName["embedding.weight"] ?? weights.weightIh, rows: V, columns: E };
  const dRows = gateMatrix(layer, dProjection);
  if (!tabled) {
    const x: Matrix = { tensor: x0!, rows: T * B, columns: E };
    const dX: Matrix = { ...x, tensor: recorder.tensor({ name: "input.dX", shape: [T, B, E] }) };
    recordMatmul(recorder, "tn", dRows, x, weightIhMatrix(dWeights), { rowSums: dWeights.biasIh });
    recordMatmul(recorder, "nn", dRows, weightIhMatrix(weights), dX);
    recorder.dispatch(embedding.backward, { order, starts, dY: dX.tensor, dWeight: dEmbedding! }, { N: T * B, V, W: pad4(E) });
    return;
  }
  // Token by token the gate gradients sum to the table's; what follows then works on V rows instead of T·B.
  const dTable: Matrix = { tensor: gateTensor(recorder, "input.dTable", [V, cell.gates, H]), rows: V, columns: width };
  recorder.dispatch(embedding.backward, { order, starts, dY: dProjection, dWeight: dTable.tensor }, { N: T * B, V, W: width });
  if (input === "one-hot") {
    recordColumnSums(recorder, dTable, dWeights.biasIh);
    recorder.dispatch(
      transpose.forward,
      { matrix: dTable.tensor, bias: dTable.tensor, out: dWeights.weightIh },
      { rows: V, columns: width, stride: width, mode: TRANSPOSE.plain },
    );
    return;
  }
  recordMatmul(recorder, "tn", dTable, e, weightIhMatrix(dWeights), { rowSums: dWeights.biasIh });
  recordMatmul(recorder, "nn", dTable, weightIhMatrix(weights), { tensor: dEmbedding!, rows: V, columns: E });
}

// A character language model: input (embedding or one-hot) → recurrent layers → linear head → logits.
import { GatewiseError } from "../errors.ts";
import { dropout } from "../kernels/dropout.ts";
import { embedding } from "../kernels/embedding.ts";
import { recordMatmul, type Matrix } from "../kernels/matmul.ts";
import { softmaxCrossEntropy } from "../kernels/softmax-cross-entropy.ts";
import { reduce } from "../kernels/reduce.ts";
import { TRANSPOSE, transpose } from "../kernels/transpose.ts";
import type { Device } from "../runtime/device.ts";
import type { Recorder } from "../runtime/recorder.ts";
import { pad4, sizeOf, type Tensor } from "../runtime/tensor.ts";
import { CELL_NAMES, cellOf, type CellName } from "./cells.ts";
import {
  initialValues, layerParameters, makeParameterSet, plainParameter, readStateDict, writeStateDict,
  type ParameterSet, type ParameterSpec, type StateDict,
} from "./parameters.ts";
import {
  gateMatrix, gateTensor, makeLayer, makeLayerGradients, outputs, recordColumnSums, recordPack, recordStep, recordStepsBackward,
  recordWeightHhGradient, type Layer, type LayerWeights, type Projection,
} from "./recurrent-layer.ts";
import { sampleText, type SampleOptions, type TextCodec } from "./sample.ts";

export interface LanguageModelConfig {
  readonly cell: CellName;
  readonly input: "embedding" | "one-hot";
  readonly vocabSize: number;
  /** E; unused with one-hot input. */
  readonly embeddingSize: number;
  readonly hiddenSize: number;
  readonly numLayers: number;
  /** Probability of zeroing an output between layers while training. */
  readonly dropout: number;
  /** GRU: whether the reset gate acts after the recurrent product (cuDNN, PyTorch) or before it (Cho et al. 2014). */
  readonly resetAfter: boolean;
  /** RNN: tanh, or relu. */
  readonly nonlinearity: "tanh" | "relu";
  /** LSTM: constant to start the forget gate's bias from; undefined leaves PyTorch's uniform values. */
  readonly forgetBias?: number | undefined;
  /** Start from orthogonal recurrent weights instead of uniform ones. */
  readonly orthogonal: boolean;
}

export type LanguageModelOptions = Partial<LanguageModelConfig> & { readonly vocabSize: number; readonly seed?: number };

/** The four steps of the evolution. */
export const PRESETS = {
  "one-hot-rnn": { cell: "rnn", input: "one-hot" },
  "embedding-rnn": { cell: "rnn", input: "embedding" },
  gru: { cell: "gru", input: "embedding" },
  lstm: { cell: "lstm", input: "embedding" },
} as const satisfies Record<string, Partial<LanguageModelConfig>>;
export type PresetName = keyof typeof PRESETS;

export const LANGUAGE_MODEL_DEFAULTS = {
  cell: "lstm",
  input: "embedding",
  embeddingSize: 64,
  hiddenSize: 128,
  numLayers: 1,
  dropout: 0,
  resetAfter: true,
  nonlinearity: "tanh",
  orthogonal: false,
} as const satisfies Omit<LanguageModelConfig, "vocabSize">;

/**
 * Fills in defaults and checks every field.
 *
 * @throws GatewiseError E_CONFIG naming the field, what it must be and what came.
 */
export function languageModelConfig(options: Partial<LanguageModelConfig> & { readonly vocabSize: number }): LanguageModelConfig {
  const config: LanguageModelConfig = { ...LANGUAGE_MODEL_DEFAULTS, ...options };
  const fail = (field: keyof LanguageModelConfig, expected: string): never => {
    throw new GatewiseError("E_CONFIG", `${field} must be ${expected}, got ${JSON.stringify(config[field])}`);
  };
  const oneOf = (field: keyof LanguageModelConfig, values: readonly unknown[]): void => {
    if (!values.includes(config[field])) fail(field, `one of ${values.join(", ")}`);
  };
  const integer = (field: keyof LanguageModelConfig, most: number): void => {
    const value = config[field];
    if (!Number.isInteger(value) || (value as number) < 1 || (value as number) > most) fail(field, `an integer from 1 to ${most}`);
  };
  oneOf("cell", CELL_NAMES);
  oneOf("input", ["embedding", "one-hot"]);
  oneOf("nonlinearity", ["tanh", "relu"]);
  oneOf("resetAfter", [true, false]);
  oneOf("orthogonal", [true, false]);
  integer("vocabSize", 65536);
  integer("embeddingSize", 65536);
  integer("hiddenSize", 65536);
  integer("numLayers", 64);
  if (!(config.dropout >= 0 && config.dropout < 1)) fail("dropout", "at least 0 and less than 1");
  if (config.forgetBias !== undefined && !Number.isFinite(config.forgetBias)) fail("forgetBias", "a number");
  return config;
}

function parameterSpecs(config: LanguageModelConfig): readonly ParameterSpec[] {
  const { vocabSize: V, embeddingSize: E, hiddenSize: H, numLayers, input } = config;
  const { gates } = cellOf(config);
  const specs: ParameterSpec[] = [];
  if (input === "embedding") specs.push(plainParameter("embedding.weight", [V, E], { kind: "normal" }));
  for (let l = 0; l < numLayers; l++) {
    const inputSize = l > 0 ? H : input === "embedding" ? E : V;
    const options = { orthogonal: config.orthogonal, ...(config.cell === "lstm" && { forgetBias: config.forgetBias }) };
    specs.push(...layerParameters(`l${l}`, inputSize, H, gates, options).map((s) => ({ ...s, name: `rnn.${s.name}` })));
  }
  const bound = 1 / Math.sqrt(H);
  specs.push(plainParameter("head.weight", [V, H], { kind: "uniform", bound }));
  specs.push(plainParameter("head.bias", [V], { kind: "uniform", bound }));
  return specs;
}

/** Number of parameters of a model of this configuration. */
export const parameterCount = (config: LanguageModelConfig): number =>
  parameterSpecs(config).reduce((sum, { shape }) => sum + sizeOf(shape), 0);

/**
 * A recurrent language model on a device.
 *
 * @example
 * const model = LanguageModel.create(device, { cell: "lstm", vocabSize: tokenizer.size, hiddenSize: 128, seed: 1 });
 */
export class LanguageModel {
  private constructor(
    readonly device: Device,
    readonly config: LanguageModelConfig,
    readonly parameters: ParameterSet,
  ) {}

  /** @throws GatewiseError E_CONFIG, E_LIMIT */
  static create(device: Device, options: LanguageModelOptions): LanguageModel {
    const { seed = 1, ...rest } = options;
    const config = languageModelConfig(rest);
    const parameters = makeParameterSet(device, "parameters", parameterSpecs(config));
    parameters.specs.forEach((spec, i) => device.write(parameters.flat.parts[i]!, initialValues(spec, seed, i)));
    return new LanguageModel(device, config, parameters);
  }

  /** The parameters under PyTorch's names, dense, in PyTorch's shapes. */
  stateDict(): Promise<StateDict> {
    return readStateDict(this.device, this.parameters);
  }

  /** @throws GatewiseError E_SHAPE */
  loadStateDict(values: Readonly<Record<string, ArrayLike<number>>>): void {
    writeStateDict(this.device, this.parameters, values);
  }

  /**
   * Samples text, one step a character, the choice made on the device.
   *
   * @throws GatewiseError E_DATA for a prompt with unknown characters, E_CONFIG for options out of range.
   */
  sample(codec: TextCodec, options: SampleOptions = {}): Promise<string> {
    return sampleText(this, codec, options).then((texts) => texts[0]!);
  }

  get parameterCount(): number {
    return parameterCount(this.config);
  }

  dispose(): void {
    this.device.free(this.parameters.flat.whole);
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** The parameters (or gradients) of layer l. */
export const layerWeights = ({ byName }: ParameterSet, l: number): LayerWeights => ({
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
export function recordHead(recorder: Recorder, { config, parameters }: LanguageModel, h: Matrix, logits: Tensor, firstRow = 0): void {
  const { vocabSize: V, hiddenSize: H } = config;
  const weight: Matrix = { tensor: parameters.byName["head.weight"]!, rows: V, columns: H };
  const target: Matrix = { tensor: logits, rows: h.rows, columns: V, firstRow };
  recordMatmul(recorder, "nt", h, weight, target, { bias: parameters.byName["head.bias"]! });
}

/** Records x·W_ihᵀ + b_ih of a layer above the first, for rows [firstRow, firstRow + x.rows) of its projection. */
export function recordLayerInput(recorder: Recorder, model: LanguageModel, l: number, x: Matrix, projection: Tensor, firstRow = 0): void {
  const weights = layerWeights(model.parameters, l);
  const w = weightIhMatrix(weights);
  recordMatmul(recorder, "nt", x, w, { tensor: projection, rows: x.rows, columns: w.rows, firstRow }, { bias: weights.biasIh });
}

/** The carried state of a batch: h and, for the LSTM, c, each [L, B, H]. */
export interface RecurrentState {
  readonly h: Tensor;
  readonly c: Tensor | undefined;
}

/** Makes a state, all zero. `make` is a device's or a recorder's `tensor`. */
export function makeState(make: (spec: { name: string; shape: readonly number[] }) => Tensor, config: LanguageModelConfig, B: number): RecurrentState {
  const shape = [config.numLayers, B, config.hiddenSize];
  return {
    h: make({ name: "state.h", shape }),
    c: cellOf(config).cellState ? make({ name: "state.c", shape }) : undefined,
  };
}

/** Records the copy of a state into h[0] and c[0] of every layer ("load"), or of h[T] and c[T] back ("store"). */
export function recordState(recorder: Recorder, layers: readonly Layer[], state: RecurrentState, direction: "load" | "store"): void {
  layers.forEach(({ shape: { T, B, H }, tensors }, l) => {
    const length = B * pad4(H);
    for (const [history, kept] of [[tensors.h, state.h], [tensors.c, state.c]] as const) {
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
  /** Loss, accuracy and more, f32 [8]; see kernels/reduce.ts. */
  readonly metrics: Tensor;
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
  const { T, B, loss, state, metrics, gradients } = options;
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
    layers.push(makeLayer(recorder, `l${l}`, { cell, T, B, H, relu: config.nonlinearity === "relu" }, projection));
    dropped.push(l > 0 && rng ? recorder.tensor({ name: `l${l}.x`, shape: [T, B, H] }) : undefined);
  }
  const stepGradients = gradients && layers.map((layer, l) => makeLayerGradients(recorder, `l${l}`, layer, layerWeights(parameters, l)));
  for (const { dCarry } of stepGradients ?? []) if (dCarry) recorder.clear(dCarry);
  if (state) recordState(recorder, layers, state, "load");

  // Forward.
  if (table) {
    recordInputTable(recorder, model, table);
  } else {
    recorder.dispatch(embedding.forward, { tokens: inputs, weight: parameters.byName["embedding.weight"]!, y: x0! }, { N: T * B, V, W: pad4(E) });
    recordLayerInput(recorder, model, 0, { tensor: x0!, rows: T * B, columns: E }, layers[0]!.projection.xProjection);
  }
  /** The input of layer l > 0: the outputs of the layer below, after dropout. */
  const layerInput = (l: number): Matrix => (dropped[l] ? { tensor: dropped[l], rows: T * B, columns: H } : outputs(layers[l - 1]!));
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
    for (let t = 0; t < T; t++) recordStep(recorder, layer, t);
  });
  const top = layers.at(-1)!;
  const predicted: Matrix = loss === "all" ? outputs(top) : { tensor: top.tensors.h, rows: B, columns: H, firstRow: T * B };
  recordHead(recorder, model, predicted, logits);
  recorder.dispatch(gradients ? softmaxCrossEntropy.backward : softmaxCrossEntropy.forward, { logits, targets, rows }, { N, V, scale: 1 / N });
  // A training step reports its own mean; an evaluation adds up sums over its passes.
  recorder.dispatch(reduce.sum, { rows, metrics }, { N, scale: gradients ? 1 / N : 1, accumulate: gradients ? 0 : 1 });
  if (state) recordState(recorder, layers, state, "store");
  const io: PassInputs = { inputs, targets, order, starts, rows, logits, layers };
  if (!gradients) return io;

  // Backward. The logits now hold their gradient.
  const dLogits: Matrix = { tensor: logits, rows: N, columns: V };
  const g = gradients.byName;
  recordMatmul(recorder, "tn", dLogits, predicted, { tensor: g["head.weight"]!, rows: V, columns: H });
  recordColumnSums(recorder, dLogits, g["head.bias"]!);
  const dTop = stepGradients![numLayers - 1]!.dOutput;
  recordMatmul(recorder, "nn", dLogits, { tensor: parameters.byName["head.weight"]!, rows: V, columns: H },
    { tensor: dTop, rows: N, columns: H, firstRow: T * B - N });
  for (let l = numLayers - 1; l >= 0; l--) {
    const layer = layers[l]!;
    const step = stepGradients![l]!;
    const dWeights = layerWeights(gradients, l);
    const dProjection = gateMatrix(layer, step.dProjection);
    recordStepsBackward(recorder, layer, step);
    recordWeightHhGradient(recorder, layer, step.dGates, dWeights.weightHh);
    if (l > 0) {
      recordMatmul(recorder, "tn", dProjection, layerInput(l), weightIhMatrix(dWeights));
      recordColumnSums(recorder, dProjection, dWeights.biasIh);
      recordColumnSums(recorder, gateMatrix(layer, step.dGates), dWeights.biasHh);
      const dBelow = stepGradients![l - 1]!.dOutput;
      recordMatmul(recorder, "nn", dProjection, weightIhMatrix(layerWeights(parameters, l)), { tensor: dBelow, rows: T * B, columns: H });
      if (dropped[l]) {
        recorder.dispatch(dropout.backward, { rng: rng!, dX: dBelow }, { N: T * B, W: pad4(H), offset: 0, layer: l, p: config.dropout });
      }
      continue;
    }
    recordInputBackward(recorder, model, gradients, layer, { order, starts, tabled, x0, ...step });
  }
  return io;
}

/** Records the gradients of the input's parameters: embedding.weight, W_ih and the biases of the first layer. */
function recordInputBackward(
  recorder: Recorder,
  { config, parameters }: LanguageModel,
  gradients: ParameterSet,
  layer: Layer,
  options: { order: Tensor; starts: Tensor; tabled: boolean; x0: Tensor | undefined; dProjection: Tensor; dGates: Tensor },
): void {
  const { order, starts, tabled, x0, dProjection, dGates } = options;
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
    recordMatmul(recorder, "tn", dRows, x, weightIhMatrix(dWeights));
    recordColumnSums(recorder, dRows, dWeights.biasIh);
    recordColumnSums(recorder, gateMatrix(layer, dGates), dWeights.biasHh);
    recordMatmul(recorder, "nn", dRows, weightIhMatrix(weights), dX);
    recorder.dispatch(embedding.backward, { order, starts, dY: dX.tensor, dWeight: dEmbedding! }, { N: T * B, V, W: pad4(E) });
    return;
  }
  // Token by token the gate gradients sum to the table's; what follows then works on V rows instead of T·B.
  const dTable: Matrix = { tensor: gateTensor(recorder, "input.dTable", [V, cell.gates, H]), rows: V, columns: width };
  recorder.dispatch(embedding.backward, { order, starts, dY: dProjection, dWeight: dTable.tensor }, { N: T * B, V, W: width });
  recordColumnSums(recorder, dTable, dWeights.biasIh);
  recordColumnSums(recorder, dGates === dProjection ? dTable : gateMatrix(layer, dGates), dWeights.biasHh);
  if (input === "one-hot") {
    recorder.dispatch(transpose.forward, { matrix: dTable.tensor, bias: dTable.tensor, out: dWeights.weightIh }, { rows: V, columns: width, stride: width, mode: TRANSPOSE.plain });
    return;
  }
  recordMatmul(recorder, "tn", dTable, e, weightIhMatrix(dWeights));
  recordMatmul(recorder, "nn", dTable, weightIhMatrix(weights), { tensor: dEmbedding!, rows: V, columns: E });
}

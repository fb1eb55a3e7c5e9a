// What a plan of a language model is made of: its input, the stack of layers, head and loss, and the whole pass with its
// gradients.
import type { LayerInput, StateSpec, Tensors } from "../kernels/cell.ts";
import { recordMatmul, type Matrix } from "../kernels/matmul.ts";
import { makeNorm } from "../kernels/rms-norm.ts";
import { rowsOfTokens } from "../kernels/rows.ts";
import { softmaxCrossEntropy } from "../kernels/softmax-cross-entropy.ts";
import type { Recorder } from "../runtime/recorder.ts";
import { pad4, type Tensor } from "../runtime/tensor.ts";
import type { Device } from "../runtime/device.ts";
import { modelLayers, modelNames, type LanguageModelConfig } from "./config.ts";
import { inBlock } from "./cells.ts";
import type { ParameterSet } from "./parameters.ts";
import { makeStack, makeStates, type Stack, type StackOptions } from "./stack.ts";

/** A language model, as plans know it. */
export interface ModelParts {
  readonly device: Device;
  readonly config: LanguageModelConfig;
  readonly parameters: ParameterSet;
}

/** The input of a model's first layer by token: the rows of its embedding [V, E], or one-hot. */
export function tokenInput(
  { config, parameters }: ModelParts,
  tokens: Tensor,
  sorted?: { readonly order: Tensor; readonly starts: Tensor },
): LayerInput {
  const { vocabSize: V, embeddingSize: columns } = config;
  const tensor = parameters.byName[modelNames(config).embedding];
  return { parts: tensor ? [{ tensor, rows: V, columns }] : [], tokens: { tokens, V, ...(sorted && { sorted }) } };
}

/** Makes a model's layers in a plan. */
export const modelStack = (
  recorder: Recorder,
  { config, parameters }: ModelParts,
  options: Pick<StackOptions, "T" | "B" | "input" | "states" | "dropout">,
): Stack => makeStack(recorder, { config, parameters, layers: modelLayers(config), ...options });

/** Makes a carried state of B streams, all zero. `make` is a device's or a recorder's `tensor`. */
export const makeState = (make: (spec: StateSpec) => Tensor, config: LanguageModelConfig, B: number): Tensors =>
  makeStates((spec) => make({ ...spec, name: `state.${spec.name}` }), config, B, modelLayers(config));

/** From what the layers give, N rows of it, to logits [N, V], and back. */
export interface Head {
  /** Records logits = h·W_headᵀ + b_head, the head's norm before it, if there is one. */
  forward(h: Matrix, logits: Tensor): void;
  /** Records, from the logits' gradient, that of h, in its rows. */
  input(dLogits: Matrix, h: Matrix, dTop: Tensor, gradients: ParameterSet): void;
  /** Records those of the head's weight and bias; behind the embedding's, which it may be. */
  parameters(dLogits: Matrix, h: Matrix, gradients: ParameterSet): void;
}

export function makeHead(recorder: Recorder, { config, parameters }: ModelParts, N: number): Head {
  const { vocabSize: V, hiddenSize: H } = config;
  const names = modelNames(config);
  const weightOf = ({ byName }: ParameterSet): Matrix => ({ tensor: byName[names.head]!, rows: V, columns: H });
  const biasOf = ({ byName }: ParameterSet): Tensor | undefined => (names.bias ? byName[names.bias] : undefined);
  const norm = names.norm ? makeNorm(recorder, "head", parameters.byName[names.norm]!, N, H) : undefined;
  return {
    forward(h, logits) {
      norm?.forward(h, 0);
      const target: Matrix = { tensor: logits, rows: N, columns: V };
      recordMatmul(recorder, "nt", norm?.y ?? h, weightOf(parameters), target, { bias: biasOf(parameters) });
    },
    input(dLogits, h, dTop, gradients) {
      const dH = { ...h, tensor: dTop, firstRow: dTop.length / pad4(H) - N };
      if (!norm) return recordMatmul(recorder, "nn", dLogits, weightOf(parameters), dH);
      const dY = recorder.tensor({ name: "head.dY", shape: [N, H] });
      recordMatmul(recorder, "nn", dLogits, weightOf(parameters), { tensor: dY, rows: N, columns: H });
      norm.backward(recorder, h, dY, { dX: dTop, dWeight: gradients.byName[names.norm!]! });
    },
    parameters(dLogits, h, gradients) {
      const accumulate = names.head === names.embedding;
      recordMatmul(recorder, "tn", dLogits, norm?.y ?? h, weightOf(gradients), { rowSums: biasOf(gradients), accumulate });
    },
  };
}

/** What a pass over windows of T × B tokens is made of. */
export interface PassOptions {
  readonly T: number;
  readonly B: number;
  /** The mean over all time steps, or over the last one only (many-to-one). */
  readonly loss: "all" | "last";
  /** Carried from pass to pass; zero before every pass if left out. */
  readonly state?: Tensors | undefined;
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
  readonly stack: Stack;
}

/** Records forward, loss and, if `gradients` are given, full backpropagation through time. */
export function recordPass(recorder: Recorder, model: ModelParts, options: PassOptions): PassInputs {
  const { config } = model;
  const { T, B, loss, state, gradients } = options;
  const { vocabSize: V, embeddingSize: E, hiddenSize: H } = config;
  const rng = config.dropout > 0 ? options.rng : undefined;
  // Where V is larger than the batch, a table of projections would cost more than it saves. One-hot always has one: W_ihᵀ.
  const tabled = config.input === "one-hot" || inBlock(config) || V <= T * B;
  const N = loss === "all" ? T * B : B;
  const u32 = (name: string, shape: readonly number[]): Tensor => recorder.tensor({ name, shape, dtype: "u32" });

  const inputs = u32("inputs", [T, B]);
  const targets = u32("targets", [N / B, B]);
  const order = u32("order", [T * B]);
  const starts = u32("starts", [V + 1]);
  const logits = recorder.tensor({ name: "logits", shape: [N, V] });
  const rows = recorder.tensor({ name: "rows", shape: [N, 2], stored: [N, 2] });
  const byToken = tokenInput(model, inputs, { order, starts });
  const x = tabled ? undefined : rowsOfTokens(recorder, { name: "input", T, B, input: byToken });
  const head = makeHead(recorder, model, N);
  const stack = modelStack(recorder, model, {
    T,
    B,
    input: x ? { parts: [x.rows] } : byToken,
    states: state && { initial: state, final: state },
    // The masks of a layer's outputs are numbered by the layer that reads them.
    dropout: rng && { rng, stream: (l) => l + 1 },
  });

  // Forward.
  x?.steps(0, T * B);
  stack.begin();
  stack.steps(0, T);
  const h = stack.outputs[0]!;
  const predicted: Matrix = { ...h, rows: N, firstRow: (h.firstRow ?? 0) + T * B - N };
  head.forward(predicted, logits);
  recorder.dispatch(
    gradients ? softmaxCrossEntropy.backward : softmaxCrossEntropy.forward,
    { logits, targets, rows },
    { N, V, scale: 1 / N },
  );
  stack.end();
  const io: PassInputs = { inputs, targets, order, starts, rows, logits, stack };
  if (!gradients) return io;

  // Backward. The logits now hold their gradient.
  const dLogits: Matrix = { tensor: logits, rows: N, columns: V };
  const dTop = recorder.tensor({ name: "dOutput", shape: [T, B, H] });
  head.input(dLogits, predicted, dTop, gradients);
  const dEmbedding = gradients.byName[modelNames(config).embedding];
  const ofTokens = dEmbedding ? [{ tensor: dEmbedding, rows: V, columns: E }] : [];
  const record = (inputs: readonly Matrix[]): void =>
    stack.backward(recorder, { dOutputs: [dTop], parameters: gradients, inputs });
  if (x) x.backward(recorder, ofTokens[0]!, (dX) => record([{ tensor: dX, rows: T * B, columns: E }]));
  else record(ofTokens);
  head.parameters(dLogits, predicted, gradients);
  return io;
}

// What a plan of a language model is made of: its input, the stack of layers, head and loss, and the whole pass with its
// gradients.
import type { LayerInput, Tensors } from "../kernels/cell.ts";
import { embedding } from "../kernels/embedding.ts";
import { recordMatmul, type Matrix } from "../kernels/matmul.ts";
import { recordGather } from "../kernels/rows.ts";
import { softmaxCrossEntropy } from "../kernels/softmax-cross-entropy.ts";
import type { Recorder } from "../runtime/recorder.ts";
import { pad4, type Tensor } from "../runtime/tensor.ts";
import type { Device } from "../runtime/device.ts";
import { PREFIX, type LanguageModelConfig } from "./config.ts";
import type { ParameterSet } from "./parameters.ts";
import { makeStack, makeStates, type Stack, type StackOptions } from "./stack.ts";

/** A language model, as plans know it. */
export interface ModelParts {
  readonly device: Device;
  readonly config: LanguageModelConfig;
  readonly parameters: ParameterSet;
}

/** The input of a model's first layer by token: the rows of embedding.weight [V, E], or one-hot. */
export function tokenInput(
  { config, parameters }: ModelParts,
  tokens: Tensor,
  sorted?: { readonly order: Tensor; readonly starts: Tensor },
): LayerInput {
  const { vocabSize: V, embeddingSize: columns } = config;
  const tensor = parameters.byName["embedding.weight"];
  return { parts: tensor ? [{ tensor, rows: V, columns }] : [], tokens: { tokens, V, ...(sorted && { sorted }) } };
}

/** Makes a model's layers in a plan. */
export const modelStack = (
  recorder: Recorder,
  { config, parameters }: ModelParts,
  options: Pick<StackOptions, "T" | "B" | "input" | "states" | "dropout">,
): Stack => makeStack(recorder, { config, parameters, prefix: PREFIX, ...options });

/** Makes a carried state of B streams, all zero. `make` is a device's or a recorder's `tensor`. */
export const makeState = (
  make: (spec: { readonly name: string; readonly shape: readonly number[] }) => Tensor,
  config: LanguageModelConfig,
  B: number,
): Tensors => makeStates(({ name, shape }) => make({ name: `state.${name}`, shape }), config, B);

/** Records logits = h·W_headᵀ + b_head. */
export function recordHead(recorder: Recorder, { config, parameters }: ModelParts, h: Matrix, logits: Tensor): void {
  const { vocabSize: V, hiddenSize: H } = config;
  const weight: Matrix = { tensor: parameters.byName["head.weight"]!, rows: V, columns: H };
  const target: Matrix = { tensor: logits, rows: h.rows, columns: V };
  recordMatmul(recorder, "nt", h, weight, target, { bias: parameters.byName["head.bias"]! });
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
  const { config, parameters } = model;
  const { T, B, loss, state, gradients } = options;
  const { vocabSize: V, embeddingSize: E, hiddenSize: H } = config;
  const rng = config.dropout > 0 ? options.rng : undefined;
  // Where V is larger than the batch, a table of projections would cost more than it saves. One-hot always has one: W_ihᵀ.
  const tabled = config.input === "one-hot" || V <= T * B;
  const N = loss === "all" ? T * B : B;
  const u32 = (name: string, shape: readonly number[]): Tensor => recorder.tensor({ name, shape, dtype: "u32" });

  const inputs = u32("inputs", [T, B]);
  const targets = u32("targets", [N / B, B]);
  const order = u32("order", [T * B]);
  const starts = u32("starts", [V + 1]);
  const logits = recorder.tensor({ name: "logits", shape: [N, V] });
  const rows = recorder.tensor({ name: "rows", shape: [N, 2], stored: [N, 2] });
  const embedded = (name: string): Matrix => ({
    tensor: recorder.tensor({ name, shape: [T, B, E] }),
    rows: T * B,
    columns: E,
  });
  const x = tabled ? undefined : embedded("input.x");
  const stack = modelStack(recorder, model, {
    T,
    B,
    input: x ? { parts: [x] } : tokenInput(model, inputs, { order, starts }),
    states: state && { initial: state, final: state },
    // The masks of a layer's outputs are numbered by the layer that reads them.
    dropout: rng && { rng, stream: (l) => l + 1 },
  });

  // Forward.
  if (x) recordGather(recorder, parameters.byName["embedding.weight"]!, inputs, x.tensor);
  stack.begin();
  stack.steps(0, T);
  const h = stack.outputs[0]!;
  const predicted: Matrix = { ...h, rows: N, firstRow: h.firstRow! + T * B - N };
  recordHead(recorder, model, predicted, logits);
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
  const g = gradients.byName;
  const dHead: Matrix = { tensor: g["head.weight"]!, rows: V, columns: H };
  recordMatmul(recorder, "tn", dLogits, predicted, dHead, { rowSums: g["head.bias"]! });
  const dTop = recorder.tensor({ name: "dOutput", shape: [T, B, H] });
  recordMatmul(
    recorder,
    "nn",
    dLogits,
    { tensor: parameters.byName["head.weight"]!, rows: V, columns: H },
    { tensor: dTop, rows: N, columns: H, firstRow: T * B - N },
  );
  const dEmbedding = g["embedding.weight"];
  const dX = x && embedded("input.dX");
  const ofTokens = dEmbedding ? [{ tensor: dEmbedding, rows: V, columns: E }] : [];
  stack.backward(recorder, { dOutputs: [dTop], parameters: gradients, inputs: dX ? [dX] : ofTokens });
  if (dX) {
    const sizes = { N: T * B, V, W: pad4(E) };
    recorder.dispatch(embedding.backward, { order, starts, dY: dX.tensor, dWeight: dEmbedding! }, sizes);
  }
  return io;
}

// A model read character by character by the library's kernels: what every gate and state holds.
import { GatewiseError } from "../../errors.ts";
import { silu } from "../../kernels/block.ts";
import type { Cell, CellConfig, Values } from "../../kernels/cell.ts";
import type { Matrix } from "../../kernels/matmul.ts";
import { cellOf, insideConfig } from "../../models/cells.ts";
import type { LanguageModel } from "../../models/language-model.ts";
import { makeHead, modelStack, tokenInput } from "../../models/pass.ts";
import type { Device } from "../../runtime/device.ts";
import { sizeOf, type Tensor } from "../../runtime/tensor.ts";
import { cellWeights, inputRows, modelOn, onReference, type Readable } from "./reference.ts";

export interface Trace {
  /** Which layer it is of, from 0 on. */
  readonly layer: number;
  /** T, characters read; H, units of the layer, in a block the channels of its cell. */
  readonly steps: number;
  readonly units: number;
  /**
   * By name, [T, H]: the layer's gates, and its states after each character, h the last; where h is more than a number a
   * unit, what the cell makes of it, y.
   */
  readonly values: Readonly<Record<string, Float32Array>>;
  /** Which of them are no gates; h or y comes first. */
  readonly states: readonly string[];
  /** What the layer below gives, [T, …], if there is one. */
  readonly below: Float32Array | undefined;
  /** In a block: what the cell reads, and what its output is multiplied by, [T, H] each. */
  readonly block: { readonly u: Float32Array; readonly gate: Float32Array } | undefined;
  /** [T, V]: the probability of each character after each step. */
  readonly probabilities: Float32Array;
  /** Where it was asked for, and the cell has such. */
  readonly flow?: Flow | undefined;
}

/** What flows through a layer's units. */
export interface Flow {
  /** [T, G·H]: what their gates add up, from the input and from the state before, biases included. */
  readonly input: Float32Array;
  readonly state: Float32Array;
  /** By name, [T, H]: what there is between gates and states. */
  readonly parts: Readonly<Record<string, Float32Array>>;
}

/** Reads tokens from a zero state, on the model's own device, and looks at a layer, by default the top one. */
export async function readTokens(
  model: LanguageModel,
  tokens: ArrayLike<number>,
  layer = model.config.numLayers - 1,
): Promise<Trace> {
  const { device, config } = model;
  const { vocabSize: V } = config;
  const inside = insideConfig(config);
  const H = inside.hiddenSize;
  const T = tokens.length;
  const plan = await device.record("reading", (recorder) => {
    const read = recorder.tensor({ name: "tokens", shape: [T, 1], dtype: "u32" });
    const stack = modelStack(recorder, model, { T, B: 1, input: tokenInput(model, read) });
    const logits = recorder.tensor({ name: "logits", shape: [T, V] });
    stack.begin();
    stack.steps(0, T);
    makeHead(recorder, model, T).forward(stack.outputs[0]!, logits);
    stack.end();
    return { read, logits, layers: stack.layers };
  });
  try {
    const { read, logits, layers } = plan.made;
    await plan.run([[read, Uint32Array.from(tokens)]]);
    const { tensors } = layers[layer]!;
    /** Row `part` of the [n, H] that a tensor has of each step. */
    const ofEach = async (tensor: Tensor, part = 0): Promise<Float32Array> => {
      const saved = await device.read(tensor);
      const width = saved.length / T;
      return Float32Array.from({ length: T * H }, (_, i) => saved[Math.floor(i / H) * width + part * H + (i % H)]!);
    };
    const { gates, ...cell } = cellOf(config);
    const values: Record<string, Float32Array> = {};
    if (tensors.gates) for (const [gate, name] of gates.entries()) values[name] = await ofEach(tensors.gates, gate);
    const [h, ...others] = cell.states(inside).map(({ name }) => name);
    const states = tensors[h!] ? [h!, ...others] : ["y"];
    for (const name of [...states.slice(1), states[0]!]) {
      const kept = Float32Array.from(await device.read(tensors[name]!));
      // A history begins with what was there before.
      values[name] = kept.subarray(kept.length - T * H);
    }
    const block = tensors.u && {
      u: await ofEach(tensors.u),
      gate: (await ofEach(tensors.xz!, 1)).map(silu),
    };
    const below = layer > 0 ? await rowsOf(device, layers[layer - 1]!.output) : undefined;
    return { layer, steps: T, units: H, values, states, below, block, probabilities: softmax(await device.read(logits), V) };
  } finally {
    plan.dispose();
  }
}

async function rowsOf(device: Device, { tensor, rows, firstRow = 0, columns }: Matrix): Promise<Float32Array> {
  return Float32Array.from((await device.read(tensor)).subarray(firstRow * columns, (firstRow + rows) * columns));
}

/** The same in float64. */
export const traceModel = (model: Readable, tokens: ArrayLike<number>, layer?: number): Promise<Trace> =>
  onReference((device) => readTokens(modelOn(device, model), tokens, layer));

/** Reads as traceModel does. @throws GatewiseError E_DATA if the model has outgrown all numbers, as nothing could be shown. */
export async function readModel(snapshot: Readable, tokens: ArrayLike<number>, layer?: number): Promise<Trace> {
  const trace = await traceModel(snapshot, tokens, layer);
  const wrong = [...Object.values(trace.values), trace.probabilities].some((values) => !values.every(Number.isFinite));
  if (wrong) throw new GatewiseError("E_DATA", "the model's states are not finite numbers any more: there is nothing to see");
  return trace;
}

/** [T, in]: what the layer reads. */
export const layerInputs = (model: Readable, tokens: ArrayLike<number>, { below }: Trace): Float32Array =>
  below ?? inputRows(model, tokens);

/** What is carried to each of the rows [in] that a layer reads, the first of which finds zero. */
export function* statesBefore(
  cell: Cell,
  config: CellConfig,
  weights: Values,
  x: Float32Array,
  width: number,
): Generator<Values, void, void> {
  const specs = cell.states(config);
  let states: Values = Object.fromEntries(specs.map(({ name, shape }) => [name, new Float64Array(sizeOf(shape))]));
  for (let at = 0; at < x.length; at += width) {
    yield states;
    const after = cell.step(config, weights, x.subarray(at, at + width), states);
    states = Object.fromEntries(specs.map(({ name }) => [name, after[name]!]));
  }
}

/** Undefined for a cell that does not say what flows through its units. */
export function flowOf(model: Readable, tokens: ArrayLike<number>, trace: Trace): Flow | undefined {
  const cell = cellOf(model.config);
  if (!cell.flow) return undefined;
  const config = insideConfig(model.config);
  const { steps: T, block } = trace;
  const weights = cellWeights(model, trace.layer);
  const x = block?.u ?? layerInputs(model, tokens, trace);
  const width = x.length / T;
  const rows = Array.from(statesBefore(cell, config, weights, x, width), (states, t) =>
    cell.flow!(config, weights, x.subarray(t * width, (t + 1) * width), states),
  );
  const gather = (of: "input" | "state"): Float32Array =>
    Float32Array.from(rows.flatMap((units) => units[0]![of].flatMap((_, gate) => units.map((unit) => unit[of][gate]!))));
  const names = Object.keys(rows[0]![0]!.parts);
  const parts = names.map((name) => [name, Float32Array.from(rows.flatMap((units) => units.map((unit) => unit.parts[name]!)))]);
  const output = trace.values[trace.states[0]!]!;
  const around = block && { u: block.u, gate: block.gate, "output ⊙ gate": output.map((y, i) => y * block.gate[i]!) };
  return { input: gather("input"), state: gather("state"), parts: { ...Object.fromEntries(parts), ...around } };
}

/** Of rows of V logits. */
function softmax(logits: ArrayLike<number>, V: number): Float32Array {
  const probabilities = new Float32Array(logits.length);
  for (let at = 0; at < logits.length; at += V) {
    const row = Float64Array.from({ length: V }, (_, v) => logits[at + v]!);
    const most = Math.max(...row);
    const powers = row.map((logit) => Math.exp(logit - most));
    const sum = powers.reduce((a, b) => a + b, 0);
    probabilities.set(
      powers.map((power) => power / sum),
      at,
    );
  }
  return probabilities;
}

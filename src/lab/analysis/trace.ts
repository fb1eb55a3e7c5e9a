// A model read character by character by the library's kernels: what every gate and state holds.
import { GatewiseError } from "../../errors.ts";
import { cellOf } from "../../models/cells.ts";
import { LanguageModel } from "../../models/language-model.ts";
import { makeHead, modelStack, tokenInput } from "../../models/pass.ts";
import { inputRows, inputSizeOf, layerWeights, onReference, type Readable } from "./reference.ts";

export interface Trace {
  /** T, characters read; H, units of the top layer. */
  readonly steps: number;
  readonly units: number;
  /** By name, [T, H]: the top layer's gates, and its states after each character, h the last. */
  readonly values: Readonly<Record<string, Float32Array>>;
  /** Which of them are states: h, and what else is carried on. */
  readonly states: readonly string[];
  /** [T, H], of the layer below the top one, if there is one. */
  readonly below: Float32Array | undefined;
  /** [T, V]: the probability of each character after each step. */
  readonly probabilities: Float32Array;
  /** Where it was asked for, and the cell has such. */
  readonly flow?: Flow | undefined;
}

/** What flows through the top layer's units. */
export interface Flow {
  /** [T, G·H]: what their gates add up, from the input and from the state before, biases included. */
  readonly input: Float32Array;
  readonly state: Float32Array;
  /** By name, [T, H]: what there is between gates and states. */
  readonly parts: Readonly<Record<string, Float32Array>>;
}

/** Reads tokens from a zero state, on the model's own device. */
export async function readTokens(model: LanguageModel, tokens: ArrayLike<number>): Promise<Trace> {
  const { device, config } = model;
  const { hiddenSize: H, vocabSize: V } = config;
  const T = tokens.length;
  const plan = await device.record("reading", (recorder) => {
    const read = recorder.tensor({ name: "tokens", shape: [T, 1], dtype: "u32" });
    const stack = modelStack(recorder, model, { T, B: 1, input: tokenInput(model, read) });
    const logits = recorder.tensor({ name: "logits", shape: [T, V] });
    stack.begin();
    stack.steps(0, T);
    makeHead(recorder, model, T).forward(stack.outputs[0]!, logits);
    stack.end();
    return { read, logits, layers: stack.layers.map(({ tensors }) => tensors) };
  });
  try {
    const { read, logits, layers } = plan.made;
    await plan.run([[read, Uint32Array.from(tokens)]]);
    const history = async (l: number, state: string): Promise<Float32Array> =>
      Float32Array.from((await device.read(layers.at(l)![state]!)).subarray(H));
    const { gates, ...cell } = cellOf(config);
    const states = cell.states(config).map(({ name }) => name);
    const values: Record<string, Float32Array> = {};
    if (layers.at(-1)!.gates) {
      const saved = await device.read(layers.at(-1)!.gates!);
      const width = saved.length / T;
      gates.forEach((name, gate) => {
        values[name] = Float32Array.from({ length: T * H }, (_, i) => saved[Math.floor(i / H) * width + gate * H + (i % H)]!);
      });
    }
    for (const name of [...states.slice(1), states[0]!]) values[name] = await history(-1, name);
    const below = layers.length > 1 ? await history(-2, "h") : undefined;
    return { steps: T, units: H, values, states, below, probabilities: softmax(await device.read(logits), V) };
  } finally {
    plan.dispose();
  }
}

/** The same in float64. */
export const traceModel = ({ config, stateDict }: Readable, tokens: ArrayLike<number>): Promise<Trace> =>
  onReference((device) => {
    const model = LanguageModel.create(device, { ...config, precision: "f32" });
    model.loadStateDict(stateDict);
    return readTokens(model, tokens);
  });

/** Reads as traceModel does. @throws GatewiseError E_DATA if the model has outgrown all numbers, as nothing could be shown. */
export async function readModel(snapshot: Readable, tokens: ArrayLike<number>): Promise<Trace> {
  const trace = await traceModel(snapshot, tokens);
  const wrong = [...Object.values(trace.values), trace.probabilities].some((values) => !values.every(Number.isFinite));
  if (wrong) throw new GatewiseError("E_DATA", "the model's states are not finite numbers any more: there is nothing to see");
  return trace;
}

/** [T, in]: what the top layer reads. */
export const topInputs = (model: Readable, tokens: ArrayLike<number>, { below }: Trace): Float32Array =>
  below ?? inputRows(model, tokens);

/** Undefined for a cell whose gates are no sums of what comes from the input and from the state. */
export function flowOf(model: Readable, tokens: ArrayLike<number>, trace: Trace): Flow | undefined {
  const { config } = model;
  const cell = cellOf(config);
  if (!cell.flow) return undefined;
  const { steps: T, units: H, values, states } = trace;
  const top = config.numLayers - 1;
  const own = Object.entries(layerWeights(model, top)).map(([name, weight]) => [name.replace(/_l0$/, ""), weight] as const);
  const weights = Object.fromEntries(own);
  const x = topInputs(model, tokens, trace);
  const width = inputSizeOf(model, top);
  const rows = Array.from({ length: T }, (_, t) => {
    const before = states.map(
      (name) => [name, t > 0 ? values[name]!.subarray((t - 1) * H, t * H) : new Float32Array(H)] as const,
    );
    return cell.flow!(config, weights, x.subarray(t * width, (t + 1) * width), Object.fromEntries(before));
  });
  const gather = (of: "input" | "state"): Float32Array =>
    Float32Array.from(rows.flatMap((units) => units[0]![of].flatMap((_, gate) => units.map((unit) => unit[of][gate]!))));
  const names = Object.keys(rows[0]![0]!.parts);
  const parts = names.map((name) => [name, Float32Array.from(rows.flatMap((units) => units.map((unit) => unit.parts[name]!)))]);
  return { input: gather("input"), state: gather("state"), parts: Object.fromEntries(parts) };
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

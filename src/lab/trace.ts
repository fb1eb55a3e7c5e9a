// A model read step by step in float64: what every gate and state holds at every character of a passage.
import { GatewiseError } from "../errors.ts";
import { sigmoid } from "../kernels/recurrent.ts";
import type { ModelSnapshot } from "./protocol.ts";

export interface Trace {
  /** T, characters read; H, units of the top layer. */
  readonly steps: number;
  readonly units: number;
  /** By name, [T, H]: the top layer's gates, and its state after each character. */
  readonly values: Readonly<Record<string, Float32Array>>;
  /** [T, G·H]: what the top layer's gates add up, from the input and from the state before, biases included. */
  readonly sums: { readonly input: Float32Array; readonly state: Float32Array };
  /** [T, V]: the probability of each character after each step. */
  readonly probabilities: Float32Array;
}

/** Gates that a cell saves, by name, in PyTorch's order of its weights. */
const GATES = { rnn: [], gru: ["r", "z", "n"], lstm: ["i", "f", "g", "o"] } as const;

/** A model's configuration and weights: all that reading takes. */
export type Readable = Pick<ModelSnapshot, "config" | "stateDict">;

/** Reads tokens from a zero state. */
export function traceModel({ config, stateDict }: Readable, tokens: ArrayLike<number>): Trace {
  const { cell, hiddenSize: H, numLayers: L, vocabSize: V, embeddingSize: E, input } = config;
  const names = GATES[cell];
  const G = Math.max(1, names.length);
  const T = tokens.length;
  const values: Record<string, Float32Array> = {};
  for (const name of [...names, ...(cell === "lstm" ? ["c"] : []), "h"]) values[name] = new Float32Array(T * H);
  const sums = { input: new Float32Array(T * G * H), state: new Float32Array(T * G * H) };
  const probabilities = new Float32Array(T * V);
  const h = Array.from({ length: L }, () => new Float64Array(H));
  const c = Array.from({ length: L }, () => new Float64Array(H));
  const [fromInput, fromState] = [new Float64Array(G * H), new Float64Array(G * H)];

  for (let t = 0; t < T; t++) {
    let x: ArrayLike<number> | undefined =
      input === "embedding" ? stateDict["embedding.weight"]!.subarray(tokens[t]! * E, (tokens[t]! + 1) * E) : undefined;
    for (let l = 0; l < L; l++) {
      const wIh = stateDict[`rnn.weight_ih_l${l}`]!;
      // One-hot: a column of W_ih.
      if (x) product(wIh, x, fromInput);
      else for (let j = 0; j < G * H; j++) fromInput[j] = wIh[j * V + tokens[t]!]!;
      add(fromInput, stateDict[`rnn.bias_ih_l${l}`]!);
      product(stateDict[`rnn.weight_hh_l${l}`]!, h[l]!, fromState);
      add(fromState, stateDict[`rnn.bias_hh_l${l}`]!);
      if (cell === "gru" && !config.resetAfter) resetBefore(stateDict, l, H, h[l]!, fromInput, fromState);
      for (let j = 0; j < H; j++) {
        const sum = (gate: number): number => fromInput[gate * H + j]! + fromState[gate * H + j]!;
        const kept: number[] = [];
        if (cell === "rnn") {
          h[l]![j] = config.nonlinearity === "relu" ? Math.max(0, sum(0)) : Math.tanh(sum(0));
        } else if (cell === "gru") {
          const r = sigmoid(sum(0));
          const z = sigmoid(sum(1));
          const n = Math.tanh(fromInput[2 * H + j]! + (config.resetAfter ? r : 1) * fromState[2 * H + j]!);
          h[l]![j] = (1 - z) * n + z * h[l]![j]!;
          kept.push(r, z, n);
        } else {
          const [i, f, g, o] = [sigmoid(sum(0)), sigmoid(sum(1)), Math.tanh(sum(2)), sigmoid(sum(3))];
          c[l]![j] = f * c[l]![j]! + i * g;
          h[l]![j] = o * Math.tanh(c[l]![j]!);
          kept.push(i, f, g, o);
        }
        if (l < L - 1) continue;
        names.forEach((name, gate) => (values[name]![t * H + j] = kept[gate]!));
        if (cell === "lstm") values.c![t * H + j] = c[l]![j]!;
        values.h![t * H + j] = h[l]![j]!;
      }
      x = h[l]!;
    }
    // The last layer's are the last that were made.
    sums.input.set(fromInput, t * G * H);
    sums.state.set(fromState, t * G * H);
    const logits = new Float64Array(V);
    product(stateDict["head.weight"]!, h[L - 1]!, logits);
    add(logits, stateDict["head.bias"]!);
    probabilities.set(softmax(logits), t * V);
  }
  return { steps: T, units: H, values, sums, probabilities };
}

/** Reads as traceModel does. @throws GatewiseError E_DATA if the model has outgrown all numbers, as nothing could be shown. */
export function readModel(snapshot: ModelSnapshot, tokens: ArrayLike<number>): Trace {
  const trace = traceModel(snapshot, tokens);
  const wrong = [...Object.values(trace.values), trace.probabilities].some((values) => !values.every(Number.isFinite));
  if (wrong) throw new GatewiseError("E_DATA", "the model's states are not finite numbers any more: there is nothing to see");
  return trace;
}

/** The candidate's part of the state, where the reset gate acts before the product: W_hn (r ⊙ h) + b_hn. */
function resetBefore(
  stateDict: ModelSnapshot["stateDict"],
  l: number,
  H: number,
  h: Float64Array,
  fromInput: Float64Array,
  fromState: Float64Array,
): void {
  const reset = h.map((value, j) => value * sigmoid(fromInput[j]! + fromState[j]!));
  const candidate = fromState.subarray(2 * H);
  product(stateDict[`rnn.weight_hh_l${l}`]!.subarray(2 * H * H), reset, candidate);
  add(candidate, stateDict[`rnn.bias_hh_l${l}`]!.subarray(2 * H));
}

/** out = weight [rows, columns] · x */
function product(weight: ArrayLike<number>, x: ArrayLike<number>, out: Float64Array): void {
  const columns = x.length;
  for (let row = 0; row < out.length; row++) {
    let sum = 0;
    for (let k = 0; k < columns; k++) sum += weight[row * columns + k]! * x[k]!;
    out[row] = sum;
  }
}

function add(to: Float64Array, values: ArrayLike<number>): void {
  for (let i = 0; i < to.length; i++) to[i] = to[i]! + values[i]!;
}

function softmax(logits: Float64Array): Float64Array {
  const most = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

/**
 * ‖∂L/∂h(t − k)‖ of the top layer, k from 0 to `lags`, where L is the loss of predicting token t + 1 alone: how much of
 * what the model gets wrong now reaches what it held k characters ago. The mean over many t, evenly spaced.
 */
export function gradientByLag(snapshot: ModelSnapshot, tokens: ArrayLike<number>, lags: number, count = 8): Float64Array {
  if (tokens.length < lags + 3)
    throw new GatewiseError("E_DATA", `a text of ${tokens.length} characters: a lag of ${lags} needs at least ${lags + 3}`);
  const trace = readModel(snapshot, tokens);
  const { vocabSize: V, hiddenSize: H } = snapshot.config;
  const head = snapshot.stateDict["head.weight"]!;
  const means = new Float64Array(lags + 1);
  // The first characters only bring the state to what it is in the middle of a text.
  const [first, last] = [lags + 1, trace.steps - 2];
  const ends = Array.from({ length: count }, (_, i) => Math.round(first + ((last - first) * i) / Math.max(1, count - 1)));
  for (const end of ends) {
    let dh = new Float64Array(H);
    for (let v = 0; v < V; v++) {
      const dLogit = trace.probabilities[end * V + v]! - Number(v === tokens[end + 1]);
      for (let j = 0; j < H; j++) dh[j] = dh[j]! + head[v * H + j]! * dLogit;
    }
    let dc = new Float64Array(H);
    means[0] = means[0]! + norm(dh) / count;
    for (let lag = 1; lag <= lags; lag++) {
      [dh, dc] = stepBack(snapshot, trace, end - lag + 1, dh, dc);
      means[lag] = means[lag]! + norm(dh) / count;
    }
  }
  return means;
}

const norm = (values: Float64Array): number => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));

/** From the gradients of the top layer's state after step t to those of the state before it. */
function stepBack(
  { config, stateDict }: ModelSnapshot,
  { values, sums, units: H }: Trace,
  t: number,
  dh: Float64Array,
  dc: Float64Array,
): [Float64Array<ArrayBuffer>, Float64Array<ArrayBuffer>] {
  const weight = stateDict[`rnn.weight_hh_l${config.numLayers - 1}`]!;
  const at = (name: string, j: number, step = t): number => (step < 0 ? 0 : values[name]![step * H + j]!);
  const before = new Float64Array(H);
  const carried = new Float64Array(H);
  /** before += W(gate)ᵀ · d */
  const through = (gate: number, d: Float64Array, out = before): void => {
    for (let j = 0; j < H; j++) {
      const from = (gate * H + j) * H;
      for (let k = 0; k < H; k++) out[k] = out[k]! + weight[from + k]! * d[j]!;
    }
  };
  const each = (f: (j: number) => number): Float64Array => Float64Array.from({ length: H }, (_, j) => f(j));
  const gate = (a: number): number => a * (1 - a);
  if (config.cell === "rnn") {
    through(
      0,
      each((j) => dh[j]! * (config.nonlinearity === "relu" ? Number(at("h", j) > 0) : 1 - at("h", j) ** 2)),
    );
  } else if (config.cell === "lstm") {
    const total = each((j) => dc[j]! + dh[j]! * at("o", j) * (1 - Math.tanh(at("c", j)) ** 2));
    through(
      0,
      each((j) => total[j]! * at("g", j) * gate(at("i", j))),
    );
    through(
      1,
      each((j) => total[j]! * at("c", j, t - 1) * gate(at("f", j))),
    );
    through(
      2,
      each((j) => total[j]! * at("i", j) * (1 - at("g", j) ** 2)),
    );
    through(
      3,
      each((j) => dh[j]! * Math.tanh(at("c", j)) * gate(at("o", j))),
    );
    for (let j = 0; j < H; j++) carried[j] = total[j]! * at("f", j);
  } else {
    const dn = each((j) => dh[j]! * (1 - at("z", j)) * (1 - at("n", j) ** 2));
    for (let j = 0; j < H; j++) before[j] = dh[j]! * at("z", j);
    through(
      1,
      each((j) => dh[j]! * (at("h", j, t - 1) - at("n", j)) * gate(at("z", j))),
    );
    if (config.resetAfter) {
      through(
        0,
        each((j) => dn[j]! * sums.state[(3 * t + 2) * H + j]! * gate(at("r", j))),
      );
      through(
        2,
        each((j) => dn[j]! * at("r", j)),
      );
    } else {
      const dReset = new Float64Array(H);
      through(2, dn, dReset);
      through(
        0,
        each((j) => dReset[j]! * at("h", j, t - 1) * gate(at("r", j))),
      );
      for (let j = 0; j < H; j++) before[j] = before[j]! + dReset[j]! * at("r", j);
    }
  }
  return [before, carried];
}

// How far back gradients reach, by the library's own steps backward.
import { GatewiseError } from "../../errors.ts";
import type { Values } from "../../kernels/cell.ts";
import { inBlock, layerOf } from "../../models/cells.ts";
import { modelNames } from "../../models/config.ts";
import type { BackwardInputs } from "../../models/recurrent-calls.ts";
import type { NumberArray } from "../../runtime/tensor.ts";
import type { ModelSnapshot } from "../protocol.ts";
import { gradientOfLogits, layerWeights, onReference, topLayerOf } from "./reference.ts";
import { layerInputs, readModel, statesBefore, type Trace } from "./trace.ts";

/** What reaches one thing that the top layer held. */
export interface Path {
  /** A state's name, h first; of a block "r", the residual stream that it read. */
  readonly of: string;
  /** By lag, from 0 on: norms of the gradient, one for each place in the text. */
  readonly norms: readonly Float64Array[];
}

export interface Quartiles {
  readonly low: number;
  readonly median: number;
  readonly high: number;
}

/** Places that are followed back, where the text has as many: enough for quartiles that stay put. */
export const PLACES = 128;

/**
 * ‖∂L/∂h(t − k)‖ of the top layer, k from 0 to `lags`, where L is the loss of predicting token t + 1 alone: how much of
 * what the model gets wrong now reaches what it held k characters ago; at many t, evenly spaced. What is carried beside h, as
 * the cell of an LSTM is, has a path of its own: what step t − k found, ∂L/∂c(t − k − 1) past h, for on the last step no
 * gradient comes that way. Of a block, what it read k characters ago, the residual stream.
 */
export async function gradientPaths(
  snapshot: ModelSnapshot,
  tokens: ArrayLike<number>,
  lags: number,
  count = PLACES,
): Promise<readonly Path[]> {
  if (tokens.length < lags + 3)
    throw new GatewiseError("E_DATA", `a text of ${tokens.length} characters: a lag of ${lags} needs at least ${lags + 3}`);
  const trace = await readModel(snapshot, tokens);
  // The first characters only bring the state to what it is in the middle of a text.
  const [first, last] = [lags + 1, trace.steps - 2];
  const places = Math.min(count, last - first + 1);
  const ends = Array.from({ length: places }, (_, i) => Math.round(first + ((last - first) * i) / Math.max(1, places - 1)));
  const at: Places = {
    trace,
    ends,
    lags,
    x: layerInputs(snapshot, tokens, trace),
    dLogits: lossGradients(snapshot, tokens, trace, ends),
  };
  return inBlock(snapshot.config) ? ofStream(snapshot, at) : ofStates(snapshot, at);
}

/** By lag: a path's norms in parts of those at lag 0, place by place. */
export const quartilesOf = ({ norms }: Path): readonly Quartiles[] =>
  norms.map((at) => {
    const parts = at.map((norm, i) => norm / norms[0]![i]!).sort();
    const part = (p: number): number => parts[Math.round(p * (parts.length - 1))]!;
    return { low: part(0.25), median: part(0.5), high: part(0.75) };
  });

interface Places {
  readonly trace: Trace;
  readonly ends: readonly number[];
  readonly lags: number;
  /** What the top layer reads, [T, in]. */
  readonly x: Float32Array;
  /** Of the loss at each end, [ends, V]. */
  readonly dLogits: Float32Array;
}

/** Rows of [T, …] so many steps before each of the ends, side by side. */
const before = (rows: Float32Array, width: number, ends: readonly number[], back: number): Float32Array =>
  Float32Array.from(
    { length: ends.length * width },
    (_, i) => rows[(ends[Math.floor(i / width)]! - back) * width + (i % width)]!,
  );

/** Of the states, one step back after another. */
async function ofStates(snapshot: ModelSnapshot, { trace, ends, lags, x, dLogits }: Places): Promise<readonly Path[]> {
  const { values, states, units: H } = trace;
  const [h, ...carried] = states;
  const reached: Record<string, Float64Array[]> = Object.fromEntries(states.map((name) => [name, []]));
  await onReference(async (device) => {
    const layer = await topLayerOf(device, snapshot, 1, ends.length);
    const dOutput = new Float32Array(ends.length * H);
    let d: BackwardInputs["states"] = { [h!]: throughHead(snapshot, dLogits, ends.length) };
    reached[h!]!.push(normsOf(d[h!]!, H));
    for (let back = 1; back <= lags + Math.min(1, carried.length); back++) {
      const initial = states.map((name) => [name, before(values[name]!, H, ends, back)]);
      const read = before(x, x.length / trace.steps, ends, back - 1);
      await layer.forward({ x: read, states: Object.fromEntries(initial) }, 0);
      ({ states: d } = await layer.backward({ dOutput, states: d }));
      if (back <= lags) reached[h!]!.push(normsOf(d[h!]!, H));
      for (const name of carried) reached[name]!.push(normsOf(d[name]!, H));
    }
  });
  return states.map((name) => ({ of: name, norms: reached[name]! }));
}

/** Of what the top layer reads, all steps at once. */
async function ofStream(snapshot: ModelSnapshot, { trace, ends, lags, x, dLogits }: Places): Promise<readonly Path[]> {
  const { config } = snapshot;
  const top = config.numLayers - 1;
  const [T, B, width] = [lags + 1, ends.length, x.length / trace.steps];
  const starts = ends.map((end) => end - lags);
  // What is carried to each start.
  const cell = layerOf(config);
  const carried: Values[] = [];
  let t = 0;
  for (const states of statesBefore(cell, config, layerWeights(snapshot, top), x, width)) {
    for (const start of starts) if (start === t) carried.push(states);
    if (carried.length === B) break;
    t++;
  }
  const states = cell
    .states(config)
    .map(({ name }) => [name, Float64Array.from(carried.flatMap((state) => Array.from(state[name]!)))]);
  const read = Array.from({ length: T }, (_, i) => before(x, width, ends, lags - i));
  const dx = await gradientOfLogits(snapshot, {
    T,
    B,
    first: top,
    x: Float32Array.from(read.flatMap((rows) => Array.from(rows))),
    states: Object.fromEntries(states),
    dLogits,
  });
  const at = (lag: number): NumberArray => dx.subarray((lags - lag) * B * width, (lags - lag + 1) * B * width);
  return [{ of: "r", norms: Array.from({ length: T }, (_, lag) => normsOf(at(lag), width)) }];
}

/** [B, V]: of the loss of predicting what comes after each of the ends, with respect to the logits there. */
function lossGradients(
  { config }: ModelSnapshot,
  tokens: ArrayLike<number>,
  { probabilities }: Trace,
  ends: readonly number[],
): Float32Array {
  const { vocabSize: V } = config;
  return Float32Array.from({ length: ends.length * V }, (_, i) => {
    const [end, v] = [ends[Math.floor(i / V)]!, i % V];
    return probabilities[end * V + v]! - Number(v === tokens[end + 1]);
  });
}

/** [B, H]: with respect to the state, where nothing stands between it and the head. */
function throughHead({ config, stateDict }: ModelSnapshot, dLogits: Float32Array, B: number): Float32Array {
  const { vocabSize: V, hiddenSize: H } = config;
  const head = stateDict[modelNames(config).head]!;
  const dh = new Float64Array(B * H);
  for (let b = 0; b < B; b++)
    for (let v = 0; v < V; v++)
      for (let j = 0; j < H; j++) dh[b * H + j] = dh[b * H + j]! + head[v * H + j]! * dLogits[b * V + v]!;
  return Float32Array.from(dh);
}

/** Of rows of H numbers. */
const normsOf = (rows: NumberArray, H: number): Float64Array =>
  Float64Array.from({ length: rows.length / H }, (_, b) => Math.hypot(...rows.subarray(b * H, (b + 1) * H)));

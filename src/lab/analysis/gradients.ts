// How far back gradients reach, by the library's own steps backward.
import { GatewiseError } from "../../errors.ts";
import { modelNames } from "../../models/config.ts";
import type { BackwardInputs } from "../../models/recurrent-calls.ts";
import type { NumberArray } from "../../runtime/tensor.ts";
import type { ModelSnapshot } from "../protocol.ts";
import { inputSizeOf, layersOf, onReference } from "./reference.ts";
import { readModel, topInputs } from "./trace.ts";

/**
 * ‖∂L/∂h(t − k)‖ of the top layer, k from 0 to `lags`, where L is the loss of predicting token t + 1 alone: how much of
 * what the model gets wrong now reaches what it held k characters ago. The mean over many t, evenly spaced.
 */
export async function gradientByLag(
  snapshot: ModelSnapshot,
  tokens: ArrayLike<number>,
  lags: number,
  count = 8,
): Promise<Float64Array> {
  if (tokens.length < lags + 3)
    throw new GatewiseError("E_DATA", `a text of ${tokens.length} characters: a lag of ${lags} needs at least ${lags + 3}`);
  const trace = await readModel(snapshot, tokens);
  const { values, states, units: H } = trace;
  const top = snapshot.config.numLayers - 1;
  const x = topInputs(snapshot, tokens, trace);
  // The first characters only bring the state to what it is in the middle of a text.
  const [first, last] = [lags + 1, trace.steps - 2];
  const ends = Array.from({ length: count }, (_, i) => Math.round(first + ((last - first) * i) / Math.max(1, count - 1)));
  /** Of all ends, side by side: rows of [T, …] so many steps before. */
  const before = (rows: Float32Array, width: number, back: number): Float32Array =>
    Float32Array.from({ length: count * width }, (_, i) => rows[(ends[Math.floor(i / width)]! - back) * width + (i % width)]!);
  const means = new Float64Array(lags + 1);
  await onReference(async (device) => {
    const layer = await layersOf(device, snapshot, 1, count, top);
    const dOutput = new Float32Array(count * H);
    let d: BackwardInputs["states"] = { h: lossGradients(snapshot, tokens, trace.probabilities, ends) };
    means[0] = meanNorm(d.h!, H);
    for (let lag = 1; lag <= lags; lag++) {
      const initial = states.map((name) => [name, before(values[name]!, H, lag)]);
      await layer.forward({ x: before(x, inputSizeOf(snapshot, top), lag - 1), states: Object.fromEntries(initial) }, 0);
      ({ states: d } = await layer.backward({ dOutput, states: d }));
      means[lag] = meanNorm(d.h!, H);
    }
  });
  return means;
}

/** [B, H]: of the loss of predicting what comes after each of the ends, with respect to the state there. */
function lossGradients(
  { config, stateDict }: ModelSnapshot,
  tokens: ArrayLike<number>,
  probabilities: Float32Array,
  ends: readonly number[],
): Float32Array {
  const { vocabSize: V, hiddenSize: H } = config;
  const head = stateDict[modelNames(config).head]!;
  const dh = new Float64Array(ends.length * H);
  ends.forEach((end, b) => {
    for (let v = 0; v < V; v++) {
      const dLogit = probabilities[end * V + v]! - Number(v === tokens[end + 1]);
      for (let j = 0; j < H; j++) dh[b * H + j] = dh[b * H + j]! + head[v * H + j]! * dLogit;
    }
  });
  return Float32Array.from(dh);
}

/** Of rows of H numbers. */
function meanNorm(rows: NumberArray, H: number): number {
  const count = rows.length / H;
  return (
    Array.from({ length: count }, (_, b) => Math.hypot(...rows.subarray(b * H, (b + 1) * H))).reduce((a, b) => a + b, 0) / count
  );
}

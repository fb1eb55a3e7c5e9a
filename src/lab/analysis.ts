// What the views show of a model besides its trace: what units follow, where characters lie, what moved a prediction.
// All of it runs in the inspector's worker.
import { Recurrent } from "../models/recurrent.ts";
import { openDevice } from "../runtime/device.ts";
import type { ModelSnapshot } from "./protocol.ts";
import { traceModel } from "./trace.ts";

// --- embeddings -------------------------------------------------------------------------------------------------------

export interface Projection {
  /** [V, 2] */
  readonly points: Float32Array;
  /** Part of the variance that the two directions hold. */
  readonly explained: readonly [number, number];
}

/** Puts rows [V, E] on the plane of their two principal directions, found by repeated multiplication. */
export function principalPlane(rows: ArrayLike<number>, V: number, E: number): Projection {
  const centred = Float64Array.from({ length: V * E }, (_, i) => rows[i]!);
  for (let e = 0; e < E; e++) {
    let mean = 0;
    for (let v = 0; v < V; v++) mean += centred[v * E + e]! / V;
    for (let v = 0; v < V; v++) centred[v * E + e] = centred[v * E + e]! - mean;
  }
  const total = centred.reduce((sum, x) => sum + x * x, 0) || 1;
  const points = new Float32Array(V * 2);
  const explained: [number, number] = [0, 0];
  for (let axis = 0; axis < 2; axis++) {
    // Any start that is not orthogonal to the direction; the same every time, so that the map does not jump.
    let direction = Float64Array.from({ length: E }, (_, e) => Math.cos(1.7 * e + axis));
    const scores = new Float64Array(V);
    for (let round = 0; round < 60; round++) {
      project(centred, direction, scores);
      const next = new Float64Array(E);
      for (let v = 0; v < V; v++) for (let e = 0; e < E; e++) next[e] = next[e]! + centred[v * E + e]! * scores[v]!;
      const length = Math.hypot(...next) || 1;
      direction = next.map((x) => x / length);
    }
    project(centred, direction, scores);
    for (let v = 0; v < V; v++) {
      points[v * 2 + axis] = scores[v]!;
      explained[axis] = explained[axis]! + scores[v]! ** 2 / total;
      for (let e = 0; e < E; e++) centred[v * E + e] = centred[v * E + e]! - scores[v]! * direction[e]!;
    }
  }
  return { points, explained };
}

function project(rows: Float64Array, direction: Float64Array, scores: Float64Array): void {
  const E = direction.length;
  for (let v = 0; v < scores.length; v++) {
    let sum = 0;
    for (let e = 0; e < E; e++) sum += rows[v * E + e]! * direction[e]!;
    scores[v] = sum;
  }
}

// --- memory -----------------------------------------------------------------------------------------------------------

export interface Connectivity {
  /** ‖∂ logit / ∂ x‖ for each character up to the position. */
  readonly influence: Float32Array;
  /** The character whose logit it is: the model's first guess at what comes after the position. */
  readonly guess: number;
  readonly probability: number;
}

/** How much each character so far moves the model's first guess at what follows position `at`. */
export async function connectivity(snapshot: ModelSnapshot, tokens: Uint32Array, at: number): Promise<Connectivity> {
  const { config, stateDict } = snapshot;
  const { vocabSize: V, hiddenSize: H, embeddingSize: E, input, cell, numLayers, resetAfter, nonlinearity } = config;
  const seen = tokens.subarray(0, at + 1);
  const T = seen.length;
  const { probabilities } = traceModel(snapshot, seen);
  const row = probabilities.subarray((T - 1) * V);
  const guess = row.indexOf(Math.max(...row));
  const inputSize = input === "embedding" ? E : V;
  const device = await openDevice({ prefer: "cpu", precision: "float64" });
  try {
    const layer = Recurrent.create(device, { cell, inputSize, hiddenSize: H, numLayers, resetAfter, nonlinearity });
    const own = Object.entries(stateDict).filter(([name]) => name.startsWith("rnn."));
    layer.loadStateDict(Object.fromEntries(own.map(([name, values]) => [name.slice(4), values])));
    const x = new Float32Array(T * inputSize);
    for (let t = 0; t < T; t++) {
      if (input === "one-hot") x[t * V + seen[t]!] = 1;
      else x.set(stateDict["embedding.weight"]!.subarray(seen[t]! * E, (seen[t]! + 1) * E), t * E);
    }
    await layer.forward(x, { T, B: 1 });
    const dOutput = new Float32Array(T * H);
    dOutput.set(stateDict["head.weight"]!.subarray(guess * H, (guess + 1) * H), (T - 1) * H);
    const { dx } = await layer.backward(dOutput);
    const influence = Float32Array.from({ length: T }, (_, t) => Math.hypot(...dx.subarray(t * inputSize, (t + 1) * inputSize)));
    return { influence, guess, probability: row[guess]! };
  } finally {
    device.dispose();
  }
}

// What moved a prediction: how far each character before it reaches. In the inspector's worker.
import type { ModelSnapshot } from "../protocol.ts";
import { gradientOfLogits, inputRows } from "./reference.ts";
import { readModel } from "./trace.ts";

export interface Connectivity {
  /** ‖∂ logit / ∂ x‖ for each token up to the position. */
  readonly influence: Float32Array;
  /** The token whose logit it is: the model's first guess at what comes after the position. */
  readonly guess: number;
  readonly probability: number;
}

/** How much each character so far moves the model's first guess at what follows position `at`. */
export async function connectivity(snapshot: ModelSnapshot, tokens: Uint32Array, at: number): Promise<Connectivity> {
  const { vocabSize: V } = snapshot.config;
  const seen = tokens.subarray(0, at + 1);
  const T = seen.length;
  const { probabilities } = await readModel(snapshot, seen);
  const row = probabilities.subarray((T - 1) * V);
  const guess = row.indexOf(Math.max(...row));
  const x = inputRows(snapshot, seen);
  const dLogits = Float32Array.from({ length: V }, (_, v) => Number(v === guess));
  const dx = await gradientOfLogits(snapshot, { T, B: 1, first: 0, x, dLogits });
  const width = x.length / T;
  const influence = Float32Array.from({ length: T }, (_, t) => Math.hypot(...dx.subarray(t * width, (t + 1) * width)));
  return { influence, guess, probability: row[guess]! };
}

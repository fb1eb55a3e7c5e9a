// What moved a prediction: how far each character before it reaches. In the inspector's worker.
import { modelNames } from "../../models/config.ts";
import type { ModelSnapshot } from "../protocol.ts";
import { inputRows, layersOf, onReference } from "./reference.ts";
import { readModel } from "./trace.ts";

export interface Connectivity {
  /** ‖∂ logit / ∂ x‖ for each character up to the position. */
  readonly influence: Float32Array;
  /** The character whose logit it is: the model's first guess at what comes after the position. */
  readonly guess: number;
  readonly probability: number;
}

/** How much each character so far moves the model's first guess at what follows position `at`. */
export async function connectivity(snapshot: ModelSnapshot, tokens: Uint32Array, at: number): Promise<Connectivity> {
  const { vocabSize: V, hiddenSize: H } = snapshot.config;
  const seen = tokens.subarray(0, at + 1);
  const T = seen.length;
  const { probabilities } = await readModel(snapshot, seen);
  const row = probabilities.subarray((T - 1) * V);
  const guess = row.indexOf(Math.max(...row));
  const x = inputRows(snapshot, seen);
  const dOutput = new Float32Array(T * H);
  dOutput.set(snapshot.stateDict[modelNames(snapshot.config).head]!.subarray(guess * H, (guess + 1) * H), (T - 1) * H);
  const { dx } = await onReference(async (device) => {
    const layers = await layersOf(device, snapshot, T, 1);
    await layers.forward({ x, states: {} }, 0);
    return layers.backward({ dOutput, states: {} });
  });
  const width = x.length / T;
  const influence = Float32Array.from({ length: T }, (_, t) => Math.hypot(...dx.subarray(t * width, (t + 1) * width)));
  return { influence, guess, probability: row[guess]! };
}

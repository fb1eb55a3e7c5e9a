// What moved a prediction: how far each character before it reaches. In the inspector's worker.
import { Recurrent } from "../models/recurrent.ts";
import { openDevice } from "../runtime/device.ts";
import type { ModelSnapshot } from "./protocol.ts";
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
  const { config, stateDict } = snapshot;
  const { vocabSize: V, hiddenSize: H, embeddingSize: E, input, cell, numLayers, resetAfter, nonlinearity } = config;
  const seen = tokens.subarray(0, at + 1);
  const T = seen.length;
  const { probabilities } = readModel(snapshot, seen);
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

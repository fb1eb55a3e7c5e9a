// The library's float64 device, on which models are looked into: what its kernels compute is what cells are.
import { CELL_OPTIONS } from "../../models/cells.ts";
import { Recurrent } from "../../models/recurrent.ts";
import type { Device } from "../../runtime/device.ts";
import { openDevice } from "../../runtime/open.ts";
import type { ModelSnapshot } from "../protocol.ts";

/** A model's configuration and weights: all that reading takes. */
export type Readable = Pick<ModelSnapshot, "config" | "stateDict">;

/** Does a task on a device of its own. */
export async function onReference<T>(task: (device: Device) => Promise<T>): Promise<T> {
  const device = await openDevice({ prefer: "cpu", precision: "float64" });
  try {
    return await task(device);
  } finally {
    device.dispose();
  }
}

/** Length of a row that layer `l` reads. */
export const inputSizeOf = ({ config }: Readable, l = 0): number =>
  l > 0 ? config.hiddenSize : config.input === "embedding" ? config.embeddingSize : config.vocabSize;

/** The weights of layers from number `first` on, by the names of a layer on any input. */
export function layerWeights({ stateDict }: Readable, first: number): Readonly<Record<string, Float32Array>> {
  const named = Object.entries(stateDict).map(([name, values]) => ({ parts: /^rnn\.(\w+)_l(\d+)$/.exec(name), values }));
  const own = named.filter(({ parts }) => parts !== null && Number(parts[2]) >= first);
  return Object.fromEntries(own.map(({ parts, values }) => [`${parts![1]}_l${Number(parts![2]) - first}`, values]));
}

/** A model's layers from number `first` on, on any input. */
export function layersOf(device: Device, model: Readable, first = 0): Recurrent {
  const { cell, hiddenSize, numLayers, ...config } = model.config;
  const options = Object.fromEntries(
    (Object.keys(CELL_OPTIONS) as (keyof typeof CELL_OPTIONS)[]).map((name) => [name, config[name]]),
  );
  const inputSize = inputSizeOf(model, first);
  const layers = Recurrent.create(device, { cell, inputSize, hiddenSize, numLayers: numLayers - first, ...options });
  layers.loadStateDict(layerWeights(model, first));
  return layers;
}

/** What the first layer reads of tokens, [T, in]: rows of the embedding, or one-hot. */
export function inputRows(model: Readable, tokens: ArrayLike<number>): Float32Array {
  const width = inputSizeOf(model);
  const weight = model.stateDict["embedding.weight"];
  const rows = new Float32Array(tokens.length * width);
  for (let t = 0; t < tokens.length; t++) {
    if (weight) rows.set(weight.subarray(tokens[t]! * width, (tokens[t]! + 1) * width), t * width);
    else rows[t * width + tokens[t]!] = 1;
  }
  return rows;
}

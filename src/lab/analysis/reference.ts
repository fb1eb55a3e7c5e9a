// The library's float64 device, on which models are looked into: what its kernels compute is what cells are.
import { given } from "../../checks.ts";
import { modelLayers, modelNames } from "../../models/config.ts";
import { makeParameterSet, writeStateDict } from "../../models/parameters.ts";
import { BARE_NAMES, recurrentConfig, recurrentSpecs } from "../../models/recurrent-config.ts";
import { makeSession, type Session } from "../../models/recurrent-session.ts";
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
export function layerWeights({ config, stateDict }: Readable, first: number): Readonly<Record<string, Float32Array>> {
  const { cell, nameOf } = modelLayers(config);
  const names = cell.parameters(config, [config.hiddenSize]).map(({ name }) => name);
  const own = (l: number) => names.map((name) => [`${name}_l${l}`, stateDict[nameOf(name, l + first, 0)]!] as const);
  return Object.fromEntries(Array.from({ length: config.numLayers - first }, (_, l) => own(l)).flat());
}

/** A model's layers from number `first` on, over T steps of B rows of any input, without the gradients of their weights. */
export async function layersOf(device: Device, model: Readable, T: number, B: number, first = 0): Promise<Session> {
  const { cell, hiddenSize, numLayers, ...rest } = model.config;
  const options = given(Object.fromEntries(BARE_NAMES.map((name) => [name, rest[name]])));
  const inputSize = inputSizeOf(model, first);
  const { config, seed } = recurrentConfig({ cell, inputSize, hiddenSize, numLayers: numLayers - first, ...options });
  const parameters = makeParameterSet(device, cell, recurrentSpecs(config));
  writeStateDict(device, parameters, layerWeights(model, first))();
  return makeSession({ device, config, parameters, seed }, { T, B, training: false });
}

/** What the first layer reads of tokens, [T, in]: rows of the embedding, or one-hot. */
export function inputRows(model: Readable, tokens: ArrayLike<number>): Float32Array {
  const width = inputSizeOf(model);
  const weight = model.stateDict[modelNames(model.config).embedding];
  const rows = new Float32Array(tokens.length * width);
  for (let t = 0; t < tokens.length; t++) {
    if (weight) rows.set(weight.subarray(tokens[t]! * width, (tokens[t]! + 1) * width), t * width);
    else rows[t * width + tokens[t]!] = 1;
  }
  return rows;
}

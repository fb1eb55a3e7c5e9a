// The library's float64 device, on which models are looked into: what its kernels compute is what cells are.
import { given } from "../../checks.ts";
import { nameInBlock } from "../../kernels/block.ts";
import type { Values } from "../../kernels/cell.ts";
import { cellOf, inBlock, insideConfig } from "../../models/cells.ts";
import { modelLayers, modelNames, parameterSpecs } from "../../models/config.ts";
import { LanguageModel } from "../../models/language-model.ts";
import { makeParameterSet, writeStateDict } from "../../models/parameters.ts";
import { makeHead } from "../../models/pass.ts";
import { BARE_NAMES, recurrentConfig, recurrentSpecs } from "../../models/recurrent-config.ts";
import { makeSession, type Session } from "../../models/recurrent-session.ts";
import { makeStack, makeStates } from "../../models/stack.ts";
import type { Device } from "../../runtime/device.ts";
import type { Recorder } from "../../runtime/recorder.ts";
import { openDevice } from "../../runtime/open.ts";
import { sizeOf, type NumberArray } from "../../runtime/tensor.ts";
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

/** The model itself on a device. */
export function modelOn(device: Device, { config, stateDict }: Readable): LanguageModel {
  const model = LanguageModel.create(device, { ...config, precision: "f32" });
  model.loadStateDict(stateDict);
  return model;
}

/** Length of a row that layer `l` reads. */
export const inputSizeOf = ({ config }: Readable, l = 0): number =>
  l > 0 ? config.hiddenSize : config.input === "embedding" ? config.embeddingSize : config.vocabSize;

/** The weights of layer `l`, by the names that the layer gives them. */
export function layerWeights({ config, stateDict }: Readable, l: number): Readonly<Record<string, Float32Array>> {
  const { cell, nameOf } = modelLayers(config);
  const names = cell.parameters(config, [config.hiddenSize]).map(({ name }) => name);
  return Object.fromEntries(names.map((name) => [name, stateDict[nameOf(name, l, 0)]!]));
}

/** The same of the cell in it, by the names that the cell gives them. */
export function cellWeights(model: Readable, l: number): Readonly<Record<string, Float32Array>> {
  const { config } = model;
  const weights = layerWeights(model, l);
  if (!inBlock(config)) return weights;
  const [cell, inside] = [cellOf(config), insideConfig(config)];
  const names = cell.parameters(inside, [inside.hiddenSize]).map(({ name }) => name);
  return Object.fromEntries(names.map((name) => [name, weights[nameInBlock(cell, name)]!]));
}

/** The top layer alone, over T steps of B rows of any input, without the gradients of its weights. Not for layers in blocks. */
export async function topLayerOf(device: Device, model: Readable, T: number, B: number): Promise<Session> {
  const { cell, hiddenSize, numLayers, ...rest } = model.config;
  const top = numLayers - 1;
  const options = given(Object.fromEntries(BARE_NAMES.map((name) => [name, rest[name]])));
  const { config, seed } = recurrentConfig({ cell, inputSize: inputSizeOf(model, top), hiddenSize, numLayers: 1, ...options });
  const parameters = makeParameterSet(device, cell, recurrentSpecs(config));
  const weights = Object.entries(layerWeights(model, top)).map(([name, values]) => [`${name}_l0`, values]);
  writeStateDict(device, parameters, Object.fromEntries(weights))();
  return makeSession({ device, config, parameters, seed }, { T, B, training: false });
}

export interface Question {
  readonly T: number;
  readonly B: number;
  /** The first layer that takes part, and what it reads, [T, B, in]. */
  readonly first: number;
  readonly x: NumberArray;
  /** The states in front of the first step by name, [layers, B, …]; zero, if left out. */
  readonly states?: Values;
  /** Of the logits after the last step, [B, V]: what each counts. */
  readonly dLogits: NumberArray;
}

/** The gradient of x, [T, B, in]: through the layers from `first` on, and the head. */
export const gradientOfLogits = (readable: Readable, { T, B, first, x, states = {}, dLogits }: Question): Promise<NumberArray> =>
  onReference(async (device) => {
    const model = modelOn(device, readable);
    const { config, parameters } = model;
    const { vocabSize: V, hiddenSize: H } = config;
    const gradients = makeParameterSet(device, "gradients", parameterSpecs(config));
    const { cell, nameOf } = modelLayers(config);
    const layers = { cell, nameOf: (name: string, l: number, d: number) => nameOf(name, l + first, d) };
    const own = { ...config, numLayers: config.numLayers - first, dropout: 0 };
    const plan = await device.record("gradient of logits", (recorder: Recorder) => {
      const matrix = (name: string, columns: number) => ({
        tensor: recorder.tensor({ name, shape: [T, B, columns] }),
        rows: T * B,
        columns,
      });
      const [read, dRead] = [matrix("x", inputSizeOf(readable, first)), matrix("dx", inputSizeOf(readable, first))];
      const make = (when: string) => makeStates((s) => recorder.tensor({ ...s, name: s.name + when }), own, B, layers);
      const [initial, final] = [make("0"), make("N")];
      const stack = makeStack(recorder, {
        config: own,
        layers,
        T,
        B,
        input: { parts: [read] },
        parameters,
        states: { initial, final },
      });
      stack.begin();
      stack.steps(0, T);
      stack.end();
      const [output] = stack.outputs as readonly [(typeof stack.outputs)[0]];
      const last = { ...output, rows: B, firstRow: (output.firstRow ?? 0) + (T - 1) * B };
      const head = makeHead(recorder, model, B);
      head.forward(last, recorder.tensor({ name: "logits", shape: [B, V] }));
      const dLast = { tensor: recorder.tensor({ name: "dLogits", shape: [B, V] }), rows: B, columns: V };
      const dTop = recorder.tensor({ name: "dTop", shape: [T, B, H] });
      head.input(dLast, last, dTop, gradients);
      stack.backward(recorder, { dOutputs: [dTop], inputs: [dRead] });
      return { read, initial, dLast, dRead };
    });
    const { read, initial, dLast, dRead } = plan.made;
    device.write(read.tensor, x);
    device.write(dLast.tensor, dLogits);
    for (const [name, tensor] of Object.entries(initial))
      device.write(tensor, (states[name] as NumberArray | undefined) ?? new Float32Array(sizeOf(tensor.shape)));
    await plan.run();
    return device.read(dRead.tensor);
  });

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

// Layers of a cell, one on another, in one direction or two, with dropout between them: what a recurrent layer and every
// model are built on. It knows no cell.
import type { Cell, CellConfig, CellLayer, LayerInput, ParameterSpec, StateRows, StateSpec, Tensors } from "../kernels/cell.ts";
import { dropout } from "../kernels/dropout.ts";
import type { Matrix } from "../kernels/matmul.ts";
import { recordGather, recordScatter } from "../kernels/rows.ts";
import type { Recorder } from "../runtime/recorder.ts";
import { pad4, type Tensor } from "../runtime/tensor.ts";
import { cellOf, type CellName } from "./cells.ts";
import type { ParameterSet } from "./parameters.ts";
import type { RowOrders } from "./ragged-rows.ts";

export type StackConfig = CellConfig & {
  readonly cell: CellName;
  readonly numLayers: number;
  readonly dropout: number;
  /** Whether a second direction reads every row from its end. */
  readonly bidirectional?: boolean;
};

export const directionsOf = ({ bidirectional }: StackConfig): number => (bidirectional ? 2 : 1);

/** "l0", "l0_reverse", "l1", …: the suffix of PyTorch's parameter names. */
const suffixOf = (l: number, d: number): string => `l${l}${d === 1 ? "_reverse" : ""}`;

/** What the layers of a stack are: a cell, bare or in a block, and what its parameter `name` is called in layer l, direction d. */
export interface Layers {
  readonly cell: Cell;
  readonly nameOf: (name: string, l: number, d: number) => string;
}

/** The cell itself, and PyTorch's names: "weight_ih_l0". */
export const bareLayers = (config: Pick<StackConfig, "cell">, prefix = ""): Layers => ({
  cell: cellOf(config),
  nameOf: (name, l, d) => `${prefix}${name}_${suffixOf(l, d)}`,
});

/** The parameters of all layers, in the order in which they lie on the device. */
export function stackParameters(config: StackConfig, inputSize: number, layers = bareLayers(config)): readonly ParameterSpec[] {
  const { numLayers, hiddenSize: H } = config;
  const D = directionsOf(config);
  return Array.from({ length: numLayers * D }, (_, index) => {
    const [l, d] = [Math.floor(index / D), index % D];
    const specs = layers.cell.parameters(config, l === 0 ? [inputSize] : D === 2 ? [2, H] : [H]);
    return specs.map((spec) => ({ ...spec, name: layers.nameOf(spec.name, l, d) }));
  }).flat();
}

/** The states of all layers and directions: [L·D, B, …] each. */
export const stackStates = (config: StackConfig, B: number, { cell } = bareLayers(config)): readonly StateSpec[] =>
  cell.states(config).map(({ name, shape, stored }) => {
    const rows = [config.numLayers * directionsOf(config), B];
    return { name, shape: [...rows, ...shape], ...(stored && { stored: [...rows, ...stored] }) };
  });

/** Makes the tensors of all states, zero at first. `make` is a device's or a recorder's `tensor`. */
export const makeStates = (make: (spec: StateSpec) => Tensor, config: StackConfig, B: number, layers?: Layers): Tensors =>
  Object.fromEntries(stackStates(config, B, layers).map((spec) => [spec.name, make(spec)]));

export interface StackOptions {
  readonly config: StackConfig;
  /** `bareLayers` of the configuration, if left out. */
  readonly layers?: Layers;
  readonly T: number;
  readonly B: number;
  readonly input: LayerInput;
  readonly parameters: ParameterSet;
  /** Tensors of `stackStates`, copied from before a pass and to after it; zero before every pass, if left out. */
  readonly states?: { readonly initial: Tensors; readonly final: Tensors } | undefined;
  /** Where rows end, and the order of the second direction. */
  readonly orders?: RowOrders | undefined;
  /** Seed and step of the dropout masks, u32 [4], and which stream of random numbers drops the outputs of a layer. */
  readonly dropout?: { readonly rng: Tensor; readonly stream: (index: number) => number } | undefined;
}

export interface StackGradients {
  /** Of the outputs of each direction, [T, B, H], in the text's order; they may be written to. */
  readonly dOutputs: readonly Tensor[];
  /** None of the parameters are computed, if left out. */
  readonly parameters?: ParameterSet | undefined;
  /** Of the input's parts. */
  readonly inputs: readonly Matrix[];
  /** Of the final states, [B, …] for each layer and direction, and where those of the initial states go. */
  readonly states?: { readonly final: readonly Tensors[]; readonly initial: Tensors } | undefined;
}

/** The layers inside a plan. `steps` are as a cell's: all at once, or without dropout and a second direction in parts. */
export interface Stack {
  /** The outputs of the top layer, [T·B, H] in the text's order, of each direction. */
  readonly outputs: readonly Matrix[];
  readonly layers: readonly CellLayer[];
  begin(): void;
  steps(t: number, count: number): void;
  end(): void;
  backward(recorder: Recorder, gradients: StackGradients): void;
}

/** One layer in one direction. Rows of the second direction are in its own order, last step first. */
interface Direction {
  readonly layer: CellLayer;
  /** Its outputs in the text's order, after dropout. */
  readonly output: Matrix;
  readonly record: (t: number, count: number) => void;
}

export function makeStack(recorder: Recorder, options: StackOptions): Stack {
  const { config, T, B, input, orders } = options;
  const { numLayers: L, hiddenSize: H } = config;
  const { cell, nameOf } = options.layers ?? bareLayers(config);
  const D = directionsOf(config);
  const W = pad4(H);

  const weightsOf = ({ byName }: ParameterSet, index: number): Tensors => {
    const names = cell.parameters(config, [H]).map(({ name }) => name);
    return Object.fromEntries(names.map((name) => [name, byName[nameOf(name, Math.floor(index / D), index % D)]!]));
  };

  /** The part of each state that is layer `index`'s. */
  const rowsOf = (states: Tensors, index: number): StateRows =>
    Object.fromEntries(
      Object.entries(states).map(([name, tensor]) => [name, { tensor, offset: (index * tensor.length) / (L * D) }]),
    );

  function makeDirection(index: number, below: readonly Matrix[]): Direction {
    const [l, d] = [Math.floor(index / D), index % D];
    const name = suffixOf(l, d);
    const before: (() => void)[] = [];
    const after: (() => void)[] = [];
    const reversed = (from: Matrix, into: (() => void)[]): Matrix => {
      const y = recorder.tensor({ name: `${name}.reversed`, shape: [T, B, from.columns] });
      // Of a history [T + 1, B] the first step is left out.
      into.push(() => recordGather(recorder, from.tensor, from.firstRow ? orders!.reversedOutput : orders!.reversed, y));
      return { tensor: y, rows: T * B, columns: from.columns };
    };
    const parts = d === 0 ? below : below.map((from) => reversed(from, before));
    const layer = cell.record(recorder, {
      name,
      T,
      B,
      config,
      weights: weightsOf(options.parameters, index),
      input: l === 0 ? { ...input, parts } : { parts },
      states: options.states && {
        initial: rowsOf(options.states.initial, index),
        final: rowsOf(options.states.final, index),
      },
      ends: orders,
    });
    let output = d === 0 ? layer.output : reversed(layer.output, after);
    if (options.dropout && l + 1 < L) {
      const { rng, stream } = options.dropout;
      const x = output;
      const y = recorder.tensor({ name: `${name}.dropped`, shape: [T, B, H] });
      const params = { N: T * B, W, offset: (x.firstRow ?? 0) * W, layer: stream(index), p: config.dropout };
      after.push(() => recorder.dispatch(dropout.forward, { rng, x: x.tensor, y }, params));
      output = { tensor: y, rows: T * B, columns: H };
    }
    const record = (t: number, count: number): void => {
      for (const each of before) each();
      layer.forward.steps(t, count);
      for (const each of after) each();
    };
    return { layer, output, record };
  }

  const directions: Direction[] = [];
  let outputs = input.parts;
  for (let l = 0; l < L; l++) {
    const made = Array.from({ length: D }, (_, d) => makeDirection(l * D + d, outputs));
    directions.push(...made);
    outputs = made.map(({ output }) => output);
  }

  /** Backward through one layer in one direction, from its outputs' gradients to those of its inputs, in the text's order. */
  function recordBackward(
    back: Recorder,
    index: number,
    dOutput: Tensor,
    { parameters, states }: StackGradients,
    inputs: readonly Matrix[],
  ): void {
    const second = index % D === 1;
    const own = (name: string, columns: number): Tensor => back.tensor({ name, shape: [T, B, columns] });
    const dOwn = second ? own("dOutput", H) : dOutput;
    const dInputs = second ? inputs.map((to) => ({ ...to, tensor: own("dInput", to.columns) })) : inputs;
    if (second) recordGather(back, dOutput, orders!.reversed, dOwn);
    const pass = directions[index]!.layer.backward(back, {
      dOutput: dOwn,
      weights: parameters && weightsOf(parameters, index),
      inputs: dInputs,
      states: states && { final: states.final[index]!, initial: rowsOf(states.initial, index) },
    });
    pass.begin();
    pass.steps(T - 1, T);
    pass.end();
    if (second) inputs.forEach((to, i) => recordScatter(back, dInputs[i]!.tensor, orders!.reversed, to.tensor));
  }

  return {
    outputs,
    layers: directions.map(({ layer }) => layer),
    begin: () => directions.forEach(({ layer }) => layer.forward.begin()),
    steps: (t, count) => directions.forEach(({ record }) => record(t, count)),
    end: () => directions.forEach(({ layer }) => layer.forward.end()),
    backward(back, gradients) {
      let { dOutputs } = gradients;
      for (let l = L - 1; l >= 0; l--) {
        const below = (_: unknown, d: number): Matrix => {
          const tensor = back.tensor({ name: `dOutput ${suffixOf(l - 1, d)}`, shape: [T, B, H] });
          return { tensor, rows: T * B, columns: H };
        };
        const inputs = l > 0 ? Array.from({ length: D }, below) : gradients.inputs;
        dOutputs.forEach((dOutput, d) => recordBackward(back, l * D + d, dOutput, gradients, inputs));
        dOutputs = inputs.map(({ tensor }) => tensor);
        if (l === 0 || !options.dropout) continue;
        const { rng, stream } = options.dropout;
        dOutputs.forEach((dX, d) => {
          const params = { N: T * B, W, offset: 0, layer: stream((l - 1) * D + d), p: config.dropout };
          back.dispatch(dropout.backward, { rng, dX }, params);
        });
      }
    },
  };
}

// What a recurrent cell is to everyone who uses it: the stack of layers, parameters and checkpoints, the command line,
// the checks, the benches and the lab read this and ask no further which cell it is. A cell owns its sequence: it says its
// parameters and records itself, forward and backward, over all steps. H: units of a layer.
import { GatewiseError } from "../errors.ts";
import type { Recorder } from "../runtime/recorder.ts";
import { pad4, sizeOf, type Tensor, type TensorSpec } from "../runtime/tensor.ts";
import type { Matrix } from "./matmul.ts";

/** Of a model's or a layer's configuration, what every cell reads; its own options stand beside. */
export interface CellConfig {
  readonly hiddenSize: number;
  /** Whether there are biases; true, if left out. */
  readonly bias?: boolean;
  /** Whether to start from orthogonal recurrent weights. */
  readonly orthogonal?: boolean;
  /** f16: of recurrent weights and of what is saved for backward; sums are f32 all the same. */
  readonly precision?: "f32" | "f16";
  /** Of a cell in a block: the block's width. */
  readonly blockSize?: number;
}

/** An option that a cell has and others have not. */
export interface CellOption<T = unknown> {
  /** undefined, where it says for instance what weights begin from in place of what they do by themselves. */
  readonly fallback: T;
  /** What it may be: one of these, or an integer from the first to the second; any number, if left out. */
  readonly values?: readonly T[];
  /** The least and the most that it may be: integers. */
  readonly range?: readonly [least: number, most: number];
  /** Stands only in configurations of the cells that have it; others have the fallback too. */
  readonly own?: true;
  /** On the command line: the flag, what it says, and the values' words there if they are not themselves. */
  readonly flags: string;
  /** What --help says. */
  readonly help: string;
  /** What the command line calls the values, if not by themselves. */
  readonly words?: readonly string[];
  /** What the configurations of Hugging Face's transformers call it. */
  readonly transformers?: string;
  /** What it is by the shapes of a layer's parameters, under the cell's names for them, where nobody says it; D: the block's width. */
  readonly fromShapes?: (shapeOf: (parameter: string) => readonly number[], D: number) => number;
  /** A value that lets the cell remember for longer from the start, where what it begins from by itself does not. */
  readonly longMemory?: T;
}

export type Initializer =
  /** A deviation of 1, if left out. */
  | { readonly kind: "normal"; readonly deviation?: number }
  /** `constant`: a value for a part of them, such as a gate's, after the others were drawn. */
  | { readonly kind: "uniform"; readonly bound: number; readonly constant?: { from: number; to: number; value: number } }
  /** Each square block orthogonal (Saxe et al. 2014). */
  | { readonly kind: "orthogonal" }
  /** Element i, made of a number u from [0, 1) or of i alone. */
  | { readonly kind: "drawn"; readonly from: (u: number, i: number) => number };

export interface ParameterSpec {
  readonly name: string;
  /** As in checkpoints: PyTorch's shape. */
  readonly shape: readonly number[];
  /** The same values as they lie on the device: gates as an axis of their own, axes padded as kernels want them. */
  readonly tensor: TensorSpec;
  readonly initializer: Initializer;
  /** false: weight decay leaves it alone. */
  readonly decay?: false;
}

/** Something that is carried from step to step, of one row: "h", [H]. */
export interface StateSpec {
  readonly name: string;
  readonly shape: readonly number[];
  /** As it lies on the device; by default its last axis is padded. */
  readonly stored?: readonly number[];
}

/** What one row costs at one step, forward, in floating-point operations, and what is kept of it, in numbers. */
export interface CellCosts {
  /** Of the products with the input, and of those with the state. */
  readonly inputWork: number;
  readonly stepWork: number;
  readonly forwardValues: number;
  readonly backwardValues: number;
}

export type Tensors = Readonly<Record<string, Tensor>>;
export type Values = Readonly<Record<string, ArrayLike<number>>>;

/**
 * What a layer reads at step t for row b: row t·B + b of a matrix, or of several side by side, such as the two directions
 * below; with `tokens`, row tokens[t, b] of them, or without any matrix the token itself, one-hot of V.
 */
export interface LayerInput {
  readonly parts: readonly Matrix[];
  readonly tokens?: {
    /** u32 [T, B] */
    readonly tokens: Tensor;
    readonly V: number;
    /** For backward: positions t·B + b sorted by token, u32 [T·B], and where each token begins, u32 [V + 1]. */
    readonly sorted?: { readonly order: Tensor; readonly starts: Tensor };
  };
}

/** Where rows of unequal length end: row indices as tensors, in the layer's own order. */
export interface RowEnds {
  /** u32 [B]: the steps of each row. */
  readonly lengths: Tensor;
  /** u32 [B]: the row of each final state in a history [T + 1, B]. */
  readonly finalHistory: Tensor;
  /** u32 [B]: the row of each last output among [T, B]. */
  readonly finalOutput: Tensor;
  /** u32 [T, B]: b where row b ends after step t, else NOWHERE. */
  readonly endsAt: Tensor;
  /** u32 [B]: b where row b has no step at all, else NOWHERE. */
  readonly empty: Tensor;
}

/** A layer's states [B, …] by name, each from an element of a tensor on. */
export type StateRows = Readonly<Record<string, { readonly tensor: Tensor; readonly offset: number }>>;

/** Where a layer stands: what it reads, and where its states come from and go to. */
export interface LayerSite<O = unknown> {
  /** In front of its tensors' names. */
  readonly name: string;
  readonly T: number;
  readonly B: number;
  readonly config: CellConfig & O;
  /** By the names that the cell gives its parameters. */
  readonly weights: Tensors;
  readonly input: LayerInput;
  /** Zero before every pass, and left where they are, if left out. */
  readonly states?: { readonly initial: StateRows; readonly final: StateRows } | undefined;
  /** All rows take T steps, if left out. */
  readonly ends?: RowEnds | undefined;
}

/** Where a layer's gradients come from and go to. */
export interface LayerGradients {
  /** Of h after each step, [T, B, H]; the layer may write to it. */
  readonly dOutput: Tensor;
  /** None of the weights are computed, if left out. */
  readonly weights?: Tensors | undefined;
  /** Of the input's parts. */
  readonly inputs: readonly Matrix[];
  /** Of the final states, [B, …] each, and of the initial ones; only with `ends`. */
  readonly states?: { readonly final: Tensors; readonly initial: StateRows } | undefined;
}

/** What is recorded of a pass over a sequence: in front of its steps, its steps, in one part or several, and behind them. */
export interface Pass {
  begin(): void;
  /** Steps t, t + 1, …, forward, or t, t − 1, …, backward, `count` of them. */
  steps(t: number, count: number): void;
  end(): void;
}

/** A layer inside a plan. */
export interface CellLayer {
  /** h after each step, [T·B, H]. */
  readonly output: Matrix;
  /**
   * What it keeps, for who looks inside: `gates` [T, B, n, H], if it has any, and each state's history [T + 1, B, H] by its
   * name; of states that are more than a number a unit, what the cell makes of them, `y` [T, B, H]. In a block also what the
   * cell reads, `u` [T, B, H], and `xz` [T, B, 2, H].
   */
  readonly tensors: Tensors;
  readonly forward: Pass;
  /** Backward, on a recorder that need not be the one of forward. */
  backward(recorder: Recorder, gradients: LayerGradients): Pass;
}

/** What one unit gets at one step: what its gates add up, and its states before, by name. */
export interface UnitSums {
  /** x·W_ihᵀ + b_ih and h·W_hhᵀ + b_hh, by gate. */
  readonly input: readonly number[];
  readonly state: readonly number[];
  readonly before: Readonly<Record<string, number>>;
}

/** The same, and what flows through the unit between its gates and states, such as products of them, by names for people. */
export interface UnitFlow extends UnitSums {
  readonly parts: Readonly<Record<string, number>>;
}

/** What makes a state of a sum. */
export type Activation = "tanh" | "relu";

/** A recurrent cell; O: its own options, F: names of its forms. */
export interface Cell<O = any, F extends string = string> {
  /** Options that this cell has, by the names that configurations give them. */
  readonly options: { readonly [K in keyof O]-?: CellOption<O[K]> };
  /** The forms that are checked, each by the options that make it: the cell as it is, and what differs in kind. */
  readonly forms: Readonly<Record<F, Partial<O>>>;
  /** Of the gates that it keeps, in their order. */
  readonly gates: readonly string[];
  /** Whether f16 has nothing to stand for in it. */
  readonly onlyF32?: true;
  /**
   * @internal Given, language models put it in a block: what its parameters are called there, where they are called otherwise, and
   * which model of Hugging Face's transformers that is, if it is one.
   */
  readonly block?: {
    readonly names: Readonly<Record<string, string>>;
    readonly transformers?: {
      readonly modelType: string;
      readonly architecture: string;
      /** Numbers that its config.json has beside the options, from the configuration of the cell inside the block. */
      readonly fields: (config: CellConfig & O) => Readonly<Record<string, number>>;
    };
  };
  /** @internal The gate, or else the state, that an activation makes of a sum and that can saturate, if there is one. */
  candidate?(config: CellConfig & O): { readonly name: string; readonly activation: Activation };
  /** @internal h comes first. */
  states(config: CellConfig & O): readonly StateSpec[];
  /** @internal Of one layer. `input` is the shape of an input row: [in], or [2, H] above two directions, whose halves are padded apart. */
  parameters(config: CellConfig & O, input: readonly number[]): readonly ParameterSpec[];
  /** @internal */
  costs(config: CellConfig & O, inputSize: number): CellCosts;
  /** @internal */
  record(recorder: Recorder, site: LayerSite<O>): CellLayer;
  /** @internal One step of one row, plainly, from dense weights: by name the states after it, the gates [H], and `output`, if that is not h. */
  step(config: CellConfig & O, weights: Values, x: ArrayLike<number>, states: Values): Readonly<Record<string, Float64Array>>;
  /** @internal What flows through each unit in such a step, where its gates are sums of what comes from the input and from the state. */
  flow?(config: CellConfig & O, weights: Values, x: ArrayLike<number>, states: Values): readonly UnitFlow[];
}

/** A tensor [..., G, H] with its units padded. */
export const gateTensor = (recorder: Recorder, name: string, shape: readonly number[], half = false): Tensor =>
  recorder.tensor({ name, shape, stored: [...shape.slice(0, -1), pad4(shape.at(-1)!)], dtype: half ? "f16" : "f32" });

/** A parameter that lies as PyTorch has it, its innermost axis padded. */
export const plainParameter = (name: string, shape: readonly number[], initializer: Initializer): ParameterSpec => ({
  name,
  shape,
  tensor: { name, shape },
  initializer,
});

/** A parameter of G gates, one below the other as PyTorch has them: [G·H, …inner]. */
export const gateParameter = (
  name: string,
  [G, H, ...inner]: readonly [number, number, ...number[]],
  initializer: Initializer,
): ParameterSpec => ({
  name,
  shape: inner.length > 0 ? [G * H, sizeOf(inner)] : [G * H],
  tensor: {
    name,
    shape: [G, H, ...inner],
    stored: [G, pad4(H), ...inner.map((n, i) => (i === inner.length - 1 ? pad4(n) : n))],
  },
  initializer,
});

/** Work that one dispatch of a sequence may hold: what keeps it under a quarter of a second. */
export const SEQUENCE_WORK = { software: 2.5e8, wasm: 2.5e9, gpu: 4e9 } as const;

/** Visits `count` steps in parts of at most `most`, at least one, by how many were done before. */
export function inParts(most: number, count: number, visit: (done: number, part: number) => void): void {
  const size = Math.max(1, most);
  for (let done = 0; done < count; done += size) visit(done, Math.min(size, count - done));
}

/** Row `row` of a dense matrix times a vector, plainly, added to `start`. */
export function rowSum(matrix: ArrayLike<number>, row: number, by: ArrayLike<number>, start = 0): number {
  let sum = start;
  for (let k = 0; k < by.length; k++) sum += matrix[row * by.length + k]! * by[k]!;
  return sum;
}

/** @throws GatewiseError E_CONFIG unless a cell whose channels each read their own gets as many as it has */
export function checkOwnWidth(cell: string, input: readonly number[], H: number): void {
  if (input.length === 1 && input[0] === H) return;
  throw new GatewiseError(
    "E_CONFIG",
    `${cell}: its input must be as wide as hiddenSize=${H}, got ${input.join(" × ")}; two directions take one layer only`,
  );
}

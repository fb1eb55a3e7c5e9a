// What the calls of a recurrent layer take and give, and how it is checked. Inputs are copied when the call is made, so
// that it does not matter what becomes of the caller's arrays while the call waits for its turn.
import { checkInteger, checkOneOf, checkOptions, checkSignal, copyNumbers, namesOf } from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import { CELL_NAMES, CELLS, type CellName } from "./cells.ts";
import type { RecurrentConfig } from "./recurrent-config.ts";
import { directionsOf, stackStates } from "./stack.ts";

/** What goes with the input of a forward pass. */
export interface ForwardOptions {
  /** Time steps and rows of the batch. */
  readonly T: number;
  /** Rows of the batch. */
  readonly B: number;
  /** Initial states [L·D, B, H]; zero by default. c0 for the LSTM only. */
  readonly h0?: ArrayLike<number> | undefined;
  /** The LSTM's initial cell states [L·D, B, H]; zero by default. */
  readonly c0?: ArrayLike<number> | undefined;
  /** Time steps of each row, 0 to T; later outputs are zero and hN is that of the row's own last step. */
  readonly lengths?: ArrayLike<number> | undefined;
  /** Whether dropout acts; false by default. */
  readonly training?: boolean | undefined;
  /** Ends the call with its reason: the first of its sizes may take seconds, for tuning and compilation. */
  readonly signal?: AbortSignal | undefined;
}

/** Results of a float64 device are Float64Arrays. */
export interface ForwardResult {
  /** [T, B, D·H] */
  readonly output: Float32Array;
  /** [L·D, B, H] */
  readonly hN: Float32Array;
  /** [L·D, B, H], LSTM only */
  readonly cN: Float32Array | undefined;
}

/** Gradients of a loss with respect to all that went into `forward`. */
export interface BackwardResult {
  /** [T, B, inputSize] */
  readonly dx: Float32Array;
  /** [L·D, B, H] */
  readonly dh0: Float32Array;
  /** [L·D, B, H], LSTM only */
  readonly dc0: Float32Array | undefined;
  /** Under the parameters' names, in their shapes. */
  readonly gradients: Readonly<Record<string, Float32Array>>;
}

/** Gradients of the final states. */
export interface FinalGradients {
  /** [L·D, B, H] */
  readonly dhN?: ArrayLike<number> | undefined;
  /** [L·D, B, H], LSTM only */
  readonly dcN?: ArrayLike<number> | undefined;
  /** Ends the call with its reason. */
  readonly signal?: AbortSignal | undefined;
}

/** The state of streams that are read step by step. */
export interface StepState {
  /** Streams side by side. */
  readonly B: number;
  /** [L, B, H]; zero by default. */
  readonly h?: ArrayLike<number> | undefined;
  /** [L, B, H], LSTM only */
  readonly c?: ArrayLike<number> | undefined;
  /** Ends the call with its reason. */
  readonly signal?: AbortSignal | undefined;
}

const FORWARD_NAMES = namesOf<ForwardOptions>({
  T: true,
  B: true,
  h0: true,
  c0: true,
  lengths: true,
  training: true,
  signal: true,
});
const FINALS_NAMES = namesOf<FinalGradients>({ dhN: true, dcN: true, signal: true });
const STEP_NAMES = namesOf<StepState>({ B: true, h: true, c: true, signal: true });

type Floats = Float32Array | Float64Array;

/** A forward call, checked and copied. */
export interface ForwardInputs {
  readonly T: number;
  readonly B: number;
  readonly x: Floats;
  /** The initial ones; zero where none are given. */
  readonly states: ByState<Floats>;
  readonly lengths?: readonly number[] | undefined;
  readonly training: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** A backward call, copied. */
export interface BackwardInputs {
  readonly dOutput: Floats;
  /** Gradients of the final ones. */
  readonly states: ByState<Floats>;
  readonly signal?: AbortSignal | undefined;
}

type Shape = readonly (readonly [letter: string, n: number])[];

function expectShape(where: string, values: ArrayLike<number>, shape: Shape): void {
  const size = shape.reduce((product, [, n]) => product * n, 1);
  if (values.length === size) return;
  const letters = shape.map(([letter, n]) => `${letter}=${n}`).join(", ");
  throw new GatewiseError("E_SHAPE", `${where} must be [${letters}], that is ${size} values, got ${values.length}`);
}

/** What is given of states, by their names. */
export type ByState<V> = Readonly<Record<string, V | undefined>>;

const copyStates = (title: (name: string) => string, given: ByState<ArrayLike<number>>): ByState<Floats> =>
  Object.fromEntries(
    Object.entries(given).flatMap(([name, values]) => (values === undefined ? [] : [[name, copyNumbers(title(name), values)]])),
  );

/** @throws GatewiseError E_SHAPE unless states [L·D, B, …], or their gradients, are those of the cell, and of its sizes */
function checkStates<S extends ByState<Floats>>(
  title: (name: string) => string,
  config: RecurrentConfig,
  B: number,
  given: S,
): S {
  const has = (cell: CellName, name: string): boolean => CELLS[cell].states(config).some((state) => state.name === name);
  for (const [name, values] of Object.entries(given)) {
    if (values === undefined) continue;
    const spec = stackStates(config, B).find((state) => state.name === name);
    if (!spec) {
      const having = CELL_NAMES.filter((cell) => has(cell, name)).join(", ");
      throw new GatewiseError("E_SHAPE", `${title(name)} was given, but only the ${having} has a cell state`);
    }
    const letters = ["L·D", "B", "H", ...(spec.shape.length > 4 ? ["N/2", "parts"] : ["N"])];
    expectShape(
      title(name),
      values,
      spec.shape.map((n, axis) => [letters[axis]!, n]),
    );
  }
  return given;
}

const statesOf = (title: (name: string) => string, config: RecurrentConfig, B: number, given: ByState<ArrayLike<number>>) =>
  checkStates(title, config, B, copyStates(title, given));

function copyInput(where: string, { inputSize }: RecurrentConfig, T: number, B: number, x: ArrayLike<number>): Floats {
  checkInteger(`${where}: T`, T, 1);
  checkInteger(`${where}: B`, B, 1);
  const copy = copyNumbers(`${where}: x`, x);
  expectShape(`${where}: x`, copy, [
    ["T", T],
    ["B", B],
    ["inputSize", inputSize],
  ]);
  return copy;
}

function copyLengths(where: string, values: ArrayLike<number>, T: number, B: number): readonly number[] {
  const lengths = Array.from(copyNumbers(where, values));
  expectShape(where, lengths, [["B", B]]);
  const bad = lengths.find((n) => !Number.isInteger(n) || n < 0 || n > T);
  if (bad !== undefined) throw new GatewiseError("E_CONFIG", `${where} must be integers from 0 to T=${T}, got ${bad}`);
  return lengths;
}

/** @throws GatewiseError E_SHAPE, E_CONFIG */
export function forwardInputs(config: RecurrentConfig, x: ArrayLike<number>, options: ForwardOptions): ForwardInputs {
  const where = `${config.cell}.forward`;
  checkOptions(where, options, FORWARD_NAMES, { hx: "h0", cx: "c0" });
  const { T, B, h0, c0, lengths, training = false, signal }: ForwardOptions = options ?? {};
  checkSignal(where, signal);
  checkOneOf(`${where}: training`, training, [true, false]);
  return {
    T,
    B,
    x: copyInput(where, config, T, B, x),
    states: statesOf((name) => `${where}: ${name}0`, config, B, { h: h0, c: c0 }),
    lengths: lengths === undefined ? undefined : copyLengths(`${where}: lengths`, lengths, T, B),
    training: training && config.dropout > 0,
    signal,
  };
}

/** Those of a forward pass over one time step. @throws GatewiseError E_SHAPE, E_CONFIG */
export function stepInputs(config: RecurrentConfig, x: ArrayLike<number>, state: StepState): ForwardInputs {
  const where = `${config.cell}.step`;
  if (config.bidirectional)
    throw new GatewiseError("E_CONFIG", "Recurrent.step: a bidirectional layer reads whole sequences only");
  checkOptions(where, state, STEP_NAMES, { hx: "h", h0: "h", cx: "c", c0: "c" });
  const { B, h, c, signal }: StepState = state ?? {};
  checkSignal(where, signal);
  return {
    T: 1,
    B,
    x: copyInput(where, config, 1, B, x),
    states: statesOf((name) => `${where}: ${name}`, config, B, { h, c }),
    training: false,
    signal,
  };
}

/** The shapes are those of the forward pass before, which may be waiting for its turn still: `T` and `B` tell them then. */
export function backwardInputs(
  config: RecurrentConfig,
  dOutput: ArrayLike<number>,
  finals: FinalGradients,
): (T: number, B: number) => BackwardInputs {
  const where = `${config.cell}.backward`;
  checkOptions(where, finals, FINALS_NAMES);
  checkSignal(where, finals.signal);
  const title = (name: string): string => `${where}: d${name}N`;
  const copy = copyNumbers(`${where}: dOutput`, dOutput);
  const states = copyStates(title, { h: finals.dhN, c: finals.dcN });
  return (T, B) => {
    expectShape(`${where}: dOutput`, copy, [
      ["T", T],
      ["B", B],
      ["D·H", config.hiddenSize * directionsOf(config)],
    ]);
    return { dOutput: copy, states: checkStates(title, config, B, states), signal: finals.signal };
  };
}

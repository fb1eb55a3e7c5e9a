// The table of recurrent cells. A new cell is a shader, a kernel file and an entry here; the command line, the tests
// and the benches follow by themselves.
import { shown } from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import { gru } from "../kernels/gru.ts";
import { gruResetBefore } from "../kernels/gru-reset-before.ts";
import { lstm } from "../kernels/lstm.ts";
import type { StepParams } from "../kernels/recurrent.ts";
import { rnn } from "../kernels/rnn.ts";
import type { Recorder } from "../runtime/recorder.ts";
import type { Tensor } from "../runtime/tensor.ts";

/** What a step reads and writes, forward. Shapes as in the cells' shaders. */
export interface StepTensors {
  readonly xProjection: Tensor;
  readonly rows: Tensor;
  readonly packed: Tensor;
  readonly h: Tensor;
  /** Only if the cell has a cell state. */
  readonly c: Tensor | undefined;
  /** Only if the cell saves gates: [T, B, savedGates, H]. */
  readonly gates: Tensor | undefined;
  /** Only if the reset gate acts before the product: r ⊙ h, [T, B, H]. */
  readonly resetH: Tensor | undefined;
}

/** What a step reads and writes, backward, besides what the forward step left. */
export interface StepGradients {
  readonly weight: Tensor;
  readonly dOutput: Tensor;
  /** Gradient of h·W_hhᵀ + b_hh, [T, B, G, H]. */
  readonly dGates: Tensor;
  /** Gradient of x·W_ihᵀ + b_ih, [T, B, G, H]; the same tensor as dGates where the two are equal. */
  readonly dProjection: Tensor;
  /** Gradient carried to the step before, past the gates: of c (LSTM) or of h (GRU), [B, H]. */
  readonly dCarry: Tensor | undefined;
}

/** The options that only some cells have, each with its default. */
const CELL_OPTIONS = { nonlinearity: "tanh", resetAfter: true, forgetBias: undefined } as const;
type CellOption = keyof typeof CELL_OPTIONS;

export interface Cell {
  /** Which of them it has. */
  readonly options: readonly CellOption[];
  /** The kernel that can do many steps in one dispatch; undefined if none can. */
  readonly sequences: string | undefined;
  /** G, the number of gates. */
  readonly gates: number;
  /** Values saved per unit and step for backward, besides h and c. */
  readonly savedGates: number;
  readonly cellState: boolean;
  /** Whether W_hn multiplies r ⊙ h. */
  readonly resetBefore: boolean;
  /** Whether the gradients of x·W_ihᵀ and of h·W_hhᵀ differ. */
  readonly separateProjection: boolean;
  readonly carry: boolean;
  readonly forward: (recorder: Recorder, s: StepTensors, params: StepParams) => void;
  readonly backward: (recorder: Recorder, s: StepTensors, g: StepGradients, params: StepParams) => void;
}

export const CELLS = {
  rnn: {
    options: ["nonlinearity"],
    sequences: "rnn",
    gates: 1,
    savedGates: 0,
    cellState: false,
    resetBefore: false,
    separateProjection: false,
    carry: false,
    forward: (recorder, { xProjection, rows, packed, h }, params) =>
      recorder.dispatch(rnn.forward, { xProjection, rows, packed, h }, params),
    backward: (recorder, { h }, { dOutput, weight, dGates }, params) =>
      recorder.dispatch(rnn.backward, { dOutput, savedH: h, weight, dGates }, params),
  },
  gru: {
    options: ["resetAfter"],
    sequences: "gru",
    gates: 3,
    savedGates: 4,
    cellState: false,
    resetBefore: false,
    separateProjection: true,
    carry: true,
    forward: (recorder, { xProjection, rows, packed, h, gates }, params) =>
      recorder.dispatch(gru.forward, { xProjection, rows, packed, h, gates: gates! }, params),
    backward: (recorder, { h, gates }, { dOutput, weight, dGates, dProjection, dCarry }, params) =>
      recorder.dispatch(
        gru.backward,
        { dOutput, savedGates: gates!, savedH: h, weight, dGates, dProjection, dH: dCarry! },
        params,
      ),
  },
  "gru-reset-before": {
    options: ["resetAfter"],
    sequences: undefined,
    gates: 3,
    savedGates: 3,
    cellState: false,
    resetBefore: true,
    separateProjection: false,
    carry: true,
    forward(recorder, { xProjection, rows, packed, h, gates, resetH }, params) {
      const shared = { xProjection, rows, packed, gates: gates! };
      recorder.dispatch(gruResetBefore.forwardGates, { ...shared, h, resetH: resetH! }, params);
      recorder.dispatch(gruResetBefore.forwardCandidate, { ...shared, h: resetH!, hidden: h }, params);
    },
    backward(recorder, { h, gates }, { dOutput, weight, dGates, dCarry }, params) {
      const tensors = { dOutput, savedGates: gates!, savedH: h, weight, dGates, dH: dCarry! };
      recorder.dispatch(gruResetBefore.backwardCandidate, tensors, params);
      recorder.dispatch(gruResetBefore.backwardReset, tensors, params);
    },
  },
  lstm: {
    options: ["forgetBias"],
    sequences: "lstm",
    gates: 4,
    savedGates: 4,
    cellState: true,
    resetBefore: false,
    separateProjection: false,
    carry: true,
    forward: (recorder, { xProjection, rows, packed, h, c, gates }, params) =>
      recorder.dispatch(lstm.forward, { xProjection, rows, packed, h, c: c!, gates: gates! }, params),
    backward: (recorder, { c, gates }, { dOutput, weight, dGates, dCarry }, params) =>
      recorder.dispatch(lstm.backward, { dOutput, savedGates: gates!, savedC: c!, weight, dGates, dC: dCarry! }, params),
  },
} as const satisfies Record<string, Cell>;

/** The cells that a configuration may name. */
export const CELL_NAMES = ["rnn", "gru", "lstm"] as const;
export type CellName = (typeof CELL_NAMES)[number];

/** The cell of a configuration. */
export const cellOf = (config: { readonly cell: CellName; readonly resetAfter: boolean }): Cell =>
  CELLS[config.cell === "gru" && !config.resetAfter ? "gru-reset-before" : config.cell];

/** Whether a cell has an option. */
export const hasOption = (cell: CellName, option: CellOption): boolean =>
  (CELLS[cell].options as readonly CellOption[]).includes(option);

/** @throws GatewiseError E_CONFIG for an option, other than its default, that the cell does not have */
export function checkCellOptions(
  where: string,
  config: { readonly cell: CellName } & { readonly [K in CellOption]?: unknown },
): void {
  for (const [option, fallback] of Object.entries(CELL_OPTIONS) as [CellOption, unknown][]) {
    const value = config[option];
    if (value === undefined || value === fallback || hasOption(config.cell, option)) continue;
    const having = CELL_NAMES.filter((name) => hasOption(name, option)).join(", ");
    throw new GatewiseError(
      "E_CONFIG",
      `${where}${option} must be left out with the cell ${config.cell}, got ${shown(value)}; it is an option of ${having}`,
    );
  }
}

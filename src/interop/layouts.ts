// How other engines keep what Gatewise keeps: one table for each. Whatever reads or writes their files reads it here.
import { ALPHA, BETA1, BETA2, EPSILON, type Moment, type OptimizerName } from "../training/optimizers.ts";

/** A form of a cell as an engine has it. */
export interface CellLayout {
  /** Its class there. */
  readonly module: string;
  /** Its gates in the order in which their rows lie, one below the other, by the names that they have here. */
  readonly gates: readonly string[];
}

/** An optimizer as an engine has it. What is not said here is the same: where ε stands, weight decay, the order of clipping. */
export interface OptimizerLayout {
  /** Its class there. */
  readonly class: string;
  /** What its moments are called. */
  readonly moments: Readonly<Partial<Record<Moment, string>>>;
  /** The constants that Gatewise has for it, by the names that they have there. */
  readonly settings: Readonly<Record<string, number | readonly number[]>>;
}

/** An engine. */
export interface Layouts {
  /** How a matrix from n inputs to m outputs lies: [m, n], as here, or [n, m]. */
  readonly matrices: "outputs × inputs" | "inputs × outputs";
  /** Whether a gate has a bias with its input and one with its state, as here, or one alone. */
  readonly biases: 1 | 2;
  /** By form. */
  readonly cells: Readonly<Partial<Record<string, CellLayout>>>;
  readonly optimizers: Readonly<Record<OptimizerName, OptimizerLayout>>;
}

const ADAM: Omit<OptimizerLayout, "class"> = {
  moments: { m: "exp_avg", v: "exp_avg_sq" },
  settings: { betas: [BETA1, BETA2], eps: EPSILON },
};

/**
 * torch.nn and torch.optim, 2.13. Gatewise has taken its names and shapes from them, so that tensors are the same on both
 * sides, name by name: only moments are called otherwise. What torch.nn has not is in pytorch/model.py.
 */
export const PYTORCH: Layouts = {
  matrices: "outputs × inputs",
  biases: 2,
  cells: {
    rnn: { module: "nn.RNN", gates: ["a"] },
    "rnn-relu": { module: "nn.RNN", gates: ["a"] },
    // n = tanh(W_in x + b_in + r ⊙ (W_hn h + b_hn)), h′ = (1 − z) ⊙ n + z ⊙ h.
    gru: { module: "nn.GRU", gates: ["r", "z", "n"] },
    "gru-reset-before": { module: "ResetBeforeGRU", gates: ["r", "z", "n"] },
    lstm: { module: "nn.LSTM", gates: ["i", "f", "g", "o"] },
    "min-gru": { module: "MinGRU", gates: ["g", "z"] },
    "min-lstm": { module: "MinLSTM", gates: ["g", "f", "i"] },
    s4d: { module: "S4D", gates: [] },
    mamba: { module: "S6", gates: [] },
  },
  optimizers: {
    adam: { class: "Adam", ...ADAM },
    adamw: { class: "AdamW", ...ADAM },
    rmsprop: { class: "RMSprop", moments: { v: "square_avg" }, settings: { alpha: ALPHA, eps: EPSILON } },
    // Without momentum it has no buffer, and here one that nothing reads.
    sgd: { class: "SGD", moments: { m: "momentum_buffer" }, settings: {} },
  },
};

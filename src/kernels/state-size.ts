// N, the numbers of a channel's state: an option of all state space cells.
import type { CellOption } from "./cell.ts";

/** Of cells with several states a channel. */
export interface StateSizeOption {
  /** N of a channel; s4d keeps them as N/2 pairs. */
  readonly stateSize?: number | undefined;
}

export const STATE_SIZE = 16;

export const stateSizeOption: CellOption<number | undefined> = {
  fallback: STATE_SIZE,
  range: [1, 256],
  own: true,
  transformers: "state_size",
  flags: "--state-size <n>",
  help: "numbers in the state of a channel, of cells that have such states",
};

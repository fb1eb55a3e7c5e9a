// The states of a layer that keeps them all, [T + 1, B, H] each: where they come from, where they go to, and how their
// gradients go in and out. h, the output, is one of them.
import type { Recorder } from "../runtime/recorder.ts";
import { pad4, type Tensor } from "../runtime/tensor.ts";
import type { LayerSite, StateRows, Tensors } from "./cell.ts";
import type { Matrix } from "./matmul.ts";
import { recordGather, recordScatter } from "./rows.ts";

export interface Histories {
  readonly tensors: Tensors;
  /** h before the first step and after it, …: rows [T·B, H] from `firstRow`. */
  readonly before: Matrix;
  readonly after: Matrix;
  /** Copies the initial states to the front. */
  begin(): void;
  /** Copies the final states, each from where its row ends. */
  end(): void;
}

export function makeHistories(recorder: Recorder, site: LayerSite, names: readonly string[]): Histories {
  const { name, T, B, config, states, ends } = site;
  const H = config.hiddenSize;
  const length = B * pad4(H);
  const make = (state: string): Tensor => recorder.tensor({ name: `${name}.${state}`, shape: [T + 1, B, H] });
  const tensors: Tensors = Object.fromEntries(names.map((state) => [state, make(state)]));
  const before: Matrix = { tensor: tensors.h!, rows: T * B, columns: H };
  return {
    tensors,
    before,
    after: { ...before, firstRow: B },
    begin() {
      for (const state of states ? names : []) {
        const { tensor, offset } = states!.initial[state]!;
        recorder.copy(tensor, tensors[state]!, { fromOffset: offset, length });
      }
    },
    end() {
      for (const state of states ? names : []) {
        const { tensor, offset } = states!.final[state]!;
        if (!ends) {
          recorder.copy(tensors[state]!, tensor, { fromOffset: T * length, toOffset: offset, length });
          continue;
        }
        const y = recorder.tensor({ name: `${name}.final`, shape: [B, H] });
        recordGather(recorder, tensors[state]!, ends.finalHistory, y);
        recorder.copy(y, tensor, { toOffset: offset, length });
      }
    },
  };
}

/**
 * Records the gradient of an initial state, [B, H], from that of the state before the first step. A row without steps has
 * its initial state for its final one, and so it is with their gradients.
 */
export function recordInitial(recorder: Recorder, site: LayerSite, to: StateRows[string], d: Tensor, dFinal: Tensor): void {
  recordScatter(recorder, dFinal, site.ends!.empty, d);
  recorder.copy(d, to.tensor, { toOffset: to.offset, length: d.length });
}

// What the tuner's trials are made of: what candidates read and write, how it is compared, and by what clock.
import { STREAM, fraction, randomWord } from "../random.ts";
import type { Plan } from "./device.ts";
import type { Entry } from "./kernel.ts";
import type { DispatchCommand, Recorder } from "./recorder.ts";
import type { NumberArray, Tensor, TensorStorage } from "./tensor.ts";
import type { WebGpuDevice } from "./webgpu-device.ts";

/** Relative L2 distance at the real shape between candidates, which add in different orders. */
const AGREEMENT = 1e-4;
/** Readings of a clock after which it counts as one that stands. */
const MOST_READINGS = 2e7;

/** A candidate in the running: `plan` does its work `times` times. */
export interface Contestant {
  readonly plan: Plan;
  readonly tensors: readonly Tensor[];
  readonly outputs: Outputs;
  readonly times: number;
  /** Runs of the plan in one measurement. */
  runs: number;
  readonly problem: string | undefined;
}

/** What a candidate wrote, by the storage that it stands for. */
export type Outputs = Map<TensorStorage, NumberArray>;

export const dispatchesOf = ({ commands }: Recorder): readonly DispatchCommand[] => commands.filter((c) => c.kind === "dispatch");

export const isWritten = (entry: Entry, binding: number): boolean => Object.values(entry.bindings)[binding] === "read_write";

/** Small numbers as they occur in training, the same for every candidate; integers are zero, which any index may be. */
export function fill(device: WebGpuDevice, tensor: Tensor, index: number): void {
  if (tensor.dtype === "u32") return;
  const values = new Float32Array(tensor.length);
  const period = Math.min(values.length, 4099);
  for (let i = 0; i < period; i++) values[i] = 0.2 * fraction(randomWord(7, index, i, STREAM.init)) - 0.1;
  for (let at = period; at < values.length; at += period) values.copyWithin(at, 0, Math.min(period, values.length - at));
  device.write(tensor, values);
}

/** How two candidates' results differ, or undefined if they agree. Only what both write is compared. */
export function difference(expected: Outputs, actual: Outputs): string | undefined {
  for (const [storage, values] of actual) {
    const wanted = expected.get(storage);
    if (!wanted) continue;
    let error = 0;
    let norm = 0;
    for (let i = 0; i < wanted.length; i++) {
      error += (values[i]! - wanted[i]!) ** 2;
      norm += wanted[i]! ** 2;
    }
    if (!(error <= AGREEMENT ** 2 * norm)) {
      return `differs from the preferred one at the real shape: relative L2 ${Math.sqrt(error / norm).toExponential(1)}`;
    }
  }
  return undefined;
}

/** Milliseconds between two ticks of a clock: two are awaited, because the first may be about to come. */
export function tickOf(now: () => number): number {
  let last = now();
  let readings = 0;
  const next = (): number => {
    for (let time = now(); ; time = now()) {
      if (time !== last) return time;
      if (readings++ > MOST_READINGS) return Infinity;
    }
  };
  last = next();
  return last === Infinity ? Infinity : next() - last;
}

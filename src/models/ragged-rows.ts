// Rows of unequal length: the order in which the second direction reads them, and where they end.
import type { RowEnds } from "../kernels/cell.ts";
import { NOWHERE } from "../kernels/scatter.ts";
import type { Device } from "../runtime/device.ts";
import type { Recorder } from "../runtime/recorder.ts";
import type { NumberArray, Tensor } from "../runtime/tensor.ts";

/** The tensors that say so, for rows [T, B]. */
export interface RowOrders extends RowEnds {
  /** u32 [T·B]: row t·B + b in the second direction's order; a permutation that is its own inverse. */
  readonly reversed: Tensor;
  /** The same among the rows of a history [T + 1, B]: the outputs in the text's order. */
  readonly reversedOutput: Tensor;
}

/** Makes them, for `writeOrders` to fill. */
export function makeOrders(recorder: Recorder, T: number, B: number): RowOrders {
  const u32 = (name: string, length: number): Tensor => recorder.tensor({ name, shape: [length], dtype: "u32" });
  return {
    lengths: u32("lengths", B),
    reversed: u32("reversed", T * B),
    reversedOutput: u32("reversedOutput", T * B),
    finalHistory: u32("finalHistory", B),
    finalOutput: u32("finalOutput", B),
    endsAt: u32("endsAt", T * B),
    empty: u32("empty", B),
  };
}

/** Writes what order the second direction reads in, and where rows end. */
export function writeOrders(device: Device, tensors: RowOrders, T: number, B: number, lengths: readonly number[]): void {
  const reversed = new Uint32Array(T * B);
  const endsAt = new Uint32Array(T * B).fill(NOWHERE);
  lengths.forEach((length, b) => {
    for (let t = 0; t < T; t++) reversed[t * B + b] = (t < length ? length - 1 - t : t) * B + b;
    if (length > 0) endsAt[(length - 1) * B + b] = b;
  });
  device.write(tensors.lengths, Uint32Array.from(lengths));
  device.write(tensors.reversed, reversed);
  device.write(
    tensors.reversedOutput,
    reversed.map((row) => row + B),
  );
  device.write(
    tensors.finalHistory,
    Uint32Array.from(lengths, (length, b) => length * B + b),
  );
  device.write(
    tensors.finalOutput,
    Uint32Array.from(lengths, (length, b) => (length > 0 ? (length - 1) * B + b : NOWHERE)),
  );
  device.write(
    tensors.empty,
    Uint32Array.from(lengths, (length, b) => (length > 0 ? NOWHERE : b)),
  );
  device.write(tensors.endsAt, endsAt);
}

interface HalfShape {
  readonly T: number;
  readonly B: number;
  readonly D: number;
  readonly H: number;
}

/** The outputs of each direction [T, B, H] as [T, B, D·H], zero past the end of a row. */
export function joinHalves(halves: readonly Float32Array[], { T, B, D, H }: HalfShape, lengths: readonly number[]): Float32Array {
  const out = new (halves[0]!.constructor as Float32ArrayConstructor)(T * B * D * H);
  forEachValidRow(T, B, lengths, (row) =>
    halves.forEach((half, d) => out.set(half.subarray(row * H, (row + 1) * H), (row * D + d) * H)),
  );
  return out;
}

/** The opposite: the part of each direction, zero past the end of a row. */
export function splitHalves(
  values: Float32Array | Float64Array,
  { T, B, D, H }: HalfShape,
  lengths: readonly number[],
): NumberArray[] {
  const halves = Array.from({ length: D }, () => new (values.constructor as Float32ArrayConstructor)(T * B * H));
  forEachValidRow(T, B, lengths, (row) =>
    halves.forEach((half, d) => half.set(values.subarray((row * D + d) * H, (row * D + d + 1) * H) as Float32Array, row * H)),
  );
  return halves;
}

function forEachValidRow(T: number, B: number, lengths: readonly number[], visit: (row: number) => void): void {
  for (let t = 0; t < T; t++) for (let b = 0; b < B; b++) if (t < lengths[b]!) visit(t * B + b);
}

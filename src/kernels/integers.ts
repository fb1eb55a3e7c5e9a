// What the kernels share whose tensors hold integers.
import type { CaseTensor } from "../runtime/kernel.ts";

/** A u32 tensor of a case with the given values. */
export const integers = (...values: readonly number[]): CaseTensor => ({
  shape: [values.length],
  dtype: "u32",
  fill: (i) => values[i]!,
});

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** The f32 that some bits stand for: how a u32 tensor carries one. */
export function bitsToFloat(value: number): number {
  bits[0] = value;
  return float[0]!;
}

/** The bits of an f32. */
export function floatToBits(value: number): number {
  float[0] = value;
  return bits[0]!;
}

// Complex numbers in plain code.
import type { NumberArray } from "../runtime/tensor.ts";

export type Complex = readonly [re: number, im: number];
export const times = ([a, b]: Complex, [c, d]: Complex): Complex => [a * c - b * d, a * d + b * c];
export const plus = ([a, b]: Complex, [c, d]: Complex): Complex => [a + c, b + d];
export const conj = ([a, b]: Complex): Complex => [a, -b];
export const scaled = (by: number, [a, b]: Complex): Complex => [by * a, by * b];
export const over = (a: Complex, b: Complex): Complex => scaled(1 / (b[0] ** 2 + b[1] ** 2), times(a, conj(b)));
export const ZERO: Complex = [0, 0];

/** The number of an array whose imaginary part lies `stride` behind its real part. */
export const at = (array: ArrayLike<number>, i: number, stride = 1): Complex => [array[i]!, array[i + stride]!];
export function put(array: NumberArray, i: number, [re, im]: Complex, stride = 1): void {
  array[i] = re;
  array[i + stride] = im;
}

import { pad4, tanh } from "./shared/simd";
import { gatesAt, inputAt, put, rowsOfBatch, steps, stepsScratch, sumOf, unitAt } from "./shared/steps";

// The tensors, for the epilogues.
let x: usize;
let tokens: usize;
let h: usize;
let dh: usize;
let d: usize;
let isRelu: i32;

export function rnn_scratch(B: i32, H: i32): i32 {
  return stepsScratch(B, H, pad4(H), 1);
}

function forward(sums: usize, cell: i32, row: i32, u: i32, lanes: v128): void {
  const a = f32x4.add(sumOf(sums, 0), v128.load(inputAt(x, tokens, cell, 1, u)));
  put(unitAt(h, cell + rowsOfBatch, u), isRelu ? f32x4.pmax(a, f32x4.splat(0)) : tanh(a), lanes);
}

// prettier-ignore
export function rnn_forward(
  xProjection: usize, rows: usize, packed: usize, hs: usize,
  B: i32, H: i32, t: i32, count: i32, gather: i32, last: i32, relu: i32, scratch: usize, part: i32, parts: i32,
): void {
  x = xProjection;
  tokens = gather ? rows : 0;
  h = hs;
  isRelu = relu;
  const row: usize = 4 * pad4(H);
  steps(hs + row * B * t, row, row * B, true, packed, row, H, 1, packed + row * pad4(H), B, H, t, 1, count, scratch, part, parts, forward);
}

function backward(sums: usize, cell: i32, row: i32, u: i32, lanes: v128): void {
  const value = v128.load(unitAt(h, cell + rowsOfBatch, u));
  const one = f32x4.splat(1);
  const slope = isRelu ? v128.and(one, f32x4.gt(value, f32x4.splat(0))) : f32x4.sub(one, f32x4.mul(value, value));
  put(gatesAt(d, cell, 1, u), f32x4.mul(f32x4.add(v128.load(unitAt(dh, cell, u)), sumOf(sums, 0)), slope), lanes);
}

// prettier-ignore
export function rnn_backward(
  dOutput: usize, savedH: usize, weight: usize, dGates: usize,
  B: i32, H: i32, t: i32, count: i32, gather: i32, last: i32, relu: i32, scratch: usize, part: i32, parts: i32,
): void {
  dh = dOutput;
  h = savedH;
  d = dGates;
  isRelu = relu;
  const row: usize = 4 * pad4(H);
  const step = row * B;
  steps(dGates + step * (t + 1), row, -step, !last, weight, row, pad4(H), 1, 0, B, H, t, -1, count, scratch, part, parts, backward);
}

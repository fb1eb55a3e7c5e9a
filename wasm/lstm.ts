import { madd, pad4, sigmoid, tanh } from "./shared/simd";
import { gatesAt, inputAt, put, rowsOfBatch, steps, stepsScratch, sumOf, unitAt, W } from "./shared/steps";

// The tensors, for the epilogues.
let x: usize;
let tokens: usize;
let h: usize;
let c: usize;
let gates: usize;
let dh: usize;
let dc: usize;
let d: usize;

export function lstm_scratch(B: i32, H: i32): i32 {
  return stepsScratch(B, H, 4 * pad4(H), 4);
}

function forward(sums: usize, cell: i32, row: i32, u: i32, lanes: v128): void {
  const gate: usize = 4 * W;
  const input = inputAt(x, tokens, cell, 4, u);
  const i = sigmoid(f32x4.add(sumOf(sums, 0), v128.load(input)));
  const f = sigmoid(f32x4.add(sumOf(sums, 1), v128.load(input + gate)));
  const g = tanh(f32x4.add(sumOf(sums, 2), v128.load(input + 2 * gate)));
  const o = sigmoid(f32x4.add(sumOf(sums, 3), v128.load(input + 3 * gate)));
  const state = madd(f, v128.load(unitAt(c, cell, u)), f32x4.mul(i, g));
  put(unitAt(c, cell + rowsOfBatch, u), state, lanes);
  put(unitAt(h, cell + rowsOfBatch, u), f32x4.mul(o, tanh(state)), lanes);
  const saved = gatesAt(gates, cell, 4, u);
  put(saved, i, lanes);
  put(saved + gate, f, lanes);
  put(saved + 2 * gate, g, lanes);
  put(saved + 3 * gate, o, lanes);
}

// prettier-ignore
export function lstm_forward(
  xProjection: usize, rows: usize, packed: usize, hs: usize, cs: usize, gatesOf: usize,
  B: i32, H: i32, t: i32, count: i32, gather: i32, last: i32, relu: i32, scratch: usize, part: i32, parts: i32,
): void {
  x = xProjection;
  tokens = gather ? rows : 0;
  h = hs;
  c = cs;
  gates = gatesOf;
  const row: usize = 4 * pad4(H);
  steps(hs + row * B * t, row, row * B, true, packed, 4 * row, H, 4, packed + 4 * row * pad4(H), B, H, t, 1, count, scratch, part, parts, forward);
}

function backward(sums: usize, cell: i32, row: i32, u: i32, lanes: v128): void {
  const one = f32x4.splat(1);
  const gate: usize = 4 * W;
  const saved = gatesAt(gates, cell, 4, u);
  const i = v128.load(saved);
  const f = v128.load(saved + gate);
  const g = v128.load(saved + 2 * gate);
  const o = v128.load(saved + 3 * gate);
  const before = v128.load(unitAt(c, cell, u));
  const after = tanh(v128.load(unitAt(c, cell + rowsOfBatch, u)));
  const dState = f32x4.add(v128.load(unitAt(dh, cell, u)), sumOf(sums, 0));
  const carried = unitAt(dc, row, u);
  const dCell = madd(f32x4.mul(dState, o), f32x4.sub(one, f32x4.mul(after, after)), v128.load(carried));
  const to = gatesAt(d, cell, 4, u);
  put(to, f32x4.mul(f32x4.mul(dCell, g), f32x4.mul(i, f32x4.sub(one, i))), lanes);
  put(to + gate, f32x4.mul(f32x4.mul(dCell, before), f32x4.mul(f, f32x4.sub(one, f))), lanes);
  put(to + 2 * gate, f32x4.mul(f32x4.mul(dCell, i), f32x4.sub(one, f32x4.mul(g, g))), lanes);
  put(to + 3 * gate, f32x4.mul(f32x4.mul(dState, after), f32x4.mul(o, f32x4.sub(one, o))), lanes);
  put(carried, f32x4.mul(dCell, f), lanes);
}

// prettier-ignore
export function lstm_backward(
  dOutput: usize, savedGates: usize, savedC: usize, weight: usize, dGates: usize, dC: usize,
  B: i32, H: i32, t: i32, count: i32, gather: i32, last: i32, relu: i32, scratch: usize, part: i32, parts: i32,
): void {
  dh = dOutput;
  gates = savedGates;
  c = savedC;
  d = dGates;
  dc = dC;
  const W = pad4(H);
  const row: usize = 16 * W;
  const step = row * B;
  steps(dGates + step * (t + 1), row, -step, !last, weight, 4 * W, 4 * W, 1, 0, B, H, t, -1, count, scratch, part, parts, backward);
}

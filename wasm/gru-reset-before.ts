import { madd, pad4, sigmoid, tanh } from "./shared/simd";
import { gatesAt, inputAt, put, rowsOfBatch, steps, stepsScratch, sumOf, unitAt, W } from "./shared/steps";

// The tensors, for the epilogues.
let x: usize;
let tokens: usize;
let h: usize;
let gates: usize;
let gated: usize;
let dOut: usize;
let d: usize;
let dh: usize;

export function gru_reset_before_scratch(B: i32, H: i32): i32 {
  return stepsScratch(B, H, 2 * pad4(H), 2);
}

function forwardGates(sums: usize, cell: i32, row: i32, u: i32, lanes: v128): void {
  const gate: usize = 4 * W;
  const input = inputAt(x, tokens, cell, 3, u);
  const r = sigmoid(f32x4.add(sumOf(sums, 0), v128.load(input)));
  const z = sigmoid(f32x4.add(sumOf(sums, 1), v128.load(input + gate)));
  const saved = gatesAt(gates, cell, 3, u);
  put(saved, r, lanes);
  put(saved + gate, z, lanes);
  put(unitAt(gated, cell, u), f32x4.mul(r, v128.load(unitAt(h, cell, u))), lanes);
}

// prettier-ignore
export function gru_reset_before_forwardGates(
  xProjection: usize, rows: usize, packed: usize, hs: usize, gatesOf: usize, gatedH: usize,
  B: i32, H: i32, t: i32, count: i32, gather: i32, last: i32, relu: i32, scratch: usize, part: i32, parts: i32,
): void {
  x = xProjection;
  tokens = gather ? rows : 0;
  h = hs;
  gates = gatesOf;
  gated = gatedH;
  const row: usize = 4 * pad4(H);
  steps(hs + row * B * t, row, row * B, true, packed, 3 * row, H, 2, packed + 3 * row * pad4(H), B, H, t, 1, count, scratch, part, parts, forwardGates);
}

function forwardCandidate(sums: usize, cell: i32, row: i32, u: i32, lanes: v128): void {
  const gate: usize = 4 * W;
  const n = tanh(f32x4.add(sumOf(sums, 0), v128.load(inputAt(x, tokens, cell, 3, u) + 2 * gate)));
  const saved = gatesAt(gates, cell, 3, u);
  const z = v128.load(saved + gate);
  put(saved + 2 * gate, n, lanes);
  const before = v128.load(unitAt(h, cell, u));
  put(unitAt(h, cell + rowsOfBatch, u), madd(z, before, f32x4.mul(f32x4.sub(f32x4.splat(1), z), n)), lanes);
}

// prettier-ignore
export function gru_reset_before_forwardCandidate(
  xProjection: usize, rows: usize, packed: usize, gatedH: usize, gatesOf: usize, hidden: usize,
  B: i32, H: i32, t: i32, count: i32, gather: i32, last: i32, relu: i32, scratch: usize, part: i32, parts: i32,
): void {
  x = xProjection;
  tokens = gather ? rows : 0;
  h = hidden;
  gates = gatesOf;
  const row: usize = 4 * pad4(H);
  const candidate = packed + 2 * row;
  steps(gatedH + row * B * t, row, row * B, true, candidate, 3 * row, H, 1, candidate + 3 * row * pad4(H), B, H, t, 1, count, scratch, part, parts, forwardCandidate);
}

function backwardCandidate(sums: usize, cell: i32, row: i32, u: i32, lanes: v128): void {
  const one = f32x4.splat(1);
  const gate: usize = 4 * W;
  const saved = gatesAt(gates, cell, 3, u);
  const z = v128.load(saved + gate);
  const n = v128.load(saved + 2 * gate);
  const carried = unitAt(dh, row, u);
  const dState = f32x4.add(f32x4.add(v128.load(unitAt(dOut, cell, u)), v128.load(carried)), sumOf(sums, 0));
  const through = f32x4.sub(v128.load(unitAt(h, cell, u)), n);
  const to = gatesAt(d, cell, 3, u);
  put(to + gate, f32x4.mul(f32x4.mul(dState, through), f32x4.mul(z, f32x4.sub(one, z))), lanes);
  put(to + 2 * gate, f32x4.mul(f32x4.mul(dState, f32x4.sub(one, z)), f32x4.sub(one, f32x4.mul(n, n))), lanes);
  put(carried, f32x4.mul(dState, z), lanes);
}

// prettier-ignore
export function gru_reset_before_backwardCandidate(
  dOutput: usize, savedGates: usize, savedH: usize, weight: usize, dGates: usize, dH: usize,
  B: i32, H: i32, t: i32, count: i32, gather: i32, last: i32, relu: i32, scratch: usize, part: i32, parts: i32,
): void {
  dOut = dOutput;
  gates = savedGates;
  h = savedH;
  d = dGates;
  dh = dH;
  const W = pad4(H);
  const row: usize = 12 * W;
  const step = row * B;
  steps(dGates + step * (t + 1), row, -step, !last, weight, 4 * W, 2 * W, 1, 0, B, H, t, -1, count, scratch, part, parts, backwardCandidate);
}

function backwardReset(sums: usize, cell: i32, row: i32, u: i32, lanes: v128): void {
  const sum = sumOf(sums, 0);
  const r = v128.load(gatesAt(gates, cell, 3, u));
  const dr = f32x4.mul(sum, v128.load(unitAt(h, cell, u)));
  put(gatesAt(d, cell, 3, u), f32x4.mul(dr, f32x4.mul(r, f32x4.sub(f32x4.splat(1), r))), lanes);
  const carried = unitAt(dh, row, u);
  put(carried, madd(sum, r, v128.load(carried)), lanes);
}

// prettier-ignore
export function gru_reset_before_backwardReset(
  dOutput: usize, savedGates: usize, savedH: usize, weight: usize, dGates: usize, dH: usize,
  B: i32, H: i32, t: i32, count: i32, gather: i32, last: i32, relu: i32, scratch: usize, part: i32, parts: i32,
): void {
  gates = savedGates;
  h = savedH;
  d = dGates;
  dh = dH;
  const W = pad4(H);
  const row: usize = 12 * W;
  steps(dGates + row * B * t + 8 * W, row, 0, true, weight + 8 * W * W, 4 * W, W, 1, 0, B, H, t, -1, count, scratch, part, parts, backwardReset);
}

import { madd, pad4, sigmoid, tanh } from "./shared/simd";
import { gatesAt, inputAt, put, rowsOfBatch, steps, stepsScratch, sumOf, unitAt, W } from "./shared/steps";

// The tensors, for the epilogues.
let x: usize;
let tokens: usize;
let h: usize;
let gates: usize;
let dOut: usize;
let d: usize;
let dx: usize;
let dh: usize;

export function gru_scratch(B: i32, H: i32): i32 {
  return stepsScratch(B, H, 3 * pad4(H), 3);
}

function forward(sums: usize, cell: i32, row: i32, u: i32, lanes: v128): void {
  const gate: usize = 4 * W;
  const input = inputAt(x, tokens, cell, 3, u);
  const r = sigmoid(f32x4.add(sumOf(sums, 0), v128.load(input)));
  const z = sigmoid(f32x4.add(sumOf(sums, 1), v128.load(input + gate)));
  const product = sumOf(sums, 2);
  const n = tanh(madd(r, product, v128.load(input + 2 * gate)));
  const before = v128.load(unitAt(h, cell, u));
  put(unitAt(h, cell + rowsOfBatch, u), madd(z, before, f32x4.mul(f32x4.sub(f32x4.splat(1), z), n)), lanes);
  const saved = gatesAt(gates, cell, 4, u);
  put(saved, r, lanes);
  put(saved + gate, z, lanes);
  put(saved + 2 * gate, n, lanes);
  put(saved + 3 * gate, product, lanes);
}

// prettier-ignore
export function gru_forward(
  xProjection: usize, rows: usize, packed: usize, hs: usize, gatesOf: usize,
  B: i32, H: i32, t: i32, count: i32, gather: i32, last: i32, relu: i32, scratch: usize, part: i32, parts: i32,
): void {
  x = xProjection;
  tokens = gather ? rows : 0;
  h = hs;
  gates = gatesOf;
  const row: usize = 4 * pad4(H);
  steps(hs + row * B * t, row, row * B, true, packed, 3 * row, H, 3, packed + 3 * row * pad4(H), B, H, t, 1, count, scratch, part, parts, forward);
}

function backward(sums: usize, cell: i32, row: i32, u: i32, lanes: v128): void {
  const one = f32x4.splat(1);
  const gate: usize = 4 * W;
  const saved = gatesAt(gates, cell, 4, u);
  const r = v128.load(saved);
  const z = v128.load(saved + gate);
  const n = v128.load(saved + 2 * gate);
  const product = v128.load(saved + 3 * gate);
  const carried = unitAt(dh, row, u);
  const dState = f32x4.add(f32x4.add(v128.load(unitAt(dOut, cell, u)), v128.load(carried)), sumOf(sums, 0));
  const dn = f32x4.mul(f32x4.mul(dState, f32x4.sub(one, z)), f32x4.sub(one, f32x4.mul(n, n)));
  const through = f32x4.sub(v128.load(unitAt(h, cell, u)), n);
  const dz = f32x4.mul(f32x4.mul(dState, through), f32x4.mul(z, f32x4.sub(one, z)));
  const dr = f32x4.mul(f32x4.mul(dn, product), f32x4.mul(r, f32x4.sub(one, r)));
  const to = gatesAt(d, cell, 3, u);
  put(to, dr, lanes);
  put(to + gate, dz, lanes);
  put(to + 2 * gate, f32x4.mul(dn, r), lanes);
  const toInput = gatesAt(dx, cell, 3, u);
  put(toInput, dr, lanes);
  put(toInput + gate, dz, lanes);
  put(toInput + 2 * gate, dn, lanes);
  put(carried, f32x4.mul(dState, z), lanes);
}

// prettier-ignore
export function gru_backward(
  dOutput: usize, savedGates: usize, savedH: usize, weight: usize, dGates: usize, dProjection: usize, dH: usize,
  B: i32, H: i32, t: i32, count: i32, gather: i32, last: i32, relu: i32, scratch: usize, part: i32, parts: i32,
): void {
  dOut = dOutput;
  gates = savedGates;
  h = savedH;
  d = dGates;
  dx = dProjection;
  dh = dH;
  const W = pad4(H);
  const row: usize = 12 * W;
  const step = row * B;
  steps(dGates + step * (t + 1), row, -step, !last, weight, 4 * W, 3 * W, 1, 0, B, H, t, -1, count, scratch, part, parts, backward);
}

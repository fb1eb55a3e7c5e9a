import { candidate, slopeOfCandidate } from "./shared/scan";
import { madd, sigmoid } from "./shared/simd";
import { gatesAt, put, rowsOfBatch, scan, unitAt, W } from "./shared/steps";

// The tensors, for the epilogues.
let gates: usize;
let h: usize;
let dOut: usize;
let d: usize;
let dh: usize;

function forward(sums: usize, cell: i32, row: i32, u: i32, lanes: v128): void {
  const kept = gatesAt(gates, cell, 2, u);
  const g = candidate(v128.load(kept));
  const z = sigmoid(v128.load(kept + 4 * W));
  put(kept, g, lanes);
  put(kept + 4 * W, z, lanes);
  const before = v128.load(unitAt(h, cell, u));
  put(unitAt(h, cell + rowsOfBatch, u), madd(f32x4.sub(f32x4.splat(1), z), before, f32x4.mul(z, g)), lanes);
}

// prettier-ignore
export function min_gru_forward(
  ends: usize, gatesOf: usize, hs: usize, B: i32, H: i32, t: i32, count: i32, chunk: i32, scratch: usize, part: i32, parts: i32,
): void {
  gates = gatesOf;
  h = hs;
  scan(B, H, t, 1, count, part, parts, forward);
}

function backward(sums: usize, cell: i32, row: i32, u: i32, lanes: v128): void {
  const kept = gatesAt(gates, cell, 2, u);
  const g = v128.load(kept);
  const z = v128.load(kept + 4 * W);
  const rest = f32x4.sub(f32x4.splat(1), z);
  const carried = unitAt(dh, row, u);
  const dState = f32x4.add(v128.load(unitAt(dOut, cell, u)), v128.load(carried));
  const written = f32x4.mul(dState, z);
  const to = gatesAt(d, cell, 2, u);
  put(to, f32x4.mul(written, slopeOfCandidate(g)), lanes);
  put(to + 4 * W, f32x4.mul(f32x4.mul(written, f32x4.sub(g, v128.load(unitAt(h, cell, u)))), rest), lanes);
  put(carried, f32x4.mul(dState, rest), lanes);
}

// prettier-ignore
export function min_gru_backward(
  ends: usize, dOutput: usize, savedGates: usize, savedH: usize, dProjection: usize, dH: usize,
  B: i32, H: i32, t: i32, count: i32, chunk: i32, scratch: usize, part: i32, parts: i32,
): void {
  dOut = dOutput;
  gates = savedGates;
  h = savedH;
  d = dProjection;
  dh = dH;
  scan(B, H, t, -1, count, part, parts, backward);
}

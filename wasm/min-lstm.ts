import { candidate, slopeOfCandidate } from "./shared/scan";
import { exp, madd, sigmoid } from "./shared/simd";
import { gatesAt, put, rowsOfBatch, scan, unitAt, W } from "./shared/steps";

// The tensors, for the epilogues.
let gates: usize;
let h: usize;
let dOut: usize;
let d: usize;
let dh: usize;

/** σ(f) / (σ(f) + σ(i)), where both may be too small for a number. */
@inline
function forgetShare(f: v128, i: v128): v128 {
  const zero = f32x4.splat(0);
  const one = f32x4.splat(1);
  const difference = f32x4.sub(f32x4.min(f, zero), f32x4.min(i, zero));
  const less = exp(f32x4.neg(f32x4.abs(difference)));
  const ofF = f32x4.add(one, exp(f32x4.neg(f32x4.abs(f))));
  const ofI = f32x4.add(one, exp(f32x4.neg(f32x4.abs(i))));
  const more = f32x4.ge(difference, zero);
  const forget = f32x4.mul(v128.bitselect(one, less, more), ofI);
  const write = f32x4.mul(v128.bitselect(less, one, more), ofF);
  return f32x4.div(forget, f32x4.add(forget, write));
}

function forward(sums: usize, cell: i32, row: i32, u: i32, lanes: v128): void {
  const gate: usize = 4 * W;
  const kept = gatesAt(gates, cell, 3, u);
  const i = v128.load(kept + 2 * gate);
  const g = candidate(v128.load(kept));
  const f = forgetShare(v128.load(kept + gate), i);
  put(kept, g, lanes);
  put(kept + gate, f, lanes);
  put(kept + 2 * gate, sigmoid(i), lanes);
  const before = v128.load(unitAt(h, cell, u));
  put(unitAt(h, cell + rowsOfBatch, u), madd(f, before, f32x4.mul(f32x4.sub(f32x4.splat(1), f), g)), lanes);
}

// prettier-ignore
export function min_lstm_forward(
  ends: usize, gatesOf: usize, hs: usize, B: i32, H: i32, t: i32, count: i32, chunk: i32, scratch: usize, part: i32, parts: i32,
): void {
  gates = gatesOf;
  h = hs;
  scan(B, H, t, 1, count, part, parts, forward);
}

function backward(sums: usize, cell: i32, row: i32, u: i32, lanes: v128): void {
  const one = f32x4.splat(1);
  const gate: usize = 4 * W;
  const kept = gatesAt(gates, cell, 3, u);
  const g = v128.load(kept);
  const f = v128.load(kept + gate);
  const i = v128.load(kept + 2 * gate);
  const rest = f32x4.sub(one, f);
  const carried = unitAt(dh, row, u);
  const dState = f32x4.add(v128.load(unitAt(dOut, cell, u)), v128.load(carried));
  const ofState = f32x4.mul(dState, f);
  const dF = f32x4.mul(ofState, f32x4.sub(v128.load(unitAt(h, cell, u)), g));
  const to = gatesAt(d, cell, 3, u);
  put(to, f32x4.mul(f32x4.mul(dState, rest), slopeOfCandidate(g)), lanes);
  put(to + gate, f32x4.mul(dF, f32x4.sub(rest, f32x4.mul(f, i))), lanes);
  put(to + 2 * gate, f32x4.neg(f32x4.mul(f32x4.mul(dF, rest), f32x4.sub(one, i))), lanes);
  put(carried, ofState, lanes);
}

// prettier-ignore
export function min_lstm_backward(
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

import { packRows } from "./shared/product";
import { madd, pad4, share, sigmoid, slopeOfSilu } from "./shared/simd";

// Of the convolution that is under way.
let x: usize;
let before: usize;
let B: i32;
let W: i32;
let K: i32;
let stride: i32;

/** The taps with their channels in a row, or sums for them and the bias. */
export function conv1d_scratch(B: i32, W: i32, K: i32): i32 {
  return 4 * W * (K + 1);
}

function begin(xOf: usize, beforeOf: usize, BOf: i32, WOf: i32, KOf: i32, strideOf: i32): void {
  x = xOf;
  before = beforeOf;
  B = BOf;
  W = WOf;
  K = KOf;
  stride = strideOf;
}

/** A weight [W, K] as [K, W]. */
function packTaps(weight: usize, taps: usize): void {
  const row: usize = 4 * pad4(K);
  for (let c = 0; c < W; c += 4) packRows(weight + row * c, row, 4, K, taps + 4 * c, 4 * W);
}

/** x of four channels of row b at step t, which may lie in front of the first. */
@inline
function inputAt(t: i32, b: i32, c: i32): v128 {
  if (t >= 0) return v128.load(x + 4 * (<usize>stride * (t * B + b) + c));
  const row: usize = 4 * pad4(K - 1);
  const at = before + row * (b * W + c) + 4 * (K - 1 + t);
  return f32x4(load<f32>(at), load<f32>(at + row), load<f32>(at + 2 * row), load<f32>(at + 3 * row));
}

/** What the convolution adds up to for four channels. */
@inline
function sumAt(taps: usize, bias: usize, t: i32, b: i32, c: i32): v128 {
  let u = v128.load(bias + 4 * c);
  for (let k = 0; k < K; k++) u = madd(v128.load(taps + 4 * (k * W + c)), inputAt(t - (K - 1) + k, b, c), u);
  return u;
}

/** `out` is SiLU of the sums, or, of a gradient, what is left of it in front of SiLU. */
// prettier-ignore
function activate(
  gradient: bool, x: usize, before: usize, weight: usize, bias: usize, out: usize,
  B: i32, W: i32, K: i32, t: i32, count: i32, stride: i32, scratch: usize, part: i32, parts: i32,
): void {
  begin(x, before, B, W, K, stride);
  packTaps(weight, scratch);
  const end = t * B + share(count * B, 1, part + 1, parts);
  for (let row = t * B + share(count * B, 1, part, parts); row < end; row++) {
    for (let c = 0; c < W; c += 4) {
      const u = sumAt(scratch, bias, row / B, row % B, c);
      const s = sigmoid(u);
      const to = out + 4 * (<usize>W * row + c);
      v128.store(to, gradient ? f32x4.mul(v128.load(to), slopeOfSilu(u, s)) : f32x4.mul(u, s));
    }
  }
}

// prettier-ignore
export function conv1d_forward(
  x: usize, before: usize, weight: usize, bias: usize, y: usize,
  B: i32, W: i32, K: i32, T: i32, t: i32, count: i32, stride: i32, scratch: usize, part: i32, parts: i32,
): void {
  activate(false, x, before, weight, bias, y, B, W, K, t, count, stride, scratch, part, parts);
}

// prettier-ignore
export function conv1d_activation(
  x: usize, before: usize, weight: usize, bias: usize, d: usize,
  B: i32, W: i32, K: i32, T: i32, t: i32, count: i32, stride: i32, scratch: usize, part: i32, parts: i32,
): void {
  activate(true, x, before, weight, bias, d, B, W, K, t, count, stride, scratch, part, parts);
}

// prettier-ignore
export function conv1d_input(
  dU: usize, inputWeight: usize, dX: usize,
  B: i32, W: i32, K: i32, T: i32, t: i32, count: i32, stride: i32, scratch: usize, part: i32, parts: i32,
): void {
  begin(0, 0, B, W, K, stride);
  packTaps(inputWeight, scratch);
  const end = t * B + share(count * B, 1, part + 1, parts);
  for (let row = t * B + share(count * B, 1, part, parts); row < end; row++) {
    const taps = min(K, T - row / B);
    for (let c = 0; c < W; c += 4) {
      let sum = f32x4.splat(0);
      for (let ahead = 0; ahead < taps; ahead++) {
        sum = madd(v128.load(scratch + 4 * ((K - 1 - ahead) * W + c)), v128.load(dU + 4 * (<usize>W * (row + ahead * B) + c)), sum);
      }
      v128.store(dX + 4 * (<usize>stride * row + c), sum);
    }
  }
}

/** Shares are of channels. Their sums lie in the scratch, tap after tap, then the bias. */
// prettier-ignore
export function conv1d_weights(
  x: usize, before: usize, dRows: usize, dWeight: usize, dBias: usize,
  B: i32, W: i32, K: i32, T: i32, t: i32, count: i32, stride: i32, scratch: usize, part: i32, parts: i32,
): void {
  begin(x, before, B, W, K, stride);
  const first = share(W, 4, part, parts);
  const end = share(W, 4, part + 1, parts);
  const ofBias = scratch + 4 * K * W;
  memory.fill(scratch, 0, 4 * (K + 1) * W);
  for (let row = 0; row < T * B; row++) {
    for (let c = first; c < end; c += 4) {
      const d = v128.load(dRows + 4 * (<usize>W * row + c));
      for (let k = 0; k < K; k++) {
        const sum = scratch + 4 * (k * W + c);
        v128.store(sum, madd(d, inputAt(row / B - (K - 1) + k, row % B, c), v128.load(sum)));
      }
      v128.store(ofBias + 4 * c, f32x4.add(v128.load(ofBias + 4 * c), d));
    }
  }
  for (let c = first; c < end; c++) {
    for (let k = 0; k < K; k++) store<f32>(dWeight + 4 * (c * pad4(K) + k), load<f32>(scratch + 4 * (k * W + c)));
    store<f32>(dBias + 4 * c, load<f32>(ofBias + 4 * c));
  }
}

import { share } from "./shared/simd";

// prettier-ignore
export function reduce_columns(
  values: usize, out: usize, N: i32, W: i32, accumulate: i32, inOffset: i32, scratch: usize, part: i32, parts: i32,
): void {
  const row: usize = 4 * W;
  const end = share(W, 4, part + 1, parts);
  for (let w = share(W, 4, part, parts); w < end; w += 4) {
    let sum = f32x4.splat(0);
    let at = values + 4 * (inOffset + w);
    for (let n = 0; n < N; n++) {
      sum = f32x4.add(sum, v128.load(at));
      at += row;
    }
    const to = out + 4 * w;
    v128.store(to, accumulate ? f32x4.add(v128.load(to), sum) : sum);
  }
}

/** What lies 2·n floats from `rows` on, even or odd ones, added up. */
function sumOfPairs(rows: usize, N: i32): f64 {
  let sum: f64 = 0;
  for (let n = 0; n < N; n++) sum += <f64>load<f32>(rows + 8 * n);
  return sum;
}

/** One partial: 64 vectors in a row, and again 1024 times as many further on. */
const BLOCK = 64;
const PARTIALS = 1024;

// prettier-ignore
export function reduce_squares(values: usize, partials: usize, count: i32, scratch: usize, part: i32, parts: i32): void {
  const end = share(PARTIALS, 1, part + 1, parts);
  for (let partial = share(PARTIALS, 1, part, parts); partial < end; partial++) {
    let most = i32x4.splat(0);
    for (let first = partial * BLOCK; first < count; first += BLOCK * PARTIALS) {
      for (let i = first; i < min(first + BLOCK, count); i++) {
        most = i32x4.max_u(most, v128.and(v128.load(values + <usize>(16 * i)), i32x4.splat(0x7fffffff)));
      }
    }
    const halves = i32x4.max_u(most, v128.shuffle<i32>(most, most, 2, 3, 0, 1));
    const exponent = max(<u32>i32x4.extract_lane(halves, 0), <u32>i32x4.extract_lane(halves, 1)) >> 23;
    const unit = reinterpret<f32>(min(max(exponent, 1), 253) << 23);
    const inverse = f32x4.splat(1 / unit);
    let low = f64x2.splat(0);
    let high = f64x2.splat(0);
    for (let first = partial * BLOCK; first < count; first += BLOCK * PARTIALS) {
      for (let i = first; i < min(first + BLOCK, count); i++) {
        const x = f32x4.mul(v128.load(values + <usize>(16 * i)), inverse);
        const square = f32x4.mul(x, x);
        low = f64x2.add(low, f64x2.promote_low_f32x4(square));
        high = f64x2.add(high, f64x2.promote_low_f32x4(v128.shuffle<f32>(square, square, 2, 3, 2, 3)));
      }
    }
    low = f64x2.add(low, high);
    store<f32>(partials + 8 * partial, <f32>(f64x2.extract_lane(low, 0) + f64x2.extract_lane(low, 1)));
    store<f32>(partials + 8 * partial, unit, 4);
  }
}

// prettier-ignore
export function reduce_norm(
  values: usize, rows: usize, metrics: usize,
  count: i32, squares: i32, clip: f32, N: i32, scale: f32, scratch: usize, part: i32, parts: i32,
): void {
  if (part > 0) return;
  let total: f64 = 0;
  if (squares) {
    let low = f64x2.splat(0);
    let high = f64x2.splat(0);
    for (let i = 0; i < count; i++) {
      const x = v128.load(values + 16 * i);
      const first = f64x2.promote_low_f32x4(x);
      const last = f64x2.promote_low_f32x4(v128.shuffle<f32>(x, x, 2, 3, 2, 3));
      low = f64x2.add(low, f64x2.mul(first, first));
      high = f64x2.add(high, f64x2.mul(last, last));
    }
    low = f64x2.add(low, high);
    total = f64x2.extract_lane(low, 0) + f64x2.extract_lane(low, 1);
  } else {
    for (let i = 0; i < 4 * count; i += 2) {
      const unit = <f64>load<f32>(values + 4 * i, 4);
      total += <f64>load<f32>(values + 4 * i) * unit * unit;
    }
  }
  const size = <f32>Math.sqrt(total);
  store<f32>(metrics, <f32>(<f64>scale * sumOfPairs(rows, N)));
  store<f32>(metrics, <f32>sumOfPairs(rows + 4, N), 4);
  store<f32>(metrics, size, 8);
  store<f32>(metrics, clip > 0 ? min<f32>(1, clip / (size + 1e-6)) : 1, 12);
  if (size - size == 0) return;
  store<f32>(metrics, 0, 12);
  store<f32>(metrics, load<f32>(metrics, 16) + 1, 16);
}

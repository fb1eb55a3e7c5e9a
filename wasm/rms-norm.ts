import { lanesOf, madd, pad4, share, sumOfLanes } from "./shared/simd";

const EPSILON: f32 = 1e-5;

// prettier-ignore
export function rms_norm_forward(
  x: usize, weight: usize, y: usize, scales: usize, out: usize,
  N: i32, D: i32, xFirst: i32, yFirst: i32, copy: i32, scratch: usize, part: i32, parts: i32,
): void {
  const row: usize = 4 * pad4(D);
  const end = share(N, 1, part + 1, parts);
  for (let n = share(N, 1, part, parts); n < end; n++) {
    const from = x + row * (xFirst + n);
    let squares = f32x4.splat(0);
    for (let i: usize = 0; i < row; i += 16) {
      const vector = v128.load(from + i);
      squares = madd(vector, vector, squares);
    }
    const scale = <f32>1 / Mathf.sqrt(sumOfLanes(squares) / <f32>D + EPSILON);
    store<f32>(scales + 4 * (yFirst + n), scale);
    const ofRow: usize = row * (yFirst + n);
    for (let i = 0; i < D; i += 4) {
      const scaled = f32x4.mul(f32x4.mul(v128.load(from + 4 * i), f32x4.splat(scale)), v128.load(weight + 4 * i));
      v128.store(y + ofRow + 4 * i, v128.and(scaled, lanesOf(i, D)));
    }
    if (copy) memory.copy(out + ofRow, from, row);
  }
}

// prettier-ignore
export function rms_norm_backward(
  x: usize, weight: usize, savedScales: usize, dY: usize, dOut: usize, dX: usize,
  N: i32, D: i32, xFirst: i32, yFirst: i32, copy: i32, scratch: usize, part: i32, parts: i32,
): void {
  const row: usize = 4 * pad4(D);
  const end = share(N, 1, part + 1, parts);
  for (let n = share(N, 1, part, parts); n < end; n++) {
    const ofX: usize = row * (xFirst + n);
    const ofY = dY + row * (yFirst + n);
    let along = f32x4.splat(0);
    for (let i: usize = 0; i < row; i += 16) {
      along = madd(f32x4.mul(v128.load(weight + i), v128.load(ofY + i)), v128.load(x + ofX + i), along);
    }
    const scale = load<f32>(savedScales + 4 * (yFirst + n));
    const back = f32x4.splat((-sumOfLanes(along) * (scale * scale)) / <f32>D);
    for (let i = 0; i < D; i += 4) {
      const at = ofX + 4 * i;
      const d = madd(v128.load(x + at), back, f32x4.mul(v128.load(weight + 4 * i), v128.load(ofY + 4 * i)));
      const past = copy ? v128.load(dOut + at) : f32x4.splat(0);
      v128.store(dX + at, v128.and(madd(f32x4.splat(scale), d, past), lanesOf(i, D)));
    }
  }
}

// prettier-ignore
export function rms_norm_weights(
  x: usize, rowScales: usize, dRows: usize, dWeight: usize,
  N: i32, D: i32, xFirst: i32, yFirst: i32, copy: i32, scratch: usize, part: i32, parts: i32,
): void {
  const row: usize = 4 * pad4(D);
  const end = share(D, 4, part + 1, parts);
  for (let i = share(D, 4, part, parts); i < end; i += 4) {
    let sum = f32x4.splat(0);
    for (let n = 0; n < N; n++) {
      const normed = f32x4.mul(v128.load(x + row * (xFirst + n) + 4 * i), v128.load32_splat(rowScales + 4 * n));
      sum = madd(v128.load(dRows + row * n + 4 * i), normed, sum);
    }
    v128.store(dWeight + 4 * i, v128.and(sum, lanesOf(i, D)));
  }
}

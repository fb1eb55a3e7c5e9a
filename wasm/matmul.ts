import { pad4, share } from "./shared/simd";
import { fewRows, product, PRODUCT_SCRATCH, ROWS, COLUMNS } from "./shared/product";

export function matmul_scratch(): i32 {
  return PRODUCT_SCRATCH;
}

/** rowSums[m] = Σ_k A[k, m] for columns `first` to `end`. */
function columnSums(a: usize, stride: usize, K: i32, first: i32, end: i32, sums: usize): void {
  for (let m = first; m < end; m += 4) {
    let sum = f32x4.splat(0);
    let at = a + 4 * m;
    for (let k = 0; k < K; k++) {
      sum = f32x4.add(sum, v128.load(at));
      at += stride;
    }
    if (m + 4 <= end) v128.store(sums + 4 * m, sum);
    else {
      store<f32>(sums + 4 * m, f32x4.extract_lane(sum, 0));
      if (m + 1 < end) store<f32>(sums + 4 * m + 4, f32x4.extract_lane(sum, 1));
      if (m + 2 < end) store<f32>(sums + 4 * m + 8, f32x4.extract_lane(sum, 2));
    }
  }
}

/** The shares of threads are rows or columns of C, of which there are more. */
function matmul(
  transposeA: bool,
  transposeB: bool,
  a: usize,
  b: usize,
  vector: usize,
  c: usize,
  M: i32,
  N: i32,
  K: i32,
  lda: i32,
  ldb: i32,
  ldc: i32,
  kSlice: i32,
  useBias: i32,
  accumulate: i32,
  scratch: usize,
  part: i32,
  parts: i32,
): void {
  const byRows = M >= N;
  const m0 = byRows ? share(M, ROWS, part, parts) : 0;
  const m1 = byRows ? share(M, ROWS, part + 1, parts) : M;
  const n0 = byRows ? 0 : share(N, COLUMNS, part, parts);
  const n1 = byRows ? N : share(N, COLUMNS, part + 1, parts);
  if (m1 <= m0 || n1 <= n0) return;
  const aStride: usize = 4 * lda;
  const bStride: usize = 4 * ldb;
  const cStride: usize = 4 * ldc;
  const aStep: usize = transposeA ? aStride : 4;
  const bStep: usize = transposeB ? 4 : bStride;
  const bias: usize = useBias && !transposeA ? vector : 0;
  for (let k = 0, slice = 0; k < K; k += kSlice, slice++) {
    const out = c + cStride * (slice * M + m0) + 4 * n0;
    if (accumulate && bias) {
      for (let m = 0; m < m1 - m0; m++) {
        for (let n = n0; n < n1; n++) {
          const at = out + cStride * m + 4 * (n - n0);
          store<f32>(at, load<f32>(at) + load<f32>(bias + 4 * n));
        }
      }
    }
    const fromA = a + aStep * k + (transposeA ? 4 : aStride) * m0;
    const fromB = b + bStep * k + (transposeB ? bStride : 4) * n0;
    const init = accumulate ? out : bias ? bias + 4 * n0 : 0;
    const initStride = accumulate ? cStride : 0;
    const inSlice = min(kSlice, K - k);
    // By the rows of all threads, for the bits of the two are not always the same.
    if (M < ROWS && !transposeA && (transposeB || N % 4 == 0)) {
      fewRows(fromA, aStride, fromB, bStride, transposeB, out, cStride, m1 - m0, n1 - n0, inSlice, init, initStride);
      continue;
    }
    // prettier-ignore
    product(
      fromA, aStride, transposeA, fromB, bStride, transposeB, out, cStride, m1 - m0, n1 - n0, inSlice, init, initStride, scratch,
    );
  }
  if (transposeA && useBias && n0 == 0) columnSums(a, aStride, K, m0, m1, vector);
}

// prettier-ignore
export function matmul_nn(
  a: usize, b: usize, bias: usize, c: usize,
  M: i32, N: i32, K: i32, lda: i32, ldb: i32, ldc: i32, aOffset: i32, bOffset: i32, cOffset: i32, kSlice: i32, useBias: i32,
  accumulate: i32, scratch: usize, part: i32, parts: i32,
): void {
  matmul(false, false, a + 4 * aOffset, b + 4 * bOffset, bias, c + 4 * cOffset, M, N, K, lda, ldb, ldc, kSlice, useBias, accumulate, scratch, part, parts);
}

// prettier-ignore
export function matmul_nt(
  a: usize, b: usize, bias: usize, c: usize,
  M: i32, N: i32, K: i32, lda: i32, ldb: i32, ldc: i32, aOffset: i32, bOffset: i32, cOffset: i32, kSlice: i32, useBias: i32,
  accumulate: i32, scratch: usize, part: i32, parts: i32,
): void {
  matmul(false, true, a + 4 * aOffset, b + 4 * bOffset, bias, c + 4 * cOffset, M, N, K, lda, ldb, ldc, kSlice, useBias, accumulate, scratch, part, parts);
}

// prettier-ignore
export function matmul_tn(
  a: usize, b: usize, rowSums: usize, c: usize,
  M: i32, N: i32, K: i32, lda: i32, ldb: i32, ldc: i32, aOffset: i32, bOffset: i32, cOffset: i32, kSlice: i32, useBias: i32,
  accumulate: i32, scratch: usize, part: i32, parts: i32,
): void {
  matmul(true, false, a + 4 * aOffset, b + 4 * bOffset, rowSums, c + 4 * cOffset, M, N, K, lda, ldb, ldc, kSlice, useBias, accumulate, scratch, part, parts);
}

// prettier-ignore
export function matmul_tt(
  a: usize, b: usize, rowSums: usize, c: usize,
  M: i32, N: i32, K: i32, lda: i32, ldb: i32, ldc: i32, aOffset: i32, bOffset: i32, cOffset: i32, kSlice: i32, useBias: i32,
  accumulate: i32, scratch: usize, part: i32, parts: i32,
): void {
  matmul(true, true, a + 4 * aOffset, b + 4 * bOffset, rowSums, c + 4 * cOffset, M, N, K, lda, ldb, ldc, kSlice, useBias, accumulate, scratch, part, parts);
}

// Products of matrices: tiles of 4 × 8 sums in registers, over panels in which what a tile reads lies in a row; of 4 × 16 in the
// build for engines that make one instruction of two, which has that number in place of the 8.
// A panel of A holds 4 of its rows, column after column; one of B as many of its columns as a tile has, row after row.
import { madd, sumOfLanes } from "./simd";

/** Rows of a tile, and columns. */
export const ROWS = 4;
export const COLUMNS = 8;
/** Vectors and bytes of a tile's row. */
export const VECTORS = COLUMNS / 4;
export const TILE_ROW = 4 * COLUMNS;
/** A block of B, K_BLOCK × N_BLOCK, and one of A, M_BLOCK × K_BLOCK, stay in the second cache; a panel of each in the first. */
const K_BLOCK = 256;
const N_BLOCK = 256;
const M_BLOCK = 64;

/** Bytes of scratch that `product` needs. */
export const PRODUCT_SCRATCH = 4 * (K_BLOCK * (N_BLOCK + M_BLOCK) + ROWS * COLUMNS + COLUMNS);

/** out = init + A·B: a panel of A, one of B whose rows are `bStride` bytes apart, k products a sum. Strides in bytes, 0 repeats a row. */
export function tile(
  a: usize,
  b: usize,
  bStride: usize,
  k: i32,
  init: usize,
  initStride: usize,
  out: usize,
  outStride: usize,
): void {
  let c00 = v128.load(init);
  let c01 = v128.load(init, 16);
  init += initStride;
  let c10 = v128.load(init);
  let c11 = v128.load(init, 16);
  init += initStride;
  let c20 = v128.load(init);
  let c21 = v128.load(init, 16);
  init += initStride;
  let c30 = v128.load(init);
  let c31 = v128.load(init, 16);
  // Those of wide tiles.
  let c02 = c00;
  let c03 = c00;
  let c12 = c00;
  let c13 = c00;
  let c22 = c00;
  let c23 = c00;
  let c32 = c00;
  let c33 = c00;
  if (VECTORS == 4) {
    init -= 3 * initStride;
    c02 = v128.load(init, 32);
    c03 = v128.load(init, 48);
    init += initStride;
    c12 = v128.load(init, 32);
    c13 = v128.load(init, 48);
    init += initStride;
    c22 = v128.load(init, 32);
    c23 = v128.load(init, 48);
    init += initStride;
    c32 = v128.load(init, 32);
    c33 = v128.load(init, 48);
  }
  for (; k > 0; k--) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    const a0 = v128.load32_splat(a);
    c00 = madd(a0, b0, c00);
    c01 = madd(a0, b1, c01);
    const a1 = v128.load32_splat(a, 4);
    c10 = madd(a1, b0, c10);
    c11 = madd(a1, b1, c11);
    const a2 = v128.load32_splat(a, 8);
    c20 = madd(a2, b0, c20);
    c21 = madd(a2, b1, c21);
    const a3 = v128.load32_splat(a, 12);
    c30 = madd(a3, b0, c30);
    c31 = madd(a3, b1, c31);
    if (VECTORS == 4) {
      const b2 = v128.load(b, 32);
      const b3 = v128.load(b, 48);
      c02 = madd(a0, b2, c02);
      c03 = madd(a0, b3, c03);
      c12 = madd(a1, b2, c12);
      c13 = madd(a1, b3, c13);
      c22 = madd(a2, b2, c22);
      c23 = madd(a2, b3, c23);
      c32 = madd(a3, b2, c32);
      c33 = madd(a3, b3, c33);
    }
    a += 16;
    b += bStride;
  }
  v128.store(out, c00);
  v128.store(out, c01, 16);
  out += outStride;
  v128.store(out, c10);
  v128.store(out, c11, 16);
  out += outStride;
  v128.store(out, c20);
  v128.store(out, c21, 16);
  out += outStride;
  v128.store(out, c30);
  v128.store(out, c31, 16);
  if (VECTORS == 4) {
    out -= 3 * outStride;
    v128.store(out, c02, 32);
    v128.store(out, c03, 48);
    out += outStride;
    v128.store(out, c12, 32);
    v128.store(out, c13, 48);
    out += outStride;
    v128.store(out, c22, 32);
    v128.store(out, c23, 48);
    out += outStride;
    v128.store(out, c32, 32);
    v128.store(out, c33, 48);
  }
}

/** out += a·B of one row a of k numbers: the same bits as in a tile, without panels. `bytes` are those of the columns. */
export function addRow(a: usize, b: usize, bStride: usize, k: i32, out: usize, bytes: usize): void {
  for (; k >= 4; k -= 4) {
    const a0 = v128.load32_splat(a);
    const a1 = v128.load32_splat(a, 4);
    const a2 = v128.load32_splat(a, 8);
    const a3 = v128.load32_splat(a, 12);
    const b1 = b + bStride;
    const b2 = b1 + bStride;
    const b3 = b2 + bStride;
    for (let n: usize = 0; n < bytes; n += 16) {
      const two = madd(a1, v128.load(b1 + n), madd(a0, v128.load(b + n), v128.load(out + n)));
      v128.store(out + n, madd(a3, v128.load(b3 + n), madd(a2, v128.load(b2 + n), two)));
    }
    a += 16;
    b = b3 + bStride;
  }
  for (; k > 0; k--) {
    const a0 = v128.load32_splat(a);
    for (let n: usize = 0; n < bytes; n += 16) v128.store(out + n, madd(a0, v128.load(b + n), v128.load(out + n)));
    a += 4;
    b += bStride;
  }
}

/** out += a·Bᵀ of one row a of k numbers and N rows of B, four of which go together. */
export function addDots(a: usize, b: usize, bStride: usize, N: i32, k: i32, out: usize): void {
  const whole: usize = 4 * (k & ~3);
  for (let n = 0; n < N; n += 4) {
    const rows = min(4, N - n);
    const r1 = b + bStride * min(1, rows - 1);
    const r2 = b + bStride * min(2, rows - 1);
    const r3 = b + bStride * min(3, rows - 1);
    let s0 = f32x4.splat(0);
    let s1 = s0;
    let s2 = s0;
    let s3 = s0;
    for (let at: usize = 0; at < whole; at += 16) {
      const x = v128.load(a + at);
      s0 = madd(x, v128.load(b + at), s0);
      s1 = madd(x, v128.load(r1 + at), s1);
      s2 = madd(x, v128.load(r2 + at), s2);
      s3 = madd(x, v128.load(r3 + at), s3);
    }
    addDot(s0, a, b, whole, 4 * k, out);
    if (rows > 1) addDot(s1, a, r1, whole, 4 * k, out + 4);
    if (rows > 2) addDot(s2, a, r2, whole, 4 * k, out + 8);
    if (rows > 3) addDot(s3, a, r3, whole, 4 * k, out + 12);
    b = r3 + bStride;
    out += 16;
  }
}

/** Adds what four lanes have summed up, and the products behind them. */
function addDot(lanes: v128, a: usize, b: usize, from: usize, end: usize, out: usize): void {
  let sum = sumOfLanes(lanes);
  for (; from < end; from += 4) sum += load<f32>(a + from) * load<f32>(b + from);
  store<f32>(out, load<f32>(out) + sum);
}

/** Four vectors as the rows of a 4 × 4 block, written as its columns, `stride` bytes apart. */
@inline
function transposed(r0: v128, r1: v128, r2: v128, r3: v128, to: usize, stride: usize): void {
  const t0 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
  const t1 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
  const t2 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
  const t3 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<f32>(t0, t2, 0, 1, 4, 5));
  v128.store(to + stride, v128.shuffle<f32>(t0, t2, 2, 3, 6, 7));
  v128.store(to + 2 * stride, v128.shuffle<f32>(t1, t3, 0, 1, 4, 5));
  v128.store(to + 3 * stride, v128.shuffle<f32>(t1, t3, 2, 3, 6, 7));
}

/** Four rows of k numbers, as columns `stride` bytes apart; there are `rows` of them, and the last stands for the others. */
export function packRows(from: usize, rowStride: usize, rows: i32, k: i32, to: usize, stride: usize): void {
  let r0 = from;
  let r1 = from + rowStride * min(1, rows - 1);
  let r2 = from + rowStride * min(2, rows - 1);
  let r3 = from + rowStride * min(3, rows - 1);
  for (; k >= 4; k -= 4) {
    transposed(v128.load(r0), v128.load(r1), v128.load(r2), v128.load(r3), to, stride);
    r0 += 16;
    r1 += 16;
    r2 += 16;
    r3 += 16;
    to += 4 * stride;
  }
  for (; k > 0; k--) {
    store<f32>(to, load<f32>(r0));
    store<f32>(to, load<f32>(r1), 4);
    store<f32>(to, load<f32>(r2), 8);
    store<f32>(to, load<f32>(r3), 12);
    r0 += 4;
    r1 += 4;
    r2 += 4;
    r3 += 4;
    to += stride;
  }
}

/** k rows of `vectors` times four numbers each. */
export function packColumns(from: usize, rowStride: usize, vectors: i32, k: i32, to: usize, stride: usize): void {
  for (; k > 0; k--) {
    v128.store(to, v128.load(from));
    if (vectors > 1) v128.store(to, v128.load(from, 16), 16);
    if (vectors > 2) v128.store(to, v128.load(from, 32), 32);
    if (vectors > 3) v128.store(to, v128.load(from, 48), 48);
    from += rowStride;
    to += stride;
  }
}

/** Copies `rows` × `columns` numbers between matrices of these strides. */
function copyTile(from: usize, fromStride: usize, to: usize, toStride: usize, rows: i32, columns: i32): void {
  for (let m = 0; m < rows; m++) {
    for (let n = 0; n < columns; n++) store<f32>(to + 4 * n, load<f32>(from + 4 * n));
    from += fromStride;
    to += toStride;
  }
}

/**
 * C = init + A·B. Where a matrix is not transposed its row is `Stride` bytes long, where it is, its column. `init`, whose
 * rows are `initStride` bytes apart, may be C, or a bias with stride 0, or nothing, which is zero.
 */
export function product(
  a: usize,
  aStride: usize,
  aTransposed: bool,
  b: usize,
  bStride: usize,
  bTransposed: bool,
  c: usize,
  cStride: usize,
  M: i32,
  N: i32,
  K: i32,
  init: usize,
  initStride: usize,
  scratch: usize,
): void {
  const packedB = scratch;
  const packedA = packedB + 4 * K_BLOCK * N_BLOCK;
  const edge = packedA + 4 * K_BLOCK * M_BLOCK;
  const zeros = edge + 4 * ROWS * COLUMNS;
  memory.fill(zeros, 0, 4 * COLUMNS);
  for (let n0 = 0; n0 < N; n0 += N_BLOCK) {
    const columns = min(N_BLOCK, N - n0);
    for (let k0 = 0; k0 < K; k0 += K_BLOCK) {
      const k = min(K_BLOCK, K - k0);
      for (let n = 0; n < columns; n += COLUMNS) {
        const to = packedB + 4 * n * k;
        if (bTransposed) {
          const from = b + bStride * (n0 + n) + 4 * k0;
          for (let v = 0; v < COLUMNS; v += 4) {
            const first = min(v, columns - n - 1);
            packRows(from + bStride * first, bStride, max(min(4, columns - n - v), 1), k, to + 4 * v, TILE_ROW);
          }
        } else packColumns(b + bStride * k0 + 4 * (n0 + n), bStride, min(VECTORS, (columns - n + 3) >> 2), k, to, TILE_ROW);
      }
      for (let m0 = 0; m0 < M; m0 += M_BLOCK) {
        const rows = min(M_BLOCK, M - m0);
        for (let m = 0; m < rows; m += ROWS) {
          const to = packedA + 4 * m * k;
          if (aTransposed) packColumns(a + aStride * k0 + 4 * (m0 + m), aStride, 1, k, to, 16);
          else packRows(a + aStride * (m0 + m) + 4 * k0, aStride, min(4, rows - m), k, to, 16);
        }
        for (let n = 0; n < columns; n += COLUMNS) {
          for (let m = 0; m < rows; m += ROWS) {
            const out = c + cStride * (m0 + m) + 4 * (n0 + n);
            const begin = k0 > 0 ? out : init ? init + initStride * (m0 + m) + 4 * (n0 + n) : zeros;
            const beginStride = k0 > 0 ? cStride : initStride;
            const tileA = packedA + 4 * m * k;
            const tileB = packedB + 4 * n * k;
            const inRows = min(ROWS, rows - m);
            const inColumns = min(COLUMNS, columns - n);
            if (inRows == ROWS && inColumns == COLUMNS) tile(tileA, tileB, TILE_ROW, k, begin, beginStride, out, cStride);
            else {
              copyTile(begin, beginStride, edge, TILE_ROW, inRows, inColumns);
              tile(tileA, tileB, TILE_ROW, k, edge, TILE_ROW, edge, TILE_ROW);
              copyTile(edge, TILE_ROW, out, cStride, inRows, inColumns);
            }
          }
        }
      }
    }
  }
}

/** The same of few rows, A not transposed, N a multiple of four or B transposed: panels would cost more than they save. */
// prettier-ignore
export function fewRows(
  a: usize, aStride: usize, b: usize, bStride: usize, bTransposed: bool, c: usize, cStride: usize, M: i32, N: i32, K: i32,
  init: usize, initStride: usize,
): void {
  for (let m = 0; m < M; m++) {
    if (!init) memory.fill(c, 0, 4 * N);
    else if (init != c) memory.copy(c, init, 4 * N);
    if (bTransposed) addDots(a, b, bStride, N, K, c);
    else addRow(a, b, bStride, K, c, 4 * N);
    a += aStride;
    c += cStride;
    init += initStride;
  }
}

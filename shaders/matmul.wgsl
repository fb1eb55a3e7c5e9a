// C[M,N] = op(A) · op(B) (+ bias[N]) (+ C), f32; op is the identity or the transpose, by the constants below.
// Rows are padded with zeros to whole vec4f; offsets and leading dimensions count elements, multiples of four.

struct Params {
  M: u32, N: u32, K: u32,
  lda: u32, ldb: u32, ldc: u32,
  aOffset: u32, bOffset: u32, cOffset: u32,
  useBias: u32, accumulate: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> c: array<vec4f>;

const TRANSPOSE_A: u32 = 0u;
const TRANSPOSE_B: u32 = 0u;

fn store(row: u32, column: u32, value: vec4f) {
  if (row >= params.M) {
    return;
  }
  let at = (params.cOffset + row * params.ldc) / 4u + column;
  var sum = value;
  if (params.useBias != 0u) {
    sum += bias[column];
  }
  if (params.accumulate != 0u) {
    sum += c[at];
  }
  // The padding stays zero.
  c[at] = select(vec4f(), sum, vec4u(0u, 1u, 2u, 3u) + 4u * column < vec4u(params.N));
}

// ---- Register tiles straight from storage, no barrier: 8 rows × 4 columns an invocation. The lanes of a
// workgroup take neighbouring columns and share their rows, so that one operand is the same for all of them.
const WORKGROUP: u32 = 8u;

// Where row `row` of A begins, in vec4f. Rows past the end read the last row again and store nothing.
fn aRow(row: u32) -> u32 {
  return (params.aOffset + min(row, params.M - 1u) * params.lda) / 4u;
}

// Four rows of A that is stored transposed, at k to k + 4, as the columns of the result.
fn aBlockTransposed(k: u32, at: u32) -> mat4x4f {
  let lda = params.lda / 4u;
  return transpose(mat4x4f(a[at + k * lda], a[at + (k + 1u) * lda], a[at + (k + 2u) * lda], a[at + (k + 3u) * lda]));
}

// Rows k to k + 4 of four columns of B, as the columns of the result. Past the end of K or N the last row is read
// again: there A's padding is zero, or nothing is stored.
fn bBlock(k: u32, column: u32) -> mat4x4f {
  let ldb = params.ldb / 4u;
  if (TRANSPOSE_B != 0u) {
    let last = params.N - 1u;
    let at = (params.bOffset + k) / 4u;
    let n = 4u * column;
    return transpose(mat4x4f(b[at + n * ldb], b[at + min(n + 1u, last) * ldb], b[at + min(n + 2u, last) * ldb], b[at + min(n + 3u, last) * ldb]));
  }
  let last = params.K - 1u;
  let at = params.bOffset / 4u + column;
  return mat4x4f(b[at + k * ldb], b[at + min(k + 1u, last) * ldb], b[at + min(k + 2u, last) * ldb], b[at + min(k + 3u, last) * ldb]);
}

// Row k of four columns of B.
fn bRow(k: u32, column: u32) -> vec4f {
  if (TRANSPOSE_B != 0u) {
    return vec4f(bAt(k, 4u * column), bAt(k, 4u * column + 1u), bAt(k, 4u * column + 2u), bAt(k, 4u * column + 3u));
  }
  return b[(params.bOffset + k * params.ldb) / 4u + column];
}

@compute @workgroup_size(WORKGROUP)
fn registerTile(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let column = workgroup.x * WORKGROUP + local;
  if (4u * column >= params.N) {
    return;
  }
  let row = workgroup.y * 8u;
  let a0 = aRow(row);
  let a1 = aRow(row + 1u);
  let a2 = aRow(row + 2u);
  let a3 = aRow(row + 3u);
  let a4 = aRow(row + 4u);
  let a5 = aRow(row + 5u);
  let a6 = aRow(row + 6u);
  let a7 = aRow(row + 7u);
  let low = (params.aOffset + row) / 4u;
  let high = params.aOffset / 4u + min(row / 4u + 1u, params.lda / 4u - 1u);
  var s0 = vec4f();
  var s1 = vec4f();
  var s2 = vec4f();
  var s3 = vec4f();
  var s4 = vec4f();
  var s5 = vec4f();
  var s6 = vec4f();
  var s7 = vec4f();
  // Stored transposed, A has no padding along K: the last rows go one by one.
  let blocks = select(params.K, params.K & ~3u, TRANSPOSE_A != 0u);
  for (var k = 0u; k < blocks; k += 4u) {
    let block = bBlock(k, column);
    if (TRANSPOSE_A != 0u) {
      let x = aBlockTransposed(k, low);
      let y = aBlockTransposed(k, high);
      s0 += block * x[0];
      s1 += block * x[1];
      s2 += block * x[2];
      s3 += block * x[3];
      s4 += block * y[0];
      s5 += block * y[1];
      s6 += block * y[2];
      s7 += block * y[3];
    } else {
      let at = k / 4u;
      s0 += block * a[a0 + at];
      s1 += block * a[a1 + at];
      s2 += block * a[a2 + at];
      s3 += block * a[a3 + at];
      s4 += block * a[a4 + at];
      s5 += block * a[a5 + at];
      s6 += block * a[a6 + at];
      s7 += block * a[a7 + at];
    }
  }
  for (var k = blocks; k < params.K; k++) {
    let value = bRow(k, column);
    let x = a[low + k * (params.lda / 4u)];
    let y = a[high + k * (params.lda / 4u)];
    s0 += x.x * value;
    s1 += x.y * value;
    s2 += x.z * value;
    s3 += x.w * value;
    s4 += y.x * value;
    s5 += y.y * value;
    s6 += y.z * value;
    s7 += y.w * value;
  }
  store(row, column, s0);
  store(row + 1u, column, s1);
  store(row + 2u, column, s2);
  store(row + 3u, column, s3);
  store(row + 4u, column, s4);
  store(row + 5u, column, s5);
  store(row + 6u, column, s6);
  store(row + 7u, column, s7);
}

// ---- Tiles in workgroup memory: 64 × 64 a workgroup, 4 × 4 an invocation, K in blocks of 16. Every value
// loaded from storage is used 64 times. Rows of the tiles are one longer than they need be, against bank conflicts.
const TILE: u32 = 64u;
const BLOCK: u32 = 16u;
var<workgroup> aTile: array<f32, 1040>; // [BLOCK][TILE + 1]
var<workgroup> bTile: array<f32, 1040>;

fn aAt(m: u32, k: u32) -> f32 {
  if (m >= params.M || k >= params.K) {
    return 0.0;
  }
  let at = params.aOffset + select(m * params.lda + k, k * params.lda + m, TRANSPOSE_A != 0u);
  return a[at / 4u][at % 4u];
}

fn bAt(k: u32, n: u32) -> f32 {
  if (n >= params.N || k >= params.K) {
    return 0.0;
  }
  let at = params.bOffset + select(k * params.ldb + n, n * params.ldb + k, TRANSPOSE_B != 0u);
  return b[at / 4u][at % 4u];
}

@compute @workgroup_size(16, 16)
fn tiled(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(local_invocation_index) index: u32) {
  let row = workgroup.y * TILE;
  let column = workgroup.x * TILE;
  var s0 = vec4f();
  var s1 = vec4f();
  var s2 = vec4f();
  var s3 = vec4f();
  for (var k0 = 0u; k0 < params.K; k0 += BLOCK) {
    for (var i = 0u; i < 4u; i++) {
      let item = i * 256u + index;
      // Neighbouring invocations load neighbouring addresses, whichever way the operand lies.
      let along = vec2u(item % BLOCK, item / BLOCK);
      let across = vec2u(item / TILE, item % TILE);
      let ka = select(along, across, TRANSPOSE_A != 0u);
      let kb = select(across, along, TRANSPOSE_B != 0u);
      aTile[ka.x * (TILE + 1u) + ka.y] = aAt(row + ka.y, k0 + ka.x);
      bTile[kb.x * (TILE + 1u) + kb.y] = bAt(k0 + kb.x, column + kb.y);
    }
    workgroupBarrier();
    for (var k = 0u; k < BLOCK; k++) {
      let x = k * (TILE + 1u) + 4u * local.y;
      let y = k * (TILE + 1u) + 4u * local.x;
      let value = vec4f(bTile[y], bTile[y + 1u], bTile[y + 2u], bTile[y + 3u]);
      s0 += aTile[x] * value;
      s1 += aTile[x + 1u] * value;
      s2 += aTile[x + 2u] * value;
      s3 += aTile[x + 3u] * value;
    }
    workgroupBarrier();
  }
  let column4 = column / 4u + local.x;
  if (4u * column4 < params.N) {
    store(row + 4u * local.y, column4, s0);
    store(row + 4u * local.y + 1u, column4, s1);
    store(row + 4u * local.y + 2u, column4, s2);
    store(row + 4u * local.y + 3u, column4, s3);
  }
}

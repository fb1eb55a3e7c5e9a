// C[M,N] = op(A) · op(B) (+ bias[N]) (+ C), f32; op is the identity (n) or the transpose (t), as in BLAS.
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

// ---- Register tiles straight from storage, no barrier: 8 rows × 4 columns an invocation. The lanes of a
// workgroup take neighbouring columns and share their rows, so that one operand is the same for all of them.
const WORKGROUP: u32 = 8u;

// The column (in vec4f) of this invocation; the caller returns if it lies past the end.
fn ownColumn(workgroup: vec3u, local: u32) -> u32 {
  return workgroup.x * WORKGROUP + local;
}

// Rows past the end read the last row again and store nothing.
fn aRow(row: u32) -> u32 {
  return (params.aOffset + min(row, params.M - 1u) * params.lda) / 4u;
}

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
  let n = vec4u(0u, 1u, 2u, 3u) + 4u * column;
  c[at] = select(vec4f(), sum, n < vec4u(params.N));
}

fn store8(row: u32, column: u32, s: array<vec4f, 8>) {
  store(row, column, s[0]);
  store(row + 1u, column, s[1]);
  store(row + 2u, column, s[2]);
  store(row + 3u, column, s[3]);
  store(row + 4u, column, s[4]);
  store(row + 5u, column, s[5]);
  store(row + 6u, column, s[6]);
  store(row + 7u, column, s[7]);
}

// Four rows of B from row k, one column; where K ends, A's padding is zero and any row of B will do.
fn bBlock(k: u32, column: u32) -> mat4x4f {
  let last = params.K - 1u;
  let at = params.bOffset / 4u + column;
  let ldb = params.ldb / 4u;
  return mat4x4f(b[at + k * ldb], b[at + min(k + 1u, last) * ldb], b[at + min(k + 2u, last) * ldb], b[at + min(k + 3u, last) * ldb]);
}

// Four columns of Bᵀ, that is four rows n of B, at k.
fn bBlockTransposed(k: u32, column: u32) -> mat4x4f {
  let last = params.N - 1u;
  let at = (params.bOffset + k) / 4u;
  let ldb = params.ldb / 4u;
  let n = 4u * column;
  return mat4x4f(b[at + n * ldb], b[at + min(n + 1u, last) * ldb], b[at + min(n + 2u, last) * ldb], b[at + min(n + 3u, last) * ldb]);
}

@compute @workgroup_size(WORKGROUP)
fn nn(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let column = ownColumn(workgroup, local);
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
  var s0 = vec4f();
  var s1 = vec4f();
  var s2 = vec4f();
  var s3 = vec4f();
  var s4 = vec4f();
  var s5 = vec4f();
  var s6 = vec4f();
  var s7 = vec4f();
  for (var k = 0u; k < params.K; k += 4u) {
    let block = bBlock(k, column);
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
  store8(row, column, array<vec4f, 8>(s0, s1, s2, s3, s4, s5, s6, s7));
}

@compute @workgroup_size(WORKGROUP)
fn nt(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let column = ownColumn(workgroup, local);
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
  var s0 = vec4f();
  var s1 = vec4f();
  var s2 = vec4f();
  var s3 = vec4f();
  var s4 = vec4f();
  var s5 = vec4f();
  var s6 = vec4f();
  var s7 = vec4f();
  for (var k = 0u; k < params.K; k += 4u) {
    let block = bBlockTransposed(k, column);
    let at = k / 4u;
    s0 += a[a0 + at] * block;
    s1 += a[a1 + at] * block;
    s2 += a[a2 + at] * block;
    s3 += a[a3 + at] * block;
    s4 += a[a4 + at] * block;
    s5 += a[a5 + at] * block;
    s6 += a[a6 + at] * block;
    s7 += a[a7 + at] * block;
  }
  store8(row, column, array<vec4f, 8>(s0, s1, s2, s3, s4, s5, s6, s7));
}

@compute @workgroup_size(WORKGROUP)
fn tn(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let column = ownColumn(workgroup, local);
  if (4u * column >= params.N) {
    return;
  }
  let row = workgroup.y * 8u;
  let lda = params.lda / 4u;
  let low = params.aOffset / 4u + row / 4u;
  let high = params.aOffset / 4u + min(row / 4u + 1u, lda - 1u);
  let bAt = params.bOffset / 4u + column;
  let ldb = params.ldb / 4u;
  var s0 = vec4f();
  var s1 = vec4f();
  var s2 = vec4f();
  var s3 = vec4f();
  var s4 = vec4f();
  var s5 = vec4f();
  var s6 = vec4f();
  var s7 = vec4f();
  for (var k = 0u; k < params.K; k++) {
    let x = a[low + k * lda];
    let y = a[high + k * lda];
    let value = b[bAt + k * ldb];
    s0 += x.x * value;
    s1 += x.y * value;
    s2 += x.z * value;
    s3 += x.w * value;
    s4 += y.x * value;
    s5 += y.y * value;
    s6 += y.z * value;
    s7 += y.w * value;
  }
  store8(row, column, array<vec4f, 8>(s0, s1, s2, s3, s4, s5, s6, s7));
}

@compute @workgroup_size(WORKGROUP)
fn tt(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let column = ownColumn(workgroup, local);
  if (4u * column >= params.N) {
    return;
  }
  let row = workgroup.y * 8u;
  let lda = params.lda / 4u;
  let last = params.K - 1u;
  let low = params.aOffset / 4u + row / 4u;
  let high = params.aOffset / 4u + min(row / 4u + 1u, lda - 1u);
  var s0 = mat4x4f();
  var s1 = mat4x4f();
  for (var k = 0u; k < params.K; k += 4u) {
    let k0 = k * lda;
    let k1 = min(k + 1u, last) * lda;
    let k2 = min(k + 2u, last) * lda;
    let k3 = min(k + 3u, last) * lda;
    let block = transpose(bBlockTransposed(k, column));
    s0 += block * transpose(mat4x4f(a[low + k0], a[low + k1], a[low + k2], a[low + k3]));
    s1 += block * transpose(mat4x4f(a[high + k0], a[high + k1], a[high + k2], a[high + k3]));
  }
  store8(row, column, array<vec4f, 8>(s0[0], s0[1], s0[2], s0[3], s1[0], s1[1], s1[2], s1[3]));
}

// ---- Tiles in workgroup memory: 64 × 64 a workgroup, 4 × 4 an invocation, K in blocks of 16. Every value
// loaded from storage is used 64 times. Rows of the tiles are one longer than they need be, against bank conflicts.
const TRANSPOSE_A: u32 = 0u;
const TRANSPOSE_B: u32 = 0u;
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

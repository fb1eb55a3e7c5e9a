// C[M,N] = op(A) · op(B) (+ bias[N]) (+ C), f32; op is the identity or the transpose, by the constants below.
// Rows are padded with zeros to whole vec4f; offsets and leading dimensions count elements, multiples of four.
// With slices, workgroup.z takes kSlice of the K products each and leaves a C of its own, one after another.

struct Params {
  M: u32, N: u32, K: u32,
  lda: u32, ldb: u32, ldc: u32,
  aOffset: u32, bOffset: u32, cOffset: u32,
  kSlice: u32,     // a multiple of four; K, if there are no slices
  useBias: u32,    // bias is added; if A is transposed: rowSums is written
  accumulate: u32, // C is added
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> rowSums: array<vec4f>; // [M]: Σ_k op(A)[m, k]
@group(0) @binding(4) var<storage, read_write> c: array<vec4f>;

const TRANSPOSE_A: u32 = 0u;
const TRANSPOSE_B: u32 = 0u;

// One vec4f of a row of a slice's C, if it is there.
fn store(slice: u32, row: u32, column: u32, value: vec4f) {
  if (row >= params.M || 4u * column >= params.N) {
    return;
  }
  let at = (params.cOffset + (slice * params.M + row) * params.ldc) / 4u + column;
  var sum = value;
  if (params.accumulate != 0u) {
    sum += c[at];
  }
  // The padding stays zero.
  c[at] = select(vec4f(), sum, vec4u(0u, 1u, 2u, 3u) + 4u * column < vec4u(params.N));
}

fn biasAt(column: u32) -> vec4f {
  if (params.useBias == 0u || 4u * column >= params.N) {
    return vec4f();
  }
  return bias[column];
}

// Four sums over the stored rows of A, which is transposed: rows 4·row to 4·row + 4 of C.
fn storeRowSums(row: u32) {
  if (params.useBias == 0u || 4u * row >= params.M) {
    return;
  }
  var sum = vec4f();
  for (var k = 0u; k < params.K; k++) {
    sum += a[(params.aOffset + k * params.lda) / 4u + row];
  }
  rowSums[row] = select(vec4f(), sum, vec4u(0u, 1u, 2u, 3u) + 4u * row < vec4u(params.M));
}

// ---- Register tiles straight from storage, no barrier: ROWS rows × COLUMNS vec4f an invocation. The lanes of a
// workgroup take neighbouring columns and share their rows, so that one operand is the same for all of them. The sums
// are in registers.wgsl, or in registers-subgroup.wgsl.
const WORKGROUP: u32 = 8u;
const ROWS: u32 = 8u;
const COLUMNS: u32 = 1u;
alias Tile = array<vec4f, 16>; // [COLUMNS][8 or 16 rows]

// Where row `row` of A begins, in vec4f. Rows past the end read the last row again and store nothing.
fn aRow(row: u32) -> u32 {
  return (params.aOffset + min(row, params.M - 1u) * params.lda) / 4u;
}

// Rows k to k + 4 of four columns of B, as the columns of the result. Past the end of K or N the last row is read
// again: there A's padding is zero, or nothing is stored.
fn bBlock(k: u32, column: u32) -> mat4x4f {
  let ldb = params.ldb / 4u;
  if (TRANSPOSE_B != 0u) {
    let last = params.N - 1u;
    let at = (params.bOffset + k) / 4u;
    let n = 4u * column;
    return transpose(mat4x4f(b[at + min(n, last) * ldb], b[at + min(n + 1u, last) * ldb], b[at + min(n + 2u, last) * ldb], b[at + min(n + 3u, last) * ldb]));
  }
  let last = params.K - 1u;
  let at = params.bOffset / 4u + column;
  return mat4x4f(b[at + k * ldb], b[at + min(k + 1u, last) * ldb], b[at + min(k + 2u, last) * ldb], b[at + min(k + 3u, last) * ldb]);
}

@compute @workgroup_size(WORKGROUP)
fn registerTile(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let column = workgroup.x * WORKGROUP * COLUMNS + local;
  let row = workgroup.y * ROWS;
  let sums = registerSums(workgroup.z, row, column);
  for (var part = 0u; part < COLUMNS; part++) {
    let at = column + part * WORKGROUP;
    let added = biasAt(at);
    for (var i = 0u; i < ROWS; i++) {
      store(workgroup.z, row + i, at, sums[8u * part + i] + added);
    }
  }
}

// A transposed: the sums of its stored rows come along.
@compute @workgroup_size(WORKGROUP)
fn registerTileSums(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let row = workgroup.y * ROWS;
  if (workgroup.x == 0u && workgroup.z == 0u && local < (ROWS + 3u) / 4u) {
    storeRowSums(row / 4u + local);
  }
  let column = workgroup.x * WORKGROUP * COLUMNS + local;
  let sums = registerSums(workgroup.z, row, column);
  for (var part = 0u; part < COLUMNS; part++) {
    for (var i = 0u; i < ROWS; i++) {
      store(workgroup.z, row + i, column + part * WORKGROUP, sums[8u * part + i]);
    }
  }
}

// ---- Tiles in workgroup memory: TILE_M × TILE_N a workgroup, LANE_ROWS × 4 an invocation, K in blocks of BLOCK.
// Rows of the tiles are one longer than they need be, against bank conflicts. With two buffers the next block is
// loaded while others still compute, and one barrier a block is enough.
const TILE_M: u32 = 64u;
const TILE_N: u32 = 64u;
const LANE_ROWS: u32 = 4u; // 4 or 8
const BLOCK: u32 = 16u;
const BUFFERS: u32 = 1u;
const LANES: u32 = (TILE_N / 4u) * (TILE_M / LANE_ROWS);
var<workgroup> aTile: array<f32, BUFFERS * BLOCK * (TILE_M + 1u)>; // [BUFFERS][BLOCK][TILE_M + 1]
var<workgroup> bTile: array<f32, BUFFERS * BLOCK * (TILE_N + 1u)>;

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

// Loads block k0 of both operands; neighbouring invocations load neighbouring addresses, whichever way they lie.
fn loadTiles(buffer: u32, k0: u32, end: u32, row: u32, column: u32, index: u32) {
  for (var item = index; item < TILE_M * BLOCK; item += LANES) {
    let k = select(item % BLOCK, item / TILE_M, TRANSPOSE_A != 0u);
    let m = select(item / BLOCK, item % TILE_M, TRANSPOSE_A != 0u);
    aTile[(buffer * BLOCK + k) * (TILE_M + 1u) + m] = select(0.0, aAt(row + m, k0 + k), k0 + k < end);
  }
  for (var item = index; item < TILE_N * BLOCK; item += LANES) {
    let k = select(item / TILE_N, item % BLOCK, TRANSPOSE_B != 0u);
    let n = select(item % TILE_N, item / BLOCK, TRANSPOSE_B != 0u);
    bTile[(buffer * BLOCK + k) * (TILE_N + 1u) + n] = bAt(k0 + k, column + n);
  }
}

alias LaneRows = array<vec4f, 8>;
fn tiledSums(workgroup: vec3u, index: u32) -> LaneRows {
  let row = workgroup.y * TILE_M;
  let column = workgroup.x * TILE_N;
  let laneRow = LANE_ROWS * (index / (TILE_N / 4u));
  let laneColumn = 4u * (index % (TILE_N / 4u));
  let begin = workgroup.z * params.kSlice;
  let end = min(begin + params.kSlice, params.K);
  var s0 = vec4f();
  var s1 = vec4f();
  var s2 = vec4f();
  var s3 = vec4f();
  var s4 = vec4f();
  var s5 = vec4f();
  var s6 = vec4f();
  var s7 = vec4f();
  for (var k0 = begin; k0 < end; k0 += BLOCK) {
    let buffer = (k0 - begin) / BLOCK % BUFFERS;
    if (BUFFERS == 1u) {
      workgroupBarrier();
    }
    loadTiles(buffer, k0, end, row, column, index);
    workgroupBarrier();
    for (var k = 0u; k < BLOCK; k++) {
      let x = (buffer * BLOCK + k) * (TILE_M + 1u) + laneRow;
      let y = (buffer * BLOCK + k) * (TILE_N + 1u) + laneColumn;
      let value = vec4f(bTile[y], bTile[y + 1u], bTile[y + 2u], bTile[y + 3u]);
      s0 += aTile[x] * value;
      s1 += aTile[x + 1u] * value;
      s2 += aTile[x + 2u] * value;
      s3 += aTile[x + 3u] * value;
      if (LANE_ROWS > 4u) {
        s4 += aTile[x + 4u] * value;
        s5 += aTile[x + 5u] * value;
        s6 += aTile[x + 6u] * value;
        s7 += aTile[x + 7u] * value;
      }
    }
  }
  return LaneRows(s0, s1, s2, s3, s4, s5, s6, s7);
}

@compute @workgroup_size(LANES)
fn tiled(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) index: u32) {
  let sums = tiledSums(workgroup, index);
  let row = workgroup.y * TILE_M + LANE_ROWS * (index / (TILE_N / 4u));
  let column = workgroup.x * TILE_N / 4u + index % (TILE_N / 4u);
  let added = biasAt(column);
  for (var i = 0u; i < LANE_ROWS; i++) {
    store(workgroup.z, row + i, column, sums[i] + added);
  }
}

@compute @workgroup_size(LANES)
fn tiledWithSums(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) index: u32) {
  let sums = tiledSums(workgroup, index);
  let row = workgroup.y * TILE_M + LANE_ROWS * (index / (TILE_N / 4u));
  let column = workgroup.x * TILE_N / 4u + index % (TILE_N / 4u);
  for (var i = 0u; i < LANE_ROWS; i++) {
    store(workgroup.z, row + i, column, sums[i]);
  }
  if (workgroup.x == 0u && workgroup.z == 0u && index < TILE_M / 4u) {
    storeRowSums(workgroup.y * TILE_M / 4u + index);
  }
}

// Rung 1: one invocation an element of dW, scalar loads down two columns that are K rows long.
struct Params {
  M: u32, N: u32, K: u32, lda: u32, ldb: u32, ldc: u32, aOffset: u32, bOffset: u32, cOffset: u32,
  kSlice: u32, useBias: u32, accumulate: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>; // [K, M]
@group(0) @binding(2) var<storage, read> b: array<f32>; // [K, N]
@group(0) @binding(3) var<storage, read_write> rowSums: array<f32>; // [M]
@group(0) @binding(4) var<storage, read_write> c: array<f32>;

@compute @workgroup_size(8, 8)
fn naiveGradient(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.N || id.y >= params.M) {
    return;
  }
  var sum = 0.0;
  for (var k = id.z * params.kSlice; k < min((id.z + 1u) * params.kSlice, params.K); k++) {
    sum += a[params.aOffset + k * params.lda + id.y] * b[params.bOffset + k * params.ldb + id.x];
  }
  let at = params.cOffset + (id.z * params.M + id.y) * params.ldc + id.x;
  if (params.accumulate != 0u) {
    sum += c[at];
  }
  c[at] = sum;
  if (params.useBias != 0u && id.x == 0u && id.z == 0u) {
    var total = 0.0;
    for (var k = 0u; k < params.K; k++) {
      total += a[params.aOffset + k * params.lda + id.y];
    }
    rowSums[id.y] = total;
  }
}

// Rung 1: one invocation an element of C, scalar loads straight from storage.
struct Params {
  M: u32, N: u32, K: u32, lda: u32, ldb: u32, ldc: u32, aOffset: u32, bOffset: u32, cOffset: u32,
  kSlice: u32, useBias: u32, accumulate: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;

@compute @workgroup_size(8, 8)
fn naive(@builtin(global_invocation_id) id: vec3u) {
  if (id.x >= params.N || id.y >= params.M) {
    return;
  }
  var sum = 0.0;
  if (params.useBias != 0u) {
    sum = bias[id.x];
  }
  for (var k = id.z * params.kSlice; k < min((id.z + 1u) * params.kSlice, params.K); k++) {
    sum += a[params.aOffset + id.y * params.lda + k] * b[params.bOffset + k * params.ldb + id.x];
  }
  let at = params.cOffset + (id.z * params.M + id.y) * params.ldc + id.x;
  if (params.accumulate != 0u) {
    sum += c[at];
  }
  c[at] = sum;
}

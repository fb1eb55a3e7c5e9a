// Rung 2: the textbook tile of 16 × 16 in workgroup memory, an element an invocation.
struct Params {
  M: u32, N: u32, K: u32, lda: u32, ldb: u32, ldc: u32, aOffset: u32, bOffset: u32, cOffset: u32,
  kSlice: u32, useBias: u32, accumulate: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> c: array<f32>;

var<workgroup> aTile: array<f32, 256>;
var<workgroup> bTile: array<f32, 256>;

@compute @workgroup_size(16, 16)
fn textbookTile(@builtin(global_invocation_id) id: vec3u, @builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let begin = workgroup.z * params.kSlice;
  let end = min(begin + params.kSlice, params.K);
  let at = local.y * 16u + local.x;
  var sum = 0.0;
  for (var k0 = begin; k0 < end; k0 += 16u) {
    aTile[at] = select(0.0, a[params.aOffset + min(id.y, params.M - 1u) * params.lda + min(k0 + local.x, end - 1u)], k0 + local.x < end);
    bTile[at] = b[params.bOffset + min(k0 + local.y, end - 1u) * params.ldb + min(id.x, params.N - 1u)];
    workgroupBarrier();
    for (var k = 0u; k < 16u; k++) {
      sum += aTile[local.y * 16u + k] * bTile[k * 16u + local.x];
    }
    workgroupBarrier();
  }
  if (id.x >= params.N || id.y >= params.M) {
    return;
  }
  if (params.useBias != 0u) {
    sum += bias[id.x];
  }
  let to = params.cOffset + (id.z * params.M + id.y) * params.ldc + id.x;
  if (params.accumulate != 0u) {
    sum += c[to];
  }
  c[to] = sum;
}

// Rung 3: four columns an invocation, all loads of four: a quarter of the loads, and no barrier.
struct Params {
  M: u32, N: u32, K: u32, lda: u32, ldb: u32, ldc: u32, aOffset: u32, bOffset: u32, cOffset: u32,
  kSlice: u32, useBias: u32, accumulate: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read> bias: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> c: array<vec4f>;

@compute @workgroup_size(8)
fn vectors(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let column = workgroup.x * 8u + local;
  let row = workgroup.y;
  if (4u * column >= params.N) {
    return;
  }
  let last = params.K - 1u;
  let ldb = params.ldb / 4u;
  var sum = vec4f();
  if (params.useBias != 0u) {
    sum = bias[column];
  }
  for (var k = workgroup.z * params.kSlice; k < min((workgroup.z + 1u) * params.kSlice, params.K); k += 4u) {
    let x = a[(params.aOffset + row * params.lda + k) / 4u];
    let at = params.bOffset / 4u + column;
    sum += x.x * b[at + k * ldb] + x.y * b[at + min(k + 1u, last) * ldb] + x.z * b[at + min(k + 2u, last) * ldb] + x.w * b[at + min(k + 3u, last) * ldb];
  }
  let to = (params.cOffset + (workgroup.z * params.M + row) * params.ldc) / 4u + column;
  if (params.accumulate != 0u) {
    sum += c[to];
  }
  c[to] = select(vec4f(), sum, vec4u(0u, 1u, 2u, 3u) + 4u * column < vec4u(params.N));
}

// What an adapter can do at the most: multiply-adds, copies, barriers. Each does nothing but the one thing.

struct Params {
  count: u32, // fma, barrier: rounds; copy: vec4s
}
@group(0) @binding(0) var<uniform> params: Params;
alias Number4 = vec4f;
@group(0) @binding(1) var<storage, read> x: array<Number4>;
@group(0) @binding(2) var<storage, read_write> y: array<Number4>;

// Eight chains of multiply-adds that do not wait for one another, `count` rounds of each.
@compute @workgroup_size(64)
fn fma_(@builtin(global_invocation_id) id: vec3u) {
  let a = x[0];
  let b = x[1];
  var s0 = x[id.x % 64u];
  var s1 = s0 + 1.0;
  var s2 = s0 + 2.0;
  var s3 = s0 + 3.0;
  var s4 = s0 + 4.0;
  var s5 = s0 + 5.0;
  var s6 = s0 + 6.0;
  var s7 = s0 + 7.0;
  for (var i = 0u; i < params.count; i++) {
    s0 = fma(s0, a, b);
    s1 = fma(s1, a, b);
    s2 = fma(s2, a, b);
    s3 = fma(s3, a, b);
    s4 = fma(s4, a, b);
    s5 = fma(s5, a, b);
    s6 = fma(s6, a, b);
    s7 = fma(s7, a, b);
  }
  y[id.x] = ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7));
}

@compute @workgroup_size(64)
fn copy(@builtin(workgroup_id) workgroup: vec3u, @builtin(num_workgroups) count: vec3u, @builtin(local_invocation_index) local: u32) {
  let at = linearWorkgroup(workgroup, count) * 64u + local;
  if (at < params.count) {
    y[at] = x[at];
  }
}

// Each round hands a number on to the neighbour, so that the barrier is needed.
var<workgroup> ring: array<Number4, 128>;

@compute @workgroup_size(64)
fn barrier(@builtin(local_invocation_index) local: u32) {
  ring[local] = x[local];
  workgroupBarrier();
  for (var i = 0u; i < params.count; i++) {
    ring[(i + 1u) % 2u * 64u + local] = ring[i % 2u * 64u + (local + 1u) % 64u];
    workgroupBarrier();
  }
  y[local] = ring[params.count % 2u * 64u + local];
}

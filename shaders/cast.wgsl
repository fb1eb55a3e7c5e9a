// A tensor in another number format.

struct Params {
  count: u32, // of vec4s
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
alias Cast4 = vec4f;
@group(0) @binding(2) var<storage, read_write> y: array<Cast4>;

@compute @workgroup_size(64)
fn forward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let at = linearWorkgroup(workgroup, count) * 64u + local;
  if (at < params.count) {
    y[at] = Cast4(x[at]);
  }
}

// Adds rows of one matrix to rows of another: y[index[n]] += x[n]. The indices must differ, or be NOWHERE.

struct Params {
  N: u32, // rows of x
  W: u32, // stored length of a row
  indexOffset: u32, // where in `index` the N indices begin
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>; // [N, W]
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>; // [R, W]

const WORKGROUP: u32 = 64u;
const NOWHERE: u32 = 0xffffffffu;

@compute @workgroup_size(WORKGROUP)
fn forward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let width = params.W / 4u;
  let at = linearWorkgroup(workgroup, count) * WORKGROUP + local;
  if (at >= params.N * width) {
    return;
  }
  let row = index[params.indexOffset + at / width];
  if (row != NOWHERE) {
    y[row * width + at % width] += x[at];
  }
}

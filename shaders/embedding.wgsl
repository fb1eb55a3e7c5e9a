// Rows of a table by token, and the sum of gradients by token.

struct Params { N: u32, V: u32, W: u32 }
@group(0) @binding(0) var<uniform> params: Params;

// ---- forward
struct ForwardParams {
  N: u32, V: u32, W: u32,
  first: u32, // the first row, of tokens and of y
}
@group(0) @binding(0) var<uniform> forwardParams: ForwardParams;
@group(0) @binding(1) var<storage, read> tokens: array<u32>; // [N]
@group(0) @binding(2) var<storage, read> weight: array<vec4f>; // [V, W]
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>; // [N, W]

@compute @workgroup_size(64)
fn forward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let width = forwardParams.W / 4u;
  let item = linearWorkgroup(workgroup, count) * 64u + local;
  if (item < forwardParams.N * width) {
    let at = forwardParams.first * width + item;
    y[at] = weight[tokens[at / width] * width + at % width];
  }
}

// ---- backward
@group(0) @binding(1) var<storage, read> dY: array<vec4f>; // [N, W]
@group(0) @binding(2) var<storage, read> order: array<u32>; // [N]: positions sorted by token
@group(0) @binding(3) var<storage, read> starts: array<u32>; // [V + 1]: where each token's positions start in order
@group(0) @binding(4) var<storage, read_write> dWeight: array<vec4f>; // [V, W]

@compute @workgroup_size(64)
fn backward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let width = params.W / 4u;
  let at = linearWorkgroup(workgroup, count) * 64u + local;
  if (at >= params.V * width) {
    return;
  }
  let token = at / width;
  let end = starts[token + 1u];
  var sum = vec4f();
  for (var i = starts[token]; i < end; i++) {
    sum += dY[order[i] * width + at % width];
  }
  dWeight[at] = sum;
}

// SPLIT invocations share the rows of a token, which in text are many for a few tokens; COLUMNS vec4s a workgroup.
const SPLIT: u32 = 8u;
const COLUMNS: u32 = 8u;
var<workgroup> parts: array<vec4f, 64>;

@compute @workgroup_size(64)
fn backwardSplit(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let width = params.W / 4u;
  let blocks = (width + COLUMNS - 1u) / COLUMNS;
  let block = linearWorkgroup(workgroup, count);
  let token = block / blocks;
  let column = block % blocks * COLUMNS + local % COLUMNS;
  var sum = vec4f();
  if (token < params.V && column < width) {
    let end = starts[token + 1u];
    for (var i = starts[token] + local / COLUMNS; i < end; i += SPLIT) {
      sum += dY[order[i] * width + column];
    }
  }
  parts[local] = sum;
  for (var half = SPLIT / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (local < half * COLUMNS) {
      parts[local] += parts[local + half * COLUMNS];
    }
  }
  if (local < COLUMNS && token < params.V && column < width) {
    dWeight[token * width + column] = parts[local];
  }
}

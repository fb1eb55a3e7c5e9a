// Rows by their root mean square (Zhang & Sennrich 2019): y = x ⊙ weight / √(mean of x² + ε).

struct Params {
  N: u32, D: u32, // rows, and their length
  xFirst: u32, yFirst: u32, // the first row in x, and in y
  copy: u32, // forward: whether out gets x; backward: whether dX gets dOut too
}
@group(0) @binding(0) var<uniform> params: Params;

const EPSILON: f32 = 1e-5;
const LANES: u32 = 64u;

fn width() -> u32 {
  return (params.D + 3u) / 4u;
}

fn total(x: vec4f) -> f32 {
  return (x.x + x.y) + (x.z + x.w);
}

// `value` of vec4 i of a row, zero in the padding, which a scale that is not finite must not fill.
fn ofRow(value: vec4f, i: u32, D: u32) -> vec4f {
  return select(vec4f(), value, vec4u(0u, 1u, 2u, 3u) + 4u * i < vec4u(D));
}

// ---- forward
@group(0) @binding(1) var<storage, read> x: array<vec4f>; // [R, D]
@group(0) @binding(2) var<storage, read> weight: array<vec4f>; // [D]
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>; // [R, D]
@group(0) @binding(4) var<storage, read_write> scales: array<f32>; // [R], of the rows of y: 1 / √(mean of x² + ε)
@group(0) @binding(5) var<storage, read_write> out: array<vec4f>; // [R, D]: x, where the block adds to it

fn finishForward(xAt: u32, yAt: u32, i: u32, scale: f32) {
  let value = x[xAt + i];
  y[yAt + i] = ofRow(value * scale * weight[i], i, params.D);
  if (params.copy != 0u) {
    out[yAt + i] = value;
  }
}

@compute @workgroup_size(LANES)
fn forward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let n = linearWorkgroup(workgroup, count) * LANES + lane;
  if (n >= params.N) {
    return;
  }
  let w = width();
  let xAt = (params.xFirst + n) * w;
  let yAt = (params.yFirst + n) * w;
  var squares = vec4f();
  for (var i = 0u; i < w; i++) {
    squares += x[xAt + i] * x[xAt + i];
  }
  let scale = 1.0 / sqrt(total(squares) / f32(params.D) + EPSILON);
  scales[params.yFirst + n] = scale;
  for (var i = 0u; i < w; i++) {
    finishForward(xAt, yAt, i, scale);
  }
}

var<workgroup> parts: array<f32, LANES>;

fn workgroupTotal(lane: u32, value: f32) -> f32 {
  parts[lane] = value;
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      parts[lane] += parts[lane + half];
    }
  }
  workgroupBarrier();
  return parts[0];
}

// A workgroup a row.
@compute @workgroup_size(LANES)
fn forwardTree(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let n = linearWorkgroup(workgroup, count);
  let w = width();
  let own = n < params.N;
  let xAt = (params.xFirst + n) * w;
  let yAt = (params.yFirst + n) * w;
  var squares = vec4f();
  for (var i = lane; own && i < w; i += LANES) {
    squares += x[xAt + i] * x[xAt + i];
  }
  let scale = 1.0 / sqrt(workgroupTotal(lane, total(squares)) / f32(params.D) + EPSILON);
  if (own && lane == 0u) {
    scales[params.yFirst + n] = scale;
  }
  for (var i = lane; own && i < w; i += LANES) {
    finishForward(xAt, yAt, i, scale);
  }
}

// ---- backward
// x at binding 1, weight at 2
@group(0) @binding(3) var<storage, read> savedScales: array<f32>; // [R]
@group(0) @binding(4) var<storage, read> dY: array<vec4f>; // [R, D], rows as y
@group(0) @binding(5) var<storage, read> dOut: array<vec4f>; // [R, D], rows as x
@group(0) @binding(6) var<storage, read_write> dX: array<vec4f>; // [R, D], rows as x

fn finishBackward(xAt: u32, yAt: u32, i: u32, scale: f32, along: f32) {
  var d = scale * (weight[i] * dY[yAt + i] - x[xAt + i] * along);
  if (params.copy != 0u) {
    d += dOut[xAt + i];
  }
  dX[xAt + i] = ofRow(d, i, params.D);
}

@compute @workgroup_size(LANES)
fn backward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let n = linearWorkgroup(workgroup, count) * LANES + lane;
  if (n >= params.N) {
    return;
  }
  let w = width();
  let xAt = (params.xFirst + n) * w;
  let yAt = (params.yFirst + n) * w;
  var sum = vec4f();
  for (var i = 0u; i < w; i++) {
    sum += weight[i] * dY[yAt + i] * x[xAt + i];
  }
  let scale = savedScales[params.yFirst + n];
  let along = total(sum) * scale * scale / f32(params.D);
  for (var i = 0u; i < w; i++) {
    finishBackward(xAt, yAt, i, scale, along);
  }
}

@compute @workgroup_size(LANES)
fn backwardTree(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) lane: u32,
) {
  let n = linearWorkgroup(workgroup, count);
  let w = width();
  let own = n < params.N;
  let xAt = (params.xFirst + n) * w;
  let yAt = (params.yFirst + n) * w;
  var sum = vec4f();
  for (var i = lane; own && i < w; i += LANES) {
    sum += weight[i] * dY[yAt + i] * x[xAt + i];
  }
  let all = workgroupTotal(lane, total(sum));
  for (var i = lane; own && i < w; i += LANES) {
    let scale = savedScales[params.yFirst + n];
    finishBackward(xAt, yAt, i, scale, all * scale * scale / f32(params.D));
  }
}

// ---- weights: the gradient of the weight, a workgroup for four columns
// x at binding 1
@group(0) @binding(2) var<storage, read> rowScales: array<f32>; // [N]
@group(0) @binding(3) var<storage, read> dRows: array<vec4f>; // [N, D]
@group(0) @binding(4) var<storage, read_write> dWeight: array<vec4f>; // [D]

var<workgroup> columnParts: array<vec4f, LANES>;

@compute @workgroup_size(LANES)
fn weights(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
  let w = width();
  let column = workgroup.x;
  var sum = vec4f();
  for (var n = lane; n < params.N; n += LANES) {
    sum += dRows[n * w + column] * x[(params.xFirst + n) * w + column] * rowScales[n];
  }
  columnParts[lane] = sum;
  for (var half = LANES / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (lane < half) {
      columnParts[lane] += columnParts[lane + half];
    }
  }
  if (lane == 0u) {
    dWeight[column] = ofRow(columnParts[0], column, params.D);
  }
}

// Sums in a fixed order: the same device gives the same bits, whatever runs beside it.

// ---- columns: out[W] = Σ over the rows of values[N, W]
struct ColumnsParams {
  N: u32, W: u32,
  accumulate: u32,
  inOffset: u32, // in elements
}
@group(0) @binding(0) var<uniform> columnsParams: ColumnsParams;
@group(0) @binding(1) var<storage, read> values: array<vec4f>; // [N, W] from the offset
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>; // [W]

const COLUMNS: u32 = 8u;

fn storeColumn(column: u32, sum: vec4f) {
  if (columnsParams.accumulate != 0u) {
    out[column] += sum;
  } else {
    out[column] = sum;
  }
}

// The rows from `first` on, every `step`-th.
fn columnSum(column: u32, first: u32, step: u32) -> vec4f {
  let width = columnsParams.W / 4u;
  let start = columnsParams.inOffset / 4u + column;
  var sum = vec4f();
  for (var n = first; n < columnsParams.N; n += step) {
    sum += values[start + n * width];
  }
  return sum;
}

@compute @workgroup_size(COLUMNS)
fn columns(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < columnsParams.W / 4u) {
    storeColumn(id.x, columnSum(id.x, 0u, 1u));
  }
}

const SPLIT: u32 = 16u;
var<workgroup> columnParts: array<vec4f, 256>;

@compute @workgroup_size(16, 16)
fn columnsSplit(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_id) local: vec3u) {
  let column = workgroup.x * 16u + local.x;
  let part = local.y * 16u + local.x;
  let own = column < columnsParams.W / 4u;
  if (own) {
    columnParts[part] = columnSum(column, local.y, SPLIT);
  }
  for (var half = SPLIT / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (local.y < half) {
      columnParts[part] += columnParts[part + half * 16u];
    }
  }
  if (own && local.y == 0u) {
    storeColumn(column, columnParts[part]);
  }
}

// ---- Sums over one workgroup of `lanes` invocations
var<workgroup> parts: array<vec2f, 256>;

fn workgroupSum(local: u32, lanes: u32, value: vec2f) -> vec2f {
  parts[local] = value;
  for (var half = lanes / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (local < half) {
      parts[local] += parts[local + half];
    }
  }
  return parts[0]; // of use to invocation 0 alone
}

// ---- sum: the losses and hits of all rows into metrics
struct SumParams {
  N: u32,
  accumulate: u32,
  scale: f32, // of the loss
}
@group(0) @binding(0) var<uniform> sumParams: SumParams;
@group(0) @binding(1) var<storage, read> rows: array<vec2f>; // [N, 2]: loss, 1 if the guess was right
@group(0) @binding(2) var<storage, read_write> metrics: array<f32>; // [8]: loss, correct, norm, factor, skipped

@compute @workgroup_size(64)
fn sum(@builtin(local_invocation_index) local: u32) {
  var own = vec2f();
  for (var n = local; n < sumParams.N; n += 64u) {
    own += rows[n];
  }
  var total = workgroupSum(local, 64u, own) * vec2f(sumParams.scale, 1.0);
  if (local == 0u) {
    if (sumParams.accumulate != 0u) {
      total += vec2f(metrics[0], metrics[1]);
    }
    metrics[0] = total.x;
    metrics[1] = total.y;
  }
}

// ---- squares: 1024 partial sums of the squares of all values
struct SquaresParams {
  count: u32, // of vec4s
}
@group(0) @binding(0) var<uniform> squaresParams: SquaresParams;
// values at binding 1
@group(0) @binding(2) var<storage, read_write> partials: array<f32>; // [1024]

const PARTIALS: u32 = 1024u;
const LANES: u32 = 64u;
const BLOCK: u32 = 64u;

// Partial i takes the blocks i, i + 1024, … of 64 vec4s: all of them, or one vec4 of each.
@compute @workgroup_size(LANES)
fn squares(@builtin(global_invocation_id) id: vec3u) {
  var sum = vec4f();
  for (var start = id.x * BLOCK; start < squaresParams.count; start += PARTIALS * BLOCK) {
    for (var i = start; i < min(start + BLOCK, squaresParams.count); i++) {
      sum += values[i] * values[i];
    }
  }
  partials[id.x] = (sum.x + sum.y) + (sum.z + sum.w);
}

@compute @workgroup_size(64)
fn squaresTree(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  var sum = vec4f();
  for (var i = workgroup.x * BLOCK + local; i < squaresParams.count; i += PARTIALS * BLOCK) {
    sum += values[i] * values[i];
  }
  let total = workgroupSum(local, 64u, sum.xy + sum.zw);
  if (local == 0u) {
    partials[workgroup.x] = total.x + total.y;
  }
}

// ---- norm: of a training step the mean loss, the hits, the gradient's norm and the factor that clips it
struct NormParams {
  count: u32,   // vec4s of values
  squares: u32, // values are the gradients, to be squared; else sums of squares
  clip: f32,
  N: u32,
  scale: f32,   // of the loss
}
@group(0) @binding(0) var<uniform> normParams: NormParams;
// values at binding 1
@group(0) @binding(2) var<storage, read> losses: array<vec2f>; // [N, 2], as rows above
@group(0) @binding(3) var<storage, read_write> step: array<f32>; // metrics

@compute @workgroup_size(256)
fn norm(@builtin(local_invocation_index) local: u32) {
  var sum = vec4f();
  for (var i = local; i < normParams.count; i += 256u) {
    sum += select(values[i], values[i] * values[i], normParams.squares != 0u);
  }
  let both = workgroupSum(local, 256u, sum.xy + sum.zw);
  let total = both.x + both.y;
  workgroupBarrier();
  var own = vec2f();
  for (var n = local; n < normParams.N; n += 256u) {
    own += losses[n];
  }
  let loss = workgroupSum(local, 256u, own);
  if (local != 0u) {
    return;
  }
  let size = sqrt(total);
  step[0] = loss.x * normParams.scale;
  step[1] = loss.y;
  step[2] = size;
  step[3] = 1.0;
  if (normParams.clip > 0.0) {
    step[3] = min(1.0, normParams.clip / (size + 1e-6));
  }
  if (!isFinite(total)) {
    step[3] = 0.0;
    step[4] += 1.0;
  }
}

// Cross-entropy of the softmax of rows of logits, whether the guess was right, and the gradient in place.

struct Params {
  N: u32, V: u32,
  scale: f32, // of the gradient
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> logits: array<vec4f>; // [N, V]; with GRADIENT, dLogits afterwards
@group(0) @binding(2) var<storage, read> targets: array<u32>; // [N]
@group(0) @binding(3) var<storage, read_write> rows: array<vec2f>; // [N, 2]: loss in nats, 1 if the guess was right

const GRADIENT: u32 = 0u;
const ROWS: u32 = 16u;
const IGNORED: u32 = 0xffffffffu;
const LOWEST: f32 = -3.4e38;

// vec4s of a row.
fn width() -> u32 {
  return (params.V + 3u) / 4u;
}

// Whether each of the four logits exists; the others are padding.
fn exists(column: u32) -> vec4<bool> {
  return vec4u(0u, 1u, 2u, 3u) + 4u * column < vec4u(params.V);
}

// NaN, which WGSL lets nobody write as a constant.
fn notANumber() -> f32 {
  return bitcast<f32>(0x7fc00000u + min(params.V, 1u));
}

// exp(logit − max): no argument is above zero, so that none overflows. On SwiftShader exp(NaN) is a number: a logit
// that is none must not get lost there.
fn exponentials(x: vec4f, column: u32, largest: f32) -> vec4f {
  let infinite = vec4u(0x7f800000u);
  let e = select(exp(x - largest), vec4f(notANumber()), (bitcast<vec4u>(x) & infinite) == infinite);
  return select(vec4f(), e, exists(column));
}

// The largest logit so far and its index, the lowest of equals.
struct Best {
  value: f32,
  index: u32,
}

fn better(best: Best, x: vec4f, column: u32) -> Best {
  var next = best;
  let candidates = select(vec4f(LOWEST), x, exists(column));
  let largest = max(max(candidates.x, candidates.y), max(candidates.z, candidates.w));
  if (largest > best.value) {
    let equal = candidates == vec4f(largest);
    next = Best(largest, 4u * column + select(select(select(3u, 2u, equal.z), 1u, equal.y), 0u, equal.x));
  }
  return next;
}

fn targetLogit(row: u32, targetIndex: u32) -> f32 {
  return logits[row * width() + targetIndex / 4u][targetIndex % 4u];
}

fn storeRow(row: u32, targetIndex: u32, best: Best, sum: f32, logit: f32) {
  if (!isFinite(sum)) {
    rows[row] = vec2f(sum, 0.0);
    return;
  }
  rows[row] = vec2f(log(sum) + (best.value - logit), select(0.0, 1.0, best.index == targetIndex));
}

fn gradient(exponentials: vec4f, column: u32, targetIndex: u32, sum: f32) -> vec4f {
  let hot = vec4u(0u, 1u, 2u, 3u) + 4u * column == vec4u(targetIndex);
  let value = (exponentials / sum - select(vec4f(), vec4f(1.0), hot)) * params.scale;
  return select(vec4f(), value, exists(column));
}

fn ignoreRow(row: u32, first: u32, step: u32) {
  if (first == 0u) {
    rows[row] = vec2f();
  }
  if (GRADIENT != 0u) {
    for (var column = first; column < width(); column += step) {
      logits[row * width() + column] = vec4f();
    }
  }
}

// ---- One row an invocation. The exponentials are kept in the place of the logits: exp is what costs here.
@compute @workgroup_size(ROWS)
fn rowEach(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = linearWorkgroup(workgroup, count) * ROWS + local;
  if (row >= params.N) {
    return;
  }
  let targetIndex = targets[row];
  if (targetIndex == IGNORED) {
    ignoreRow(row, 0u, 1u);
    return;
  }
  let start = row * width();
  let logit = targetLogit(row, targetIndex);
  var best = Best(LOWEST, 0u);
  for (var column = 0u; column < width(); column++) {
    best = better(best, logits[start + column], column);
  }
  var sums = vec4f();
  for (var column = 0u; column < width(); column++) {
    let e = exponentials(logits[start + column], column, best.value);
    sums += e;
    if (GRADIENT != 0u) {
      logits[start + column] = e;
    }
  }
  let sum = (sums.x + sums.y) + (sums.z + sums.w);
  storeRow(row, targetIndex, best, sum, logit);
  if (GRADIENT != 0u) {
    for (var column = 0u; column < width(); column++) {
      logits[start + column] = gradient(logits[start + column], column, targetIndex, sum);
    }
  }
}

// ---- One row a workgroup of 64. Sums relative to the largest logit so far, so that the row is read only twice.
var<workgroup> bests: array<Best, 64>;
var<workgroup> sums: array<f32, 64>;

// What a sum relative to `old` is to be multiplied with, if it is to be relative to `larger`.
fn rescale(old: f32, larger: f32) -> f32 {
  return exp(max(old - larger, -100.0));
}

fn join(i: u32, j: u32) {
  let a = bests[i];
  let b = bests[j];
  let takeB = b.value > a.value || (b.value == a.value && b.index < a.index);
  let largest = select(a.value, b.value, takeB);
  sums[i] = sums[i] * rescale(a.value, largest) + sums[j] * rescale(b.value, largest);
  bests[i] = Best(largest, select(a.index, b.index, takeB));
}

@compute @workgroup_size(64)
fn rowShared(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let row = linearWorkgroup(workgroup, count);
  if (row >= params.N) {
    return;
  }
  let targetIndex = targets[row];
  if (targetIndex == IGNORED) {
    ignoreRow(row, local, 64u);
    return;
  }
  let start = row * width();
  let logit = targetLogit(row, targetIndex);
  var best = Best(LOWEST, 0u);
  var own = vec4f();
  for (var column = local; column < width(); column += 64u) {
    let x = logits[start + column];
    let next = better(best, x, column);
    own = own * rescale(best.value, next.value) + exponentials(x, column, next.value);
    best = next;
  }
  bests[local] = best;
  sums[local] = (own.x + own.y) + (own.z + own.w);
  for (var half = 32u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (local < half) {
      join(local, local + half);
    }
  }
  workgroupBarrier();
  // Every lane has read the logits before one is replaced.
  storageBarrier();
  let sum = sums[0];
  if (local == 0u) {
    storeRow(row, targetIndex, bests[0], sum, logit);
  }
  if (GRADIENT != 0u) {
    for (var column = local; column < width(); column += 64u) {
      let e = exponentials(logits[start + column], column, bests[0].value);
      logits[start + column] = gradient(e, column, targetIndex, sum);
    }
  }
}

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
  return indices(column) < vec4u(params.V);
}

// NaN, which WGSL lets nobody write as a constant.
fn notANumber() -> f32 {
  return bitcast<f32>(0x7fc00000u + min(params.V, 1u));
}

// exp(logit − max): no argument is above zero, so that none overflows.
fn exponentials(x: vec4f, column: u32, largest: f32) -> vec4f {
  return select(vec4f(), keepNaN(expNegative(x - largest), x), exists(column));
}

// The largest logit so far and its index, the lowest of equals; NOTHING, where none is a number above LOWEST.
struct Best {
  value: f32,
  index: u32,
}
const NOTHING: u32 = 0xffffffffu;

fn indices(column: u32) -> vec4u {
  return vec4u(0u, 1u, 2u, 3u) + 4u * column;
}

// Without the best one, whose exponential is 1: next to it the others' digits would get lost, and with them the loss
// of a guess that is nearly sure.
fn others(exponentials: vec4f, column: u32, best: Best) -> vec4f {
  return select(exponentials, vec4f(), indices(column) == vec4u(best.index));
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

// The sum of all exponentials from that of the others: NaN, if a logit is NaN or infinite, or if there is no best one.
fn sumOfAll(rest: f32, best: Best) -> f32 {
  return select(notANumber(), 1.0 + rest, isFinite(rest) && isFinite(best.value) && best.index != NOTHING);
}

fn storeRow(row: u32, targetIndex: u32, best: Best, rest: f32, logit: f32) {
  if (!isFinite(sumOfAll(rest, best))) {
    rows[row] = vec2f(notANumber(), 0.0);
    return;
  }
  let loss = log1p(rest) + (best.value - logit);
  rows[row] = vec2f(loss, select(0.0, 1.0, best.index == targetIndex));
}

// softmax − onehot; of a target that is the best, the 1 is not there to be taken off again.
fn gradient(exponentials: vec4f, column: u32, targetIndex: u32, best: Best, rest: f32) -> vec4f {
  let sum = sumOfAll(rest, best);
  let p = exponentials / sum;
  let ofTarget = select(p - 1.0, vec4f(-rest / sum), best.index == targetIndex);
  let value = select(p, ofTarget, indices(column) == vec4u(targetIndex)) * params.scale;
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
  var best = Best(LOWEST, NOTHING);
  for (var column = 0u; column < width(); column++) {
    best = better(best, logits[start + column], column);
  }
  var sums = vec4f();
  for (var column = 0u; column < width(); column++) {
    let e = exponentials(logits[start + column], column, best.value);
    sums += others(e, column, best);
    if (GRADIENT != 0u) {
      logits[start + column] = e;
    }
  }
  let rest = (sums.x + sums.y) + (sums.z + sums.w);
  storeRow(row, targetIndex, best, rest, logit);
  if (GRADIENT != 0u) {
    for (var column = 0u; column < width(); column++) {
      logits[start + column] = gradient(logits[start + column], column, targetIndex, best, rest);
    }
  }
}

// ---- One row a workgroup of 64. Sums of the others relative to the largest logit so far, so that the row is read only
// twice.
var<workgroup> bests: array<Best, 64>;
var<workgroup> rests: array<f32, 64>;

// The sum of the others once `old`, with `rest`, is no longer the best but `next`.
fn outdone(old: Best, rest: f32, next: Best) -> f32 {
  if (old.index == next.index) {
    return rest;
  }
  let all = rest + select(1.0, 0.0, old.index == NOTHING);
  return all * expNegative(vec4f(old.value - next.value)).x;
}

fn join(i: u32, j: u32) {
  let a = bests[i];
  let b = bests[j];
  let takeB = b.value > a.value || (b.value == a.value && b.index < a.index);
  let best = Best(select(a.value, b.value, takeB), select(a.index, b.index, takeB));
  rests[i] = outdone(a, rests[i], best) + outdone(b, rests[j], best);
  bests[i] = best;
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
  var best = Best(LOWEST, NOTHING);
  var own = 0.0;
  for (var column = local; column < width(); column += 64u) {
    let x = logits[start + column];
    let next = better(best, x, column);
    let e = others(exponentials(x, column, next.value), column, next);
    own = outdone(best, own, next) + ((e.x + e.y) + (e.z + e.w));
    best = next;
  }
  bests[local] = best;
  rests[local] = own;
  for (var half = 32u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (local < half) {
      join(local, local + half);
    }
  }
  workgroupBarrier();
  // Every lane has read the logits before one is replaced.
  storageBarrier();
  if (local == 0u) {
    storeRow(row, targetIndex, bests[0], rests[0], logit);
  }
  if (GRADIENT != 0u) {
    for (var column = local; column < width(); column += 64u) {
      let e = exponentials(logits[start + column], column, bests[0].value);
      logits[start + column] = gradient(e, column, targetIndex, bests[0], rests[0]);
    }
  }
}

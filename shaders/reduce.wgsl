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

// ---- Sums of squares that neither overflow nor vanish: sum · unit², where unit is the power of two below the largest
// number. Exact, so that the bits are those of a plain sum where that one holds.
struct Squares {
  sum: vec4f,
  unit: f32,
}

// 1 / unit of a power of two between 2⁻¹²⁶ and 2¹²⁶.
fn inverse(unit: f32) -> f32 {
  return bitcast<f32>((254u << 23u) - bitcast<u32>(unit));
}

// Magnitudes order as their bits do, NaN above all: nothing that is not finite gets lost here.
fn squaresOf(x: vec4f) -> Squares {
  let bits = bitcast<vec4u>(x) & vec4u(0x7fffffffu);
  let largest = max(max(bits.x, bits.y), max(bits.z, bits.w));
  let unit = bitcast<f32>(clamp(largest >> 23u, 1u, 253u) << 23u);
  let scaled = x * inverse(unit);
  return Squares(scaled * scaled, unit);
}

fn joined(a: Squares, b: Squares) -> Squares {
  let unit = bitcast<f32>(max(bitcast<u32>(a.unit), bitcast<u32>(b.unit)));
  let ratioA = a.unit * inverse(unit);
  let ratioB = b.unit * inverse(unit);
  return Squares(a.sum * (ratioA * ratioA) + b.sum * (ratioB * ratioB), unit);
}

fn noSquares() -> Squares {
  return squaresOf(vec4f());
}

var<workgroup> squareParts: array<Squares, 256>;

fn workgroupSquares(local: u32, lanes: u32, value: Squares) -> Squares {
  squareParts[local] = value;
  for (var half = lanes / 2u; half > 0u; half /= 2u) {
    workgroupBarrier();
    if (local < half) {
      squareParts[local] = joined(squareParts[local], squareParts[local + half]);
    }
  }
  return squareParts[0]; // of use to invocation 0 alone
}

// ---- squares: 1024 partial sums of the squares of all values
struct SquaresParams {
  count: u32, // of vec4s
}
@group(0) @binding(0) var<uniform> squaresParams: SquaresParams;
// values at binding 1
@group(0) @binding(2) var<storage, read_write> partials: array<vec2f>; // [1024, 2]: sum and unit

const PARTIALS: u32 = 1024u;
const LANES: u32 = 64u;
const BLOCK: u32 = 64u;

fn storePartial(i: u32, total: Squares) {
  partials[i] = vec2f((total.sum.x + total.sum.y) + (total.sum.z + total.sum.w), total.unit);
}

// Partial i takes the blocks i, i + 1024, … of 64 vec4s: all of them, or one vec4 of each.
@compute @workgroup_size(LANES)
fn squares(@builtin(global_invocation_id) id: vec3u) {
  var own = noSquares();
  for (var start = id.x * BLOCK; start < squaresParams.count; start += PARTIALS * BLOCK) {
    for (var i = start; i < min(start + BLOCK, squaresParams.count); i++) {
      own = joined(own, squaresOf(values[i]));
    }
  }
  storePartial(id.x, own);
}

@compute @workgroup_size(64)
fn squaresTree(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  var own = noSquares();
  for (var i = workgroup.x * BLOCK + local; i < squaresParams.count; i += PARTIALS * BLOCK) {
    own = joined(own, squaresOf(values[i]));
  }
  let total = workgroupSquares(local, 64u, own);
  if (local == 0u) {
    storePartial(workgroup.x, total);
  }
}

// ---- norm: of a training step the mean loss, the hits, the gradient's norm and the factor that clips it
struct NormParams {
  count: u32,   // vec4s of values
  squares: u32, // values are the gradients, to be squared; else partials
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
  var squares = noSquares();
  for (var i = local; i < normParams.count; i += 256u) {
    let x = values[i];
    if (normParams.squares != 0u) {
      squares = joined(squares, squaresOf(x));
    } else {
      let both = joined(Squares(vec4f(x.x, 0.0, 0.0, 0.0), x.y), Squares(vec4f(0.0, x.z, 0.0, 0.0), x.w));
      squares = joined(squares, both);
    }
  }
  let total = workgroupSquares(local, 256u, squares);
  let size = sqrt((total.sum.x + total.sum.y) + (total.sum.z + total.sum.w)) * total.unit;
  var own = vec2f();
  for (var n = local; n < normParams.N; n += 256u) {
    own += losses[n];
  }
  let loss = workgroupSum(local, 256u, own);
  if (local != 0u) {
    return;
  }
  step[0] = loss.x * normParams.scale;
  step[1] = loss.y;
  step[2] = size;
  step[3] = 1.0;
  if (normParams.clip > 0.0) {
    step[3] = min(1.0, normParams.clip / (size + 1e-6));
  }
  if (!isFinite(size)) {
    step[3] = 0.0;
    step[4] += 1.0;
  }
}

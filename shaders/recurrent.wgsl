// What the fused steps of the recurrent cells share: their params, and how their tensors lie. The products with the
// recurrent weights are in sums.wgsl, or in sums-subgroup.wgsl.
// An invocation takes four units (one vec4f) of ROWS batch rows; the lanes of a workgroup take neighbouring units
// and share their rows, so that h is the same for all of them. No barrier.
// A cell's file declares GATES and the tensors h, packed, weight and dGates.

struct Params {
  B: u32, H: u32,
  t: u32,      // the first step of the dispatch
  count: u32,  // steps of the dispatch: t, t + 1, … forward; t, t − 1, … backward
  gather: u32, // forward: xProjection is gathered by `rows`; else cell (t, b) has row t·B + b
  last: u32,   // backward: t is the last step, after which no gradient comes back through W_hh
  relu: u32,
}
@group(0) @binding(0) var<uniform> params: Params;

const ROWS: u32 = 8u;
const WORKGROUP: u32 = 8u;
// The number formats of the recurrent weights and of the activations saved for backward.
alias Weight4 = vec4f;
alias Saved4 = vec4f;

// Units, and with them the stored rows of every tensor, in vec4f.
fn units() -> u32 {
  return (params.H + 3u) / 4u;
}

// `x`, zero in the padding: there a sum is NaN where a zero weight met what is not finite, and a sigmoid is not zero.
fn ofUnits(x: vec4f, unit: u32) -> vec4f {
  return select(vec4f(), x, vec4u(0u, 1u, 2u, 3u) + 4u * unit < vec4u(params.H));
}
fn unitSigmoid(x: vec4f, unit: u32) -> vec4f {
  return ofUnits(sigmoid(x), unit);
}
fn unitTanh(x: vec4f, unit: u32) -> vec4f {
  return ofUnits(safeTanh(x), unit);
}

// The first element of a row [G, H] of a tensor [T, B, G, H]. Rows past the batch's end read the last row again.
fn rowOf(step: u32, b: u32, count: u32) -> u32 {
  return (step * params.B + min(b, params.B - 1u)) * count * units();
}

// The row of xProjection that cell (t, b) reads.
fn projectionRow(cell: u32) -> u32 {
  if (params.gather != 0u) {
    return rows[cell];
  }
  return cell;
}

// Room for the recurrent weights in workgroup memory, where a form keeps them there: for all of them, or 1 for none.
const CACHE: u32 = 1u;
var<workgroup> cache: array<vec4f, CACHE>;

fn cachedBlock(at: u32, stride: u32) -> mat4x4f {
  return mat4x4f(cache[at], cache[at + stride], cache[at + 2u * stride], cache[at + 3u * stride]);
}

// Four rows of the packed weights and of W_hh, for four units, as the columns of a matrix.
fn packedBlock(at: u32, stride: u32) -> mat4x4f {
  if (CACHE > 1u) {
    return cachedBlock(at, stride);
  }
  return mat4x4f(vec4f(packed[at]), vec4f(packed[at + stride]), vec4f(packed[at + 2u * stride]), vec4f(packed[at + 3u * stride]));
}
fn weightBlock(at: u32, stride: u32) -> mat4x4f {
  if (CACHE > 1u) {
    return cachedBlock(at, stride);
  }
  return mat4x4f(vec4f(weight[at]), vec4f(weight[at + stride]), vec4f(weight[at + 2u * stride]), vec4f(weight[at + 3u * stride]));
}

// b_hh for one gate of four units.
fn gateBias(gate: u32, unit: u32) -> vec4f {
  let n = units();
  return vec4f(packed[(4u * n * GATES + gate) * n + unit]);
}

// What the fused steps of the recurrent cells share: their params and the products with the recurrent weights.
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
alias Rows = array<vec4f, 8>;
// The number formats of the recurrent weights and of the activations saved for backward.
alias Weight4 = vec4f;
alias Saved4 = vec4f;

// Units, and with them the stored rows of every tensor, in vec4f.
fn units() -> u32 {
  return (params.H + 3u) / 4u;
}

// The sigmoid of a gate, zero in the padding, where the sigmoid of zero is not.
fn unitSigmoid(x: vec4f, unit: u32) -> vec4f {
  return select(vec4f(), sigmoid(x), vec4u(0u, 1u, 2u, 3u) + 4u * unit < vec4u(params.H));
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

// Four rows of the packed weights and of W_hh, for four units, as the columns of a matrix.
fn packedBlock(at: u32, stride: u32) -> mat4x4f {
  return mat4x4f(vec4f(packed[at]), vec4f(packed[at + stride]), vec4f(packed[at + 2u * stride]), vec4f(packed[at + 3u * stride]));
}
fn weightBlock(at: u32, stride: u32) -> mat4x4f {
  return mat4x4f(vec4f(weight[at]), vec4f(weight[at + stride]), vec4f(weight[at + 2u * stride]), vec4f(weight[at + 3u * stride]));
}

// h[t]·W_hhᵀ for one gate of four units, batch rows b to b + ROWS, over every `every`th four units of h from `lane`.
fn gateSum(t: u32, gate: u32, b: u32, unit: u32, lane: u32, every: u32) -> Rows {
  let n = units();
  let stride = GATES * n;
  let h0 = rowOf(t, b, 1u);
  let h1 = rowOf(t, b + 1u, 1u);
  let h2 = rowOf(t, b + 2u, 1u);
  let h3 = rowOf(t, b + 3u, 1u);
  let h4 = rowOf(t, b + 4u, 1u);
  let h5 = rowOf(t, b + 5u, 1u);
  let h6 = rowOf(t, b + 6u, 1u);
  let h7 = rowOf(t, b + 7u, 1u);
  var s0 = vec4f();
  var s1 = vec4f();
  var s2 = vec4f();
  var s3 = vec4f();
  var s4 = vec4f();
  var s5 = vec4f();
  var s6 = vec4f();
  var s7 = vec4f();
  for (var k = lane; k < n; k += every) {
    let at = 4u * k * stride + gate * n + unit;
    let block = packedBlock(at, stride);
    s0 += block * h[h0 + k];
    if (ROWS > 1u) {
      s1 += block * h[h1 + k];
    }
    if (ROWS > 2u) {
      s2 += block * h[h2 + k];
      s3 += block * h[h3 + k];
    }
    if (ROWS > 4u) {
      s4 += block * h[h4 + k];
      s5 += block * h[h5 + k];
      s6 += block * h[h6 + k];
      s7 += block * h[h7 + k];
    }
  }
  return Rows(s0, s1, s2, s3, s4, s5, s6, s7);
}

// b_hh for one gate of four units.
fn gateBias(gate: u32, unit: u32) -> vec4f {
  let n = units();
  return vec4f(packed[(4u * n * GATES + gate) * n + unit]);
}

// dGates[step]·W_hh for four units, over `count` gates from `first`, batch rows b to b + ROWS; of four rows of W_hh
// every `every`th from `lane`.
fn gradientSum(step: u32, first: u32, count: u32, b: u32, unit: u32, lane: u32, every: u32) -> Rows {
  let n = units();
  let d0 = rowOf(step, b, GATES);
  let d1 = rowOf(step, b + 1u, GATES);
  let d2 = rowOf(step, b + 2u, GATES);
  let d3 = rowOf(step, b + 3u, GATES);
  let d4 = rowOf(step, b + 4u, GATES);
  let d5 = rowOf(step, b + 5u, GATES);
  let d6 = rowOf(step, b + 6u, GATES);
  let d7 = rowOf(step, b + 7u, GATES);
  var s0 = vec4f();
  var s1 = vec4f();
  var s2 = vec4f();
  var s3 = vec4f();
  var s4 = vec4f();
  var s5 = vec4f();
  var s6 = vec4f();
  var s7 = vec4f();
  for (var j = first * n + lane; j < (first + count) * n; j += every) {
    let at = 4u * j * n + unit;
    let block = weightBlock(at, n);
    s0 += block * dGates[d0 + j];
    if (ROWS > 1u) {
      s1 += block * dGates[d1 + j];
    }
    if (ROWS > 2u) {
      s2 += block * dGates[d2 + j];
      s3 += block * dGates[d3 + j];
    }
    if (ROWS > 4u) {
      s4 += block * dGates[d4 + j];
      s5 += block * dGates[d5 + j];
      s6 += block * dGates[d6 + j];
      s7 += block * dGates[d7 + j];
    }
  }
  return Rows(s0, s1, s2, s3, s4, s5, s6, s7);
}

// The products with the recurrent weights, of up to 8 rows: every invocation loads what it needs. A unit past the last
// one gets the sums of the last.

alias Rows = array<vec4f, 8>;

// h[t]·W_hhᵀ for one gate of four units, batch rows b to b + ROWS, over every `every`th four units of h from `lane`.
fn gateSum(t: u32, gate: u32, b: u32, unit: u32, lane: u32, every: u32) -> Rows {
  let n = units();
  let stride = GATES * n;
  let column = min(unit, n - 1u);
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
    let at = 4u * k * stride + gate * n + column;
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

// dGates[step]·W_hh for four units, over `count` gates from `first`, batch rows b to b + ROWS; of four rows of W_hh
// every `every`th from `lane`.
fn gradientSum(step: u32, first: u32, count: u32, b: u32, unit: u32, lane: u32, every: u32) -> Rows {
  let n = units();
  let column = min(unit, n - 1u);
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
    let at = 4u * j * n + column;
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

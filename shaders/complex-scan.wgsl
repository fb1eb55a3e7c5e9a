// A diagonal complex scan, the same at all times: h' = a h + b x, y = 2 Re Σ C h + D x, and back.
// An invocation takes one channel of one row through time for four pairs at a time, a vec4f of real parts and one of
// imaginary parts. Pairs past the last are zero: what keeps them so is that their coefficients are.

struct Params {
  B: u32, H: u32,
  P: u32,      // pairs of a channel
  t: u32,      // the first step of the dispatch
  count: u32,  // its steps: t, t + 1, … forward; t, t − 1, … backward
  ragged: u32, // whether rows end where `lengths` says
  ends: u32,   // backward: of the final states, not of the outputs
  xOffset: u32, xStride: u32,   // elements of x in front of its first row, and from row to row
  dxOffset: u32, dxStride: u32, // the same of dx
}
@group(0) @binding(0) var<uniform> params: Params;

const WORKGROUP: u32 = 8u;

// vec4s of pairs, of a channel.
fn fours() -> u32 {
  return (params.P + 3u) / 4u;
}
// The stored length of a row of channels.
fn width() -> u32 {
  return (params.H + 3u) / 4u * 4u;
}

// How many of the first `most` steps row b has.
fn stepsOf(b: u32, most: u32) -> u32 {
  if (params.ragged == 0u) {
    return most;
  }
  return min(most, lengths[b]);
}

@group(0) @binding(1) var<storage, read> coefficient: array<vec4f>; // [H, 12, P], as s4d.coefficients makes it
@group(0) @binding(2) var<storage, read> lengths: array<u32>; // [B]
@group(0) @binding(3) var<storage, read> x: array<f32>; // [T, B, H]

// Four pairs of states lie in two vec4f: (Re, Im, Re, Im).
fn realParts(a: vec4f, b: vec4f) -> vec4f {
  return vec4f(a.xz, b.xz);
}
fn imaginaryParts(a: vec4f, b: vec4f) -> vec4f {
  return vec4f(a.yw, b.yw);
}
// `v`, zero past the last pair, where a zero coefficient may have met what is not finite.
fn ofPairs(v: vec4f, four: u32) -> vec4f {
  return select(vec4f(), v, vec4u(0u, 1u, 2u, 3u) + 4u * four < vec4u(params.P));
}

// ---- forward
@group(0) @binding(4) var<storage, read_write> h: array<vec4f>; // [B, H, P, 2]: before step t, then after the last
@group(0) @binding(5) var<storage, read_write> y: array<f32>; // [T, B, H]

@compute @workgroup_size(WORKGROUP)
fn forward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let item = linearWorkgroup(workgroup, count) * WORKGROUP + local;
  if (item >= params.B * params.H) {
    return;
  }
  let row = item / params.H;
  let channel = item % params.H;
  let end = params.t + params.count;
  let last = stepsOf(row, end);
  let n = fours();
  let skip = coefficient[(channel * 12u + 11u) * n].x;
  for (var four = 0u; four < n; four++) {
    let source = channel * 12u * n + four;
    let aRe = coefficient[source];
    let aIm = coefficient[source + n];
    let bRe = coefficient[source + 2u * n];
    let bIm = coefficient[source + 3u * n];
    let cRe = 2.0 * coefficient[source + 4u * n];
    let cIm = 2.0 * coefficient[source + 5u * n];
    let at = 2u * (item * n + four);
    var re = realParts(h[at], h[at + 1u]);
    var im = imaginaryParts(h[at], h[at + 1u]);
    for (var t = params.t; t < last; t++) {
      let cell = t * params.B + row;
      let input = x[params.xOffset + cell * params.xStride + channel];
      let to = cell * width() + channel;
      var sum = skip * input;
      if (four > 0u) {
        sum = y[to];
      }
      let before = re;
      re = aRe * re - aIm * im + bRe * input;
      im = aRe * im + aIm * before + bIm * input;
      y[to] = sum + dot(cRe, re) - dot(cIm, im);
    }
    re = ofPairs(re, four);
    im = ofPairs(im, four);
    h[at] = vec4f(re.x, im.x, re.y, im.y);
    h[at + 1u] = vec4f(re.z, im.z, re.w, im.w);
  }
  for (var t = max(last, params.t); t < end; t++) {
    y[(t * params.B + row) * width() + channel] = 0.0;
  }
}

// ---- backward
// With λ the gradient of a state from what comes after it, all for C = ½, since C comes in at the end: q = λ + ∂y at a
// step, then λ = ā q and λ' = q + ā λ', its derivative by ā. x q and x λ' add up to what gradients of b and a are made of.
@group(0) @binding(4) var<storage, read> dOutput: array<f32>; // [T, B, H]
// [B, H, P, 2]: λ and λ' after step t, then before the last.
@group(0) @binding(5) var<storage, read_write> lambda: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> dLambda: array<vec4f>;
// [B, H, 9, P]: Σ x q and Σ x λ', their real parts and imaginary ones; four of s4d.first; Σ ∂y x
@group(0) @binding(7) var<storage, read_write> sums: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> dx: array<f32>; // [T, B, H]

@compute @workgroup_size(WORKGROUP)
fn backward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let item = linearWorkgroup(workgroup, count) * WORKGROUP + local;
  if (item >= params.B * params.H) {
    return;
  }
  let row = item / params.H;
  let channel = item % params.H;
  let begin = params.t + 1u - params.count;
  let last = stepsOf(row, params.t + 1u);
  let n = fours();
  let skip = coefficient[(channel * 12u + 11u) * n].x;
  let skipAt = (9u * item + 8u) * n;
  var dSkip = sums[skipAt];
  for (var four = 0u; four < n; four++) {
    let source = channel * 12u * n + four;
    let aRe = coefficient[source];
    let aIm = coefficient[source + n];
    // ∂x = Re (conj w · q)
    var wRe = coefficient[source + 2u * n];
    var wIm = coefficient[source + 3u * n];
    if (params.ends == 0u) {
      let cRe = 2.0 * coefficient[source + 4u * n];
      let cIm = 2.0 * coefficient[source + 5u * n];
      let bRe = wRe;
      wRe = bRe * cRe - wIm * cIm;
      wIm = bRe * cIm + wIm * cRe;
    }
    let at = 2u * (item * n + four);
    var re = realParts(lambda[at], lambda[at + 1u]);
    var im = imaginaryParts(lambda[at], lambda[at + 1u]);
    var dRe = realParts(dLambda[at], dLambda[at + 1u]);
    var dIm = imaginaryParts(dLambda[at], dLambda[at + 1u]);
    let sumsAt = 9u * item * n + four;
    var ofBRe = sums[sumsAt];
    var ofBIm = sums[sumsAt + n];
    var ofARe = sums[sumsAt + 2u * n];
    var ofAIm = sums[sumsAt + 3u * n];
    for (var t = last; t > begin; t--) {
      let cell = (t - 1u) * params.B + row;
      let input = x[params.xOffset + cell * params.xStride + channel];
      let to = params.dxOffset + cell * params.dxStride + channel;
      var dy = 0.0;
      if (params.ends == 0u) {
        dy = dOutput[cell * width() + channel];
      }
      var sum = skip * dy;
      if (four > 0u || params.ends != 0u) {
        sum = dx[to];
      } else {
        dSkip.x += dy * input;
      }
      let qRe = re + dy;
      dx[to] = sum + dot(wRe, qRe) + dot(wIm, im);
      ofBRe += input * qRe;
      ofBIm += input * im;
      ofARe += input * dRe;
      ofAIm += input * dIm;
      let before = dRe;
      dRe = aRe * dRe + aIm * dIm + qRe;
      dIm = aRe * dIm - aIm * before + im;
      re = aRe * qRe + aIm * im;
      im = aRe * im - aIm * qRe;
    }
    re = ofPairs(re, four);
    im = ofPairs(im, four);
    dRe = ofPairs(dRe, four);
    dIm = ofPairs(dIm, four);
    lambda[at] = vec4f(re.x, im.x, re.y, im.y);
    lambda[at + 1u] = vec4f(re.z, im.z, re.w, im.w);
    dLambda[at] = vec4f(dRe.x, dIm.x, dRe.y, dIm.y);
    dLambda[at + 1u] = vec4f(dRe.z, dIm.z, dRe.w, dIm.w);
    sums[sumsAt] = ofPairs(ofBRe, four);
    sums[sumsAt + n] = ofPairs(ofBIm, four);
    sums[sumsAt + 2u * n] = ofPairs(ofARe, four);
    sums[sumsAt + 3u * n] = ofPairs(ofAIm, four);
  }
  sums[skipAt] = dSkip;
  if (params.ends == 0u) {
    for (var t = max(last, begin); t <= params.t; t++) {
      dx[params.dxOffset + (t * params.B + row) * params.dxStride + channel] = 0.0;
    }
  }
}

// conj(a) · b
fn conjMultiply(a: vec2f, b: vec2f) -> vec2f {
  return vec2f(a.x * b.x + a.y * b.y, a.x * b.y - a.y * b.x);
}

// ---- first
@group(0) @binding(1) var<storage, read> h0: array<vec2f>; // [B, H, P]
@group(0) @binding(2) var<storage, read> firstLambda: array<vec2f>; // [B, H, P]: λ and λ' of the initial state
@group(0) @binding(3) var<storage, read> firstDLambda: array<vec2f>;
@group(0) @binding(4) var<storage, read_write> rowSums: array<f32>; // [B, H, 9, P]: from the fifth on h̄₀ λ and h̄₀ λ'

@compute @workgroup_size(64)
fn first(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let id = linearWorkgroup(workgroup, count) * 64u + local;
  if (id >= params.B * params.H * params.P) {
    return;
  }
  let item = id / params.P;
  let pair = id % params.P;
  let stride = 4u * fours();
  let at = item * stride + pair;
  let a = conjMultiply(h0[at], firstLambda[at]);
  let b = conjMultiply(h0[at], firstDLambda[at]);
  let to = (9u * item + 4u) * stride + pair;
  rowSums[to] = a.x;
  rowSums[to + stride] = a.y;
  rowSums[to + 2u * stride] = b.x;
  rowSums[to + 3u * stride] = b.y;
}

// ---- initial
@group(0) @binding(1) var<storage, read> coefficients: array<f32>; // [H, 12, P]
@group(0) @binding(2) var<storage, read> fromOutput: array<vec2f>; // λ [B, H, P] of the initial state
@group(0) @binding(3) var<storage, read> fromEnds: array<vec2f>;
@group(0) @binding(4) var<storage, read_write> dInitial: array<vec2f>; // [B, H, P]

@compute @workgroup_size(64)
fn initial(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let id = linearWorkgroup(workgroup, count) * 64u + local;
  if (id >= params.B * params.H * params.P) {
    return;
  }
  let item = id / params.P;
  let pair = id % params.P;
  let stride = 4u * fours();
  let at = item * stride + pair;
  let source = (12u * (item % params.H) + 4u) * stride + pair;
  let twiceC = 2.0 * vec2f(coefficients[source], coefficients[source + stride]);
  dInitial[at] = conjMultiply(twiceC, fromOutput[at]) + fromEnds[at];
}

// From the parameters of S4D to the coefficients of a complex scan, and from its sums to their gradients.

struct Params {
  B: u32, H: u32,
  P: u32, // pairs of a channel
}
@group(0) @binding(0) var<uniform> params: Params;

const WORKGROUP: u32 = 8u;

// The stored length of a row of pairs.
fn pairs() -> u32 {
  return (params.P + 3u) / 4u * 4u;
}

fn multiply(a: vec2f, b: vec2f) -> vec2f {
  return vec2f(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}
// conj(a) · b
fn conjMultiply(a: vec2f, b: vec2f) -> vec2f {
  return vec2f(a.x * b.x + a.y * b.y, a.x * b.y - a.y * b.x);
}

// ---- coefficients
@group(0) @binding(1) var<storage, read> log_dt: array<f32>; // [H]
@group(0) @binding(2) var<storage, read> log_A_real: array<f32>; // [H, P]
@group(0) @binding(3) var<storage, read> A_imag: array<f32>; // [H, P]
@group(0) @binding(4) var<storage, read> C: array<vec2f>; // [H, P]
@group(0) @binding(5) var<storage, read> D: array<f32>; // [H]
// [H, 12, P]: real and imaginary parts of a, b, C, A and ∂b/∂A; Δ; D
@group(0) @binding(6) var<storage, read_write> made: array<f32>;

fn exponential(x: f32) -> f32 {
  let e = expNegative(vec4f(-abs(x)));
  return keepNaN(select(e, 1.0 / e, x > 0.0), vec4f(x)).x;
}

// cos θ, sin θ: θ less a multiple of π/2 in three parts, of which the first two times k are exact up to k = 2¹⁵, then
// minimax polynomials, within 1e-7.
fn circle(angle: f32) -> vec2f {
  let bits = bitcast<u32>(angle * 0.636619772 + 12582912.0);
  let k = f32(bitcast<i32>(bits) - 0x4b400000);
  let r = ((angle - k * 1.5703125) - k * 4.837512969970703125e-4) - k * 7.54978995489188216e-8;
  let s = r * r;
  let sine = r + r * s * (-0.166666546 + s * (8.33216087e-3 - s * 1.95152959e-4));
  let cosine = 1.0 - 0.5 * s + s * s * (0.0416666457 + s * (-1.38873162e-3 + s * 2.44331571e-5));
  let turned = select(vec2f(cosine, sine), vec2f(-sine, cosine), (bits & 1u) != 0u);
  return select(turned, -turned, (bits & 2u) != 0u);
}

// 1 / (k + 1)!
const INVERSE_FACTORIALS = array<f32, 12>(
  1.0, 0.5, 0.166666667, 0.0416666667, 8.33333333e-3, 1.38888889e-3, 1.98412698e-4, 2.48015873e-5, 2.75573192e-6,
  2.75573192e-7, 2.50521084e-8, 2.08767570e-9,
);

@compute @workgroup_size(WORKGROUP)
fn coefficients(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let item = linearWorkgroup(workgroup, count) * WORKGROUP + local;
  if (item >= params.H * params.P) {
    return;
  }
  let channel = item / params.P;
  let pair = item % params.P;
  let at = channel * pairs() + pair;
  let delta = exponential(log_dt[channel]);
  let A = vec2f(-exponential(log_A_real[at]), A_imag[at]);
  let z = delta * A;
  var a = expNegative(vec4f(z.x)).x * circle(z.y);
  // φ = (exp(z) − 1) / z and its derivative: b = Δ φ(Δ A). Where z is small, differences would lose their digits.
  var phi = vec2f();
  var dPhi = vec2f();
  if (dot(z, z) < 1.0) {
    for (var k = 10i; k >= 0i; k--) {
      phi = multiply(phi, z) + vec2f(INVERSE_FACTORIALS[k], 0.0);
      dPhi = multiply(dPhi, z) + vec2f(f32(k + 1i) * INVERSE_FACTORIALS[k + 1i], 0.0);
    }
  } else {
    let inverse = vec2f(z.x, -z.y) / dot(z, z);
    phi = multiply(a - vec2f(1.0, 0.0), inverse);
    dPhi = multiply(a - phi, inverse);
  }
  var b = delta * phi;
  var bByA = delta * delta * dPhi;
  if (!(isFinite(z.x) && isFinite(z.y))) {
    b = vec2f(bitcast<f32>(bitcast<u32>(z.x) | 0x7fc00000u));
    a = b;
    bByA = b;
  }
  put(channel, 0u, pair, a);
  put(channel, 2u, pair, b);
  put(channel, 4u, pair, C[item]);
  put(channel, 6u, pair, A);
  put(channel, 8u, pair, bByA);
  put(channel, 10u, pair, vec2f(delta, D[channel]));
}

fn put(channel: u32, k: u32, pair: u32, value: vec2f) {
  let at = (12u * channel + k) * pairs() + pair;
  made[at] = value.x;
  made[at + pairs()] = value.y;
}

// ---- gradients
@group(0) @binding(1) var<storage, read> coefficient: array<f32>; // [H, 12, P]
// Of the outputs and of the final states, the sums of all rows.
@group(0) @binding(2) var<storage, read> ofOutput: array<f32>; // [H, 9, P]
@group(0) @binding(3) var<storage, read> ofEnds: array<f32>;
@group(0) @binding(4) var<storage, read_write> dLog_dt: array<f32>; // [H]
@group(0) @binding(5) var<storage, read_write> dLog_A_real: array<f32>; // [H, P]
@group(0) @binding(6) var<storage, read_write> dA_imag: array<f32>; // [H, P]
@group(0) @binding(7) var<storage, read_write> dC: array<vec2f>; // [H, P]
@group(0) @binding(8) var<storage, read_write> dD: array<f32>; // [H]

@compute @workgroup_size(WORKGROUP)
fn gradients(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) count: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let channel = linearWorkgroup(workgroup, count) * WORKGROUP + local;
  if (channel >= params.H) {
    return;
  }
  let n = pairs();
  var dDelta = 0.0;
  for (var pair = 0u; pair < params.P; pair++) {
    let source = 12u * channel * n + pair;
    let a = vec2f(coefficient[source], coefficient[source + n]);
    let b = vec2f(coefficient[source + 2u * n], coefficient[source + 3u * n]);
    let twiceC = 2.0 * vec2f(coefficient[source + 4u * n], coefficient[source + 5u * n]);
    let A = vec2f(coefficient[source + 6u * n], coefficient[source + 7u * n]);
    let bByA = vec2f(coefficient[source + 8u * n], coefficient[source + 9u * n]);
    let delta = coefficient[source + 10u * n];
    let at = 9u * channel * n + pair;
    let xq = vec2f(ofOutput[at], ofOutput[at + n]);
    let xLambda = vec2f(ofOutput[at + 2u * n], ofOutput[at + 3u * n]);
    let hLambda = vec2f(ofOutput[at + 4u * n], ofOutput[at + 5u * n]);
    let hDLambda = vec2f(ofOutput[at + 6u * n], ofOutput[at + 7u * n]);
    let endsXq = vec2f(ofEnds[at], ofEnds[at + n]);
    let endsXLambda = vec2f(ofEnds[at + 2u * n], ofEnds[at + 3u * n]);
    let endsHDLambda = vec2f(ofEnds[at + 6u * n], ofEnds[at + 7u * n]);
    dC[channel * params.P + pair] = 2.0 * (conjMultiply(b, xq) + hLambda);
    let db = conjMultiply(twiceC, xq) + endsXq;
    let da = conjMultiply(twiceC, conjMultiply(b, xLambda) + hDLambda) + conjMultiply(b, endsXLambda) + endsHDLambda;
    // Of z = Δ A by a alone.
    let dz = conjMultiply(a, da);
    let dA = delta * dz + conjMultiply(bByA, db);
    dLog_A_real[channel * n + pair] = dA.x * A.x;
    dA_imag[channel * n + pair] = dA.y;
    // ∂b/∂Δ = a.
    dDelta += conjMultiply(A, dz).x + conjMultiply(a, db).x;
  }
  dLog_dt[channel] = coefficient[(12u * channel + 10u) * n] * dDelta;
  dD[channel] = ofOutput[(9u * channel + 8u) * n];
}

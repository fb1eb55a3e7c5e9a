// Functions that every kernel may use; prepended to each shader.

// WGSL leaves tanh, exp and log so loose that a small tanh may be off by a fifth, and lets them, clamp, min and max make
// a number of NaN. These are of + − · / and bits alone, within 4 ulp, and the same on every adapter.

// WGSL lets compilers assume that NaN and infinity never occur, so `x != x` may be folded away: test the bits.
fn isFinite(x: f32) -> bool {
  return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

// `y`, or NaN where x is.
fn keepNaN(y: vec4f, x: vec4f) -> vec4f {
  return select(y, x, (bitcast<vec4u>(x) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u));
}

// exp(x) for x ≤ 0, but of NaN a number; zero where it is subnormal. 2ⁿ · exp(r) with |r| ≤ ln 2 / 2; ln 2 in two parts,
// of which the first times n is exact; a minimax polynomial, within 1.1e-7.
fn expNegative(x: vec4f) -> vec4f {
  let y = max(x, vec4f(-88.0));
  // Rounded by the addition of 1.5 · 2²³, and read from the bits, so that no compiler takes that off again.
  let bits = bitcast<vec4u>(y * 1.44269504 + 12582912.0);
  let n = vec4f(bitcast<vec4i>(bits) - vec4i(0x4b400000));
  let r = y - n * 0.693359375 + n * 2.12194440e-4;
  let p = r + r * r * (0.499992229 + r * (0.1666712 + r * (0.0418914248 + r * 0.00831238294)));
  // −127, of all below the normal numbers, makes the scale zero.
  return (1.0 + p) * bitcast<vec4f>((bits << vec4u(23u)) + vec4u(0x3f800000u));
}

fn sigmoid(x: vec4f) -> vec4f {
  let e = expNegative(-abs(x));
  return keepNaN(select(vec4f(1.0), e, x < vec4f()) / (1.0 + e), x);
}

// tanh(x), of small x by x + x³·R(x²), which keeps their digits; R is a minimax polynomial, within 4e-8.
fn safeTanh(x: vec4f) -> vec4f {
  let s = x * x;
  let small = x + x * (s * (-0.333329518 + s * (0.1332085 + s * (-0.0526801149 + s * 0.0164539003))));
  let e = expNegative(-2.0 * abs(x));
  let large = (1.0 - e) / (1.0 + e);
  let signed = bitcast<vec4f>(bitcast<vec4u>(large) | (bitcast<vec4u>(x) & vec4u(0x80000000u)));
  // The bits without the sign, as integers; past infinity they are NaN, of which x · x keeps it.
  let magnitude = bitcast<vec4u>(x) << vec4u(1u);
  return select(signed, small, magnitude + 0x00ffffffu < vec4u(0x7f191687u));
}

// log(1 + x) for finite x ≥ 0: 1 + x = 2ᵏ · (1 + f) with 1 + f from √½ to √2, and s = f / (2 + f), as fdlibm's logf.
fn log1p(x: f32) -> f32 {
  let bits = bitcast<u32>(1.0 + x);
  let k = (bits - 0x3f3504f3u) >> 23u;
  let f = select(bitcast<f32>(bits - (k << 23u)) - 1.0, x, k == 0u);
  let s = f / (2.0 + f);
  let z = s * s;
  let half = 0.5 * f * f;
  let series = z * (0.66666667 + z * (0.4 + z * (0.28571430 + z * 0.22222222)));
  return f32(k) * 0.69314718 + (f - (half - s * (half + series)));
}

// A gradient, of which ±2⁶² is the most that counts: the squares of larger ones would leave f32, and an infinite second
// moment would end all learning.
fn squarable(g: vec4f) -> vec4f {
  return keepNaN(clamp(g, vec4f(-0x1p62f), vec4f(0x1p62f)), g);
}

// Jarzynski and Olano, "Hash Functions for GPU Rendering", JCGT 9(3), 2020; the same as src/random.ts.
fn pcg4d(counter: vec4u) -> vec4u {
  var v = counter * 1664525u + 1013904223u;
  v.x += v.y * v.w;
  v.y += v.z * v.x;
  v.z += v.x * v.y;
  v.w += v.y * v.z;
  v ^= v >> vec4u(16u);
  v.x += v.y * v.w;
  v.y += v.z * v.x;
  v.z += v.x * v.y;
  v.w += v.y * v.z;
  return v;
}

// A 24-bit fraction in [0, 1), exact in f32.
fn fraction(word: u32) -> f32 {
  return f32(word >> 8u) * 5.9604644775390625e-8;
}

// Workgroups are numbered over x and y, because one dimension holds at most 65,535.
fn linearWorkgroup(id: vec3u, count: vec3u) -> u32 {
  return id.x + id.y * count.x;
}

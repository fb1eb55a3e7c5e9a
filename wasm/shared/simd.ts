// What the kernels share: the multiply-add of the build, functions of four numbers, and the share of one thread in the work.

/** a·b + c: rounded once where the build is of relaxed SIMD and the processor can, else twice. */
@inline
export function madd(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

/** Where thread `part` of `parts` begins among n things, of which `unit` go together. */
@inline
export function share(n: i32, unit: i32, part: i32, parts: i32): i32 {
  const each = ((n + unit - 1) / unit + parts - 1) / parts;
  return min(n, each * unit * part);
}

/** n rounded up to a multiple of four: the length of a stored row. */
@inline
export function pad4(n: i32): i32 {
  return (n + 3) & ~3;
}

/** Which of the units u to u + 3 there are among H. */
@inline
export function lanesOf(u: i32, H: i32): v128 {
  return i32x4.lt_s(i32x4.add(i32x4.splat(u), i32x4(0, 1, 2, 3)), i32x4.splat(H));
}

/** x between two numbers; NaN stays. One instruction a bound, where min and max, which know two zeros, are several. */
@inline
export function between(least: f32, x: v128, most: f32): v128 {
  return f32x4.pmin(f32x4.pmax(x, f32x4.splat(least)), f32x4.splat(most));
}

/** Added to a number, its integer stands in the lowest bits of the sum. */
const LARGE: f32 = 12582912;

/** x · log₂ e as the nearest integer, n, on top of LARGE. */
@inline
function rounded(x: v128): v128 {
  return madd(x, f32x4.splat(1.44269504), f32x4.splat(LARGE));
}

/** eˣ · 2⁻ⁿ, within 1.1 ulp; NaN stays. */
@inline
function mantissa(x: v128, n: v128): v128 {
  // ln 2 in two parts, so that little of x − n·ln 2 is lost.
  let r = madd(n, f32x4.splat(-0.693359375), x);
  r = madd(n, f32x4.splat(2.12194440e-4), r);
  // (eʳ − 1 − r) / r², interpolated between Chebyshev's nodes.
  let p = madd(f32x4.splat(1.393366139e-3), r, f32x4.splat(8.363187313e-3));
  p = madd(p, r, f32x4.splat(4.1666463017e-2));
  p = madd(p, r, f32x4.splat(1.6666576266e-1));
  p = madd(p, r, f32x4.splat(0.5));
  return f32x4.add(madd(f32x4.mul(r, r), p, r), f32x4.splat(1));
}

/** 2ⁿ, of n from −126 to 127. */
@inline
function powerOfTwo(n: v128): v128 {
  return i32x4.shl(i32x4.add(n, i32x4.splat(127)), 23);
}

/** eˣ, within 2 ulp; NaN stays, and what is smaller than the smallest normal number is 0. */
@inline
export function exp(x: v128): v128 {
  const bounded = between(-87.3365, x, 89);
  const shifted = rounded(bounded);
  const p = mantissa(bounded, f32x4.sub(shifted, f32x4.splat(LARGE)));
  // 2ⁿ in two halves: n is 128 at the most, which no exponent can be, and then eˣ is too large.
  const whole = i32x4.sub(shifted, f32x4.splat(LARGE));
  const half = i32x4.shr_s(whole, 1);
  const y = f32x4.mul(f32x4.mul(p, powerOfTwo(half)), powerOfTwo(i32x4.sub(whole, half)));
  return v128.andnot(y, f32x4.lt(x, f32x4.splat(-87.3365)));
}

/** 1 / (1 + e⁻ˣ), within 3 ulp; NaN stays, and what is smaller than the smallest normal number is 0. */
@inline
export function sigmoid(x: v128): v128 {
  const one = f32x4.splat(1);
  // e⁻ˣ is a normal number, for which n can be added to the exponent of its mantissa.
  const bounded = between(-87.3365, f32x4.neg(x), 87.3365);
  const shifted = rounded(bounded);
  const p = mantissa(bounded, f32x4.sub(shifted, f32x4.splat(LARGE)));
  const e = v128.or(i32x4.add(p, i32x4.shl(shifted, 23)), f32x4.ne(x, x));
  return v128.andnot(f32x4.div(one, f32x4.add(one, e)), f32x4.lt(x, f32x4.splat(-87.3365)));
}

/** The derivative of SiLU(x) = x·σ(x), of which σ(x) is given. */
@inline
export function slopeOfSilu(x: v128, s: v128): v128 {
  const one = f32x4.splat(1);
  return f32x4.mul(s, madd(x, f32x4.sub(one, s), one));
}

/** tanh x, within 7 ulp, by the rational approximation that Eigen has for it. */
@inline
export function tanh(x: v128): v128 {
  const bounded = between(-9, x, 9);
  const s = f32x4.mul(bounded, bounded);
  let p = madd(f32x4.splat(-2.76076847742355e-16), s, f32x4.splat(2.00018790482477e-13));
  p = madd(p, s, f32x4.splat(-8.60467152213735e-11));
  p = madd(p, s, f32x4.splat(5.12229709037114e-8));
  p = madd(p, s, f32x4.splat(1.48572235717979e-5));
  p = madd(p, s, f32x4.splat(6.37261928875436e-4));
  p = madd(p, s, f32x4.splat(4.89352455891786e-3));
  let q = madd(f32x4.splat(1.19825839466702e-6), s, f32x4.splat(1.18534705686654e-4));
  q = madd(q, s, f32x4.splat(2.26843463243900e-3));
  q = madd(q, s, f32x4.splat(4.89352518554385e-3));
  // So small, x is its own tanh, and x·p could be too small for a number.
  return v128.bitselect(x, f32x4.div(f32x4.mul(bounded, p), q), f32x4.lt(f32x4.abs(x), f32x4.splat(0.0004)));
}

/** ln(1 + eˣ). */
@inline
export function softplus(x: v128): v128 {
  const one = f32x4.splat(1);
  const e = exp(f32x4.neg(f32x4.abs(x)));
  // ln(1 + e) = 2·artanh s
  const s = f32x4.div(e, f32x4.add(e, f32x4.splat(2)));
  const q = f32x4.mul(s, s);
  let p = madd(f32x4.splat(1 / 13.0), q, f32x4.splat(1 / 11.0));
  p = madd(p, q, f32x4.splat(1 / 9.0));
  p = madd(p, q, f32x4.splat(1 / 7.0));
  p = madd(p, q, f32x4.splat(1 / 5.0));
  p = madd(p, q, f32x4.splat(1 / 3.0));
  p = madd(p, q, one);
  return madd(f32x4.add(s, s), p, f32x4.max(x, f32x4.splat(0)));
}

/** The sum of four numbers. */
@inline
export function sumOfLanes(x: v128): f32 {
  const halves = f32x4.add(x, v128.shuffle<f32>(x, x, 2, 3, 0, 1));
  return f32x4.extract_lane(halves, 0) + f32x4.extract_lane(halves, 1);
}

/** ln x of x from 1 on, as exact as an f32 can show; NaN stays. */
export function log(x: f64): f64 {
  if (!(x < Infinity)) return x;
  const bits = reinterpret<u64>(x);
  let exponent = <i32>(bits >> 52) - 1023;
  let m = reinterpret<f64>((bits & 0x000fffffffffffff) | 0x3ff0000000000000);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    exponent++;
  }
  // ln m = 2·artanh s
  const s = (m - 1) / (m + 1);
  const q = s * s;
  const series = 1 + q * (1 / 3.0 + q * (1 / 5.0 + q * (1 / 7.0 + q * (1 / 9.0 + q * (1 / 11.0 + q / 13.0)))));
  return exponent * 0.6931471805599453 + 2 * s * series;
}

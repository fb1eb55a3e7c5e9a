import { lanesOf, madd, pad4, share, sumOfLanes } from "./shared/simd";

/** Planes of a coefficient, of which a, b and C are the first six and D the last, and of sums, of which that of D is the last. */
const PLANES: usize = 12;
const SUMS: usize = 9;

/** Real or imaginary parts of the four complex numbers at `at`. */
@inline
function realOf(at: usize): v128 {
  return v128.shuffle<f32>(v128.load(at), v128.load(at, 16), 0, 2, 4, 6);
}
@inline
function imaginaryOf(at: usize): v128 {
  return v128.shuffle<f32>(v128.load(at), v128.load(at, 16), 1, 3, 5, 7);
}
@inline
function putComplex(at: usize, re: v128, im: v128): void {
  v128.store(at, v128.shuffle<f32>(re, im, 0, 4, 1, 5));
  v128.store(at, v128.shuffle<f32>(re, im, 2, 6, 3, 7), 16);
}

/** x in the lanes that there are. */
@inline
function splat(x: f32, lanes: v128): v128 {
  return v128.and(f32x4.splat(x), lanes);
}

/** Shares are of channels of a row, four of whose pairs go through all steps at a time. */
// prettier-ignore
export function complex_scan_forward(
  coefficient: usize, lengths: usize, x: usize, h: usize, y: usize,
  B: i32, H: i32, P: i32, t: i32, count: i32, ragged: i32, ends: i32, xOffset: i32, xStride: i32, dxOffset: i32, dxStride: i32,
  scratch: usize, part: i32, parts: i32,
): void {
  const plane: usize = 4 * pad4(P);
  const xStep: usize = 4 * xStride * B;
  const yStep: usize = 4 * pad4(H) * B;
  const end = share(B * H, 1, part + 1, parts);
  for (let item = share(B * H, 1, part, parts); item < end; item++) {
    const b = item / H;
    const j = item % H;
    const last = ragged ? min(t + count, load<i32>(lengths + 4 * b)) : t + count;
    const made = coefficient + PLANES * plane * j;
    const D = load<f32>(made + (PLANES - 1) * plane);
    const xs = x + 4 * (xOffset + xStride * b + j);
    const ys = y + 4 * (pad4(H) * b + j);
    for (let s = t; s < t + count; s++) store<f32>(ys + yStep * s, s < last ? D * load<f32>(xs + xStep * s) : 0);
    for (let n = 0; n < P; n += 4) {
      const lanes = lanesOf(n, P);
      const pair = made + 4 * n;
      const aRe = v128.load(pair);
      const aIm = v128.load(pair + plane);
      const bRe = v128.load(pair + 2 * plane);
      const bIm = v128.load(pair + 3 * plane);
      const CRe = f32x4.mul(v128.load(pair + 4 * plane), f32x4.splat(2));
      const CIm = f32x4.mul(v128.load(pair + 5 * plane), f32x4.splat(2));
      const state = h + 2 * (plane * item + 4 * n);
      let re = realOf(state);
      let im = imaginaryOf(state);
      for (let s = t; s < last; s++) {
        const input = splat(load<f32>(xs + xStep * s), lanes);
        const next = f32x4.sub(madd(aRe, re, f32x4.mul(bRe, input)), f32x4.mul(aIm, im));
        im = madd(aRe, im, madd(aIm, re, f32x4.mul(bIm, input)));
        re = next;
        const to = ys + yStep * s;
        store<f32>(to, load<f32>(to) + sumOfLanes(f32x4.sub(f32x4.mul(CRe, re), f32x4.mul(CIm, im))));
      }
      putComplex(state, re, im);
    }
  }
}

// prettier-ignore
export function complex_scan_backward(
  coefficient: usize, lengths: usize, x: usize, dOutput: usize, lambda: usize, dLambda: usize, sums: usize, dx: usize,
  B: i32, H: i32, P: i32, t: i32, count: i32, ragged: i32, ends: i32, xOffset: i32, xStride: i32, dxOffset: i32, dxStride: i32,
  scratch: usize, part: i32, parts: i32,
): void {
  const plane: usize = 4 * pad4(P);
  const xStep: usize = 4 * xStride * B;
  const dyStep: usize = 4 * pad4(H) * B;
  const dxStep: usize = 4 * dxStride * B;
  const end = share(B * H, 1, part + 1, parts);
  for (let item = share(B * H, 1, part, parts); item < end; item++) {
    const b = item / H;
    const j = item % H;
    const last = ragged ? min(t + 1, load<i32>(lengths + 4 * b)) : t + 1;
    const made = coefficient + PLANES * plane * j;
    const total = sums + SUMS * plane * item;
    const D = load<f32>(made + (PLANES - 1) * plane);
    const xs = x + 4 * (xOffset + xStride * b + j);
    const dys = dOutput + 4 * (pad4(H) * b + j);
    const dxs = dx + 4 * (dxOffset + dxStride * b + j);
    if (!ends) {
      let dD = load<f32>(total + (SUMS - 1) * plane);
      for (let s = t; s > t - count; s--) {
        const dy: f32 = s < last ? load<f32>(dys + dyStep * s) : 0;
        store<f32>(dxs + dxStep * s, D * dy);
        if (s < last) dD += dy * load<f32>(xs + xStep * s);
      }
      store<f32>(total + (SUMS - 1) * plane, dD);
    }
    for (let n = 0; n < P; n += 4) {
      const lanes = lanesOf(n, P);
      const pair = made + 4 * n;
      const aRe = v128.load(pair);
      const aIm = v128.load(pair + plane);
      const bRe = v128.load(pair + 2 * plane);
      const bIm = v128.load(pair + 3 * plane);
      // What makes of a gradient that of x: 2bC, or b̄ of a final state's.
      const CRe = f32x4.mul(v128.load(pair + 4 * plane), f32x4.splat(2));
      const CIm = f32x4.mul(v128.load(pair + 5 * plane), f32x4.splat(2));
      const xRe = ends ? bRe : f32x4.sub(f32x4.mul(bRe, CRe), f32x4.mul(bIm, CIm));
      const xIm = ends ? bIm : madd(bRe, CIm, f32x4.mul(bIm, CRe));
      const state: usize = 2 * (plane * item + 4 * n);
      let re = realOf(lambda + state);
      let im = imaginaryOf(lambda + state);
      let dRe = realOf(dLambda + state);
      let dIm = imaginaryOf(dLambda + state);
      const to = total + 4 * n;
      let ofRe = v128.load(to);
      let ofIm = v128.load(to + plane);
      let ofDRe = v128.load(to + 2 * plane);
      let ofDIm = v128.load(to + 3 * plane);
      for (let s = last - 1; s > t - count; s--) {
        const input = splat(load<f32>(xs + xStep * s), lanes);
        if (!ends) re = f32x4.add(re, splat(load<f32>(dys + dyStep * s), lanes));
        const dxAt = dxs + dxStep * s;
        store<f32>(dxAt, load<f32>(dxAt) + sumOfLanes(madd(xRe, re, f32x4.mul(xIm, im))));
        ofRe = madd(input, re, ofRe);
        ofIm = madd(input, im, ofIm);
        ofDRe = madd(input, dRe, ofDRe);
        ofDIm = madd(input, dIm, ofDIm);
        const nextD = madd(aRe, dRe, madd(aIm, dIm, re));
        dIm = f32x4.sub(madd(aRe, dIm, im), f32x4.mul(aIm, dRe));
        dRe = nextD;
        const next = madd(aRe, re, f32x4.mul(aIm, im));
        im = f32x4.sub(f32x4.mul(aRe, im), f32x4.mul(aIm, re));
        re = next;
      }
      putComplex(lambda + state, re, im);
      putComplex(dLambda + state, dRe, dIm);
      v128.store(to, ofRe);
      v128.store(to + plane, ofIm);
      v128.store(to + 2 * plane, ofDRe);
      v128.store(to + 3 * plane, ofDIm);
    }
  }
}

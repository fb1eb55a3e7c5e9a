// The candidate of minGRU and minLSTM, and its derivative by its value.
import { sigmoid } from "./simd";

/** u + ½ for u ≥ 0, else σ(u). */
@inline
export function candidate(u: v128): v128 {
  return v128.bitselect(f32x4.add(u, f32x4.splat(0.5)), sigmoid(u), f32x4.ge(u, f32x4.splat(0)));
}
@inline
export function slopeOfCandidate(g: v128): v128 {
  const one = f32x4.splat(1);
  return v128.bitselect(one, f32x4.mul(g, f32x4.sub(one, g)), f32x4.ge(g, f32x4.splat(0.5)));
}

// What the optimizers read: the per-step numbers of the host, and the metrics of the gradient.
import { between } from "./simd";

@inline
export function learningRateOf(schedule: usize): f32 {
  return load<f32>(schedule);
}
@inline
export function correction1Of(schedule: usize): f32 {
  return load<f32>(schedule, 4);
}
@inline
export function correction2Of(schedule: usize): f32 {
  return load<f32>(schedule, 8);
}
/** What gradients are multiplied with; the optimizers rest where one was not finite. */
@inline
export function factorOf(metrics: usize): v128 {
  return v128.load32_splat(metrics, 12);
}
@inline
export function rests(metrics: usize): bool {
  return load<f32>(metrics, 16) > 0;
}

/** A gradient, of which ±2⁶² is the most that counts. */
@inline
export function squarable(g: v128): v128 {
  return between(-4611686018427387904, g, 4611686018427387904);
}

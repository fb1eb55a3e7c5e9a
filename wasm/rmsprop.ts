import { madd, share } from "./shared/simd";
import { factorOf, learningRateOf, rests, squarable } from "./shared/optimizers";

// prettier-ignore
export function rmsprop_update(
  parameters: usize, gradients: usize, v: usize, schedule: usize, metrics: usize,
  count: i32, decayed: i32, oneMinusAlpha: f32, epsilon: f32, weightDecay: f32, scratch: usize, part: i32, parts: i32,
): void {
  if (rests(metrics)) return;
  const rate = f32x4.splat(learningRateOf(schedule));
  const factor = factorOf(metrics);
  const end = share(count, 4, part + 1, parts);
  for (let i = share(count, 4, part, parts); i < end; i++) {
    const at = <usize>(16 * i);
    const p = v128.load(parameters + at);
    const decay = f32x4.splat(i < decayed ? weightDecay : 0);
    const g = squarable(madd(decay, p, f32x4.mul(v128.load(gradients + at), factor)));
    const second = madd(f32x4.splat(1 - oneMinusAlpha), v128.load(v + at), f32x4.mul(f32x4.splat(oneMinusAlpha), f32x4.mul(g, g)));
    v128.store(v + at, second);
    const size = f32x4.add(f32x4.sqrt(second), f32x4.splat(epsilon));
    v128.store(parameters + at, f32x4.sub(p, f32x4.div(f32x4.mul(rate, g), size)));
  }
}

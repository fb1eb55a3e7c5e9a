import { madd, share } from "./shared/simd";
import { factorOf, learningRateOf, rests } from "./shared/optimizers";

// prettier-ignore
export function sgd_update(
  parameters: usize, gradients: usize, m: usize, schedule: usize, metrics: usize,
  count: i32, decayed: i32, momentum: f32, weightDecay: f32, scratch: usize, part: i32, parts: i32,
): void {
  if (rests(metrics)) return;
  const rate = f32x4.splat(learningRateOf(schedule));
  const factor = factorOf(metrics);
  const end = share(count, 4, part + 1, parts);
  for (let i = share(count, 4, part, parts); i < end; i++) {
    const at = <usize>(16 * i);
    const p = v128.load(parameters + at);
    const g = madd(f32x4.splat(i < decayed ? weightDecay : 0), p, f32x4.mul(v128.load(gradients + at), factor));
    const first = madd(f32x4.splat(momentum), v128.load(m + at), g);
    v128.store(m + at, first);
    v128.store(parameters + at, f32x4.sub(p, f32x4.mul(rate, first)));
  }
}

import { madd, share } from "./shared/simd";
import { correction1Of, correction2Of, factorOf, learningRateOf, rests, squarable } from "./shared/optimizers";

// prettier-ignore
export function adam_update(
  parameters: usize, gradients: usize, m: usize, v: usize, schedule: usize, metrics: usize,
  count: i32, decayed: i32, decoupled: i32, oneMinusBeta1: f32, oneMinusBeta2: f32, epsilon: f32, weightDecay: f32,
  scratch: usize, part: i32, parts: i32,
): void {
  if (rests(metrics)) return;
  const learningRate = learningRateOf(schedule);
  const factor = factorOf(metrics);
  const rate = f32x4.splat(learningRate / correction1Of(schedule));
  const root = f32x4.splat(Mathf.sqrt(correction2Of(schedule)));
  const end = share(count, 4, part + 1, parts);
  for (let i = share(count, 4, part, parts); i < end; i++) {
    const at = <usize>(16 * i);
    const decay: f32 = i < decayed ? weightDecay : 0;
    let p = v128.load(parameters + at);
    let g = f32x4.mul(v128.load(gradients + at), factor);
    if (decoupled) p = f32x4.mul(p, f32x4.splat(1 - learningRate * decay));
    else g = madd(f32x4.splat(decay), p, g);
    g = squarable(g);
    const first = madd(f32x4.splat(1 - oneMinusBeta1), v128.load(m + at), f32x4.mul(f32x4.splat(oneMinusBeta1), g));
    const second = madd(f32x4.splat(1 - oneMinusBeta2), v128.load(v + at), f32x4.mul(f32x4.splat(oneMinusBeta2), f32x4.mul(g, g)));
    v128.store(m + at, first);
    v128.store(v + at, second);
    const size = f32x4.add(f32x4.div(f32x4.sqrt(second), root), f32x4.splat(epsilon));
    v128.store(parameters + at, f32x4.sub(p, f32x4.div(f32x4.mul(rate, first), size)));
  }
}

import { exp, lanesOf, log, pad4, share } from "./shared/simd";

/** Where a row has no target. */
const IGNORED = 0xffffffff;

function rowsOf(
  gradient: bool,
  logits: usize,
  targets: usize,
  rows: usize,
  N: i32,
  V: i32,
  scale: f32,
  part: i32,
  parts: i32,
): void {
  const W = pad4(V);
  const end = share(N, 1, part + 1, parts);
  for (let n = share(N, 1, part, parts); n < end; n++) {
    const row = logits + 4 * <usize>W * n;
    const to = rows + 8 * n;
    const target = load<u32>(targets + 4 * n);
    store<u64>(to, 0);
    if (target == IGNORED) {
      if (gradient) memory.fill(row, 0, 4 * V);
      continue;
    }
    let best = 0;
    let most = load<f32>(row);
    for (let v = 1; v < V; v++) {
      const logit = load<f32>(row + 4 * v);
      if (logit > most) {
        most = logit;
        best = v;
      }
    }
    const ofTarget = load<f32>(row + 4 * target);
    const max = f32x4.splat(most);
    let low = f64x2.splat(0);
    let high = f64x2.splat(0);
    for (let v = 0; v < V; v += 4) {
      const at = row + 4 * v;
      const e = v128.and(exp(f32x4.sub(v128.load(at), max)), lanesOf(v, V));
      low = f64x2.add(low, f64x2.promote_low_f32x4(e));
      high = f64x2.add(high, f64x2.promote_low_f32x4(v128.shuffle<f32>(e, e, 2, 3, 2, 3)));
      if (gradient) v128.store(at, e);
    }
    low = f64x2.add(low, high);
    const sum = f64x2.extract_lane(low, 0) + f64x2.extract_lane(low, 1);
    const loss = <f32>(log(sum) + <f64>most - <f64>ofTarget);
    store<f32>(to, loss);
    if (best == target && loss - loss == 0) store<f32>(to, 1, 4);
    if (!gradient) continue;
    // Of the target p − 1 is what the others have of the sum: no digits are lost where p is almost 1.
    const toTarget = row + 4 * target;
    const others = sum - <f64>load<f32>(toTarget);
    const factor = f32x4.splat(<f32>(<f64>scale / sum));
    for (let v = 0; v < V; v += 4) {
      const at = row + 4 * v;
      v128.store(at, v128.and(f32x4.mul(v128.load(at), factor), lanesOf(v, V)));
    }
    store<f32>(toTarget, <f32>((-(<f64>scale) * others) / sum));
  }
}

// prettier-ignore
export function softmax_cross_entropy_forward(
  logits: usize, targets: usize, rows: usize, N: i32, V: i32, scale: f32, scratch: usize, part: i32, parts: i32,
): void {
  rowsOf(false, logits, targets, rows, N, V, scale, part, parts);
}

// prettier-ignore
export function softmax_cross_entropy_backward(
  logits: usize, targets: usize, rows: usize, N: i32, V: i32, scale: f32, scratch: usize, part: i32, parts: i32,
): void {
  rowsOf(true, logits, targets, rows, N, V, scale, part, parts);
}

import { share } from "./shared/simd";

// prettier-ignore
export function embedding_forward(
  tokens: usize, weight: usize, y: usize, N: i32, V: i32, W: i32, first: i32, scratch: usize, part: i32, parts: i32,
): void {
  const row: usize = 4 * W;
  const end = first + share(N, 1, part + 1, parts);
  for (let n = first + share(N, 1, part, parts); n < end; n++) {
    memory.copy(y + row * n, weight + row * load<u32>(tokens + 4 * n), row);
  }
}

/** 16 columns of all tokens at a time. */
// prettier-ignore
export function embedding_backward(
  dY: usize, order: usize, starts: usize, dWeight: usize, N: i32, V: i32, W: i32, scratch: usize, part: i32, parts: i32,
): void {
  const row: usize = 4 * W;
  const end = share(W, 16, part + 1, parts);
  for (let w = share(W, 16, part, parts); w < end; w += 16) {
    const vectors = min(4, (W - w) >> 2);
    for (let v = 0; v < V; v++) {
      let s0 = f32x4.splat(0);
      let s1 = s0;
      let s2 = s0;
      let s3 = s0;
      const last = load<u32>(starts + 4 * v + 4);
      for (let i = load<u32>(starts + 4 * v); i < last; i++) {
        const at = dY + row * load<u32>(order + 4 * i) + 4 * w;
        s0 = f32x4.add(s0, v128.load(at));
        if (vectors > 1) s1 = f32x4.add(s1, v128.load(at, 16));
        if (vectors > 2) s2 = f32x4.add(s2, v128.load(at, 32));
        if (vectors > 3) s3 = f32x4.add(s3, v128.load(at, 48));
      }
      const to = dWeight + row * v + 4 * w;
      v128.store(to, s0);
      if (vectors > 1) v128.store(to, s1, 16);
      if (vectors > 2) v128.store(to, s2, 32);
      if (vectors > 3) v128.store(to, s3, 48);
    }
  }
}

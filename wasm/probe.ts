import { madd, share } from "./shared/simd";

/** Vectors that the shader's workgroups make. */
const VECTORS = 16384;

// prettier-ignore
export function probe_fma(x: usize, y: usize, count: i32, scratch: usize, part: i32, parts: i32): void {
  const factor = v128.load(x);
  const added = v128.load(x, 16);
  const end = share(VECTORS, 1, part + 1, parts);
  for (let i = share(VECTORS, 1, part, parts); i < end; i++) {
    let s0 = v128.load(x + 16 * (i % 64));
    let s1 = f32x4.add(s0, f32x4.splat(1));
    let s2 = f32x4.add(s0, f32x4.splat(2));
    let s3 = f32x4.add(s0, f32x4.splat(3));
    let s4 = f32x4.add(s0, f32x4.splat(4));
    let s5 = f32x4.add(s0, f32x4.splat(5));
    let s6 = f32x4.add(s0, f32x4.splat(6));
    let s7 = f32x4.add(s0, f32x4.splat(7));
    for (let round = 0; round < count; round++) {
      s0 = madd(s0, factor, added);
      s1 = madd(s1, factor, added);
      s2 = madd(s2, factor, added);
      s3 = madd(s3, factor, added);
      s4 = madd(s4, factor, added);
      s5 = madd(s5, factor, added);
      s6 = madd(s6, factor, added);
      s7 = madd(s7, factor, added);
    }
    const low = f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3));
    v128.store(y + 16 * i, f32x4.add(low, f32x4.add(f32x4.add(s4, s5), f32x4.add(s6, s7))));
  }
}

export function probe_copy(x: usize, y: usize, count: i32, scratch: usize, part: i32, parts: i32): void {
  const begin = share(count, 1, part, parts);
  memory.copy(y + 16 * begin, x + 16 * begin, 16 * (share(count, 1, part + 1, parts) - begin));
}

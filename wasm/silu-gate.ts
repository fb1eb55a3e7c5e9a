import { share, sigmoid, slopeOfSilu } from "./shared/simd";

// prettier-ignore
export function silu_gate_forward(
  y: usize, z: usize, out: usize,
  N: i32, W: i32, first: i32, yFirst: i32, zColumn: i32, zStride: i32, scratch: usize, part: i32, parts: i32,
): void {
  const end = share(N, 1, part + 1, parts);
  for (let n = share(N, 1, part, parts); n < end; n++) {
    const fromY = y + 4 * <usize>W * (yFirst + n);
    const fromZ = z + 4 * (<usize>zStride * (first + n) + zColumn);
    const to = out + 4 * <usize>W * (first + n);
    for (let i: usize = 0; i < 4 * W; i += 16) {
      const gate = v128.load(fromZ + i);
      v128.store(to + i, f32x4.mul(f32x4.mul(v128.load(fromY + i), gate), sigmoid(gate)));
    }
  }
}

// prettier-ignore
export function silu_gate_backward(
  y: usize, z: usize, d: usize, dZ: usize,
  N: i32, W: i32, first: i32, yFirst: i32, zColumn: i32, zStride: i32, scratch: usize, part: i32, parts: i32,
): void {
  const end = share(N, 1, part + 1, parts);
  for (let n = share(N, 1, part, parts); n < end; n++) {
    const fromY = y + 4 * <usize>W * (yFirst + n);
    const ofZ: usize = 4 * (<usize>zStride * (first + n) + zColumn);
    const ofD = d + 4 * <usize>W * (first + n);
    for (let i: usize = 0; i < 4 * W; i += 16) {
      const gate = v128.load(z + ofZ + i);
      const s = sigmoid(gate);
      const dOut = v128.load(ofD + i);
      v128.store(dZ + ofZ + i, f32x4.mul(f32x4.mul(dOut, v128.load(fromY + i)), slopeOfSilu(gate, s)));
      v128.store(ofD + i, f32x4.mul(dOut, f32x4.mul(gate, s)));
    }
  }
}

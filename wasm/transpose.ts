import { packRows } from "./shared/product";
import { pad4, share } from "./shared/simd";

const ADD = 1;
const APPEND = 2;

// prettier-ignore
export function transpose_forward(
  matrix: usize, bias: usize, out: usize,
  rows: i32, columns: i32, stride: i32, mode: i32, scratch: usize, part: i32, parts: i32,
): void {
  const width: usize = 4 * pad4(rows);
  const end = share(rows, 4, part + 1, parts);
  for (let r = share(rows, 4, part, parts); r < end; r += 4) {
    const from = matrix + 4 * <usize>stride * r;
    const to = out + 4 * r;
    const n = min(4, rows - r);
    if (n == 4) packRows(from, 4 * stride, 4, columns, to, width);
    for (let i = 0; i < n; i++) {
      const added: f32 = mode == ADD ? load<f32>(bias + 4 * (r + i)) : 0;
      if (n < 4 || mode == ADD) {
        for (let c = 0; c < columns; c++) store<f32>(to + width * c + 4 * i, load<f32>(from + 4 * (stride * i + c)) + added);
      }
      if (mode != APPEND) continue;
      for (let c = columns; c < pad4(columns); c++) store<f32>(to + width * c + 4 * i, 0);
      store<f32>(to + width * pad4(columns) + 4 * i, load<f32>(bias + 4 * (r + i)));
    }
  }
}

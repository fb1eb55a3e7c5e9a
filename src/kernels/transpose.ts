// transpose: out[C,R] = matrix[R,C]ᵀ, by mode: plain; with bias[R] added to every row; or with bias as a row of its
// own below, at row pad4(C), which is how the recurrent weights [G,H,H] are packed for the steps of the cells.
import source from "../../shaders/transpose.wgsl?raw";
import { defineKernel, divideUp, entry } from "../runtime/kernel.ts";
import { pad4 } from "../runtime/tensor.ts";

/** What becomes of the bias. */
export const TRANSPOSE = { plain: 0, add: 1, append: 2 } as const;

/** Blocks of 4 × 4 that a workgroup covers in each direction. */
const BLOCKS = 8;

const forward = entry({
  params: { rows: "u32", columns: "u32", stride: "u32", mode: "u32" },
  bindings: { matrix: "read", bias: "read", out: "read_write" },
  halves: { out: "Out4" },
  workgroups: ({ rows, columns }) => [divideUp(pad4(rows) / 4, BLOCKS), divideUp(pad4(columns) / 4, BLOCKS)],
  work: ({ rows, columns }) => 2 * rows * columns,
  reference({ matrix, bias, out }, { rows, columns, stride, mode }) {
    const width = pad4(rows);
    for (let r = 0; r < rows; r++) {
      const added = mode === TRANSPOSE.add ? bias[r]! : 0;
      for (let c = 0; c < columns; c++) out[c * width + r] = matrix[r * stride + c]! + added;
      if (mode !== TRANSPOSE.append) continue;
      for (let c = columns; c < pad4(columns); c++) out[c * width + r] = 0;
      out[pad4(columns) * width + r] = bias[r]!;
    }
  },
  cases: () =>
    [
      [1, 1, 0],
      [3, 65, 0],
      [65, 3, 4],
      [73, 130, 0],
    ].flatMap(([rows, columns, wider]) =>
      Object.entries(TRANSPOSE).map(([name, mode]) => ({
        name: `${name} ${rows}×${columns} stride +${wider}`,
        params: { rows: rows!, columns: columns!, stride: pad4(columns!) + wider!, mode },
        tensors: {
          matrix: { shape: [rows!, columns!], stored: [rows!, pad4(columns!) + wider!] },
          bias: { shape: [rows!] },
          out: { shape: [mode === TRANSPOSE.append ? pad4(columns!) + 1 : columns!, rows!] },
        },
      })),
    ),
});

export const transpose = defineKernel("transpose", source, { forward });

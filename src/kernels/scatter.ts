// scatter: y[index[n]] += x[n] for the rows of x[N,W] and y[R,W]; the indices differ, or are NOWHERE, which adds nothing.
import source from "../../shaders/scatter.wgsl?raw";
import { defineKernel, entry, linearWorkgroups } from "../runtime/kernel.ts";
import { pad4 } from "../runtime/tensor.ts";

/** An index that leaves its row out. */
export const NOWHERE = 0xffffffff;

const forward = entry({
  params: { N: "u32", W: "u32", indexOffset: "u32" },
  bindings: { x: "read", index: "read", y: "read_write" },
  workgroups: ({ N, W }) => linearWorkgroups((N * W) / 4, 64),
  work: ({ N, W }) => 3 * N * W,
  reference({ x, index, y }, { N, W, indexOffset }) {
    for (let n = 0; n < N; n++) {
      const row = index[indexOffset + n]!;
      if (row === NOWHERE) continue;
      for (let j = 0; j < W; j++) y[row * W + j]! += x[n * W + j]!;
    }
  },
  cases: () =>
    [
      { N: 1, width: 1, indexOffset: 0 },
      { N: 3, width: 65, indexOffset: 2 },
      { N: 65, width: 3, indexOffset: 5 },
    ].map(({ N, width, indexOffset }) => ({
      name: `N=${N} W=${width} from index ${indexOffset}`,
      params: { N, W: pad4(width), indexOffset },
      tensors: {
        x: { shape: [N, width] },
        index: {
          shape: [indexOffset + N],
          dtype: "u32" as const,
          fill: (i: number) => (i % 7 === 6 ? NOWHERE : indexOffset + N - 1 - i),
        },
        y: { shape: [indexOffset + N, width] },
      },
    })),
});

export const scatter = defineKernel("scatter", source, { forward });

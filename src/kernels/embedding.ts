// embedding: y[N,W] = rows of weight[V,W] by tokens[N], `first` rows on in both, and back: dWeight[v] = the sum of dY over v's tokens.
// For a fixed order of summation without atomics, the host sorts the positions by token (a counting sort):
// order[N] holds them, those of token v from starts[v] to starts[v + 1], of starts[V + 1]. W is the stored length
// of a row, a multiple of four.
import source from "../../shaders/embedding.wgsl?raw";
import { defineKernel, entry, linearWorkgroups } from "../runtime/kernel.ts";
import { pad4 } from "../runtime/tensor.ts";
import { integers } from "./integers.ts";

/** vec4s that a workgroup covers: of all rows in `forward`, of one token's row in the split `backward`. */
const ITEMS = 64;
const SPLIT_ITEMS = 8;

const params = { N: "u32", V: "u32", W: "u32" } as const;

const forward = entry({
  params: { ...params, first: "u32" },
  bindings: { tokens: "read", weight: "read", y: "read_write" },
  workgroups: ({ N, W }) => linearWorkgroups((N * W) / 4, ITEMS),
  work: ({ N, W }) => N * W,
  reference({ tokens, weight, y }, { N, W, first }) {
    for (let n = first; n < first + N; n++) {
      for (let w = 0; w < W; w++) y[n * W + w] = weight[tokens[n]! * W + w]!;
    }
  },
  cases: () =>
    [...SIZES.map((sizes) => ({ ...sizes, first: 0 })), { N: 3, V: 5, width: 6, first: 2 }].map(({ N, V, width, first }) => ({
      name: `${caseName(N, V, width)}${first ? ` from row ${first}` : ""}`,
      params: { N, V, W: pad4(width), first },
      tensors: {
        tokens: { shape: [first + N], dtype: "u32", fill: (i) => tokenAt(i, V) },
        weight: { shape: [V, width] },
        y: { shape: [first + N, width] },
      },
    })),
});

const backward = entry({
  params,
  bindings: { dY: "read", order: "read", starts: "read", dWeight: "read_write" },
  variants: [
    { name: "serial", constants: { SPLIT: 1 } },
    { name: "split rows", entryPoint: "backwardSplit", constants: { SPLIT: 8 }, preferred: (_, family) => family === "gpu" },
  ],
  workgroups: ({ V, W }, { SPLIT }) =>
    SPLIT === 1 ? linearWorkgroups((V * W) / 4, ITEMS) : linearWorkgroups(V * Math.ceil(W / 4 / SPLIT_ITEMS), 1),
  work: ({ N, V, W }) => (N + V) * W,
  reference({ dY, order, starts, dWeight }, { V, W }) {
    for (let v = 0; v < V; v++) {
      for (let w = 0; w < W; w++) {
        let sum = 0;
        for (let i = starts[v]!; i < starts[v + 1]!; i++) sum += dY[order[i]! * W + w]!;
        dWeight[v * W + w] = sum;
      }
    }
  },
  cases: () =>
    SIZES.map(({ N, V, width }) => {
      const { order, starts } = sortByToken(N, V);
      return {
        name: caseName(N, V, width),
        params: { N, V, W: pad4(width) },
        tensors: {
          dY: { shape: [N, width] },
          order: integers(...order),
          starts: integers(...starts),
          dWeight: { shape: [V, width] },
        },
      };
    }),
});

const SIZES = [
  { N: 1, V: 1, width: 1 },
  { N: 3, V: 65, width: 5 },
  { N: 65, V: 3, width: 65 },
  { N: 700, V: 11, width: 36 },
];
const caseName = (N: number, V: number, width: number): string => `N=${N} V=${V} W=${width}`;

/** Tokens of the cases; from V = 3 on some do not occur, others often. */
const tokenAt = (i: number, V: number): number => (i % 3 === 0 ? 0 : (i * i * 7) % V);

function sortByToken(N: number, V: number): { order: number[]; starts: number[] } {
  const positions = Array.from({ length: N }, (_, i) => i);
  const order = Array.from({ length: V }, (_, v) => positions.filter((i) => tokenAt(i, V) === v));
  let start = 0;
  return { order: order.flat(), starts: [0, ...order.map((of) => (start += of.length))] };
}

export const embedding = defineKernel("embedding", source, { forward, backward });

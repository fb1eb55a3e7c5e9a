// The ladders: of each op the rungs from naive to best. A rung is a WGSL file beside this one, or a variant of the
// library's kernel, once it has moved to shaders/. What each rung was about stands in the README of its folder.
import { adam } from "../../src/kernels/adam.ts";
import { lstm } from "../../src/kernels/lstm.ts";
import { matmul } from "../../src/kernels/matmul.ts";
import { softmaxCrossEntropy } from "../../src/kernels/softmax-cross-entropy.ts";
import type { Entry, KernelCase, Params, Workgroups } from "../../src/runtime/kernel.ts";
import { pad4 } from "../../src/runtime/tensor.ts";

const sources = import.meta.glob<string>("./*/*.wgsl", { query: "?raw", import: "default", eager: true });

export interface Rung {
  readonly name: string;
  readonly entry: Entry;
  readonly variant: string;
}

export interface Ladder {
  readonly name: string;
  /** The op that all rungs are. */
  readonly entry: Entry;
  readonly rungs: readonly Rung[];
  /** What is timed: params and tensors as in a case. */
  readonly shapes: readonly KernelCase[];
  readonly operations?: (params: Params) => number;
  readonly bytes?: (params: Params) => number;
}

/** A rung of a file of its own. */
function fileRung(folder: string, file: string, entry: Entry, entryPoint: string, workgroups: (p: Params) => Workgroups): Rung {
  const source = sources[`./${folder}/${file}.wgsl`];
  if (!source) throw new Error(`bench/ladders/${folder}/${file}.wgsl is missing`);
  const own: Entry = {
    ...entry,
    kernel: `${folder}/${file}`,
    files: [{ name: file, source }],
    variants: [{ name: file, entryPoint }],
    workgroups,
  };
  return { name: file, entry: own, variant: file };
}

/** The variants of the library's kernel, of both families; each is timed at the shapes that it can do. */
const libraryRungs = (entry: Entry): readonly Rung[] => entry.variants.map(({ name }) => ({ name, entry, variant: name }));

const up = Math.ceil;
const any = (entry: unknown): Entry => entry as Entry;

function productCase(op: "nn" | "tn", M: number, N: number, K: number): KernelCase {
  const [aRows, aColumns] = op === "tn" ? [K, M] : [M, K];
  return {
    name: `${M}×${N}×${K}`,
    params: {
      M,
      N,
      K,
      lda: pad4(aColumns),
      ldb: pad4(N),
      ldc: pad4(N),
      aOffset: 0,
      bOffset: 0,
      cOffset: 0,
      kSlice: K,
      useBias: 0,
      accumulate: 0,
    },
    tensors: {
      a: { shape: [aRows, aColumns] },
      b: { shape: [K, N] },
      ...(op === "tn" ? { rowSums: { shape: [M] } } : { bias: { shape: [N] } }),
      c: { shape: [M, N] },
    },
  };
}
const productOperations = ({ M, N, K }: Params): number => 2 * M! * N! * K!;
const elementWorkgroups = ({ M, N, K, kSlice }: Params): Workgroups => [up(N! / 8), up(M! / 8), up(K! / kSlice!)];

function stepCase(direction: "forward" | "backward", B: number, H: number, count: number): KernelCase {
  const T = count + 1;
  const wide = (...shape: number[]) => ({ shape, stored: [...shape.slice(0, -1), pad4(H)] });
  const forward = direction === "forward";
  return {
    name: `B=${B} H=${H}${count > 1 ? ` T=${count}` : ""}`,
    params: { B, H, t: forward ? 0 : count - 1, count, gather: 1, last: 0, relu: 0 },
    tensors: forward
      ? {
          xProjection: wide(73, 4, H),
          rows: { shape: [T, B], dtype: "u32" },
          packed: wide(pad4(H) + 1, 4, H),
          h: wide(T + 1, B, H),
          c: wide(T + 1, B, H),
          gates: wide(T, B, 4, H),
        }
      : {
          dOutput: wide(T, B, H),
          savedGates: wide(T, B, 4, H),
          savedC: wide(T + 1, B, H),
          weight: { shape: [4, H, H], stored: [4, pad4(H), pad4(H)] },
          dGates: wide(T, B, 4, H),
          dC: wide(B, H),
        },
  };
}
const stepOperations = ({ B, H, count }: Params): number => 8 * B! * H! * H! * count!;
const unitWorkgroups = ({ B, H }: Params): Workgroups => [up(H! / 8), up(B! / 8)];

export const LADDERS: readonly Ladder[] = [
  {
    name: "matmul",
    entry: any(matmul.nn),
    operations: productOperations,
    shapes: [
      [512, 512, 512],
      [1, 2048, 512],
      [8, 2048, 512],
      [64, 2048, 512],
      [128, 2048, 512],
    ].map(([M, N, K]) => productCase("nn", M!, N!, K!)),
    rungs: [
      fileRung("matmul", "01-naive", any(matmul.nn), "naive", elementWorkgroups),
      fileRung("matmul", "02-textbook-tile", any(matmul.nn), "textbookTile", ({ M, N, K, kSlice }) => [
        up(N! / 16),
        up(M! / 16),
        up(K! / kSlice!),
      ]),
      fileRung("matmul", "03-vectors", any(matmul.nn), "vectors", ({ M, N, K, kSlice }) => [up(N! / 32), M!, up(K! / kSlice!)]),
      ...libraryRungs(any(matmul.nn)),
    ],
  },
  {
    name: "recurrent-forward",
    entry: any(lstm.forward),
    operations: stepOperations,
    shapes: [stepCase("forward", 64, 128, 1), stepCase("forward", 64, 512, 1), stepCase("forward", 1, 512, 1)],
    rungs: [
      fileRung("recurrent-forward", "01-naive", any(lstm.forward), "forwardNaive", unitWorkgroups),
      fileRung("recurrent-forward", "02-lane-is-row", any(lstm.forward), "forwardLaneRow", unitWorkgroups),
      ...libraryRungs(any(lstm.forward)),
    ],
  },
  {
    name: "recurrent-backward",
    entry: any(lstm.backward),
    operations: stepOperations,
    shapes: [stepCase("backward", 64, 128, 1), stepCase("backward", 64, 512, 1), stepCase("backward", 1, 512, 1)],
    rungs: [
      fileRung("recurrent-backward", "01-naive", any(lstm.backward), "backwardNaive", unitWorkgroups),
      ...libraryRungs(any(lstm.backward)),
    ],
  },
  {
    name: "sequence",
    entry: any(lstm.forward),
    operations: stepOperations,
    shapes: [stepCase("forward", 16, 64, 32), stepCase("forward", 64, 128, 16)],
    rungs: libraryRungs(any(lstm.forward)),
  },
  {
    name: "weight-gradients",
    entry: any(matmul.tn),
    operations: productOperations,
    shapes: [productCase("tn", 512, 128, 3200), productCase("tn", 73, 128, 3200)],
    rungs: [
      fileRung("weight-gradients", "01-naive", any(matmul.tn), "naiveGradient", elementWorkgroups),
      ...libraryRungs(any(matmul.tn)),
    ],
  },
  {
    name: "softmax-cross-entropy",
    entry: any(softmaxCrossEntropy.backward),
    bytes: ({ N, V }) => 8 * N! * pad4(V!),
    shapes: [
      {
        name: "N=3200 V=73",
        params: { N: 3200, V: 73, scale: 1 / 3200 },
        tensors: {
          logits: { shape: [3200, 73] },
          targets: { shape: [3200], dtype: "u32" },
          rows: { shape: [3200, 2], stored: [3200, 2] },
        },
      },
    ],
    rungs: [
      fileRung("softmax-cross-entropy", "01-naive", any(softmaxCrossEntropy.backward), "naiveRow", ({ N }) => [up(N! / 64)]),
      ...libraryRungs(any(softmaxCrossEntropy.backward)),
    ],
  },
  {
    name: "optimizer",
    entry: any(adam.update),
    bytes: ({ count }) => 7 * 16 * count!,
    shapes: [
      {
        name: "1M parameters",
        params: { count: 2 ** 18, decoupled: 0, oneMinusBeta1: 0.1, oneMinusBeta2: 0.001, epsilon: 1e-8, weightDecay: 0 },
        tensors: {
          ...Object.fromEntries(
            ["parameters", "gradients", "m", "v"].map((name) => [name, { shape: [2 ** 20], fill: () => 0.5 }]),
          ),
          schedule: { shape: [4], fill: () => 0.001 },
          metrics: { shape: [8], fill: (i: number) => (i === 3 ? 1 : 0) },
        },
      },
    ],
    rungs: [
      fileRung("optimizer", "01-scalars", any(adam.update), "scalars", ({ count }) => {
        const workgroups = up(count! / 16);
        const y = up(workgroups / 65535);
        return [up(workgroups / y), y];
      }),
      ...libraryRungs(any(adam.update)),
    ],
  },
];

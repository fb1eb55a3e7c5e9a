// The ladders: of each op the rungs from naive to best. A rung is a WGSL file beside this one, or a variant of the
// library's kernel, once it has moved to shaders/. What each rung was about stands in the README of its folder.
import { adam } from "../../src/kernels/adam.ts";
import { lstm } from "../../src/kernels/lstm.ts";
import { matmul } from "../../src/kernels/matmul.ts";
import { minGru } from "../../src/kernels/min-gru.ts";
import { lanesOf } from "../../src/kernels/scan.ts";
import { softmaxCrossEntropy } from "../../src/kernels/softmax-cross-entropy.ts";
import type { Device } from "../../src/runtime/device.ts";
import type { Entry, KernelCase, Params, Workgroups } from "../../src/runtime/kernel.ts";
import type { Recorder } from "../../src/runtime/recorder.ts";
import { differences } from "../../src/runtime/verify.ts";
import { pad4, type Tensor } from "../../src/runtime/tensor.ts";

const sources = import.meta.glob<string>("./*/*.wgsl", { query: "?raw", import: "default", eager: true });

export interface Rung {
  readonly name: string;
  readonly entry: Entry;
  readonly variant: string;
  /** How it is recorded, where it is more than this variant's dispatch. */
  readonly record?: (recorder: Recorder, tensors: Readonly<Record<string, Tensor>>, params: Params) => void;
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

/** What is wrong with the rungs that differ from the reference, by their names. */
export async function wrongRungs(device: Device, { name: ladder, entry, rungs }: Ladder): Promise<Map<string, string>> {
  const wrong = new Map<string, string>();
  for (const rung of rungs) {
    const variant = rung.entry.variants.find(({ name }) => name === rung.variant)!;
    // NaN and sequences are the library's own concern.
    const cases = rung.entry
      .cases()
      .filter(
        ({ name, params }) =>
          !name.includes("NaN") && (rung.entry === entry || (params.count ?? 1) === 1 || ["optimizer", "scan"].includes(ladder)),
      );
    const [problem] = await differences(device, rung.entry, cases, [variant]);
    if (problem) wrong.set(rung.name, problem);
  }
  return wrong;
}

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

/** Chunks of 64 steps, for the rung in two dispatches. */
const CHUNK = 64;

function scanCase(direction: "forward" | "backward", B: number, H: number, T: number): KernelCase {
  const units = (...shape: number[]) => ({ shape, stored: [...shape.slice(0, -1), pad4(H)] });
  const forward = direction === "forward";
  const kept = { ...units(T, B, 2, H), fill: (i: number) => ((i * 7919) % 1000) / 1000 };
  return {
    name: `B=${B} H=${H} T=${T}`,
    params: { B, H, t: forward ? 0 : T - 1, count: T, chunk: T },
    tensors: {
      ends: units(1 + up(T / CHUNK), B, 2, H),
      ...(forward
        ? { gates: units(T, B, 2, H), h: units(T + 1, B, H) }
        : {
            dOutput: units(T, B, H),
            savedGates: kept,
            savedH: units(T + 1, B, H),
            dProjection: units(T, B, 2, H),
            dH: units(B, H),
          }),
    },
  };
}

/** The rungs that are more than one dispatch, and the variants of the library's kernel. */
function scanRungs(direction: "forward" | "backward"): readonly Rung[] {
  const [entry, ends, chunks] = [minGru[direction], minGru[`${direction}Ends`], minGru[`${direction}Chunks`]].map(any);
  const variant = entry!.variants[0]!.name;
  return [
    {
      name: "a dispatch a step",
      entry: entry!,
      variant,
      record(recorder, tensors, { t, count, ...params }) {
        for (let i = 0; i < count!; i++) {
          const step = { ...params, t: direction === "forward" ? t! + i : t! - i, count: 1, chunk: 1 };
          recorder.dispatch(entry!, tensors, step, variant);
        }
      },
    },
    ...libraryRungs(entry!),
    {
      name: "two dispatches",
      entry: entry!,
      variant,
      record(recorder, tensors, params) {
        for (const each of [ends!, chunks!]) recorder.dispatch(each, tensors, { ...params, chunk: CHUNK });
      },
    },
  ];
}
const scanShapes = (direction: "forward" | "backward"): readonly KernelCase[] => [
  scanCase(direction, 1, 128, 1024),
  scanCase(direction, 32, 128, 1024),
  scanCase(direction, 1, 8, 8192),
];

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
    name: "scan",
    entry: any(minGru.forward),
    // u, k and h; g and z written over the first two.
    bytes: ({ B, H, count }) => 20 * B! * pad4(H!) * count!,
    shapes: scanShapes("forward"),
    rungs: [
      fileRung("scan", "01-scalars", any(minGru.forward), "forwardScalars", ({ B, H }) => [up(lanesOf({ B: B!, H: H! }) / 2)]),
      ...scanRungs("forward"),
    ],
  },
  {
    name: "scan-backward",
    entry: any(minGru.backward),
    // The gradient of h, g, z and h; those of u and k.
    bytes: ({ B, H, count }) => 24 * B! * pad4(H!) * count!,
    shapes: scanShapes("backward"),
    rungs: scanRungs("backward"),
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
        params: {
          count: 2 ** 18,
          decayed: 2 ** 18,
          decoupled: 0,
          oneMinusBeta1: 0.1,
          oneMinusBeta2: 0.001,
          epsilon: 1e-8,
          weightDecay: 0,
        },
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

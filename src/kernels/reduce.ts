// reduce: sums in a fixed order. `columns` adds up the rows of values[N,W], W stored; `sum` the losses and hits of
// rows[N,2]. `norm` ends a training step: its loss, the global norm of the flat gradient and, from it, the factor
// that clips it; `squares` does the larger part of it for many parameters.
// The results for the host and the optimizers stand in metrics[8]: METRIC names its elements.
import source from "../../shaders/reduce.wgsl?raw";
import { defineKernel, divideUp, entry, type CaseTensor } from "../runtime/kernel.ts";
import { pad4 } from "../runtime/tensor.ts";
import { floatToBits } from "./integers.ts";

/** Elements of `metrics`. `skipped` counts non-finite norms; once it is not 0, optimizers rest. */
export const METRIC = { loss: 0, correct: 1, norm: 2, factor: 3, skipped: 4, count: 8 } as const;
/** vec4s of gradients up to which one workgroup finds the norm alone. */
export const SMALL_GRADIENT = 32768;
/** Sums of squares that `squares` leaves for `norm`, in a tensor PARTIAL_SHAPE: each is sum · unit², unit a power of two. */
const PARTIALS = 1024;
export const PARTIAL_SHAPE = { shape: [PARTIALS, 2], stored: [PARTIALS, 2] } as const;
/** vec4s of that tensor. */
export const PARTIAL_COUNT = PARTIALS / 2;
/** vec4s that go to one partial in a row. */
const BLOCK = 64;

/** The power of two below a magnitude, with which it is divided before it is squared: its square is from 1 to 4 then. */
const unitOf = (x: number): number => 2 ** (Math.min(Math.max(floatToBits(Math.abs(x)) >>> 23, 1), 253) - 127);

const columns = entry({
  params: { N: "u32", W: "u32", accumulate: "u32", inOffset: "u32" },
  bindings: { values: "read", out: "read_write" },
  variants: [
    { name: "serial", constants: { COLUMNS: 8 } },
    { name: "split rows", entryPoint: "columnsSplit", constants: { COLUMNS: 16 }, preferred: (_, family) => family === "gpu" },
  ],
  workgroups: ({ W }, { COLUMNS }) => [divideUp(W / 4, COLUMNS!)],
  work: ({ N, W }) => N * W,
  reference({ values, out }, { N, W, accumulate, inOffset }) {
    for (let w = 0; w < W; w++) {
      let sum = 0;
      for (let n = 0; n < N; n++) sum += values[inOffset + n * W + w]!;
      out[w] = accumulate ? out[w]! + sum : sum;
    }
  },
  cases: () =>
    [
      [1, 1, 0, 0],
      [3, 65, 0, 2],
      [65, 3, 1, 0],
      [200, 130, 1, 1],
    ].map(([N, width, accumulate, firstRow]) => ({
      name: `N=${N} W=${width} from row ${firstRow}${accumulate ? ", added" : ""}`,
      params: { N: N!, W: pad4(width!), accumulate: accumulate!, inOffset: firstRow! * pad4(width!) },
      tensors: { values: { shape: [firstRow! + N!, width!] }, out: { shape: [width!] } },
    })),
});

const sum = entry({
  params: { N: "u32", accumulate: "u32", scale: "f32" },
  bindings: { rows: "read", metrics: "read_write" },
  workgroups: () => [1],
  work: ({ N }) => 2 * N,
  reference({ rows, metrics }, { N, accumulate, scale }) {
    let loss = 0;
    let correct = 0;
    for (let n = 0; n < N; n++) {
      loss += rows[2 * n]!;
      correct += rows[2 * n + 1]!;
    }
    metrics[METRIC.loss] = (accumulate ? metrics[METRIC.loss]! : 0) + scale * loss;
    metrics[METRIC.correct] = (accumulate ? metrics[METRIC.correct]! : 0) + correct;
  },
  cases: () =>
    [
      [1, 0],
      [3, 1],
      [65, 0],
      [1000, 1],
    ].map(([N, accumulate]) => ({
      name: `N=${N}${accumulate ? ", added" : ""}`,
      params: { N: N!, accumulate: accumulate!, scale: 1 / N! },
      tensors: { rows: { shape: [N!, 2], stored: [N!, 2] }, metrics: metricsTensor() },
    })),
});

const squares = entry({
  params: { count: "u32" },
  bindings: { values: "read", partials: "read_write" },
  variants: [
    { name: "a partial an invocation", constants: { LANES: 64 } },
    {
      name: "a partial a workgroup",
      entryPoint: "squaresTree",
      constants: { LANES: 1 },
      preferred: (_, family) => family === "gpu",
    },
  ],
  workgroups: (_, { LANES }) => [PARTIALS / LANES!],
  work: ({ count }) => 8 * count,
  reference({ values, partials }, { count }) {
    const partialOf = (i: number): number => 2 * (Math.floor(i / 4 / BLOCK) % PARTIALS);
    for (let i = 0; i < 2 * PARTIALS; i++) partials[i] = i % 2 ? unitOf(0) : 0;
    for (let i = 0; i < 4 * count; i++) {
      const unit = partialOf(i) + 1;
      partials[unit] = Math.max(partials[unit]!, unitOf(values[i]!));
    }
    for (let i = 0; i < 4 * count; i++) partials[partialOf(i)]! += (values[i]! / partials[partialOf(i) + 1]!) ** 2;
  },
  cases: () =>
    [
      { count: 1 },
      { count: 3 },
      { count: 65 },
      { count: 1000 },
      { count: 70000 },
      { count: 65, size: "huge", fill: (i: number) => (i % 5) * 2e37 },
      { count: 70000, size: "tiny", fill: (i: number) => (i % 5) * 1e-37 },
      { count: 70000, size: "mixed", fill: (i: number) => (i % 5) * 10 ** ((i % 61) - 30) },
    ].map(({ count, size = "", fill }) => ({
      name: `${count} vec4 ${size}`,
      params: { count },
      tensors: { values: { shape: [4 * count], ...(fill && { fill }) }, partials: PARTIAL_SHAPE },
    })),
});

const norm = entry({
  params: { count: "u32", squares: "u32", clip: "f32", N: "u32", scale: "f32" },
  bindings: { values: "read", rows: "read", metrics: "read_write" },
  workgroups: () => [1],
  work: ({ count, N }) => 8 * count + 2 * N,
  reference({ values, rows, metrics }, { count, squares, clip, N, scale }) {
    let total = 0;
    if (squares) for (let i = 0; i < 4 * count; i++) total += values[i]! ** 2;
    else for (let i = 0; i < 4 * count; i += 2) total += values[i]! * values[i + 1]! ** 2;
    let loss = 0;
    let correct = 0;
    for (let n = 0; n < N; n++) {
      loss += rows[2 * n]!;
      correct += rows[2 * n + 1]!;
    }
    const size = Math.sqrt(total);
    metrics[METRIC.loss] = scale * loss;
    metrics[METRIC.correct] = correct;
    metrics[METRIC.norm] = size;
    // As torch.nn.utils.clip_grad_norm_.
    metrics[METRIC.factor] = clip > 0 ? Math.min(1, clip / (size + 1e-6)) : 1;
    if (!Number.isFinite(size)) {
      metrics[METRIC.factor] = 0;
      metrics[METRIC.skipped]! += 1;
    }
  },
  cases: () =>
    [
      { name: "clipped", count: 512, clip: 0.25, N: 65, squares: 0, at: partials((i) => i % 7) },
      { name: "small enough", count: 512, clip: 100, N: 1, squares: 0, at: partials((i) => (i % 3) / 65) },
      { name: "not to be clipped", count: 512, clip: 0, N: 3, squares: 0, at: partials((i) => i % 5) },
      { name: "of partials in many units", count: 512, clip: 1, N: 3, squares: 0, at: partials((i) => i % 5, -60, 29) },
      { name: "of huge partials", count: 512, clip: 1, N: 3, squares: 0, at: partials((i) => i % 2, 110) },
      { name: "of tiny partials", count: 512, clip: 1, N: 3, squares: 0, at: partials((i) => i % 5, -100) },
      { name: "of huge gradients", count: 1001, clip: 1, N: 7, squares: 1, at: (i: number) => ((i % 9) - 4) * 1e35 },
      { name: "of tiny gradients", count: 1001, clip: 1, N: 7, squares: 1, at: (i: number) => ((i % 9) - 4) * 1e-30 },
      { name: "of the gradients", count: 1001, clip: 1, N: 700, squares: 1, at: (i: number) => (i % 9) - 4 },
      { name: "of few gradients", count: 3, clip: 1, N: 65, squares: 1, at: (i: number) => i - 4 },
      { name: "all zero", count: 1, clip: 1, N: 1, squares: 1, at: () => 0 },
      { name: "infinite", count: 512, clip: 1, N: 1, squares: 0, at: partials((i) => (i === 65 ? Infinity : 1)) },
      { name: "not a number", count: 512, clip: 0, N: 1, squares: 0, at: partials((i) => (i === 1023 ? NaN : 1)) },
      {
        name: "of a gradient that is not a number",
        count: 9,
        clip: 0,
        N: 1,
        squares: 1,
        at: (i: number) => (i === 35 ? NaN : 1),
      },
    ].map(({ name, count, clip, N, squares, at }) => ({
      name,
      params: { count, squares, clip, N, scale: 1 / N },
      tensors: {
        values: { shape: [4 * count], fill: at },
        rows: { shape: [N, 2], stored: [N, 2] },
        metrics: metricsTensor(3),
      },
    })),
});

/** Partials of a case: the i-th is sum(i) in a unit 2^low to 2^high. */
const partials =
  (sum: (i: number) => number, low = 0, high = low) =>
  (at: number): number =>
    at % 2 ? 2 ** (low + ((at >> 1) % (high - low + 1))) : sum(at >> 1);

/** Metrics of a case, with a number of non-finite steps before it. */
export const metricsTensor = (skipped = 0, factor = 1): CaseTensor => ({
  shape: [METRIC.count],
  fill: (i) => (i === METRIC.skipped ? skipped : i === METRIC.factor ? factor : i / 8),
});

export const reduce = defineKernel("reduce", source, { columns, sum, squares, norm });

// rms-norm: y = x ⊙ weight / √(mean of x² + ε), row by row, ε = 1e-5 (Zhang & Sennrich 2019), and its gradients. Where a
// block adds to x what it makes of y, forward copies x to where it does, and backward adds the gradient that came past it.
// The shapes stand beside the bindings in shaders/rms-norm.wgsl.
import source from "../../shaders/rms-norm.wgsl?raw";
import { defineKernel, entry, linearWorkgroups, type Params, type Variant } from "../runtime/kernel.ts";
import type { Recorder } from "../runtime/recorder.ts";
import { pad4, type Tensor } from "../runtime/tensor.ts";
import type { Matrix } from "./matmul.ts";

export const EPSILON = 1e-5;
const LANES = 64;

const params = { N: "u32", D: "u32", xFirst: "u32", yFirst: "u32", copy: "u32" } as const;
type NormParams = { readonly [K in keyof typeof params]: number };

const shared = (direction: string) => ({
  params,
  variants: [
    { name: "a row an invocation" },
    {
      name: "a row a workgroup",
      entryPoint: `${direction}Tree`,
      workgroups: ({ N }: Params) => linearWorkgroups(N!, 1),
      preferred: (_: unknown, family: string) => family === "gpu",
    },
  ] as readonly Variant[],
  workgroups: ({ N }: NormParams) => linearWorkgroups(N, LANES),
  tuneBy: ({ N, D }: NormParams) => [N, D],
  work: ({ N, D }: NormParams) => 8 * N * D,
});

const forward = entry({
  ...shared("forward"),
  bindings: { x: "read", weight: "read", y: "read_write", scales: "read_write", out: "read_write" },
  reference({ x, weight, y, scales, out }, { N, D, xFirst, yFirst, copy }) {
    const W = pad4(D);
    for (let n = 0; n < N; n++) {
      const [from, to] = [(xFirst + n) * W, (yFirst + n) * W];
      let squares = 0;
      for (let i = 0; i < D; i++) squares += x[from + i]! ** 2;
      const scale = 1 / Math.sqrt(squares / D + EPSILON);
      scales[yFirst + n] = scale;
      for (let i = 0; i < D; i++) {
        y[to + i] = x[from + i]! * scale * weight[i]!;
        if (copy) out[to + i] = x[from + i]!;
      }
    }
  },
  cases: () =>
    SIZES.map(({ N, D, xFirst, yFirst, copy }) => ({
      name: `N=${N} D=${D}${copy ? " copied" : ""}`,
      params: { N, D, xFirst, yFirst, copy },
      tensors: {
        x: { shape: [xFirst + N, D] },
        weight: { shape: [D] },
        y: { shape: [yFirst + N, D] },
        scales: { shape: [yFirst + N] },
        out: { shape: [yFirst + N, D] },
      },
    })),
});

const backward = entry({
  ...shared("backward"),
  bindings: { x: "read", weight: "read", savedScales: "read", dY: "read", dOut: "read", dX: "read_write" },
  reference({ x, weight, savedScales, dY, dOut, dX }, { N, D, xFirst, yFirst, copy }) {
    const W = pad4(D);
    for (let n = 0; n < N; n++) {
      const [from, to] = [(xFirst + n) * W, (yFirst + n) * W];
      const scale = savedScales[yFirst + n]!;
      let along = 0;
      for (let i = 0; i < D; i++) along += weight[i]! * dY[to + i]! * x[from + i]!;
      along *= (scale * scale) / D;
      for (let i = 0; i < D; i++)
        dX[from + i] = scale * (weight[i]! * dY[to + i]! - x[from + i]! * along) + (copy ? dOut[from + i]! : 0);
    }
  },
  cases: () =>
    SIZES.map(({ N, D, xFirst, yFirst, copy }) => ({
      name: `N=${N} D=${D}${copy ? " and past it" : ""}`,
      params: { N, D, xFirst, yFirst, copy },
      tensors: {
        x: { shape: [xFirst + N, D] },
        weight: { shape: [D] },
        savedScales: { shape: [yFirst + N] },
        dY: { shape: [yFirst + N, D] },
        dOut: { shape: [xFirst + N, D] },
        dX: { shape: [xFirst + N, D] },
      },
    })),
});

const weights = entry({
  params,
  bindings: { x: "read", rowScales: "read", dRows: "read", dWeight: "read_write" },
  workgroups: ({ D }) => [pad4(D) / 4],
  work: ({ N, D }) => 4 * N * D,
  reference({ x, rowScales, dRows, dWeight }, { N, D, xFirst }) {
    const W = pad4(D);
    for (let i = 0; i < D; i++) {
      let sum = 0;
      for (let n = 0; n < N; n++) sum += dRows[n * W + i]! * x[(xFirst + n) * W + i]! * rowScales[n]!;
      dWeight[i] = sum;
    }
  },
  cases: () =>
    [...SIZES, { N: 600, D: 5, xFirst: 0, yFirst: 0, copy: 0 }].map(({ N, D, xFirst, yFirst, copy }) => ({
      name: `N=${N} D=${D}`,
      params: { N, D, xFirst, yFirst, copy },
      tensors: {
        x: { shape: [xFirst + N, D] },
        rowScales: { shape: [N] },
        dRows: { shape: [N, D] },
        dWeight: { shape: [D] },
      },
    })),
});

const SIZES = [
  { N: 1, D: 1, xFirst: 0, yFirst: 0, copy: 0 },
  { N: 3, D: 65, xFirst: 2, yFirst: 0, copy: 0 },
  { N: 65, D: 3, xFirst: 1, yFirst: 1, copy: 1 },
  { N: 70, D: 300, xFirst: 0, yFirst: 0, copy: 1 },
] as const;

export const rmsNorm = defineKernel("rms-norm", source, { forward, backward, weights });

/** A norm in a plan, of rows [R, D]. */
export interface Norm {
  readonly y: Matrix;
  /** From rows of x, its first on, to as many of y from `yFirst` on; x is copied to those rows of `out`, if there is one. */
  forward(x: Matrix, yFirst: number, out?: Tensor): void;
  /** Of all rows: the gradient of x, in its rows, with that of `past` added, and of the weight. */
  backward(recorder: Recorder, x: Matrix, dY: Tensor, to: NormGradients): void;
}

interface NormGradients {
  readonly dX: Tensor;
  readonly dWeight?: Tensor | undefined;
  /** What came past the norm, in x's rows. */
  readonly past?: Tensor;
}

export function makeNorm(recorder: Recorder, name: string, weight: Tensor, rows: number, D: number): Norm {
  const y = recorder.tensor({ name: `${name}.y`, shape: [rows, D] });
  const scales = recorder.tensor({ name: `${name}.scales`, shape: [rows] });
  return {
    y: { tensor: y, rows, columns: D },
    forward({ tensor: x, rows: N, firstRow: xFirst = 0 }, yFirst, out) {
      const given = { N, D, xFirst, yFirst, copy: Number(out !== undefined) };
      recorder.dispatch(rmsNorm.forward, { x, weight, y, scales, out: out ?? recorder.unused() }, given);
    },
    backward(back, { tensor: x, firstRow: xFirst = 0 }, dY, { dX, dWeight, past }) {
      const given = { N: rows, D, xFirst, yFirst: 0, copy: Number(past !== undefined) };
      if (dWeight) back.dispatch(rmsNorm.weights, { x, rowScales: scales, dRows: dY, dWeight }, given);
      back.dispatch(rmsNorm.backward, { x, weight, savedScales: scales, dY, dOut: past ?? back.unused(), dX }, given);
    },
  };
}

// complex-scan: a diagonal complex recurrence, the same at all times. Each channel of x[T,B,H] drives P complex states h,
// h' = a h + b x, and y = 2 Re Σ C h + D x. Backward keeps no states, only x: with λ the gradient of a state from what comes
// after it, q = λ + ∂y at a step, for C = ½, the gradient of b is made of Σ x q, that of C of b̄ Σ x q, and that of a of
// b̄ Σ x λ', λ' being the derivative of λ by ā: h itself is b times a sum of x. Gradients of final states come in the same way.
import source from "../../shaders/complex-scan.wgsl?raw";
import { fraction, randomWord, STREAM } from "../random.ts";
import { defineKernel, entry, linearWorkgroups, type CaseTensor, type Constants, type Variant } from "../runtime/kernel.ts";
import { pad4, type NumberArray } from "../runtime/tensor.ts";
import { at, conj, plus, put, scaled, times } from "./complex.ts";

/** As in shaders/complex-scan.wgsl, where comments say what they are. */
const PARAMS = {
  B: "u32",
  H: "u32",
  P: "u32",
  t: "u32",
  count: "u32",
  ragged: "u32",
  ends: "u32",
  xOffset: "u32",
  xStride: "u32",
  dxOffset: "u32",
  dxStride: "u32",
} as const;
type ScanParams = { readonly [K in keyof typeof PARAMS]: number };

const VARIANTS: readonly Variant[] = [
  { name: "8 lanes", family: "software", constants: { WORKGROUP: 8 } },
  { name: "32 lanes", family: "gpu", constants: { WORKGROUP: 32 } },
];
const shared = {
  params: PARAMS,
  variants: VARIANTS,
  workgroups: ({ B, H }: ScanParams, { WORKGROUP }: Constants) => linearWorkgroups(B * H, WORKGROUP!),
} as const;

/** How many of the first `most` steps row b has. */
const stepsOf = (lengths: NumberArray, b: number, { ragged }: ScanParams, most: number): number =>
  ragged ? Math.min(most, lengths[b]!) : most;

/** Real and imaginary parts of a, b and C of a pair. */
const pairAt = (coefficient: NumberArray, i: number, stride: number) =>
  [0, 1, 2, 3, 4, 5].map((k) => coefficient[i + k * stride]!) as [number, number, number, number, number, number];

const forward = entry({
  ...shared,
  bindings: { coefficient: "read", lengths: "read", x: "read", h: "read_write", y: "read_write" },
  work: ({ B, H, P, count }) => (16 * P + 2) * B * H * count,
  reference({ coefficient, lengths, x, h, y }, params) {
    const { B, H, P, t: begin, count, xOffset, xStride } = params;
    const stride = pad4(P);
    for (let row = 0; row < B; row++) {
      const last = stepsOf(lengths, row, params, begin + count);
      for (let j = 0; j < H; j++) {
        const made = 12 * j * stride;
        const input = (t: number): number => x[xOffset + (t * B + row) * xStride + j]!;
        const to = (t: number): number => (t * B + row) * pad4(H) + j;
        for (let t = begin; t < begin + count; t++) y[to(t)] = t < last ? coefficient[made + 11 * stride]! * input(t) : 0;
        for (let n = 0; n < P; n++) {
          const [aRe, aIm, bRe, bIm, CRe, CIm] = pairAt(coefficient, made + n, stride);
          const i = 2 * ((row * H + j) * stride + n);
          for (let t = begin; t < last; t++) {
            const [re, im] = [h[i]!, h[i + 1]!];
            h[i] = aRe * re - aIm * im + bRe * input(t);
            h[i + 1] = aRe * im + aIm * re + bIm * input(t);
            y[to(t)]! += 2 * (CRe * h[i]! - CIm * h[i + 1]!);
          }
        }
      }
    }
  },
  cases: () =>
    SIZES.map((sizes) =>
      scanCase(sizes, sizes.t ?? 0, 0, ({ B, H, P, T }) => ({
        h: stateTensor([B, H, P]),
        y: { shape: [T, B, H] },
      })),
    ),
});

const backward = entry({
  ...shared,
  bindings: {
    coefficient: "read",
    lengths: "read",
    x: "read",
    dOutput: "read",
    lambda: "read_write",
    dLambda: "read_write",
    sums: "read_write",
    dx: "read_write",
  },
  work: ({ B, H, P, count }) => (30 * P + 4) * B * H * count,
  reference({ coefficient, lengths, x, dOutput, lambda, dLambda, sums, dx }, params) {
    const { B, H, P, t: end, count, ends, xOffset, xStride, dxOffset, dxStride } = params;
    const stride = pad4(P);
    for (let row = 0; row < B; row++) {
      const last = stepsOf(lengths, row, params, end + 1);
      for (let j = 0; j < H; j++) {
        const item = row * H + j;
        const made = 12 * j * stride;
        const input = (t: number): number => x[xOffset + (t * B + row) * xStride + j]!;
        const to = (t: number): number => dxOffset + (t * B + row) * dxStride + j;
        const dy = (t: number): number => (ends ? 0 : dOutput[(t * B + row) * pad4(H) + j]!);
        for (let t = end; t > end - count; t--) {
          if (ends) break;
          dx[to(t)] = t < last ? coefficient[made + 11 * stride]! * dy(t) : 0;
          if (t < last) sums[(9 * item + 8) * stride]! += dy(t) * input(t);
        }
        for (let n = 0; n < P; n++) {
          const [aRe, aIm, bRe, bIm, CRe, CIm] = pairAt(coefficient, made + n, stride);
          const i = 2 * (item * stride + n);
          const sum = 9 * item * stride + n;
          for (let t = last - 1; t > end - count; t--) {
            const [re, im] = [lambda[i]! + dy(t), lambda[i + 1]!];
            const [dRe, dIm] = [dLambda[i]!, dLambda[i + 1]!];
            dx[to(t)]! += ends ? bRe * re + bIm * im : 2 * ((bRe * CRe - bIm * CIm) * re + (bRe * CIm + bIm * CRe) * im);
            sums[sum]! += input(t) * re;
            sums[sum + stride]! += input(t) * im;
            sums[sum + 2 * stride]! += input(t) * dRe;
            sums[sum + 3 * stride]! += input(t) * dIm;
            dLambda[i] = aRe * dRe + aIm * dIm + re;
            dLambda[i + 1] = aRe * dIm - aIm * dRe + im;
            lambda[i] = aRe * re + aIm * im;
            lambda[i + 1] = aRe * im - aIm * re;
          }
        }
      }
    }
  },
  cases: () =>
    SIZES.flatMap((sizes) =>
      [0, 1].map((ends) =>
        scanCase(sizes, sizes.T - 1, ends, ({ B, H, P, T }) => ({
          dOutput: { shape: [T, B, H] },
          lambda: stateTensor([B, H, P]),
          dLambda: stateTensor([B, H, P]),
          sums: { shape: [B, H, 9, P] },
          dx: { shape: [T, B, H] },
        })),
      ),
    ),
});

const first = entry({
  params: PARAMS,
  workgroups: ({ B, H, P }) => linearWorkgroups(B * H * P, 64),
  bindings: { h0: "read", firstLambda: "read", firstDLambda: "read", rowSums: "read_write" },
  work: ({ B, H, P }) => 12 * B * H * P,
  reference({ h0, firstLambda, firstDLambda, rowSums }, { B, H, P }) {
    const stride = pad4(P);
    for (let item = 0; item < B * H; item++)
      for (let n = 0; n < P; n++)
        [firstLambda, firstDLambda].forEach((of, k) => {
          const state = 2 * (item * stride + n);
          put(rowSums, (9 * item + 4 + 2 * k) * stride + n, times(conj(at(h0, state)), at(of, state)), stride);
        });
  },
  cases: () =>
    SMALL.map((sizes) =>
      scanCase(sizes, 0, 0, ({ B, H, P }) => ({
        h0: stateTensor([B, H, P]),
        firstLambda: stateTensor([B, H, P]),
        firstDLambda: stateTensor([B, H, P]),
        rowSums: { shape: [B, H, 9, P] },
      })),
    ),
});

const initial = entry({
  params: PARAMS,
  workgroups: ({ B, H, P }) => linearWorkgroups(B * H * P, 64),
  bindings: { coefficients: "read", fromOutput: "read", fromEnds: "read", dInitial: "read_write" },
  work: ({ B, H, P }) => 8 * B * H * P,
  reference({ coefficients, fromOutput, fromEnds, dInitial }, { B, H, P }) {
    const stride = pad4(P);
    for (let item = 0; item < B * H; item++)
      for (let n = 0; n < P; n++) {
        const state = 2 * (item * stride + n);
        const C = at(coefficients, (12 * (item % H) + 4) * stride + n, stride);
        put(dInitial, state, plus(times(conj(scaled(2, C)), at(fromOutput, state)), at(fromEnds, state)));
      }
  },
  cases: () =>
    SMALL.map((sizes) =>
      scanCase(sizes, 0, 0, ({ B, H, P }) => ({
        coefficients: coefficientTensor(H, P),
        fromOutput: stateTensor([B, H, P]),
        fromEnds: stateTensor([B, H, P]),
        dInitial: stateTensor([B, H, P]),
      })),
    ),
});

/** Sizes of cases; from step t on. */
export interface ScanSizes {
  readonly B: number;
  readonly H: number;
  readonly P: number;
  readonly T: number;
  readonly t?: number;
  readonly lengths?: readonly number[];
}
export const SIZES: readonly ScanSizes[] = [
  { B: 1, H: 1, P: 1, T: 1 },
  { B: 3, H: 3, P: 2, T: 2 },
  { B: 3, H: 5, P: 8, T: 5, t: 2, lengths: [4, 0, 5] },
  { B: 1, H: 1, P: 8, T: 1000 },
  { B: 9, H: 65, P: 9, T: 3 },
  { B: 2, H: 3, P: 5, T: 65, lengths: [64, 65] },
];

/** Without the one in which some products cancel by chance. */
const SMALL = SIZES.filter(({ H }) => H < 65);

/** From [0, 1). */
export const unit = (i: number, stream: number): number => fraction(randomWord(1, stream, i, STREAM.init));

/** States [..., P]: complex, their pairs padded. */
const stateTensor = (shape: readonly number[]): CaseTensor => ({
  shape: [...shape, 2],
  stored: [...shape.slice(0, -1), pad4(shape.at(-1)!), 2],
});

/** a lies inside the unit circle, else states would grow without end. */
export const coefficientTensor = (H: number, P: number): CaseTensor => ({
  shape: [H, 12, P],
  fill: (i) => {
    const k = Math.floor(i / P) % 12;
    const angle = 3 * unit(Math.floor(i / P / 12) * P + (i % P), 5);
    if (k < 2) return 0.99 * (k === 0 ? Math.cos(angle) : Math.sin(angle));
    return k < 11 ? 2 * unit(i, 6) - 1 : 0.5 + unit(Math.floor(i / P), 7);
  },
});

function scanCase(
  sizes: ScanSizes,
  t: number,
  ends: number,
  tensors: (sizes: ScanSizes) => Readonly<Record<string, CaseTensor>>,
) {
  const { B, H, P, T, t: begin = 0, lengths } = sizes;
  // Rows that lie in a wider matrix.
  const [stride, offset] = [pad4(H) + 4, 4 + pad4(H)];
  const what = `${lengths ? ", rows of unequal length" : ""}${ends ? ", of final states" : ""}`;
  return {
    name: `B=${B} H=${H} P=${P}, steps ${begin} to ${T}${what}`,
    params: {
      B,
      H,
      P,
      t,
      count: T - begin,
      ragged: Number(lengths !== undefined),
      ends,
      xOffset: offset,
      xStride: stride,
      dxOffset: 0,
      dxStride: pad4(H),
    },
    tensors: {
      coefficient: coefficientTensor(H, P),
      lengths: { shape: [B], dtype: "u32" as const, fill: (i: number) => lengths?.[i] ?? T },
      x: { shape: [T + 1, B, stride] },
      ...tensors(sizes),
    },
  };
}

export const complexScan = defineKernel("complex-scan", source, { forward, backward, first, initial });

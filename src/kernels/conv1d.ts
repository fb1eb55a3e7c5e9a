// conv1d: a causal convolution over time, each channel by itself, and SiLU behind it, as in Mamba's block (Gu & Dao 2023):
//   u[t] = bias + Σ_k weight[k] · x[t − (K − 1) + k]      y = SiLU(u) = u·σ(u)
// with the K − 1 steps in front of the first carried from window to window. Channels are padded to a multiple of four.
// The shapes stand beside the bindings in shaders/conv1d.wgsl.
import source from "../../shaders/conv1d.wgsl?raw";
import {
  defineKernel,
  divideUp,
  entry,
  linearWorkgroups,
  type CaseTensor,
  type Params,
  type Variant,
  type Workgroups,
} from "../runtime/kernel.ts";
import type { Recorder } from "../runtime/recorder.ts";
import { pad4, type NumberArray, type Tensor, type TensorSpec } from "../runtime/tensor.ts";
import type { StateRows, Tensors } from "./cell.ts";
import type { Matrix } from "./matmul.ts";
import { sigmoid } from "./recurrent.ts";

const params = {
  B: "u32",
  W: "u32",
  K: "u32",
  T: "u32",
  t: "u32",
  count: "u32",
  stride: "u32",
} as const;
type ConvParams = { readonly [K in keyof typeof params]: number };

/** vec4s, or strips of steps of vec4s, that a workgroup covers. */
const ITEMS = 64;
/** Steps of a strip: where loads are dear, each value is loaded once for the four that it is a tap of. */
const STEPS = 16;
const fourTaps = (name: string, entryPoint: string, workgroups: (p: Params) => Workgroups): readonly Variant[] => [
  { name: "any taps" },
  { name, entryPoint, workgroups, supports: ({ K }) => K === 4, preferred: (_, family) => family === "software" },
];
const shared = (direction: string) => ({
  params,
  variants: fourTaps(`four taps, ${STEPS} steps`, `${direction}Steps`, ({ B, W, count }) =>
    linearWorkgroups(((B! * W!) / 4) * divideUp(count!, STEPS), ITEMS),
  ),
  workgroups: ({ B, W, count }: ConvParams) => linearWorkgroups((B * W * count) / 4, ITEMS),
  work: ({ B, W, K, count }: ConvParams) => (2 * K + 10) * B * W * count,
});

/** x of row b and channel c at step t, which may lie in front of the first. */
const inputAt = (
  x: NumberArray,
  before: NumberArray,
  { B, W, K, stride }: ConvParams,
  t: number,
  b: number,
  c: number,
): number => (t >= 0 ? x[(t * B + b) * stride + c]! : before[(b * W + c) * pad4(K - 1) + K - 1 + t]!);

interface ConvInputs {
  readonly x: NumberArray;
  readonly before: NumberArray;
  readonly weight: NumberArray;
  readonly bias: NumberArray;
}

/** Visits the elements of the steps, with u of each. */
function forEach({ x, before, weight, bias }: ConvInputs, p: ConvParams, visit: (at: number, u: number) => void): void {
  const { B, W, K, t: first, count } = p;
  for (let t = first; t < first + count; t++) {
    for (let b = 0; b < B; b++) {
      for (let c = 0; c < W; c++) {
        let u = bias[c]!;
        for (let k = 0; k < K; k++) u += weight[c * pad4(K) + k]! * inputAt(x, before, p, t - (K - 1) + k, b, c);
        visit((t * B + b) * W + c, u);
      }
    }
  }
}

const forward = entry({
  ...shared("forward"),
  bindings: { x: "read", before: "read", weight: "read", bias: "read", y: "read_write" },
  reference: ({ y, ...inputs }, p) => forEach(inputs, p, (at, u) => (y[at] = u * sigmoid(u))),
  cases: () => cases(({ T, B, C, K }) => ({ ...inputTensors(T, B, C, K), y: { shape: [T, B, C] } })),
});

const activation = entry({
  ...shared("activation"),
  bindings: { x: "read", before: "read", weight: "read", bias: "read", d: "read_write" },
  reference: ({ d, ...inputs }, p) =>
    forEach(inputs, p, (at, u) => {
      const s = sigmoid(u);
      d[at]! *= s + u * s * (1 - s);
    }),
  cases: () => cases(({ T, B, C, K }) => ({ ...inputTensors(T, B, C, K), d: { shape: [T, B, C] } })),
});

const input = entry({
  ...shared("input"),
  bindings: { dU: "read", inputWeight: "read", dX: "read_write" },
  reference({ dU, inputWeight, dX }, { B, W, K, T, t: first, count, stride }) {
    for (let t = first; t < first + count; t++) {
      for (let b = 0; b < B; b++) {
        for (let c = 0; c < W; c++) {
          let sum = 0;
          for (let ahead = 0; ahead < Math.min(K, T - t); ahead++)
            sum += inputWeight[c * pad4(K) + K - 1 - ahead]! * dU[((t + ahead) * B + b) * W + c]!;
          dX[(t * B + b) * stride + c] = sum;
        }
      }
    }
  },
  cases: () =>
    cases(({ T, B, C, K }) => ({
      dU: { shape: [T, B, C] },
      inputWeight: convTensor([C, 1, K]),
      dX: { shape: [T, B, 2, C] },
    })),
});

const weights = entry({
  params,
  variants: fourTaps("four taps together", "weightsTogether", ({ W }) => [W! / 4]),
  bindings: { x: "read", before: "read", dRows: "read", dWeight: "read_write", dBias: "read_write" },
  workgroups: ({ W, K }) => [W / 4, K + 1],
  work: ({ B, W, K, T }) => 2 * B * W * (K + 1) * T,
  reference({ x, before, dRows, dWeight, dBias }, p) {
    const { B, W, K, T } = p;
    for (let c = 0; c < W; c++) {
      for (let k = 0; k <= K; k++) {
        let sum = 0;
        for (let row = 0; row < T * B; row++) {
          const factor = k < K ? inputAt(x, before, p, Math.floor(row / B) - (K - 1) + k, row % B, c) : 1;
          sum += dRows[row * W + c]! * factor;
        }
        if (k < K) dWeight[c * pad4(K) + k] = sum;
        else dBias[c] = sum;
      }
    }
  },
  cases: () =>
    cases(({ T, B, C, K }) => {
      const { x, before } = inputTensors(T, B, C, K);
      return { x, before, dRows: { shape: [T, B, C] }, dWeight: convTensor([C, 1, K]), dBias: { shape: [C] } };
    }),
});

const carry = entry({
  params,
  bindings: { x: "read", before: "read", after: "read_write" },
  workgroups: ({ B, W }) => linearWorkgroups((B * W) / 4, ITEMS),
  work: ({ B, W, K }) => 2 * B * W * K,
  reference({ x, before, after }, p) {
    const { B, W, K, T } = p;
    for (let b = 0; b < B; b++) {
      for (let c = 0; c < W; c++) {
        for (let j = 0; j < K - 1; j++) after[(b * W + c) * pad4(K - 1) + j] = inputAt(x, before, p, T - (K - 1) + j, b, c);
      }
    }
  },
  cases: () =>
    cases(({ T, B, C, K }) => {
      const { x, before } = inputTensors(T, B, C, K);
      return { x, before, after: { ...before, fill: () => 0 } };
    }),
});

/** Stored with the channels, the last axis but `inner`, padded too. */
const convStored = (shape: readonly number[], inner: number): readonly number[] =>
  shape.map((n, axis) => (axis === shape.length - 1 || axis === shape.length - 1 - inner ? pad4(n) : n));

/** A weight of the convolution, or what is laid out as one: [channels, 1, K]. */
const convTensor = (shape: readonly number[]): CaseTensor => ({ shape, stored: convStored(shape, 2) });
const stateTensor = (shape: readonly number[]): CaseTensor => ({ shape, stored: convStored(shape, 1) });

const inputTensors = (T: number, B: number, C: number, K: number) => ({
  x: { shape: [T, B, 2, C] },
  before: stateTensor([B, C, K - 1]),
  weight: convTensor([C, 1, K]),
  bias: { shape: [C] },
});

function cases<T>(tensors: (sizes: { T: number; B: number; C: number; K: number }) => T) {
  return [
    { T: 1, B: 1, C: 1, K: 2, t: 0, count: 1 },
    { T: 3, B: 3, C: 65, K: 4, t: 0, count: 3 },
    { T: 65, B: 2, C: 3, K: 4, t: 0, count: 65 },
    { T: 2, B: 9, C: 5, K: 7, t: 1, count: 1 },
    { T: 40, B: 2, C: 5, K: 4, t: 3, count: 34 },
    { T: 500, B: 5, C: 3, K: 4, t: 0, count: 500 },
  ].map(({ T, B, C, K, t, count }) => ({
    name: `T=${T} B=${B} C=${C} K=${K} ${count} steps from ${t}`,
    params: { B, W: pad4(C), K, T, t, count, stride: 2 * pad4(C) },
    tensors: tensors({ T, B, C, K }),
  }));
}

export const conv1d = defineKernel("conv1d", source, { forward, activation, input, weights, carry });

/** The shape of the weight, and of what is carried, of one row, as they lie on the device. */
export const convWeight = (name: string, C: number, K: number): TensorSpec => ({ name, ...convTensor([C, 1, K]) });
export const convState = (C: number, K: number): Required<Pick<TensorSpec, "shape" | "stored">> => ({
  shape: [C, K - 1],
  stored: [pad4(C), pad4(K - 1)],
});

export interface Conv {
  /** SiLU of the convolution, [T·B, channels]. */
  readonly y: Matrix;
  begin(): void;
  steps(t: number, count: number): void;
  end(): void;
  /** From dY, which it writes to, to the gradients of the channels of x, and of the parameters, if they are asked for. */
  backward(recorder: Recorder, dY: Tensor, dX: Tensor, weights?: Tensors): void;
}

export interface ConvSite {
  readonly name: string;
  readonly T: number;
  readonly B: number;
  readonly K: number;
  readonly channels: number;
  /** Rows that begin with the channels. */
  readonly x: Tensor;
  readonly stride: number;
  /** `conv1d.weight` and `conv1d.bias`. */
  readonly weights: Tensors;
  /** Where the steps in front of the first come from, and where the last ones go; zero before every pass, if left out. */
  readonly states?: { readonly initial: StateRows[string]; readonly final: StateRows[string] } | undefined;
}

export function makeConv(recorder: Recorder, { name, T, B, K, channels: C, x, stride, weights, states }: ConvSite): Conv {
  const W = pad4(C);
  const { shape, stored } = convState(C, K);
  const window = (part: string): Tensor =>
    recorder.tensor({ name: `${name}.${part}`, shape: [B, ...shape], stored: [B, ...stored] });
  const before = window("before");
  const y = recorder.tensor({ name: `${name}.y`, shape: [T, B, C] });
  const { "conv1d.weight": weight, "conv1d.bias": bias } = weights as { "conv1d.weight": Tensor; "conv1d.bias": Tensor };
  const sizes = { B, W, K, T, t: 0, count: T, stride };
  const { length } = before;
  return {
    y: { tensor: y, rows: T * B, columns: C },
    begin() {
      if (states) recorder.copy(states.initial.tensor, before, { fromOffset: states.initial.offset, length });
    },
    steps: (t, count) => recorder.dispatch(conv1d.forward, { x, before, weight, bias, y }, { ...sizes, t, count }),
    end() {
      if (!states) return;
      const after = window("after");
      recorder.dispatch(conv1d.carry, { x, before, after }, sizes);
      recorder.copy(after, states.final.tensor, { toOffset: states.final.offset, length });
    },
    backward(back, dY, dX, gradients) {
      back.dispatch(conv1d.activation, { x, before, weight, bias, d: dY }, sizes);
      back.dispatch(conv1d.input, { dU: dY, inputWeight: weight, dX }, sizes);
      if (!gradients) return;
      const { "conv1d.weight": dWeight, "conv1d.bias": dBias } = gradients as { "conv1d.weight": Tensor; "conv1d.bias": Tensor };
      back.dispatch(conv1d.weights, { x, before, dRows: dY, dWeight, dBias }, sizes);
    },
  };
}

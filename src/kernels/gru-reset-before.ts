// gru-reset-before: one time step with the reset gate before the product (Cho et al. 2014); gates r, z, n:
//   r = σ(a_r)  z = σ(a_z)  n = tanh(x·W_inᵀ + b_in + (r ⊙ h)·W_hnᵀ + b_hn)   with a = x·W_ihᵀ + b_ih + h·W_hhᵀ + b_hh
//   h′ = (1 − z) ⊙ n + z ⊙ h
// The shapes stand beside the bindings in shaders/gru-reset-before.wgsl.
import source from "../../shaders/gru-reset-before.wgsl?raw";
import { defineKernel, entry } from "../runtime/kernel.ts";
import { pad4 } from "../runtime/tensor.ts";
import {
  forwardInputs,
  gateSums,
  gradientSums,
  recurrentFiles,
  sigmoid,
  STEP_HALVES,
  STEP_PARAMS,
  STEP_VARIANTS,
  stepCases,
  stepSizes,
  stepWorkgroups,
  unitTensor,
} from "./recurrent.ts";

const forwardGates = entry({
  params: STEP_PARAMS,
  bindings: { xProjection: "read", rows: "read", packed: "read", h: "read_write", gates: "read_write", gatedH: "read_write" },
  variants: STEP_VARIANTS,
  workgroups: stepWorkgroups,
  tuneBy: stepSizes,
  halves: STEP_HALVES,
  work: ({ B, H }) => 4 * B * H * H,
  reference({ xProjection, rows, packed, h, gates, gatedH }, { B, H, t, gather }) {
    const n = pad4(H);
    const sum = new Float64Array(3 * n);
    for (let b = 0; b < B; b++) {
      const cell = t * B + b;
      gateSums(packed, h, cell * n, H, 3 * n, sum);
      const x = 3 * n * (gather ? rows[cell]! : cell);
      for (let u = 0; u < H; u++) {
        const r = sigmoid(sum[u]! + xProjection[x + u]!);
        gates[3 * cell * n + u] = r;
        gates[(3 * cell + 1) * n + u] = sigmoid(sum[n + u]! + xProjection[x + n + u]!);
        gatedH[cell * n + u] = r * h[cell * n + u]!;
      }
    }
  },
  cases: () =>
    stepCases(({ B, H, T }) => ({
      ...forwardInputs(B, H, T, 3),
      h: { shape: [T + 1, B, H] },
      gates: unitTensor([T, B, 3, H]),
      gatedH: { shape: [T, B, H] },
    })),
});

const forwardCandidate = entry({
  params: STEP_PARAMS,
  // `h` is what W_hn multiplies here: r ⊙ h.
  bindings: { xProjection: "read", rows: "read", packed: "read", h: "read_write", gates: "read_write", hidden: "read_write" },
  variants: STEP_VARIANTS,
  workgroups: stepWorkgroups,
  tuneBy: stepSizes,
  halves: STEP_HALVES,
  work: ({ B, H }) => 2 * B * H * H,
  reference({ xProjection, rows, packed, h, gates, hidden }, { B, H, t, gather }) {
    const units = pad4(H);
    const sum = new Float64Array(3 * units);
    for (let b = 0; b < B; b++) {
      const cell = t * B + b;
      gateSums(packed, h, cell * units, H, 3 * units, sum);
      const x = units * (3 * (gather ? rows[cell]! : cell) + 2);
      for (let u = 0; u < H; u++) {
        const n = Math.tanh(sum[2 * units + u]! + xProjection[x + u]!);
        const z = gates[(3 * cell + 1) * units + u]!;
        gates[(3 * cell + 2) * units + u] = n;
        hidden[(cell + B) * units + u] = (1 - z) * n + z * hidden[cell * units + u]!;
      }
    }
  },
  cases: () =>
    stepCases(({ B, H, T }) => ({
      ...forwardInputs(B, H, T, 3),
      h: { shape: [T, B, H] },
      gates: unitTensor([T, B, 3, H]),
      hidden: { shape: [T + 1, B, H] },
    })),
});

const BACKWARD_BINDINGS = {
  dOutput: "read",
  savedGates: "read",
  savedH: "read",
  weight: "read",
  dGates: "read_write",
  dH: "read_write",
} as const;
const backwardCases = () =>
  stepCases(({ B, H, T }) => ({
    dOutput: { shape: [T, B, H] },
    savedGates: unitTensor([T, B, 3, H]),
    savedH: { shape: [T + 1, B, H] },
    weight: unitTensor([3, H, H], true),
    dGates: unitTensor([T, B, 3, H]),
    dH: { shape: [B, H] },
  }));

const backwardCandidate = entry({
  params: STEP_PARAMS,
  bindings: BACKWARD_BINDINGS,
  variants: STEP_VARIANTS,
  workgroups: stepWorkgroups,
  tuneBy: stepSizes,
  halves: STEP_HALVES,
  work: ({ B, H, last }) => (last ? 30 * B * H : 4 * B * H * H),
  reference({ dOutput, savedGates, savedH, weight, dGates, dH }, { B, H, t, last }) {
    const units = pad4(H);
    const sum = new Float64Array(units);
    for (let b = 0; b < B; b++) {
      const cell = t * B + b;
      if (!last) gradientSums(weight, 0, 2 * units, dGates, 3 * units * (cell + B), H, sum);
      for (let u = 0; u < H; u++) {
        const z = savedGates[(3 * cell + 1) * units + u]!;
        const n = savedGates[(3 * cell + 2) * units + u]!;
        const dh = dOutput[cell * units + u]! + dH[b * units + u]! + sum[u]!;
        dGates[(3 * cell + 1) * units + u] = dh * (savedH[cell * units + u]! - n) * z * (1 - z);
        dGates[(3 * cell + 2) * units + u] = dh * (1 - z) * (1 - n * n);
        dH[b * units + u] = dh * z;
      }
    }
  },
  cases: backwardCases,
});

const backwardReset = entry({
  params: STEP_PARAMS,
  bindings: BACKWARD_BINDINGS,
  variants: STEP_VARIANTS,
  workgroups: stepWorkgroups,
  tuneBy: stepSizes,
  halves: STEP_HALVES,
  work: ({ B, H }) => 2 * B * H * H,
  reference({ savedGates, savedH, weight, dGates, dH }, { B, H, t }) {
    const n = pad4(H);
    const sum = new Float64Array(n);
    for (let b = 0; b < B; b++) {
      const cell = t * B + b;
      gradientSums(weight, 2 * n, n, dGates, (3 * cell + 2) * n, H, sum);
      for (let u = 0; u < H; u++) {
        const r = savedGates[3 * cell * n + u]!;
        dGates[3 * cell * n + u] = sum[u]! * savedH[cell * n + u]! * r * (1 - r);
        dH[b * n + u]! += sum[u]! * r;
      }
    }
  },
  cases: backwardCases,
});

export const gruResetBefore = defineKernel(
  "gru-reset-before",
  source,
  { forwardGates, forwardCandidate, backwardCandidate, backwardReset },
  recurrentFiles,
);

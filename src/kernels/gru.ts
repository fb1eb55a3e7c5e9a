// gru: one time step with the reset gate after the product, as in cuDNN, PyTorch and Keras; gates in the order r, z, n:
//   r = σ(a_r)  z = σ(a_z)  n = tanh(x·W_inᵀ + b_in + r ⊙ (h·W_hnᵀ + b_hn))   with a = x·W_ihᵀ + b_ih + h·W_hhᵀ + b_hh
//   h′ = (1 − z) ⊙ n + z ⊙ h
// The shapes stand beside the bindings in shaders/gru.wgsl.
import source from "../../shaders/gru.wgsl?raw";
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
  stepCases,
  stepSizes,
  stepWorkgroups,
  unitTensor,
} from "./recurrent.ts";
import type { Cell, UnitFlow, UnitSums } from "./cell.ts";
import { stepsOfGruResetBefore } from "./gru-reset-before.ts";
import { steppedCell, type UnitStep } from "./stepped-cell.ts";
import { fewerSteps, overSteps, sequenceVariants, stepsFiles } from "./steps.ts";

const forward = entry({
  params: STEP_PARAMS,
  bindings: { xProjection: "read", rows: "read", packed: "read", h: "read_write", gates: "read_write" },
  variants: sequenceVariants("forward", 3),
  workgroups: stepWorkgroups,
  tuneBy: stepSizes,
  halves: STEP_HALVES,
  tuneWith: fewerSteps,
  work: ({ B, H, count }) => 6 * B * H * H * count,
  reference: overSteps(({ xProjection, rows, packed, h, gates }, { B, H, t, gather }) => {
    const units = pad4(H);
    const sum = new Float64Array(3 * units);
    for (let b = 0; b < B; b++) {
      const cell = t * B + b;
      gateSums(packed, h, cell * units, H, 3 * units, sum);
      const x = 3 * units * (gather ? rows[cell]! : cell);
      const at = 4 * units * cell;
      for (let u = 0; u < H; u++) {
        const r = sigmoid(sum[u]! + xProjection[x + u]!);
        const z = sigmoid(sum[units + u]! + xProjection[x + units + u]!);
        const product = sum[2 * units + u]!;
        const n = Math.tanh(xProjection[x + 2 * units + u]! + r * product);
        h[(cell + B) * units + u] = (1 - z) * n + z * h[cell * units + u]!;
        gates[at + u] = r;
        gates[at + units + u] = z;
        gates[at + 2 * units + u] = n;
        gates[at + 3 * units + u] = product;
      }
    }
  }, 1),
  cases: () =>
    stepCases(
      ({ B, H, T }) => ({
        ...forwardInputs(B, H, T, 3),
        h: { shape: [T + 1, B, H] },
        gates: unitTensor([T, B, 4, H]),
      }),
      { direction: 1 },
    ),
});

const backward = entry({
  params: STEP_PARAMS,
  bindings: {
    dOutput: "read",
    savedGates: "read",
    savedH: "read",
    weight: "read",
    dGates: "read_write",
    dProjection: "read_write",
    dH: "read_write",
  },
  variants: sequenceVariants("backward", 3),
  workgroups: stepWorkgroups,
  tuneBy: stepSizes,
  halves: STEP_HALVES,
  tuneWith: fewerSteps,
  work: ({ B, H, last, count }) => (last ? 50 * B * H : 0) + 6 * B * H * H * (count - last),
  reference: overSteps(({ dOutput, savedGates, savedH, weight, dGates, dProjection, dH }, { B, H, t, last }) => {
    const units = pad4(H);
    const sum = new Float64Array(units);
    for (let b = 0; b < B; b++) {
      const cell = t * B + b;
      const saved = 4 * units * cell;
      const at = 3 * units * cell;
      if (!last) gradientSums(weight, 0, 3 * units, dGates, at + 3 * units * B, H, sum);
      for (let u = 0; u < H; u++) {
        const r = savedGates[saved + u]!;
        const z = savedGates[saved + units + u]!;
        const n = savedGates[saved + 2 * units + u]!;
        const product = savedGates[saved + 3 * units + u]!;
        const dh = dOutput[cell * units + u]! + dH[b * units + u]! + sum[u]!;
        const dn = dh * (1 - z) * (1 - n * n);
        const dz = dh * (savedH[cell * units + u]! - n) * z * (1 - z);
        const dr = dn * product * r * (1 - r);
        dGates[at + u] = dr;
        dGates[at + units + u] = dz;
        dGates[at + 2 * units + u] = dn * r;
        dProjection[at + u] = dr;
        dProjection[at + units + u] = dz;
        dProjection[at + 2 * units + u] = dn;
        dH[b * units + u] = dh * z;
      }
    }
  }, -1),
  cases: () =>
    stepCases(
      ({ B, H, T }) => ({
        dOutput: { shape: [T, B, H] },
        savedGates: unitTensor([T, B, 4, H]),
        savedH: { shape: [T + 1, B, H] },
        weight: unitTensor([3, H, H], true),
        dGates: unitTensor([T, B, 3, H]),
        dProjection: unitTensor([T, B, 3, H]),
        dH: { shape: [B, H] },
      }),
      { direction: -1 },
    ),
});

export const gru = defineKernel("gru", source, { forward, backward }, [...recurrentFiles, ...stepsFiles]);

/** Of the GRU. */
export interface GruOptions {
  /** GRU: whether the reset gate acts after the recurrent product (cuDNN, PyTorch) or before it (Cho et al. 2014). */
  readonly resetAfter: boolean;
}

type GruCell = Cell<GruOptions, "gru" | "gru-reset-before">;

const shared = {
  name: "gru",
  gates: ["r", "z", "n"],
  states: ["h"],
  options: {
    resetAfter: {
      fallback: true,
      values: [true, false],
      words: ["after", "before"],
      flags: "--gru-reset <when>",
      help: "GRU: reset gate after or before the product",
    },
  },
  forms: { gru: {}, "gru-reset-before": { resetAfter: false } },
  candidate: () => ({ name: "n", activation: "tanh" as const }),
} as const;

/** What flows through both forms. */
const mixed = ({ input, before }: UnitSums, { gates: [, z, n] }: UnitStep): UnitFlow["parts"] => ({
  "W x": input[2]!,
  "z ⊙ h": z! * before.h!,
  "(1 − z) ⊙ n": (1 - z!) * n!,
});

const after: GruCell = steppedCell({
  ...shared,
  saved: 4,
  forward: [gru.forward],
  backward: [gru.backward],
  unit({ input, state, before }) {
    const [r, z] = [sigmoid(input[0]! + state[0]!), sigmoid(input[1]! + state[1]!)];
    const n = Math.tanh(input[2]! + r * state[2]!);
    return { gates: [r, z, n], after: { h: (1 - z) * n + z * before.h! } };
  },
  parts: (sums, step) => ({ ...mixed(sums, step), "U h": sums.state[2]!, "r ⊙ U h": step.gates[0]! * sums.state[2]! }),
});
const before: GruCell = steppedCell({
  ...shared,
  ...stepsOfGruResetBefore,
  parts: (sums, step) => ({ ...mixed(sums, step), "r ⊙ h": step.gates[0]! * sums.before.h!, "U (r ⊙ h)": sums.state[2]! }),
});
const formOf = ({ resetAfter }: GruOptions): GruCell => (resetAfter ? after : before);

export const gruCell: GruCell = {
  ...after,
  costs: (config, inputSize) => formOf(config).costs(config, inputSize),
  record: (recorder, site) => formOf(site.config).record(recorder, site),
  step: (config, ...given) => formOf(config).step(config, ...given),
  flow: (config, ...given) => formOf(config).flow!(config, ...given),
};

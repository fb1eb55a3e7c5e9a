// rnn: one time step of the vanilla RNN (Elman 1990): h′ = tanh(x·W_ihᵀ + b_ih + h·W_hhᵀ + b_hh), or relu.
// The shapes stand beside the bindings in shaders/rnn.wgsl.
import source from "../../shaders/rnn.wgsl?raw";
import { defineKernel, entry } from "../runtime/kernel.ts";
import { pad4 } from "../runtime/tensor.ts";
import {
  forwardInputs,
  gateSums,
  gradientSums,
  recurrentFiles,
  STEP_HALVES,
  STEP_PARAMS,
  stepCases,
  stepSizes,
  stepWorkgroups,
  unitTensor,
} from "./recurrent.ts";
import type { Activation } from "./cell.ts";
import { steppedCell } from "./stepped-cell.ts";
import { fewerSteps, overSteps, sequenceVariants, stepsFiles } from "./steps.ts";

const forward = entry({
  params: STEP_PARAMS,
  bindings: { xProjection: "read", rows: "read", packed: "read", h: "read_write" },
  variants: sequenceVariants("forward", 1),
  workgroups: stepWorkgroups,
  tuneBy: stepSizes,
  halves: STEP_HALVES,
  tuneWith: fewerSteps,
  work: ({ B, H, count }) => 2 * B * H * H * count,
  reference: overSteps(({ xProjection, rows, packed, h }, { B, H, t, gather, relu }) => {
    const units = pad4(H);
    const sum = new Float64Array(units);
    for (let b = 0; b < B; b++) {
      const cell = t * B + b;
      gateSums(packed, h, cell * units, H, units, sum);
      const x = units * (gather ? rows[cell]! : cell);
      for (let u = 0; u < H; u++) {
        const a = sum[u]! + xProjection[x + u]!;
        h[(cell + B) * units + u] = relu ? Math.max(a, 0) : Math.tanh(a);
      }
    }
  }, 1),
  cases: () =>
    [0, 1].flatMap((relu) =>
      stepCases(({ B, H, T }) => ({ ...forwardInputs(B, H, T, 1), h: { shape: [T + 1, B, H] } }), { relu, direction: 1 }),
    ),
});

const backward = entry({
  params: STEP_PARAMS,
  bindings: { dOutput: "read", savedH: "read", weight: "read", dGates: "read_write" },
  variants: sequenceVariants("backward", 1),
  workgroups: stepWorkgroups,
  tuneBy: stepSizes,
  halves: STEP_HALVES,
  tuneWith: fewerSteps,
  work: ({ B, H, last, count }) => (last ? 10 * B * H : 0) + 2 * B * H * H * (count - last),
  reference: overSteps(({ dOutput, savedH, weight, dGates }, { B, H, t, last, relu }) => {
    const units = pad4(H);
    const sum = new Float64Array(units);
    for (let b = 0; b < B; b++) {
      const at = (t * B + b) * units;
      if (!last) gradientSums(weight, 0, units, dGates, at + B * units, H, sum);
      for (let u = 0; u < H; u++) {
        const value = savedH[at + B * units + u]!;
        const slope = relu ? Number(value > 0) : 1 - value * value;
        dGates[at + u] = (dOutput[at + u]! + sum[u]!) * slope;
      }
    }
  }, -1),
  cases: () =>
    [0, 1].flatMap((relu) =>
      stepCases(
        ({ B, H, T }) => ({
          dOutput: { shape: [T, B, H] },
          // Of what relu gives a good part is 0.
          savedH: { shape: [T + 1, B, H], ...(relu && { fill: (i: number) => Math.max(Math.sin(i), 0) }) },
          weight: unitTensor([1, H, H], true),
          dGates: unitTensor([T, B, 1, H]),
        }),
        { relu, direction: -1 },
      ),
    ),
});

export const rnn = defineKernel("rnn", source, { forward, backward }, [...recurrentFiles, ...stepsFiles]);

/** Of the vanilla RNN. */
export interface RnnOptions {
  /** RNN: tanh, or relu. */
  readonly nonlinearity: Activation;
}

export const rnnCell = steppedCell<RnnOptions, "rnn" | "rnn-relu">({
  name: "rnn",
  gates: ["a"],
  saved: 0,
  states: ["h"],
  options: {
    nonlinearity: {
      fallback: "tanh",
      values: ["tanh", "relu"],
      flags: "--nonlinearity <name>",
      help: "RNN: its nonlinearity",
    },
  },
  forms: { rnn: {}, "rnn-relu": { nonlinearity: "relu" } },
  candidate: ({ nonlinearity }) => ({ name: "h", activation: nonlinearity }),
  forward: [rnn.forward],
  backward: [rnn.backward],
  relu: ({ nonlinearity }) => nonlinearity === "relu",
  unit({ input, state }, { nonlinearity }) {
    const a = input[0]! + state[0]!;
    return { gates: [a], after: { h: nonlinearity === "relu" ? Math.max(a, 0) : Math.tanh(a) } };
  },
  parts: ({ input: [x], state: [h] }, { gates: [a], after }, { nonlinearity }) => ({
    "W x": x!,
    "U h": h!,
    a: a!,
    [`${nonlinearity} a`]: after.h!,
  }),
});

// lstm: one time step, gates in the order i, f, g, o (Hochreiter & Schmidhuber 1997; Gers et al. 2000):
//   i = σ(a_i)  f = σ(a_f)  g = tanh(a_g)  o = σ(a_o)   with a = x·W_ihᵀ + b_ih + h·W_hhᵀ + b_hh
//   c′ = f ⊙ c + i ⊙ g      h′ = o ⊙ tanh(c′)
// The shapes stand beside the bindings in shaders/lstm.wgsl.
import source from "../../shaders/lstm.wgsl?raw";
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
import { steppedCell } from "./stepped-cell.ts";
import { fewerSteps, overSteps, sequenceVariants, stepsFiles } from "./steps.ts";

const forward = entry({
  params: STEP_PARAMS,
  bindings: { xProjection: "read", rows: "read", packed: "read", h: "read_write", c: "read_write", gates: "read_write" },
  variants: sequenceVariants("forward", 4),
  workgroups: stepWorkgroups,
  tuneBy: stepSizes,
  halves: STEP_HALVES,
  tuneWith: fewerSteps,
  work: ({ B, H, count }) => 8 * B * H * H * count,
  reference: overSteps(({ xProjection, rows, packed, h, c, gates }, { B, H, t, gather }) => {
    const units = pad4(H);
    const sum = new Float64Array(4 * units);
    for (let b = 0; b < B; b++) {
      const cell = t * B + b;
      gateSums(packed, h, cell * units, H, 4 * units, sum);
      const x = 4 * units * (gather ? rows[cell]! : cell);
      const at = 4 * units * cell;
      for (let u = 0; u < H; u++) {
        const i = sigmoid(sum[u]! + xProjection[x + u]!);
        const f = sigmoid(sum[units + u]! + xProjection[x + units + u]!);
        const g = Math.tanh(sum[2 * units + u]! + xProjection[x + 2 * units + u]!);
        const o = sigmoid(sum[3 * units + u]! + xProjection[x + 3 * units + u]!);
        const state = f * c[cell * units + u]! + i * g;
        c[(cell + B) * units + u] = state;
        h[(cell + B) * units + u] = o * Math.tanh(state);
        gates[at + u] = i;
        gates[at + units + u] = f;
        gates[at + 2 * units + u] = g;
        gates[at + 3 * units + u] = o;
      }
    }
  }, 1),
  cases: () =>
    stepCases(
      ({ B, H, T }) => ({
        ...forwardInputs(B, H, T, 4),
        h: { shape: [T + 1, B, H] },
        c: { shape: [T + 1, B, H] },
        gates: unitTensor([T, B, 4, H]),
      }),
      { direction: 1 },
    ),
});

const backward = entry({
  params: STEP_PARAMS,
  bindings: { dOutput: "read", savedGates: "read", savedC: "read", weight: "read", dGates: "read_write", dC: "read_write" },
  variants: sequenceVariants("backward", 4),
  workgroups: stepWorkgroups,
  tuneBy: stepSizes,
  halves: STEP_HALVES,
  tuneWith: fewerSteps,
  work: ({ B, H, last, count }) => (last ? 50 * B * H : 0) + 8 * B * H * H * (count - last),
  reference: overSteps(({ dOutput, savedGates, savedC, weight, dGates, dC }, { B, H, t, last }) => {
    const units = pad4(H);
    const sum = new Float64Array(units);
    for (let b = 0; b < B; b++) {
      const cell = t * B + b;
      if (!last) gradientSums(weight, 0, 4 * units, dGates, 4 * units * (cell + B), H, sum);
      const at = 4 * units * cell;
      for (let u = 0; u < H; u++) {
        const i = savedGates[at + u]!;
        const f = savedGates[at + units + u]!;
        const g = savedGates[at + 2 * units + u]!;
        const o = savedGates[at + 3 * units + u]!;
        const before = savedC[cell * units + u]!;
        const after = Math.tanh(savedC[(cell + B) * units + u]!);
        const dh = dOutput[cell * units + u]! + sum[u]!;
        const dc = dC[b * units + u]! + dh * o * (1 - after * after);
        dGates[at + u] = dc * g * i * (1 - i);
        dGates[at + units + u] = dc * before * f * (1 - f);
        dGates[at + 2 * units + u] = dc * i * (1 - g * g);
        dGates[at + 3 * units + u] = dh * after * o * (1 - o);
        dC[b * units + u] = dc * f;
      }
    }
  }, -1),
  cases: () =>
    stepCases(
      ({ B, H, T }) => ({
        dOutput: { shape: [T, B, H] },
        savedGates: unitTensor([T, B, 4, H]),
        savedC: { shape: [T + 1, B, H] },
        weight: unitTensor([4, H, H], true),
        dGates: unitTensor([T, B, 4, H]),
        dC: { shape: [B, H] },
      }),
      { direction: -1 },
    ),
});

export const lstm = defineKernel("lstm", source, { forward, backward }, [...recurrentFiles, ...stepsFiles]);

/** Of the LSTM. */
export interface LstmOptions {
  /** LSTM: constant to start the forget gate's bias from; undefined leaves PyTorch's uniform values. */
  readonly forgetBias?: number | undefined;
}

export const lstmCell = steppedCell<LstmOptions, "lstm">({
  name: "lstm",
  gates: ["i", "f", "g", "o"],
  saved: 4,
  states: ["h", "c"],
  options: {
    // Jozefowicz et al. 2015.
    forgetBias: {
      fallback: undefined,
      flags: "--forget-bias <x>",
      help: "LSTM: where the forget gate's bias starts",
      longMemory: 1,
    },
  },
  forms: { lstm: {} },
  candidate: () => ({ name: "g", activation: "tanh" }),
  forward: [lstm.forward],
  backward: [lstm.backward],
  gateBias: ({ forgetBias }) => (forgetBias === undefined ? undefined : { gate: 1, value: forgetBias }),
  unit({ input, state, before }) {
    const [i, f, g, o] = input.map((x, gate) => (gate === 2 ? Math.tanh : sigmoid)(x + state[gate]!));
    const c = f! * before.c! + i! * g!;
    return { gates: [i!, f!, g!, o!], after: { h: o! * Math.tanh(c), c } };
  },
  parts: ({ before }, { gates: [i, f, g], after }) => ({
    "f ⊙ c": f! * before.c!,
    "i ⊙ g": i! * g!,
    "tanh c": Math.tanh(after.c!),
  }),
});

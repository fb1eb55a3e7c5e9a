// A stepped cell that is not in the library, made as CONTRIBUTING says: the update-gate RNN (Collins et al. 2017), gates u, n:
//   u = σ(a_u)  n = tanh(a_n)   with a = x·W_ihᵀ + b_ih + h·W_hhᵀ + b_hh      h′ = u ⊙ h + (1 − u) ⊙ n
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
} from "../../src/kernels/recurrent.ts";
import { steppedCell } from "../../src/kernels/stepped-cell.ts";
import { fewerSteps, overSteps, sequenceVariants, stepsFiles } from "../../src/kernels/steps.ts";
import { defineKernel, entry } from "../../src/runtime/kernel.ts";
import { pad4 } from "../../src/runtime/tensor.ts";

const source = /* wgsl */ `
const GATES: u32 = 2u;

@group(0) @binding(1) var<storage, read> xProjection: array<vec4f>; // [R, 2, H]
@group(0) @binding(2) var<storage, read> rows: array<u32>; // [T, B]
@group(0) @binding(3) var<storage, read> packed: array<Weight4>; // [H + 1, 2, H]
@group(0) @binding(4) var<storage, read_write> h: array<vec4f>; // [T + 1, B, H]
@group(0) @binding(5) var<storage, read_write> gates: array<Saved4>; // [T, B, 2, H]

fn finishForward(t: u32, b: u32, unit: u32, sum: Gates) {
  let units = units();
  let cell = t * params.B + b;
  let x = 2u * projectionRow(cell) * units + unit;
  let u = unitSigmoid(sum[0] + xProjection[x], unit);
  let n = unitTanh(sum[1] + xProjection[x + units], unit);
  h[(cell + params.B) * units + unit] = u * h[cell * units + unit] + (1.0 - u) * n;
  gates[2u * cell * units + unit] = Saved4(u);
  gates[(2u * cell + 1u) * units + unit] = Saved4(n);
}

@group(0) @binding(1) var<storage, read> dOutput: array<vec4f>; // [T, B, H]
@group(0) @binding(2) var<storage, read> savedGates: array<Saved4>; // [T, B, 2, H]
@group(0) @binding(3) var<storage, read> savedH: array<vec4f>; // [T + 1, B, H]
@group(0) @binding(4) var<storage, read> weight: array<Weight4>; // W_hh [2, H, H]
@group(0) @binding(5) var<storage, read_write> dGates: array<vec4f>; // [T, B, 2, H]
@group(0) @binding(6) var<storage, read_write> dH: array<vec4f>; // [B, H]

fn finishBackward(t: u32, b: u32, unit: u32, sum: vec4f) {
  let units = units();
  let cell = t * params.B + b;
  let u = vec4f(savedGates[2u * cell * units + unit]);
  let n = vec4f(savedGates[(2u * cell + 1u) * units + unit]);
  let state = cell * units + unit;
  let dh = ofUnits(dOutput[state] + dH[b * units + unit] + sum, unit);
  dGates[2u * cell * units + unit] = dh * (savedH[state] - n) * u * (1.0 - u);
  dGates[(2u * cell + 1u) * units + unit] = dh * (1.0 - u) * (1.0 - n * n);
  dH[b * units + unit] = dh * u;
}
`;

const shared = {
  params: STEP_PARAMS,
  workgroups: stepWorkgroups,
  tuneBy: stepSizes,
  halves: STEP_HALVES,
  tuneWith: fewerSteps,
};

const forward = entry({
  ...shared,
  bindings: { xProjection: "read", rows: "read", packed: "read", h: "read_write", gates: "read_write" },
  variants: sequenceVariants("forward", 2),
  work: ({ B, H, count }) => 4 * B * H * H * count,
  reference: overSteps(({ xProjection, rows, packed, h, gates }, { B, H, t, gather }) => {
    const units = pad4(H);
    const sum = new Float64Array(2 * units);
    for (let b = 0; b < B; b++) {
      const cell = t * B + b;
      gateSums(packed, h, cell * units, H, 2 * units, sum);
      const x = 2 * units * (gather ? rows[cell]! : cell);
      for (let j = 0; j < H; j++) {
        const u = sigmoid(sum[j]! + xProjection[x + j]!);
        const n = Math.tanh(sum[units + j]! + xProjection[x + units + j]!);
        h[(cell + B) * units + j] = u * h[cell * units + j]! + (1 - u) * n;
        gates[2 * cell * units + j] = u;
        gates[(2 * cell + 1) * units + j] = n;
      }
    }
  }, 1),
  cases: () =>
    stepCases(
      ({ B, H, T }) => ({
        ...forwardInputs(B, H, T, 2),
        h: { shape: [T + 1, B, H] },
        gates: unitTensor([T, B, 2, H]),
      }),
      { direction: 1 },
    ),
});

const backward = entry({
  ...shared,
  bindings: {
    dOutput: "read",
    savedGates: "read",
    savedH: "read",
    weight: "read",
    dGates: "read_write",
    dH: "read_write",
  },
  variants: sequenceVariants("backward", 2),
  work: ({ B, H, last, count }) => (last ? 30 * B * H : 0) + 4 * B * H * H * (count - last),
  reference: overSteps(({ dOutput, savedGates, savedH, weight, dGates, dH }, { B, H, t, last }) => {
    const units = pad4(H);
    const sum = new Float64Array(units);
    for (let b = 0; b < B; b++) {
      const cell = t * B + b;
      if (!last) gradientSums(weight, 0, 2 * units, dGates, 2 * units * (cell + B), H, sum);
      for (let j = 0; j < H; j++) {
        const u = savedGates[2 * cell * units + j]!;
        const n = savedGates[(2 * cell + 1) * units + j]!;
        const dh = dOutput[cell * units + j]! + dH[b * units + j]! + sum[j]!;
        dGates[2 * cell * units + j] = dh * (savedH[cell * units + j]! - n) * u * (1 - u);
        dGates[(2 * cell + 1) * units + j] = dh * (1 - u) * (1 - n * n);
        dH[b * units + j] = dh * u;
      }
    }
  }, -1),
  cases: () =>
    stepCases(
      ({ B, H, T }) => ({
        dOutput: { shape: [T, B, H] },
        savedGates: unitTensor([T, B, 2, H]),
        savedH: { shape: [T + 1, B, H] },
        weight: unitTensor([2, H, H], true),
        dGates: unitTensor([T, B, 2, H]),
        dH: { shape: [B, H] },
      }),
      { direction: -1 },
    ),
});

export const ugrnn = defineKernel("ugrnn", source, { forward, backward }, [...recurrentFiles, ...stepsFiles]);

export const ugrnnCell = steppedCell({
  name: "ugrnn",
  gates: ["u", "n"],
  saved: 2,
  states: ["h"],
  options: {},
  forms: { ugrnn: {} },
  candidate: () => ({ name: "n", activation: "tanh" }),
  forward: [ugrnn.forward],
  backward: [ugrnn.backward],
  unit({ input, state, before }) {
    const u = sigmoid(input[0]! + state[0]!);
    const n = Math.tanh(input[1]! + state[1]!);
    return { gates: [u, n], after: { h: u * before.h! + (1 - u) * n } };
  },
});

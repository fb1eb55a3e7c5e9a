// A cell of two gates whose candidate multiplies a gated h, made as CONTRIBUTING says: the minimal gated unit (Zhou et al.
// 2016), gates f, n:
//   f = σ(a_f)  n = tanh(x·W_inᵀ + b_in + (f ⊙ h)·W_hnᵀ + b_hn)   with a = x·W_ihᵀ + b_ih + h·W_hhᵀ + b_hh
//   h′ = (1 − f) ⊙ h + f ⊙ n
import { sigmoid } from "../../src/kernels/recurrent.ts";
import { steppedCell } from "../../src/kernels/stepped-cell.ts";
import { stepsBefore } from "../../src/kernels/steps-before.ts";

const source = /* wgsl */ `
const GATES: u32 = 2u;

// The values of the gates but the candidate, from what they add up.
fn activate(sum: Gates, unit: u32) -> Gates {
  return Gates(unitSigmoid(sum[0], unit), vec4f());
}

// The new state.
fn finishForward(cell: u32, unit: u32, n: vec4f, before: vec4f) -> vec4f {
  let f = vec4f(gates[gateAt(cell, 0u, unit)]);
  return (1.0 - f) * before + f * n;
}

// What goes to the step before past the gates. Leaves in dGates[f] the gradient of the gate itself, as h′ has it.
fn finishBackward(cell: u32, unit: u32, dh: vec4f, before: vec4f) -> vec4f {
  let f = vec4f(savedGates[gateAt(cell, 0u, unit)]);
  let n = vec4f(savedGates[gateAt(cell, 1u, unit)]);
  dGates[gateAt(cell, 0u, unit)] = dh * (n - before);
  dGates[gateAt(cell, 1u, unit)] = dh * f * (1.0 - n * n);
  return dh * (1.0 - f);
}

// The gradient of the first gate's sum, from that of the gate itself and what finishBackward left of it.
fn finishGate(left: vec4f, f: vec4f, df: vec4f) -> vec4f {
  return (left + df) * f * (1.0 - f);
}
`;

export const { kernel: mgu, steps: stepsOfMgu } = stepsBefore("mgu", source, 2, {
  activate(g) {
    g[0] = sigmoid(g[0]!);
  },
  forward: ([f, n], before) => (1 - f!) * before + f! * n!,
  backward([f, n], before, dh, d) {
    d[0] = dh * (n! - before);
    d[1] = dh * f! * (1 - n! * n!);
    return dh * (1 - f!);
  },
  gate: (left, f, df) => (left + df) * f * (1 - f),
});

export const mguCell = steppedCell({
  name: "mgu",
  gates: ["f", "n"],
  states: ["h"],
  options: {},
  forms: { mgu: {} },
  candidate: () => ({ name: "n", activation: "tanh" }),
  ...stepsOfMgu,
});

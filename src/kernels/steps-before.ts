// The entry points of cells whose candidate, their last gate, multiplies a gated h: two dispatches a step in each direction.
// A cell brings four epilogues, here and in its shader; shapes stand beside the bindings in shaders/steps-before.wgsl.
import source from "../../shaders/steps-before.wgsl?raw";
import { defineKernel, entry } from "../runtime/kernel.ts";
import { pad4 } from "../runtime/tensor.ts";
import {
  forwardInputs,
  gateSums,
  gradientSums,
  recurrentFiles,
  STEP_HALVES,
  STEP_PARAMS,
  STEP_VARIANTS,
  stepCases,
  stepSizes,
  stepWorkgroups,
  unitTensor,
} from "./recurrent.ts";
import type { UnitSums } from "./cell.ts";

/** One unit's equations. `g`: its gates, the first the one on h, the candidate last. */
export interface BeforeEpilogues {
  /** Makes of what the gates but the candidate add up their values. */
  activate(g: Float64Array): void;
  /** The new state, the candidate n being tanh of what it adds up. */
  forward(g: Float64Array, before: number): number;
  /** Writes the gradients of what the gates add up to `d`, and returns that of the state before, past the gates. */
  backward(g: Float64Array, before: number, dh: number, d: Float64Array): number;
  /** The gradient of what the first gate adds up, from that of the gate, and what `backward` left of it. */
  gate(left: number, gate: number, dGate: number): number;
}

/** The kernel of a cell with G gates, and what its `steppedCell` is told. */
export function stepsBefore(name: string, own: string, G: number, { activate, forward, backward, gate }: BeforeEpilogues) {
  const last = G - 1;
  const shared = {
    params: STEP_PARAMS,
    variants: STEP_VARIANTS,
    workgroups: stepWorkgroups,
    tuneBy: stepSizes,
    halves: STEP_HALVES,
  };
  const read = { xProjection: "read", rows: "read", packed: "read", h: "read_write", gates: "read_write" } as const;

  const forwardGates = entry({
    ...shared,
    bindings: { ...read, gatedH: "read_write" },
    work: ({ B, H }) => 2 * last * B * H * H,
    reference({ xProjection, rows, packed, h, gates, gatedH }, { B, H, t, gather }) {
      const units = pad4(H);
      const sum = new Float64Array(G * units);
      const g = new Float64Array(G);
      for (let b = 0; b < B; b++) {
        const cell = t * B + b;
        gateSums(packed, h, cell * units, H, G * units, sum);
        const x = G * units * (gather ? rows[cell]! : cell);
        for (let u = 0; u < H; u++) {
          for (let i = 0; i < last; i++) g[i] = sum[i * units + u]! + xProjection[x + i * units + u]!;
          activate(g);
          for (let i = 0; i < last; i++) gates[(G * cell + i) * units + u] = g[i]!;
          gatedH[cell * units + u] = g[0]! * h[cell * units + u]!;
        }
      }
    },
    cases: () =>
      stepCases(({ B, H, T }) => ({
        ...forwardInputs(B, H, T, G),
        h: { shape: [T + 1, B, H] },
        gates: unitTensor([T, B, G, H]),
        gatedH: { shape: [T, B, H] },
      })),
  });

  const forwardCandidate = entry({
    ...shared,
    // `h` is what the candidate multiplies here: gatedH.
    bindings: { ...read, hidden: "read_write" },
    work: ({ B, H }) => 2 * B * H * H,
    reference({ xProjection, rows, packed, h, gates, hidden }, { B, H, t, gather }) {
      const units = pad4(H);
      const sum = new Float64Array(G * units);
      const g = new Float64Array(G);
      for (let b = 0; b < B; b++) {
        const cell = t * B + b;
        gateSums(packed, h, cell * units, H, G * units, sum);
        const x = units * (G * (gather ? rows[cell]! : cell) + last);
        for (let u = 0; u < H; u++) {
          for (let i = 0; i < last; i++) g[i] = gates[(G * cell + i) * units + u]!;
          g[last] = Math.tanh(sum[last * units + u]! + xProjection[x + u]!);
          gates[(G * cell + last) * units + u] = g[last]!;
          hidden[(cell + B) * units + u] = forward(g, hidden[cell * units + u]!);
        }
      }
    },
    cases: () =>
      stepCases(({ B, H, T }) => ({
        ...forwardInputs(B, H, T, G),
        h: { shape: [T, B, H] },
        gates: unitTensor([T, B, G, H]),
        hidden: { shape: [T + 1, B, H] },
      })),
  });

  const back = {
    ...shared,
    bindings: {
      dOutput: "read",
      savedGates: "read",
      savedH: "read",
      weight: "read",
      dGates: "read_write",
      dH: "read_write",
    },
    cases: () =>
      stepCases(({ B, H, T }) => ({
        dOutput: { shape: [T, B, H] },
        savedGates: unitTensor([T, B, G, H]),
        savedH: { shape: [T + 1, B, H] },
        weight: unitTensor([G, H, H], true),
        dGates: unitTensor([T, B, G, H]),
        dH: { shape: [B, H] },
      })),
  } as const;

  const backwardCandidate = entry({
    ...back,
    work: ({ B, H, last: ends }) => (ends ? 30 * B * H : 2 * last * B * H * H),
    reference({ dOutput, savedGates, savedH, weight, dGates, dH }, { B, H, t, last: ends }) {
      const units = pad4(H);
      const sum = new Float64Array(units);
      const [g, d] = [new Float64Array(G), new Float64Array(G)];
      for (let b = 0; b < B; b++) {
        const cell = t * B + b;
        if (!ends) gradientSums(weight, 0, last * units, dGates, G * units * (cell + B), H, sum);
        for (let u = 0; u < H; u++) {
          const at = (i: number): number => (G * cell + i) * units + u;
          for (let i = 0; i < G; i++) [g[i], d[i]] = [savedGates[at(i)]!, dGates[at(i)]!];
          const dh = dOutput[cell * units + u]! + dH[b * units + u]! + sum[u]!;
          dH[b * units + u] = backward(g, savedH[cell * units + u]!, dh, d);
          for (let i = 0; i < G; i++) dGates[at(i)] = d[i]!;
        }
      }
    },
  });

  const backwardReset = entry({
    ...back,
    work: ({ B, H }) => 2 * B * H * H,
    reference({ savedGates, savedH, weight, dGates, dH }, { B, H, t }) {
      const units = pad4(H);
      const sum = new Float64Array(units);
      for (let b = 0; b < B; b++) {
        const cell = t * B + b;
        gradientSums(weight, last * units, units, dGates, (G * cell + last) * units, H, sum);
        for (let u = 0; u < H; u++) {
          const at = G * cell * units + u;
          const value = savedGates[at]!;
          dGates[at] = gate(dGates[at]!, value, sum[u]! * savedH[cell * units + u]!);
          dH[b * units + u]! += sum[u]! * value;
        }
      }
    },
  });

  const entries = { forwardGates, forwardCandidate, backwardCandidate, backwardReset };
  const kernel = defineKernel(name, own, entries, [...recurrentFiles, { name: "steps-before", source }]);
  return {
    kernel,
    steps: {
      saved: G,
      ofH: last,
      forward: [kernel.forwardGates, kernel.forwardCandidate],
      backward: [kernel.backwardCandidate, kernel.backwardReset],
      unit({ input, state, before }: UnitSums) {
        const g = Float64Array.from(input, (x, i) => x + state[i]!);
        activate(g);
        g[last] = Math.tanh(input[last]! + state[last]!);
        return { gates: [...g], after: { h: forward(g, before.h!) } };
      },
    },
  };
}

// Cells of one unit whose numbers are set by hand, for the lessons: the library's own steps, forward and back.
import type { Values } from "../../kernels/cell.ts";
import { CELLS } from "../../models/cells.ts";
import { Recurrent } from "../../models/recurrent.ts";
import { recurrentConfig } from "../../models/recurrent-config.ts";
import { sizeOf } from "../../runtime/tensor.ts";
import { onReference } from "./reference.ts";

/** By a gate's or a state's name, what it is at each step. */
export type Steps = Readonly<Record<string, readonly number[]>>;

/** What is added up to make a gate, or a candidate, what it is to be; beyond the last it is as good as 0 or 1. */
const [MOST_GATE, MOST_CANDIDATE] = [40, 20];
const within = (x: number, most: number): number => Math.min(most, Math.max(-most, x));
const toGate = (part: number): number => within(Math.log(part / (1 - part)), MOST_GATE);
const toCandidate = (value: number): number => within(Math.atanh(value), MOST_CANDIDATE);

/**
 * The states of a unit over steps at which its gates are given, from 0 on: its cell reads what each of them adds up, by a weight
 * of 1, and nothing of the state before. The candidate, g or n, goes from −1 to 1, the gates from 0 to 1.
 */
export function gatesByHand(cell: "gru" | "lstm", given: Steps): Steps {
  const { gates, parameters, states: statesOf, step } = CELLS[cell];
  const { config } = recurrentConfig({ cell, inputSize: gates.length, hiddenSize: 1 });
  const weights: Values = Object.fromEntries(
    parameters(config, [gates.length]).map(({ name, shape }) => {
      const values = new Float64Array(sizeOf(shape));
      if (name === "weight_ih") gates.forEach((_, i) => (values[i * gates.length + i] = 1));
      return [name, values];
    }),
  );
  const names = statesOf(config).map(({ name }) => name);
  let states: Values = Object.fromEntries(names.map((name) => [name, new Float64Array(1)]));
  const made: Record<string, number[]> = Object.fromEntries(names.map((name) => [name, []]));
  for (let t = 0; t < given[gates[0]!]!.length; t++) {
    const x = Float64Array.from(gates, (name) =>
      name === "g" || name === "n" ? toCandidate(given[name]![t]!) : toGate(given[name]![t]!),
    );
    states = step(config, weights, x, states);
    for (const name of names) made[name]!.push(states[name]![0]!);
  }
  return made;
}

export interface Unrolled {
  /** The state after each step. */
  readonly h: readonly number[];
  readonly loss: number;
  /** ∂L/∂h after each step. */
  readonly dh: readonly number[];
}

/** A plain RNN of one unit, h′ = tanh(u x + w h), and how far its last state is from a target: L = (h − target)² / 2. */
export const unroll = (x: readonly number[], u: number, w: number, target: number): Promise<Unrolled> =>
  onReference(async (device) => {
    const layer = Recurrent.create(device, { cell: "rnn", inputSize: 1, hiddenSize: 1 });
    const one = (value: number): Float32Array => Float32Array.of(value);
    layer.loadStateDict({ weight_ih_l0: one(u), weight_hh_l0: one(w), bias_ih_l0: one(0), bias_hh_l0: one(0) });
    const run = (from: number, h0: Float32Array | Float64Array) =>
      layer.forward(Float64Array.from(x.slice(from)), { T: x.length - from, B: 1, h0 });
    const { output } = await run(0, one(0));
    const h = Array.from(output);
    const error = h.at(-1)! - target;
    const dh = x.map(() => error);
    for (let t = 0; t + 1 < x.length; t++) {
      await run(t + 1, Float64Array.of(h[t]!));
      const dOutput = new Float64Array(x.length - t - 1);
      dOutput[dOutput.length - 1] = error;
      dh[t] = (await layer.backward(dOutput)).dh0[0]!;
    }
    return { h, loss: error ** 2 / 2, dh };
  });

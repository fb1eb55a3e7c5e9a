// What the lessons compute, against what is worked out by hand and by small changes.
import { expect, it } from "vitest";
import { gatesByHand, unroll } from "../../src/lab/analysis/by-hand.ts";
import { learnLetters, LETTERS_STEPS } from "../../src/lab/experiments/letters.ts";

const closeTo = (values: readonly number[], expected: readonly number[], digits = 12): void =>
  expected.forEach((value, i) => expect(values[i]).toBeCloseTo(value, digits));

it("steps an LSTM whose gates are given: what is written, kept and shown", () => {
  const { c, h } = gatesByHand("lstm", {
    i: [1, 0, 0.5, 0],
    f: [0, 1, 0.5, 0.25],
    g: [0.5, 0.9, -1, 0],
    o: [1, 0, 1, 0.5],
  });
  // c: 0.5; kept; 0.5 · 0.5 − 0.5; a quarter of it.
  closeTo(c!, [0.5, 0.5, -0.25, -0.0625]);
  closeTo(h!, [Math.tanh(0.5), 0, Math.tanh(-0.25), Math.tanh(-0.0625) / 2]);
});

it("steps a GRU whose gates are given: what is taken in, and what is kept", () => {
  const { h } = gatesByHand("gru", { r: [1, 1, 1, 1], z: [0.5, 0.5, 1, 0], n: [1, 0, -1, 0.25] });
  closeTo(h!, [0.5, 0.25, 0.25, 0.25]);
});

it("unrolls an RNN of one unit, and finds how each state moves the loss, as small changes of it do", async () => {
  const [x, u, w, target] = [[0.5, -0.2, 0, 0.25], 1.2, 0.9, 1] as const;
  const { h, dh, loss } = await unroll(x, u, w, target);
  const expected: number[] = [];
  for (const each of x) expected.push(Math.tanh(u * each + w * (expected.at(-1) ?? 0)));
  closeTo(h, expected, 6);
  expect(loss).toBeCloseTo((expected.at(-1)! - target) ** 2 / 2, 6);
  /** The loss with the state after step t moved by d. */
  const moved = (t: number, d: number): number => {
    let state = expected[t]! + d;
    for (const each of x.slice(t + 1)) state = Math.tanh(u * each + w * state);
    return (state - target) ** 2 / 2;
  };
  for (const t of x.keys()) expect(dh[t]).toBeCloseTo((moved(t, 1e-4) - moved(t, -1e-4)) / 2e-4, 5);
});

it("learns a wave so that the same letter is followed by another one on the way down", async () => {
  const { letters, expected } = await learnLetters("abcdedcb", 2);
  expect(letters.join("")).toBe("abcde");
  const after = (look: number, t: number) => expected[look]!.subarray(t * letters.length, (t + 1) * letters.length);
  const last = LETTERS_STEPS.length - 1;
  // The c at 10 goes up to d, the c at 14 down to b.
  expect(after(last, 10)[3]).toBeGreaterThan(0.9);
  expect(after(last, 14)[1]).toBeGreaterThan(0.9);
  for (const part of after(0, 10)) expect(part).toBeLessThan(0.5);
});

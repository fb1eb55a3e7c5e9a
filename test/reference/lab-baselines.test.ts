import { expect, it } from "vitest";
import { baselinesOf } from "../../src/lab/analysis/baselines.ts";

it("finds what counting gets on the part that was not counted, worked out by hand", () => {
  // Counted: a a b a. Tested: the a of "aba", after b, after ab.
  const { unigram, bigram, trigram } = baselinesOf(Uint32Array.of(0, 0, 1, 0, 0, 1, 0), 2, 0.43);
  // a 3 of 4, with 2 different ones: (3 + 2 · 1/2) / (4 + 2)
  expect(unigram).toBeCloseTo(-Math.log(2 / 3), 12);
  // b was followed by a, once: (1 + 1 · 2/3) / (1 + 1)
  expect(bigram).toBeCloseTo(-Math.log(5 / 6), 12);
  // ab too: (1 + 1 · 5/6) / (1 + 1)
  expect(trigram).toBeCloseTo(-Math.log(11 / 12), 12);
});

it("goes by fewer characters where what stands before was never seen", () => {
  const { bigram, trigram } = baselinesOf(Uint32Array.of(0, 0, 1, 0, 1, 1, 0), 2, 0.43);
  expect(trigram).toBe(bigram);
});

it("tests on what it has counted where nothing is kept apart", () => {
  // The third character on, of "abab": b and a by turns. By one character: n = 2, then 1, of 1 kind.
  const { bigram } = baselinesOf(Uint32Array.of(0, 1, 0, 1), 2, 0);
  expect(bigram).toBeCloseTo(-(Math.log(1.5 / 2) + Math.log(2.5 / 3)) / 2, 12);
});

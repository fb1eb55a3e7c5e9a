// What the lab says of a text without a browser: how far what a network writes has come, where a unit is on, where to begin to read.
import { expect, it } from "vitest";
import { measure, stockOf } from "../../src/lab/analysis/learned.ts";
import { fromStart } from "../../src/lab/passage.ts";
import { changeOf, peaksOf } from "../../src/lab/analysis/units.ts";

const BOOK = "'Who are you?' said the Caterpillar. Alice replied, 'I hardly know, sir, just at present.'\n".repeat(3);
const stock = stockOf(BOOK);

it.each([
  ["noise", "qZx;?kQ!jWvv#rXpq zzKKq", 0, 0],
  // Its pairs are the book's, its words are not: "theare", "saireplir".
  ["letters", "theare saireplir", 1, 0],
  ["words", "the Caterpillar replied know theare", 1, 4 / 5],
  // As many of its words are the book's, but what it opens stays open.
  ["words", "'Who replied know theare the", 1, 4 / 5],
  ["quotes", "'Who are you?' said the Caterpillar. theare", 1, 6 / 7],
] as const)("calls it %s by the share of its words and pairs: %s", (learned, sample, pairs, words) => {
  const measured = measure(sample, stock);
  expect(measured.learned).toBe(learned);
  expect(measured.words).toBeCloseTo(words, 12);
  if (pairs === 1) expect(measured.pairs).toBeGreaterThan(0.9);
  else expect(measured.pairs).toBeLessThan(0.3);
});

it("calls nothing noise by words that it has not: an empty sample has no measure", () => {
  expect(measure("", stock)).toEqual({ learned: "noise", pairs: 0, words: 0 });
});

it("finds how much each unit changes, and where values are largest, at places that lie apart", () => {
  // Two units over six characters.
  const values = Float32Array.of(0, 5, 3, 5, 2, 5, 0, 5, 4, 4, 1, 5);
  expect(Array.from(changeOf(values, 2))).toEqual([(3 + 1 + 2 + 4 + 3) / 5, (1 + 1) / 5]);
  const first = Float32Array.of(0, 3, 2, 0, 4, 1);
  expect(peaksOf(first, 2, 2)).toEqual([4, 1]);
  expect(peaksOf(first, 3, 1)).toEqual([4, 1, 2]);
  expect(peaksOf(first, 9, 3)).toEqual([4, 1]);
});

it.each([
  ["ter of fact.” She went home.", "She went home."],
  ["ing on\n\n  and on. Then", "and on. Then"],
  ["ing with no end at all in it", "with no end at all in it"],
  ["unbroken", "unbroken"],
])("begins at a line, a sentence or a word: %s", (text, expected) => {
  expect(fromStart(text, 160)).toBe(expected);
});

it("goes to no start that is too far", () => {
  expect(fromStart(`${"a b ".repeat(10)}. End`, 20)).toBe(`b ${"a b ".repeat(9)}. End`);
});

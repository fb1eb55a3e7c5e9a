// The time that tests do not hold against what they test.
import { cpus } from "node:os";
import { expect, it } from "vitest";
import { othersTime, readTime } from "../others-time.ts";

it("is what the processors did for others, and neither their idleness nor what they did for the test", () => {
  const cores = cpus().length;
  const from = { at: 5000, idle: 300, own: 70 };
  const after = (idle: number, own: number): number =>
    othersTime(from, { at: 15_000, idle: 300 + idle * cores, own: 70 + own * cores });
  expect(after(10_000, 0)).toBe(0);
  expect(after(0, 10_000)).toBe(0);
  expect(after(0, 0)).toBe(10_000);
  expect(after(2000, 5000)).toBe(3000);
  // Clocks of different origin may disagree a little.
  expect(after(10_000, 1)).toBe(0);
});

it("does not count what this process works", () => {
  const begun = readTime();
  while (readTime().own - begun.own < 300);
  const worked = readTime();
  expect(worked.own - begun.own).toBeGreaterThanOrEqual(300);
  expect(othersTime(begun, worked)).toBeLessThanOrEqual(worked.at - begun.at - 300 / cpus().length);
});

// The learning rate of each step.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { learningRateAt, SCHEDULES, type ScheduleName } from "../../src/training/schedule.ts";

const rates = (schedule: ScheduleName, warmupSteps: number, totalSteps: number, count = totalSteps + 1): number[] =>
  Array.from({ length: count }, (_, step) => learningRateAt(step, { learningRate: 0.5, schedule, warmupSteps, totalSteps }));
const closeTo = (values: readonly number[]) => values.map((value) => expect.closeTo(value, 12));

describe("the learning rate", () => {
  for (const schedule of SCHEDULES) {
    it(`of "${schedule}" warms up in equal steps to the peak, which the last of them is`, () => {
      expect(rates(schedule, 4, 100, 5)).toEqual(closeTo([0.125, 0.25, 0.375, 0.5, 0.5]));
      expect(rates(schedule, 1, 100, 2)).toEqual(closeTo([0.5, 0.5]));
      expect(rates(schedule, 0, 100, 1)).toEqual([0.5]);
    });

    it(`of "${schedule}" is above zero, at most the peak, and never grows after the warm-up, nor changes after the end`, () => {
      const sizes = fc.record({
        warmupSteps: fc.integer({ min: 0, max: 30 }),
        totalSteps: fc.integer({ min: 1, max: 60 }),
        learningRate: fc.double({ min: 1e-6, max: 10, noNaN: true }),
      });
      fc.assert(
        fc.property(sizes, (options) => {
          const { warmupSteps, totalSteps, learningRate } = options;
          const at = (step: number): number => learningRateAt(step, { ...options, schedule });
          const end = Math.max(totalSteps, warmupSteps + 1);
          for (let step = 0; step < end + 5; step++) {
            expect(at(step)).toBeGreaterThan(0);
            expect(at(step)).toBeLessThanOrEqual(learningRate * (1 + 1e-12));
            if (step >= warmupSteps) expect(at(step + 1)).toBeLessThanOrEqual(at(step) * (1 + 1e-12));
          }
          expect(at(end + 1000)).toBe(at(end));
        }),
      );
    });
  }

  it('of "constant" stays at the peak', () => {
    expect(new Set(rates("constant", 3, 20, 50).slice(3))).toEqual(new Set([0.5]));
  });

  it('of "cosine" goes from the peak by half a cosine to a tenth of it, with the mean of the two in the middle', () => {
    const values = rates("cosine", 10, 110);
    expect([values[10], values[35], values[60], values[85], values[110]]).toEqual(
      closeTo([0.5, 0.275 + 0.225 * Math.SQRT1_2, 0.275, 0.275 - 0.225 * Math.SQRT1_2, 0.05]),
    );
    expect(rates("cosine", 0, 8)[8]).toBeCloseTo(0.05, 12);
  });

  it('of "step" is halved after each quarter of what follows the warm-up, three times in all', () => {
    expect(rates("step", 0, 8, 12)).toEqual([0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.0625, 0.0625, 0.0625, 0.0625, 0.0625, 0.0625]);
    expect(rates("step", 2, 6, 7).slice(2)).toEqual([0.5, 0.25, 0.125, 0.0625, 0.0625]);
  });

  it("of a schedule that is none names those that are", () => {
    const options = { learningRate: 1, schedule: "linear" as ScheduleName, warmupSteps: 0, totalSteps: 1 };
    expect(() => learningRateAt(0, options)).toThrow(expect.objectContaining({ code: "E_CONFIG" }));
    expect(() => learningRateAt(0, options)).toThrow("schedule must be one of constant, cosine, step, got linear");
  });
});

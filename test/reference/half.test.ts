import fc from "fast-check";
import { expect, test } from "vitest";
import { fromHalf, toHalf } from "../../src/runtime/half.ts";

test("every float16 survives the way to a number and back", () => {
  for (let half = 0; half < 0x10000; half++) {
    const value = fromHalf(half);
    if (Number.isNaN(value)) expect(fromHalf(toHalf(value))).toBeNaN();
    else expect(toHalf(value)).toBe(half);
  }
});

test.each([
  [1, 0x3c00],
  [-2, 0xc000],
  [65504, 0x7bff],
  [65519.99, 0x7bff],
  [65520, 0x7c00],
  [Infinity, 0x7c00],
  [2 ** -24, 1],
  [2 ** -25, 0],
  [1.5 * 2 ** -24, 2],
  [1 + 2 ** -11, 0x3c00],
  [1 + 3 * 2 ** -11, 0x3c02],
])("%d is %i", (value, half) => expect(toHalf(value)).toBe(half));

test.each([
  [0x0000, 0],
  [0x8000, -0],
  [0x0001, 2 ** -24],
  [0x83ff, -1023 * 2 ** -24],
  [0x0400, 2 ** -14],
  [0x3c00, 1],
  [0xc400, -4],
  [0x3555, 0.333251953125],
  [0x7bff, 65504],
  [0x7c00, Infinity],
  [0xfc00, -Infinity],
  [0x7c01, NaN],
  [0xfe00, NaN],
])("%i stands for %d", (half, value) => expect(fromHalf(half)).toBe(value));

test("takes the nearest", () => {
  fc.assert(
    fc.property(fc.float({ noNaN: true, min: -60000, max: 60000 }), (value) => {
      const half = toHalf(value);
      const error = Math.abs(fromHalf(half) - value);
      for (const other of [half - 1, half + 1]) {
        const neighbour = fromHalf(other & 0xffff);
        if (Number.isFinite(neighbour)) expect(error).toBeLessThanOrEqual(Math.abs(neighbour - value));
      }
    }),
  );
});

// The counter-based random numbers.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fillNormal, fillUniform, fraction, pcg4d, randomWord, STREAM } from "../../src/random.ts";

const word = fc.integer({ min: 0, max: 0xffffffff });

/** pcg4d as its paper prints it, in integers of any length cut to 32 bits. */
function published(a: number, b: number, c: number, d: number): number[] {
  const cut = (n: bigint): bigint => n & 0xffffffffn;
  let [x, y, z, w] = [a, b, c, d].map((n) => cut(BigInt(n) * 1664525n + 1013904223n)) as [bigint, bigint, bigint, bigint];
  const mix = (): void => {
    x = cut(x + y * w);
    y = cut(y + z * x);
    z = cut(z + x * y);
    w = cut(w + y * z);
  };
  mix();
  [x, y, z, w] = [x ^ (x >> 16n), y ^ (y >> 16n), z ^ (z >> 16n), w ^ (w >> 16n)];
  mix();
  return [x, y, z, w].map(Number);
}

describe("a random word", () => {
  it("is the one of the published pcg4d for every counter, the largest included", () => {
    const out = new Uint32Array(4);
    const check = (a: number, b: number, c: number, d: number): void => {
      pcg4d(a, b, c, d, out);
      expect([...out]).toEqual(published(a, b, c, d));
      expect(randomWord(a, b, c, d)).toBe(out[0]);
    };
    fc.assert(fc.property(word, word, word, word, check));
    for (const n of [0, 1, 0x7fffffff, 0x80000000, 0xffffffff]) check(n, n, n, n);
  });

  it("never comes again among neighbouring counters, seeds and streams", () => {
    const words = new Set<string>();
    const out = new Uint32Array(4);
    let count = 0;
    for (let seed = 0; seed < 4; seed++) {
      for (let tensor = 0; tensor < 4; tensor++) {
        for (const stream of Object.values(STREAM)) {
          for (let i = 0; i < 300; i++, count++) {
            pcg4d(seed, tensor, i, stream, out);
            words.add(out.join());
          }
        }
      }
    }
    expect(words.size).toBe(count);
    expect(new Set(Object.values(STREAM)).size).toBe(6);
  });

  it("has each bit that a fraction is made of set half the time, whatever it was at the counter before", () => {
    const count = 4000;
    // Five standard deviations of a fair coin.
    const allowed = 2.5 * Math.sqrt(count);
    for (const stream of Object.values(STREAM)) {
      const words = Array.from({ length: count + 1 }, (_, i) => randomWord(1, 2, i, stream));
      // The lowest byte is far from it, which is why a fraction leaves it out.
      for (let bit = 8; bit < 32; bit++) {
        const bits = words.map((word) => (word >>> bit) & 1);
        const ones = bits.slice(1).filter((value) => value === 1).length;
        const alike = bits.filter((value, i) => i > 0 && value === bits[i - 1]).length;
        expect(Math.abs(ones - count / 2), `stream ${stream}, bit ${bit}`).toBeLessThan(allowed);
        expect(Math.abs(alike - count / 2), `stream ${stream}, bit ${bit}`).toBeLessThan(allowed);
      }
    }
  });
});

describe("a fraction", () => {
  it("is at least 0, less than 1, exact in float32, and grows with its word", () => {
    fc.assert(
      fc.property(word, word, (a, b) => {
        expect(fraction(a)).toBe(Math.fround(fraction(a)));
        expect(fraction(a) <= fraction(b)).toBe(a >>> 8 <= b >>> 8);
        expect(Math.abs(fraction(a) - a / 2 ** 32)).toBeLessThan(2 ** -24);
      }),
    );
    expect(fraction(0)).toBe(0);
    expect(fraction(0xffffffff)).toBe(1 - 2 ** -24);
    expect(Math.fround(fraction(0xffffffff))).toBeLessThan(1);
  });
});

describe("an array filled with random numbers", () => {
  const fills: [name: string, fill: (out: Float32Array | Float64Array, seed: number, tensor: number) => void][] = [
    ["uniformly", (out, seed, tensor) => fillUniform(out, 0.25, seed, tensor)],
    ["normally", fillNormal],
  ];
  for (const [name, fill] of fills) {
    const filled = (length: number, seed: number, tensor: number): number[] => {
      const out = new Float32Array(length);
      fill(out, seed, tensor);
      return [...out];
    };
    it(`${name} follows from seed, tensor and place, not from the array's length or precision`, () => {
      const values = filled(50, 3, 4);
      expect(filled(20, 3, 4)).toEqual(values.slice(0, 20));
      expect(filled(50, 4, 4)).not.toEqual(values);
      expect(filled(50, 3, 5)).not.toEqual(values);
      const wide = new Float64Array(50);
      fill(wide, 3, 4);
      expect([...wide]).toEqual(values);
    });
  }

  const moments = (values: Float32Array) => {
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    const central = (n: number): number => values.reduce((sum, x) => sum + (x - mean) ** n, 0) / values.length;
    return { mean, deviation: Math.sqrt(central(2)), kurtosis: central(4) / central(2) ** 2 };
  };

  it("uniformly stays within the bound, comes near it on both sides, and has the moments", () => {
    const out = new Float32Array(20_000);
    fillUniform(out, 0.25, 1, 0);
    expect(Math.max(...out)).toBeLessThanOrEqual(0.25);
    expect(Math.min(...out)).toBeGreaterThanOrEqual(-0.25);
    expect(Math.max(...out)).toBeGreaterThan(0.2498);
    expect(Math.min(...out)).toBeLessThan(-0.2498);
    const { mean, deviation, kurtosis } = moments(out);
    expect(Math.abs(mean)).toBeLessThan((5 * 0.25) / Math.sqrt(3 * 20_000));
    expect(Math.abs(deviation / (0.25 / Math.sqrt(3)) - 1)).toBeLessThan(5 * Math.sqrt(0.8 / (4 * 20_000)));
    expect(kurtosis).toBeCloseTo(1.8, 1);
  });

  it("normally is finite everywhere and has mean 0, deviation 1 and the tails of a normal distribution", () => {
    const out = new Float32Array(20_000);
    fillNormal(out, 1, 0);
    const { mean, deviation, kurtosis } = moments(out);
    expect(Math.abs(mean)).toBeLessThan(5 / Math.sqrt(20_000));
    expect(Math.abs(deviation - 1)).toBeLessThan(5 / Math.sqrt(2 * 20_000));
    expect(Math.abs(kurtosis - 3)).toBeLessThan(5 * Math.sqrt(24 / 20_000));
    expect(out.every((x) => Number.isFinite(x))).toBe(true);
    const within = (limit: number): number => out.filter((x) => Math.abs(x) < limit).length / out.length;
    expect(within(1)).toBeCloseTo(0.6827, 1);
    expect(within(2)).toBeCloseTo(0.9545, 2);
    expect(within(6)).toBe(1);
  });
});

// Batches against naive definitions. In `sequence` a token is its own position, so that a window says where it lies.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createBatches, evaluationWindows, IGNORE, sortByToken, splitTokens } from "../../src/data/batches.ts";

const sequence = (length: number): Uint32Array => Uint32Array.from({ length }, (_, i) => i);
const from = (min: number, max: number) => fc.integer({ min, max });
const isTooShort = expect.objectContaining({ code: "E_DATA", message: expect.stringContaining("the text is too short") });

/** A batch with B windows of T, and what lay in the arrays before filled with junk. */
function fill(batches: { fill(step: number, inputs: Uint32Array, targets: Uint32Array): unknown }, step: number, size: number) {
  const inputs = new Uint32Array(size).fill(0xdead);
  const targets = new Uint32Array(size).fill(0xdead);
  const reset = batches.fill(step, inputs, targets);
  return { inputs, targets, reset };
}

describe("carried batches", () => {
  const sizes = fc.record({ B: from(1, 5), T: from(1, 7), extra: from(0, 90) });

  it("hold at [t, b] of every step the token that the definition says, and the next one as its target", () => {
    fc.assert(
      fc.property(sizes, fc.array(from(0, 9), { minLength: 126, maxLength: 126 }), ({ B, T, extra }, values) => {
        const tokens = Uint32Array.from(values.slice(0, B * T + 1 + extra));
        const batches = createBatches(tokens, { batchSize: B, seqLen: T, state: "carry", seed: 1 });
        const stream = Math.floor((tokens.length - 1) / B);
        expect(batches.stepsPerEpoch).toBe(Math.floor(stream / T));
        for (let step = 0; step <= 2 * batches.stepsPerEpoch; step++) {
          const { inputs, targets, reset } = fill(batches, step, T * B);
          const window = step % batches.stepsPerEpoch;
          expect(reset).toBe(window === 0);
          const places = Array.from({ length: T * B }, (_, i) => (i % B) * stream + window * T + Math.floor(i / B));
          expect([...inputs]).toEqual(places.map((at) => tokens[at]));
          expect([...targets]).toEqual(places.map((at) => tokens[at + 1]));
        }
      }),
    );
  });

  it("go on in each row where the step before ended, until the state is reset, and never show two rows the same target", () => {
    fc.assert(
      fc.property(sizes, ({ B, T, extra }) => {
        const batches = createBatches(sequence(B * T + 1 + extra), { batchSize: B, seqLen: T, state: "carry", seed: 1 });
        const seen = new Set<number>();
        let before = fill(batches, 0, T * B);
        for (const target of before.targets) seen.add(target);
        for (let step = 1; step < batches.stepsPerEpoch; step++) {
          const now = fill(batches, step, T * B);
          expect(now.reset).toBe(false);
          for (let b = 0; b < B; b++) expect(now.inputs[b]).toBe(before.targets[(T - 1) * B + b]);
          for (const target of now.targets) seen.add(target);
          before = now;
        }
        expect(seen.size).toBe(batches.stepsPerEpoch * B * T);
        expect(fill(batches, batches.stepsPerEpoch, T * B)).toEqual(fill(batches, 0, T * B));
      }),
    );
  });

  it("refuse exactly the texts in which no window of every stream fits", () => {
    fc.assert(
      fc.property(from(1, 9), from(1, 9), from(0, 100), (B, T, length) => {
        const make = () => createBatches(sequence(length), { batchSize: B, seqLen: T, state: "carry", seed: 1 });
        if (length > B * T) expect(make().stepsPerEpoch).toBeGreaterThan(0);
        else expect(make).toThrow(isTooShort);
      }),
    );
  });

  it("name in the error the largest sizes that fit, and those do", () => {
    fc.assert(
      fc.property(from(1, 40), from(1, 40), from(0, 60), (B, T, length) => {
        fc.pre(length <= B * T);
        const make = (batchSize: number, seqLen: number) => () =>
          createBatches(sequence(length), { batchSize, seqLen, state: "carry", seed: 1 });
        const message = messageOf(make(B, T));
        expect(message).toContain(`need ${B * T + 1} characters, got ${length}; use `);
        const number = (pattern: RegExp) => Number(pattern.exec(message)?.[1]);
        const batch = number(/use a batch of at most (\d+)/);
        const windows = number(/(?:use|or) windows of at most (\d+)/);
        const alone = number(/use a batch of 1 and windows of at most (\d+)/);
        if (batch) {
          expect(make(batch, T)().stepsPerEpoch).toBeGreaterThan(0);
          expect(make(batch + 1, T)).toThrow(isTooShort);
        }
        if (windows) {
          expect(make(B, windows)().stepsPerEpoch).toBeGreaterThan(0);
          expect(make(B, windows + 1)).toThrow(isTooShort);
        }
        if (alone) {
          expect(make(1, alone)().stepsPerEpoch).toBeGreaterThan(0);
          expect(make(1, alone + 1)).toThrow(isTooShort);
        }
        expect([batch > 0, windows > 0]).toEqual([length > T, length > B]);
        expect(alone > 0).toBe(length > 1 && length <= Math.min(B, T));
        expect(message).not.toMatch(/at most (0|-)/);
        // A text of one character has nothing to predict, whatever the sizes.
        expect(Boolean(batch || windows || alone)).toBe(length > 1);
        expect(message).toMatch(/a longer text$/);
      }),
    );
  });
});

describe("random windows", () => {
  it("are windows of the text, with each next token as its target, and always begin from a zero state", () => {
    fc.assert(
      fc.property(from(1, 5), from(1, 9), from(1, 50), from(0, 1e9), from(0, 1e6), (B, T, extra, seed, step) => {
        const length = T + extra;
        const batches = createBatches(sequence(length), { batchSize: B, seqLen: T, state: "zero", seed });
        const { inputs, targets, reset } = fill(batches, step, T * B);
        expect(reset).toBe(true);
        expect(batches.stepsPerEpoch).toBe(Math.ceil(extra / (B * T)));
        for (let b = 0; b < B; b++) {
          expect(inputs[b]).toBeLessThan(extra);
          for (let t = 0; t < T; t++) {
            expect(inputs[t * B + b]).toBe(inputs[b]! + t);
            expect(targets[t * B + b]).toBe(inputs[b]! + t + 1);
          }
        }
      }),
    );
  });

  it("follow from seed and step alone, whatever steps were filled before", () => {
    const options = { batchSize: 4, seqLen: 3, state: "zero", seed: 7 } as const;
    const one = createBatches(sequence(5000), options);
    const other = createBatches(sequence(5000), options);
    const backwards = [...Array(50).keys()].map((i) => fill(one, 49 - i, 12));
    const forwards = [...Array(50).keys()].map((step) => fill(other, step, 12));
    forwards.forEach((batch, step) => expect(backwards[49 - step]).toEqual(batch));
    expect(new Set(forwards.map(({ inputs }) => inputs.join())).size).toBe(50);
    expect(fill(createBatches(sequence(5000), { ...options, seed: 8 }), 0, 12)).not.toEqual(forwards[0]);
  });

  it("begin at every place where one fits, the first and the last included, equally often and each on its own", () => {
    const [length, T, B, steps] = [12, 4, 3, 3000];
    const batches = createBatches(sequence(length), { batchSize: B, seqLen: T, state: "zero", seed: 3 });
    const counts = Array<number>(length).fill(0);
    let alike = 0;
    for (let step = 0; step < steps; step++) {
      const starts = fill(batches, step, T * B).inputs.subarray(0, B);
      for (const start of starts) counts[start]!++;
      alike += Number(starts[0]! % 2 === starts[1]! % 2) + Number(starts[1]! % 2 === starts[2]! % 2);
    }
    const expected = (B * steps) / (length - T);
    counts.slice(0, length - T).forEach((n) => expect(Math.abs(n - expected)).toBeLessThan(5 * Math.sqrt(expected)));
    expect(counts.slice(length - T)).toEqual([0, 0, 0, 0]);
    expect(Math.abs(alike - steps)).toBeLessThan(5 * Math.sqrt(steps / 2));
  });

  it("of a text too short name the longest that fit, and they do", () => {
    const make = (length: number, seqLen: number) => () =>
      createBatches(sequence(length), { batchSize: 3, seqLen, state: "zero", seed: 1 });
    for (let length = 0; length <= 12; length++) {
      expect(make(length, 12)).toThrow(isTooShort);
      const message = messageOf(make(length, 12));
      expect(message).toContain(`a window of 12 needs 13 characters, got ${length}; use `);
      const longest = Number(/windows of at most (\d+)/.exec(message)?.[1]);
      if (length < 2) expect(longest).toBeNaN();
      else expect(make(length, longest)().stepsPerEpoch).toBe(1);
    }
    expect(make(13, 12)().stepsPerEpoch).toBe(1);
  });
});

function messageOf(make: () => unknown): string {
  try {
    make();
  } catch (error) {
    return (error as Error).message;
  }
  return expect.fail("no error");
}

describe("a text split for validation", () => {
  it("keeps every token, in order, and the asked part of them for validation", () => {
    fc.assert(
      fc.property(from(0, 200), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (length, fraction) => {
        const { train, val } = splitTokens(sequence(length), fraction);
        expect([...train, ...val]).toEqual([...sequence(length)]);
        expect(val.length).toBeLessThanOrEqual(length * fraction);
        expect(val.length).toBeGreaterThan(length * fraction - 1);
      }),
    );
    expect(splitTokens(sequence(10), 0.25)).toEqual({
      train: sequence(8),
      val: Uint32Array.of(8, 9),
      test: new Uint32Array(0),
    });
  });

  it("and for a test has the parts in that order, validation as large as without one", () => {
    const { train, val, test } = splitTokens(sequence(10), 0.2, 0.3);
    expect([[...train], [...val], [...test]]).toEqual([
      [0, 1, 2, 3, 4],
      [5, 6],
      [7, 8, 9],
    ]);
  });

  it("must leave something to train on", () => {
    for (const wrong of [1, 1.5, -0.1, NaN, Infinity]) {
      expect(() => splitTokens(sequence(10), wrong)).toThrow(expect.objectContaining({ code: "E_CONFIG" }));
      expect(() => splitTokens(sequence(10), wrong)).toThrow(`valFraction must be at least 0 and less than 1, got ${wrong}`);
    }
  });
});

describe("evaluation windows", () => {
  it("hold every next token of the text exactly once, each row in order and right after its own token", () => {
    fc.assert(
      fc.property(from(2, 60), fc.oneof(from(1, 9), from(50, 70)), from(1, 8), (length, B, T) => {
        const windows = evaluationWindows(sequence(length), B, T);
        const rows = Array.from({ length: B }, (): number[] => []);
        for (let window = 0; window < windows.count; window++) {
          const { inputs, targets } = fill(windows, window, T * B);
          for (let t = 0; t < T; t++) {
            for (let b = 0; b < B; b++) {
              const [input, target] = [inputs[t * B + b]!, targets[t * B + b]!];
              // What a row without a target reads must still be a token.
              if (target === IGNORE ? input >= length : input !== target - 1) expect.fail(`${input} before ${target}`);
              if (target !== IGNORE) rows[b]!.push(target);
            }
          }
        }
        expect(rows.flat()).toEqual([...sequence(length)].slice(1));
        expect(windows.targets).toBe(length - 1);
      }),
    );
  });

  it("begin, where a stream has one in front of it, with 128 tokens of that, or a quarter of its share, which are no targets", () => {
    for (const [length, B, T, before] of [
      [4001, 3, 64, 128],
      [4001, 3, 50, 128],
      [161, 4, 7, 10],
      [9, 2, 3, 1],
    ] as const) {
      const windows = evaluationWindows(sequence(length), B, T);
      const rows = Array.from({ length: B }, () => ({ read: [] as number[], targets: [] as number[] }));
      for (let window = 0; window < windows.count; window++) {
        const { inputs, targets } = fill(windows, window, T * B);
        inputs.forEach((input, i) => rows[i % B]!.read.push(input));
        targets.forEach((target, i) => rows[i % B]!.targets.push(target));
      }
      rows.forEach(({ read, targets }, b) => {
        const warmUp = b === 0 ? 0 : before;
        expect(targets.slice(0, warmUp)).toEqual(Array(warmUp).fill(IGNORE));
        const first = targets[warmUp]!;
        expect(read.slice(0, warmUp + 1)).toEqual([...sequence(length)].slice(first - 1 - warmUp, first));
        expect(targets.filter((target) => target !== IGNORE).length).toBeGreaterThanOrEqual(
          Math.floor((length - 1) / B) - before,
        );
      });
    }
  });

  it("end with the longest stream: not one of them is without a target", () => {
    fc.assert(
      fc.property(from(2, 60), from(1, 70), from(1, 8), (length, B, T) => {
        const windows = evaluationWindows(sequence(length), B, T);
        for (let window = 0; window < windows.count; window++) {
          expect(fill(windows, window, T * B).targets.some((target) => target !== IGNORE)).toBe(true);
        }
      }),
    );
  });

  it("of more tokens than are to be read are about as many, no token twice, from every fifth of the text", () => {
    fc.assert(
      fc.property(from(30_000, 60_000), from(1, 8), from(1, 70), from(16_000, 70_000), (length, B, T, most) => {
        const windows = evaluationWindows(sequence(length), B, T, most);
        const seen: number[] = [];
        for (let window = 0; window < windows.count; window++) {
          const { inputs, targets } = fill(windows, window, T * B);
          targets.forEach((target, i) => {
            if (target === IGNORE) return;
            if (inputs[i] !== target - 1) expect.fail(`${inputs[i]} before ${target}`);
            seen.push(target);
          });
        }
        expect(seen.length).toBe(windows.targets);
        expect(new Set(seen).size).toBe(seen.length);
        expect(seen.length).toBeLessThanOrEqual(most >= length ? length - 1 : most);
        expect(seen.length).toBeGreaterThan(Math.min(length - 2, most - B * (1024 + T)));
        expect(new Set(seen.map((target) => Math.floor((5 * target) / length))).size).toBe(5);
      }),
      { numRuns: 20, examples: [[40_945, 8, 1, 16_000]] },
    );
  });

  it("of a text without a next token are none", () => {
    for (const length of [0, 1]) expect(evaluationWindows(sequence(length), 3, 4)).toMatchObject({ count: 0, targets: 0 });
  });
});

describe("positions sorted by token", () => {
  it("are those of a stable sort, with the places where each token's begin, whatever the arrays held before", () => {
    fc.assert(
      fc.property(from(1, 9), fc.array(from(0, 99), { maxLength: 60 }), (V, values) => {
        const tokens = Uint32Array.from(values, (value) => value % V);
        const order = new Uint32Array(tokens.length).fill(0xdead);
        const starts = new Uint32Array(V + 1).fill(0xdead);
        sortByToken(tokens, V, order, starts);
        const positions = [...tokens.keys()];
        expect([...order]).toEqual(positions.slice().sort((a, b) => tokens[a]! - tokens[b]! || a - b));
        for (let v = 0; v < V; v++) {
          expect([...order.subarray(starts[v], starts[v + 1])]).toEqual(positions.filter((i) => tokens[i] === v));
        }
        expect([starts[0], starts[V]]).toEqual([0, tokens.length]);
      }),
    );
  });
});

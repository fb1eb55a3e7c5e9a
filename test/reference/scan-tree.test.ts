// The scan as a tree, as the lab's view draws it.
import { describe, expect, it } from "vitest";
import { CharTokenizer, LanguageModel, openDevice } from "../../src/index.ts";
import { CLOCK_LENGTHS, timeLayers } from "../../src/lab/experiments/clocks.ts";
import { combine, readBoth, scanRounds, type Read } from "../../src/lab/analysis/scan-tree.ts";
import type { ModelSnapshot } from "../../src/lab/protocol.ts";

describe("the tree of a scan", () => {
  it("makes of two steps the one that does what they do after one another", () => {
    const [first, second] = [
      { a: 0.5, b: 3 },
      { a: 0.25, b: -1 },
    ];
    // From h = 8: 0.5 · 8 + 3 = 7, then 0.25 · 7 − 1 = 0.75.
    const both = combine(first, second);
    expect(both.a * 8 + both.b).toBe(0.75);
    expect(both).toEqual({ a: 0.125, b: -0.25 });
  });

  it.each([1, 2, 5, 8, 16])(
    "has the states of %d steps after as many rounds as that can be halved, in each twice as many",
    (T) => {
      const steps = Array.from({ length: T }, (_, t) => ({ a: 0.5 + 0.4 * Math.sin(t), b: Math.cos(3 * t) }));
      const states: number[] = [];
      for (const { a, b } of steps) states.push(a * (states.at(-1) ?? 0) + b);
      const rounds = scanRounds(steps);
      expect(rounds).toHaveLength(1 + Math.ceil(Math.log2(T)));
      rounds.forEach((row, s) => {
        const known = row.map(({ b }, t) => Math.abs(b - states[t]!) < 1e-12);
        expect(known.slice(0, 2 ** s)).toEqual(known.slice(0, 2 ** s).map(() => true));
        // Beyond them none is right yet, by chance or otherwise.
        expect(known.slice(2 ** s).some(Boolean)).toBe(false);
      });
    },
  );
});

describe("a layer in the tree", () => {
  const text = "to be or not to ";
  const stateAt = ({ h, units }: Read, t: number, unit: number): number => h[t * units + unit]!;

  it("has steps that give the states which the library's own kernels gave, in every channel, fresh or of a run", async () => {
    const tokenizer = CharTokenizer.fromText(`${text}zq`);
    const device = await openDevice({ prefer: "cpu", precision: "float64" });
    const options = { cell: "min-gru", hiddenSize: 6, numLayers: 2, vocabSize: tokenizer.size, seed: 9 } as const;
    const model = LanguageModel.create(device, options);
    const own: ModelSnapshot = {
      preset: "min-gru",
      step: 40,
      seed: 9,
      config: model.config,
      stateDict: await model.stateDict(),
      tokenizer: tokenizer.toJSON(),
    };
    for (const [snapshots, step, units] of [
      [[], undefined, 32],
      [[own], 40, 12],
    ] as const) {
      const { scan, chain } = await readBoth(snapshots, text);
      expect([scan.step, scan.units, chain.step, chain.units]).toEqual([step, units, undefined, 16]);
      for (let unit = 0; unit < units; unit++) {
        const steps = Array.from(text, (_, t) => ({ a: scan.a[t * units + unit]!, b: scan.b[t * units + unit]! }));
        for (const { a } of steps) expect(a > 0 && a < 1).toBe(true);
        const rounds = scanRounds(steps);
        rounds.at(-1)!.forEach(({ b }, t) => expect(b).toBeCloseTo(stateAt(scan, t, unit), 6));
      }
      expect(new Set(chain.h).size).toBeGreaterThan(200);
    }
    // A text that the run's model cannot read is read by a fresh one.
    expect((await readBoth([own], "ABC")).scan.step).toBeUndefined();
    device.dispose();
  });

  it("is timed beside a chain, with nothing left on the device", async () => {
    const device = await openDevice({ prefer: "cpu" });
    const before = device.memory();
    const times = await timeLayers(device, CLOCK_LENGTHS[0]);
    expect(times).toHaveLength(2);
    for (const time of times) expect(time).toBeGreaterThan(0);
    expect(device.memory()).toEqual(before);
    device.dispose();
  });
});

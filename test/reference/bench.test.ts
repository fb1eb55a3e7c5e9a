// What the benchmarks measure, for every cell and every preset: that it can be made at all, and what it is counted as.
import { expect, it } from "vitest";
import { kernelBenchmarks } from "../../src/bench/kernels.ts";
import { benchmarkTraining, trainingOperations } from "../../src/bench/training.ts";
import { CELL_NAMES } from "../../src/models/cells.ts";
import { PRESET_NAMES } from "../../src/models/presets.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { Recorder } from "../../src/runtime/recorder.ts";

it.each(["software", "gpu"] as const)(
  "every kernel's benchmark is recorded on a %s adapter, steps of every cell among them",
  (family) => {
    const all = kernelBenchmarks(Infinity);
    for (const cell of CELL_NAMES)
      for (const direction of ["forward", "backward"])
        expect(all.map(({ kernel }) => kernel)).toEqual(
          expect.arrayContaining([`${cell} step ${direction}`, `${cell} all steps ${direction}`]),
        );
    for (const { kernel, sizes, operations, bytes, record } of all) {
      const recorder = new Recorder({ family, subgroupSize: 0 });
      record(recorder);
      expect(recorder.commands.length, `${kernel} ${sizes}`).toBeGreaterThan(0);
      expect(operations ?? bytes, `${kernel} ${sizes}`).toBeGreaterThan(0);
    }
  },
);

it("no kernel is measured for more hidden units than were asked for, and all that fit are", () => {
  const sizesUpTo = (hidden: number): string[] =>
    kernelBenchmarks(Infinity, hidden).map(({ kernel, sizes }) => `${kernel} ${sizes}`);
  const [small, all] = [sizesUpTo(128), sizesUpTo(512)];
  expect(small).toContain("lstm step forward B=64 H=128");
  expect(small.filter((name) => /H=512|512×512|2048/.test(name))).toEqual([]);
  expect(all).toEqual(expect.arrayContaining([...small, "lstm step forward B=64 H=512", "matmul nn 512×512×512"]));
  expect(sizesUpTo(64).filter((name) => /step/.test(name))).toEqual([]);
  expect(all).toEqual(kernelBenchmarks(Infinity).map(({ kernel, sizes }) => `${kernel} ${sizes}`));
});

it("every preset's training step is timed, in blocks or not", async () => {
  const device = await openDevice({ prefer: "cpu" });
  const sizes = PRESET_NAMES.map((preset) => ({ preset, H: 4, B: 2, T: 3 }));
  const { results, skipped } = await benchmarkTraining(device, sizes, { rounds: 1, seconds: Infinity });
  expect(skipped).toEqual([]);
  expect(results.map(({ preset }) => preset)).toEqual(PRESET_NAMES);
  device.dispose();
});

it("a step is counted as its products forward, and twice that backward: with a state, by token, and of the head", () => {
  // LSTM: 4·H·H for the state of each character, 4·H·64 for each of 73 tokens, 73·H for the head of each character.
  expect(trainingOperations({ preset: "lstm", H: 8, B: 2, T: 3 })).toBe(
    3 * 2 * (2 * 3 * 4 * 8 * 8 + 73 * 4 * 8 * 64 + 2 * 3 * 73 * 8),
  );
});

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LanguageModel } from "../../src/models/language-model.ts";
import { Recurrent } from "../../src/models/recurrent.ts";
import type { Device } from "../../src/runtime/device.ts";
import { openDevice } from "../../src/runtime/open.ts";
import type { Variant } from "../../src/runtime/kernel.ts";
import type { TuningStore } from "../../src/runtime/tuning-memory.ts";
import { Trainer } from "../../src/training/trainer.ts";
import { testDevice } from "./device.ts";
import { FAST, recordDoubling, SLOW } from "./doubling.ts";

let shared: Device;

beforeAll(async () => {
  shared = await testDevice();
});
afterAll(() => shared.dispose());

const memory = (): TuningStore & { texts: Map<string, string> } => {
  const texts = new Map<string, string>();
  return { texts, load: (name) => texts.get(name), save: (name, text) => void texts.set(name, text) };
};

const open = (tuningStore: TuningStore, tuning: "on" | "again" = "on"): Promise<Device> =>
  openDevice({ gpuDevice: shared.gpuDevice!, tuning, tuningStore, tuningMilliseconds: Infinity });

async function tuned(variants: readonly Variant[], store: TuningStore = memory()) {
  const device = await open(store);
  (await device.record("test", recordDoubling(variants))).dispose();
  const result = device.tuner!.results.get("doubling.forward 65536");
  const { milliseconds } = device.tuner!;
  const left = device.memory();
  device.dispose();
  return { ...result!, spent: milliseconds, left };
}

describe("the tuner", () => {
  test("takes the faster variant, whichever stands first, and leaves no buffer behind", async () => {
    for (const variants of [
      [SLOW, FAST],
      [FAST, SLOW],
    ]) {
      const result = await tuned(variants);
      expect(result).toMatchObject({ chosen: "fast", preferred: variants[0]!.name, rejected: {} });
      expect(result.milliseconds.slow!).toBeGreaterThan(2 * result.milliseconds.fast!);
      expect(result.left.bytes).toBeLessThan(4096);
    }
  });

  test.each([
    ["that misses the reference", { name: "wrong", constants: { FAULT: 1 } }, /relative L2/],
    ["that goes wrong only at the real shape", { name: "wrong", constants: { FAULT: 2 } }, /at the real shape/],
    ["that does not compile", { name: "wrong", entryPoint: "tooWide" }, /./],
  ])("never takes a variant %s", async (_, wrong: Variant, reason) => {
    const result = await tuned([SLOW, wrong, FAST]);
    expect(result.chosen).toBe("fast");
    expect(result.rejected.wrong).toMatch(reason);
  });

  test("remembers: a second device tunes nothing", async () => {
    const store = memory();
    expect((await tuned([SLOW, FAST], store)).spent).toBeGreaterThan(0);
    expect(await tuned([SLOW, FAST], store)).toMatchObject({ chosen: "fast", spent: 0 });
  });

  test("tunes anew when the candidates changed, when told so, and when what was kept cannot be read", async () => {
    const store = memory();
    await tuned([SLOW, FAST], store);
    expect((await tuned([{ ...SLOW, constants: { LOOPS: 200 } }, FAST], store)).spent).toBeGreaterThan(0);
    const again = await open(store, "again");
    (await again.record("test", recordDoubling([SLOW, FAST]))).dispose();
    expect(again.tuner!.milliseconds).toBeGreaterThan(0);
    again.dispose();
    const [[name, text]] = [...store.texts] as [[string, string]];
    for (const broken of [
      "",
      "{",
      "null",
      '{"choices":7}',
      text.slice(0, 100),
      text.replaceAll('"chosen"', '"taken"'),
      text.replace('"rejected"', '"refused"'),
    ]) {
      store.texts.set(name, broken);
      const result = await tuned([SLOW, FAST], store);
      expect(result.chosen).toBe("fast");
      expect(result.spent).toBeGreaterThan(0);
    }
    const foreign = JSON.stringify({ ...JSON.parse(text), adapter: "another" });
    store.texts.set(name, foreign);
    expect((await tuned([SLOW, FAST], store)).spent).toBeGreaterThan(0);
  });

  test("a tuned training step computes what the untuned one does, and the same bits every time", async () => {
    const store = memory();
    const tokens = Uint32Array.from({ length: 3000 }, (_, i) => (i * i) % 29);
    const train = async (device: Device): Promise<Record<string, Float32Array>> => {
      const model = LanguageModel.create(device, { cell: "lstm", vocabSize: 29, embeddingSize: 16, hiddenSize: 65, seed: 1 });
      const trainer = Trainer.create(model, tokens, { batchSize: 33, seqLen: 24, valFraction: 0 });
      for await (const _ of trainer.run({ maxSteps: 2 }));
      const gradients = await trainer.gradientDict();
      trainer.dispose();
      model.dispose();
      return gradients;
    };
    const untuned = await train(shared);
    const first = await open(store);
    const once = await train(first);
    expect(first.tuner!.results.size).toBeGreaterThan(0);
    first.dispose();
    for (let i = 0; i < 10; i++) {
      const device = await open(store);
      expect(await train(device)).toEqual(once);
      expect(device.tuner!.milliseconds).toBe(0);
      device.dispose();
    }
    for (const [name, values] of Object.entries(once)) {
      const error = Math.hypot(...values.map((x, i) => x - untuned[name]![i]!));
      expect(error, name).toBeLessThan(1e-4 * Math.hypot(...untuned[name]!));
    }
  });

  test("forgets a stale choice also in a plan too small to tune", async () => {
    const store = memory();
    expect((await tuned([SLOW, FAST], store)).chosen).toBe("fast");
    const device = await open(store);
    (await device.record("small", recordDoubling([SLOW, FAST], 1))).dispose();
    expect(device.tuner!.results.size).toBe(1);
    (await device.record("small", recordDoubling([{ ...SLOW, constants: { LOOPS: 2 } }, FAST], 1))).dispose();
    expect(device.tuner!.results.size).toBe(0);
    device.dispose();
  });

  test("says so when no variant is right, and keeps nothing of it", async () => {
    const store = memory();
    await expect(
      tuned(
        ["one", "another"].map((name) => ({ name, constants: { FAULT: 1 } })),
        store,
      ),
    ).rejects.toMatchObject({ code: "E_SHADER" });
    expect([...store.texts.values()].join("")).not.toContain("doubling");
  });

  test("works on where the store fails", async () => {
    const fails = (): never => {
      throw new DOMException("full", "QuotaExceededError");
    };
    expect((await tuned([SLOW, FAST], { load: fails, save: fails })).chosen).toBe("fast");
  });

  test("a layer that was just tuned goes backward as an untuned one does", async () => {
    const gradients = async (device: Device) => {
      const layer = Recurrent.create(device, { cell: "lstm", inputSize: 64, hiddenSize: 128, seed: 1 });
      const [T, B] = [16, 16];
      await layer.forward(
        Float32Array.from({ length: T * B * 64 }, (_, i) => Math.sin(i)),
        { T, B },
      );
      const { dx } = await layer.backward(Float32Array.from({ length: T * B * 128 }, (_, i) => Math.cos(i)));
      layer.dispose();
      return dx;
    };
    const device = await open(memory());
    const found = await gradients(device);
    expect(device.tuner!.milliseconds).toBeGreaterThan(0);
    device.dispose();
    const expected = await gradients(shared);
    const error = Math.hypot(...found.map((x, i) => x - expected[i]!)) / Math.hypot(...expected);
    expect(error).toBeLessThan(1e-5);
  });
});

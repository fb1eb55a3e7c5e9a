// Tuning under bad conditions: little time, an abort, a clock that hardly ticks, a candidate that takes the device along.
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { CharTokenizer } from "../../src/data/tokenizer.ts";
import { LanguageModel } from "../../src/models/language-model.ts";
import type { Device } from "../../src/runtime/device.ts";
import { openDevice, type OpenDeviceOptions } from "../../src/runtime/open.ts";
import type { Variant } from "../../src/runtime/kernel.ts";
import type { TuningProgress } from "../../src/runtime/tuner.ts";
import type { TuningStore } from "../../src/runtime/tuning-memory.ts";
import { loadCheckpoint, modelFromCheckpoint, resumeTrainer, saveCheckpoint } from "../../src/training/checkpoint.ts";
import type { WebGpuDevice } from "../../src/runtime/webgpu-device.ts";
import { Trainer } from "../../src/training/trainer.ts";
import { othersTime, readTime } from "../others-time.ts";
import { testAdapter, testDevice } from "./device.ts";
import { FAST, recordDoubling, SLOW } from "./doubling.ts";

let shared: Device;
beforeAll(async () => {
  shared = await testDevice();
});
afterAll(() => shared.dispose());

const KEY = "doubling.forward 65536";

const memory = (): TuningStore & { text: string | undefined } => ({
  text: undefined,
  load() {
    return this.text;
  },
  save(_name, text) {
    this.text = text;
  },
});

const open = (tuningStore: TuningStore, options: OpenDeviceOptions = {}): Promise<Device> =>
  openDevice({ gpuDevice: shared.gpuDevice!, tuning: "on", tuningMilliseconds: Infinity, tuningStore, ...options });

const record = async (device: Device, variants: readonly Variant[]): Promise<void> =>
  (await device.record("test", recordDoubling(variants))).dispose();

const kept = (store: { text: string | undefined }): Record<string, { chosen: string }> =>
  store.text === undefined ? {} : JSON.parse(store.text).choices;

describe("tuning", () => {
  test("ends when its time is up: what did not fit keeps the preferred form, is not kept, and is tuned another time", async () => {
    const store = memory();
    const told: TuningProgress[] = [];
    const device = await open(store, { tuningMilliseconds: 1, onTuning: (progress) => told.push(progress) });
    const plan = await device.record("test", recordDoubling([SLOW, FAST]));
    expect(plan.choices.get(KEY)).toBe("");
    plan.dispose();
    expect(told.at(0)).toMatchObject({ key: KEY, done: 0, of: 1 });
    expect(told.at(-1)).toMatchObject({ key: "", done: 0, of: 1 });
    expect(kept(store)).toEqual({});
    device.dispose();
    const later = await open(store);
    await record(later, [SLOW, FAST]);
    expect(kept(store)[KEY]).toMatchObject({ chosen: "fast" });
    later.dispose();
  });

  test("takes no more time on a device than it was given, however many plans are recorded", async () => {
    const device = await open(memory(), { tuningMilliseconds: 200 });
    const begun = readTime();
    for (let i = 0; i < 20; i++) await record(device, [{ ...SLOW, constants: { LOOPS: 1000 + i } }, FAST]);
    // Some of it is the plans' own compilation.
    expect(device.tuner!.milliseconds).toBeLessThan(1500 + othersTime(begun));
    expect(performance.now() - begun.at).toBeLessThan(60_000 + othersTime(begun));
    device.dispose();
  });

  test("leaves a choice whose first candidates say that it will not be made in time", async () => {
    const store = memory();
    const { save } = store;
    // Each candidate is noted before it is tried: as slow as one that a driver compiles when it first runs.
    const slow: TuningStore = {
      load: () => store.text,
      save: async (name, text) => {
        await new Promise((resolve) => setTimeout(resolve, 400));
        save.call(store, name, text);
      },
    };
    const device = await open(slow, { tuningMilliseconds: 2000 });
    const eight: Variant[] = Array.from({ length: 8 }, (_, i) => ({ name: `slow ${i}`, constants: { LOOPS: 2 + i } }));
    const begun = readTime();
    await record(device, eight);
    expect(device.tuner!.results.size).toBe(0);
    expect(device.tuner!.milliseconds).toBeGreaterThan(400);
    expect(device.tuner!.milliseconds).toBeLessThan(1900 + othersTime(begun));
    device.dispose();
  });

  test("ends within a second of an abort, keeps what was chosen before, and marks nothing", async () => {
    const store = memory();
    const device = await open(store);
    await record(device, [SLOW, FAST]);
    const controller = new AbortController();
    const endless: Variant[] = Array.from({ length: 8 }, (_, i) => ({ name: `slow ${i}`, constants: { LOOPS: 3000 + i } }));
    const reason = new Error("stopped by the test");
    let aborted = readTime();
    setTimeout(() => {
      aborted = readTime();
      controller.abort(reason);
    }, 150);
    const tuning = device.record("test", recordDoubling(endless, undefined, 1 << 17), { signal: controller.signal });
    await expect(tuning).rejects.toBe(reason);
    expect(performance.now() - aborted.at).toBeLessThan(1000 + othersTime(aborted));
    await device.tuner!.idle();
    expect(JSON.parse(store.text!)).toMatchObject({ trying: [], lost: {} });
    expect(kept(store)[KEY]).toMatchObject({ chosen: "fast" });
    await device.finish();
    device.dispose();
  });

  /** As browsers' clocks are where privacy is guarded. */
  const withClock = async (tick: number, use: () => Promise<void>): Promise<void> => {
    const real = performance.now.bind(performance);
    const clock = vi.spyOn(performance, "now").mockImplementation(() => Math.floor(real() / tick) * tick);
    await use().finally(() => clock.mockRestore());
  };

  test("measures by a clock that ticks every 16 ms", () =>
    withClock(16, async () => {
      const device = await open(memory());
      await record(device, [SLOW, FAST]);
      const tuned = device.tuner!.results.get(KEY)!;
      expect(tuned.chosen).toBe("fast");
      for (const milliseconds of Object.values(tuned.milliseconds)) expect(milliseconds).toBeGreaterThan(0);
      expect(tuned.milliseconds.slow!).toBeGreaterThan(2 * tuned.milliseconds.fast!);
      device.dispose();
    }));

  test.each([16, 100])("by a clock that ticks every %d ms keeps the preferred form where there is no time to measure", (tick) =>
    withClock(tick, async () => {
      const store = memory();
      const device = await open(store, { tuningMilliseconds: 2 * tick });
      await record(device, [SLOW, FAST]);
      expect(device.tuner!.results.size).toBe(0);
      expect(kept(store)).toEqual({});
      device.dispose();
    }),
  );

  test("by a clock that ticks too rarely for the time there is costs no more than finding that out", () =>
    withClock(100, async () => {
      const device = await open(memory(), { tuningMilliseconds: 5000 });
      const begun = readTime();
      await record(device, [SLOW, FAST]);
      expect(device.tuner!.results.size).toBe(0);
      expect(device.tuner!.milliseconds).toBeLessThan(2000 + othersTime(begun));
      device.dispose();
    }));

  test("a candidate that takes the device with it is named, and passed over from the next start on", async () => {
    const real = await (await testAdapter()).requestDevice();
    let lose!: (info: { reason: string; message: string }) => void;
    const lost = new Promise((resolve) => (lose = resolve));
    const losable = new Proxy(real, {
      get(target, name) {
        if (name === "lost") return lost;
        const value = Reflect.get(target, name);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    const store = memory();
    const fatal: Variant = { name: "fatal", constants: { LOOPS: 2 } };
    const save = store.save.bind(store);
    store.save = (name, text) => {
      save(name, text);
      if (JSON.parse(text).trying[0]?.candidate === "fatal") lose({ reason: "unknown", message: "hung" });
    };
    const device = await openDevice({ gpuDevice: losable, tuning: "on", tuningMilliseconds: Infinity, tuningStore: store });
    await expect(record(device, [SLOW, fatal, FAST])).rejects.toMatchObject({
      code: "E_DEVICE_LOST",
      message: expect.stringMatching(/hung.*"fatal" was tried for doubling\.forward 65536.*--no-tune/),
    });
    real.destroy();
    store.save = save;
    const told: TuningProgress[] = [];
    const another = await (await testAdapter()).requestDevice();
    const next = await openDevice({
      gpuDevice: another,
      tuning: "on",
      tuningMilliseconds: Infinity,
      tuningStore: store,
      onTuning: (progress) => told.push(progress),
    });
    await record(next, [SLOW, fatal, FAST]);
    const wasPassedOver = told[0]!.passedOver.join();
    expect(wasPassedOver).toMatch(/doubling\.forward 65536.*"fatal"/);
    expect(next.tuner!.results.get(KEY)).toMatchObject({ chosen: "fast", rejected: { fatal: expect.stringMatching(/lost/) } });
    next.dispose();
    another.destroy();
  });

  test("a device that its owner destroys meanwhile is held against no candidate", async () => {
    const gpuDevice = await (await testAdapter()).requestDevice();
    const store = memory();
    const options = { gpuDevice, tuning: "on", tuningMilliseconds: Infinity, tuningStore: store } as const;
    const device = await openDevice({ ...options, onTuning: () => setTimeout(() => gpuDevice.destroy(), 20) });
    await expect(record(device, [{ ...SLOW, constants: { LOOPS: 3000 } }, FAST])).rejects.toMatchObject({
      code: "E_DEVICE_LOST",
    });
    expect(JSON.parse(store.text!)).toMatchObject({ lost: {}, trying: [] });
  });
});

describe("a run's choices", () => {
  const text = Array.from({ length: 3000 }, (_, i) => "abcdefghijklmnop\n"[(i * i) % 17]).join("");
  const tokenizer = CharTokenizer.fromText(text);
  const tokens = tokenizer.encode(text);
  const settings = { tokenizer, batchSize: 32, seqLen: 32, evalInterval: 2, valFraction: 0.2, logInterval: 0 };
  const fresh = (device: Device): Trainer => {
    const config = { cell: "gru", vocabSize: tokenizer.size, hiddenSize: 9, embeddingSize: 5, seed: 1 } as const;
    return Trainer.create(LanguageModel.create(device, config), tokens, settings);
  };
  const upTo = async (trainer: Trainer, maxSteps: number): Promise<Uint8Array> => {
    for await (const _ of trainer.run({ maxSteps }));
    return saveCheckpoint(trainer);
  };

  test("decide about its bits, so that its checkpoint has them and a resumed run takes them", async () => {
    const device = (await testDevice()) as WebGpuDevice;
    // Sums of more than a thousand products are cut in slices, or not, on GPUs only.
    device.family = "gpu";
    const keys = [...(await upToStep(1)).trainer.choices.keys()].filter((key) => key.includes("in slices"));
    expect(keys.length).toBeGreaterThan(0);
    async function upToStep(steps: number, choice?: string): Promise<{ trainer: Trainer; bytes: Uint8Array }> {
      const trainer = fresh(device);
      if (choice) trainer.choices = new Map(keys.map((key) => [key, choice]));
      return { trainer, bytes: await upTo(trainer, steps) };
    }
    const whole = (await upToStep(3, "whole")).bytes;
    const sliced = (await upToStep(3, "sliced")).bytes;
    const weights = (bytes: Uint8Array): ArrayLike<number> => loadCheckpoint(bytes).tensors["rnn.weight_hh_l0"]!.data;
    expect(weights(whole)).not.toEqual(weights(sliced));
    for (const [choice, unbroken] of [["whole", whole] as const, ["sliced", sliced] as const]) {
      const checkpoint = loadCheckpoint((await upToStep(2, choice)).bytes);
      expect(checkpoint.device).toBe(device.description);
      for (const key of keys) expect(checkpoint.tuning.get(key)).toBe(choice);
      const resumed = resumeTrainer(modelFromCheckpoint(device, checkpoint), tokens, checkpoint);
      expect(await upTo(resumed, 3)).toEqual(unbroken);
    }
    device.dispose();
  });

  test("are another device's affair", async () => {
    const checkpoint = loadCheckpoint(await upTo(fresh(shared), 1));
    const elsewhere = { ...checkpoint, device: "another", tuning: new Map([["matmul.nn 8 16 32", "constructor"]]) };
    const resumed = resumeTrainer(modelFromCheckpoint(shared, elsewhere), tokens, elsewhere);
    expect([...resumed.choices]).toEqual([]);
    // A name of Object.prototype's is no candidate's, on any device.
    const forged = { ...checkpoint, tuning: new Map([...checkpoint.tuning].map(([key]) => [key, "constructor"] as const)) };
    const one = await upTo(resumeTrainer(modelFromCheckpoint(shared, forged), tokens, forged), 2);
    const two = await upTo(resumeTrainer(modelFromCheckpoint(shared, checkpoint), tokens, checkpoint), 2);
    expect(loadCheckpoint(one).tensors).toEqual(loadCheckpoint(two).tensors);
  });
});

// Whatever takes long ends within a second of its signal's abort, with the signal's reason, and leaves nothing behind.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CharTokenizer } from "../../src/data/tokenizer.ts";
import { LanguageModel, sampleText } from "../../src/models/language-model.ts";
import { Recurrent } from "../../src/models/recurrent.ts";
import { CpuDevice } from "../../src/runtime/cpu-device.ts";
import type { Device } from "../../src/runtime/device.ts";
import { loadCheckpoint, modelFromCheckpoint, resumeTrainer, saveCheckpoint } from "../../src/training/checkpoint.ts";
import { makeEvaluator } from "../../src/training/evaluate.ts";
import { checkGradients } from "../../src/training/gradient-check.ts";
import { Trainer } from "../../src/training/trainer.ts";
import { othersTime, readTime } from "../others-time.ts";
import { testDevice } from "./device.ts";

const SECOND = 1000;
const tokenizer = CharTokenizer.fromText("abcdefgh\n");
const tokens = Uint32Array.from({ length: 100_000 }, (_, i) => (i * i) % tokenizer.size);
const reason = new Error("stopped by the test");

const devices: Record<string, Device> = {};
beforeAll(async () => {
  devices.gpu = await testDevice();
  devices.cpu = new CpuDevice("float32");
});
afterAll(() => Object.values(devices).forEach((device) => device.dispose()));

/** What takes long, by name: more than a second on either device. */
const LONG: Readonly<
  Record<string, (device: Device, signal: AbortSignal, keep: (made: { dispose(): void }) => void) => Promise<unknown>>
> = {
  "a forward pass": (device, signal, keep) => {
    const [hiddenSize, T] = device.kind === "cpu" ? [128, 40] : [512, 200];
    const layer = Recurrent.create(device, { cell: "lstm", inputSize: 64, hiddenSize, numLayers: 2 });
    keep(layer);
    return layer.forward(new Float32Array(T * 64 * 64), { T, B: 64, signal });
  },
  "a step of a stream": (device, signal, keep) => {
    const layer = Recurrent.create(device, { cell: "lstm", inputSize: 8, hiddenSize: 512, numLayers: 3 });
    keep(layer);
    const steps = async (): Promise<void> => {
      for (;;) await layer.step(new Float32Array(512 * 8), { B: 512, signal });
    };
    return steps();
  },
  sampling: (device, signal, keep) => {
    const model = LanguageModel.create(device, {
      cell: "lstm",
      vocabSize: tokenizer.size,
      hiddenSize: 512,
      numLayers: 2,
      seed: 1,
    });
    keep(model);
    return sampleText(model, tokenizer, { length: 2000, count: 64, signal });
  },
  "an evaluation": async (device, signal, keep) => {
    const model = LanguageModel.create(device, { cell: "gru", vocabSize: tokenizer.size, hiddenSize: 256, seed: 1 });
    keep(model);
    const evaluator = await makeEvaluator(model, tokens, { batchSize: 64, seqLen: 64, signal });
    keep(evaluator);
    return evaluator.evaluate(signal);
  },
  "a check of gradients": (device, signal) => checkGradients(device, { signal }),
};

describe.each(["gpu", "cpu"])("on the %s", (kind) => {
  it.each(Object.keys(LONG))("%s ends within a second of an abort, with its reason", async (name) => {
    const device = devices[kind]!;
    await device.finish();
    const before = device.memory();
    for (const delay of [0, 30, 300]) {
      const made: { dispose(): void }[] = [];
      const controller = new AbortController();
      let aborted = readTime();
      setTimeout(() => {
        aborted = readTime();
        controller.abort(reason);
      }, delay);
      await expect(LONG[name]!(device, controller.signal, (each) => made.push(each))).rejects.toBe(reason);
      expect(performance.now() - aborted.at).toBeLessThan(SECOND + othersTime(aborted));
      for (let each = made.pop(); each; each = made.pop()) each.dispose();
    }
    // What was under way ends soon, and gives back what it held.
    await expect.poll(() => device.memory().buffers - before.buffers, { timeout: 60_000 }).toBeLessThanOrEqual(16);
  });

  it("a run's own evaluation does too, and the resumed run makes up for it", async () => {
    const device = devices[kind]!;
    const hiddenSize = kind === "cpu" ? 48 : 128;
    const settings = { tokenizer, batchSize: 32, seqLen: 32, logInterval: 1, evalInterval: 2, valFraction: 0.6, totalSteps: 4 };
    const fresh = (): Trainer => {
      const model = LanguageModel.create(device, { cell: "gru", vocabSize: tokenizer.size, hiddenSize, seed: 1 });
      return Trainer.create(model, tokens.subarray(0, 20_000), settings);
    };
    const finish = async (trainer: Trainer): Promise<Uint8Array> => {
      for await (const _ of trainer.run({ maxSteps: 4 }));
      return saveCheckpoint(trainer);
    };
    const unbroken = await finish(fresh());
    const stopped = fresh();
    const controller = new AbortController();
    const seen: string[] = [];
    let aborted = readTime();
    for await (const { event, ...rest } of stopped.run({ maxSteps: 4, signal: controller.signal })) {
      seen.push(event);
      if (event === "end") expect(performance.now() - aborted.at).toBeLessThan(SECOND + othersTime(aborted));
      if (event !== "step" || (rest as { step: number }).step !== 2) continue;
      aborted = readTime();
      controller.abort(reason);
    }
    expect(seen).toEqual(["start", "step", "step", "end"]);
    const checkpoint = loadCheckpoint(await saveCheckpoint(stopped));
    const resumed = resumeTrainer(modelFromCheckpoint(device, checkpoint), tokens.subarray(0, 20_000), checkpoint);
    expect(await finish(resumed)).toEqual(unbroken);
  });

  it("a run that is aborted while it is prepared ends with an event, and goes on later as if nothing had been", async () => {
    const device = devices[kind]!;
    const model = LanguageModel.create(device, { cell: "rnn", vocabSize: tokenizer.size, hiddenSize: 8, seed: 1 });
    const trainer = Trainer.create(model, tokens, { batchSize: 4, seqLen: 8, logInterval: 1 });
    const first = [];
    for await (const event of trainer.run({ maxSteps: 3, signal: AbortSignal.abort(reason) })) first.push(event.event);
    expect(first).toEqual(["end"]);
    expect(trainer.step).toBe(0);
    const losses = [];
    for await (const event of trainer.run({ maxSteps: 3 })) if (event.event === "step") losses.push(event.loss);
    expect(losses).toHaveLength(3);
    trainer.dispose();
    model.dispose();
  });
});

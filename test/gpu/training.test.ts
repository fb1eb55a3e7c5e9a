// Training as a whole: the GPU against the CPU, the same bits for the same seed, and what a step costs.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CharTokenizer } from "../../src/data/tokenizer.ts";
import { countCalls } from "../../src/bench/measure.ts";
import { CELL_NAMES, inBlock } from "../../src/models/cells.ts";
import { PRESET_NAMES, PRESETS } from "../../src/models/presets.ts";
import { LanguageModel, type LanguageModelOptions } from "../../src/models/language-model.ts";
import { loadCheckpoint, modelFromCheckpoint, resumeTrainer, saveCheckpoint } from "../../src/training/checkpoint.ts";
import { Trainer, type TrainerOptions } from "../../src/training/trainer.ts";
import { randomWord } from "../../src/random.ts";
import type { Device } from "../../src/runtime/device.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { testDevice } from "./device.ts";

const TEXT = Array.from(
  { length: 60 },
  (_, i) => `The ${["cat", "hat", "March hare", "queen"][i % 4]} said ${i * i}; "no?"\n`,
).join("");
const tokenizer = CharTokenizer.fromText(TEXT);
const tokens = tokenizer.encode(TEXT);

let gpu: Device;
let cpu: Device;
beforeAll(async () => {
  gpu = await testDevice();
  cpu = await openDevice({ prefer: "cpu", precision: "float64" });
});
afterAll(() => {
  gpu.dispose();
  cpu.dispose();
});

const SMALL = {
  batchSize: 5,
  seqLen: 9,
  learningRate: 1e-2,
  valFraction: 0.1,
  logInterval: 1,
  evalInterval: 0,
  sampleInterval: 0,
};

async function losses(
  device: Device,
  options: Partial<LanguageModelOptions>,
  settings: TrainerOptions,
  steps: number,
): Promise<number[]> {
  const model = LanguageModel.create(device, {
    ...(!inBlock({ cell: "lstm", ...options }) && { embeddingSize: 6 }),
    hiddenSize: 13,
    seed: 4,
    ...options,
    vocabSize: tokenizer.size,
  });
  const trainer = Trainer.create(model, tokens, { ...SMALL, ...settings });
  const out: number[] = [];
  for await (const event of trainer.run({ maxSteps: steps })) if (event.event === "step") out.push(event.loss);
  trainer.dispose();
  model.dispose();
  return out;
}

async function expectSameTrajectory(options: Partial<LanguageModelOptions>, settings: TrainerOptions): Promise<void> {
  const [onGpu, onCpu] = [await losses(gpu, options, settings, 20), await losses(cpu, options, settings, 20)];
  expect(onGpu).toHaveLength(20);
  onGpu.forEach((loss, i) =>
    expect(Math.abs(loss / onCpu[i]! - 1), `step ${i + 1}: ${loss} on the GPU, ${onCpu[i]} on the CPU`).toBeLessThan(1e-4),
  );
  // It learned something, so that equal losses mean equal gradients.
  expect(onCpu.at(-1)!).toBeLessThan(onCpu[0]! - 0.3);
}

describe("20 steps on the GPU give the losses of the float64 reference within 1e-4", () => {
  for (const preset of PRESET_NAMES) {
    it(preset, () => expectSameTrajectory(PRESETS[preset], {}));
  }
  it("gru with the reset before the product", () => expectSameTrajectory({ cell: "gru", resetAfter: false }, {}));
  it("three layers with dropout, AdamW and a cosine schedule", () =>
    expectSameTrajectory(
      { cell: "lstm", numLayers: 3, dropout: 0.2 },
      { optimizer: "adamw", weightDecay: 0.01, schedule: "cosine", warmupSteps: 3, totalSteps: 20, learningRate: 3e-2 },
    ));
  it("loss on the last step from a zero state, with SGD and momentum", () =>
    expectSameTrajectory(
      { cell: "rnn", input: "one-hot" },
      { loss: "last", state: "zero", optimizer: "sgd", momentum: 0.9, learningRate: 0.1, batchSize: 16, clip: 0 },
    ));
  it("a batch smaller than the vocabulary, with RMSprop", () =>
    expectSameTrajectory({ cell: "gru" }, { optimizer: "rmsprop", batchSize: 2, seqLen: 7 }));
});

// Taken from the float64 reference when it first passed every other check; they catch what tests of parts cannot.
const GOLDEN = [
  3.3533482633535097, 3.368442880658091, 3.3390841403529454, 3.346418593004492, 3.321274256716072, 3.300437748803261,
  3.3353776597033304, 3.287493565066256, 3.341756412482292, 3.153833610285092,
];

it("ten steps of a two-layer LSTM, H=128, give the golden losses", async () => {
  const golden = Uint32Array.from({ length: 600 }, (_, i) => (i * i + (randomWord(1, 2, i, 3) % 3)) % 29);
  for (const [device, tolerance] of [
    [cpu, 1e-9],
    [gpu, 1e-4],
  ] as const) {
    const model = LanguageModel.create(device, {
      cell: "lstm",
      numLayers: 2,
      hiddenSize: 128,
      embeddingSize: 16,
      vocabSize: 29,
      seed: 7,
    });
    const trainer = Trainer.create(model, golden, {
      batchSize: 4,
      seqLen: 16,
      learningRate: 2e-3,
      valFraction: 0,
      logInterval: 1,
    });
    const losses: number[] = [];
    for await (const event of trainer.run({ maxSteps: 10 })) if (event.event === "step") losses.push(event.loss);
    losses.forEach((loss, i) =>
      expect(Math.abs(loss / GOLDEN[i]! - 1), `step ${i + 1}, ${device.description}`).toBeLessThan(tolerance),
    );
    expect(losses).toHaveLength(10);
    trainer.dispose();
    model.dispose();
  }
});

async function checkpointAfter(stops: readonly number[]): Promise<Uint8Array> {
  let bytes: Uint8Array | undefined;
  for (const stop of stops) {
    const checkpoint = bytes && loadCheckpoint(bytes);
    const options: LanguageModelOptions = {
      cell: "lstm",
      numLayers: 2,
      dropout: 0.1,
      embeddingSize: 6,
      hiddenSize: 13,
      seed: 4,
      vocabSize: tokenizer.size,
    };
    const model: LanguageModel = checkpoint ? modelFromCheckpoint(gpu, checkpoint) : LanguageModel.create(gpu, options);
    const trainer = checkpoint
      ? resumeTrainer(model, tokens, checkpoint)
      : Trainer.create(model, tokens, { ...SMALL, evalInterval: 4, tokenizer });
    for await (const _ of trainer.run({ maxSteps: stop }));
    bytes = await saveCheckpoint(trainer);
    trainer.dispose();
    model.dispose();
  }
  return bytes!;
}

describe("the same seed gives the same bits", () => {
  it("in two runs, and when a run is stopped anywhere and resumed", async () => {
    const unbroken = await checkpointAfter([12]);
    const stop = 1 + Math.floor(Math.random() * 11);
    expect(await checkpointAfter([12]), "a second run").toEqual(unbroken);
    expect(await checkpointAfter([stop, 12]), `stopped after step ${stop}`).toEqual(unbroken);
  });

  it("and another seed gives others", async () => {
    expect(await losses(gpu, { seed: 4 }, {}, 3)).not.toEqual(await losses(gpu, { seed: 5 }, {}, 3));
  });
});

describe("a training step costs no more than it must", () => {
  it("LSTM H=128 B=64 T=50: at most 2T + 12 dispatches, and 2 submits on a fast adapter", async () => {
    // To a pacer that aims at a second, this adapter is a fast one.
    const fast = await openDevice({ gpuDevice: gpu.gpuDevice!, submitMilliseconds: 3000, tuning: "off" });
    const long = tokenizer.encode(TEXT.repeat(3));
    const model = LanguageModel.create(fast, { cell: "lstm", embeddingSize: 64, hiddenSize: 128, vocabSize: tokenizer.size });
    const trainer = Trainer.create(model, long, { batchSize: 64, seqLen: 50, valFraction: 0, logInterval: 0, sampleInterval: 0 });
    for await (const _ of trainer.run({ maxSteps: 1 }));
    const counts = await countCalls(gpu.gpuDevice, async () => {
      for await (const _ of trainer.run({ maxSteps: 2 }));
    });
    expect(counts.dispatches).toBeGreaterThan(5);
    expect(counts.dispatches).toBeLessThanOrEqual(2 * 50 + 12);
    expect(counts.dispatches).toBe(trainer.dispatches);
    expect(counts.submits).toBeLessThanOrEqual(2);
    expect(counts.buffers, "buffers made in a step").toBe(0);
    expect(counts.bindGroups, "bind groups made in a step").toBe(0);
    trainer.dispose();
    model.dispose();
    fast.dispose();
  });

  it.each(CELL_NAMES.filter((cell) => !inBlock({ cell })))(
    "%s H=32 B=8 T=64: at most 14 dispatches, whole sequences in one",
    async (cell) => {
      const model = LanguageModel.create(gpu, { cell, embeddingSize: 16, hiddenSize: 32, vocabSize: tokenizer.size });
      const trainer = Trainer.create(model, tokenizer.encode(TEXT.repeat(3)), { batchSize: 8, seqLen: 64, valFraction: 0 });
      for await (const _ of trainer.run({ maxSteps: 1 }));
      expect(trainer.dispatches).toBeLessThanOrEqual(14);
      trainer.dispose();
      model.dispose();
    },
  );

  it.each(PRESET_NAMES.filter((name) => inBlock(PRESETS[name])))("%s: as many dispatches whatever T is", async (preset) => {
    const dispatches: number[] = [];
    for (const seqLen of [64, 4096]) {
      const model = LanguageModel.create(gpu, { ...PRESETS[preset], vocabSize: tokenizer.size });
      const long = tokenizer.encode(TEXT.repeat(4));
      const trainer = Trainer.create(model, long, { batchSize: 1, seqLen, valFraction: 0, evalInterval: 0 });
      for await (const _ of trainer.run({ maxSteps: 1 }));
      dispatches.push(trainer.dispatches!);
      trainer.dispose();
      model.dispose();
    }
    const [short, long] = dispatches as [number, number];
    // A scan of few rows and many steps may be in three dispatches in place of one.
    expect(long).toBeLessThanOrEqual(short + 12);
    expect(short).toBeLessThanOrEqual(preset.startsWith("min") ? 80 : 130);
  });

  it("1,000 steps leave buffers and bytes as they were, and make none", async () => {
    const before = gpu.memory();
    const model = LanguageModel.create(gpu, { cell: "gru", embeddingSize: 4, hiddenSize: 8, vocabSize: tokenizer.size });
    const trainer = Trainer.create(model, tokens, { ...SMALL, batchSize: 2, seqLen: 4, logInterval: 10 });
    for await (const _ of trainer.run({ maxSteps: 20 }));
    const warm = gpu.memory();
    const counts = await countCalls(gpu.gpuDevice, async () => {
      for await (const _ of trainer.run({ maxSteps: 1020 }));
    });
    expect(gpu.memory()).toEqual(warm);
    // Read-backs of several logs may be under way at once, each in a buffer of the ring.
    expect(counts.buffers, "buffers made in 1,000 steps").toBe(0);
    expect(counts.bindGroups, "bind groups made in 1,000 steps").toBe(0);
    trainer.dispose();
    model.dispose();
    const after = gpu.memory();
    expect(after.buffers - before.buffers, "buffers left, but for the read-back ring").toBeLessThanOrEqual(9);
  });
});

describe("a run that goes wrong", () => {
  it("stops at a gradient that is not finite, with the parameters from before it", async () => {
    const model = LanguageModel.create(gpu, { cell: "lstm", embeddingSize: 4, hiddenSize: 8, vocabSize: tokenizer.size });
    const trainer = Trainer.create(model, tokens, { ...SMALL, optimizer: "sgd", learningRate: 1e-3, clip: 0, tokenizer });
    for await (const _ of trainer.run({ maxSteps: 2 }));
    const weights = await model.stateDict();
    weights["head.bias"]![0] = 3e38;
    weights["head.bias"]![1] = 3e38;
    weights["head.weight"]!.fill(3e38);
    model.loadStateDict(weights);
    await expect(
      (async () => {
        for await (const _ of trainer.run({ maxSteps: 10 }));
      })(),
    ).rejects.toMatchObject({ code: "E_NAN_LOSS" });
    expect(await model.stateDict()).toEqual(weights);
    await expect(saveCheckpoint(trainer)).rejects.toMatchObject({ code: "E_NAN_LOSS" });
    trainer.dispose();
    model.dispose();
  });

  it("stops when the loss explodes", async () => {
    const run = losses(gpu, { cell: "rnn", nonlinearity: "relu" }, { optimizer: "sgd", learningRate: 300, clip: 1 }, 60);
    await expect(run).rejects.toMatchObject({ code: "E_NAN_LOSS" });
  });

  it("says which tensor does not fit, and leaves nothing behind", () => {
    const before = gpu.memory();
    const tooLarge = () => LanguageModel.create(gpu, { cell: "lstm", hiddenSize: 65536, vocabSize: tokenizer.size });
    expect(tooLarge).toThrow(
      /the parameters of .*hiddenSize 65536.* need .* MiB, but this adapter binds at most .* MiB; .*hiddenSize at most \d+/,
    );
    expect(gpu.memory()).toEqual(before);
  });
});

describe("evaluation", () => {
  it("does not disturb training", async () => {
    const plain = await losses(gpu, { cell: "lstm" }, { evalInterval: 0 }, 8);
    const evaluated = await losses(gpu, { cell: "lstm" }, { evalInterval: 2 }, 8);
    expect(evaluated).toEqual(plain);
  });
});

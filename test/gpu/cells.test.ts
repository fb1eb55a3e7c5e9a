// A cell that is not in the library, added to the table: a language model of it trains, samples, is saved and goes on. Tests of
// all cells have such cells in their lists too: recurrent.test.ts here and in test/reference, and gradients.test.ts there.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CharTokenizer } from "../../src/data/tokenizer.ts";
import { addCell, type CellName } from "../../src/models/cells.ts";
import { LanguageModel } from "../../src/models/language-model.ts";
import type { Device } from "../../src/runtime/device.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { loadCheckpoint, modelFromCheckpoint, resumeTrainer, saveCheckpoint } from "../../src/training/checkpoint.ts";
import { Trainer } from "../../src/training/trainer.ts";
import { indrnnCell } from "../cells/indrnn.ts";
import { testDevice } from "./device.ts";

afterAll(addCell("indrnn", indrnnCell));

const devices = {} as Record<"GPU" | "CPU", Device>;
beforeAll(async () => {
  devices.GPU = await testDevice();
  devices.CPU = await openDevice({ prefer: "cpu" });
});
afterAll(() => Object.values(devices).forEach((device) => device.dispose()));

const text = "she sells sea shells by the sea shore. ".repeat(30);
const tokenizer = CharTokenizer.fromText(text);
const config = { cell: "indrnn" as CellName, vocabSize: tokenizer.size, hiddenSize: 13, embeddingSize: 6, numLayers: 2 };
const settings = { batchSize: 4, seqLen: 9, learningRate: 1e-2, valFraction: 0, logInterval: 1, tokenizer };

async function train(trainer: Trainer, maxSteps: number): Promise<number[]> {
  const losses: number[] = [];
  for await (const event of trainer.run({ maxSteps })) if (event.event === "step") losses.push(event.loss);
  return losses;
}

async function wholeRun(device: Device) {
  const model = LanguageModel.create(device, { ...config, seed: 3 });
  const trainer = Trainer.create(model, tokenizer.encode(text), settings);
  const losses = await train(trainer, 40);
  const half = await saveCheckpoint(trainer);
  losses.push(...(await train(trainer, 60)));
  const saved = await saveCheckpoint(trainer);
  const sample = await model.sample(tokenizer, { prompt: "sea ", length: 30, temperature: 0 });
  trainer.dispose();
  model.dispose();
  return { losses, half, saved, sample };
}

describe.each(["GPU", "CPU"] as const)("a language model of it on the %s", (kind) => {
  it("learns, samples what it learned, and goes on from a checkpoint bit for bit", async () => {
    const { losses, half, saved, sample } = await wholeRun(devices[kind]);
    expect(losses.at(-1)!).toBeLessThan(losses[0]! / 2);
    expect(sample).toMatch(/^sea s/);
    const checkpoint = loadCheckpoint(half);
    expect(Object.entries(checkpoint.tensors).map(([name, { shape }]) => [name, shape])).toEqual(
      expect.arrayContaining([
        ["rnn.weight_hh_l1", [13]],
        ["state.h", [2, 4, 13]],
      ]),
    );
    const model = modelFromCheckpoint(devices[kind], checkpoint);
    const trainer = resumeTrainer(model, tokenizer.encode(text), checkpoint, settings);
    await train(trainer, 60);
    expect(await saveCheckpoint(trainer)).toEqual(saved);
    trainer.dispose();
    model.dispose();
  });
});

it("trains the same on both", async () => {
  const [onGpu, onCpu] = [await wholeRun(devices.GPU), await wholeRun(devices.CPU)];
  onGpu.losses.slice(0, 12).forEach((loss, i) => expect(Math.abs(loss / onCpu.losses[i]! - 1)).toBeLessThan(1e-4));
});

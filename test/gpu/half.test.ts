// float16 where the adapter has it; where it has not, the error that says so. Its kernels: half.full.test.ts.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CharTokenizer } from "../../src/data/tokenizer.ts";
import { CELL_NAMES, CELLS, type CellName } from "../../src/models/cells.ts";
import { LanguageModel } from "../../src/models/language-model.ts";
import type { Device } from "../../src/runtime/device.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { loadCheckpoint, modelFromCheckpoint, resumeTrainer, saveCheckpoint } from "../../src/training/checkpoint.ts";
import { makeEvaluator } from "../../src/training/evaluate.ts";
import { checkGradients } from "../../src/training/gradient-check.ts";
import { Trainer } from "../../src/training/trainer.ts";
import { testAdapter, testDevice } from "./device.ts";

let device: Device;
let hasHalf: boolean;

beforeAll(async () => {
  device = await testDevice();
  hasHalf = device.gpuDevice!.features.has("shader-f16");
});
afterAll(() => device.dispose());

const TEXT = "the quick brown fox jumps over the lazy dog and then it runs away from the lazy dog. ".repeat(40);
const characters = [...new Set(TEXT)];
const tokens = Uint32Array.from(TEXT, (character) => characters.indexOf(character));

async function losses(cell: CellName, precision: "f32" | "f16"): Promise<number[]> {
  const model = LanguageModel.create(device, {
    cell,
    precision,
    vocabSize: characters.length,
    embeddingSize: 8,
    hiddenSize: 33,
    seed: 1,
  });
  const trainer = Trainer.create(model, tokens, { batchSize: 8, seqLen: 24, learningRate: 5e-3, valFraction: 0, logInterval: 1 });
  const found: number[] = [];
  for await (const event of trainer.run({ maxSteps: 60 })) if (event.event === "step") found.push(event.loss);
  trainer.dispose();
  model.dispose();
  return found;
}

describe("float16", () => {
  test.each(CELL_NAMES.filter((cell) => CELLS[cell].onlyF32))("%s has no such form, and says so", (cell) =>
    expect(() => LanguageModel.create(device, { cell, precision: "f16", vocabSize: characters.length, hiddenSize: 8 })).toThrow(
      `precision must be "f32" with the cell ${cell}, got "f16"`,
    ),
  );

  test.each(CELL_NAMES.filter((cell) => !CELLS[cell].onlyF32))(
    "%s: a loss curve within a hundredth of float32's",
    async (cell) => {
      const full = await losses(cell, "f32");
      expect(full.at(-1)!).toBeLessThan(0.8 * full[0]!);
      if (!hasHalf) return expect(losses(cell, "f16")).rejects.toMatchObject({ code: "E_CONFIG" });
      const half = await losses(cell, "f16");
      expect(half).not.toEqual(full);
      half.forEach((loss, step) => expect(Math.abs(loss / full[step]! - 1), `step ${step + 1}`).toBeLessThan(0.01));
    },
  );

  test("a checkpoint of it samples, is evaluated and checked in f32 on a device without, and trained on when asked to", async () => {
    const tokenizer = CharTokenizer.fromText(TEXT);
    const cpu = await openDevice({ prefer: "cpu" });
    const own = await (await testAdapter()).requestDevice();
    expect(own.features.has("shader-f16")).toBe(false);
    const without = await openDevice({ gpuDevice: own, tuning: "off" });
    const made = LanguageModel.create(cpu, {
      cell: "gru",
      precision: "f16",
      vocabSize: tokenizer.size,
      embeddingSize: 4,
      hiddenSize: 8,
    });
    const encoded = tokenizer.encode(TEXT);
    const checkpoint = loadCheckpoint(
      await saveCheckpoint(Trainer.create(made, encoded, { batchSize: 2, seqLen: 8, tokenizer })),
    );
    expect(checkpoint.config.precision).toBe("f16");
    const model = modelFromCheckpoint(without, checkpoint);
    expect(model.config.precision).toBe("f32");
    expect(await model.sample(tokenizer, { prompt: "the ", length: 8, seed: 1 })).toHaveLength(12);
    const few = encoded.subarray(0, 200);
    const losses = [model, made].map(async (each) => (await makeEvaluator(each, few, { batchSize: 1, seqLen: 8 })).evaluate());
    const [here, there] = await Promise.all(losses);
    expect(Math.abs(here!.loss / there!.loss - 1)).toBeLessThan(1e-4);
    expect((await checkGradients(without, { model, quick: true, cells: ["gru"] })).passed).toBe(true);
    expect(() => resumeTrainer(model, encoded, checkpoint)).toThrow(/no shader-f16; to train it on in f32, give --precision f32/);
    const asked = { ...checkpoint, config: { ...checkpoint.config, precision: "f32" as const } };
    const trainer = resumeTrainer(model, encoded, asked);
    for await (const event of trainer.run({ maxSteps: 1 })) if (event.event === "end") expect(event.reason).toBe("done");
    without.dispose();
    own.destroy();
  });
});

// The recurrent layer on the GPU: against the CPU at the edges, and for random configurations.
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { trainOnSine } from "../../examples/noisy-sine.ts";
import { addCell, CELL_NAMES, CELL_OPTIONS, cellForms, hasOption, inBlock, type CellName } from "../../src/models/cells.ts";
import { LanguageModel, type LanguageModelOptions } from "../../src/models/language-model.ts";
import { Recurrent, type RecurrentOptions } from "../../src/models/recurrent.ts";
import { stackStates } from "../../src/models/stack.ts";
import { fraction, randomWord } from "../../src/random.ts";
import type { Device } from "../../src/runtime/device.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { worstTensor } from "../../src/training/check/comparisons.ts";
import { OPTIMIZER_NAMES } from "../../src/training/optimizers.ts";
import { SCHEDULES } from "../../src/training/schedule.ts";
import { Trainer, type TrainerOptions } from "../../src/training/trainer.ts";
import { sizeOf } from "../../src/runtime/tensor.ts";
import { indrnnCell } from "../cells/indrnn.ts";
import { mguCell } from "../cells/mgu.ts";
import { sizesFor } from "../cells/sizes.ts";
import { ugrnnCell } from "../cells/ugrnn.ts";
import { testDevice } from "./device.ts";

// Cells that the library does not have: whatever is asked of all cells is asked of them too.
afterAll(addCell("indrnn", indrnnCell));
afterAll(addCell("ugrnn", ugrnnCell));
afterAll(addCell("mgu", mguCell));

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

const random = (length: number, stream: number): Float32Array =>
  Float32Array.from({ length }, (_, i) => 2 * fraction(randomWord(3, stream, i, 77)) - 1);

interface Run extends RecurrentOptions {
  readonly T: number;
  readonly B: number;
  readonly lengths?: readonly number[];
  readonly training?: boolean;
}

async function results(
  device: Device,
  { T, B, lengths, training, ...options }: Run,
): Promise<{ forward: Record<string, ArrayLike<number>>; gradients: Record<string, ArrayLike<number>> }> {
  const layer = Recurrent.create(device, options);
  const { inputSize, hiddenSize: H, bidirectional } = layer.config;
  const D = bidirectional ? 2 : 1;
  const ofStates = (title: (name: string) => string, stream: number): Record<string, Float32Array> =>
    Object.fromEntries(
      stackStates(layer.config, B).map(({ name, shape }, i) => [title(name), random(sizeOf(shape), stream + i)]),
    );
  const { output, hN, cN } = await layer.forward(random(T * B * inputSize, 1), {
    T,
    B,
    ...ofStates((name) => `${name}0`, 2),
    lengths,
    ...(training && { training }),
  });
  const { dx, dh0, dc0, gradients } = await layer.backward(
    random(T * B * D * H, 4),
    ofStates((name) => `d${name}N`, 5),
  );
  layer.dispose();
  return { forward: { output, hN, ...(cN && { cN }) }, gradients: { dx, dh0, ...(dc0 && { dc0 }), ...gradients } };
}

async function expectSame(run: Run): Promise<void> {
  const [onGpu, onCpu] = [await results(gpu, run), await results(cpu, run)];
  for (const [part, tolerance] of [
    ["forward", 1e-5],
    ["gradients", 1e-4],
  ] as const) {
    const { error, tensor, detail } = worstTensor(onGpu[part], onCpu[part]);
    expect(error, `${JSON.stringify(run)} ${tensor} ${detail}`).toBeLessThan(tolerance);
  }
}

describe("the GPU equals the reference at the edges:", () => {
  for (const [name, form] of Object.entries(cellForms())) {
    const check = (sizes: Omit<Run, "cell">): Promise<void> => expectSame({ ...form, ...sizesFor(form, sizes) });
    it(`${name} with T=1, B=1, H=1, inputSize=1`, () => check({ inputSize: 1, hiddenSize: 1, T: 1, B: 1 }));
    it(`${name} with H=130, two directions`, () => check({ inputSize: 3, hiddenSize: 130, bidirectional: true, T: 3, B: 2 }));
    it(`${name} with L=4, rows of unequal length, dropout`, () =>
      check({
        inputSize: 5,
        hiddenSize: 6,
        numLayers: 4,
        dropout: 0.3,
        training: true,
        T: 5,
        B: 3,
        lengths: [2, 5, 0],
      }));
    it(`${name} without biases`, () => check({ inputSize: 2, hiddenSize: 5, bias: false, T: 4, B: 9 }));
    it(`${name} in two directions, two layers, rows of unequal length`, () =>
      check({
        inputSize: 2,
        hiddenSize: 5,
        numLayers: 2,
        bidirectional: true,
        T: 4,
        B: 3,
        lengths: [4, 2, 1],
      }));
  }
});

it.each(["min-gru", "min-lstm"] as string[] as CellName[])(
  "the GPU equals the reference over more steps than %s scans in one go",
  (cell) => expectSame({ cell, inputSize: 2, hiddenSize: 3, T: 1100, B: 1 }),
);

/** Three training steps: the losses, or the code of the error. */
async function threeSteps(device: Device, model: LanguageModelOptions, settings: TrainerOptions): Promise<number[]> {
  const built = LanguageModel.create(device, model);
  try {
    const tokens = Uint32Array.from({ length: 400 }, (_, i) => randomWord(1, 2, i, 3) % model.vocabSize);
    const trainer = Trainer.create(built, tokens, { ...settings, valFraction: 0, logInterval: 1, sampleInterval: 0 });
    const losses: number[] = [];
    try {
      for await (const event of trainer.run({ maxSteps: 3 })) if (event.event === "step") losses.push(event.loss);
    } finally {
      trainer.dispose();
    }
    return losses;
  } finally {
    built.dispose();
  }
}

const validModel = fc
  .record({
    cell: fc.constantFrom(...CELL_NAMES),
    input: fc.constantFrom("embedding", "one-hot"),
    vocabSize: fc.integer({ min: 2, max: 40 }),
    embeddingSize: fc.integer({ min: 1, max: 9 }),
    hiddenSize: fc.integer({ min: 1, max: 17 }),
    numLayers: fc.integer({ min: 1, max: 3 }),
    dropout: fc.constantFrom(0, 0.3),
    resetAfter: fc.boolean(),
    nonlinearity: fc.constantFrom("tanh", "relu"),
    orthogonal: fc.boolean(),
    seed: fc.integer({ min: 0, max: 1000 }),
  })
  // A cell takes its own options only, and a block adds to the embeddings.
  .map((model) => ({
    ...model,
    ...(inBlock(model) && { input: "embedding", embeddingSize: model.hiddenSize, orthogonal: false }),
  }))
  .map((model) =>
    Object.fromEntries(Object.entries(model).filter(([name]) => !(name in CELL_OPTIONS) || hasOption(model.cell, name))),
  ) as unknown as fc.Arbitrary<LanguageModelOptions>;
const validSettings = fc.record({
  batchSize: fc.integer({ min: 1, max: 9 }),
  seqLen: fc.integer({ min: 1, max: 12 }),
  optimizer: fc.constantFrom(...OPTIMIZER_NAMES),
  learningRate: fc.constantFrom(1e-4, 1e-2),
  loss: fc.constantFrom("all", "last"),
  state: fc.constantFrom("carry", "zero"),
  clip: fc.constantFrom(0, 0.5),
  weightDecay: fc.constantFrom(0, 0.01),
  schedule: fc.constantFrom(...SCHEDULES),
}) as fc.Arbitrary<TrainerOptions>;

describe("any configuration", () => {
  it("that is valid trains three steps with the same finite losses on CPU and GPU", async () => {
    await fc.assert(
      fc.asyncProperty(validModel, validSettings, async (model, settings) => {
        const [onGpu, onCpu] = [await threeSteps(gpu, model, settings), await threeSteps(cpu, model, settings)];
        expect(onGpu).toHaveLength(3);
        onGpu.forEach((loss, i) => {
          expect(Number.isFinite(loss)).toBe(true);
          expect(Math.abs(loss / onCpu[i]! - 1)).toBeLessThan(1e-4);
        });
      }),
      { numRuns: 15, seed: 20261123 },
    );
  });

  it("that is not valid gives E_CONFIG and leaves no buffer behind", async () => {
    const before = gpu.memory();
    const wrong = fc.oneof(
      fc.record({
        model: fc.constantFrom(
          { hiddenSize: 0 },
          { vocabSize: 1.5 },
          { numLayers: -1 },
          { dropout: 1 },
          { cell: "mlp" },
          { input: "raw" },
        ),
        settings: fc.constant({}),
      }),
      fc.record({
        model: fc.constant({}),
        settings: fc.constantFrom(
          { batchSize: 0 },
          { seqLen: 2.5 },
          { optimizer: "lion" },
          { learningRate: -1 },
          { clip: NaN },
          { loss: "first" },
          { schedule: "linear" },
        ),
      }),
    );
    await fc.assert(
      fc.asyncProperty(
        validModel,
        validSettings,
        wrong,
        async (model, settings, { model: wrongModel, settings: wrongSettings }) => {
          const run = threeSteps(
            gpu,
            { ...model, ...wrongModel } as LanguageModelOptions,
            { ...settings, ...wrongSettings } as TrainerOptions,
          );
          await expect(run).rejects.toMatchObject({ code: "E_CONFIG" });
          expect(gpu.memory()).toEqual(before);
        },
      ),
      { numRuns: 40, seed: 20261123 },
    );
  });
});

it("learns a noisy sine in the example's 60 steps", async () => {
  const losses = await trainOnSine(gpu);
  expect(losses.at(-1)!).toBeLessThan(0.05);
  expect(losses.at(-1)!).toBeLessThan(losses[0]! / 5);
});

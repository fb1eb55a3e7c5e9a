// Numbers at their limits, on the GPU and on the CPU: what is not finite, what is tiny, and what is huge.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { softmaxCrossEntropy } from "../../src/kernels/softmax-cross-entropy.ts";
import { CharTokenizer } from "../../src/data/tokenizer.ts";
import { LanguageModel } from "../../src/models/language-model.ts";
import { cellForms } from "../../src/models/cells.ts";
import { Recurrent } from "../../src/models/recurrent.ts";
import type { Device } from "../../src/runtime/device.ts";
import { openDevice } from "../../src/runtime/open.ts";
import type { Entry } from "../../src/runtime/kernel.ts";
import type { Tensor } from "../../src/runtime/tensor.ts";
import { checkGradients } from "../../src/training/gradient-check.ts";
import { OPTIMIZERS } from "../../src/training/optimizers.ts";
import { Trainer } from "../../src/training/trainer.ts";
import { sizesFor } from "../cells/sizes.ts";
import { testDevice } from "./device.ts";

const devices = {} as Record<"GPU" | "CPU", Device>;
beforeAll(async () => {
  devices.GPU = await testDevice();
  devices.CPU = await openDevice({ prefer: "cpu" });
});
afterAll(() => Object.values(devices).forEach((device) => device.dispose()));

describe.each(["GPU", "CPU"] as const)("on the %s", (kind) => {
  describe.each(Object.entries(cellForms()))("%s", (_, options) => {
    const [T, B] = [4, 3];
    const { inputSize, hiddenSize } = sizesFor(options, { inputSize: 2, hiddenSize: 5 });
    const run = async (value: number) => {
      const layer = Recurrent.create(devices[kind], { ...options, inputSize, hiddenSize, numLayers: 2, seed: 4 });
      const x = Float32Array.from({ length: T * B * inputSize }, (_, i) => Math.sin(i));
      x.fill(value, (1 * B + 1) * inputSize, (1 * B + 2) * inputSize);
      const { output } = await layer.forward(x, { T, B });
      const { dx } = await layer.backward(new Float32Array(T * B * hiddenSize).fill(1));
      layer.dispose();
      return { output, dx };
    };

    test("a missing value makes its row NaN from its step on, and no other", async () => {
      const [clean, missing] = [await run(0.5), await run(NaN)];
      for (let i = 0; i < missing.output.length; i++) {
        const [t, b] = [Math.floor(i / (B * hiddenSize)), Math.floor(i / hiddenSize) % B];
        if (b === 1 && t >= 1) expect(missing.output[i], `t=${t} row ${b}`).toBeNaN();
        else expect(missing.output[i], `t=${t} row ${b}`).toBe(clean.output[i]);
      }
      for (let i = 0; i < missing.dx.length; i++) {
        const b = Math.floor(i / inputSize) % B;
        if (b !== 1) expect(missing.dx[i]).toBe(clean.dx[i]);
      }
    });
  });

  test("one unit without a past is tanh, to the last digits of a small number", async () => {
    const layer = Recurrent.create(devices[kind], { cell: "rnn", inputSize: 1, hiddenSize: 1 });
    layer.loadStateDict({ weight_ih_l0: [1], weight_hh_l0: [0], bias_ih_l0: [0], bias_hh_l0: [0] });
    // tanh x = x − x³/3 + 2x⁵/15 − …, of the nearest float32 to each x.
    const series = (x: number): number => x - x ** 3 / 3 + (2 * x ** 5) / 15;
    for (const x of [1.2e-38, 1e-30, 1e-7, 1e-5, 1e-3, 0.01].flatMap((each) => [each, -each]).map(Math.fround)) {
      const { output } = await layer.forward([x], { T: 1, B: 1 });
      expect(Math.abs(output[0]! / series(x) - 1), String(x)).toBeLessThan(4 * 2 ** -23);
    }
    layer.dispose();
  });

  describe.each(softmaxCrossEntropy.backward.variants.map(({ name }) => name))("a sure prediction, %s:", (variant) => {
    test.each([1e-4, 1e-6, 1e-8])("with p = 1 − %d, its loss is −log p and its gradient p − 1", async (q) => {
      const device = devices[kind];
      // Of two logits that lie d apart the larger has p = 1 / (1 + exp(−d)).
      const d = Math.fround(-Math.log(q / (1 - q)));
      const rest = Math.exp(-d);
      const logits = device.tensor({ name: "logits", shape: [1, 3] });
      const targets = device.tensor({ name: "targets", shape: [1], dtype: "u32" });
      const rows = device.tensor({ name: "rows", shape: [1, 2], stored: [1, 2] });
      device.write(logits, Float32Array.of(0, d, -200));
      device.write(targets, Uint32Array.of(1));
      const plan = await device.record("loss", (r) =>
        r.dispatch(
          softmaxCrossEntropy.backward as unknown as Entry,
          { logits, targets, rows },
          { N: 1, V: 3, scale: 1 },
          variant,
        ),
      );
      await plan.run();
      const loss = (await device.read(rows))[0]!;
      const gradient = (await device.read(logits))[1]!;
      plan.dispose();
      device.free(logits, targets, rows);
      expect(loss / Math.log1p(rest) - 1).toBeCloseTo(0, 5.5);
      expect(gradient / (-rest / (1 + rest)) - 1).toBeCloseTo(0, 5.5);
    });
  });

  test("a gradient whose squares overflow has its norm, and is clipped by it", async () => {
    const model = LanguageModel.create(devices[kind], { cell: "rnn", vocabSize: 2, embeddingSize: 2, hiddenSize: 2 });
    const I = [1, 0, 0, 1];
    const zero = Object.fromEntries(Object.entries(await model.stateDict()).map(([name, values]) => [name, values.map(() => 0)]));
    const weights = { ...zero, "rnn.weight_ih_l0": I, "head.weight": I, "rnn.weight_hh_l0": I.map((w) => 3 * w) };
    model.loadStateDict(weights as never);
    const tokens = Uint32Array.from({ length: 65 }, (_, i) => i % 2);
    const trainer = Trainer.create(model, tokens, {
      batchSize: 1,
      seqLen: 64,
      state: "zero",
      clip: 1,
      optimizer: "sgd",
      momentum: 0,
      learningRate: 0.5,
      valFraction: 0,
      logInterval: 1,
    });
    for await (const event of trainer.run({ maxSteps: 1 })) {
      if (event.event === "step") expect(event.gradNorm / 2.3049486356e28 - 1).toBeCloseTo(0, 4);
    }
    const after = await model.stateDict();
    let moved = 0;
    for (const [name, values] of Object.entries(after)) {
      values.forEach((w, i) => (moved += (w - (weights as Record<string, ArrayLike<number>>)[name]![i]!) ** 2));
    }
    // The learning rate times a gradient of norm 1.
    expect(Math.sqrt(moved)).toBeCloseTo(0.5, 4);
    trainer.dispose();
    model.dispose();
  });

  test.each(["adam", "adamw", "rmsprop"] as const)("%s goes on after gradients whose squares overflow", async (optimizer) => {
    const device = devices[kind];
    const flat = (name: string) => device.tensor({ name, shape: [4] });
    const [parameters, gradients, m, v] = ["parameters", "gradients", "m", "v"].map(flat) as [Tensor, Tensor, Tensor, Tensor];
    const schedule = device.tensor({ name: "schedule", shape: [4] });
    const metrics = device.tensor({ name: "metrics", shape: [8] });
    device.write(metrics, Float32Array.of(0, 0, 0, 1, 0, 0, 0, 0));
    const plan = await device.record("update", (recorder) =>
      OPTIMIZERS[optimizer].record(
        recorder,
        { parameters, gradients, moments: { m, v }, schedule, metrics },
        { weightDecay: 0, momentum: 0 },
      ),
    );
    const steps: number[] = [];
    for (let t = 1, before = 0; t <= 3; t++) {
      device.write(gradients, new Float32Array(4).fill(t < 3 ? 1e25 : 4.6e18));
      device.write(schedule, Float32Array.of(0.5, 1 - 0.9 ** t, 1 - 0.999 ** t, 0));
      await plan.run();
      const now = (await device.read(parameters))[0]!;
      steps.push(before - now);
      before = now;
    }
    // Of equal gradients Adam takes the learning rate each time, RMSprop lr / √(1 − 0.99ᵗ).
    const right = [1, 2, 3].map((t) => (optimizer === "rmsprop" ? 0.5 / Math.sqrt(1 - 0.99 ** t) : 0.5));
    steps.forEach((step, t) => expect(step / right[t]! - 1, `step ${t + 1}`).toBeCloseTo(0, 2));
    plan.dispose();
    device.free(parameters, gradients, m, v, schedule, metrics);
  });

  test("sampling from logits that are not finite says so, and gives no text", async () => {
    const tokenizer = CharTokenizer.fromText("abc");
    const model = LanguageModel.create(devices[kind], { vocabSize: 3, embeddingSize: 2, hiddenSize: 2 });
    const weights = await model.stateDict();
    weights["head.bias"]![1] = NaN;
    model.loadStateDict(weights);
    for (const temperature of [0, 1]) {
      await expect(model.sample(tokenizer, { prompt: "a", length: 5, temperature })).rejects.toMatchObject({
        code: "E_NAN_LOSS",
        message: expect.stringContaining("after 1 characters the model's output is not finite"),
      });
    }
    model.dispose();
  });

  test("the gradient check names the parameter that is not finite, and does not judge the device", async () => {
    const layer = Recurrent.create(devices[kind], { cell: "gru", inputSize: 2, hiddenSize: 2 });
    const model = LanguageModel.create(devices[kind], { vocabSize: 3, embeddingSize: 2, hiddenSize: 2 });
    for (const [each, name] of [
      [layer, "weight_hh_l0"],
      [model, "rnn.weight_hh_l0"],
    ] as const) {
      const weights = await each.stateDict();
      weights[name]![3] = -Infinity;
      each.loadStateDict(weights);
      const found: unknown[] = [];
      const options = { quick: true, cells: [], model: each, onResult: (result: unknown) => found.push(result) };
      await expect(checkGradients(devices[kind], options)).rejects.toMatchObject({
        code: "E_NAN_LOSS",
        message: expect.stringContaining(`${name}[3] of the model to check is -Infinity`),
      });
      expect(found).toEqual([]);
      each.dispose();
    }
  });
});

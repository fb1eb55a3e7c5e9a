// The reference's backward against central finite differences, in float64, for the whole model: every cell, layer
// count, input and loss.
import { afterAll, describe, expect, it } from "vitest";
import { METRIC } from "../../src/kernels/reduce.ts";
import { LanguageModel, type LanguageModelOptions } from "../../src/models/language-model.ts";
import { makeState, recordPass, type PassInputs } from "../../src/models/pass.ts";
import { makeParameterSet, type ParameterSet } from "../../src/models/parameters.ts";
import { sortByToken } from "../../src/data/batches.ts";
import { fraction, randomWord } from "../../src/random.ts";
import { openDevice, type Device, type Plan } from "../../src/runtime/device.ts";
import { sizeOf, type Tensor } from "../../src/runtime/tensor.ts";

const device: Device = await openDevice({ prefer: "cpu", precision: "float64" });
afterAll(() => device.dispose());

const random = (i: number, stream: number): number => 2 * fraction(randomWord(7, stream, i, 99)) - 1;

interface Harness {
  readonly loss: () => Promise<number>;
  readonly gradients: ParameterSet;
  readonly model: LanguageModel;
  dispose(): void;
}

/** One forward and backward pass over random tokens, from a random initial state. */
async function makeHarness(options: LanguageModelOptions, { T, B, loss }: { T: number; B: number; loss: "all" | "last" }): Promise<Harness> {
  const model = LanguageModel.create(device, { ...options, seed: 3 });
  const { vocabSize: V } = model.config;
  // Weights of about 1, so that no gate is linear.
  model.parameters.specs.forEach(({ shape, initializer }, i) => {
    const scale = initializer.kind === "normal" ? 1 : 0.7;
    device.write(model.parameters.flat.parts[i]!, Float64Array.from({ length: sizeOf(shape) }, (_, j) => scale * random(j, i)));
  });
  const gradients = makeParameterSet(device, "gradients", model.parameters.specs);
  const metrics = device.tensor({ name: "metrics", shape: [METRIC.count] });
  const rng = device.tensor({ name: "rng", shape: [4], dtype: "u32" });
  device.write(rng, Uint32Array.of(5, 6, 0, 0));
  const state = makeState((spec) => device.tensor(spec), model.config, B);
  let pass!: PassInputs;
  const plan: Plan = await device.record("pass", (recorder) => {
    pass = recordPass(recorder, model, { T, B, loss, state, rng, metrics, gradients });
  });
  const tokens = Uint32Array.from({ length: T * B + 1 }, (_, i) => randomWord(1, 2, i, 3) % V);
  const inputs = tokens.subarray(0, T * B);
  const targets = Uint32Array.from({ length: T * B }, (_, i) => randomWord(1, 4, i, 3) % V);
  const order = new Uint32Array(T * B);
  const starts = new Uint32Array(V + 1);
  sortByToken(inputs, V, order, starts);
  const initial = (tensor: Tensor | undefined, stream: number): void => {
    if (tensor) device.write(tensor, Float64Array.from({ length: sizeOf(tensor.shape) }, (_, i) => random(i, stream)));
  };
  return {
    model,
    gradients,
    async loss() {
      device.write(pass.inputs, inputs);
      device.write(pass.targets, loss === "all" ? targets : targets.subarray((T - 1) * B));
      device.write(pass.order, order);
      device.write(pass.starts, starts);
      initial(state.h, 50);
      initial(state.c, 51);
      await plan.run();
      return (await device.read(metrics))[METRIC.loss]!;
    },
    dispose() {
      plan.dispose();
      device.free(gradients.flat.whole, metrics, rng, state.h, ...(state.c ? [state.c] : []));
      model.dispose();
    },
  };
}

/** Largest relative L2 difference over the parameters, and the parameter it belongs to. */
async function compareWithDifferences(harness: Harness): Promise<{ worst: number; name: string }> {
  const { model, gradients } = harness;
  await harness.loss();
  const analytic = await Promise.all(gradients.flat.parts.map((tensor) => device.read(tensor)));
  const result = { worst: 0, name: "" };
  for (const [p, { name, shape }] of model.parameters.specs.entries()) {
    const tensor = model.parameters.flat.parts[p]!;
    const values = Float64Array.from(await device.read(tensor));
    const epsilon = 1e-5;
    let difference = 0;
    let norm = 0;
    // A spread of elements of the large parameters, all of the small ones.
    const stride = Math.max(1, Math.floor(sizeOf(shape) / 24));
    for (let i = 0; i < values.length; i += stride) {
      const before = values[i]!;
      values[i] = before + epsilon;
      device.write(tensor, values);
      const up = await harness.loss();
      values[i] = before - epsilon;
      device.write(tensor, values);
      const down = await harness.loss();
      values[i] = before;
      const numeric = (up - down) / (2 * epsilon);
      difference += (numeric - analytic[p]![i]!) ** 2;
      norm += numeric ** 2;
    }
    device.write(tensor, values);
    const error = Math.sqrt(difference) / Math.max(Math.sqrt(norm), 1e-6);
    if (error > result.worst) Object.assign(result, { worst: error, name });
  }
  return result;
}

const cells: Record<string, Partial<LanguageModelOptions>> = {
  "rnn, one-hot": { cell: "rnn", input: "one-hot" },
  rnn: { cell: "rnn" },
  "rnn with relu": { cell: "rnn", nonlinearity: "relu" },
  gru: { cell: "gru" },
  "gru, reset before": { cell: "gru", resetAfter: false },
  lstm: { cell: "lstm" },
};

describe("the reference's gradients equal finite differences", () => {
  for (const [name, cell] of Object.entries(cells)) {
    for (const numLayers of [1, 3]) {
      for (const loss of ["all", "last"] as const) {
        it(`${name}, ${numLayers} layer${numLayers > 1 ? "s" : ""}, loss on ${loss} steps`, async () => {
          const harness = await makeHarness({ ...cell, vocabSize: 7, embeddingSize: 3, hiddenSize: 5, numLayers }, { T: 4, B: 3, loss });
          const { worst, name: parameter } = await compareWithDifferences(harness);
          harness.dispose();
          expect(worst, parameter).toBeLessThan(1e-6);
        });
      }
    }
  }

  it("with dropout between layers", async () => {
    const harness = await makeHarness({ cell: "gru", dropout: 0.4, vocabSize: 7, embeddingSize: 3, hiddenSize: 5, numLayers: 2 }, { T: 4, B: 3, loss: "all" });
    const { worst, name } = await compareWithDifferences(harness);
    harness.dispose();
    expect(worst, name).toBeLessThan(1e-6);
  });

  it("with a vocabulary larger than the batch, where the plain product serves", async () => {
    const harness = await makeHarness({ cell: "lstm", vocabSize: 33, embeddingSize: 3, hiddenSize: 5, numLayers: 1 }, { T: 3, B: 2, loss: "all" });
    const { worst, name } = await compareWithDifferences(harness);
    harness.dispose();
    expect(worst, name).toBeLessThan(1e-6);
  });

  it("for one row, one step and one unit", async () => {
    for (const cell of ["rnn", "gru", "lstm"] as const) {
      const harness = await makeHarness({ cell, vocabSize: 2, embeddingSize: 1, hiddenSize: 1, numLayers: 1 }, { T: 1, B: 1, loss: "all" });
      const { worst, name } = await compareWithDifferences(harness);
      harness.dispose();
      expect(worst, `${cell} ${name}`).toBeLessThan(1e-6);
    }
  });
});

describe("the comparison can fail", () => {
  const options: LanguageModelOptions = { cell: "lstm", vocabSize: 7, embeddingSize: 3, hiddenSize: 5, numLayers: 1 };

  it("names the parameter whose gradient has two gates swapped", async () => {
    const harness = await makeHarness(options, { T: 4, B: 3, loss: "all" });
    const { loss } = harness;
    const swapped: Harness = {
      ...harness,
      async loss() {
        const value = await loss();
        const tensor = harness.gradients.byName["rnn.weight_hh_l0"]!;
        const gradient = Float64Array.from(await device.read(tensor));
        const gate = gradient.length / 4;
        const [i, f] = [gradient.slice(0, gate), gradient.slice(gate, 2 * gate)];
        gradient.set(f, 0);
        gradient.set(i, gate);
        device.write(tensor, gradient);
        return value;
      },
    };
    const { worst, name } = await compareWithDifferences(swapped);
    harness.dispose();
    expect(worst).toBeGreaterThan(1e-3);
    expect(name).toBe("rnn.weight_hh_l0");
  });

  it("notices a bias that the forward pass drops", async () => {
    const harness = await makeHarness(options, { T: 4, B: 3, loss: "all" });
    const bias = harness.model.parameters.byName["head.bias"]!;
    const { loss } = harness;
    const dropped: Harness = {
      ...harness,
      async loss() {
        const kept = await device.read(bias);
        device.write(bias, new Float64Array(kept.length));
        const value = await loss();
        device.write(bias, kept);
        return value;
      },
    };
    const { worst, name } = await compareWithDifferences(dropped);
    harness.dispose();
    expect(worst).toBeGreaterThan(1e-3);
    expect(name).toBe("head.bias");
  });
});

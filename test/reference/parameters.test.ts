// Parameters: names and shapes, initial values, and state dicts in and out.
import { afterAll, describe, expect, it } from "vitest";
import { languageModelConfig, parameterCount, parameterSpecs, type LanguageModelConfig } from "../../src/models/config.ts";
import { LanguageModel } from "../../src/models/language-model.ts";
import type { ParameterSpec } from "../../src/kernels/cell.ts";
import { initialValues, makeParameterSet } from "../../src/models/parameters.ts";
import { recurrentConfig, recurrentSpecs } from "../../src/models/recurrent-config.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { sizeOf } from "../../src/runtime/tensor.ts";

const device = await openDevice({ prefer: "cpu" });
afterAll(() => device.dispose());

const [V, E, H] = [11, 3, 5];
const configOf = (options: Partial<LanguageModelConfig>): LanguageModelConfig =>
  languageModelConfig({ vocabSize: V, embeddingSize: E, hiddenSize: H, ...options });
const specOf = (name: string, options: Partial<LanguageModelConfig>): ParameterSpec =>
  parameterSpecs(configOf(options)).find((spec) => spec.name === name)!;
const shapesOf = (options: Partial<LanguageModelConfig>) =>
  parameterSpecs(configOf(options)).map(({ name, shape }) => [name, ...shape]);
/** Row `r` of a matrix with rows of n. */
const rowOf = (values: Float32Array, r: number, n: number): number[] => [...values.subarray(r * n, (r + 1) * n)];
const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, x, i) => sum + x * b[i]!, 0);

describe("the parameters of a model have PyTorch's names and shapes, in order:", () => {
  it("an LSTM of two layers", () => {
    expect(shapesOf({ cell: "lstm", numLayers: 2 })).toEqual([
      ["embedding.weight", V, E],
      ["rnn.weight_ih_l0", 4 * H, E],
      ["rnn.weight_hh_l0", 4 * H, H],
      ["rnn.bias_ih_l0", 4 * H],
      ["rnn.bias_hh_l0", 4 * H],
      ["rnn.weight_ih_l1", 4 * H, H],
      ["rnn.weight_hh_l1", 4 * H, H],
      ["rnn.bias_ih_l1", 4 * H],
      ["rnn.bias_hh_l1", 4 * H],
      ["head.weight", V, H],
      ["head.bias", V],
    ]);
  });

  it("a GRU of either form, with one-hot input, has three gates and reads the vocabulary", () => {
    for (const resetAfter of [true, false]) {
      expect(shapesOf({ cell: "gru", input: "one-hot", resetAfter })).toEqual([
        ["rnn.weight_ih_l0", 3 * H, V],
        ["rnn.weight_hh_l0", 3 * H, H],
        ["rnn.bias_ih_l0", 3 * H],
        ["rnn.bias_hh_l0", 3 * H],
        ["head.weight", V, H],
        ["head.bias", V],
      ]);
    }
  });

  it("an RNN has one gate; and their values are counted", () => {
    expect(shapesOf({ cell: "rnn" }).slice(1, 3)).toEqual([
      ["rnn.weight_ih_l0", H, E],
      ["rnn.weight_hh_l0", H, H],
    ]);
    const lstm = 4 * H * (E + H + 2) + 4 * H * (H + H + 2);
    expect(parameterCount(configOf({ cell: "lstm", numLayers: 2 }))).toBe(V * E + lstm + V * H + V);
    expect(parameterCount(configOf({ cell: "rnn", input: "one-hot" }))).toBe(H * (V + H + 2) + V * H + V);
  });

  it("a layer without biases has none, and one above two directions reads both halves", () => {
    const options = { cell: "gru", inputSize: 2, hiddenSize: H, numLayers: 2, bidirectional: true, bias: false } as const;
    const specs = recurrentSpecs(recurrentConfig(options).config).slice(-2);
    expect(specs.map(({ name, shape }) => [name, ...shape])).toEqual([
      ["weight_ih_l1_reverse", 3 * H, 2 * H],
      ["weight_hh_l1_reverse", 3 * H, H],
    ]);
    // Each half has its own padding, as the two outputs below have.
    expect(specs[0]!.tensor).toMatchObject({ shape: [3, H, 2, H], stored: [3, 8, 2, 8] });
  });
});

describe("initial values", () => {
  it("are the same for the same seed, on every device, and others for another seed, parameter or layer", async () => {
    const create = (seed: number | undefined) => {
      const model = LanguageModel.create(device, {
        ...configOf({ cell: "gru", numLayers: 2 }),
        ...(seed !== undefined && { seed }),
      });
      return model.stateDict().finally(() => model.dispose());
    };
    const first = await create(1);
    expect(await create(1)).toEqual(first);
    expect(await create(undefined)).toEqual(first);
    const second = await create(2);
    for (const [name, values] of Object.entries(first)) expect(second[name], name).not.toEqual(values);
    expect(first["rnn.weight_hh_l0"]).not.toEqual(first["rnn.weight_hh_l1"]);
    expect(first["rnn.bias_ih_l0"]).not.toEqual(first["rnn.bias_hh_l0"]);

    const wide = await openDevice({ prefer: "cpu", precision: "float64" });
    const model = LanguageModel.create(wide, configOf({ cell: "gru", numLayers: 2 }));
    for (const [name, values] of Object.entries(await model.stateDict())) expect(Float32Array.from(values)).toEqual(first[name]);
    wide.dispose();
  });

  it("do not depend on whether the others are orthogonal, or on the forget gate's constant", () => {
    const values = (options: Partial<LanguageModelConfig>) => {
      const specs = parameterSpecs(configOf({ cell: "lstm", ...options }));
      return Object.fromEntries(specs.map((spec, i) => [spec.name, initialValues(spec, 4, i)]));
    };
    const { "rnn.weight_hh_l0": hh, ...others } = values({});
    const { "rnn.weight_hh_l0": orthogonal, ...same } = values({ orthogonal: true });
    expect(same).toEqual(others);
    expect(orthogonal).not.toEqual(hh);
    const forget = values({ forgetBias: 1 });
    for (const name of ["rnn.bias_ih_l0", "rnn.bias_hh_l0"]) {
      const outside = (values: Float32Array) => [...values.subarray(0, H), ...values.subarray(2 * H)];
      expect(outside(forget[name]!)).toEqual(outside(others[name]!));
    }
  });

  it("of recurrent layers and of the head are uniform within 1/√H, and fill that range", () => {
    const bound = 1 / Math.sqrt(64);
    for (const cell of ["rnn", "gru", "lstm"] as const) {
      parameterSpecs(configOf({ cell, hiddenSize: 64, vocabSize: 300, embeddingSize: 32 })).forEach((spec, i) => {
        if (spec.name === "embedding.weight") return;
        const values = initialValues(spec, 1, i);
        expect(values).toHaveLength(sizeOf(spec.shape));
        const size = values.length;
        expect(Math.max(...values.map(Math.abs)), spec.name).toBeLessThanOrEqual(bound);
        expect(Math.max(...values), spec.name).toBeGreaterThan(bound * (1 - 20 / size));
        expect(Math.min(...values), spec.name).toBeLessThan(-bound * (1 - 20 / size));
        const mean = values.reduce((a, b) => a + b, 0) / size;
        const square = values.reduce((sum, x) => sum + x * x, 0) / size;
        expect(Math.abs(mean), spec.name).toBeLessThan((5 * bound) / Math.sqrt(3 * size));
        expect(Math.abs(square / (bound ** 2 / 3) - 1), spec.name).toBeLessThan(5 * Math.sqrt(0.8 / size));
      });
    }
  });

  it("of the embedding are normal with mean 0 and deviation 1", () => {
    const values = initialValues(specOf("embedding.weight", { vocabSize: 200, embeddingSize: 100 }), 1, 0);
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    const square = values.reduce((sum, x) => sum + x * x, 0) / values.length;
    expect(Math.abs(mean)).toBeLessThan(5 / Math.sqrt(values.length));
    expect(Math.abs(square - 1)).toBeLessThan(5 * Math.sqrt(2 / values.length));
    // The tails that a uniform distribution of the same deviation has not.
    const beyond = values.filter((x) => Math.abs(x) > 2).length / values.length;
    expect(beyond).toBeCloseTo(0.0455, 2);
  });

  for (const [cell, gates] of [
    ["rnn", 1],
    ["gru", 3],
    ["lstm", 4],
  ] as const) {
    for (const size of [1, 5, 32]) {
      it(`that are orthogonal make each gate's block so, and no two the same: ${cell}, H=${size}`, () => {
        const spec = specOf("rnn.weight_hh_l0", { cell, hiddenSize: size, orthogonal: true });
        const values = initialValues(spec, 6, 2);
        expect(values).toHaveLength(gates * size * size);
        const blocks = Array.from({ length: gates }, (_, gate) =>
          Array.from({ length: size }, (_, r) => rowOf(values, gate * size + r, size)),
        );
        for (const rows of blocks) {
          const products = rows.flatMap((a, i) => rows.map((b, j) => dot(a, b) - Number(i === j)));
          expect(Math.max(...products.map(Math.abs))).toBeLessThan(1e-6);
        }
        if (size > 1) expect(new Set(blocks.map((rows) => rows.join())).size).toBe(gates);
      });
    }
  }

  it("that are orthogonal favour no direction: over many seeds the mean of a block is zero", () => {
    const mean = Array<number>(9).fill(0);
    const spec = specOf("rnn.weight_hh_l0", { cell: "rnn", hiddenSize: 3, orthogonal: true });
    for (let seed = 0; seed < 600; seed++) initialValues(spec, seed, 0).forEach((x, i) => (mean[i]! += x / 600));
    // Each entry has the variance 1/3.
    for (const x of mean) expect(Math.abs(x)).toBeLessThan(5 / Math.sqrt(3 * 600));
  });

  it("of an LSTM's two biases add up to the forget gate's constant, there and nowhere else", async () => {
    const bound = 1 / Math.sqrt(H);
    for (const forgetBias of [1, 0, -2.5]) {
      const model = LanguageModel.create(device, configOf({ cell: "lstm", numLayers: 2, forgetBias }));
      const weights = await model.stateDict();
      for (const l of [0, 1]) {
        const sums = weights[`rnn.bias_ih_l${l}`]!.map((x, i) => x + weights[`rnn.bias_hh_l${l}`]![i]!);
        expect(new Set(rowOf(sums, 1, H))).toEqual(new Set([forgetBias]));
        for (const gate of [0, 2, 3]) {
          const others = rowOf(sums, gate, H);
          expect(new Set(others).size).toBe(H);
          for (const sum of others) expect(Math.abs(sum)).toBeLessThanOrEqual(2 * bound);
        }
      }
      model.dispose();
    }
  });

  it("of the forget gate are PyTorch's uniform ones where no constant is given, and other cells have no such gate", async () => {
    const plain = LanguageModel.create(device, configOf({ cell: "lstm" }));
    const { "rnn.bias_ih_l0": bias } = await plain.stateDict();
    expect(new Set(rowOf(bias!, 1, H)).size).toBe(H);
    plain.dispose();
    for (const cell of ["rnn", "gru"] as const) {
      expect(() => configOf({ cell, forgetBias: 1 })).toThrow(
        expect.objectContaining({
          code: "E_CONFIG",
          message: `forgetBias must be left out with the cell ${cell}, got 1; it is an option of lstm`,
        }),
      );
    }
  });
});

describe("a state dict", () => {
  const config = configOf({ cell: "gru" });
  const numbered = (spec: ParameterSpec) => Float32Array.from({ length: sizeOf(spec.shape) }, (_, i) => i + 1);
  const values = () => Object.fromEntries(parameterSpecs(config).map((spec) => [spec.name, numbered(spec)]));

  it("written and read again is the same, dense and in PyTorch's order, from any kind of array", async () => {
    const model = LanguageModel.create(device, config);
    model.loadStateDict(values());
    expect(await model.stateDict()).toEqual(values());
    model.loadStateDict(Object.fromEntries(Object.entries(values()).map(([name, array]) => [name, [...array].map((x) => -x)])));
    expect((await model.stateDict())["rnn.weight_hh_l0"]![3]).toBe(-4);
    model.dispose();
  });

  it("written leaves the padding zero, which the kernels count on", async () => {
    const set = makeParameterSet(device, "parameters", parameterSpecs(config));
    set.specs.forEach((spec, i) => device.write(set.flat.parts[i]!, numbered(spec)));
    const all = await device.read(set.flat.whole);
    expect(all.filter((x: number) => x !== 0)).toHaveLength(parameterCount(config));
    device.free(set.flat.whole);
  });

  it("that lacks a tensor, has one too many or one of another size changes nothing and is refused by its name", async () => {
    const model = LanguageModel.create(device, config);
    const before = await model.stateDict();
    const { "rnn.bias_hh_l0": _, ...lacking } = values();
    const cases: [Record<string, ArrayLike<number>>, string][] = [
      [lacking, '"rnn.bias_hh_l0" [15] is missing'],
      [{ ...values(), "rnn.weight_ih_l1": [1] }, 'unknown tensor "rnn.weight_ih_l1"; this model has embedding.weight, '],
      [{ ...values(), "head.weight": [1, 2] }, '"head.weight" must be [11, 5] (55 values), got 2 values'],
      [{}, '"embedding.weight" [11, 3] is missing'],
    ];
    for (const [given, message] of cases) {
      expect(() => model.loadStateDict(given)).toThrow(expect.objectContaining({ code: "E_SHAPE" }));
      expect(() => model.loadStateDict(given)).toThrow(`loadStateDict: ${message}`);
    }
    expect(await model.stateDict()).toEqual(before);
    model.dispose();
  });
});

// Parameters: names and shapes, initial values, and state dicts in and out.
import { afterAll, describe, expect, it, vi } from "vitest";
import { addCell, CELL_NAMES, CELLS, cellForms, hasOption, inBlock } from "../../src/models/cells.ts";
import {
  languageModelConfig,
  parameterCount,
  parameterSpecs,
  stateSpecs,
  type LanguageModelConfig,
} from "../../src/models/config.ts";
import { LanguageModel, sampleText } from "../../src/models/language-model.ts";
import { plainParameter, type ParameterSpec } from "../../src/kernels/cell.ts";
import { checkFits, initialValues, makeParameterSet, writeStateDict } from "../../src/models/parameters.ts";
import { modelName } from "../../src/models/presets.ts";
import { recurrentConfig, recurrentSpecs } from "../../src/models/recurrent-config.ts";
import { CpuDevice } from "../../src/runtime/cpu-device.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { sizeOf } from "../../src/runtime/tensor.ts";
import { indrnnCell } from "../cells/indrnn.ts";
import { initial } from "./oracle.ts";

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
    for (const cell of CELL_NAMES.filter((name) => !inBlock({ cell: name }))) {
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

  it("that are orthogonal begin with the normal numbers of their own parameter's stream", () => {
    parameterSpecs(configOf({ cell: "gru", numLayers: 3, orthogonal: true })).forEach((spec, index) => {
      if (!spec.name.includes("weight_hh")) return;
      const values = initialValues(spec, 6, index);
      const normal = initial(values.length, 6, index);
      for (const block of [0, H * H, 2 * H * H]) {
        const norm = Math.hypot(...normal.subarray(block, block + H));
        for (let i = block; i < block + H; i++) expect(values[i], spec.name).toBeCloseTo(normal[i]! / norm, 6);
      }
    });
  });

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
    for (const cell of CELL_NAMES.filter((name) => name !== "lstm")) {
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

describe("a model's configuration", () => {
  it("is filled in with what is documented", () => {
    expect(languageModelConfig({ vocabSize: 9, hiddenSize: undefined as never })).toEqual({
      cell: "lstm",
      input: "embedding",
      vocabSize: 9,
      embeddingSize: 64,
      hiddenSize: 128,
      numLayers: 1,
      dropout: 0,
      resetAfter: true,
      nonlinearity: "tanh",
      orthogonal: false,
      precision: "f32",
    });
  });

  it.each<[object, string]>([
    [{ vocabSize: 0 }, "vocabSize must be an integer from 1 to 65536, got 0"],
    [{ vocabSize: 65537 }, "vocabSize must be an integer from 1 to 65536, got 65537"],
    [{ embeddingSize: 0 }, "embeddingSize must be an integer from 1 to 65536, got 0"],
    [{ hiddenSize: 1.5 }, "hiddenSize must be an integer from 1 to 65536, got 1.5"],
    [{ numLayers: 0 }, "numLayers must be an integer from 1 to 64, got 0"],
    [{ numLayers: 65 }, "numLayers must be an integer from 1 to 64, got 65"],
    [{ dropout: -0.1 }, "dropout must be at least 0 and less than 1, got -0.1"],
    [{ dropout: 1 }, "dropout must be at least 0 and less than 1, got 1"],
    [{ cell: "tanh" }, `cell must be one of ${CELL_NAMES.join(", ")}, got "tanh"`],
    [{ input: "bytes" }, 'input must be one of embedding, one-hot, got "bytes"'],
    [{ orthogonal: 1 }, "orthogonal must be one of true, false, got 1"],
    [{ precision: "f64" }, 'precision must be one of f32, f16, got "f64"'],
    [{ nonlinearity: "gelu" }, 'nonlinearity must be one of tanh, relu, got "gelu"'],
    [{ forgetBias: NaN }, "forgetBias must be a number, got NaN"],
    [{ cell: "gru", forgetBias: 1 }, "forgetBias must be left out with the cell gru, got 1; it is an option of lstm"],
    [{ hidden: 3 }, 'model: unknown option "hidden"; did you mean "hiddenSize"?'],
    [{ embedding: 3 }, 'model: unknown option "embedding"; did you mean "embeddingSize"?'],
    [{ layers: 3 }, 'model: unknown option "layers"; did you mean "numLayers"?'],
    [{ seed: 3 }, 'model: unknown option "seed"; known are vocabSize, cell, '],
  ])("refuses %o", (options, message) => {
    const call = () => languageModelConfig({ vocabSize: 9, ...options });
    expect(call).toThrow(expect.objectContaining({ code: "E_CONFIG", message: expect.stringContaining(message) }));
  });

  it("may be at the ends of its ranges", () => {
    for (const options of [
      { vocabSize: 65536, embeddingSize: 1, hiddenSize: 65536, numLayers: 64, dropout: 0.999 },
      { vocabSize: 1, orthogonal: true, precision: "f16", input: "one-hot", forgetBias: -3 },
    ] as const)
      expect(languageModelConfig(options)).toMatchObject(options);
    expect(() => languageModelConfig(undefined as never)).toThrow("vocabSize must be an integer from 1 to 65536, got undefined");
  });

  it("has a name, whether it is a preset or not, and states by layer and stream", () => {
    const named = (cell: LanguageModelConfig["cell"], input: LanguageModelConfig["input"]) => modelName({ cell, input });
    expect(named("rnn", "one-hot")).toBe("one-hot-rnn");
    expect(named("rnn", "embedding")).toBe("embedding-rnn");
    expect(named("gru", "embedding")).toBe("gru");
    expect(named("lstm", "embedding")).toBe("lstm");
    expect(named("lstm", "one-hot")).toBe("one-hot-lstm");
    expect(named("gru", "one-hot")).toBe("one-hot-gru");
    expect(named("indrnn" as never, "embedding")).toBe("indrnn");
    expect(stateSpecs(configOf({ cell: "lstm", numLayers: 3 }), 7)).toEqual([
      { name: "state.h", shape: [3, 7, H] },
      { name: "state.c", shape: [3, 7, H] },
    ]);
  });

  it("may have a cell that is added, until it is taken out again", () => {
    const before = cellForms();
    const names = [...CELL_NAMES];
    const remove = addCell("indrnn", indrnnCell);
    expect(CELL_NAMES).toEqual([...names, "indrnn"]);
    expect(configOf({ cell: "indrnn" as never }).cell).toBe("indrnn");
    expect(Object.keys(cellForms())).toContain("indrnn");
    expect(hasOption("lstm", "forgetBias")).toBe(true);
    expect(hasOption("indrnn" as never, "forgetBias")).toBe(false);
    remove();
    expect(CELL_NAMES).toEqual(names);
    expect(Object.keys(CELLS)).toEqual(names);
    expect(names.slice(0, 3)).toEqual(["rnn", "gru", "lstm"]);
    expect(cellForms()).toEqual(before);
    expect(before).toMatchObject({
      rnn: { cell: "rnn" },
      "rnn-relu": { cell: "rnn", nonlinearity: "relu" },
      gru: { cell: "gru" },
      "gru-reset-before": { cell: "gru", resetAfter: false },
      lstm: { cell: "lstm" },
    });
  });
});

describe("a language model", () => {
  const create = (options: object, on: unknown = device) => LanguageModel.create(on as never, { vocabSize: V, ...options });

  it("is refused for what it is made of, by its name", () => {
    const wrong: [() => unknown, string][] = [
      [() => create({}, null), "LanguageModel.create: expected a device, as openDevice gives it, got null"],
      [() => create({ hidden: 3 }), 'LanguageModel.create: unknown option "hidden"; did you mean "hiddenSize"?'],
      [() => create({ sed: 3 }), 'LanguageModel.create: unknown option "sed"; did you mean "seed"?'],
      [() => create({ seed: 2 ** 32 }), "seed must be an integer from 0 to 4294967295, got 4294967296"],
      [() => LanguageModel.create(device, undefined as never), "vocabSize must be an integer from 1 to 65536, got undefined"],
    ];
    for (const [call, message] of wrong) expect(call).toThrow(expect.objectContaining({ code: "E_CONFIG", message }));
  });

  it("in f16 needs a GPU that has it, or none", () => {
    const gpu = (features: readonly string[]): CpuDevice =>
      Object.assign(new CpuDevice(), { gpuDevice: { features: new Set(features) }, description: "a GPU" });
    expect(() => create({ precision: "f16" }, gpu([]))).toThrow(
      expect.objectContaining({ code: "E_CONFIG", message: 'precision must be "f32" here: a GPU has no shader-f16' }),
    );
    for (const [precision, on] of [
      ["f16", gpu(["shader-f16"])],
      ["f32", gpu([])],
      ["f16", device],
    ] as const)
      create({ precision, hiddenSize: 4 }, on).dispose();
  });

  it("counts its parameters, and lets go of them once", async () => {
    const own = new CpuDevice();
    const model = create({ cell: "rnn", embeddingSize: 2, hiddenSize: 3 }, own);
    expect(model.parameterCount).toBe(V * 2 + 3 * 2 + 3 * 3 + 3 + 3 + V * 3 + V);
    expect(model.parameters.flat.whole.name).toBe("parameters");
    expect(model.parameters.byName["head.bias"]!.name).toBe("parameters.head.bias");
    const free = vi.spyOn(own, "free");
    model[Symbol.dispose]();
    model.dispose();
    expect(free).toHaveBeenCalledTimes(1);
    expect(own.memory()).toEqual({ buffers: 0, bytes: 0 });
    const gone = { code: "E_DISPOSED", message: expect.stringMatching(/: this model was disposed; make another$/) };
    await expect(model.stateDict()).rejects.toMatchObject(gone);
    await expect(model.stateDict()).rejects.toThrow(/^LanguageModel.stateDict: /);
    const zeros = Object.fromEntries(model.parameters.specs.map(({ name, shape }) => [name, new Float32Array(sizeOf(shape))]));
    expect(() => model.loadStateDict(zeros)).toThrow(/^LanguageModel.loadStateDict: this model was disposed/);
    await expect(model.sample({} as never)).rejects.toThrow(/^sample: this model was disposed/);
    await expect(sampleText({} as never, {} as never)).rejects.toMatchObject({
      code: "E_CONFIG",
      message: "sample: expected a LanguageModel, got an object",
    });
  });
});

describe("parameters fit into a device", () => {
  // A row of 4·n bytes for each of a, and one more.
  const specsOf = ({ a, b }: { a: number; b: number }) => [plainParameter("w", [a, b], { kind: "normal" })];
  const check = (most: number, sizes: { a: number; b: number }) =>
    checkFits("here", Object.assign(new CpuDevice(), { maxTensorBytes: most }), sizes, specsOf);

  it("that binds exactly as many bytes as they need, and not if one is missing", () => {
    const bytes = 1024 * 64 * 4;
    expect(() => check(bytes, { a: 1024, b: 64 })).not.toThrow();
    expect(() => check(bytes, { a: 1025, b: 64 })).toThrow(
      "here: the parameters of a 1025, b 64 need 0.3 MiB, but this adapter binds at most 0.3 MiB; with the others as they are, a at most 1024, or b at most 60",
    );
    expect(() => check(bytes, { a: 1024, b: 65 })).toThrow(/a at most 963, or b at most 64$/);
    // 21,845 rows of one are 21,845 of four, padded.
    expect(() => check(2 ** 20, { a: 2 ** 16 + 1, b: 5 })).toThrow(
      expect.objectContaining({
        code: "E_LIMIT",
        message:
          "here: the parameters of a 65537, b 5 need 2.0 MiB, but this adapter binds at most 1.0 MiB; with the others as they are, a at most 32768",
      }),
    );
    expect(() => check(4, { a: 2, b: 2 })).toThrow(/; make all of these smaller$/);
  });
});

describe("what is no state dict", () => {
  it.each([
    [null, "null"],
    [undefined, "undefined"],
    ["weights", '"weights"'],
    [Promise.resolve({}), "a promise; await it first"],
  ])("is refused: %s", (values, told) => {
    const model = LanguageModel.create(device, configOf({ cell: "rnn" }));
    expect(() => model.loadStateDict(values as never)).toThrow(
      expect.objectContaining({ code: "E_SHAPE", message: `loadStateDict: expected an object of arrays by name, got ${told}` }),
    );
    model.dispose();
  });

  it("is refused by the name of what is no array, and by all names that there are", () => {
    const set = makeParameterSet(device, "p", [
      plainParameter("a", [2], { kind: "normal" }),
      plainParameter("b", [1, 2], { kind: "normal" }),
    ]);
    expect(set.version).toBe(0);
    const write = (values: object) => writeStateDict(device, set, values as never);
    expect(() => write({ a: [1, 2], b: "12" })).toThrow('loadStateDict: "b" must be an array of numbers, got "12"');
    expect(() => write({ c: [1] })).toThrow('loadStateDict: unknown tensor "c"; this model has a, b');
    expect(() => write({ a: [1, 2] })).toThrow('loadStateDict: "b" [1, 2] is missing');
    expect(() => write({ a: [1, 2], b: [1] })).toThrow('loadStateDict: "b" must be [1, 2] (2 values), got 1 values');
    expect(set.version).toBe(0);
    write({ a: [1, 2], b: [3, 4] })();
    expect(set.version).toBe(1);
    device.free(set.flat.whole);
  });
});

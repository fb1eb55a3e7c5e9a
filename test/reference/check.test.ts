// The gradient check itself: what it says of a device that is right, of one that is wrong in a given place, and of
// options that make no sense.
import { afterAll, describe, expect, it } from "vitest";
import { METRIC } from "../../src/kernels/reduce.ts";
import { languageModelConfig } from "../../src/models/config.ts";
import { LanguageModel } from "../../src/models/language-model.ts";
import { Recurrent } from "../../src/models/recurrent.ts";
import { CpuDevice } from "../../src/runtime/cpu-device.ts";
import type { NumberArray, Tensor } from "../../src/runtime/tensor.ts";
import {
  BREAKAGES,
  checkGradients,
  CHECKED_CELLS,
  type Breakage,
  type CheckOptions,
  type CheckResult,
} from "../../src/training/gradient-check.ts";
import { compareWithDifferences, worstTensor } from "../../src/training/check/comparisons.ts";
import { makePassHarness } from "../../src/training/check/harness.ts";

const device = new CpuDevice();
afterAll(() => device.dispose());

/** A device from which tensors of one name come back changed: from the `from`-th read of them on. */
class WrongDevice extends CpuDevice {
  private reads = 0;
  constructor(
    private readonly name: string,
    private readonly change: (values: NumberArray) => void,
    private readonly from = 1,
  ) {
    super();
  }
  override async read(tensor: Tensor): Promise<NumberArray> {
    const values = await super.read(tensor);
    if (tensor.name === this.name && ++this.reads >= this.from) this.change(values);
    return values;
  }
}

const QUICK: CheckOptions = { quick: true, cells: [] };
const failuresOf = ({ results }: { results: readonly CheckResult[] }): CheckResult[] => results.filter((r) => !r.passed);

/** The first results of a check, which is given up after them. */
async function firstResults(on: CpuDevice, count: number, options: CheckOptions): Promise<CheckResult[]> {
  const controller = new AbortController();
  const enough = new Error("enough");
  const seen: CheckResult[] = [];
  const onResult = (result: CheckResult): void => {
    seen.push(result);
    if (seen.length === count) controller.abort(enough);
  };
  await expect(checkGradients(on, { ...options, onResult, signal: controller.signal })).rejects.toBe(enough);
  return seen;
}

describe("a device that computes rightly", () => {
  it("passes the quick form, which has the probes and every cell's gradients for both losses, and nothing is left", async () => {
    const before = device.memory();
    const told: CheckResult[] = [];
    const begun = performance.now();
    const report = await checkGradients(device, { quick: true, onResult: (result) => told.push(result) });
    const seconds = (performance.now() - begun) / 1000;
    expect(report).toMatchObject({ passed: true, device: "CPU float32" });
    expect(report.seconds).toBeGreaterThan(0);
    expect(report.seconds).toBeLessThanOrEqual(seconds);
    expect(told).toEqual(report.results);
    expect(failuresOf(report)).toEqual([]);
    expect(report.results.map(({ part, name }) => `${part}: ${name}`)).toEqual([
      "probe: tanh of up to ±1e4",
      "probe: sigmoid of up to ±1e4",
      "probe: NaN in a gradient is noticed",
      "probe: infinity in a gradient is noticed",
      "probe: a finite gradient is not mistaken",
      "probe: the norm of gradients of 1e+30",
      "probe: the norm of gradients of 1e-30",
      "probe: workgroup memory and barriers",
      ...Object.keys(CHECKED_CELLS).flatMap((cell) => ["all", "last"].map((loss) => `gradients: ${cell}, loss on ${loss} steps`)),
    ]);
    for (const { part, error, tensor, detail } of report.results) {
      // Rounding of float32, which is there and small.
      expect(error).toBeLessThan(1e-6);
      if (part === "gradients") expect(error).toBeGreaterThan(1e-9);
      if (part === "gradients") expect(tensor).toMatch(/^(rnn|head|embedding|backbone)\.|^loss$/);
      if (part === "gradients") expect(detail).toMatch(/^\[\d+\] is -?[\d.e-]+, not -?[\d.e-]+$/);
    }
    expect(device.memory()).toEqual(before);
  });

  it("has, in the full form, differences and the derivative along the gradient of each case, and then each kernel", async () => {
    const seen = await firstResults(device, 16, { cells: ["rnn-one-hot"] });
    expect(seen.slice(8).map(({ part, name }) => `${part}: ${name}`)).toEqual([
      "gradients: rnn-one-hot, loss on all steps",
      "gradients: rnn-one-hot, loss on last steps",
      "differences: rnn-one-hot, loss on all steps",
      "direction: rnn-one-hot, loss on all steps",
      "differences: rnn-one-hot, loss on last steps",
      "direction: rnn-one-hot, loss on last steps",
      "kernel: adam.update",
      "kernel: cast.forward",
    ]);
    expect(failuresOf({ results: seen })).toEqual([]);
    for (const { part, error, tolerance, tensor, detail } of seen) {
      expect(error).toBeLessThan(tolerance);
      if (part === "direction") {
        const [, slope, norm] = /^slope ([\d.]+), gradient norm ([\d.]+)$/.exec(detail!)!;
        expect(error).toBeCloseTo(Math.abs(Number(slope) / Number(norm) - 1), 12);
        expect(error).toBeGreaterThan(0);
      }
      // Two layers, where the quick form has one.
      if (part === "differences") expect(tensor).toMatch(/^rnn\.\w+_l[01]$|^head\./);
    }
  });

  it("passes for a user's own model and own layer, which keep their weights, and nothing is left", async () => {
    const layers = [
      { cell: "lstm", inputSize: 3, hiddenSize: 6, numLayers: 2, bidirectional: true },
      { cell: "gru", inputSize: 2, hiddenSize: 3 },
    ] as const;
    const models = [
      ["your lstm layer", Recurrent.create(device, layers[0])],
      ["your gru layer", Recurrent.create(device, layers[1])],
      ["your language model", LanguageModel.create(device, { cell: "gru", vocabSize: 17, hiddenSize: 9, numLayers: 2 })],
    ] as const;
    const before = device.memory();
    for (const [name, model] of models) {
      const weights = await model.stateDict();
      const report = await checkGradients(device, { ...QUICK, model });
      expect(report.results).toHaveLength(9);
      expect(report.results.at(-1)).toMatchObject({ part: "gradients", name, passed: true, tolerance: 1e-4 });
      expect(report.results.at(-1)!.error).toBeGreaterThan(1e-9);
      expect(await model.stateDict()).toEqual(weights);
    }
    expect(device.memory()).toEqual(before);
    for (const [, model] of models) model.dispose();
  });

  it("is asked for the gradients at the model's own weights: where all are zero, only the head has one", async () => {
    const model = LanguageModel.create(device, { cell: "lstm", vocabSize: 17, hiddenSize: 9 });
    const zeros = Object.entries(await model.stateDict()).map(([name, { length }]) => [name, new Float32Array(length)]);
    model.loadStateDict(Object.fromEntries(zeros));
    const { results } = await checkGradients(device, { ...QUICK, model });
    expect(results.at(-1)).toMatchObject({ passed: true, tensor: expect.stringMatching(/^(head\.|loss$)/) });
    model.dispose();
  });
});

describe("a device that", () => {
  const infinite = { passed: false, error: Infinity };
  const cases: [what: string, tensor: string, change: (values: NumberArray) => void, probe: string, found: object][] = [
    ["makes NaN of the tanh of −1e4", "h", (h) => void (h[21] = NaN), "tanh of up to ±1e4", infinite],
    ["is 3e-6 off in one tanh", "h", (h) => void (h[13]! += 3e-6), "tanh of up to ±1e4", { passed: false }],
    ["is a little off in a sigmoid", "gates", (gates) => void (gates[3]! -= 2e-6), "sigmoid of up to ±1e4", { passed: false }],
    ["does not notice NaN", "metrics", (m) => void (m[METRIC.skipped] = 0), "NaN in a gradient is noticed", infinite],
    ["lets NaN through", "metrics", (m) => void (m[METRIC.factor] ||= 1), "NaN in a gradient is noticed", infinite],
    ["does not notice infinity", "metrics", (m) => void (m[METRIC.skipped] = 0), "infinity in a gradient is noticed", infinite],
    ["sees NaN where none is", "metrics", (m) => void (m[METRIC.skipped] = 1), "a finite gradient is not mistaken", infinite],
    // 64 halves, 16 of whose vec4s are counted: their norm is 4.
    ["adds to the norm", "metrics", (m) => void (m[METRIC.norm]! += 0.5), "a finite gradient is not mistaken", { error: 0.5 }],
    ["overflows in squares", "metrics", (m) => void (m[METRIC.norm] = Infinity), "the norm of gradients of 1e+30", infinite],
    ["underflows in squares", "metrics", (m) => void (m[METRIC.norm] = 0), "the norm of gradients of 1e-30", { error: 1 }],
  ];
  for (const [what, tensor, change, probe, found] of cases) {
    it(`${what} is told so by its probe`, async () => {
      const wrong = new WrongDevice(tensor, change);
      const report = await checkGradients(wrong, QUICK);
      expect(report.passed).toBe(false);
      expect(report.results.find(({ name }) => name === probe)).toMatchObject({ part: "probe", passed: false, ...found });
      expect(wrong.memory()).toEqual({ buffers: 0, bytes: 0 });
      wrong.dispose();
    });
  }

  it("is off by less than a probe's tolerance passes, by the largest of its errors", async () => {
    const wrong = new WrongDevice("h", (h) => {
      h[11]! += 8e-7;
      h[12]! += 4e-7;
    });
    const report = await checkGradients(wrong, QUICK);
    expect(report.results[0]).toMatchObject({ passed: true, tolerance: 1e-6, error: expect.closeTo(8e-7, 7) });
    wrong.dispose();
  });

  it("multiplies wrongly, or updates wrongly, is told so, and where", async () => {
    const product = new WrongDevice("c", (values) => void (values[0]! += 9));
    const [workgroup] = failuresOf(await checkGradients(product, QUICK));
    expect(workgroup).toMatchObject({ part: "probe", name: "workgroup memory and barriers", ...infinite, tolerance: 1e-5 });
    expect(workgroup!.detail).toMatch(/^matmul\.nn, .*: relative L2 .* worst at 0: /);
    product.dispose();
    const update = new WrongDevice("parameters", (values) => void (values[2]! += 1));
    const kernel = (await firstResults(update, 9, { cells: [] })).at(-1)!;
    expect(kernel).toMatchObject({ part: "kernel", name: "adam.update", ...infinite, tolerance: 1e-5 });
    expect(kernel.detail).toMatch(/^adam\.update, .*parameters: /);
    update.dispose();
  });

  it("gives a gradient that is off by more than the tolerance is told the tensor, by less is not", async () => {
    const relative = (by: number) =>
      new WrongDevice("gradients.head.bias", (values) => values.forEach((x, i) => (values[i] = x * (1 + by))));
    for (const [by, passed] of [
      [2e-4, false],
      [5e-5, true],
    ] as const) {
      const wrong = relative(by);
      const { results } = await checkGradients(wrong, { quick: true, cells: ["gru"] });
      for (const result of results.slice(-2))
        expect(result).toMatchObject({ tensor: "head.bias", passed, tolerance: 1e-4, error: expect.closeTo(by, 6) });
      wrong.dispose();
    }
  });

  it("gives a user's layer a wrong output, or a user's model a wrong gradient, is told so", async () => {
    const x = new WrongDevice("dx", (values) => void (values[0]! += 1));
    const layer = Recurrent.create(x, { cell: "gru", inputSize: 2, hiddenSize: 3 });
    const [own] = failuresOf(await checkGradients(x, { ...QUICK, model: layer }));
    expect(own).toMatchObject({
      part: "gradients",
      name: "your gru layer",
      tensor: "dx",
      detail: expect.stringMatching(/^\[0\] is /),
    });
    x.dispose();
    const bias = new WrongDevice("gradients.head.bias", (values) => void (values[4]! += 1));
    const model = LanguageModel.create(bias, { cell: "rnn", vocabSize: 7, hiddenSize: 3 });
    const [found] = failuresOf(await checkGradients(bias, { ...QUICK, model }));
    expect(found).toMatchObject({
      name: "your language model",
      tensor: "head.bias",
      detail: expect.stringMatching(/^\[4\] is /),
    });
    bias.dispose();
  });

  it("gives a loss that is off is told so", async () => {
    // The probes read them five times.
    const wrong = new WrongDevice("metrics", (metrics) => void (metrics[METRIC.loss]! *= 1.001), 6);
    const failed = failuresOf(await checkGradients(wrong, { quick: true, cells: ["rnn"] }));
    expect(failed.map(({ tensor }) => tensor)).toEqual(["loss", "loss"]);
    wrong.dispose();
  });

  for (const breakage of BREAKAGES) {
    for (const cell of breakage === "reset-before" ? (["gru"] as const) : (["rnn", "lstm"] as const)) {
      it(`has ${cell} with ${breakage} fails for both losses, by a tensor's name`, async () => {
        const report = await checkGradients(device, { quick: true, cells: [cell], breakage });
        const failed = failuresOf(report);
        expect(report.passed).toBe(false);
        expect(failed.map(({ name }) => name)).toEqual([`${cell}, loss on all steps`, `${cell}, loss on last steps`]);
        for (const { tensor, error } of failed) {
          expect(tensor).toMatch(/^(rnn|head|embedding|backbone)\.|^loss$/);
          expect(error).toBeGreaterThan(0.01);
        }
        if (breakage === "zero-gradient") expect(failed[0]).toMatchObject({ tensor: "rnn.weight_ih_l0", error: 1 });
      });
    }
  }

  it("resets before the product has no other cell changed by it", async () => {
    const report = await checkGradients(device, { quick: true, cells: ["rnn", "lstm"], breakage: "reset-before" });
    expect(report.passed).toBe(true);
  });
});

describe("what is refused:", () => {
  const model = LanguageModel.create(device, { cell: "gru", vocabSize: 5, hiddenSize: 3 });
  afterAll(() => model.dispose());

  const options: [name: string, options: object | null, message: string][] = [
    ["a misspelt option", { cell: ["gru"] }, 'checkGradients: unknown option "cell"; did you mean "cells"?'],
    ["null", null, "checkGradients: options must be an object, got null"],
    ["one name for the list of cells", { cells: "gru" }, 'checkGradients: cells must be an array of names, got "gru"'],
    [
      "an unknown cell",
      { cells: ["gru", "lstn"] },
      "checkGradients: each of cells must be one of rnn, rnn-relu, rnn-one-hot, gru",
    ],
    ["a number for quick", { quick: 1 }, "checkGradients: quick must be one of true, false, got 1"],
    ["weights for a model", { model: {} }, "checkGradients: model must be a LanguageModel or a Recurrent, got an object"],
    ["an unknown breakage", { breakage: "all" }, "checkGradients: breakage must be one of swap-gates, drop-bias, "],
    ["a controller for its signal", { signal: new AbortController() }, "checkGradients: signal must be an AbortSignal"],
    ["an object to tell", { onResult: {} }, "checkGradients: onResult must be a function, got an object"],
  ];
  for (const [name, given, message] of options) {
    it(name, async () => {
      const checking = checkGradients(device, given as CheckOptions);
      await expect(checking).rejects.toMatchObject({ code: "E_CONFIG", message: expect.stringContaining(message) });
    });
  }

  it("what is no device", async () => {
    await expect(checkGradients({} as never)).rejects.toMatchObject({
      code: "E_CONFIG",
      message: expect.stringMatching(/^checkGradients: /),
    });
  });

  it("a model whose weights are not finite, which says nothing about the device", async () => {
    const weights = await model.stateDict();
    weights["rnn.bias_hh_l0"]![7] = -Infinity;
    const spoilt = LanguageModel.create(device, { cell: "gru", vocabSize: 5, hiddenSize: 3 });
    spoilt.loadStateDict(weights);
    await expect(checkGradients(device, { ...QUICK, model: spoilt })).rejects.toMatchObject({
      code: "E_NAN_LOSS",
      message: expect.stringMatching(/^rnn\.bias_hh_l0\[7\] of the model to check is -Infinity, .*; load finite weights/),
    });
    spoilt.dispose();
  });

  it("to go on after the signal, at any place, with the signal's own reason, and nothing is left", async () => {
    const before = device.memory();
    for (const count of [1, 8, 9]) expect(await firstResults(device, count, { cells: ["rnn"] })).toHaveLength(count);
    const early = new Error("early");
    await expect(checkGradients(device, { signal: AbortSignal.abort(early) })).rejects.toBe(early);
    await expect.poll(() => device.memory()).toEqual(before);
  });
});

describe("a pass for checking", () => {
  const SIZES = { T: 5, B: 3, loss: "all" } as const;
  const config = languageModelConfig({ cell: "lstm", vocabSize: 11, embeddingSize: 6, hiddenSize: 13 });

  it("has weights of about 1, each tensor its own, in which no gate is nearly linear", async () => {
    const harness = await makePassHarness(device, config, SIZES);
    const weights = await harness.model.stateDict();
    for (const [name, values] of Object.entries(weights)) {
      const most = name === "embedding.weight" ? 1 : 0.7;
      expect(Math.max(...values), name).toBeLessThanOrEqual(most);
      expect(Math.min(...values), name).toBeGreaterThanOrEqual(-most);
      expect(Math.max(...values), name).toBeGreaterThan(0.75 * most);
      expect(Math.min(...values), name).toBeLessThan(-0.75 * most);
      const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
      expect(Math.abs(mean), name).toBeLessThan((2 * most) / Math.sqrt(values.length));
    }
    expect(weights["rnn.bias_ih_l0"]).not.toEqual(weights["rnn.bias_hh_l0"]);
    harness.dispose();
  });

  for (const loss of ["all", "last"] as const) {
    it(`costs ln V where all weights are zero, however often it runs, with the loss on ${loss} steps`, async () => {
      const made = await makePassHarness(device, config, { ...SIZES, loss });
      const zeros = Object.fromEntries(
        Object.entries(await made.model.stateDict()).map(([name, values]) => [name, new Float32Array(values.length)]),
      );
      made.dispose();
      const harness = await makePassHarness(device, config, { ...SIZES, loss }, { weights: zeros });
      for (let i = 0; i < 3; i++) expect(await harness.run()).toBeCloseTo(Math.log(11), 5);
      const gradients = await harness.readGradients();
      expect(Object.keys(gradients)).toEqual(Object.keys(zeros));
      // Softmax less one-hot, over the mean: the part of each character in the targets less a uniform guess.
      const targets = loss === "all" ? 15 : 3;
      const counts = [...gradients["head.bias"]!].map((gradient) => (1 / 11 - gradient) * targets);
      for (const count of counts) expect(count).toBeCloseTo(Math.round(count), 4);
      expect(counts.reduce((sum, count) => sum + count, 0)).toBeCloseTo(targets, 4);
      expect(counts.filter((count) => count > 0.5).length).toBeGreaterThan(1);
      harness.dispose();
    });
  }

  it("begins from a state that is not zero, the same each time", async () => {
    const harness = await makePassHarness(device, config, SIZES);
    const loss = await harness.run();
    const first = await harness.readGradients();
    expect(await harness.run()).toBe(loss);
    expect(await harness.readGradients()).toEqual(first);
    // With T = 1 the recurrent weights have a gradient only through the state that it begins from.
    harness.dispose();
    const short = await makePassHarness(device, config, { ...SIZES, T: 1 });
    await short.run();
    const { "rnn.weight_hh_l0": recurrent } = await short.readGradients();
    expect(recurrent!.filter((x) => x !== 0).length).toBeGreaterThan(recurrent!.length / 2);
    short.dispose();
  });

  it("is broken as it is asked to be, in one thing only", async () => {
    for (const cell of ["rnn", "gru"] as const) {
      const [G, H] = [cell === "rnn" ? 1 : 3, 13];
      const weightsOf = async (breakage?: Breakage) => {
        const harness = await makePassHarness(device, { ...config, cell }, SIZES, { breakage });
        const weights = await harness.model.stateDict();
        harness.dispose();
        return weights;
      };
      const sound = await weightsOf();
      const { "rnn.weight_hh_l0": hh, "rnn.bias_hh_l0": bias } = sound;
      // The vanilla RNN has one gate only, two of whose units change places.
      const size = cell === "rnn" ? H : H * H;
      const swapped = [...hh!.subarray(size, 2 * size), ...hh!.subarray(0, size), ...hh!.subarray(2 * size)];
      const transposed = Array.from(hh!, (_, i) => hh!.at(i - (i % (H * H)) + (i % H) * H + Math.floor((i % (H * H)) / H))!);
      expect(hh).toHaveLength(G * H * H);
      const changed = (name: string, values: ArrayLike<number>) => ({ ...sound, [name]: Float32Array.from(values) });
      expect(await weightsOf("swap-gates")).toEqual(changed("rnn.weight_hh_l0", swapped));
      expect(await weightsOf("transpose")).toEqual(changed("rnn.weight_hh_l0", transposed));
      expect(await weightsOf("drop-bias")).toEqual(
        changed(
          "rnn.bias_hh_l0",
          bias!.map(() => 0),
        ),
      );
      for (const breakage of ["shift-time", "skip-last-row", "zero-gradient"] as const)
        expect(await weightsOf(breakage)).toEqual(sound);
    }
  });

  it("is compared with differences at eight elements of each tensor at least, there and back, and left as it was", async () => {
    const cpu = new CpuDevice("float64");
    const harness = await makePassHarness(cpu, config, SIZES);
    const before = await harness.model.stateDict();
    let runs = 0;
    const counted = { ...harness, run: () => (runs++, harness.run()) };
    const result = await compareWithDifferences(cpu, "counted", config, SIZES, counted);
    expect(result).toMatchObject({ part: "differences", name: "counted", passed: true, tolerance: 1e-6 });
    // Of 66, 312, 676, 52, 52, 143 and 11 values every 8th, 39th, 84th, 6th, 6th, 17th and single one.
    expect(runs).toBe(1 + 2 * (9 + 8 + 9 + 9 + 9 + 9 + 11));
    expect(await harness.model.stateDict()).toEqual(before);
    harness.dispose();
    expect(cpu.memory()).toEqual({ buffers: 0, bytes: 0 });
    await compareWithDifferences(cpu, "its own", config, SIZES);
    expect(cpu.memory()).toEqual({ buffers: 0, bytes: 0 });
  });

  it("that cannot be recorded leaves nothing behind", async () => {
    const before = device.memory();
    const signal = AbortSignal.abort("no");
    await expect(makePassHarness(device, config, SIZES, { signal })).rejects.toBe("no");
    expect(device.memory()).toEqual(before);
  });
});

describe("the worst tensor", () => {
  it("is the one with the largest relative L2, with its worst element", () => {
    const expected = { a: [3, 4], b: [10, 0, 0], c: [1] };
    // 0.5 of 5; 3 of 10; 0.2 of 1.
    expect(worstTensor({ a: [3, 4.5], b: [10, 3, 0], c: [1.2] }, expected)).toEqual({
      error: 0.3,
      tensor: "b",
      detail: "[1] is 3, not 0",
    });
    expect(worstTensor({ a: [3.3, 3.6], b: [10, 0, 0], c: [1] }, expected)).toEqual({
      error: expect.closeTo(0.1),
      tensor: "a",
      detail: "[1] is 3.6, not 4",
    });
    expect(worstTensor({ a: [2, 0, 2] }, { a: [1, 0, 1] }).detail).toBe("[0] is 2, not 1");
    expect(worstTensor(expected, expected)).toEqual({ error: 0, tensor: "", detail: "" });
  });

  it("is one that is missing or of another length, by an infinite error", () => {
    expect(worstTensor({}, { a: [1, 2] })).toEqual({ error: Infinity, tensor: "a", detail: "no values, not 2" });
    expect(worstTensor({ a: [1], b: [9] }, { a: [1, 2], b: [1] })).toEqual({
      error: Infinity,
      tensor: "a",
      detail: "1 values, not 2",
    });
  });

  it("counts what is not finite as equal only to the same, and leaves it out of the norm", () => {
    expect(worstTensor({ a: [NaN, Infinity, 2] }, { a: [NaN, Infinity, 2] }).error).toBe(0);
    expect(worstTensor({ a: [Infinity, 3, 5] }, { a: [Infinity, 3, 4] }).error).toBeCloseTo(0.2, 12);
    for (const [actual, expected] of [
      [NaN, 1],
      [1, NaN],
      [Infinity, -Infinity],
      [Infinity, 1],
    ] as const) {
      const found = worstTensor({ a: [5, actual] }, { a: [5, expected] });
      expect(found).toEqual({ error: Infinity, tensor: "a", detail: `[1] is ${actual}, not ${expected}` });
    }
  });

  it("of a tensor that is next to nothing is judged by its difference alone", () => {
    expect(worstTensor({ a: [2e-9] }, { a: [0] }).error).toBeCloseTo(2e-3, 12);
    expect(worstTensor({ a: [3e-6] }, { a: [2e-6] }).error).toBeCloseTo(0.5, 12);
  });
});

it("every cell that is checked has a form of its own", () => {
  expect(
    new Set(Object.values(CHECKED_CELLS).map((cell) => JSON.stringify(languageModelConfig({ vocabSize: 3, ...cell })))).size,
  ).toBe(Object.keys(CHECKED_CELLS).length);
});

// The recurrent layer: its gradients against finite differences, its edges, and its errors.
import { afterAll, describe, expect, it, vi } from "vitest";
import { addCell, CELL_NAMES, cellForms, cellOf } from "../../src/models/cells.ts";
import { Recurrent, type RecurrentOptions } from "../../src/models/recurrent.ts";
import { makeSession } from "../../src/models/recurrent-session.ts";
import { stackStates } from "../../src/models/stack.ts";
import { fraction, randomWord } from "../../src/random.ts";
import { CpuDevice } from "../../src/runtime/cpu-device.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { Recorder } from "../../src/runtime/recorder.ts";
import { sizeOf } from "../../src/runtime/tensor.ts";
import { worstTensor } from "../../src/training/check/comparisons.ts";
import { indrnnCell } from "../cells/indrnn.ts";
import { mguCell } from "../cells/mgu.ts";
import { sizesFor } from "../cells/sizes.ts";
import { ugrnnCell } from "../cells/ugrnn.ts";
import { randomWords } from "./oracle.ts";

const device = await openDevice({ prefer: "cpu", precision: "float64" });
afterAll(() => device.dispose());
// Cells that the library does not have: whatever is asked of all cells is asked of them too.
afterAll(addCell("indrnn", indrnnCell));
afterAll(addCell("ugrnn", ugrnnCell));
afterAll(addCell("mgu", mguCell));

const random = (length: number, stream: number, scale = 1): Float64Array =>
  Float64Array.from({ length }, (_, i) => scale * (2 * fraction(randomWord(3, stream, i, 77)) - 1));
const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => Array.from(a).reduce((sum, x, i) => sum + x * b[i]!, 0);

interface Sizes {
  readonly T: number;
  readonly B: number;
  readonly lengths?: readonly number[];
}

/** Worst relative L2 difference between backward and central differences of a random projection of all results. */
async function worstDifference(options: RecurrentOptions, { T, B, lengths }: Sizes): Promise<{ worst: number; name: string }> {
  const layer = Recurrent.create(device, options);
  const { hiddenSize: H, inputSize, bidirectional } = layer.config;
  const D = bidirectional ? 2 : 1;
  const states = stackStates(layer.config, B);
  const ofStates = (title: (name: string) => string, stream: number): Record<string, Float64Array> =>
    Object.fromEntries(states.map(({ name, shape }, i) => [title(name), random(sizeOf(shape), stream + i)]));
  const initial = ofStates((name) => `${name}0`, 2);
  const values: Record<string, Float64Array> = { x: random(T * B * inputSize, 1), ...initial };
  layer.parameters.specs.forEach(
    ({ name, shape }, i) =>
      (values[name] = random(
        shape.reduce((a, b) => a * b, 1),
        10 + i,
        0.8,
      )),
  );
  const weights = { output: random(T * B * D * H, 5), ...ofStates((name) => `${name}N`, 6) };
  const loss = async (): Promise<number> => {
    layer.loadStateDict(Object.fromEntries(layer.parameters.specs.map(({ name }) => [name, values[name]!])));
    const results = { ...(await layer.forward(values.x!, { T, B, ...initial, lengths })) } as Record<string, ArrayLike<number>>;
    return Object.entries(weights).reduce((sum, [name, by]) => sum + dot(results[name]!, by), 0);
  };
  await loss();
  const { dx, dh0, dc0, gradients } = await layer.backward(
    weights.output,
    ofStates((name) => `d${name}N`, 6),
  );
  const analytic: Record<string, ArrayLike<number>> = { x: dx, h0: dh0, ...(dc0 && { c0: dc0 }), ...gradients };
  const result = { worst: 0, name: "" };
  for (const [name, array] of Object.entries(values)) {
    let difference = 0;
    let norm = 0;
    for (let i = 0; i < array.length; i += Math.max(1, Math.floor(array.length / 12))) {
      const before = array[i]!;
      array[i] = before + 2e-5;
      const up = await loss();
      array[i] = before - 2e-5;
      const down = await loss();
      array[i] = before;
      const numeric = (up - down) / 4e-5;
      difference += (numeric - analytic[name]![i]!) ** 2;
      norm += numeric ** 2;
    }
    const error = Math.sqrt(difference) / Math.max(Math.sqrt(norm), 1e-3);
    if (error > result.worst) Object.assign(result, { worst: error, name });
  }
  layer.dispose();
  return result;
}

const cells = cellForms();

it.each(Object.entries(cells))("%s: plain steps, one after another, are what the layer gives", async (_, form) => {
  const [T, B] = [4, 2];
  const { inputSize, hiddenSize } = sizesFor(form, { inputSize: 3, hiddenSize: 5 });
  const layer = Recurrent.create(device, { ...form, inputSize, hiddenSize });
  const { specs } = layer.parameters;
  const suffix = /_l0$/;
  layer.loadStateDict(Object.fromEntries(specs.map(({ name, shape }, i) => [name, random(sizeOf(shape), 20 + i)])));
  const weights = Object.fromEntries(
    Object.entries(await layer.stateDict()).map(([name, values]) => [name.replace(suffix, ""), values]),
  );
  const x = random(T * B * inputSize, 1);
  const initial = Object.fromEntries(
    stackStates(layer.config, B).map(({ name, shape }, i) => [`${name}0`, random(sizeOf(shape), 2 + i)]),
  );
  const results = await layer.forward(x, { T, B, ...initial });
  const cell = cellOf(layer.config);
  const stateSizes = Object.fromEntries(cell.states(layer.config).map(({ name, shape }) => [name, sizeOf(shape)]));
  for (let b = 0; b < B; b++) {
    const row = (values: Float64Array, t: number, size: number): Float64Array =>
      values.subarray((t * B + b) * size, (t * B + b + 1) * size);
    const ofRow = (name: string, values: Float64Array): Float64Array => row(values, 0, stateSizes[name]!);
    let states = Object.fromEntries(
      Object.entries(initial).map(([name, values]) => [name.slice(0, -1), ofRow(name.slice(0, -1), values)]),
    );
    for (let t = 0; t < T; t++) {
      states = cell.step(layer.config, weights, row(x, t, inputSize), states) as typeof states;
      const output = row(results.output as unknown as Float64Array, t, hiddenSize);
      (states.output ?? states.h!).forEach((value, u) => expect(output[u]!).toBeCloseTo(value, 12));
      for (const gate of cell.gates) expect(states[gate]).toHaveLength(hiddenSize);
    }
    for (const name of Object.keys(stateSizes)) {
      const final = ofRow(name, results[`${name}N` as "hN"] as unknown as Float64Array);
      expect(states[name]).toHaveLength(final.length);
      states[name]!.forEach((value, u) => expect(final[u]!).toBeCloseTo(value, 12));
    }
  }
  layer.dispose();
});

describe("gradients of parameters, inputs and initial states equal finite differences", () => {
  for (const [name, cell] of Object.entries(cells)) {
    for (const bidirectional of [false, true]) {
      it(`${name}${bidirectional ? ", both directions" : ""}, two layers, rows of unequal length, one of them empty`, async () => {
        const options = { ...cell, ...sizesFor(cell, { bidirectional, inputSize: 3, hiddenSize: 5, numLayers: 2 }) };
        const { worst, name: tensor } = await worstDifference(options, { T: 4, B: 3, lengths: [4, 1, 0] });
        expect(worst, tensor).toBeLessThan(1e-6);
      });
    }
    it(`${name} without biases, three layers`, async () => {
      const { worst, name: tensor } = await worstDifference(
        { ...cell, bias: false, ...sizesFor(cell, { inputSize: 2, hiddenSize: 6, numLayers: 3 }) },
        { T: 3, B: 2 },
      );
      expect(worst, tensor).toBeLessThan(1e-6);
    });
    it(`${name} at one step, one row, one unit, one input`, async () => {
      const { worst, name: tensor } = await worstDifference(
        { ...cell, inputSize: 1, hiddenSize: 1, numLayers: 1 },
        { T: 1, B: 1 },
      );
      expect(worst, tensor).toBeLessThan(1e-6);
    });
  }
});

describe("sequences", () => {
  it("of unequal length give what each gives alone", async () => {
    for (const form of Object.values(cells)) {
      const sizes = sizesFor(form, { inputSize: 2, hiddenSize: 3, numLayers: 2, bidirectional: true });
      const layer = Recurrent.create(device, { ...form, ...sizes });
      const n = sizes.inputSize;
      const [T, B, lengths] = [5, 3, [2, 5, 1]];
      const x = random(T * B * n, 9);
      const together = await layer.forward(x, { T, B, lengths });
      for (const [b, length] of lengths.entries()) {
        const alone = Float64Array.from({ length: length * n }, (_, i) => x[(Math.floor(i / n) * B + b) * n + (i % n)]!);
        const { output } = await layer.forward(alone, { T: length, B: 1 });
        for (let t = 0; t < T; t++) {
          for (let u = 0; u < 6; u++) {
            const expected = t < length ? output[t * 6 + u]! : 0;
            expect(together.output[(t * B + b) * 6 + u]!).toBeCloseTo(expected, 12);
          }
        }
      }
      layer.dispose();
    }
  });

  it("are read from their own ends by the second direction, where sums of what came before are told by hand", async () => {
    const sizes = { inputSize: 1, hiddenSize: 1, bidirectional: true, bias: false } as const;
    const layer = Recurrent.create(device, { cell: "rnn", nonlinearity: "relu", ...sizes });
    layer.loadStateDict(Object.fromEntries(layer.parameters.specs.map(({ name }) => [name, [1]])));
    // Rows 1, 2, 3 and 10, 20.
    const { output, hN } = await layer.forward([1, 10, 2, 20, 3, 7], { T: 3, B: 2, lengths: [3, 2] });
    expect(Array.from(output)).toEqual([1, 6, 10, 30, 3, 5, 30, 20, 6, 3, 0, 0]);
    expect(Array.from(hN)).toEqual([6, 30, 6, 30]);
    // Of the first output of the second direction, which has read all; and of the last of the first.
    const { dx } = await layer.backward([0, 2, 0, 3, 0, 0, 0, 0, 5, 0, 0, 0]);
    expect(Array.from(dx)).toEqual([7, 3, 7, 3, 7, 0]);
    layer.dispose();
  });

  it("ignore what stands past a row's end, even NaN", async () => {
    for (const form of Object.values(cells)) {
      const sizes = sizesFor(form, { inputSize: 2, hiddenSize: 3, bidirectional: true });
      const layer = Recurrent.create(device, { ...form, ...sizes });
      const n = sizes.inputSize;
      const options = { T: 3, B: 2, lengths: [3, 1] };
      const [x, dOutput] = [random(3 * 2 * n, 9), random(3 * 2 * 6, 4)];
      const expected = [await layer.forward(x, options), await layer.backward(dOutput)];
      x.fill(NaN, 3 * n, 4 * n).fill(Infinity, 5 * n);
      expect([await layer.forward(x, options), await layer.backward(dOutput)]).toEqual(expected);
      layer.dispose();
    }
  });

  it("read step by step give what they give at once", async () => {
    for (const form of Object.values(cells)) {
      const sizes = sizesFor(form, { inputSize: 2, hiddenSize: 3, numLayers: 2 });
      const layer = Recurrent.create(device, { ...form, ...sizes });
      const n = sizes.inputSize;
      const [T, B] = [4, 2];
      const x = random(T * B * n, 9);
      const { output, hN } = await layer.forward(x, { T, B });
      let state: { B: number; h?: ArrayLike<number>; c?: ArrayLike<number> | undefined } = { B };
      for (let t = 0; t < T; t++) {
        const step = await layer.step(x.subarray(t * B * n, (t + 1) * B * n), state);
        expect(Array.from(step.output)).toEqual(Array.from(output.subarray(t * B * 3, (t + 1) * B * 3)));
        state = { B, h: step.h, c: step.c };
      }
      expect(Array.from(state.h!)).toEqual(Array.from(hN));
      layer.dispose();
    }
  });
});

describe("sequences taken step by step", () => {
  it.each(Object.entries(cells))(
    "give the gradients that they give at once, those of the initial states too: %s",
    async (_, form) => {
      const sizes = sizesFor(form, { inputSize: 3, hiddenSize: 5, numLayers: 2 });
      const layer = Recurrent.create(device, { ...form, ...sizes });
      const [T, B] = [5, 2];
      const [X, Y] = [B * sizes.inputSize, B * sizes.hiddenSize];
      const [x, dOutput] = [random(T * X, 1), random(T * Y, 2)];
      const names = cellOf(layer.config)
        .states(layer.config)
        .map(({ name }) => name);
      const states = stackStates(layer.config, B).map(({ shape }, i) => random(sizeOf(shape), 3 + i));
      const dStates = states.map(({ length }, i) => random(length, 5 + i));
      const named = (title: (name: string) => string, values: readonly ArrayLike<number>[]) =>
        Object.fromEntries(names.map((name, i) => [title(name), values[i]!]));
      const pass = async (t: number, count: number, before: readonly ArrayLike<number>[], d: readonly ArrayLike<number>[]) => {
        const forward = await layer.forward(x.subarray(t * X, (t + count) * X), {
          T: count,
          B,
          ...named((name) => `${name}0`, before),
        });
        const backward = await layer.backward(
          dOutput.subarray(t * Y, (t + count) * Y),
          named((name) => `d${name}N`, d),
        );
        const of = (all: object, title: (name: string) => string): ArrayLike<number>[] =>
          names.map((name) => (all as Record<string, ArrayLike<number>>)[title(name)]!);
        return { ...backward, after: of(forward, (name) => `${name}N`), before: of(backward, (name) => `d${name}0`) };
      };
      const whole = await pass(0, T, states, dStates);
      const befores = [states as readonly ArrayLike<number>[]];
      for (let t = 0; t < T - 1; t++) befores.push((await pass(t, 1, befores[t]!, dStates)).after);
      let d: readonly ArrayLike<number>[] = dStates;
      const dx: number[] = [];
      const gradients = Object.fromEntries(
        Object.entries(whole.gradients).map(([name, { length }]) => [name, new Float64Array(length)]),
      );
      for (let t = T - 1; t >= 0; t--) {
        const part = await pass(t, 1, befores[t]!, d);
        d = part.before;
        dx.unshift(...part.dx);
        for (const [name, sum] of Object.entries(gradients)) part.gradients[name]!.forEach((value, i) => (sum[i]! += value));
      }
      const all = { dx, ...gradients, ...named((name) => `d${name}0`, d) };
      const { error, tensor } = worstTensor(all, {
        dx: whole.dx,
        ...whole.gradients,
        ...named((name) => `d${name}0`, whole.before),
      });
      expect(error, tensor).toBeLessThan(1e-12);
      layer.dispose();
    },
  );
});

describe("dropout", () => {
  it("acts between layers only while training, differently each time, and its gradients know it", async () => {
    const layer = Recurrent.create(device, { cell: "gru", inputSize: 3, hiddenSize: 8, numLayers: 2, dropout: 0.5 });
    const x = random(5 * 2 * 3, 4);
    const plain = await layer.forward(x, { T: 5, B: 2 });
    const again = await layer.forward(x, { T: 5, B: 2 });
    const first = await layer.forward(x, { T: 5, B: 2, training: true });
    const second = await layer.forward(x, { T: 5, B: 2, training: true });
    expect(again.output).toEqual(plain.output);
    expect(first.output).not.toEqual(plain.output);
    expect(second.output).not.toEqual(first.output);
    const { gradients } = await layer.backward(random(5 * 2 * 8, 8));
    expect(gradients.weight_ih_l0!.some((g) => g !== 0)).toBe(true);
    layer.dispose();
  });
});

/** h = relu(x): the states that it is given matter in their own first step only, and gradients are ones. */
async function identity(options: Partial<RecurrentOptions> = {}, on = device): Promise<Recurrent> {
  const sizes = { inputSize: 2, hiddenSize: 2, bias: false } as const;
  const layer = Recurrent.create(on, { cell: "rnn", nonlinearity: "relu", ...sizes, ...options });
  const unit = [1, 0, 0, 1];
  layer.loadStateDict(
    Object.fromEntries(layer.parameters.specs.map(({ name }) => [name, name.includes("hh") ? [0, 0, 0, 0] : unit])),
  );
  return layer;
}

/** What dropout multiplies T·B rows of `H` units with in a training pass, from the documented stream of a layer and direction. */
function maskOf(p: number, seed: number, pass: number, index: number, rows: number, H: number): number[] {
  return Array.from({ length: rows * H }, (_, i) => {
    // Rows of 6 units are stored as 8.
    const place = Math.floor(i / H) * (H + 2) + (i % H);
    const words = randomWords([seed, pass, Math.floor(place / 4), 256 * index + 2]);
    return fraction(words[place % 4]!) < p ? 0 : 1 / (1 - p);
  });
}

it("masks of dropout are those of the seed, the number of the pass and the layer, from the documented streams", async () => {
  const [T, B, H, seed, p] = [3, 2, 6, 77, 0.4];
  const layer = Recurrent.create(device, {
    cell: "rnn",
    nonlinearity: "relu",
    inputSize: H,
    hiddenSize: H,
    numLayers: 2,
    dropout: p,
    bias: false,
    seed,
  });
  const unit = Array.from({ length: H * H }, (_, i) => Number(i % (H + 1) === 0));
  const zero = Array<number>(H * H).fill(0);
  layer.loadStateDict({ weight_ih_l0: unit, weight_hh_l0: zero, weight_ih_l1: unit, weight_hh_l1: zero });
  const masks = [];
  for (let pass = 0; pass < 3; pass++) {
    const { output } = await layer.forward(Array<number>(T * B * H).fill(1), { T, B, training: true });
    const mask = maskOf(p, seed, pass, 0, T * B, H);
    mask.forEach((factor, i) => expect(output[i]).toBeCloseTo(factor, 6));
    masks.push(mask.join());
  }
  expect(new Set(masks).size).toBe(3);
  layer.dispose();
});

it("two directions have masks of dropout of their own, the same forward and backward", async () => {
  const [T, B, H, seed, p] = [3, 2, 6, 77, 0.4];
  const sizes = { inputSize: H, hiddenSize: H, numLayers: 2, bidirectional: true, bias: false } as const;
  const layer = Recurrent.create(device, { cell: "rnn", nonlinearity: "relu", ...sizes, dropout: p, seed });
  // Each direction hands on what it reads: those of the first layer the input, those above their own part of it.
  const matrix = (columns: number, first: number): number[] =>
    Array.from({ length: H * columns }, (_, i) => Number((i % columns) - first === Math.floor(i / columns)));
  const zero = Array<number>(H * H).fill(0);
  layer.loadStateDict({
    weight_ih_l0: matrix(H, 0),
    weight_hh_l0: zero,
    weight_ih_l0_reverse: matrix(H, 0),
    weight_hh_l0_reverse: zero,
    weight_ih_l1: matrix(2 * H, 0),
    weight_hh_l1: zero,
    weight_ih_l1_reverse: matrix(2 * H, H),
    weight_hh_l1_reverse: zero,
  });
  for (let pass = 0; pass < 2; pass++) {
    const { output } = await layer.forward(Array<number>(T * B * H).fill(1), { T, B, training: true });
    const [one, other] = [0, 1].map((direction) => maskOf(p, seed, pass, direction, T * B, H)) as [number[], number[]];
    const { dx } = await layer.backward([...output].fill(1));
    for (let i = 0; i < T * B * H; i++) {
      const at = Math.floor(i / H) * 2 * H + (i % H);
      expect(output[at]).toBeCloseTo(one[i]!, 6);
      expect(output[at + H]).toBeCloseTo(other[i]!, 6);
      expect(dx[i]).toBeCloseTo(one[i]! + other[i]!, 6);
    }
  }
  layer.dispose();
});

describe("what a call is not given is zero, whatever an earlier call was given:", () => {
  it("initial states", async () => {
    for (const form of Object.values(cells)) {
      const sizes = sizesFor(form, { inputSize: 2, hiddenSize: 3, numLayers: 2 });
      const layer = Recurrent.create(device, { ...form, ...sizes });
      const n = sizes.inputSize;
      const x = random(2 * n, 9);
      const expected = await layer.forward(x, { T: 2, B: 1 });
      const states = (title: (name: string) => string) =>
        Object.fromEntries(stackStates(layer.config, 1).map(({ name, shape }) => [title(name), random(sizeOf(shape), 4)]));
      const given = await layer.forward(x, { T: 2, B: 1, ...states((name) => `${name}0`) });
      expect(given.output).not.toEqual(expected.output);
      expect(await layer.forward(x, { T: 2, B: 1 })).toEqual(expected);
      const first = await layer.step(x.subarray(0, n), { B: 1 });
      expect((await layer.step(x.subarray(0, n), { B: 1, ...states((name) => name) })).output).not.toEqual(first.output);
      expect(await layer.step(x.subarray(0, n), { B: 1 })).toEqual(first);
      layer.dispose();
    }
  });

  it("gradients of final states", async () => {
    const layer = await identity();
    await layer.forward([1, 2, 3, 4], { T: 2, B: 1 });
    expect(Array.from((await layer.backward([0, 0, 0, 0], { dhN: [5, 7] })).dx)).toEqual([0, 0, 5, 7]);
    expect(Array.from((await layer.backward([1, 2, 3, 4])).dx)).toEqual([1, 2, 3, 4]);
    layer.dispose();
  });
});

describe("plans of a layer", () => {
  it("are recorded once for calls of the same sizes, and let go of for others and at the end", async () => {
    const own = new CpuDevice();
    const record = vi.spyOn(own, "record");
    const recorded = () => record.mock.calls.splice(0).map(([name]) => name);
    const layer = await identity({ numLayers: 2 }, own);
    const forward = (T: number, B: number, training = false) =>
      layer.forward(Array<number>(T * B * 2).fill(1), { T, B, training });
    await forward(2, 1);
    await layer.backward([1, 1, 1, 1]);
    const once = own.memory();
    await forward(2, 1);
    // Without a dropout there is nothing that training changes.
    await forward(2, 1, true);
    await layer.backward([1, 1, 1, 1]);
    expect(recorded()).toEqual(["rnn forward", "rnn backward"]);
    expect(own.memory()).toEqual(once);
    for (const [T, B] of [
      [1, 1],
      [1, 2],
      [2, 1],
    ] as const) {
      await forward(T, B);
      await layer.backward(Array<number>(T * B * 2).fill(1));
      expect(recorded()).toEqual(["rnn forward", "rnn backward"]);
    }
    expect(own.memory()).toEqual(once);
    await layer.step([1, 1], { B: 1 });
    await layer.step([1, 1], { B: 1 });
    expect(recorded()).toEqual(["rnn forward"]);
    // A step leaves what backward needs.
    expect(Array.from((await layer.backward([1, 2, 3, 4])).dx)).toEqual([1, 2, 3, 4]);
    layer[Symbol.dispose]();
    expect(own.memory()).toEqual({ buffers: 0, bytes: 0 });
  });

  it("are others for training, if outputs are dropped", async () => {
    const own = new CpuDevice();
    const record = vi.spyOn(own, "record");
    const layer = await identity({ numLayers: 2, dropout: 0.5 }, own);
    for (const training of [false, true, true, false, undefined]) await layer.forward([1, 1], { T: 1, B: 1, training });
    expect(record).toHaveBeenCalledTimes(3);
    layer.dispose();
    expect(own.memory()).toEqual({ buffers: 0, bytes: 0 });
  });

  it("name their tensors", async () => {
    const tensor = vi.spyOn(Recorder.prototype, "tensor");
    const layer = Recurrent.create(device, {
      cell: "lstm",
      inputSize: 2,
      hiddenSize: 3,
      numLayers: 2,
      bidirectional: true,
      dropout: 0.5,
    });
    await layer.forward([1, 1], { T: 1, B: 1, training: true });
    await layer.backward([1, 1, 1, 1, 1, 1]);
    const specs = tensor.mock.calls.map(([spec]) => spec);
    const names = specs.map(({ name }) => name);
    tensor.mockRestore();
    const orders = ["lengths", "reversed", "reversedOutput", "finalHistory", "finalOutput", "endsAt", "empty"];
    // A CPU has integers in floats as well; a GPU has not.
    expect(specs.flatMap(({ name, dtype }) => (dtype === "u32" ? [name] : []))).toEqual(["rng", ...orders]);
    expect(names).toEqual(
      expect.arrayContaining([
        "x",
        "h0",
        "c0",
        "hN",
        "cN",
        "rng",
        "dOutput0",
        "dOutput1",
        "dx",
        "dh0",
        "dc0",
        "dhN 0",
        "dcN 3",
        ...orders,
        "l0_reverse.reversed",
        "l0.dropped",
        "l0_reverse.dropped",
        "dOutput l0",
        "dOutput l0_reverse",
        "dOutput",
        "dInput",
      ]),
    );
    expect(names).not.toContain("");
    expect(Object.values(layer.parameters.byName)[0]!.name).toBe("lstm.weight_ih_l0");
    layer.dispose();
  });
});

it.each(Object.entries(cellForms()))(
  "the weights' gradients are neither computed nor read where they have no place, and the others are the same: %s",
  async (_name, form) => {
    const sizes = sizesFor(form, { inputSize: 3, hiddenSize: 5, numLayers: 2, bidirectional: true });
    const layer = Recurrent.create(device, { ...form, ...sizes });
    const [T, B] = [4, 2];
    const [x, dOutput] = [random(T * B * sizes.inputSize, 1), random(T * B * 10, 2)];
    const record = vi.spyOn(Recorder.prototype, "dispatch");
    const read = vi.spyOn(device, "read");
    await layer.forward(x, { T, B });
    const { dx, dh0, dc0 } = await layer.backward(dOutput);
    const whole = [record.mock.calls.length, read.mock.calls.length];
    const { config, parameters, seed } = layer;
    const session = await makeSession({ device, config, parameters, seed }, { T, B, training: false });
    await session.forward({ x, states: {} }, 0);
    const found = await session.backward({ dOutput, states: {} });
    const [dispatches, reads] = [record.mock.calls.length - whole[0]!, read.mock.calls.length - whole[1]!];
    record.mockRestore();
    read.mockRestore();
    expect(found).toEqual({ dx, states: dc0 ? { h: dh0, c: dc0 } : { h: dh0 }, gradients: {} });
    // A product or a sum for each of them but the biases, which products bring along: two of a layer and direction, or one
    // where it has no more, at least.
    const [layers, own] = [sizes.numLayers * 2, parameters.specs.filter(({ name }) => !name.startsWith("bias"))];
    expect(whole[0]! - dispatches).toBeGreaterThanOrEqual(Math.min(2 * layers, own.length));
    expect(whole[1]! - reads).toBe(parameters.specs.length);
    session.dispose();
    layer.dispose();
  },
);

it("a layer whose gradients find no place takes none", () => {
  const own = new CpuDevice();
  const { flatTensors } = own;
  own.flatTensors = (name, specs) => {
    if (name === "gradients") throw new Error("no place");
    return flatTensors.call(own, name, specs);
  };
  expect(() => Recurrent.create(own, { cell: "gru", inputSize: 2, hiddenSize: 3 })).toThrow("no place");
  expect(own.memory()).toEqual({ buffers: 0, bytes: 0 });
});

it("a cell's own kind of state is asked for in its own sizes", async () => {
  const remove = addCell("matrix", { ...indrnnCell, states: ({ hiddenSize }) => [{ name: "h", shape: [hiddenSize, 2] }] });
  const layer = Recurrent.create(device, { cell: "matrix" as never, inputSize: 2, hiddenSize: 3 });
  await expect(layer.forward([1, 1], { T: 1, B: 1, h0: [1, 1, 1] })).rejects.toThrow(
    "matrix.forward: h0 must be [L·D=1, B=1, H=3, N=2], that is 6 values, got 3",
  );
  layer.dispose();
  remove();
  expect(() => Recurrent.create(device, { cell: "matrix" as never, inputSize: 2, hiddenSize: 3 })).toThrow(
    `Recurrent: cell must be one of ${CELL_NAMES.join(", ")}, got "matrix"`,
  );
});

describe("errors", () => {
  const layer = Recurrent.create(device, { cell: "lstm", inputSize: 3, hiddenSize: 4, numLayers: 2 });
  afterAll(() => layer.dispose());

  it("name the tensor, what was expected and what came", async () => {
    await expect(layer.forward(new Float32Array(5), { T: 2, B: 1 })).rejects.toMatchObject({
      code: "E_SHAPE",
      message: "lstm.forward: x must be [T=2, B=1, inputSize=3], that is 6 values, got 5",
    });
    await expect(layer.forward(new Float32Array(6), { T: 2, B: 1, h0: new Float32Array(4) })).rejects.toThrow(
      /h0 must be \[L·D=2, B=1, H=4\], that is 8 values, got 4/,
    );
    await expect(layer.forward(new Float32Array(6), { T: 2, B: 1, lengths: [3] })).rejects.toMatchObject({ code: "E_CONFIG" });
    await expect(layer.forward(new Float32Array(6), { T: 2, B: 1, lengths: [-1] })).rejects.toMatchObject({ code: "E_CONFIG" });
    await expect(layer.forward(new Float32Array(6), { T: 0, B: 1 })).rejects.toMatchObject({ code: "E_CONFIG" });
    await expect(layer.backward(new Float32Array(8))).rejects.toThrow(/call forward first/);
    await layer.forward(new Float32Array(6), { T: 2, B: 1 });
    await expect(layer.backward(new Float32Array(7))).rejects.toMatchObject({ code: "E_SHAPE" });
    expect(() => layer.loadStateDict({})).toThrow(/"weight_ih_l0" \[16, 3\] is missing/);
  });

  it("say what is wrong with an option, and what was meant", async () => {
    const gru = Recurrent.create(device, { cell: "gru", inputSize: 3, hiddenSize: 4, numLayers: 2 });
    const both = Recurrent.create(device, { cell: "gru", inputSize: 3, hiddenSize: 4, bidirectional: true });
    const x = [1, 2, 3];
    const one = { T: 1, B: 1 };
    await gru.forward(x, one);
    await both.forward(x, one);
    const four = [1, 2, 3, 4];
    const signal = 7 as never;
    const forward = (options: object) => layer.forward(x, { ...one, ...options });
    const step = (options: object) => layer.step(x, { B: 1, ...options });
    const refused: [Promise<unknown>, string, string][] = [
      [forward({ T: 1.5 }), "E_CONFIG", "lstm.forward: T must be an integer of at least 1, got 1.5"],
      [forward({ B: 0 }), "E_CONFIG", "lstm.forward: B must be an integer of at least 1, got 0"],
      [forward({ hx: four }), "E_CONFIG", 'lstm.forward: unknown option "hx"; did you mean "h0"?'],
      [forward({ cx: four }), "E_CONFIG", 'lstm.forward: unknown option "cx"; did you mean "c0"?'],
      [forward({ training: 1 }), "E_CONFIG", "lstm.forward: training must be one of true, false, got 1"],
      [forward({ signal }), "E_CONFIG", "lstm.forward: signal must be an AbortSignal, got 7"],
      [forward({ lengths: [2] }), "E_CONFIG", "lstm.forward: lengths must be integers from 0 to T=1, got 2"],
      [forward({ lengths: [-1] }), "E_CONFIG", "lstm.forward: lengths must be integers from 0 to T=1, got -1"],
      [forward({ lengths: [0.5] }), "E_CONFIG", "lstm.forward: lengths must be integers from 0 to T=1, got 0.5"],
      [forward({ lengths: [1, 1] }), "E_SHAPE", "lstm.forward: lengths must be [B=1], that is 1 values, got 2"],
      [forward({ lengths: "1" }), "E_SHAPE", 'lstm.forward: lengths must be an array of numbers, got "1"'],
      [forward({ c0: "12345678" }), "E_SHAPE", 'lstm.forward: c0 must be an array of numbers, got "12345678"'],
      [forward({ c0: four }), "E_SHAPE", "lstm.forward: c0 must be [L·D=2, B=1, H=4], that is 8 values, got 4"],
      [layer.forward("123" as never, one), "E_SHAPE", 'lstm.forward: x must be an array of numbers, got "123"'],
      [layer.forward(x, undefined as never), "E_CONFIG", "lstm.forward: T must be an integer of at least 1, got undefined"],
      [both.forward(x, { ...one, h0: four }), "E_SHAPE", "gru.forward: h0 must be [L·D=2, B=1, H=4], that is 8 values, got 4"],
      [gru.forward(x, { ...one, c0: four }), "E_SHAPE", "gru.forward: c0 was given, but only the lstm has a cell state"],
      [gru.step(x, { B: 1, c: four }), "E_SHAPE", "gru.step: c was given, but only the lstm has a cell state"],
      [gru.backward(four, { dcN: four }), "E_SHAPE", "gru.backward: dcN was given, but only the lstm has a cell state"],
      [gru.backward(four, { dhN: four }), "E_SHAPE", "gru.backward: dhN must be [L·D=2, B=1, H=4], that is 8 values, got 4"],
      [gru.backward(x), "E_SHAPE", "gru.backward: dOutput must be [T=1, B=1, D·H=4], that is 4 values, got 3"],
      [both.backward(four), "E_SHAPE", "gru.backward: dOutput must be [T=1, B=1, D·H=8], that is 8 values, got 4"],
      [gru.backward("1234" as never), "E_SHAPE", 'gru.backward: dOutput must be an array of numbers, got "1234"'],
      [gru.backward(four, { dh: four } as never), "E_CONFIG", 'gru.backward: unknown option "dh"; did you mean "dhN"?'],
      [gru.backward(four, { signal }), "E_CONFIG", "gru.backward: signal must be an AbortSignal, got 7"],
      [step({ B: 1.5 }), "E_CONFIG", "lstm.step: B must be an integer of at least 1, got 1.5"],
      [step({ h: four }), "E_SHAPE", "lstm.step: h must be [L·D=2, B=1, H=4], that is 8 values, got 4"],
      [step({ signal }), "E_CONFIG", "lstm.step: signal must be an AbortSignal, got 7"],
      [layer.step(four, { B: 1 }), "E_SHAPE", "lstm.step: x must be [T=1, B=1, inputSize=3], that is 3 values, got 4"],
      [layer.step(x, undefined as never), "E_CONFIG", "lstm.step: B must be an integer of at least 1, got undefined"],
      ...Object.entries({ hx: "h", h0: "h", cx: "c", c0: "c" }).map(([name, meant]): [Promise<unknown>, string, string] => [
        step({ [name]: four }),
        "E_CONFIG",
        `lstm.step: unknown option "${name}"; did you mean "${meant}"?`,
      ]),
      [both.step(x, { B: 1 }), "E_CONFIG", "Recurrent.step: a bidirectional layer reads whole sequences only"],
    ];
    await Promise.all(refused.map(([call, code, message]) => expect(call).rejects.toMatchObject({ code, message })));
    // What was refused left the passes before as they were.
    expect((await gru.backward(four)).dx).toHaveLength(3);
    expect((await gru.forward(x, { ...one, lengths: [1] })).output).toEqual((await gru.forward(x, one)).output);
    expect(Array.from((await gru.forward(x, { ...one, lengths: [0] })).output)).toEqual([0, 0, 0, 0]);
    gru.dispose();
    both.dispose();
  });

  it("of backward say whether there is no forward pass, or one with other weights, or one that failed", async () => {
    const own = await identity();
    const none = { code: "E_CONFIG", message: "Recurrent.backward: call forward first; it keeps what backward needs" };
    await expect(own.backward([1, 1])).rejects.toMatchObject(none);
    await own.forward([1, 1], { T: 1, B: 1 });
    own.loadStateDict(await own.stateDict());
    await expect(own.backward([1, 1])).rejects.toMatchObject({
      code: "E_CONFIG",
      message:
        "Recurrent.backward: the weights have changed since forward, so that the gradient would mix old and new ones; call forward again, or loadStateDict after backward",
    });
    await own.forward([1, 1], { T: 1, B: 1 });
    const run = vi.spyOn(device, "write").mockImplementationOnce(() => {
      throw new Error("lost");
    });
    await expect(own.forward([2, 2], { T: 1, B: 1 })).rejects.toThrow("lost");
    run.mockRestore();
    await expect(own.backward([1, 1])).rejects.toMatchObject(none);
    own.dispose();
  });

  it("know the weights of the turn in which they are served, whatever was asked for since", async () => {
    const own = await identity();
    const weights = await own.stateDict();
    await own.forward([1, 1], { T: 1, B: 1 });
    const served = own.backward([1, 1]);
    own.loadStateDict(weights);
    expect(Array.from((await served).dx)).toEqual([1, 1]);
    const forward = own.forward([1, 1], { T: 1, B: 1 });
    own.loadStateDict(weights);
    await forward;
    await expect(own.backward([1, 1])).rejects.toThrow(/the weights have changed since forward/);
    own.dispose();
  });

  it("of a call that is aborted are its reason", async () => {
    const own = await identity();
    const signal = AbortSignal.abort(new Error("enough"));
    await expect(own.forward([1, 1], { T: 1, B: 1, signal })).rejects.toThrow("enough");
    await own.forward([1, 1], { T: 1, B: 1 });
    await expect(own.backward([1, 1], { signal })).rejects.toThrow("enough");
    await expect(own.step([1, 1], { B: 1, signal })).rejects.toThrow("enough");
    own.dispose();
  });

  it("of a layer that is gone name the call, and of a device that is gone come from it", async () => {
    const own = await identity();
    own.dispose();
    own.dispose();
    const calls: Record<string, () => unknown> = {
      forward: () => own.forward([1, 1], { T: 1, B: 1 }),
      backward: () => own.backward([1, 1]),
      step: () => own.step([1, 1], { B: 1 }),
      stateDict: () => own.stateDict(),
      loadStateDict: async () => own.loadStateDict({ weight_ih_l0: [1, 0, 0, 1], weight_hh_l0: [1, 0, 0, 1] }),
    };
    for (const [name, call] of Object.entries(calls))
      await expect(call()).rejects.toMatchObject({
        code: "E_DISPOSED",
        message: `Recurrent.${name}: this layer was disposed; make another`,
      });
    const gone = new CpuDevice();
    const layer = await identity({}, gone);
    gone.dispose();
    await expect(layer.backward([1, 1])).rejects.toMatchObject({ code: "E_DISPOSED" });
    expect(() => Recurrent.create(undefined as never, { cell: "rnn", inputSize: 1, hiddenSize: 1 })).toThrow(
      "Recurrent.create: expected a device, as openDevice gives it, got undefined",
    );
  });

  it("of the configuration name the field, its range and what came, and the ends of the range are taken", () => {
    const create = (options: object) => Recurrent.create(device, { cell: "gru", inputSize: 2, hiddenSize: 2, ...options });
    const wrong: [object, string][] = [
      [{ inputSize: 0 }, "inputSize must be an integer from 1 to 65536, got 0"],
      [{ inputSize: 65537 }, "inputSize must be an integer from 1 to 65536, got 65537"],
      [{ hiddenSize: 0 }, "hiddenSize must be an integer from 1 to 65536, got 0"],
      [{ hiddenSize: 65537 }, "hiddenSize must be an integer from 1 to 65536, got 65537"],
      [{ numLayers: 65 }, "numLayers must be an integer from 1 to 64, got 65"],
      [{ dropout: -0.1 }, "dropout must be at least 0 and less than 1, got -0.1"],
      [{ dropout: 1 }, "dropout must be at least 0 and less than 1, got 1"],
      [{ bidirectional: 1 }, "bidirectional must be one of true, false, got 1"],
      [{ bias: "no" }, 'bias must be one of true, false, got "no"'],
      [{ seed: -1 }, "seed must be an integer from 0 to 4294967295, got -1"],
      [{ resetAfter: 1 }, "resetAfter must be one of true, false, got 1"],
      [{ nonlinearity: "relu" }, 'nonlinearity must be left out with the cell gru, got "relu"; it is an option of rnn'],
      [{ cell: "lstm", resetAfter: false }, "resetAfter must be left out with the cell lstm, got false; it is an option of gru"],
    ];
    for (const [options, message] of wrong)
      expect(() => create(options)).toThrow(expect.objectContaining({ code: "E_CONFIG", message: `Recurrent: ${message}` }));
    expect(() => create({ hidden: 3 })).toThrow('Recurrent: unknown option "hidden"; did you mean "hiddenSize"?');
    expect(() => create({ layers: 3 })).toThrow('Recurrent: unknown option "layers"; did you mean "numLayers"?');
    expect(() => Recurrent.create(device, undefined as never)).toThrow("Recurrent: cell must be one of");
    for (const options of [
      { inputSize: 65536, hiddenSize: 1 },
      { numLayers: 64 },
      { dropout: 0.999 },
      { cell: "lstm", nonlinearity: "tanh" },
    ])
      create(options).dispose();
    const { config, seed } = create({ seed: undefined, dropout: undefined });
    expect(seed).toBe(1);
    expect(config).toEqual({
      cell: "gru",
      inputSize: 2,
      hiddenSize: 2,
      numLayers: 1,
      dropout: 0,
      bidirectional: false,
      bias: true,
      resetAfter: true,
      nonlinearity: "tanh",
    });
  });

  it("of the configuration leave nothing behind", () => {
    const before = device.memory();
    for (const wrong of [
      { hiddenSize: 0 },
      { inputSize: 1.5 },
      { numLayers: 0 },
      { dropout: 1 },
      { cell: "tanh" },
      { nonlinearity: "gelu" },
    ]) {
      expect(() => Recurrent.create(device, { cell: "gru", inputSize: 2, hiddenSize: 2, ...wrong } as RecurrentOptions)).toThrow(
        /Recurrent: /,
      );
    }
    expect(device.memory()).toEqual(before);
  });
});

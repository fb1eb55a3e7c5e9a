// The recurrent layer: its gradients against finite differences, its edges, and its errors.
import { afterAll, describe, expect, it } from "vitest";
import { addCell, cellForms, cellOf } from "../../src/models/cells.ts";
import { Recurrent, type RecurrentOptions } from "../../src/models/recurrent.ts";
import { stackStates } from "../../src/models/stack.ts";
import { fraction, randomWord } from "../../src/random.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { sizeOf } from "../../src/runtime/tensor.ts";
import { indrnnCell } from "../cells/indrnn.ts";
import { ugrnnCell } from "../cells/ugrnn.ts";

const device = await openDevice({ prefer: "cpu", precision: "float64" });
afterAll(() => device.dispose());
// Cells that the library does not have: whatever is asked of all cells is asked of them too.
afterAll(addCell("indrnn", indrnnCell));
afterAll(addCell("ugrnn", ugrnnCell));

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
      array[i] = before + 1e-5;
      const up = await loss();
      array[i] = before - 1e-5;
      const down = await loss();
      array[i] = before;
      const numeric = (up - down) / 2e-5;
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
  const [T, B, inputSize, hiddenSize] = [4, 2, 3, 5];
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
  for (let b = 0; b < B; b++) {
    const row = (values: Float64Array, t: number, size: number): Float64Array =>
      values.subarray((t * B + b) * size, (t * B + b + 1) * size);
    let states = Object.fromEntries(
      Object.entries(initial).map(([name, values]) => [name.slice(0, -1), row(values, 0, hiddenSize)]),
    );
    for (let t = 0; t < T; t++) {
      states = cell.step(layer.config, weights, row(x, t, inputSize), states) as typeof states;
      const output = row(results.output as unknown as Float64Array, t, hiddenSize);
      states.h!.forEach((value, u) => expect(output[u]!).toBeCloseTo(value, 12));
      for (const gate of cell.gates) expect(states[gate]).toHaveLength(hiddenSize);
    }
    for (const { name } of stackStates(layer.config, B)) {
      const final = row(results[`${name}N` as "hN"] as unknown as Float64Array, 0, hiddenSize);
      states[name]!.forEach((value, u) => expect(final[u]!).toBeCloseTo(value, 12));
    }
  }
  layer.dispose();
});

describe("gradients of parameters, inputs and initial states equal finite differences", () => {
  for (const [name, cell] of Object.entries(cells)) {
    for (const bidirectional of [false, true]) {
      it(`${name}${bidirectional ? ", both directions" : ""}, two layers, rows of unequal length, one of them empty`, async () => {
        const options = { ...cell, bidirectional, inputSize: 3, hiddenSize: 5, numLayers: 2 };
        const { worst, name: tensor } = await worstDifference(options, { T: 4, B: 3, lengths: [4, 1, 0] });
        expect(worst, tensor).toBeLessThan(1e-6);
      });
    }
    it(`${name} without biases, three layers`, async () => {
      const { worst, name: tensor } = await worstDifference(
        { ...cell, bias: false, inputSize: 2, hiddenSize: 6, numLayers: 3 },
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
      const layer = Recurrent.create(device, { ...form, inputSize: 2, hiddenSize: 3, numLayers: 2, bidirectional: true });
      const [T, B, lengths] = [5, 3, [2, 5, 1]];
      const x = random(T * B * 2, 9);
      const together = await layer.forward(x, { T, B, lengths });
      for (const [b, length] of lengths.entries()) {
        const alone = Float64Array.from({ length: length * 2 }, (_, i) => x[(Math.floor(i / 2) * B + b) * 2 + (i % 2)]!);
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

  it("ignore what stands past a row's end, even NaN", async () => {
    for (const form of Object.values(cells)) {
      const layer = Recurrent.create(device, { ...form, inputSize: 2, hiddenSize: 3, bidirectional: true });
      const options = { T: 3, B: 2, lengths: [3, 1] };
      const [x, dOutput] = [random(3 * 2 * 2, 9), random(3 * 2 * 6, 4)];
      const expected = [await layer.forward(x, options), await layer.backward(dOutput)];
      x.fill(NaN, 6, 8).fill(Infinity, 10);
      expect([await layer.forward(x, options), await layer.backward(dOutput)]).toEqual(expected);
      layer.dispose();
    }
  });

  it("read step by step give what they give at once", async () => {
    for (const form of Object.values(cells)) {
      const layer = Recurrent.create(device, { ...form, inputSize: 2, hiddenSize: 3, numLayers: 2 });
      const [T, B] = [4, 2];
      const x = random(T * B * 2, 9);
      const { output, hN } = await layer.forward(x, { T, B });
      let state: { B: number; h?: ArrayLike<number>; c?: ArrayLike<number> | undefined } = { B };
      for (let t = 0; t < T; t++) {
        const step = await layer.step(x.subarray(t * B * 2, (t + 1) * B * 2), state);
        expect(Array.from(step.output)).toEqual(Array.from(output.subarray(t * B * 3, (t + 1) * B * 3)));
        state = { B, h: step.h, c: step.c };
      }
      expect(Array.from(state.h!)).toEqual(Array.from(hN));
      layer.dispose();
    }
  });
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

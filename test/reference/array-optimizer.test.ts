// The trainer's update for arrays of one's own: against its formulas worked out by hand, and what it refuses.
import { describe, expect, it } from "vitest";
import { makeOptimizer } from "../../src/index.ts";

const arrays = () => ({ a: Float32Array.of(1, -2, 3), b: Float32Array.of(0.5) });
const gradients = { a: Float32Array.of(0.3, 0, -0.4), b: Float32Array.of(1.2) };

describe("makeOptimizer", () => {
  it("moves by the gradient, and by what is left of the moves before", async () => {
    const weights = arrays();
    const optimizer = await makeOptimizer(weights, { optimizer: "sgd", learningRate: 0.1, momentum: 0.9, clip: 0 });
    expect(await optimizer.update(gradients)).toBeCloseTo(1.3, 6);
    expect([...weights.a, ...weights.b].map((x) => Number(x.toFixed(6)))).toEqual([0.97, -2, 3.04, 0.38]);
    await optimizer.update(gradients, 0.01);
    // 0.01 · (0.9 · g + g)
    expect([...weights.a, ...weights.b].map((x) => Number(x.toFixed(6)))).toEqual([0.9643, -2, 3.0476, 0.3572]);
    expect(optimizer.step).toBe(2);
  });

  it("scales gradients down to the clip, and decays every array", async () => {
    const weights = arrays();
    const optimizer = await makeOptimizer(weights, { optimizer: "sgd", learningRate: 1, clip: 0.65, weightDecay: 0.1 });
    expect(await optimizer.update(gradients)).toBeCloseTo(1.3, 6);
    // p − (g / 2 + 0.1 · p)
    expect([...weights.a, ...weights.b].map((x) => Number(x.toFixed(5)))).toEqual([0.75, -1.8, 2.9, -0.15]);
  });

  it("is Adam, as a trainer is, unless told otherwise: the first step is the rate, whatever the gradient's size", async () => {
    const weights = arrays();
    const optimizer = await makeOptimizer(weights, { learningRate: 0.01 });
    expect(optimizer.optimizer).toBe("adam");
    await optimizer.update(gradients);
    expect([...weights.a, ...weights.b].map((x) => Number(x.toFixed(5)))).toEqual([0.99, -2, 3.01, 0.49]);
    // Of a gradient that turns round: m = (0.9 · 0.1 − 0.1) g, v = (0.999 · 0.001 + 0.001) g², both over their corrections.
    await optimizer.update({ a: gradients.a.map((g) => -g), b: gradients.b.map((g) => -g) });
    const move = (0.01 * (0.09 - 0.1)) / 0.19 / Math.sqrt((0.000999 + 0.001) / 0.001999);
    expect(weights.b[0]).toBeCloseTo(0.49 - move, 6);
  });

  it("serves calls in their order, each with the gradients that it was given", async () => {
    const [one, two] = [arrays(), arrays()];
    const [first, second] = await Promise.all([one, two].map((weights) => makeOptimizer(weights, { learningRate: 0.1 })));
    const passing = gradients.b.slice();
    const both = [first!.update({ ...gradients, b: passing }), first!.update({ ...gradients, b: Float32Array.of(-3) })];
    passing.fill(NaN);
    await Promise.all(both);
    await second!.update(gradients);
    await second!.update({ ...gradients, b: Float32Array.of(-3) });
    expect(one).toEqual(two);
  });

  it.each([
    ["E_CONFIG", { learningRate: -1 }, gradients, undefined],
    ["E_CONFIG", { optimizer: "lion" }, gradients, undefined],
    ["E_CONFIG", { rate: 1 }, gradients, undefined],
    ["E_CONFIG", {}, gradients, NaN],
    ["E_SHAPE", {}, { a: gradients.a }, undefined],
    ["E_SHAPE", {}, { ...gradients, a: gradients.b }, undefined],
    ["E_SHAPE", {}, { ...gradients, c: gradients.b }, undefined],
    ["E_NAN_LOSS", {}, { ...gradients, a: Float32Array.of(0, NaN, 0) }, undefined],
    ["E_NAN_LOSS", {}, { ...gradients, b: Float32Array.of(Infinity) }, undefined],
  ])("says %s of %j with %j at %s, and changes nothing", async (code, options, given, rate) => {
    const weights = arrays();
    const updating = makeOptimizer(weights, options as object).then((optimizer) => optimizer.update(given as never, rate));
    await expect(updating).rejects.toMatchObject({ code });
    expect(weights).toEqual(arrays());
  });

  it.each([undefined, {}, { a: [1, 2] }, { a: new Float64Array(2) }])("refuses %j in place of arrays", async (weights) => {
    await expect(makeOptimizer(weights as never)).rejects.toMatchObject({ code: "E_SHAPE" });
  });
});

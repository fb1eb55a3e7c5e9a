// S4D: against PyTorch's numbers, step by step and as a convolution, in parts, and what it begins from.
import { afterAll, describe, expect, it } from "vitest";
import { complexScan } from "../../src/kernels/complex-scan.ts";
import { s4dCell } from "../../src/kernels/s4d.ts";
import { type CellName } from "../../src/models/cells.ts";
import { initialValues } from "../../src/models/parameters.ts";
import { Recurrent } from "../../src/models/recurrent.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { sizeOf } from "../../src/runtime/tensor.ts";
import { worstTensor } from "../../src/training/check/comparisons.ts";
import { draw } from "../fixtures/read.ts";
import fixtures from "../fixtures/s4d.json";
import { dispatchesOf } from "../cells/dispatches.ts";

const device = await openDevice({ prefer: "cpu", precision: "float64" });
afterAll(() => device.dispose());
const cell = "s4d" as string as CellName;
/** Pairs, of the state size that is given where none is. */
const P = 8;

type Arrays = Record<string, Float64Array>;
type Fixture = (typeof fixtures.cases)[number];

/** A case's results here; `spoil` is given its weights, its input and its initial state, to change them. */
async function resultsOf(
  { number, T, B, hiddenSize: H }: Fixture,
  spoil?: (weights: Arrays, x: Float64Array, h0: Float64Array) => void,
): Promise<Record<string, ArrayLike<number>>> {
  const layer = Recurrent.create(device, { cell, inputSize: H, hiddenSize: H });
  const state = B * H * P * 2;
  const weights: Arrays = {
    log_dt_l0: draw(number, 0, H).map((u) => Math.log(10) * (u - 1)),
    log_A_real_l0: draw(number, 1, H * P).map((u) => u - 0.7),
    A_imag_l0: draw(number, 2, H * P).map((u, i) => Math.PI * (i % P) + u),
    C_l0: draw(number, 3, H * P * 2),
    D_l0: draw(number, 4, H),
  };
  const [x, h0] = [draw(number, 100, T * B * H), draw(number, 101, state)];
  spoil?.(weights, x, h0);
  layer.loadStateDict(weights);
  const { output, hN } = await layer.forward(x, { T, B, h0 });
  const { dx, dh0, gradients } = await layer.backward(draw(number, 103, T * B * H), { dhN: draw(number, 104, state) });
  layer.dispose();
  return { output, hN, dx, dh0, ...gradients };
}

describe("PyTorch's numbers, step by step and as a convolution, to 1e-12", () => {
  it.each(fixtures.cases)("are those of T=$T B=$B H=$hiddenSize", async (each) => {
    const results = await resultsOf(each);
    expect(Object.keys(results).sort()).toEqual(Object.keys(each.results).sort());
    const { error, tensor } = worstTensor(results, each.results);
    expect(error, tensor).toBeLessThan(1e-12);
  });

  const everyOther = (values: Float64Array): void => values.forEach((v, i) => (values[i] = i % 2 ? -v : v));
  it.each<[string, (weights: Arrays, x: Float64Array, h0: Float64Array) => void]>([
    ["C̄ for C", ({ C_l0 }) => everyOther(C_l0!)],
    ["no D", ({ D_l0 }) => D_l0!.fill(0)],
    ["Ā for A", ({ A_imag_l0: values }) => values!.forEach((v, i) => (values![i] = -v))],
    ["steps from the end", (_, x) => x.set(Array.from(x, (_x, i) => x.at(-1 - i)!))],
    ["no initial state", (_, __, h0) => h0.fill(0)],
    ["h̄₀ for h₀", (_, __, h0) => everyOther(h0)],
    ["a rate Δ of its own for no channel", ({ log_dt_l0 }) => log_dt_l0!.fill(-1)],
  ])("are not those of %s", async (_, spoil) => {
    const each = fixtures.cases[1]!;
    expect(worstTensor(await resultsOf(each, spoil), each.results).error).toBeGreaterThan(1e-2);
  });
});

describe("the scan in parts", () => {
  it.each([0, 1])("gives bit for bit what it gives at once (case %#)", (ends) => {
    const each = complexScan.backward.cases().filter(({ params }) => params.ends === ends && params.count === 65)[0]!;
    const made = (): Arrays =>
      Object.fromEntries(
        Object.entries(each.tensors).map(([name, { shape, stored, fill }], i) => [
          name,
          fill ? Float64Array.from({ length: sizeOf(stored ?? shape) }, (_, k) => fill(k)) : draw(7, i, 4 * sizeOf(shape)),
        ]),
      );
    const params = each.params as Parameters<typeof complexScan.backward.reference>[1];
    const run = (counts: readonly number[]): Arrays => {
      const arrays = { ...made(), h: draw(7, 50, 600), y: new Float64Array(2000) } as Arrays;
      const bound = arrays as Parameters<typeof complexScan.backward.reference>[0] &
        Parameters<typeof complexScan.forward.reference>[0];
      let t = 0;
      for (const count of counts) {
        complexScan.forward.reference(bound, { ...params, t, count });
        complexScan.backward.reference(bound, { ...params, t: 64 - t, count });
        t += count;
      }
      return arrays;
    };
    expect(run([1, 2, 30, 32])).toEqual(run([65]));
  });

  it("has as many dispatches for many steps as for few, until one would hold too much work", () => {
    expect(dispatchesOf(s4dCell, 64, 4)).toHaveLength(5);
    expect(dispatchesOf(s4dCell, 4096, 4)).toHaveLength(5);
    const [T, all] = [8192, dispatchesOf(s4dCell, 8192, 512)];
    const stepsOf = (entry: string) =>
      all.filter((each) => each.entry.name === entry).map(({ params }) => [params.t!, params.count!] as const);
    const [forward, backward] = [stepsOf("forward"), stepsOf("backward")];
    expect(forward.length).toBeGreaterThan(1);
    expect(forward.flatMap(([t, count]) => Array.from({ length: count }, (_, i) => t + i))).toEqual(
      Array.from({ length: T }, (_, t) => t),
    );
    expect(backward.flatMap(([t, count]) => Array.from({ length: count }, (_, i) => t - i))).toEqual(
      Array.from({ length: T }, (_, t) => T - 1 - t),
    );
    for (const { work } of all) expect(work).toBeLessThanOrEqual(2.5e8);
  });
});

it("its initial state is asked for as real and imaginary parts of pairs", async () => {
  const layer = Recurrent.create(device, { cell, inputSize: 3, hiddenSize: 3 });
  await expect(layer.forward([1, 1, 1], { T: 1, B: 1, h0: [1, 1, 1] })).rejects.toThrow(
    "s4d.forward: h0 must be [L·D=1, B=1, H=3, N/2=8, parts=2], that is 48 values, got 3",
  );
  layer.dispose();
});

describe("its parameters", () => {
  const H = 400;
  const specs = Object.fromEntries(s4dCell.parameters({ hiddenSize: H, stateSize: 2 * P }, [H]).map((spec) => [spec.name, spec]));
  const values = (name: string): Float32Array => initialValues(specs[name]!, 3, 0);

  it("begin as S4D-Lin: A = −½ + iπn, Δ log-uniform from 0.01 to 1, C normal of variance ½ a part, D = 1", () => {
    expect(new Set(values("log_A_real"))).toEqual(new Set([Math.fround(Math.log(0.5))]));
    expect([...values("A_imag").subarray(P, 2 * P)]).toEqual(Array.from({ length: P }, (_, n) => Math.fround(Math.PI * n)));
    expect(new Set(values("D"))).toEqual(new Set([1]));
    const logs = [...values("log_dt")].sort((a, b) => a - b);
    expect(logs[0]).toBeGreaterThanOrEqual(Math.fround(Math.log(0.01)));
    expect(logs.at(-1)).toBeLessThanOrEqual(0);
    // Quartiles of a uniform distribution.
    for (const q of [0.25, 0.5, 0.75]) expect(logs[q * H]! / Math.log(0.01)).toBeCloseTo(1 - q, 1);
    const C = values("C");
    const variance = C.reduce((sum, c) => sum + c * c, 0) / C.length;
    expect(variance).toBeGreaterThan(0.47);
    expect(variance).toBeLessThan(0.53);
  });

  it("decay only where they are weights: C", () => {
    const kept = Object.values(specs).flatMap(({ name, decay }) => (decay === false ? [name] : []));
    expect(kept).toEqual(["log_dt", "log_A_real", "A_imag", "D"]);
  });

  it("are refused for a state of an odd size, and for an input of another width or from two directions", () => {
    expect(() => s4dCell.states({ hiddenSize: 3, stateSize: 5 })).toThrow(
      expect.objectContaining({
        code: "E_CONFIG",
        message: "stateSize must be even with the cell s4d, whose states are pairs of numbers, got 5",
      }),
    );
    const create = (options: object) => Recurrent.create(device, { cell, inputSize: 3, hiddenSize: 3, ...options });
    const must = "s4d: its input must be as wide as hiddenSize=3, got ";
    expect(() => create({ inputSize: 4 })).toThrow(
      expect.objectContaining({ code: "E_CONFIG", message: `${must}4; two directions take one layer only` }),
    );
    expect(() => create({ bidirectional: true, numLayers: 2 })).toThrow(
      expect.objectContaining({ code: "E_CONFIG", message: `${must}2 × 3; two directions take one layer only` }),
    );
    create({ bidirectional: true }).dispose();
  });
});

// Mamba's cell: against PyTorch's numbers and the mixer of transformers, in parts, and what it begins from.
import { afterAll, describe, expect, it } from "vitest";
import { mambaCell } from "../../src/kernels/mamba.ts";
import { selectiveScan } from "../../src/kernels/selective-scan.ts";
import { initialValues } from "../../src/models/parameters.ts";
import { Recurrent } from "../../src/models/recurrent.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { sizeOf } from "../../src/runtime/tensor.ts";
import { worstTensor } from "../../src/training/check/comparisons.ts";
import fixtures from "../fixtures/mamba.json";
import { draw } from "../fixtures/read.ts";
import { dispatchesOf } from "../cells/dispatches.ts";

const device = await openDevice({ prefer: "cpu", precision: "float64" });
afterAll(() => device.dispose());
const cell = "mamba";

type Arrays = Record<string, Float64Array>;
type Fixture = Omit<(typeof fixtures.cases)[number], "results">;
type Results = Record<string, ArrayLike<number>>;

const layerOf = ({ hiddenSize, stateSize, timeStepRank }: Fixture): Recurrent =>
  Recurrent.create(device, { cell, inputSize: hiddenSize, hiddenSize, stateSize, timeStepRank });

const weightsOf = ({ number, hiddenSize: H, stateSize: N, timeStepRank: R }: Fixture): Arrays => ({
  "x_proj.weight_l0": draw(number, 0, (R + 2 * N) * H),
  "dt_proj.weight_l0": draw(number, 1, H * R),
  "dt_proj.bias_l0": draw(number, 2, H).map((u) => u - 1),
  A_log_l0: draw(number, 3, H * N).map((u, i) => u + Math.log((i % N) + 1)),
  D_l0: draw(number, 4, H),
});

/** A case's results here; `spoil` is given its weights, its input and its initial state, to change them. */
async function resultsOf(each: Fixture, spoil?: (weights: Arrays, x: Float64Array, h0: Float64Array) => void): Promise<Results> {
  const { number, T, B, hiddenSize: H, stateSize: N } = each;
  const layer = layerOf(each);
  const weights = weightsOf(each);
  const [x, h0] = [draw(number, 100, T * B * H), draw(number, 101, B * H * N)];
  spoil?.(weights, x, h0);
  layer.loadStateDict(weights);
  const { output, hN } = await layer.forward(x, { T, B, h0 });
  const { dx, dh0, gradients } = await layer.backward(draw(number, 103, T * B * H), { dhN: draw(number, 104, B * H * N) });
  layer.dispose();
  return { output, hN, dx, dh0, ...gradients };
}

describe("PyTorch's numbers to 1e-12", () => {
  it.each(fixtures.cases)(
    "are those of T=$T B=$B H=$hiddenSize N=$stateSize R=$timeStepRank",
    async ({ results: wanted, ...each }) => {
      const results = await resultsOf(each);
      expect(Object.keys(results).sort()).toEqual(Object.keys(wanted).sort());
      const { error, tensor } = worstTensor(results, wanted as Results);
      expect(error, tensor).toBeLessThan(1e-12);
    },
  );

  const [R, N, H] = [2, 4, 3];
  const swap = (values: Float64Array, from: number, to: number, length: number): void => {
    const first = values.slice(from, from + length);
    values.copyWithin(from, to, to + length);
    values.set(first, to);
  };
  it.each<[string, (weights: Arrays, x: Float64Array, h0: Float64Array) => void]>([
    ["no D", ({ D_l0 }) => D_l0!.fill(0)],
    ["C for B and B for C", ({ "x_proj.weight_l0": w }) => swap(w!, R * H, (R + N) * H, N * H)],
    ["one state's A for another's", ({ A_log_l0 }) => swap(A_log_l0!, 0, 1, 1)],
    ["no bias of Δ", ({ "dt_proj.bias_l0": bias }) => bias!.fill(0)],
    ["steps from the end", (_, x) => x.set(Array.from(x, (_x, i) => x.at(-1 - i)!))],
    ["no initial state", (_, __, h0) => h0.fill(0)],
  ])("are not those of %s", async (_, spoil) => {
    const { results: wanted, ...each } = fixtures.cases[1]!;
    expect(worstTensor(await resultsOf(each, spoil), wanted as Results).error).toBeGreaterThan(1e-2);
  });
});

it("is what transformers' mixer computes in float32 from a state of zero, to 1e-6", async () => {
  const { results, ...each } = fixtures.mixer;
  const layer = layerOf(each);
  const weights = Object.entries(weightsOf(each)).map(([name, values]) => [name, Float32Array.from(values)] as const);
  layer.loadStateDict(Object.fromEntries(weights));
  const { output } = await layer.forward(results.x, { T: each.T, B: each.B });
  layer.dispose();
  expect(worstTensor({ output }, { output: results.output }).error).toBeLessThan(1e-6);
});

describe("the scan in parts", () => {
  const each = selectiveScan.forward.cases().find(({ params }) => params.T === 65 && params.H === 65)!;
  const back = selectiveScan.backward.cases().find(({ params }) => params.T === 65 && params.H === 65)!;
  const made = ({ tensors }: typeof each): Arrays =>
    Object.fromEntries(
      Object.entries(tensors).map(([name, { shape }], i) => {
        // As many as there are with all padding. What stands for Δ is positive, and for A negative.
        const sign = name === "delta" ? 1 : name === "layer" ? -1 : undefined;
        const values = draw(7, i, sizeOf(shape) + 4 * sizeOf(shape.slice(0, -1)));
        return [name, sign ? values.map((v) => sign * Math.abs(v)) : values];
      }),
    );

  it("gives bit for bit what it gives at once, forward from any step to any", () => {
    type Bound = Parameters<typeof selectiveScan.forward.reference>;
    const run = (counts: readonly number[]): Arrays => {
      const arrays = made(each);
      let t = 0;
      for (const count of counts) {
        selectiveScan.forward.reference(arrays as Bound[0], { ...(each.params as Bound[1]), t, count });
        t += count;
      }
      return arrays;
    };
    expect(run([1, 2, 5, 30, 27])).toEqual(run([65]));
  });

  it("gives bit for bit what it gives at once, backward from a multiple of eight steps to another", () => {
    type Bound = Parameters<typeof selectiveScan.backward.reference>;
    const run = (counts: readonly number[]): Arrays => {
      const arrays = made(back);
      let t = 64;
      for (const count of counts) {
        selectiveScan.backward.reference(arrays as Bound[0], { ...(back.params as Bound[1]), t, count });
        t -= count;
      }
      return arrays;
    };
    expect(run([1, 24, 40])).toEqual(run([65]));
  });

  it("has as many dispatches for many steps as for few, until one would hold too much work", () => {
    expect(dispatchesOf(mambaCell, 64, 4)).toHaveLength(13);
    expect(dispatchesOf(mambaCell, 4096, 4)).toHaveLength(13);
    const [T, all] = [8191, dispatchesOf(mambaCell, 8191, 1024)];
    const stepsOf = (entry: string) =>
      all
        .filter((command) => command.entry.kernel === "selective-scan" && command.entry.name === entry)
        .map(({ params }) => [params.t!, params.count!] as const);
    const [forward, backward] = [stepsOf("forward"), stepsOf("backward")];
    expect(forward.length).toBeGreaterThan(1);
    expect(forward.flatMap(([t, count]) => Array.from({ length: count }, (_, i) => t + i))).toEqual(
      Array.from({ length: T }, (_, t) => t),
    );
    expect(backward.flatMap(([t, count]) => Array.from({ length: count }, (_, i) => t - i))).toEqual(
      Array.from({ length: T }, (_, t) => T - 1 - t),
    );
    for (const [t] of backward.slice(1)) expect((t + 1) % 8).toBe(0);
    for (const { work } of all.filter(({ entry }) => entry.kernel === "selective-scan")) expect(work).toBeLessThanOrEqual(1e9);
  });
});

it("takes an input that is as wide as its output only, and says so", () => {
  expect(() => Recurrent.create(device, { cell, inputSize: 3, hiddenSize: 5 })).toThrow(
    "mamba: its input must be as wide as hiddenSize=5, got 3; two directions take one layer only",
  );
});

describe("its parameters", () => {
  const [H, N] = [400, 16];
  const specs = Object.fromEntries(mambaCell.parameters({ hiddenSize: H }, [H]).map((spec) => [spec.name, spec]));
  const values = (name: string): Float32Array => initialValues(specs[name]!, 3, 0);

  it("begin as Mamba's: A = −1 to −N, Δ log-uniform from 0.001 to 0.1, D = 1", () => {
    expect([...values("A_log").subarray(N, 2 * N)]).toEqual(Array.from({ length: N }, (_, n) => Math.fround(Math.log(n + 1))));
    expect(new Set(values("D"))).toEqual(new Set([1]));
    const logs = [...values("dt_proj.bias")].map((v) => Math.log(Math.log1p(Math.exp(v)))).sort((a, b) => a - b);
    expect(logs[0]).toBeGreaterThanOrEqual(Math.log(1e-3) - 1e-4);
    expect(logs.at(-1)).toBeLessThanOrEqual(Math.log(0.1) + 1e-4);
    // Quartiles of a uniform distribution.
    for (const q of [0.25, 0.5, 0.75]) expect((logs[q * H]! - Math.log(1e-3)) / Math.log(100)).toBeCloseTo(q, 1);
    // R = 25.
    const dt = values("dt_proj.weight");
    expect(dt).toHaveLength(H * 25);
    expect(Math.max(...dt)).toBeLessThanOrEqual(0.2);
    expect(Math.max(...dt)).toBeGreaterThan(0.19);
    const projection = values("x_proj.weight");
    expect(Math.sqrt(projection.reduce((sum, v) => sum + v * v, 0) / projection.length)).toBeCloseTo(0.1, 2);
  });

  it("have a rank of Δ of a sixteenth of the block's width, where they stand in one", () => {
    const inBlock = mambaCell.parameters({ hiddenSize: 96, blockSize: 49 }, [96]);
    expect(inBlock.find(({ name }) => name === "dt_proj.weight")!.shape).toEqual([96, 4]);
  });

  it("decay only where they are weights: not A_log and D", () => {
    const still = Object.values(specs).filter(({ decay }) => decay === false);
    expect(still.map(({ name }) => name)).toEqual(["A_log", "D"]);
  });
});

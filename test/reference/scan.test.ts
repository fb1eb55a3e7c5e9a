// Cells that are scans: against PyTorch's numbers, in every form, and where gates leave the numbers there are.
import { afterAll, describe, expect, it, vi } from "vitest";
import { minGru, minGruCell } from "../../src/kernels/min-gru.ts";
import { minLstm, minLstmCell } from "../../src/kernels/min-lstm.ts";
import { type CellName } from "../../src/models/cells.ts";
import { Recurrent } from "../../src/models/recurrent.ts";
import { fraction, randomWord } from "../../src/random.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { Recorder, type DispatchCommand } from "../../src/runtime/recorder.ts";
import { sizeOf } from "../../src/runtime/tensor.ts";
import { worstTensor } from "../../src/training/check/comparisons.ts";
import { draw } from "../fixtures/read.ts";
import fixtures from "../fixtures/scan.json";

const device = await openDevice({ prefer: "cpu", precision: "float64" });
afterAll(() => device.dispose());
const CELLS = [minGruCell, minLstmCell] as const;
const NAMES = ["min-gru", "min-lstm"] as string[] as CellName[];

type Results = Record<string, ArrayLike<number>>;
type Arrays = Record<string, Float64Array>;
type Fixture = (typeof fixtures.cases)[number];

/** A case's results here; `spoil` is given its weights and its input, to change them. */
async function resultsOf(
  { number, cell, T, B, hiddenSize: H, inputSize, wide }: Fixture,
  spoil?: (weights: Arrays, x: Float64Array) => void,
): Promise<Results> {
  const layer = Recurrent.create(device, { cell: cell as CellName, inputSize, hiddenSize: H });
  const weights: Arrays = Object.fromEntries(
    layer.parameters.specs.map(({ name, shape }, p) => [
      name,
      draw(number, p, sizeOf(shape)).map((w) => (p === 0 ? wide * w : w)),
    ]),
  );
  const x = draw(number, 100, T * B * inputSize);
  spoil?.(weights, x);
  layer.loadStateDict(weights);
  const h0 = draw(number, 101, B * H).map((h) => h / 2 + 0.75);
  const { output, hN } = await layer.forward(x, { T, B, h0 });
  const { dx, dh0, gradients } = await layer.backward(draw(number, 103, T * B * H), { dhN: draw(number, 104, B * H) });
  layer.dispose();
  return { output, hN, dx, dh0, ...gradients };
}

describe("PyTorch's numbers, step by step and in log space, to 1e-12", () => {
  it.each(fixtures.cases)("are those of $cell with T=$T B=$B H=$hiddenSize, weights up to $wide", async (each) => {
    const results = await resultsOf(each);
    expect(Object.keys(results).sort()).toEqual(Object.keys(each.results).sort());
    const { error, tensor } = worstTensor(results, each.results);
    expect(error, tensor).toBeLessThan(1e-12);
  });

  it.each(fixtures.cases.filter(({ T }) => T === 17))("are not those of a $cell", async (each) => {
    const gates = each.cell === "min-gru" ? 2 : 3;
    const part = each.results.weight_ih_l0.length / gates;
    const spoils: Record<string, (weights: Arrays, x: Float64Array) => void> = {
      "whose gates are swapped": ({ weight_ih_l0: w }) => w!.set([...w!.slice(part, 2 * part), ...w!.slice(0, part)]),
      "whose z stands for 1 − z, or whose f′ does": ({ weight_ih_l0: w, bias_ih_l0: b }) => {
        for (const values of [w!, b!]) {
          const part = values.length / gates;
          if (gates === 2) values.subarray(part).forEach((z, i) => (values[part + i] = -z));
          else values.set([...values.subarray(2 * part), ...values.subarray(part, 2 * part)], part);
        }
      },
      "that is read from the end": (_, x) => x.set(x.map((_, i) => x[x.length - 1 - i]!)),
      "without a bias": ({ bias_ih_l0: b }) => b!.fill(0),
    };
    for (const [fault, spoil] of Object.entries(spoils)) {
      expect(worstTensor(await resultsOf(each, spoil), each.results).error, fault).toBeGreaterThan(1e-2);
    }
  });
});

const KERNELS = { "min-gru": minGru, "min-lstm": minLstm } as const;

describe.each(Object.entries(KERNELS))("%s, in float64,", (name, kernel) => {
  const [B, H, T, W] = [2, 5, 70, 8];
  const G = name === "min-gru" ? 2 : 3;
  const filled = (stream: number, length: number): Float64Array =>
    Float64Array.from({ length }, (_, i) => 4 * fraction(randomWord(5, stream, i, 0)) - 2);
  const [sums, h, dOutput, dH] = [filled(0, T * B * G * W), filled(1, (T + 1) * B * W), filled(2, T * B * W), filled(3, B * W)];
  const params = (t: number, count: number, chunk: number) => ({ B, H, t, count, chunk });
  const none = new Float64Array(4);

  const forward = (run: (arrays: { gates: Float64Array; h: Float64Array }) => void) => {
    const arrays = { gates: sums.slice(), h: h.slice() };
    run(arrays);
    return arrays;
  };
  const whole = forward((arrays) => kernel.forward.reference({ ends: none, ...arrays }, params(0, T, T)));
  const backward = (run: (arrays: Record<"dOutput" | "savedGates" | "savedH" | "dProjection" | "dH", Float64Array>) => void) => {
    const saved = { dOutput, savedGates: whole.gates, savedH: whole.h };
    const arrays = { ...saved, dProjection: new Float64Array(T * B * G * W), dH: dH.slice() };
    run(arrays);
    return { dProjection: arrays.dProjection, dH: arrays.dH };
  };
  const wholeBack = backward((arrays) => kernel.backward.reference({ ends: none, ...arrays }, params(T - 1, T, T)));

  it("gives in parts what it gives at once", () => {
    const inParts = forward((arrays) => {
      for (let t = 0; t < T; t += 7) kernel.forward.reference({ ends: none, ...arrays }, params(t, 7, 7));
    });
    expect(inParts).toEqual(whole);
    const back = backward((arrays) => {
      for (let t = T - 1; t >= 0; t -= 7) kernel.backward.reference({ ends: none, ...arrays }, params(t, 7, 7));
    });
    expect(back).toEqual(wholeBack);
  });

  it.each([1, 7, 64, 70])("gives the same in chunks of %i steps, to 1e-12", (chunk) => {
    const ends = (): Float64Array => new Float64Array((1 + Math.ceil(T / chunk)) * B * 2 * W);
    const chunked = forward((arrays) => {
      const all = { ends: ends(), ...arrays };
      for (const form of [kernel.forwardEnds, kernel.forwardChunks]) form.reference(all, params(0, T, chunk));
    });
    expect(worstTensor(chunked, { ...whole }).error).toBeLessThan(1e-12);
    const back = backward((arrays) => {
      const all = { ends: ends(), ...arrays };
      for (const form of [kernel.backwardEnds, kernel.backwardChunks]) form.reference(all, params(T - 1, T, chunk));
    });
    expect(worstTensor(back, { ...wholeBack }).error).toBeLessThan(1e-12);
  });
});

describe.each(NAMES)("%s", (cell) => {
  it("gives one row over 1,100 steps, in chunks, what it gives that row among others, in one dispatch", async () => {
    const [T, H, many] = [1100, 3, 130];
    const layer = Recurrent.create(device, { cell, inputSize: 1, hiddenSize: H });
    const x = draw(9, 0, T);
    const dOutput = draw(9, 1, T * H);
    const record = vi.spyOn(Recorder.prototype, "choose");
    const alone = { ...(await layer.forward(x, { T, B: 1 })), ...(await layer.backward(dOutput)) };
    expect(record.mock.calls.map(([name]) => name)).toEqual([`${cell} forward of all steps`, `${cell} backward of all steps`]);
    // The same row in front; the gradients of the others' outputs are zero.
    const among = Float64Array.from({ length: T * many }, (_, i) => (i % many === 0 ? x[i / many]! : Math.sin(i)));
    const dAmong = new Float64Array(T * many * H);
    for (let t = 0; t < T; t++) dAmong.set(dOutput.subarray(t * H, (t + 1) * H), t * many * H);
    const others = { ...(await layer.forward(among, { T, B: many })), ...(await layer.backward(dAmong)) };
    expect(record).toHaveBeenCalledTimes(2);
    record.mockRestore();
    const first = (values: ArrayLike<number>, width: number): number[] =>
      Array.from({ length: T * width }, (_, i) => values[Math.floor(i / width) * many * width + (i % width)]!);
    const expected = { output: first(others.output, H), dx: first(others.dx, 1), ...others.gradients };
    const { error, tensor } = worstTensor({ output: alone.output, dx: alone.dx, ...alone.gradients }, expected);
    expect(error, tensor).toBeLessThan(1e-12);
    layer.dispose();
  });
});

/** The scans that a layer's passes record, forward and backward. */
function scansOf(cell: (typeof CELLS)[number], T: number, B: number, H: number): readonly DispatchCommand[] {
  const recorder = new Recorder({ family: "software", subgroupSize: 0 });
  const tensor = (...shape: number[]) => recorder.tensor({ name: "", shape });
  const parts = [{ tensor: tensor(T * B, 4), rows: T * B, columns: 4 }];
  const G = cell.gates.length;
  const weights = { weight_ih: tensor(G, H, 4), bias_ih: tensor(G, H) };
  const layer = cell.record(recorder, { name: "", T, B, config: { hiddenSize: H }, weights, input: { parts } });
  layer.forward.steps(0, T);
  layer.backward(recorder, { dOutput: tensor(T, B, H), inputs: parts }).steps(T - 1, T);
  return recorder.commands.flatMap((c) => (c.kind === "dispatch" && c.entry.kernel.startsWith("min-") ? [c] : []));
}

describe.each(CELLS)("the scans of $gates", (cell) => {
  it("are one a direction for 64 steps and for 4,096, or two where lanes are few", () => {
    const names = (T: number, H: number): string[] => scansOf(cell, T, 1, H).map(({ entry }) => entry.name);
    expect(names(64, 160)).toEqual(["forward", "backward"]);
    expect(names(4096, 160)).toEqual(["forward", "backward"]);
    expect(names(64, 8)).toEqual(["forward", "backward"]);
    expect(names(4096, 8)).toEqual(["forwardEnds", "forwardChunks", "backwardEnds", "backwardChunks"]);
  });

  it("are cut where they are too much for one dispatch, and follow each other", () => {
    const T = 1000;
    const scans = scansOf(cell, T, 64, 1024);
    for (const { work } of scans) expect(work).toBeLessThanOrEqual(2.5e8);
    for (const [name, direction, first, after] of [
      ["forward", 1, 0, T],
      ["backward", -1, T - 1, -1],
    ] as const) {
      const parts = scans.filter(({ entry }) => entry.name === name).map(({ params }) => params);
      expect(parts.length).toBeGreaterThan(4);
      expect(parts.reduce((t, part) => (expect(part.t).toBe(t), t + direction * part.count!), first)).toBe(after);
    }
  });
});

describe("the forget gate of min-lstm", () => {
  const gatesOf = (f: number, i: number): Readonly<Record<string, Float64Array>> =>
    minLstmCell.step({ hiddenSize: 1 }, { weight_ih: [0, 0, 0], bias_ih: [1, f, i] }, [0], { h: [3] });

  it.each([
    [0, 0, 1 / 2],
    [-1000, -1000, 1 / 2],
    [1000, 1000, 1 / 2],
    [-1000, -1001, 1 / (1 + Math.exp(-1))],
    [-1001, -1000, 1 / (1 + Math.E)],
    [-Infinity, 0, 0],
    [0, -Infinity, 1],
    [2, -1, (1 + Math.E) / (2 + Math.E + Math.exp(-2))],
  ])("of %f and %f is their share", (f, i, share) => {
    const { "f′": found, h } = gatesOf(f, i);
    expect(found![0]!).toBeCloseTo(share, 14);
    expect(h![0]!).toBeCloseTo(3 * share + 1.5 * (1 - share), 14);
  });

  it("is not a number where one of them is not", () => {
    expect([gatesOf(NaN, 0), gatesOf(0, NaN)].map((gates) => gates["f′"]![0])).toEqual([NaN, NaN]);
  });
});

it("the candidate is u + ½ from zero on, and a sigmoid below", () => {
  const candidateOf = (u: number): number =>
    minGruCell.step({ hiddenSize: 1 }, { weight_ih: [0, 0], bias_ih: [u, 0] }, [0], { h: [0] }).g![0]!;
  expect([0, 2, -1000].map(candidateOf)).toEqual([0.5, 2.5, 0]);
  expect(candidateOf(-1)).toBeCloseTo(1 / (1 + Math.E), 15);
});

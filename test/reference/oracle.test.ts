// Whole training runs against the oracle, which shares nothing with the product but the formulas: every event and the
// parameters at the end.
import { afterAll, describe, expect, it } from "vitest";
import { LanguageModel } from "../../src/models/language-model.ts";
import { Recurrent } from "../../src/models/recurrent.ts";
import { CpuDevice } from "../../src/runtime/cpu-device.ts";
import type { Device } from "../../src/runtime/device.ts";
import { openDevice } from "../../src/runtime/open.ts";
import type { TrainingEvent } from "../../src/training/events.ts";
import { OPTIMIZER_NAMES } from "../../src/training/optimizers.ts";
import { SCHEDULES } from "../../src/training/schedule.ts";
import { Trainer } from "../../src/training/trainer.ts";
import { initial, initialParameters, train, type OracleEvent, type OracleOptions, type Values } from "./oracle.ts";

const cpu = await openDevice({ prefer: "cpu", precision: "float64" });
afterAll(() => cpu.dispose());

const BASE: OracleOptions = {
  cell: "lstm",
  resetAfter: true,
  nonlinearity: "tanh",
  input: "embedding",
  vocabSize: 7,
  embeddingSize: 3,
  hiddenSize: 5,
  numLayers: 1,
  dropout: 0,
  batchSize: 3,
  seqLen: 6,
  loss: "all",
  state: "carry",
  optimizer: "adam",
  learningRate: 0.03,
  momentum: 0,
  weightDecay: 0,
  schedule: "constant",
  warmupSteps: 0,
  totalSteps: 12,
  clip: 0,
  valFraction: 0.25,
  seed: 9,
  evalInterval: 4,
};

/** A text whose last part is of another kind than its first. */
const textOf = (length: number, vocabSize: number): Uint32Array =>
  Uint32Array.from({ length }, (_, i) => (i < length / 2 ? (i * i + (i >> 3)) % vocabSize : (3 * i + (i >> 2)) % vocabSize));

/** The events of a run that have numbers of their own. */
const numbersOf = (events: readonly TrainingEvent[]): OracleEvent[] =>
  events.flatMap((event): OracleEvent[] => {
    if (event.event === "step") {
      const { step, loss, learningRate, gradNorm } = event;
      return [{ event: "step", step, loss, learningRate, gradNorm }];
    }
    if (event.event !== "eval") return [];
    const { step, valLoss, valBitsPerToken, valBpc, valAccuracy, best } = event;
    return [{ event: "eval", step, valLoss, valBitsPerToken, valBpc: valBpc!, valAccuracy, best }];
  });

interface Run {
  readonly events: readonly TrainingEvent[];
  readonly parameters: Readonly<Record<string, ArrayLike<number>>>;
  readonly trainer: Trainer;
}

async function trained(device: Device, o: OracleOptions, values: Values, tokens: Uint32Array, steps: number): Promise<Run> {
  const { cell, resetAfter, nonlinearity, input, vocabSize, embeddingSize, hiddenSize, numLayers, dropout, ...rest } = o;
  const model = LanguageModel.create(device, {
    cell,
    resetAfter,
    nonlinearity,
    input,
    vocabSize,
    embeddingSize,
    hiddenSize,
    numLayers,
    dropout,
    seed: 1000,
  });
  model.loadStateDict(values);
  const trainer = Trainer.create(model, tokens, { ...rest, logInterval: 1, sampleInterval: 0, checkpointInterval: 0 });
  const events: TrainingEvent[] = [];
  for await (const event of trainer.run({ maxSteps: steps })) events.push(event);
  const parameters = await model.stateDict();
  trainer.dispose();
  model.dispose();
  return { events, parameters, trainer };
}

/** Trains on the device and by the oracle, and compares all that is told. Returns the oracle's events. */
async function expectOracle(
  changes: Partial<OracleOptions>,
  { device = cpu, steps = 12, length = 400 }: { device?: Device; steps?: number; length?: number } = {},
): Promise<readonly OracleEvent[]> {
  const o = { ...BASE, ...changes };
  const tokens = textOf(length, o.vocabSize);
  const values = initialParameters(o, o.seed + 1);
  const { events, parameters, trainer } = await trained(device, o, values, tokens, steps);
  const start = structuredClone(values);
  const wanted = train(o, values, tokens, steps);

  const found = numbersOf(events);
  expect(found.map(({ event, step }) => `${event} ${step}`)).toEqual(wanted.map(({ event, step }) => `${event} ${step}`));
  found.forEach((event, i) => {
    for (const [name, value] of Object.entries(wanted[i]!)) {
      const got = event[name as keyof OracleEvent] as unknown;
      const where = `${name} of ${event.event} ${event.step}`;
      // The device has the learning rate and Adam's corrections in float32.
      if (typeof value === "number") expect(Math.abs((got as number) - value), where).toBeLessThanOrEqual(1e-6 * Math.abs(value));
      else expect(got, where).toBe(value);
    }
  });
  expect(Object.keys(parameters)).toEqual(Object.keys(values));
  for (const [name, expected] of Object.entries(values)) {
    const error = Math.hypot(...expected.map((x, i) => x - parameters[name]![i]!));
    expect(error / Math.hypot(...expected), name).toBeLessThan(1e-5);
    // It moved by more than the comparison would overlook.
    expect(Math.hypot(...expected.map((x, i) => x - start[name]![i]!)) / Math.hypot(...expected), name).toBeGreaterThan(1e-3);
  }

  const val = Math.floor(length * o.valFraction);
  expect(events[0]).toMatchObject({
    event: "start",
    step: 0,
    trainTokens: length - val,
    valTokens: val,
    parameters: Object.values(values).reduce((sum, { length: n }) => sum + n, 0),
  });
  const losses = wanted.flatMap((event) => (event.event === "step" ? [event.loss] : []));
  const valLosses = wanted.flatMap((event) => (event.event === "eval" ? [event.valLoss] : []));
  const end = events.at(-1)!;
  expect(end).toMatchObject({ event: "end", step: steps, reason: "done" });
  if (end.event === "end") {
    expect(end.loss).toBeCloseTo(losses.at(-1)!, 5);
    if (valLosses.length > 0) expect(end.bestValLoss).toBeCloseTo(Math.min(...valLosses), 5);
    else expect(end).not.toHaveProperty("bestValLoss");
  }
  expect(trainer.step).toBe(steps);
  return wanted;
}

describe("a run is the oracle's, event by event, and so are its parameters:", () => {
  const cells = {
    "tanh rnn": { cell: "rnn" },
    "relu rnn": { cell: "rnn", nonlinearity: "relu" },
    gru: { cell: "gru" },
    "gru, reset before the product": { cell: "gru", resetAfter: false },
    lstm: { cell: "lstm" },
  } as const satisfies Record<string, Partial<OracleOptions>>;
  for (const [name, cell] of Object.entries(cells)) {
    for (const input of ["embedding", "one-hot"] as const) it(`${name}, ${input}`, () => expectOracle({ ...cell, input }));
    it(`${name}, three layers with dropout`, () => expectOracle({ ...cell, numLayers: 3, dropout: 0.3 }));
    it(`${name}, two layers, the last step's loss, random windows`, () =>
      expectOracle({ ...cell, numLayers: 2, loss: "last", state: "zero" }));
    it(`${name}, a vocabulary larger than the batch`, () => expectOracle({ ...cell, vocabSize: 23 }));
  }

  for (const optimizer of OPTIMIZER_NAMES) {
    it(`${optimizer} with weight decay and a clip that bites`, async () => {
      const learningRate = { adam: 0.03, adamw: 0.03, rmsprop: 0.01, sgd: 0.5 }[optimizer];
      const momentum = optimizer === "sgd" ? 0.9 : 0;
      const events = await expectOracle({ optimizer, learningRate, momentum, weightDecay: 0.05, clip: 0.2 });
      const norms = events.flatMap((event) => (event.event === "step" ? [event.gradNorm] : []));
      expect(Math.max(...norms)).toBeGreaterThan(0.2);
      expect(Math.min(...norms)).toBeLessThan(0.2);
    });
  }
  it("plain sgd", () => expectOracle({ optimizer: "sgd", learningRate: 0.5 }));

  for (const schedule of SCHEDULES) {
    it(`${schedule} schedule after a warm-up, past its end`, async () => {
      const events = await expectOracle({ schedule, warmupSteps: 3, totalSteps: 10 }, { steps: 13 });
      const rates = events.flatMap((event) => (event.event === "step" ? [event.learningRate] : []));
      expect(rates.slice(0, 3)).toEqual([0.01, 0.02, 0.03].map((rate) => expect.closeTo(rate, 12)));
    });
  }

  it("the carried state goes over from window to window and starts anew with the text", () =>
    // 5 windows an epoch.
    expectOracle({ valFraction: 0 }, { length: 3 * 6 * 5 + 4 }));

  it("without a validation part there is no evaluation", async () => {
    const events = await expectOracle({ valFraction: 0 });
    expect(events.every(({ event }) => event === "step")).toBe(true);
  });

  it("a validation part of several streams, whose last windows are not full", () =>
    expectOracle({ valFraction: 0.5, evalInterval: 6, batchSize: 5, seqLen: 7, dropout: 0.2, numLayers: 2 }, { length: 6300 }));

  it("a validation part one token short of a second stream", () =>
    expectOracle({ valFraction: 0.5, evalInterval: 12 }, { length: 2 * 2047 }));

  it("a validation part shorter than a window", () => expectOracle({ valFraction: 0.012, seqLen: 9 }));

  it("the best evaluation is the lowest so far, not the last", async () => {
    const events = await expectOracle({ learningRate: 0.3, evalInterval: 1 });
    const best = events.flatMap((event) => (event.event === "eval" ? [event.best] : []));
    expect(best[0]).toBe(true);
    expect(best.slice(1)).toContain(true);
    expect(best.slice(best.lastIndexOf(true))).toContain(false);
  });

  it("more parameters than one workgroup adds up the squares of", () =>
    // 206,420 of them; 131,072 is the limit.
    expectOracle(
      { hiddenSize: 150, embeddingSize: 100, vocabSize: 220, batchSize: 2, seqLen: 4, clip: 0.5, evalInterval: 0 },
      { steps: 2 },
    ));

  it("everything at once", () =>
    expectOracle(
      {
        cell: "gru",
        numLayers: 3,
        dropout: 0.2,
        optimizer: "adamw",
        weightDecay: 0.1,
        clip: 0.3,
        schedule: "cosine",
        warmupSteps: 4,
        totalSteps: 20,
        evalInterval: 5,
        batchSize: 4,
      },
      { steps: 18, length: 700 },
    ));
});

/** Runs the references, but is recorded as a GPU is: products in slices and row blocks, other choices. */
class GpuFamily extends CpuDevice {
  override readonly family = "gpu" as never;
}

describe("what only GPUs are given is recorded rightly, by the references:", () => {
  const gpu = new GpuFamily("float64");
  afterAll(() => gpu.dispose());

  for (const [name, changes] of Object.entries({
    "lstm of two layers": { cell: "lstm", numLayers: 2 },
    gru: { cell: "gru" },
    "gru, reset before the product, of two layers": { cell: "gru", resetAfter: false, numLayers: 2 },
    "one-hot rnn": { cell: "rnn", input: "one-hot" },
  } as const satisfies Record<string, Partial<OracleOptions>>)) {
    // T·B = 1,040 = K of the weights' gradients: eight slices, the last of them shorter.
    it(`a ${name} whose weights' gradients are sums of slices`, () =>
      expectOracle({ ...changes, batchSize: 26, seqLen: 40, evalInterval: 2 }, { device: gpu, steps: 3, length: 3000 }));
  }
});

describe("initial weights come from the documented streams, one of its own for each tensor:", () => {
  for (const [name, changes] of Object.entries({
    "lstm of two layers": { cell: "lstm", numLayers: 2 },
    "one-hot gru": { cell: "gru", input: "one-hot" },
  } as const satisfies Record<string, Partial<OracleOptions>>)) {
    it(`a language model, ${name}`, async () => {
      const o: OracleOptions = { ...BASE, ...changes };
      const { cell, input, vocabSize, embeddingSize, hiddenSize, numLayers } = o;
      const model = LanguageModel.create(cpu, { cell, input, vocabSize, embeddingSize, hiddenSize, numLayers, seed: 77 });
      const values = await model.stateDict();
      const wanted = initialParameters(o, 77);
      expect(Object.keys(values)).toEqual(Object.keys(wanted));
      for (const [tensor, expected] of Object.entries(wanted))
        expect(Array.from(values[tensor]!), tensor).toEqual(Array.from(expected));
      model.dispose();
    });
  }

  it("a layer of two directions", async () => {
    const [inputSize, H] = [3, 4];
    const layer = Recurrent.create(cpu, { cell: "gru", inputSize, hiddenSize: H, numLayers: 2, bidirectional: true, seed: 5 });
    const shapes = ["l0", "l0_reverse", "l1", "l1_reverse"].flatMap((suffix): [string, number][] => [
      [`weight_ih_${suffix}`, 3 * H * (suffix.startsWith("l0") ? inputSize : 2 * H)],
      [`weight_hh_${suffix}`, 3 * H * H],
      [`bias_ih_${suffix}`, 3 * H],
      [`bias_hh_${suffix}`, 3 * H],
    ]);
    const values = await layer.stateDict();
    expect(Object.keys(values)).toEqual(shapes.map(([name]) => name));
    shapes.forEach(([name, size], i) =>
      expect(Array.from(values[name]!), name).toEqual(Array.from(initial(size, 5, i, 1 / Math.sqrt(H)))),
    );
    layer.dispose();
  });
});

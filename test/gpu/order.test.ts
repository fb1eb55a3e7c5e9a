// Calls that overlap on one object: each gets the answer that it would get alone.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CharTokenizer } from "../../src/data/tokenizer.ts";
import { LanguageModel } from "../../src/models/language-model.ts";
import { Recurrent } from "../../src/models/recurrent.ts";
import type { Device } from "../../src/runtime/device.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { loadCheckpoint, saveCheckpoint } from "../../src/training/checkpoint.ts";
import type { EvalEvent, StepEvent, TrainingEvent } from "../../src/training/events.ts";
import { Trainer, type TrainerOptions } from "../../src/training/trainer.ts";
import { testDevice } from "./device.ts";

const devices: Record<string, Device> = {};
beforeAll(async () => {
  devices.GPU = await testDevice();
  devices.CPU = await openDevice({ prefer: "cpu" });
});
afterAll(() => Object.values(devices).forEach((device) => device.dispose()));

const TEXT = "a rose is a rose is a rose; is it not? ".repeat(12);
const tokenizer = CharTokenizer.fromText(TEXT);

describe.each(["GPU", "CPU"])("on the %s", (where) => {
  /** h = tanh(w·x), one unit that remembers nothing: its answers can be told by hand. */
  function makeLayer(w = 1): Recurrent {
    const layer = Recurrent.create(devices[where]!, { cell: "rnn", inputSize: 1, hiddenSize: 1, bias: false });
    layer.loadStateDict(weights(w));
    return layer;
  }
  const weights = (w: number): Record<string, number[]> => ({ weight_ih_l0: [w], weight_hh_l0: [0] });
  const one = { T: 1, B: 1 };
  const near = (values: ArrayLike<number>, expected: readonly number[]): void => {
    expect(values).toHaveLength(expected.length);
    expected.forEach((value, i) => expect(values[i]).toBeCloseTo(value, 5));
  };

  it("forward passes of one layer, of any length, give each its own output", async () => {
    const layer = makeLayer();
    await layer.forward([0], one);
    const [a, b, c] = await Promise.all([
      layer.forward([1], one),
      layer.forward([-1], one),
      layer.forward([0.5, -2], { T: 2, B: 1 }),
    ]);
    near(a.output, [0.7615941559557649]);
    near(b.output, [-0.7615941559557649]);
    near(c.output, [Math.tanh(0.5), -0.9640275800758169]);
    layer.dispose();
  });

  it("steps of two streams, and a batch of both, give each its own state", async () => {
    const layer = makeLayer();
    await layer.step([0], { B: 1 });
    const answers = await Promise.all([
      layer.step([1], { B: 1 }),
      layer.step([-1], { B: 1 }),
      layer.step([0.5, -0.5], { B: 2 }),
      layer.step([2], { B: 1, h: [0.3] }),
    ]);
    near(answers[0].h, [0.7615941559557649]);
    near(answers[1].h, [-0.7615941559557649]);
    near(answers[2].h, [Math.tanh(0.5), -Math.tanh(0.5)]);
    near(answers[3].h, [0.9640275800758169]);
    layer.dispose();
  });

  it("a backward pass belongs to the forward pass that was called last before it", async () => {
    const layer = makeLayer(2);
    // dx = w · (1 − tanh²(w·x)), dw = x · (1 − tanh²(w·x)).
    const [, , ofB, , ofC] = await Promise.all([
      layer.forward([1], one),
      layer.forward([0.25], one),
      layer.backward([1]),
      layer.forward([-1], one),
      layer.backward([1]),
    ]);
    near(ofB.dx, [2 * 0.7864477329659274]);
    near(ofB.gradients.weight_ih_l0!, [0.25 * 0.7864477329659274]);
    near(ofC.dx, [2 * 0.07065082485316443]);
    near(ofC.gradients.weight_ih_l0!, [-0.07065082485316443]);
    layer.dispose();
  });

  it("a call reads its arrays when it is made, whatever becomes of them", async () => {
    const layer = makeLayer();
    const [x, dOutput, given] = [Float32Array.of(1), [1], weights(2)];
    const first = layer.forward(x, one);
    x[0] = -1;
    const gradient = layer.backward(dOutput);
    dOutput[0] = 7;
    layer.loadStateDict(given);
    given.weight_ih_l0![0] = 9;
    const second = layer.forward(x, one);
    near((await first).output, [0.7615941559557649]);
    near((await gradient).dx, [0.41997434161402614]);
    near((await second).output, [-0.9640275800758169]);
    layer.dispose();
  });

  it("new weights serve later calls only, and a forward pass with others cannot be gone back from", async () => {
    const layer = makeLayer();
    const first = layer.forward([1], one);
    layer.loadStateDict(weights(2));
    const mixed = layer.backward([1]);
    const second = layer.forward([1], one);
    near((await first).output, [0.7615941559557649]);
    await expect(mixed).rejects.toMatchObject({ code: "E_CONFIG", message: expect.stringContaining("weights have changed") });
    near((await second).output, [0.9640275800758169]);
    near((await layer.backward([1])).dx, [2 * 0.07065082485316443]);
    layer.dispose();
  });

  it("first calls at once, and calls that dispose cuts short, leave no buffer behind", async () => {
    const device = devices[where]!;
    const calls = (layer: Recurrent): readonly Promise<unknown>[] => [
      layer.forward([1], one),
      layer.backward([1]),
      layer.forward([1, 2], { T: 2, B: 1 }),
      layer.step([1], { B: 1 }),
      layer.step([1, 2], { B: 2 }),
      layer.stateDict(),
    ];
    const quiet = makeLayer();
    for (const call of calls(quiet)) await call;
    quiet.dispose();
    const before = device.memory();
    const layer = makeLayer();
    await Promise.all(calls(layer));
    layer.dispose();
    expect(device.memory()).toEqual(before);
    const cut = makeLayer();
    const answers = calls(cut);
    cut.dispose();
    for (const answer of await Promise.allSettled(answers)) {
      expect(answer).toMatchObject({ status: "rejected", reason: { code: "E_DISPOSED" } });
    }
    const midst = makeLayer();
    const [first, second] = [midst.forward([1], one), midst.forward([2], one)];
    await Promise.resolve().then(() => {});
    midst.dispose();
    near((await first).output, [0.7615941559557649]);
    await expect(second).rejects.toMatchObject({ code: "E_DISPOSED" });
    expect(device.memory()).toEqual(before);
  });

  function makeTrainer(options: TrainerOptions = {}): Trainer {
    const model = LanguageModel.create(devices[where]!, {
      cell: "gru",
      vocabSize: tokenizer.size,
      embeddingSize: 3,
      hiddenSize: 5,
      seed: 3,
    });
    return Trainer.create(model, tokenizer.encode(TEXT), {
      tokenizer,
      batchSize: 2,
      seqLen: 6,
      valFraction: 0.2,
      learningRate: 1e-2,
      logInterval: 1,
      evalInterval: 0,
      sampleInterval: 0,
      ...options,
    });
  }
  function dispose(trainer: Trainer): void {
    trainer.dispose();
    trainer.model.dispose();
  }
  async function stoppedAt(step: number, options?: TrainerOptions): Promise<Uint8Array> {
    const trainer = makeTrainer(options);
    for await (const _ of trainer.run({ maxSteps: step }));
    const bytes = await saveCheckpoint(trainer);
    dispose(trainer);
    return bytes;
  }
  const lossesOf = (events: readonly TrainingEvent[]): readonly number[] =>
    events.filter((event): event is StepEvent => event.event === "step").map(({ loss }) => loss);

  it("an evaluation, a sample and a reading of the caller's own change nothing of a run", async () => {
    const options = { evalInterval: 3 };
    const follow = async (busy: boolean): Promise<{ events: TrainingEvent[]; best: number }> => {
      const trainer = makeTrainer(options);
      const events: TrainingEvent[] = [];
      const asides: Promise<unknown>[] = [];
      for await (const event of trainer.run({ maxSteps: 12 })) {
        events.push(event);
        if (!busy) continue;
        asides.push(trainer.evaluate(), trainer.model.sample(tokenizer, { length: 9 }), trainer.model.stateDict());
      }
      await Promise.all(asides);
      const best = trainer.bestValLoss;
      dispose(trainer);
      return { events, best };
    };
    const [alone, beside] = [await follow(false), await follow(true)];
    expect(lossesOf(alone.events)).toHaveLength(12);
    expect(lossesOf(beside.events)).toEqual(lossesOf(alone.events));
    const evaluations = ({ events }: typeof alone) =>
      events.filter((event): event is EvalEvent => event.event === "eval").map((event) => ({ ...event, seconds: 0 }));
    expect(evaluations(alone)).toHaveLength(4);
    expect(evaluations(beside)).toEqual(evaluations(alone));
    expect(beside.best).toBe(Math.min(...evaluations(alone).map(({ valLoss }) => valLoss)));
  });

  it("a checkpoint that is saved while a run works is one step's, evaluated if that is due", async () => {
    const options = { evalInterval: 2 };
    const trainer = makeTrainer(options);
    const saves: Promise<Uint8Array>[] = [];
    for await (const event of trainer.run({ maxSteps: 9 })) if (event.event === "step") saves.push(saveCheckpoint(trainer));
    const files = await Promise.all(saves);
    expect(files).toHaveLength(9);
    for (const file of files.slice(0, 5)) {
      const { training } = loadCheckpoint(file);
      // An unbroken run evaluates at 2, 4, …; one that stops at an odd step does at its end too.
      if (training!.step % 2 === 0) expect(file).toEqual(await stoppedAt(training!.step, options));
    }
    dispose(trainer);
  });

  it("an exact run stands where its events say, so that what is saved then is of that step", async () => {
    const trainer = makeTrainer();
    let saved: Uint8Array | undefined;
    for await (const event of trainer.run({ maxSteps: 20, exact: true })) {
      if (event.event === "start") continue;
      expect(trainer.step).toBe(event.step);
      if (event.step !== 7) continue;
      saved = await saveCheckpoint(trainer);
      break;
    }
    expect(trainer.step).toBe(7);
    expect(saved).toEqual(await stoppedAt(7));
    // And the run goes on from there.
    const rest: TrainingEvent[] = [];
    for await (const event of trainer.run({ maxSteps: 10, exact: true })) rest.push(event);
    expect(rest.map((event) => event.step)).toEqual([7, 8, 9, 10, 10]);
    dispose(trainer);
  });

  it("a loop that is left early leaves the trainer at or after the event, and between two steps", async () => {
    const trainer = makeTrainer();
    for await (const event of trainer.run({ maxSteps: 20 })) if (event.event === "step" && event.step === 3) break;
    expect(trainer.step).toBeGreaterThanOrEqual(3);
    expect(await saveCheckpoint(trainer)).toEqual(await stoppedAt(trainer.step));
    dispose(trainer);
  });

  it("two runs of one trainer at once are refused, and the first goes on", async () => {
    const trainer = makeTrainer();
    const events: TrainingEvent[] = [];
    for await (const event of trainer.run({ maxSteps: 4 })) {
      events.push(event);
      const second = trainer.run({ maxSteps: 9 }).next();
      await expect(second).rejects.toMatchObject({ code: "E_CONFIG", message: expect.stringContaining("is under way") });
    }
    expect(lossesOf(events)).toHaveLength(4);
    expect(trainer.step).toBe(4);
    dispose(trainer);
  });

  it("a run whose trainer or model is disposed of ends with E_DISPOSED and leaves nothing behind", async () => {
    const device = devices[where]!;
    await stoppedAt(2);
    const before = device.memory();
    for (const end of ["trainer", "model"] as const) {
      const trainer = makeTrainer({ evalInterval: 1 });
      const run = async (): Promise<void> => {
        for await (const event of trainer.run({ maxSteps: 99 })) {
          if (event.event === "step" && event.step === 2) (end === "trainer" ? trainer : trainer.model).dispose();
        }
      };
      await expect(run()).rejects.toMatchObject({ code: "E_DISPOSED" });
      dispose(trainer);
      await device.finish();
      expect(device.memory().bytes - before.bytes, "but for the ring of read-backs").toBeLessThanOrEqual(
        where === "CPU" ? 0 : 4096,
      );
    }
  });
});

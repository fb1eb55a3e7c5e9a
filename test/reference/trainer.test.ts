// What a run does when something goes wrong in the middle of it.
import { afterAll, describe, expect, it } from "vitest";
import { GatewiseError } from "../../src/errors.ts";
import { METRIC } from "../../src/kernels/reduce.ts";
import { CharTokenizer } from "../../src/data/tokenizer.ts";
import { languageModelConfig } from "../../src/models/config.ts";
import { LanguageModel } from "../../src/models/language-model.ts";
import { CpuDevice } from "../../src/runtime/cpu-device.ts";
import type { Device, Plan, RecordOptions } from "../../src/runtime/device.ts";
import { openDevice } from "../../src/runtime/open.ts";
import type { FlatTensors, Recorder } from "../../src/runtime/recorder.ts";
import type { NumberArray, Tensor, TensorSpec } from "../../src/runtime/tensor.ts";
import type { TrainingEvent } from "../../src/training/events.ts";
import { makeHostBuffers } from "../../src/training/host-buffers.ts";
import { recordUpdate } from "../../src/training/optimizers.ts";
import { trainingOptions } from "../../src/training/options.ts";
import { isExploded, Trainer, type TrainerOptions } from "../../src/training/trainer.ts";

const device = await openDevice({ prefer: "cpu" });
afterAll(() => device.dispose());

const text = "a rose is a rose is a rose; is it not? ".repeat(12);
const tokenizer = CharTokenizer.fromText(text);
const SMALL: TrainerOptions = { batchSize: 3, seqLen: 6, valFraction: 0, logInterval: 0, evalInterval: 0, sampleInterval: 0 };

function makeTrainer(options: TrainerOptions, on: Device = device, cell: "rnn" | "lstm" = "rnn"): Trainer {
  const model = LanguageModel.create(on, { cell, vocabSize: tokenizer.size, embeddingSize: 3, hiddenSize: 5 });
  return Trainer.create(model, tokenizer.encode(text), { ...SMALL, ...options });
}

async function finish(trainer: Trainer, maxSteps: number, signal?: AbortSignal): Promise<string[]> {
  const events: string[] = [];
  for await (const event of trainer.run({ maxSteps, signal })) {
    events.push(event.event === "end" ? `end ${event.reason}` : event.event);
  }
  return events;
}

for (const logInterval of [0, 4]) {
  it(`a gradient that once was not finite ends the run though later losses are finite, logging every ${logInterval}`, async () => {
    const trainer = makeTrainer({ logInterval });
    await finish(trainer, 2);
    const { metrics } = trainer as unknown as { metrics: Tensor };
    device.write(
      metrics,
      Float32Array.from({ length: METRIC.count }, (_, i) => Number(i === METRIC.skipped)),
    );
    await expect(finish(trainer, 9)).rejects.toMatchObject({ code: "E_NAN_LOSS" });
    expect(trainer.step).toBeLessThanOrEqual(logInterval || 9);
    trainer.dispose();
  });
}

it("a run that is aborted for any reason while it samples ends with an event", async () => {
  const reasons = [undefined, new Error("enough"), new DOMException("late", "TimeoutError"), "a word"];
  for (const reason of reasons) {
    const controller = new AbortController();
    const aborting = {
      size: tokenizer.size,
      toJSON: () => null as never,
      encode: (t: string) => tokenizer.encode(t),
      decode: () => {
        controller.abort(reason);
        return "x";
      },
    };
    const trainer = makeTrainer({ tokenizer: aborting, sampleInterval: 2, sample: { length: 100 } });
    expect(await finish(trainer, 9, controller.signal)).toEqual(["start", "end aborted"]);
    trainer.dispose();
  }
});

it("a batch that fits in no memory is E_LIMIT and leaves nothing behind", () => {
  const model = LanguageModel.create(device, { cell: "lstm", vocabSize: tokenizer.size, embeddingSize: 3, hiddenSize: 5 });
  const before = device.memory();
  expect(() => Trainer.create(model, tokenizer.encode(text), { ...SMALL, state: "zero", batchSize: 2 ** 40 })).toThrow(
    expect.objectContaining({ code: "E_LIMIT" }),
  );
  expect(device.memory()).toEqual(before);
  model.dispose();
});

it("buffers that fit in no memory, of a batch that would, are E_LIMIT for their reason", () => {
  const config = languageModelConfig({ vocabSize: 3, hiddenSize: 2 ** 16 });
  const options = { ...trainingOptions({}), batchSize: 2 ** 20, seqLen: 1 };
  expect(() => makeHostBuffers(options, config)).toThrow(
    expect.objectContaining({
      code: "E_LIMIT",
      message: "batchSize 1048576 × seqLen 1 does not fit in memory; make them smaller",
      cause: expect.any(RangeError),
    }),
  );
});

it("the norm of up to 131,072 numbers is found in one dispatch, of more in two; the update is one more", async () => {
  for (const [length, dispatches] of [
    [131_072, 2],
    [131_076, 3],
  ] as const) {
    const tensor = (name: string, ...shape: number[]): Tensor => device.tensor({ name, shape });
    const [parameters, gradients, m] = ["parameters", "gradients", "m"].map((name) => tensor(name, length));
    const rows = device.tensor({ name: "rows", shape: [2, 2], stored: [2, 2] });
    const tensors = {
      parameters,
      gradients,
      moments: { m },
      schedule: tensor("schedule", 4),
      metrics: tensor("metrics", 8),
      rows,
    };
    device.write(gradients!, new Float32Array(length).fill(0.5));
    const options = { optimizer: "sgd", clip: 0, weightDecay: 0, momentum: 0 } as const;
    const plan = await device.record("update", (recorder) => recordUpdate(recorder, tensors as never, options));
    expect(plan.dispatches).toBe(dispatches);
    await plan.run();
    expect((await device.read(tensors.metrics))[METRIC.norm]).toBeCloseTo(0.5 * Math.sqrt(length), 3);
    plan.dispose();
    device.free(parameters!, gradients!, m!, rows, tensors.schedule, tensors.metrics);
  }
});

it("a token that the model does not know is refused by its place, and leaves nothing behind", () => {
  const model = LanguageModel.create(device, { cell: "rnn", vocabSize: tokenizer.size, embeddingSize: 3, hiddenSize: 5 });
  const before = device.memory();
  const tokens = tokenizer.encode(text);
  tokens[70] = tokenizer.size;
  const create = (): Trainer => Trainer.create(model, tokens, SMALL);
  expect(create).toThrow(expect.objectContaining({ code: "E_DATA" }));
  expect(create).toThrow(`token ${tokenizer.size} at 70 is not in the model's vocabulary of ${tokenizer.size}`);
  expect(device.memory()).toEqual(before);
  model.dispose();
});

/** A device with room for so many more tensors, and with something to do before each run of a plan. */
class SmallDevice extends CpuDevice {
  room = Infinity;
  running = 0;
  before: (plan: string) => void = () => {};
  private makeRoom(name: string): void {
    if (this.room-- <= 0) throw new GatewiseError("E_LIMIT", name);
  }
  override tensor(spec: TensorSpec): Tensor {
    this.makeRoom(spec.name);
    return super.tensor(spec);
  }
  override flatTensors(name: string, specs: readonly TensorSpec[]): FlatTensors {
    this.makeRoom(name);
    return super.flatTensors(name, specs);
  }
  override async record<Made>(name: string, build: (recorder: Recorder) => Made, options?: RecordOptions): Promise<Plan<Made>> {
    const plan = await super.record(name, build, options);
    const run: Plan["run"] = async (...inputs) => {
      this.before(name);
      this.running++;
      await plan.run(...inputs);
      this.running--;
    };
    return { ...plan, run };
  }
}

/** A device whose numbers come back only when no plan runs and none is about to: when all there is to do waits for them. */
class LateDevice extends SmallDevice {
  override async read(tensor: Tensor): Promise<NumberArray> {
    const values = await super.read(tensor);
    do await new Promise((resolve) => setImmediate(resolve));
    while (this.running > 0);
    return values;
  }
}

describe("numbers that come back late", () => {
  /** The events of a run of eight steps, each with the step at which the trainer then stood. */
  async function placesOf(options: TrainerOptions, exact = false): Promise<string[]> {
    const late = new LateDevice();
    const trainer = makeTrainer({ logInterval: 1, ...options }, late);
    const places: string[] = [];
    for await (const { event, step } of trainer.run({ maxSteps: 8, exact })) places.push(`${event} ${step} at ${trainer.step}`);
    late.dispose();
    return places;
  }
  const steps = (from: number, to: number, at?: number): string[] =>
    Array.from({ length: to - from + 1 }, (_, i) => `step ${from + i} at ${at ?? from + i}`);

  it("are told some steps later, unless they are to be exact", async () => {
    expect(await placesOf({})).toEqual(["start 0 at 0", ...steps(1, 8, 8), "end 8 at 8"]);
    expect(await placesOf({}, true)).toEqual(["start 0 at 0", ...steps(1, 8), "end 8 at 8"]);
  });

  it("are waited for when those of nine steps are under way", async () => {
    const trainer = makeTrainer({ logInterval: 1 }, new LateDevice());
    const ahead: number[] = [];
    for await (const { event, step } of trainer.run({ maxSteps: 40 })) if (event === "step") ahead.push(trainer.step - step);
    expect(ahead[0]).toBe(8);
    expect(Math.max(...ahead)).toBe(8);
    expect(ahead).toHaveLength(40);
    trainer.dispose();
  });

  const uses: Record<string, TrainerOptions> = {
    eval: { evalInterval: 4, valFraction: 0.2 },
    sample: { sampleInterval: 4, tokenizer, sample: { length: 2 } },
    checkpoint: { checkpointInterval: 4, onCheckpoint: async (trainer) => `of step ${trainer.step}` },
  };
  for (const [event, options] of Object.entries(uses)) {
    it(`are all told before the ${event} of their step, which later steps wait for`, async () => {
      const places = await placesOf(options);
      const first = ["start 0 at 0", ...steps(1, 4, 4), `${event} 4 at 4`];
      expect(places).toEqual([...first, ...steps(5, 8, 8), `${event} 8 at 8`, "end 8 at 8"]);
    });
  }
});

describe("a trainer", () => {
  it("that finds no room for any one of its tensors leaves none behind, and with room frees all when it is disposed of", async () => {
    const small = new SmallDevice();
    const model = LanguageModel.create(small, { cell: "lstm", vocabSize: tokenizer.size, embeddingSize: 3, hiddenSize: 5 });
    const before = small.memory();
    const refused: string[] = [];
    for (;;) {
      small.room = refused.length;
      try {
        // The evaluation's part of the memory, too.
        const trainer = Trainer.create(model, tokenizer.encode(text), { ...SMALL, valFraction: 0.2, evalInterval: 1 });
        small.room = Infinity;
        await finish(trainer, 1);
        const held = small.memory();
        expect(held.buffers).toBeGreaterThan(before.buffers);
        await finish(trainer, 2);
        expect(small.memory()).toEqual(held);
        trainer.dispose();
        trainer[Symbol.dispose]();
        break;
      } catch (error) {
        expect(error).toMatchObject({ code: "E_LIMIT" });
        expect(small.memory()).toEqual(before);
        refused.push((error as Error).message);
      }
    }
    expect(refused).toEqual(["gradients", "m", "v", "state.h", "state.c", "metrics", "schedule", "rng"]);
    expect(small.memory()).toEqual(before);
    small.dispose();
  });

  it("whose evaluation cannot be recorded keeps no plan, and begins when it can", async () => {
    const small = new SmallDevice();
    const record = small.record.bind(small);
    let fails = true;
    small.record = (name, ...rest) =>
      fails && name === "evaluate" ? Promise.reject(new Error("not now")) : record(name, ...rest);
    const trainer = makeTrainer({ valFraction: 0.2, evalInterval: 1 }, small);
    const before = small.memory();
    await expect(finish(trainer, 1)).rejects.toThrow("not now");
    expect(trainer.dispatches).toBeUndefined();
    expect(small.memory()).toEqual(before);
    fails = false;
    expect(await finish(trainer, 1)).toEqual(["start", "eval", "end done"]);
    expect(trainer.dispatches).toBeGreaterThan(10);
    small.dispose();
  });

  it("records no evaluation where none will be made", async () => {
    const small = new SmallDevice();
    const names: string[] = [];
    const record = small.record.bind(small);
    small.record = (name, ...rest) => {
      names.push(name);
      return record(name, ...rest);
    };
    await finish(makeTrainer({ valFraction: 0.2, evalInterval: 0 }, small), 1);
    await finish(makeTrainer({ valFraction: 0.003, evalInterval: 1 }, small), 1);
    expect(names).toEqual(["train", "train"]);
    small.dispose();
  });

  it("does one run at a time, and another when the one is left", async () => {
    const trainer = makeTrainer({ logInterval: 1 });
    const one = trainer.run({ maxSteps: 9 });
    await one.next();
    await one.next();
    const refused = { code: "E_CONFIG", message: expect.stringContaining("a run of this trainer is under way") };
    await expect(trainer.run({ maxSteps: 9 }).next()).rejects.toMatchObject(refused);
    await one.return();
    expect((await finish(trainer, 9)).at(-1)).toBe("end done");
    trainer.dispose();
  });

  it("serves nothing once it is disposed of, nor once its model is", async () => {
    for (const dispose of [(trainer: Trainer) => trainer.dispose(), (trainer: Trainer) => trainer.model.dispose()]) {
      const trainer = makeTrainer({ valFraction: 0.2 });
      dispose(trainer);
      const calls = [finish(trainer, 1), trainer.evaluate(), trainer.checkFinite(), trainer.gradientDict()];
      for (const call of calls) await expect(call).rejects.toMatchObject({ code: "E_DISPOSED" });
      for (const [i, where] of ["run", "evaluate", "checkFinite", "gradientDict"].entries())
        await expect(calls[i]).rejects.toThrow(`Trainer.${where}: this`);
    }
  });

  it("whose validation loss stays the same has its best at the first", async () => {
    const trainer = makeTrainer({ valFraction: 0.2, evalInterval: 1, optimizer: "sgd", learningRate: 1e-30 });
    const best: boolean[] = [];
    for await (const event of trainer.run({ maxSteps: 3 })) if (event.event === "eval") best.push(event.best);
    expect(best).toEqual([true, false, false]);
    trainer.dispose();
  });

  it("ends when as many evaluations in a row as it has patience for were no best, and has its patience again when it goes on", async () => {
    const still = { valFraction: 0.2, evalInterval: 2, optimizer: "sgd", learningRate: 1e-30, patience: 3 } as const;
    const trainer = makeTrainer(still);
    const steps = async (): Promise<number[]> => {
      const seen: number[] = [];
      for await (const event of trainer.run({ maxSteps: 20 })) {
        if (event.event === "eval") seen.push(event.step);
        if (event.event === "end") expect(event).toMatchObject({ reason: seen.at(-1) === 20 ? "done" : "patience" });
      }
      return seen;
    };
    expect(await steps()).toEqual([2, 4, 6, 8]);
    expect([trainer.bestStep, trainer.step]).toEqual([2, 8]);
    expect(await steps()).toEqual([10, 12, 14]);
    expect(await steps()).toEqual([16, 18, 20]);
    trainer.dispose();
  });

  it("keeps the part for a test out of training and validation", async () => {
    const tokens = tokenizer.encode(text);
    const trainer = makeTrainer({ valFraction: 0.25, testFraction: 0.125 });
    for await (const event of trainer.run({ maxSteps: 0 }))
      if (event.event === "start")
        expect([event.trainTokens, event.valTokens]).toEqual([
          tokens.length - Math.floor(tokens.length / 4) - Math.floor(tokens.length / 8),
          Math.floor(tokens.length / 4),
        ]);
    trainer.dispose();
  });

  it("tells what keeps its checkpoints the step, and whether it has just been found the best", async () => {
    const kept: object[] = [];
    const trainer = makeTrainer({
      valFraction: 0.2,
      evalInterval: 2,
      checkpointInterval: 1,
      onCheckpoint: async (of, info) => {
        expect(of).toBe(trainer);
        kept.push(info);
        return info.step === 3 ? undefined : `file ${info.step}`;
      },
    });
    const paths: string[] = [];
    for await (const event of trainer.run({ maxSteps: 4 })) if (event.event === "checkpoint") paths.push(event.path);
    expect(kept.slice(0, 3)).toEqual([
      { step: 1, best: false },
      { step: 2, best: true },
      { step: 3, best: false },
    ]);
    expect(paths).toEqual(["file 1", "file 2", "file 4"]);
    trainer.dispose();
  });

  it("drops other units for a seed that differs in its last bit only, however large", async () => {
    const lossesOf = async (seed: number): Promise<number[]> => {
      const model = LanguageModel.create(device, {
        cell: "rnn",
        vocabSize: tokenizer.size,
        hiddenSize: 5,
        numLayers: 2,
        dropout: 0.5,
      });
      const trainer = Trainer.create(model, tokenizer.encode(text), { ...SMALL, seed, logInterval: 1 });
      const losses: number[] = [];
      for await (const event of trainer.run({ maxSteps: 3 })) if (event.event === "step") losses.push(event.loss);
      model.dispose();
      return losses;
    };
    expect(await lossesOf(2 ** 32 - 1)).not.toEqual(await lossesOf(2 ** 32 - 2));
    expect(await lossesOf(7)).toEqual(await lossesOf(7));
  });

  it("without a validation part has nothing to evaluate", async () => {
    const trainer = makeTrainer({});
    await expect(trainer.evaluate()).rejects.toMatchObject({
      code: "E_DATA",
      message: expect.stringContaining("at least 2 tokens, got 0"),
    });
    await expect(trainer.evaluate({} as never)).rejects.toMatchObject({
      code: "E_CONFIG",
      message: expect.stringMatching(/^Trainer\.evaluate: /),
    });
    trainer.dispose();
  });

  it("of a model with no weights has the gradient of a uniform guess in the head's bias, and keeps it", async () => {
    const trainer = makeTrainer({ state: "carry", learningRate: 1e-9 });
    const { model } = trainer;
    const zeros = Object.entries(await model.stateDict()).map(([name, { length }]) => [name, new Float32Array(length)] as const);
    model.loadStateDict(Object.fromEntries(zeros));
    await finish(trainer, 1);
    // The first window of each of three streams of 155: its 18 targets.
    const targets = [0, 1, 2].flatMap((b) => [...tokenizer.encode(text)].slice(155 * b + 1, 155 * b + 7));
    const gradients = await trainer.gradientDict();
    expect(Object.keys(gradients)).toEqual(zeros.map(([name]) => name));
    for (let v = 0; v < tokenizer.size; v++) {
      const count = targets.filter((target) => target === v).length;
      expect(gradients["head.bias"]![v]).toBeCloseTo(1 / tokenizer.size - count / 18, 5);
    }
    trainer.dispose();
  });
});

describe("a run that is aborted", () => {
  it("when all its steps are done is done", async () => {
    const trainer = makeTrainer({ logInterval: 1 });
    const controller = new AbortController();
    const reasons: string[] = [];
    for await (const event of trainer.run({ maxSteps: 3, signal: controller.signal })) {
      if (event.event === "step" && event.step === 3) controller.abort();
      if (event.event === "end") reasons.push(event.reason);
    }
    expect(reasons).toEqual(["done"]);
    trainer.dispose();
  });

  const eventsOf = async (trainer: Trainer, maxSteps: number, signal: AbortSignal): Promise<TrainingEvent[]> => {
    const events: TrainingEvent[] = [];
    for await (const event of trainer.run({ maxSteps, signal })) events.push(event);
    return events;
  };

  it("before it begins has an end and no more, with no loss and no step", async () => {
    const trainer = makeTrainer({ logInterval: 1 });
    const [end, ...more] = await eventsOf(trainer, 5, AbortSignal.abort());
    expect(more).toEqual([]);
    expect(end).toMatchObject({ v: 1, event: "end", step: 0, reason: "aborted", loss: NaN });
    expect(end).not.toHaveProperty("bestValLoss");
    trainer.dispose();
  });

  it("while its first step is being done ends without waiting for it", async () => {
    const small = new SmallDevice();
    const controller = new AbortController();
    small.finish = () => {
      controller.abort();
      return new Promise(() => {});
    };
    const events = await eventsOf(makeTrainer({ logInterval: 1 }, small), 5, controller.signal);
    expect(events.map(({ event }) => event)).toEqual(["start", "end"]);
    expect(events[1]).toMatchObject({ step: 1, reason: "aborted", loss: NaN });
    small.dispose();
  });

  for (const on of [device, new LateDevice()]) {
    const where = on === device ? "are here at once" : "come late";
    it(`at the event of a step has told of all that it did, the last loss at the end, where numbers ${where}`, async () => {
      const trainer = makeTrainer({ logInterval: 1 }, on);
      const controller = new AbortController();
      const events: TrainingEvent[] = [];
      for await (const event of trainer.run({ maxSteps: 50, signal: controller.signal })) {
        events.push(event);
        if (event.event === "step" && event.step === 3) controller.abort();
      }
      const steps = events.flatMap((event) => (event.event === "step" ? [event] : []));
      expect(trainer.step < 5).toBe(on === device);
      expect(steps.map(({ step }) => step)).toEqual(Array.from({ length: trainer.step }, (_, i) => i + 1));
      expect(events.at(-1)).toMatchObject({ event: "end", reason: "aborted", step: trainer.step, loss: steps.at(-1)!.loss });
      trainer.dispose();
    });
  }

  it("in the midst of an evaluation makes it at the next run's beginning, of the same step, once", async () => {
    const small = new SmallDevice();
    const kept: object[] = [];
    const onCheckpoint: TrainerOptions["onCheckpoint"] = async (_, info) => void kept.push(info);
    const trainer = makeTrainer({ valFraction: 0.3, evalInterval: 2, checkpointInterval: 2, onCheckpoint }, small, "lstm");
    const whole = makeTrainer({ valFraction: 0.3, evalInterval: 2 }, small, "lstm");
    let evaluations = 0;
    small.before = (plan) => void (evaluations += Number(plan === "evaluate"));
    const wanted = await eventsOf(whole, 2, new AbortController().signal);
    // The 139 targets of the validation part, in windows of six.
    expect(evaluations).toBe(24);
    const controller = new AbortController();
    evaluations = 0;
    small.before = (plan) => {
      if (plan === "evaluate" && ++evaluations === 3) controller.abort(new Error("enough"));
    };
    const cut = await eventsOf(trainer, 4, controller.signal);
    expect(cut.map(({ event }) => event)).toEqual(["start", "end"]);
    expect(cut[1]).toMatchObject({ step: 2, reason: "aborted" });
    expect(kept).toEqual([{ step: 2, best: false }]);
    expect(trainer.evaluationDue).toBe(true);
    small.before = () => {};
    const rest = await eventsOf(trainer, 4, new AbortController().signal);
    expect(rest.map(({ event, step }) => `${event} ${step}`)).toEqual(["start 2", "eval 2", "eval 4", "end 4"]);
    expect(rest[1]).toEqual({ ...wanted[1], seconds: expect.any(Number) });
    expect(trainer.evaluationDue).toBe(false);
    expect((await eventsOf(trainer, 4, new AbortController().signal)).map(({ event }) => event)).toEqual(["start", "end"]);
    small.dispose();
  });

  it("in the midst of that evaluation, too, has it to come still", async () => {
    const small = new SmallDevice();
    const trainer = makeTrainer({ valFraction: 0.3, evalInterval: 2 }, small);
    await eventsOf(trainer, 1, new AbortController().signal);
    trainer.evaluationDue = true;
    const controller = new AbortController();
    small.before = () => controller.abort();
    expect((await eventsOf(trainer, 4, controller.signal)).map(({ event }) => event)).toEqual(["start", "end"]);
    expect(trainer.evaluationDue).toBe(true);
    small.dispose();
  });

  it("in the midst of an evaluation, and goes on without a validation part, has none to make", async () => {
    for (const valFraction of [0, 0.003]) {
      const trainer = makeTrainer({ valFraction, evalInterval: 2 });
      trainer.evaluationDue = true;
      expect(await finish(trainer, 2)).toEqual(["start", "end done"]);
      trainer.dispose();
    }
  });

  it("for its signal's reason only: what fails by itself is an error still", async () => {
    const small = new SmallDevice();
    const controller = new AbortController();
    small.before = () => {
      controller.abort(new Error("given up"));
      throw new Error("broken");
    };
    await expect(eventsOf(makeTrainer({}, small), 5, controller.signal)).rejects.toThrow("broken");
    small.dispose();
  });
});

describe("a loss that explodes", () => {
  it("is four times that of a guess, or four nats where there are few characters", () => {
    expect(isExploded(4 * Math.log(50), 50)).toBe(false);
    expect(isExploded(4 * Math.log(50) + 1e-9, 50)).toBe(true);
    expect(isExploded(4, 2)).toBe(false);
    expect(isExploded(4.001, 2)).toBe(true);
    expect(isExploded(NaN, 50)).toBe(true);
  });

  it("ends the run at the third log in a row, and says what guessing costs", async () => {
    const trainer = makeTrainer({ logInterval: 2, learningRate: 1e-9 });
    const { model } = trainer;
    const weights = await model.stateDict();
    const sound = structuredClone(weights);
    weights["head.bias"]!.fill(-500);
    weights["head.bias"]![0] = 500;
    model.loadStateDict(weights);
    const steps: number[] = [];
    const run = async (): Promise<void> => {
      for await (const event of trainer.run({ maxSteps: 40, exact: true })) {
        if (event.event !== "step") continue;
        steps.push(event.step);
        // Sound for one log after two: the count begins anew.
        if (event.step === 4) model.loadStateDict(sound);
        if (event.step === 6) model.loadStateDict(weights);
      }
    };
    const cost = Math.log(tokenizer.size).toFixed(2);
    await expect(run()).rejects.toMatchObject({
      code: "E_NAN_LOSS",
      message: expect.stringMatching(new RegExp(`^step 12: the loss exploded to \\d+\\.\\d nats, where guessing costs ${cost};`)),
    });
    expect(steps).toEqual([2, 4, 6, 8, 10]);
    trainer.dispose();
  });
});

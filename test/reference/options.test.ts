// What a trainer, its runs and its evaluators take: every option's range, its default, and what the error says.
import { afterAll, describe, expect, it } from "vitest";
import { CharTokenizer } from "../../src/data/tokenizer.ts";
import { LanguageModel } from "../../src/models/language-model.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { makeEvaluator } from "../../src/training/evaluate.ts";
import { trainingOptions, type RunOptions } from "../../src/training/options.ts";
import { restartSchedule } from "../../src/training/schedule.ts";
import { Trainer } from "../../src/training/trainer.ts";

const device = await openDevice({ prefer: "cpu" });
const model = LanguageModel.create(device, { cell: "rnn", vocabSize: 3, embeddingSize: 2, hiddenSize: 2 });
afterAll(() => device.dispose());
const tokens = Uint32Array.from({ length: 200 }, (_, i) => i % 3);
const FITTING = { batchSize: 2, seqLen: 3 };

const isConfig = (message: string) => expect.objectContaining({ code: "E_CONFIG", message: expect.stringContaining(message) });

describe("the options of a training", () => {
  it("have the defaults that the command line documents", () => {
    expect(trainingOptions({})).toEqual({
      batchSize: 64,
      seqLen: 64,
      optimizer: "adam",
      learningRate: 0.002,
      momentum: 0,
      weightDecay: 0,
      schedule: "constant",
      warmupSteps: 0,
      scheduleStart: 0,
      totalSteps: 1000,
      clip: 1,
      loss: "all",
      state: "carry",
      valFraction: 0.05,
      testFraction: 0,
      evalTokens: 200_000,
      patience: 0,
      seed: 1,
      logInterval: 10,
      evalInterval: 250,
      sampleInterval: 250,
      checkpointInterval: 250,
    });
    expect(trainingOptions({ clip: undefined, seed: 7 } as never)).toMatchObject({ clip: 1, seed: 7 });
    expect(trainingOptions(undefined as never).batchSize).toBe(64);
  });

  /** Each option with what it takes at its bounds, what it does not, and how the error ends. */
  const ranges: Record<string, [taken: readonly unknown[], refused: readonly unknown[], expected: string]> = {
    batchSize: [[1, 4096], [0, -1, 1.5, NaN, "8", null], "an integer of at least 1"],
    seqLen: [[1, 4096], [0, 0.5, Infinity], "an integer of at least 1"],
    optimizer: [["adam", "adamw", "rmsprop", "sgd"], ["", "Adam", "adagrad", null], "one of adam, adamw, rmsprop, sgd"],
    learningRate: [[1e-9, 1, 50], [0, -1e-3, NaN, Infinity, "1e-3"], "a number above 0"],
    momentum: [[0, 0.999], [-0.1, NaN, Infinity, "0.9"], "a number of at least 0"],
    weightDecay: [[0, 0.5, 3], [-1e-9, NaN, Infinity], "a number of at least 0"],
    schedule: [["constant", "cosine", "step"], ["linear", "", 1], "one of constant, cosine, step"],
    warmupSteps: [[0, 10], [-1, 0.5], "an integer of at least 0"],
    scheduleStart: [[0, 10], [-1, 0.5], "an integer of at least 0"],
    totalSteps: [[1, 1e9], [0, -1, 2.5], "an integer of at least 1"],
    clip: [[0, 1e9], [-1e-9, NaN, Infinity], "a number of at least 0"],
    loss: [["all", "last"], ["", "mean", true], "one of all, last"],
    state: [["carry", "zero"], ["", "keep", 0], "one of carry, zero"],
    valFraction: [[0, 0.999], [-0.01, 1, 1.5, NaN], "at least 0 and less than 1"],
    testFraction: [[0, 0.94], [-0.01, 1, NaN], "at least 0 and less than 1"],
    evalTokens: [[0, 7], [-1, 0.5], "an integer of at least 0"],
    patience: [[0, 7], [-1, 0.5], "an integer of at least 0"],
    seed: [[0, 2 ** 32 - 1], [-1, 2 ** 32, 0.5], "an integer from 0 to 4294967295"],
    logInterval: [[0, 7], [-1, 0.5], "an integer of at least 0"],
    evalInterval: [[0, 7], [-1, 0.5], "an integer of at least 0"],
    sampleInterval: [[0, 7], [-1, 0.5], "an integer of at least 0"],
    checkpointInterval: [[0, 7], [-1, 0.5], "an integer of at least 0"],
  };
  it("are all in the table below", () => expect(Object.keys(ranges).sort()).toEqual(Object.keys(trainingOptions({})).sort()));
  for (const [name, [taken, refused, expected]] of Object.entries(ranges)) {
    it(`${name} must be ${expected}`, () => {
      for (const value of taken) expect(trainingOptions({ [name]: value })).toEqual({ ...trainingOptions({}), [name]: value });
      for (const value of refused)
        expect(() => trainingOptions({ [name]: value }), String(value)).toThrow(isConfig(`${name} must be ${expected}, got `));
    });
  }

  it("validation and test together leave something to train on", () => {
    expect(() => trainingOptions({ valFraction: 0.5, testFraction: 0.5 })).toThrow(
      isConfig("testFraction must be less than 1 - valFraction, which is 0.5, got 0.5"),
    );
  });

  it("momentum is less than one", () => {
    for (const momentum of [1, 2])
      expect(() => trainingOptions({ momentum })).toThrow(isConfig(`momentum must be less than 1, got ${momentum}`));
  });

  it("are called what they are called here, and the error knows what others call them", () => {
    const names = { lr: "learningRate", batch: "batchSize", seq: "seqLen", steps: "totalSteps", learningrate: "learningRate" };
    for (const [name, meant] of Object.entries(names)) {
      expect(() => trainingOptions({ [name]: 1 } as never)).toThrow(
        isConfig(`training options: unknown option "${name}"; did you mean "${meant}"?`),
      );
      expect(() => Trainer.create(model, tokens, { [name]: 1 } as never)).toThrow(
        isConfig(`Trainer.create: unknown option "${name}"; did you mean "${meant}"?`),
      );
    }
  });
});

describe("a trainer", () => {
  const tokenizer = CharTokenizer.fromText("abc");
  const create = (options: object): Trainer => Trainer.create(model, tokens, { ...FITTING, ...options });

  it("takes beside them a tokenizer, how to sample and what keeps its checkpoints", () => {
    const before = device.memory();
    const sample = { prompt: "a", length: 1, temperature: 0.5 };
    create({ tokenizer, sample, onCheckpoint: async () => undefined }).dispose();
    create({ tokenizer: undefined, sample: undefined, onCheckpoint: undefined }).dispose();
    expect(device.memory()).toEqual(before);
  });

  const refused: [name: string, options: object, message: string][] = [
    ["a name of a tokenizer", { tokenizer: "char" }, 'Trainer.create: tokenizer must be a tokenizer, got "char"'],
    ["null for a tokenizer", { tokenizer: null }, "Trainer.create: tokenizer must be a tokenizer, got null"],
    [
      "a path for what keeps checkpoints",
      { onCheckpoint: "runs" },
      'Trainer.create: onCheckpoint must be a function, got "runs"',
    ],
    ["a seed of its samples", { sample: { seed: 1 } }, 'Trainer.create: sample: unknown option "seed"; '],
    ["a text for its samples", { sample: "a" }, "Trainer.create: sample: options must be an object"],
    ["a length of its samples below 0", { sample: { length: -1 } }, "sample: expected an integer of at least 0, got length -1"],
  ];
  for (const [name, options, message] of refused)
    it(`refuses ${name}`, () => expect(() => create(options)).toThrow(isConfig(message)));

  it("trains a model, on tokens of it", () => {
    expect(() => Trainer.create({} as never, tokens)).toThrow(/^Trainer\.create: /);
    expect(() => Trainer.create(model, [0, 3], FITTING)).toThrow(/^Trainer\.create: token 3 at 1 is not in/);
    expect(() => Trainer.create(model, tokens)).toThrow(expect.objectContaining({ code: "E_DATA" }));
  });

  it("runs to a step that can be counted to, or without an end", async () => {
    const trainer = create({ logInterval: 0 });
    const run = (options: unknown) => trainer.run(options as RunOptions);
    for (const maxSteps of [-1, 1.5, NaN, 2 ** 53, -Infinity, "9", undefined])
      expect(() => run({ maxSteps }), String(maxSteps)).toThrow(
        isConfig("Trainer.run: maxSteps must be an integer of at least 0, or Infinity, got "),
      );
    expect(() => run(undefined)).toThrow(isConfig("Trainer.run: maxSteps must be"));
    expect(() => run({ maxSteps: 1, signal: new AbortController() })).toThrow(
      isConfig("Trainer.run: signal must be an AbortSignal"),
    );
    expect(() => run({ maxSteps: 1, exact: "yes" })).toThrow(
      isConfig('Trainer.run: exact must be one of true, false, got "yes"'),
    );
    for (const name of ["steps", "totalSteps"])
      expect(() => run({ [name]: 1 })).toThrow(isConfig(`Trainer.run: unknown option "${name}"; did you mean "maxSteps"?`));
    const events: string[] = [];
    for await (const { event } of run({ maxSteps: 0 })) events.push(event);
    expect(events).toEqual(["start", "end"]);
    for await (const { event } of run({ maxSteps: Infinity, exact: false })) if (event === "start") break;
    trainer.dispose();
  });
});

describe("an evaluator", () => {
  it("takes a trainer's options, of which it needs two, and refuses others", async () => {
    const before = device.memory();
    const evaluator = await makeEvaluator(model, tokens, { ...trainingOptions({}), ...FITTING } as never);
    const { loss, bitsPerCharacter, perplexity, accuracy, tokens: count } = await evaluator.evaluate();
    expect([bitsPerCharacter, perplexity]).toEqual([expect.closeTo(loss * Math.LOG2E, 10), expect.closeTo(Math.E ** loss, 10)]);
    expect(accuracy * 199).toBeCloseTo(Math.round(accuracy * 199), 3);
    expect(count).toBe(199);
    // Again, from a zero state and sums of zero.
    expect((await evaluator.evaluate()).loss).toBe(loss);
    evaluator.dispose();
    expect(device.memory()).toEqual(before);
    await expect(evaluator.evaluate()).rejects.toMatchObject({
      code: "E_DISPOSED",
      message: expect.stringContaining("Evaluator.evaluate: this evaluator"),
    });
    const refused = async (given: unknown, of: unknown, options: unknown, code: string, message: string): Promise<void> => {
      const making = makeEvaluator(given as never, of as never, options as never);
      await expect(making).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
    };
    await refused({}, tokens, FITTING, "E_CONFIG", "makeEvaluator: ");
    await refused(model, tokens, { ...FITTING, batch: 1 }, "E_CONFIG", 'makeEvaluator: unknown option "batch"');
    await refused(model, tokens, { ...FITTING, signal: 1 }, "E_CONFIG", "makeEvaluator: signal must be an AbortSignal, got 1");
    await refused(model, tokens, { seqLen: 0 }, "E_CONFIG", "seqLen must be an integer of at least 1");
    await refused(model, [0, 7], FITTING, "E_DATA", "makeEvaluator: tokens: token 7 at 1 is not in");
    for (const short of [[], [1]])
      await refused(model, short, FITTING, "E_DATA", `evaluation: needs at least 2 tokens, got ${short.length}`);
    expect(device.memory()).toEqual(before);
  });

  it("of two tokens predicts one", async () => {
    const evaluator = await makeEvaluator(model, [0, 1], undefined as never);
    expect(await evaluator.evaluate()).toMatchObject({ tokens: 1, loss: expect.any(Number) });
    evaluator[Symbol.dispose]();
  });

  it("costs a guess where the model knows nothing, in every stream and window", async () => {
    const ignorant = LanguageModel.create(device, { cell: "lstm", vocabSize: 3, embeddingSize: 2, hiddenSize: 2 });
    const zeros = Object.entries(await ignorant.stateDict()).map(([name, { length }]) => [name, new Float32Array(length)]);
    ignorant.loadStateDict(Object.fromEntries(zeros));
    const text = Uint32Array.from({ length: 5000 }, (_, i) => (i * i) % 3);
    for (const [batchSize, seqLen] of [
      [9, 100],
      [1, 64],
    ] as const) {
      const evaluator = await makeEvaluator(ignorant, text, { batchSize, seqLen });
      const { loss, tokens: count, accuracy } = await evaluator.evaluate();
      expect(loss).toBeCloseTo(Math.log(3), 5);
      expect(count).toBe(4999);
      // Of equals the first is the guess: token 0, of every third square.
      expect(accuracy).toBeCloseTo([...text.subarray(1)].filter((token) => token === 0).length / 4999, 6);
      evaluator.dispose();
    }
    ignorant.dispose();
  });

  it("of a long text reads as many tokens as it may, tells how far it is, and costs a guess where the model knows nothing", async () => {
    const ignorant = LanguageModel.create(device, { cell: "rnn", vocabSize: 3, embeddingSize: 2, hiddenSize: 2 });
    const zeros = Object.entries(await ignorant.stateDict()).map(([name, { length }]) => [name, new Float32Array(length)]);
    ignorant.loadStateDict(Object.fromEntries(zeros));
    const text = new Uint32Array(50_000);
    const evaluator = await makeEvaluator(ignorant, text, {
      batchSize: 4,
      seqLen: 100,
      evalTokens: 9000,
      tokenizer: CharTokenizer.fromText("éab"),
    });
    const told: number[][] = [];
    const { loss, bitsPerByte, tokens: count } = await evaluator.evaluate(undefined, (done, of) => told.push([done, of]));
    expect(loss).toBeCloseTo(Math.log(3), 5);
    // The text is all "a".
    expect(bitsPerByte).toBeCloseTo(Math.log2(3), 5);
    // Four streams: a quarter of 9,000 / 4 is six windows, a piece that fits three times.
    expect(count).toBe(4 * 3 * 600);
    expect(told).toEqual(Array.from({ length: 18 }, (_, i) => [i + 1, 18]));
    await expect(evaluator.evaluate(undefined, 1 as never)).rejects.toMatchObject({ code: "E_CONFIG" });
    evaluator.dispose();
    ignorant.dispose();
  });

  it("can be given up between two windows, with the caller's own reason, and asked again", async () => {
    const evaluator = await makeEvaluator(model, tokens, FITTING);
    const reason = new Error("enough");
    await expect(evaluator.evaluate(AbortSignal.abort(reason))).rejects.toBe(reason);
    await expect(evaluator.evaluate({} as never)).rejects.toMatchObject({
      code: "E_CONFIG",
      message: expect.stringMatching(/^evaluate: /),
    });
    expect((await evaluator.evaluate(new AbortController().signal)).tokens).toBe(199);
    evaluator.dispose();
    await expect(makeEvaluator(model, tokens, { ...FITTING, signal: AbortSignal.abort(reason) } as never)).rejects.toBe(reason);
  });
});

describe("a restarted schedule", () => {
  const options = { learningRate: 0.5, schedule: "cosine", warmupSteps: 2, totalSteps: 10 } as const;

  it("begins at the step, at the old peak or at the rate of the last step", () => {
    expect(restartSchedule(10, options, "peak")).toEqual({ scheduleStart: 10 });
    // The last of ten steps is 7/8 on its way from the peak to a tenth of it.
    const reached = 0.5 * (0.1 + 0.45 * (1 + Math.cos((7 / 8) * Math.PI)));
    expect(restartSchedule(10, options, "reached")).toEqual({
      scheduleStart: 10,
      learningRate: expect.closeTo(reached, 12),
      warmupSteps: 0,
    });
    // Before the first step that is the first step's rate.
    expect(restartSchedule(0, options, "reached").learningRate).toBe(0.25);
  });

  it("is refused where it makes no sense", () => {
    const refuse = (given: readonly unknown[], message: string): void =>
      expect(() => restartSchedule(...(given as [number, typeof options, "peak"]))).toThrow(isConfig(message));
    refuse([-1, options, "peak"], "restartSchedule: step must be an integer of at least 0, got -1");
    refuse([1, null, "peak"], "restartSchedule: options must be an object, got null");
    refuse([1, { ...options, totalSteps: 0 }, "peak"], "totalSteps must be an integer of at least 1, got 0");
    refuse([1, options, "start"], 'restartSchedule: from must be one of reached, peak, got "start"');
  });
});

// Checkpoints and exact resume.
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { CharTokenizer } from "../../src/data/tokenizer.ts";
import { GatewiseError } from "../../src/errors.ts";
import { CELL_NAMES, inBlock } from "../../src/models/cells.ts";
import { LanguageModel, type LanguageModelOptions } from "../../src/models/language-model.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { loadCheckpoint, modelFromCheckpoint, resumeTrainer, sameText, saveCheckpoint } from "../../src/training/checkpoint.ts";
import type { TrainingEvent } from "../../src/training/events.ts";
import { OPTIMIZER_NAMES } from "../../src/training/optimizers.ts";
import { TRAINING_DEFAULTS } from "../../src/training/options.ts";
import { readSafetensors, writeSafetensors, type NamedTensor } from "../../src/training/safetensors.ts";
import { SCHEDULES } from "../../src/training/schedule.ts";
import { Trainer, type TrainerOptions } from "../../src/training/trainer.ts";

const device = await openDevice({ prefer: "cpu" });
afterAll(() => device.dispose());

const isBad = expect.objectContaining({ name: "GatewiseError", code: "E_BAD_CHECKPOINT" });
const text = "a rose is a rose is a rose; is it not? ".repeat(12);
const tokenizer = CharTokenizer.fromText(text);
const tokens = tokenizer.encode(text);
const V = tokenizer.size;

type ModelOptions = Partial<LanguageModelOptions>;
/** A block adds to the embeddings, which are as wide as it. */
const modelOptions = (options: ModelOptions) => {
  const fixed = inBlock({ cell: "lstm", ...options }) && ({ input: "embedding", embeddingSize: 5 } as const);
  return { embeddingSize: 3, hiddenSize: 5, ...options, ...fixed, vocabSize: V };
};
const trainerOptions = (options: TrainerOptions): TrainerOptions => ({
  batchSize: 3,
  seqLen: 6,
  logInterval: 1,
  evalInterval: 3,
  sampleInterval: 0,
  tokenizer,
  ...options,
});

/** Trains to each of `stops` in turn, in a new trainer from the checkpoint of the one before. */
async function run(stops: readonly number[], model: ModelOptions, settings: TrainerOptions) {
  let bytes: Uint8Array | undefined;
  const events: TrainingEvent[] = [];
  for (const stop of stops) {
    const checkpoint = bytes && loadCheckpoint(bytes);
    const made = checkpoint ? modelFromCheckpoint(device, checkpoint) : LanguageModel.create(device, modelOptions(model));
    const trainer = checkpoint ? resumeTrainer(made, tokens, checkpoint) : Trainer.create(made, tokens, trainerOptions(settings));
    for await (const event of trainer.run({ maxSteps: stop })) events.push(event);
    bytes = await saveCheckpoint(trainer);
    trainer.dispose();
    made.dispose();
  }
  return { bytes: bytes!, events };
}

/** What the steps reported, without what depends on the clock or on where a run was stopped. */
const losses = (events: readonly TrainingEvent[]) =>
  events.flatMap((e) => (e.event === "step" ? [[e.step, e.loss, e.gradNorm, e.learningRate]] : []));

describe("a run that is stopped and resumed ends in the bytes of the unbroken run:", () => {
  const runs: [string, ModelOptions, TrainerOptions][] = [
    [
      "LSTM, carried state, Adam, dropout, cosine",
      { cell: "lstm", numLayers: 2, dropout: 0.3 },
      { schedule: "cosine", totalSteps: 9, warmupSteps: 2 },
    ],
    [
      "GRU reset before, random windows, SGD with momentum",
      { cell: "gru", resetAfter: false },
      { state: "zero", optimizer: "sgd", momentum: 0.9 },
    ],
    ["RNN, one-hot, loss on the last step, RMSprop", { cell: "rnn", input: "one-hot" }, { loss: "last", optimizer: "rmsprop" }],
  ];
  for (const [name, model, settings] of runs) {
    it(name, async () => {
      const unbroken = await run([9], model, settings);
      for (const stop of [1, 4, 8]) {
        const { bytes } = await run([stop, 9], model, settings);
        expect(bytes, `stopped after ${stop}`).toEqual(unbroken.bytes);
      }
    });
  }

  it("any cell, layers, dropout, optimizer, state and seed, stopped anywhere and more than once", async () => {
    const model = fc
      .record({
        cell: fc.constantFrom(...CELL_NAMES),
        input: fc.constantFrom("embedding", "one-hot"),
        resetAfter: fc.boolean(),
        numLayers: fc.constantFrom(1, 2),
        dropout: fc.constantFrom(0, 0.4),
        seed: fc.nat(),
      } as const)
      .map(({ resetAfter, ...model }) => (model.cell === "gru" ? { ...model, resetAfter } : model));
    const settings = fc.record({
      state: fc.constantFrom("carry", "zero"),
      optimizer: fc.constantFrom(...OPTIMIZER_NAMES),
      momentum: fc.constantFrom(0, 0.9),
      weightDecay: fc.constantFrom(0, 0.01),
      schedule: fc.constantFrom(...SCHEDULES),
      loss: fc.constantFrom("all", "last"),
      valFraction: fc.constantFrom(0, 0.1),
      // Each step, because a run also evaluates where it stops, which may find a new best.
      evalInterval: fc.constant(1),
      totalSteps: fc.integer({ min: 1, max: 20 }),
      // Windows of 30 make an epoch of five steps, so that the run goes past its end.
      seqLen: fc.constantFrom(6, 30),
      seed: fc.nat(),
    } as const);
    const stops = fc.uniqueArray(fc.integer({ min: 0, max: 11 }), { minLength: 1, maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(model, settings, stops, async (model, settings, places) => {
        const unbroken = await run([12], model, settings);
        const broken = await run([...places.sort((a, b) => a - b), 12], model, settings);
        expect(losses(broken.events)).toEqual(losses(unbroken.events));
        expect(Buffer.compare(broken.bytes, unbroken.bytes)).toBe(0);
      }),
      { numRuns: 15 },
    );
  });

  it("and with two layers and dropout the parts of a run that matter are there to be lost", async () => {
    const model = { cell: "lstm", numLayers: 2, dropout: 0.4 } as const;
    const { bytes } = await run([7], model, {});
    const file = readSafetensors(await run([4], model, {}).then((r) => r.bytes));
    const resumed = async (tensors: Record<string, NamedTensor>, progress: object): Promise<Uint8Array> => {
      const training = JSON.stringify({ ...JSON.parse(file.metadata.training!), ...progress });
      const checkpoint = loadCheckpoint(writeSafetensors({ tensors, metadata: { ...file.metadata, training } }));
      const made = modelFromCheckpoint(device, checkpoint);
      const trainer = resumeTrainer(made, tokens, checkpoint);
      trainer.step = 4;
      for await (const _ of trainer.run({ maxSteps: 7 }));
      const result = await saveCheckpoint(trainer);
      trainer.dispose();
      made.dispose();
      return result;
    };
    const zeroed = (name: string): Record<string, NamedTensor> => {
      const { shape, data } = file.tensors[name]!;
      return { ...file.tensors, [name]: { shape, data: new Float32Array(data.length) } };
    };
    const options = JSON.parse(file.metadata.training!).options;
    expect(await resumed(file.tensors, {})).toEqual(bytes);
    for (const name of ["state.h", "state.c", "optimizer.m.head.bias", "optimizer.v.rnn.weight_hh_l1"]) {
      expect(await resumed(zeroed(name), {}), name).not.toEqual(bytes);
    }
    // The seed of the dropout masks.
    expect(await resumed(file.tensors, { options: { ...options, seed: 2 } })).not.toEqual(bytes);
  });

  it("or goes on with the options that are changed on purpose", async () => {
    const checkpoint = loadCheckpoint((await run([2], {}, {})).bytes);
    const model = modelFromCheckpoint(device, checkpoint);
    // Another batch size makes other streams, whose state is zero.
    const trainer = resumeTrainer(model, tokens, checkpoint, { learningRate: 0.5, batchSize: 2 });
    expect(trainer.options).toEqual({ ...checkpoint.training!.options, learningRate: 0.5, batchSize: 2 });
    expect(trainer.step).toBe(2);
    expect(checkpoint.training!.bestValLoss).toBeGreaterThan(0);
    expect(trainer.bestValLoss).toBe(checkpoint.training!.bestValLoss);
    expect(new Set(await device.read(trainer.state!.h!))).toEqual(new Set([0]));
    trainer.dispose();
    model.dispose();
  });
});

describe("a checkpoint", () => {
  it("holds PyTorch's names and shapes, moments, state and progress", async () => {
    const { tensors } = loadCheckpoint((await run([3], { cell: "lstm", numLayers: 2 }, {})).bytes);
    const parameters = {
      "embedding.weight": [V, 3],
      "rnn.weight_ih_l0": [20, 3],
      "rnn.weight_hh_l0": [20, 5],
      "rnn.bias_ih_l0": [20],
      "rnn.bias_hh_l0": [20],
      "rnn.weight_ih_l1": [20, 5],
      "rnn.weight_hh_l1": [20, 5],
      "rnn.bias_ih_l1": [20],
      "rnn.bias_hh_l1": [20],
      "head.weight": [V, 5],
      "head.bias": [V],
    };
    const moments = (moment: string) =>
      Object.fromEntries(Object.entries(parameters).map(([name, shape]) => [`optimizer.${moment}.${name}`, shape]));
    const shapes = Object.fromEntries(Object.entries(tensors).map(([name, { shape }]) => [name, shape]));
    const state = { "state.h": [2, 3, 5], "state.c": [2, 3, 5] };
    expect(shapes).toEqual({ ...parameters, ...moments("m"), ...moments("v"), ...state });
  });

  const shapesOf = async (model: ModelOptions, settings: TrainerOptions): Promise<Record<string, readonly number[]>> => {
    const { tensors } = loadCheckpoint((await run([1], model, settings)).bytes);
    return Object.fromEntries(Object.entries(tensors).map(([name, { shape }]) => [name, shape]));
  };

  it("holds the shapes of its cell and its input", async () => {
    const gru = await shapesOf({ cell: "gru", input: "one-hot" }, {});
    expect(gru).toMatchObject({ "rnn.weight_ih_l0": [15, V], "rnn.weight_hh_l0": [15, 5], "state.h": [1, 3, 5] });
    expect(gru).not.toHaveProperty(["embedding.weight"]);
    expect(gru).not.toHaveProperty(["state.c"]);
    expect(await shapesOf({ cell: "rnn" }, {})).toMatchObject({ "rnn.weight_ih_l0": [5, 3], "rnn.bias_hh_l0": [5] });
  });

  it("holds the moments that its optimizer has, and the state only if it is carried", async () => {
    const kinds = async (settings: TrainerOptions) =>
      [...new Set(Object.keys(await shapesOf({}, settings)).map((name) => /^(optimizer\.\w|state\.\w)\b/.exec(name)?.[0]))]
        .filter(Boolean)
        .sort();
    expect(await kinds({ optimizer: "adamw" })).toEqual(["optimizer.m", "optimizer.v", "state.c", "state.h"]);
    expect(await kinds({ optimizer: "rmsprop", state: "zero" })).toEqual(["optimizer.v"]);
    expect(await kinds({ optimizer: "sgd", state: "zero" })).toEqual(["optimizer.m"]);
  });

  it("says in its metadata what it is, and all that a resumed run needs", async () => {
    const model = { cell: "gru", dropout: 0.2, numLayers: 2 } as const;
    const { bytes, events } = await run([4], model, { seed: 9, evalInterval: 2 });
    const { metadata } = readSafetensors(bytes);
    expect(Object.keys(metadata)).toEqual(["format", "version", "config", "tokenizer", "training", "device"]);
    expect(metadata.device).toBe("CPU float32");
    expect(metadata).toMatchObject({ format: "gatewise", version: "1" });
    expect(JSON.parse(metadata.config!)).toEqual({
      ...modelOptions(model),
      input: "embedding",
      resetAfter: true,
      nonlinearity: "tanh",
      orthogonal: false,
      precision: "f32",
    });
    expect(JSON.parse(metadata.tokenizer!)).toEqual({
      kind: "char",
      codePoints: [...tokenizer.characters].map((c) => c.codePointAt(0)),
    });
    const { tokenizer: _, ...options } = trainerOptions({ seed: 9, evalInterval: 2 });
    expect(JSON.parse(metadata.training!)).toEqual({
      step: 4,
      options: { ...TRAINING_DEFAULTS, ...options },
      rngCounter: 4,
      dataCursor: 4,
      bestStep: 4,
      bestValLoss: Math.min(...events.flatMap((e) => (e.event === "eval" ? [e.valLoss] : []))),
      data: { tokens: tokens.length, hash: expect.any(Number) },
    });
  });

  it("keeps the model's weights as they are, in PyTorch's order, and no best loss before the first evaluation", async () => {
    const model = LanguageModel.create(device, modelOptions({ cell: "lstm" }));
    const trainer = Trainer.create(model, tokens, trainerOptions({ evalInterval: 0 }));
    for await (const _ of trainer.run({ maxSteps: 2 }));
    const checkpoint = loadCheckpoint(await saveCheckpoint(trainer));
    for (const [name, values] of Object.entries(await model.stateDict())) expect(checkpoint.tensors[name]!.data).toEqual(values);
    expect(checkpoint.training!.bestValLoss).toBeNull();
    const copy = modelFromCheckpoint(device, checkpoint);
    expect(await copy.stateDict()).toEqual(await model.stateDict());
    expect(copy.config).toEqual(model.config);
    const resumed = resumeTrainer(copy, tokens, checkpoint);
    expect(resumed.bestValLoss).toBe(Infinity);
    resumed.dispose();
    trainer.dispose();
    copy.dispose();
    model.dispose();
  });

  it("knows its text by length and content", async () => {
    const checkpoint = loadCheckpoint((await run([1], {}, {})).bytes);
    expect(sameText(checkpoint, tokens)).toBe(true);
    expect(sameText(checkpoint, tokens.slice())).toBe(true);
    expect(sameText(checkpoint, tokens.subarray(1))).toBe(false);
    const changed = tokens.slice();
    changed[200]! ^= 1;
    expect(sameText(checkpoint, changed)).toBe(false);
    const { training } = checkpoint;
    for (const data of [
      { ...training!.data, tokens: tokens.length + 1 },
      { ...training!.data, hash: training!.data.hash ^ 1 },
    ])
      expect(sameText({ ...checkpoint, training: { ...training!, data } }, tokens)).toBe(false);
    expect(sameText({ ...checkpoint, training: undefined }, tokens)).toBe(false);
  });

  it("knows its text by the FNV-1a hash of its tokens, as whoever made the hash gives it", async () => {
    const ascii = CharTokenizer.fromText(String.fromCharCode(...Array(128).keys()));
    const model = LanguageModel.create(device, { cell: "rnn", vocabSize: 128, embeddingSize: 1, hiddenSize: 1 });
    const trainer = Trainer.create(model, ascii.encode("foobar"), { tokenizer: ascii, batchSize: 1, seqLen: 2, valFraction: 0 });
    expect(loadCheckpoint(await saveCheckpoint(trainer)).training!.data).toEqual({ tokens: 6, hash: 0xbf9cf968 });
    trainer.dispose();
    model.dispose();
  });

  it("holds the kernels that its run took, which go on with it on a device of the same description only", async () => {
    const model = LanguageModel.create(device, modelOptions({}));
    const trainer = Trainer.create(model, tokens, trainerOptions({}));
    trainer.choices = new Map([["matmul.nn 3", "tiles"]]);
    const bytes = await saveCheckpoint(trainer);
    expect(readSafetensors(bytes).metadata.tuning).toBe('{"matmul.nn 3":"tiles"}');
    const checkpoint = loadCheckpoint(bytes);
    expect(checkpoint.tuning).toEqual(trainer.choices);
    const choicesOn = (other: object) => {
      const resumed = resumeTrainer(model, tokens, { ...checkpoint, ...other });
      resumed.dispose();
      return resumed.choices;
    };
    expect(choicesOn({})).toEqual(trainer.choices);
    expect(choicesOn({ device: "some GPU" })).toEqual(new Map());
    expect(choicesOn({ device: undefined })).toEqual(new Map());
    for (const again of [true, false]) {
      Object.assign(device, { tuner: { again } });
      expect(choicesOn({}), `on one that tunes${again ? " again" : ""}`).toEqual(again ? new Map() : trainer.choices);
    }
    Object.assign(device, { tuner: undefined });
    trainer.dispose();
    model.dispose();
  });

  it("says of an evaluation that it is to come still, and nothing where it is not", async () => {
    const model = LanguageModel.create(device, modelOptions({}));
    const trainer = Trainer.create(model, tokens, trainerOptions({}));
    for (const due of [true, false]) {
      trainer.evaluationDue = due;
      const bytes = await saveCheckpoint(trainer);
      expect(JSON.parse(readSafetensors(bytes).metadata.training!).evaluationDue).toBe(due || undefined);
      const resumed = resumeTrainer(model, tokens, loadCheckpoint(bytes));
      expect(resumed.evaluationDue).toBe(due);
      resumed.dispose();
    }
    trainer.dispose();
    model.dispose();
  });

  it("is made of a trainer that is not disposed of, with intervals that there are", async () => {
    const model = LanguageModel.create(device, modelOptions({}));
    const trainer = Trainer.create(model, tokens, trainerOptions({}));
    const refused = async (given: unknown, intervals: object, code: string, message: string): Promise<void> => {
      const saving = saveCheckpoint(given as Trainer, intervals);
      await expect(saving).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
    };
    await refused({}, {}, "E_CONFIG", "saveCheckpoint: expected a Trainer or a LanguageModel, got an object");
    await refused(undefined, {}, "E_CONFIG", "saveCheckpoint: expected a Trainer or a LanguageModel, got undefined");
    await refused(trainer, { evalInterval: 3 }, "E_CONFIG", 'saveCheckpoint: unknown option "evalInterval"; ');
    await refused(trainer, { logInterval: -1 }, "E_CONFIG", "logInterval must be an integer of at least 0, got -1");
    trainer.dispose();
    await refused(trainer, {}, "E_DISPOSED", "saveCheckpoint: this trainer");
    model.dispose();
  });

  it.each(CELL_NAMES)(
    "holds a %s without a run where it is made of a model, from whose weights a run may begin",
    async (cell) => {
      const model = LanguageModel.create(device, { cell, vocabSize: V, hiddenSize: 4, numLayers: 2, seed: 7 });
      const checkpoint = loadCheckpoint(await saveCheckpoint(model, { tokenizer }));
      expect(checkpoint).toMatchObject({ config: model.config, training: undefined, device: device.description });
      expect(checkpoint.tokenizer).toEqual(tokenizer);
      const weights = await model.stateDict();
      expect(Object.fromEntries(Object.entries(checkpoint.tensors).map(([name, { data }]) => [name, data]))).toEqual(weights);
      const again = modelFromCheckpoint(device, checkpoint);
      expect(await again.stateDict()).toEqual(weights);
      expect(() => resumeTrainer(again, tokens, checkpoint)).toThrow("this checkpoint holds a model but no run");
      again.dispose();
      model.dispose();
    },
  );

  it("is made of a model with a tokenizer of its size and finite parameters only, and while it is there", async () => {
    const model = LanguageModel.create(device, modelOptions({}));
    const refused = async (options: unknown, code: string, message: string): Promise<void> => {
      const saving = saveCheckpoint(model, options as { tokenizer: CharTokenizer });
      await expect(saving).rejects.toMatchObject({ name: "GatewiseError", code, message: expect.stringContaining(message) });
    };
    await refused(undefined, "E_CONFIG", "saveCheckpoint: give the tokenizer, { tokenizer }");
    await refused({}, "E_CONFIG", "saveCheckpoint: give the tokenizer, { tokenizer }");
    await refused(null, "E_CONFIG", "saveCheckpoint: options must be an object, got null");
    await refused({ tokeniser: tokenizer }, "E_CONFIG", 'unknown option "tokeniser"; did you mean "tokenizer"?');
    await refused({ tokenizer, logInterval: 1 }, "E_CONFIG", 'unknown option "logInterval"');
    await refused({ tokenizer: CharTokenizer.fromText("abc") }, "E_CONFIG", `it has 3 tokens, the model ${V}`);
    await refused({ tokenizer: 7 }, "E_CONFIG", "tokenizer.toJSON is not a function");
    const weights = await model.stateDict();
    weights["head.weight"]![3] = -Infinity;
    model.loadStateDict(weights);
    await refused({ tokenizer }, "E_NAN_LOSS", 'the model\'s "head.weight" holds -Infinity at 3');
    model.dispose();
    await refused({ tokenizer }, "E_DISPOSED", "saveCheckpoint: this model");
  });

  it("is not made with a tokenizer that it could not be read with, which trains all the same", async () => {
    const words = (json: unknown) => ({
      size: V,
      encode: (given: string) => tokenizer.encode(given),
      decode: (given: ArrayLike<number>) => tokenizer.decode(given),
      toJSON: () => json as { kind: string },
    });
    for (const [json, why] of [
      [{ kind: "bpe", merges: 7 }, "the tokenizer is damaged"],
      [{ kind: "bpe", merges: [] }, `it has 256 tokens, the model ${V}`],
      [null, 'its toJSON must give { kind: "…", … }, it gives null'],
      [{ words: [] }, "its toJSON must give"],
      [undefined, "is not valid JSON"],
      [{ kind: "char", codePoints: [97] }, `it has 1 tokens, the model ${V}`],
    ] as const) {
      const model = LanguageModel.create(device, { cell: "rnn", vocabSize: V, embeddingSize: 3, hiddenSize: 5 });
      const trainer = Trainer.create(model, tokens, { ...trainerOptions({}), tokenizer: words(json) });
      for await (const _ of trainer.run({ maxSteps: 1 }));
      await expect(saveCheckpoint(trainer)).rejects.toMatchObject({
        code: "E_CONFIG",
        cause: expect.any(Error),
        message: expect.stringMatching(
          new RegExp(
            `loadCheckpoint could not read a checkpoint with this tokenizer \\(.*${why.replace(/[{}]/g, "\\$&")}.*\\); give one of the model's size`,
          ),
        ),
      });
      trainer.dispose();
      model.dispose();
    }
  });

  it("cannot be made without a tokenizer, nor of a run whose gradient was not finite", async () => {
    const model = LanguageModel.create(device, modelOptions({}));
    const without = Trainer.create(model, tokens, { batchSize: 3, seqLen: 6 });
    await expect(saveCheckpoint(without)).rejects.toMatchObject({
      code: "E_CONFIG",
      message: "saveCheckpoint: give the tokenizer to Trainer.create, { tokenizer }",
    });
    without.dispose();
    const trainer = Trainer.create(model, tokens, trainerOptions({ logInterval: 0 }));
    const weights = await model.stateDict();
    weights["head.bias"]![0] = NaN;
    model.loadStateDict(weights);
    await expect(async () => {
      for await (const _ of trainer.run({ maxSteps: 1 }));
    }).rejects.toMatchObject({ code: "E_NAN_LOSS" });
    await expect(saveCheckpoint(trainer)).rejects.toMatchObject({ code: "E_NAN_LOSS" });
    trainer.dispose();
    model.dispose();
  });

  it("is not made of parameters that its last step made infinite, which no gradient has seen yet", async () => {
    const model = LanguageModel.create(device, modelOptions({}));
    const options = trainerOptions({ optimizer: "sgd", learningRate: 1e39, clip: 0, evalInterval: 0, sampleInterval: 0 });
    const trainer = Trainer.create(model, tokens, options);
    for await (const _ of trainer.run({ maxSteps: 1 }));
    const refused = { code: "E_NAN_LOSS", message: expect.stringMatching(/the model's "[\w.]+" holds -?(Infinity|NaN) at \d+/) };
    await expect(saveCheckpoint(trainer)).rejects.toMatchObject(refused);
    trainer.dispose();
    model.dispose();
  });
});

describe("a file that is no whole checkpoint", async () => {
  const { bytes } = await run([3], { cell: "lstm", numLayers: 2 }, {});
  const file = readSafetensors(bytes);
  const training = JSON.parse(file.metadata.training!);
  const changed = (metadata: Record<string, string | undefined>, tensors: Record<string, NamedTensor> = {}) => {
    const defined = Object.entries({ ...file.metadata, ...metadata }).filter(([, value]) => value !== undefined);
    const kept = Object.entries({ ...file.tensors, ...tensors }).filter(([, value]) => value !== undefined);
    return writeSafetensors({
      tensors: Object.fromEntries(kept),
      metadata: Object.fromEntries(defined) as Record<string, string>,
    });
  };
  const json = (value: unknown): string => JSON.stringify(value);
  const gone = undefined as unknown as NamedTensor;

  const metadata: [name: string, metadata: Record<string, string | undefined>, message: RegExp][] = [
    ["from elsewhere", { format: "pt" }, /not a Gatewise checkpoint: its format is "pt", expected "gatewise"/],
    ["without a format", { format: undefined }, /its format is "unknown"/],
    ["of a later version", { version: "2" }, /version 2, this Gatewise reads version 1; use the newer Gatewise/],
    ["of a version without an end", { version: "12345".repeat(9) }, /version 12345123451234512345, this/],
    ["without a version", { version: undefined }, /version undefined/],
    ["without a configuration", { config: undefined }, /the checkpoint's config is missing or damaged/],
    ["with half a configuration", { config: file.metadata.config!.slice(0, 20) }, /config is missing or damaged/],
    ["with null for a configuration", { config: "null" }, /config is damaged: model: options must be an object, got null/],
    ["with a configuration out of range", { config: json({ vocabSize: 5, hiddenSize: -1 }) }, /config is damaged: hiddenSize/],
    ["with an unknown cell", { config: json({ vocabSize: 5, cell: "lstn" }) }, /config is damaged: cell must be one of/],
    ["without a tokenizer", { tokenizer: undefined }, /tokenizer is missing or damaged/],
    ["with half a tokenizer", { tokenizer: file.metadata.tokenizer!.slice(0, 30) }, /tokenizer is missing or damaged/],
    ["with an empty tokenizer", { tokenizer: "[]" }, /^the tokenizer is damaged/],
    ["with null for a tokenizer", { tokenizer: "null" }, /^the tokenizer is damaged/],
    ["with half a progress", { training: file.metadata.training!.slice(0, 30) }, /training is missing or damaged/],
    ["with null for its progress", { training: "null" }, /training is damaged/],
    ["without training options", { training: json({ ...training, options: undefined }) }, /training is damaged/],
    ["with a wrong option", { training: json({ ...training, options: { batchSize: 0 } }) }, /training is damaged: batchSize/],
    ["with half a step", { training: json({ ...training, step: 1.5 }) }, /training is damaged: step is 1\.5/],
    ["with a step before the first", { training: json({ ...training, step: -1 }) }, /training is damaged: step is -1/],
    ["without a step", { training: json({ ...training, step: undefined }) }, /training is damaged: step is undefined/],
    ["with a text for its loss", { training: json({ ...training, bestValLoss: "1" }) }, /damaged: bestValLoss is "1"/],
    ["with a random counter before the first", { training: json({ ...training, rngCounter: -1 }) }, /damaged: rngCounter is -1/],
    ["with half a place in its data", { training: json({ ...training, dataCursor: 0.5 }) }, /damaged: dataCursor is 0\.5/],
    ["with moments younger than its step", { training: json({ ...training, momentsSince: 4 }) }, /damaged: momentsSince is 4/],
    ["with a word for what is due", { training: json({ ...training, evaluationDue: "no" }) }, /damaged: evaluationDue is "no"/],
    ["with a field of its progress that nobody knows", { training: json({ ...training, pace: 7 }) }, /unknown field "pace" is 7/],
    ["with a fingerprint without a hash", { training: json({ ...training, data: { tokens: 3 } }) }, /damaged: data is an object/],
    ["with a fingerprint without a length", { training: json({ ...training, data: { hash: 3 } }) }, /damaged: data is an object/],
    ["with a word for its progress", { training: '"all"' }, /training is damaged: it is "all"/],
    ["with null for its options", { training: json({ ...training, options: null }) }, /damaged: options is null/],
    ["with a list of kernels", { tuning: '["a"]' }, /tuning is damaged: it does not name a kernel for each choice/],
    ["with a number for a kernel", { tuning: '{"a":"b","c":1}' }, /tuning is damaged: it does not name/],
    ["with a word for its kernels", { tuning: '"ab"' }, /tuning is damaged: it does not name/],
    ["with null for its kernels", { tuning: "null" }, /tuning is damaged/],
    ["without a text's fingerprint", { training: json({ ...training, data: undefined }) }, /damaged: data is undefined/],
  ];
  for (const [name, fields, message] of metadata) {
    it(`is refused: ${name}`, () => {
      expect(() => loadCheckpoint(changed(fields))).toThrow(isBad);
      expect(() => loadCheckpoint(changed(fields))).toThrow(message);
    });
  }

  it("is refused with what was wrong as the error's cause", () => {
    const causeOf = (fields: Record<string, string>): unknown => {
      try {
        loadCheckpoint(changed(fields));
      } catch (error) {
        return (error as Error).cause;
      }
      return undefined;
    };
    expect(causeOf({ config: "{" })).toBeInstanceOf(SyntaxError);
    expect(causeOf({ training: json({ ...training, options: { batchSize: 0 } }) })).toMatchObject({ code: "E_CONFIG" });
  });

  it("may lack what older versions did not write: moments from the first step, and no evaluation to come", () => {
    expect(loadCheckpoint(changed({ device: undefined }))).toMatchObject({
      device: undefined,
      training: { step: 3, momentsSince: 0, evaluationDue: false },
      tuning: new Map(),
    });
    const later = loadCheckpoint(changed({ training: json({ ...training, momentsSince: 3, evaluationDue: true }) }));
    expect(later.training).toMatchObject({ momentsSince: 3, evaluationDue: true });
  });

  it("is refused: another program's safetensors, without any metadata", () => {
    const header = new TextEncoder().encode('{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}');
    const other = new Uint8Array(8 + header.length + 4);
    other[0] = header.length;
    other.set(header, 8);
    expect(() => loadCheckpoint(other)).toThrow(isBad);
    expect(() => loadCheckpoint(other)).toThrow(/not a Gatewise checkpoint/);
  });

  const values = (shape: number[]): NamedTensor => ({ shape, data: new Float32Array(shape.reduce((x, y) => x * y, 1)) });
  const tensors: [name: string, tensors: Record<string, NamedTensor>, message: RegExp][] = [
    ["without a parameter", { "head.bias": gone }, /the model and run that it describes: missing "head\.bias" \[\d+\]$/],
    ["without the embedding", { "embedding.weight": gone }, /missing "embedding\.weight" \[\d+, 3\]$/],
    [
      "with a parameter of another size",
      { "rnn.weight_hh_l1": values([20, 4]) },
      /: "rnn\.weight_hh_l1" must be \[20, 5\], got \[20, 4\]$/,
    ],
    [
      "with a parameter of its size and another shape",
      { "head.weight": values([5, V]) },
      shapeError("head.weight", [V, 5], [5, V]),
    ],
    ["with a flattened parameter", { "head.weight": values([5 * V]) }, shapeError("head.weight", [V, 5], [5 * V])],
    ["with a layer too many", { "rnn.weight_hh_l2": values([20, 5]) }, /: left over "rnn\.weight_hh_l2" \[20, 5\]$/],
    ["without a moment", { "optimizer.v.head.bias": gone }, /: missing "optimizer\.v\.head\.bias" \[\d+\]$/],
    [
      "with a moment of another size",
      { "optimizer.m.rnn.bias_ih_l0": values([3]) },
      /"optimizer\.m\.rnn\.bias_ih_l0" must be \[20\], got \[3\]$/,
    ],
    [
      "with a moment of another shape",
      { "optimizer.v.rnn.weight_ih_l1": values([5, 20]) },
      shapeError("optimizer.v.rnn.weight_ih_l1", [20, 5], [5, 20]),
    ],
    ["without its carried state", { "state.c": gone }, /: missing "state\.c" \[2, 3, 5\]$/],
    ["with a state of another batch", { "state.h": values([3, 2, 5]) }, shapeError("state.h", [2, 3, 5], [3, 2, 5])],
    [
      "with the names of another program",
      Object.fromEntries(
        Object.entries(file.tensors).flatMap(([name, tensor]) => [
          [name, gone],
          [`lm.${name}`, tensor],
        ]),
      ),
      /: missing "embedding\.weight" \[\d+, 3\], .* and 31 more; left over "lm\.embedding\.weight" \[\d+, 3\], .* and 31 more$/,
    ],
  ];
  function shapeError(name: string, expected: readonly number[], got: readonly number[]): RegExp {
    const text = `: "${name}" must be [${expected.join(", ")}], got [${got.join(", ")}]`;
    return new RegExp(`${text.replaceAll(/[.[\]]/g, "\\$&")}$`);
  }
  for (const [name, fields, message] of tensors) {
    it(`is refused: ${name}`, () => {
      expect(() => loadCheckpoint(changed({}, fields))).toThrow(isBad);
      expect(() => loadCheckpoint(changed({}, fields))).toThrow(message);
    });
  }

  it("names four of the tensors of a kind, and how many more there are", () => {
    const own = Object.keys(file.tensors).filter((name) => name.startsWith("rnn."));
    const without = (count: number): RegExp | string => {
      const missing = own.slice(0, count);
      const named = missing.slice(0, 4).map((name) => `"${name}" [${file.tensors[name]!.shape.join(", ")}]`);
      return `describes: missing ${named.join(", ")}${count > 4 ? ` and ${count - 4} more` : ""}`;
    };
    for (const count of [1, 4, 5, 7]) {
      const fields = Object.fromEntries(own.slice(0, count).map((name) => [name, gone]));
      const refusal = new RegExp(
        `${without(count)
          .toString()
          .replaceAll(/[.[\]]/g, "\\$&")}$`,
      );
      expect(() => loadCheckpoint(changed({}, fields))).toThrow(refusal);
    }
  });

  it("is told from what is no decoded checkpoint at all, which nothing is made of", () => {
    const checkpoint = loadCheckpoint(bytes);
    const model = modelFromCheckpoint(device, checkpoint);
    const before = device.memory();
    const { shape, data } = checkpoint.tensors["head.bias"]!;
    const head = (tensor: unknown) => ({ ...checkpoint, tensors: { ...checkpoint.tensors, "head.bias": tensor } });
    const others: unknown[] = [
      undefined,
      null,
      bytes,
      { ...checkpoint, config: undefined },
      { ...checkpoint, config: "lstm" },
      { ...checkpoint, tensors: undefined },
      { ...checkpoint, tensors: "head.bias" },
      { ...checkpoint, tensors: null },
      head(null),
      head({}),
      head({ data }),
      head({ shape: String(shape), data }),
      head({ shape, data: [...data] }),
      head({ shape, data: Float64Array.from(data) }),
      head({ shape, data: data.subarray(1) }),
    ];
    const uses: Record<string, (other: any) => unknown> = {
      modelFromCheckpoint: (other) => modelFromCheckpoint(device, other),
      resumeTrainer: (other) => resumeTrainer(model, tokens, other),
      sameText: (other) => sameText(other, tokens),
    };
    for (const [where, use] of Object.entries(uses)) {
      for (const [i, other] of others.entries()) {
        const refused = expect.objectContaining({
          code: "E_CONFIG",
          message: expect.stringContaining(`${where}: expected a checkpoint, as loadCheckpoint gives it, got `),
        });
        expect(() => use(other), `${where} ${i}`).toThrow(refused);
      }
      expect(() => use({ ...checkpoint, config: { ...checkpoint.config, cell: "lstn" } })).toThrow(
        /^the checkpoint's config is damaged: /,
      );
      expect(() => use({ ...checkpoint, training: { ...checkpoint.training, step: -1 } })).toThrow(
        /^the checkpoint's training is damaged: /,
      );
    }
    expect(() => modelFromCheckpoint({} as never, checkpoint)).toThrow(/^modelFromCheckpoint: /);
    expect(() => resumeTrainer({} as never, tokens, checkpoint)).toThrow(/^resumeTrainer: /);
    expect(() => resumeTrainer(model, tokens, checkpoint, { batch: 2 } as never)).toThrow(
      /^resumeTrainer: unknown option "batch"; did you mean "batchSize"/,
    );
    expect(() => sameText(checkpoint, [V])).toThrow(/^sameText: token \d+ at 0 is not in/);
    expect(() => loadCheckpoint("x" as never)).toThrow(/^loadCheckpoint must be bytes/);
    expect(device.memory()).toEqual(before);
    model.dispose();
  });

  it("gives no model where its contents were changed afterwards, and leaves nothing behind", () => {
    const checkpoint = loadCheckpoint(bytes);
    const before = device.memory();
    const tensors = { ...checkpoint.tensors, "head.weight": values([5, V]) };
    expect(() => modelFromCheckpoint(device, { ...checkpoint, tensors })).toThrow(isBad);
    const config = { ...checkpoint.config, hiddenSize: 12_000 };
    expect(() => modelFromCheckpoint(device, { ...checkpoint, config })).toThrow(
      /"rnn\.weight_ih_l0" must be \[48000, 3\], got \[20, 3\], .* and \d+ more$/,
    );
    expect(device.memory()).toEqual(before);
  });

  it("holds a model alone if it says nothing of a run, which cannot be resumed", () => {
    const own = Object.keys(file.tensors).filter((name) => /^(optimizer|state)\./.test(name));
    expect(() => loadCheckpoint(changed({ training: undefined }))).toThrow(
      /does not hold the model that it describes: left over "optimizer\.m\.embedding/,
    );
    const checkpoint = loadCheckpoint(changed({ training: undefined }, Object.fromEntries(own.map((name) => [name, gone]))));
    const model = modelFromCheckpoint(device, checkpoint);
    const before = device.memory();
    expect(() => resumeTrainer(model, tokens, checkpoint)).toThrow(isBad);
    expect(() => resumeTrainer(model, tokens, checkpoint)).toThrow(
      /this checkpoint holds a model but no run; start a new run from it/,
    );
    expect(device.memory()).toEqual(before);
    model.dispose();
  });

  it("gives no run for a model of another configuration", () => {
    const checkpoint = loadCheckpoint(bytes);
    const model = LanguageModel.create(device, modelOptions({ cell: "gru" }));
    const before = device.memory();
    expect(() => resumeTrainer(model, tokens, checkpoint)).toThrow(/"rnn\.weight_ih_l0" must be \[15, 3\], got \[20, 3\]/);
    expect(device.memory()).toEqual(before);
    model.dispose();
  });

  for (const value of [NaN, Infinity, -Infinity]) {
    it(`with ${value} in it is refused where it would be computed with, by the tensor's name, and can still be looked at`, () => {
      for (const name of ["rnn.weight_hh_l1", "head.bias", "optimizer.v.head.weight", "state.c"]) {
        const { shape, data } = file.tensors[name]!;
        const spoilt = data.slice();
        spoilt[3] = value;
        const checkpoint = loadCheckpoint(changed({}, { [name]: { shape, data: spoilt } }));
        const before = device.memory();
        const use = (): void => {
          const model = modelFromCheckpoint(device, checkpoint);
          try {
            resumeTrainer(model, tokens, checkpoint).dispose();
          } finally {
            model.dispose();
          }
        };
        expect(use).toThrow(isBad);
        expect(use).toThrow(`the checkpoint's "${name}" holds ${value} at 3`);
        expect(device.memory()).toEqual(before);
        if (/^(rnn|head)/.test(name)) expect(() => modelFromCheckpoint(device, checkpoint)).toThrow(isBad);
      }
    });
  }

  it("is refused if its tokenizer is not its model's", () => {
    const tokenizer = JSON.stringify(CharTokenizer.fromText("abc").toJSON());
    expect(() => loadCheckpoint(changed({ tokenizer }, {}))).toThrow(isBad);
    expect(() => loadCheckpoint(changed({ tokenizer }, {}))).toThrow(/tokenizer has 3 tokens, its model \d+/);
  });

  it("is refused wherever it was cut short", () => {
    for (let length = 0; length < bytes.length; length++) {
      expect(() => loadCheckpoint(bytes.subarray(0, length)), `${length} bytes`).toThrow(isBad);
    }
    expect(() => loadCheckpoint(bytes)).not.toThrow();
  });

  it("with any byte of its header changed is read or refused, never worse, and leaves nothing behind", () => {
    const headerEnd = 8 + new DataView(bytes.buffer).getUint32(0, true);
    const before = device.memory();
    const place = fc.integer({ min: 8, max: headerEnd - 1 });
    fc.assert(
      fc.property(place, fc.oneof(fc.integer({ min: 0x20, max: 0x7e }), fc.integer({ min: 0, max: 255 })), (at, value) => {
        const damaged = bytes.slice();
        damaged[at] = value;
        try {
          const checkpoint = loadCheckpoint(damaged);
          const model = modelFromCheckpoint(device, checkpoint);
          try {
            resumeTrainer(model, tokens, checkpoint).dispose();
          } finally {
            model.dispose();
          }
        } catch (error) {
          if (!(error instanceof GatewiseError)) throw error;
        }
        expect(device.memory()).toEqual(before);
      }),
      { numRuns: 500 },
    );
  });
});

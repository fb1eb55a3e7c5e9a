// The safetensors codec, checkpoints and exact resume.
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { CharTokenizer } from "../../src/data/tokenizer.ts";
import { LanguageModel, type LanguageModelOptions } from "../../src/models/language-model.ts";
import { openDevice } from "../../src/runtime/device.ts";
import { loadCheckpoint, modelFromCheckpoint, resumeTrainer, sameText, saveCheckpoint } from "../../src/training/checkpoint.ts";
import { decodeSafeTensors, encodeSafeTensors, type NamedTensor } from "../../src/training/safetensors.ts";
import { Trainer, type TrainerOptions } from "../../src/training/trainer.ts";

const device = await openDevice({ prefer: "cpu" });
afterAll(() => device.dispose());

const bad = expect.objectContaining({ code: "E_BAD_CHECKPOINT" });

describe("safetensors", () => {
  it("give back what was put in, wherever the bytes lie", () => {
    const tensor = fc
      .array(fc.float({ noNaN: true }), { maxLength: 9 })
      .map((values): NamedTensor => ({ shape: [values.length], data: Float32Array.from(values) }));
    const file = fc.record({
      tensors: fc.dictionary(fc.string(), tensor, { noNullPrototype: true }),
      metadata: fc.dictionary(fc.string(), fc.string(), { noNullPrototype: true }),
    });
    fc.assert(
      fc.property(file, fc.integer({ min: 0, max: 7 }), ({ tensors, metadata }, offset) => {
        fc.pre(![...Object.keys(tensors), ...Object.keys(metadata)].some((name) => ["__metadata__", "__proto__"].includes(name)));
        const bytes = encodeSafeTensors({ tensors, metadata });
        const shifted = new Uint8Array(bytes.length + offset);
        shifted.set(bytes, offset);
        expect(decodeSafeTensors(shifted.subarray(offset))).toEqual({ tensors, metadata });
        // As Node's readFile returns it, whose slice is a view.
        expect(decodeSafeTensors(Buffer.from(bytes))).toEqual({ tensors, metadata });
        expect(new DataView(bytes.buffer).getUint32(0, true) % 8).toBe(0);
      }),
    );
  });
  const bytes = encodeSafeTensors({
    tensors: { a: { shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) } },
    metadata: { k: "v" },
  });
  it("cut short anywhere are refused", () => {
    for (let length = 0; length < bytes.length; length++) expect(() => decodeSafeTensors(bytes.subarray(0, length))).toThrow(bad);
  });
  it("with any byte of the header changed are read or refused, never worse", () => {
    for (let i = 0; i < bytes.length - 24; i++) {
      for (const value of [0, 0x22, 0x7b, 0xff]) {
        const changed = bytes.slice();
        changed[i] = value;
        try {
          decodeSafeTensors(changed);
        } catch (error) {
          expect(error).toEqual(bad);
        }
      }
    }
  });
  it("lie as the format says", () => {
    const view = new DataView(bytes.buffer);
    const length = view.getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
    expect(header).toEqual({ __metadata__: { k: "v" }, a: { dtype: "F32", shape: [2, 3], data_offsets: [0, 24] } });
    expect(view.getFloat32(8 + length + 20, true)).toBe(6);
  });
});

const text = "a rose is a rose is a rose; is it not? ".repeat(12);
const tokenizer = CharTokenizer.fromText(text);
const tokens = tokenizer.encode(text);

async function run(
  stops: readonly number[],
  model: Partial<LanguageModelOptions>,
  settings: TrainerOptions,
): Promise<Uint8Array> {
  let bytes: Uint8Array | undefined;
  for (const stop of stops) {
    const checkpoint = bytes && loadCheckpoint(bytes);
    const options = { embeddingSize: 3, hiddenSize: 5, ...model, vocabSize: tokenizer.size };
    const made = checkpoint ? modelFromCheckpoint(device, checkpoint) : LanguageModel.create(device, options);
    const all = { batchSize: 3, seqLen: 6, logInterval: 1, evalInterval: 3, sampleInterval: 0, tokenizer, ...settings };
    const trainer = checkpoint ? resumeTrainer(made, tokens, checkpoint) : Trainer.create(made, tokens, all);
    for await (const _ of trainer.run({ maxSteps: stop }));
    bytes = await saveCheckpoint(trainer);
    trainer.dispose();
    made.dispose();
  }
  return bytes!;
}

describe("a run that is stopped and resumed ends in the bytes of the unbroken run", () => {
  const runs: [string, Partial<LanguageModelOptions>, TrainerOptions][] = [
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
      for (const stop of [1, 4, 8]) expect(await run([stop, 9], model, settings), `stopped after ${stop}`).toEqual(unbroken);
    });
  }
});

describe("a checkpoint", () => {
  it("holds PyTorch's names and shapes, moments, state and progress", async () => {
    const { tensors, training, config, tokenizer: kept } = loadCheckpoint(await run([3], { cell: "lstm", numLayers: 2 }, {}));
    const V = tokenizer.size;
    expect(
      Object.fromEntries(
        Object.entries(tensors)
          .filter(([n]) => !n.startsWith("optimizer."))
          .map(([n, { shape }]) => [n, shape]),
      ),
    ).toEqual({
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
      "state.h": [2, 3, 5],
      "state.c": [2, 3, 5],
    });
    expect(tensors["optimizer.m.rnn.weight_hh_l1"]!.shape).toEqual([20, 5]);
    expect(tensors["optimizer.v.head.bias"]!.shape).toEqual([V]);
    expect(training).toMatchObject({
      step: 3,
      rngCounter: 3,
      dataCursor: 3,
      bestValLoss: expect.any(Number),
      options: { batchSize: 3 },
    });
    expect(config).toMatchObject({ cell: "lstm", numLayers: 2 });
    expect(kept.characters).toEqual(tokenizer.characters);
  });

  it("knows its text", async () => {
    const checkpoint = loadCheckpoint(await run([1], {}, {}));
    expect(sameText(checkpoint, tokens)).toBe(true);
    expect(sameText(checkpoint, tokens.subarray(1))).toBe(false);
  });

  it("that is damaged or of something else is refused, and a model of it leaves nothing behind", async () => {
    const file = decodeSafeTensors(await run([1], {}, {}));
    const changed = (metadata: Record<string, string>, tensors = file.tensors) =>
      loadCheckpoint(encodeSafeTensors({ tensors, metadata: { ...file.metadata, ...metadata } }));
    expect(() => changed({ format: "pt" })).toThrow(bad);
    expect(() => changed({ version: "2" })).toThrow(/newer Gatewise/);
    expect(() => changed({ config: "{" })).toThrow(/config is missing or damaged/);
    expect(() => changed({ config: JSON.stringify({ vocabSize: 5, hiddenSize: -1 }) })).toThrow(/hiddenSize/);
    expect(() => changed({ tokenizer: "[]" })).toThrow(bad);
    const { "head.bias": _, ...rest } = file.tensors;
    const before = device.memory();
    expect(() => modelFromCheckpoint(device, changed({}, rest))).toThrow(/"head\.bias" \[\d+\] is missing/);
    const { training: _training, ...modelOnly } = file.metadata;
    const model = LanguageModel.create(device, changed({}).config);
    const checkpoint = loadCheckpoint(encodeSafeTensors({ tensors: file.tensors, metadata: modelOnly }));
    expect(() => resumeTrainer(model, tokens, checkpoint)).toThrow(/no run/);
    model.dispose();
    expect(device.memory()).toEqual(before);
  });
});

// What a run does when something goes wrong in the middle of it.
import { afterAll, expect, it } from "vitest";
import { METRIC } from "../../src/kernels/reduce.ts";
import { CharTokenizer } from "../../src/data/tokenizer.ts";
import { LanguageModel } from "../../src/models/language-model.ts";
import { openDevice } from "../../src/runtime/device.ts";
import type { Tensor } from "../../src/runtime/tensor.ts";
import { Trainer, type TrainerOptions } from "../../src/training/trainer.ts";

const device = await openDevice({ prefer: "cpu" });
afterAll(() => device.dispose());

const text = "a rose is a rose is a rose; is it not? ".repeat(12);
const tokenizer = CharTokenizer.fromText(text);
const SMALL: TrainerOptions = { batchSize: 3, seqLen: 6, valFraction: 0, logInterval: 0, evalInterval: 0, sampleInterval: 0 };

function makeTrainer(options: TrainerOptions): Trainer {
  const model = LanguageModel.create(device, { cell: "rnn", vocabSize: tokenizer.size, embeddingSize: 3, hiddenSize: 5 });
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
      toJSON: () => null,
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

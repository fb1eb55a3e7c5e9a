// What a run tells and when: rates by the clock, a look at the numbers before they are used, intervals in checkpoints.
import { afterAll, describe, expect, it, vi } from "vitest";
import { CharTokenizer } from "../../src/data/tokenizer.ts";
import { GatewiseError } from "../../src/errors.ts";
import { METRIC } from "../../src/kernels/reduce.ts";
import { LanguageModel } from "../../src/models/language-model.ts";
import { openDevice } from "../../src/runtime/open.ts";
import type { Tensor } from "../../src/runtime/tensor.ts";
import { loadCheckpoint, resumeTrainer, saveCheckpoint } from "../../src/training/checkpoint.ts";
import type { TrainingEvent } from "../../src/training/events.ts";
import { Trainer, type TrainerOptions } from "../../src/training/trainer.ts";

const device = await openDevice({ prefer: "cpu" });
afterAll(() => device.dispose());

const text = "a rose is a rose is a rose; is it not? ".repeat(12);
const tokenizer = CharTokenizer.fromText(text);
const [B, T] = [3, 6];
const QUIET = { batchSize: B, seqLen: T, logInterval: 0, evalInterval: 0, sampleInterval: 0, checkpointInterval: 0 };

function makeTrainer(options: TrainerOptions): Trainer {
  const model = LanguageModel.create(device, { cell: "gru", vocabSize: tokenizer.size, embeddingSize: 3, hiddenSize: 5 });
  return Trainer.create(model, tokenizer.encode(text), { ...QUIET, tokenizer, ...options });
}

describe("after a gradient that was not finite nothing more is made of the parameters:", () => {
  const everyStep: Record<string, TrainerOptions> = {
    "no evaluation": { evalInterval: 1, valFraction: 0.3 },
    "no sample": { sampleInterval: 1 },
    "no checkpoint": { checkpointInterval: 1, onCheckpoint: async () => "somewhere" },
  };
  for (const [name, options] of Object.entries(everyStep)) {
    it(name, async () => {
      const trainer = makeTrainer(options);
      for await (const _ of trainer.run({ maxSteps: 2 }));
      const { metrics } = trainer as unknown as { metrics: Tensor };
      device.write(
        metrics,
        Float32Array.from({ length: METRIC.count }, (_, i) => Number(i === METRIC.skipped)),
      );
      const seen: string[] = [];
      const run = async (): Promise<void> => {
        for await (const { event } of trainer.run({ maxSteps: 5 })) seen.push(event);
      };
      await expect(run()).rejects.toMatchObject({ code: "E_NAN_LOSS" });
      expect(seen).toEqual(["start"]);
      expect(trainer.step).toBe(3);
      trainer.dispose();
    });
  }
});

it("a read that fails while the run waits for an earlier one ends it with its error, and is no rejection that nobody handles", async () => {
  const unhandled: unknown[] = [];
  const hear = (reason: unknown): void => void unhandled.push(reason);
  process.on("unhandledRejection", hear);
  const trainer = makeTrainer({ logInterval: 1 });
  const read = device.read.bind(device);
  const lost = new GatewiseError("E_DEVICE_LOST", "the driver starts again");
  const reading = vi
    .spyOn(device, "read")
    .mockImplementationOnce((tensor) => new Promise((resolve) => setTimeout(() => resolve(read(tensor)), 30)))
    .mockImplementationOnce(() => Promise.reject(lost));
  try {
    const run = async (): Promise<void> => {
      for await (const { event } of trainer.run({ maxSteps: 2 })) expect(event).toBe("start");
    };
    await expect(run()).rejects.toBe(lost);
    expect(unhandled).toEqual([]);
  } finally {
    process.off("unhandledRejection", hear);
    reading.mockRestore();
    trainer.dispose();
  }
});

describe("characters a second", () => {
  /** Runs with a clock by which a training step takes 50 ms and each of an evaluation's 24 windows 10 ms. */
  async function ratesOf(options: TrainerOptions, maxSteps: number): Promise<number[]> {
    let now = 1000;
    const clock = vi.spyOn(performance, "now").mockImplementation(() => now);
    const record = device.record.bind(device);
    const recording = vi.spyOn(device, "record").mockImplementation(async (name, build) => {
      const plan = await record(name, build);
      const run: typeof plan.run = async (...writes) => {
        now += name === "train" ? 50 : 10;
        await plan.run(...writes);
      };
      return { ...plan, run };
    });
    try {
      const trainer = makeTrainer(options);
      const rates: number[] = [];
      for await (const event of trainer.run({ maxSteps })) if (event.event === "step") rates.push(event.tokensPerSecond);
      trainer.dispose();
      return rates;
    } finally {
      recording.mockRestore();
      clock.mockRestore();
    }
  }
  const rate = (B * T) / 0.05;

  it("are those of the steps since the last log", async () => {
    for (const logInterval of [1, 3]) {
      const rates = await ratesOf({ logInterval }, 12);
      expect(rates).toHaveLength(12 / logInterval);
      for (const each of rates) expect(each).toBeCloseTo(rate, 6);
    }
  });

  it("do not count the time of an evaluation, whether or not its step is logged", async () => {
    for (const logInterval of [1, 2, 4]) {
      const rates = await ratesOf({ logInterval, evalInterval: 2, valFraction: 0.3 }, 8);
      expect(rates).toHaveLength(8 / logInterval);
      for (const each of rates) expect(each).toBeCloseTo(rate, 6);
    }
  });
});

describe("events come", () => {
  const eventsOf = async (options: TrainerOptions, maxSteps: number): Promise<string[]> => {
    const trainer = makeTrainer({ sample: { length: 2 }, onCheckpoint: async () => "here", ...options });
    const events: TrainingEvent[] = [];
    for await (const event of trainer.run({ maxSteps })) events.push(event);
    trainer.dispose();
    return events.map(({ event, step }) => `${event} ${step}`);
  };

  it("each at its own interval, and all at the end", async () => {
    const options = { logInterval: 2, evalInterval: 3, sampleInterval: 4, checkpointInterval: 6, valFraction: 0.3 };
    const late = ["step 7", "eval 7", "sample 7", "checkpoint 7", "end 7"];
    const early = ["start 0", "step 2", "eval 3", "step 4", "sample 4", "step 6", "eval 6", "checkpoint 6"];
    expect(await eventsOf(options, 7)).toEqual([...early, ...late]);
  });

  it("not at all where the interval is 0", async () => {
    expect(await eventsOf({ valFraction: 0.3 }, 7)).toEqual(["start 0", "end 7"]);
  });
});

describe("a checkpoint holds", () => {
  it("the intervals that it is given in place of the run's own, and a resumed run has them", async () => {
    const trainer = makeTrainer({ logInterval: 2, evalInterval: 4, sampleInterval: 5, checkpointInterval: 6 });
    for await (const _ of trainer.run({ maxSteps: 1 }));
    const given = { logInterval: 11, sampleInterval: 12, checkpointInterval: 13 };
    const plain = loadCheckpoint(await saveCheckpoint(trainer)).training!.options;
    expect(plain).toEqual(trainer.options);
    const checkpoint = loadCheckpoint(await saveCheckpoint(trainer, given));
    expect(checkpoint.training!.options).toEqual({ ...trainer.options, ...given });
    const resumed = resumeTrainer(trainer.model, tokenizer.encode(text), checkpoint);
    expect(resumed.options).toEqual({ ...trainer.options, ...given });
    resumed.dispose();
    trainer.dispose();
  });
});

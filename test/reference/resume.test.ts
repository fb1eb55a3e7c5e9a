// What a run does that goes on in another way than it began: another optimizer, schedule, batch or precision.
import { afterAll, describe, expect, it } from "vitest";
import { CharTokenizer } from "../../src/data/tokenizer.ts";
import { LanguageModel, type LanguageModelOptions } from "../../src/models/language-model.ts";
import type { Device } from "../../src/runtime/device.ts";
import { openDevice } from "../../src/runtime/open.ts";
import {
  loadCheckpoint,
  modelFromCheckpoint,
  resumeTrainer,
  saveCheckpoint,
  type ResumeNotice,
} from "../../src/training/checkpoint.ts";
import { restartSchedule } from "../../src/training/schedule.ts";
import { Trainer, type TrainerOptions } from "../../src/training/trainer.ts";

const device = await openDevice({ prefer: "cpu" });
afterAll(() => device.dispose());

const text = "abbabaab";
const tokenizer = CharTokenizer.fromText(text);
const tokens = tokenizer.encode(text);
const OPTIONS: TrainerOptions = { tokenizer, batchSize: 1, seqLen: 7, valFraction: 0, clip: 0, logInterval: 1 };

/** Trains a tiny model from its first step. */
async function begin(steps: number, settings: TrainerOptions, model: Partial<LanguageModelOptions> = {}): Promise<Uint8Array> {
  const made = LanguageModel.create(device, { cell: "rnn", vocabSize: 2, hiddenSize: 1, embeddingSize: 1, seed: 1, ...model });
  const trainer = Trainer.create(made, tokens, { ...OPTIONS, ...settings });
  for await (const _ of trainer.run({ maxSteps: steps }));
  const bytes = await saveCheckpoint(trainer);
  trainer.dispose();
  made.dispose();
  return bytes;
}

/** Goes on from a checkpoint; with what was told, the rates of the steps, and how far head.bias[0] moved. */
async function goOn(bytes: Uint8Array, steps: number, overrides: TrainerOptions = {}) {
  const checkpoint = loadCheckpoint(bytes);
  const model = modelFromCheckpoint(device, checkpoint);
  const notices: ResumeNotice[] = [];
  const trainer = resumeTrainer(model, tokens, checkpoint, overrides, (notice) => notices.push(notice));
  const rates: number[] = [];
  for await (const event of trainer.run({ maxSteps: checkpoint.training!.step + steps }))
    if (event.event === "step") rates.push(event.learningRate);
  const result = await saveCheckpoint(trainer);
  trainer.dispose();
  model.dispose();
  const bias = (file: Uint8Array): number => loadCheckpoint(file).tensors["head.bias"]!.data[0]!;
  return { bytes: result, notices, rates, moved: bias(result) - bias(bytes), trainer };
}

it("an option that is given as undefined is that of the checkpoint, as one that is left out", async () => {
  const bytes = await begin(1, { learningRate: 0.0625, clip: 0.5 });
  const nothing = { learningRate: undefined, clip: undefined, tokenizer: undefined } as unknown as TrainerOptions;
  const { bytes: after, rates } = await goOn(bytes, 1, nothing);
  expect(rates).toEqual([0.0625]);
  expect(loadCheckpoint(after).training!.options).toMatchObject({ learningRate: 0.0625, clip: 0.5 });
});

describe("with another optimizer", () => {
  it("the first step is that of fresh moments: Adam's mean is not taken for SGD's momentum", async () => {
    const adam = await begin(3, { optimizer: "adam", learningRate: 0.01 });
    const sgd = { optimizer: "sgd", momentum: 0.9, learningRate: 0.1, clip: 0 } as const;
    // What torch.optim.SGD does in its first step.
    const { moved, notices } = await goOn(adam, 1, sgd);
    expect(moved).toBeCloseTo(-0.0067822, 7);
    expect(notices).toEqual([
      { about: "optimizer", message: "the optimizer is sgd now, and was adam: its moments begin from zero" },
    ]);
  });

  it("momentum that SGD did not have begins with the gradient, not with the last one", async () => {
    const before = await begin(3, { optimizer: "sgd", momentum: 0, learningRate: 0.1 });
    const plain = await goOn(before, 1);
    // As torch.optim.SGD begins: its first step does not depend on the momentum.
    const first = await goOn(before, 1, { momentum: 0.9 });
    expect(first.moved).toBe(plain.moved);
    expect(first.notices).toEqual([{ about: "optimizer", message: "the momentum is 0.9 now, and was 0: it begins from zero" }]);
    expect((await goOn(first.bytes, 1)).notices).toEqual([]);
  });

  it("Adam's first step is as long as its rate, whatever was before it, and its corrections go on from there", async () => {
    for (const optimizer of ["sgd", "rmsprop", "adamw"] as const) {
      const before = await begin(3, { optimizer, momentum: 0, learningRate: 0.1 });
      const first = await goOn(before, 1, { optimizer: "adam", learningRate: 0.01 });
      // With g the gradient, m and v corrected are g and g²: a step of lr·g/√g².
      expect(Math.abs(first.moved), optimizer).toBeCloseTo(0.01, 5);
      const whole = await goOn(before, 5, { optimizer: "adam", learningRate: 0.01 });
      const rest = await goOn((await goOn(first.bytes, 2)).bytes, 2);
      expect(rest.bytes, optimizer).toEqual(whole.bytes);
      expect(rest.notices).toEqual([]);
    }
  });

  it("momentum means nothing to Adam, whose moments stay", async () => {
    const before = await begin(3, { optimizer: "adam", learningRate: 0.01 });
    const plain = await goOn(before, 1);
    const other = await goOn(before, 1, { momentum: 0.9 });
    expect([other.moved, other.notices]).toEqual([plain.moved, []]);
  });

  it("a run that keeps its optimizer keeps its moments, and its file says nothing of their beginning", async () => {
    const settings = { optimizer: "sgd", momentum: 0.9, learningRate: 0.1 } as const;
    const { bytes, notices } = await goOn(await begin(3, settings), 2);
    expect(bytes).toEqual(await begin(5, settings));
    expect(notices).toEqual([]);
    expect(Buffer.from(bytes).includes("momentsSince")).toBe(false);
  });
});

describe("over more steps", () => {
  const cosine = { learningRate: 0.01, schedule: "cosine", totalSteps: 10 } as const;

  it("a schedule that had come to its end says from which rate to which it jumps", async () => {
    const { notices, rates } = await goOn(await begin(10, cosine), 1, { totalSteps: 20 });
    // 0.01·(0.1 + 0.45·(1 + cos 0.9π)), and half-way between 0.01 and its tenth.
    expect(rates).toEqual([expect.closeTo(0.0055, 6)]);
    expect(notices).toEqual([
      {
        about: "learningRate",
        message: "the learning rate goes from 0.00122 at step 10 to 0.0055, by the cosine schedule over 20 steps",
      },
    ]);
  });

  it("and half-way through it, or with another schedule, but not where all stays as it was or a rate was asked for", async () => {
    const half = await begin(5, cosine);
    expect((await goOn(half, 1, { totalSteps: 40 })).notices).toHaveLength(1);
    expect((await goOn(half, 1, { schedule: "constant" })).notices[0]!.message).toMatch(/from 0\.00689 at step 5 to 0\.01, by/);
    expect((await goOn(half, 1)).notices).toEqual([]);
    expect((await goOn(half, 1, { learningRate: 0.5 })).notices).toEqual([]);
    const constant = await begin(5, { ...cosine, schedule: "constant" });
    expect((await goOn(constant, 1, { totalSteps: 40 })).notices).toEqual([]);
  });

  it("it can go on from the rate that it had reached, down to a tenth of it", async () => {
    const bytes = await begin(10, cosine);
    const { options, step } = loadCheckpoint(bytes).training!;
    const given = { totalSteps: 20, ...restartSchedule(step, options, "reached") };
    const { rates, notices } = await goOn(bytes, 11, given);
    const reached = 0.01 * (0.1 + 0.45 * (1 + Math.cos(0.9 * Math.PI)));
    expect(notices).toEqual([]);
    expect(rates).toHaveLength(11);
    expect([rates[0], rates[5], rates[10]]).toEqual([reached, 0.55 * reached, 0.1 * reached].map((x) => expect.closeTo(x, 9)));
  });

  it("or begin a new schedule at the peak, with its warm-up; both outlive the next checkpoint", async () => {
    const bytes = await begin(10, { ...cosine, warmupSteps: 2 });
    const { options, step } = loadCheckpoint(bytes).training!;
    const given = { totalSteps: 20, ...restartSchedule(step, options, "peak") };
    const whole = await goOn(bytes, 10, given);
    expect(whole.rates.slice(0, 3)).toEqual([0.005, 0.01, 0.01].map((x) => expect.closeTo(x, 8)));
    const parts = await goOn((await goOn(bytes, 4, given)).bytes, 6);
    expect(parts.notices).toEqual([]);
    expect([parts.rates, parts.bytes]).toEqual([whole.rates.slice(4), whole.bytes]);
  });
});

describe("what a change of the cut means is said:", () => {
  const batch = "the batch is 1 now, and was 2: the text is cut into other streams, whose state begins from zero";
  const windows = (now: string, before: string): string =>
    `the text is cut into windows of ${now} for validation now, and was into windows of ${before} for validation: reading goes on at another place`;
  const [carry, zero] = [{ state: "carry" }, { state: "zero" }] as const;
  const cases: [name: string, before: TrainerOptions, now: TrainerOptions, notices: ResumeNotice[]][] = [
    ["another batch", carry, { batchSize: 1 }, [{ about: "batchSize", message: batch }]],
    ["another batch and window", carry, { batchSize: 1, seqLen: 2 }, [{ about: "batchSize", message: batch }]],
    ["another window", carry, { seqLen: 2 }, [{ about: "windows", message: windows("2 with 0", "3 with 0") }]],
    ["another split", carry, { valFraction: 0.125 }, [{ about: "windows", message: windows("3 with 0.125", "3 with 0") }]],
    ["nothing", carry, {}, []],
    ["random windows of another size", zero, { batchSize: 1, seqLen: 2, valFraction: 0.125 }, []],
    ["random windows in place of streams", carry, { ...zero, batchSize: 1, seqLen: 2 }, []],
    ["streams in place of random windows", zero, { ...carry, batchSize: 1 }, []],
  ];
  for (const [name, before, now, notices] of cases) {
    it(name, async () => {
      const bytes = await begin(2, { seqLen: 3, batchSize: 2, ...before });
      expect((await goOn(bytes, 1, now)).notices).toEqual(notices);
    });
  }

  it("streams in place of random windows begin from a state of zero, and a state that nobody carries is dropped", async () => {
    const checkpoint = loadCheckpoint(await begin(2, zero));
    const model = modelFromCheckpoint(device, checkpoint);
    const carried = resumeTrainer(model, tokens, checkpoint, carry);
    expect([...(await device.read(carried.state!.h!))]).toEqual([0]);
    carried.dispose();
    const dropped = resumeTrainer(model, tokens, loadCheckpoint(await begin(2, carry)), zero);
    expect(dropped.state).toBeUndefined();
    dropped.dispose();
    model.dispose();
  });

  it("a schedule that is another before the first step is no jump", async () => {
    const bytes = await begin(0, { schedule: "cosine", totalSteps: 10 });
    expect((await goOn(bytes, 1, { warmupSteps: 5 })).notices).toEqual([]);
  });

  it("whoever hears it may refuse, which leaves no trainer behind; nobody has to", async () => {
    const checkpoint = loadCheckpoint(await begin(2, { seqLen: 3, batchSize: 2 }));
    const model = modelFromCheckpoint(device, checkpoint);
    const before = device.memory();
    const refuse = (): never => {
      throw new Error("not so");
    };
    expect(() => resumeTrainer(model, tokens, checkpoint, { batchSize: 1 }, refuse)).toThrow("not so");
    expect(device.memory()).toEqual(before);
    resumeTrainer(model, tokens, checkpoint, { batchSize: 1 }).dispose();
    expect(device.memory()).toEqual(before);
    model.dispose();
  });
});

describe("a checkpoint in f16, on a device without shader-f16", () => {
  /** The CPU device, as a GPU that lacks the feature. */
  const without: Device = Object.create(device, {
    gpuDevice: { value: { features: new Set() } },
    description: { value: "some GPU" },
  });

  it("gives a model that samples in f32, because its parameters are f32", async () => {
    const checkpoint = loadCheckpoint(await begin(2, {}, { precision: "f16" }));
    expect(checkpoint.config.precision).toBe("f16");
    const model = modelFromCheckpoint(without, checkpoint);
    expect(model.config).toEqual({ ...checkpoint.config, precision: "f32" });
    expect((await model.stateDict())["head.bias"]).toEqual(checkpoint.tensors["head.bias"]!.data);
    expect(await model.sample(tokenizer, { prompt: "a", length: 5, seed: 1 })).toMatch(/^a[ab]{5}$/);
    model.dispose();
    const having: Device = Object.create(device, { gpuDevice: { value: { features: new Set(["shader-f16"]) } } });
    for (const able of [device, having]) {
      const same = modelFromCheckpoint(able, checkpoint);
      expect(same.config.precision).toBe("f16");
      same.dispose();
    }
  });

  it("is trained on only in so many words", async () => {
    const checkpoint = loadCheckpoint(await begin(2, {}, { precision: "f16" }));
    const before = device.memory();
    const resume = (config: typeof checkpoint.config): string => {
      const model = modelFromCheckpoint(without, { ...checkpoint, config });
      try {
        const trainer = resumeTrainer(model, tokens, { ...checkpoint, config });
        trainer.dispose();
        return trainer.model.config.precision;
      } finally {
        model.dispose();
      }
    };
    expect(() => resume(checkpoint.config)).toThrow(expect.objectContaining({ code: "E_CONFIG" }));
    expect(() => resume(checkpoint.config)).toThrow(
      /trained in f16, and some GPU has no shader-f16; to train it on in f32, give --precision f32/,
    );
    expect(resume({ ...checkpoint.config, precision: "f32" })).toBe("f32");
    expect(device.memory()).toEqual(before);
  });
});

it.each([
  [4, 2, false, 1],
  [4, 2, true, 0],
  [5, 2, false, 1],
  [6, 2, true, 1],
  [6, 2, false, 2],
  [6, 6, false, 0],
  [6, null, false, 0],
])(
  "after step %i, with validations after every second, the best after %s, the last still to come: %s, none was better for %i",
  async (step, bestStep, evaluationDue, count) => {
    const checkpoint = loadCheckpoint(await begin(1, { valFraction: 0.25, evalInterval: 2, patience: 9, seqLen: 3 }));
    const training = { ...checkpoint.training!, step, bestStep, evaluationDue };
    const model = modelFromCheckpoint(device, checkpoint);
    const trainer = resumeTrainer(model, tokens, { ...checkpoint, training });
    expect(trainer.sinceBest).toBe(count);
    expect([trainer.step, trainer.bestStep, trainer.evaluationDue]).toEqual([step, bestStep ?? 0, evaluationDue]);
    expect(trainer.bestValLoss).toBe(checkpoint.training!.bestValLoss ?? Infinity);
    trainer.dispose();
    model.dispose();
  },
);

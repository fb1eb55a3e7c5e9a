// Trains small models of about equal size on the tasks that only memory solves, and tests them on fresh draws.
import { checkInteger, checkSeed } from "../checks.ts";
import { checkLag, drawTask, TASKS, type TaskName } from "../data/tasks.ts";
import { IGNORE } from "../data/batches.ts";
import { cellOf, embedded, inBlock } from "../models/cells.ts";
import { parameterCount } from "../models/config.ts";
import type { LanguageModel, LanguageModelOptions } from "../models/language-model.ts";
import { recordPass } from "../models/pass.ts";
import { modelName, PRESETS, type PresetName } from "../models/presets.ts";
import { Trainer } from "../training/trainer.ts";

/** How large the models are, and how they are trained. */
export const MEMORY_SIZES = {
  /** As many parameters as an LSTM of 88 units or an RNN of 180 has; Adam's rate is one at which no kind falls behind. */
  full: { parameters: 40_000, embeddingSize: 16, batchSize: 32, learningRate: 3e-3 },
  /** For a page, on the CPU: every kind in a minute. Small models take larger steps. */
  small: { parameters: 5000, embeddingSize: 8, batchSize: 16, learningRate: 1e-2 },
} as const;
export type MemorySize = keyof typeof MEMORY_SIZES;

/** Layers of a model of blocks: what is to be remembered over time is found in the first, and made use of in the second. */
const BLOCKS = 2;
/** The vocabulary that sizes are counted with, the largest: a preset's model is as wide in every task. */
const VOCABULARY = 16;
/** Tokens and rows of a test, at most. */
const TEST_TOKENS = 16_384;
const TEST_ROWS = 256;
/** Steps between two tests, and between two reports. */
const TEST_EVERY = 25;
const LOG_EVERY = 5;

/** A model of a preset for a task, as wide as its number of parameters lets it be. */
export function memoryConfig(preset: PresetName, task: TaskName, size: MemorySize = "full"): LanguageModelOptions {
  const { parameters, embeddingSize } = MEMORY_SIZES[size];
  const config = PRESETS[preset];
  const long = Object.entries(cellOf(config).options).map(([name, { longMemory }]) => [name, longMemory]);
  const options = {
    ...Object.fromEntries(long),
    ...config,
    ...embedded(config, embeddingSize),
    ...(inBlock(config) && { numLayers: BLOCKS }),
  };
  const count = (hiddenSize: number): number => parameterCount({ ...options, hiddenSize, vocabSize: VOCABULARY });
  let hiddenSize = 4;
  while (count(hiddenSize + 4) <= parameters) hiddenSize += 4;
  return { ...options, hiddenSize, vocabSize: TASKS[task].characters.length };
}

export interface MemoryOptions {
  readonly task: TaskName;
  /** By default the task's own. */
  readonly lag?: number | undefined;
  /** Training steps at most; by default the task's own. */
  readonly steps?: number | undefined;
  readonly seed?: number | undefined;
  readonly size?: MemorySize | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** How far a training has come: at every test, and between them without a new accuracy. */
export interface MemoryProgress {
  readonly event: "progress";
  readonly step: number;
  readonly steps: number;
  readonly accuracy: number;
}

export interface MemoryEvent {
  readonly v: 1;
  readonly event: "memory";
  readonly task: TaskName;
  readonly lag: number;
  readonly preset: string;
  readonly parameters: number;
  /** Steps that were done: fewer than allowed, if it was solved. */
  readonly steps: number;
  /** Part of the answers that were right in the last test, on draws that it never saw. */
  readonly accuracy: number;
  readonly solved: boolean;
}

/**
 * Trains a model on a task until a test finds it solved, or for `steps` steps.
 *
 * @throws GatewiseError E_CONFIG, E_NAN_LOSS, E_LIMIT, E_DEVICE_LOST; the signal's reason when it is aborted
 */
export async function* trainMemory(
  model: LanguageModel,
  { task, lag = TASKS[task].lag, steps = TASKS[task].steps, seed = 1, size = "full", signal }: MemoryOptions,
): AsyncGenerator<MemoryProgress | MemoryEvent, void, void> {
  checkLag(task, lag);
  checkInteger("steps", steps, 1);
  checkSeed("seed", seed);
  const { batchSize: B, learningRate } = MEMORY_SIZES[size];
  const batches = {
    stepsPerEpoch: Infinity,
    fill(step: number, inputs: Uint32Array, targets: Uint32Array): boolean {
      const drawn = drawTask(task, { lag, B, seed, draw: step, testing: false });
      inputs.set(drawn.inputs);
      targets.set(drawn.targets);
      return true;
    },
  };
  const trainer = Trainer.onBatches(model, batches, {
    batchSize: B,
    seqLen: TASKS[task].length(lag, false),
    learningRate,
    logInterval: LOG_EVERY,
    evalInterval: 0,
    sampleInterval: 0,
    checkpointInterval: 0,
  });
  let test: Awaited<ReturnType<typeof recordTest>> | undefined;
  try {
    test = await recordTest(model, task, lag, signal);
    while (true) {
      const accuracy = await test.accuracy(seed, trainer.step);
      const solved = accuracy >= TASKS[task].solved;
      yield { event: "progress", step: trainer.step, steps, accuracy };
      if (solved || trainer.step >= steps) {
        const { config, parameterCount: parameters } = model;
        yield { v: 1, event: "memory", task, lag, preset: modelName(config), parameters, steps: trainer.step, accuracy, solved };
        return;
      }
      for await (const event of trainer.run({ maxSteps: Math.min(steps, trainer.step + TEST_EVERY), signal }))
        if (event.event === "step") yield { event: "progress", step: event.step, steps, accuracy };
      signal?.throwIfAborted();
    }
  } finally {
    test?.dispose();
    trainer.dispose();
  }
}

/** Records what tests a model on draws of its own, as long as the lag wants them. */
async function recordTest(model: LanguageModel, task: TaskName, lag: number, signal: AbortSignal | undefined) {
  const T = TASKS[task].length(lag, true);
  const B = Math.max(1, Math.min(TEST_ROWS, Math.floor(TEST_TOKENS / T)));
  const plan = await model.device.record("memory", (recorder) => recordPass(recorder, model, { T, B, loss: "all" }), { signal });
  return {
    /** Part of the answers that are right. */
    async accuracy(seed: number, draw: number): Promise<number> {
      const { inputs, targets } = drawTask(task, { lag, B, seed, draw, testing: true });
      model.device.write(plan.made.inputs, inputs);
      model.device.write(plan.made.targets, targets);
      const rows = await plan.runAndRead(plan.made.rows, signal);
      let right = 0;
      let asked = 0;
      targets.forEach((target, i) => {
        if (target === IGNORE) return;
        asked++;
        right += rows[2 * i + 1]!;
      });
      return right / asked;
    },
    dispose: () => plan.dispose(),
  };
}

// Whole training steps, sampling, and how time grows with the sizes.
import { GatewiseError } from "../errors.ts";
import { PRESETS, type PresetName } from "../models/presets.ts";
import { CELL_DEFAULTS, embedded, inBlock, layerOf, type CellName } from "../models/cells.ts";
import { LanguageModel, type LanguageModelOptions } from "../models/language-model.ts";
import { makeEvaluator } from "../training/evaluate.ts";
import { Trainer } from "../training/trainer.ts";
import type { Device } from "../runtime/device.ts";
import { countCalls, exponent, summarize, timeInterleaved, type Subject, type Timing } from "./measure.ts";

/** A training step to time: embedding or one-hot → recurrent layer → softmax over all T steps → Adam. */
export interface TrainingSizes {
  readonly preset: PresetName;
  readonly H: number;
  readonly B: number;
  readonly T: number;
}

export interface TrainingResult extends TrainingSizes {
  readonly milliseconds: Timing;
  readonly tokensPerSecond: number;
  /** Floating-point operations of the products of a step, over its time. */
  readonly gigaflops: number;
  readonly dispatches: number;
  /** Per step in the steady state. */
  readonly submits: number;
  readonly buffersMade: number;
  readonly bindGroupsMade: number;
  /** Bytes on the device: parameters, moments, activations, and what else there is. */
  readonly bytes: number;
  readonly parameters: number;
}

/** Why a size was not timed. */
export interface Skipped {
  readonly sizes: string;
  readonly reason: string;
}

const V = 73;
const E = 64;

/** A text of V characters that is no use to anyone, but long enough for every batch. */
const tokensFor = (B: number, T: number): Uint32Array =>
  Uint32Array.from({ length: Math.max(4096, B * (T + 1) * 2 + 1) }, (_, i) => (i * 7 + ((i * i) >> 3)) % V);

const modelOptions = ({ preset, H }: Pick<TrainingSizes, "preset" | "H">): LanguageModelOptions => ({
  ...PRESETS[preset],
  vocabSize: V,
  ...embedded(PRESETS[preset], E),
  hiddenSize: H,
  seed: 1,
});

/** Floating-point operations of one training step: products forward, and twice that backward. */
export function trainingOperations({ preset, H, B, T }: TrainingSizes): number {
  const { cell, input, numLayers }: { cell: CellName; input: string; numLayers: number } = { numLayers: 1, ...PRESETS[preset] };
  const { inputWork, stepWork } = layerOf({ cell }).costs({ ...CELL_DEFAULTS, hiddenSize: H }, E);
  const head = 2 * B * T * V * H;
  if (inBlock({ cell })) return 3 * (B * T * numLayers * (inputWork + stepWork) + head);
  const table = input === "embedding" ? V * inputWork : 0;
  return 3 * (B * T * stepWork + head + table);
}

/** A trainer that runs one step at a time. */
interface Steps {
  readonly model: LanguageModel;
  readonly trainer: Trainer;
  readonly run: (steps: number) => Promise<void>;
  readonly dispose: () => void;
}

function makeSteps(device: Device, sizes: TrainingSizes): Steps {
  const { B, T } = sizes;
  const model = LanguageModel.create(device, modelOptions(sizes));
  try {
    const trainer = Trainer.create(model, tokensFor(B, T), { batchSize: B, seqLen: T, valFraction: 0, logInterval: 0 });
    return {
      model,
      trainer,
      async run(steps) {
        for await (const _ of trainer.run({ maxSteps: trainer.step + steps }));
      },
      dispose() {
        trainer.dispose();
        model.dispose();
      },
    };
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/** The text of sizes in reports. */
export const describeSizes = ({ preset, H, B, T }: TrainingSizes): string => `${preset} H=${H} B=${B} T=${T}`;

export interface BenchmarkOptions {
  readonly rounds?: number;
  /** Seconds that one measurement may take; larger sizes are left out, and said to be. */
  readonly seconds?: number;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (what: string) => void;
}

/** Times training steps, one size after another, each over some rounds. What does not fit or takes too long is said. */
export async function benchmarkTraining(
  device: Device,
  all: readonly TrainingSizes[],
  { rounds = 5, seconds = 20, signal, onProgress }: BenchmarkOptions = {},
): Promise<{ readonly results: readonly TrainingResult[]; readonly skipped: readonly Skipped[] }> {
  const results: TrainingResult[] = [];
  const skipped: Skipped[] = [];
  // Operations a millisecond, from what was timed so far: a guess of how long the next will take.
  let pace = 0;
  for (const sizes of all) {
    signal?.throwIfAborted();
    const expected = pace > 0 ? (trainingOperations(sizes) / pace / 1000) * (rounds + 2) : 0;
    if (expected > seconds) {
      skipped.push({ sizes: describeSizes(sizes), reason: `would take about ${Math.round(expected)} s` });
      continue;
    }
    onProgress?.(describeSizes(sizes));
    try {
      const result = await timeSteps(device, sizes, rounds, signal);
      results.push(result);
      pace = trainingOperations(sizes) / result.milliseconds.median;
    } catch (error) {
      if (!(error instanceof GatewiseError) || error.code !== "E_LIMIT") throw error;
      skipped.push({ sizes: describeSizes(sizes), reason: error.message });
    }
  }
  return { results, skipped };
}

async function timeSteps(
  device: Device,
  sizes: TrainingSizes,
  rounds: number,
  signal: AbortSignal | undefined,
): Promise<TrainingResult> {
  const steps = makeSteps(device, sizes);
  try {
    // Tunes, compiles, and teaches the pacer how much a submit holds.
    await steps.run(1);
    await steps.run(2);
    const times: number[] = [];
    for (let round = 0; round < rounds; round++) {
      signal?.throwIfAborted();
      const begun = performance.now();
      await steps.run(1);
      times.push(performance.now() - begun);
    }
    const COUNTED = 4;
    // A run ends with a read-back of its own.
    const idle = await countCalls(device.gpuDevice, () => steps.run(0));
    const counts = await countCalls(device.gpuDevice, () => steps.run(COUNTED));
    const milliseconds = summarize(times);
    return {
      ...sizes,
      milliseconds,
      tokensPerSecond: (1000 * sizes.B * sizes.T) / milliseconds.median,
      gigaflops: trainingOperations(sizes) / milliseconds.median / 1e6,
      dispatches: steps.trainer.dispatches!,
      submits: (counts.submits - idle.submits) / COUNTED,
      buffersMade: counts.buffers,
      bindGroupsMade: counts.bindGroups,
      bytes: device.memory().bytes,
      parameters: steps.model.parameterCount,
    };
  } finally {
    steps.dispose();
  }
}

export interface SamplingResult {
  readonly preset: PresetName;
  readonly H: number;
  /** Milliseconds a character, one at a time with the state kept on the device. */
  readonly character: Timing;
  /** Milliseconds of running a prefix of 64 characters again for one more, as a model without a kept state must. */
  readonly prefix: Timing;
  readonly submitsPerCharacter: number;
}

const PREFIX = 64;
const LENGTH = 256;

/** Times writing text character by character, against running a prefix again for every character. */
export async function benchmarkSampling(
  device: Device,
  preset: PresetName,
  H: number,
  { rounds = 5, signal }: BenchmarkOptions = {},
): Promise<SamplingResult> {
  const model = LanguageModel.create(device, modelOptions({ preset, H }));
  const codec = {
    size: V,
    encode: (text: string) => Uint32Array.from(text, (character) => Math.max(0, character.charCodeAt(0) - 48)),
    decode: (tokens: ArrayLike<number>) => String.fromCharCode(...Array.from(tokens, (token) => token + 48)),
  };
  const tokens = Uint32Array.from({ length: PREFIX + 1 }, (_, i) => (i * 7) % V);
  const write = (length: number): Promise<string> => model.sample(codec, { length, seed: 1, ...(signal && { signal }) });
  const evaluator = await makeEvaluator(model, tokens, { batchSize: 1, seqLen: PREFIX });
  try {
    await write(1);
    const kept: Subject = { times: LENGTH, run: async () => void (await write(LENGTH)) };
    const again: Subject = { times: 1, run: async () => void (await evaluator.evaluate(signal)) };
    const [character, rerun] = await timeInterleaved([kept, again], rounds, signal);
    const { submits } = await countCalls(device.gpuDevice, kept.run);
    return { preset, H, character: character!, prefix: rerun!, submitsPerCharacter: submits / LENGTH };
  } finally {
    evaluator.dispose();
    model.dispose();
  }
}

export interface ScalingResult {
  readonly axis: "T" | "H" | "B";
  readonly of: string;
  readonly points: readonly (readonly [size: number, milliseconds: number])[];
  /** p of time ∝ sizeᵖ. */
  readonly exponent: number;
}

const SMALL_SCALES = {
  base: { preset: "lstm", H: 128, B: 32, T: 32 },
  T: [16, 32, 64, 128],
  H: [256, 512, 1024],
  B: [8, 16, 32, 64],
  hBatch: 16,
  hSteps: 4,
} as const;
const SCALES = {
  software: SMALL_SCALES,
  wasm: SMALL_SCALES,
  gpu: {
    base: { preset: "lstm", H: 512, B: 64, T: 64 },
    T: [32, 64, 128, 256],
    H: [256, 512, 1024],
    B: [16, 32, 64, 128],
    hBatch: 64,
    hSteps: 16,
  },
} as const;

/** Fits how the time of an LSTM training step grows with T, H and B; the sizes of an axis in interleaved rounds. */
export async function benchmarkScaling(
  device: Device,
  { rounds = 5, signal, onProgress }: BenchmarkOptions = {},
): Promise<readonly ScalingResult[]> {
  const { base, hBatch, hSteps, ...axes } = SCALES[device.family];
  const results: ScalingResult[] = [];
  for (const axis of ["T", "H", "B"] as const) {
    const fixed: TrainingSizes = axis === "H" ? { ...base, B: hBatch, T: hSteps } : base;
    onProgress?.(`time against ${axis}`);
    const made: Steps[] = [];
    try {
      for (const size of axes[axis]) {
        const steps = makeSteps(device, { ...fixed, [axis]: size });
        made.push(steps);
        await steps.run(2);
      }
      const timings = await timeInterleaved(
        made.map((steps) => ({ times: 1, run: () => steps.run(1) })),
        rounds,
        signal,
      );
      const points = axes[axis].map((size, i): readonly [number, number] => [size, timings[i]!.min]);
      const { [axis]: _, ...rest } = fixed;
      results.push({
        axis,
        of: Object.entries(rest)
          .map(([name, value]) => `${name}=${value}`)
          .join(" "),
        points,
        exponent: exponent(points),
      });
    } finally {
      for (const steps of made) steps.dispose();
    }
  }
  return results;
}

/** Training shapes of Baidu's DeepBench (github.com/baidu-research/DeepBench), the standard table of recurrent layers. */
export const DEEP_BENCH: readonly TrainingSizes[] = [
  ...[512, 1024, 2048, 4096].flatMap((H) => [16, 32, 64, 128].map((B): TrainingSizes => ({ preset: "lstm", T: 25, H, B }))),
  ...[16, 32, 64].map((B): TrainingSizes => ({ preset: "lstm", T: 150, H: 256, B })),
  ...[1760, 2048, 2560].flatMap((H) => [16, 32, 64, 128].map((B): TrainingSizes => ({ preset: "embedding-rnn", T: 50, H, B }))),
  ...[2816, 2048, 1536, 2560].map((H): TrainingSizes => ({ preset: "gru", T: 25, H, B: 32 })),
];

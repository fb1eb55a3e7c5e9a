// What becomes of a small model that is trained badly, and what is wrong with it, named by what it does. In the inspector's worker.
import type { CharTokenizer } from "../../data/tokenizer.ts";
import { GatewiseError } from "../../errors.ts";
import type { Activation } from "../../kernels/cell.ts";
import { cellOf, embedded, insideConfig } from "../../models/cells.ts";
import { modelLayers } from "../../models/config.ts";
import { stackParameters } from "../../models/stack.ts";
import { LanguageModel } from "../../models/language-model.ts";
import { openDevice } from "../../runtime/open.ts";
import { Trainer, type TrainerOptions } from "../../training/trainer.ts";
import { fixed } from "../format.ts";
import type { ModelSnapshot } from "../protocol.ts";
import { inputSizeOf } from "../analysis/reference.ts";
import { readTokens } from "../analysis/trace.ts";

/** What differs from a sound training, and how many times as large the cell's initial weights are. */
const BREAKAGES = {
  healthy: { change: {}, scale: 1 },
  "too-fast": { change: { learningRate: 1 }, scale: 1 },
  "too-slow": { change: { learningRate: 1e-4 }, scale: 1 },
  saturated: { change: {}, scale: 60 },
  // A rate at which every step is as long as clipping lets it be: the two differ in nothing but that.
  clipped: { change: { optimizer: "sgd", learningRate: 30, clip: 0.05 }, scale: 1 },
  unclipped: { change: { optimizer: "sgd", learningRate: 30, clip: 0 }, scale: 1 },
} as const satisfies Record<string, { change: TrainerOptions; scale: number }>;
export type BreakageName = keyof typeof BREAKAGES;

export interface Diagnosis {
  readonly name: string;
  readonly advice: string;
}

export interface Breakdown {
  readonly losses: readonly number[];
  /** The loss of guessing every character alike, ln V, and of knowing only how often each one comes. */
  readonly guessing: number;
  readonly entropy: number;
  /** How far the units can still move, before the first step and after the last; of nothing in a cell that cannot saturate. */
  readonly freedom: { readonly of: Activation | undefined; readonly before: number; readonly after: number };
  /** What is wrong, in a word, and what to do; undefined if nothing is. */
  readonly diagnosis: Diagnosis | undefined;
}

export const BROKEN_STEPS = 150;
/** Of the cell, inside its block if it stands in one. */
export const UNITS = 24;
/** Characters to train on, at most. */
const TEXT_LENGTH = 3000;

/** Trains a small model of the same kind on the CPU, wrongly, and says what is wrong with it by what it does. */
export async function breakModel(
  { config }: Pick<ModelSnapshot, "config">,
  name: BreakageName,
  tokenizer: CharTokenizer,
  text: string,
): Promise<Breakdown> {
  const { change, scale } = BREAKAGES[name];
  const tokens = tokenizer.encode([...text].slice(0, TEXT_LENGTH).join(""));
  const device = await openDevice({ prefer: "cpu" });
  const losses: number[] = [];
  let failure: string | undefined;
  try {
    const { embeddingSize: _, ...kind } = { ...config, numLayers: 1, dropout: 0 };
    const hiddenSize = Math.ceil(UNITS / insideConfig({ ...config, hiddenSize: 1 }).hiddenSize);
    const small = { ...kind, hiddenSize, ...embedded(config, 12) };
    const model = LanguageModel.create(device, { ...small, seed: 1 });
    const state = await model.stateDict();
    const layers = stackParameters(model.config, inputSizeOf({ config: model.config, stateDict: state }), modelLayers(config));
    const recurrent = new Set(layers.map(({ name }) => name));
    const scaled = Object.entries(state).map(([key, values]) => [
      key,
      recurrent.has(key) ? values.map((x) => x * scale) : values,
    ]);
    model.loadStateDict(Object.fromEntries(scaled));
    const candidate = cellOf(config).candidate?.(config);
    const measure = async (): Promise<number> => {
      const { values } = await readTokens(model, tokens.subarray(0, 200));
      return candidate ? freedomOf(values[candidate.name]!, candidate.activation) : NaN;
    };
    const before = await measure();
    const options: TrainerOptions = {
      batchSize: 6,
      seqLen: 20,
      learningRate: 1e-2,
      clip: 1,
      valFraction: 0,
      logInterval: 1,
      ...change,
    };
    const trainer = Trainer.create(model, tokens, { ...options, evalInterval: 0, sampleInterval: 0, checkpointInterval: 0 });
    try {
      for await (const event of trainer.run({ maxSteps: BROKEN_STEPS })) if (event.event === "step") losses.push(event.loss);
    } catch (error) {
      if (!(error instanceof GatewiseError)) throw error;
      failure = error.message;
    }
    const seen = {
      losses,
      guessing: Math.log(tokenizer.size),
      entropy: entropyOf(tokens),
      freedom: { of: candidate?.activation, before, after: await measure() },
    };
    return { ...seen, diagnosis: diagnose(seen, failure) };
  } finally {
    device.dispose();
  }
}

/** The mean slope of the tanhs, 1 − tanh²: near 0 every unit is pinned. Of relu, whose slope is 0 or 1, the part of units at 1. */
function freedomOf(values: Float32Array, of: Activation): number {
  const slope = of === "relu" ? (x: number) => Number(x > 0) : (x: number) => 1 - x * x;
  return values.reduce((sum, x) => sum + slope(x), 0) / values.length;
}

/** In nats: the loss of a guess that knows how often each character comes, and nothing else. */
export function entropyOf(tokens: Uint32Array): number {
  const counts = new Map<number, number>();
  for (const token of tokens) counts.set(token, (counts.get(token) ?? 0) + 1);
  return [...counts.values()].reduce((sum, n) => sum - (n / tokens.length) * Math.log(n / tokens.length), 0);
}

/** With less than this nothing passes a few steps back; sound trainings of the cells here end above 0.06. */
const LEAST_FREEDOM = 0.04;
const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / Math.max(1, values.length);

/** Names what is wrong by the loss alone and by how far the units are from moving. */
function diagnose(
  { losses, guessing, entropy, freedom }: Omit<Breakdown, "diagnosis">,
  failure: string | undefined,
): Diagnosis | undefined {
  if (failure !== undefined) return { name: "Exploded", advice: failure };
  const end = mean(losses.slice(-15));
  if (end > guessing * 1.05 + 0.05)
    return {
      name: "Diverged",
      advice: `the loss ended at ${end.toFixed(2)}, worse than guessing (${guessing.toFixed(2)}); lower the learning rate, or clip the gradient`,
    };
  const { of, before, after } = freedom;
  if (of === "relu" && after < LEAST_FREEDOM)
    return { name: "Dead", advice: "hardly a unit is above zero, and gradients pass through no other; lower the learning rate" };
  if (of === "tanh" && before < LEAST_FREEDOM)
    return {
      name: "Saturated",
      advice: `from the start the units sit where tanh is flat, its slope ${fixed(before, 3)}, and gradients vanish; start from smaller weights`,
    };
  if (of === "tanh" && after < LEAST_FREEDOM)
    return {
      name: "Overshot",
      advice: `steps that were too long threw the units to where tanh is flat: its slope was ${fixed(before, 2)} and is ${fixed(after, 4)}; lower the learning rate`,
    };
  // Of a text that is all chance, nothing better than its entropy can be learned.
  if (end > entropy * 1.1 + 0.01)
    return {
      name: "Stuck",
      advice: `after ${losses.length} steps the loss is ${end.toFixed(2)}; knowing only how often each character comes would give ${entropy.toFixed(2)}; raise the learning rate, or train longer`,
    };
  return undefined;
}

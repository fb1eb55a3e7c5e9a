// Trains small models on the tasks of memory. One model of a kind goes from a lag to twice the lag and takes along what it
// has learned: beginning with long lags, whether a model finds the way at all is a matter of luck.
import { CharTokenizer } from "../../data/tokenizer.ts";
import { cellOf } from "../../models/cells.ts";
import { PRESETS, type PresetName } from "../../models/presets.ts";
import { LanguageModel } from "../../models/language-model.ts";
import type { StateDict } from "../../models/parameters.ts";
import { openDevice } from "../../runtime/open.ts";
import { Trainer } from "../../training/trainer.ts";
import { ASKED, MEMORY_STEPS, MEMORY_TASKS, MEMORY_UNITS, memoryText, type MemoryTaskName } from "./memory-tasks.ts";
import { readTokens } from "../analysis/trace.ts";

/** B, streams side by side; blocks in each. */
export const STREAMS = 16;
const BLOCKS = 187;
/** Steps between two examinations, and the part of right answers after which no more training is needed. */
const EXAMINE_EVERY = 250;
const ENOUGH = 0.98;

export interface MemoryResult {
  /** Part of the questions whose whole answer was right. */
  readonly right: number;
  /** To go on from at a longer lag. */
  readonly stateDict: StateDict;
}

const tokenizerOf = (name: MemoryTaskName): CharTokenizer => CharTokenizer.fromText(MEMORY_TASKS[name].characters);
const lengths = (name: MemoryTaskName, lag: number): readonly [question: number, answer: number] => {
  const [question, answer] = MEMORY_TASKS[name].block(lag, () => 0);
  return [question.length, answer.length];
};

/**
 * Tokens to train on, and the length of a window. Every stream begins with a block, and with windows of one block so does
 * every window: a question cut from its answer could not be learned, as gradients end where a window begins.
 */
export function memoryTokens(name: MemoryTaskName, lag: number): { readonly tokens: Uint32Array; readonly window: number } {
  const [question, answer] = lengths(name, lag);
  const window = question + answer;
  // One character more, to be the last one's target.
  const text = memoryText(name, lag, STREAMS * BLOCKS + 1, 1);
  return { tokens: tokenizerOf(name).encode(text.slice(0, STREAMS * BLOCKS * window + 1)), window };
}

/** Trains a small model of a preset on a task, from the beginning or from what it was at a shorter lag, and examines it. */
export async function tryMemory(preset: PresetName, name: MemoryTaskName, lag: number, from?: StateDict): Promise<MemoryResult> {
  const tokenizer = tokenizerOf(name);
  const { tokens, window } = memoryTokens(name, lag);
  const device = await openDevice({ prefer: "cpu" });
  try {
    const sizes = { vocabSize: tokenizer.size, hiddenSize: MEMORY_UNITS, embeddingSize: 8 };
    const options = Object.entries(cellOf(PRESETS[preset]).options).map(([option, { longMemory }]) => [option, longMemory]);
    const model = LanguageModel.create(device, { ...Object.fromEntries(options), ...PRESETS[preset], ...sizes, seed: 1 });
    if (from) model.loadStateDict(from);
    const trainer = Trainer.create(model, tokens, {
      batchSize: STREAMS,
      seqLen: window,
      learningRate: 1e-2,
      clip: 1,
      valFraction: 0,
      schedule: "cosine",
      totalSteps: MEMORY_STEPS,
      logInterval: 0,
      evalInterval: 0,
      sampleInterval: 0,
      checkpointInterval: 0,
    });
    let right = 0;
    while (trainer.step < MEMORY_STEPS && right < ENOUGH) {
      const run = trainer.run({ maxSteps: trainer.step + EXAMINE_EVERY });
      while (!(await run.next()).done);
      right = await examine(model, tokenizer, name, lag);
    }
    return { right, stateDict: await model.stateDict() };
  } finally {
    device.dispose();
  }
}

/**
 * Part of questions that it was not trained on, as far as there are others, whose answer is right to the last character. The model reads the right characters before each one of
 * an answer; fed with its own it would do as well, because up to its first mistake the two are the same.
 */
async function examine(model: LanguageModel, tokenizer: CharTokenizer, name: MemoryTaskName, lag: number): Promise<number> {
  const [question, answer] = lengths(name, lag);
  const tokens = tokenizer.encode(memoryText(name, lag, ASKED, 2));
  const { probabilities } = await readTokens(model, tokens);
  const expected = (t: number): number => {
    const row = probabilities.subarray((t - 1) * tokenizer.size, t * tokenizer.size);
    return row.indexOf(Math.max(...row));
  };
  let right = 0;
  for (let from = question; from < tokens.length; from += question + answer) {
    const places = Array.from({ length: answer }, (_, i) => from + i);
    right += Number(places.every((t) => expected(t) === tokens[t]));
  }
  return right / ASKED;
}

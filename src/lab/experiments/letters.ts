// A very small network that learns a few letters that come again and again: the first thing to see of a state.
import { CharTokenizer } from "../../data/tokenizer.ts";
import { LanguageModel } from "../../models/language-model.ts";
import { PRESETS } from "../../models/presets.ts";
import { openDevice } from "../../runtime/open.ts";
import { Trainer } from "../../training/trainer.ts";
import { readTokens } from "../analysis/trace.ts";

export const LETTERS_UNITS = 8;
/** Steps after which the network is looked at. */
export const LETTERS_STEPS = [0, 20, 50, 100, 200] as const;
const TRAINED = { batchSize: 4, seqLen: 16, learningRate: 2e-2, valFraction: 0, evalInterval: 0, clip: 1 } as const;
const TEXT_LENGTH = 400;

export interface LettersRead {
  readonly letters: readonly string[];
  /** After each of LETTERS_STEPS: what the network expects after each character that it read, [T, letters]. */
  readonly expected: readonly Float32Array[];
}

/** Learns a pattern, and reads it `times` times over. */
export async function learnLetters(pattern: string, times: number): Promise<LettersRead> {
  const device = await openDevice({ prefer: "cpu" });
  try {
    const text = pattern.repeat(Math.ceil(TEXT_LENGTH / pattern.length));
    const tokenizer = CharTokenizer.fromText(text);
    const config = { ...PRESETS["one-hot-rnn"], hiddenSize: LETTERS_UNITS, vocabSize: tokenizer.size, seed: 1 };
    const model = LanguageModel.create(device, config);
    const trainer = Trainer.create(model, tokenizer.encode(text), TRAINED);
    const read = tokenizer.encode(pattern.repeat(times));
    const expected = [];
    for (const maxSteps of LETTERS_STEPS) {
      if (maxSteps > 0) for await (const _ of trainer.run({ maxSteps }));
      expected.push((await readTokens(model, read)).probabilities);
    }
    return { letters: tokenizer.characters, expected };
  } finally {
    device.dispose();
  }
}

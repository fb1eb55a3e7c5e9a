// Tasks that only memory solves, written as texts.
import { fraction, randomWord } from "../../random.ts";

interface MemoryTask {
  readonly title: string;
  readonly explanation: string;
  /** What the best guess without any memory gets right, in words. */
  readonly guessing: string;
  readonly characters: string;
  /** One question of a lag and its answer; always of the same lengths. `random(n)` draws from 0 to n − 1. */
  readonly block: (lag: number, random: (n: number) => number) => readonly [question: string, answer: string];
}

const letters = (lag: number, random: (n: number) => number): number[] => Array.from({ length: lag }, () => random(4));

export const MEMORY_TASKS = {
  recall: {
    title: "First-character recall",
    explanation: "A letter, a pause, a question mark: which letter was it?",
    guessing: "Guessing gets a quarter.",
    characters: "abcd-?",
    block: (lag, random) => {
      const letter = "abcd"[random(4)]!;
      return [`${letter}${"-".repeat(lag - 1)}?`, letter];
    },
  },
  copy: {
    title: "Copy",
    explanation: "As many letters as the lag, a question mark: write them again, in order.",
    guessing:
      "Guessing gets next to none. Here gates help little: every letter has to be kept, and with so few units and steps no kind gets far.",
    characters: "abcd?",
    block: (lag, random) => {
      const word = letters(lag, random)
        .map((x) => "abcd"[x])
        .join("");
      return [`${word}?`, word];
    },
  },
  // Hochreiter & Schmidhuber 1997, §5.4, with whole numbers: one of the two marked lies in each half.
  adding: {
    title: "Adding",
    explanation: "Letters worth 0 to 3, as many as the lag, two of them capitals, one in each half: what is the capitals’ sum?",
    guessing: "Guessing gets a quarter.",
    characters: "abcdABCD0123456?",
    block: (lag, random) => {
      const values = letters(lag, random);
      const half = lag >> 1;
      const marked = [random(half), half + random(lag - half)];
      const word = values.map((x, i) => (marked.includes(i) ? "ABCD" : "abcd")[x]).join("");
      return [`${word}?`, String(values[marked[0]!]! + values[marked[1]!]!)];
    },
  },
} as const satisfies Record<string, MemoryTask>;
export type MemoryTaskName = keyof typeof MEMORY_TASKS;

/** Characters between what is to be remembered and the answer: each twice as far as the one before. */
export const MEMORY_LAGS = [2, 4, 8, 16, 32] as const;
/** Units of a model, most training steps at a lag, and questions asked after them. */
export const MEMORY_UNITS = 24;
export const MEMORY_STEPS = 1000;
export const ASKED = 200;
/** Part of the answers that must be right for a lag to count as solved. */
export const SOLVED = 0.9;

/** Of the random numbers; the library's own streams are others. */
const STREAM = 101;

/** Questions with their answers, one after the other. */
export function memoryText(name: MemoryTaskName, lag: number, blocks: number, seed: number): string {
  let text = "";
  for (let block = 0; block < blocks; block++) {
    let drawn = 0;
    const random = (n: number): number => Math.floor(fraction(randomWord(seed, block, 1000 * lag + drawn++, STREAM)) * n);
    text += MEMORY_TASKS[name].block(lag, random).join("");
  }
  return text;
}

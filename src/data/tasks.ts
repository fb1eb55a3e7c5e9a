// Tasks that only memory solves, as tokens: what is read at each step, and what is to be said there. Drawn from a seed, as
// many as are wanted, so that none is ever seen twice.
import { checkInteger } from "../checks.ts";
import { fraction, randomWord, STREAM } from "../random.ts";
import { IGNORE } from "./batches.ts";

/** One row: tokens that are read, and what is to be said at each step, or IGNORE. */
type Row = readonly [inputs: readonly number[], targets: readonly number[]];
/** Draws from 0 to n − 1. */
type Random = (n: number) => number;

export interface Task {
  readonly title: string;
  readonly explanation: string;
  /** The vocabulary: token i is character i. */
  readonly characters: string;
  /** Part of the answers that the best guess without memory gets right. */
  readonly chance: number;
  /** Part of the answers that must be right for it to count as solved. */
  readonly solved: number;
  /** How far back to remember: where nothing else is asked for, the least, and a way there from short to long. */
  readonly lag: number;
  readonly leastLag: number;
  readonly lags: readonly number[];
  /** Training steps in which it is to be solved. */
  readonly steps: number;
  /** T in training and in the test. */
  readonly length: (lag: number, testing: boolean) => number;
  /** T is `length`'s. */
  readonly row: (sizes: { readonly T: number; readonly lag: number; readonly testing: boolean }, random: Random) => Row;
}

/** Kinds of letters, and in a task of copying how many of them are to be kept. */
const KINDS = 8;
const KEPT = 8;
/** One of so many is a mark. */
const MARKS = 32;
/** Bits of which the parity is trained. */
const BITS = 12;

const draws = (count: number, draw: () => number): number[] => Array.from({ length: count }, draw);
/** Nothing is to be said but at the end. */
const atTheEnd = (inputs: readonly number[], ...answers: readonly number[]): Row => {
  const asked = inputs.length - answers.length;
  return [inputs, inputs.map((_, t) => answers[t - asked] ?? IGNORE)];
};

export const TASKS = {
  delay: {
    title: "Delay",
    explanation: "Letters without end: say at each step which one stood as many steps before as the lag.",
    characters: "abcdefgh",
    chance: 1 / KINDS,
    solved: 0.99,
    lag: 16,
    leastLag: 1,
    lags: [2, 4, 8, 16, 32],
    steps: 400,
    length: (lag) => 2 * lag + 32,
    row({ T, lag }, random) {
      const inputs = draws(T, () => random(KINDS));
      return [inputs, inputs.map((_, t) => inputs[t - lag] ?? IGNORE)];
    },
  },
  latch: {
    title: "Latch",
    explanation: `Noise, and rarely, at one step of ${MARKS}, a capital letter: say at each step which was the last one. What counts is what is said when that is longer ago than the lag.`,
    characters: "abcdefghABCDEFGH",
    chance: 1 / KINDS,
    solved: 0.99,
    lag: 64,
    leastLag: 1,
    lags: [4, 8, 16, 32, 64],
    steps: 400,
    length: (lag) => 4 * lag,
    row({ T, lag, testing }, random) {
      let mark = IGNORE;
      let since = 0;
      const targets: number[] = [];
      const inputs = draws(T, () => {
        const marked = random(MARKS) === 0;
        const input = marked ? KINDS + random(KINDS) : random(KINDS);
        since = marked ? 0 : since + 1;
        if (marked) mark = input;
        targets.push(testing && since < lag ? IGNORE : mark);
        return input;
      });
      return [inputs, targets];
    },
  },
  // Gu & Dao 2023, §4.1.1: where the letters stand is chance, so that no fixed delay brings them back.
  copy: {
    title: "Selective copying",
    explanation: `${KEPT} letters, scattered among dashes, then question marks: say the letters again, in their order. The lag is how long letters and dashes are in the test; in training they are a quarter of that.`,
    characters: "abcdefgh-?",
    chance: 1 / KINDS,
    solved: 0.9,
    lag: 256,
    leastLag: KEPT,
    lags: [16, 32, 64, 128, 256],
    steps: 1500,
    length: (lag, testing) => (testing ? lag : Math.min(lag, Math.max(2 * KEPT, lag >> 2))) + KEPT,
    row({ T }, random) {
      const letters: number[] = [];
      const read = Array.from({ length: T - KEPT }, (_, t) => {
        if (random(T - KEPT - t) >= KEPT - letters.length) return KINDS;
        letters.push(random(KINDS));
        return letters.at(-1)!;
      });
      return atTheEnd([...read, ...letters.map(() => KINDS + 1)], ...letters);
    },
  },
  parity: {
    title: "Parity",
    explanation: `Zeros and ones: say at each step whether the ones so far are odd in number. Trained on ${BITS} steps at most, tested on as many as the lag.`,
    characters: "01",
    chance: 1 / 2,
    solved: 0.99,
    lag: 256,
    leastLag: 1,
    lags: [16, 32, 64, 128, 256],
    steps: 1500,
    length: (lag, testing) => (testing ? lag : Math.min(lag, BITS)),
    row({ T }, random) {
      let odd = 0;
      const inputs = draws(T, () => random(2));
      return [inputs, inputs.map((bit) => (odd ^= bit))];
    },
  },
  recall: {
    title: "First-character recall",
    explanation: "A letter, a pause, a question mark: which letter was it?",
    characters: "abcd-?",
    chance: 1 / 4,
    solved: 0.99,
    lag: 32,
    leastLag: 1,
    lags: [2, 4, 8, 16, 32],
    steps: 400,
    length: (lag) => lag + 1,
    row({ lag }, random) {
      const letter = random(4);
      return atTheEnd([letter, ...draws(lag - 1, () => 4), 5], letter);
    },
  },
  // Hochreiter & Schmidhuber 1997, §5.4, with whole numbers: one of the two marked lies in each half.
  adding: {
    title: "Adding",
    explanation:
      "Letters worth 0 to 3, as many as the lag, two of them capitals, one in each half, then a question mark: what is the capitals’ sum?",
    characters: "abcdABCD0123456?",
    chance: 1 / 4,
    solved: 0.9,
    lag: 32,
    leastLag: 2,
    lags: [2, 4, 8, 16, 32],
    steps: 400,
    length: (lag) => lag + 1,
    row({ lag }, random) {
      const values = draws(lag, () => random(4));
      const half = lag >> 1;
      const marked = [random(half), half + random(lag - half)];
      const letters = values.map((value, i) => (marked.includes(i) ? 4 + value : value));
      return atTheEnd([...letters, 15], 8 + values[marked[0]!]! + values[marked[1]!]!);
    },
  },
} as const satisfies Record<string, Task>;
export type TaskName = keyof typeof TASKS;
export const TASK_NAMES = Object.keys(TASKS) as readonly TaskName[];

export interface DrawnTask {
  /** u32 [T, B] */
  readonly inputs: Uint32Array;
  /** u32 [T, B], IGNORE where nothing is asked. */
  readonly targets: Uint32Array;
  readonly T: number;
}

export interface DrawOptions {
  readonly lag: number;
  /** Rows */
  readonly B: number;
  readonly seed: number;
  /** Which of the drawings of a seed; those of tests are others than those of training. */
  readonly draw: number;
  readonly testing: boolean;
}

/** @throws GatewiseError E_CONFIG for a lag that a task does not have */
export const checkLag = (name: TaskName, lag: number): void => checkInteger(`${name}: lag`, lag, TASKS[name].leastLag, 65536);

/** Draws B rows of a task. */
export function drawTask(name: TaskName, { lag, B, seed, draw, testing }: DrawOptions): DrawnTask {
  checkLag(name, lag);
  const task: Task = TASKS[name];
  const T = task.length(lag, testing);
  const inputs = new Uint32Array(T * B);
  const targets = new Uint32Array(T * B);
  let drawn = 0;
  const random: Random = (n) => Math.floor(fraction(randomWord(seed, draw, drawn++, testing ? STREAM.tests : STREAM.tasks)) * n);
  for (let b = 0; b < B; b++) {
    const [read, said] = task.row({ T, lag, testing }, random);
    for (let t = 0; t < T; t++) {
      inputs[t * B + b] = read[t]!;
      targets[t * B + b] = said[t]!;
    }
  }
  return { inputs, targets, T };
}

// Batches for truncated backpropagation through time, as pure functions of the step number, so that a resumed run
// sees what the unbroken one would have seen. All are time-major: element t·B + b belongs to step t of row b.
import { GatewiseError } from "../errors.ts";
import { randomWord, STREAM } from "../random.ts";

/** A target that counts for nothing: past the end of a stream. */
export const IGNORE = 0xffffffff;

export interface BatchOptions {
  /** B */
  readonly batchSize: number;
  /** T */
  readonly seqLen: number;
  /** "carry": B streams of the text in consecutive windows; "zero": windows at random places. */
  readonly state: "carry" | "zero";
  readonly seed: number;
}

export interface Batches {
  /** Steps in which every token (about once, for random windows) is seen. */
  readonly stepsPerEpoch: number;
  /** Fills u32 [T, B] arrays for a step; returns whether the carried state must be zero before it. */
  fill(step: number, inputs: Uint32Array, targets: Uint32Array): boolean;
}

/** @throws GatewiseError E_DATA if the text is too short, with the sizes that would fit. */
export function createBatches(tokens: Uint32Array, { batchSize: B, seqLen: T, state, seed }: BatchOptions): Batches {
  return state === "carry" ? carryBatches(tokens, B, T) : zeroBatches(tokens, B, T, seed);
}

function carryBatches(tokens: Uint32Array, B: number, T: number): Batches {
  const streamLength = Math.floor((tokens.length - 1) / B);
  const windows = Math.floor(streamLength / T);
  if (windows < 1) {
    const targets = tokens.length - 1;
    const fitting = [
      ...(targets >= T ? [`a batch of at most ${Math.floor(targets / T)}`] : []),
      ...(targets >= B ? [`windows of at most ${streamLength}`] : []),
    ];
    if (fitting.length === 0 && targets > 0) fitting.push(`a batch of 1 and windows of at most ${targets}`);
    throw new GatewiseError(
      "E_DATA",
      `the text is too short: ${B} streams of windows of ${T} need ${B * T + 1} characters, got ${tokens.length}; ` +
        `use ${[...fitting, "a longer text"].join(", or ")}`,
    );
  }
  return {
    stepsPerEpoch: windows,
    fill(step, inputs, targets) {
      const window = step % windows;
      copyWindows(tokens, B, T, (b) => b * streamLength + window * T, inputs, targets);
      return window === 0;
    },
  };
}

function zeroBatches(tokens: Uint32Array, B: number, T: number, seed: number): Batches {
  const starts = tokens.length - T;
  if (starts < 1) {
    throw new GatewiseError(
      "E_DATA",
      `the text is too short: a window of ${T} needs ${T + 1} characters, got ${tokens.length}; ` +
        `use ${tokens.length > 1 ? `windows of at most ${tokens.length - 1}, or ` : ""}a longer text`,
    );
  }
  return {
    stepsPerEpoch: Math.ceil(starts / (B * T)),
    fill(step, inputs, targets) {
      // Not the remainder: the low bits of the words of neighbouring counters are much alike.
      const start = (b: number): number => Math.floor((randomWord(seed, step, b, STREAM.windows) / 2 ** 32) * starts);
      copyWindows(tokens, B, T, start, inputs, targets);
      return true;
    },
  };
}

function copyWindows(
  tokens: Uint32Array,
  B: number,
  T: number,
  start: (b: number) => number,
  inputs: Uint32Array,
  targets: Uint32Array,
): void {
  for (let b = 0; b < B; b++) {
    const from = start(b);
    for (let t = 0; t < T; t++) {
      inputs[t * B + b] = tokens[from + t]!;
      targets[t * B + b] = tokens[from + t + 1]!;
    }
  }
}

/** The parts of a text, in their order: for training, for validation, and for a test of what came of it. */
export interface TextParts {
  readonly train: Uint32Array;
  readonly val: Uint32Array;
  readonly test: Uint32Array;
}

/** @throws GatewiseError E_CONFIG */
export function splitTokens(tokens: Uint32Array, valFraction: number, testFraction = 0): TextParts {
  if (!(valFraction >= 0 && valFraction < 1)) {
    throw new GatewiseError("E_CONFIG", `valFraction must be at least 0 and less than 1, got ${valFraction}`);
  }
  const testBegin = tokens.length - Math.floor(tokens.length * testFraction);
  const valBegin = testBegin - Math.floor(tokens.length * valFraction);
  return {
    train: tokens.subarray(0, valBegin),
    val: tokens.subarray(valBegin, testBegin),
    test: tokens.subarray(testBegin),
  };
}

export interface EvaluationWindows {
  /** Number of windows, to be filled in order with the state carried from one to the next. */
  readonly count: number;
  /** Predicted tokens in all windows together. */
  readonly targets: number;
  fill(window: number, inputs: Uint32Array, targets: Uint32Array): void;
}

/**
 * Tokens that are read in one piece where not all are, so that few are predicted from the state of another place; fewer
 * where a stream would have fewer than PIECES.
 */
const PIECE = 1024;
const PIECES = 4;

/**
 * Tokens that a stream reads first, which are the end of the one in front of it, so that it begins from a state of its text:
 * else the loss would depend on the number of streams, with a long memory by some hundredths. Fewer where streams are short.
 */
const WARM_UP = 128;

/**
 * Windows over B contiguous streams in which every next token of the text is a target exactly once. Of a text of more than
 * `most` tokens about as many are: pieces evenly spread over each stream, the state carried from one to the next.
 */
export function evaluationWindows(tokens: Uint32Array, batchSize: number, seqLen: number, most = Infinity): EvaluationWindows {
  const targetCount = Math.max(0, tokens.length - 1);
  const share = Math.ceil(targetCount / batchSize);
  const pieceWindows = Math.ceil(Math.min(PIECE, most / batchSize / PIECES) / seqLen);
  const pieceLength = pieceWindows * seqLen;
  const pieces = Math.max(1, Math.floor(most / batchSize / pieceLength));
  const whole = most >= targetCount || pieces * pieceLength >= share;
  // Streams are of one length: the first has as many more of its own.
  const warmUp = whole ? Math.min(WARM_UP, Math.floor(share / 4)) : 0;
  const own = Math.ceil((targetCount - warmUp) / batchSize);
  const streamLength = own + warmUp;
  const begin = (window: number): number => {
    if (whole) return window * seqLen;
    const piece = Math.floor(window / pieceWindows);
    return Math.floor((piece * streamLength) / pieces) + (window % pieceWindows) * seqLen;
  };
  const count = whole ? Math.ceil(streamLength / seqLen) : pieces * pieceWindows;
  const ends = Array.from({ length: batchSize }, (_, b) => Math.min(b * own + streamLength, targetCount));
  let targets = whole ? targetCount : 0;
  if (!whole)
    for (let window = 0; window < count; window++)
      for (const [b, end] of ends.entries()) targets += Math.max(0, Math.min(seqLen, end - b * own - begin(window)));
  return {
    count,
    targets,
    fill(window, inputs, targets) {
      for (const [b, end] of ends.entries()) {
        for (let t = 0; t < seqLen; t++) {
          const within = begin(window) + t;
          const at = b * own + within;
          const counts = at < end && (b === 0 || within >= warmUp);
          inputs[t * batchSize + b] = at < end ? tokens[at]! : 0;
          targets[t * batchSize + b] = counts ? tokens[at + 1]! : IGNORE;
        }
      }
    },
  };
}

/** Sorts positions by token, stably: those of token v are order[starts[v]] … order[starts[v + 1] − 1]. */
export function sortByToken(tokens: Uint32Array, vocabSize: number, order: Uint32Array, starts: Uint32Array): void {
  starts.fill(0);
  for (let i = 0; i < tokens.length; i++) starts[tokens[i]! + 1]!++;
  for (let v = 0; v < vocabSize; v++) starts[v + 1]! += starts[v]!;
  for (let i = 0; i < tokens.length; i++) order[starts[tokens[i]!]!++] = i;
  // Each start has moved to its token's end, which is the next token's start.
  starts.copyWithin(1, 0, vocabSize);
  starts[0] = 0;
}

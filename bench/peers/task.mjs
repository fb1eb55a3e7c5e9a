// What every system is given: one training step's sizes and the same batches of text, or one forward pass.

/**
 * @typedef {object} Task
 * @property {"train" | "forward"} kind
 * @property {"rnn" | "gru" | "lstm"} cell
 * @property {number} H
 * @property {number} B
 * @property {number} T
 * @property {number} V Characters in the vocabulary.
 * @property {number} E Embedding size; of a forward pass the size of its input.
 * @property {number[]} tokens The text.
 *
 * @typedef {object} System One system, set up for one task.
 * @property {(step: number) => Promise<number>} [step] Does a whole step and waits for it; its loss, or a sum of outputs.
 * @property {(count: number) => Promise<number[]>} [steps] Does some steps and waits for them; their losses.
 */

export const LEARNING_RATE = 2e-3;

/**
 * Inputs and targets of a step, time-major [T, B]: window `step` of B contiguous streams.
 * @param {Task} task @param {number} step
 */
export function batchOf({ B, T, tokens }, step) {
  const length = Math.floor((tokens.length - 1) / B);
  const windows = Math.floor(length / T);
  const inputs = new Int32Array(T * B);
  const targets = new Int32Array(T * B);
  for (let t = 0; t < T; t++)
    for (let b = 0; b < B; b++) {
      const at = b * length + (step % windows) * T + t;
      inputs[t * B + b] = tokens[at] ?? 0;
      targets[t * B + b] = tokens[at + 1] ?? 0;
    }
  return { inputs, targets };
}

/** The input of a forward pass, [T, B, E], and the weights, the same for every system. @param {Task} task */
export function forwardData({ B, T, E, H }) {
  const wave = (/** @type {number} */ n, /** @type {number} */ scale, /** @type {number} */ phase) =>
    Float32Array.from({ length: n }, (_, i) => scale * Math.sin(i * 12.9898 + phase));
  const bound = 1 / Math.sqrt(H);
  return {
    x: wave(T * B * E, 1, 0),
    weightIh: wave(4 * H * E, bound, 1),
    weightHh: wave(4 * H * H, bound, 2),
    biasIh: wave(4 * H, bound, 3),
    biasHh: wave(4 * H, bound, 4),
  };
}

/**
 * Runs some steps of a system. @param {System} system @param {number} first @param {number} count
 * @returns {Promise<{ times: number[], values: number[] }>} Milliseconds of each step, and what it gave.
 */
export async function timeSteps({ step, steps }, first, count) {
  const times = [];
  const values = [];
  if (steps) {
    const begun = performance.now();
    values.push(...(await steps(count)));
    times.push(...values.map(() => (performance.now() - begun) / count));
    return { times, values };
  }
  for (let i = 0; i < count; i++) {
    const begun = performance.now();
    values.push((await step?.(first + i)) ?? NaN);
    times.push(performance.now() - begun);
  }
  return { times, values };
}

/**
 * Counter-based random numbers: the same stream on the CPU and in WGSL (`shaders/prelude.wgsl`), with no state
 * but the counter, so that a resumed run draws what the unbroken run would have drawn.
 * The hash is pcg4d of Jarzynski and Olano, "Hash Functions for GPU Rendering", JCGT 9(3), 2020.
 */

/** Purposes of a random number: the last word of the counter, so that no two uses share a stream. */
export const STREAM = { init: 1, dropout: 2, sample: 3, windows: 4, tasks: 5, tests: 6 } as const;

/** Writes four 32-bit random words for the counter (a, b, c, d) into `out`. */
export function pcg4d(a: number, b: number, c: number, d: number, out: Uint32Array): void {
  let x = (Math.imul(a, 1664525) + 1013904223) >>> 0;
  let y = (Math.imul(b, 1664525) + 1013904223) >>> 0;
  let z = (Math.imul(c, 1664525) + 1013904223) >>> 0;
  let w = (Math.imul(d, 1664525) + 1013904223) >>> 0;
  x = (x + Math.imul(y, w)) >>> 0;
  y = (y + Math.imul(z, x)) >>> 0;
  z = (z + Math.imul(x, y)) >>> 0;
  w = (w + Math.imul(y, z)) >>> 0;
  x ^= x >>> 16;
  y ^= y >>> 16;
  z ^= z >>> 16;
  w ^= w >>> 16;
  x = (x + Math.imul(y, w)) >>> 0;
  y = (y + Math.imul(z, x)) >>> 0;
  z = (z + Math.imul(x, y)) >>> 0;
  w = (w + Math.imul(y, z)) >>> 0;
  out[0] = x;
  out[1] = y;
  out[2] = z;
  out[3] = w;
}

const words = new Uint32Array(4);

/** One 32-bit random word for the counter (a, b, c, d). */
export function randomWord(a: number, b: number, c: number, d: number): number {
  pcg4d(a, b, c, d, words);
  return words[0]!;
}

/** A 24-bit fraction in [0, 1), exact in f32, from a 32-bit word: the WGSL side computes the same number. */
export function fraction(word: number): number {
  return (word >>> 8) / 16777216;
}

/** Fills `out` with U(-bound, bound), counters (i, tensor) under `seed`. */
export function fillUniform(out: Float32Array | Float64Array, bound: number, seed: number, tensor: number): void {
  for (let i = 0; i < out.length; i++) {
    out[i] = Math.fround((2 * fraction(randomWord(seed, tensor, i, STREAM.init)) - 1) * bound);
  }
}

/** Fills `out` with N(0, 1) by Box and Muller's transform, counters (i, tensor) under `seed`. */
export function fillNormal(out: Float32Array | Float64Array, seed: number, tensor: number): void {
  for (let i = 0; i < out.length; i++) {
    pcg4d(seed, tensor, i, STREAM.init, words);
    const u = (words[0]! + 1) / 4294967297;
    const v = words[1]! / 4294967296;
    out[i] = Math.fround(Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * v));
  }
}

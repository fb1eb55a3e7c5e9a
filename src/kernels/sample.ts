// sample: the next token of each of B rows from logits[B,V]: softmax(logits / temperature), of which the topK most
// likely are kept, of those the smallest set of the most likely whose share is at least topP, of those one by chance.
// Of equal logits the lower index counts as more likely. Step t writes tokens[t + 1] of tokens[T + 1,B]: what
// forced[T,B] says, so that a prompt runs through the same plan, or the choice where that is CHOOSE. Where a logit is
// NaN or +Infinity, or none is above −Infinity, there is no choice, and CHOOSE stays.
import source from "../../shaders/sample.wgsl?raw";
import { fraction, randomWord, STREAM } from "../random.ts";
import { defineKernel, divideUp, entry, type CaseTensor } from "../runtime/kernel.ts";
import { pad4, type NumberArray } from "../runtime/tensor.ts";
import { bitsToFloat, floatToBits, integers } from "./integers.ts";

/** Value of `forced` for a token that is to be chosen. */
export const CHOOSE = 0xffffffff;

/** What `sampleSettings` packs. */
export interface SampleSettings {
  readonly seed: number;
  /** Place of step t = 0 in the text, so that each draw has a number of its own. */
  readonly position: number;
  /** 0 keeps all tokens. */
  readonly topK: number;
  /** 0 takes the most likely token. */
  readonly temperature: number;
  /** 1 keeps all tokens. */
  readonly topP: number;
}

/** The contents of the `settings`[8] tensor. */
export const sampleSettings = ({ seed, position, topK, temperature, topP }: SampleSettings): Uint32Array =>
  Uint32Array.of(seed, position, topK, floatToBits(temperature), floatToBits(topP), 0, 0, 0);

/** Rows that a workgroup covers. */
const ROWS = 8;

const forward = entry({
  params: { B: "u32", V: "u32", t: "u32" },
  bindings: { logits: "read", settings: "read", forced: "read", tokens: "read_write" },
  workgroups: ({ B }) => [divideUp(B, ROWS)],
  work: ({ B, V }) => 500 * B * V,
  reference({ logits, settings, forced, tokens }, { B, V, t }) {
    for (let b = 0; b < B; b++) {
      const row = logits.subarray(b * pad4(V), b * pad4(V) + V);
      const given = forced[t * B + b]!;
      tokens[(t + 1) * B + b] = given === CHOOSE ? choose(row, settings, t, b) : given;
    }
  },
  cases: () =>
    [
      { B: 1, V: 1, t: 0, topK: 0, topP: 1, temperature: 1 },
      { B: 3, V: 65, t: 2, topK: 0, topP: 1, temperature: 0 },
      { B: 65, V: 73, t: 1, topK: 0, topP: 1, temperature: 0.8 },
      { B: 9, V: 65, t: 0, topK: 0, topP: 1, temperature: 1e-3 },
      { B: 65, V: 73, t: 0, topK: 5, topP: 1, temperature: 1.5 },
      { B: 65, V: 73, t: 0, topK: 0, topP: 0.4, temperature: 1 },
      { B: 65, V: 74, t: 3, topK: 20, topP: 0.7, temperature: 2 },
      { B: 65, V: 3, t: 0, topK: 1, topP: 0, temperature: 1 },
      { B: 9, V: 601, t: 0, topK: 700, topP: 0, temperature: 1e-3 },
    ].flatMap(({ B, V, t, ...chosen }) =>
      Object.entries(FILLS).map(([fill, fills]) => ({
        name: `B=${B} V=${V} t=${t} ${JSON.stringify(chosen)}${fill}`,
        params: { B, V, t },
        tensors: {
          logits: { shape: [B, V], ...(fills && { fill: fills }) },
          settings: integers(...sampleSettings({ seed: 11, position: 4294967290, ...chosen })),
          forced: forcedTensor(t + 1, B),
          tokens: { shape: [t + 2, B], dtype: "u32" as const },
        },
      })),
    ),
});

/** What the logits of the cases are, beside random ones. */
const FILLS: Record<string, ((i: number) => number) | undefined> = {
  "": undefined,
  ", with ties": (i) => [-1, -0, 0, 2, 2][(i * i) % 5]!,
  ", with excluded tokens": (i) => (i % 3 === 1 ? i % 7 : -Infinity),
  ", with some that are not finite": (i) => (i % 97 === 40 ? NaN : i % 89 === 70 ? Infinity : (i % 11) / 3),
};

const forcedTensor = (T: number, B: number): CaseTensor => ({
  shape: [T, B],
  dtype: "u32",
  fill: (i) => (i % 4 === 3 ? i : CHOOSE),
});

function choose(logits: NumberArray, settings: NumberArray, t: number, b: number): number {
  const [seed, position, topK] = settings as unknown as [number, number, number];
  let largest = -Infinity;
  for (const x of logits) largest = Math.max(largest, x);
  if (!Number.isFinite(largest)) return CHOOSE;
  const temperature = bitsToFloat(settings[3]!);
  const topP = bitsToFloat(settings[4]!);
  const order = Array.from(logits.keys()).sort((v, w) => logits[w]! - logits[v]! || v - w);
  if (temperature <= 0) return order[0]!;
  const weight = (v: number): number => Math.exp((logits[v]! - logits[order[0]!]!) / temperature);
  const total = (tokens: readonly number[]): number => tokens.reduce((sum, v) => sum + weight(v), 0);

  let kept = order.slice(0, topK > 0 ? topK : order.length);
  if (topP < 1) {
    const goal = topP * total(kept);
    let share = 0;
    const enough = kept.findIndex((v) => (share += weight(v)) >= goal);
    if (enough >= 0) kept = kept.slice(0, enough + 1);
  }
  kept.sort((v, w) => v - w);
  const draw = fraction(randomWord(seed, (position + t) >>> 0, b, STREAM.sample)) * total(kept);
  let passed = 0;
  return kept.find((v) => (passed += weight(v)) > draw) ?? kept.at(-1)!;
}

export const sample = defineKernel("sample", source, { forward });

// What counting gets, to set beside what a network learns: the loss of guessing each character by how often it came after
// the last ones before it.
import { splitTokens } from "../../data/batches.ts";

/** Counted by: nothing before, the last character, the last two. */
export const BASELINE_NAMES = ["unigram", "bigram", "trigram"] as const;
export type Baselines = Readonly<Record<(typeof BASELINE_NAMES)[number], number>>;

/**
 * The losses, in nats a character, on the part of a text that is not trained on, of what was counted in the other; without such
 * a part on the whole text. What was seldom seen is guessed by fewer characters too (Witten & Bell 1991): with n counts of d
 * different characters, p = (count + d · p by one character less) / (n + d).
 */
export function baselinesOf(tokens: Uint32Array, vocabulary: number, valFraction: number): Baselines {
  const { train, val } = splitTokens(tokens, valFraction);
  const tested = val.length > 0 ? val : train;
  const tables = BASELINE_NAMES.map((_, before) => countAfter(train, vocabulary, before));
  const sums = BASELINE_NAMES.map(() => 0);
  for (let t = 2; t < tested.length; t++) {
    let p = 1 / vocabulary;
    for (const [before, table] of tables.entries()) {
      const counts = table.get(contextAt(tested, t, vocabulary, before));
      if (counts) p = ((counts.of.get(tested[t]!) ?? 0) + counts.of.size * p) / (counts.all + counts.of.size);
      sums[before] = sums[before]! - Math.log(p);
    }
  }
  const losses = sums.map((sum) => sum / Math.max(1, tested.length - 2));
  return Object.fromEntries(BASELINE_NAMES.map((name, i) => [name, losses[i]!])) as Baselines;
}

interface Counts {
  all: number;
  readonly of: Map<number, number>;
}

function countAfter(tokens: Uint32Array, vocabulary: number, before: number): ReadonlyMap<number, Counts> {
  const table = new Map<number, Counts>();
  for (let t = before; t < tokens.length; t++) {
    const context = contextAt(tokens, t, vocabulary, before);
    let counts = table.get(context);
    if (!counts) table.set(context, (counts = { all: 0, of: new Map() }));
    counts.all++;
    counts.of.set(tokens[t]!, (counts.of.get(tokens[t]!) ?? 0) + 1);
  }
  return table;
}

/** The `before` characters in front of a place, as one number. */
function contextAt(tokens: Uint32Array, t: number, vocabulary: number, before: number): number {
  let context = 0;
  for (let back = before; back > 0; back--) context = context * vocabulary + tokens[t - back]!;
  return context;
}

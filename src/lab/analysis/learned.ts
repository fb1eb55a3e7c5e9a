// How far a network has come, by what it writes and not by its step: from noise over letters that follow each other as the
// book's do to the book's words, and to quotation marks that close.
import type { Measured } from "../protocol.ts";
import { FEATURES } from "./features.ts";

/** What a book has. */
export interface Stock {
  readonly pairs: ReadonlySet<string>;
  readonly words: ReadonlySet<string>;
}

/** Shorter ones come about by chance. */
const WORD = /\p{L}{3,}/gu;
/** Characters of a book that are read at the most: hardly a word comes later for the first time. */
const MOST = 1_000_000;
/** Parts from which on a sample is more than noise, has learned words, and knows them well. */
const LEAST = { pairs: 0.7, words: 0.5, known: 0.7 };

const wordsOf = (text: string): readonly string[] => text.toLowerCase().match(WORD) ?? [];
const pairsOf = (text: string): readonly string[] => {
  const characters = [...text];
  return characters.slice(1).map((character, i) => characters[i]! + character);
};

export function stockOf(text: string): Stock {
  const read = text.slice(0, MOST);
  return { pairs: new Set(pairsOf(read)), words: new Set(wordsOf(read)) };
}

export function measure(sample: string, stock: Stock): Measured {
  const part = (all: readonly string[], known: ReadonlySet<string>): number =>
    all.filter((each) => known.has(each)).length / Math.max(1, all.length);
  const [pairs, words] = [part(pairsOf(sample), stock.pairs), part(wordsOf(sample), stock.words)];
  const learned =
    pairs < LEAST.pairs
      ? "noise"
      : words < LEAST.words
        ? "letters"
        : words < LEAST.known || !closesQuotes(sample)
          ? "words"
          : "quotes";
  return { learned, pairs, words };
}

/** Whether a quotation is opened and closed. */
function closesQuotes(sample: string): boolean {
  const inside = FEATURES["inside quotation marks"]!([...sample]);
  return inside.some((now, i) => now === 0 && inside[i - 1] === 1);
}

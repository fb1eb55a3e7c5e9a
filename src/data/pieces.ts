// What tokenizers that learn their vocabulary from a text have in common.
import { checkInteger, checkOptions, checkText } from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import { BYTES } from "./byte-tokenizer.ts";

/** The most tokens that a model may have. */
const MOST_TOKENS = 65536;

/** The size asked for. @throws GatewiseError E_DATA if it is no text, E_CONFIG */
export function checkVocabSize(where: string, text: string, options: { readonly vocabSize?: number }, fallback: number): number {
  checkText(`${where}: the text`, text);
  checkOptions(where, options, ["vocabSize"]);
  if (text.length === 0) throw new GatewiseError("E_DATA", "the text is empty; a tokenizer needs at least one character");
  const { vocabSize = fallback } = options;
  checkInteger("vocabSize", vocabSize, BYTES, MOST_TOKENS);
  return vocabSize;
}

/** How often each match of a pattern comes, in the order of their first places. */
export function countPieces(text: string, pattern: RegExp): Map<string, number> {
  const counts = new Map<string, number>();
  for (const [piece] of text.matchAll(pattern)) counts.set(piece, (counts.get(piece) ?? 0) + 1);
  return counts;
}

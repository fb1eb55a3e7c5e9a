import { checkText, shown } from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import { BYTES, PieceTokenizer } from "./byte-tokenizer.ts";
import { byteLength } from "./tokenizer.ts";
import { checkVocabSize, countPieces } from "./pieces.ts";

/** Letters and figures with apostrophes between them, white space, or one character of another kind: all of a text. */
const WORD = /[\p{L}\p{M}\p{N}_]+(?:['’][\p{L}\p{M}\p{N}_]+)*|\s+|[^]/gu;

/**
 * A tokenizer of words, of the white space between them and of marks. What is not among its words is spelt in bytes.
 *
 * @example
 * const tokenizer = WordTokenizer.fromText(text, { vocabSize: 4096 });
 * tokenizer.decode(tokenizer.encode("Alice, Alice!")); // "Alice, Alice!"
 */
export class WordTokenizer extends PieceTokenizer {
  /** The words that have a token, in the order of their tokens. */
  readonly words: readonly string[];
  private readonly tokens: ReadonlyMap<string, number>;

  private constructor(words: readonly string[]) {
    const encoder = new TextEncoder();
    super(words.map((word) => encoder.encode(word)));
    this.tokens = new Map(words.map((word, i) => [word, BYTES + i]));
    this.words = words;
  }

  /**
   * A tokenizer of the words of a text that come most often.
   *
   * @param options vocabSize: tokens at the most, those of the 256 bytes included; words that come once get none
   * @throws GatewiseError E_DATA if it is no text, E_CONFIG
   */
  static fromText(text: string, options: { readonly vocabSize?: number } = {}): WordTokenizer {
    const vocabSize = checkVocabSize("WordTokenizer.fromText", text, options, 4096);
    // What is one byte has its token already.
    const counted = [...countPieces(text, WORD)].filter(([word, count]) => count > 1 && byteLength(word) > 1);
    counted.sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
    return new WordTokenizer(counted.slice(0, vocabSize - BYTES).map(([word]) => word));
  }

  /** Reads what `toJSON` wrote. @throws GatewiseError E_BAD_CHECKPOINT */
  static fromJSON(json: unknown): WordTokenizer {
    const { kind, words } = (json ?? {}) as { kind?: unknown; words?: unknown };
    const isWord = (word: unknown): boolean => typeof word === "string" && word.match(WORD)?.[0] === word;
    if (kind === "word" && Array.isArray(words) && words.every(isWord) && new Set(words).size === words.length)
      return new WordTokenizer(words as string[]);
    throw new GatewiseError("E_BAD_CHECKPOINT", `the tokenizer is damaged: expected different words, got ${shown(words)}`);
  }

  toJSON(): { kind: "word"; words: readonly string[] } {
    return { kind: "word", words: this.words };
  }

  /** A text's tokens. */
  encode(text: string): Uint32Array {
    checkText("WordTokenizer.encode: the text", text);
    const encoder = new TextEncoder();
    const out = new Uint32Array(byteLength(text));
    let count = 0;
    for (const [word] of text.matchAll(WORD)) {
      const token = this.tokens.get(word);
      if (token !== undefined) out[count++] = token;
      else for (const byte of encoder.encode(word)) out[count++] = byte;
    }
    return out.slice(0, count);
  }
}

// Byte-level byte-pair encoding (Sennrich et al. 2016; bytes as in GPT-2): the pair of tokens that comes most often becomes
// a token, again and again. No pair reaches from one piece of the text into the next; PIECE says what a piece is.
import { checkText, shown } from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import { BYTES, PieceTokenizer } from "./byte-tokenizer.ts";
import { Heap } from "./heap.ts";
import { checkVocabSize, countPieces } from "./pieces.ts";
import { byteLength } from "./tokenizer.ts";

/** GPT-2's: a word with the space in front of it, figures, marks, or white space. */
const PIECE = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** Two tokens that become one: merge number i makes token 256 + i. */
export type Merge = readonly [left: number, right: number];

/** Bytes of a token at the most: a line of ten thousand dashes makes no better tokens than a word does. */
const MOST_BYTES = 256;

/** A pair as one number. */
const SIDES = 65536;
const pairOf = (left: number, right: number): number => left * SIDES + right;

/**
 * A tokenizer of pieces of words, learned from a text; what it has not learned is spelt in bytes.
 *
 * @example
 * const tokenizer = BpeTokenizer.fromText(text, { vocabSize: 1024 });
 * tokenizer.decode(tokenizer.encode("Alice")); // "Alice"
 */
export class BpeTokenizer extends PieceTokenizer {
  /** In the order in which they were learned. */
  readonly merges: readonly Merge[];
  private readonly ranks: ReadonlyMap<number, number>;

  private constructor(merges: readonly Merge[]) {
    super(spell(merges).map((name) => Uint8Array.from(name, (byte) => byte.charCodeAt(0))));
    this.ranks = new Map(merges.map(([left, right], rank) => [pairOf(left, right), rank]));
    this.merges = merges;
  }

  /**
   * The same text gives the same tokenizer: of pairs that come equally often the one of the lower tokens is first.
   *
   * @param options vocabSize: tokens at the most, those of the 256 bytes included; a pair that comes once becomes none
   * @throws GatewiseError E_DATA if it is no text, E_CONFIG
   */
  static fromText(text: string, options: { readonly vocabSize?: number } = {}): BpeTokenizer {
    const vocabSize = checkVocabSize("BpeTokenizer.fromText", text, options, 1024);
    return new BpeTokenizer(learnMerges(countPieces(text, PIECE), vocabSize - BYTES));
  }

  /** Reads what `toJSON` wrote. @throws GatewiseError E_BAD_CHECKPOINT */
  static fromJSON(json: unknown): BpeTokenizer {
    const { kind, merges } = (json ?? {}) as { kind?: unknown; merges?: unknown };
    const isMerge = (merge: unknown, i: number): boolean =>
      Array.isArray(merge) &&
      merge.length === 2 &&
      merge.every((token) => Number.isInteger(token) && token >= 0 && token < BYTES + i);
    if (kind === "bpe" && Array.isArray(merges) && merges.length <= SIDES - BYTES && merges.every(isMerge)) {
      const given = merges as Merge[];
      const different = new Set(given.map(([left, right]) => pairOf(left, right))).size === given.length;
      if (different && spell(given).length === given.length) return new BpeTokenizer(given);
    }
    throw new GatewiseError(
      "E_BAD_CHECKPOINT",
      `the tokenizer is damaged: expected merges of earlier tokens, got ${shown(merges)}`,
    );
  }

  /**
   * Reads what `toHuggingFace` wrote.
   *
   * @throws GatewiseError E_BAD_CHECKPOINT for another tokenizer, whose tokens would not be the same
   */
  static fromHuggingFace(json: unknown): BpeTokenizer {
    const { vocab, merges } = ((json as { model?: unknown } | null)?.model ?? {}) as { vocab?: unknown; merges?: unknown };
    if (typeof vocab === "object" && vocab !== null && Array.isArray(merges)) {
      const tokens = new Map(Object.entries(vocab));
      const pairs = merges.map((merge) => (Array.isArray(merge) ? merge.map((name) => tokens.get(name as string)) : merge));
      const read = BpeTokenizer.fromJSON({ kind: "bpe", merges: pairs });
      if (JSON.stringify(read.toHuggingFace()) === JSON.stringify(json)) return read;
    }
    throw new GatewiseError(
      "E_BAD_CHECKPOINT",
      `expected a byte-level BPE tokenizer as BpeTokenizer.toHuggingFace gives it, got ${shown(json)}`,
    );
  }

  toJSON(): { kind: "bpe"; merges: readonly Merge[] } {
    return { kind: "bpe", merges: this.merges };
  }

  /** A text's tokens. */
  encode(text: string): Uint32Array {
    checkText("BpeTokenizer.encode: the text", text);
    const encoder = new TextEncoder();
    const known = new Map<string, Uint32Array>();
    const out = new Uint32Array(byteLength(text));
    let count = 0;
    for (const [piece] of text.matchAll(PIECE)) {
      let tokens = known.get(piece);
      if (!tokens) known.set(piece, (tokens = this.merged(encoder.encode(piece))));
      out.set(tokens, count);
      count += tokens.length;
    }
    return out.slice(0, count);
  }

  /** The tokens of a piece: the earliest merge first, from left to right. */
  private merged(bytes: Uint8Array): Uint32Array {
    const { ranks } = this;
    const tokens = Int32Array.from(bytes);
    const end = tokens.length;
    const next = Int32Array.from(tokens, (_, i) => i + 1);
    const last = Int32Array.from(tokens, (_, i) => i - 1);
    const rankAt = (i: number): number | undefined =>
      i >= 0 && next[i]! < end ? ranks.get(pairOf(tokens[i]!, tokens[next[i]!]!)) : undefined;
    // A merge's rank and place as one number: a piece is shorter than 2 ** 32.
    const waiting = new Heap<number>((a, b) => a < b);
    const wait = (i: number): void => {
      const rank = rankAt(i);
      if (rank !== undefined) waiting.push(rank * 2 ** 32 + i);
    };
    for (let i = 0; i < end; i++) wait(i);
    for (let first = waiting.pop(); first !== undefined; first = waiting.pop()) {
      const rank = Math.floor(first / 2 ** 32);
      const i = first % 2 ** 32;
      // Another merge may have been here.
      if (tokens[i]! < 0 || rankAt(i) !== rank) continue;
      const gone = next[i]!;
      tokens[i] = BYTES + rank;
      tokens[gone] = -1;
      next[i] = next[gone]!;
      if (next[i]! < end) last[next[i]!] = i;
      wait(last[i]!);
      wait(i);
    }
    return Uint32Array.from(tokens.filter((token) => token >= 0));
  }

  /**
   * The same tokenizer as Hugging Face's libraries read it: a tokenizer.json, with the same tokens.
   *
   * @example
   * const tokenizer = BpeTokenizer.fromText(text);
   * writeFileSync("tokenizer.json", JSON.stringify(tokenizer.toHuggingFace()));
   */
  toHuggingFace(): object {
    const names = [...SINGLE, ...spell(this.merges)].map((name) => name.replace(/[^]/g, visibleByte));
    const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
    return {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: [],
      normalizer: null,
      pre_tokenizer: byteLevel,
      post_processor: null,
      decoder: byteLevel,
      model: {
        type: "BPE",
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: false,
        vocab: Object.fromEntries(names.map((name, token) => [name, token])),
        merges: this.merges.map(([left, right]) => [names[left], names[right]]),
      },
    };
  }
}

/** GPT-2's character for a byte: printable ones are themselves, the others follow from U+0100 on. */
function visibleByte(character: string): string {
  const hidden = (byte: number): boolean => byte <= 0x20 || (byte >= 0x7f && byte <= 0xa0) || byte === 0xad;
  const byte = character.charCodeAt(0);
  if (!hidden(byte)) return character;
  let before = 0;
  for (let each = 0; each < byte; each++) if (hidden(each)) before++;
  return String.fromCharCode(0x100 + before);
}

/** The names of the bytes' tokens. A token's name is its bytes, each the character of that number. */
const SINGLE = Array.from({ length: BYTES }, (_, byte) => String.fromCharCode(byte));

/** The names of the merges' tokens, up to the first that is too long. */
function spell(merges: readonly Merge[]): readonly string[] {
  const names = [...SINGLE];
  for (const [left, right] of merges) {
    if (names[left]!.length + names[right]!.length > MOST_BYTES) break;
    names.push(names[left]! + names[right]!);
  }
  return names.slice(BYTES);
}

/** A pair of tokens: how often it comes, and in which pieces. */
interface Pair {
  count: number;
  /** Numbers of pieces, each where it came to have the pair; some have it no more. */
  readonly places: number[];
}

/** The most frequent pairs of a text's pieces, one after another. */
function learnMerges(counts: ReadonlyMap<string, number>, most: number): readonly Merge[] {
  const encoder = new TextEncoder();
  const pieces = [...counts.keys()].map((piece) => Int32Array.from(encoder.encode(piece)));
  const frequencies = [...counts.values()];
  const pairs = new Map<number, Pair>();
  const waiting = new Heap<{ readonly key: number; readonly count: number }>(
    (a, b) => a.count > b.count || (a.count === b.count && a.key < b.key),
  );
  const changed = new Set<number>();
  const add = (left: number, right: number, piece: number, times: number): void => {
    const key = pairOf(left, right);
    let pair = pairs.get(key);
    if (!pair) pairs.set(key, (pair = { count: 0, places: [] }));
    pair.count += times;
    if (times > 0 && pair.places.at(-1) !== piece) pair.places.push(piece);
    changed.add(key);
  };
  const settle = (): void => {
    for (const key of changed) {
      const { count } = pairs.get(key)!;
      if (count > 1) waiting.push({ key, count });
    }
    changed.clear();
  };

  pieces.forEach((tokens, piece) => {
    for (let i = 1; i < tokens.length; i++) add(tokens[i - 1]!, tokens[i]!, piece, frequencies[piece]!);
  });
  settle();
  const merges: Merge[] = [];
  const names = [...SINGLE];
  for (let best = waiting.pop(); best && merges.length < most; best = waiting.pop()) {
    const { key, count } = best;
    const pair = pairs.get(key)!;
    // It has been counted anew since.
    if (pair.count !== count) continue;
    const [left, right] = [Math.floor(key / SIDES), key % SIDES];
    const name = names[left]! + names[right]!;
    if (name.length > MOST_BYTES) continue;
    merges.push([left, right]);
    const token = names.push(name) - 1;
    for (const piece of new Set(pair.places)) merge(piece, left, right, token);
    pairs.delete(key);
    changed.delete(key);
    settle();
  }
  return merges;

  /** Merges a pair in a piece, from left to right, and counts the pairs around it anew. */
  function merge(piece: number, left: number, right: number, token: number): void {
    const tokens = pieces[piece]!;
    const times = frequencies[piece]!;
    let length = 0;
    for (let i = 0; i < tokens.length; i++) {
      if (tokens[i] !== left || tokens[i + 1] !== right) {
        tokens[length++] = tokens[i]!;
        continue;
      }
      i++;
      if (length > 0) {
        add(tokens[length - 1]!, left, piece, -times);
        add(tokens[length - 1]!, token, piece, times);
      }
      if (i + 1 < tokens.length) {
        add(right, tokens[i + 1]!, piece, -times);
        add(token, tokens[i + 1]!, piece, times);
      }
      tokens[length++] = token;
    }
    pieces[piece] = tokens.subarray(0, length);
  }
}

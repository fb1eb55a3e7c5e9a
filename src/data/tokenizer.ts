import { checkNumbers, checkText } from "../checks.ts";
import { GatewiseError } from "../errors.ts";

/** Unknown characters that an error message lists. */
const LISTED = 8;

/** Text to tokens, 0 to size − 1, and back. */
export interface Tokenizer {
  /** V, the number of tokens. */
  readonly size: number;
  /**
   * Bytes of UTF-8 that each token stands for, so that what a token costs can be told per byte, whatever a token is. Without
   * it, it is not.
   */
  readonly byteLengths?: ArrayLike<number>;
  /** A text's tokens. @throws GatewiseError E_DATA for what it has no tokens for */
  encode(text: string): Uint32Array;
  /** The tokens' text. */
  decode(tokens: ArrayLike<number>): string;
  /** What checkpoints keep: plain data, with the kind of tokenizer that reads it. */
  toJSON(): { readonly kind: string };
  /** The same tokenizer as Hugging Face's libraries read it, a tokenizer.json, if it is one that they have. */
  toHuggingFace?(): object;
}

/** Whether it has all that a checkpoint asks of a tokenizer. */
export const isTokenizer = (value: unknown): value is Tokenizer =>
  (["encode", "decode", "toJSON"] as const).every((name) => typeof (value as Tokenizer | undefined)?.[name] === "function");

/** Bytes of UTF-8 of a text; a lone half of a surrogate pair counts three, as U+FFFD does. */
export function byteLength(text: string): number {
  let bytes = 0;
  for (let i = 0; i < text.length; i++) {
    const point = text.codePointAt(i)!;
    bytes += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    if (point > 0xffff) i++;
  }
  return bytes;
}

/** @throws GatewiseError E_DATA */
export function outside(token: number | undefined, at: number, { size }: Pick<Tokenizer, "size">): never {
  throw new GatewiseError("E_DATA", `token ${token} at ${at} is outside the vocabulary of ${size}`);
}

/**
 * A tokenizer with one token for every Unicode code point of a text, in code-point order.
 *
 * @example
 * const tokenizer = CharTokenizer.fromText(text);
 * tokenizer.decode(tokenizer.encode("Alice")); // "Alice"
 */
export class CharTokenizer implements Tokenizer {
  /** The character of each token. */
  readonly characters: readonly string[];
  private readonly tokens: ReadonlyMap<number, number>;

  private constructor(characters: readonly string[]) {
    this.tokens = new Map(characters.map((character, token) => [character.codePointAt(0)!, token]));
    this.characters = characters;
  }

  /** A tokenizer of a text's characters. @throws GatewiseError E_DATA if the text is empty, or no text */
  static fromText(text: string): CharTokenizer {
    checkText("CharTokenizer.fromText: the text", text);
    if (text.length === 0) throw new GatewiseError("E_DATA", "the text is empty; a tokenizer needs at least one character");
    return new CharTokenizer([]).extended(text);
  }

  /** The same with tokens for a text's new characters behind its own, in code-point order. */
  extended(text: string): CharTokenizer {
    return new CharTokenizer([...this.characters, ...this.unknownIn(text).keys()]);
  }

  /** The characters of a text that it does not know, in code-point order, and how often each comes. */
  unknownIn(text: string): ReadonlyMap<string, number> {
    checkText("CharTokenizer.unknownIn: the text", text);
    const counts = new Map<number, number>();
    for (let i = 0; i < text.length; i++) {
      const point = text.codePointAt(i)!;
      if (!this.tokens.has(point)) counts.set(point, (counts.get(point) ?? 0) + 1);
      if (point > 0xffff) i++;
    }
    return new Map([...counts].sort(([a], [b]) => a - b).map(([point, count]) => [String.fromCodePoint(point), count]));
  }

  /** Reads what `toJSON` wrote. @throws GatewiseError E_BAD_CHECKPOINT */
  static fromJSON(json: unknown): CharTokenizer {
    const { kind, codePoints } = (json ?? {}) as { kind?: unknown; codePoints?: unknown };
    const valid =
      kind === "char" &&
      Array.isArray(codePoints) &&
      codePoints.length > 0 &&
      codePoints.every((point) => Number.isInteger(point) && point >= 0 && point <= 0x10ffff) &&
      new Set(codePoints).size === codePoints.length;
    if (!valid) throw new GatewiseError("E_BAD_CHECKPOINT", "the tokenizer is damaged: expected different Unicode code points");
    return new CharTokenizer((codePoints as number[]).map((point) => String.fromCodePoint(point)));
  }

  /** Code points rather than text, because a lone surrogate would not survive UTF-8. */
  toJSON(): { kind: "char"; codePoints: readonly number[] } {
    return { kind: "char", codePoints: this.characters.map((character) => character.codePointAt(0)!) };
  }

  get size(): number {
    return this.characters.length;
  }

  get byteLengths(): Uint32Array {
    return Uint32Array.from(this.characters, byteLength);
  }

  /**
   * The tokens of a text, one a code point.
   *
   * @throws GatewiseError E_DATA that names the characters the tokenizer does not know
   */
  encode(text: string): Uint32Array {
    checkText("CharTokenizer.encode: the text", text);
    const out = new Uint32Array(text.length);
    const unknown = new Map<number, number>();
    let count = 0;
    for (let i = 0; i < text.length; i++) {
      const point = text.codePointAt(i)!;
      const token = this.tokens.get(point);
      if (token === undefined) {
        if (!unknown.has(point)) unknown.set(point, count);
      } else {
        out[count] = token;
      }
      count++;
      if (point > 0xffff) i++;
    }
    if (unknown.size > 0) throw this.unknownError(unknown);
    return out.slice(0, count);
  }

  /** The tokens' text. @throws GatewiseError E_DATA for a token outside the vocabulary, E_SHAPE for what is no array of numbers */
  decode(tokens: ArrayLike<number>): string {
    checkNumbers("CharTokenizer.decode: tokens", tokens);
    const parts: string[] = [];
    for (let i = 0; i < tokens.length; i++) {
      const character = this.characters[tokens[i]!];
      if (character === undefined) outside(tokens[i], i, this);
      parts.push(character);
    }
    return parts.join("");
  }

  private unknownError(unknown: ReadonlyMap<number, number>): GatewiseError {
    const listed = [...unknown].slice(0, LISTED).map(([point, at]) => `${describe(point)} at position ${at}`);
    const more = unknown.size > LISTED ? ` and ${unknown.size - LISTED} more` : "";
    const known = this.characters.map((c) => (c === "\n" ? "\\n" : c)).join("");
    return new GatewiseError(
      "E_DATA",
      `unknown character${unknown.size > 1 ? "s" : ""} ${listed.join(", ")}${more}; the model knows ${this.size}: ${known.slice(0, 200)}`,
    );
  }
}

/** A character as a person can see it: `"é" (U+00E9)`. */
function describe(point: number): string {
  return `${JSON.stringify(String.fromCodePoint(point))} (U+${point.toString(16).toUpperCase().padStart(4, "0")})`;
}

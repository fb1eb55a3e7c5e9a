import { checkNumbers, checkText, shown } from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import { outside, type Tokenizer } from "./tokenizer.ts";

/** The tokens of single bytes, which come first: they spell whatever no other token does. */
export const BYTES = 256;

/**
 * A tokenizer whose tokens stand for bytes of UTF-8, the first 256 for one each: it knows every text. A lone half of a
 * surrogate pair, which no file of text holds, comes back as U+FFFD.
 */
export abstract class PieceTokenizer implements Tokenizer {
  /** @param pieces the bytes of the tokens from 256 on */
  protected constructor(private readonly pieces: readonly Uint8Array[]) {}

  /** A text's tokens. */
  abstract encode(text: string): Uint32Array;
  abstract toJSON(): { readonly kind: string };

  get size(): number {
    return BYTES + this.pieces.length;
  }

  get byteLengths(): Uint32Array {
    return Uint32Array.from({ length: this.size }, (_, token) => this.pieces[token - BYTES]?.length ?? 1);
  }

  /**
   * What is no whole character becomes U+FFFD.
   *
   * @throws GatewiseError E_DATA for a token outside the vocabulary, E_SHAPE for what is no array of numbers
   */
  decode(tokens: ArrayLike<number>): string {
    checkNumbers("Tokenizer.decode: tokens", tokens);
    let length = 0;
    for (let i = 0; i < tokens.length; i++) {
      const token = tokens[i]!;
      if (!Number.isInteger(token) || token < 0 || token >= this.size) outside(token, i, this);
      length += this.pieces[token - BYTES]?.length ?? 1;
    }
    const bytes = new Uint8Array(length);
    let at = 0;
    for (let i = 0; i < tokens.length; i++) {
      const piece = this.pieces[tokens[i]! - BYTES];
      bytes.set(piece ?? [tokens[i]!], at);
      at += piece?.length ?? 1;
    }
    // A byte-order mark is a character like others.
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  }
}

/**
 * A tokenizer with one token a byte, which knows any file at all.
 *
 * @example
 * const tokenizer = new ByteTokenizer();
 * tokenizer.encode("é"); // 195, 169
 */
export class ByteTokenizer extends PieceTokenizer {
  constructor() {
    super([]);
  }

  /** Reads what `toJSON` wrote. @throws GatewiseError E_BAD_CHECKPOINT */
  static fromJSON(json: unknown): ByteTokenizer {
    if ((json as { kind?: unknown } | null)?.kind === "byte") return new ByteTokenizer();
    throw new GatewiseError("E_BAD_CHECKPOINT", `the tokenizer is damaged: expected one of kind "byte", got ${shown(json)}`);
  }

  toJSON(): { kind: "byte" } {
    return { kind: "byte" };
  }

  /** The bytes of a text in UTF-8, or of what is no text. */
  encode(text: string | Uint8Array): Uint32Array {
    if (text instanceof Uint8Array) return Uint32Array.from(text);
    checkText("ByteTokenizer.encode: the text", text);
    return Uint32Array.from(new TextEncoder().encode(text));
  }
}

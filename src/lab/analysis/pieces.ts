// A text as a model reads it: its tokens, and the piece of the text that each stands for.
import { CharTokenizer, type Tokenizer } from "../../data/tokenizer.ts";
import { tokenizerFromJSON } from "../../data/tokenizers.ts";
import type { ModelSnapshot } from "../protocol.ts";

export const tokenizerOf = (snapshot: Pick<ModelSnapshot, "tokenizer">): Tokenizer => tokenizerFromJSON(snapshot.tokenizer);

export interface Pieces {
  readonly tokens: Uint32Array;
  /** Together they are the text. A character that takes several tokens is the last one's; those before it have "". */
  readonly pieces: readonly string[];
}

export function piecesOf(tokenizer: Tokenizer, text: string): Pieces {
  const tokens = tokenizer.encode(text);
  if (tokenizer instanceof CharTokenizer) return { tokens, pieces: [...text] };
  let from = 0;
  const pieces = Array.from(tokens, (_, t) => {
    const piece = tokenizer.decode(tokens.subarray(from, t + 1));
    const whole = !piece.endsWith(BROKEN) || t + 1 === tokens.length;
    if (whole) from = t + 1;
    return whole ? piece : "";
  });
  return { tokens, pieces };
}

/** What decoding makes of a part of a character. */
const BROKEN = "\ufffd";

/** A token for people: its text, or what it is of a character. */
export function nameOf(tokenizer: Tokenizer, token: number): string {
  const text = tokenizer.decode([token]);
  if (!text.includes(BROKEN)) return text;
  return tokenizer.byteLengths?.[token] === 1 ? `‹${token.toString(16).toUpperCase()}›` : `‹token ${token}›`;
}

/** The token that a text is read after where its book has a line's end. */
export const startOf = (tokenizer: Tokenizer): number => (knows(tokenizer, "\n") ? tokenizer.encode("\n").at(-1)! : 0);

export function knows(tokenizer: Tokenizer, text: string): boolean {
  try {
    tokenizer.encode(text);
    return true;
  } catch {
    return false;
  }
}

/** A number for each piece of one for each character: that of the piece's last one. */
export function atPieces(pieces: readonly string[], ofCharacters: Float32Array): Float32Array {
  let end = 0;
  return Float32Array.from(pieces, (piece) => {
    end += [...piece].length;
    return ofCharacters[Math.max(0, end - 1)]!;
  });
}

// The kinds of tokenizers in one table: what `--tokenizer` names, and what a checkpoint's JSON does.
import { shown } from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import { BpeTokenizer } from "./bpe-tokenizer.ts";
import { ByteTokenizer } from "./byte-tokenizer.ts";
import { CharTokenizer, type Tokenizer } from "./tokenizer.ts";
import { WordTokenizer } from "./word-tokenizer.ts";

interface Kind {
  /** Whether its vocabulary has a size that can be asked for. */
  readonly sized: boolean;
  readonly fromText: (text: string, options: { readonly vocabSize?: number }) => Tokenizer;
  readonly fromJSON: (json: unknown) => Tokenizer;
}

const KINDS = {
  char: { sized: false, fromText: (text) => CharTokenizer.fromText(text), fromJSON: CharTokenizer.fromJSON },
  byte: { sized: false, fromText: () => new ByteTokenizer(), fromJSON: ByteTokenizer.fromJSON },
  word: { sized: true, fromText: WordTokenizer.fromText, fromJSON: WordTokenizer.fromJSON },
  bpe: { sized: true, fromText: BpeTokenizer.fromText, fromJSON: BpeTokenizer.fromJSON },
} as const satisfies Readonly<Record<string, Kind>>;

export type TokenizerKind = keyof typeof KINDS;
export const TOKENIZER_KINDS = Object.keys(KINDS) as readonly TokenizerKind[];
/** Those whose vocabulary has a size that can be asked for. */
export const SIZED_KINDS = TOKENIZER_KINDS.filter((kind) => KINDS[kind].sized);

/** A tokenizer of this kind for a text. @throws GatewiseError E_DATA, E_CONFIG */
export function makeTokenizer(kind: TokenizerKind, text: string, vocabSize?: number): Tokenizer {
  if (vocabSize !== undefined && !KINDS[kind].sized)
    throw new GatewiseError(
      "E_CONFIG",
      `vocabSize must be left out with the tokenizer ${kind}, whose vocabulary is what it is; it is for ${SIZED_KINDS.join(" and ")}`,
    );
  return KINDS[kind].fromText(text, vocabSize === undefined ? {} : { vocabSize });
}

const kindOf = (json: unknown): unknown => (json as { kind?: unknown } | null | undefined)?.kind;
/** Whether JSON is of a kind of this library's. */
export const isKnownKind = (json: unknown): boolean => (TOKENIZER_KINDS as readonly unknown[]).includes(kindOf(json));

/**
 * The tokenizer that `toJSON` made this of.
 *
 * @throws GatewiseError E_BAD_CHECKPOINT if it is damaged, or of a kind that is not this library's
 */
export function tokenizerFromJSON(json: unknown): Tokenizer {
  if (isKnownKind(json)) return KINDS[kindOf(json) as TokenizerKind].fromJSON(json);
  const kind = kindOf(json);
  throw new GatewiseError(
    "E_BAD_CHECKPOINT",
    typeof kind === "string"
      ? `the tokenizer is one of ${shown(kind)}, which is not Gatewise's own; give it: loadCheckpoint(bytes, { tokenizer })`
      : `the tokenizer is damaged: expected one of kind ${TOKENIZER_KINDS.join(", ")}, got ${shown(json)}`,
  );
}

// The tokenizer of a file that may come from elsewhere.
import { BpeTokenizer } from "../data/bpe-tokenizer.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import { tokenizerFromJSON } from "../data/tokenizers.ts";
import { parseJson } from "./safetensors.ts";

/**
 * The tokenizer of a text that `JSON.stringify` made of one, or of the form that it has for Hugging Face, or of a list of the
 * characters in the order of their tokens, or an object that has the token of each.
 *
 * @param where beginning of the error's message
 * @throws GatewiseError E_BAD_CHECKPOINT
 */
export function readTokenizer(where: string, json: string): Tokenizer {
  const value = parseJson(where, json);
  const isTheirs = typeof value === "object" && value !== null && "model" in value;
  return isTheirs ? BpeTokenizer.fromHuggingFace(value) : tokenizerFromJSON(ofCharacters(value) ?? value);
}

/** What CharTokenizer reads, of ["\n", " ", …] or { "\n": 0, " ": 1, … }, as scripts that train on characters keep them. */
function ofCharacters(value: unknown): object | undefined {
  const list = Array.isArray(value)
    ? value
    : Object.entries((value ?? {}) as object).reduce<unknown[]>((all, [character, token]) => {
        if (Number.isInteger(token) && token >= 0 && token < MOST_CHARACTERS) all[token] = character;
        return all;
      }, []);
  const isCharacter = (each: unknown): boolean => typeof each === "string" && [...each].length === 1;
  if (list.length === 0 || !Array.from(list).every(isCharacter)) return undefined;
  return { kind: "char", codePoints: list.map((character: string) => character.codePointAt(0)) };
}
const MOST_CHARACTERS = 0x110000;

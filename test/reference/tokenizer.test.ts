// Text to tokens and back.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CharTokenizer } from "../../src/data/tokenizer.ts";
import { GatewiseError } from "../../src/errors.ts";

/** Any sequence of code points, lone surrogates often among them. */
const anyText = fc
  .array(
    fc.oneof(
      fc.integer({ min: 0, max: 0x10ffff }),
      fc.integer({ min: 0xd800, max: 0xdfff }),
      fc.integer({ min: 0x20, max: 0x7e }),
      fc.constantFrom(0, 0x0a, 0x0301, 0x200d, 0xfeff, 0xffff, 0x1f469, 0x10ffff),
    ),
    { minLength: 1, maxLength: 60 },
  )
  .map((points) => points.map((point) => String.fromCodePoint(point)).join(""));

const isBad = expect.objectContaining({ name: "GatewiseError", code: "E_BAD_CHECKPOINT" });
const isBadText = expect.objectContaining({ name: "GatewiseError", code: "E_DATA" });

describe("a tokenizer", () => {
  it("has one token for each code point of any text, in code-point order", () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const { characters, size } = CharTokenizer.fromText(text);
        const points = [...new Set(text)].map((character) => character.codePointAt(0)!).sort((a, b) => a - b);
        expect(characters.map((character) => character.codePointAt(0))).toEqual(points);
        expect(size).toBe(points.length);
      }),
    );
  });

  it("gives back any text, lone surrogates included, one token a code point", () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const tokenizer = CharTokenizer.fromText(text);
        const tokens = tokenizer.encode(text);
        expect(tokens).toHaveLength([...text].length);
        expect(Math.max(...tokens)).toBeLessThan(tokenizer.size);
        expect(tokenizer.decode(tokens)).toBe(text);
      }),
    );
  });

  it("stays the same through JSON and UTF-8, where lone surrogates would not as text", () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const tokenizer = CharTokenizer.fromText(text);
        const json = new TextDecoder().decode(new TextEncoder().encode(JSON.stringify(tokenizer)));
        const copy = CharTokenizer.fromJSON(JSON.parse(json));
        expect(copy.characters).toEqual(tokenizer.characters);
        expect(copy.encode(text)).toEqual(tokenizer.encode(text));
        expect(copy.decode(tokenizer.encode(text))).toBe(text);
      }),
    );
  });

  it("takes an emoji for one character, and a letter and its combining mark for two", () => {
    const tokenizer = CharTokenizer.fromText("e\u0301 😀😀👩‍🚀");
    expect(tokenizer.characters).toEqual([" ", "e", "\u0301", "\u200d", "👩", "😀", "🚀"]);
    expect([...tokenizer.encode("😀e\u0301👩‍🚀")]).toEqual([5, 1, 2, 4, 3, 6]);
    expect(CharTokenizer.fromText("é").characters).toEqual(["é"]);
  });

  it("keeps a half of a surrogate pair apart from the whole pair", () => {
    const tokenizer = CharTokenizer.fromText("\ud83d 😀 \ude00");
    expect(tokenizer.characters.map((character) => character.codePointAt(0))).toEqual([0x20, 0xd83d, 0xde00, 0x1f600]);
    expect([...tokenizer.encode("\ude00\ud83d😀")]).toEqual([2, 1, 3]);
  });

  it("keeps line ends, NUL and a byte-order mark as the characters that they are", () => {
    expect(CharTokenizer.fromText("\uFEFFa\r\n\0").characters).toEqual(["\0", "\n", "\r", "a", "\uFEFF"]);
  });

  it("encodes the empty text as no tokens, and cannot be made from it", () => {
    const tokenizer = CharTokenizer.fromText("a");
    expect(tokenizer.encode("")).toEqual(new Uint32Array(0));
    expect(tokenizer.decode([])).toBe("");
    expect(() => CharTokenizer.fromText("")).toThrow(isBadText);
    expect(() => CharTokenizer.fromText("")).toThrow("the text is empty");
  });
});

it("what is no text, or no tokens, is refused by where it was given", () => {
  const tokenizer = CharTokenizer.fromText("a");
  expect(() => CharTokenizer.fromText(7 as never)).toThrow("CharTokenizer.fromText: the text must be a string, got 7");
  expect(() => tokenizer.encode(null as never)).toThrow("CharTokenizer.encode: the text must be a string, got null");
  expect(() => tokenizer.decode("a" as never)).toThrow('CharTokenizer.decode: tokens must be an array of numbers, got "a"');
});

describe("an unknown character", () => {
  const tokenizer = CharTokenizer.fromText("abc\n");

  it("is named with its code point and its place, counted in characters", () => {
    expect(() => tokenizer.encode("aé😀xé")).toThrow(isBadText);
    expect(() => tokenizer.encode("aé😀xé")).toThrow(
      'unknown characters "é" (U+00E9) at position 1, "😀" (U+1F600) at position 2, "x" (U+0078) at position 3; ' +
        "the model knows 4: \\nabc",
    );
    expect(() => tokenizer.encode("ab\u0007")).toThrow('unknown character "\\u0007" (U+0007) at position 2; ');
    expect(() => tokenizer.encode("\ud83d")).toThrow('unknown character "\\ud83d" (U+D83D) at position 0; ');
  });

  it("is named with the first 200 of the characters that are known", () => {
    const many = CharTokenizer.fromText(String.fromCodePoint(...Array.from({ length: 300 }, (_, i) => 0x4e00 + i)));
    const known = String.fromCodePoint(...Array.from({ length: 200 }, (_, i) => 0x4e00 + i));
    expect(() => many.encode("a")).toThrow(new RegExp(`; the model knows 300: ${known}$`));
  });

  it("is found in any text, each kind once, at the first place where it stands", () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const unknown = [...text].flatMap((c, at, all) => (!"abc\n".includes(c) && all.indexOf(c) === at ? [{ c, at }] : []));
        if (unknown.length === 0) return;
        let message = "";
        try {
          tokenizer.encode(text);
        } catch (error) {
          expect(error).toBeInstanceOf(GatewiseError);
          ({ message } = error as Error);
        }
        const named = [...message.matchAll(/\(U\+([0-9A-F]{4,6})\) at position (\d+)/g)];
        expect(named.map(([, point, at]) => [parseInt(point!, 16), Number(at)])).toEqual(
          unknown.slice(0, 8).map(({ c, at }) => [c.codePointAt(0), at]),
        );
        expect(/and (\d+) more/.exec(message)?.[1]).toBe(unknown.length > 8 ? String(unknown.length - 8) : undefined);
      }),
    );
  });

  it("among tokens is one outside the vocabulary", () => {
    for (const token of [4, 0xffffffff, -1, 1.5, NaN]) {
      expect(() => tokenizer.decode([0, token])).toThrow(isBadText);
      expect(() => tokenizer.decode([0, token])).toThrow(`token ${token} at 1 is outside the vocabulary of 4`);
    }
  });
});

describe("a tokenizer's JSON that is damaged", () => {
  const damaged: [name: string, json: unknown][] = [
    ["nothing", undefined],
    ["null", null],
    ["an array", []],
    ["a text", "char"],
    ["no code points", { kind: "char" }],
    ["an empty list", { kind: "char", codePoints: [] }],
    ["another kind", { kind: "bpe", codePoints: [97] }],
    ["a code point twice", { kind: "char", codePoints: [97, 98, 97] }],
    ["a negative code point", { kind: "char", codePoints: [-1] }],
    ["a code point past the last", { kind: "char", codePoints: [0x110000] }],
    ["a fraction", { kind: "char", codePoints: [97.5] }],
    ["a character for its code point", { kind: "char", codePoints: ["a"] }],
    ["a text for the list", { kind: "char", codePoints: "abc" }],
  ];
  for (const [name, json] of damaged) {
    it(`is refused: ${name}`, () => expect(() => CharTokenizer.fromJSON(json)).toThrow(isBad));
  }

  it("gives E_BAD_CHECKPOINT or a tokenizer that works, whatever the JSON", () => {
    const json = fc.oneof(fc.jsonValue(), fc.record({ kind: fc.constant("char"), codePoints: fc.jsonValue() }));
    fc.assert(
      fc.property(json, (value) => {
        let tokenizer: CharTokenizer;
        try {
          tokenizer = CharTokenizer.fromJSON(value);
        } catch (error) {
          expect(error).toEqual(isBad);
          return;
        }
        tokenizer.characters.forEach((character, token) => expect([...tokenizer.encode(character)]).toEqual([token]));
      }),
    );
  });
});

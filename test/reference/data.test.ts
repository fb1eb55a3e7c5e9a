// Texts, tokens and batches.
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createBatches, evaluationWindows, IGNORE, sortByToken, splitTokens } from "../../src/data/batches.ts";
import { BOOKS, decodeText, fetchText, findBook, stripGutenberg } from "../../src/data/books.ts";
import { CharTokenizer } from "../../src/data/tokenizer.ts";

describe("the tokenizer", () => {
  it("keeps every code point of any text, lone surrogates included, through JSON and back", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 0x10ffff }), { minLength: 1, maxLength: 60 }), (points) => {
        // Lone halves of a pair that happen to meet become one code point, which is what the text then holds.
        const text = points.map((p) => String.fromCodePoint(p)).join("");
        const tokenizer = CharTokenizer.fromText(text);
        const copy = CharTokenizer.fromJSON(JSON.parse(JSON.stringify(tokenizer)));
        expect(copy.decode(tokenizer.encode(text))).toBe(text);
        expect(tokenizer.size).toBe(new Set(text).size);
      }),
    );
  });
  it("counts an emoji as one character and combining marks as their own", () => {
    const tokenizer = CharTokenizer.fromText("e\u0301 😀😀");
    expect(tokenizer.characters).toEqual([" ", "e", "\u0301", "😀"]);
    expect(Array.from(tokenizer.encode("😀e"))).toEqual([3, 1]);
  });
  it("names unknown characters, where they are, and what it knows", () => {
    const tokenizer = CharTokenizer.fromText("abc\n");
    expect(() => tokenizer.encode("aé😀xé")).toThrow(
      'unknown characters "é" (U+00E9) at position 1, "😀" (U+1F600) at position 2, "x" (U+0078) at position 3; the model knows 4: \\nabc',
    );
    expect(() => tokenizer.encode("ABCDEFGHIJKL")).toThrow(/and 4 more/);
    expect(() => CharTokenizer.fromText("")).toThrow(/empty/);
    expect(() => tokenizer.decode([9])).toThrow(/outside the vocabulary of 4/);
  });
  it("refuses damaged JSON", () => {
    for (const json of [
      null,
      {},
      [],
      { kind: "char", codePoints: [] },
      { kind: "char", codePoints: [1, 1] },
      { kind: "char", codePoints: [-1] },
      { kind: "bpe", codePoints: [1] },
    ]) {
      expect(() => CharTokenizer.fromJSON(json)).toThrow(expect.objectContaining({ code: "E_BAD_CHECKPOINT" }));
    }
  });
});

const sequence = (length: number): Uint32Array => Uint32Array.from({ length }, (_, i) => i);

describe("carried batches", () => {
  it("are consecutive windows of contiguous streams, reset only where an epoch begins", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 7 }),
        fc.integer({ min: 0, max: 90 }),
        (B, T, extra) => {
          const tokens = sequence(B * T + 1 + extra);
          const batches = createBatches(tokens, { batchSize: B, seqLen: T, state: "carry", seed: 1 });
          const [inputs, targets] = [new Uint32Array(T * B), new Uint32Array(T * B)];
          const stream = Math.floor((tokens.length - 1) / B);
          for (let step = 0; step < 2 * batches.stepsPerEpoch + 1; step++) {
            const window = step % batches.stepsPerEpoch;
            expect(batches.fill(step, inputs, targets)).toBe(window === 0);
            for (let t = 0; t < T; t++) {
              for (let b = 0; b < B; b++) {
                expect(inputs[t * B + b]).toBe(b * stream + window * T + t);
                expect(targets[t * B + b]).toBe(inputs[t * B + b]! + 1);
              }
            }
          }
          // No window more would fit.
          expect(batches.stepsPerEpoch).toBe(Math.floor(stream / T));
        },
      ),
    );
  });
  it("of a text too short name a batch that fits, and it does", () => {
    const options = { batchSize: 50, seqLen: 10, state: "carry", seed: 1 } as const;
    let advice = 0;
    try {
      createBatches(sequence(100), options);
    } catch (error) {
      advice = Number(/at most (\d+)/.exec((error as Error).message)![1]);
    }
    expect(createBatches(sequence(100), { ...options, batchSize: advice }).stepsPerEpoch).toBe(1);
    expect(() => createBatches(sequence(100), { ...options, batchSize: advice + 1 })).toThrow(/too short/);
    expect(() => createBatches(sequence(5), options)).toThrow(/windows of at most 4/);
  });
});

describe("zero-state windows", () => {
  const options = { batchSize: 3, seqLen: 4, state: "zero", seed: 7 } as const;
  it("depend on step and seed alone, and reach every place of the text", () => {
    const fillOf = (seed: number, step: number): number[] => {
      const [inputs, targets] = [new Uint32Array(12), new Uint32Array(12)];
      expect(createBatches(sequence(9), { ...options, seed }).fill(step, inputs, targets)).toBe(true);
      inputs.forEach((input, i) => expect(targets[i]).toBe(input + 1));
      return Array.from(inputs);
    };
    expect(fillOf(7, 5)).toEqual(fillOf(7, 5));
    expect(fillOf(7, 5)).not.toEqual(fillOf(8, 5));
    const starts = new Set(Array.from({ length: 60 }, (_, step) => fillOf(7, step).slice(0, 3)).flat());
    expect([...starts].sort()).toEqual([0, 1, 2, 3, 4]);
  });
  it("need one window and its target", () => {
    expect(() => createBatches(sequence(4), options)).toThrow(/needs? 5 characters, got 4/);
    expect(createBatches(sequence(5), options).stepsPerEpoch).toBe(1);
  });
});

describe("evaluation windows", () => {
  it("hold every next token as a target exactly once, after its own token", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 60 }),
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 8 }),
        (length, B, T) => {
          const windows = evaluationWindows(sequence(length), B, T);
          const [inputs, targets] = [new Uint32Array(T * B), new Uint32Array(T * B)];
          const seen: number[] = [];
          for (let w = 0; w < windows.count; w++) {
            windows.fill(w, inputs, targets);
            targets.forEach((target, i) => {
              if (target === IGNORE) return;
              expect(target).toBe(inputs[i]! + 1);
              seen.push(target);
            });
          }
          expect(seen.sort((a, b) => a - b)).toEqual(Array.from({ length: length - 1 }, (_, i) => i + 1));
          expect(windows.targets).toBe(length - 1);
        },
      ),
    );
  });
});

it("tokens are split in two and sorted by token, stably", () => {
  expect(splitTokens(sequence(10), 0.25)).toEqual({ train: sequence(8), val: Uint32Array.of(8, 9) });
  expect(splitTokens(sequence(10), 0).val).toHaveLength(0);
  for (const wrong of [1, -0.1, NaN]) expect(() => splitTokens(sequence(10), wrong)).toThrow(/valFraction/);
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 6 }), { maxLength: 40 }), (tokens) => {
      const [order, starts] = [new Uint32Array(tokens.length), new Uint32Array(8)];
      sortByToken(Uint32Array.from(tokens), 7, order, starts);
      expect(Array.from(order)).toEqual(tokens.map((_, i) => i).sort((a, b) => tokens[a]! - tokens[b]! || a - b));
      for (let v = 0; v < 7; v++) expect(starts[v + 1]! - starts[v]!).toBe(tokens.filter((t) => t === v).length);
    }),
  );
});

describe("books", () => {
  it("are found by name, Alice among them", () => {
    expect(findBook("ALICE")).toMatchObject({ file: "carroll-alice.txt", author: "Lewis Carroll" });
    expect(findBook("bible")).toBeUndefined();
    expect(new Set(BOOKS.map((b) => b.name)).size).toBe(18);
  });
  it("lose Project Gutenberg's header and footer, old and new, and nothing else", () => {
    const modern =
      "\uFEFFThe Project Gutenberg eBook of X\r\n\r\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\r\n\r\nCHAPTER I\r\nText.\r\n\r\n*** END OF THE PROJECT GUTENBERG EBOOK X ***\r\nlicence";
    expect(stripGutenberg(modern)).toBe("CHAPTER I\nText.\n");
    expect(
      stripGutenberg(
        "blah\n*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04\n\nText.\nEnd of the Project Gutenberg Etext of X\nmore",
      ),
    ).toBe("Text.\n");
    expect(stripGutenberg("  plain\r\ntext  \n")).toBe("  plain\ntext  \n");
  });
  it("are read as UTF-8, UTF-16 or Windows-1252, but not as binary", () => {
    const encode = (text: string) => new TextEncoder().encode(text);
    expect(decodeText(encode("déjà"), "x")).toBe("déjà");
    expect(decodeText(Uint8Array.of(0xff, 0xfe, 0x41, 0, 0xe9, 0), "x")).toBe("Aé");
    expect(decodeText(Uint8Array.of(0xfe, 0xff, 0, 0x41), "x")).toBe("A");
    expect(decodeText(Uint8Array.of(0x41, 0xe9, 0x93), "x")).toBe("Aé“");
    expect(() => decodeText(Uint8Array.of(0x41, 0), "cat.png")).toThrow(/cat\.png is no text file/);
  });
});

describe("a text from the network", () => {
  let server: Server;
  let base = "";
  beforeAll(async () => {
    server = createServer((request, response) => {
      const { url } = request;
      if (url === "/moved") response.writeHead(302, { location: "/book" }).end();
      else if (url === "/book")
        response.end("*** START OF THIS PROJECT GUTENBERG EBOOK X ***\nHello.\n*** END OF THIS PROJECT GUTENBERG EBOOK X ***\n");
      else if (url === "/page") response.writeHead(200, { "content-type": "text/html" }).end("<p>");
      else if (url !== "/slow") response.writeHead(404, "Not Found").end();
    });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });
  it("follows redirects and strips the header", async () => {
    expect(await fetchText(`${base}/moved`)).toBe("Hello.\n");
  });
  it("says what failed", async () => {
    await expect(fetchText(`${base}/none`)).rejects.toThrow(/answered 404 Not Found/);
    await expect(fetchText(`${base}/page`)).rejects.toThrow(/is a web page/);
    await expect(fetchText(`${base}/slow`, { timeout: 50 })).rejects.toThrow(/no answer within 0\.05 s/);
    await expect(fetchText("http://127.0.0.1:1/")).rejects.toMatchObject({
      code: "E_DATA",
      message: expect.stringMatching(/without a network use a bundled book: alice, /),
    });
  });
  it("takes a page of Project Gutenberg for its plain text", async () => {
    const asked: string[] = [];
    const fetch = async (url: string) => {
      asked.push(url);
      return new Response("text");
    };
    await fetchText("https://www.gutenberg.org/ebooks/11", { fetch: fetch as typeof globalThis.fetch });
    expect(asked).toEqual(["https://www.gutenberg.org/cache/epub/11/pg11.txt"]);
  });
});

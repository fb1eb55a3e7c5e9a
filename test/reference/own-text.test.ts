// A text of one's own, from its bytes to a run that goes on: what the command line reads, and as which tokens.
import { execFileSync } from "node:child_process";
import { mkdirSync, openSync, readFileSync, rmSync, truncateSync, writeFileSync, closeSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { beforeAll, describe, expect, it, vi } from "vitest";
import type { CharTokenizer, Tokenizer } from "../../src/data/tokenizer.ts";
import { makeTokenizer, TOKENIZER_KINDS } from "../../src/data/tokenizers.ts";
import { loadText } from "../../src/cli/data.ts";
import { LanguageModel } from "../../src/models/language-model.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { loadCheckpoint } from "../../src/training/checkpoint.ts";
import { extendVocabulary } from "../../src/training/vocabulary.ts";
import { makeEvaluator } from "../../src/training/evaluate.ts";
import { gatewise, lines, train, workInFolder } from "./command-line.ts";

vi.mock("../../src/cli/version.ts", () => ({ version: () => "1.2.3" }));

workInFolder("own");
const TEXT = "It was the best of times, it was the worst of times; ".repeat(40);
writeFileSync("text.txt", TEXT);
const SMALL = ["--device", "cpu", "--hidden", "6", "--embedding", "4", "--batch", "4", "--seq", "8", "--sample-every", "0"];
const TINY = [...SMALL, "--eval-every", "0"];

const startOf = async (...args: readonly string[]) => lines((await train(...args, "--json")).out)[0];

describe("a tokenizer", () => {
  it("of any kind is trained with, kept, sampled with, gone on with and told of", async () => {
    for (const [kind, vocabulary, said] of [
      ["byte", 256, "vocabulary of 256 (byte) · text: text, 2,120 tokens"],
      // By hand: 12 words, 12 spaces and 2 marks, 40 times; 8 of the words are different ones.
      ["word", 256 + 8, "vocabulary of 264 (word) · text: text, 1,040 tokens"],
      ["bpe", 260, /vocabulary of 260 \(bpe\) · text: text, [\d,]+ tokens/],
    ] as const) {
      const flags = ["--tokenizer", kind, ...(kind === "bpe" ? ["--vocab-size", "260"] : [])];
      const { err } = await train("--data", "text.txt", ...TINY, ...flags, "--steps", "2", "--out", kind);
      expect(err.split("\n")[1]).toMatch(said);
      expect(await startOf("--resume", kind, "--steps", "3")).toMatchObject({ step: 2, tokenizer: kind, vocabulary });
      expect(
        await gatewise("sample", kind, "--prompt", "It was é漢\r\n", "--length", "70", "--seed", "1", "--device", "cpu"),
      ).toMatchObject({
        code: 0,
        out: expect.stringMatching(/^It was é漢\n/),
      });
      const info = lines((await gatewise("info", kind, "--json")).out)[0];
      expect(info).toMatchObject({ tokenizer: kind, vocabulary });
      expect(info).not.toHaveProperty("characters");
      expect((await gatewise("info", kind)).out).toMatch(new RegExp(`^vocabulary +${vocabulary}: ${kind}$`, "m"));
    }
  });

  it("that is not the checkpoint's is refused, and a size for one whose vocabulary is what it is", async () => {
    const refused: [args: string[], message: string][] = [
      [["--resume", "byte", "--steps", "9", "--tokenizer", "char"], "--tokenizer char does not fit the checkpoint's model (byte); leave it out"],
      [["--init-from", "bpe", "--vocab-size", "300", "--data", "text.txt"], "--vocab-size 300 does not fit the checkpoint's model (260); leave it out"],
      [["--data", "text.txt", "--vocab-size", "300"], "--vocab-size must be left out with the tokenizer char, whose vocabulary is what it is; it is for word and bpe"],
    ]; // prettier-ignore
    for (const [args, message] of refused)
      expect(await gatewise("train", ...args)).toEqual({ code: 2, out: "", err: `gatewise: ${message}\n` });
  });
});

describe("bits per byte", () => {
  const ACCENTS = "Où était l’été naïf, où était l’hiver ? ".repeat(60);

  it("are those of all predicted tokens over the bytes of their text, whatever a token is", async () => {
    const device = await openDevice({ prefer: "cpu" });
    for (const kind of TOKENIZER_KINDS) {
      const tokenizer = makeTokenizer(kind, ACCENTS);
      const tokens = tokenizer.encode(ACCENTS);
      const model = LanguageModel.create(device, { vocabSize: tokenizer.size, embeddingSize: 2, hiddenSize: 3 });
      const evaluation = async (given: object) =>
        (await makeEvaluator(model, tokens, { batchSize: 2, seqLen: 16, ...given })).evaluate();
      const told = await evaluation({ tokenizer });
      // Every text here is of whole characters from its second token on, but for a token of a first byte.
      const first = kind === "char" || kind === "byte" ? 1 : Buffer.byteLength(tokenizer.decode(tokens.subarray(0, 1)));
      const bytes = Buffer.byteLength(ACCENTS) - first;
      expect(told.bitsPerToken).toBeCloseTo(told.loss / Math.log(2), 12);
      expect(told.bitsPerByte).toBeCloseTo((told.loss * (tokens.length - 1)) / Math.log(2) / bytes, 4);
      expect(told.bitsPerCharacter).toBe(kind === "char" ? told.bitsPerToken : undefined);
      // Of an unknown tokenizer, and of one that does not say, there are none.
      expect(await evaluation({})).toMatchObject({ loss: told.loss, bitsPerCharacter: told.bitsPerToken });
      const silent: Tokenizer = { size: tokenizer.size, encode: () => tokens, decode: () => "", toJSON: () => ({ kind: "own" }) };
      for (const given of [{}, { tokenizer: silent }]) expect(await evaluation(given)).not.toHaveProperty("bitsPerByte");
      expect(await evaluation({ tokenizer: silent })).not.toHaveProperty("bitsPerCharacter");
    }
    device.dispose();
  });

  it("stand in a run's validations, beside bits per token, for programs and for people", async () => {
    writeFileSync("accents.txt", ACCENTS);
    const args = ["--data", "accents.txt", ...SMALL, "--steps", "2", "--eval-every", "2", "--val", "0.5"];
    const evaluated = async (...more: string[]) =>
      lines((await train(...args, ...more, "--json")).out).find(({ event }) => event === "eval");
    const char = await evaluated();
    // Half of the text, of the same sentence again and again.
    const [characters, bytes] = [[...ACCENTS].length / 60, Buffer.byteLength(ACCENTS) / 60];
    expect([characters, bytes]).toEqual([40, 51]);
    expect(char.valBitsPerToken).toBe(char.valLoss / Math.LN2);
    expect(char.valBpc).toBe(char.valBitsPerToken);
    expect(char.valBitsPerByte).toBeCloseTo((char.valBitsPerToken * (characters * 30 - 1)) / (bytes * 30 - 1), 6);
    const byte = await evaluated("--tokenizer", "byte");
    expect(byte).not.toHaveProperty("valBpc");
    expect(byte.valBitsPerByte).toBeCloseTo(byte.valBitsPerToken, 6);
    const { err } = await train(...args, "--tokenizer", "word");
    expect(err).toMatch(
      /step 2: validation loss \d\.\d{3} · \d\.\d\d bits\/token · \d\.\d\d bits\/byte · \d+\.\d % of next tokens right/,
    );
    expect(err).toMatch(/step 2\/2 · training loss \d\.\d{3} · \d\.\d\d bits\/token · [\d.]+k? tokens\/s/);
  });
});

describe("compare --tokenizers", () => {
  const args = [
    "compare",
    "--data",
    "text.txt",
    "--device",
    "cpu",
    "--batch",
    "1",
    "--seq",
    "4",
    "--steps",
    "1",
    "--eval-every",
    "1",
  ];

  it("trains a model of about 300,000 parameters with each, and validates them on the same text", async () => {
    const validated = vi.spyOn(LanguageModel, "create");
    const rows = lines((await gatewise(...args, "--val", "0.05", "--tokenizers", "char,byte,word,bpe", "--json")).out);
    validated.mockRestore();
    expect(rows.map(({ tokenizer, preset }) => `${preset} ${tokenizer}`)).toEqual([
      "lstm char",
      "lstm byte",
      "lstm word",
      "lstm bpe",
    ]);
    for (const { parameters, vocabulary: V, hiddenSize: H } of rows) {
      expect(Math.abs(parameters - 300_000)).toBeLessThan(6000);
      // An LSTM with embeddings half as wide: V·E + 4H·(E + H + 2) + V·(H + 1).
      expect(parameters).toBe((V * H) / 2 + 4 * H * (1.5 * H + 2) + V * (H + 1));
    }
    for (const row of rows) expect(row).toHaveProperty(row.tokenizer === "char" ? "charactersPerSecond" : "tokensPerSecond");
    // The last 106 of 2,120 bytes, which are two sentences and no more tokens than that.
    const [char, byte, word] = rows;
    expect(char.valBitsPerByte / char.valBitsPerToken).toBeCloseTo(1, 6);
    expect(byte.valBitsPerByte / byte.valBitsPerToken).toBeCloseTo(1, 6);
    expect(word.valBitsPerByte / word.valBitsPerToken).toBeCloseTo((2 * 26 - 1) / (106 - 2), 6);
  });

  it("prints them in one table, then a sample of each of about the same length", async () => {
    const { out } = await gatewise(...args, "--tokenizers", "char,bpe", "--vocab-size", "300", "--hidden", "6");
    const [table, ...samples] = out.split("\n--- ");
    const rows = table!.trim().split("\n").map((line) => line.split(/ {2,}/)); // prettier-ignore
    expect(rows[0]).toEqual(["tokenizer", "vocabulary", "hidden", "parameters", "val. loss", "bits/token", "bits/byte", "accuracy", "tokens/s"]); // prettier-ignore
    expect(rows.slice(1).map((row) => row.slice(0, 3))).toEqual([["char", "16", "6"], ["bpe", rows[2]![1], "6"]]); // prettier-ignore
    expect(samples.map((text) => text.split("\n")[0])).toEqual(["char", "bpe"]);
    expect(samples[0]).toMatch(/^char\n[^]{240}\n$/);
  });

  it("names both where there are several presets too, and has a size for those only that have one", async () => {
    const rows = (await gatewise(...args, "--tokenizers", "char,byte", "--presets", "gru,min-gru", "--hidden", "8")).out.split(
      "\n",
    );
    expect(rows.slice(1, 5).map((row) => row.split(/ {2,}/)[0])).toEqual([
      "gru, char",
      "gru, byte",
      "min-gru, char",
      "min-gru, byte",
    ]);
    expect(await gatewise(...args, "--vocab-size", "300")).toMatchObject({ code: 2, err: "gatewise: --vocab-size is for --tokenizers word and bpe\n" }); // prettier-ignore
    expect((await gatewise(...args, "--tokenizers", "char,words")).err).toContain("expected names of char, byte, word, bpe");
  });
});

const loaded = async (...args: Parameters<typeof loadText>): Promise<string> => {
  const said = vi.spyOn(process.stderr, "write").mockReturnValue(true);
  return loadText(...args).then(({ text }) => text).finally(() => said.mockRestore()); // prettier-ignore
};
const refusedText = (data: string | string[], message: string, how: object = {}) =>
  expect(loadText(data, how)).rejects.toMatchObject({
    name: "GatewiseError",
    code: "E_DATA",
    message: expect.stringContaining(message),
  });

describe("a text", () => {
  mkdirSync("library/deep/.hidden", { recursive: true });
  const files = {
    "b.txt": "two\n",
    "a.txt": "one",
    "deep/c.txt.gz": gzipSync("three\n"),
    "deep/d.md": "four",
    ".e.txt": "no",
    "deep/.hidden/f.txt": "no",
  };
  for (const [name, content] of Object.entries(files)) writeFileSync(join("library", name), content);

  it("is several files, one after another, each from a new line on", async () => {
    expect(await loaded(["library/b.txt", "library/a.txt", "library/b.txt"])).toBe("two\none\ntwo\n");
    expect(await loadText(["library/b.txt", "alice"])).toMatchObject({
      source: [join(process.cwd(), "library/b.txt"), "alice"],
      name: "b-and-1-more",
    });
  });

  it("is a folder's files that fit a pattern, those of folders within too, in the order of their paths", async () => {
    expect(await loaded("library")).toBe("one\ntwo\nthree\n");
    const patterns = {
      "*.md": "four",
      "[ab].txt": undefined,
      "?.txt": "one\ntwo\nthree\n",
      "{a,d}.*": "one\nfour",
      "deep/*": "three\nfour",
      "**/c.txt": "three\n",
      "*": "one\ntwo\nthree\nfour",
      "a.t": undefined,
    };
    for (const [pattern, text] of Object.entries(patterns))
      if (text === undefined)
        await refusedText("library", `library is a folder without a file ${pattern}; say with --pattern which files to read`, {
          pattern,
        });
      else expect(await loaded("library", { pattern }), pattern).toBe(text);
  });

  it("is unpacked where gzip packed it, whatever its name, and refused where that is damaged", async () => {
    writeFileSync("packed", gzipSync("a text"));
    expect(await loaded("packed")).toBe("a text");
    writeFileSync("damaged.gz", gzipSync("a text").subarray(0, 15));
    await refusedText("damaged.gz", "damaged.gz is no whole .gz file: unexpected end of file");
  });

  it("that is longer than a string can be is refused before it is read", async () => {
    closeSync(openSync("long.txt", "w"));
    truncateSync("long.txt", 6e8);
    const begun = performance.now();
    await refusedText(
      "long.txt",
      "long.txt has 600 MB, more than the 537 MB that a text may have; give a part of it (of a file: head -c 500M FILE > part.txt)",
    );
    expect(performance.now() - begun).toBeLessThan(500);
    rmSync("long.txt");
  });

  it("is an argument of train too, several or one, but not beside --data", async () => {
    expect(await startOf("text.txt", ...TINY, "--steps", "1", "--out", "one")).toMatchObject({
      characters: 2120,
      data: join(process.cwd(), "text.txt"),
      encoding: "UTF-8",
    });
    expect(await startOf(...TINY, "--steps", "1", "--out", "two", "text.txt", "text.txt")).toMatchObject({ characters: 4241 });
    expect(await gatewise("train", "text.txt", "--data", "text.txt")).toMatchObject({
      code: 2,
      err: "gatewise: --data and text.txt both name a text; leave --data out, and name all texts\n",
    });
    const { out } = await gatewise(
      "compare",
      "text.txt",
      "--device",
      "cpu",
      "--hidden",
      "4",
      "--batch",
      "2",
      "--seq",
      "4",
      "--steps",
      "1",
      "--presets",
      "gru",
      "--json",
    );
    expect(lines(out)[0]).toMatchObject({ event: "compare", preset: "gru" });
  });

  it("of several files, a folder, a pattern and an encoding is found again by a run that goes on, and its first bits are the same", async () => {
    const args = ["library", "text.txt", "--pattern", "*.{md,txt}", "--encoding", "latin1", ...TINY];
    await train(...args, "--steps", "2", "--out", "again");
    expect(JSON.parse(readFileSync("again/run.json", "utf8"))).toMatchObject({
      data: [join(process.cwd(), "library"), join(process.cwd(), "text.txt")],
      pattern: "*.{md,txt}",
      encoding: "latin1",
    });
    const { err } = await train("--resume", "again", "--steps", "3");
    expect(err).not.toContain("warning");
    await train(...args, "--steps", "3", "--out", "unbroken");
    expect(readFileSync("again/checkpoint-3.safetensors").equals(readFileSync("unbroken/checkpoint-3.safetensors"))).toBe(true);
  });

  it("is read from standard input, which a run that goes on cannot do again, and says so", async () => {
    const stdin = Object.getOwnPropertyDescriptor(process, "stdin")!;
    const give = (): void =>
      void Object.defineProperty(process, "stdin", {
        value: Readable.from([Buffer.from(TEXT.slice(0, 1000)), Buffer.from(TEXT.slice(1000))]),
        configurable: true,
      });
    try {
      give();
      const { err } = await train("-", ...TINY, "--steps", "2", "--out", "piped");
      expect(err).toContain(
        "text: stdin, 2,120 characters\nthe text came through a pipe: to resume this run, give it again with --data\n",
      );
      expect(await gatewise("train", "--resume", "piped", "--steps", "3")).toMatchObject({
        code: 2,
        err: "gatewise: this run's text came through a pipe, which cannot be read again; give the text with --data\n",
      });
      give();
      expect((await train("--resume", "piped", "--steps", "3", "--data", "-")).err).not.toContain("warning");
      expect((await train("--resume", "piped", "--steps", "4", "--data", "text.txt")).err).not.toContain("warning");
      expect((await train("--resume", "piped", "--steps", "5")).code).toBe(0);
    } finally {
      Object.defineProperty(process, "stdin", stdin);
    }
  });

  it("is read from a pipe that has a name, too", async () => {
    execFileSync("mkfifo", ["fifo"]);
    const writing = import("node:fs/promises").then(({ writeFile }) => writeFile("fifo", "through a pipe"));
    expect(await loadText("fifo")).toMatchObject({ text: "through a pipe", source: "-", name: "fifo" });
    await writing;
    const again = import("node:fs/promises").then(({ writeFile }) => writeFile("fifo", "through a pipe"));
    expect(await loadText(["text.txt", "fifo"]), "among others").toMatchObject({ source: "-", name: "text-and-1-more" });
    await again;
  });
});

describe("fine-tuning on a text with unknown characters", () => {
  const OTHER = "Été 1799 ".repeat(60);
  const args = [
    "--data",
    "other.txt",
    "--device",
    "cpu",
    "--batch",
    "2",
    "--seq",
    "4",
    "--steps",
    "1",
    "--val",
    "0",
    "--sample-every",
    "0",
  ];
  const NEW = '5 characters that the model does not know ("1" "7" "9" "É" "é"; 360 of 540 in the text)';

  beforeAll(async () => {
    writeFileSync("other.txt", OTHER);
    for (const cell of ["lstm", "min-gru"])
      await train(
        "--data",
        "text.txt",
        ...SMALL,
        ...(cell === "min-gru" ? ["--embedding", "6"] : []),
        "--cell",
        cell,
        "--eval-every",
        "0",
        "--steps",
        "2",
        "--out",
        `know-${cell}`,
      );
    await train("--data", "text.txt", ...TINY, "--preset", "one-hot-rnn", "--steps", "2", "--out", "know-rnn");
  });

  it("is refused by a sentence that names both ways out", async () => {
    expect(await gatewise("train", "--init-from", "know-lstm", ...args)).toEqual({
      code: 2,
      out: "",
      err: `gatewise: other has ${NEW}; give the model rows for them with --extend-vocabulary, or leave them out with --unknown drop, or put another in their place with --unknown replace\n`,
    });
  });

  it.each(["lstm", "min-gru", "rnn"])("gives a model of %s rows for them, and leaves the old ones as they are", async (cell) => {
    const before = loadCheckpoint(readFileSync(`know-${cell}/checkpoint-2.safetensors`));
    const after = extendVocabulary(before, OTHER, 7);
    expect((after.tokenizer as CharTokenizer).characters).toEqual([
      ...(before.tokenizer as CharTokenizer).characters,
      "1",
      "7",
      "9",
      "É",
      "é",
    ]);
    expect(after.config).toEqual({ ...before.config, vocabSize: 16 + 5 });
    const device = await openDevice({ prefer: "cpu" });
    const fresh = await LanguageModel.create(device, { ...after.config, seed: 7 }).stateDict();
    expect(Object.keys(after.tensors)).toEqual(Object.keys(fresh));
    let grown = 0;
    for (const [name, { shape, data }] of Object.entries(after.tensors)) {
      const old = before.tensors[name]!;
      const [rows, columns] = [shape[0]!, shape[1] ?? 1];
      const [oldRows, oldColumns] = [old.shape[0]!, old.shape[1] ?? 1];
      grown += data.length - old.data.length;
      for (let i = 0; i < rows; i++)
        for (let j = 0; j < columns; j++)
          expect(data[i * columns + j]).toBe(
            i < oldRows && j < oldColumns ? old.data[i * oldColumns + j] : fresh[name]![i * columns + j],
          );
    }
    // Five rows of each: embeddings of 4 and head of 6 with a bias; of 6 both at once; 6 columns, and the head.
    expect(grown).toBe(5 * { lstm: 4 + 6 + 1, "min-gru": 6, rnn: 6 + 6 + 1 }[cell]!);
    const { out, err } = await train(
      "--init-from",
      `know-${cell}`,
      ...args,
      "--extend-vocabulary",
      "--out",
      `knows-${cell}`,
      "--json",
    );
    expect(lines(out)[0]).toMatchObject({ vocabulary: 21, characters: 540, step: 0 });
    expect(err).toContain(`${NEW}: it has rows for them now\n`);
    expect((await gatewise("sample", `knows-${cell}`, "--prompt", "Été 1799", "--device", "cpu", "--length", "9")).code).toBe(0);
    device.dispose();
  });

  it("leaves them out, or puts a character in their place that the model knows", async () => {
    const begun = async (how: string) => {
      const { out, err } = await train("--init-from", "know-lstm", ...args, "--unknown", how, "--out", how, "--json");
      return [lines(out)[0].vocabulary, lines(out)[0].characters, err];
    };
    expect(await begun("drop")).toEqual([16, 180, `${NEW}: left out\n`]);
    expect(await begun("replace")).toEqual([16, 540, `${NEW}: " " stands for them\n`]);
  });

  it("stays so as the run goes on, and when it is evaluated, and another text's are refused with the way out", async () => {
    expect(JSON.parse(readFileSync("drop/run.json", "utf8"))).toMatchObject({
      unknown: "drop",
      initFrom: join(process.cwd(), "know-lstm"),
    });
    const { code, err } = await gatewise("train", "--resume", "replace", "--steps", "9");
    expect([code, err], err).toEqual([0, expect.stringContaining(`${NEW}: " " stands for them\n`)]);
    const own = await gatewise("eval", "drop", "--split", "all", "--json", "--device", "cpu");
    expect(lines(own.out)[0]).toMatchObject({ tokens: expect.any(Number) });
    expect(own.err).toContain("left out");
    const other = ["--data", "other.txt", "--device", "cpu"];
    expect((await gatewise("eval", "know-lstm", ...other)).err).toContain("; leave them out with --unknown drop, or put another");
    expect((await gatewise("eval", "know-lstm", ...other, "--unknown", "replace")).code).toBe(0);
    expect((await gatewise("train", "--resume", "know-lstm", "--steps", "3", ...other)).err).toContain(
      "for this text begin a new one, --init-from know-lstm with --extend-vocabulary or --unknown",
    );
    const { out } = await gatewise("info", "drop", "--config");
    expect(JSON.parse(out)).toMatchObject({ "init-from": join(process.cwd(), "know-lstm"), unknown: "drop" });
  });

  it("is all that these flags are for, one at a time", async () => {
    for (const flags of [["--extend-vocabulary"], ["--unknown", "drop"]]) {
      const message = `gatewise: ${flags[0]} is for a model that learns another text; give it with --init-from\n`;
      expect(await gatewise("train", ...args, ...flags)).toEqual({ code: 2, out: "", err: message });
      expect(await gatewise("train", "--resume", "know-lstm", "--steps", "3", ...flags)).toEqual({
        code: 2,
        out: "",
        err: message,
      });
    }
    expect(
      (await gatewise("train", "--init-from", "know-lstm", ...args, "--extend-vocabulary", "--unknown", "drop")).err,
    ).toContain("cannot be used with option");
    const bytes = loadCheckpoint(readFileSync("byte/checkpoint-3.safetensors"));
    expect(extendVocabulary(bytes, OTHER)).toBe(bytes);
  });
});

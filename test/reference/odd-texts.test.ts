// Texts of odd kinds: read right, or refused in a clear sentence.
import { readFileSync, writeFileSync } from "node:fs";
import { describe, expect, it, vi } from "vitest";
import { detectEncoding } from "../../src/data/detect-encoding.ts";
import { decodeText, isNoText } from "../../src/data/encodings.ts";
import { gatewise, lines, workInFolder } from "./command-line.ts";

vi.mock("../../src/cli/version.ts", () => ({ version: () => "1.2.3" }));

const SOURCE = readFileSync("src/data/heap.ts", "utf8");
workInFolder("odd");

/** Opening lines of books that all may copy. */
const CHINESE =
  "道可道，非常道。名可名，非常名。無名天地之始；有名萬物之母。故常無欲以觀其妙；常有欲以觀其徼。\n天下皆知美之為美，斯惡已。皆知善之為善，斯不善已。\n";
const JAPANESE =
  "吾輩は猫である。名前はまだ無い。\nどこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所でニャーニャー泣いていた事だけは記憶している。\n";
const RUSSIAN =
  "Все счастливые семьи похожи друг на друга, каждая несчастливая семья несчастлива по-своему.\nВсе смешалось в доме Облонских. Жена узнала, что муж был в связи с бывшею в их доме француженкою.\n";
const KOREAN =
  "동해물과 백두산이 마르고 닳도록 하느님이 보우하사 우리나라 만세.\n무궁화 삼천리 화려강산 대한 사람 대한으로 길이 보전하세.\n";
const FRENCH =
  "Longtemps, je me suis couché de bonne heure. Parfois, à peine ma bougie éteinte, mes yeux se fermaient si vite…\n";
const GERMAN =
  "Jemand mußte Josef K. verleumdet haben, denn ohne daß er etwas Böses getan hätte, wurde er eines Morgens verhaftet.\n";
const CZECH =
  "Dávno, dávno již tomu, co jsem posledně se dívala do té milé mírné tváře, co jsem zulíbala to bledé, vrásků plné líce, nahlížela do modrého oka, v němž se jevilo tolik dobroty a lásky; dávno tomu, co mne naposledy žehnaly staré její ruce.\n";
const GREEK = "Τα παιδιά παίζουν στην αυλή και η γιαγιά τα κοιτάζει από το παράθυρο, όπως κάθε πρωί.\n";
const ENGLISH = "“Who are you?” said the Caterpillar. This was not an encouraging opening for a conversation — Alice replied.\n";

/** The bytes of a text in an old encoding, found by decoding every one and two bytes. */
function encoded(text: string, encoding: string): Uint8Array {
  const decoder = new TextDecoder(encoding);
  const bytes = new Map<string, number[]>();
  const learn = (...given: number[]): void => {
    const character = decoder.decode(Uint8Array.from(given));
    if (character.length === 1 && character !== "\uFFFD" && !bytes.has(character)) bytes.set(character, given);
  };
  for (let first = 0; first < 256; first++) learn(first);
  if (/gb|big5|shift|euc/.test(encoding))
    for (let first = 0x81; first < 255; first++) for (let second = 0x40; second < 255; second++) learn(first, second);
  // What Node 20 does not decode right, as in any table of Windows-1252.
  if (encoding === "windows-1252")
    for (const [byte, character] of [[0x85, "…"], [0x93, "“"], [0x94, "”"], [0x97, "—"]] as const) bytes.set(character, [byte]); // prettier-ignore
  return Uint8Array.from([...text].flatMap((character) => bytes.get(character)!));
}

const utf16 = (text: string, little: boolean): Uint8Array => {
  const bytes = Buffer.from(text, "utf16le");
  return little ? bytes : bytes.swap16();
};

describe("the encoding of a text is found out:", () => {
  const cases: [name: string, text: string, bytes: (text: string) => Uint8Array][] = [
    ["UTF-8", RUSSIAN + CHINESE, (text) => Buffer.from(text)],
    ["GB18030", CHINESE, (text) => encoded(text, "gb18030")],
    ["Big5", CHINESE, (text) => encoded(text, "big5")],
    ["Shift_JIS", JAPANESE, (text) => encoded(text, "shift_jis")],
    ["EUC-JP", JAPANESE, (text) => encoded(text, "euc-jp")],
    ["EUC-KR", KOREAN, (text) => encoded(text, "euc-kr")],
    ["KOI8-R", RUSSIAN, (text) => encoded(text, "koi8-r")],
    ["Windows-1251", RUSSIAN, (text) => encoded(text, "windows-1251")],
    ["ISO-8859-5", RUSSIAN, (text) => encoded(text, "iso-8859-5")],
    ["Windows-1252", ENGLISH, (text) => encoded(text, "windows-1252")],
    ["Windows-1252", FRENCH, (text) => encoded(text, "windows-1252")],
    ["Windows-1252", GERMAN, (text) => encoded(text, "windows-1252")],
    ["ISO-8859-2", CZECH, (text) => encoded(text, "iso-8859-2")],
    ["ISO-8859-7", GREEK, (text) => encoded(text, "iso-8859-7")],
    ["UTF-16LE", ENGLISH, (text) => utf16(text, true)],
    ["UTF-16BE", ENGLISH, (text) => utf16(text, false)],
    ["UTF-16LE", CHINESE, (text) => utf16(text, true)],
    ["UTF-16BE", RUSSIAN, (text) => utf16(text, false)],
    ["UTF-16LE", `\uFEFF${JAPANESE}`, (text) => utf16(text, true)],
  ];
  for (const [name, text, bytesOf] of cases)
    it(`${name}, ${JSON.stringify(text.slice(0, 12))}`, () => {
      // Of a short text, of a long one, and of one that begins in English.
      for (const whole of [
        text,
        text.repeat(200),
        name.startsWith("UTF") ? text : "It is a fact. ".repeat(9000) + text.repeat(20),
      ]) {
        const bytes = bytesOf(whole);
        expect(detectEncoding(bytes)).toBe(name);
        expect(decodeText(bytes, "x", detectEncoding(bytes))).toBe(whole.replace("\uFEFF", ""));
      }
    });

  it("UTF-8 that was cut in a character's midst, or holds a stray byte, is UTF-8 all the same", () => {
    const bytes = Buffer.from(RUSSIAN + CHINESE);
    for (const faulty of [
      bytes.subarray(0, bytes.length - 3),
      Buffer.concat([bytes, Uint8Array.of(0xff), bytes]),
      Buffer.concat([bytes.subarray(1), bytes]),
    ]) {
      expect(detectEncoding(faulty)).toBe("UTF-8");
      expect(decodeText(faulty, "x").match(/\ufffd/g)!.length).toBeLessThan(4);
    }
  });

  it("Japanese in seven bits is ISO-2022-JP", () => {
    // "あ" twice, between its escapes, and a line of ASCII.
    const bytes = Buffer.from('Title\n\x1b$B$"$"\x1b(B\n'.repeat(20), "latin1");
    expect(detectEncoding(bytes)).toBe("ISO-2022-JP");
    expect(decodeText(bytes, "x", "ISO-2022-JP")).toContain("Title\nああ\n");
    expect(detectEncoding(Buffer.from("\x1b[31mred\x1b[0m and plain".repeat(9)))).toBe("UTF-8");
  });

  it("bytes without zeros that no text has are none", () => {
    const noise = Uint8Array.from({ length: 4000 }, (_, i) => 1 + ((i * 7919 + (i >> 3) * 104_729) % 255));
    expect(isNoText(noise)).toBe(true);
    expect(isNoText(Uint8Array.of(0xff, 0xfe, 0, 0, 0x41, 0, 0, 0))).toBe(true);
    for (const text of [encoded(RUSSIAN, "koi8-r"), Buffer.from(CHINESE), utf16(ENGLISH, true), Buffer.from("a\x1b[0mb\f\b")])
      expect(isNoText(text)).toBe(false);
  });

  it("a word or two is read as Windows-1252, as by the library, which does not guess", () => {
    for (const bytes of [Uint8Array.of(0xe9), Uint8Array.of(0x63, 0x61, 0x66, 0xe9), Uint8Array.of(0xff, 0x41)])
      expect(decodeText(bytes, "x", detectEncoding(bytes))).toBe(decodeText(bytes, "x"));
  });

  it("is not found where there is none: bytes that are no pairs of characters, or have no white space", () => {
    for (const bytes of [Buffer.from("ab\0c"), Buffer.from("a\0b"), Buffer.from("GIF89a\0\0 \0\n\0\0\0 ")])
      expect(() => decodeText(bytes, "cat.gif", detectEncoding(bytes))).toThrow(
        "cat.gif is no text file (it contains NUL bytes)",
      );
  });
});

describe("train", () => {
  const args = [
    "--device",
    "cpu",
    "--hidden",
    "4",
    "--embedding",
    "2",
    "--batch",
    "2",
    "--seq",
    "4",
    "--steps",
    "1",
    "--val",
    "0",
  ];
  let runs = 0;
  /** What the run says at its start, and on stderr. */
  async function begin(bytes: Uint8Array | string, ...more: string[]) {
    writeFileSync("text", bytes);
    const { code, out, err } = await gatewise(
      "train",
      "text",
      ...args,
      ...more,
      "--sample-every",
      "0",
      "--out",
      `run-${runs++}`,
      "--json",
    );
    return { code, err, ...(code === 0 && (lines(out)[0] as { vocabulary: number; characters: number; encoding: string })) };
  }
  const vocabulary = (text: string): number => new Set(text).size;

  it.each([
    ["a Chinese text in GB18030", CHINESE, "gb18030", "GB18030"],
    ["a Japanese text in Shift_JIS", JAPANESE, "shift_jis", "Shift_JIS"],
    ["a Russian text in KOI8-R", RUSSIAN, "koi8-r", "KOI8-R"],
  ])("reads %s, and says so", async (_, text, encoding, name) => {
    const said = `text is read as ${name}; if that is wrong, say with --encoding\n`;
    expect(await begin(encoded(text, encoding))).toEqual(
      expect.objectContaining({ code: 0, err: said, encoding: name, vocabulary: vocabulary(text), characters: text.length }),
    );
    // Whoever says it is told nothing.
    expect(await begin(encoded(text, encoding), "--encoding", encoding)).toMatchObject({ err: "", vocabulary: vocabulary(text) });
  });

  it("reads a text as it is told, and refuses an encoding that it does not know", async () => {
    expect(await begin(encoded(RUSSIAN, "koi8-r"), "--encoding", "ibm866")).toMatchObject({
      code: 0,
      characters: RUSSIAN.length,
    });
    expect(await begin("text", "--encoding", "klingon")).toEqual({
      code: 2,
      err: expect.stringMatching(/^gatewise: --encoding must be one such as UTF-8, .*, got "klingon"\n$/),
    });
  });

  it("reads UTF-16 without a mark", async () => {
    expect(await begin(utf16(RUSSIAN, true))).toMatchObject({ code: 0, encoding: "UTF-16LE", vocabulary: vocabulary(RUSSIAN) });
  });

  it("reads CRLF as line breaks", async () => {
    const text = ENGLISH.repeat(20);
    expect(await begin(text.replaceAll("\n", "\r\n"))).toMatchObject({ vocabulary: vocabulary(text), characters: text.length });
  });

  it.each(["char", "byte", "word", "bpe"])("reads one line of 60,000 characters as tokens of %s", async (kind) => {
    const line = Array.from({ length: 60_000 }, (_, i) => "ACGT"[(i * i + (i >> 3)) & 3]).join("");
    expect(await begin(line, "--tokenizer", kind)).toMatchObject({ code: 0 });
  });

  it("reads source code with its tabs, and music in ABC", async () => {
    const music = "X:1\nT:The Kesh\nM:6/8\nL:1/8\nK:G\n|:G3 GAB|A3 ABd|edd gdd|edB dBA|\nGAG GAB|ABA ABd|edd gdd|BAF G3:|\n";
    for (const text of [SOURCE.replaceAll("  ", "\t"), music.repeat(9)])
      expect(await begin(text)).toMatchObject({ code: 0, err: "", vocabulary: vocabulary(text), characters: text.length });
  });

  it("reads a text of 3,000 different characters", async () => {
    const text = String.fromCodePoint(...Array.from({ length: 6000 }, (_, i) => 0x4e00 + (i % 3000)));
    expect(await begin(text)).toMatchObject({ code: 0, vocabulary: 3000, characters: 6000 });
  });

  it("refuses what is no text in a sentence, but takes every byte of it with --tokenizer byte", async () => {
    const bytes = Uint8Array.from({ length: 5000 }, (_, i) => (i * i * 31 + (i >> 2)) & 255);
    expect(await begin(bytes)).toEqual({ code: 2, err: "gatewise: text is no text file (it contains NUL bytes); give a plain .txt, or take the bytes as they are: --tokenizer byte\n" }); // prettier-ignore
    expect(await begin(bytes, "--tokenizer", "byte")).toMatchObject({
      code: 0,
      err: "text is no text file (it contains NUL bytes): read byte by byte\n",
      characters: 5000,
      vocabulary: 256,
    });
    const [run] = [`run-${runs - 1}`];
    const { code, err } = await gatewise("train", "--resume", run, "--steps", "2");
    expect({ code, err }).toEqual({ code: 0, err: expect.not.stringContaining("warning") });
  });
});

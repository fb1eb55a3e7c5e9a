// run.json of a folder from anywhere: what no run has written is refused by name, at once, and nothing else happens.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { readRunInfo, writeRunInfo } from "../../src/cli/files.ts";
import { randomWord } from "../../src/random.ts";

const folder = mkdtempSync(join(tmpdir(), "gatewise-run-json-"));
const path = join(folder, "run.json");
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const right = { format: "gatewise-run", data: "alice", device: "auto", adapter: "CPU float32" };
const message = async (text: string | Uint8Array): Promise<string> => {
  writeFileSync(path, text);
  const error: unknown = await readRunInfo(folder).catch((e: unknown) => e);
  expect(error).toMatchObject({ name: "GatewiseError", code: "E_BAD_CHECKPOINT" });
  return (error as Error).message;
};
const changed = (fields: object): Promise<string> => message(JSON.stringify({ ...right, ...fields }));

it("what a run has written is read, without a file there is nothing to read", async () => {
  expect(await readRunInfo(join(folder, "nowhere"))).toEqual({});
  await mkdir(join(folder, "odd", "run.json"), { recursive: true });
  expect(await readRunInfo(join(folder, "odd"))).toEqual({});
  await writeRunInfo(folder, { data: "/a/text.txt", device: "webgpu", adapter: "some GPU" });
  expect(await readRunInfo(folder)).toMatchObject({ data: "/a/text.txt", device: "webgpu", adapter: "some GPU" });
});

it("each field of another kind is refused by its name, with what it must be and what to do", async () => {
  expect(await changed({ data: 7 })).toBe(
    `${path} is damaged: data must be a file, an address or a book's name, got 7; ` +
      "mend it, or remove it and say with --data which text the run reads",
  );
  for (const data of [null, "", [], {}, true, "a\0b"]) expect(await changed({ data })).toContain("data must be a file");
  for (const device of ["cuda", "constructor", "__proto__", "", 0, null, ["cpu"]])
    expect(await changed({ device })).toContain("device must be one of auto, webgpu, wasm, cpu, got ");
  for (const adapter of [1, null, {}, ""]) expect(await changed({ adapter })).toContain("adapter must be a device's description");
  for (const format of ["gatewise", 1, undefined])
    expect(await changed({ format })).toContain('format must be "gatewise-run", got');
  expect(await changed({ simd: "fast" })).toContain('simd must be one of relaxed, plain, wide, got "fast"');
  expect(await changed({ unknown: "keep" })).toContain('unknown must be one of drop, replace, got "keep"');
  expect(await changed({ initFrom: "" })).toContain("initFrom must be a checkpoint's place");
  expect(await changed({ extendVocabulary: "yes" })).toContain('extendVocabulary must be true, got "yes"');
  for (const bytesPerToken of [0, -1, null, "1"])
    expect(await changed({ bytesPerToken })).toContain("bytesPerToken must be a number above 0");
  expect(await changed({ sample: { prompt: 7 } })).toContain("sample.prompt must be a text, got 7");
  for (const length of [-1, 0.5, "9"])
    expect(await changed({ sample: { length } })).toContain("sample.length must be an integer");
  for (const temperature of [-1, null, "1"])
    expect(await changed({ sample: { temperature } })).toContain("sample.temperature must be a number of at least 0");
  expect(await changed({ sample: { topK: 3 } })).toContain('unknown option "topK"');
  expect(await changed({ dta: "x" })).toContain('unknown option "dta"; did you mean "data"?');
  expect(await message('{"__proto__": {"data": "x"}}')).toContain('unknown option "__proto__"');
  for (const value of ["null", "[]", "7", '"text"']) expect(await message(value)).toMatch(/expected an object|must be an object/);
  for (const text of ["", "{", "\0", "[".repeat(60_000)]) expect(await message(text)).toContain("is damaged: ");
  expect(await message(JSON.stringify({ ...right, data: "x".repeat(70_000) }))).toMatch(
    /it has 70\d\d\d bytes, more than any run's/,
  );
});

it("2,000 of them, damaged in every way, are read as what they say or refused, each within 50 ms", async () => {
  let word = 0;
  const below = (n: number): number => Math.floor((randomWord(12, word++, 0, 0) / 2 ** 32) * n);
  const pick = <T>(values: readonly T[]): T => values[below(values.length)]!;
  const nested = (depth: number): string => "[".repeat(depth) + "]".repeat(depth);
  const values = [
    "0",
    "-1",
    "1e999",
    "null",
    "true",
    '""',
    '"\\u0000"',
    '"\\ud800"',
    "{}",
    "[]",
    nested(5000),
    '"cpu"',
    '"../../x"',
  ];
  const whole = JSON.stringify(right, null, 2);
  const mutations: readonly (() => string | Uint8Array)[] = [
    () => whole.slice(0, below(whole.length)),
    () => {
      const bytes = new TextEncoder().encode(whole);
      for (let i = 0; i <= below(4); i++) bytes[below(bytes.length)] = below(256);
      return bytes;
    },
    () => whole.replace(JSON.stringify(pick(Object.values(right))), pick(values)),
    () => whole.replace(pick(Object.keys(right)), pick(["__proto__", "constructor", "toString", "length", "x"])),
    () => `{${JSON.stringify(pick(Object.keys(right)))}: ${pick(values)}, ${whole.slice(1)}`,
    () => `${whole.slice(0, -1)}, ${JSON.stringify(pick(Object.keys(right)))}: ${pick(values)}}`,
    () => pick(values),
    () => whole + pick(["x", "\0", whole, " ".repeat(70_000)]),
  ];
  let refused = 0;
  for (let i = 0; i < 2000; i++) {
    const text = mutations[i % mutations.length]!();
    writeFileSync(path, text);
    let info: any;
    let took = Infinity;
    // A machine that does something else in between is slow once, not always.
    for (let attempt = 1; attempt <= 5 && took >= 50; attempt++) {
      const begun = performance.now();
      info = await readRunInfo(folder).catch((e: unknown) => e);
      took = performance.now() - begun;
    }
    expect(took).toBeLessThan(50);
    if (info instanceof Error) {
      expect(info).toMatchObject({ name: "GatewiseError", code: "E_BAD_CHECKPOINT" });
      expect(info.message.length).toBeLessThan(600);
      refused++;
      continue;
    }
    // Then it is JSON that says so, and nothing else.
    const said = JSON.parse(typeof text === "string" ? text : new TextDecoder().decode(text));
    expect(info).toEqual(said);
    for (const value of Object.values(info)) expect(value).toMatch(/^[^\0]+$/);
    if ("device" in info) expect(["auto", "webgpu", "wasm", "cpu"]).toContain(info.device);
  }
  expect(refused).toBeGreaterThan(1000);
});

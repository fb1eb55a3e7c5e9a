// What comes from outside without a browser: addresses and what the browser's storage gives back, mutated.
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import * as v from "valibot";
import { expect, it, vi } from "vitest";
import { GatewiseError } from "../../src/errors.ts";
import {
  CharTokenizer,
  LanguageModel,
  openDevice,
  saveCheckpoint,
  Trainer,
  type LanguageModelOptions,
  type PresetName,
} from "../../src/index.ts";
import { CELL_NUMBERS, CELLS, MEMORY_OPTIONS } from "../../src/models/cells.ts";
import { GENERATIONS, PRESET_NAMES } from "../../src/models/presets.ts";
import {
  checkForm,
  commandLine,
  defaultsFor,
  isSized,
  NUMBER_NAMES,
  NUMBERS,
  readAddress,
  SAMPLING,
  SettingsSchema,
  WORDS,
  withPreset,
  writeAddress,
} from "../../src/lab/settings.ts";
import { SIZED_KINDS, TOKENIZER_KINDS } from "../../src/data/tokenizers.ts";
import { presetOf, RACERS } from "../../src/lab/kinds.ts";
import { MOST_BYTES, type TextInfo } from "../../src/lab/protocol.ts";
import { parseRun, soundRows, validRuns } from "../../src/lab/stored.ts";
import { Lane, laneConfig } from "../../src/lab/worker/lane.ts";
import { loadText, tokenizerFor, tokensBy } from "../../src/lab/worker/texts.ts";

const settings = { ...defaultsFor("software"), preset: "race" } as const;
const RUN = {
  id: "run-mf3k2a-1x",
  settings,
  sampling: { ...SAMPLING, prompt: "Alice" },
  presets: GENERATIONS,
  title: "Alice’s Adventures in Wonderland, Lewis Carroll",
};
const LINE = {
  id: RUN.id,
  name: "Race · 64 units",
  created: 1_764_000_000_000,
  title: RUN.title,
  settings,
  models: GENERATIONS.map((preset) => ({ preset, step: 120, best: 2.5, rate: 48_000 })),
};

/** Where an object's values are, itself apart. */
const pathsOf = (value: unknown): string[][] =>
  typeof value === "object" && value !== null
    ? Object.entries(value).flatMap(([key, inner]) => [[key], ...pathsOf(inner).map((path) => [key, ...path])])
    : [];

function changed<T>(whole: T, path: readonly string[], value: unknown): T {
  const copy = structuredClone(whole);
  let at = copy as Record<string, unknown>;
  for (const key of path.slice(0, -1)) at = at[key] as Record<string, unknown>;
  const last = path.at(-1)!;
  if (value === REMOVED) delete at[last];
  // Where it would set the prototype, JSON.parse makes a property.
  else Object.defineProperty(at, last, { value, enumerable: true, configurable: true, writable: true });
  return copy;
}
const REMOVED = Symbol("removed");
const HOSTILE = [REMOVED, Infinity, -Infinity, NaN, -1, -0, 0.5, 1e15, 2 ** 32, 2 ** 53, 1e308, "", "constructor", "toString"];

/** One or two values of an object replaced, anything being possible. */
const mutations = <T>(whole: T, anything: fc.Arbitrary<unknown>): fc.Arbitrary<T> => {
  const place = fc.oneof(fc.constantFrom(...pathsOf(whole)), fc.constantFrom(["__proto__"], ["settings", "__proto__"], ["more"]));
  const value = fc.oneof(fc.constantFrom<unknown>(...HOSTILE), anything);
  return fc
    .tuple(fc.tuple(place, value), fc.option(fc.tuple(fc.constantFrom(...pathsOf(whole).filter((p) => p.length === 1)), value)))
    .map(([[path, first], second]) => {
      const once = changed(whole, path, first);
      return second ? changed(once, ...second) : once;
    });
};

/** Bytes of a text replaced, left out or put in, or the text cut. */
const torn = (text: fc.Arbitrary<string>): fc.Arbitrary<string> =>
  fc.tuple(text, fc.nat(), fc.string({ maxLength: 4 }), fc.nat(6), fc.boolean()).map(([whole, place, put, left, cut]) => {
    const at = place % (whole.length + 1);
    return cut ? whole.slice(0, at) : whole.slice(0, at) + put + whole.slice(at + left);
  });

/** What `use` gives, in no more than 50 ms of the processor; nothing but a GatewiseError may come instead. */
function outcome<T>(use: () => T): T | GatewiseError {
  const begun = process.cpuUsage();
  try {
    return use();
  } catch (error) {
    if (!(error instanceof GatewiseError)) throw error;
    expect(error.message.length).toBeLessThan(400);
    return error;
  } finally {
    const { user, system } = process.cpuUsage(begun);
    expect((user + system) / 1000).toBeLessThan(50);
  }
}
const runs = (numRuns: number) => ({ numRuns, seed: 12 });

function expectSound(given: typeof RUN.settings | Parameters<typeof checkForm>[0]): void {
  for (const name of NUMBER_NAMES) {
    expect(given[name]).toBeGreaterThanOrEqual(0);
    expect(given[name]).toBeLessThan(name === "seed" ? 2 ** 32 : Infinity);
    if (NUMBERS[name].integer) expect(Number.isSafeInteger(given[name])).toBe(true);
  }
}

it("takes a stored run as it was written, and names what else it finds", () => {
  expect(parseRun(JSON.stringify(RUN))).toEqual(RUN);
  const wrong = (path: string, value: unknown): string => {
    const result = outcome(() => parseRun(JSON.stringify(changed(RUN, path.split("."), value))));
    return result instanceof GatewiseError ? `${result.code}: ${result.message}` : "taken";
  };
  expect(wrong("settings.hiddenSize", "64")).toMatch(/^E_DATA: .*settings\.hiddenSize: expected number, got "64"/);
  expect(wrong("settings.hiddenSize", 64.5)).toMatch(/settings\.hiddenSize/);
  expect(wrong("settings.seed", 2 ** 32)).toMatch(/settings\.seed: expected <=4294967295, got 4294967296/);
  expect(wrong("settings.optimizer", "constructor")).toMatch(/settings\.optimizer: .*got "constructor"/);
  expect(wrong("presets", ["lstm", "lstm"])).toMatch(/presets: expected one-hot-rnn, .*, got lstm, lstm/);
  expect(wrong("settings.dropout", { deep: [1] })).toMatch(/settings\.dropout: expected number, got an object/);
  expect(String(outcome(() => parseRun("[".repeat(200_000))))).toMatch(/no JSON/);
  expect(String(outcome(() => parseRun(`{"settings":${"[".repeat(100_000)}${"]".repeat(100_000)}}`)))).toMatch(/damaged/);
  // Sizes that only a checkpoint may bring are not made out of a description alone.
  expect(outcome(() => checkForm({ ...settings, hiddenSize: 12_000 }))).toMatchObject({ code: "E_CONFIG" });
  expect(checkForm(settings)).toBe(settings);
});

it("shows, races and stores a preset that the library has more, and goes on with a race from before it came", async () => {
  vi.resetModules();
  vi.doMock("../../src/models/presets.ts", async (original) => {
    const config = await original<typeof import("../../src/models/presets.ts")>();
    const presets = { ...config.PRESETS, mgu: { cell: "mgu", input: "embedding" } };
    return { ...config, PRESETS: presets, PRESET_NAMES: Object.keys(presets), GENERATIONS: [...config.GENERATIONS, "mgu"] };
  });
  const kinds = await import("../../src/lab/kinds.ts");
  const stored = await import("../../src/lab/stored.ts");
  vi.doUnmock("../../src/models/presets.ts");
  const more = [...GENERATIONS, "mgu"];
  const all = [...PRESET_NAMES, "mgu"];
  expect(kinds.CHOICES).toEqual([...all, "race"]);
  expect([kinds.RACERS, RACERS]).toEqual([more.join(), GENERATIONS.join()]);
  const titles = all.map((name) => kinds.titleOf(name as "lstm"));
  expect(titles).toEqual(["One-hot RNN", "Embedding RNN", "GRU", "LSTM", "minGRU", "minLSTM", "S4D", "Mamba", "MGU"]);
  const looks = Object.values(kinds.KINDS).flatMap(({ colour, dash }) => [...colour, dash.join(" ")]);
  expect(new Set(looks).size).toBe(3 * (PRESET_NAMES.length + 1));
  expect(kinds.presetOf({ cell: "mgu", input: "one-hot" } as never)).toBe("mgu");
  const raced = { ...RUN, settings: { ...settings, presets: more.join() } };
  expect(stored.parseRun(JSON.stringify({ ...raced, presets: more })).presets).toEqual(more);
  expect(stored.parseRun(JSON.stringify(raced)).presets).toEqual(GENERATIONS);
  expect(stored.parseRun(JSON.stringify(RUN)).presets).toEqual(GENERATIONS);
  expect(() => stored.parseRun(JSON.stringify({ ...RUN, presets: ["gru", "one-hot-rnn"] }))).toThrow(
    /presets: expected one-hot-rnn/,
  );
  expect(stored.validRuns([{ ...LINE, models: more.map((preset) => ({ ...LINE.models[0], preset })) }])).toHaveLength(1);
  expect(() => parseRun(JSON.stringify({ ...RUN, presets: more }))).toThrow(/presets\.4/);
  expect(() => presetOf({ cell: "mgu", input: "embedding" } as never)).toThrow(/no model with the cell mgu/);
});

it("gives each model of a race what it has a use for, and the command line the same", () => {
  const race = { ...defaultsFor("software", "race"), presets: "lstm,mamba", stateSize: 8 };
  expect(laneConfig(race, "lstm", 73)).toMatchObject({ hiddenSize: 64, embeddingSize: 32, numLayers: 1 });
  expect(laneConfig(race, "lstm", 73)).not.toHaveProperty("stateSize");
  expect(laneConfig(race, "mamba", 73)).toMatchObject({
    hiddenSize: 64,
    embeddingSize: 64,
    numLayers: 1,
    expand: 2,
    stateSize: 8,
  });
  const flags = (of: typeof race): string[] => commandLine(of, "alice.txt").split(" --");
  expect(flags(race)).toEqual(
    expect.arrayContaining(["npx gatewise compare", "presets lstm,mamba", "embedding 32", "state-size 8", "forget-bias 1"]),
  );
  expect(flags({ ...race, presets: "gru" }).some((flag) => /^(expand|state-size|conv|forget-bias)/.test(flag))).toBe(false);
  expect(flags({ ...race, preset: "lstm" }).some((flag) => /^(expand|state-size|conv|presets)/.test(flag))).toBe(false);
  expect(flags({ ...race, preset: "mamba" })).toEqual(
    expect.arrayContaining(["hidden 64", "expand 2", "state-size 8", "conv 4"]),
  );
  expect(flags({ ...race, preset: "mamba" }).some((flag) => flag.startsWith("embedding"))).toBe(false);
  expect(flags({ ...race, preset: "min-gru" }).some((flag) => flag.startsWith("state-size"))).toBe(false);
});

it("starts an LSTM's forget gate at 1 unless it is told otherwise, and says so on the command line", () => {
  const lstm = defaultsFor("software");
  expect(laneConfig(lstm, "lstm", 73).forgetBias).toBe(1);
  expect(commandLine(lstm, "alice.txt")).toContain("--forget-bias 1");
  expect(laneConfig(lstm, "gru", 73)).not.toHaveProperty("forgetBias");
  expect(commandLine({ ...lstm, preset: "gru" }, "alice.txt")).not.toContain("forget");
  const plain = { ...lstm, ...readAddress("?forget-bias=0").settings };
  expect(laneConfig(plain, "lstm", 73).forgetBias).toBeUndefined();
  expect(commandLine(plain, "alice.txt")).not.toContain("forget");
});

it("takes over the sizes of a preset that has its own, smaller on slow devices, where nobody has set others", () => {
  const sizes = ({ hiddenSize, numLayers }: typeof settings | ReturnType<typeof defaultsFor>) => [hiddenSize, numLayers];
  expect((["gpu", "software", "cpu"] as const).map((family) => sizes(defaultsFor(family, "mamba")))).toEqual([
    [64, 3],
    [32, 2],
    [16, 1],
  ]);
  const lstm = defaultsFor("software");
  const mamba = withPreset(lstm, "mamba", "software");
  expect(sizes(mamba)).toEqual([32, 2]);
  expect(withPreset(mamba, "lstm", "software")).toEqual(lstm);
  expect(sizes(withPreset({ ...lstm, hiddenSize: 100 }, "mamba", "software"))).toEqual([100, 2]);
});

it("goes on with runs from before there was a race to choose and a block to set", () => {
  const { presets: _, ...before } = settings;
  const later = [...CELL_NUMBERS, ...MEMORY_OPTIONS];
  const old = Object.fromEntries(Object.entries(before).filter(([name]) => !later.some((option) => option.name === name)));
  expect(Object.keys(old)).toHaveLength(Object.keys(settings).length - 5);
  // Its LSTM began as it does by itself.
  const now = { ...settings, forgetBias: 0 };
  expect(parseRun(JSON.stringify({ ...RUN, settings: old }))).toEqual({ ...RUN, settings: now });
  expect(validRuns([{ ...LINE, settings: old }])).toEqual([{ ...LINE, settings: now }]);
});

it("refuses a race without names, with a name twice or with one that no preset has", () => {
  for (const presets of ["", "lstm,", "lstm,lstm", "lstm,gpt"]) {
    expect(readAddress(`?presets=${presets}`)).toMatchObject({ settings: {}, ignored: ["presets"] });
    expect(() => parseRun(JSON.stringify({ ...RUN, settings: { ...settings, presets } }))).toThrow(/settings\.presets/);
  }
  expect(readAddress("?presets=mamba,lstm").settings).toEqual({ presets: "mamba,lstm" });
});

it("names in the command of an opened checkpoint its cell's own options that are not the usual ones, and no other", async () => {
  const text = "It was the best of times, it was the worst of times. ".repeat(20);
  const tokenizer = CharTokenizer.fromText(text);
  const loaded = { text, info: { vocabulary: tokenizer.characters } as TextInfo };
  const device = await openDevice({ prefer: "cpu" });
  const flagsOf = async (preset: PresetName, options: Partial<LanguageModelOptions>): Promise<readonly string[]> => {
    const model = LanguageModel.create(device, { hiddenSize: 4, embeddingSize: 3, ...options, vocabSize: tokenizer.size });
    const trainer = Trainer.create(model, tokenizer.encode(text), { batchSize: 2, seqLen: 8, tokenizer });
    return Lane.restore(device, preset, await saveCheckpoint(trainer), loaded).flags;
  };
  expect(await flagsOf("gru", { cell: "gru", resetAfter: false })).toEqual(["--gru-reset before"]);
  // A forget bias is a field, whose 0 is none.
  expect(await flagsOf("lstm", { cell: "lstm", forgetBias: 1, orthogonal: true })).toEqual(["--orthogonal"]);
  expect(await flagsOf("lstm", { cell: "lstm", forgetBias: 0 })).toEqual(["--forget-bias 0"]);
  expect(await flagsOf("lstm", { cell: "lstm", forgetBias: -1.5 })).toEqual(["--forget-bias -1.5"]);
  expect(await flagsOf("one-hot-rnn", { cell: "rnn", nonlinearity: "relu" })).toEqual([
    "--input embedding",
    "--nonlinearity relu",
  ]);
  expect(await flagsOf("mamba", { cell: "mamba", embeddingSize: 4, stateSize: 2, timeStepRank: 3 })).toEqual([
    "--time-step-rank 3",
  ]);
  // An option that stands in the configurations of other cells only, and has none of their values here.
  const option = CELLS.lstm.options.forgetBias as { fallback: unknown };
  const { fallback } = option;
  option.fallback = 0;
  expect(await flagsOf("gru", { cell: "gru" })).toEqual([]);
  option.fallback = fallback;
  device.dispose();
});

it("gives nothing but its own errors for 1,000 mutated descriptions of runs, each at once", () => {
  const stored = mutations(RUN, fc.jsonValue()).map((run) => JSON.stringify(run));
  let [taken, refused] = [0, 0];
  fc.assert(
    fc.property(fc.oneof(stored, torn(stored)), (text) => {
      const result = outcome(() => parseRun(text));
      if (result instanceof GatewiseError) return void refused++;
      taken++;
      expectSound(result.settings);
      expect(result.presets.length).toBeLessThanOrEqual(PRESET_NAMES.length);
    }),
    runs(1000),
  );
  // Both happen, or the test says little.
  expect(Math.min(taken, refused)).toBeGreaterThan(50);
});

it("shows of 500 mutated tables of runs the lines that are sound, each run once", () => {
  const anything = fc.anything({ withBigInt: true, withDate: true, withMap: true, withSet: true, withTypedArray: true });
  let shownLines = 0;
  fc.assert(
    fc.property(fc.array(mutations(LINE, anything), { maxLength: 3 }), fc.oneof(fc.constant([LINE]), anything), (lines, more) => {
      const table = outcome(() => validRuns(Array.isArray(more) ? [...lines, ...more] : lines)) as ReturnType<typeof validRuns>;
      expect(new Set(table.map(({ id }) => id)).size).toBe(table.length);
      for (const { settings: used, models, created } of table) {
        shownLines++;
        expectSound(used);
        expect(new Date(created).getTime()).toBe(created + 0);
        for (const { step, best } of models) {
          expect(Number.isSafeInteger(step) && step >= 0).toBe(true);
          expect(best === null || Number.isFinite(best)).toBe(true);
        }
      }
    }),
    runs(500),
  );
  expect(shownLines).toBeGreaterThan(50);
  for (const none of [undefined, null, "runs", 7, { length: 3 }, new Map()]) expect(validRuns(none)).toEqual([]);
  expect(validRuns(Array.from({ length: 1e6 }, () => LINE))).toEqual([LINE]);
});

it("takes from 500 mutated addresses what is in range, and names what is not or is no field", () => {
  const address = writeAddress(settings, RUN.sampling);
  expect(readAddress(address)).toEqual({ settings, sampling: RUN.sampling, page: {}, ignored: [] });
  expect(readAddress(writeAddress(settings, RUN.sampling, { device: "wasm" })).page).toEqual({ device: "wasm" });
  expect(readAddress("?device=gpu")).toMatchObject({ page: {}, ignored: ["device"] });
  expect(readAddress("?hiden=64&lr=fast&learning-rate=1&constructor=1&utm_source=mail").ignored).toEqual([
    "hiden (did you mean hidden?)",
    '"learning-rate"',
    '"constructor"',
    '"utm_source"',
    "lr",
  ]);
  fc.assert(
    fc.property(torn(fc.constant(address)), (text) => {
      const read = outcome(() => readAddress(text));
      if (read instanceof GatewiseError) throw read;
      expect(v.is(SettingsSchema, { ...settings, ...read.settings })).toBe(true);
    }),
    runs(500),
  );
});

it("reads a log's rows up to the first that no training writes", () => {
  const rows = [1, 4.2, 1, 0.01, 2, 3.9, 1, 0.01, 3, 3.5, 1, 0.01];
  const float = Float32Array.from(rows);
  expect(soundRows(float, 4)).toEqual(Array.from(float));
  expect(soundRows(float.subarray(0, 11), 4)).toHaveLength(8);
  for (const [at, value] of [
    [4, 1],
    [4, 1e30],
    [4, NaN],
    [4, 2.5],
    [5, NaN],
    [6, Infinity],
  ] as const)
    expect(soundRows(Float32Array.from(rows.map((kept, i) => (i === at ? value : kept))), 4)).toHaveLength(
      value === 1e30 ? 8 : 4,
    );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 256 }), (bytes) => {
      const whole = Math.floor(bytes.length / 4) * 4;
      const kept = soundRows(new Float32Array(bytes.slice(0, whole).buffer), 3);
      kept.forEach((value, i) => expect(Number.isFinite(value) && (i % 3 > 0 || Number.isInteger(value))).toBe(true));
    }),
    runs(200),
  );
});

it("offers the library's tokenizers, and a vocabulary's size for those that have one", () => {
  expect(WORDS.tokenizer.words).toEqual(TOKENIZER_KINDS);
  expect(TOKENIZER_KINDS.filter((tokenizer) => isSized({ tokenizer }))).toEqual(SIZED_KINDS);
});

it("reads what is no text for a model of bytes, as they are, and for no other", async () => {
  const bytes = Uint8Array.from({ length: 4000 }, (_, i) => (i * i + (i >> 3)) % 256);
  const loaded = await loadText({ bytes, name: "a.bin" }, "");
  expect(loaded.info).toMatchObject({ encoding: "no text, only bytes", characters: 4000, stripped: 0 });
  expect(tokensBy(tokenizerFor(loaded, { tokenizer: "byte", vocabSize: 0 }), loaded)).toEqual(Uint32Array.from(bytes));
  expect(() => tokensBy(tokenizerFor(loaded, { tokenizer: "char", vocabSize: 0 }), loaded)).toThrow(
    /this file is no text; train on its bytes/,
  );
  const text = await loadText({ bytes: Buffer.from("A text. ".repeat(40)), name: "a.txt" }, "");
  expect(text.bytes).toBeUndefined();
});

it("reads a text that gzip packed, and says so of one that it packed and somebody cut, or that is too long", async () => {
  const words = "It was the best of times. ".repeat(20);
  const read = (bytes: Uint8Array) => loadText({ bytes, name: "times.txt.gz" }, "");
  expect((await read(gzipSync(words))).text).toBe(words);
  await expect(read(gzipSync(words).subarray(0, 30))).rejects.toThrow(/^times\.txt\.gz is no whole \.gz file: /);
  await expect(read(gzipSync(Buffer.alloc(2 * MOST_BYTES)))).rejects.toThrow(/bytes or more; the lab takes texts up to 67108864/);
});

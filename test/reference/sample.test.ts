// Sampling, against the plain mathematics of one step at a time.
import fc from "fast-check";
import { afterAll, describe, expect, it, vi } from "vitest";
import { CharTokenizer } from "../../src/data/tokenizer.ts";
import { LanguageModel, sampleText, type LanguageModelOptions } from "../../src/models/language-model.ts";
import type { StateDict } from "../../src/models/parameters.ts";
import { sampleSettingsOf, type SampleOptions } from "../../src/models/sample.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { Recorder } from "../../src/runtime/recorder.ts";

const device = await openDevice({ prefer: "cpu", precision: "float64" });
afterAll(() => device.dispose());
const tokenizer = CharTokenizer.fromText("abcdefghij \n");
const V = tokenizer.size;
const [E, H] = [4, 6];

type Options = Partial<LanguageModelOptions>;
/** With seeds whose likeliest texts wander for long, so that a state lost anywhere shows. */
const MODELS: Readonly<Record<string, Options>> = {
  rnn: { cell: "rnn", seed: 288 },
  gru: { cell: "gru", seed: 158 },
  lstm: { cell: "lstm", seed: 392 },
  "gru, reset before, one-hot": { cell: "gru", resetAfter: false, input: "one-hot", seed: 373 },
  "lstm, two layers, with a dropout that must not act": { cell: "lstm", numLayers: 2, dropout: 0.5, seed: 192 },
  "rnn, three layers, relu": { cell: "rnn", numLayers: 3, nonlinearity: "relu", seed: 97 },
};

/** A model with its weights `scale` times as large, which makes it more decided, and its mathematics. */
async function makeModel(options: Options, scale = 5): Promise<{ model: LanguageModel; network: () => Network }> {
  const model = LanguageModel.create(device, { vocabSize: V, embeddingSize: E, hiddenSize: H, seed: 5, ...options });
  const weights = await model.stateDict();
  for (const values of Object.values(weights)) values.forEach((w, i) => (values[i] = scale * w));
  model.loadStateDict(weights);
  return { model, network: () => makeNetwork(model.config, weights) };
}

/** Takes a token and gives the logits of the next one; it keeps its state. */
type Network = (token: number) => number[];

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** The equations of the README, in float64. */
function makeNetwork({ cell, input, numLayers, resetAfter, nonlinearity }: LanguageModel["config"], w: StateDict): Network {
  const row = (name: string, i: number, x: readonly number[]): number =>
    x.reduce((sum, value, j) => sum + w[name]![i * x.length + j]! * value, 0);
  const units = Array.from({ length: H }, (_, u) => u);
  const hs = Array.from({ length: numLayers }, () => units.map(() => 0));
  const cs = Array.from({ length: numLayers }, () => units.map(() => 0));

  function layer(l: number, x: readonly number[]): number[] {
    const before = hs[l]!;
    const xi = (gate: number, u: number): number =>
      row(`rnn.weight_ih_l${l}`, gate * H + u, x) + w[`rnn.bias_ih_l${l}`]![gate * H + u]!;
    const hi = (gate: number, u: number, h = before): number =>
      row(`rnn.weight_hh_l${l}`, gate * H + u, h) + w[`rnn.bias_hh_l${l}`]![gate * H + u]!;
    const sum = (gate: number, u: number): number => xi(gate, u) + hi(gate, u);
    if (cell === "rnn") return units.map((u) => (nonlinearity === "relu" ? Math.max(0, sum(0, u)) : Math.tanh(sum(0, u))));
    if (cell === "gru") {
      const r = units.map((u) => sigmoid(sum(0, u)));
      const reset = units.map((u) => r[u]! * before[u]!);
      return units.map((u) => {
        const z = sigmoid(sum(1, u));
        const n = Math.tanh(xi(2, u) + (resetAfter ? r[u]! * hi(2, u) : hi(2, u, reset)));
        return (1 - z) * n + z * before[u]!;
      });
    }
    cs[l] = units.map((u) => sigmoid(sum(1, u)) * cs[l]![u]! + sigmoid(sum(0, u)) * Math.tanh(sum(2, u)));
    return units.map((u) => sigmoid(sum(3, u)) * Math.tanh(cs[l]![u]!));
  }

  return (token) => {
    let x = Array.from({ length: V }, (_, v) => Number(v === token));
    if (input === "embedding") x = [...w["embedding.weight"]!.subarray(E * token, E * token + E)];
    for (let l = 0; l < numLayers; l++) x = hs[l] = layer(l, x);
    return Array.from({ length: V }, (_, v) => row("head.weight", v, x) + w["head.bias"]![v]!);
  };
}

/** The likeliest continuation. */
function greedy(step: Network, prompt: string, length: number): string {
  let text = prompt;
  let logits: number[] = [];
  for (const token of tokenizer.encode(prompt)) logits = step(token);
  for (let i = 0; i < length; i++) {
    const best = logits.indexOf(Math.max(...logits));
    text += tokenizer.decode([best]);
    logits = step(best);
  }
  return text;
}

describe("temperature 0 takes the likeliest character, whatever the lengths of prompt and text:", () => {
  for (const [name, options] of Object.entries(MODELS)) {
    it(name, async () => {
      const { model, network } = await makeModel(options);
      const texts = new Set<string>();
      for (const prompt of ["a", "jig a bad", "abcdefghij ".repeat(3).slice(0, 32), "abcdefghij ".repeat(3), "jab ".repeat(17)]) {
        for (const length of [1, 31, 32, 33, 65]) {
          const text = await model.sample(tokenizer, { prompt, length, temperature: 0 });
          expect(text, `${prompt.length} + ${length}`).toBe(greedy(network(), prompt, length));
          texts.add(text.slice(prompt.length));
        }
      }
      expect(texts.size).toBeGreaterThan(15);
      const wandering = greedy(network(), "a", 65);
      expect(new Set(Array.from({ length: 61 }, (_, i) => wandering.slice(i, i + 5))).size).toBeGreaterThan(10);
      const expected = greedy(network(), "cab", 40);
      expect(await model.sample(tokenizer, { prompt: "cab", length: 40, temperature: 5, topK: 1 })).toBe(expected);
      expect(await model.sample(tokenizer, { prompt: "cab", length: 40, temperature: 5, topP: 1e-6 })).toBe(expected);
      model.dispose();
    });
  }

  it("the first of equally likely ones", async () => {
    const { model } = await makeModel({});
    const weights = await model.stateDict();
    weights["head.weight"]!.fill(0);
    weights["head.bias"]!.fill(0).set([1, 1], 4);
    model.loadStateDict(weights);
    for (const options of [{ temperature: 0 }, { topK: 1 }, { topP: 1e-6 }]) {
      expect(await model.sample(tokenizer, { prompt: "a", length: 3, ...options })).toBe(`a${tokenizer.decode([4, 4, 4])}`);
    }
    model.dispose();
  });
});

describe("the characters drawn have", async () => {
  const { model, network } = await makeModel({ cell: "gru" }, 2);
  afterAll(() => model.dispose());
  const COUNT = 800;
  /** softmax(logits / temperature) after a prompt. */
  const distribution = (prompt: string, temperature: number): number[] => {
    const step = network();
    let logits: number[] = [];
    for (const token of tokenizer.encode(prompt)) logits = step(token);
    const weights = logits.map((x) => Math.exp(x / temperature));
    return weights.map((x) => x / weights.reduce((a, b) => a + b));
  };
  /** How often each token came after the prompt among COUNT samples. */
  const drawn = async (prompt: string, options: SampleOptions): Promise<number[]> => {
    const counts = Array<number>(V).fill(0);
    for (const text of await sampleText(model, tokenizer, { prompt, length: 1, count: COUNT, seed: 2, ...options })) {
      counts[tokenizer.encode(text[prompt.length]!)[0]!]!++;
    }
    return counts;
  };
  /** Each count within five standard deviations, and none of what cannot be. */
  const expectFrequencies = (counts: readonly number[], probabilities: readonly number[]): void => {
    const total = probabilities.reduce((a, b) => a + b);
    counts.forEach((count, token) => {
      const p = probabilities[token]! / total;
      expect(Math.abs(count - COUNT * p), `token ${token}`).toBeLessThanOrEqual(5 * Math.sqrt(COUNT * p * (1 - p)));
    });
  };
  /** The tokens, the likeliest first. */
  const ranked = (probabilities: readonly number[]): number[] =>
    [...probabilities.keys()].sort((a, b) => probabilities[b]! - probabilities[a]!);
  const only = (kept: readonly number[], probabilities: readonly number[]) =>
    probabilities.map((p, token) => (kept.includes(token) ? p : 0));

  for (const temperature of [0.5, 1, 2]) {
    it(`the probabilities that the model gives them at temperature ${temperature}`, async () => {
      expectFrequencies(await drawn("bad", { temperature }), distribution("bad", temperature));
    });
  }

  it("with topK the K likeliest only, in their proportions", async () => {
    const probabilities = distribution("a", 2);
    for (const topK of [2, 5]) {
      expectFrequencies(await drawn("a", { temperature: 2, topK }), only(ranked(probabilities).slice(0, topK), probabilities));
    }
    expect(await drawn("a", { temperature: 2, topK: V + 3 })).toEqual(await drawn("a", { temperature: 2 }));
  });

  it("with topP the fewest likeliest that make up P, in their proportions", async () => {
    const probabilities = distribution("a", 2);
    const order = ranked(probabilities);
    for (const number of [2, 4]) {
      const sum = order.slice(0, number).reduce((total, token) => total + probabilities[token]!, 0);
      const [last, next] = [probabilities[order[number - 1]!]!, probabilities[order[number]!]!];
      const few = only(order.slice(0, number), probabilities);
      expectFrequencies(await drawn("a", { temperature: 2, topP: sum - last / 2 }), few);
      const more = only(order.slice(0, number + 1), probabilities);
      expectFrequencies(await drawn("a", { temperature: 2, topP: sum + next / 2 }), more);
    }
  });

  it("with both the part P of the K likeliest", async () => {
    const probabilities = distribution("a", 2);
    const three = ranked(probabilities).slice(0, 3);
    const sum = three.reduce((total, token) => total + probabilities[token]!, 0);
    // Two of three make up this share of the three, though not of all.
    const topP = (probabilities[three[0]!]! + probabilities[three[1]!]! / 2) / sum;
    expectFrequencies(await drawn("a", { temperature: 2, topK: 3, topP }), only(three.slice(0, 2), probabilities));
  });
});

describe("a sample", async () => {
  const { model, network } = await makeModel({ cell: "lstm", numLayers: 2, seed: 192 });
  afterAll(() => model.dispose());
  const options = { prompt: "ab", length: 70, seed: 11, temperature: 1.5 };

  it("follows from its seed", async () => {
    const one = await model.sample(tokenizer, options);
    expect(await model.sample(tokenizer, options)).toBe(one);
    expect(await model.sample(tokenizer, { ...options, seed: 12 })).not.toBe(one);
    const unnamed = await model.sample(tokenizer, { ...options, seed: undefined as never });
    expect(unnamed).toBe(await model.sample(tokenizer, { ...options, seed: 1 }));
  });

  it("does not depend on how many are drawn beside it, and those differ", async () => {
    const one = await model.sample(tokenizer, options);
    const many = await sampleText(model, tokenizer, { ...options, count: 9 });
    expect(await sampleText(model, tokenizer, { ...options, count: 3 })).toEqual(many.slice(0, 3));
    expect(many[0]).toBe(one);
    expect(new Set(many).size).toBe(9);
  });

  it("begins with its prompt and has exactly the characters asked for", async () => {
    for (const prompt of ["", "a", "jab ".repeat(17)]) {
      for (const length of [0, 1, 31, 32, 33, 65]) {
        const texts = await sampleText(model, tokenizer, { ...options, prompt, length, count: 2 });
        for (const text of texts) {
          expect(text.startsWith(prompt)).toBe(true);
          expect(text).toHaveLength(prompt.length + length);
        }
      }
    }
    expect(await model.sample(tokenizer, { prompt: "a" })).toHaveLength(301);
  });

  it("goes on as it began, wherever it is cut into a prompt and the rest", async () => {
    const whole = await model.sample(tokenizer, { ...options, prompt: "a", length: 100 });
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 0, max: 100 }), async (cut, length) => {
        const text = await model.sample(tokenizer, { ...options, prompt: whole.slice(0, cut), length });
        const common = Math.min(whole.length, text.length);
        expect(text).toHaveLength(cut + length);
        expect(text.slice(0, common)).toBe(whole.slice(0, common));
      }),
      { numRuns: 40 },
    );
  });

  it("without a prompt begins after a line break, or after the first character where there is none", async () => {
    // Three alphabets for the same tokens, in which the line break is the first, the second and none.
    const alphabets: [CharTokenizer, number][] = [
      [tokenizer, 0],
      [CharTokenizer.fromText("\tbcdefghij \n"), 1],
      [CharTokenizer.fromText("abcdefghijkl"), 0],
    ];
    const continuations = new Set<string>();
    for (const [codec, first] of alphabets) {
      const expected = greedy(network(), tokenizer.decode([first]), 20).slice(1);
      const text = await model.sample(codec, { length: 20, temperature: 0 });
      expect(text).toBe(codec.decode(tokenizer.encode(expected)));
      continuations.add(expected);
    }
    expect(continuations.size).toBe(2);
  });

  it("is drawn anew at every place and for every sample, also beyond the block that is read back at once", async () => {
    const even = LanguageModel.create(device, { vocabSize: V, embeddingSize: E, hiddenSize: H });
    const weights = await even.stateDict();
    weights["head.weight"]!.fill(0);
    weights["head.bias"]!.fill(0);
    even.loadStateDict(weights);
    const [length, count] = [320, 4];
    const texts = await sampleText(even, tokenizer, { prompt: "a", length, count, temperature: 1 });
    const tokens = texts.map((text) => [...tokenizer.encode(text.slice(1))]);
    // How often two places of equally likely characters agree: one time in V, within five standard deviations.
    const expectUnrelated = (agreements: number, pairs: number, label: string): void =>
      expect(Math.abs(agreements - pairs / V), label).toBeLessThan(5 * Math.sqrt(pairs / V));
    const agree = (a: readonly number[], b: readonly number[]): number => a.filter((x, i) => x === b[i]).length;
    for (const lag of [1, 2, 31, 32, 33, 64, 128]) {
      const agreements = tokens.reduce((sum, row) => sum + agree(row.slice(lag), row), 0);
      expectUnrelated(agreements, count * (length - lag), `${lag} places apart`);
    }
    for (const row of tokens.slice(1)) expectUnrelated(agree(row, tokens[0]!), length, "two samples");
    even.dispose();
  });

  it("comes in pieces as it is drawn, each sample's in order and without the prompt", async () => {
    const pieces: string[][] = [[], [], []];
    const texts = await sampleText(model, tokenizer, {
      ...options,
      count: 3,
      onText: (text, index) => pieces[index]!.push(text),
    });
    expect(pieces.map((parts) => `ab${parts.join("")}`)).toEqual(texts);
    for (const parts of pieces) expect(parts.length).toBeGreaterThan(1);
    expect(pieces.flat().every((piece) => piece.length > 0)).toBe(true);
  });

  it("is the same for a tokenizer of characters beyond the first 65,536", async () => {
    const emoji = CharTokenizer.fromText(Array.from({ length: V }, (_, i) => String.fromCodePoint(0x1f600 + i)).join(""));
    const translate = (text: string) => emoji.decode(tokenizer.encode(text));
    expect(await model.sample(emoji, { ...options, prompt: translate("ab") })).toBe(
      translate(await model.sample(tokenizer, options)),
    );
  });
});

describe("sampling", async () => {
  const { model } = await makeModel({ cell: "rnn" });
  afterAll(() => model.dispose());

  const wrong: [SampleOptions, string][] = [
    [{ length: -1 }, "sample: expected an integer of at least 0, got length -1"],
    [{ length: 1.5 }, "got length 1.5"],
    [{ length: Infinity }, "got length Infinity"],
    [{ temperature: -1 }, "sample: expected a number of at least 0, got temperature -1"],
    [{ temperature: NaN }, "got temperature NaN"],
    [{ temperature: Infinity }, "got temperature Infinity"],
    [{ topK: 1.5 }, "sample: expected an integer of at least 1, or 0 for no limit, got topK 1.5"],
    [{ topK: -1 }, "got topK -1"],
    [{ topP: 0 }, "sample: expected more than 0 and at most 1, got topP 0"],
    [{ topP: 1.01 }, "got topP 1.01"],
    [{ topP: NaN }, "got topP NaN"],
    [{ count: 0 }, "sample: expected an integer from 1 to 65536, got count 0"],
    [{ count: 2.5 }, "got count 2.5"],
    [{ count: 65537 }, "got count 65537"],
    [{ seed: -1 }, "sample: expected an integer from 0 to 4294967295, got seed -1"],
    [{ seed: 2 ** 32 }, "got seed 4294967296"],
    [{ prompt: 7 as never }, "sample: expected a string, got prompt 7"],
    [{ signal: 7 as never }, "sample: expected an AbortSignal, got signal 7"],
    [{ onText: 7 as never }, "sample: expected a function, got onText 7"],
    [{ topk: 7 } as never, 'sample: unknown option "topk"; did you mean "topK"?'],
  ];
  for (const [options, message] of wrong) {
    const [name, value] = Object.entries(options)[0]!;
    it(`refuses ${name} ${value}`, async () => {
      const sampling = sampleText(model, tokenizer, options);
      await expect(sampling).rejects.toMatchObject({ code: "E_CONFIG" });
      await expect(sampling).rejects.toThrow(message);
    });
  }

  it("of a model gives one text, and names what gives several", async () => {
    const several: SampleOptions = { count: 2 };
    await expect(model.sample(tokenizer, several)).rejects.toThrow(
      "sample: count must be 1, got 2; sampleText(model, codec, { count }) gives several",
    );
    const one: SampleOptions = { count: 1, length: 3 };
    expect(await model.sample(tokenizer, one)).toHaveLength(3);
  });

  it("refuses another model's tokenizer, and a prompt with characters that the model does not know", async () => {
    const other = model.sample(CharTokenizer.fromText("ab"));
    await expect(other).rejects.toMatchObject({ code: "E_CONFIG" });
    await expect(other).rejects.toThrow(`got tokenizer of 2 tokens for a model of ${V}`);
    const unknown = model.sample(tokenizer, { prompt: "aZ" });
    await expect(unknown).rejects.toMatchObject({ code: "E_DATA" });
    await expect(unknown).rejects.toThrow('unknown character "Z" (U+005A) at position 1');
  });

  it("stops when it is aborted, before the first character or after any piece", async () => {
    const before: string[] = [];
    const signal = AbortSignal.abort();
    const never = model.sample(tokenizer, { signal, onText: (text) => before.push(text) });
    await expect(never).rejects.toMatchObject({ name: "AbortError" });
    expect(before).toEqual([]);
    const controller = new AbortController();
    const pieces: string[] = [];
    const stopped = model.sample(tokenizer, {
      length: 10_000,
      signal: controller.signal,
      onText: (text) => pieces.push(text) === 2 && controller.abort(new Error("enough")),
    });
    await expect(stopped).rejects.toThrow("enough");
    expect(pieces).toHaveLength(2);
  });

  it("leaves nothing on the device, whether it ends, is refused or is aborted", async () => {
    const before = device.memory();
    await model.sample(tokenizer, { prompt: "a", length: 40 });
    await model.sample(tokenizer, { topP: 0 }).catch(() => {});
    await model.sample(tokenizer, { prompt: "Z" }).catch(() => {});
    await model.sample(tokenizer, { signal: AbortSignal.abort() }).catch(() => {});
    const failing = () => {
      throw new Error("no terminal");
    };
    await expect(model.sample(tokenizer, { onText: failing })).rejects.toThrow("no terminal");
    expect(device.memory()).toEqual(before);
  });

  it("takes the ends of all ranges, and what is left out or undefined by default", () => {
    const ends = { length: 0, temperature: 0, topK: 0, topP: 1, count: 65536, seed: 2 ** 32 - 1 };
    expect(sampleSettingsOf(ends)).toEqual({ prompt: "", ...ends });
    expect(sampleSettingsOf({ seed: 0, count: 1, topK: 1 })).toMatchObject({ seed: 0, count: 1, topK: 1 });
    const defaults = { prompt: "", length: 300, temperature: 0.8, topK: 0, topP: 1, seed: 1, count: 1 };
    expect(sampleSettingsOf({ length: undefined as never })).toEqual(defaults);
    expect(sampleSettingsOf(undefined as never)).toEqual(defaults);
  });

  it("refuses what is no tokenizer", async () => {
    const { encode, decode } = tokenizer;
    for (const codec of [undefined, { size: V, encode }, { size: V, decode }])
      await expect(model.sample(codec as never)).rejects.toMatchObject({
        code: "E_CONFIG",
        message: `sample: expected a tokenizer with size, encode and decode, got ${codec ? "an object" : "undefined"}`,
      });
    const other = { size: V, encode: () => Uint32Array.of(V), decode: () => "" };
    await expect(model.sample(other, { prompt: "a" })).rejects.toMatchObject({
      code: "E_DATA",
      message: expect.stringContaining(`sample: the prompt: token ${V} at 0 is not in the model's vocabulary of ${V}`),
    });
  });

  it("begins with the first character where a tokenizer has no line break, or one that is no token", async () => {
    const decode = (tokens: ArrayLike<number>): string => tokenizer.decode(tokens);
    const texts = [];
    for (const lineBreak of [[0], [], [V], [0.5]]) {
      const encode = (text: string) => (text === "" ? [] : lineBreak) as never;
      texts.push(await model.sample({ size: V, encode, decode }, { length: 20, temperature: 0 }));
    }
    expect(new Set(texts).size).toBe(1);
    expect(texts[0]).toHaveLength(20);
  });

  it("says after how many characters the output is no number any more", async () => {
    const { model: growing } = await makeModel({ cell: "rnn", nonlinearity: "relu" });
    const weights = await growing.stateDict();
    for (const values of Object.values(weights)) values.fill(0);
    // h₁ = 1, h₂ = 1 + 10⁴, …: from the 79th on it is beyond float64.
    weights["rnn.bias_ih_l0"]![0] = 1;
    weights["rnn.weight_hh_l0"]![0] = 1e4;
    growing.loadStateDict(weights);
    for (const prompt of ["a", "abc", "jab ".repeat(10), "jab ".repeat(18)]) {
      const texts: string[] = [];
      const failing = growing.sample(tokenizer, { prompt, length: 200, temperature: 0, onText: (text) => texts.push(text) });
      await expect(failing).rejects.toMatchObject({
        code: "E_NAN_LOSS",
        message:
          "sample: after 79 characters the model's output is not finite; its parameters have grown too large or are not finite: " +
          "take an earlier checkpoint, or train anew with a clip",
      });
      // Whole blocks that were drawn before are told.
      expect(texts.join("")).toHaveLength(Math.max(0, 65 - prompt.length));
    }
    const length = 79 - 3;
    expect(await growing.sample(tokenizer, { prompt: "abc", length: length, temperature: 0 })).toHaveLength(79);
    growing.dispose();
  });

  it("records one plan, whose tensors have names", async () => {
    const tensor = vi.spyOn(Recorder.prototype, "tensor");
    const record = vi.spyOn(device, "record");
    await model.sample(tokenizer, { prompt: "a", length: 100 });
    expect(record.mock.calls.map(([name]) => name)).toEqual(["sample"]);
    const specs = tensor.mock.calls.map(([spec]) => spec);
    const names = specs.map(({ name }) => name);
    vi.restoreAllMocks();
    const integers = specs.flatMap(({ name, dtype }) => (dtype === "u32" ? [name] : []));
    expect(integers).toEqual(["tokens", "forced", "settings"]);
    expect(names).toEqual(expect.arrayContaining(["tokens", "forced", "settings", "logits", "state.h"]));
    expect(names).not.toContain("");
  });
});

// Sampling, against the plain mathematics of one step at a time.
import { afterAll, describe, expect, it } from "vitest";
import { CharTokenizer } from "../../src/data/tokenizer.ts";
import { LanguageModel } from "../../src/models/language-model.ts";
import { sampleText } from "../../src/models/sample.ts";
import { openDevice } from "../../src/runtime/device.ts";

const device = await openDevice({ prefer: "cpu", precision: "float64" });
afterAll(() => device.dispose());
const tokenizer = CharTokenizer.fromText("abcdefghij \n");
const V = tokenizer.size;

/** A model whose weights are large enough to make it decided. */
async function makeModel(cell: "rnn" | "gru" | "lstm"): Promise<{ model: LanguageModel; weights: Record<string, Float32Array> }> {
  const model = LanguageModel.create(device, { cell, vocabSize: V, embeddingSize: 4, hiddenSize: 6, seed: 5 });
  const weights = await model.stateDict();
  for (const values of Object.values(weights)) values.forEach((w, i) => (values[i] = 3 * w));
  model.loadStateDict(weights);
  return { model, weights };
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** The likeliest continuation, by the equations of the README. */
function greedy(cell: "rnn" | "gru" | "lstm", w: Record<string, Float32Array>, prompt: string, length: number): string {
  const H = 6;
  const row = (m: Float32Array, i: number, x: readonly number[]): number =>
    x.reduce((sum, value, j) => sum + m[i * x.length + j]! * value, 0);
  let h: number[] = Array(H).fill(0);
  let c: number[] = Array(H).fill(0);
  const step = (token: number): number[] => {
    const x = Array.from(w["embedding.weight"]!.subarray(4 * token, 4 * token + 4));
    const xi = (i: number): number => row(w["rnn.weight_ih_l0"]!, i, x) + w["rnn.bias_ih_l0"]![i]!;
    const hi = (i: number, state = h): number => row(w["rnn.weight_hh_l0"]!, i, state) + w["rnn.bias_hh_l0"]![i]!;
    const units = Array.from({ length: H }, (_, u) => u);
    if (cell === "rnn") h = units.map((u) => Math.tanh(xi(u) + hi(u)));
    if (cell === "gru") {
      h = units.map((u) => {
        const [r, z] = [sigmoid(xi(u) + hi(u)), sigmoid(xi(H + u) + hi(H + u))];
        return (1 - z) * Math.tanh(xi(2 * H + u) + r * hi(2 * H + u)) + z * h[u]!;
      });
    }
    if (cell === "lstm") {
      const a = (gate: number, u: number): number => xi(gate * H + u) + hi(gate * H + u);
      const gates = units.map((u) => [sigmoid(a(0, u)), sigmoid(a(1, u)), Math.tanh(a(2, u)), sigmoid(a(3, u))] as const);
      c = units.map((u) => gates[u]![1] * c[u]! + gates[u]![0] * gates[u]![2]);
      h = units.map((u) => gates[u]![3] * Math.tanh(c[u]!));
    }
    return Array.from({ length: V }, (_, v) => row(w["head.weight"]!, v, h) + w["head.bias"]![v]!);
  };
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
  for (const cell of ["rnn", "gru", "lstm"] as const) {
    it(cell, async () => {
      const { model, weights } = await makeModel(cell);
      for (const length of [1, 31, 32, 33, 65]) {
        for (const prompt of ["a", "jig a bad", "abcdefghij ".repeat(7)]) {
          const text = await model.sample(tokenizer, { prompt, length, temperature: 0 });
          expect(text).toBe(greedy(cell, weights, prompt, length));
        }
      }
      expect(await model.sample(tokenizer, { prompt: "cab", length: 20, topK: 1 })).toBe(greedy(cell, weights, "cab", 20));
      expect(await model.sample(tokenizer, { prompt: "cab", length: 20, topP: 1e-6 })).toBe(greedy(cell, weights, "cab", 20));
      model.dispose();
    });
  }
});

describe("a sample", () => {
  it("depends on the seed, not on how many are drawn beside it, and comes in pieces", async () => {
    const { model } = await makeModel("gru");
    const options = { prompt: "ab", length: 70, seed: 11, temperature: 1.5 };
    const one = await model.sample(tokenizer, options);
    const pieces = ["", "", ""];
    const three = await sampleText(model, tokenizer, { ...options, count: 3, onText: (text, i) => (pieces[i] += text) });
    expect(three[0]).toBe(one);
    expect(new Set(three).size).toBe(3);
    expect(pieces.map((p) => `ab${p}`)).toEqual(three);
    expect(one).toHaveLength(72);
    expect(await model.sample(tokenizer, { ...options, seed: 12 })).not.toBe(one);
    expect(await model.sample(tokenizer, { prompt: "ab", length: 0 })).toBe("ab");
    expect(await model.sample(tokenizer, { length: 5 })).toHaveLength(5);
    model.dispose();
  });

  it("follows the model's distribution at temperature 1", async () => {
    const { model, weights } = await makeModel("rnn");
    const counts = new Map<string, number>();
    const texts = await sampleText(model, tokenizer, { prompt: "a", length: 1, temperature: 1, count: 4000, seed: 2 });
    for (const text of texts) counts.set(text[1]!, (counts.get(text[1]!) ?? 0) + 1);
    const likeliest = [...counts].sort((x, y) => y[1] - x[1])[0]![0];
    expect(`a${likeliest}`).toBe(greedy("rnn", weights, "a", 1));
    const kept = await sampleText(model, tokenizer, { prompt: "a", length: 1, temperature: 1, count: 500, topK: 3, seed: 2 });
    expect(new Set(kept).size).toBe(3);
    model.dispose();
  });

  it("refuses what it cannot do, and leaves nothing behind", async () => {
    const { model } = await makeModel("rnn");
    const before = device.memory();
    for (const wrong of [{ length: -1 }, { temperature: -1 }, { topK: 1.5 }, { topP: 0 }, { topP: 2 }, { count: 0 }]) {
      await expect(model.sample(tokenizer, wrong)).rejects.toMatchObject({ code: "E_CONFIG" });
    }
    await expect(model.sample(tokenizer, { prompt: "Z" })).rejects.toMatchObject({ code: "E_DATA" });
    await expect(model.sample(CharTokenizer.fromText("ab"), {})).rejects.toMatchObject({ code: "E_CONFIG" });
    await expect(model.sample(tokenizer, { signal: AbortSignal.abort() })).rejects.toMatchObject({ name: "AbortError" });
    expect(device.memory()).toEqual(before);
    model.dispose();
  });
});

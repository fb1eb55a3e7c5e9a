// Each branch of the choice of a token, in float32 and float64, with tokens that follow from the numbers alone.
import { afterAll, describe, expect, it } from "vitest";
import { CharTokenizer } from "../../src/data/tokenizer.ts";
import { CHOOSE, sample, sampleSettings } from "../../src/kernels/sample.ts";
import { LanguageModel } from "../../src/models/language-model.ts";
import { fraction, randomWord, STREAM } from "../../src/random.ts";
import { CpuDevice } from "../../src/runtime/cpu-device.ts";

const devices = { float32: new CpuDevice("float32"), float64: new CpuDevice("float64") };
afterAll(() => Object.values(devices).forEach((device) => device.dispose()));

const B = 200;
const SEED = 5;

interface Settings {
  readonly topK?: number;
  readonly topP?: number;
  readonly temperature?: number;
}

describe.each(Object.entries(devices))("%s:", (_, device) => {
  /** What B rows with the same logits choose. */
  async function choices(row: readonly number[], settings: Settings, forced = CHOOSE): Promise<number[]> {
    const V = row.length;
    const tensors = {
      logits: device.tensor({ name: "logits", shape: [B, V] }),
      settings: device.tensor({ name: "settings", shape: [8], dtype: "u32" }),
      forced: device.tensor({ name: "forced", shape: [1, B], dtype: "u32" }),
      tokens: device.tensor({ name: "tokens", shape: [2, B], dtype: "u32" }),
    };
    device.write(
      tensors.logits,
      Float64Array.from({ length: B * V }, (_, i) => row[i % V]!),
    );
    device.write(tensors.settings, sampleSettings({ seed: SEED, position: 0, topK: 0, topP: 1, temperature: 1, ...settings }));
    device.write(tensors.forced, new Uint32Array(B).fill(forced));
    const plan = await device.record("choice", (r) => r.dispatch(sample.forward, tensors, { B, V, t: 0 }));
    await plan.run();
    const tokens = await device.read(tensors.tokens);
    plan.dispose();
    device.free(...Object.values(tensors));
    return [...tokens].slice(B);
  }

  /** The first token, in the order of their numbers, at which the probabilities add up to more than the row's draw. */
  const byChance = (probabilities: readonly number[]): number[] =>
    Array.from({ length: B }, (_, b) => {
      const draw = fraction(randomWord(SEED, 0, b, STREAM.sample));
      let passed = 0;
      return probabilities.findIndex((p) => (passed += p) > draw);
    });
  const logs = (...probabilities: number[]): number[] => probabilities.map(Math.log);
  const all = (token: number): number[] => Array.from({ length: B }, () => token);
  const P = [0.1, 0.4, 0.2, 0.3];

  it("plain: by the softmax, in the order of the tokens' numbers", async () => {
    expect(await choices(logs(...P), {})).toEqual(byChance(P));
  });

  it("plain, with a temperature: by the softmax of the logits over it", async () => {
    const squares = P.map((p) => p ** 2 / 0.3);
    expect(await choices(logs(...P), { temperature: 0.5 })).toEqual(byChance(squares));
  });

  it("plain, at a temperature so low that only one token counts: that one, wherever it stands", async () => {
    for (const at of [0, 1, 2, 3]) {
      const row = [0, 0, 0, 0];
      row[at] = 80;
      expect(await choices(row, { temperature: 0.1 })).toEqual(all(at));
      expect(await choices(row, { temperature: 1e-30 })).toEqual(all(at));
    }
  });

  it("greedy: the largest, of equals the first", async () => {
    expect(await choices(logs(...P), { temperature: 0 })).toEqual(all(1));
    expect(await choices([0, 2, 2, 1], { temperature: 0 })).toEqual(all(1));
    expect(await choices([-0, 0, -3, 0], { temperature: 0 })).toEqual(all(0));
  });

  it("topK: by the probabilities of the K largest, of equals the first", async () => {
    expect(await choices(logs(...P), { topK: 1 })).toEqual(all(1));
    expect(await choices(logs(...P), { topK: 2 })).toEqual(byChance([0, 4 / 7, 0, 3 / 7]));
    expect(await choices([1, 1, 1, 1], { topK: 3 })).toEqual(byChance([1 / 3, 1 / 3, 1 / 3, 0]));
    expect(await choices([0, 80, 0, 0], { topK: 3, temperature: 0.1 })).toEqual(all(1));
    expect(await choices(logs(...P), { topK: 9 })).toEqual(byChance(P));
  });

  it("topP: by the probabilities of the fewest that have the share", async () => {
    expect(await choices(logs(...P), { topP: 0.39 })).toEqual(all(1));
    expect(await choices(logs(...P), { topP: 0.41 })).toEqual(byChance([0, 4 / 7, 0, 3 / 7]));
    expect(await choices(logs(...P), { topP: 0.89 })).toEqual(byChance([0, 4 / 9, 2 / 9, 3 / 9]));
    expect(await choices(logs(...P), { topP: 0.95 })).toEqual(byChance(P));
    expect(await choices([1, 1, 1, 1], { topP: 0.3 })).toEqual(byChance([1 / 2, 1 / 2, 0, 0]));
    expect(await choices([0, 80, 0, 0], { topP: 0.9, temperature: 0.1 })).toEqual(all(1));
  });

  it("both: topP is a share of what topK leaves", async () => {
    expect(await choices(logs(...P), { topK: 2, topP: 0.5 })).toEqual(all(1));
    expect(await choices(logs(...P), { topK: 2, topP: 0.6 })).toEqual(byChance([0, 4 / 7, 0, 3 / 7]));
    expect(await choices(logs(...P), { topK: 3, topP: 0.7 })).toEqual(byChance([0, 4 / 7, 0, 3 / 7]));
  });

  it("forced: what is given, whatever the logits are", async () => {
    expect(await choices(logs(...P), {}, 3)).toEqual(all(3));
    expect(await choices([NaN, 0, 0, 0], { temperature: 0 }, 0)).toEqual(all(0));
  });

  it("excluded by −Infinity: never", async () => {
    expect(await choices(logs(0, 0.5, 0, 0.5), {})).toEqual(byChance([0, 0.5, 0, 0.5]));
    expect(await choices(logs(0, 0.25, 0, 0.75), { topK: 3, topP: 0.9 })).toEqual(byChance([0, 0.25, 0, 0.75]));
  });

  it("none, where a logit is NaN or infinite or none is finite", async () => {
    for (const bad of [NaN, Infinity]) {
      for (const at of [0, 3]) {
        const row = [...logs(...P)];
        row[at] = bad;
        for (const settings of [{}, { temperature: 0 }, { topK: 2 }, { topP: 0.5 }]) {
          expect(await choices(row, settings)).toEqual(all(CHOOSE));
        }
      }
    }
    expect(await choices([-Infinity, -Infinity], {})).toEqual(all(CHOOSE));
  });

  it("a model that knows one answer gives it at a low temperature", async () => {
    const model = LanguageModel.create(device, { vocabSize: 4, embeddingSize: 2, hiddenSize: 2 });
    const weights = Object.entries(await model.stateDict()).map(([name, values]) => [name, values.map(() => 0)] as const);
    model.loadStateDict({ ...Object.fromEntries(weights), "head.bias": [0, 80, 0, 0] });
    const text = await model.sample(CharTokenizer.fromText("abcd"), { prompt: "a", length: 8, temperature: 0.1 });
    expect(text).toBe("abbbbbbbb");
    model.dispose();
  });
});

// Sizes past the thresholds at which kernels and plans do something else: more workgroups than one line holds, a norm in
// two passes, ties between lanes. Of several tiles at once: extra-cases.ts; of sequences in parts: test/long/sequence.test.ts.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { embedding } from "../../src/kernels/embedding.ts";
import { CHOOSE, sample, sampleSettings } from "../../src/kernels/sample.ts";
import { IGNORED, softmaxCrossEntropy } from "../../src/kernels/softmax-cross-entropy.ts";
import { LanguageModel } from "../../src/models/language-model.ts";
import type { Device } from "../../src/runtime/device.ts";
import type { Entry, KernelCase } from "../../src/runtime/kernel.ts";
import { differences } from "../../src/runtime/verify.ts";
import { Trainer } from "../../src/training/trainer.ts";
import { testDevice } from "./device.ts";

let gpu: Device;
beforeAll(async () => {
  gpu = await testDevice();
});
afterAll(() => gpu.dispose());

const entriesOf = (kernel: Readonly<Record<string, unknown>>): [string, Entry][] =>
  Object.values(kernel as Record<string, Entry>).map((entry) => [`${entry.kernel}.${entry.name}`, entry]);

describe("more than 65,535 workgroups:", () => {
  const N = 65_600;
  it("rows of a softmax", async () => {
    const rows: KernelCase = {
      name: `N=${N}`,
      params: { N, V: 2, scale: 1 / 8 },
      tensors: {
        logits: { shape: [N, 2] },
        targets: { shape: [N], dtype: "u32", fill: (i) => (i % 5 === 4 ? IGNORED : i % 2) },
        rows: { shape: [N, 2], stored: [N, 2] },
      },
    };
    expect(await differences(gpu, softmaxCrossEntropy.backward as unknown as Entry, [rows])).toEqual([]);
  });

  it("gradients of an embedding", async () => {
    const token = (i: number): number => [3, 65_000, 65_536, N - 1][i % 4]!;
    const tokens = Array.from({ length: 12 }, (_, i) => token(i));
    const order = [...tokens.keys()].sort((a, b) => tokens[a]! - tokens[b]! || a - b);
    const gradients: KernelCase = {
      name: `V=${N}`,
      params: { N: 12, V: N, W: 4 },
      tensors: {
        dY: { shape: [12, 3] },
        order: { shape: [12], dtype: "u32", fill: (i) => order[i]! },
        starts: { shape: [N + 1], dtype: "u32", fill: (v) => tokens.filter((t) => t < v).length },
        dWeight: { shape: [N, 3] },
      },
    };
    expect(await differences(gpu, embedding.backward as unknown as Entry, [gradients])).toEqual([]);
  });
});

it("the norm of more gradients than one workgroup adds up is the root of their squares", async () => {
  const model = LanguageModel.create(gpu, { cell: "rnn", input: "one-hot", vocabSize: 500, hiddenSize: 150 });
  expect(model.parameterCount).toBeGreaterThan(131_072);
  const tokens = Uint32Array.from({ length: 200 }, (_, i) => (i * i) % 500);
  const trainer = Trainer.create(model, tokens, { batchSize: 4, seqLen: 8, valFraction: 0, logInterval: 1, clip: 0 });
  for await (const event of trainer.run({ maxSteps: 1 })) {
    if (event.event !== "step") continue;
    const squares = Object.values(await trainer.gradientDict()).map((values) => values.reduce((sum, x) => sum + x * x, 0));
    const norm = Math.sqrt(squares.reduce((a, b) => a + b, 0));
    expect(norm).toBeGreaterThan(0.01);
    expect(Math.abs(event.gradNorm / norm - 1)).toBeLessThan(1e-4);
  }
  trainer.dispose();
  model.dispose();
});

describe("sampling from 601 tokens", () => {
  const [B, V] = [512, 601];
  async function sampled(logitAt: (v: number) => number, temperature: number, topK = 0): Promise<ArrayLike<number>> {
    const [logits, settings] = [
      gpu.tensor({ name: "logits", shape: [B, V] }),
      gpu.tensor({ name: "s", shape: [8], dtype: "u32" }),
    ];
    const forced = gpu.tensor({ name: "forced", shape: [1, B], dtype: "u32" });
    const tokens = gpu.tensor({ name: "tokens", shape: [2, B], dtype: "u32" });
    gpu.write(
      logits,
      Float32Array.from({ length: B * V }, (_, i) => logitAt(i % V)),
    );
    gpu.write(settings, sampleSettings({ seed: 5, position: 17, topK, temperature, topP: 1 }));
    gpu.write(forced, new Uint32Array(B).fill(CHOOSE));
    const plan = await gpu.record("sample", (recorder) =>
      recorder.dispatch(sample.forward, { logits, settings, forced, tokens }, { B, V, t: 0 }),
    );
    const chosen = ((await plan.runAndRead(tokens)) as Uint32Array).subarray(B);
    plan.dispose();
    gpu.free(logits, settings, forced, tokens);
    return chosen;
  }

  it("at temperature 0.02 never takes one of 600 whose share is e⁻⁵⁰", async () => {
    expect(new Set(Array.from(await sampled((v) => (v === 333 ? 1 : 0), 0.02)))).toEqual(new Set([333]));
  });

  it("takes each of two likely ones by its share", async () => {
    // 3 : 1 at temperature 0.02; of 512 draws 384 ± 10.
    const chosen = Array.from(await sampled((v) => (v === 600 ? 1 : v === 64 ? 1 - 0.02 * Math.log(3) : 0), 0.02));
    const first = chosen.filter((token) => token === 600).length;
    expect(first + chosen.filter((token) => token === 64).length).toBe(B);
    expect(Math.abs(first - 384)).toBeLessThan(40);
  });

  it("cold takes the most likely one, also if it is the last", async () => {
    for (const [place, topK] of [
      [600, 0],
      [600, 1],
      [0, 0],
    ] as const)
      expect(new Set(Array.from(await sampled((v) => (v === place ? 3 : v / 1000), topK, topK)))).toEqual(new Set([place]));
  });

  it("takes the first of equals, cold or as the only one kept", async () => {
    const equals = (v: number): number => (v === 65 || v === 128 || v === 600 ? 2 : v / 1000);
    expect(new Set(Array.from(await sampled(equals, 0)))).toEqual(new Set([65]));
    expect(new Set(Array.from(await sampled(equals, 1, 1)))).toEqual(new Set([65]));
  });
});

it("of equal largest logits the first counts as the guess, whichever lane has it", async () => {
  // The largest stand at two places; the target at the first of them is right, at the second wrong.
  const pairs = [
    [65, 128],
    [1, 256],
    [255, 256],
    [4, 260],
    [600, 601],
    [63, 320],
  ] as const;
  const [N, V] = [2 * pairs.length, 602];
  const largest = (i: number): readonly number[] => pairs[Math.floor(i / V / 2)]!;
  for (const [, entry] of entriesOf(softmaxCrossEntropy)) {
    for (const variant of entry.variants) {
      const tensors = {
        logits: gpu.tensor({ name: "logits", shape: [N, V] }),
        targets: gpu.tensor({ name: "targets", shape: [N], dtype: "u32" }),
        rows: gpu.tensor({ name: "rows", shape: [N, 2], stored: [N, 2] }),
      };
      gpu.write(
        tensors.logits,
        Float32Array.from({ length: N * V }, (_, i) => (largest(i).includes(i % V) ? 3 : (i % 7) / 7)),
      );
      gpu.write(
        tensors.targets,
        Uint32Array.from({ length: N }, (_, n) => pairs[n >> 1]![n % 2]!),
      );
      const plan = await gpu.record("ties", (recorder) => recorder.dispatch(entry, tensors, { N, V, scale: 1 }, variant.name));
      const rows = await plan.runAndRead(tensors.rows);
      expect(
        Array.from({ length: N }, (_, n) => rows[2 * n + 1]),
        `${entry.name}, ${variant.name}`,
      ).toEqual(Array.from({ length: N }, (_, n) => 1 - (n % 2)));
      plan.dispose();
      gpu.free(...Object.values(tensors));
    }
  }
});

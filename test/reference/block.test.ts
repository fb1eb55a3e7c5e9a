// What carries from window to window and from step to step in language models, blocks with their convolutions above all.
import { afterAll, expect, it } from "vitest";
import { blockOf } from "../../src/kernels/block.ts";
import { minGruCell } from "../../src/kernels/min-gru.ts";
import { LanguageModel } from "../../src/models/language-model.ts";
import { PRESET_NAMES, PRESETS } from "../../src/models/presets.ts";
import { modelStack, tokenInput } from "../../src/models/pass.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { sizeOf, type NumberArray } from "../../src/runtime/tensor.ts";
import { makeEvaluator } from "../../src/training/evaluate.ts";
import { draw } from "../fixtures/read.ts";

const device = await openDevice({ prefer: "cpu", precision: "float64" });
afterAll(() => device.dispose());

it.each(PRESET_NAMES)("a text costs %s the same however it is cut into windows", async (preset) => {
  const model = LanguageModel.create(device, { ...PRESETS[preset], hiddenSize: 6, numLayers: 2, vocabSize: 5, seed: 3 });
  const tokens = Uint32Array.from({ length: 49 }, (_, i) => (i * i + (i >> 2)) % 5);
  const losses: number[] = [];
  for (const seqLen of [48, 12, 3, 1]) {
    const evaluator = await makeEvaluator(model, tokens, { batchSize: 1, seqLen });
    losses.push((await evaluator.evaluate()).loss);
    evaluator.dispose();
  }
  for (const loss of losses) expect(loss).toBeCloseTo(losses[0]!, 10);
  model.dispose();
});

it.each(PRESET_NAMES)(
  "a text's steps are the same in %s whether they are taken at once, in parts, or one by one",
  async (preset) => {
    const model = LanguageModel.create(device, { ...PRESETS[preset], hiddenSize: 6, numLayers: 2, vocabSize: 5, seed: 3 });
    const [T, B] = [11, 2];
    const outputs: NumberArray[] = [];
    for (const parts of [[T], [4, 1, 6], Array.from({ length: T }, () => 1)]) {
      const plan = await device.record("steps", (recorder) => {
        const tokens = recorder.tensor({ name: "tokens", shape: [T, B], dtype: "u32" });
        const stack = modelStack(recorder, model, { T, B, input: tokenInput(model, tokens) });
        stack.begin();
        let t = 0;
        for (const count of parts) {
          stack.steps(t, count);
          t += count;
        }
        stack.end();
        return { tokens, output: stack.outputs[0]!.tensor };
      });
      device.write(
        plan.made.tokens,
        Uint32Array.from({ length: T * B }, (_, i) => (i * i + (i >> 2)) % 5),
      );
      outputs.push(await plan.runAndRead(plan.made.output));
      plan.dispose();
    }
    expect(outputs[1]).toEqual(outputs[0]);
    expect(outputs[2]).toEqual(outputs[0]);
    model.dispose();
  },
);

it("a block's plain step is the block's equations, its convolution over what was read before", () => {
  const [D, Di, K, T] = [3, 6, 4, 7];
  const config = { hiddenSize: D };
  const block = blockOf(minGruCell);
  const weights = Object.fromEntries(
    block.parameters(config, [D]).map(({ name, shape }, i) => [name, draw(11, i, sizeOf(shape))] as const),
  );
  const get = (name: string): Float64Array => weights[name]!;
  const product = (matrix: Float64Array, rows: number, by: ArrayLike<number>): number[] =>
    Array.from({ length: rows }, (_, row) =>
      Array.from(by).reduce((sum, value, column) => sum + matrix[row * by.length + column]! * value, 0),
    );
  const silu = (value: number): number => value / (1 + Math.exp(-value));
  const read: number[][] = [];
  let h: ArrayLike<number> = new Float64Array(Di);
  let states: Record<string, ArrayLike<number>> = Object.fromEntries(
    block.states(config).map(({ name, shape }) => [name, new Float64Array(sizeOf(shape))]),
  );
  for (let t = 0; t < T; t++) {
    const r = draw(12, t, D);
    const norm = Math.sqrt(r.reduce((sum, value) => sum + value ** 2, 0) / D + 1e-5);
    const xz = product(
      get("mixer.in_proj.weight"),
      2 * Di,
      r.map((value, i) => (value / norm) * get("norm.weight")[i]!),
    );
    read.push(xz.slice(0, Di));
    const u = Array.from({ length: Di }, (_, c) => {
      let sum = get("mixer.conv1d.bias")[c]!;
      // The newest input meets the last weight.
      for (let back = 0; back < K; back++) sum += get("mixer.conv1d.weight")[c * K + K - 1 - back]! * (read[t - back]?.[c] ?? 0);
      return silu(sum);
    });
    const { weight_ih, bias_ih } = Object.fromEntries(
      ["weight_ih", "bias_ih"].map((name) => [name, weights[`mixer.${minGruCell.block?.names[name] ?? name}`]!]),
    );
    h = minGruCell.step({ hiddenSize: Di }, { weight_ih: weight_ih!, bias_ih: bias_ih! }, u, { h }).h!;
    const added = product(
      get("mixer.out_proj.weight"),
      D,
      Array.from(h, (value, c) => value * silu(xz[Di + c]!)),
    );
    const made = block.step(config, weights, r, states);
    expect(made.output).toHaveLength(D);
    added.forEach((value, i) => expect(made.output![i]!, `step ${t}`).toBeCloseTo(r[i]! + value, 12));
    states = { ...made };
  }
});

// The door to Hugging Face's transformers, against files and logits that it made itself: fixtures/make_transformers.py.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { logitsOf } from "../../bench/pytorch/logits.ts";
import { CharTokenizer } from "../../src/data/tokenizer.ts";
import { GatewiseError } from "../../src/errors.ts";
import { fromTransformers, toTransformers, type TransformersFiles } from "../../src/interop/transformers.ts";
import { CELL_NAMES } from "../../src/models/cells.ts";
import { LanguageModel } from "../../src/models/language-model.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { loadCheckpoint, modelFromCheckpoint, saveCheckpoint, type Checkpoint } from "../../src/training/checkpoint.ts";
import { readSafetensors, writeSafetensors, type NamedTensor } from "../../src/training/safetensors.ts";
import { Trainer } from "../../src/training/trainer.ts";

const device = await openDevice({ prefer: "cpu" });
afterAll(() => device.dispose());

const FOLDER = "test/fixtures/transformers";
const text = "hello world! ".repeat(60);
const tokenizer = CharTokenizer.fromText("hello world!\n,");
const saved: TransformersFiles = {
  "config.json": readFileSync(`${FOLDER}/config.json`, "utf8"),
  "model.safetensors": new Uint8Array(readFileSync(`${FOLDER}/model.safetensors`)),
  "tokenizer.json": JSON.stringify(tokenizer),
};
const made = readSafetensors(readFileSync(`${FOLDER}/logits.safetensors`));
const weights = readSafetensors(saved["model.safetensors"]);
const EMBEDDING = "backbone.embeddings.weight";

const withConfig = (fields: object): TransformersFiles => ({
  ...saved,
  "config.json": JSON.stringify({ ...JSON.parse(saved["config.json"]), ...fields }),
});
const withTensors = (tensors: Record<string, NamedTensor | undefined>): TransformersFiles => ({
  ...saved,
  "model.safetensors": writeSafetensors({
    tensors: Object.fromEntries(
      Object.entries({ ...weights.tensors, ...tensors }).flatMap(([name, tensor]) => (tensor ? [[name, tensor]] : [])),
    ),
    metadata: { format: "pt" },
  }),
});

/** A checkpoint of a model of all defaults, for 20 units of which a step's rank is 2. */
const plain = await (async (): Promise<Uint8Array> => {
  using model = LanguageModel.create(device, { cell: "mamba", vocabSize: tokenizer.size, hiddenSize: 20, numLayers: 2, seed: 3 });
  return await saveCheckpoint(model, { tokenizer });
})();

/** The relative distance (L2) of a model's logits from those of transformers. */
async function distance(checkpoint: Checkpoint): Promise<number> {
  const { tokens, logits } = made.tensors;
  const [T, B] = tokens!.shape as [number, number];
  const model = modelFromCheckpoint(device, checkpoint);
  const own = await logitsOf(model, Uint32Array.from(tokens!.data), T, B);
  model.dispose();
  const norm = (of: (i: number) => number): number => Math.hypot(...Array.from(logits!.data, (_, i) => of(i)));
  expect(own).toHaveLength(logits!.data.length);
  return norm((i) => own[i]! - logits!.data[i]!) / norm((i) => logits!.data[i]!);
}

describe("a model that transformers saved", () => {
  it("was made by the script beside it", () => {
    const script = readFileSync("test/fixtures/make_transformers.py");
    expect(made.metadata).toMatchObject({
      script: createHash("sha256").update(script).digest("hex"),
      transformers: expect.stringMatching(/^5\./),
      torch: expect.stringMatching(/^2\./),
    });
  });

  it("gives the logits here that it gave there", async () => {
    const checkpoint = fromTransformers(saved);
    expect(checkpoint).toMatchObject({ training: undefined, device: undefined });
    expect(checkpoint.config).toMatchObject({ vocabSize: 11, hiddenSize: 8, embeddingSize: 8, numLayers: 2, input: "embedding" });
    expect(await distance(checkpoint)).toBeLessThan(1e-5);
  });

  it("gives others with any of its tensors a tenth larger, so that all take part", async () => {
    const checkpoint = fromTransformers(saved);
    for (const [name, { shape, data }] of Object.entries(checkpoint.tensors)) {
      const tensors = { ...checkpoint.tensors, [name]: { shape, data: data.map((x) => 1.1 * x) } };
      expect(await distance({ ...checkpoint, tensors }), name).toBeGreaterThan(1e-4);
    }
  });

  it("writes text, and trains on", async () => {
    const model = modelFromCheckpoint(device, fromTransformers(saved));
    expect(await model.sample(tokenizer, { prompt: "he", length: 9, seed: 1 })).toHaveLength(11);
    const trainer = Trainer.create(model, tokenizer.encode(text), {
      batchSize: 4,
      seqLen: 12,
      learningRate: 0.02,
      tokenizer,
      logInterval: 1,
    });
    const losses: number[] = [];
    for await (const event of trainer.run({ maxSteps: 25 })) if (event.event === "step") losses.push(event.loss);
    expect(losses.at(-1)).toBeLessThan(0.5 * losses[0]!);
    trainer.dispose();
    model.dispose();
  });

  it("is the same in float64, and near in half precision", async () => {
    const exact = fromTransformers(saved).tensors;
    const inFormat = (
      dtype: string,
      size: number,
      write: (file: Buffer, x: number, at: number) => void,
    ): Checkpoint["tensors"] => {
      const entries = Object.entries(exact);
      let at = 0;
      const header: Record<string, object> = {};
      for (const [name, { shape, data }] of entries)
        header[name] = { dtype, shape, data_offsets: [at, (at += size * data.length)] };
      const json = Buffer.from(JSON.stringify(header));
      const file = Buffer.alloc(8 + json.length + at);
      file.writeBigUInt64LE(BigInt(json.length));
      json.copy(file, 8);
      let to = 8 + json.length;
      for (const [, { data }] of entries)
        for (const x of data) {
          write(file, x, to);
          to += size;
        }
      return fromTransformers({ ...saved, "model.safetensors": file }).tensors;
    };
    expect(inFormat("F64", 8, (file, x, at) => file.writeDoubleLE(x, at))).toEqual(exact);
    // The upper half of a float32: eight bits of mantissa.
    const cut = inFormat("BF16", 2, (file, x, at) => {
      const whole = Buffer.alloc(4);
      whole.writeFloatLE(x);
      whole.copy(file, at, 2);
    });
    for (const [name, { data }] of Object.entries(cut))
      data.forEach((x, i) =>
        expect(Math.abs(x - exact[name]!.data[i]!)).toBeLessThanOrEqual(2 ** -7 * Math.abs(exact[name]!.data[i]!)),
      );
  });

  it("may have its head, where that is its embedding", () => {
    const head = weights.tensors[EMBEDDING]!;
    expect(fromTransformers(withTensors({ "lm_head.weight": head }))).toEqual(fromTransformers(saved));
    const other = { ...head, data: head.data.map((x, i) => (i === 5 ? x + 1 : x)) };
    for (const each of [other, { shape: [8, 11], data: head.data }, { shape: [1], data: Float32Array.of(1) }])
      expect(() => fromTransformers(withTensors({ "lm_head.weight": each }))).toThrow(
        "model.safetensors: lm_head.weight must be left out, or the same as backbone.embeddings.weight",
      );
  });

  const A = "backbone.layers.1.mixer.A_log";
  const cases: [name: string, code: string, message: string, files: () => object][] = [
    [
      "of another type",
      "E_CONFIG",
      'config.json: model_type must be mamba, got "llama"',
      () => withConfig({ model_type: "llama" }),
    ],
    [
      "of no type",
      "E_CONFIG",
      "config.json: model_type must be mamba, got undefined",
      () => withConfig({ model_type: undefined }),
    ],
    [
      "without a head",
      "E_CONFIG",
      'config.json: architectures must be ["MambaForCausalLM"], got ["MambaModel"]',
      () => withConfig({ architectures: ["MambaModel"] }),
    ],
    [
      "with biases",
      "E_CONFIG",
      "config.json: use_bias must be false, as in every model here, got true",
      () => withConfig({ use_bias: true }),
    ],
    ["without the convolution's", "E_CONFIG", "use_conv_bias must be true", () => withConfig({ use_conv_bias: false })],
    [
      "with another epsilon",
      "E_CONFIG",
      "layer_norm_epsilon must be 0.00001, as in every model here, got 0.000001",
      () => withConfig({ layer_norm_epsilon: 1e-6 }),
    ],
    [
      "with another activation",
      "E_CONFIG",
      'hidden_act must be silu, as in every model here, got "gelu"',
      () => withConfig({ hidden_act: "gelu" }),
    ],
    ["with a head of its own", "E_CONFIG", "tie_word_embeddings must be true", () => withConfig({ tie_word_embeddings: false })],
    ["without a size", "E_CONFIG", "config.json: hidden_size is missing", () => withConfig({ hidden_size: undefined })],
    [
      "with too many layers",
      "E_CONFIG",
      "config.json: num_hidden_layers must be an integer from 1 to 64, got 65",
      () => withConfig({ num_hidden_layers: 65 }),
    ],
    [
      "without states",
      "E_CONFIG",
      "config.json: state_size must be an integer from 1 to 256, got 0",
      () => withConfig({ state_size: 0 }),
    ],
    [
      "whose kernel is a word",
      "E_CONFIG",
      'config.json: conv_kernel must be an integer from 2 to 16, got "4"',
      () => withConfig({ conv_kernel: "4" }),
    ],
    [
      "of other shapes than it says",
      "E_BAD_CHECKPOINT",
      'model.safetensors does not hold the model that config.json describes: "backbone.layers.0.mixer.x_proj.weight" must be [12, 24], got [10, 24]',
      () => withConfig({ state_size: 5 }),
    ],
    ["with fewer tensors", "E_BAD_CHECKPOINT", `missing "${A}" [24, 4]`, () => withTensors({ [A]: undefined })],
    [
      "with more tensors",
      "E_BAD_CHECKPOINT",
      'left over "x.bias" [1]',
      () => withTensors({ "x.bias": { shape: [1], data: Float32Array.of(1) } }),
    ],
    [
      "with a tensor of another shape",
      "E_BAD_CHECKPOINT",
      `"${A}" must be [24, 4], got [4, 24]`,
      () => withTensors({ [A]: { shape: [4, 24], data: weights.tensors[A]!.data } }),
    ],
    [
      "cut short",
      "E_BAD_CHECKPOINT",
      "cut short",
      () => ({ ...saved, "model.safetensors": saved["model.safetensors"].subarray(0, 9000) }),
    ],
    [
      "whose configuration is no JSON",
      "E_BAD_CHECKPOINT",
      "config.json is damaged: it is not JSON",
      () => ({ ...saved, "config.json": "{" }),
    ],
    [
      "whose configuration is a list",
      "E_BAD_CHECKPOINT",
      "config.json must be an object, got an array of 0",
      () => ({ ...saved, "config.json": "[]" }),
    ],
    [
      "without a tokenizer",
      "E_CONFIG",
      "tokenizer.json is missing: give a tokenizer of 11 tokens",
      () => ({ ...saved, "tokenizer.json": undefined }),
    ],
    [
      "with a tokenizer of another size",
      "E_CONFIG",
      "tokenizer.json has 3 tokens, the model 11",
      () => ({ ...saved, "tokenizer.json": JSON.stringify(CharTokenizer.fromText("abc")) }),
    ],
    [
      "with a tokenizer of transformers' own",
      "E_CONFIG",
      "tokenizer.json must be a tokenizer of Gatewise's",
      () => ({ ...saved, "tokenizer.json": '{"version":"1.0","model":{"type":"BPE","vocab":{}}}' }),
    ],
    [
      "with a tokenizer that is no JSON",
      "E_CONFIG",
      "--tokenizer FILE, or --data TEXT",
      () => ({ ...saved, "tokenizer.json": "abc" }),
    ],
    [
      "under another name",
      "E_CONFIG",
      'unknown option "config_json"; did you mean "config.json"?',
      () => ({ ...saved, config_json: "" }),
    ],
  ];
  it.each(cases)("%s is refused, and why is said", (_, code, message, files) => {
    const refused = expect.objectContaining({ name: "GatewiseError", code, message: expect.stringContaining(message) });
    expect(() => fromTransformers(files() as TransformersFiles)).toThrow(refused);
  });

  it("whose fields are left out where transformers has the same defaults is read", () => {
    const config = JSON.parse(saved["config.json"]);
    for (const name of ["architectures", "hidden_act", "layer_norm_epsilon", "tie_word_embeddings", "use_bias", "use_conv_bias"])
      delete config[name];
    expect(fromTransformers({ ...saved, "config.json": JSON.stringify(config) })).toEqual(fromTransformers(saved));
    const model = toTransformers(loadCheckpoint(plain));
    const sizes = JSON.parse(model["config.json"]);
    for (const name of ["state_size", "conv_kernel", "expand", "time_step_rank"]) delete sizes[name];
    expect(fromTransformers({ ...model, "config.json": JSON.stringify(sizes) }).tensors).toEqual(fromTransformers(model).tensors);
  });
});

describe("a model for transformers", () => {
  const checkpoint = loadCheckpoint(plain);

  it("says what it is in transformers' words", () => {
    const files = toTransformers(checkpoint);
    expect(Object.keys(files)).toEqual(["config.json", "model.safetensors", "tokenizer.json"]);
    expect(JSON.parse(files["config.json"])).toEqual({
      architectures: ["MambaForCausalLM"],
      model_type: "mamba",
      vocab_size: 11,
      hidden_size: 20,
      num_hidden_layers: 2,
      expand: 2,
      conv_kernel: 4,
      state_size: 16,
      time_step_rank: 2,
      intermediate_size: 40,
      hidden_act: "silu",
      layer_norm_epsilon: 1e-5,
      tie_word_embeddings: true,
      use_bias: false,
      use_conv_bias: true,
      residual_in_fp32: true,
      dtype: "float32",
      bos_token_id: null,
      eos_token_id: null,
      pad_token_id: null,
    });
    expect(JSON.parse(files["tokenizer.json"])).toEqual({
      kind: "char",
      codePoints: tokenizer.characters.map((c) => c.codePointAt(0)),
    });
    expect(readSafetensors(files["model.safetensors"]).metadata).toEqual({ format: "pt" });
  });

  it("has the tensors that transformers gives such a model", () => {
    const { tensors } = readSafetensors(toTransformers(checkpoint)["model.safetensors"]);
    expect(Object.keys(tensors).sort()).toEqual(Object.keys(weights.tensors).sort());
  });

  it("comes back as it went, without its run", async () => {
    const model = modelFromCheckpoint(device, checkpoint);
    const trainer = Trainer.create(model, tokenizer.encode(text), { batchSize: 2, seqLen: 5, tokenizer });
    for await (const _ of trainer.run({ maxSteps: 2 }));
    const whole = loadCheckpoint(await saveCheckpoint(trainer));
    trainer.dispose();
    model.dispose();
    const back = fromTransformers(toTransformers(whole));
    expect({ ...back.config, timeStepRank: undefined }).toEqual({ ...whole.config, timeStepRank: undefined });
    expect(back.tokenizer).toEqual(tokenizer);
    const own = Object.entries(whole.tensors).filter(([name]) => name.startsWith("backbone."));
    expect(own.length).toBeLessThan(Object.keys(whole.tensors).length);
    expect(back.tensors).toEqual(Object.fromEntries(own));
  });

  it.each(CELL_NAMES.filter((cell) => cell !== "mamba"))("is none of the cell %s", async (cell) => {
    const other = LanguageModel.create(device, { cell, vocabSize: tokenizer.size, hiddenSize: 4 });
    const file = await saveCheckpoint(other, { tokenizer });
    other.dispose();
    const message = expect.stringMatching(`^transformers has no model of the cell ${cell}, only of mamba; `);
    expect(() => toTransformers(loadCheckpoint(file))).toThrow(expect.objectContaining({ code: "E_CONFIG", message }));
  });
});

it("files changed at random are read or refused, and nothing else", () => {
  const parse = (of: string): Record<string, unknown> => JSON.parse(of) as Record<string, unknown>;
  const config = parse(saved["config.json"]);
  const change = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 }));
  const odd = fc.oneof(
    fc.jsonValue(),
    fc.integer({ min: -1, max: 300 }),
    fc.constantFrom(1e300, 2 ** 53, 0.5, "auto", "mamba", [], {}),
  );
  const mutated = fc.oneof(
    fc.tuple(fc.constantFrom(...Object.keys(config)), odd).map(([name, value]) => withConfig({ [name]: value })),
    fc.jsonValue().map((value) => ({ ...saved, "config.json": JSON.stringify(value) })),
    fc.array(change, { minLength: 1, maxLength: 4 }).map((changes) => {
      const file = saved["model.safetensors"].slice();
      for (const [at, byte] of changes) file[at % (at % 2 === 0 ? 2500 : file.length)] = byte;
      return { ...saved, "model.safetensors": file };
    }),
    fc
      .nat(saved["model.safetensors"].length)
      .map((end) => ({ ...saved, "model.safetensors": saved["model.safetensors"].slice(0, end) })),
    fc.constantFrom(...Object.keys(saved)).chain((name) => odd.map((value) => ({ ...saved, [name]: value }))),
    odd.map((value) => ({ ...saved, "tokenizer.json": JSON.stringify(value) })),
  );
  let read = 0;
  let refused = 0;
  fc.assert(
    fc.property(mutated, (files) => {
      try {
        modelFromCheckpoint(device, fromTransformers(files as TransformersFiles)).dispose();
        read++;
      } catch (error) {
        expect(error).toBeInstanceOf(GatewiseError);
        expect((error as GatewiseError).code).toMatch(/^E_(CONFIG|DATA|BAD_CHECKPOINT)$/);
        refused++;
      }
    }),
    { numRuns: 400 },
  );
  expect(Math.min(read, refused)).toBeGreaterThan(20);
});

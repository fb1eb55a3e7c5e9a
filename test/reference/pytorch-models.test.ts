// Models that PyTorch made and trained (test/fixtures/make_models.py): what they compute, and how their training goes on.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { logitsOf } from "../../bench/pytorch/logits.ts";
import { CharTokenizer } from "../../src/data/tokenizer.ts";
import { exportPyTorch, importTensors, type ImportOptions, type ModelFiles } from "../../src/interop/index.ts";
import { PYTORCH } from "../../src/interop/layouts.ts";
import { cellForms, cellOf, inBlock } from "../../src/models/cells.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { modelFromCheckpoint, resumeTrainer, type Checkpoint } from "../../src/training/checkpoint.ts";
import { readSafetensors, writeSafetensors, type NamedTensor } from "../../src/training/safetensors.ts";

const device = await openDevice({ prefer: "cpu" });
afterAll(() => device.dispose());
const made = readSafetensors(readFileSync("test/fixtures/models.safetensors"));
const configs = JSON.parse(made.metadata.configs!) as Record<string, object>;
const forms = Object.keys(configs);

type Tensors = Readonly<Record<string, NamedTensor>>;
/** The tensors of a form whose names begin so, without that. */
const under = (form: string, beginning: string): Tensors =>
  Object.fromEntries(
    Object.entries(made.tensors).flatMap(([name, tensor]) => {
      const start = `${form}/${beginning}`;
      return name.startsWith(start) ? [[name.slice(start.length), tensor]] : [];
    }),
  );
const filesOf = (form: string, model: Tensors = under(form, "model/")): ModelFiles => ({
  "config.json": JSON.stringify(configs[form]),
  "tokenizer.json": made.metadata.tokenizer!,
  "model.safetensors": writeSafetensors({ tensors: model }),
  "optimizer.safetensors": writeSafetensors({ tensors: under(form, "optimizer/") }),
});

/** The relative distance (L2) of a model's logits from those of PyTorch. */
async function distance(form: string, checkpoint: Checkpoint): Promise<number> {
  const { tokens, logits } = under(form, "") as Record<"tokens" | "logits", NamedTensor>;
  const [T, B] = tokens.shape as [number, number];
  const model = modelFromCheckpoint(device, checkpoint);
  const own = await logitsOf(model, Uint32Array.from(tokens.data), T, B);
  model.dispose();
  expect(own).toHaveLength(logits.data.length);
  return Math.hypot(...logits.data.map((x, i) => own[i]! - x)) / Math.hypot(...logits.data);
}

it("were made by the script beside them, one of each form", () => {
  const script = readFileSync("test/fixtures/make_models.py");
  expect(made.metadata).toMatchObject({
    script: createHash("sha256").update(script).digest("hex"),
    torch: expect.stringMatching(/^2\./),
  });
  expect([...forms].sort()).toEqual(Object.keys(cellForms()).sort());
  expect([...forms].sort()).toEqual(Object.keys(PYTORCH.cells).sort());
});

describe.each(forms)("%s of PyTorch", (form) => {
  const checkpoint = importTensors(filesOf(form));

  it("gives the logits here that it gave there", async () => {
    expect(cellForms()[form]).toMatchObject({ cell: checkpoint.config.cell });
    expect(await distance(form, checkpoint)).toBeLessThan(1e-5);
  });

  it("gives others with any of its tensors a tenth larger, so that all take part", async () => {
    for (const [name, { shape, data }] of Object.entries(under(form, "model/"))) {
      const tensors = { ...checkpoint.tensors, [name]: { shape, data: data.map((x) => 1.1 * x) } };
      expect(await distance(form, { ...checkpoint, tensors }), name).toBeGreaterThan(1e-4);
    }
  });

  it("has the gates, matrices and biases that the table of layouts says", async () => {
    const { gates } = PYTORCH.cells[form]!;
    const { gates: own } = cellOf(checkpoint.config);
    // Kept is sigma(f) / (sigma(f) + sigma(i)), where PyTorch's row is f.
    if (own.length > 0 && gates.length > 0) expect(own.map((gate) => gate.replace("f′", "f"))).toEqual(gates);
    const named = Object.entries(under(form, "model/")).filter(([name]) =>
      /_hh_l0$|to_hidden.*layers\.0|layers\.0.*to_hidden/.test(name),
    );
    for (const [name, { shape, data }] of named) {
      const rows = shape[0]! / gates.length;
      expect(Number.isInteger(rows), name).toBe(true);
      // Two gates that changed places are another cell.
      const size = data.length / gates.length;
      for (let gate = 1; gate < gates.length; gate++) {
        const swapped = data.slice();
        swapped.set(data.subarray(0, size), gate * size);
        swapped.set(data.subarray(gate * size, (gate + 1) * size), 0);
        const tensors = { ...checkpoint.tensors, [name]: { shape, data: swapped } };
        expect(await distance(form, { ...checkpoint, tensors }), `${name}: ${gates[0]} and ${gates[gate]}`).toBeGreaterThan(1e-3);
      }
    }
    if (inBlock(checkpoint.config)) return;
    const { hiddenSize: H } = checkpoint.config;
    const weights = under(form, "model/rnn.");
    expect(PYTORCH).toMatchObject({ matrices: "outputs × inputs", biases: 2 });
    expect(weights["weight_hh_l0"]!.shape).toEqual([gates.length * H, H]);
    for (const bias of ["bias_ih_l0", "bias_hh_l0"]) expect(weights[bias]!.shape).toEqual([gates.length * H]);
  });

  it("trains on for twenty steps as it does there", async () => {
    const expected = under(form, "").losses!.data;
    const model = modelFromCheckpoint(device, checkpoint);
    const tokens = checkpoint.tokenizer.encode(made.metadata.text!);
    const trainer = resumeTrainer(model, tokens, checkpoint, { totalSteps: 25 });
    const losses: number[] = [];
    for await (const event of trainer.run({ maxSteps: 25 })) if (event.event === "step") losses.push(event.loss);
    trainer.dispose();
    model.dispose();
    expect(losses).toHaveLength(20);
    losses.forEach((loss, i) => expect(Math.abs(loss - expected[i]!), `step ${6 + i}`).toBeLessThan(1e-4));
  });

  it("goes back as it came", () => {
    const files = exportPyTorch(checkpoint);
    expect(readSafetensors(files["model.safetensors"]).tensors).toEqual(under(form, "model/"));
    const moments = readSafetensors(files["optimizer.safetensors"]!).tensors;
    expect(Object.keys(moments).sort()).toEqual(Object.keys(under(form, "optimizer/")).sort());
    expect(moments).toEqual(under(form, "optimizer/"));
    const { optimizer, state, training } = JSON.parse(files["config.json"]);
    const there = configs[form] as { optimizer: object; state: object; training: { step: number; data: object } };
    expect({ optimizer, state }).toEqual({ optimizer: there.optimizer, state: there.state });
    expect(training).toMatchObject({ step: there.training.step, data: there.training.data });
    expect(importTensors(files)).toEqual(checkpoint);
  });

  it("is known from its tensors alone, where flags say what they cannot", async () => {
    const { nonlinearity, resetAfter } = checkpoint.config;
    const said: ImportOptions = { nonlinearity, resetAfter, tokenizer: checkpoint.tokenizer };
    const { config, tensors } = importTensors({ "any.safetensors": filesOf(form)["model.safetensors"] }, said);
    const sizes = [
      "cell",
      "input",
      "vocabSize",
      "hiddenSize",
      "numLayers",
      "nonlinearity",
      "resetAfter",
      "expand",
      "convSize",
      "stateSize",
    ] as const;
    for (const name of sizes) expect(config[name], name).toEqual(checkpoint.config[name]);
    expect(tensors).toEqual(under(form, "model/"));
  });
});

/** PyTorch's own names of a language model, and others that people give: what each is here. */
describe("a model's tensors, whatever their modules are called:", () => {
  const tokenizer = CharTokenizer.fromJSON(JSON.parse(made.metadata.tokenizer!));
  const lstm = under("lstm", "model/");
  const renamed = (change: (name: string) => string, from: Tensors = lstm): Tensors =>
    Object.fromEntries(Object.entries(from).map(([name, tensor]) => [change(name), tensor]));
  const read = (tensors: Tensors, options: ImportOptions = {}): Checkpoint =>
    importTensors({ "model.safetensors": writeSafetensors({ tensors }) }, { tokenizer, ...options });
  const as = (embedding: string, rnn: string, head: string) => (name: string) =>
    name.replace("embedding", embedding).replace("rnn", rnn).replace("head", head);

  it.each<[string, (name: string) => string]>([
    ["those of DistributedDataParallel", (name) => `module.${name}`],
    ["those of torch.compile within it", (name) => `module._orig_mod.${name}`],
    ["those of a compiled layer", (name) => name.replace("rnn.", "rnn._orig_mod.")],
    ["those of Lightning", (name) => `model.net.${name}`],
    ["those of PyTorch's word_language_model", as("encoder", "rnn", "decoder")],
    ["others", as("char_embeddings", "layers.recurrent", "out.linear")],
    ["numbers", as("0", "1", "2")],
  ])("%s", (_, change) => {
    const { config, tensors } = read(renamed(change));
    expect(config).toMatchObject({ cell: "lstm", input: "embedding", hiddenSize: 7, embeddingSize: 5, numLayers: 2 });
    expect(tensors).toEqual(lstm);
  });

  const one = { shape: [1], data: Float32Array.of(1) };
  const without = (...names: string[]): Tensors =>
    Object.fromEntries(Object.entries(lstm).filter(([name]) => !names.includes(name)));

  it("the head may be the embedding, left out or there twice, and biases may be missing", () => {
    const rest = without("rnn.weight_ih_l0", "embedding.weight", "head.weight");
    const V = tokenizer.size;
    const table = { shape: [V, 7], data: Float32Array.from({ length: 7 * V }, (_, i) => i / 10) };
    const wide = { shape: [28, 7], data: Float32Array.from({ length: 196 }, (_, i) => Math.sin(i)) };
    const untied = { ...rest, "rnn.weight_ih_l0": wide };
    const expected = { ...untied, "embedding.weight": table, "head.weight": table };
    for (const tied of [["embedding.weight"], ["head.weight"], ["embedding.weight", "head.weight"]])
      expect(read({ ...untied, ...Object.fromEntries(tied.map((name) => [name, table])) }).tensors).toEqual(expected);
    const bare = Object.fromEntries(Object.entries(lstm).filter(([name]) => !name.includes("bias")));
    const zeros = Object.fromEntries(
      Object.entries(lstm).map(([name, { shape, data }]) => [
        name,
        name.includes("bias") ? { shape, data: data.map(() => 0) } : { shape, data },
      ]),
    );
    expect(read(bare).tensors).toEqual(zeros);
  });

  const gru = under("gru", "model/");
  const cases: [name: string, code: string, message: string, tensors: Tensors, options?: ImportOptions][] = [
    [
      "of an LSTM with a projection",
      "E_CONFIG",
      '"rnn.weight_hr_l0" is the projection of an LSTM (proj_size)',
      { ...lstm, "rnn.weight_hr_l0": { shape: [3, 7], data: new Float32Array(21) } },
    ],
    [
      "of two directions",
      "E_BAD_CHECKPOINT",
      'left over "rnn.weight_ih_l0_reverse" [28, 5]',
      { ...lstm, "rnn.weight_ih_l0_reverse": lstm["rnn.weight_ih_l0"]! },
    ],
    ["with one more", "E_BAD_CHECKPOINT", 'left over "norm.weight" [1]', { ...lstm, "norm.weight": one, "norm.bias": one }],
    ["with one less", "E_BAD_CHECKPOINT", 'missing "rnn.bias_hh_l1" [28]', without("rnn.bias_hh_l1")],
    [
      "with a layer less, and one more elsewhere",
      "E_BAD_CHECKPOINT",
      'missing "rnn.weight_ih_l1" [28, 7]; left over "gamma" [1]',
      { ...without("rnn.weight_ih_l1"), gamma: one },
    ],
    ["without a recurrent layer", "E_BAD_CHECKPOINT", "no tensor is a recurrent layer's", { "fc.weight": lstm["head.weight"]! }],
    [
      "of two recurrent layers",
      "E_BAD_CHECKPOINT",
      'several recurrent layers side by side, "rnn.", "other."',
      { ...lstm, "other.weight_ih_l0": one },
    ],
    ["without a head", "E_BAD_CHECKPOINT", "missing", without("head.weight", "head.bias")],
    [
      "whose first name says no matrix",
      "E_BAD_CHECKPOINT",
      '"rnn.weight_hh_l0" must be a matrix, got [1]',
      { ...lstm, "rnn.weight_hh_l0": one },
    ],
    [
      "of a gate too many",
      "E_BAD_CHECKPOINT",
      "has 5 gates, as no cell of torch.nn",
      { ...lstm, "rnn.weight_hh_l0": { shape: [35, 7], data: new Float32Array(245) } },
    ],
    [
      "said to be another cell",
      "E_CONFIG",
      'cell must be lstm, got "gru": "rnn.weight_hh_l0" [28, 7] has 4 gates',
      lstm,
      { cell: "gru" },
    ],
    [
      "of a GRU, where nobody says of which form",
      "E_CONFIG",
      "the file cannot tell resetAfter: true or false (--gru-reset after|before)",
      gru,
    ],
    ["without its characters", "E_CONFIG", "the file cannot tell which character each token is", lstm, { tokenizer: undefined }],
    [
      "with other characters",
      "E_CONFIG",
      "tokenizer.json has 3 tokens, the model",
      lstm,
      { tokenizer: CharTokenizer.fromText("abc") },
    ],
    [
      "with a name twice",
      "E_BAD_CHECKPOINT",
      '"rnn.weight_ih_l0" is there twice',
      { ...lstm, "module.rnn.weight_ih_l0": lstm["rnn.weight_ih_l0"]! },
    ],
    [
      "called as what objects have",
      "E_BAD_CHECKPOINT",
      'left over "__proto__" [1]',
      Object.fromEntries([...Object.entries(lstm), ["__proto__", one]]),
    ],
  ];
  it.each(cases)("%s, are refused", (_, code, message, tensors, options) => {
    const error = expect.objectContaining({ name: "GatewiseError", code, message: expect.stringContaining(message) });
    expect(() => read(tensors, options)).toThrow(error);
  });

  it("a checkpoint of Gatewise's own among them is that", () => {
    const checkpoint = importTensors(filesOf("gru"));
    const { "config.json": config } = exportPyTorch(checkpoint);
    expect(JSON.parse(config)).toMatchObject({ format: "gatewise-pytorch", version: 1 });
  });
});

describe("a folder for PyTorch is refused", () => {
  const files = filesOf("gru");
  const config = configs.gru as { model: object; training: { options: object } };
  const changed = (change: object): ModelFiles => ({ ...files, "config.json": JSON.stringify({ ...config, ...change }) });
  const bad = "E_BAD_CHECKPOINT";
  it.each<[string, string, string, ModelFiles, ImportOptions?]>([
    ["of a later version", bad, "config.json: version must be 1, got 2", changed({ version: 2 })],
    [
      "whose model is none",
      bad,
      "model in config.json is damaged: cell must be one of",
      changed({ model: { ...config.model, cell: "x" } }),
    ],
    ["whose model is not there", bad, "model in config.json is damaged", changed({ model: undefined })],
    [
      "whose training is damaged",
      bad,
      "training in config.json is damaged: step is",
      changed({ training: { ...config.training, step: "3" } }),
    ],
    [
      "with more layers than it says",
      bad,
      'left over "rnn.bias_hh_l2" [21], "rnn.bias_ih_l2" [21], "rnn.weight_hh_l2" [21, 7], "rnn.weight_ih_l2" [21, 7] and 8 more',
      changed({ model: { ...config.model, numLayers: 2 } }),
    ],
    [
      "with fewer layers than it says",
      bad,
      'missing "rnn.weight_ih_l3" [21, 7]',
      changed({ model: { ...config.model, numLayers: 4 } }),
    ],
    ["without its optimizer", bad, "optimizer.safetensors is missing", { ...files, "optimizer.safetensors": undefined }],
    ["without its tokenizer", "E_CONFIG", "tokenizer.json is missing", { ...files, "tokenizer.json": undefined }],
    [
      "said to be another cell",
      "E_CONFIG",
      'cell must be "gru", as config.json says, or be left out, got "lstm"',
      files,
      { cell: "lstm" },
    ],
    ["of no tensors", bad, "there is no .safetensors file", { ...files, "model.safetensors": undefined }],
  ])("%s", (_, code, message, given, options) => {
    expect(() => importTensors(given, options)).toThrow(
      expect.objectContaining({ name: "GatewiseError", code, message: expect.stringContaining(message) }),
    );
  });
});

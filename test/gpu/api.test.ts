// Every public function, as src/index.ts and src/interop/index.ts export it: what it is given wrongly, in overlapping calls, and after dispose.
// A function or an option without a description of its inputs fails the first tests of each part.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import * as api from "../../src/index.ts";
import * as interop from "../../src/interop/index.ts";
import { testDevice } from "./device.ts";

const TEXT = "abcab bca; ".repeat(14);
const tokenizer = api.CharTokenizer.fromText(TEXT);
const V = tokenizer.size;
const words = api.WordTokenizer.fromText(TEXT, { vocabSize: 260 });
const pieces = api.BpeTokenizer.fromText(TEXT, { vocabSize: 260 });

/** Everything that functions are called with or on. */
interface World {
  readonly device: api.Device;
  readonly layer: api.Recurrent;
  readonly model: api.LanguageModel;
  readonly trainer: api.Trainer;
  readonly evaluator: api.Evaluator;
  readonly tokenizer: api.CharTokenizer;
  readonly file: Uint8Array;
  readonly checkpoint: api.Checkpoint;
  /** Of a model that transformers has. */
  readonly mamba: api.Checkpoint;
}

async function makeWorld(device: api.Device): Promise<World> {
  const layer = api.Recurrent.create(device, { cell: "lstm", inputSize: 2, hiddenSize: 3 });
  await layer.forward(new Float32Array(4), { T: 2, B: 1 });
  const model = api.LanguageModel.create(device, { cell: "gru", vocabSize: V, embeddingSize: 2, hiddenSize: 3 });
  const trainer = api.Trainer.create(model, tokenizer.encode(TEXT), { ...SMALL, tokenizer });
  for await (const _ of trainer.run({ maxSteps: 1 }));
  const evaluator = await api.makeEvaluator(model, tokenizer.encode(TEXT), SMALL);
  const file = await api.saveCheckpoint(trainer);
  const checkpoint = api.loadCheckpoint(file);
  return { device, layer, model, trainer, evaluator, tokenizer, file, checkpoint, mamba: await mamba };
}
const mamba = (async (): Promise<api.Checkpoint> => {
  using device = await api.openDevice({ prefer: "cpu" });
  using model = api.LanguageModel.create(device, { cell: "mamba", vocabSize: V, hiddenSize: 3 });
  return api.loadCheckpoint(await api.saveCheckpoint(model, { tokenizer }));
})();
const SMALL = { batchSize: 2, seqLen: 4, valFraction: 0.2, logInterval: 1, evalInterval: 0, sampleInterval: 0 };
function disposeWorld({ layer, model, trainer, evaluator }: World): void {
  for (const each of [evaluator, trainer, model, layer]) each.dispose();
}

/** One input: a value that is right, forms that mean the same, and values that must be refused. */
interface Kind {
  readonly valid: (world: World) => unknown;
  readonly same?: (world: World) => readonly unknown[];
  readonly wrong: (world: World) => readonly unknown[];
  /** Of an options object: its fields. */
  readonly fields?: Readonly<Record<string, Kind>>;
  readonly optional?: boolean;
}

/** A value for a failed test to show. */
const shown = (value: unknown): string =>
  String(JSON.stringify(value, (_, each: unknown) => (typeof each === "object" && each ? each : String(each)))).slice(0, 120);

const promised = (value: unknown): Promise<unknown> => Promise.resolve(value);
const thing = (valid: (world: World) => unknown): Kind => ({
  valid,
  wrong: (world) => [null, 7, "x", {}, [], promised(valid(world))],
});
const optional = (kind: Kind): Kind => ({ ...kind, optional: true });
const value = (valid: unknown, wrong: readonly unknown[]): Kind => ({
  valid: () => valid,
  wrong: () => [...wrong, null, {}, promised(valid)],
  optional: true,
});
const integer = (valid: number, least: number, most?: number): Kind =>
  value(valid, [
    least - 1,
    least + 0.5,
    NaN,
    -Infinity,
    String(valid),
    [valid],
    ...(most === undefined ? [] : [most + 1, Infinity]),
  ]);
const seed = integer(7, 0, 2 ** 32 - 1);
const part = (valid: number, ...wrong: readonly number[]): Kind =>
  value(valid, [...wrong, NaN, Infinity, -1, String(valid || 0.5)]);
const flag = (valid: boolean): Kind => value(valid, [1, 0, "true", ""]);
const word = (valid: string): Kind => value(valid, ["", `${valid}x`, 1, "toString"]);
const text = (valid: string): Kind => ({ valid: () => valid, wrong: () => [undefined, null, 7, {}, [valid], promised(valid)] });
const signal: Kind = {
  valid: () => new AbortController().signal,
  wrong: () => [null, {}, 1, "x", new AbortController()],
  optional: true,
};
const callback = (valid: () => unknown): Kind => ({ valid: () => valid, wrong: () => [null, {}, 1, "x"], optional: true });
const numbers = (length: number): Kind => {
  const valid = Float32Array.from({ length }, (_, i) => (i - 1) / 4);
  return {
    valid: () => valid,
    same: () => [[...valid], Float64Array.from(valid)],
    wrong: () => [
      "1".repeat(length),
      null,
      7,
      {},
      promised(valid),
      new BigInt64Array(length),
      new DataView(new ArrayBuffer(length)),
      [...valid.slice(1), "1"],
      [...valid.slice(1), null],
      [...valid, 0],
    ],
  };
};
const tokens: Kind = {
  valid: () => tokenizer.encode(TEXT),
  same: () => [
    [...tokenizer.encode(TEXT)],
    ...[Uint16Array, Uint8Array, Int32Array, Float64Array].map((of) => of.from(tokenizer.encode(TEXT))),
  ],
  wrong: () => [
    TEXT,
    null,
    undefined,
    7,
    {},
    promised(tokenizer.encode(TEXT)),
    new BigInt64Array(TEXT.length),
    ...[V, -1, 0.5, NaN, Infinity, "0", null, undefined].map((bad) => [...tokenizer.encode(TEXT).slice(1), bad]),
  ],
};
const stateDict = (of: (world: World) => api.LanguageModel | api.Recurrent): Kind => {
  const zeros = (world: World): Record<string, unknown> =>
    Object.fromEntries(
      of(world).parameters.specs.map(({ name, shape }) => [name, new Float32Array(shape.reduce((a, b) => a * b, 1))]),
    );
  return {
    valid: zeros,
    wrong: (world) => {
      const [[name, values], ...others] = Object.entries(zeros(world)) as [[string, Float32Array], ...[string, unknown][]];
      const rest = Object.fromEntries(others);
      const changed = [...numbers(values.length).wrong(world), undefined].map((bad) => ({ ...rest, [name]: bad }));
      return [undefined, null, 7, "x", promised(zeros(world)), {}, { ...zeros(world), other: [1] }, ...changed];
    },
  };
};
/** What is left of bytes that were transferred to another thread. */
function sentAway(file: Uint8Array): readonly unknown[] {
  const sent = file.slice();
  structuredClone(sent.buffer, { transfer: [sent.buffer] });
  return [sent, sent.buffer];
}
const bytes: Kind = {
  valid: ({ file }) => file,
  same: ({ file }) => [file.slice().buffer, new DataView(file.slice().buffer)],
  wrong: ({ file }) => [undefined, null, 7, "x", {}, [...file], promised(file), ...sentAway(file)],
};
const options = (fields: Readonly<Record<string, Kind>>, extra: Partial<Kind> = {}): Kind => ({
  fields,
  valid: (world) =>
    Object.fromEntries(Object.entries(fields).flatMap(([name, kind]) => (kind.optional ? [] : [[name, kind.valid(world)]]))),
  wrong: (world) => [
    7,
    "x",
    null,
    [],
    promised({}),
    new Map(),
    new Set(["x"]),
    ...Object.entries(fields).map(([name, kind]) => Object.create({ [name]: kind.valid(world) ?? 1 })),
  ],
  ...extra,
});

const gates = {
  cell: word("lstm"),
  dropout: part(0.1, 1),
  numLayers: integer(2, 1, 64),
  resetAfter: flag(true),
  nonlinearity: word("tanh"),
  forgetBias: value(1, [NaN, Infinity, "1"]),
  // Others have the fallback too.
  stateSize: value(16, [0, 1.5, 257, "16"]),
  timeStepRank: value(undefined, [0, 1.5, 65537, "4", 4]),
};
const modelFields = {
  ...gates,
  vocabSize: { ...integer(V, 1, 65536), optional: false },
  embeddingSize: integer(2, 1, 65536),
  hiddenSize: integer(3, 1, 65536),
  input: word("embedding"),
  orthogonal: flag(true),
  precision: word("f32"),
  expand: value(2, [0, 1.5, 17, "2"]),
  convSize: value(4, [1, 2.5, 17, "4"]),
};
const sampleFields = {
  prompt: value("ab", [7, ["a"]]),
  length: integer(5, 0),
  temperature: part(0.5),
};
const trainingFields = {
  batchSize: integer(2, 1),
  seqLen: integer(4, 1),
  totalSteps: integer(9, 1),
  optimizer: word("adam"),
  learningRate: part(0.01, 0),
  momentum: part(0.5, 1),
  weightDecay: part(0.1),
  schedule: word("constant"),
  warmupSteps: integer(1, 0),
  scheduleStart: integer(0, 0),
  clip: part(1),
  loss: word("all"),
  state: word("carry"),
  valFraction: part(0.2, 1),
  testFraction: part(0, 1),
  evalTokens: integer(5, 0),
  patience: integer(3, 0),
  seed,
  logInterval: integer(1, 0),
  evalInterval: integer(1, 0),
  sampleInterval: integer(1, 0),
  checkpointInterval: integer(1, 0),
};
const tokenizerKind = optional({ valid: () => tokenizer, wrong: () => [null, 7, "x", {}] });
const trainerOptions = options(
  {
    ...trainingFields,
    tokenizer: tokenizerKind,
    sample: optional(options(sampleFields)),
    onEvaluation: callback(() => {}),
    onCheckpoint: callback(async () => "somewhere"),
  },
  { valid: () => SMALL },
);
const device = thing((world) => world.device);
const model = thing((world) => world.model);
const codec = thing((world) => world.tokenizer);
const checkpointOf = (of: "checkpoint" | "mamba", name: string): Kind => ({
  valid: (world) => world[of],
  wrong: (world) => {
    const { [of]: checkpoint } = world;
    const { config, training, tensors } = checkpoint;
    const bias = tensors[name]!;
    return [
      ...thing(() => checkpoint).wrong(world),
      ...[null, {}, "x", { ...config, cell: "toString" }, { ...config, numLayers: 1e9 }].map((config) => ({
        ...checkpoint,
        config,
      })),
      ...[{}, "x", { ...training, step: "3" }, { ...training, options: null }].map((training) => ({ ...checkpoint, training })),
      ...[null, {}, { ...bias, data: undefined }, { ...bias, data: [...bias.data] }, { ...bias, data: bias.data.slice(1) }].map(
        (changed) => ({ ...checkpoint, tensors: { ...tensors, [name]: changed } }),
      ),
      { ...checkpoint, tensors: null },
    ];
  },
});
const checkpoint = checkpointOf("checkpoint", "head.bias");
/** A file of those that transformers writes. */
const fileOf = (name: keyof interop.TransformersFiles): Kind => ({
  valid: ({ mamba }) => interop.toTransformers(mamba)[name],
  wrong: (world) => [null, 7, "x", {}, [], ...(name === "model.safetensors" ? bytes : text("x")).wrong(world)],
});
const ofSampling = {
  ...sampleFields,
  topK: integer(2, 0),
  topP: part(0.5, 0, 1.1),
  seed,
  count: integer(1, 1, 65536),
  signal,
  onText: callback(() => {}),
};
const sampling = options(ofSampling);
const vocabulary = optional(options({ vocabSize: integer(300, 256, 65_536) }));
const schedule: Kind = {
  valid: () => ({ learningRate: 0.01, schedule: "cosine", warmupSteps: 1, totalSteps: 9 }),
  wrong: () => [undefined, null, 7, "x", {}, [], promised({})],
};
const given: Kind = { valid: () => undefined, wrong: () => [], optional: true };
const sized = { batchSize: 2, seqLen: 4 };

/** What each public function takes; `on` names the object that must be alive for it. */
interface Described {
  readonly on?: "layer" | "model" | "trainer" | "evaluator";
  readonly inputs: readonly Kind[];
}
const DESCRIBED: Readonly<Record<string, Described>> = {
  openDevice: {
    inputs: [
      options(
        {
          prefer: word("cpu"),
          precision: word("float32"),
          threads: integer(1, 1),
          simd: word("plain"),
          worker: callback(() => {}),
          powerPreference: word("low-power"),
          tuning: word("off"),
          tuningStore: given,
          tuningMilliseconds: value(1000, [0, -1]),
          engine: given,
          onTuning: given,
          gpu: given,
          gpuDevice: given,
          openMilliseconds: value(1000, [0, -1]),
          submitMilliseconds: value(50, [0, -1]),
          signal: given,
        },
        { valid: () => ({ prefer: "cpu" }) },
      ),
    ],
  },
  parameterCount: { inputs: [options(modelFields)] },
  sampleText: { on: "model", inputs: [model, codec, sampling] },
  fetchText: {
    inputs: [
      text("https://example.org/a.txt"),
      options(
        {
          signal,
          fetch: callback(() => {}),
          timeout: integer(1000, 1, 2 ** 31 - 1),
          maxBytes: integer(100, 1),
          onProgress: callback(() => {}),
        },
        { valid: () => ({ fetch: async () => new Response("text") }) },
      ),
    ],
  },
  findBook: { inputs: [text("alice")] },
  stripGutenberg: { inputs: [text("a text")] },
  restartSchedule: { inputs: [{ ...integer(3, 0), optional: false }, schedule, { ...word("peak"), optional: false }] },
  makeOptimizer: {
    inputs: [
      { valid: () => ({ a: new Float32Array(3) }), wrong: () => [undefined, null, 7, "x", {}, [], { a: [1] }, promised({})] },
      options({
        optimizer: word("sgd"),
        learningRate: part(0.01, 0),
        momentum: part(0.5, 1),
        weightDecay: part(0.1),
        clip: part(1),
      }),
    ],
  },
  makeEvaluator: {
    on: "model",
    inputs: [
      model,
      tokens,
      options({ ...trainingFields, signal, choices: given, tokenizer: tokenizerKind }, { valid: () => sized }),
    ],
  },
  loadCheckpoint: { inputs: [bytes] },
  modelFromCheckpoint: { inputs: [device, checkpoint] },
  resumeTrainer: { on: "model", inputs: [model, tokens, checkpoint, trainerOptions, given] },
  sameText: { inputs: [checkpoint, tokens] },
  saveCheckpoint: {
    on: "trainer",
    inputs: [
      thing((world) => world.trainer),
      options({ logInterval: integer(1, 0), sampleInterval: integer(1, 0), checkpointInterval: integer(1, 0) }),
    ],
  },
  readSafetensors: { inputs: [bytes] },
  writeSafetensors: {
    inputs: [
      options({
        tensors: {
          valid: ({ checkpoint: { tensors } }) => tensors,
          wrong: ({ checkpoint: { tensors } }) => {
            const { "head.bias": bias } = tensors as { "head.bias": api.NamedTensor };
            const changed = [
              { ...bias, data: [...bias.data] },
              { ...bias, data: bias.data.slice(1) },
              { ...bias, shape: [-1] },
              { ...bias, shape: "x" },
              {},
            ];
            return [null, 7, "x", [], promised(tensors), { __metadata__: bias }, ...changed.map((bias) => ({ bias }))];
          },
        },
        metadata: { valid: () => ({ format: "pt" }), wrong: () => [null, 7, "x", [], { format: 1 }, new Map()], optional: true },
      }),
    ],
  },
  toTransformers: { inputs: [checkpointOf("mamba", "backbone.norm_f.weight")] },
  fromTransformers: {
    inputs: [
      options({
        "config.json": fileOf("config.json"),
        "model.safetensors": fileOf("model.safetensors"),
        "tokenizer.json": fileOf("tokenizer.json"),
      }),
    ],
  },
  exportPyTorch: { inputs: [checkpoint] },
  importTensors: {
    inputs: [
      {
        valid: ({ checkpoint }) => ({ ...interop.exportPyTorch(checkpoint) }),
        wrong: ({ checkpoint, file }) => {
          const files = interop.exportPyTorch(checkpoint);
          const changed = ["model.safetensors", "optimizer.safetensors", "config.json", "tokenizer.json"].flatMap((name) =>
            [null, 7, {}, [], "x", file.slice(9)].map((wrong) => ({ ...files, [name]: wrong })),
          );
          return [null, 7, "x", [], promised({}), new Map(), { "model.safetensors": undefined }, ...changed];
        },
      },
      options(
        {
          cell: word("gru"),
          input: word("embedding"),
          nonlinearity: word("tanh"),
          resetAfter: flag(true),
          tokenizer: optional({ valid: () => tokenizer, wrong: () => [null, 7, "x", {}, []] }),
        },
        { valid: () => ({}) },
      ),
    ],
  },
  checkGradients: {
    on: "model",
    inputs: [
      device,
      options(
        {
          cells: value([], ["rnn", ["rnx"], [7], 7]),
          quick: flag(true),
          model: optional(thing((world) => world.model)),
          breakage: word("transpose"),
          signal,
          onResult: callback(() => {}),
        },
        { valid: (world) => ({ cells: [], quick: true, model: world.model }) },
      ),
    ],
  },
  "LanguageModel.create": { inputs: [device, options({ ...modelFields, seed })] },
  "LanguageModel.prototype.stateDict": { on: "model", inputs: [] },
  "LanguageModel.prototype.loadStateDict": { on: "model", inputs: [stateDict((world) => world.model)] },
  "LanguageModel.prototype.sample": {
    on: "model",
    inputs: [codec, options({ ...ofSampling, count: integer(1, 1, 1) })],
  },
  "LanguageModel.prototype.dispose": { on: "model", inputs: [] },
  "Recurrent.create": {
    inputs: [
      device,
      options({
        ...gates,
        cell: { ...word("lstm"), optional: false },
        inputSize: { ...integer(2, 1, 65536), optional: false },
        hiddenSize: { ...integer(3, 1, 65536), optional: false },
        bidirectional: flag(true),
        bias: flag(true),
        seed,
      }),
    ],
  },
  "Recurrent.prototype.stateDict": { on: "layer", inputs: [] },
  "Recurrent.prototype.loadStateDict": { on: "layer", inputs: [stateDict((world) => world.layer)] },
  "Recurrent.prototype.forward": {
    on: "layer",
    inputs: [
      numbers(4),
      options({
        T: { ...integer(2, 1), optional: false },
        B: { ...integer(1, 1), optional: false },
        h0: optional(numbers(3)),
        c0: optional(numbers(3)),
        lengths: value([1], [[3], [-1], [0.5], ["1"], "1", 1, [1, 1], [NaN]]),
        training: flag(true),
        signal,
      }),
    ],
  },
  "Recurrent.prototype.backward": {
    on: "layer",
    inputs: [numbers(6), options({ dhN: optional(numbers(3)), dcN: optional(numbers(3)), signal })],
  },
  "Recurrent.prototype.step": {
    on: "layer",
    inputs: [
      numbers(2),
      options({ B: { ...integer(1, 1), optional: false }, h: optional(numbers(3)), c: optional(numbers(3)), signal }),
    ],
  },
  "Recurrent.prototype.dispose": { on: "layer", inputs: [] },
  "CharTokenizer.fromText": { inputs: [text("abc")] },
  "CharTokenizer.fromJSON": { inputs: [thing((world) => world.tokenizer.toJSON())] },
  "CharTokenizer.prototype.toJSON": { inputs: [] },
  "CharTokenizer.prototype.extended": { inputs: [text("abcé")] },
  "CharTokenizer.prototype.unknownIn": { inputs: [text("abcé")] },
  "CharTokenizer.prototype.encode": { inputs: [text("abc")] },
  "CharTokenizer.prototype.decode": { inputs: [tokens] },
  "ByteTokenizer.fromJSON": { inputs: [thing(() => ({ kind: "byte" }))] },
  "ByteTokenizer.prototype.toJSON": { inputs: [] },
  "ByteTokenizer.prototype.encode": { inputs: [text("abc")] },
  "WordTokenizer.fromText": { inputs: [text(TEXT), vocabulary] },
  "WordTokenizer.fromJSON": { inputs: [thing(() => words.toJSON())] },
  "WordTokenizer.prototype.toJSON": { inputs: [] },
  "WordTokenizer.prototype.encode": { inputs: [text("abc")] },
  "BpeTokenizer.fromText": { inputs: [text(TEXT), vocabulary] },
  "BpeTokenizer.fromJSON": { inputs: [thing(() => pieces.toJSON())] },
  "BpeTokenizer.fromHuggingFace": { inputs: [thing(() => pieces.toHuggingFace())] },
  "BpeTokenizer.prototype.toJSON": { inputs: [] },
  "BpeTokenizer.prototype.toHuggingFace": { inputs: [] },
  "BpeTokenizer.prototype.encode": { inputs: [text("abc")] },
  extendVocabulary: { inputs: [checkpoint, text("abcé"), seed] },
  "Trainer.create": { on: "model", inputs: [model, tokens, trainerOptions] },
  "Trainer.prototype.run": {
    on: "trainer",
    inputs: [
      options({
        maxSteps: { ...value(3, [-1, 1.5, NaN, "3"]), optional: false },
        signal,
        exact: flag(true),
      }),
    ],
  },
  "Trainer.prototype.evaluate": { on: "trainer", inputs: [signal] },
  "Trainer.prototype.checkFinite": { on: "trainer", inputs: [] },
  "Trainer.prototype.gradientDict": { on: "trainer", inputs: [] },
  "Trainer.prototype.dispose": { on: "trainer", inputs: [] },
  "Evaluator.evaluate": { on: "evaluator", inputs: [signal] },
  "Evaluator.dispose": { on: "evaluator", inputs: [] },
};

/** Methods that the sources mark as private or internal: they are there at run time, but for nobody else. */
const sources = import.meta.glob<string>("../../src/**/*.ts", { query: "?raw", import: "default", eager: true });
const hidden = new Map(
  Object.values(sources).flatMap((source) =>
    [...source.matchAll(/^export class (\w+)[^]*?^}/gm)].map(([body, name]): [string, Set<string>] => [
      name!,
      new Set(
        [...body.matchAll(/(?:^ {2}private |@internal(?:(?!\*\/)[^])*\*\/\s+)(?:static |async |readonly |\*)*(\w+)\(/gm)].map(
          ([, method]) => method!,
        ),
      ),
    ]),
  ),
);

const exported: Readonly<Record<string, unknown>> = { ...api, ...interop };
/** The names of all that is exported and that can be called. */
function publicFunctions(): string[] {
  const methodsOf = (of: object): string[] =>
    Object.getOwnPropertyNames(of).filter((name) => typeof Object.getOwnPropertyDescriptor(of, name)!.value === "function");
  return Object.entries(exported).flatMap(([name, exported]) => {
    if (typeof exported !== "function") return [];
    if (!/^class\b/.test(Function.prototype.toString.call(exported))) return [name];
    const shown = (method: string): boolean => method !== "constructor" && !hidden.get(name)?.has(method);
    return [
      ...methodsOf(exported)
        .filter(shown)
        .map((method) => `${name}.${method}`),
      ...methodsOf(exported.prototype as object)
        .filter(shown)
        .map((method) => `${name}.prototype.${method}`),
    ];
  });
}

const OBJECTS: Readonly<Record<string, (world: World) => object>> = {
  LanguageModel: (world) => world.model,
  Recurrent: (world) => world.layer,
  Trainer: (world) => world.trainer,
  CharTokenizer: (world) => world.tokenizer,
  ByteTokenizer: () => new api.ByteTokenizer(),
  WordTokenizer: () => words,
  BpeTokenizer: () => pieces,
  Evaluator: (world) => world.evaluator,
};

/** Calls a public function; resolves with what came of it, and lets go of it. */
async function call(name: string, world: World, inputs: readonly unknown[]): Promise<unknown> {
  const [owner, ...path] = name.split(".");
  const method = path.at(-1);
  const instance = path.length === 2 || owner === "Evaluator";
  const target = instance ? OBJECTS[owner!]!(world) : (exported as Record<string, any>)[owner!];
  const answer = method === undefined ? target(...inputs) : (target as any)[method](...inputs);
  if (typeof answer?.next === "function") {
    const events = [];
    for await (const event of answer) events.push({ ...event, tokensPerSecond: 0, seconds: 0 });
    return events;
  }
  const result = await answer;
  if (result instanceof api.Trainer || result instanceof api.LanguageModel || result instanceof api.Recurrent) {
    const state = result instanceof api.Trainer ? result.gradientDict() : result.stateDict();
    return state.finally(() => result.dispose());
  }
  if (typeof result?.evaluate === "function") return result.evaluate().finally(() => result.dispose());
  if (typeof result?.record === "function") return result.dispose();
  return typeof result?.seconds === "number" ? { ...result, seconds: 0 } : result;
}
const GONE = { code: "E_DISPOSED" };
const outcome = (answer: Promise<unknown>): Promise<unknown> =>
  answer.catch((error: unknown) => {
    if (error instanceof api.GatewiseError) return { code: error.code };
    throw error;
  });
const rightInputs = ({ inputs }: Described, world: World): unknown[] => inputs.map((kind) => kind.valid(world));

/** All that may be wrong with an input: the whole, a field's name, a field's value. */
function wrongInputs(kind: Kind, world: World): { readonly value: unknown; readonly expected?: string }[] {
  const whole = [...kind.wrong(world), ...(kind.optional || kind.fields || !kind.wrong(world).length ? [] : [undefined])];
  const valid = kind.valid(world) as object;
  return [
    ...whole.map((value) => ({ value })),
    ...Object.entries(kind.fields ?? {}).flatMap(([name, field]) => [
      { value: { ...valid, [`${name}${name.at(-1)}`]: 1 }, expected: `did you mean "${name}"?` },
      { value: { ...valid, [name.replace(/[A-Z]/g, "_$&").toUpperCase() + "_"]: 1 }, expected: `did you mean "${name}"?` },
      ...wrongInputs(field, world).map(({ value, expected }) => ({
        value: { ...valid, [name]: value },
        ...(expected !== undefined && { expected }),
      })),
    ]),
  ].filter(({ value }) => !(kind.fields && value === undefined));
}

const devices: Record<string, api.Device> = {};
beforeAll(async () => {
  devices.GPU = await testDevice();
  devices.CPU = await api.openDevice({ prefer: "cpu" });
});
afterAll(() => Object.values(devices).forEach((each) => each.dispose()));

it("every public function has its inputs described", () => {
  expect(
    Object.keys(DESCRIBED)
      .filter((name) => !name.startsWith("Evaluator."))
      .sort(),
  ).toEqual(publicFunctions().sort());
});

describe.each(["GPU", "CPU"])("on the %s", (where) => {
  let world: World;
  beforeAll(async () => void (world = await makeWorld(devices[where]!)));
  afterAll(() => disposeWorld(world));

  for (const [name, described] of Object.entries(DESCRIBED)) {
    for (const [i, kind] of described.inputs.entries()) {
      it(`${name} refuses whatever is wrong with input ${i}, and says what came`, async () => {
        const before = devices[where]!.memory();
        for (const {
          value,
          expected = /got |unknown|missing|must|did you mean|not a|expected|vocabulary|damaged: /,
        } of wrongInputs(kind, world)) {
          const inputs = rightInputs(described, world);
          inputs[i] = value;
          const error: unknown = await call(name, world, inputs).then(
            () => undefined,
            (reason: unknown) => reason,
          );
          const told = shown(value);
          expect(error, told).toBeInstanceOf(api.GatewiseError);
          expect((error as api.GatewiseError).code, told).toMatch(/^E_(CONFIG|DATA|SHAPE|BAD_CHECKPOINT)$/);
          expect((error as Error).message, told).toMatch(expected);
          if (value instanceof Promise) expect((error as Error).message).toMatch(/a promise; await it first|damaged/);
        }
        expect(devices[where]!.memory()).toEqual(before);
      });

      if (kind.fields)
        it(`${name} knows the options that are described, and no others`, async () => {
          const inputs = rightInputs(described, world);
          inputs[i] = { ...(inputs[i] as object), layerNorm: true };
          const error: Error = await call(name, world, inputs).then(
            () => new Error("none"),
            (reason: Error) => reason,
          );
          const known = /unknown option "layerNorm"; known are (.*)$/.exec(error.message)?.[1]?.split(", ");
          expect(known?.sort(), error.message).toEqual(Object.keys(kind.fields!).sort());
        });

      if (kind.same)
        it(`${name} takes input ${i} in any form, with the same answer`, async () => {
          const expected = await call(name, world, rightInputs(described, world));
          for (const form of kind.same!(world)) {
            const inputs = rightInputs(described, world);
            inputs[i] = form;
            expect(await call(name, world, inputs)).toEqual(expected);
          }
        });
    }

    if (described.on && !name.endsWith("dispose"))
      it(`${name} answers E_DISPOSED when what it works on is gone, and is cut short without a trace`, async () => {
        const own = devices[where]!;
        const before = own.memory().buffers;
        for (const end of [described.on!, ...(described.on === "layer" ? [] : ["model" as const])]) {
          const shortLived = await makeWorld(own);
          const inputs = rightInputs(described, shortLived);
          // In the midst of the call: it ends as it would have, or tells.
          const pending = outcome(call(name, shortLived, inputs));
          shortLived[end].dispose();
          const midst = await pending;
          if ((midst as typeof GONE | undefined)?.code !== undefined) expect(midst).toEqual(GONE);
          expect(await outcome(call(name, shortLived, inputs)), `without its ${end}`).toEqual(GONE);
          disposeWorld(shortLived);
          await own.finish();
          if (where === "CPU") expect(own.memory().buffers).toBe(before);
        }
      });
  }

  it("whatever works on a device answers E_DISPOSED when that is gone", async () => {
    const own = where === "CPU" ? await api.openDevice({ prefer: "cpu" }) : await testDevice();
    const orphan = await makeWorld(own);
    own.dispose();
    for (const [name, described] of Object.entries(DESCRIBED)) {
      if (name.endsWith("dispose") || !(described.on || described.inputs.includes(device))) continue;
      expect(await outcome(call(name, orphan, rightInputs(described, orphan))), name).toEqual(GONE);
    }
    disposeWorld(orphan);
  });
});

describe("two calls at once answer as one after the other", () => {
  const methods = Object.entries(DESCRIBED).filter(([name, { on }]) => on && !name.endsWith("dispose") && !name.endsWith(".run"));
  for (const [first, one] of methods) {
    it(`${first} and then any other`, async () => {
      for (const [second, other] of methods) {
        if ((one.on === "layer") !== (other.on === "layer")) continue;
        // The evaluation that is compared comes after what it was made of.
        if (`${first} ${second}`.includes("makeEvaluator") && `${first} ${second}`.includes("loadStateDict")) continue;
        const answers: unknown[] = [];
        for (const together of [false, true]) {
          const world = await makeWorld(devices.CPU!);
          const start = ([name, described]: [string, Described]): Promise<unknown> =>
            outcome(call(name, world, rightInputs(described, world)));
          const calls: [string, Described][] = [
            [first, one],
            [second, other],
            [first, one],
          ];
          if (together) answers.push(await Promise.all(calls.map(start)));
          else {
            const each: unknown[] = [];
            for (const described of calls) each.push(await start(described));
            answers.push(each);
          }
          disposeWorld(world);
        }
        expect(answers[1], second).toEqual(answers[0]);
      }
    });
  }

  it("a run, beside anything that does not change its weights", async () => {
    const runs: unknown[] = [];
    for (const [name, described] of [undefined, ...methods].map((entry) => entry ?? [undefined, undefined])) {
      if (described?.on === "layer" || name?.endsWith("loadStateDict")) continue;
      const world = await makeWorld(devices.CPU!);
      const events: unknown[] = [];
      const asides: Promise<unknown>[] = [];
      for await (const event of world.trainer.run({ maxSteps: 4 })) {
        events.push({ ...event, tokensPerSecond: 0, seconds: 0 });
        if (name !== undefined) asides.push(call(name, world, rightInputs(described!, world)));
      }
      await Promise.all(asides);
      runs.push(events);
      disposeWorld(world);
      expect(events, name).toEqual(runs[0]);
    }
    expect(runs.length).toBeGreaterThan(8);
  });
});

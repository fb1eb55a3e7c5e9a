// What each option of each command comes to: the library is asked for it, or the input is refused.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Option } from "commander";
import { beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { TOKENIZER_KINDS } from "../../src/data/tokenizers.ts";
import { CELL_NAMES } from "../../src/models/cells.ts";
import { languageModelConfig } from "../../src/models/config.ts";
import { PRESET_NAMES, PRESETS } from "../../src/models/presets.ts";
import { sampleText } from "../../src/models/language-model.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { openNodeDevice } from "../../src/runtime/node.ts";
import { trainMemory } from "../../src/bench/memory.ts";
import { runBenchmarks } from "../../src/bench/report.ts";
import { makeProgram } from "../../src/cli/program.ts";
import { type ErrorCode, GatewiseError } from "../../src/errors.ts";
import { makeEvaluator } from "../../src/training/evaluate.ts";
import { BREAKAGES, CHECKED_CELLS, checkGradients } from "../../src/training/gradient-check.ts";
import { OPTIMIZER_NAMES } from "../../src/training/optimizers.ts";
import { trainingOptions } from "../../src/training/options.ts";
import { SCHEDULES } from "../../src/training/schedule.ts";
import { Trainer } from "../../src/training/trainer.ts";
import { gatewise, workInFolder } from "./command-line.ts";

vi.mock("../../src/cli/version.ts", () => ({ version: () => "1.2.3" }));
vi.mock("../../src/models/language-model.ts", async (load) => ({ ...(await load<object>()), sampleText: vi.fn() }));
vi.mock("../../src/bench/memory.ts", async (load) => ({ ...(await load<object>()), trainMemory: vi.fn() }));
vi.mock("../../src/bench/report.ts", async (load) => ({ ...(await load<object>()), runBenchmarks: vi.fn() }));
vi.mock("../../src/runtime/node.ts", async (load) => ({ ...(await load<object>()), openNodeDevice: vi.fn() }));
vi.mock("../../src/training/evaluate.ts", async (load) => ({ ...(await load<object>()), makeEvaluator: vi.fn() }));
vi.mock("../../src/training/gradient-check.ts", async (load) => ({ ...(await load<object>()), checkGradients: vi.fn() }));

const README = readFileSync("README.md", "utf8");
const { start } = workInFolder("program");
writeFileSync("text.txt", "It was the best of times, it was the worst of times; Alice ".repeat(40));

/** What the library was asked for, by the name of what was asked. */
let asked: Record<string, any> = {};
const enough = new Error("enough");
const hear = (part: string, value: object): never => {
  asked[part] = value;
  throw enough;
};
const makeTrainer = vi.spyOn(Trainer, "create");
const TINY = ["--data", "text.txt", "--device", "cpu", "--hidden", "6", "--embedding", "4", "--batch", "4", "--seq", "8"];
beforeAll(async () => {
  vi.mocked(openNodeDevice).mockImplementation(async (options) => {
    asked.device = options;
    return openDevice({ prefer: "cpu" });
  });
  expect(await gatewise("train", ...TINY, "--steps", "2", "--sample-every", "0", "--out", "run")).toMatchObject({ code: 0 });
  makeTrainer.mockImplementation((model, tokens, options) => {
    asked.model = model.config;
    return hear("training", { ...options, characters: tokens.length });
  });
  vi.mocked(sampleText).mockImplementation(async (_model, _tokenizer, options) => hear("sample", options!));
  vi.mocked(makeEvaluator).mockImplementation(async (_model, tokens, options) =>
    hear("evaluation", { ...options, characters: tokens.length }),
  );
  vi.mocked(runBenchmarks).mockImplementation(async (_device, about, options) => hear("bench", { ...about, ...options }));
  vi.mocked(trainMemory).mockImplementation((model, options) => hear("memory", { ...options, ...model.config }));
  vi.mocked(checkGradients).mockImplementation(async (_device, options) => hear("check", options!));
});
beforeEach(() => void (asked = {}));

/** Asks the library, and returns all that it was asked for. */
async function ask(...args: readonly string[]): Promise<Record<string, any>> {
  asked = {};
  expect(await gatewise(...args), args.join(" ")).toMatchObject({
    code: 1,
    err: expect.stringMatching(/gatewise: (\w+: |[\w-]+: )?enough\n$/),
  });
  return asked;
}
/** Of a model of blocks, whose embeddings are as wide as TINY's layers. */
const BLOCK = ["--cell", "s4d", "--embedding", "6"];
const ARGUMENTS: Record<string, string[]> = {
  sample: ["run"],
  eval: ["run"],
  plot: ["run"],
  info: ["run"],
  export: ["run", "out"],
  import: ["out"],
};
const QUICK: Record<string, string[]> = { train: TINY, compare: TINY };

const program = makeProgram(async () => {});
const commands: Record<string, readonly Option[]> = Object.fromEntries(
  program.commands.map((command) => [command.name(), command.options]),
);
const names = (options: readonly Option[]): string[] => options.map(({ long }) => long!);

/** What each option says to the library: how it is given, and where that is found; or which file tests what it does. */
const HONOURED: Record<string, Record<string, [given: string[], part: string, wanted: object] | string>> = {
  train: {
    "--cell": [["gru"], "model", { cell: "gru" }],
    "--input": [["one-hot"], "model", { input: "one-hot" }],
    "--hidden": [["7"], "model", { hiddenSize: 7 }],
    "--embedding": [["3"], "model", { embeddingSize: 3 }],
    "--layers": [["2"], "model", { numLayers: 2 }],
    "--dropout": [["0.25"], "model", { dropout: 0.25 }],
    "--gru-reset": [["before", "--cell", "gru"], "model", { resetAfter: false }],
    "--nonlinearity": [["relu", "--cell", "rnn"], "model", { nonlinearity: "relu" }],
    "--forget-bias": [["1.5"], "model", { forgetBias: 1.5 }],
    "--expand": [["3", ...BLOCK], "model", { expand: 3 }],
    "--conv": [["5", ...BLOCK], "model", { convSize: 5 }],
    "--state-size": [["6", ...BLOCK], "model", { stateSize: 6 }],
    "--time-step-rank": [["5", ...BLOCK, "--cell", "mamba"], "model", { timeStepRank: 5 }],
    "--precision": [["f16"], "model", { precision: "f16" }],
    "--orthogonal": [[], "model", { orthogonal: true }],
    "--batch": [["3"], "training", { batchSize: 3 }],
    "--seq": [["5"], "training", { seqLen: 5 }],
    "--steps": [["17"], "training", { totalSteps: 17 }],
    "--loss": [["last"], "training", { loss: "last" }],
    "--state": [["zero"], "training", { state: "zero" }],
    "--optimizer": [["rmsprop"], "training", { optimizer: "rmsprop" }],
    "--lr": [["0.125"], "training", { learningRate: 0.125 }],
    "--momentum": [["0.5"], "training", { momentum: 0.5 }],
    "--schedule": [["step"], "training", { schedule: "step" }],
    "--warmup": [["9"], "training", { warmupSteps: 9 }],
    "--clip": [["0.5"], "training", { clip: 0.5 }],
    "--weight-decay": [["0.25"], "training", { weightDecay: 0.25 }],
    "--val": [["0.5"], "training", { valFraction: 0.5 }],
    "--test": [["0.25"], "training", { testFraction: 0.25 }],
    "--eval-chars": [["9"], "training", { evalTokens: 9 }],
    "--patience": [["8"], "training", { patience: 8 }],
    "--eval-every": [["11"], "training", { evalInterval: 11 }],
    "--sample-every": [["12"], "training", { sampleInterval: 12 }],
    "--log-every": [["13"], "training", { logInterval: 13 }],
    "--checkpoint-every": [["14"], "training", { checkpointInterval: 14 }],
    "--seed": [["15"], "training", { seed: 15 }],
    "--data": [["short.txt"], "training", { characters: 80 }],
    "--pattern": "own-text.test.ts",
    "--encoding": "own-text.test.ts",
    "--tokenizer": [["byte"], "model", { vocabSize: 256 }],
    "--vocab-size": [["260", "--tokenizer", "bpe"], "model", { vocabSize: 260 }],
    "--preset": [["one-hot-rnn"], "model", { cell: "rnn", input: "one-hot" }],
    "--device": [["webgpu"], "device", { prefer: "webgpu", tuning: "on" }],
    "--threads": [["3"], "device", { threads: 3 }],
    "--simd": [["plain"], "device", { simd: "plain" }],
    "--no-tune": [[], "device", { tuning: "off" }],
    "--retune": [[], "device", { tuning: "again", tuningMilliseconds: 120_000 }],
    "--init-from": [["run", "--hidden", "6", "--embedding", "4"], "model", { hiddenSize: 6 }],
    "--out": "commands.test.ts",
    "--keep": "own-run.test.ts",
    "--config": "own-run.test.ts",
    "--time": "own-run.test.ts",
    "--sample-prompt": [["It"], "training", { sample: { prompt: "It" } }],
    "--sample-length": "own-run.test.ts",
    "--sample-temperature": "own-run.test.ts",
    "--resume": "commands.test.ts",
    "--schedule-from": "cli.test.ts",
    "--extend-vocabulary": "own-text.test.ts",
    "--unknown": "own-text.test.ts",
    "--json": "commands.test.ts",
    "--raw": "terminal.test.ts",
  },
  sample: {
    "--best": "own-run.test.ts",
    "--prompts": "own-run.test.ts",
    "--prompt": [["best"], "sample", { prompt: "best" }],
    "--length": [["7"], "sample", { length: 7 }],
    "--temperature": [["0.25"], "sample", { temperature: 0.25 }],
    "--top-k": [["3"], "sample", { topK: 3 }],
    "--top-p": [["0.5"], "sample", { topP: 0.5 }],
    "--seed": [["15"], "sample", { seed: 15 }],
    "--count": [["4"], "sample", { count: 4 }],
    "--device": [["webgpu"], "device", { prefer: "webgpu", tuning: "on" }],
    "--threads": [["3"], "device", { threads: 3 }],
    "--simd": [["plain"], "device", { simd: "plain" }],
    "--no-tune": [[], "device", { tuning: "off" }],
    "--retune": [[], "device", { tuning: "again", tuningMilliseconds: 120_000 }],
    "--json": "commands.test.ts",
    "--raw": "terminal.test.ts",
  },
  eval: {
    "--best": "own-run.test.ts",
    "--data": [["text.txt"], "evaluation", { characters: 2360 }],
    "--split": [["train"], "evaluation", { characters: 2242 }],
    "--eval-chars": [["9"], "evaluation", { evalTokens: 9 }],
    "--unknown": "own-text.test.ts",
    "--pattern": "own-run.test.ts",
    "--encoding": "own-run.test.ts",
    "--threads": [["3"], "device", { threads: 3 }],
    "--simd": [["plain"], "device", { simd: "plain" }],
    "--device": [["webgpu"], "device", { prefer: "webgpu", tuning: "on" }],
    "--no-tune": [[], "device", { tuning: "off" }],
    "--retune": [[], "device", { tuning: "again", tuningMilliseconds: 120_000 }],
    "--json": "own-run.test.ts",
    "--raw": "terminal.test.ts",
  },
  list: { "--json": "own-run.test.ts", "--raw": "terminal.test.ts" },
  plot: { "--out": "own-run.test.ts", "--json": "own-run.test.ts", "--raw": "terminal.test.ts" },
  compare: {
    "--presets": [["lstm,gru"], "model", { cell: "lstm" }],
    "--pattern": "own-text.test.ts",
    "--encoding": "own-text.test.ts",
    "--config": "own-run.test.ts",
    "--tokenizers": [["byte,char"], "model", { vocabSize: 256 }],
    "--expand": [["3", "--presets", "mamba"], "model", { expand: 3 }],
    "--conv": [["5", "--presets", "mamba"], "model", { convSize: 5 }],
    "--state-size": [["6", "--presets", "s4d"], "model", { stateSize: 6 }],
    "--forget-bias": [["1.5", "--presets", "lstm"], "model", { forgetBias: 1.5 }],
    "--vocab-size": [["260", "--tokenizers", "bpe"], "model", { vocabSize: 260 }],
    "--hidden": [["7"], "model", { hiddenSize: 7 }],
    "--embedding": [["3"], "model", { embeddingSize: 3 }],
    "--layers": [["2"], "model", { numLayers: 2 }],
    "--dropout": [["0.25"], "model", { dropout: 0.25 }],
    "--batch": [["3"], "training", { batchSize: 3 }],
    "--seq": [["5"], "training", { seqLen: 5 }],
    "--steps": [["17"], "training", { totalSteps: 17 }],
    "--optimizer": [["rmsprop"], "training", { optimizer: "rmsprop" }],
    "--lr": [["0.125"], "training", { learningRate: 0.125 }],
    "--schedule": [["step"], "training", { schedule: "step" }],
    "--warmup": [["9"], "training", { warmupSteps: 9 }],
    "--clip": [["0.5"], "training", { clip: 0.5 }],
    "--weight-decay": [["0.25"], "training", { weightDecay: 0.25 }],
    "--val": [["0.5"], "training", { valFraction: 0.5 }],
    "--eval-every": [["11"], "training", { evalInterval: 11 }],
    "--log-every": [["13"], "training", { logInterval: 13 }],
    "--seed": [["15"], "training", { seed: 15 }],
    "--data": [["short.txt"], "training", { characters: 80 }],
    "--device": [["webgpu"], "device", { prefer: "webgpu", tuning: "on" }],
    "--threads": [["3"], "device", { threads: 3 }],
    "--simd": [["plain"], "device", { simd: "plain" }],
    "--no-tune": [[], "device", { tuning: "off" }],
    "--retune": [[], "device", { tuning: "again", tuningMilliseconds: 120_000 }],
    "--prompt": "commands.test.ts",
    "--markdown": "commands.test.ts",
    "--json": "commands.test.ts",
    "--raw": "terminal.test.ts",
  },
  memory: {
    "--task": [["latch"], "memory", { task: "latch" }],
    "--presets": [["gru,lstm"], "memory", { cell: "gru" }],
    "--lag": [["70"], "memory", { lag: 70 }],
    "--steps": [["17"], "memory", { steps: 17 }],
    "--seed": [["15"], "memory", { seed: 15 }],
    "--device": [["webgpu"], "device", { prefer: "webgpu", tuning: "on" }],
    "--threads": [["3"], "device", { threads: 3 }],
    "--simd": [["plain"], "device", { simd: "plain" }],
    "--no-tune": [[], "device", { tuning: "off" }],
    "--retune": [[], "device", { tuning: "again", tuningMilliseconds: 120_000 }],
    "--json": "memory.test.ts",
    "--raw": "terminal.test.ts",
  },
  check: {
    "--cell": [["gru"], "check", { cells: ["gru"] }],
    "--quick": [[], "check", { quick: true }],
    "--model": [["run"], "check", { model: expect.objectContaining({ config: expect.objectContaining({ hiddenSize: 6 }) }) }],
    "--break": [["transpose"], "check", { breakage: "transpose" }],
    "--device": [["webgpu"], "device", { prefer: "webgpu", tuning: "on" }],
    "--threads": [["3"], "device", { threads: 3 }],
    "--simd": [["plain"], "device", { simd: "plain" }],
    "--json": "commands.test.ts",
    "--raw": "terminal.test.ts",
  },
  bench: {
    "--kernel": [["lstm"], "bench", { sections: ["kernels"], kernel: "lstm" }],
    "--train": [[], "bench", { sections: ["training"] }],
    "--hidden": [["12,8"], "bench", { sections: ["training"], hidden: [12, 8] }],
    "--deepbench": [[], "bench", { sections: ["deepbench"] }],
    "--sampling": [[], "bench", { sections: ["sampling"] }],
    "--scaling": [[], "bench", { sections: ["scaling"] }],
    "--rounds": [["3"], "bench", { rounds: 3 }],
    "--seconds": [["4"], "bench", { seconds: 4 }],
    "--device": [["webgpu"], "device", { prefer: "webgpu", tuning: "on", tuningMilliseconds: 120_000 }],
    "--threads": [["3"], "device", { threads: 3 }],
    "--simd": [["plain"], "device", { simd: "plain" }],
    "--no-tune": [[], "device", { tuning: "off" }],
    "--retune": [[], "device", { tuning: "again", tuningMilliseconds: 120_000 }],
    "--markdown": "commands.test.ts",
    "--json": "commands.test.ts",
    "--raw": "terminal.test.ts",
  },
  info: { "--best": "own-run.test.ts", "--config": "own-run.test.ts", "--json": "commands.test.ts", "--raw": "terminal.test.ts" },
  export: { "--to": "interop.test.ts", "--json": "interop.test.ts", "--raw": "terminal.test.ts" },
  import: {
    "--out": "interop.test.ts",
    "--cell": "interop.test.ts",
    "--input": "interop.test.ts",
    "--nonlinearity": "interop.test.ts",
    "--gru-reset": "interop.test.ts",
    "--tokenizer": "interop.test.ts",
    "--data": "interop.test.ts",
    "--json": "interop.test.ts",
    "--raw": "terminal.test.ts",
  },
  doctor: { "--verbose": "commands.test.ts", "--json": "commands.test.ts", "--raw": "terminal.test.ts" },
};

describe("each option of each command is heard:", () => {
  it("all are in the table", () => {
    expect(Object.keys(HONOURED)).toEqual(Object.keys(commands));
    for (const [name, options] of Object.entries(commands))
      expect(Object.keys(HONOURED[name]!).sort(), name).toEqual(names(options).sort());
  });
  for (const [command, options] of Object.entries(HONOURED)) {
    it(command, async () => {
      writeFileSync("short.txt", "It was Alice. Alice ".repeat(4));
      for (const [flag, how] of Object.entries(options)) {
        if (typeof how === "string") continue;
        const [given, part, wanted] = how;
        const without = QUICK[command]?.filter((_, i, all) => all[i] !== flag && all[i - 1] !== flag) ?? [];
        const { [part]: found } = await ask(command, ...(ARGUMENTS[command] ?? []), ...without, flag, ...given);
        expect(found, `${command} ${flag}`).toMatchObject(wanted);
      }
    });
  }

  it("several parts of a benchmark at once, and all but one where none is named", async () => {
    const { bench } = await ask("bench", "--train", "--scaling", "--hidden", "5", "--sampling", "--deepbench", "--kernel", "x");
    expect(bench.sections).toEqual(["kernels", "training", "deepbench", "sampling", "scaling"]);
    expect((await ask("bench")).bench).toMatchObject({ hidden: undefined, kernel: undefined, rounds: 5, seconds: 20 });
    expect((await ask("bench")).bench.sections).toBeUndefined();
  });

  it("what a person did not say is as documented", async () => {
    const { model, training, device } = await ask("train", "--data", "text.txt");
    expect(model).toMatchObject({
      cell: "lstm",
      input: "embedding",
      hiddenSize: 128,
      embeddingSize: 64,
      numLayers: 1,
      dropout: 0,
      resetAfter: true,
      nonlinearity: "tanh",
      orthogonal: false,
      precision: "f32",
    });
    expect(training).toMatchObject({
      batchSize: 64,
      seqLen: 64,
      totalSteps: 1000,
      loss: "all",
      state: "carry",
      optimizer: "adam",
      learningRate: 0.002,
      schedule: "constant",
      warmupSteps: 0,
      clip: 1,
      weightDecay: 0,
      momentum: 0,
      valFraction: 0.05,
      seed: 1,
      evalInterval: 250,
      sampleInterval: 250,
      logInterval: 10,
      checkpointInterval: 250,
    });
    expect(device).toMatchObject({ prefer: "auto", tuning: "on" });
    expect(device).not.toHaveProperty("tuningMilliseconds");
    const { sample } = await ask("sample", "run");
    expect(sample).toMatchObject({ prompt: "", length: 300, temperature: 0.8, count: 1 });
    expect([sample.topK, sample.topP]).toEqual([undefined, undefined]);
    expect(sample.seed).toBeGreaterThanOrEqual(0);
    expect((await ask("sample", "run")).sample.seed).not.toBe(sample.seed);
    expect((await ask("check")).check).toMatchObject({ quick: false });
    expect((await ask("check")).check).not.toHaveProperty("cells");
    const short = await ask("compare", "--data", "text.txt");
    expect(short.model).toMatchObject({ cell: "rnn", input: "one-hot", hiddenSize: 64, embeddingSize: 32 });
    expect(short.training).toMatchObject({
      batchSize: 16,
      seqLen: 32,
      totalSteps: 600,
      learningRate: 0.01,
      valFraction: 0.1,
      evalInterval: 200,
      logInterval: 10,
      sampleInterval: 0,
      checkpointInterval: 0,
      optimizer: "adam",
      seed: 1,
    });
  });
});

describe("words", () => {
  const words = (options: readonly Option[]): Option[] => options.filter(({ argChoices }) => argChoices);
  /** The words that the library takes, by what it says of another. */
  const taken = (field: string, check: (options: object) => unknown): string[] => {
    try {
      check({ [field]: "another" });
    } catch (error) {
      const [, list] = /must be one of (.*), got /.exec((error as Error).message) ?? [];
      if (list) return list.split(", ");
    }
    throw new Error(`${field} takes any word`);
  };
  const model = (options: object): unknown => languageModelConfig({ vocabSize: 3, ...options });
  const TABLES: Record<string, readonly string[]> = {
    "--cell": taken("cell", model),
    "--input": taken("input", model),
    "--gru-reset": ["after", "before"],
    "--nonlinearity": taken("nonlinearity", model),
    "--precision": taken("precision", model),
    "--loss": taken("loss", trainingOptions),
    "--state": taken("state", trainingOptions),
    "--optimizer": taken("optimizer", trainingOptions),
    "--schedule": taken("schedule", trainingOptions),
    "--preset": PRESET_NAMES,
    "train --tokenizer": TOKENIZER_KINDS,
    "--device": ["auto", "webgpu", "wasm", "cpu"],
    "--simd": ["relaxed", "plain", "wide"],
    "--schedule-from": ["reached", "peak"],
    "--unknown": ["drop", "replace"],
    "--split": ["train", "val", "test", "all"],
    "check --cell": ["all", ...Object.keys(CHECKED_CELLS)],
    "--break": BREAKAGES,
    "--to": ["pytorch", "transformers"],
    "--task": ["delay", "latch", "copy", "parity", "recall", "adding", "all"],
  };
  it("are those of the library's tables, no fewer and no more", () => {
    for (const [command, options] of Object.entries(commands))
      for (const { long, argChoices } of words(options))
        expect(argChoices, `${command} ${long}`).toEqual(TABLES[`${command} ${long}`] ?? TABLES[long!]);
    expect(taken("cell", model)).toEqual(CELL_NAMES);
    expect(taken("optimizer", trainingOptions)).toEqual(OPTIMIZER_NAMES);
    expect(taken("schedule", trainingOptions)).toEqual(SCHEDULES);
  });
  it("presets to compare are names of the table, several or one", async () => {
    const { err, code } = await gatewise("compare", "--presets", "gru,lst");
    expect(err).toMatch(`argument 'gru,lst' is invalid. expected names of ${PRESET_NAMES.join(", ")}, separated by commas`);
    expect(code).toBe(2);
  });
  it("each is taken, and no other", async () => {
    for (const preset of PRESET_NAMES)
      expect((await ask("train", "--data", "text.txt", "--device", "cpu", "--preset", preset)).model).toMatchObject(
        PRESETS[preset],
      );
    for (const [command, options] of Object.entries(commands))
      for (const { long, argChoices } of words(options)) {
        const { code, err } = await gatewise(command, ...(ARGUMENTS[command] ?? []), long!, "Another");
        expect(err).toMatch(
          new RegExp(
            `^gatewise: option '${long} <.*' argument 'Another' is invalid\\. Allowed choices are ${argChoices!.join(", ")}\\.\n$`,
          ),
        );
        expect(code).toBe(2);
      }
  });
});

describe("numbers", () => {
  /** What a number must be, as the command line says it, and whether it is. */
  const whole =
    (least: number, most = Number.MAX_SAFE_INTEGER) =>
    (x: number): boolean =>
      Number.isInteger(x) && x >= least && x <= most;
  const KINDS: Record<string, (x: number) => boolean> = {
    "train --hidden": whole(1, 65536),
    "train --embedding": whole(1, 65536),
    "train --layers": whole(1, 64),
    "train --dropout": (x) => x >= 0 && x < 1,
    "train --forget-bias": Number.isFinite,
    "train --expand": whole(1, 16),
    "train --conv": whole(2, 16),
    "train --state-size": (x) => whole(2, 256)(x) && x % 2 === 0,
    "train --time-step-rank": whole(1, 65536),
    "train --batch": whole(1),
    "train --seq": whole(1),
    "train --steps": whole(1),
    "train --lr": (x) => x > 0 && x < Infinity,
    "train --momentum": (x) => x >= 0 && x < 1,
    "train --warmup": whole(0),
    "train --clip": (x) => x >= 0 && x < Infinity,
    "train --weight-decay": (x) => x >= 0 && x < Infinity,
    "train --val": (x) => x >= 0 && x < 1,
    "train --eval-every": whole(0),
    "train --sample-every": whole(0),
    "train --log-every": whole(0),
    "train --checkpoint-every": whole(0),
    "train --test": (x) => x >= 0 && x < 0.95,
    "train --eval-chars": whole(0),
    "train --patience": whole(0),
    "train --keep": whole(0),
    "train --sample-length": whole(0),
    "train --sample-temperature": (x) => x >= 0 && x < Infinity,
    "train --seed": whole(0, 2 ** 32 - 1),
    "train --vocab-size": whole(256, 65536),
    "sample --length": whole(0),
    "sample --temperature": (x) => x >= 0 && x < Infinity,
    "sample --top-k": whole(1),
    "sample --top-p": (x) => x > 0 && x <= 1,
    "sample --seed": whole(0, 2 ** 32 - 1),
    "sample --count": whole(1),
    "eval --eval-chars": whole(0),
    "memory --lag": whole(1, 65536),
    "memory --steps": whole(1),
    "memory --seed": whole(0, 2 ** 32 - 1),
    "bench --hidden": whole(1),
    "bench --rounds": whole(1),
    "bench --seconds": whole(1),
  };
  for (const name of ["train", "sample", "eval", "memory", "check", "bench"]) KINDS[`${name} --threads`] = whole(1, 64);
  /** What compare takes, train takes the same way. */
  for (const name of Object.keys(KINDS))
    if (name.startsWith("train") && names(commands.compare!).includes(name.slice(6)))
      KINDS[name.replace("train", "compare")] = KINDS[name]!;
  // But for what would leave it without a validation.
  Object.assign(KINDS, { "compare --val": (x: number) => x > 0 && x < 1, "compare --eval-every": whole(1) });
  const numbers: Record<string, number> = {
    "1e1": 10,
    " 5": 5,
    "5 ": 5,
    "0x10": 16,
    "5.0": 5,
    "1": 1,
    "0": 0,
    "-0": 0,
    "-1": -1,
    "0.5": 0.5,
    "1.5": 1.5,
    "99999999999": 99999999999,
    Infinity,
    "1e999": Infinity,
  };
  const none = ["1000k", "1_000", "", " ", "NaN", "12x", "1,5", "1.2.3", "five", "--5", "true", "null", "5n"];
  it("all options that take one are in the table", () => {
    const derived = Object.entries(commands).flatMap(([command, options]) =>
      // --presets and --tokenizers take names, several.
      options
        .filter(
          ({ parseArg, argChoices, long }) => parseArg && !argChoices && !["--presets", "--tokenizers", "--time"].includes(long!),
        )
        .map(({ long }) => `${command} ${long}`),
    );
    expect(Object.keys(KINDS).sort()).toEqual(derived.sort());
  });
  for (const [name, ok] of Object.entries(KINDS)) {
    it(`${name} takes those in its range, however they are written, and refuses all else by its name`, async () => {
      const [command, flag] = name.split(" ") as [string, string];
      const quick = QUICK[command]?.filter((_, i, all) => all[i] !== flag && all[i - 1] !== flag) ?? [];
      const how = HONOURED[command]![flag]!;
      // What the library does not hear of is only looked at for what it refuses.
      const [also, part, wanted] = typeof how === "string" ? [[], undefined, {}] : how;
      const fixed = [command, ...(ARGUMENTS[command] ?? []), ...quick, ...also.slice(1), flag];
      const refused = async (text: string): Promise<void> => {
        const { code, out, err } = await gatewise(...fixed, text);
        expect(err, JSON.stringify(text)).toMatch(new RegExp(`^gatewise: .*${flag}`));
        expect({ code, out, lines: err.split("\n").length }).toEqual({ code: 2, out: "", lines: 2 });
      };
      for (const text of none) if (!(text === "1,5" && name === "bench --hidden")) await refused(text);
      const field = Object.keys(wanted).at(-1)!;
      for (const [text, value] of Object.entries(numbers)) {
        if (!ok(value)) await refused(text);
        else if (part !== undefined && (value <= 100 || part !== "model")) {
          const found = (await ask(...fixed, text))[part][field];
          // -0 is 0 for whoever counts with it.
          expect(Array.isArray(found) ? found[0] : found + 0, `${name} ${JSON.stringify(text)}`).toBe(value);
        }
      }
    });
  }
});

describe("exit codes", () => {
  const CODES: Record<ErrorCode, number> = {
    E_CONFIG: 2,
    E_DATA: 2,
    E_SHAPE: 2,
    E_BAD_CHECKPOINT: 2,
    E_DISPOSED: 1,
    E_LIMIT: 1,
    E_SHADER: 1,
    E_NO_WEBGPU: 3,
    E_DEVICE_LOST: 4,
    E_NAN_LOSS: 5,
  };
  it("are those of every code, with the message on stderr alone", async () => {
    const declared = readFileSync(join(start, "src/errors.ts"), "utf8").match(/(?<=\| ")E_\w+(?=")/g)!;
    expect(Object.keys(CODES).sort()).toEqual(declared.sort());
    for (const code of Object.keys(CODES) as ErrorCode[])
      for (const [command, library] of [
        ["check", checkGradients],
        ["bench", runBenchmarks],
        ["sample", sampleText],
      ] as const) {
        vi.mocked(library as any).mockRejectedValueOnce(new GatewiseError(code, `what is wrong with ${code}`));
        expect(await gatewise(command, ...(ARGUMENTS[command] ?? []), "--json"), code).toEqual({
          code: CODES[code],
          out: "",
          err: `gatewise: what is wrong with ${code}\n`,
        });
      }
  });
  it("are 1 for what nobody foresaw, whatever it is", async () => {
    for (const [thrown, said] of [
      [new TypeError("x is not a function"), "x is not a function"],
      ["a word", "a word"],
    ] as const) {
      vi.mocked(sampleText).mockRejectedValueOnce(thrown);
      expect(await gatewise("sample", "run", "--json")).toEqual({ code: 1, out: "", err: `gatewise: ${said}\n` });
    }
  });
  it("are 3 where no device comes, whatever the reason", async () => {
    for (const error of ["E_NO_WEBGPU", "E_LIMIT", "E_DEVICE_LOST"] as const) {
      vi.mocked(openNodeDevice).mockRejectedValueOnce(new GatewiseError(error, "none here"));
      const none = await gatewise("check", "--device", "webgpu");
      expect(none).toEqual({ code: 3, out: "", err: "gatewise: none here, or take --device wasm\n" });
    }
    vi.mocked(openNodeDevice).mockRejectedValueOnce(new Error("a fault"));
    expect(await gatewise("check")).toEqual({ code: 1, out: "", err: "gatewise: a fault\n" });
  });
  it("are 0 for help and the version, which are what was asked for", async () => {
    expect(await gatewise("--version")).toEqual({ code: 0, out: "1.2.3\n", err: "" });
    for (const [command, options] of Object.entries(commands)) {
      const { code, out, err } = await gatewise(command, "--help");
      expect({ code, err }).toEqual({ code: 0, err: "" });
      for (const { flags, hidden } of options) if (!hidden) expect(out).toContain(flags);
    }
  });
  it("are 2 for what is no command, an option too many, or an argument too few", async () => {
    for (const args of [[], ["tran"], ["info"], ["info", "run", "run"], ["train", "--hiden", "3"], ["train", "--hidden"]])
      expect(await gatewise(...args), args.join(" ")).toMatchObject({ code: 2, out: "" });
  });
  it("and the README says the same", () => {
    const [, said] = /Exit codes: ([^.]*)\./s.exec(README)!;
    const [done, failed, usage, none, lost, nan, check, signals] = said!.replaceAll(/\s+/g, " ").split(", ");
    expect([done, failed, usage, none, lost, nan, check, signals]).toEqual([
      "0 done",
      `${CODES.E_LIMIT} run failed`,
      `${CODES.E_CONFIG} usage or bad input`,
      `${CODES.E_NO_WEBGPU} no adapter`,
      `${CODES.E_DEVICE_LOST} device lost`,
      `${CODES.E_NAN_LOSS} stopped at NaN`,
      "6 check failed",
      "130 and 143 signals",
    ]);
  });
});

it("options that exclude each other are refused", async () => {
  const pairs = [
    ["train", "--preset", "gru", "--cell", "gru"],
    ["train", "--preset", "gru", "--input", "one-hot"],
    ["train", "--init-from", "run", "--resume", "run"],
    ["import", "saved", "--tokenizer", "tokenizer.json", "--data", "text.txt"],
    ...["train", "compare", "memory", "bench"].map((command) => [command, "--retune", "--no-tune"]),
    ["sample", "run", "--retune", "--no-tune"],
  ];
  for (const args of pairs) {
    const { code, out, err } = await gatewise(...args);
    expect(err, args.join(" ")).toMatch(/^gatewise: option '.*' cannot be used with option '.*'\n$/);
    expect({ code, out }).toEqual({ code: 2, out: "" });
  }
});

it("an error of the library names the option, not the field", async () => {
  const cases: [string[], RegExp][] = [
    [["--batch", "0"], /^gatewise: --batch must be an integer of at least 1, got 0\n$/],
    [["--val", "1"], /^gatewise: --val must be /],
    [["--checkpoint-every", "-1"], /^gatewise: --checkpoint-every must be /],
  ];
  for (const [args, message] of cases) expect((await gatewise("train", ...TINY, ...args)).err).toMatch(message);
});

it("help begins with examples that the command takes, and has its options in groups, the text's first", async () => {
  for (const name of ["train", "sample", "eval", "list", "plot", "compare", "info"]) {
    const { code, out } = await gatewise(name, "--help");
    expect(code).toBe(0);
    const [, examples] = /^Examples:\n((?: {2}gatewise .*\n)+)\nUsage: /.exec(out)!;
    for (const example of examples!.trim().split("\n")) {
      expect(example.trim()).toMatch(new RegExp(`^gatewise ${name}\\b`));
      for (const flag of example.match(/(?<=\s)--[a-z][\w-]*/g) ?? []) expect(names(commands[name]!), example).toContain(flag);
    }
  }
  const { out } = await gatewise("train", "--help");
  expect(out.match(/^\S.*:$/gm)).toEqual([
    "Examples:",
    "Arguments:",
    "Text:",
    "Model:",
    "Training:",
    "Validation, samples, checkpoints:",
    "Run:",
    "Device and output:",
    "Options:",
  ]);
  expect(out).toMatch(/Text:\n {2}--data <text> [^]*alice,[^]*moby-dick/);
});

it("every command in the documents exists, with all the options that are given to it", () => {
  const documents = ["README.md", "CONTRIBUTING.md", "bench/README.md", "docs/coming-from.md", "docs/text.md"].map((name) =>
    readFileSync(join(start, name), "utf8"),
  );
  const shown = documents.flatMap((text) => [...text.replaceAll(" \\\n", " ").matchAll(/\bgatewise (\w+)((?: [^\n`|#]*)?)/g)]);
  let count = 0;
  for (const [whole, command, rest] of shown) {
    const given = rest!.match(/(?<=\s)--[a-z][\w-]*/g) ?? [];
    if (!commands[command!] && given.length === 0) continue;
    expect(Object.keys(commands), whole).toContain(command);
    for (const flag of given) expect(names(commands[command!]!).concat("--help"), whole).toContain(flag);
    count++;
  }
  expect(count).toBeGreaterThan(15);
});

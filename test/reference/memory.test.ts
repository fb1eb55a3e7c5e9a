// The tasks of memory against their own descriptions, and what trains on them, on the CPU.
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { memoryConfig, trainMemory, type MemoryEvent, type MemoryProgress } from "../../src/bench/memory.ts";
import { checkLag, drawTask, TASK_NAMES, TASKS, type TaskName } from "../../src/data/tasks.ts";
import { GatewiseError, LanguageModel, parameterCount } from "../../src/index.ts";
import { languageModelConfig } from "../../src/models/config.ts";
import { PRESET_NAMES } from "../../src/models/presets.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { openNodeDevice } from "../../src/runtime/node.ts";
import { gatewise, lines } from "./command-line.ts";

vi.mock("../../src/cli/version.ts", () => ({ version: () => "1.2.3" }));
vi.mock("../../src/runtime/node.ts", async (load) => ({ ...(await load<object>()), openNodeDevice: vi.fn() }));
beforeEach(() => void vi.mocked(openNodeDevice).mockImplementation(() => openDevice({ prefer: "cpu" })));
afterEach(() => void vi.restoreAllMocks());

const NOTHING = 0xffffffff;
const B = 40;

/** Rows of a task as texts: what is read, and what is to be said, "." where nothing is. */
function rows(name: TaskName, lag: number, testing: boolean, seed = 1, draw = 0): (readonly [read: string, said: string])[] {
  const { inputs, targets, T } = drawTask(name, { lag, B, seed, draw, testing });
  const { characters } = TASKS[name];
  const text = (tokens: Uint32Array, b: number): string =>
    Array.from({ length: T }, (_, t) => (tokens[t * B + b] === NOTHING ? "." : characters[tokens[t * B + b]!]!)).join("");
  return Array.from({ length: B }, (_, b) => [text(inputs, b), text(targets, b)]);
}

describe("what is asked in the task", () => {
  it.each([1, 2, 16])("delay of %i is what stood so many steps before", (lag) => {
    for (const testing of [false, true])
      for (const [read, said] of rows("delay", lag, testing)) {
        expect(read).toMatch(/^[a-h]+$/);
        expect(read.length).toBe(2 * lag + 32);
        expect(said).toBe(".".repeat(lag) + read.slice(0, -lag));
      }
  });

  it("latch is the last capital letter, in the test only where it stands at least the lag back", () => {
    let marks = 0;
    let asked = 0;
    for (const [read, said] of rows("latch", 64, false)) {
      expect(read).toMatch(/^[a-hA-H]{256}$/);
      // The last capital of what was read so far.
      expect(said).toBe([...read].map((_, t) => /([A-H])[a-h]*$/.exec(read.slice(0, t + 1))?.[1] ?? ".").join(""));
      marks += read.replaceAll(/[a-h]/g, "").length;
    }
    // One of 32 of 40 rows of 256: 320, give or take five deviations of 18.
    expect(Math.abs(marks - 320)).toBeLessThan(90);
    for (const [read, said] of rows("latch", 64, true)) {
      expect(read).toHaveLength(256);
      expect(said).toBe([...read].map((_, t) => /([A-H])[a-h]{64,}$/.exec(read.slice(0, t + 1))?.[1] ?? ".").join(""));
      asked += said.replaceAll(".", "").length;
    }
    expect(asked).toBeGreaterThan(500);
  });

  it.each([
    [256, 64],
    [64, 16],
    [16, 16],
    [8, 8],
  ])("copying over %i, trained over %i, is the letters without the dashes", (lag, trained) => {
    for (const testing of [false, true]) {
      const drawn = rows("copy", lag, testing);
      for (const [read, said] of drawn) {
        const length = testing ? lag : trained;
        expect(read).toMatch(new RegExp(`^[a-h-]{${length}}\\?{8}$`));
        expect(said).toBe(".".repeat(length) + read.replaceAll(/[-?]/g, ""));
      }
      // Letters stand everywhere: each of the four quarters has its share of 320.
      for (const quarter of testing ? [0, 1, 2, 3] : []) {
        const part = drawn.map(([read]) => read.slice((quarter * lag) / 4, ((quarter + 1) * lag) / 4)).join("");
        expect(Math.abs(part.replaceAll("-", "").length - 80)).toBeLessThan(40);
      }
    }
  });

  it("parity is whether the ones so far are odd, trained on twelve steps", () => {
    for (const [testing, lag, length] of [
      [true, 256, 256],
      [false, 256, 12],
      [false, 5, 5],
    ] as const)
      for (const [read, said] of rows("parity", lag, testing)) {
        expect(read).toHaveLength(length);
        expect(said).toBe([...read].map((_, t) => (read.slice(0, t + 1).split("1").length - 1) % 2).join(""));
      }
  });

  it.each([1, 2, 32])("recall over %i is the first letter, at the question mark", (lag) => {
    for (const [read, said] of rows("recall", lag, true)) {
      expect(read).toMatch(new RegExp(`^[a-d]-{${lag - 1}}\\?$`));
      expect(said).toBe(".".repeat(lag) + read[0]);
    }
  });

  it.each([2, 5, 32])("adding over %i is the sum of the two capitals, one in each half", (lag) => {
    for (const [read, said] of rows("adding", lag, true)) {
      expect(read).toMatch(new RegExp(`^[a-dA-D]{${lag}}\\?$`));
      const half = Math.floor(lag / 2);
      const capitals = [read.slice(0, half), read.slice(half)].map((part) => part.replaceAll(/[^A-D]/g, ""));
      expect(capitals.map(({ length }) => length)).toEqual([1, 1]);
      const sum = capitals.reduce((sum, letter) => sum + letter.charCodeAt(0) - 65, 0);
      expect(said).toBe(".".repeat(lag) + sum);
    }
  });

  it.each(TASK_NAMES)("%s is drawn alike from a seed, and otherwise from another, at another step and in tests", (name) => {
    const { lag } = TASKS[name];
    const first = rows(name, lag, true, 1, 0);
    expect(rows(name, lag, true, 1, 0)).toEqual(first);
    const [read] = first[0]!;
    // Unlike in more than the length: none of a row's draws, for all rows, is the same.
    for (const other of [rows(name, lag, true, 2, 0), rows(name, lag, true, 1, 1), rows(name, lag, false, 1, 0)]) {
      const length = Math.min(read.length, other[0]![0].length);
      expect(other.map(([text]) => text.slice(0, length))).not.toEqual(first.map(([text]) => text.slice(0, length)));
    }
    // Every character of the vocabulary is read or said, and all of them are given as tokens.
    const seen = new Set(first.flat().join(""));
    expect([...TASKS[name].characters].filter((character) => !seen.has(character))).toEqual([]);
  });

  it.each(TASK_NAMES)("%s has lags that it takes, and refuses others by its name", (name) => {
    const { lag, lags, leastLag, chance, solved } = TASKS[name];
    for (const each of [lag, leastLag, ...lags]) expect(() => checkLag(name, each)).not.toThrow();
    for (const wrong of [leastLag - 1, 2.5, NaN, 65537])
      expect(() => drawTask(name, { lag: wrong, B, seed: 1, draw: 0, testing: true })).toThrow(
        `${name}: lag must be an integer from ${leastLag} to 65536, got ${wrong}`,
      );
    expect(chance).toBeLessThan(solved);
  });

  it("is guessed by whoever knows no more as often as is said", () => {
    for (const name of TASK_NAMES) {
      const said = [0, 1, 2, 3, 4, 5].flatMap((draw) => rows(name, TASKS[name].lag, true, 1, draw).map(([, text]) => text));
      const answers = said.join("").replaceAll(".", "");
      const often = Math.max(...[...TASKS[name].characters].map((c) => answers.split(c).length - 1)) / answers.length;
      expect(Math.abs(often - TASKS[name].chance), name).toBeLessThan(0.08);
    }
  });
});

describe("the models", () => {
  it("are of about equal size, whatever the preset", () => {
    for (const [size, most] of [
      ["full", 40_000],
      ["small", 5000],
    ] as const)
      for (const preset of PRESET_NAMES) {
        const parameters = parameterCount(languageModelConfig(memoryConfig(preset, "latch", size)));
        expect(parameters, preset).toBeLessThanOrEqual(most);
        expect(parameters, preset).toBeGreaterThan((size === "full" ? 0.85 : 0.5) * most);
      }
    const hidden = (["one-hot-rnn", "gru", "lstm"] as const).map((preset) => memoryConfig(preset, "delay").hiddenSize);
    expect(hidden).toEqual([180, 104, 88]);
  });

  it("are as wide in every task", () => {
    for (const preset of PRESET_NAMES)
      expect(new Set(TASK_NAMES.map((task) => memoryConfig(preset, task).hiddenSize)).size).toBe(1);
    expect(memoryConfig("lstm", "parity").vocabSize).toBe(2);
  });

  it("begin with a long memory, if their cell says how", () => {
    expect(memoryConfig("lstm", "recall")).toMatchObject({ cell: "lstm", input: "embedding", forgetBias: 1 });
    expect(memoryConfig("gru", "recall").forgetBias).toBeUndefined();
  });
});

const small = async (task: TaskName, preset: "gru" | "lstm" = "gru"): Promise<LanguageModel> =>
  LanguageModel.create(await openDevice({ prefer: "cpu" }), memoryConfig(preset, task, "small"));

describe("a training", () => {
  it("is over when a test finds the task solved", async () => {
    const model = await small("delay");
    const events: (MemoryProgress | MemoryEvent)[] = [];
    for await (const event of trainMemory(model, { task: "delay", lag: 2, size: "small" })) events.push(event);
    const { steps, accuracy, ...rest } = events.pop() as MemoryEvent;
    expect(rest).toEqual({ v: 1, event: "memory", task: "delay", lag: 2, preset: "gru", parameters: 4360, solved: true });
    expect(accuracy).toBeGreaterThanOrEqual(0.99);
    expect(steps).toBeLessThan(400);
    const progress = events as MemoryProgress[];
    expect(progress[0]).toEqual({ event: "progress", step: 0, steps: 400, accuracy: expect.any(Number) });
    expect(progress.at(-1)).toEqual({ event: "progress", step: steps, steps: 400, accuracy });
    expect(progress.map(({ step }) => step)).toEqual(progress.map(({ step }) => step).sort((a, b) => a - b));
    expect(progress.filter(({ accuracy }) => accuracy >= 0.99)).toHaveLength(1);
    // What it can now, it does not learn again.
    for await (const event of trainMemory(model, { task: "delay", lag: 2, size: "small" }))
      if (event.event === "memory") expect(event).toMatchObject({ steps: 0, solved: true });
    // All is given back but the model.
    const { bytes } = model.device.memory();
    for await (const _ of trainMemory(model, { task: "delay", lag: 2, steps: 1, size: "small" }));
    expect(model.device.memory().bytes).toBe(bytes);
  });

  it("is over after its steps, solved or not", async () => {
    const events = [];
    for await (const event of trainMemory(await small("parity"), { task: "parity", lag: 16, steps: 3, size: "small" }))
      events.push(event);
    expect(events.at(-1)).toMatchObject({ event: "memory", lag: 16, steps: 3, solved: false });
  });

  it("gives the same numbers from the same seed", async () => {
    const accuracies = async (seed: number): Promise<number[]> => {
      const seen = [];
      for await (const { accuracy } of trainMemory(await small("adding"), {
        task: "adding",
        lag: 4,
        steps: 30,
        seed,
        size: "small",
      }))
        seen.push(accuracy);
      return seen;
    };
    const first = await accuracies(3);
    expect(await accuracies(3)).toEqual(first);
    expect(await accuracies(4)).not.toEqual(first);
  });

  it.each(["latch", "copy", "recall"] as const)("counts what is asked, and only that: %s", async (task) => {
    const model = await small(task);
    // Whatever it reads, it says always the same.
    const says = task === "latch" ? 9 : 2;
    const values = Object.entries(await model.stateDict()).map(([name, values]) => {
      const biased = name === "head.bias";
      return [name, values.map((_, i) => Number(biased && i === says))] as const;
    });
    model.loadStateDict(Object.fromEntries(values));
    const lag = 32;
    const T = { latch: 128, copy: 40, recall: 33 }[task];
    const { targets } = drawTask(task, { lag, B: Math.min(256, Math.floor(16384 / T)), seed: 5, draw: 0, testing: true });
    const asked = targets.filter((target) => target !== NOTHING);
    for await (const { accuracy } of trainMemory(model, { task, lag, seed: 5, size: "small" })) {
      expect(accuracy).toBeCloseTo(asked.filter((target) => target === says).length / asked.length, 12);
      break;
    }
  });

  it("ends with the reason of the signal, and gives back what it held", async () => {
    const model = await small("delay");
    const before = model.device.memory().bytes;
    for (const abortAt of [0, 10]) {
      const controller = new AbortController();
      const reason = new Error("that will do");
      const training = async (): Promise<void> => {
        for await (const { event } of trainMemory(model, { task: "delay", lag: 4, size: "small", signal: controller.signal })) {
          expect(event).toBe("progress");
          if (model.parameters.version >= abortAt) controller.abort(reason);
        }
      };
      await expect(training()).rejects.toBe(reason);
      expect(model.device.memory().bytes).toBe(before);
    }
    await expect(trainMemory(model, { task: "delay", signal: AbortSignal.abort(7) }).next()).rejects.toBe(7);
  });

  it("refuses what makes no sense", async () => {
    const model = await small("copy");
    const refused = (options: object): Promise<unknown> => trainMemory(model, { task: "copy", ...options }).next();
    await expect(refused({ lag: 7 })).rejects.toThrow("copy: lag must be an integer from 8 to 65536, got 7");
    await expect(refused({ steps: 0 })).rejects.toThrow("steps must be an integer of at least 1, got 0");
    await expect(refused({ seed: -1 })).rejects.toThrow("seed must be an integer from 0 to 4294967295, got -1");
  });
});

describe("gatewise memory", () => {
  const TINY = ["memory", "--task", "recall", "--lag", "1", "--device", "cpu"];

  it("prints a line of JSON for each preset and task, and nothing else", async () => {
    const { code, out, err } = await gatewise(...TINY, "--presets", "gru,lstm", "--steps", "2", "--seed", "3", "--json");
    expect({ code, err }).toEqual({ code: 0, err: "" });
    const wanted = { v: 1, event: "memory", task: "recall", lag: 1, accuracy: expect.any(Number) };
    expect(lines(out)).toEqual([
      { ...wanted, preset: "gru", parameters: 38_790, steps: 2, solved: false },
      { ...wanted, preset: "lstm", parameters: 37_942, steps: 2, solved: false },
    ]);
  });

  it("tells a person what is solved as it is, and prints a table", async () => {
    const { code, out, err } = await gatewise(...TINY, "--presets", "gru");
    expect(code).toBe(0);
    expect(
      err
        .replaceAll(/\d+ steps/g, "n steps")
        .split("\n")
        .slice(0, 3),
    ).toEqual([
      "device: CPU float32",
      "recall at lag 1: 25.0 % right by chance",
      expect.stringMatching(/^recall · gru: (100\.0|99\.\d) % right after n steps, solved$/),
    ]);
    expect(out.split("\n")[0]).toMatch(/^task · preset +lag +parameters +steps +right +solved$/);
    expect(out.split("\n")[1]).toMatch(/^recall · gru +1 +38,790 +\d+ +[\d.]+ % +yes$/);
  });

  it("is stopped by Ctrl-C, and prints what was found until then", async () => {
    const trying = gatewise("memory", "--task", "recall", "--lag", "16", "--steps", "2", "--device", "cpu");
    const said = vi.mocked(process.stderr.write).mock.calls;
    await vi.waitFor(() => expect(String(said)).toContain("right after 2 steps"), { timeout: 30_000, interval: 2 });
    process.emit("SIGINT");
    const { code, out, err } = await trying;
    expect(code).toBe(130);
    expect(err).toMatch(/\nstopping\n/);
    expect(err).not.toContain("gatewise: ");
    const [, ...rows] = out.trim().split("\n");
    expect(rows).toEqual([expect.stringMatching(/^recall · one-hot-rnn +16 +[\d,]+ +2 +\d+\.\d % +no$/)]);
  });

  it("refuses a lag that a task does not have before it opens a device", async () => {
    vi.mocked(openNodeDevice).mockClear();
    const { code, out, err } = await gatewise("memory", "--task", "all", "--lag", "4");
    expect({ code, out, err }).toEqual({
      code: 2,
      out: "",
      err: "gatewise: copy: lag must be an integer from 8 to 65536, got 4\n",
    });
    expect(openNodeDevice).not.toHaveBeenCalled();
  });

  it("says of which task and preset an error is, and prints what was found until then", async () => {
    const create = LanguageModel.create;
    vi.spyOn(LanguageModel, "create").mockImplementation((device, options) => {
      if (options.cell === "lstm") throw new GatewiseError("E_LIMIT", "no room");
      return create(device, options);
    });
    const { code, out, err } = await gatewise(...TINY, "--presets", "gru,lstm", "--steps", "1");
    expect(code).toBe(1);
    expect(err).toMatch(/\ngatewise: recall, lstm: no room\n$/);
    expect(out).toMatch(/^.*\nrecall · gru .*\n$/);
  });
});

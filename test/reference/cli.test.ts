// The command line as a user meets it, on the CPU: in this process, and the built program as a process of its own where
// streams, exit codes, signals or the bytes of two processes are what is looked at.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { gatewise, lines, workInFolder } from "./command-line.ts";

vi.mock("../../src/cli/version.ts", () => ({ version: () => "1.2.3" }));

const CLI = resolve("dist/cli.js");
const { folder } = workInFolder("cli");

const file = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text);
  return name;
};
file("text.txt", "It was the best of times, it was the worst of times; ".repeat(40));

const TINY = ["--device", "cpu", "--hidden", "6", "--embedding", "4", "--batch", "4", "--seq", "8", "--data", "text.txt"];

function program(...args: readonly string[]): { code: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...args], { cwd: folder, encoding: "utf8" });
  return { code: status, out: stdout, err: stderr };
}

describe("bad input gets one line on stderr, its exit code, and leaves nothing behind:", () => {
  const empty = file("empty.txt", "");
  const short = file("short.txt", "too short");
  const binary = file("binary.bin", "a\0b");
  const cases: [name: string, args: string[], code: number, message: RegExp][] = [
    ["a missing file", ["train", "--data", "nowhere.txt"], 2, /no such file: nowhere\.txt; the bundled books are alice/],
    ["an empty text", ["train", "--data", empty], 2, /empty\.txt is empty/],
    ["a text shorter than a window", ["train", "--device", "cpu", "--data", short, "--batch", "1"], 2, /too short/],
    ["a binary file", ["train", "--data", binary], 2, /no text file/],
    ["a batch larger than the streams allow", ["train", ...TINY, "--batch", "5000"], 2, /use a batch of at most \d+/],
    ["--hidden 0", ["train", ...TINY, "--hidden", "0"], 2, /--hidden must be an integer from 1/],
    ["--hidden twelve", ["train", "--hidden", "twelve"], 2, /--hidden.*expected a number/],
    ["--steps 0", ["train", "--steps", "0"], 2, /--steps must be an integer of at least 1/],
    ["--lr 0", ["train", "--lr", "0"], 2, /--lr must be a number above 0/],
    ["--clip Infinity", ["train", "--clip", "Infinity"], 2, /--clip must be a number of at least 0, got Infinity/],
    ...["4294967297", "1.5", "-1"].map((seed): [string, string[], number, RegExp] => [
      `--seed ${seed}`,
      ["train", ...TINY, `--seed=${seed}`],
      2,
      new RegExp(`--seed must be an integer from 0 to 4294967295, got ${seed}`),
    ]),
    ["relu in an LSTM", ["train", ...TINY, "--nonlinearity", "relu"], 2, /--nonlinearity must be left out with the cell lstm/],
    [
      "a reset gate in an LSTM",
      ["train", ...TINY, "--gru-reset", "before"],
      2,
      /--gru-reset must be left out with the cell lstm/,
    ],
    ["a forget gate in a GRU", ["train", ...TINY, "--cell", "gru", "--forget-bias", "1"], 2, /--forget-bias must be left out/],
    ["a misspelled flag", ["train", "--hiden", "3"], 2, /unknown option '--hiden' \(Did you mean --hidden\?\)/],
    ["an unknown cell", ["train", "--cell", "lstn"], 2, /--cell.*Allowed choices are rnn, gru, lstm/],
    ["an unknown command", ["tran"], 2, /unknown command 'tran'/],
    ["no checkpoint", ["sample", "nowhere"], 2, /no such checkpoint or run folder: nowhere/],
    ["some other file as a checkpoint", ["info", "text.txt"], 2, /text\.txt: not a whole \.safetensors file/],
    ["a negative length", ["sample", "nowhere", "--length", "-4"], 2, /--length.*an integer of at least 0/],
    ["a probability of nothing", ["sample", "nowhere", "--top-p", "0"], 2, /--top-p.*above 0 and at most 1/],
    ["a comparison without validation", ["compare", ...TINY, "--val", "0"], 2, /compare needs a validation part/],
    ["a preset and another cell", ["train", "--preset", "lstm", "--cell", "gru"], 2, /cannot be used with option '--cell/],
    [
      "a file where the run's folder should be",
      ["train", ...TINY, "--out", "text.txt"],
      2,
      /cannot make the run's folder text\.txt/,
    ],
    ["a resumed run that is not there", ["train", "--resume", "runs/none"], 2, /no such checkpoint/],
  ];
  // What the words say before a command is known, in a command, and of a run.
  const asProcess = ["a missing file", "a misspelled flag", "an unknown command", "a batch larger than the streams allow"];
  for (const [name, args, code, message] of cases) {
    it(name, async () => {
      const before = readdirSync(folder, { recursive: true });
      for (const run of asProcess.includes(name) ? [gatewise, program] : [gatewise]) {
        const { code: actual, err, out } = await run(...args);
        expect(err).toMatch(message);
        expect(err.trim().split("\n")).toHaveLength(1);
        expect(err).toMatch(/^gatewise: /);
        expect(actual).toBe(code);
        expect(out).toBe("");
        expect(readdirSync(folder, { recursive: true })).toEqual(before);
      }
    });
  }
});

describe("train", () => {
  it("prints the events as JSON, one a line, and nothing else on stdout", () => {
    const { code, out } = program(
      "train",
      ...TINY,
      "--steps",
      "6",
      "--log-every",
      "2",
      "--eval-every",
      "3",
      "--sample-every",
      "6",
      "--val",
      "0.1",
      "--out",
      "json",
      "--json",
    );
    expect(code).toBe(0);
    const events = lines(out);
    expect(events.map((e) => `${e.event}${e.step ?? ""}`)).toEqual([
      "start0",
      "step2",
      "eval3",
      "checkpoint3",
      "step4",
      "step6",
      "eval6",
      "checkpoint6",
      "sample6",
      "checkpoint6",
      "end6",
    ]);
    expect(events.every((e) => e.v === 1)).toBe(true);
    expect(events[0]).toMatchObject({ device: "CPU float32", parameters: expect.any(Number) });
    expect(events[1]).toMatchObject({ loss: expect.any(Number), tokensPerSecond: expect.any(Number) });
    expect(events[3]).toMatchObject({ best: true });
    expect(events[2]).toMatchObject({ valLoss: expect.any(Number), valBpc: expect.any(Number) });
    expect(events[2].valBpc).toBeCloseTo(events[2].valLoss / Math.LN2, 9);
    expect(events.at(-1)).toMatchObject({ reason: "done" });
  });

  it("never writes into another run's folder", async () => {
    for (const [asked, given] of [
      ["mine", "mine"],
      ["mine", "mine-2"],
      ["mine/", "mine-3"],
    ] as const) {
      const { out } = await gatewise("train", ...TINY, "--steps", "2", "--out", asked, "--json");
      expect(lines(out).at(-1).out).toBe(given);
    }
  });

  it("keeps the last three checkpoints and the best", async () => {
    await gatewise(
      "train",
      ...TINY,
      "--steps",
      "10",
      "--checkpoint-every",
      "2",
      "--eval-every",
      "2",
      "--val",
      "0.1",
      "--out",
      "kept",
    );
    expect(readdirSync(join(folder, "kept")).sort()).toEqual([
      "best.safetensors",
      "checkpoint-10.safetensors",
      "checkpoint-6.safetensors",
      "checkpoint-8.safetensors",
      "log.csv",
      "run.json",
    ]);
  });

  it("resumed gives the bytes of the unbroken run, whatever flags are left out", async () => {
    await gatewise("train", ...TINY, "--steps", "9", "--layers", "2", "--dropout", "0.2", "--lr", "0.01", "--out", "whole");
    await gatewise(
      "train",
      ...TINY,
      "--steps",
      "9",
      "--layers",
      "2",
      "--dropout",
      "0.2",
      "--lr",
      "0.01",
      "--checkpoint-every",
      "4",
      "--out",
      "parts",
    );
    rmSync(join(folder, "parts/checkpoint-9.safetensors"));
    rmSync(join(folder, "parts/checkpoint-8.safetensors"));
    const { code, err } = program("train", "--resume", "parts", "--checkpoint-every", "250");
    expect(err).toContain("from step 4");
    expect(code).toBe(0);
    const bytes = (run: string) => readFileSync(join(folder, run, "checkpoint-9.safetensors"));
    expect(bytes("parts").equals(bytes("whole"))).toBe(true);
  });

  it("passes over a damaged newest checkpoint, saying so", async () => {
    await gatewise("train", ...TINY, "--steps", "6", "--checkpoint-every", "3", "--out", "damaged");
    truncateSync(join(folder, "damaged/checkpoint-6.safetensors"), 1000);
    const { code, err } = await gatewise("train", "--resume", "damaged", "--steps", "7");
    expect(err).toMatch(/checkpoint-6\.safetensors: .*cut short.*using .*checkpoint-3\.safetensors instead/);
    expect(err).toContain("from step 3");
    expect(code).toBe(0);
    const only = await gatewise("info", "damaged/checkpoint-6.safetensors");
    expect(only.code).toBe(0);
  });

  it("begins a branch when resumed from a checkpoint that is not the newest, and leaves the rest alone", async () => {
    await gatewise("train", ...TINY, "--steps", "6", "--checkpoint-every", "2", "--out", "tree");
    const newest = readFileSync(join(folder, "tree/checkpoint-6.safetensors"));
    const { code, out } = await gatewise("train", "--resume", "tree/checkpoint-2.safetensors", "--steps", "5", "--json");
    expect(code).toBe(0);
    expect(lines(out).at(-1)).toMatchObject({ step: 5, out: "tree-2" });
    expect(readdirSync(join(folder, "tree"))).not.toContain("checkpoint-5.safetensors");
    expect(readFileSync(join(folder, "tree/checkpoint-6.safetensors")).equals(newest)).toBe(true);
  });

  it("warns when the text has changed, and refuses one with other characters or none at all", async () => {
    const data = file("changing.txt", "a quick brown fox; ".repeat(60));
    await gatewise("train", ...TINY, "--data", data, "--steps", "2", "--out", "changing");
    file(data, "a brown quick fox; ".repeat(60));
    const other = await gatewise("train", "--resume", "changing", "--steps", "3");
    expect(other.err).toMatch(/warning: .*changing\.txt is not the text that this run was trained on/);
    expect(other.code).toBe(0);
    file(data, "A QUICK BROWN FOX; ".repeat(60));
    expect(await gatewise("train", "--resume", "changing", "--steps", "4")).toMatchObject({
      code: 2,
      err: expect.stringMatching(
        /characters that the model does not know \("A".*; a run goes on with the characters that it began with: .* --init-from changing with --extend-vocabulary or --unknown\n/,
      ),
    });
    rmSync(join(folder, data));
    expect(await gatewise("train", "--resume", "changing", "--steps", "4")).toMatchObject({
      code: 2,
      err: expect.stringMatching(/no such file/),
    });
  });

  it("made longer, says how its rate jumps, and offers to go on from the rate it had or to begin a new schedule", async () => {
    const end = await gatewise("train", ...TINY, "--steps", "10", "--schedule", "cosine", "--lr", "0.01", "--out", "cosine");
    expect(end.err).toMatch(/train --resume cosine --steps 20 --schedule-from reached$/m);
    const on = async (...args: string[]): Promise<{ err: string; rates: number[] }> => {
      rmSync(join(folder, "cosine/checkpoint-20.safetensors"), { force: true });
      const { err, out } = await gatewise("train", "--resume", "cosine", "--steps", "20", "--log-every", "1", "--json", ...args);
      return { err, rates: lines(out).flatMap((e) => (e.event === "step" ? [Number(e.learningRate.toPrecision(3))] : [])) };
    };
    const stretched = await on();
    expect(stretched.err).toMatch(/^warning: the learning rate goes from 0\.00122 at step 10 to 0\.0055, by the cosine/m);
    expect(stretched.err).toMatch(/; --schedule-from reached goes on from .*, --schedule-from peak begins a new schedule/);
    expect(stretched.rates[0]).toBe(0.0055);
    const reached = await on("--schedule-from", "reached");
    expect(reached.err).not.toContain("learning rate");
    expect(reached.rates[0]).toBe(0.00122);
    const peak = await on("--schedule-from", "peak");
    expect(peak.err).toMatch(/^warning: the learning rate goes from 0\.00122 at step 10 to 0\.01, by .* 20 steps$/m);
    expect(peak.rates[0]).toBe(0.01);
    const bad = [
      await gatewise("train", ...TINY, "--schedule-from", "peak"),
      await gatewise("train", "--resume", "cosine", "--steps", "20", "--schedule-from", "reached", "--lr", "1"),
    ];
    expect(bad.map(({ code }) => code)).toEqual([2, 2]);
    expect(bad[0]!.err).toMatch(/--schedule-from is for a run that goes on; give it with --resume/);
    expect(bad[1]!.err).toMatch(/leave --lr out/);
  });

  it("goes on with another optimizer or precision, and passes over a newest file that claims what it does not hold", async () => {
    await gatewise("train", ...TINY, "--steps", "4", "--checkpoint-every", "2", "--out", "other");
    const newest = join(folder, "other/checkpoint-4.safetensors");
    // As long as what stood there, so that the header keeps its length.
    writeFileSync(newest, readFileSync(newest, "latin1").replace('\\"hiddenSize\\":6,', '\\"hiddenSize\\":9,'), "latin1");
    const { code, err } = await gatewise("train", "--resume", "other", "--optimizer", "sgd", "--precision", "f16");
    expect(err).toMatch(/checkpoint-4\.safetensors: the checkpoint does not hold .* must be .*using .*checkpoint-2\./);
    expect(err).toMatch(/^warning: the optimizer is sgd now, and was adam: its moments begin from zero$/m);
    expect(code).toBe(0);
    expect(lines((await gatewise("info", "other", "--json")).out)[0].config.precision).toBe("f16");
  });

  it("says once of an option that does nothing that it does nothing", async () => {
    const { code, err } = await gatewise(
      "train",
      ...TINY,
      "--steps",
      "2",
      "--dropout",
      "0.2",
      "--momentum",
      "0.9",
      "--out",
      "idle",
    );
    expect(code).toBe(0);
    expect(err.match(/^warning: .*$/gm)).toEqual([
      "warning: --dropout acts between layers, and this model has one: it does nothing",
      "warning: --momentum is SGD's: with adam it does nothing",
    ]);
    const used = ["--layers", "2", "--dropout", "0.2", "--optimizer", "sgd", "--momentum", "0.9"];
    expect((await gatewise("train", ...TINY, "--steps", "2", ...used, "--out", "used")).err).not.toContain("warning");
  });

  it("starts a new run from another's weights with --init-from", async () => {
    await gatewise("train", ...TINY, "--steps", "4", "--out", "first");
    const { code, out } = await gatewise(
      "train",
      "--init-from",
      "first",
      "--data",
      "text.txt",
      "--device",
      "cpu",
      "--batch",
      "4",
      "--seq",
      "8",
      "--steps",
      "2",
      "--out",
      "second",
      "--json",
    );
    expect(code).toBe(0);
    expect(lines(out)[0]).toMatchObject({ step: 0, out: "second" });
  });

  it("stops at a loss that explodes with exit code 5 and says what to do", async () => {
    const { code, err } = await gatewise(
      "train",
      ...TINY,
      "--cell",
      "rnn",
      "--nonlinearity",
      "relu",
      "--optimizer",
      "sgd",
      "--lr",
      "1000",
      "--log-every",
      "1",
      "--out",
      "wild",
    );
    expect(code).toBe(5);
    expect(err).toMatch(/lower the learning rate|Lower the learning rate/);
    expect(err).toMatch(/start again with --lr/);
    expect(readdirSync(folder)).not.toContain("wild");
  });

  it("keeps the last checkpoint from before an explosion, names it, and goes on from it", async () => {
    const every = ["--log-every", "1", "--checkpoint-every", "1", "--eval-every", "0", "--sample-every", "0"];
    await gatewise("train", ...TINY, ...every, "--steps", "4", "--out", "burst");
    const { code, err } = await gatewise("train", "--resume", "burst", "--steps", "30", "--lr", "1e30", "--clip", "0");
    expect(code).toBe(5);
    expect(err).toMatch(/last good checkpoint is burst\/checkpoint-4\.safetensors; .* train --resume burst\/checkpoint-4\./);
    const again = await gatewise(
      "train",
      "--resume",
      "burst/checkpoint-4.safetensors",
      "--steps",
      "30",
      "--lr",
      "1e-3",
      "--json",
    );
    expect(again.code).toBe(0);
    expect(lines(again.out).at(-1).loss).toBeLessThan(3);
  });

  it("hears a signal in the midst of steps too short to notice, and has saved within a second", async () => {
    const args = ["train", ...TINY, "--steps", "5000000", "--checkpoint-every", "0", "--eval-every", "0", "--sample-every", "0"];
    const stop = async (out: string): Promise<number> => {
      const child = spawn(process.execPath, [CLI, ...args, "--out", out], { cwd: folder });
      let err = "";
      let [sent, saved] = [0, Infinity];
      child.stderr.on("data", (data: Buffer) => {
        err += data;
        if (sent === 0 && err.includes("step ")) sent = Number(child.kill("SIGINT")) * performance.now();
        if (saved === Infinity && err.includes("; saved ")) saved = performance.now();
      });
      expect(await new Promise((done) => child.on("close", done))).toBe(130);
      return saved - sent;
    };
    // A machine that does something else in between is slow once, not always.
    const took: number[] = [];
    while (took.length < 4 && !(took.at(-1)! < 1000)) took.push(await stop(`short-steps-${took.length}`));
    expect(Math.min(...took)).toBeLessThan(1000);
  });

  it("ends at once at the second signal", async () => {
    // Steps of many seconds, so that the first signal alone would be waited for.
    const sizes = ["--hidden", "512", "--batch", "64", "--seq", "24", "--val", "0"];
    const child = spawn(process.execPath, [CLI, "train", ...TINY, ...sizes, "--out", "twice"], { cwd: folder });
    const closed = new Promise((done) => child.on("close", done));
    const said = (word: string) =>
      new Promise((done) => child.stderr.on("data", (data: Buffer) => String(data).includes(word) && done(0)));
    const stopping = said("stopping");
    await said("run:");
    child.kill("SIGINT");
    await stopping;
    // Sooner it would be an echo of the first.
    await new Promise((done) => setTimeout(done, 600));
    child.kill("SIGINT");
    expect(await closed).toBe(130);
    expect(readdirSync(join(folder, "twice"))).toEqual(["run.json"]);
  });

  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const) {
    it(`saves on ${signal}, exits ${code}, and goes on to the bytes of the unbroken run`, async () => {
      const args = ["train", ...TINY, "--steps", "400", "--eval-every", "0", "--sample-every", "0", "--log-every", "1", "--json"];
      const child = spawn(process.execPath, [CLI, ...args, "--out", signal], { cwd: folder });
      let out = "";
      let signalled = false;
      child.stdout.on("data", (data: Buffer) => {
        out += data;
        if (!signalled && out.includes('"event":"step"')) signalled = child.kill(signal);
      });
      let err = "";
      child.stderr.on("data", (data: Buffer) => (err += data));
      const exit = await new Promise((done) => child.on("close", done));
      expect(exit).toBe(code);
      const end = lines(out).at(-1);
      expect(end).toMatchObject({ event: "end", reason: "aborted" });
      expect(end.step).toBeLessThan(400);
      expect(readdirSync(join(folder, signal))).toContain(`checkpoint-${end.step}.safetensors`);
      expect((await gatewise("train", "--resume", signal)).code).toBe(0);
      await gatewise(...args, "--out", `${signal}-whole`);
      const bytes = (run: string) => readFileSync(join(folder, run, "checkpoint-400.safetensors"));
      expect(bytes(signal).equals(bytes(`${signal}-whole`))).toBe(true);
    });
  }
});

describe("sample, info and compare", () => {
  const trained = "trained";
  beforeAll(async () => {
    await gatewise("train", ...TINY, "--steps", "30", "--lr", "0.05", "--out", trained);
  });

  it("sample continues the prompt, the same for the same seed", async () => {
    const args = ["sample", trained, "--device", "cpu", "--prompt", "It ", "--length", "40", "--seed", "3"];
    const [first, second] = [await gatewise(...args), program(...args)];
    expect(first.code).toBe(0);
    expect(first.out).toMatch(/^It [^]{40}\n$/);
    expect(second.out).toBe(first.out);
    const many = lines((await gatewise(...args, "--count", "3", "--json")).out);
    expect(many.map((m) => m.index)).toEqual([0, 1, 2]);
    expect(`${many[0].text}\n`).toBe(first.out);
  });

  it("sample names the characters of a prompt that the model does not know", async () => {
    const { code, err } = await gatewise("sample", trained, "--device", "cpu", "--prompt", "déjà");
    expect(code).toBe(2);
    expect(err).toMatch(
      /unknown characters "d" \(U\+0064\) at position 0|unknown characters "é" \(U\+00E9\) at position 1, "j" /,
    );
  });

  it("info says what a checkpoint holds", async () => {
    const { code, out } = await gatewise("info", trained);
    expect(out).not.toContain("undefined");
    expect(code).toBe(0);
    expect(out).toMatch(/cell lstm .*hiddenSize 6/);
    expect(out).toMatch(/rnn\.weight_hh_l0\s+\[24, 6\]/);
    expect(lines((await gatewise("info", trained, "--json")).out)[0].tensors["optimizer.v.head.bias"]).toHaveLength(1);
  });

  it("compare trains the four presets in the order of the evolution", async () => {
    const { code, out } = await gatewise("compare", ...TINY, "--steps", "5", "--prompt", "It ", "--json");
    expect(code).toBe(0);
    const rows = lines(out);
    expect(rows.map((row) => row.preset)).toEqual(["one-hot-rnn", "embedding-rnn", "gru", "lstm"]);
    for (const row of rows) {
      expect(row.valLoss).toBeGreaterThan(0);
      expect(row.sample).toMatch(/^It [^]{240}$/);
    }
    // The text has no "A": without a prompt given, samples begin with nothing.
    const table = (await gatewise("compare", ...TINY, "--steps", "2", "--markdown")).out;
    expect(table).toMatch(/^\| preset \| parameters \| val\. loss \|/);
  });
});

it("a killed process leaves every checkpoint whole, and nothing behind it running", async () => {
  mkdirSync(join(folder, "killed"), { recursive: true });
  const args = [
    "train",
    ...TINY,
    "--steps",
    "100000",
    "--checkpoint-every",
    "1",
    "--eval-every",
    "0",
    "--sample-every",
    "0",
    "--out",
    "killed/run",
  ];
  const child = spawn(process.execPath, [CLI, ...args], { cwd: folder, stdio: "ignore", detached: true });
  const run = join(folder, "killed/run");
  const begun = (): boolean => existsSync(run) && readdirSync(run).some((name) => name.startsWith("checkpoint-"));
  await vi.waitFor(() => expect(begun()).toBe(true), { timeout: 30_000 });
  await new Promise((done) => setTimeout(done, Math.random() * 300));
  // The whole group: in a checkout the program may run itself again with the adapter's environment.
  process.kill(-child.pid!, "SIGKILL");
  await new Promise((done) => child.on("close", done));
  const kept = readdirSync(run).filter((name) => name.startsWith("checkpoint-"));
  expect(kept.length).toBeGreaterThan(0);
  for (const name of kept) expect((await gatewise("info", join("killed/run", name))).code).toBe(0);
});

it("a run whose terminal takes no more messages still saves when it is told to stop", async () => {
  const args = ["train", ...TINY, "--steps", "1000000", "--eval-every", "0", "--sample-every", "0", "--out", "closed", "--json"];
  const child = spawn(process.execPath, [CLI, ...args], { cwd: folder });
  child.stderr.destroy();
  let step = 0;
  child.stdout.on("data", (data: Buffer) => {
    if (step === 0 && data.includes('"event":"step"')) step = Number(child.kill("SIGHUP"));
  });
  const exit = await new Promise((done) => child.on("close", done));
  expect(exit).toBe(129);
  expect(readdirSync(join(folder, "closed")).some((name) => name.startsWith("checkpoint-"))).toBe(true);
});

it("resuming a checkpoint that lies by itself leaves its folder alone", async () => {
  await gatewise("train", ...TINY, "--steps", "4", "--checkpoint-every", "1", "--out", "source");
  mkdirSync(join(folder, "loose"));
  for (const step of [2, 3, 4]) {
    const name = `checkpoint-${step}.safetensors`;
    writeFileSync(join(folder, "loose", name), readFileSync(join(folder, "source", name)));
  }
  writeFileSync(join(folder, "loose", ".other.123.tmp"), "someone else's");
  const before = readdirSync(join(folder, "loose"));
  const { code, out } = await gatewise(
    "train",
    "--resume",
    "loose/checkpoint-4.safetensors",
    "--data",
    "text.txt",
    "--device",
    "cpu",
    "--steps",
    "6",
    "--checkpoint-every",
    "1",
    "--json",
  );
  expect(code).toBe(0);
  expect(readdirSync(join(folder, "loose"))).toEqual(before);
  expect(lines(out).at(-1).out).toContain("runs");
});

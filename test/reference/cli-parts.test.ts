// The parts of the command line by themselves: figures, words and names for people, the live line, a run's files.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { loadText, readPrompt } from "../../src/cli/data.ts";
import {
  claimFolder,
  keepCheckpoint,
  releaseFolder,
  removeLeftovers,
  soundCheckpoint,
  writeSafely,
  type RunInfo,
} from "../../src/cli/files.ts";
import { lockFolder } from "../../src/cli/lock.ts";
import { count, duration, percent, programName, Progress, quote, rate, shown } from "../../src/cli/progress.ts";
import { CharTokenizer } from "../../src/data/tokenizer.ts";

vi.mock("../../src/cli/lock.ts", { spy: true });
vi.mock("node:fs/promises", { spy: true });

const folder = mkdtempSync(join(tmpdir(), "gatewise-parts-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const at = (...names: string[]): string => join(folder, ...names);
const make = (name: string): string => {
  mkdirSync(at(name));
  return at(name);
};
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

describe("for people", () => {
  it("rates have three digits", () => {
    const rates = { 0.04: "0.0", 9.94: "9.9", 10: "10", 980: "980", 999.4: "999", 1000: "1.00k", 9990: "9.99k", 12_345: "12.3k" };
    for (const [value, text] of Object.entries({ ...rates, 123_456: "123k", 999_499: "999k", 999_500: "1.00M", 2.5e7: "25.0M" }))
      expect(rate(Number(value)), value).toBe(text);
  });
  it("times are in the two largest units", () => {
    const times = { 0: "0 s", 0.4: "0 s", 59.4: "59 s", 59.5: "1 min 0 s", 200: "3 min 20 s", 3599.4: "59 min 59 s" };
    for (const [value, text] of Object.entries({ ...times, 3600: "1 h 0 min", 7559: "2 h 5 min", 90_000: "25 h 0 min" }))
      expect(duration(Number(value)), value).toBe(text);
  });
  it("parts are in percent, counts have commas", () => {
    expect([percent(0.1234), percent(1), count(1234567), count(12)]).toEqual(["12.3 %", "100.0 %", "1,234,567", "12"]);
  });
  it("words are quoted where a shell would take them for something else", () => {
    for (const word of ["runs/a-b_2.x", "a:b@c+d"]) expect(quote(word)).toBe(word);
    for (const word of ["", "a b", "$HOME", "a;b", "it's", "ü", "*", "a\nb"])
      expect(spawnSync("sh", ["-c", `printf %s ${quote(word)}`], { encoding: "utf8" }).stdout).toBe(word);
  });
  it("paths are as short as they can be said from here", () => {
    expect(shown(join(process.cwd(), "runs", "a"))).toBe(join("runs", "a"));
    expect(shown(process.cwd())).toBe(".");
    expect(shown("runs/a")).toBe("runs/a");
    expect(shown(join(process.cwd(), "..", "a"))).toBe(join(process.cwd(), "..", "a"));
  });
  it("the program is called as the user called it", () => {
    const [argv, npm] = [process.argv, process.env.npm_command];
    try {
      process.argv = ["node", join(process.cwd(), "dist/cli.js")];
      delete process.env.npm_command;
      expect(programName()).toBe("node dist/cli.js");
      process.argv = ["node", "/usr/bin/gatewise"];
      expect(programName()).toBe("gatewise");
      process.env.npm_command = "exec";
      expect(programName()).toBe("npx gatewise");
    } finally {
      process.argv = argv;
      if (npm === undefined) delete process.env.npm_command;
      else process.env.npm_command = npm;
    }
  });
});

describe("a run's progress", () => {
  /** Steps at the given times in milliseconds, each with a loss of ln 2 × its number; what is written on stderr. */
  function written(times: readonly number[], terminal: boolean, total = 100, settings: object = {}): string[] {
    vi.useFakeTimers({ toFake: ["performance"] });
    const isTTY = process.stderr.isTTY;
    const lines: string[] = [];
    const write = vi.spyOn(process.stderr, "write").mockImplementation((text) => lines.push(String(text)) > 0);
    process.stderr.isTTY = terminal;
    try {
      const sizes = { totalSteps: total, batchSize: 10, seqLen: 100, evalInterval: 0, evalTokens: 0 };
      const progress = new Progress(sizes, { label: "x ", ...settings });
      let now = 0;
      times.forEach((time, i) => {
        vi.advanceTimersByTime(time - now);
        now = time;
        const step = {
          v: 1,
          event: "step",
          step: i + 1,
          seconds: time / 1000,
          loss: Math.LN2 * (i + 1),
          tokensPerSecond: 500,
        } as const;
        progress.step({ ...step, learningRate: 1, gradNorm: 1 });
      });
    } finally {
      process.stderr.isTTY = isTTY;
      write.mockRestore();
    }
    return lines;
  }

  it("without a terminal is a line at first, one every ten seconds, and one at the end", () => {
    expect(written([0, 5000, 9999, 10_000, 12_000, 20_000], false).map((line) => line.slice(0, 14))).toEqual([
      "x step   1/100",
      "x step   4/100",
      "x step   6/100",
    ]);
    expect(written([0, 1, 2], false, 3).map((line) => line.slice(0, 10))).toEqual(["x step 1/3", "x step 3/3"]);
  });
  it("tells the time left by the rate at first, and by the clock when there has been a second of it", () => {
    // 99 steps of 1,000 characters at 500 a second; then one step every 10 seconds.
    expect(written([0, 10_000], false)[0]).toMatch(
      /^x step +1\/100 · training loss 0\.693 · 1\.00 bits\/character · 500 characters\/s · 3 min 18 s left\n$/,
    );
    expect(written([0, 10_000], false)[1]).toMatch(/ · 16 min 20 s left\n$/);
  });
  it("smooths the loss, without being drawn to zero at its beginning", () => {
    // Of 1 and 2, with weights 0.09 and 0.1.
    expect(written([0, 10_000], false)[1]).toContain(`loss ${((Math.LN2 * (0.09 + 0.2)) / 0.19).toFixed(3)} · 1.53 bits`);
  });
  it("has a line for each report where that was asked for, in a terminal too", () => {
    for (const terminal of [true, false])
      expect(written([0, 5, 10, 15], terminal, 100, { everyReport: true }).map((line) => line.replace("\r\x1b[2K", ""))).toEqual(
        [1, 2, 3, 4].map((step) => expect.stringMatching(new RegExp(`^x step +${step}/100 · .* left\n$`))),
      );
  });
  it("fits the terminal: what matters least goes first, the time left last", () => {
    const { columns } = process.stderr;
    const fitting = (width: number): string => {
      process.stderr.columns = width;
      return written([0], true, 100)[0]!.slice("\r\x1b[2K".length);
    };
    try {
      const [step, loss, left] = ["x step   1/100", "training loss 0.693", "3 min 18 s left"];
      expect(fitting(120)).toBe([step, loss, "1.00 bits/character", "500 characters/s", left].join(" · "));
      expect(fitting(80)).toBe([step, loss, "500 characters/s", left].join(" · "));
      expect(fitting(60)).toBe([step, loss, left].join(" · "));
      expect(fitting(50)).toBe([step, left].join(" · "));
      expect(fitting(20)).toBe(left);
      expect(fitting(10)).toBe(left!.slice(0, 9));
    } finally {
      process.stderr.columns = columns;
    }
  });
  it("counts the validations to come into the time left, and tells of one that goes on", () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    const lines: string[] = [];
    const write = vi.spyOn(process.stderr, "write").mockImplementation((text) => lines.push(String(text)) > 0);
    const told = (): string => lines.at(-1)!;
    try {
      const sizes = { totalSteps: 30, batchSize: 10, seqLen: 100, evalInterval: 10, evalTokens: 6000 };
      const progress = new Progress(sizes);
      progress.begin({ step: 0, valTokens: 9000 });
      const step = (number: number): void =>
        progress.step({
          v: 1,
          event: "step",
          step: number,
          seconds: 1,
          loss: 1,
          tokensPerSecond: 1000,
          learningRate: 1,
          gradNorm: 1,
        });
      step(1);
      // 29 steps of a second, and three validations, each of a third of what 6,000 characters of training take.
      expect(told()).toContain("35 s left");
      vi.advanceTimersByTime(9000);
      step(10);
      progress.evaluating(1, 5);
      vi.advanceTimersByTime(10_000);
      progress.evaluating(3, 5);
      expect(told()).toMatch(/^step 10\/30 · validating: 60 % · /);
      vi.advanceTimersByTime(2000);
      const figures = { v: 1, event: "eval", seconds: 1, valLoss: 1, valBitsPerToken: 1, valAccuracy: 0.5, best: false } as const;
      progress.evaluated({ ...figures, step: 10 });
      vi.advanceTimersByTime(10_000);
      step(20);
      // Ten steps of a second, as before, and one validation of 12 seconds.
      expect(told()).toContain(" 22 s left");
      progress.evaluating(1, 5);
      vi.advanceTimersByTime(10_000);
      progress.evaluated({ ...figures, step: 20 });
      vi.advanceTimersByTime(1000);
      step(21);
      // Nine steps, and one validation of 10 seconds.
      expect(told()).toContain(" 19 s left");
    } finally {
      write.mockRestore();
      vi.useRealTimers();
    }
  });
  it("in a terminal is drawn over itself, ten times a second at most", () => {
    expect(written([0, 50, 99, 100, 150], true).map((line) => line.slice(0, 19))).toEqual(
      ["\r\x1b[2Kx step   1/100", "\r\x1b[2Kx step   4/100"].map((line) => line.slice(0, 19)),
    );
  });
});

describe("a text", () => {
  it("is named after its file, fit for a folder", async () => {
    const names = {
      "A Book (1).TXT": "a-book-1",
      "..dots..txt": "dots",
      "ünï.txt": "n",
      "---.txt": "text",
      "x.tar.gz": "x.tar",
      "Book.txt.gz": "book",
      plain: "plain",
    };
    for (const [file, name] of Object.entries(names)) {
      writeFileSync(at(file), "words");
      expect(await loadText(at(file))).toEqual({ text: "words", source: at(file), name, encoding: "UTF-8", reading: {} });
    }
  });
  it("that cannot be read is refused with the reason", async () => {
    make("a-folder");
    await expect(loadText(at("a-folder"))).rejects.toMatchObject({
      code: "E_DATA",
      message: `${at("a-folder")} is a folder without a file *.txt; say with --pattern which files to read`,
    });
    await expect(loadText(at("none"))).rejects.toThrow(/^no such file: .*; the bundled books are alice, /);
    writeFileSync(at("nothing.txt"), "");
    await expect(loadText(at("nothing.txt"))).rejects.toMatchObject({
      code: "E_DATA",
      message: expect.stringContaining("is empty"),
    });
  });
  it("from an address is named after the last part of its path", async () => {
    const server = createServer((_, response) => response.end("from afar"));
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    vi.spyOn(process.stderr, "write").mockReturnValue(true);
    const url = `HTTP://127.0.0.1:${(server.address() as AddressInfo).port}/some/Far%20Book.txt?x=a/b&y=1.5`;
    expect(await loadText(url)).toMatchObject({ text: "from afar", source: url, name: "far-20book" });
    server.close();
  });
  it("of a bundled book's name is the book, in any case of letters, and a path is a file", async () => {
    expect(await loadText("Alice")).toMatchObject({ name: "alice", source: "alice", text: expect.stringContaining("Cheshire") });
    writeFileSync(at("alice"), "a file");
    const here = process.cwd();
    process.chdir(folder);
    expect((await loadText("alice")).text).toContain("Cheshire");
    expect((await loadText("./alice")).text).toBe("a file");
    process.chdir(here);
  });
  it("and a prompt have the same line ends, unless the model knows others", () => {
    expect(readPrompt("a\r\nb\rc", CharTokenizer.fromText("abc\n"))).toBe("a\nb\nc");
    expect(readPrompt("a\r\nb\rc", CharTokenizer.fromText("abc\r\n"))).toBe("a\r\nb\rc");
  });
});

describe("a run's files", () => {
  const info: RunInfo = { data: "alice", device: "cpu", adapter: "CPU" };
  const bytes = Uint8Array.of(1, 2, 3);
  const kept = (name: string): string[] => readdirSync(at(name)).sort();

  it("a file is replaced whole, and what fails leaves nothing behind", async () => {
    make("safe");
    writeFileSync(at("safe", "x"), "old and longer");
    await writeSafely(at("safe", "x"), bytes);
    expect([...readFileSync(at("safe", "x"))]).toEqual([1, 2, 3]);
    mkdirSync(at("safe", "y"));
    await expect(writeSafely(at("safe", "y"), bytes)).rejects.toThrow(`could not write ${at("safe", "y")}: `);
    expect(kept("safe")).toEqual(["x", "y"]);
    await expect(writeSafely(at("nowhere", "x"), bytes)).rejects.toThrow("could not write");
  });

  it("the last three checkpoints stay, and the newest from before the last sound step; those of later steps do not count", async () => {
    make("three");
    writeFileSync(at("three", "checkpoint-90.safetensors"), "of an abandoned end");
    for (const step of [1, 2, 3, 4, 5, 9, 10]) {
      expect(await keepCheckpoint(at("three"), step, bytes, 3)).toBe(at("three", `checkpoint-${step}.safetensors`));
    }
    expect(kept("three")).toEqual([10, 2, 5, 9, 90].map((step) => `checkpoint-${step}.safetensors`).sort());
    await keepCheckpoint(at("three"), 11, bytes, Infinity);
    expect(kept("three")).toEqual([10, 11, 9, 90].map((step) => `checkpoint-${step}.safetensors`).sort());
  });

  it("one that cannot be removed costs room, not the save", async () => {
    make("stubborn");
    for (const step of [1, 2, 3]) await keepCheckpoint(at("stubborn"), step, bytes, 9);
    vi.mocked(rm).mockRejectedValueOnce(new Error("busy"));
    expect(await keepCheckpoint(at("stubborn"), 4, bytes, 9)).toBe(at("stubborn", "checkpoint-4.safetensors"));
    expect(kept("stubborn")).toEqual([1, 2, 3, 4].map((step) => `checkpoint-${step}.safetensors`));
    await keepCheckpoint(at("stubborn"), 5, bytes, 9);
    expect(kept("stubborn")).toEqual([3, 4, 5].map((step) => `checkpoint-${step}.safetensors`));
  });

  it("the sound checkpoint is the newest from before a step, else the best, else none", async () => {
    make("sound");
    expect(await soundCheckpoint(at("sound"), Infinity)).toBeUndefined();
    expect(await soundCheckpoint(at("gone"), Infinity)).toBeUndefined();
    writeFileSync(at("sound", "best.safetensors"), "");
    for (const step of [5, 10, 100]) writeFileSync(at("sound", `checkpoint-${step}.safetensors`), "");
    const found = async (proven: number): Promise<string> =>
      (await soundCheckpoint(at("sound"), proven))!.slice(folder.length + 7);
    expect([await found(Infinity), await found(100), await found(10), await found(5)]).toEqual([
      "checkpoint-100.safetensors",
      "checkpoint-10.safetensors",
      "checkpoint-5.safetensors",
      "best.safetensors",
    ]);
  });

  it("leftovers of saves are removed, and nothing else", async () => {
    make("left");
    const left = [".checkpoint-12.safetensors.7.tmp", ".best.safetensors.123.tmp", ".run.json.9.tmp"];
    const other = [
      ".x.safetensors.7.tmp",
      "checkpoint-12.safetensors.7.tmp",
      ".checkpoint-12.safetensors.7.tmp.bak",
      ".checkpoint-.safetensors.7.tmp",
      ".best.safetensors.x.tmp",
      ".bestxsafetensors.1.tmp",
    ];
    for (const name of [...left, ...other]) writeFileSync(at("left", name), "");
    await removeLeftovers(at("left"));
    expect(kept("left")).toEqual(other.sort());
  });

  it("a new run takes a free folder and its lock, and gives it back if nothing was saved", async () => {
    const first = await claimFolder(at("claims"), info);
    expect(first.folder).toBe(at("claims"));
    expect(kept("claims")).toEqual(["run.json", "run.lock"]);
    await releaseFolder(first.folder, first.lock);
    expect(readdirSync(folder)).not.toContain("claims");
    for (const taken of ["best.safetensors", "checkpoint-0.safetensors"]) {
      mkdirSync(at("claims"));
      writeFileSync(at("claims", taken), "");
      const second = await claimFolder(at("claims"), info);
      expect(second.folder).toBe(at("claims-2"));
      await keepCheckpoint(second.folder, 1, bytes, 0);
      await releaseFolder(second.folder, second.lock);
      expect(kept("claims-2")).toEqual(["checkpoint-1.safetensors", "run.json"]);
      expect(kept("claims")).toEqual([taken]);
      rmSync(at("claims"), { recursive: true });
      rmSync(at("claims-2"), { recursive: true });
    }
    writeFileSync(at("claims"), "a file");
    await expect(claimFolder(at("claims"), info)).rejects.toMatchObject({
      code: "E_CONFIG",
      message: expect.stringContaining("cannot make the run's folder"),
    });
  });
});

it("a folder whose last run saves and ends while another waits for its lock is that run's", async () => {
  const locks = await vi.importActual<typeof import("../../src/cli/lock.ts")>("../../src/cli/lock.ts");
  vi.mocked(lockFolder).mockImplementationOnce(async (wanted) => {
    writeFileSync(join(wanted, "checkpoint-1.safetensors"), "just saved");
    return locks.lockFolder(wanted);
  });
  const { folder: given, lock } = await claimFolder(at("popular"));
  expect(given).toBe(at("popular-2"));
  expect(readdirSync(at("popular"))).toEqual(["checkpoint-1.safetensors"]);
  lock.release();
});

describe("a lock", () => {
  const path = (name: string): string => at(name, "run.lock");
  const own = JSON.stringify({ pid: process.pid, host: hostname() });

  it("is this process's until it lets go, which it does once", async () => {
    make("own");
    const lock = await lockFolder(at("own"));
    expect(lock.heldBy).toBeUndefined();
    expect(readFileSync(path("own"), "utf8")).toBe(own);
    expect(lock.isHeld()).toBe(true);
    writeFileSync(path("own"), "another's");
    expect(lock.isHeld()).toBe(false);
    lock.release();
    expect(readFileSync(path("own"), "utf8")).toBe("another's");
    rmSync(path("own"));
    expect(lock.isHeld()).toBe(false);
    await expect(lockFolder(at("nowhere"))).rejects.toMatchObject({ code: "ENOENT" });
  });

  it("goes with its process, however that ends, which has nothing to do for one that was let go", async () => {
    make("brief");
    const before = process.listeners("exit");
    const added = (): (() => void)[] => process.listeners("exit").filter((each) => !before.includes(each)) as (() => void)[];
    const released = await lockFolder(at("brief"));
    expect(added()).toHaveLength(1);
    released.release();
    expect([added(), readdirSync(at("brief"))]).toEqual([[], []]);
    await lockFolder(at("brief"));
    for (const atExit of added()) atExit();
    expect([added(), readdirSync(at("brief"))]).toEqual([[], []]);
  });

  it("into which this process's name cannot be written is not left behind", async () => {
    make("full");
    const { open: really } = await vi.importActual<typeof import("node:fs/promises")>("node:fs/promises");
    vi.mocked(open).mockImplementationOnce(async (...args) => {
      const file = await really(...args);
      vi.spyOn(file, "writeFile").mockRejectedValue(new Error("no space left"));
      return file;
    });
    await expect(lockFolder(at("full"))).rejects.toThrow(`could not write ${path("full")}: no space left`);
    expect(readdirSync(at("full"))).toEqual([]);
    (await lockFolder(at("full"))).release();
  });

  it("of a living process stands, also of another computer's; of a dead one, or of this one's number, it is taken", async () => {
    make("theirs");
    const living = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"]);
    const dead = spawnSync(process.execPath, ["--version"]).pid;
    try {
      for (const [pid, host] of [
        [living.pid!, hostname()],
        [dead, `not-${hostname()}`],
      ] as const) {
        const text = JSON.stringify({ pid, host });
        writeFileSync(path("theirs"), text);
        const before = statSync(path("theirs")).mtimeMs;
        const lock = await lockFolder(at("theirs"));
        expect(lock.heldBy).toMatchObject({
          code: "E_CONFIG",
          message: expect.stringContaining(
            `process ${pid}${host === hostname() ? " is" : ` on ${host} is`} training in ${at("theirs")}`,
          ),
        });
        expect(lock.isHeld()).toBe(false);
        lock.release();
        expect([readFileSync(path("theirs"), "utf8"), statSync(path("theirs")).mtimeMs]).toEqual([text, before]);
      }
    } finally {
      living.kill();
    }
    for (const pid of [dead, process.pid]) {
      writeFileSync(path("theirs"), JSON.stringify({ pid, host: hostname(), more: 1 }));
      const lock = await lockFolder(at("theirs"));
      expect([lock.heldBy, lock.isHeld(), readFileSync(path("theirs"), "utf8")]).toEqual([undefined, true, own]);
      expect(readdirSync(at("theirs"))).toEqual(["run.lock"]);
      lock.release();
      expect(readdirSync(at("theirs"))).toEqual([]);
    }
  });

  it("of a process that has ended, and whose parent has not noticed, is taken where the system tells", async () => {
    make("unnoticed");
    // The shell begins a process and becomes another program, which knows nothing of it and never asks how it ended.
    const parent = spawn("sh", ["-c", "exec 3<&0; cat <&3 & echo $!; exec sleep 60"], { stdio: ["pipe", "pipe", "inherit"] });
    const tells = existsSync("/proc/self/stat");
    try {
      const pid = Number((await once(parent.stdout, "data")) as [Buffer]);
      if (tells) {
        await vi.waitFor(() => expect(readFileSync(`/proc/${parent.pid}/comm`, "utf8")).toBe("sleep\n"), { timeout: 5000 });
        parent.stdin.end();
        await vi.waitFor(() => expect(readFileSync(`/proc/${pid}/stat`, "latin1")).toContain(") Z "), { timeout: 5000 });
      }
      writeFileSync(path("unnoticed"), JSON.stringify({ pid, host: hostname() }));
      const lock = await lockFolder(at("unnoticed"));
      expect(lock.heldBy === undefined).toBe(tells);
      lock.release();
    } finally {
      parent.stdin.end();
      parent.kill();
    }
  });

  it("that a living process makes in a dead one's place stands, also where that happens as the dead one's is taken away", async () => {
    make("swift");
    const text = JSON.stringify({ pid: process.ppid, host: hostname() });
    writeFileSync(path("swift"), JSON.stringify({ pid: 2 ** 30, host: hostname() }));
    vi.spyOn(process, "kill").mockImplementationOnce(() => {
      writeFileSync(path("swift"), text);
      throw Object.assign(new Error("no such process"), { code: "ESRCH" });
    });
    expect((await lockFolder(at("swift"))).heldBy).toBeDefined();
    expect(readdirSync(at("swift"))).toEqual(["run.lock"]);
    expect(readFileSync(path("swift"), "utf8")).toBe(text);
  });

  it("without a name is waited for a second, in which its process may write it", async () => {
    make("late");
    writeFileSync(path("late"), "");
    const text = JSON.stringify({ pid: process.ppid, host: hostname() });
    setTimeout(() => writeFileSync(path("late"), text), 120);
    expect((await lockFolder(at("late"))).heldBy).toBeDefined();
    expect(readFileSync(path("late"), "utf8")).toBe(text);
  });
});

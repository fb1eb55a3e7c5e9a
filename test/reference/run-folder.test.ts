// A run's folder under rough hands: two processes at once, moved away, full, with foreign things in it.
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { hostname, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";

const CLI = resolve("dist/cli.js");
const folder = mkdtempSync(join(tmpdir(), "gatewise-folder-"));
const at = (...names: string[]): string => join(folder, ...names);
writeFileSync(at("text.txt"), "It was the best of times, it was the worst of times; ".repeat(40));

const TINY = ["--device", "cpu", "--hidden", "6", "--embedding", "4", "--batch", "4", "--seq", "8", "--data", "text.txt"];
const QUIET = ["--eval-every", "0", "--sample-every", "0"];
const ENDLESS = [...TINY, ...QUIET, "--steps", "5000000"];

/** Folders for temporary files of the tests' own, so that what is rescued is seen and leaves nothing behind. */
mkdirSync(at("tmp"));
const env = { ...process.env, TMPDIR: at("tmp"), TEMP: at("tmp"), TMP: at("tmp") };

function gatewise(...args: readonly string[]): { code: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [CLI, ...args], {
    cwd: folder,
    encoding: "utf8",
    env,
    timeout: 30_000,
  });
  return { code: status, out: stdout, err: stderr };
}

interface Running {
  readonly child: ChildProcess;
  readonly err: () => string;
  readonly ended: Promise<number | null>;
}
const running: Running[] = [];
/** In a group of its own: in a checkout the program may run itself again. */
function start(...args: readonly string[]): Running {
  const child = spawn(process.execPath, [CLI, ...args], {
    cwd: folder,
    env,
    detached: true,
    stdio: ["ignore", "ignore", "pipe"],
  });
  let err = "";
  child.stderr!.on("data", (data: Buffer) => (err += data));
  const ended = once(child, "close").then(([code]) => code as number | null);
  const started = { child, err: () => err, ended };
  running.push(started);
  return started;
}
const kill = async ({ child, ended }: Running, signal: NodeJS.Signals = "SIGKILL"): Promise<number | null> => {
  if (child.exitCode === null && child.signalCode === null) process.kill(-child.pid!, signal);
  return ended;
};
afterEach(async () => {
  for (const one of running.splice(0)) await kill(one);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const soon = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 20_000, interval: 5 });
const saved = (name: string): string[] =>
  existsSync(at(name)) ? readdirSync(at(name)).filter((file) => /^checkpoint-\d+\.safetensors$/.test(file)) : [];
const lock = (name: string): string => at(name, "run.lock");

describe("two processes and one run", () => {
  it("the second is refused by the first one's number, and goes on when that has ended", async () => {
    const first = start("train", ...ENDLESS, "--checkpoint-every", "50", "--out", "shared");
    await soon(() => expect(saved("shared").length).toBeGreaterThan(0));
    const { pid } = JSON.parse(readFileSync(lock("shared"), "utf8"));
    for (const path of ["shared", "shared/"]) {
      const { code, err } = gatewise("train", "--resume", path, "--steps", "5000000");
      expect(code).toBe(2);
      expect(err).toContain(`gatewise: process ${pid} is training in shared, and two would overwrite each other's checkpoints`);
    }
    expect(await kill(first, "SIGINT")).toBe(130);
    expect(existsSync(lock("shared"))).toBe(false);
    const step = Math.max(...saved("shared").map((name) => Number(/\d+/.exec(name)![0])));
    expect(gatewise("train", "--resume", "shared", "--steps", String(step + 2)).code).toBe(0);
    expect(existsSync(lock("shared"))).toBe(false);
  });

  it("of four that resume at once, one goes on", async () => {
    gatewise("train", ...TINY, ...QUIET, "--steps", "3", "--out", "wanted");
    const four = Array.from({ length: 4 }, () => start("train", "--resume", "wanted", "--steps", "5000000"));
    await soon(() => expect(four.filter(({ err }) => err().includes("is training in wanted")).length).toBe(3));
    const going = four.filter(({ err }) => !err().includes("is training in wanted"));
    await soon(() => expect(going[0]!.err()).toContain("run:"));
    expect(await kill(going[0]!, "SIGTERM")).toBe(143);
  });

  it("a branch from an older checkpoint gets its own folder while the run goes on", async () => {
    gatewise("train", ...TINY, ...QUIET, "--steps", "4", "--checkpoint-every", "2", "--out", "trunk");
    start("train", "--resume", "trunk", "--steps", "5000000", "--checkpoint-every", "0");
    await soon(() => expect(existsSync(lock("trunk"))).toBe(true));
    const { code, out } = gatewise("train", "--resume", "trunk/checkpoint-2.safetensors", "--steps", "6", "--json");
    expect(code).toBe(0);
    expect(JSON.parse(out.trim().split("\n").at(-1)!).out).toBe("trunk-2");
  });

  it("the lock of a killed process does not count, nor does one without a name; one of another computer does", async () => {
    const killed = start("train", ...ENDLESS, "--checkpoint-every", "10", "--out", "orphan");
    await soon(() => expect(saved("orphan").length).toBeGreaterThan(0));
    await kill(killed);
    expect(existsSync(lock("orphan"))).toBe(true);
    const more = (): ReturnType<typeof gatewise> => {
      const last = Math.max(...saved("orphan").map((name) => Number(/\d+/.exec(name)![0])));
      return gatewise("train", "--resume", "orphan", "--steps", String(last + 1));
    };
    expect(more().code).toBe(0);
    for (const left of ["", "what is this", '{"pid":"1"}']) {
      writeFileSync(lock("orphan"), left);
      expect(more().code).toBe(0);
      expect(readdirSync(at("orphan")).filter((name) => name.includes("lock"))).toEqual([]);
    }
    writeFileSync(lock("orphan"), JSON.stringify({ pid: 5, host: `not-${hostname()}` }));
    const { code, err } = more();
    expect(code).toBe(2);
    expect(err).toContain(`process 5 on not-${hostname()} is training in orphan`);
    expect(err).toContain("If there is no such training, remove orphan/run.lock");
  });

  it("two that begin under one name at once get two folders", async () => {
    const two = [1, 2].map(() => start("train", ...ENDLESS, "--checkpoint-every", "50", "--out", "twins"));
    await soon(() => expect(saved("twins").length * saved("twins-2").length).toBeGreaterThan(0));
    for (const one of two) expect(await kill(one, "SIGINT")).toBe(130);
  });
});

describe("a run's folder", () => {
  it("moved away in the midst of the run is made again, and the run ends whole", async () => {
    const run = start("train", ...ENDLESS, "--checkpoint-every", "20", "--out", "moved");
    await soon(() => expect(saved("moved").length).toBeGreaterThan(2));
    renameSync(at("moved"), at("moved-away"));
    await soon(() => expect(saved("moved").length).toBeGreaterThan(0));
    expect(await kill(run, "SIGINT")).toBe(130);
    expect(run.err()).toContain("warning: the run's folder moved was moved or removed; the run goes on in a new one, moved");
    expect(run.err()).toMatch(/stopped at step \d+ .* train --resume moved$/ms);
    const step = Number(/stopped at step (\d+)/.exec(run.err())![1]);
    expect(gatewise("train", "--resume", "moved", "--steps", String(step + 1)).code).toBe(0);
    // Nor is the old one in anybody's way.
    const old = Math.max(...saved("moved-away").map((name) => Number(/\d+/.exec(name)![0])));
    expect(gatewise("train", "--resume", "moved-away", "--steps", String(old + 1)).code).toBe(0);
  });

  it("moved away, with another run's in its place, is not written into", async () => {
    // Rarely, so that the folder is not changed in the very moment of a save.
    const run = start("train", ...ENDLESS, "--checkpoint-every", "400", "--out", "place");
    await soon(() => expect(saved("place").length).toBeGreaterThan(0));
    mkdirSync(at("new-place"));
    writeFileSync(at("new-place/checkpoint-1.safetensors"), "another's");
    renameSync(at("place"), at("place-away"));
    renameSync(at("new-place"), at("place"));
    await soon(() => expect(saved("place-2").length).toBeGreaterThan(0));
    expect(await kill(run, "SIGINT")).toBe(130);
    expect(readdirSync(at("place"))).toEqual(["checkpoint-1.safetensors"]);
  });

  it("that does not take one checkpoint in the midst of the run takes the next, and the run says so and goes on", async () => {
    mkdirSync(at("bumpy"));
    const run = start("train", ...ENDLESS, "--checkpoint-every", "400", "--out", "bumpy");
    await soon(() => expect(run.err()).toContain("run:"));
    // What is in the way stands for whatever refuses a write.
    const inTheWay = Array.from({ length: 50 }, (_, i) => at("bumpy", `checkpoint-${400 * (i + 1)}.safetensors`));
    for (const path of inTheWay) if (!existsSync(path)) mkdirSync(path);
    await soon(() => expect(run.err()).toContain("is not saved"));
    for (const path of inTheWay) if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) rmdirSync(path);
    await soon(() => expect(saved("bumpy").length).toBeGreaterThan(2));
    expect(await kill(run, "SIGINT")).toBe(130);
    expect(run.err()).toMatch(
      /warning: step (\d+) is not saved: could not write bumpy.checkpoint-\1\.safetensors: .*; the run goes on, and saves again/,
    );
    expect(run.err()).toMatch(/saved bumpy.checkpoint-\d+\.safetensors; to go on:/);
  });

  it("that does not take the last checkpoint loses it to the folder for temporary files, and the exit code says so", () => {
    mkdirSync(at("full"));
    // Written in at its start by the run itself; the folder in the way comes before the last step.
    gatewise("train", ...TINY, ...QUIET, "--steps", "4", "--checkpoint-every", "2", "--out", "full");
    mkdirSync(at("full/checkpoint-8.safetensors"));
    const { code, err, out } = gatewise("train", "--resume", "full", "--steps", "8", "--json");
    expect(code).toBe(1);
    expect(err).toMatch(/could not write full.checkpoint-8\.safetensors: .*; step 8 is saved in .*gatewise-full.checkpoint-8/);
    const end = JSON.parse(out.trim().split("\n").at(-1)!);
    expect(end).toMatchObject({ event: "end", step: 8, out: at("tmp/gatewise-full") });
    const whole = gatewise("train", ...TINY, ...QUIET, "--steps", "9", "--out", "not-full");
    expect(whole.code).toBe(0);
    expect(gatewise("train", "--resume", at("tmp/gatewise-full"), "--steps", "9").code).toBe(0);
    const bytes = (path: string): Buffer => readFileSync(at(path, "checkpoint-9.safetensors"));
    expect(bytes("tmp/gatewise-full").length).toBe(bytes("not-full").length);
  });

  it("that takes nothing, where nothing else does, ends the run with the command that goes on from what is saved", () => {
    gatewise("train", ...TINY, ...QUIET, "--steps", "2", "--out", "stuck");
    mkdirSync(at("stuck/checkpoint-4.safetensors"));
    rmSync(at("tmp"), { recursive: true });
    writeFileSync(at("tmp"), "no folder");
    const { code, err } = gatewise("train", "--resume", "stuck", "--steps", "4");
    rmSync(at("tmp"));
    mkdirSync(at("tmp"));
    expect(code).toBe(1);
    expect(err).toMatch(/step 4 could not be saved: could not write stuck.checkpoint-4\.safetensors: .*; nor elsewhere: /);
    expect(err).toMatch(/the last good checkpoint is stuck.checkpoint-2\.safetensors; to go on: .* train --resume stuck/);
  });

  it("in which a run was killed before it saved anything is taken by the next run of that name", async () => {
    for (const _ of [1, 2, 3]) {
      const run = start("train", ...ENDLESS, "--checkpoint-every", "0", "--out", "early");
      await soon(() => expect(run.err()).toContain("run:"));
      await kill(run);
    }
    expect(readdirSync(folder).filter((name) => name.startsWith("early"))).toEqual(["early"]);
    expect(gatewise("train", ...TINY, "--steps", "2", "--out", "early").err).toMatch(/run: +early$/m);
    expect(gatewise("train", ...TINY, "--steps", "2", "--out", "early").err).toMatch(/run: +early-2$/m);
  });

  it("may hold folders and pipes that are named like checkpoints: they are passed over", () => {
    gatewise("train", ...TINY, ...QUIET, "--steps", "2", "--out", "odd");
    mkdirSync(at("odd/checkpoint-9.safetensors"));
    mkdirSync(at("odd/best.safetensors"));
    mkdirSync(at("odd/.run.json.1.tmp"));
    const pipe = process.platform !== "win32" && spawnSync("mkfifo", [at("odd/checkpoint-8.safetensors")]).status === 0;
    if (pipe) expect(statSync(at("odd/checkpoint-8.safetensors")).isFIFO()).toBe(true);
    expect(gatewise("info", "odd").out).toMatch(/step +2 of 2/);
    const { code, err } = gatewise("train", "--resume", "odd", "--steps", "6", "--checkpoint-every", "1");
    expect(err).toContain("from step 2");
    expect(code).toBe(0);
    expect(saved("odd")).toContain("checkpoint-6.safetensors");
    for (const name of [...(pipe ? ["checkpoint-8.safetensors"] : []), "checkpoint-9.safetensors"]) {
      expect(readdirSync(at("odd"))).toContain(name);
      expect(gatewise("info", join("odd", name)).code).toBe(2);
    }
  });
});

describe("what nobody was told:", () => {
  it("that the validation part is too small to be used", () => {
    const few = gatewise("train", ...TINY, "--steps", "2", "--val", "0.0001", "--out", "few");
    expect(few.err).toContain(
      "warning: --val 0.0001 leaves nothing of 2,120 for validation, too little: no validation loss comes",
    );
    const one = gatewise("train", ...TINY, "--steps", "2", "--val", "0.0005", "--out", "few");
    expect(one.err).toContain("warning: --val 0.0005 leaves one character of 2,120 for validation");
    for (const silent of [
      ["--val", "0"],
      ["--val", "0.0005", "--eval-every", "0"],
      ["--val", "0.01"],
    ])
      expect(gatewise("train", ...TINY, "--steps", "2", ...silent, "--out", `few${silent.join("")}`).err).not.toContain(
        "warning",
      );
  });

  it("where a run's text should be, when it has moved", () => {
    writeFileSync(at("here.txt"), readFileSync(at("text.txt")));
    gatewise("train", ...TINY, "--data", "here.txt", "--steps", "2", "--out", "nomad");
    renameSync(at("here.txt"), at("there.txt"));
    const { code, err } = gatewise("train", "--resume", "nomad", "--steps", "4");
    expect(code).toBe(2);
    expect(err).toContain(`this run's text is ${at("here.txt")}: if it has moved, say with --data where to`);
    expect(gatewise("train", "--resume", "nomad", "--steps", "4", "--data", "there.txt").code).toBe(0);
  });

  it("that a number is infinite", () => {
    const { code, err } = gatewise("train", ...TINY, "--clip", "Infinity");
    expect(code).toBe(2);
    expect(err).toMatch(/--clip must be a number of at least 0.*, got Infinity/);
  });

  it("that a run that goes on reads the text in another way", () => {
    gatewise("train", ...TINY, "--steps", "2", "--out", "reader");
    const wider = gatewise("train", "--resume", "reader", "--steps", "3", "--seq", "16").err;
    expect(wider).toContain(
      "warning: the text is cut into windows of 16 with 0.05 for validation now, and was into windows of 8 with 0.05",
    );
    expect(gatewise("train", "--resume", "reader", "--steps", "4").err).not.toContain("warning");
    expect(gatewise("train", "--resume", "reader", "--steps", "5", "--val", "0.1").err).toContain(
      "reading goes on at another place",
    );
  });

  it("that a prompt's line ends are not the text's: they are read as the text's were", () => {
    writeFileSync(at("dos.txt"), "one line\r\nand another\r\n".repeat(60));
    gatewise("train", ...TINY, "--data", "dos.txt", "--steps", "2", "--out", "dos");
    for (const prompt of ["one line\r\nand", "one line\rand"]) {
      const { code, out } = gatewise("sample", "dos", "--device", "cpu", "--prompt", prompt, "--length", "0");
      expect(code).toBe(0);
      expect(out).toBe("one line\nand\n");
    }
  });
});

it("a run whose text is somewhere in the network says which address it asks before it asks", async () => {
  let asked = 0;
  let answer: () => void = () => {};
  const text = readFileSync(at("text.txt"));
  const server = createServer((_, response) => {
    asked++;
    answer = () => response.end(text);
    if (asked === 1) answer();
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  try {
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/book.txt`;
    const first = start("train", ...TINY, "--data", url, "--steps", "2", "--out", "far");
    expect(await first.ended).toBe(0);
    expect(first.err()).toContain(`downloading ${url}\n`);
    const again = start("train", "--resume", "far", "--steps", "4");
    await soon(() => expect(asked).toBe(2));
    expect(again.err()).toContain(`downloading ${url}, the text that far/run.json names\n`);
    answer();
    expect(await again.ended).toBe(0);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});

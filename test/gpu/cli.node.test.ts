// The command line on WebGPU, as a process of its own, and how Node opens a device.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, expect, it } from "vitest";
import { openNodeDevice } from "../../src/runtime/node.ts";

const CLI = resolve("dist/cli.js");
const folder = mkdtempSync(join(tmpdir(), "gatewise-gpu-cli-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const gatewise = (args: readonly string[], env: Record<string, string> = {}) =>
  spawnSync(process.execPath, [CLI, ...args], { cwd: folder, encoding: "utf8", env: { ...process.env, ...env } });

const TINY = ["--device", "webgpu", "--hidden", "8", "--batch", "4", "--seq", "8", "--steps", "12"];

it("trains on a bundled book twice to the same bytes, and resumes to them", () => {
  for (const out of ["a", "b", "c"]) {
    const { status, stderr } = gatewise(["train", ...TINY, "--out", out, ...(out === "c" ? ["--checkpoint-every", "5"] : [])]);
    expect(stderr).toMatch(/device: .*WebGPU/);
    // Where the adapter is software, as here, the other way is named.
    expect(stderr).toMatch(/without a GPU: --device wasm trains about [\d,]+ characters a second here/);
    expect(status).toBe(0);
  }
  const bytes = (run: string) => readFileSync(join(folder, run, "checkpoint-12.safetensors"));
  expect(bytes("b").equals(bytes("a"))).toBe(true);
  for (const step of [10, 12]) rmSync(join(folder, `c/checkpoint-${step}.safetensors`));
  expect(gatewise(["train", "--resume", "c", "--checkpoint-every", "250"]).status).toBe(0);
  expect(bytes("c").equals(bytes("a"))).toBe(true);
});

it("exits with 3 where there is no adapter, and leaves nothing behind", () => {
  const before = readdirSync(folder);
  const { status, stderr } = gatewise(["train", ...TINY, "--out", "none"], {
    VK_ICD_FILENAMES: "/nowhere.json",
    VK_DRIVER_FILES: "/nowhere.json",
  });
  expect(stderr).toMatch(/gatewise: WebGPU is here but offers no adapter/);
  expect(status).toBe(3);
  expect(readdirSync(folder)).toEqual(before);
});

it("without an adapter, --device auto says so and takes WebAssembly", () => {
  const { status, stderr } = gatewise(["train", ...TINY, "--device", "auto", "--out", "fallback"], {
    VK_ICD_FILENAMES: "/nowhere.json",
    VK_DRIVER_FILES: "/nowhere.json",
  });
  expect(stderr).toMatch(
    /warning: no hardware adapter, so this runs on WebAssembly SIMD, .*; "gatewise doctor" says what is missing/,
  );
  expect(stderr).toMatch(/device: WebAssembly SIMD/);
  expect(status).toBe(0);
});

it("stops on Ctrl-C anywhere, and resumes to the bytes of the unbroken run", async () => {
  const args = ["train", ...TINY, "--steps", "3000", "--eval-every", "7", "--sample-every", "0", "--log-every", "1"];
  const child = spawn(process.execPath, [CLI, ...args, "--out", "stopped"], { cwd: folder });
  let printed = "";
  let signalled = false;
  child.stderr.on("data", (data: Buffer) => {
    printed += data;
    // Not before a step is done: then there would be nothing to go on from.
    if (signalled || !/^step +\d+\/3000 /m.test(printed)) return;
    signalled = true;
    setTimeout(() => child.kill("SIGINT"), 300 * Math.random());
  });
  expect(await new Promise((done) => child.on("close", done))).toBe(130);
  const step = Number(/stopped at step (\d+) of 3000/.exec(printed)![1]);
  const end = ["--steps", String(step + 9)];
  const resume = /train --resume stopped$/m.exec(printed)![0].split(" ");
  expect(gatewise([...resume, ...end]).status).toBe(0);
  expect(gatewise([...args, ...end, "--out", "unbroken"]).status).toBe(0);
  const bytes = (run: string) => readFileSync(join(folder, run, `checkpoint-${step + 9}.safetensors`));
  expect(bytes("stopped").equals(bytes("unbroken")), `stopped after step ${step}`).toBe(true);
});

it("compare prints the table in the order of the evolution", () => {
  const sizes = ["--hidden", "8", "--batch", "4", "--seq", "8", "--steps", "6", "--device", "webgpu"];
  const { status, stdout } = gatewise(["compare", ...sizes]);
  expect(status).toBe(0);
  const rows = stdout.split("\n").slice(0, 5);
  expect(rows.map((row) => row.split(" ")[0])).toEqual(["preset", "one-hot-rnn", "embedding-rnn", "gru", "lstm"]);
});

it("check passes here with exit 0, and with a model broken on purpose it exits with 6 and names the tensor", () => {
  const sound = gatewise(["check", "--quick", "--device", "webgpu"]);
  expect(sound.stdout).toMatch(/all \d+ checks passed/);
  expect(sound.status).toBe(0);
  const broken = gatewise(["check", "--quick", "--cell", "lstm", "--break", "zero-gradient", "--json", "--device", "webgpu"]);
  expect(broken.status).toBe(6);
  const results = broken.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(results.at(-1)).toMatchObject({ event: "end", passed: false });
  expect(results.find((r) => r.passed === false && r.event === "check")).toMatchObject({ tensor: "rnn.weight_ih_l0" });
});

it("doctor finds this adapter and its gradients right", () => {
  const { status, stdout } = gatewise(["doctor", "--json"]);
  expect(status).toBe(0);
  const { findings } = JSON.parse(stdout);
  expect(findings.find((f: any) => f.name === "gradients")).toMatchObject({ ok: true });
});

it("a store of tunings that the caller gives goes before the files of the user's cache", async () => {
  const asked: string[] = [];
  const tuningStore = { load: (name: string) => void asked.push(name), save: () => {} };
  const device = await openNodeDevice({ prefer: "webgpu", tuningStore, tuning: "on" });
  const record = () => device.record("small", (r) => r.clear(r.tensor({ name: "x", shape: [4] })));
  await (await record()).run();
  expect(asked).toEqual([expect.stringMatching(/^tuning-/)]);
  device.dispose();
});

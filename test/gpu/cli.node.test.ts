// The command line on WebGPU, as a process of its own.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, expect, it } from "vitest";

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

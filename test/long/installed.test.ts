// The packed package, installed and used as its users do: by Node, Deno and Bun, by four bundlers, and by pages without one.
import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser } from "playwright";
import { preview } from "vite";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { root } from "../../scripts/environment.mjs";
import { launchBrowser } from "../lab/lab.ts";

const TOOLS = ["vite@8.3.8", "webpack@5", "webpack-cli@6", "esbuild@0.28.2", "parcel@2", "deno@2.9.6", "bun@1"];

let folder: string;
let browser: Browser;
/** What Node gets, which all others must get too. */
let losses: readonly number[];

const run = (command: string, ...args: string[]): string =>
  execFileSync(command, args, { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], maxBuffer: 1 << 26 });

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "gatewise-installed-"));
  cpSync(join(root, "test/long/installed"), folder, { recursive: true });
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "user", version: "1.0.0", type: "module", private: true }));
  const pack = ["pack", root, "--ignore-scripts", "--silent", "--pack-destination", folder];
  const packed = run("npm", ...pack)
    .trim()
    .split("\n")
    .at(-1)!;
  run("npm", "install", "--no-audit", "--no-fund", `./${packed}`, ...TOOLS);
  // Where npm runs no scripts of packages, Bun's program is not in its place yet.
  run(process.execPath, "node_modules/bun/install.js");
  losses = JSON.parse(run(process.execPath, "main.js")) as number[];
  browser = await launchBrowser({ webGpu: false });
}, 600_000);
afterAll(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

test.each([
  ["publint", ["publint", "--strict"]],
  // Programs in CommonJS take ES modules by import(), and by require() from Node 22 on.
  ["arethetypeswrong", ["attw", "--pack", ".", "--profile", "esm-only"]],
] as const)("%s finds nothing wrong with the package", (_, command) => {
  execFileSync("npx", ["--no-install", ...command], { cwd: root, stdio: "pipe" });
});

/** Plain SIMD gives the same bits in every engine. */
const expectSame = (found: readonly number[]): void => expect(found).toEqual(losses);

test("Node trains: twenty losses, the last lower than the first", () => {
  expect(losses).toHaveLength(20);
  expect(losses.at(-1)).toBeLessThan(losses[0]! * 0.95);
});

test.each([
  ["Deno", ["node_modules/.bin/deno", "run", "-A", "main.js"]],
  ["Bun", ["node_modules/.bin/bun", "run", "main.js"]],
] as const)("%s trains to the same losses", (_, [command, ...args]) => {
  expectSame(JSON.parse(run(command, ...args)) as number[]);
});

/** Serves a folder on this machine alone, and asks a page of it what came of its training. */
async function outcomeOf(outDir: string, page: string, by = browser): Promise<{ page: number[]; worker?: number[] }> {
  const server = await preview({
    root: folder,
    configFile: false,
    logLevel: "error",
    build: { outDir },
    preview: { port: 0, host: "127.0.0.1" },
  });
  const tab = await by.newPage();
  try {
    const errors: string[] = [];
    tab.on("pageerror", (error) => errors.push(error.message));
    await tab.goto(new URL(page, server.resolvedUrls!.local[0]).href);
    const found = await tab.waitForFunction(() => (globalThis as { outcome?: unknown }).outcome);
    expect(errors).toEqual([]);
    return (await found.jsonValue()) as { page: number[]; worker?: number[] };
  } finally {
    await tab.close();
    await server.close();
  }
}

describe.each([
  ["Vite", ["vite", "build", "--outDir", "out-vite", "--base", "./"], "out-vite"],
  ["webpack", ["webpack", "--config", "webpack.config.cjs"], "out-webpack"],
  [
    "esbuild",
    ["esbuild", "main.js", "worker.js", "--bundle", "--format=esm", "--splitting", "--outdir=out-esbuild"],
    "out-esbuild",
  ],
  ["Parcel", ["parcel", "build", "index.html", "--no-cache", "--dist-dir", "out-parcel", "--public-url", "./"], "out-parcel"],
] as const)("what %s bundles", (_, command, outDir) => {
  test("trains to the same losses, on the page and in its worker", async () => {
    run("npx", ...command);
    if (outDir === "out-webpack" || outDir === "out-esbuild")
      writeFileSync(join(folder, outDir, "index.html"), '<!doctype html><script type="module" src="./main.js"></script>');
    const { page, worker } = await outcomeOf(outDir, "index.html");
    expectSame(page);
    expectSame(worker!);
  });
});

test.each(["gatewise.min.js", "index.js"])("%s trains to the same losses without any bundler", async (file) => {
  const page = `${file}.html`;
  writeFileSync(join(folder, page), readFileSync(join(folder, "plain.html"), "utf8").replace("FILE", file));
  expectSame((await outcomeOf(".", page)).page);
});

test("WebGPU trains to losses within 1e-4 of them", async () => {
  const withGpu = await launchBrowser();
  try {
    writeFileSync(join(folder, "gpu.html"), readFileSync(join(folder, "plain.html"), "utf8").replace("FILE", "index.js"));
    const { page } = await outcomeOf(".", "gpu.html?prefer=webgpu", withGpu);
    expect(page).toHaveLength(losses.length);
    page.forEach((loss, i) => expect(Math.abs(loss / losses[i]! - 1)).toBeLessThan(1e-4));
  } finally {
    await withGpu.close();
  }
});

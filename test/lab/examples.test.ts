// The files of examples/, each run as its first lines say; noisy-sine.ts and sentence.txt by the tests of what they show.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser } from "playwright";
import { createServer, type ViteDevServer } from "vite";
import { afterAll, beforeAll, expect, it } from "vitest";
import { root } from "../../scripts/environment.mjs";
import { launchBrowser } from "./lab.ts";

const LEARNED = /^the (rabbit|hat)[a-z .]+$/m;

let folder: string;
let browser: Browser;
let server: ViteDevServer;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "gatewise-examples-"));
  browser = await launchBrowser({ webGpu: false });
  server = await createServer({
    root,
    configFile: false,
    logLevel: "error",
    optimizeDeps: { noDiscovery: true },
    server: { port: 0, host: "127.0.0.1" },
  });
  await server.listen();
});
afterAll(async () => {
  await browser?.close();
  await server?.close();
  rmSync(folder, { recursive: true });
});

const run = (program: string, ...args: string[]): string =>
  execFileSync(process.execPath, [program, ...args], { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

async function open(path: string) {
  const page = await browser.newPage();
  await page.goto(new URL(path, server.resolvedUrls!.local[0]).href);
  return page;
}

const runs: Readonly<Record<string, () => Promise<void>>> = {
  "node.mjs": async () => expect(run("examples/node.mjs")).toMatch(LEARNED),
  "read-checkpoint.mjs": async () => {
    const train = ["train", "--data", "examples/sentence.txt", "--hidden", "8", "--batch", "1", "--seq", "8", "--steps", "2"];
    run("dist/cli.js", ...train, "--val", "0", "--device", "cpu", "--out", join(folder, "run"));
    // 200 characters and the line's end.
    expect(run("examples/read-checkpoint.mjs", join(folder, "run/checkpoint-2.safetensors"))).toHaveLength(201);
  },
  "page.html": async () => {
    const page = await open("examples/page.html");
    await page.waitForFunction(() => document.body.innerText.includes("step 200"));
    await page.waitForFunction((learned) => new RegExp(learned, "m").test(document.body.innerText), LEARNED.source);
  },
  "custom-loop.mjs": async () => {
    const said = run("examples/custom-loop.mjs");
    expect(said).toMatch(LEARNED);
    expect(said).toMatch(/^step 10: \d\.\d{4} on what it never saw, at a rate of 0\.03$/m);
  },
  "pytorch.html": async () => {
    const train = ["train", "--data", "examples/sentence.txt", "--hidden", "8", "--batch", "1", "--seq", "8", "--steps", "2"];
    run("dist/cli.js", ...train, "--val", "0", "--device", "cpu", "--out", join(folder, "made"));
    run("dist/cli.js", "export", join(folder, "made"), join(folder, "exported"), "--to", "pytorch");
    const page = await open("examples/pytorch.html");
    const choose = (...names: string[]): Promise<void> =>
      page.locator("#files").setInputFiles(names.map((name) => join(folder, "exported", name)));
    await choose("model.safetensors", "optimizer.safetensors", "config.json", "tokenizer.json");
    await page.waitForFunction(() => document.querySelector("#said")!.textContent.length === 200);
    await choose("model.safetensors");
    await page.waitForFunction(() => /resetAfter|tokenizer|cell/.test(document.querySelector("#said")!.textContent));
  },
  "worker.mjs": async () => {
    const page = await open("test/lab/examples.html");
    const kinds = await page.evaluate(
      () =>
        new Promise<readonly string[]>((resolve) => {
          const came: string[] = [];
          const worker = new Worker("/examples/worker.mjs", { type: "module" });
          worker.onmessage = ({ data }) => {
            came.push(data instanceof Uint8Array ? "bytes" : (data as { event: string }).event);
            if (data instanceof Uint8Array) resolve(came);
          };
          worker.postMessage({ text: "the rabbit saw the hat. ".repeat(40), steps: 20 }, []);
        }),
    );
    expect([kinds[0], ...kinds.slice(-2)]).toEqual(["start", "end", "bytes"]);
    expect(kinds).toContain("step");
  },
};
const elsewhere = ["noisy-sine.ts", "sentence.txt"];

it("has a way to run each", () => {
  expect(readdirSync(join(root, "examples")).sort()).toEqual([...Object.keys(runs), ...elsewhere].sort());
});
it.each(Object.entries(runs))("%s", (_, example) => example(), 60_000);

// Threads of WebAssembly in pages that are isolated from other origins: where they come from, and that they change no bit.
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { root } from "../../scripts/environment.mjs";
import { newContext, openPage, query, ready, SMALL, useLab } from "./lab.ts";

const ISOLATED = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };
const STRICT = { "Content-Security-Policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'" };
/** Pages by their headers. */
const PAGES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "/open": {},
  "/isolated": ISOLATED,
  "/strict": { ...ISOLATED, ...STRICT },
};

const FILES: Readonly<Record<string, string>> = {
  "/train.js": `
    import { CharTokenizer, LanguageModel, openDevice, Trainer } from "/dist/index.js";
    export async function train(threads, ofFile) {
      const worker = () => new Worker("/dist/thread.js", { type: "module" });
      const device = await openDevice({ prefer: "wasm", threads, ...(ofFile && { worker }) });
      const text = "the rabbit saw the hat and the hat saw the rabbit. ".repeat(20);
      const tokenizer = CharTokenizer.fromText(text);
      const model = LanguageModel.create(device, { cell: "lstm", vocabSize: tokenizer.size, hiddenSize: 64, seed: 1 });
      const trainer = Trainer.create(model, tokenizer.encode(text), { batchSize: 16, seqLen: 16, valFraction: 0, seed: 1 });
      for await (const _ of trainer.run({ maxSteps: 4, exact: true }));
      const weights = await new Blob(Object.values(await model.stateDict())).arrayBuffer();
      const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", weights)).join();
      device.dispose();
      return { description: device.description, digest };
    }`,
  "/page.js": `
    import { train } from "/train.js";
    globalThis.train = train;`,
  "/worker.js": `
    import { train } from "/train.js";
    onmessage = async ({ data }) => postMessage(await train(...data));`,
};

const lab = useLab({ webGpu: false });
let server: Server;
beforeAll(async () => {
  server = createServer(({ url = "/" }, response) => {
    const page = PAGES[url];
    const type = page ? "text/html" : "text/javascript";
    // Workers of an isolated page must be isolated themselves.
    response.writeHead(200, { ...(page ?? ISOLATED), "content-type": type });
    response.end(
      page ? '<!doctype html><script type="module" src="/page.js"></script>' : (FILES[url] ?? readFileSync(join(root, url))),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "localhost", resolve));
});
afterAll(() => void server?.close());

interface Trained {
  readonly description: string;
  readonly digest: string;
}

const addressOf = (path: string): string => `http://localhost:${(server.address() as AddressInfo).port}${path}`;

/** What comes of a training on a page's main thread, or in a worker of it. */
async function trainOn(path: string, where: "page" | "worker", threads: number, ofFile: boolean): Promise<Trained> {
  const page = await lab.browser.newPage();
  await page.goto(addressOf(path));
  const trained = await page.evaluate(
    async ({ where, args }) => {
      if (where === "page") return (globalThis as unknown as { train(...args: unknown[]): Promise<Trained> }).train(...args);
      const worker = new Worker("/worker.js", { type: "module" });
      return new Promise<Trained>((resolve, reject) => {
        worker.onmessage = ({ data }) => resolve(data as Trained);
        worker.onerror = ({ message }) => reject(new Error(message));
        worker.postMessage(args, []);
      });
    },
    { where, args: [threads, ofFile] },
  );
  await page.close();
  return trained;
}

test("threads are workers of a text, or of the package's file where the policy wants one, and change no bit", async () => {
  const alone = await trainOn("/open", "page", 4, false);
  expect(alone.description).toMatch(/, 1 thread$/);
  const runs = [
    ["/isolated", "page", 2, false, 2],
    ["/isolated", "worker", 4, false, 4],
    ["/strict", "page", 4, true, 4],
    ["/strict", "worker", 2, true, 2],
    // Its policy allows none.
    ["/strict", "page", 2, false, 1],
  ] as const;
  for (const [path, where, asked, ofFile, came] of runs) {
    const trained = await trainOn(path, where, asked, ofFile);
    const run = `${path} in its ${where}, of ${ofFile ? "a file" : "a text"}`;
    expect(trained.description, run).toMatch(new RegExp(`, ${came} threads?$`));
    expect(trained.digest, run).toBe(alone.digest);
  }
});

test("the lab has threads once its service worker has the page, and stays a view to embed", async () => {
  const context = await newContext(lab.browser, { serviceWorkers: "allow" });
  const { page, problems } = await openPage(context, lab.url + query(SMALL));
  await ready(page);
  expect(await page.locator(".device").innerText()).toMatch(/, 1 thread$/);
  await page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
  await page.waitForFunction(() => navigator.serviceWorker.controller !== null);
  await page.reload();
  await ready(page);
  const cores = await page.evaluate(() => navigator.hardwareConcurrency);
  expect(cores).toBeGreaterThan(1);
  expect(await page.locator(".device").innerText()).toMatch(new RegExp(`, ${Math.min(cores, 8)} threads$`));
  // A page that is not isolated, of the same site, so that the service worker answers the frame.
  await page.goto(addressOf("/open"));
  await page.evaluate((url) => {
    const frame = document.createElement("iframe");
    frame.src = url;
    document.body.append(frame);
  }, `${lab.url}?embed=gradient-flow`);
  await page.frameLocator("iframe").getByRole("slider").first().waitFor();
  expect(await page.frames()[1]!.evaluate(() => [navigator.serviceWorker.controller !== null, crossOriginIsolated])).toEqual([
    true,
    false,
  ]);
  expect(problems).toEqual([]);
  await context.close();
});

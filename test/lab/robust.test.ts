import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";
import { AxeBuilder } from "@axe-core/playwright";
import type { Browser, Page } from "playwright";
import { afterAll, beforeAll, expect, it } from "vitest";
import { root } from "../../scripts/environment.mjs";
import { loadCheckpoint } from "../../src/training/checkpoint.ts";
import { othersTime } from "../others-time.ts";
import {
  button,
  curvesOf,
  downloaded,
  launchBrowser,
  newContext,
  openPage,
  outDir,
  query,
  readBrowserTime,
  ready,
  serveLab,
  SMALL,
  stepShown,
  untilPhase,
  untilStep,
} from "./lab.ts";

let site: Awaited<ReturnType<typeof serveLab>>;
beforeAll(async () => {
  site = await serveLab();
});
afterAll(() => site?.close());

async function withBrowser(options: { webGpu?: boolean }, test: (browser: Browser) => Promise<void>): Promise<void> {
  const browser = await launchBrowser(options);
  try {
    await test(browser);
  } finally {
    await browser.close();
  }
}

/** An error of the browser's does not matter: what tells is what the page does. */
async function crashGpu(browser: Browser): Promise<void> {
  const cdp = await browser.newBrowserCDPSession();
  await cdp.send("Browser.crashGpuProcess" as never).catch(() => {});
}

const untilSaved = (page: Page): Promise<unknown> =>
  page.waitForFunction(() => /Saved at/.test(document.querySelector(".saved")?.textContent ?? ""));

/**
 * A page whose browser offers an adapter only when `offers`, a condition on how often a device was `asked` for before, is
 * met. Each time an adapter is asked for twice, first the fastest, then any.
 */
async function pageWithAdapters(browser: Browser, offers: string): Promise<Page> {
  const page = await pageWithWorker(
    browser,
    `{ const { gpu } = navigator; const ask = gpu.requestAdapter.bind(gpu); let asked = -1;
      gpu.requestAdapter = (options) => { if (options.powerPreference) asked++; return ${offers} ? ask(options) : Promise.resolve(null); }; }`,
  );
  await ready(page);
  return page;
}

/** A page whose worker begins with a script of the test's own. */
async function pageWithWorker(browser: Browser, script: string, settings: Record<string, string> = {}): Promise<Page> {
  const context = await newContext(browser);
  await context.route(/assets\/worker-.*\.js/, async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: script + (await response.text()) });
  });
  return (await openPage(context, site.url + query({ ...SMALL, steps: "5000", "eval-every": "0", ...settings }))).page;
}

it("without WebGPU says so within a second, names the browser, and trains by WebAssembly", () =>
  withBrowser({ webGpu: false }, async (browser) => {
    const begun = await readBrowserTime(browser);
    const { page, problems } = await openPage(await newContext(browser), site.url);
    await page.waitForSelector(".notice");
    const waited = await page.evaluate(
      () => performance.now() - (performance.getEntriesByType("navigation")[0] as PerformanceNavigationTiming).responseEnd,
    );
    expect(waited).toBeLessThan(1000 + othersTime(begun, await readBrowserTime(browser)));
    expect(await page.locator(".notice").innerText()).toMatch(
      /^Chrome \d+ gives this page no GPU\.[^]*graphics acceleration[^]*by WebAssembly on the processor/,
    );
    await ready(page);
    const { violations } = await new AxeBuilder({ page }).options({ resultTypes: ["violations"] }).analyze();
    expect(violations).toEqual([]);
    expect(await page.locator(".device").innerText()).toMatch(/^WebAssembly SIMD/);
    await button(page, "Train").click();
    await untilStep(page, 30);
    await button(page, "Pause").click();
    await untilPhase(page, "paused");
    const losses = (await curvesOf(page)).models[0]!.steps.map(({ loss }) => loss);
    expect(losses[0]).toBeGreaterThan(3.9);
    expect(losses.at(-1)).toBeLessThan(3.4);
    expect(problems).toEqual([]);
  }));

it("says why no device came, in the browser's own words, and trains by WebAssembly", () =>
  withBrowser({}, async (browser) => {
    const reasons = [
      [
        "GPUAdapter.prototype.requestDevice = () => Promise.reject(new DOMException('too many devices', 'OperationError'));",
        /too many devices/,
      ],
      ["navigator.gpu.requestAdapter = () => { throw new TypeError('no such adapter'); };", /no such adapter/],
      // Fifteen seconds of waiting are cut to one.
      [
        `navigator.gpu.requestAdapter = () => new Promise(() => {});
        { const later = self.setTimeout.bind(self); self.setTimeout = (run, wait) => later(run, wait > 10_000 ? 1000 : wait); }`,
        /did not answer within 15 s/,
      ],
    ] as const;
    for (const [script, reason] of reasons) {
      const page = await pageWithWorker(browser, script);
      await ready(page);
      const notice = await page.locator(".notice").innerText();
      expect(notice).toMatch(reason);
      expect(notice).not.toMatch(/prefer:/);
      expect(await page.locator(".device").innerText()).toMatch(/^WebAssembly SIMD/);
      await button(page, "Step").click();
      await untilStep(page, 1);
      await page.context().close();
    }
  }));

it("trains on the GPU of a browser that says nothing of its adapter, and gives none at the first asking", () =>
  withBrowser({}, async (browser) => {
    const older = `delete GPUAdapter.prototype.info; delete GPUDevice.prototype.adapterInfo;
      { const { gpu } = navigator; const ask = gpu.requestAdapter.bind(gpu); let asked = 0;
        gpu.requestAdapter = (options) => (asked++ === 0 ? Promise.resolve(null) : ask(options)); }`;
    const page = await pageWithWorker(browser, older);
    await ready(page);
    expect(await page.locator(".device").innerText()).toBe("unknown adapter · WebGPU");
    await button(page, "Step").click();
    await untilStep(page, 1);
  }));

it("opens a checkpoint of half precision where the device has none, in f32, and says so", () =>
  withBrowser({}, async (browser) => {
    const out = mkdtempSync(join(tmpdir(), "gatewise-lab-"));
    const sizes = ["--hidden", "8", "--embedding", "4", "--batch", "4", "--seq", "8", "--steps", "2", "--val", "0"];
    execFileSync(
      process.execPath,
      [join(root, "dist/cli.js"), "train", "--data", "alice", "--precision", "f16", ...sizes, "--out", out, "--device", "cpu"],
      { stdio: "ignore" },
    );
    const page = await pageWithWorker(
      browser,
      `{ const request = GPUAdapter.prototype.requestDevice;
        GPUAdapter.prototype.requestDevice = function (asked) {
          return request.call(this, { ...asked, requiredFeatures: asked.requiredFeatures.filter((name) => name !== "shader-f16") });
        }; }`,
    );
    await ready(page);
    await page.getByLabel("Open a checkpoint").setInputFiles(join(out, "checkpoint-2.safetensors"));
    await page.waitForFunction(() => /Opened at step 2/.test(document.querySelector(".status")?.textContent ?? ""));
    expect(await page.locator(".status").innerText()).toMatch(/in f16, which this device does not have; it goes on/);
    await button(page, "Step").click();
    await untilStep(page, 3);
    rmSync(out, { recursive: true });
  }));

it("names an address that is not secure as what keeps the GPU away, and keeps no files there", () =>
  withBrowser({}, async (browser) => {
    const context = await newContext(browser);
    await context.route("http://lab.example/**", async (route) => {
      const response = await route.fetch({ url: route.request().url().replace("http://lab.example/", site.url) });
      await route.fulfill({ response });
    });
    const { page, problems } = await openPage(context, `http://lab.example/${query({ ...SMALL, steps: "4" })}`);
    await ready(page);
    expect(await page.locator(".notice").innerText()).toMatch(/http:\/\/lab\.example, is not a secure one.*https/);
    await button(page, "Train").click();
    await untilPhase(page, "done");
    expect(await page.locator(".saved").innerText()).toMatch(/keeps no files for the lab \(.*secure address/);
    expect(problems).toEqual([]);
  }));

it("goes on from the last snapshot after the GPU process crashed, once and again, on the same curve, and says so", () =>
  withBrowser({}, async (browser) => {
    const settings = { ...SMALL, hidden: "32", batch: "16", seq: "32", steps: "9000", "eval-every": "0" };
    const { page } = await openPage(await newContext(browser), site.url + query(settings));
    await ready(page);
    await button(page, "Train").click();
    await untilStep(page, 40);
    await untilSaved(page);
    await crashGpu(browser);
    await untilPhase(page, "recovering");
    const crashed = await readBrowserTime(browser);
    await untilPhase(page, "training");
    const back = await readBrowserTime(browser);
    expect(back.at - crashed.at).toBeLessThan(3000 + othersTime(crashed, back));
    expect(await page.locator(".status").innerText()).toMatch(
      /lost and is back\. Training resumed from the last snapshot, at step \d+/,
    );
    await untilStep(page, (await stepShown(page)) + 40);
    // Again and again: after three tries in a row the CPU is offered. Chromium gives no GPU after the second crash; but
    // it may not know its new GPU process yet, and then crashes none.
    let lost = false;
    for (let crashes = 1; crashes < 4 && !lost; crashes++) {
      await crashGpu(browser);
      lost = await untilPhase(page, "lost", 12_000).then(
        () => true,
        () => false,
      );
    }
    expect(lost).toBe(true);
    await button(page, "Go on on the CPU").click();
    await untilPhase(page, "paused");
    await ready(page);
    const kept = await stepShown(page);
    expect(kept).toBeGreaterThan(0);
    await button(page, "Resume").click();
    await untilStep(page, kept + 5);
    await button(page, "Pause").click();
    await untilPhase(page, "paused");
    const { steps } = (await curvesOf(page)).models[0]!;
    // No step is missing and none is there twice.
    expect(steps.map(({ step }) => step)).toEqual(steps.map((_, i) => i + 1));
  }));

it("offers the CPU when no device comes back after three tries, and loses nothing", () =>
  withBrowser({}, async (browser) => {
    const page = await pageWithAdapters(browser, "asked === 0");
    await button(page, "Train").click();
    await untilStep(page, 60);
    await button(page, "Pause").click();
    await untilSaved(page);
    await untilPhase(page, "paused");
    await ready(page);
    const before = (await curvesOf(page)).models[0]!.steps;
    await button(page, "Resume").click();
    await untilPhase(page, "training");
    await crashGpu(browser);
    await untilPhase(page, "lost");
    await button(page, "Go on on the CPU").click();
    await untilPhase(page, "paused");
    expect(await page.locator(".device").innerText()).toMatch(/^WebAssembly SIMD/);
    await ready(page);
    const last = await stepShown(page);
    expect(last).toBeGreaterThanOrEqual(before.length);
    await button(page, "Step").click();
    await untilStep(page, last + 1);
    const after = (await curvesOf(page)).models[0]!.steps;
    expect(after.slice(0, before.length)).toEqual(before);
    expect(after.map(({ step }) => step)).toEqual(after.map((_, i) => i + 1));
  }));

it("keeps a checkpoint to download and a way on while there is no device, also for a new run", () =>
  withBrowser({}, async (browser) => {
    const page = await pageWithAdapters(browser, "asked === 0");
    await button(page, "Train").click();
    await untilStep(page, 60);
    await untilSaved(page);
    await crashGpu(browser);
    await untilPhase(page, "lost");
    const kept = loadCheckpoint(await downloaded(page, /checkpoint, download/)).training!.step;
    expect(kept).toBeGreaterThan(0);
    await button(page, "New run").click();
    await button(page, "Go on on the CPU").click();
    await untilPhase(page, "idle");
    await button(page, "Train").click();
    await untilStep(page, 5);
  }));

it("stays paused if that was asked for while the device was away", () =>
  withBrowser({}, async (browser) => {
    const page = await pageWithAdapters(browser, "asked === 0 || asked > 1");
    await button(page, "Train").click();
    await untilStep(page, 60);
    await untilSaved(page);
    await crashGpu(browser);
    await untilPhase(page, "recovering");
    // It waits, and says so, but takes the press.
    await page.locator("#go").click({ force: true });
    await untilPhase(page, "paused");
    expect(await page.locator(".status").innerText()).toMatch(/is back\. The run is back at the last snapshot, at step \d+/);
    const step = await stepShown(page);
    await page.waitForTimeout(500);
    expect(await stepShown(page)).toBe(step);
  }));

it("stops at numbers that are not finite and says at which step", () =>
  withBrowser({}, async (browser) => {
    const { page } = await openPage(await newContext(browser), site.url + query({ ...SMALL, lr: "10", clip: "0", steps: "400" }));
    await ready(page);
    await button(page, "Train").click();
    await untilPhase(page, "failed");
    expect(await page.locator(".status").innerText()).toMatch(/step \d+.*(?:not finite|exploded).*learning rate/);
  }));

it("works offline once it was loaded, and asks no other host for anything", () =>
  withBrowser({ webGpu: false }, async (browser) => {
    const context = await newContext(browser, { serviceWorkers: "allow" });
    const foreign: string[] = [];
    await context.route("**/*", (route) => {
      const { hostname } = new URL(route.request().url());
      if (hostname === "localhost") return route.continue();
      foreign.push(route.request().url());
      return route.abort();
    });
    const first = await openPage(context, site.url);
    await first.page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
    await first.page.close();
    await context.setOffline(true);
    const { page, problems } = await openPage(context, site.url + query({ ...SMALL, steps: "10" }));
    await ready(page);
    await button(page, "Train").click();
    await untilPhase(page, "done");
    expect((await curvesOf(page)).models[0]!.steps).toHaveLength(10);
    // The bench page is a page of its own.
    await page.goto(`${site.url}bench/`);
    await page.waitForSelector(".bench button.primary");
    expect(await page.locator("h1").innerText()).toBe("Gatewise bench");
    expect(await page.evaluate(() => getComputedStyle(document.documentElement).getPropertyValue("--lstm"))).toBe("#4a3fb8");
    expect(foreign).toEqual([]);
    expect(problems).toEqual([]);
  }));

it("leaves an open page its version's files when there is a new one, which comes when the page was closed", () =>
  withBrowser({ webGpu: false }, async (browser) => {
    const server = await serveFiles();
    try {
      const context = await newContext(browser, { serviceWorkers: "allow" });
      const { page, problems } = await openPage(context, server.url);
      await ready(page);
      await page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
      await page.waitForFunction(() => navigator.serviceWorker.controller !== null);
      server.version = 2;
      await page.evaluate(async () => void (await (await navigator.serviceWorker.ready).update()));
      await page.waitForFunction(async () => (await navigator.serviceWorker.ready).waiting !== null);
      // A view that was never shown: the server has it no more.
      await button(page, "Step").click();
      await untilStep(page, 1);
      await page.evaluate(() => void (location.hash = "look/gates"));
      await page.waitForSelector("canvas.heat");
      expect(problems).toEqual([]);
      await page.close();
      const next = await context.newPage();
      // The new worker takes over once the browser has noticed that the old page is gone.
      await expect
        .poll(
          async () => {
            await next.goto("about:blank");
            await next.goto(server.url);
            return next.title();
          },
          { timeout: 30_000 },
        )
        .toBe("The next lab");
    } finally {
      await server.close();
    }
  }));

/** The built page on a plain server, and as version 2 another one in its place: without the first one's views. */
async function serveFiles(): Promise<{ url: string; version: number; close(): Promise<void> }> {
  const types: Readonly<Record<string, string>> = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css" };
  const site = { url: "", version: 1, close: () => new Promise<void>((done) => void server.close(() => done())) };
  const server = createServer((request, response) => {
    const name = request.url!.replace(/\?.*/, "").replace(/\/$/, "/index.html");
    const file = join(outDir, name);
    if (!existsSync(file) || (site.version === 2 && /gates-/.test(name))) return void response.writeHead(404).end();
    let content: Buffer | string = readFileSync(file);
    if (site.version === 2 && name === "/index.html")
      content = content.toString().replace(/<title>.*<\/title>/, "<title>The next lab</title>");
    // Without the view that is gone, in a list of another version.
    if (site.version === 2 && name === "/sw.js")
      content = content
        .toString()
        .replace(/[\\"]+assets\/gates-[^"\\]*[\\"]+,/, "")
        .replace(/[0-9a-f]{16}/, "0123456789abcdef");
    // The page itself may lie in the browser's own cache, as on many a host; the rest must come from the worker's.
    const control = name === "/index.html" ? "max-age=600" : "no-store";
    response.writeHead(200, { "content-type": types[extname(name)] ?? "text/plain", "cache-control": control }).end(content);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  site.url = `http://localhost:${(server.address() as AddressInfo).port}/`;
  return site;
}

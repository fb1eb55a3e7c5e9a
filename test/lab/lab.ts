// The built page on a server of its own, and a browser to look at it.
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { chromium, type Browser, type BrowserContext, type BrowserContextOptions, type Page } from "playwright";
import { preview, type PreviewServer } from "vite";
import { afterAll, beforeAll } from "vitest";
import { browserVariables, cache, readEnvironment, root } from "../../scripts/environment.mjs";
import { ownTime, readTime, type TimeRead } from "../others-time.ts";

export const outDir = join(cache, "lab");

/** Builds the page, once for all test files of a process, and serves it on a free port of this machine. */
export async function serveLab(): Promise<{ url: string; close(): Promise<void> }> {
  await (built ??= buildLab());
  const server: PreviewServer = await preview({
    root,
    mode: "lab",
    configFile: join(root, "vite.config.ts"),
    logLevel: "error",
    build: { outDir },
    preview: { port: 0, host: "127.0.0.1" },
  });
  const address = server.httpServer.address();
  if (address === null || typeof address === "string") throw new Error("the preview server has no port");
  return { url: `http://localhost:${address.port}/`, close: () => server.close() };
}
let built: Promise<void> | undefined;

/** In a process of its own: Vitest's environment would make it a development build. */
async function buildLab(): Promise<void> {
  const vite = join(root, "node_modules", "vite", "bin", "vite.js");
  const args = [vite, "build", "--mode", "lab", "--logLevel", "warn", "--outDir", outDir, "--emptyOutDir"];
  await promisify(execFile)(process.execPath, args, { cwd: root, env: { ...process.env, NODE_ENV: "production" } });
}

/** The browser that the tests drive; without its WebGPU flags if `webGpu` is false. */
export function launchBrowser({ webGpu = true } = {}): Promise<Browser> {
  const environment = readEnvironment();
  const { browser } = environment;
  if (!browser) throw new Error("the lab's tests need a browser with WebGPU; run `npm run setup`");
  return chromium.launch({
    executablePath: browser.executablePath,
    args: webGpu ? browser.args : [],
    env: browserVariables(environment),
    headless: true,
  });
}

/**
 * The page's address, a browser, and a folder for files, for all tests of a file. Where a test is not about the GPU, a
 * browser without spares it a software GPU's compiler, seconds for each run.
 */
export function useLab(options?: { webGpu: boolean }): {
  readonly url: string;
  readonly browser: Browser;
  readonly folder: string;
} {
  let site: Awaited<ReturnType<typeof serveLab>>;
  let browser: Browser;
  let folder: string;
  beforeAll(async () => {
    [site, browser] = await Promise.all([serveLab(), launchBrowser(options)]);
    folder = mkdtempSync(join(tmpdir(), "gatewise-lab-"));
  });
  afterAll(async () => {
    await browser?.close();
    await site?.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return {
    get url() {
      return site.url;
    },
    get browser() {
      return browser;
    },
    get folder() {
      return folder;
    },
  };
}

/** Reads the time of a test that drives this browser: see ../others-time.ts. */
export async function readBrowserTime(browser: Browser): Promise<TimeRead> {
  const cdp = await browser.newBrowserCDPSession();
  const { processInfo } = await cdp.send("SystemInfo.getProcessInfo");
  await cdp.detach();
  return readTime(ownTime() + processInfo.reduce((sum, { cpuTime }) => sum + 1000 * cpuTime, 0));
}

/**
 * A fresh profile. Its language is given, because browsers under LANG=C name one that Intl does not know; it keeps nothing
 * for use offline unless that is asked for, as twelve megabytes of books would come along; and it waits for what a test
 * waits for until the test's own time is up.
 */
export async function newContext(browser: Browser, options: BrowserContextOptions = {}): Promise<BrowserContext> {
  const basics = { locale: "en-GB", viewport: { width: 1280, height: 900 }, serviceWorkers: "block" } as const;
  const context = await browser.newContext({ ...basics, ...options });
  context.setDefaultTimeout(100_000);
  return context;
}

/** What went wrong on a page that a visitor would not see. */
export interface Watched {
  readonly page: Page;
  readonly problems: string[];
}

/**
 * Opens the page on WebGPU, if the address names no other device, for a software adapter comes only where it is asked for; and
 * where runs are trained, if it names no other place.
 */
export async function openPage(context: BrowserContext, url: string): Promise<Watched> {
  const page = await context.newPage();
  const problems: string[] = [];
  page.on("pageerror", (error) => problems.push(`error: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error" || /Content Security Policy|TrustedScript/.test(message.text()))
      problems.push(`console: ${message.text()}`);
  });
  const address = new URL(url);
  if (!address.searchParams.has("device")) address.searchParams.set("device", "webgpu");
  address.hash ||= "train";
  await page.goto(address.href);
  return { page, problems };
}

/** A small configuration: a step takes milliseconds, also on a software adapter. */
export const SMALL = {
  data: "alice",
  preset: "lstm",
  hidden: "16",
  embedding: "8",
  batch: "8",
  seq: "16",
  steps: "60",
  lr: "0.01",
  "eval-every": "20",
  val: "0.02",
};
export const query = (settings: Record<string, string>): string => `?${new URLSearchParams(settings)}`;

export const button = (page: Page, name: string | RegExp) => page.getByRole("button", { name, exact: typeof name === "string" });

/** Waits until the page is ready to train. */
export const ready = (page: Page): Promise<unknown> =>
  page.waitForFunction(() => {
    const go = document.querySelector<HTMLButtonElement>("#go");
    return go && /Train|Resume/.test(go.textContent) && !go.disabled && go.getAttribute("aria-disabled") !== "true";
  });

/** The step that the page shows. */
export const stepShown = (page: Page): Promise<number> =>
  page.evaluate(() =>
    Number(/Step\s*([\d,]+) of/.exec(document.querySelector(".figures")?.textContent ?? "")?.[1]?.replaceAll(",", "") ?? 0),
  );

export const untilStep = (page: Page, step: number): Promise<unknown> =>
  page.waitForFunction(
    (least) =>
      Number(/Step\s*([\d,]+) of/.exec(document.querySelector(".figures")?.textContent ?? "")?.[1]?.replaceAll(",", "") ?? 0) >=
      least,
    step,
  );

export const untilPhase = (page: Page, phase: string, timeout?: number): Promise<unknown> =>
  page.waitForSelector(`.status[data-phase="${phase}"]`, { state: "attached", timeout });

export interface CurvesFile {
  readonly models: readonly {
    readonly preset: string;
    readonly steps: readonly {
      readonly step: number;
      readonly loss: number;
      readonly gradNorm: number;
      readonly learningRate: number;
    }[];
    readonly evaluations: readonly { readonly step: number; readonly valLoss: number; readonly valAccuracy: number }[];
  }[];
}

/** What a button downloads. */
export async function downloaded(page: Page, name: string | RegExp): Promise<Buffer> {
  const [file] = await Promise.all([page.waitForEvent("download"), button(page, name).click()]);
  return readFileSync((await file.path())!);
}

/** The whole log, as the page exports it. */
export const curvesOf = async (page: Page): Promise<CurvesFile> => JSON.parse((await downloaded(page, /^JSON/)).toString());

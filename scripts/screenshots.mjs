// npm run lab:screenshots: pictures of the lab page for the README, in docs/, taken of the built page in the browser of
// the tests: those that the README shows, of lessons, of views of the prepared runs, and of a training. --quick trains less and
// takes all there are, in the dark too, into the folder given: to look at changes.
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { chromium } from "playwright";
import { preview } from "vite";
import { browserVariables, readEnvironment, root } from "./environment.mjs";

const quick = process.argv[2] === "--quick";
const folder = quick ? resolve(process.argv[3] ?? "screenshots") : join(root, "docs", "lab");
mkdirSync(folder, { recursive: true });
const shown = readFileSync(join(root, "README.md"), "utf8");

const vite = join(root, "node_modules", "vite", "bin", "vite.js");
const built = spawnSync(process.execPath, [vite, "build", "--mode", "lab", "--logLevel", "warn"], {
  cwd: root,
  stdio: "inherit",
});
if (built.status !== 0) process.exit(1);

const environment = readEnvironment();
if (!environment.browser) throw new Error("screenshots: there is no browser with WebGPU; run npm run setup");
const server = await preview({
  root,
  mode: "lab",
  configFile: join(root, "vite.config.ts"),
  logLevel: "error",
  preview: { port: 0, host: "127.0.0.1" },
});
const address = server.httpServer.address();
if (address === null || typeof address === "string") throw new Error("the preview server has no port");
const { executablePath, args } = environment.browser;
const browser = await chromium.launch({ executablePath, args, env: browserVariables(environment) });
/** Waits until nothing is computed any more, and the page has drawn what came of it. @param {import("playwright").Page} page */
async function settled(page) {
  await page.waitForTimeout(300);
  await page.waitForFunction(() => !document.querySelector(".computing, [aria-busy=true]"), null, { timeout: 120_000 });
  await page.waitForTimeout(500);
}

try {
  for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
    const context = await browser.newContext({ locale: "en-GB", colorScheme, viewport: { width: 1280, height: 900 } });
    const page = await context.newPage();
    page.on("console", (message) => message.type() === "error" && console.error(message.text()));
    page.on("pageerror", (error) => console.error(error.message));
    /** In the dark a few will do: what changes is the palette. @template T @param {T[]} all @returns {T[]} */
    const some = (all) => (colorScheme === "light" || quick ? all : all.slice(0, 2));
    /** @param {string} selector */
    const hrefs = (selector) =>
      page.locator(selector).evaluateAll((links) => links.map((link) => link.getAttribute("href") ?? ""));

    await page.goto(`http://localhost:${address.port}/?device=wasm#lessons`);
    await page.waitForFunction(() => (document.querySelector(".writing .text")?.textContent?.length ?? 0) > 300);
    await shoot(page, `lessons-${colorScheme}`);
    for (const lesson of some(await hrefs('a[href^="#lessons/"]:not([href$="teachers"])'))) {
      await page.evaluate((hash) => void (location.hash = hash), lesson);
      await page.getByRole("button", { name: "That is my guess" }).click();
      await settled(page);
      await shoot(page, `lesson-${lesson.split("/")[1]}-${colorScheme}`);
    }
    await page.evaluate(() => void (location.hash = "#look"));
    await page.waitForSelector(".views a");
    for (const view of some(await hrefs(".views a"))) {
      await page.evaluate((hash) => void (location.hash = hash), view);
      await page.waitForSelector(`[data-view="${view.split("/")[1]?.split("?")[0]}"]`);
      if (view.includes("memory")) await page.getByRole("button", { name: "Try their memory" }).click();
      if (view.includes("break-it")) await page.getByRole("button", { name: /^Train it/ }).click();
      await settled(page);
      await shoot(page, `${view.split("/")[1]?.split("?")[0]}-${colorScheme}`);
    }
    const steps = quick ? 400 : 1200;
    await page.goto(`http://localhost:${address.port}/?device=wasm&preset=race&steps=${steps}&eval-every=${steps / 6}#train`);
    await page.waitForFunction(
      () => document.querySelector("#go")?.textContent === "Train" && !document.querySelector("#go")?.hasAttribute("disabled"),
    );
    await page.getByRole("button", { name: "Train", exact: true }).click();
    await page.waitForSelector('.status[data-phase="done"]', { state: "attached", timeout: 600_000 });
    await page.getByLabel("Close-up").check();
    await page.waitForTimeout(800);
    await shoot(page, `train-${colorScheme}`);
    if (colorScheme === "light") {
      await page.getByRole("tab", { name: "Check" }).click();
      await page.getByRole("button", { name: "Check this device" }).click();
      await page.waitForSelector(".verdict", { timeout: 120_000 });
      await shoot(page, "check-light");
      await page.getByRole("tab", { name: "Bench" }).click();
      await page.getByLabel("Kernels").uncheck();
      await page.getByLabel("Hidden sizes up to").selectOption("128");
      await page.getByRole("button", { name: "Measure" }).click();
      await page.waitForFunction(() => !document.querySelector(".bench progress"), null, { timeout: 300_000 });
      await shoot(page, "bench-light");
      await page.setViewportSize({ width: 360, height: 780 });
      await page.getByRole("tab", { name: "Train" }).click();
      await page.waitForTimeout(500);
      await shoot(page, "train-narrow");
    }
    await context.close();
  }
} finally {
  await browser.close();
  await server.close();
}

/** @param {import("playwright").Page} page @param {string} name */
async function shoot(page, name) {
  if (!quick && !shown.includes(`docs/lab/${name}.png`)) return;
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
  console.log(join(folder, `${name}.png`));
}

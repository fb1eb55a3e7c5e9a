import { chromium } from "playwright";
import { preview } from "vite";
import { browserVariables, readEnvironment } from "../scripts/environment.mjs";
const environment = readEnvironment(); const { browser } = environment;
const server = await preview({ root: process.cwd(), mode: "lab", configFile: "vite.config.ts", logLevel: "error", build: { outDir: process.argv[2] }, preview: { port: 0, host: "127.0.0.1" } });
const url = `http://localhost:${server.httpServer.address().port}/`;
const b = await chromium.launch({ executablePath: browser.executablePath, args: browser.args, env: browserVariables(environment), headless: true });
for (const scheme of ["light", "dark"]) {
const c = await b.newContext({ locale: "en-GB", viewport: { width: 1280, height: 900 }, colorScheme: scheme });
const page = await c.newPage();
page.on("console", (m) => console.log(m.type(), m.text())); page.on("pageerror", (e) => console.log(e.message));
await page.goto(url + "?preset=race&hidden=16&embedding=8&batch=8&seq=16&steps=12&eval-every=4");
await page.waitForFunction(() => document.querySelector("#go")?.textContent === "Train" && !document.querySelector("#go").disabled && document.querySelector("#go").getAttribute("aria-disabled") !== "true");
await page.click("#go");
await page.waitForSelector('.status[data-phase="done"]', { state: "attached", timeout: 120000 });
await page.waitForTimeout(1000);
await page.screenshot({ path: `/tmp/w/train-${scheme}.png` });
await page.evaluate(() => void (location.hash = "look/gradient-flow"));
await page.waitForSelector('[data-view="gradient-flow"] .plot');
await page.screenshot({ path: `/tmp/w/flow-${scheme}.png` });
}
await b.close(); await server.close();

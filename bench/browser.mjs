#!/usr/bin/env node
// Serves the bench page on this machine alone. With --headless it also drives the browser that set-up found through a
// whole report and prints it: node bench/browser.mjs --headless [--sections kernels,training] [--hidden 512] [--rounds 5]
// [--device wasm]
import { parseArgs } from "node:util";
import { createServer } from "vite";
import { browserVariables, readEnvironment, root } from "../scripts/environment.mjs";

const { values } = parseArgs({
  options: {
    headless: { type: "boolean", default: false },
    sections: { type: "string", default: "kernels,training,sampling,scaling" },
    hidden: { type: "string", default: "256" },
    rounds: { type: "string", default: "5" },
    device: { type: "string", default: "webgpu" },
  },
});
const TITLES = {
  kernels: "Kernels",
  training: "Training steps",
  deepbench: "DeepBench’s shapes (long)",
  sampling: "Writing text",
  scaling: "Scaling with T, H and B",
};

const server = await createServer({
  root,
  mode: "lab",
  logLevel: "warn",
  server: { host: "127.0.0.1", port: 0, strictPort: false },
});
await server.listen();
const url = `${server.resolvedUrls?.local[0]}bench/?device=${values.device}`;
if (!values.headless) {
  console.log(`The bench page: ${url} (Ctrl-C ends it)`);
} else {
  process.exitCode = await measure(url);
  await server.close();
}

/** @param {string} address @returns {Promise<number>} */
async function measure(address) {
  const environment = readEnvironment();
  if (!environment.browser) {
    console.error("bench:browser: no browser with WebGPU was found; npm run setup says what to install");
    return 3;
  }
  const { chromium } = await import("playwright");
  const { executablePath, args } = environment.browser;
  const browser = await chromium.launch({ executablePath, args, env: browserVariables(environment) });
  try {
    const context = await browser.newContext();
    await context.grantPermissions(["clipboard-read", "clipboard-write"], { origin: new URL(address).origin });
    const page = await context.newPage();
    await page.goto(address);
    const wanted = values.sections.split(",");
    for (const [name, title] of Object.entries(TITLES))
      await page.getByLabel(title, { exact: true }).setChecked(wanted.includes(name));
    await page.getByLabel("Hidden sizes up to").selectOption(values.hidden);
    await page.getByLabel("Rounds").fill(values.rounds);
    await page.getByLabel("Rounds").press("Tab");
    await page.getByRole("button", { name: "Measure" }).click();
    const status = page.getByRole("status");
    for (let shown = ""; ; await page.waitForTimeout(500)) {
      const text = (await status.textContent()) ?? "";
      if (text !== shown) console.error((shown = text));
      if (text && !text.startsWith("Measuring")) break;
    }
    if ((await status.textContent()) !== "Done.") return 1;
    await page.getByRole("button", { name: "Copy the report as Markdown" }).click();
    console.log(await page.evaluate(() => navigator.clipboard.readText()));
    return 0;
  } finally {
    await browser.close();
  }
}

// What the page keeps: runs that come back, also where two tabs, odd checkpoints or a browser without storage meet.
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import type { Page } from "playwright";
import { expect, it } from "vitest";
import { root } from "../../scripts/environment.mjs";
import {
  button,
  downloaded,
  newContext,
  openPage,
  query,
  ready,
  SMALL,
  stepShown,
  untilPhase,
  untilStep,
  useLab,
} from "./lab.ts";

const lab = useLab({ webGpu: false });

const statusOf = (page: Page): Promise<string> => page.locator(".status").innerText();
const untilStatus = (page: Page, pattern: RegExp): Promise<unknown> =>
  page.waitForFunction((source) => new RegExp(source).test(document.querySelector(".status")?.textContent ?? ""), pattern.source);
const names = (page: Page): Promise<string[]> =>
  page
    .getByRole("textbox", { name: "Name of the run" })
    .evaluateAll((all) => all.map((input) => (input as HTMLInputElement).value));

async function trainToEnd(page: Page): Promise<void> {
  await ready(page);
  await button(page, "Train").click();
  await untilPhase(page, "done");
}

it("brings back the run that was on the stage, however it came there, and none that was reset", async () => {
  const context = await newContext(lab.browser);
  const { page, problems } = await openPage(context, lab.url + query({ ...SMALL, steps: "10" }));
  await trainToEnd(page);
  expect(await page.locator("#further").innerText()).toMatch(/^Train further: 10 steps more(, about \d+ s)?\.$/);
  await button(page, "Train further").click();
  await untilStep(page, 12);
  await untilPhase(page, "done");
  expect(await page.locator("#further").innerText()).toMatch(/^Train further: 20 steps more/);
  await downloaded(page, "Last checkpoint, download");
  await untilStatus(page, /the model at step 20, its last; it continues with/);
  await page.reload();
  await untilStatus(page, /Restored “LSTM · 16 units” at step 20/);
  expect(await stepShown(page)).toBe(20);

  await button(page, "New run").click();
  await page.getByRole("radio", { name: /^GRU/ }).check();
  await trainToEnd(page);
  await button(page, "Open LSTM · 16 units").click();
  await untilStatus(page, /Restored “LSTM/);
  await page.reload();
  await untilStatus(page, /Restored “LSTM · 16 units” at step 20/);
  // A temperature that was set after the last save is in the address, and holds.
  await page.getByRole("slider", { name: "Temperature" }).fill("1.2");
  await page.waitForFunction(() => location.search.includes("temperature=1.2"));
  await page.reload();
  await untilStatus(page, /Restored “LSTM/);
  expect(await page.locator(".sliders b").first().innerText()).toBe("1.20");
  for (const prompt of ["Alice", ""]) {
    await page.getByLabel("Prompt").fill(prompt);
    await page.waitForFunction((words) => new URLSearchParams(location.search).get("prompt") === words, prompt);
    await page.reload();
    await untilStatus(page, /Restored “LSTM/);
    expect(await page.getByLabel("Prompt").inputValue()).toBe(prompt);
  }

  await button(page, "New run").click();
  await untilStatus(page, /Ready for a new run/);
  await page.reload();
  await ready(page);
  expect(await button(page, "Train").isVisible()).toBe(true);
  expect(await names(page)).toEqual(["GRU · 16 units", "LSTM · 16 units"]);
  // Left before anything of it was saved, a run begins anew.
  await page.getByRole("radio", { name: /^One-hot RNN/ }).check();
  await button(page, "Train").click();
  await untilStep(page, 1);
  await page.reload();
  await untilStatus(page, /Restored “One-hot RNN · 16 units” at step \d+/);
  expect(problems).toEqual([]);
  await context.close();
});

it("leaves a run to the tab that has it, and loses none of the other tab's", async () => {
  const context = await newContext(lab.browser);
  const first = (await openPage(context, lab.url + query({ ...SMALL, steps: "200000", "eval-every": "0" }))).page;
  await ready(first);
  await button(first, "Train").click();
  await untilStep(first, 5);
  await first.waitForFunction(() => /Saved/.test(document.querySelector(".saved")?.textContent ?? ""));

  const second = (await openPage(context, lab.url)).page;
  await untilStatus(second, /“LSTM · 16 units” could not be restored: it is open in another tab/);
  await ready(second);
  await button(second, "Delete LSTM · 16 units").click();
  await untilStatus(second, /open in another tab/);
  await second.goto(lab.url + query({ ...SMALL, preset: "gru", steps: "10" }));
  await trainToEnd(second);
  // The first tab writes its own line of the table again.
  await button(first, "Pause").click();
  await untilPhase(first, "paused");
  await second.reload();
  await untilStatus(second, /Restored “GRU/);
  expect(await names(second)).toEqual(["GRU · 16 units", "LSTM · 16 units"]);
  await first.close();
  await button(second, "Delete LSTM · 16 units").click();
  await second.waitForFunction(() => document.querySelectorAll(".runs .name").length === 1);
  await context.close();
});

it("keeps the run on the stage when another one cannot be opened", async () => {
  const context = await newContext(lab.browser);
  const { page } = await openPage(context, lab.url + query({ ...SMALL, steps: "10" }));
  await trainToEnd(page);
  await button(page, "New run").click();
  await page.getByRole("radio", { name: /^GRU/ }).check();
  await trainToEnd(page);
  await page.evaluate(async () => {
    const runs = await (await navigator.storage.getDirectory()).getDirectoryHandle("runs");
    for await (const entry of (runs as unknown as { values(): AsyncIterable<FileSystemDirectoryHandle> }).values()) {
      const file = await entry.getFileHandle("lstm.safetensors").catch(() => undefined);
      if (!file) continue;
      const writable = await file.createWritable();
      await writable.write("damaged");
      await writable.close();
    }
  });
  await button(page, "Open LSTM · 16 units").click();
  await untilStatus(page, /“LSTM · 16 units” could not be restored/);
  await button(page, "Train further").click();
  await untilStep(page, 11);
  await untilPhase(page, "done");
  expect(await stepShown(page)).toBe(20);
  await context.close();
});

it("opens a checkpoint of sizes that the form does not offer, and brings it back after a reload", async () => {
  const args = ["train", "--data", "alice", "--hidden", "8", "--embedding", "4", "--layers", "5", "--batch", "300", "--seq", "4"];
  const out = join(lab.folder, "odd");
  execFileSync(
    process.execPath,
    [join(root, "dist/cli.js"), ...args, "--loss", "last", "--steps", "2", "--val", "0", "--out", out, "--device", "cpu"],
    { stdio: "ignore" },
  );
  const context = await newContext(lab.browser, { permissions: ["clipboard-read", "clipboard-write"] });
  const { page } = await openPage(context, lab.url + query({ ...SMALL, steps: "4" }));
  await ready(page);
  await page.getByLabel("Open a checkpoint").setInputFiles(join(out, "checkpoint-2.safetensors"));
  await untilStatus(page, /Opened at step 2/);
  await button(page, "Step").click();
  await untilStep(page, 3);
  await page.waitForFunction(() => /Saved at step 3/.test(document.querySelector(".saved")?.textContent ?? ""));
  await button(page, "Copy as command").click();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toMatch(/--layers 5 .*--batch 300 .* --loss last$/);
  await page.reload();
  await untilStatus(page, /Restored “checkpoint-2.safetensors” at step 3/);
  await context.close();
});

it("says why a file is no text and no checkpoint, and goes on with what it had", async () => {
  const context = await newContext(lab.browser);
  const { page } = await openPage(context, lab.url + query(SMALL));
  await ready(page);
  const give = (label: string, name: string, buffer: Buffer): Promise<void> =>
    page.getByLabel(label).setInputFiles({ name, mimeType: "application/octet-stream", buffer });
  await give("Open a checkpoint", "x.safetensors", Buffer.from("no checkpoint at all"));
  await untilStatus(page, /x\.safetensors could not be opened: /);
  await give("Open a .txt", "short.txt", Buffer.from("Too short."));
  await untilStatus(page, /short\.txt has 10 characters/);
  await button(page, "Paste a text").click();
  await page.getByLabel("Your text").fill("Too short.");
  await button(page, "Use this text").click();
  await untilStatus(page, /pasted text\.txt has 10 characters/);
  // What was typed is still there.
  expect(await page.getByLabel("Your text").inputValue()).toBe("Too short.");
  expect(await page.locator(".facts").innerText()).toMatch(/^144,395 characters/);
  // A long text is validated on as much as tells enough.
  await page.locator("summary", { hasText: "Sizes and optimizer" }).click();
  expect(await page.getByLabel("Validation part").inputValue()).toBe("0.02");
  await page.goto(`${lab.url}?data=kjv-bible`);
  await page.waitForFunction(() => (document.querySelector(".facts")?.textContent ?? "").startsWith("4,"));
  await page.locator("summary", { hasText: "Sizes and optimizer" }).click();
  expect(await page.getByLabel("Validation part").inputValue()).toBe("0.0046");
  await context.close();
});

it("trains all the same where the browser keeps nothing, and says so", async () => {
  const context = await newContext(lab.browser);
  const refuse = `Object.defineProperty(globalThis, "indexedDB", { value: { open() { throw new DOMException("no", "SecurityError"); } } });
    navigator.locks.request = () => Promise.reject(new DOMException("no", "SecurityError"));
    navigator.storage.getDirectory = () => Promise.reject(new DOMException("storage is off", "SecurityError"));`;
  await context.addInitScript(refuse);
  await context.route(/assets\/worker-.*\.js/, async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: `{ ${refuse} }` + (await response.text()) });
  });
  const { page, problems } = await openPage(context, lab.url + query({ ...SMALL, steps: "10" }));
  await trainToEnd(page);
  expect(await page.locator(".saved").innerText()).toMatch(/keeps no files for the lab \(storage is off\)/);
  await button(page, "New run").click();
  await button(page, "Delete LSTM · 16 units").click();
  await page.waitForFunction(() => document.querySelectorAll(".runs .name").length === 0);
  expect(await statusOf(page)).toBe("“LSTM · 16 units” is deleted.");
  expect(problems).toEqual([]);
  await context.close();
});

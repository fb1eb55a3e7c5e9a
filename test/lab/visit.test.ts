// What visitors meet who do not go the way that the page was made for.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "playwright";
import { expect, it } from "vitest";
import { root } from "../../scripts/environment.mjs";
import { CharTokenizer, loadCheckpoint, LanguageModel, modelFromCheckpoint, openDevice } from "../../src/index.ts";
import { button, curvesOf, newContext, openPage, query, ready, SMALL, untilPhase, useLab } from "./lab.ts";

const lab = useLab({ webGpu: false });

const untilStatus = (page: Page, pattern: RegExp): Promise<unknown> =>
  page.waitForFunction((source) => new RegExp(source).test(document.querySelector(".status")?.textContent ?? ""), pattern.source);

it("opens a checkpoint without its book to write and to be looked into, and trains it once the text is there", async () => {
  const text = "the rabbit looks at his watch and runs, for he is late for tea.\n".repeat(40);
  const file = join(lab.folder, "rabbit.txt");
  writeFileSync(file, text);
  const out = join(lab.folder, "rabbit");
  const sizes = [
    "--cell",
    "gru",
    "--hidden",
    "16",
    "--embedding",
    "8",
    "--batch",
    "4",
    "--seq",
    "16",
    "--steps",
    "200",
    "--lr",
    "0.01",
  ];
  execFileSync(
    process.execPath,
    [join(root, "dist/cli.js"), "train", "--data", file, ...sizes, "--out", out, "--device", "cpu"],
    {
      stdio: "ignore",
    },
  );
  const context = await newContext(lab.browser);
  const { page, problems } = await openPage(context, lab.url + query({ ...SMALL, temperature: "0" }));
  await ready(page);
  await page.getByLabel("Open a checkpoint").setInputFiles(join(out, "checkpoint-200.safetensors"));
  await untilStatus(
    page,
    /^Opened at step 200, to write and to be looked into\. Alice.* has characters that this model was never shown/,
  );
  // What it writes is what the library has it write.
  await page.waitForFunction(() => (document.querySelector(".texts .text")?.textContent ?? "…").length > 100);
  const checkpoint = loadCheckpoint(new Uint8Array(readFileSync(join(out, "checkpoint-200.safetensors"))));
  const device = await openDevice({ prefer: "cpu" });
  const model: LanguageModel = modelFromCheckpoint(device, checkpoint);
  const written = await model.sample(checkpoint.tokenizer as CharTokenizer, {
    prompt: "",
    length: 240,
    temperature: 0,
    seed: 200,
  });
  expect(await page.locator(".texts .text").textContent()).toBe(written.replace(/^\n+/, ""));
  device.dispose();
  await button(page, "Train").or(button(page, "Resume")).click();
  await untilStatus(page, /^Alice.*: open the text that it was trained on to train it further/);
  await page.getByLabel("Open a .txt").setInputFiles(file);
  await untilStatus(page, /Opened at step 200; it continues as the unbroken run would/);
  await expect.poll(() => page.locator(".runs tbody tr").count()).toBe(1);
  await button(page, "Resume").click();
  await untilPhase(page, "done");
  expect(problems).toEqual([]);
  await context.close();
});

const saved = (page: Page, pattern: RegExp): Promise<unknown> =>
  page.waitForFunction((source) => new RegExp(source).test(document.querySelector(".saved")?.textContent ?? ""), pattern.source);

it("writes again what the browser threw away, and says then how long it lasts", async () => {
  const context = await newContext(lab.browser);
  const { page, problems } = await openPage(context, lab.url + query({ ...SMALL, steps: "20", "eval-every": "0" }));
  await ready(page);
  await button(page, "Train").click();
  await untilPhase(page, "done");
  await saved(page, /^Saved at step 20/);
  const files = (): Promise<readonly string[]> =>
    page.evaluate(async () => {
      const names: string[] = [];
      const runs = await (await navigator.storage.getDirectory()).getDirectoryHandle("runs");
      for await (const run of runs.values())
        for await (const { name } of (run as FileSystemDirectoryHandle).values()) names.push(name);
      return names.sort();
    });
  const KEPT = ["lstm.evaluations", "lstm.log", "lstm.safetensors", "run.json"];
  expect(await files()).toEqual(KEPT);
  await page.evaluate(async () => {
    await (await navigator.storage.getDirectory()).removeEntry("runs", { recursive: true });
    document.dispatchEvent(new Event("visibilitychange"));
  });
  await saved(page, /^Saved at step 20, until this window is closed at the most: download what you want to keep$/);
  // Where the disk is small the page said that before, and is still writing.
  await expect.poll(files).toEqual(KEPT);
  await page.reload();
  await untilStatus(page, /^Restored .* at step 20/);
  expect(problems).toEqual([]);
  await context.close();
});

it("calls nothing saved that cannot be read back", async () => {
  const context = await newContext(lab.browser);
  await context.route(/assets\/worker-.*\.js/, async (route) => {
    const response = await route.fetch();
    const forget = "FileSystemWritableFileStream.prototype.close = function () { return this.abort(); };";
    await route.fulfill({ response, body: forget + (await response.text()) });
  });
  const { page } = await openPage(context, lab.url + query({ ...SMALL, steps: "20", "eval-every": "0" }));
  await ready(page);
  await button(page, "Train").click();
  await untilPhase(page, "done");
  await saved(page, /could not be read back\); download what you want to keep$/);
  await context.close();
});

it("says whose a race's numbers are, in one unit, and what it wrote again after a reload; what is deleted can be had back", async () => {
  const context = await newContext(lab.browser);
  const settings = { ...SMALL, preset: "race", presets: "one-hot-rnn,gru", steps: "40" };
  const { page, problems } = await openPage(context, lab.url + query(settings));
  await ready(page);
  // Left alone, the page finds out how long a step takes here.
  await page.waitForFunction(() => /by the first steps/.test(document.querySelector(".estimate")?.textContent ?? ""));
  await button(page, "Train").click();
  await untilPhase(page, "done");
  const curves = (await curvesOf(page)).models;
  const best = curves.map(({ evaluations }) => Math.min(...evaluations.map(({ valLoss }) => valLoss)));
  const winner = best[0]! < best[1]! ? 0 : 1;
  const title = ["One-hot RNN", "GRU"][winner]!;
  const figure = (name: string): Promise<string | null> =>
    page.locator(".figures div", { hasText: name }).locator("dd").textContent();
  expect(await figure("Best validation")).toBe(`${best[winner]!.toFixed(3)} nats${title}`);
  const rows = await page.locator('[data-table="race"] tbody tr').allTextContents();
  expect(rows.map((row) => row.trim().startsWith(title))).toEqual([true, false]);
  await page.getByRole("radio", { name: "Bits per character" }).check();
  expect(await figure("Best validation")).toBe(`${(best[winner]! / Math.LN2).toFixed(2)} bits${title}`);
  expect(await page.locator(".runs thead").innerText()).toContain("bits per character");
  // News of one tab is none on another.
  await button(page, "Copy link").click();
  await untilStatus(page, /copied|did not allow/);
  await page.getByRole("tab", { name: "Check" }).click();
  await untilStatus(page, /^Done: 40 steps\.$/);
  await page.getByRole("tab", { name: "Train" }).click();
  await page.reload();
  await untilStatus(page, /^Restored/);
  await page.waitForFunction(() =>
    [...document.querySelectorAll(".texts .text")].every((text) => text.textContent!.length > 100),
  );
  await ready(page);
  await button(page, "New run").click();
  const row = page.locator(".runs tbody tr");
  for (const name of [/^Open/, /^Delete/]) {
    const box = (await row.getByRole("button", { name }).boundingBox())!;
    expect(box.x + box.width - 1).toBeLessThanOrEqual(
      (await page.locator(".runs .scroll").boundingBox())!.x +
        (await page.locator(".runs .scroll").evaluate((e) => e.clientWidth)),
    );
  }
  await row.getByRole("button", { name: /^Delete/ }).click();
  await row.getByRole("button", { name: /^Undo deleting/ }).click();
  await page.waitForTimeout(11_000);
  expect(await row.count()).toBe(1);
  expect(problems).toEqual([]);
  await context.close();
});

it("breaks networks and tries their memory before anything was trained", async () => {
  const context = await newContext(lab.browser);
  const { page, problems } = await openPage(context, `${lab.url}#look/break-it`);
  await page.waitForSelector('[data-view="break-it"]');
  await page.getByLabel("Kind").selectOption("one-hot-rnn");
  await page.waitForSelector("button:text('Train it six ways'):not([aria-disabled=true])");
  await button(page, "Train it six ways").click();
  await page.waitForFunction(() => document.querySelectorAll("[data-breakage] .spark").length === 6);
  expect(await page.locator('[data-breakage="healthy"] .good').innerText()).toMatch(/Learning: the loss fell/);
  await page.evaluate(() => void (location.hash = "look/memory"));
  await button(page, "Try their memory").click();
  // How long it takes at the most is said by the pace of this device, once there is one.
  await page.waitForFunction(() =>
    /at most .* for all that is left/.test(document.querySelector(".view [role=status]")?.textContent ?? ""),
  );
  await button(page, "Cancel").click();
  await button(page, "Try their memory").waitFor();
  expect(problems).toEqual([]);
  await context.close();
});

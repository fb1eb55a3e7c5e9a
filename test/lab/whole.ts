// Checks of the whole page, of which npm test makes the part that takes seconds and npm run test:long all.
import { AxeBuilder } from "@axe-core/playwright";
import fc from "fast-check";
import type { Browser, Page } from "playwright";
import { expect } from "vitest";
import { defaultsFor, isSized, NUMBER_NAMES, NUMBERS, readAddress } from "../../src/lab/settings.ts";
import { button, newContext, openPage, query, ready, SMALL, untilPhase } from "./lab.ts";

export const VIEWS = [
  "next-character",
  "gates",
  "gradient-flow",
  "units",
  "memory",
  "one-step",
  "parallel",
  "embeddings",
  "break-it",
];

export type Look = readonly [colorScheme: "light" | "dark", width: number];

/** What is wrong on any tab and view: what axe finds in each of these looks, and what is wider than the screen in any. */
export async function problemsOfLooks(lab: { url: string; browser: Browser }, looks: readonly Look[]): Promise<string[]> {
  const context = await newContext(lab.browser);
  const settings = { ...SMALL, preset: "race", steps: "12", "eval-every": "4" };
  const { page, problems } = await openPage(context, lab.url + query(settings));
  await ready(page);
  await button(page, "Train").click();
  await untilPhase(page, "done");
  await page.locator("summary", { hasText: "Sizes and optimizer" }).click();
  await page.locator("summary", { hasText: "The curves as a table" }).click();
  const found: string[] = [];
  for (const place of ["lessons", "lessons/teachers", "train", "check", "bench", ...VIEWS.map((view) => `look/${view}`)]) {
    await page.evaluate((hash) => void (location.hash = hash), place);
    if (place === "bench") await page.waitForSelector(".bench button.primary");
    if (place.startsWith("look/")) {
      await page.waitForSelector(`[data-view="${place.slice(5)}"]`);
      if (place === "look/break-it") await button(page, "Train it six ways").click();
      await page.waitForFunction(() => !document.querySelector(".computing, .view [aria-busy=true]"));
    }
    for (const width of [320, 768, 1280]) {
      await page.setViewportSize({ width, height: 900 });
      for (const [colorScheme] of looks.filter((look) => look[1] === width)) {
        await page.emulateMedia({ colorScheme });
        const axe = new AxeBuilder({ page }).options({ resultTypes: ["violations"] });
        // In the page itself, which has no frames, and not in another one that would be opened for it.
        const { violations } = await axe.setLegacyMode().analyze();
        for (const { id, nodes } of violations)
          found.push(`${place}, ${colorScheme}, ${width}: ${id}: ${nodes.map(({ html }) => html.slice(0, 120)).join(" | ")}`);
      }
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      if (wide > width) found.push(`${place} at ${width}: is ${wide} wide`);
    }
  }
  await context.close();
  return [...found, ...problems];
}

/** What an address may say, right or wrong: names and values. */
export const addresses = (minLength = 0, maxLength?: number): fc.Arbitrary<[string, string][]> => {
  const values = fc.oneof(
    fc.string(),
    fc.double().map(String),
    fc.integer().map(String),
    fc.constantFrom("", "NaN", "1e999", "-0", "<script>"),
  );
  const own = ["data", "preset", "optimizer", "schedule", "tokenizer", "prompt", "temperature", "top-k"];
  const keys = fc.oneof(fc.constantFrom(...own, ...NUMBER_NAMES.map((name) => NUMBERS[name].flag)), fc.string());
  return fc.array(fc.tuple(keys, values), { minLength, maxLength });
};

/** Opens an address: the form shows what of it is valid, and the run's own values for the rest. */
export async function openAddress(page: Page, url: string, seed: number): Promise<void> {
  const fuzzed = fc.sample(addresses(1, 5), { numRuns: 1, seed })[0]!;
  await page.goto(`${url}?${new URLSearchParams(fuzzed)}#train`, { waitUntil: "commit" });
  await ready(page);
  await page.locator("summary", { hasText: "Sizes and optimizer" }).click();
  const { settings } = readAddress(new URL(page.url()).search);
  // Characters and bytes have no vocabulary whose size is to be set.
  const shown = NUMBER_NAMES.filter((name) => name !== "vocabSize" || isSized({ tokenizer: "char", ...settings }));
  for (const name of shown)
    expect(await page.locator(`#field-${NUMBERS[name].flag}`).inputValue(), page.url()).toBe(
      String(settings[name] ?? defaultsFor("software", settings.preset)[name]),
    );
}

/** What the view of memory shows of a kind: each lag's result, and the longest that it solved. */
export const memoryRow = (page: Page, preset: string): Promise<string[]> =>
  page.locator(`[data-memory="${preset}"] td`).evaluateAll((cells) => cells.map((cell) => cell.textContent));

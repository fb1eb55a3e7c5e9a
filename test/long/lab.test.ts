// What takes minutes on the lab page: every look of every view, a hundred addresses, and how far each kind remembers.
import { expect, it } from "vitest";
import { button, newContext, openPage, query, ready, SMALL, untilPhase, useLab } from "../lab/lab.ts";
import { memoryRow, openAddress, problemsOfLooks, type Look } from "../lab/whole.ts";

const lab = useLab();

it("has no accessibility violation in light and dark at any width", async () => {
  const looks = (["light", "dark"] as const).flatMap((scheme) => [320, 768, 1280].map((width): Look => [scheme, width]));
  expect(await problemsOfLooks(lab, looks)).toEqual([]);
});

it("takes from a hundred addresses only what is in range", async () => {
  const context = await newContext(lab.browser);
  const { page, problems } = await openPage(context, lab.url);
  for (let seed = 0; seed < 100; seed++) await openAddress(page, lab.url, seed);
  expect(problems).toEqual([]);
  await context.close();
});

it("finds that the gated kinds remember longest", async () => {
  const context = await newContext(lab.browser);
  const { page, problems } = await openPage(
    context,
    lab.url + query({ ...SMALL, preset: "race", steps: "4", "eval-every": "0" }),
  );
  await ready(page);
  await button(page, "Train").click();
  await untilPhase(page, "done");
  await page.evaluate(() => void (location.hash = "look/memory"));
  await button(page, "Try their memory").click();
  await page.waitForFunction(() => /\d/.test(document.querySelector('[data-memory="lstm"] [data-value]')!.textContent));
  for (const preset of ["gru", "lstm"]) expect((await memoryRow(page, preset)).at(-1)).toMatch(/^(16|≥ 32)$/);
  expect(problems).toEqual([]);
  await context.close();
});

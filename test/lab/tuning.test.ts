// Tuning on the page: shown while it lasts, ended by a pause.
import { expect, it } from "vitest";
import { othersTime } from "../others-time.ts";
import { button, newContext, openPage, query, readBrowserTime, ready, SMALL, untilPhase, untilStep, useLab } from "./lab.ts";

const lab = useLab();

it("says that it tunes and how far it is, and stops at once when it is paused", async () => {
  const context = await newContext(lab.browser);
  // Large enough to be tuned.
  const sizes = { ...SMALL, hidden: "64", embedding: "32", batch: "16", seq: "32", steps: "200", "eval-every": "0" };
  const { page, problems } = await openPage(context, lab.url + query(sizes));
  await ready(page);
  const heard = await page.evaluateHandle(() => {
    const status = document.querySelector(".status")!;
    const all: string[] = [];
    new MutationObserver(() => all.push(status.textContent!)).observe(status, {
      childList: true,
      characterData: true,
      subtree: true,
    });
    return all;
  });
  await button(page, "Train").click();
  await page.waitForFunction(() =>
    /^Finding out, once, .* choice 1 of \d+\.$/.test(document.querySelector(".status")?.textContent ?? ""),
  );
  const begun = await readBrowserTime(lab.browser);
  await button(page, "Pause").click();
  await untilPhase(page, "paused");
  const paused = await readBrowserTime(lab.browser);
  expect(paused.at - begun.at).toBeLessThan(1500 + othersTime(begun, paused));
  expect(await page.locator(".saved").innerText()).toBe("Not saved yet");
  await ready(page);
  await button(page, "Train").click();
  await untilStep(page, 3);
  // Nothing between Train and the first step went by in silence.
  const said = await heard.jsonValue();
  expect(said).toContain("Making the models.");
  expect(said.some((words) => /^Compiling kernels for this device: \d+ of \d+\.$/.test(words))).toBe(true);
  expect(said.at(-1)).toBe("Training.");
  expect(problems).toEqual([]);
  await context.close();
});

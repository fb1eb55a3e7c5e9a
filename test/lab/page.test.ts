import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { expect, it } from "vitest";
import { readAddress, SettingsSchema, writeAddress, defaultsFor, SAMPLING } from "../../src/lab/settings.ts";
import { alignCurves, laterRange } from "../../src/lab/draw/curves.ts";
import * as v from "valibot";
import { button, newContext, openPage, outDir, query, ready, SMALL, stepShown, untilPhase, untilStep, useLab } from "./lab.ts";
import { addresses, openAddress, problemsOfLooks } from "./whole.ts";

const lab = useLab();
const withoutGpu = useLab({ webGpu: false });

it("loads at most 80 KB of gzipped JavaScript at once, 200 with what its first screen runs, and of all but workers 150", async () => {
  const assets = join(outDir, "assets");
  const index = readFileSync(join(outDir, "index.html"), "utf8");
  const first = [...index.matchAll(/assets\/([^"]+\.js)"/g)].map((match) => match[1]!);
  const scripts = readdirSync(assets).filter((name) => name.endsWith(".js"));
  const size = (names: readonly string[]): number =>
    names.reduce((sum, name) => sum + gzipSync(readFileSync(join(assets, name))).length, 0) / 1024;
  // The one of WebAssembly.
  expect(scripts.filter((name) => name.startsWith("module-"))).toHaveLength(1);
  expect(size(first)).toBeLessThan(80);
  // All that comes until the race stands there, its network has written, and what it has learned is said.
  const context = await newContext(withoutGpu.browser);
  const ran = new Set<string>();
  context.on("request", (request) => ran.add(new URL(request.url()).pathname.split("/").at(-1)!));
  const { page } = await openPage(context, `${lab.url}#lessons`);
  await page.waitForSelector(".race-curves canvas");
  await page.waitForSelector(".writing [data-learned]");
  await page.waitForLoadState("networkidle");
  const run = [...ran].filter((name) => name.endsWith(".js"));
  expect(run.filter((name) => /worker-/.test(name))).toEqual([expect.stringMatching(/^inspect-worker-/)]);
  expect(size(run)).toBeLessThan(200);
  await context.close();
  expect(size(scripts.filter((name) => !/worker|^module-/.test(name)))).toBeLessThan(150);
});

it("has no accessibility violation in light and dark, nor scrolls sideways, at any width", async () => {
  expect(
    await problemsOfLooks(lab, [
      ["light", 320],
      ["dark", 768],
      ["light", 1280],
    ]),
  ).toEqual([]);
}, 300_000);

it("can be worked by keyboard alone: from the book to a run that is paused, a sample and the next tab", async () => {
  const context = await newContext(withoutGpu.browser);
  const { page } = await openPage(context, lab.url + query({ ...SMALL, steps: "4000" }));
  await ready(page);
  const tabTo = async (matches: () => boolean, most = 60): Promise<void> => {
    for (let i = 0; i < most; i++) {
      await page.keyboard.press("Tab");
      if (await page.evaluate(matches)) return;
    }
    throw new Error(`Tab does not reach ${matches}`);
  };
  await tabTo(() => document.activeElement?.id === "book");
  await page.keyboard.press("ArrowDown");
  await page.waitForFunction(() => document.querySelector<HTMLSelectElement>("#book")?.value === "ball");
  await tabTo(() => (document.activeElement as HTMLInputElement).name === "preset");
  await page.keyboard.press("ArrowUp");
  expect(await page.getByRole("radio", { name: /^GRU/ }).isChecked()).toBe(true);
  await ready(page);
  await tabTo(() => document.activeElement?.textContent === "Train");
  await page.keyboard.press("Enter");
  await untilStep(page, 5);
  expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("Pause");
  await page.keyboard.press("Enter");
  await untilPhase(page, "paused");
  expect(await stepShown(page)).toBeGreaterThan(0);
  await tabTo(() => (document.activeElement as HTMLInputElement).type === "range");
  await page.keyboard.press("ArrowRight");
  await page.waitForFunction(() => /0\.85/.test(document.querySelector(".sliders b")?.textContent ?? ""));
  await page.waitForFunction(() => /at step/.test(document.querySelector(".texts h3")?.textContent ?? ""));
  await page.locator("#tab-train").focus();
  await page.keyboard.press("ArrowRight");
  await page.waitForSelector("#tab-look[aria-selected=true]:focus");
  // Inside a view: another model's character is chosen by the arrow keys.
  await page.waitForSelector(".passage-text");
  await tabTo(() => document.activeElement?.className === "passage-text");
  const before = await page.locator(".passage-text").getAttribute("aria-valuenow");
  await page.keyboard.press("ArrowRight");
  await page.waitForFunction(
    (old) => document.querySelector(".passage-text")?.getAttribute("aria-valuenow") === String(Number(old) + 1),
    before,
  );
  await context.close();
});

it("shows a text full of markup as text, and makes no element of it", async () => {
  const context = await newContext(withoutGpu.browser);
  const { page, problems } = await openPage(context, lab.url + query({ ...SMALL, steps: "400", temperature: "0.2" }));
  await ready(page);
  const markup = `<img src=x onerror="document.title='broken'"><script>document.title='broken'</script>\n`.repeat(60);
  await button(page, "Paste a text").click();
  await page.getByLabel("Your text").fill(markup);
  await button(page, "Use this text").click();
  await page.waitForFunction(() => /pasted text/.test(document.querySelector("#book")?.textContent ?? ""));
  await button(page, "Train").click();
  await untilPhase(page, "done");
  const text = page.locator(".text").first();
  expect(await text.innerText()).toMatch(/<img src=x onerror=/);
  expect(await text.locator("*").count()).toBe(0);
  await page.getByRole("tab", { name: "Look inside" }).click();
  await page.waitForSelector(".passage-text");
  expect(await page.locator(".passage-text").innerText()).toMatch(/<img/);
  expect(await page.locator("img, script:not([src])").count()).toBe(0);
  expect(await page.title()).toBe("Gatewise lab");
  expect(problems).toEqual([]);
  // The policy stands: text cannot become markup here, not even on purpose, nor a script run that is not a file.
  const broken = page.evaluate((html) => void (document.body.innerHTML = html), markup);
  await expect(broken).rejects.toThrow(/TrustedHTML/);
  expect(problems.join()).toMatch(/TrustedHTML/);
  await context.close();
});

it("strips Project Gutenberg's header from a book that is dropped on any tab, and says what it is where it is trained", async () => {
  const context = await newContext(withoutGpu.browser);
  const { page } = await openPage(context, `${lab.url}#lessons`);
  const body = "Once upon a time there was a caf\u00e9 at the end of the street.\n".repeat(20);
  const book = `\uFEFFThe licence\r\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\r\n\r\n${body}\r\n*** END OF THE PROJECT GUTENBERG EBOOK X ***\r\nmore licence`;
  await page.waitForSelector(".lesson-list");
  const dropped = await page.evaluateHandle((text) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([text], "x.txt", { type: "text/plain" }));
    return transfer;
  }, book);
  await page.dispatchEvent("main", "drop", { dataTransfer: dropped });
  await page.waitForSelector("#tab-train[aria-selected=true]");
  // The page opens on Alice, which is UTF-8 too.
  await page.waitForFunction(() => /Project Gutenberg/.test(document.querySelector(".facts")?.textContent ?? ""));
  expect(await page.locator(".facts").innerText()).toMatch(/1,200 characters · 21 different · UTF-8 · Project Gutenberg/);
  await context.close();
});

it("takes from an address only what is in range, whatever it says", async () => {
  fc.assert(
    fc.property(addresses(), (pairs) => {
      const { settings, sampling } = readAddress(`?${new URLSearchParams(pairs)}`);
      expect(v.is(SettingsSchema, { ...defaultsFor("gpu"), ...settings })).toBe(true);
      const whole = { ...defaultsFor("gpu"), ...settings };
      const again = readAddress(writeAddress(whole, { ...SAMPLING, ...sampling }));
      expect(again.settings).toEqual(whole);
    }),
  );
  const context = await newContext(lab.browser);
  const { page, problems } = await openPage(
    context,
    `${lab.url}?hidden=99999999&lr=-1&preset=%3Cimg%3E&steps=1e9&data=../../etc&seq=abc#look/nothing`,
  );
  await page.getByRole("tab", { name: "Train" }).click();
  await ready(page);
  await page.locator("summary", { hasText: "Sizes and optimizer" }).click();
  expect(await page.getByLabel("Hidden units").inputValue()).toBe("64");
  // The form keeps the range too.
  await page.getByLabel("Hidden units").fill("5000");
  expect(await page.getByLabel("Hidden units").getAttribute("aria-invalid")).toBe("true");
  await page.getByLabel("Hidden units").blur();
  expect(await page.getByLabel("Hidden units").inputValue()).toBe("64");
  for (let seed = 0; seed < 10; seed++) await openAddress(page, lab.url, seed);
  expect(problems).toEqual([]);
  await context.close();
});

it("shows the view that was chosen last, whichever file comes when", async () => {
  const context = await newContext(withoutGpu.browser);
  const { page } = await openPage(context, lab.url + query({ ...SMALL, steps: "4" }));
  await context.route(/assets\/gates-/, async (route) => {
    await new Promise((resolve) => setTimeout(resolve, 700));
    await route.continue();
  });
  await ready(page);
  await button(page, "Train").click();
  await untilPhase(page, "done");
  await page.getByRole("tab", { name: "Look inside" }).click();
  await page.waitForSelector('[data-view="next-character"]');
  await page.getByRole("link", { name: "Gates over text" }).click();
  await page.getByRole("link", { name: "Next character" }).click();
  await page.waitForTimeout(1200);
  expect(await page.locator(".view").getAttribute("data-view")).toBe("next-character");
  await page.getByRole("link", { name: "Gates over text" }).click();
  await page.waitForSelector("canvas.heat");
  await context.close();
});

it("fits a close-up to the last three quarters of the smoothed and validated curves", () => {
  const curve = (losses: readonly number[], evaluations: number[]) =>
    ({ label: "", preset: "lstm", points: losses.flatMap((loss, i) => [i + 1, loss, 1, 0.1]), evaluations }) as const;
  expect(laterRange(alignCurves([]))).toBeUndefined();
  const flat = curve([9, 2, 2, 2, 2, 2, 2, 2], [8, 1.5, 0.5]);
  const { curves } = alignCurves([flat]);
  const [least, most] = laterRange(alignCurves([flat]))!;
  expect(least).toBe(1.5);
  expect(most).toBe(curves[0]!.smooth[2]);
  expect(most).toBeLessThan(9);
});

it("goes on measuring while another tab is shown, and draws the curves of a run that came back unseen", async () => {
  const context = await newContext(lab.browser);
  const { page, problems } = await openPage(context, lab.url + query({ ...SMALL, steps: "10" }));
  await ready(page);
  await button(page, "Train").click();
  await untilPhase(page, "done");
  await page.evaluate(() => void (location.hash = "bench"));
  await button(page, "Measure").click();
  await page.waitForSelector(".bench progress");
  await page.getByRole("tab", { name: "Check" }).click();
  await page.getByRole("tab", { name: "Bench" }).click();
  expect(await page.locator(".bench progress").count()).toBe(1);
  await button(page, "Stop").click();
  // The reload restores the run behind the Bench tab; its chart is drawn when it is first seen.
  await page.reload();
  await page.waitForFunction(() => /Restored/.test(document.querySelector(".status")?.textContent ?? ""));
  await page.getByRole("tab", { name: "Train" }).click();
  await page.waitForSelector(".chart canvas");
  // What came while the chart was out of sight is drawn when it is back: drawing all of it anew changes nothing.
  const whole = await page.locator(".chart").screenshot();
  await page.getByLabel("Close-up").check();
  await page.waitForTimeout(600);
  expect(whole.equals(await page.locator(".chart").screenshot())).toBe(false);
  await page.getByLabel("Close-up").uncheck();
  await button(page, "Train further").click();
  await page.getByRole("tab", { name: "Check" }).click();
  await untilPhase(page, "done");
  await page.getByRole("tab", { name: "Train" }).click();
  await page.waitForTimeout(600);
  const shown = await page.locator(".chart").screenshot();
  await page.getByRole("radio", { name: "Bits per character" }).check();
  await page.waitForTimeout(600);
  expect(shown.equals(await page.locator(".chart").screenshot())).toBe(false);
  await page.getByRole("radio", { name: "Nats" }).check();
  await page.waitForTimeout(600);
  expect(shown.equals(await page.locator(".chart").screenshot())).toBe(true);
  expect(problems).toEqual([]);
  await context.close();
});

it("checks this device's gradients, tensor by tensor", async () => {
  const context = await newContext(lab.browser);
  const { page, problems } = await openPage(context, `${lab.url}#check`);
  await page.waitForFunction(() => document.querySelector<HTMLButtonElement>("#panel-check .primary")?.disabled === false);
  await button(page, "Check this device").click();
  await page.waitForSelector(".verdict.good", { timeout: 100_000 });
  expect(await page.locator(".verdict").innerText()).toMatch(/All \d+ checks passed .* on .*WebGPU/);
  expect(await page.locator("#panel-check tbody tr").count()).toBeGreaterThan(10);
  expect(await page.locator("td.bad").count()).toBe(0);
  expect(problems).toEqual([]);
  await context.close();
});

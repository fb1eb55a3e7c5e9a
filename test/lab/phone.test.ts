// Charts on a phone: what a chart says lies in sight, and what must be scrolled shows that it can be.
import type { Page } from "playwright";
import { expect, it } from "vitest";
import { newContext, openPage, useLab } from "./lab.ts";
import { VIEWS } from "./whole.ts";

const lab = useLab({ webGpu: false });

const WIDTH = 360;
/** With a guess, so that the picture is whole. */
const LESSONS = {
  "a-state": 40,
  embeddings: 2,
  "back-through-time": 2,
  vanishing: -6,
  gate: 50,
  cell: 0.5,
  memory: 2,
  parallel: 3,
};
/** Views whose pictures are wider than a phone can show in letters that one can read. */
const WIDE = ["gates", "one-step"];

interface Extent {
  readonly what: string;
  readonly left: number;
  readonly right: number;
}

/** Notes where every text is that is drawn on a canvas of the page, in the canvas's own pixels. */
function noteDrawnTexts(): void {
  const drawn = ((window as any).drawn = new Map<HTMLCanvasElement, Map<string, readonly number[]>>());
  const fillText = CanvasRenderingContext2D.prototype.fillText;
  CanvasRenderingContext2D.prototype.fillText = function (text, x, y, ...rest) {
    const { width } = this.measureText(text);
    const from = x - width * { left: 0, start: 0, center: 0.5, right: 1, end: 1 }[this.textAlign];
    const ends = [from, from + width].map((at) => this.getTransform().transformPoint({ x: at, y }).x);
    if (!drawn.has(this.canvas)) drawn.set(this.canvas, new Map());
    drawn.get(this.canvas)!.set(text, ends);
    return fillText.call(this, text, x, y, ...rest);
  };
}

/** The names of lines and the words and figures of all charts that are shown, each with where it begins and ends. */
const extents = (page: Page): Promise<readonly Extent[]> =>
  page.evaluate(() => {
    const visible = (element: Element): boolean => element.getClientRects().length > 0;
    const inPage = [...document.querySelectorAll("main svg:not(.key), main svg text, .legend li, .steps > *, .counting *")]
      .filter(visible)
      .map((element) => {
        const { left, right } = element.getBoundingClientRect();
        return { what: `${element.tagName} ${element.textContent}`, left, right };
      });
    const drawn = (window as any).drawn as Map<HTMLCanvasElement, Map<string, readonly number[]>>;
    const onCanvas = [...drawn].flatMap(([canvas, texts]) => {
      const { left, right, width } = canvas.getBoundingClientRect();
      const x = (at: number): number => left + (at * width) / canvas.width;
      // Beyond the canvas nothing is drawn.
      const inside = (at: number): number => (at < left - 1 ? -Infinity : at > right + 1 ? Infinity : at);
      return [...texts].map(([what, [from, to]]) => ({ what, left: inside(x(from!)), right: inside(x(to!)) }));
    });
    return [...inPage, ...onCanvas];
  });

/** What can be scrolled sideways, and does not show that by shadows at its edges. */
const uncued = (page: Page): Promise<readonly string[]> =>
  page.evaluate(() =>
    [...document.querySelectorAll("body *")]
      .filter((e) => e.scrollWidth > e.clientWidth + 1 && ["auto", "scroll"].includes(getComputedStyle(e).overflowX))
      .filter((e) => !getComputedStyle(e).background.includes("local"))
      .map((e) => e.outerHTML.slice(0, 120)),
  );

it("shows on a phone every name and both ends of every chart, and says where a picture goes on", async () => {
  const context = await newContext(lab.browser, { viewport: { width: WIDTH, height: 740 } });
  await context.addInitScript(noteDrawnTexts);
  const { page, problems } = await openPage(context, `${lab.url}#lessons`);
  const check = async (where: string, least: number): Promise<void> => {
    const found = await extents(page);
    expect(found.length, where).toBeGreaterThanOrEqual(least);
    expect(found.filter(({ left, right }) => left < 0 || right > WIDTH).map(({ what }) => `${where}: ${what}`)).toEqual([]);
    expect(await uncued(page), where).toEqual([]);
  };
  await page.waitForFunction(() => [...(window as any).drawn.values()].some((texts) => texts.has("trigram")));
  const onCanvas = await page.evaluate(() => [...(window as any).drawn.values()].flatMap((texts) => [...texts.keys()]));
  expect(onCanvas).toEqual(expect.arrayContaining(["3,000", "unigram", "bigram", "trigram"]));
  expect(await page.locator(".race-curves .legend li").allInnerTexts()).toEqual(
    expect.arrayContaining(["One-hot RNN", "Embedding RNN", "GRU", "LSTM"].map((name) => expect.stringContaining(name))),
  );
  await check("first screen", 10);
  for (const [lesson, guess] of Object.entries(LESSONS)) {
    await page.evaluate((hash) => void (location.hash = hash), `lessons/${lesson}?guess=${guess}`);
    await page.waitForSelector(`[data-lesson="${lesson}"] .verdict-line[data-answer]`);
    await page.waitForFunction(() => !document.querySelector(".lesson .computing"));
    await check(lesson, lesson === "memory" ? 0 : 10);
  }
  for (const view of VIEWS) {
    await page.evaluate((hash) => void (location.hash = hash), `look/${view}`);
    await page.waitForSelector(`.view[data-view="${view}"][aria-busy=false]`);
    await page.waitForFunction(() => !document.querySelector(".view .computing"));
    if (WIDE.includes(view)) expect(await uncued(page), view).toEqual([]);
    else await check(view, 0);
  }
  expect(problems).toEqual([]);
  await context.close();
});

it("draws its curves in a browser whose language Intl does not know", async () => {
  const context = await newContext(lab.browser);
  await context.addInitScript(() =>
    Object.defineProperty(Navigator.prototype, "language", { get: () => "en-US@posix", configurable: true }),
  );
  const { page, problems } = await openPage(context, `${lab.url}#lessons`);
  await page.waitForSelector(".race-curves canvas");
  expect(problems).toEqual([]);
  await context.close();
});

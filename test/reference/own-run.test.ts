// A run of one's own: its best checkpoint, when it ends, what stays of it, on the CPU and in this process.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadCheckpoint } from "../../src/training/checkpoint.ts";
import { gatewise, lines } from "./command-line.ts";

const start = process.cwd();
const folder = mkdtempSync(join(tmpdir(), "gatewise-own-run-"));
process.chdir(folder);
afterAll(() => {
  process.chdir(start);
  rmSync(folder, { recursive: true, force: true });
});
writeFileSync("text.txt", "It was the best of times, it was the worst of times; ".repeat(40));
const TINY = ["--device", "cpu", "--hidden", "6", "--embedding", "4", "--batch", "4", "--seq", "8", "--data", "text.txt"];
const OFTEN = ["--val", "0.1", "--eval-every", "2", "--sample-every", "0", "--log-every", "1"];
/** So high a rate that the first validations are the best. */
const WORSE = [...TINY, ...OFTEN, "--lr", "2", "--steps", "12", "--checkpoint-every", "4"];
const checkpoints = (run: string): number[] =>
  readdirSync(run)
    .flatMap((name) => /^checkpoint-(\d+)/.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b);

describe("the best checkpoint", () => {
  let said: string;
  let evaluations: any[];
  let best: any;
  beforeAll(async () => {
    said = (await gatewise("train", ...WORSE, "--out", "worse")).err;
    const events = lines((await gatewise("train", ...WORSE, "--out", "worse-json", "--json")).out);
    evaluations = events.filter(({ event }) => event === "eval");
    best = evaluations.reduce((a, b) => (b.valLoss < a.valLoss ? b : a));
    expect(best.step).toBeLessThan(12);
    expect(events.filter((event) => event.best === true && event.event === "checkpoint")).toEqual(
      evaluations
        .filter((each) => each.best)
        .map(({ step }) => ({ v: 1, event: "checkpoint", step, path: join("worse-json", "best.safetensors"), best: true })),
    );
  });

  it("is said to be kept, and where, when it is", () => {
    for (const { step, best: isBest } of evaluations)
      expect(said).toMatch(
        new RegExp(`^step ${step}: validation .* right${isBest ? " · best so far: worse/best\\.safetensors" : ""}$`, "m"),
      );
  });

  it("is what a run whose last is worse suggests to look at", () => {
    expect(said).toMatch(/sample worse --best\n/);
    expect(said).toMatch(/info worse --best\n/);
  });

  it("is what sample and info open with --best, and without it the newest; each says which", async () => {
    const sample = async (...flags: string[]): Promise<string> =>
      (await gatewise("sample", "worse", "--device", "cpu", "--length", "5", ...flags)).err;
    const loss = best.valLoss.toFixed(3);
    expect(await sample("--best")).toContain(
      `model:  worse/best.safetensors · step ${best.step} · best validation loss ${loss}, here\n`,
    );
    expect(await sample()).toContain(
      `model:  worse/checkpoint-12.safetensors · step 12 · best validation loss ${loss}, at step ${best.step}\n`,
    );
    expect((await gatewise("info", "worse", "--best")).out).toMatch(new RegExp(`step +${best.step} of 12\n`));
    expect((await gatewise("info", "worse")).out).toMatch(/step +12 of 12\n/);
    expect((await gatewise("info", "worse")).out).toMatch(new RegExp(`best .* at step ${best.step}\n`));
    const [json] = lines((await gatewise("sample", "worse", "--device", "cpu", "--length", "5", "--best", "--json")).out);
    expect(json).toMatchObject({ path: join("worse", "best.safetensors"), step: best.step });
  });

  it("is refused where there is none, and of a file that is not it", async () => {
    await gatewise("train", ...TINY, "--steps", "2", "--eval-every", "0", "--out", "blind");
    expect(await gatewise("info", "blind", "--best")).toMatchObject({
      code: 2,
      err: "gatewise: blind has no best.safetensors: its run made no validation; leave --best out\n",
    });
    const file = join("worse", "checkpoint-12.safetensors");
    expect(await gatewise("info", file, "--best")).toMatchObject({
      code: 2,
      err: `gatewise: --best is for a run's folder, and ${file} is a file; leave it out\n`,
    });
  });
});

it("--patience ends a run that gets no better, saved and said, and the run can go on", async () => {
  const { code, err } = await gatewise("train", ...WORSE, "--steps", "90", "--patience", "2", "--out", "patient");
  expect(code).toBe(0);
  const [, step] = /no new best in 2 validations: stopped at step (\d+) of 90\n/.exec(err)!;
  const { training } = loadCheckpoint(readFileSync(join("patient", `checkpoint-${step}.safetensors`)));
  expect(Number(step)).toBe(training!.bestStep! + 4);
  const more = lines((await gatewise("train", "--resume", "patient", "--json")).out).at(-1);
  expect(more).toMatchObject({ event: "end", reason: "patience" });
  expect(more.step).toBeGreaterThanOrEqual(Number(step) + 4);
});

it("a run that is interrupted has the patience that it would have had", async () => {
  const run = [...WORSE, "--steps", "90", "--patience", "3", "--json"];
  const whole = lines((await gatewise("train", ...run, "--out", "unbroken")).out).at(-1);
  const broken = Number(whole.step) - 3;
  await gatewise("train", ...run, "--out", "broken", "--steps", String(broken), "--eval-every", "2");
  const rest = lines((await gatewise("train", "--resume", "broken", "--steps", "90", "--json")).out).at(-1);
  expect([rest.step, rest.reason]).toEqual([whole.step, "patience"]);
});

describe("--keep", () => {
  it("says how many checkpoints stay, 0 that all do, and a run that goes on remembers", async () => {
    const run = [...TINY, "--eval-every", "0", "--sample-every", "0", "--checkpoint-every", "2", "--steps", "10"];
    await gatewise("train", ...run, "--keep", "1", "--out", "one");
    // That of step 8 is known to be sound by the loss of step 10.
    expect(checkpoints("one")).toEqual([8, 10]);
    await gatewise("train", "--resume", "one", "--steps", "14");
    expect(checkpoints("one")).toEqual([12, 14]);
    await gatewise("train", "--resume", "one", "--steps", "18", "--keep", "3");
    expect(checkpoints("one")).toEqual([14, 16, 18]);
    await gatewise("train", ...run, "--keep", "0", "--out", "all");
    expect(checkpoints("all")).toEqual([2, 4, 6, 8, 10]);
    await gatewise("train", ...run, "--out", "default");
    expect(checkpoints("default")).toEqual([6, 8, 10]);
  });
});

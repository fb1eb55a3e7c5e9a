// A run of one's own: its best checkpoint, when it ends, what stays of it, on the CPU and in this process.
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { configFile, defaultsFor } from "../../src/lab/settings.ts";
import { loadCheckpoint } from "../../src/training/checkpoint.ts";
import { gatewise, lines, workInFolder } from "./command-line.ts";

const { start } = workInFolder("own-run");
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

describe("gatewise eval", () => {
  const json = async (...args: string[]): Promise<any> => {
    const { code, out, err } = await gatewise("eval", ...args, "--device", "cpu", "--json");
    expect(code, err).toBe(0);
    return lines(out)[0];
  };
  let events: any[];
  beforeAll(async () => {
    const { out } = await gatewise("train", ...TINY, ...OFTEN, "--test", "0.2", "--steps", "6", "--out", "parts", "--json");
    events = lines(out);
  });

  it("of a run's validation part is the run's own figure, of its newest and its best checkpoint", async () => {
    const last = events.filter(({ event }) => event === "eval").at(-1);
    expect(await json("parts")).toEqual({
      v: 1,
      event: "evaluation",
      path: join("parts", "checkpoint-6.safetensors"),
      step: 6,
      data: join(process.cwd(), "text.txt"),
      split: "val",
      loss: last.valLoss,
      bitsPerToken: last.valBitsPerToken,
      bitsPerCharacter: last.valBpc,
      bitsPerByte: last.valBitsPerByte,
      perplexity: Math.exp(last.valLoss),
      accuracy: last.valAccuracy,
      tokens: 211,
    });
    expect((await json("worse-json", "--best")).loss).toBe(
      lines((await gatewise("info", "worse-json", "--best", "--json")).out)[0].training.bestValLoss,
    );
  });

  it("has parts for training, validation and test that lie in this order and make up the text", async () => {
    const text = readFileSync("text.txt", "utf8");
    const cuts = { train: text.slice(0, 1484), val: text.slice(1484, 1696), test: text.slice(1696) };
    for (const [split, part] of Object.entries(cuts)) {
      writeFileSync("part.txt", part);
      const { loss, tokens } = await json("parts", "--split", split);
      expect(await json("parts", "--data", "part.txt")).toMatchObject({ loss, tokens, split: "all" });
    }
    const { trainTokens, valTokens } = events[0];
    expect([trainTokens, valTokens]).toEqual([cuts.train.length, cuts.val.length]);
    expect((await json("parts", "--split", "all")).tokens).toBe(text.length - 1);
  });

  it("tells people what it reads and the figures", async () => {
    const { out, err } = await gatewise("eval", "parts", "--split", "test", "--device", "cpu");
    expect(err).toBe(
      `model:  ${join("parts", "checkpoint-6.safetensors")} · step 6 · best validation loss ${events.at(-1).bestValLoss.toFixed(3)}, here\n` +
        "device: CPU float32\ntext:   text, test part, 424 characters\n",
    );
    expect(out).toMatch(
      /^loss \d\.\d{4} · \d\.\d{3} bits\/character · \d\.\d{3} bits\/byte · perplexity [\d.]+ · [\d.]+ % of next characters right · 423 characters predicted\n$/,
    );
  });

  it("reads as many characters as it is told to", async () => {
    writeFileSync("long.txt", readFileSync("text.txt", "utf8").repeat(4));
    expect((await json("parts", "--data", "long.txt")).tokens).toBe(4 * 2120 - 1);
    expect((await json("parts", "--data", "long.txt", "--eval-chars", "2100")).tokens).toBe(2 * 3 * 264);
    expect((await json("parts", "--data", "long.txt", "--split", "train", "--eval-chars", "0")).tokens).toBe(5936 - 1);
  });

  it("reads texts as a run does: in another encoding, or the files of a folder", async () => {
    const text = "It was the worst, it was the best ";
    mkdirSync("texts");
    writeFileSync(join("texts", "one.txt"), text.repeat(4));
    writeFileSync(join("texts", "two.md"), text.repeat(8));
    expect((await json("parts", "--data", "texts")).tokens).toBe(4 * text.length - 1);
    expect((await json("parts", "--data", "texts", "--pattern", "*.md")).tokens).toBe(8 * text.length - 1);
    writeFileSync("wide.txt", Buffer.from(text.repeat(4), "utf16le"));
    const wide = await json("parts", "--data", "wide.txt", "--encoding", "utf-16le");
    expect(wide.loss).toBe((await json("parts", "--data", "texts")).loss);
  });

  it("says what is missing: a part, a run, a text", async () => {
    const refused = async (...args: string[]): Promise<string> => {
      const { code, err } = await gatewise("eval", ...args, "--device", "cpu");
      expect(code).toBe(2);
      return err;
    };
    expect(await refused("worse", "--split", "test")).toBe(
      "gatewise: the test part of text has 0 tokens, too few; train with --test, or take another --split\n",
    );
    mkdirSync("alone");
    copyFileSync(join("parts", "best.safetensors"), join("alone", "best.safetensors"));
    expect(await refused("alone")).toMatch(/there is no run\.json beside .* to say which text .*; give it with --data\n$/);
    expect((await gatewise("eval", "parts", "--data", "long.txt", "--split", "val", "--device", "cpu")).err).toContain(
      "is not the text that this run was trained on",
    );
  });
});

describe("log.csv", () => {
  const read = (run: string): string[] => readFileSync(join(run, "log.csv"), "utf8").trimEnd().split("\n");
  const steps = (run: string): number[] =>
    read(run)
      .slice(1)
      .map((row) => Number(row.split(",")[0]));
  const RUN = [...TINY, "--val", "0.1", "--sample-every", "0", "--checkpoint-every", "2"];

  it("has a row for each step that was reported or evaluated, with the figures of its events", async () => {
    const run = [...RUN, "--log-every", "2", "--eval-every", "3", "--steps", "7", "--out", "curves", "--json"];
    const events = lines((await gatewise("train", ...run)).out);
    const [header, ...rows] = read("curves");
    expect(header).toBe("step,seconds,loss,valLoss,learningRate,gradNorm,tokensPerSecond");
    const of = (event: string, step: number): any => events.find((each) => each.event === event && each.step === step) ?? {};
    const wanted = [2, 3, 4, 6, 7].map((step) => {
      const { loss = "", learningRate = "", gradNorm = "", tokensPerSecond = "" } = of("step", step);
      return { step, text: [loss, of("eval", step).valLoss ?? "", learningRate, gradNorm, tokensPerSecond].join() };
    });
    expect(
      rows.map((row) => {
        const [step, seconds, ...rest] = row.split(",");
        expect(seconds).toMatch(/^\d+(\.\d{1,3})?$/);
        return { step: Number(step), text: rest.join() };
      }),
    ).toEqual(wanted);
    expect(rows[0]).toContain(",0.002,");
  });

  it("is continued by a run that goes on, from the step that it goes on from, in its own folder or a branch's", async () => {
    const run = [...RUN, "--log-every", "1", "--eval-every", "0"];
    await gatewise("train", ...run, "--steps", "6", "--out", "trunk");
    const before = read("trunk");
    writeFileSync(join("trunk", "log.csv"), `${before.join("\n")}\n99,1,2,,3,4,5\n100,1`);
    await gatewise("train", "--resume", "trunk", "--steps", "8");
    expect(steps("trunk")).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(read("trunk").slice(0, 7)).toEqual(before);
    const seconds = read("trunk")
      .slice(1)
      .map((row) => Number(row.split(",")[1]));
    expect([...seconds].sort((a, b) => a - b)).toEqual(seconds);
    await gatewise("train", "--resume", join("trunk", "checkpoint-4.safetensors"), "--steps", "5");
    expect(steps("trunk-2")).toEqual([1, 2, 3, 4, 5]);
    expect(steps("trunk")).toHaveLength(8);
  });

  it("that is damaged costs a run its past curves only, and says so; plot names the line", async () => {
    await gatewise("train", ...RUN, "--steps", "2", "--out", "hurt");
    writeFileSync(join("hurt", "log.csv"), "step,seconds,loss,valLoss,learningRate,gradNorm,tokensPerSecond\n1,x,2,,,,\n");
    expect(await gatewise("plot", "hurt")).toMatchObject({
      code: 2,
      err: `gatewise: ${join("hurt", "log.csv")} is damaged in line 2; mend or remove it\n`,
    });
    const { code, err } = await gatewise("train", "--resume", "hurt", "--steps", "4");
    expect(code).toBe(0);
    expect(err).toContain("warning: the curves so far are not continued: ");
  });

  it("is given back with the folder of a run that saved nothing", async () => {
    const run = [...TINY, "--lr", "1e30", "--clip", "0", "--optimizer", "sgd", "--log-every", "1", "--steps", "50"];
    expect((await gatewise("train", ...run, "--eval-every", "0", "--out", "exploded")).code).toBe(5);
    expect(existsSync("exploded")).toBe(false);
  });
});

describe("gatewise plot", () => {
  it("draws both losses of one run in the terminal and in its folder, with a point for each row", async () => {
    const { code, out, err } = await gatewise("plot", "curves");
    expect(code).toBe(0);
    expect(err).toBe(`saved: ${join("curves", "loss.svg")}\n`);
    expect(out).toMatch(/┤[^]*\n +2 +7\n +step · training loss · validation loss\n$/);
    for (const line of out.split("\n")) expect(line.length).toBeLessThanOrEqual(80);
    const svg = readFileSync(join("curves", "loss.svg"), "utf8");
    const curves = [...svg.matchAll(/<polyline [^>]*points="([^"]*)"/g)].map(([, points]) => points!.split(" ").length);
    expect(curves).toEqual([4, 3]);
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
  });

  it("draws the validation loss of several, or that of training where one has not validated, and a name may hold anything", async () => {
    renameSync("trunk", "<t&k>");
    expect((await gatewise("plot", "worse", "patient", "--out", "two.svg")).out).toMatch(
      /step · validation loss of worse · patient\n$/,
    );
    const { out, err } = await gatewise("plot", "worse", "patient", "<t&k>", "--out", "all.svg");
    expect(err).toBe("saved: all.svg\n");
    expect(out).toMatch(/step · training loss of worse · patient · <t&k>\n$/);
    const svg = readFileSync("all.svg", "utf8");
    expect(svg.match(/<polyline/g)).toHaveLength(3);
    expect(svg).toContain(">&#60;t&#38;k&#62;</text>");
    // The lowest point of all curves lies on the axis, the highest at the top.
    const heights = [...svg.matchAll(/points="([^"]*)"/g)].flatMap(([, points]) =>
      points!.split(" ").map((p) => p.split(",")[1]),
    );
    expect([Math.min(...heights.map(Number)), Math.max(...heights.map(Number))]).toEqual([20, 405]);
  });

  it("draws the training loss of several where one has hardly validated, that validation alone as a dot, and dashes a colour that comes again", async () => {
    await gatewise("train", ...TINY, "--steps", "4", "--val", "0.1", "--eval-every", "4", "--log-every", "1", "--out", "hardly");
    await gatewise("plot", "hardly", "--out", "one.svg");
    const one = readFileSync("one.svg", "utf8");
    expect([one.match(/<polyline/g)?.length, one.match(/<circle /g)?.length]).toEqual([1, 1]);
    const { out } = await gatewise("plot", "worse", "hardly", ..."abcde".split("").map(() => "patient"), "--out", "all.svg");
    expect(out).toMatch(/step · training loss of worse · hardly · patient/);
    const all = readFileSync("all.svg", "utf8");
    expect([all.match(/<polyline/g)?.length, all.match(/dasharray/g)?.length]).toEqual([7, 1]);
  });

  it("with --json has the rows as numbers, and of a folder without curves says so", async () => {
    const [json] = lines((await gatewise("plot", "curves", "--json")).out);
    expect(json).toMatchObject({ v: 1, event: "plot", run: "curves", out: join("curves", "loss.svg") });
    expect(json.rows.map(({ step }: any) => step)).toEqual([2, 3, 4, 6, 7]);
    expect(json.rows[1]).toEqual({ step: 3, seconds: expect.any(Number), valLoss: expect.any(Number) });
    expect(await gatewise("plot", "alone")).toMatchObject({ code: 2, err: expect.stringContaining("alone has no log.csv") });
  });
});

describe("gatewise list", () => {
  it("has the runs of a folder, the newest first, with what there is to know, and what is damaged", async () => {
    mkdirSync("shelf");
    mkdirSync(join("shelf", "empty"));
    for (const [name, time] of [
      ["parts", 1000],
      ["worse", 3000],
    ] as const) {
      cpSync(name, join("shelf", name), { recursive: true });
      for (const file of readdirSync(join("shelf", name))) utimesSync(join("shelf", name, file), time, time);
    }
    mkdirSync(join("shelf", "bad"));
    writeFileSync(join("shelf", "bad", "checkpoint-1.safetensors"), "no checkpoint");
    utimesSync(join("shelf", "bad", "checkpoint-1.safetensors"), 2000, 2000);
    const { out } = await gatewise("list", "shelf");
    const rows = out
      .trimEnd()
      .split("\n")
      .map((row) => row.split(/ {2,}/));
    expect(rows[0]).toEqual([
      "run",
      "model",
      "hidden",
      "layers",
      "parameters",
      "step",
      "best loss",
      "bits/byte",
      "at step",
      "saved",
    ]);
    const { bestValLoss, bestStep } = lines((await gatewise("info", "worse", "--json")).out)[0].training;
    // A character of this text is a byte.
    const bitsOfBytes = (bestValLoss / Math.LN2).toFixed(2);
    expect(rows.slice(1)).toEqual([
      [
        join("shelf", "worse"),
        "lstm",
        "6",
        "1",
        "464",
        "12/12",
        bestValLoss.toFixed(3),
        bitsOfBytes,
        String(bestStep),
        "1970-01-01 00:50",
      ],
      [join("shelf", "bad"), "damaged", "1970-01-01 00:33"],
      [
        join("shelf", "parts"),
        "lstm",
        "6",
        "1",
        "464",
        "6/6",
        expect.any(String),
        expect.stringMatching(/^\d\.\d\d$/),
        "6",
        "1970-01-01 00:16",
      ],
    ]);
    const json = lines((await gatewise("list", "shelf", "--json")).out);
    expect(json[0]).toEqual({
      v: 1,
      event: "run",
      run: join("shelf", "worse"),
      date: "1970-01-01T00:50:00.000Z",
      model: "lstm",
      parameters: 464,
      hiddenSize: 6,
      numLayers: 1,
      step: 12,
      totalSteps: 12,
      bestValLoss,
      bestStep,
      bestBitsPerByte: expect.closeTo(bestValLoss / Math.LN2, 6),
    });
    expect(json[1].problem).toContain("no whole checkpoint in shelf/bad");
  });

  it("says where there is none", async () => {
    expect(await gatewise("list", join("shelf", "empty"))).toMatchObject({ code: 0, out: "", err: "no runs in shelf/empty\n" });
    expect(await gatewise("list", "nowhere")).toMatchObject({
      code: 2,
      err: expect.stringContaining("no folder of runs: nowhere"),
    });
  });
});

it("what a run tells to programs says how it was made, when each figure came, and numbers as they were given", async () => {
  const run = [
    ...TINY,
    ...OFTEN,
    "--steps",
    "4",
    "--lr",
    "0.002",
    "--dropout",
    "0.1",
    "--layers",
    "2",
    "--out",
    "said",
    "--json",
  ];
  const events = lines((await gatewise("train", ...run)).out);
  expect(events[0].config).toEqual(lines((await gatewise("info", "said", "--json")).out)[0].config);
  expect(events[0].options).toEqual(lines((await gatewise("info", "said", "--json")).out)[0].training.options);
  expect(events[0].config).toMatchObject({ cell: "lstm", hiddenSize: 6, numLayers: 2, dropout: 0.1, vocabSize: 16 });
  const times = events.flatMap(({ event, seconds }) =>
    event === "step" || event === "eval" || event === "end" ? [seconds] : [],
  );
  expect(times).toHaveLength(7);
  expect([...times].sort((a: number, b: number) => a - b)).toEqual(times);
  for (const { event, learningRate } of events) if (event === "step") expect(learningRate).toBe(0.002);
  expect(events.at(-1).valLoss).toBe(events.filter(({ event }) => event === "eval").at(-1).valLoss);
});

describe("samples", () => {
  it("while training begin, end and dare as they were told", async () => {
    const run = [...TINY, "--steps", "2", "--eval-every", "0", "--sample-every", "2", "--json"];
    const sampled = async (...flags: string[]): Promise<string> =>
      lines((await gatewise("train", ...run, ...flags)).out).find(({ event }) => event === "sample").text;
    expect(await sampled()).toHaveLength(200);
    expect(await sampled("--sample-prompt", "It was ", "--sample-length", "9")).toMatch(/^It was [^]{9}$/);
    const sure = ["--sample-temperature", "0", "--sample-length", "40"];
    expect(await sampled(...sure)).toBe(await sampled(...sure));
    expect(await sampled(...sure)).not.toBe(await sampled("--sample-length", "40"));
    const { code, err } = await gatewise("train", ...run, "--sample-prompt", "é", "--out", "accent");
    expect({ code, err }).toEqual({ code: 2, err: expect.stringContaining('unknown character "é"') });
    expect(existsSync("accent")).toBe(false);
  });

  it("of several prompts come from a file, a line each", async () => {
    writeFileSync("prompts.txt", "It \r\nwas\n\nthe best\n");
    const sample = async (...flags: string[]): Promise<string> =>
      (await gatewise("sample", "worse", "--device", "cpu", "--length", "4", "--seed", "1", ...flags)).out;
    expect(await sample("--prompts", "prompts.txt")).toMatch(/^It [^]{4}\n\nwas[^]{4}\n\nthe best[^]{4}\n$/);
    const json = lines(await sample("--prompts", "prompts.txt", "--count", "2", "--json"));
    expect(json.map(({ prompt, index }) => `${prompt}${index}`)).toEqual([
      "It 0",
      "It 1",
      "was0",
      "was1",
      "the best0",
      "the best1",
    ]);
    expect(json[2].text.slice(3)).toBe((await sample("--prompt", "was")).slice(3, -1));
    writeFileSync("none.txt", "\n\n");
    for (const [file, why] of [
      ["none.txt", "none.txt has no prompt; give one a line"],
      ["no.txt", "could not read the prompts in no.txt: ENOENT"],
    ] as const)
      expect(await gatewise("sample", "worse", "--prompts", file)).toMatchObject({ code: 2, err: expect.stringContaining(why) });
  });
});

describe("--time", () => {
  it("ends a run that has taken so long, saved, as its end and its last words say, and it can go on", async () => {
    const run = [...TINY, "--eval-every", "0", "--sample-every", "0", "--steps", "1000000", "--time", "0.5s"];
    const begun = performance.now();
    const { code, err } = await gatewise("train", ...run, "--out", "timed");
    expect(performance.now() - begun).toBeLessThan(10_000);
    expect(code).toBe(0);
    const [, step] = /the time is up: stopped at step (\d+) of 1000000\n/.exec(err)!;
    expect(checkpoints("timed").at(-1)).toBe(Number(step));
    expect(err).toMatch(/train --resume timed\n/);
    expect(lines((await gatewise("train", ...run, "--json")).out).at(-1)).toMatchObject({ event: "end", reason: "time" });
  });

  it("is given in seconds, minutes and hours", async () => {
    const { parseTime } = await import("../../src/cli/options.ts");
    const times = { "90": 90, "90s": 90, "10m": 600, "1h30m": 5400, "1h1m1s": 3661, "0.5m": 30 };
    for (const [text, seconds] of Object.entries(times)) expect(parseTime(text)).toBe(1000 * seconds);
    for (const text of ["", "m", "0", "-1", "10 m", "1.2.3s", "1d", "600h", "1m1h"])
      expect(() => parseTime(text)).toThrow('expected a time such as "90s", "10m" or "1h30m", of at most 24 days');
  });
});

describe("--config", () => {
  const contents = (run: string): Buffer => readFileSync(join(run, "checkpoint-3.safetensors"));

  it("makes a run again from what info --config prints of it, to the bit", async () => {
    const made = {
      "config-a": [...TINY, "--cell", "gru", "--gru-reset", "before", "--lr", "0.01", "--schedule", "cosine", "--test", "0.1"],
      "config-b": ["--device", "cpu", "--data", "text.txt", "--preset", "min-gru", "--hidden", "8", "--batch", "2", "--seq", "4"],
      "config-d": [...TINY.slice(0, -2), "--val", "0", "--pattern", "*.md", "text.txt", "texts"],
      "config-c": [...TINY, "--tokenizer", "bpe", "--vocab-size", "260", "--orthogonal", "--dropout", "0.1", "--layers", "2"],
    };
    for (const [name, flags] of Object.entries(made)) {
      await gatewise("train", ...flags, "--steps", "3", "--seed", "5", "--sample-every", "0", "--out", name);
      writeFileSync("config.json", (await gatewise("info", name, "--config")).out);
      const { code, err } = await gatewise("train", "--config", "config.json", "--device", "cpu", "--out", `${name}-again`);
      expect(code, err).toBe(0);
      expect(contents(`${name}-again`).equals(contents(name))).toBe(true);
    }
  });

  it("reads what the lab copies out, of one model and of a race", async () => {
    const small = { ...defaultsFor("cpu"), data: "own", hiddenSize: 4, embeddingSize: 3, batchSize: 2, seqLen: 4, totalSteps: 3 };
    const one = { ...small, preset: "gru", tokenizer: "bpe", vocabSize: 260, schedule: "cosine", valFraction: 0.25 } as const;
    writeFileSync("config.json", configFile(one, "text.txt", ["--gru-reset before", "--orthogonal"]));
    const { code, err } = await gatewise("train", "--config", "config.json", "--device", "cpu", "--out", "config-lab");
    expect(code, err).toBe(0);
    const { config, training, tokenizer } = JSON.parse((await gatewise("info", "config-lab", "--json")).out);
    expect(config).toMatchObject({ cell: "gru", resetAfter: false, orthogonal: true, hiddenSize: 4, embeddingSize: 3 });
    expect(tokenizer).toBe("bpe");
    expect(training.options).toMatchObject({ totalSteps: 3, schedule: "cosine", valFraction: 0.25, learningRate: 0.01 });
    const race = { ...small, preset: "race", presets: "gru,lstm", evalInterval: 3, valFraction: 0.25 } as const;
    writeFileSync("config.json", configFile(race, "text.txt"));
    const raced = lines((await gatewise("compare", "--config", "config.json", "--device", "cpu", "--json")).out);
    expect(raced.filter(({ event }) => event === "compare")).toMatchObject([{ preset: "gru" }, { preset: "lstm" }]);
  });

  it("counts as typed: before a preset's sizes, what the text decides, and what a run that goes on has done so far", async () => {
    writeFileSync(
      "config.json",
      JSON.stringify({ data: "text.txt", preset: "min-gru", hidden: 8, device: "cpu", batch: 2, seq: 4 }),
    );
    const [start] = lines(
      (await gatewise("train", "--config", "config.json", "--steps", "1", "--out", "config-e", "--json")).out,
    );
    expect(start.config).toMatchObject({ cell: "min-gru", hiddenSize: 8 });
    writeFileSync("config.json", JSON.stringify({ steps: 3, lr: 0.125, keep: 1, device: "cpu", "log-every": 1 }));
    const { code, err } = await gatewise("train", "--resume", "config-e", "--config", "config.json");
    expect(code, err).toBe(0);
    expect(err).toMatch(/^step 2\/3 · /m);
    expect(JSON.parse((await gatewise("info", "config-e", "--json")).out).training.options).toMatchObject({
      totalSteps: 3,
      learningRate: 0.125,
      logInterval: 1,
    });
    expect(JSON.parse(readFileSync("config-e/run.json", "utf8"))).toMatchObject({ keep: 1 });
  });

  it("of a run whose text came through a pipe names none, for the next run's own stands in its place", async () => {
    await gatewise("train", ...TINY, "--steps", "3", "--out", "piped");
    const known = JSON.parse(readFileSync("piped/run.json", "utf8"));
    writeFileSync("piped/run.json", JSON.stringify({ ...known, data: "-" }));
    const config = JSON.parse((await gatewise("info", "piped", "--config")).out);
    expect(config).toMatchObject({ hidden: expect.any(Number), steps: 3 });
    expect(config).not.toHaveProperty("data");
  });

  it("goes behind what is typed", async () => {
    writeFileSync(
      "config.json",
      JSON.stringify({ data: "text.txt", preset: "gru", hidden: 7, lr: 0.5, batch: 4, seq: 8, device: "cpu" }),
    );
    const [start] = lines((await gatewise("train", "--config", "config.json", "--hidden", "5", "--steps", "1", "--json")).out);
    expect(start).toMatchObject({
      config: { cell: "gru", hiddenSize: 5 },
      options: { learningRate: 0.5, batchSize: 4, seqLen: 8 },
    });
  });

  it("that is wrong is refused by the option's name", async () => {
    const cases: Record<string, string | RegExp> = {
      '{"hiden": 3}': "config.json: --hiden is no option of this command",
      '{"config": "other.json"}': "config.json: --config is no option of this command",
      '{"hidden": "many"}': 'config.json: --hidden is "many": expected a number',
      '{"cell": "lstn"}': /config\.json: --cell is "lstn": Allowed choices are /,
      '{"hidden": [3]}': /config\.json: --hidden must be a number or a text, got /,
      '{"orthogonal": 1}': "config.json: --orthogonal must be true or false, got 1",
      "[1]": /config\.json: expected an object, got .*; give a JSON object of options, as "gatewise info RUN --config" prints it/,
      "{": /config\.json: .*JSON.*; give a JSON object of options/,
      '{"hidden": 0}': "--hidden must be an integer from 1",
    };
    for (const [text, message] of Object.entries(cases)) {
      writeFileSync("config.json", text);
      const { code, err } = await gatewise("train", "--config", "config.json", "--data", "text.txt");
      expect(code, text).toBe(2);
      if (typeof message === "string") expect(err).toContain(message);
      else expect(err).toMatch(message);
    }
    expect(await gatewise("train", "--config", "no.json")).toMatchObject({
      code: 2,
      err: expect.stringContaining("no.json: ENOENT"),
    });
  });
});

it("the training loss that a run ends with is the one that it was shown to have", async () => {
  const { err } = await gatewise(
    "train",
    ...TINY,
    "--eval-every",
    "0",
    "--sample-every",
    "0",
    "--steps",
    "30",
    "--log-every",
    "3",
  );
  const shown = [...err.matchAll(/^step +(\d+)\/30 · training loss (\d\.\d{3})/gm)];
  expect(shown.map(([, step]) => Number(step))).toEqual([3, 6, 9, 12, 15, 18, 21, 24, 27, 30]);
  expect(/^done: .* · training loss (\d\.\d{3})$/m.exec(err)![1]).toBe(shown.at(-1)![2]);
});

it("the README's first example of the educational code ends with the sentence", async () => {
  const readme = readFileSync(join(start, "README.md"), "utf8").replaceAll(" \\\n", " ");
  const [train, sample] = [
    /^npx gatewise (train .*examples\/sentence\.txt.*)$/m,
    /^npx gatewise (sample runs\/sentence .*)$/m,
  ].map((pattern) =>
    pattern
      .exec(readme)![1]!
      .match(/"[^"]*"|\S+/g)!
      .map((word) => word.replaceAll('"', "")),
  );
  mkdirSync("examples");
  copyFileSync(join(start, "examples", "sentence.txt"), join("examples", "sentence.txt"));
  const { err } = await gatewise(...train!, "--device", "cpu");
  expect(err).toMatch(/^done: step 1000 .* accuracy on the text 96\.8 %$/m);
  const { out } = await gatewise(...sample!, "--device", "cpu", "--seed", "1");
  expect(out).toBe("the rabbit looks at his watch and runs, for he is late for tea.\n");
});

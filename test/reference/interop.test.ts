// `gatewise export` and `gatewise import`, from their arguments to what they print and leave behind.
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import * as filesOf from "../../src/cli/files.ts";
import { CharTokenizer } from "../../src/data/tokenizer.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { openNodeDevice } from "../../src/runtime/node.ts";
import { readTokenizer } from "../../src/training/tokenizer-file.ts";
import { loadCheckpoint } from "../../src/training/checkpoint.ts";
import { readSafetensors, writeSafetensors } from "../../src/training/safetensors.ts";
import { gatewise, lines, workInFolder } from "./command-line.ts";

vi.mock("../../src/cli/version.ts", () => ({ version: () => "1.2.3" }));
vi.mock("../../src/cli/files.ts", { spy: true });
vi.mock("../../src/runtime/node.ts", async (load) => ({ ...(await load<object>()), openNodeDevice: vi.fn() }));

const FIXTURE = resolve("test/fixtures/transformers");
workInFolder("interop");
const TEXT = "hello world!\n,".repeat(60);
writeFileSync("text.txt", TEXT);
writeFileSync("short.txt", "abc");
writeFileSync("tokens.json", JSON.stringify(CharTokenizer.fromText(TEXT)));
const TINY = [
  "--device",
  "cpu",
  "--hidden",
  "6",
  "--batch",
  "4",
  "--seq",
  "8",
  "--data",
  "text.txt",
  "--eval-every",
  "0",
  "--sample-every",
  "0",
];
const FILES = ["config.json", "model.safetensors", "tokenizer.json"];

beforeAll(async () => {
  vi.mocked(openNodeDevice).mockImplementation(() => openDevice({ prefer: "cpu" }));
  for (const cell of ["mamba", "gru"])
    expect(await gatewise("train", ...TINY, "--cell", cell, "--steps", "2", "--out", cell)).toMatchObject({ code: 0 });
});
beforeEach(() => rmSync("out", { recursive: true, force: true }));

/** A folder as transformers saves it, with some files more or less. */
function theirs(name: string, change: (at: (file: string) => string) => void = () => {}): string {
  rmSync(name, { recursive: true, force: true });
  mkdirSync(name);
  for (const file of FILES.slice(0, 2)) cpSync(join(FIXTURE, file), join(name, file));
  change((file) => join(name, file));
  return name;
}

describe("export", () => {
  it("writes a run's newest checkpoint as transformers' three files, and says where, and what opens them", async () => {
    expect(await gatewise("export", "mamba", "--to", "transformers", "out/deeper")).toEqual({
      code: 0,
      out: "",
      err: [
        "saved: out/deeper/config.json, out/deeper/model.safetensors, out/deeper/tokenizer.json",
        "next:",
        `  (cd out/deeper && python -c "from transformers import MambaForCausalLM; print(MambaForCausalLM.from_pretrained('.'))")`,
        "  npx gatewise import out/deeper --out runs/deeper   # back here, as it is or trained on there\n",
      ].join("\n"),
    });
    expect(readdirSync("out/deeper").sort()).toEqual(FILES);
    expect(JSON.parse(readFileSync("out/deeper/config.json", "utf8"))).toMatchObject({ model_type: "mamba", hidden_size: 6 });
    const { tensors } = readSafetensors(readFileSync("mamba/checkpoint-2.safetensors"));
    for (const [name, tensor] of Object.entries(readSafetensors(readFileSync("out/deeper/model.safetensors")).tensors))
      expect(tensor, name).toEqual(tensors[name]);
  });

  it("prints one event with --json", async () => {
    const { code, out, err } = await gatewise("export", "mamba", "out", "--to", "transformers", "--json");
    expect({ code, err }).toEqual({ code: 0, err: "" });
    expect(lines(out)).toEqual([
      {
        v: 1,
        event: "export",
        to: "transformers",
        checkpoint: "mamba/checkpoint-2.safetensors",
        files: FILES.map((name) => `out/${name}`),
      },
    ]);
  });

  it("overwrites nothing, and leaves nothing behind where it cannot write", async () => {
    for (const name of FILES) {
      rmSync("out", { recursive: true, force: true });
      mkdirSync("out");
      writeFileSync(`out/${name}`, "mine");
      expect(await gatewise("export", "mamba", "out", "--to", "transformers")).toEqual({
        code: 2,
        out: "",
        err: `gatewise: out has a ${name}, which is not overwritten; take another folder\n`,
      });
      expect(readdirSync("out")).toEqual([name]);
      expect(readFileSync(`out/${name}`, "utf8")).toBe("mine");
    }
    expect(await gatewise("export", "mamba", "text.txt/out", "--to", "transformers")).toMatchObject({
      code: 2,
      err: expect.stringMatching(/^gatewise: cannot make the folder text\.txt\/out: ENOTDIR/),
    });
    const write = vi.mocked(filesOf.writeSafely);
    rmSync("out", { recursive: true });
    const actual = write.getMockImplementation();
    write.mockImplementationOnce(async (path) => writeFileSync(path, "{}")).mockRejectedValueOnce(new Error("the disk is full"));
    expect(await gatewise("export", "mamba", "out", "--to", "transformers")).toMatchObject({
      code: 1,
      err: "gatewise: the disk is full\n",
    });
    expect(write.getMockImplementation()).toBe(actual);
    expect(readdirSync("out")).toEqual([]);
  });

  it("says which models go, and to whom", async () => {
    expect(await gatewise("export", "gru", "out", "--to", "transformers")).toEqual({
      code: 2,
      out: "",
      err: expect.stringMatching(/^gatewise: transformers has no model of the cell gru, only of mamba; .*\n$/),
    });
    expect(existsSync("out")).toBe(false);
    expect(await gatewise("export", "mamba", "out", "--to", "onnx")).toMatchObject({
      code: 2,
      err: expect.stringContaining("Allowed choices are pytorch, transformers"),
    });
    expect(await gatewise("export", "mamba", "out")).toMatchObject({
      code: 2,
      err: expect.stringContaining("'--to <format>' not specified"),
    });
    expect(await gatewise("export", "nowhere", "out", "--to", "transformers")).toMatchObject({
      code: 2,
      err: "gatewise: no such checkpoint or run folder: nowhere\n",
    });
  });
});

describe("import", () => {
  it("makes a checkpoint that info, sample and train --init-from take, and says so", async () => {
    const { code, out, err } = await gatewise("import", theirs("saved"), "--out", "out", "--data", "text.txt");
    expect({ code, out }).toEqual({ code: 0, out: "" });
    expect(err.split("\n")).toEqual([
      "model:  mamba · 2,320 parameters · vocabulary of 11",
      "saved:  out/checkpoint-0.safetensors",
      "next:",
      "  npx gatewise sample out",
      "  npx gatewise train --init-from out --data text.txt",
      "",
    ]);
    expect(readdirSync("out")).toEqual(["checkpoint-0.safetensors"]);
    const told = await gatewise("info", "out", "--json");
    expect(lines(told.out)[0]).toMatchObject({ parameters: 2320, characters: CharTokenizer.fromText(TEXT).characters });
    expect((await gatewise("info", "out")).code).toBe(0);
    const sample = await gatewise("sample", "out", "--prompt", "he", "--length", "5", "--device", "cpu", "--json");
    expect(lines(sample.out)[0].text).toMatch(/^[helo wrd!\n,]{7}$/);
    const size = ["--batch", "4", "--seq", "8", "--device", "cpu", "--eval-every", "0", "--sample-every", "0"];
    const train = await gatewise("train", "--init-from", "out", "--data", "text.txt", ...size, "--steps", "2", "--out", "on");
    expect(train).toMatchObject({ code: 0, err: expect.stringContaining("done: step 2") });
    expect(await gatewise("train", "--resume", "out")).toMatchObject({
      code: 2,
      err: expect.stringContaining("holds a model but no run; start a new run from it with --init-from"),
    });
  });

  it("takes the tokenizer of the folder, of a file or of a text, and refuses what does not fit", async () => {
    const foreign = theirs("foreign", (at) => writeFileSync(at("tokenizer.json"), '{"version":"1.0","model":{"type":"BPE"}}'));
    const own = theirs("own", (at) => cpSync("tokens.json", at("tokenizer.json")));
    const done: Record<string, number> = {};
    // As scripts keep them that train on characters: in their order, and by the token of each.
    const { codePoints } = JSON.parse(readFileSync("tokens.json", "utf8")) as { codePoints: number[] };
    const list = codePoints.map((point) => String.fromCodePoint(point));
    writeFileSync("list.json", JSON.stringify(list));
    const last = list.length - 1;
    writeFileSync("stoi.json", JSON.stringify(Object.fromEntries(list.map((_, i) => [list[last - i], last - i]))));
    writeFileSync("gap.json", JSON.stringify({ a: 0, b: 2 }));
    for (const file of ["list.json", "stoi.json"])
      expect(readTokenizer("it", readFileSync(file, "utf8")).toJSON()).toEqual({ kind: "char", codePoints });
    for (const [name, ...flags] of [[own], [foreign, "--tokenizer", "tokens.json"], [foreign, "--tokenizer", "stoi.json"]]) {
      const { code, out } = await gatewise("import", name!, ...flags, "--out", "out", "--json");
      done[[name, ...flags].join(" ")] = code;
      expect(lines(out)[0]).toMatchObject({
        v: 1,
        event: "import",
        from: "transformers",
        parameters: 2320,
        config: { cell: "mamba", vocabSize: 11 },
      });
    }
    expect(Object.values(done)).toEqual([0, 0, 0]);
    // None is overwritten.
    expect(
      readdirSync(".")
        .filter((name) => name.startsWith("out"))
        .sort(),
    ).toEqual(["out", "out-2", "out-3"]);
    for (const each of ["out-2", "out-3"]) rmSync(each, { recursive: true });
    rmSync("out", { recursive: true });
    const refused = async (message: string, ...args: string[]): Promise<void> => {
      const { code, out, err } = await gatewise("import", ...args, "--out", "out");
      expect(err).toContain(message);
      expect({ code, out, lines: err.split("\n").length }).toEqual({ code: 2, out: "", lines: 2 });
    };
    await refused("saved: tokenizer.json is missing: give a tokenizer of 11 tokens", theirs("saved"));
    await refused("--tokenizer FILE, or --data TEXT", "saved");
    await refused("foreign: tokenizer.json must be a tokenizer of Gatewise's", foreign);
    await refused("tokenizer.json has 3 tokens, the model 11", own, "--data", "short.txt");
    await refused("tokenizer.json must be", own, "--tokenizer", "gap.json");
    await refused("could not read nowhere.json: ENOENT", own, "--tokenizer", "nowhere.json");
    await refused("cannot be used with option", own, "--tokenizer", "tokens.json", "--data", "text.txt");
    expect(existsSync("out")).toBe(false);
  });

  it("goes to runs/ and the folder's name, if nobody says where", async () => {
    const { out } = await gatewise("import", `${theirs("saved")}/`, "--data", "text.txt", "--json");
    expect(lines(out)[0]).toMatchObject({ out: "runs/saved", path: "runs/saved/checkpoint-0.safetensors" });
  });

  it("says what is wrong with a folder, and makes none then", async () => {
    const cases: [string, string][] = [
      ["nowhere: there is no such file or folder", "nowhere"],
      ['text.txt: model.safetensors: not a whole .safetensors file: it begins with the text "hello', "text.txt"],
      ["it has no model.safetensors", theirs("without-model", (at) => rmSync(at("model.safetensors")))],
      [
        "model.safetensors.index.json: weight_map must say which .safetensors file each tensor is in",
        theirs("shards", (at) => {
          rmSync(at("model.safetensors"));
          writeFileSync(at("model.safetensors.index.json"), '{"weight_map":{}}');
        }),
      ],
      [
        "it has no model.safetensors; of pytorch_model.bin, this is a Python pickle",
        theirs("pickled", (at) => {
          rmSync(at("model.safetensors"));
          writeFileSync(at("pytorch_model.bin"), Buffer.from("80028a0a6cfc9c46f9206aa850192e", "hex"));
        }),
      ],
      [
        "it has several .safetensors files and no index",
        theirs("several", (at) => {
          cpSync(at("model.safetensors"), at("b.safetensors"));
          cpSync(at("model.safetensors"), at("a.safetensors"));
          rmSync(at("model.safetensors"));
        }),
      ],
      ["config.json is damaged: it is not JSON", theirs("damaged", (at) => writeFileSync(at("config.json"), "{"))],
      ["not a whole .safetensors file", theirs("cut", (at) => writeFileSync(at("model.safetensors"), "abc"))],
    ];
    for (const [message, name] of cases) {
      const { code, out, err } = await gatewise("import", name, "--data", "text.txt", "--out", "out");
      expect(err, name).toContain(message);
      expect({ code, out }, name).toEqual({ code: 2, out: "" });
      expect(existsSync("out"), name).toBe(false);
    }
  });

  it("reads a model without its configuration, and one in several files, by their index", async () => {
    const whole = lines((await gatewise("import", theirs("saved"), "--data", "text.txt", "--out", "out", "--json")).out)[0];
    const bare = theirs("bare", (at) => rmSync(at("config.json")));
    const { tensors, metadata } = readSafetensors(readFileSync(join(FIXTURE, "model.safetensors")));
    const half = (name: string): string => `model-0000${name.includes("layers.1") ? 2 : 1}-of-00002.safetensors`;
    const shards = theirs("in-shards", (at) => {
      rmSync(at("model.safetensors"));
      for (const file of new Set(Object.keys(tensors).map(half)))
        writeFileSync(
          at(file),
          writeSafetensors({
            tensors: Object.fromEntries(Object.entries(tensors).filter(([name]) => half(name) === file)),
            metadata,
          }),
        );
      const weight_map = Object.fromEntries(Object.keys(tensors).map((name) => [name, half(name)]));
      writeFileSync(at("model.safetensors.index.json"), JSON.stringify({ metadata: {}, weight_map }));
    });
    const ways = [bare, join(bare, "model.safetensors"), shards, join(shards, "model.safetensors.index.json")];
    for (const [i, path] of ways.entries()) {
      const { code, out, err } = await gatewise("import", path, "--data", "text.txt", "--out", `way${i}`, "--json");
      expect({ code, err }, path).toEqual({ code: 0, err: "" });
      expect(lines(out)[0]).toMatchObject({ from: i === 2 ? "transformers" : "tensors", parameters: whole.parameters });
      expect(loadCheckpoint(readFileSync(`way${i}/checkpoint-0.safetensors`)).tensors, path).toEqual(
        loadCheckpoint(readFileSync("out/checkpoint-0.safetensors")).tensors,
      );
    }
  });

  it("leaves no folder behind where it cannot write", async () => {
    vi.mocked(filesOf.keepCheckpoint).mockRejectedValueOnce(new Error("the disk is full"));
    expect(await gatewise("import", theirs("saved"), "--data", "text.txt", "--out", "out")).toEqual({
      code: 1,
      out: "",
      err: "gatewise: the disk is full\n",
    });
    expect(existsSync("out")).toBe(false);
  });
});

describe("a folder for PyTorch", () => {
  const FILES = ["config.json", "model.py", "model.safetensors", "optimizer.safetensors", "tokenizer.json", "train_ddp.py"];

  it("comes back as the run it was, byte for byte, and goes on where that goes on", async () => {
    const { code, out } = await gatewise("export", "gru", "out", "--to", "pytorch", "--json");
    expect(code).toBe(0);
    expect(lines(out)[0]).toMatchObject({ event: "export", to: "pytorch", checkpoint: "gru/checkpoint-2.safetensors" });
    expect(readdirSync("out").sort()).toEqual(FILES);
    const back = await gatewise("import", "out", "--out", "back-run", "--data", "text.txt");
    expect(back.err.split("\n")).toEqual([
      expect.stringMatching(/^model: {2}gru · [\d,]+ parameters · vocabulary of 11 · step 2$/),
      "saved:  back-run/checkpoint-2.safetensors",
      "next:",
      "  npx gatewise sample back-run",
      "  npx gatewise train --resume back-run --steps 1002",
      "",
    ]);
    expect(readFileSync("back-run/checkpoint-2.safetensors")).toEqual(readFileSync("gru/checkpoint-2.safetensors"));
    const on = ["--steps", "5", "--device", "cpu"];
    for (const run of ["gru", "back-run"]) expect(await gatewise("train", "--resume", run, ...on)).toMatchObject({ code: 0 });
    expect(readFileSync("back-run/checkpoint-5.safetensors")).toEqual(readFileSync("gru/checkpoint-5.safetensors"));
  });

  it("without a text asks for one, and says the step with --json", async () => {
    await gatewise("export", "mamba", "out", "--to", "pytorch");
    const { out } = await gatewise("import", "out", "--out", "no-text", "--json");
    expect(lines(out)[0]).toMatchObject({ event: "import", from: "pytorch", step: 2, config: { cell: "mamba" } });
    expect(await gatewise("train", "--resume", "no-text", "--steps", "3", "--device", "cpu")).toMatchObject({
      code: 2,
      err: expect.stringContaining("there is no run.json beside"),
    });
  });

  it("may have its tensors taken alone, where flags say the rest", async () => {
    await gatewise("export", "gru", "out", "--to", "pytorch");
    const file = join("out", "model.safetensors");
    expect(await gatewise("import", file, "--out", "alone")).toEqual({
      code: 2,
      out: "",
      err:
        "gatewise: out/model.safetensors: the file cannot tell resetAfter: true or false (--gru-reset after|before); " +
        "nor which character each token is (--tokenizer FILE or --data TEXT)\n",
    });
    expect(existsSync("alone")).toBe(false);
    const wrong = await gatewise("import", file, "--out", "alone", "--cell", "lstm", "--data", "text.txt");
    expect(wrong).toMatchObject({
      code: 2,
      err: expect.stringContaining('cell must be gru, got "lstm": "rnn.weight_hh_l0" [18, 6] has 3 gates'),
    });
    const { code, out } = await gatewise(
      "import",
      file,
      "--out",
      "alone",
      "--gru-reset",
      "before",
      "--data",
      "text.txt",
      "--json",
    );
    expect(code).toBe(0);
    expect(lines(out)[0]).toMatchObject({ from: "tensors", config: { cell: "gru", resetAfter: false, hiddenSize: 6 } });
    const again = await gatewise(
      "train",
      "--init-from",
      "alone",
      ...TINY,
      "--gru-reset",
      "before",
      "--steps",
      "1",
      "--out",
      "alone-on",
    );
    expect(again.err).toContain("done: step 1");
  });

  it("of as many units as characters may be told how characters enter", async () => {
    const wide = TINY.map((word, i) => (TINY[i - 1] === "--hidden" ? "11" : word));
    await gatewise("train", ...wide, "--cell", "rnn", "--input", "one-hot", "--steps", "1", "--out", "square");
    await gatewise("export", "square", "out", "--to", "pytorch");
    const take = (...flags: string[]) =>
      gatewise("import", "out/model.safetensors", "--data", "text.txt", "--out", "square-back", "--json", ...flags);
    const { code, err } = await take("--nonlinearity", "tanh");
    expect({ code, err }).toMatchObject({
      code: 2,
      err: expect.stringContaining('give input, "embedding" or "one-hot" (--input)'),
    });
    const { out } = await take("--nonlinearity", "relu", "--input", "one-hot");
    expect(lines(out)[0].config).toMatchObject({ cell: "rnn", input: "one-hot", nonlinearity: "relu", hiddenSize: 11 });
  });
});

it("what was exported and imported again writes the same text", async () => {
  await gatewise("export", "mamba", "out", "--to", "transformers");
  expect(await gatewise("import", "out", "--out", "back")).toMatchObject({ code: 0 });
  const write = async (name: string): Promise<string[]> =>
    lines((await gatewise("sample", name, "--seed", "1", "--length", "50", "--device", "cpu", "--json")).out).map(
      ({ text }) => text,
    );
  expect(await write("back")).toEqual(await write("mamba"));
});

// Lists that stand where no program can derive them (documents, Python, fixtures), against the tables they repeat.
import { existsSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";
import * as library from "../../src/index.ts";
import { CELL_NAMES } from "../../src/models/cells.ts";
import { GENERATIONS, PRESET_NAMES, PRESETS } from "../../src/models/presets.ts";
import { OPTIMIZER_NAMES } from "../../src/training/optimizers.ts";
import { decodeFixtures } from "../fixtures/read.ts";

const read = (path: string): string => readFileSync(path, "utf8");
const DOCUMENTS = ["README.md", "CONTRIBUTING.md", "bench/README.md"].map((path) => [path, read(path)] as const);

it("the presets of the training with PyTorch are ours", () => {
  const [, table] = /^PRESETS = \{(.*)\}$/m.exec(read("bench/pytorch/train.py"))!;
  const theirs = [...table!.matchAll(/"([\w-]+)": \("(\w+)", (True|False)\)/g)].map(([, name, cell, embeds]) => [
    name,
    { cell, input: embeds === "True" ? "embedding" : "one-hot" },
  ]);
  expect(Object.fromEntries(theirs)).toEqual(Object.fromEntries(GENERATIONS.map((name) => [name, PRESETS[name]])));
  const [, widths] = /^WIDTHS = \{(.*)\}$/m.exec(read("bench/pytorch/blocks.py"))!;
  const inBlocks = [...widths!.matchAll(/"([\w-]+)": (\d+)/g)].map(([, name, width]) => [
    name,
    { cell: name, input: "embedding", hiddenSize: Number(width), numLayers: 3 },
  ]);
  expect({ ...Object.fromEntries(theirs), ...Object.fromEntries(inBlocks) }).toEqual(PRESETS);
});

it("PyTorch's values are there for every cell that has a layer of its own there, and for every optimizer", () => {
  const fixtures = decodeFixtures(new Uint8Array(readFileSync("test/fixtures/pytorch.safetensors")).buffer);
  const cells = new Set(fixtures.cases.map(({ cell }) => cell.split("-")[0]));
  for (const cell of cells) expect(CELL_NAMES).toContain(cell);
  const [, script] = /^CELLS = \{(.*)\}$/m.exec(read("bench/pytorch/train.py"))!;
  expect([...cells].sort()).toEqual([...script!.matchAll(/"(\w+)":/g)].map(([, name]) => name!).sort());
  expect([...new Set(fixtures.optimizers.map(({ optimizer }) => optimizer))].sort()).toEqual([...OPTIMIZER_NAMES].sort());
});

it("the README's tables have every preset, in the order of the evolution", () => {
  const rows = [
    ...read("README.md").matchAll(/^\| `?((?:[a-z\d]+-)*[a-z\d]+)`? \| (?:[\d,]+|one-hot vector|learned vector) \|/gm),
  ];
  expect(rows.map(([, name]) => name)).toEqual([...PRESET_NAMES, ...PRESET_NAMES]);
});

it("what the documents import from the library, it exports", () => {
  const imports = DOCUMENTS.flatMap(([, text]) => [...text.matchAll(/import \{ ([^}]*) \} from "gatewise"/g)]);
  expect(imports.length).toBeGreaterThan(0);
  for (const [, names] of imports) for (const name of names!.split(", ")) expect(Object.keys(library)).toContain(name);
});

it("the scripts and files that the documents name are there", () => {
  const { scripts } = JSON.parse(read("package.json"));
  let named = 0;
  for (const [path, text] of DOCUMENTS) {
    for (const [, name] of text.matchAll(/npm run ([\w:-]+)/g)) expect(Object.keys(scripts), path).toContain(name);
    for (const [whole] of text
      .replaceAll(/\S*NAME\S*/g, "")
      .matchAll(/\b(?:src|shaders|scripts|examples|bench|test)\/[\w./-]+\.(?:ts|mjs|wgsl|py|json|txt)\b/g)) {
      expect(existsSync(whole), `${path}: ${whole}`).toBe(true);
      named++;
    }
  }
  expect(named).toBeGreaterThan(10);
});

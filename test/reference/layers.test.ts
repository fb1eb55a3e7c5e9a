import { existsSync, readFileSync, readdirSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path/posix";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { CELL_NAMES, CELL_OPTIONS, cellForms } from "../../src/models/cells.ts";
import { PRESET_NAMES } from "../../src/models/presets.ts";

/**
 * Which folders of src/ each folder may import, besides itself and the utilities at the top (errors, random):
 * runtime ← kernels ← models ← training ← {interop, bench} ← {cli, lab}, and data, which stands alone.
 */
const mayImport: Readonly<Record<string, readonly string[]>> = {
  runtime: [],
  kernels: ["runtime"],
  models: ["runtime", "kernels"],
  data: [],
  training: ["runtime", "kernels", "models", "data"],
  interop: ["runtime", "kernels", "models", "training"],
  bench: ["runtime", "kernels", "models", "training", "data"],
  cli: ["runtime", "kernels", "models", "training", "data", "interop", "bench"],
  lab: ["runtime", "kernels", "models", "training", "data", "interop", "bench"],
};

/** The same between the folders of the lab; the files beside them, and the data of the prepared runs, serve all. */
const labMayImport: Readonly<Record<string, readonly string[]>> = {
  draw: [],
  analysis: [],
  experiments: ["analysis"],
  worker: ["analysis", "experiments"],
  views: ["draw", "analysis", "experiments", "worker"],
  lessons: ["draw", "analysis", "experiments", "views"],
  page: ["draw", "views", "lessons", "worker"],
};

/** Files directly in src/ that everything may import and that import only one another. */
const utilities = ["errors", "random", "checks", "turns"];

/** Packages, by the one place that may import them. The lab page's own packages are its business. */
const packages: Readonly<Record<string, RegExp>> = {
  webgpu: /^src\/runtime\/node\.ts$/,
  commander: /^src\/cli\//,
  chardet: /^src\/data\/detect-encoding\.ts$/,
  asciichart: /^src\/cli\//,
};

type Sources = Readonly<Record<string, string>>;

/** What a source file imports, statically, dynamically, or by type. */
function imports(source: string): { specifier: string; dynamic: boolean }[] {
  const code = withoutComments(source);
  const found = [];
  for (const [, specifier] of code.matchAll(/(?:^|;)\s*(?:import|export)\b(?:[^"'`;()]*?\bfrom\b)?\s*["']([^"']+)["']/gm))
    if (specifier) found.push({ specifier, dynamic: false });
  for (const [, specifier] of code.matchAll(/\bimport\s*\(\s*["']([^"']+)["']/g))
    if (specifier) found.push({ specifier, dynamic: true });
  return found;
}

// Strings are matched first, so that "//" within one is not taken for a comment.
function withoutComments(source: string): string {
  return source.replace(/("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|\/\/.*|\/\*[\s\S]*?\*\//g, (_, text?: string) => text ?? "");
}

/** `src/kernels/lstm.ts` is in the layer `kernels`; `src/errors.ts` is itself: `errors`. */
function layerOf(path: string): string {
  const [, first = ""] = path.split("/");
  return first.replace(/\.ts$/, "");
}

/** Every import that breaks the rule, as a sentence. `sources` maps paths such as src/data/books.ts to their text. */
function violations(sources: Sources): string[] {
  const wrong: string[] = [];
  for (const [path, source] of Object.entries(sources)) {
    const layer = layerOf(path);
    if (layer === "index") {
      if (!onlyReExports(source)) wrong.push(`${path} must hold re-exports only`);
      continue;
    }
    if (!(layer in mayImport) && !utilities.includes(layer)) {
      wrong.push(`${path} belongs to no layer`);
      continue;
    }
    for (const { specifier } of imports(source)) {
      if (specifier.startsWith("node:")) continue; // see nodeImportsFromIndex
      if (!specifier.startsWith(".")) {
        if (layer !== "lab" && !packages[specifier]?.test(path)) wrong.push(`${path} imports the package ${specifier}`);
        continue;
      }
      const target = join(dirname(path), specifier);
      if (target.startsWith("shaders/")) {
        if (layer !== "kernels" && layer !== "runtime") wrong.push(`${path} imports ${target}; shaders are the kernels' own`);
        continue;
      }
      if (layer === "cli" && target === "package.json") continue;
      if (path === "src/runtime/wasm-module.ts" && target === "wasm?module") continue;
      const imported = layerOf(target);
      const allowed = imported === layer || utilities.includes(imported) || mayImport[layer]?.includes(imported);
      if (!target.startsWith("src/") || !allowed || (utilities.includes(layer) && !utilities.includes(imported)))
        wrong.push(`${path} imports ${target}; ${layer} may import ${[...(mayImport[layer] ?? []), ...utilities].join(", ")}`);
    }
  }
  return wrong;
}

/** Every import between the lab's folders that breaks the rule. */
function labViolations(sources: Sources): string[] {
  const folderOf = (path: string): string => /^src\/lab\/(\w+)\//.exec(path)?.[1] ?? "beside";
  return Object.entries(sources).flatMap(([path, source]) => {
    const folder = folderOf(path);
    const targets = imports(source).map(({ specifier }) => join(dirname(path), specifier));
    const wrong = targets.filter(
      (target) =>
        target.startsWith("src/lab/") &&
        ![folder, "beside", "prepared", ...(labMayImport[folder] ?? [])].includes(folderOf(target)),
    );
    return wrong.map((target) => `${path} imports ${target}`);
  });
}

function onlyReExports(source: string): boolean {
  const rest = withoutComments(source).replace(
    /\bexport\s+(?:type\s+)?(?:\*(?:\s+as\s+\w+)?|\{[^}]*\})\s*from\s*["'][^"']+["']\s*;?/g,
    "",
  );
  return rest.trim() === "";
}

/** Node modules and packages that the browser would have to load as soon as it loads src/index.ts. */
function nodeImportsFromIndex(sources: Sources): string[] {
  const wrong: string[] = [];
  const seen = new Set<string>();
  const queue = ["src/index.ts"];
  for (let path = queue.pop(); path; path = queue.pop()) {
    const source = sources[path];
    if (seen.has(path) || source === undefined) continue;
    seen.add(path);
    for (const { specifier, dynamic } of imports(withoutTypes(source))) {
      if (dynamic) continue;
      if (specifier.startsWith(".")) queue.push(join(dirname(path), specifier).replace(/\.js$/, ".ts"));
      else wrong.push(`${path} imports ${specifier} and is part of the library, which browsers load`);
    }
  }
  return wrong;
}

function withoutTypes(source: string): string {
  return withoutComments(source).replace(/\b(?:import|export)\s+type\b[^;"']*\bfrom\s*["'][^"']+["']/g, "");
}

/** Shaders that no source file imports. */
function orphans(shaders: readonly string[], files: Sources): string[] {
  const imported = new Set(
    Object.values(files).flatMap((source) => [...source.matchAll(/shaders\/([\w-]+\.wgsl)\?raw/g)].map((m) => m[1])),
  );
  return shaders.filter((path) => !imported.has(path));
}

/** Circles of imports, of types too: in each the files that can be reached from one another. */
function circles(files: Sources): string[][] {
  const reachable = new Map<string, Set<string>>();
  const next = (path: string): string[] =>
    imports(files[path]!)
      .map(({ specifier }) => join(dirname(path), specifier))
      .filter((target) => target in files);
  for (const path of Object.keys(files)) {
    const seen = new Set<string>();
    const queue = next(path);
    for (let each = queue.pop(); each; each = queue.pop()) {
      if (seen.has(each)) continue;
      seen.add(each);
      queue.push(...next(each));
    }
    reachable.set(path, seen);
  }
  const found = new Map<string, string[]>();
  for (const [path, seen] of reachable) {
    if (!seen.has(path)) continue;
    const circle = [...seen].filter((other) => reachable.get(other)!.has(path)).sort();
    found.set(circle.join(), circle);
  }
  return [...found.values()];
}

/** Files that ask which cell or preset they have before them, by its name. */
function namingCells(files: Sources, names: readonly string[]): string[] {
  const name = `["'\`](?:${names.join("|")})["'\`]`;
  const asked = new RegExp(`[!=]==?\\s*${name}|${name}\\s*[!=]==?|\\bcase ${name}|(?:includes|startsWith)\\(${name}`);
  return Object.keys(files).filter((path) => asked.test(withoutComments(files[path]!)));
}

/** Files, outside the cells' own, that name an option which only some cells have. */
function namingOptions(files: Sources, options: readonly string[]): string[] {
  const named = new RegExp(`\\b(?:${options.join("|")})\\b`);
  return Object.keys(files).filter((path) => !path.startsWith("src/kernels/") && named.test(withoutComments(files[path]!)));
}

/** Files of more than 400 lines that do not say why in their first comment. */
const unexplained = (files: Sources): string[] =>
  Object.keys(files).filter((path) => {
    const head = /^(?:\/\/.*\n)*/.exec(files[path]!)![0];
    return files[path]!.split("\n").length > 401 && !/400 lines/.test(head);
  });

/** Files with a variable that is said to have a value before it does. */
const definite = (files: Sources): string[] =>
  Object.keys(files).filter((path) => /\b(?:let|var) \w+!/.test(withoutComments(files[path]!)));

const root = fileURLToPath(new URL("../..", import.meta.url)).replaceAll("\\", "/");

function list(folder: string, extension: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
    .map((path) => path.replaceAll("\\", "/"))
    .filter((path) => path.endsWith(extension))
    .map((path) => relative(root, join(root, folder, path)));
}

const read = (extension: string): Sources =>
  Object.fromEntries(list("src", extension).map((path) => [path, readFileSync(join(root, path), "utf8")]));
const sources = read(".ts");
const all: Sources = { ...sources, ...read(".tsx") };
const names = [...new Set([...CELL_NAMES, ...PRESET_NAMES, ...Object.keys(cellForms())])];

const options = Object.keys(CELL_OPTIONS);

describe("the source tree", () => {
  test("has source files, or the tests below would pass over nothing", () => {
    expect(Object.keys(sources)).toContain("src/errors.ts");
    expect(Object.keys(sources).length).toBeGreaterThan(10);
  });

  test("keeps the rule of who may import whom", () => {
    expect(violations(sources)).toEqual([]);
  });

  test("keeps the order of the lab's folders", () => {
    expect(labViolations(all)).toEqual([]);
  });

  test("keeps Node's modules out of what browsers load", () => {
    expect(nodeImportsFromIndex(sources)).toEqual([]);
  });

  test("uses every shader", () => {
    const shaders = list("shaders", ".wgsl").map((path) => basename(path));
    expect(orphans(shaders, sources)).toEqual([]);
  });

  test("has no circle of imports", () => {
    expect(circles(all)).toEqual([]);
  });

  test("asks nowhere which cell or preset it has before it, by its name", () => {
    expect(names).toEqual(expect.arrayContaining(["rnn", "gru", "lstm", "one-hot-rnn"]));
    expect(namingCells(all, names)).toEqual([]);
  });

  test("names options of a cell in the cell's own files only", () => {
    expect(options).toEqual(expect.arrayContaining(["nonlinearity", "resetAfter", "forgetBias"]));
    expect(namingOptions(all, options)).toEqual([]);
  });

  test("says in the head of every file of more than 400 lines why it is so long", () => {
    expect(unexplained(all)).toEqual([]);
  });

  test("has no variable that is said to have a value before it does", () => {
    expect(definite(all)).toEqual([]);
  });
});

describe("CONTRIBUTING.md", () => {
  const page = readFileSync(join(root, "CONTRIBUTING.md"), "utf8");

  test("names files that are there", () => {
    const named = [...page.matchAll(/`((?:src|shaders|test|bench|scripts)\/[\w./-]+\.\w+)`/g)].map(([, path]) => path!);
    expect(named.length).toBeGreaterThan(10);
    expect(named.filter((path) => !existsSync(join(root, path)) && !path.includes("NAME"))).toEqual([]);
  });

  test("says of names where they are", () => {
    const named = [...page.matchAll(/`(\w+)` of\s`([\w./-]+\.\w+)`/g)];
    expect(named.map(([, name]) => name)).toEqual(expect.arrayContaining(["PRESETS", "stepsBefore"]));
    for (const [, name, path] of named) expect(readFileSync(join(root, path!), "utf8"), path).toContain(name);
  });
});

describe("the checks themselves", () => {
  const check = (path: string, source: string) => violations({ [path]: source });

  test.each([
    ["a static import", 'import { train } from "../training/trainer.ts";'],
    ["a type import over several lines", 'import type {\n  Trainer,\n} from "../training/trainer.ts";'],
    ["a side-effect import", 'import "../training/trainer.ts";'],
    ["a re-export", 'export * from "../training/trainer.ts";'],
    ["a dynamic import", 'const { train } = await import("../training/trainer.ts");'],
    ["an import after a string that looks like a comment", 'const url = "http://x"; import "../training/trainer.ts";'],
  ])("see %s to the right of the file's own layer", (_, source) => {
    expect(check("src/kernels/lstm.ts", source)).toHaveLength(1);
    expect(check("src/cli/main.ts", source)).toHaveLength(0);
  });

  test.each([
    ["data importing a model", "src/data/books.ts", 'import "../models/cells.ts";'],
    ["interop importing data", "src/interop/onnx.ts", 'import "../data/books.ts";'],
    ["a model importing a shader", "src/models/cells.ts", 'import code from "../../shaders/lstm.wgsl?raw";'],
    ["a file outside src", "src/kernels/lstm.ts", 'import "../../test/gpu/device.ts";'],
    ["the public index imported from inside", "src/cli/main.ts", 'import "../index.ts";'],
    ["a utility importing a layer", "src/errors.ts", 'import "./runtime/device.ts";'],
    ["a package in the library", "src/training/trainer.ts", 'import "commander";'],
    ["a folder that is no layer", "src/misc/helpers.ts", ""],
    ["code in the public index", "src/index.ts", 'export { a } from "./errors.ts";\nexport const b = 1;'],
  ])("see %s", (_, path, source) => {
    expect(check(path, source)).toHaveLength(1);
  });

  test.each([
    ["src/kernels/lstm.ts", 'import code from "../../shaders/lstm.wgsl?raw";\nimport { GatewiseError } from "../errors.ts";'],
    ["src/runtime/node.ts", 'const { create } = await import("webgpu");'],
    ["src/cli/main.ts", 'import { Command } from "commander";\nimport { readFileSync } from "node:fs";'],
    ["src/runtime/device.ts", 'throw new Error(`none; try: import { openNodeDevice } from "gatewise/node"`);'],
    ["src/data/books.ts", '// import "../models/cells.ts";\n/* import "../cli/main.ts"; */'],
    ["src/index.ts", '/** The library. */\nexport { a, type B } from "./errors.ts";\nexport * from "./random.ts";'],
  ])("let through what %s may import", (path, source) => {
    expect(check(path, source)).toEqual([]);
  });

  test("see a Node module behind the public index, but not a dynamic or a type import", () => {
    const files = {
      "src/index.ts": 'export * from "./data/books.ts";',
      "src/data/books.ts": 'import { read } from "./files.ts";\nimport type { Stats } from "node:fs";\nawait import("node:os");',
      "src/data/files.ts": 'import { readFile } from "node:fs/promises";',
    };
    expect(nodeImportsFromIndex(files)).toEqual([expect.stringMatching(/^src\/data\/files\.ts imports node:fs\/promises/)]);
  });

  test("see a circle, of types too, and not a path that ends", () => {
    const files = {
      "src/a.ts": 'import type { B } from "./b.ts";',
      "src/b.ts": 'import { c } from "./c.ts";\nimport "./d.ts";',
      "src/c.ts": 'export { a } from "./a.ts";',
      "src/d.ts": "",
    };
    expect(circles(files)).toEqual([["src/a.ts", "src/b.ts", "src/c.ts"]]);
  });

  test.each([
    ['if (config.cell === "lstm") return;', 1],
    ['const one = "gru" !== cell;', 1],
    ["switch (preset) { case 'one-hot-rnn': }", 1],
    ['const DEFAULT = { cell: "lstm" }; // not cell === "lstm"', 0],
  ])("see in %s a question for a cell's name %d times", (source, times) => {
    expect(namingCells({ "src/models/a.ts": source }, names)).toHaveLength(times);
  });

  test.each([
    ["src/lab/a.ts", "const of = config.nonlinearity;", 1],
    ["src/models/a.ts", 'if (hasOption(cell, "forgetBias")) return;', 1],
    ["src/kernels/a.ts", "const of = config.nonlinearity;", 0],
    ["src/lab/a.ts", "const nonlinearityOf = 1; // config.nonlinearity", 0],
  ])("see in %s, %s, an option of a cell %d times", (path, source, times) => {
    expect(namingOptions({ [path]: source }, options)).toHaveLength(times);
  });

  test("see a long file that does not say why, and a variable without its value", () => {
    const long = "a();\n".repeat(401);
    expect(unexplained({ a: `// More than 400 lines, since …\n${long}`, b: `// Short.\n${long}`, c: long.slice(5) })).toEqual([
      "b",
    ]);
    expect(definite({ a: "let x!: number;", b: "private x!: number; let y = x!;" })).toEqual(["a"]);
  });

  test("see a step back between the lab's folders", () => {
    const files = {
      "src/lab/draw/chart.ts": 'import type { Curve } from "./curves.ts";',
      "src/lab/draw/curves.ts": 'import { a } from "../settings.ts";',
      "src/lab/views/gates.tsx": 'import { b } from "../page/store/link.ts";\nimport { c } from "../draw/chart.ts";',
      "src/lab/settings.ts": 'import { d } from "./page/app.tsx";',
    };
    expect(labViolations(files)).toEqual([
      "src/lab/views/gates.tsx imports src/lab/page/store/link.ts",
      "src/lab/settings.ts imports src/lab/page/app.tsx",
    ]);
  });

  test("see a shader that nothing imports", () => {
    const files = { "src/kernels/lstm.ts": 'import source from "../../shaders/lstm.wgsl?raw";' };
    expect(orphans(["lstm.wgsl", "gru.wgsl"], files)).toEqual(["gru.wgsl"]);
  });
});

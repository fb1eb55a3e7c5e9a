// npm run docs: the reference has a page of every class, function and value that the package exports, and TypeDoc finds nothing
// amiss in the comments.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { root } from "../../scripts/environment.mjs";
import * as library from "../../src/index.ts";
import * as interop from "../../src/interop/index.ts";

it("the API reference is built of the comments, and leaves nothing out", () => {
  const out = mkdtempSync(join(tmpdir(), "gatewise-docs-"));
  // What TypeDoc warns of, such as a link to nothing, is an error there.
  const { status, stdout } = spawnSync(process.execPath, [join(root, "scripts", "docs.mjs"), out], { encoding: "utf8" });
  expect(status, stdout).toBe(0);
  const pages = new Set(["classes", "functions", "variables"].flatMap((kind) => readdirSync(join(out, kind))));
  const wanted = Object.entries({ gatewise: library, gatewise_interop: interop }).flatMap(([module, names]) =>
    Object.keys(names).map((name) => `${module}.${name}.html`),
  );
  expect(wanted.filter((page) => !pages.has(page))).toEqual([]);
  rmSync(out, { recursive: true });
});

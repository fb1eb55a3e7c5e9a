// The files that tuning is remembered in, written by several processes at once.
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, it } from "vitest";

it("two processes that write to one file at once lose none of each other's changes", async () => {
  const own = mkdtempSync(join(tmpdir(), "gatewise-two-"));
  const program = `
    const { fileStore } = await import(${JSON.stringify(pathToFileURL(resolve("dist/node.js")).href)});
    const store = fileStore(${JSON.stringify(own)});
    for (let i = 0; i < 40; i++)
      await store.update("texts", (text) => JSON.stringify([...JSON.parse(text ?? "[]"), process.argv[1] + i]));`;
  const codes = ["a", "b"].map((name) => {
    const child = spawn(process.execPath, ["--input-type=module", "-e", program, name], { stdio: "inherit" });
    return new Promise((done) => child.on("close", done));
  });
  expect(await Promise.all(codes)).toEqual([0, 0]);
  const found = JSON.parse(readFileSync(join(own, "texts.json"), "utf8")) as string[];
  const expected = ["a", "b"].flatMap((name) => Array.from({ length: 40 }, (_, i) => name + i));
  expect(new Set(found)).toEqual(new Set(expected));
  expect(found).toHaveLength(80);
  rmSync(own, { recursive: true });
});

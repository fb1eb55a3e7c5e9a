// A process with threads of WebAssembly, whatever flags it was started with.
import { execFile } from "node:child_process";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";

test("its threads do not keep it alive when it is done", async () => {
  const program = `
    const { openNodeDevice } = await import(${JSON.stringify(pathToFileURL(resolve("dist/node.js")).href)});
    console.log((await openNodeDevice({ prefer: "wasm", threads: 3 })).description);`;
  const run = promisify(execFile)(process.execPath, ["--input-type=module", "-e", program], { timeout: 30_000 });
  expect((await run).stdout).toMatch(/, 3 threads\n$/);
});

// npm test: set-up, types, lint and every test. With arguments (npm run test:gpu -- FILTER): set-up, then Vitest with
// these arguments. Vitest's results are also left in node_modules/.cache/gatewise/tests.json.
import { spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { cache, readEnvironment, root } from "./environment.mjs";

const args = process.argv.slice(2);
// What takes minutes runs only when it is asked for: npm run test:long.
const projects = args.some((arg) => arg.startsWith("--project")) ? [] : ["--project", "!long*"];
const report = join(cache, "tests.json");
rmSync(report, { force: true });

step("set-up", join("scripts", "setup.mjs"));
if ((args.length === 0 || args.some((arg) => /browser|lab/.test(arg))) && !readEnvironment().browser) {
  console.error("npm test: the browser tests need a browser with WebGPU; the lines above say what to install");
  process.exit(1);
}
if (args.length === 0) {
  step("typecheck", bin("typescript/bin/tsc"), "--noEmit");
  step("lint", bin("oxlint/bin/oxlint"), "--deny-warnings");
}
step(
  "tests",
  bin("vitest/vitest.mjs"),
  "run",
  "--reporter=default",
  "--reporter=json",
  `--outputFile.json=${report}`,
  ...projects,
  ...args,
);

/** @param {string} path */
function bin(path) {
  return join("node_modules", path);
}

/** Runs a Node program in the project's folder; its failure ends this one. @param {string} name @param {string[]} command */
function step(name, ...command) {
  const { status, signal } = spawnSync(process.execPath, command, { cwd: root, stdio: "inherit" });
  if (status === 0) return;
  console.error(`npm test: ${name} failed${signal ? ` (${signal})` : ""}`);
  process.exit(status ?? 1);
}

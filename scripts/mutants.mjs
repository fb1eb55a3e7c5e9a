// Do the tests see faults? npm run test:mutants -- [--all] [FILES]: puts faults into copies of the given files of src/ and
// shaders/ (of those that differ from main, if none are given), one at a time, and says which of them no test found.
//
// - Faults made by hand are listed in test/mutants/*.json: where, what instead, and the tests that must fail.
// - WGSL is mutated by test/mutants/shaders.test.ts, which runs the checks of every kernel that has the file.
// - TypeScript is mutated by StrykerJS, which runs the reference tests. It is no dependency: it is installed on first use.
//
// Survivors that are no faults, because they change nothing that can be seen, stand in test/mutants/equivalent.json.
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { adapterVariables, cache, readEnvironment, root } from "./environment.mjs";

/** @typedef {{ file: string, name: string, search: string, replace: string, why: string, tests: string[] }} Mutant */

const STRYKER = ["@stryker-mutator/core@9.6.1", "@stryker-mutator/vitest-runner@9.6.1"];
const lists = join(root, "test", "mutants");

const given = process.argv.slice(2);
const all = given.includes("--all");
const hand = given.includes("--hand");
const files = given.some((arg) => !arg.startsWith("--")) ? given.filter((arg) => !arg.startsWith("--")) : all || hand ? [] : changed();
/** @param {string} file */
const wanted = (file) => files.length === 0 || files.some((each) => file === each || file.startsWith(`${each}/`));
if (!all && !hand && files.length === 0) {
  console.log("nothing under src/ or shaders/ differs from main; give files, or --all, or --hand for the list made by hand");
  process.exit(0);
}

let survivors = 0;
/** @type {Mutant[]} */
const byHand = readdirSync(lists)
  .filter((name) => name.endsWith(".json") && name !== "equivalent.json")
  .flatMap((name) => JSON.parse(readFileSync(join(lists, name), "utf8")))
  .filter(({ file }) => wanted(file));
if (byHand.length > 0) survivors += runByHand(byHand);
if (!hand) {
  const shaders = readdirSync(join(root, "shaders"))
    .map((name) => `shaders/${name}`)
    .filter((file) => (all || files.length > 0) && wanted(file));
  if (shaders.length > 0) survivors += runShaders(shaders);
  const sources = tracked().filter((file) => /^src\/.*\.tsx?$/.test(file) && wanted(file));
  if (sources.length > 0) survivors += runStryker(sources);
}
console.log(survivors === 0 ? "every mutant was found" : `${survivors} mutants survived`);
process.exit(survivors === 0 ? 0 : 1);

/** Runs each mutant of the lists in a copy of the tree; returns how many no test found. @param {Mutant[]} mutants */
function runByHand(mutants) {
  const copy = mkdtempSync(join(tmpdir(), "gatewise-mutants-"));
  try {
    for (const file of tracked()) {
      mkdirSync(dirname(join(copy, file)), { recursive: true });
      cpSync(join(root, file), join(copy, file));
    }
    symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
    if (existsSync(join(root, "dist"))) cpSync(join(root, "dist"), join(copy, "dist"), { recursive: true });
    const tests = [...new Set(mutants.flatMap((mutant) => mutant.tests))];
    const sound = runTests(copy, tests);
    if (sound.status !== 0) throw new Error(`the tests fail without any mutant:\n${tail(sound.stdout + sound.stderr)}`);
    let missed = 0;
    for (const { file, name, search, replace, tests } of mutants) {
      const path = join(copy, file);
      const source = readFileSync(path, "utf8");
      const places = source.split(search).length - 1;
      let verdict = places === 1 ? "" : `the list is out of date: ${places} places hold ${JSON.stringify(search)}`;
      if (!verdict) {
        writeFileSync(path, source.replace(search, () => replace));
        verdict = runTests(copy, tests).status === 0 ? "SURVIVED" : "found";
        writeFileSync(path, source);
      }
      if (verdict !== "found") missed++;
      console.log(`${verdict === "found" ? "✓" : "✗"} ${file}: ${name}${verdict === "found" ? "" : ` — ${verdict}`}`);
    }
    console.log(`by hand: ${mutants.length - missed} of ${mutants.length} found`);
    return missed;
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

/** @param {string} cwd @param {string[]} tests */
function runTests(cwd, tests) {
  // The command line is tested as it is built.
  if (tests.some((test) => /\bcli\./.test(test))) runNode(cwd, "vite/bin/vite.js", ["build"]);
  return runNode(cwd, "vitest/vitest.mjs", ["run", "--project", "reference", "--project", "gpu", "--bail", "1", ...tests]);
}

/** @param {string} cwd @param {string} program @param {string[]} args @param {Record<string, string>} env */
function runNode(cwd, program, args, env = {}) {
  const options = { cwd, encoding: /** @type {const} */ ("utf8"), env: { ...process.env, ...env }, timeout: 300_000 };
  return spawnSync(process.execPath, [join(root, "node_modules", program), ...args], options);
}

/** @param {string[]} shaders */
function runShaders(shaders) {
  const env = { ...adapterVariables(readEnvironment()), GATEWISE_MUTATE: shaders.join(), GATEWISE_MUTANTS: all ? "all" : "some" };
  const args = ["run", "--config", "test/mutants/vitest.config.ts", "--reporter", "dot"];
  const { status } = spawnSync(process.execPath, [join(root, "node_modules/vitest/vitest.mjs"), ...args], {
    cwd: root,
    stdio: "inherit",
    env: { ...process.env, ...env },
  });
  return status === 0 ? 0 : 1;
}

/** @param {string[]} sources */
function runStryker(sources) {
  const home = join(cache, "stryker");
  const program = join(home, "node_modules", "@stryker-mutator", "core", "bin", "stryker.js");
  if (!existsSync(program)) {
    mkdirSync(home, { recursive: true });
    const args = ["install", "--prefix", home, "--ignore-scripts", "--no-audit", "--no-fund", "--legacy-peer-deps", ...STRYKER];
    const { status } = spawnSync("npm", args, { stdio: "inherit", shell: process.platform === "win32" });
    if (status !== 0) throw new Error("StrykerJS could not be installed");
  }
  const report = join(home, "report.json");
  const settings = join(home, "stryker.config.json");
  writeFileSync(
    settings,
    JSON.stringify({
      mutate: sources,
      testRunner: "vitest",
      plugins: ["@stryker-mutator/vitest-runner"],
      vitest: { configFile: "test/mutants/vitest.config.ts" },
      coverageAnalysis: "perTest",
      // TypeScript 7 has no API for Stryker to rewrite the configuration with.
      tsconfigFile: "none.json",
      ignorePatterns: ["dist", "dist-lab", "runs", "docs", "bench/peers"],
      tempDirName: join(tmpdir(), "gatewise-stryker"),
      reporters: ["progress-append-only", "json"],
      jsonReporter: { fileName: report },
      disableTypeChecks: false,
      timeoutMS: 20_000,
      allowEmpty: true,
    }),
  );
  const { status } = spawnSync(process.execPath, [program, "run", settings], { cwd: root, stdio: "inherit" });
  if (status !== 0) throw new Error("StrykerJS failed; see above");
  return report.length > 0 ? tellStryker(JSON.parse(readFileSync(report, "utf8"))) : 0;
}

/** Prints what survived, file by file, and the score. @param {{ files: Record<string, { source: string, mutants: any[] }> }} report */
function tellStryker({ files: reported }) {
  /** @type {{ file: string, line: string, replace: string, why: string }[]} */
  const equivalent = JSON.parse(readFileSync(join(lists, "equivalent.json"), "utf8"));
  let [found, missed] = [0, 0];
  for (const [file, { source, mutants }] of Object.entries(reported)) {
    const lines = source.split("\n");
    for (const { status, location, replacement, mutatorName } of mutants) {
      if (["Killed", "Timeout"].includes(status)) found++;
      if (!["Survived", "NoCoverage"].includes(status)) continue;
      const line = lines[location.start.line - 1]?.trim();
      if (equivalent.some((each) => each.file === file && each.line === line && each.replace === replacement)) continue;
      missed++;
      console.log(`✗ ${file}:${location.start.line}: ${mutatorName}${status === "NoCoverage" ? ", not covered" : ""}`);
      console.log(`    ${line}\n    → ${replacement.split("\n")[0]}`);
    }
  }
  console.log(`StrykerJS: ${found} of ${found + missed} found, ${((100 * found) / Math.max(1, found + missed)).toFixed(1)} %`);
  return missed;
}

/** Files under version control, and new ones that will be. */
function tracked() {
  return git("ls-files", "-co", "--exclude-standard").filter((file) => existsSync(join(root, file)));
}

/** Files of src/ and shaders/ that differ from main. */
function changed() {
  const base = git("merge-base", "HEAD", "main")[0] ?? "HEAD";
  return [...git("diff", "--name-only", base), ...git("ls-files", "-o", "--exclude-standard")].filter((file) =>
    /^(src|shaders)\//.test(file),
  );
}

/** @param {string[]} args */
function git(...args) {
  const { stdout } = spawnSync("git", args, { cwd: root, encoding: "utf8" });
  return stdout.split("\n").filter(Boolean);
}

/** @param {string} text */
function tail(text) {
  return text.split("\n").slice(-40).join("\n");
}

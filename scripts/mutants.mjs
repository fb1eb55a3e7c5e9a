// Do the tests see faults? npm run test:mutants -- [--all] [FILES]: puts faults into copies of the given files of src/ and
// shaders/ (of those that differ from main, if none are given), one at a time, and says which of them no test found.
//
//   --hand           only the list made by hand
//   --share K/N      of StrykerJS's mutants only those in the K-th of N parts of the lines, in blocks of eight: an estimate
//                    of the score in a part of the time, and another part for whoever has worked on the survivors of one
//   --static         also what runs once, while a file is loaded (tables, names, expressions): see below
//   --tests A,B      StrykerJS runs only the tests whose files' names begin with A or B: what is near, in a part of the time
//   --concurrency N  that many at once
//   --report FILE    keeps StrykerJS's report in JSON
//
// - Faults made by hand are listed in test/mutants/*.json: where, what instead, and the tests that must fail.
// - WGSL is mutated by test/mutants/shaders.test.ts, which runs the checks of every kernel that has the file.
// - TypeScript is mutated by StrykerJS, which runs the reference tests that start no process, and the runtime's of test/gpu
//   on a fake adapter (test/mutants/vitest.config.ts). It is no dependency: it is installed on first use.
//   A mutant of what runs while a file is loaded costs a run of all tests, the others only the tests that reach them, so
//   that the two or three hundred of the former would take longer than the thousands of the latter.
//
// Survivors that are no faults, because they change nothing that can be seen, stand in test/mutants/equivalent.json: the
// line, what stands there instead, and of what, where that could be more than one thing of the line.
import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { adapterVariables, cache, readEnvironment, root } from "./environment.mjs";

/** @typedef {{ file: string, name: string, search: string, replace: string, why: string, tests: string[] }} Mutant */

const STRYKER = ["@stryker-mutator/core@9.6.1", "@stryker-mutator/vitest-runner@9.6.1"];
const lists = join(root, "test", "mutants");

/** Lines of a block, of which a share takes every N-th. */
const BLOCK = 8;

const { values: options, positionals: given } = parseArgs({
  allowPositionals: true,
  options: {
    all: { type: "boolean", default: false },
    hand: { type: "boolean", default: false },
    static: { type: "boolean", default: false },
    share: { type: "string", default: "1/1" },
    tests: { type: "string" },
    concurrency: { type: "string" },
    report: { type: "string" },
  },
});
const { all, hand } = options;
const files = given.length > 0 ? given : all || hand ? [] : changed();
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
if (byHand.length > 0 && options.share === "1/1") survivors += runByHand(byHand);
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
        writeFileSync(
          path,
          source.replace(search, () => replace),
        );
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
  // What is tested as it is built.
  if (tests.some((test) => readFileSync(join(cwd, test), "utf8").includes("dist/"))) runNode(cwd, "vite/bin/vite.js", ["build"]);
  return runNode(cwd, "vitest/vitest.mjs", [
    "run",
    ...["reference", "gpu", "long"].flatMap((name) => ["--project", name]),
    "--bail",
    "1",
    ...tests,
  ]);
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
  const work = mkdtempSync(join(tmpdir(), "gatewise-stryker-"));
  try {
    const report = join(work, "report.json");
    const settings = join(work, "stryker.config.json");
    writeFileSync(
      settings,
      JSON.stringify({
        mutate: sources.flatMap(shareOf),
        testRunner: "vitest",
        plugins: ["@stryker-mutator/vitest-runner", join(lists, "ignorer.mjs")],
        ignorers: ["text"],
        vitest: { configFile: "test/mutants/vitest.config.ts" },
        coverageAnalysis: "perTest",
        ignoreStatic: !options.static,
        ...(options.concurrency && { concurrency: Number(options.concurrency) }),
        // TypeScript 7 has no API for Stryker to rewrite the configuration with.
        tsconfigFile: "none.json",
        ignorePatterns: ["dist", "dist-lab", "runs", "docs", "bench/peers"],
        tempDirName: join(work, "copies"),
        reporters: ["progress-append-only", "json"],
        jsonReporter: { fileName: report },
        disableTypeChecks: false,
        timeoutMS: 20_000,
        allowEmpty: true,
      }),
    );
    const env = { ...process.env, GATEWISE_MUTANT_TESTS: `@(${(options.tests ?? "").replaceAll(",", "|")})` };
    const { status } = spawnSync(process.execPath, [program, "run", settings], { cwd: root, stdio: "inherit", env });
    if (status !== 0) throw new Error("StrykerJS failed; see above");
    if (!existsSync(report)) return 0;
    if (options.report) cpSync(report, options.report);
    return tellStryker(JSON.parse(readFileSync(report, "utf8")));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** The share's part of a file, as StrykerJS takes it: "src/errors.ts:1-8". What is longer than a block is in no part. @param {string} file */
function shareOf(file) {
  const [part, parts] = options.share.split("/").map(Number);
  if (!(part && parts && part <= parts)) throw new Error(`--share must be like 1/4, got ${options.share}`);
  if (parts === 1) return [file];
  const lines = readFileSync(join(root, file), "utf8").split("\n").length;
  return Array.from({ length: Math.ceil(lines / BLOCK) }, (_, block) => block)
    .filter((block) => block % parts === part - 1)
    .map((block) => `${file}:${block * BLOCK + 1}-${(block + 1) * BLOCK}`);
}

/** Prints what survived and the scores, by file and by folder. @param {{ files: Record<string, { source: string, mutants: any[] }> }} report */
function tellStryker({ files: reported }) {
  /** @type {{ file: string, line: string, original?: string, replace: string, why: string }[]} */
  const equivalent = JSON.parse(readFileSync(join(lists, "equivalent.json"), "utf8"));
  /** @type {Record<string, { found: number, missed: number }>} */
  const scores = {};
  for (const [file, { source, mutants }] of Object.entries(reported).sort()) {
    const lines = source.split("\n");
    for (const { status, location, replacement, mutatorName } of mutants) {
      const found = ["Killed", "Timeout"].includes(status);
      if (!found && !["Survived", "NoCoverage"].includes(status)) continue;
      const { start, end } = location;
      const line = lines[start.line - 1]?.trim();
      const length = end.line === start.line ? end.column - start.column : undefined;
      const original = lines
        .slice(start.line - 1, end.line)
        .join("\n")
        .slice(start.column - 1)
        .slice(0, length);
      /** @param {typeof equivalent[number]} each */
      const isThis = (each) =>
        each.file === file && each.line === line && each.replace === replacement && (each.original ?? original) === original;
      if (!found && equivalent.some(isThis)) continue;
      for (const group of [file, `${dirname(file)}/`, "all"]) {
        const score = (scores[group] ??= { found: 0, missed: 0 });
        if (found) score.found++;
        else score.missed++;
      }
      if (found) continue;
      console.log(`✗ ${file}:${start.line}: ${mutatorName}${status === "NoCoverage" ? ", not covered" : ""}: ${line}`);
      console.log(`    ${shortened(original)}  →  ${shortened(replacement)}`);
    }
  }
  for (const [group, { found, missed }] of Object.entries(scores).sort())
    console.log(`${((100 * found) / (found + missed)).toFixed(1).padStart(5)} %  ${found} of ${found + missed}  ${group}`);
  return scores.all?.missed ?? 0;
}

/** A piece of code in one line. @param {string} code */
function shortened(code) {
  const line = code.replace(/\s+/g, " ");
  return line.length > 120 ? `${line.slice(0, 120)}…` : line;
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

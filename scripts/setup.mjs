#!/usr/bin/env node
// Makes a checkout ready: packages, a WebGPU adapter for Node, a browser for the tests, dist/. Safe to run again,
// and then quick. It needs Node and npm alone.
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join, relative } from "node:path";
import { adapterIsCurrent, findAdapter } from "./adapter.mjs";
import { browserIsCurrent, findBrowser } from "./browser.mjs";
import { cache, readEnvironment, root, writeAtomically, writeEnvironment } from "./environment.mjs";

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
const started = performance.now();

try {
  if (major < 20 || (major === 20 && minor < 19))
    throw new Error(`Gatewise needs Node 20.19 or newer, this is ${process.versions.node}: https://nodejs.org`);
  installPackages();
  await prepareEnvironment();
  build();
} catch (error) {
  console.error(`setup: ${error instanceof Error ? error.message : error}`);
  process.exit(1);
}

function installPackages() {
  if (packagesAreCurrent()) return;
  // No package needs its install script but webgpu on macOS, and that one's work is done below.
  const seconds = run(
    "npm",
    ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
    "npm ci failed; is the npm registry reachable?",
  );
  if (!packagesAreCurrent()) throw new Error("npm ci left packages out; delete node_modules and run: npm run setup");
  if (process.platform === "darwin") allowDawn();
  console.log(`packages: installed from package-lock.json in ${seconds} s`);
}

/** Whether what npm wrote down in node_modules is what the lockfile asks for. */
function packagesAreCurrent() {
  const installed = join(root, "node_modules", ".package-lock.json");
  if (!existsSync(installed)) return false;
  const has = JSON.parse(readFileSync(installed, "utf8")).packages;
  const wants = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")).packages;
  return Object.entries(wants).every(
    ([path, { version, optional, peer }]) => path === "" || has[path]?.version === version || ((optional || peer) && !has[path]),
  );
}

/** What webgpu's install script does: macOS would refuse to load a library that it thinks was downloaded. */
function allowDawn() {
  const library = join(root, "node_modules/webgpu/dist/darwin-universal/dawn.node");
  try {
    execFileSync("xattr", ["-d", "com.apple.quarantine", library], { stdio: "ignore" });
  } catch {
    // It carries no such mark.
  }
}

async function prepareEnvironment() {
  const environment = readEnvironment();
  const { adapter: oldAdapter, browser: oldBrowser } = environment;
  const adapter = oldAdapter && adapterIsCurrent(oldAdapter) ? oldAdapter : await findAdapter();
  if (adapter !== oldAdapter) writeEnvironment({ ...environment, adapter });
  console.log(`adapter: ${adapter.summary}`);

  let browser = oldBrowser;
  if (!browser || !browserIsCurrent(browser, adapter)) {
    const search = await findBrowser(adapter);
    browser = search.browser;
    for (const failure of search.tried) console.error(`setup: passed over ${failure}`);
    writeEnvironment({ adapter, ...(browser && { browser }) });
  }
  const advice = "none with WebGPU; install Chrome or Chromium, or run: npx playwright install chromium";
  console.log(`browser: ${browser?.summary ?? advice}`);
}

function build() {
  const stamp = join(cache, "built");
  const sources = [
    "package.json",
    "package-lock.json",
    "vite.config.ts",
    "scripts/wasm-module.mjs",
    "tsconfig.json",
    ...list("src"),
    ...list("shaders"),
    ...list("wasm"),
  ];
  const hash = createHash("sha256");
  for (const path of sources)
    hash
      .update(`${path}\0`)
      .update(readFileSync(join(root, path)))
      .update("\0");
  const now = hash.digest("hex");
  const complete = ["index.js", "index.d.ts", "node.js", "cli.js", "books"].every((name) => existsSync(join(root, "dist", name)));
  if (complete && existsSync(stamp) && readFileSync(stamp, "utf8") === now) return;
  const vite = join(root, "node_modules", "vite", "bin", "vite.js");
  const seconds = run(process.execPath, [vite, "build", "--logLevel", "warn"], "the build failed; see above");
  writeAtomically(stamp, now);
  console.log(`build: dist/ made in ${seconds} s`);
}

/** All files below a folder, in a fixed order. @param {string} folder @returns {string[]} */
function list(folder) {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .sort();
}

/** Runs a command in the project's folder and returns the seconds it took. @param {string} command @param {string[]} args @param {string} failure */
function run(command, args, failure) {
  const start = performance.now();
  const windowsScript = process.platform === "win32" && command === "npm";
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
    shell: windowsScript,
  });
  if (error || status !== 0) throw new Error(error ? `${failure} (${error.message})` : failure);
  return ((performance.now() - start) / 1000).toFixed(1);
}

if (process.argv.includes("--time")) console.log(`setup: ${Math.round(performance.now() - started)} ms`);

// What scripts/setup.mjs found on this machine, kept where every `npm ci` clears it away.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, statSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * @typedef {object} Adapter The WebGPU adapter that Node uses.
 * @property {string} key What the search depended on; when it changes, setup searches again.
 * @property {"gpu" | "software" | "none"} kind
 * @property {string} summary One line for people.
 * @property {string} [driver] VK_ICD_FILENAMES as the user had set it during the search.
 * @property {Record<string, string>} env Variables that must be set before the process starts.
 *
 * @typedef {object} Browser The browser that the tests drive.
 * @property {string} key
 * @property {string} summary
 * @property {string} executablePath
 * @property {string[]} args
 * @property {Record<string, string>} env
 *
 * @typedef {object} Environment
 * @property {Adapter} [adapter]
 * @property {Browser} [browser] Absent where none was found.
 */

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const cache = join(root, "node_modules", ".cache", "gatewise");
const file = join(cache, "environment.json");

/** @returns {Environment} */
export function readEnvironment() {
  if (!existsSync(file)) return {};
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    return {};
  }
}

/** @param {Environment} environment */
export function writeEnvironment(environment) {
  writeAtomically(file, JSON.stringify(environment, null, 2) + "\n");
}

/** @param {string} path @param {string} text */
export function writeAtomically(path, text) {
  mkdirSync(dirname(path), { recursive: true });
  const temporary = `${path}.${process.pid}`;
  writeFileSync(temporary, text);
  renameSync(temporary, path);
}

/**
 * Variables for a Node process that uses the adapter; none where the user has since named another Vulkan driver.
 * LD_LIBRARY_PATH is put in front of the user's own.
 * @param {Environment} environment
 * @returns {Record<string, string>}
 */
export function adapterVariables(environment) {
  const env = { ...environment.adapter?.env };
  const { VK_ICD_FILENAMES: driver, LD_LIBRARY_PATH: own } = process.env;
  if (driver && driver !== env.VK_ICD_FILENAMES && driver !== environment.adapter?.driver) return {};
  if (env.LD_LIBRARY_PATH && own)
    env.LD_LIBRARY_PATH = own.split(delimiter).includes(env.LD_LIBRARY_PATH) ? own : env.LD_LIBRARY_PATH + delimiter + own;
  return env;
}

/**
 * Runs a Node program with the adapter's variables and returns its exit code. They name libraries, which a process
 * loads by its environment at its start, so they cannot be set from inside.
 * @param {string} program @param {readonly string[]} args
 * @returns {Promise<number>}
 */
export function runWithAdapter(program, args) {
  const env = { ...process.env, ...adapterVariables(readEnvironment()) };
  // The channel tells the child when this process is gone, killed perhaps: see src/cli/checkout.ts.
  const child = spawn(process.execPath, [program, ...args], { stdio: ["inherit", "inherit", "inherit", "ipc"], env });
  // A terminal's Ctrl-C reaches the child by itself; a signal sent to this process alone does not. The child decides
  // when to end, so this process only passes on and waits.
  for (const signal of /** @type {const} */ (["SIGINT", "SIGTERM", "SIGHUP"]))
    process.on(signal, () => {
      if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
    });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (code, signal) => resolve(signal ? 128 + constants.signals[signal] : (code ?? 1)));
  });
}

/**
 * The whole environment of a browser process: the adapter's libraries are Node's alone and are taken out, since a
 * browser that loads them instead of its own does not start.
 * @param {Environment} environment
 * @returns {Record<string, string>}
 */
export function browserVariables(environment) {
  const adapter = environment.adapter?.env ?? {};
  /** @type {Record<string, string>} */
  const env = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (value === undefined || value === adapter[name]) continue;
    env[name] = value;
    const library = adapter.LD_LIBRARY_PATH;
    if (name === "LD_LIBRARY_PATH" && library)
      env[name] = value
        .split(delimiter)
        .filter((part) => part !== library)
        .join(delimiter);
  }
  return { ...env, ...environment.browser?.env };
}

/** A short hash of anything that JSON can hold. @param {unknown} value */
export function fingerprint(value) {
  return createHash("sha256")
    .update(JSON.stringify(value) ?? "")
    .digest("hex")
    .slice(0, 16);
}

/** Name, size and time of a file or of all in a folder; empty where there is none. @param {string[]} paths */
export function traces(paths) {
  /** @type {string[]} */
  const found = [];
  for (const path of paths) {
    const info = statSync(path, { throwIfNoEntry: false });
    if (!info) continue;
    if (info.isDirectory()) for (const name of readdirSync(path).sort()) found.push(`${path}/${name}`);
    else found.push(`${path} ${info.size} ${Math.floor(info.mtimeMs)}`);
  }
  return found;
}

/** The version of an installed package, "" where it is missing. @param {string} name */
export function packageVersion(name) {
  const path = join(root, "node_modules", name, "package.json");
  return existsSync(path) ? String(JSON.parse(readFileSync(path, "utf8")).version) : "";
}

// Prints lines per folder, the size of the library, and the tests' sum, for CI. Exits with 1 unless tests ran and all passed.
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join, relative } from "node:path";
import { gzipSync } from "node:zlib";
import { cache, root } from "./environment.mjs";

const sourceFile = /\.(?:ts|mjs|js|wgsl|html|css)$/;
const folders = ["src", ...subfolders("src"), "shaders", "wasm", "bench", "test", "scripts"];
console.log("\nlines  files  folder");
for (const folder of folders) {
  const files = sources(folder, folder !== "src");
  const lines = files.reduce((sum, path) => sum + readFileSync(path, "utf8").split("\n").length - 1, 0);
  if (files.length)
    console.log(`${String(lines).padStart(5)}  ${String(files.length).padStart(5)}  ${folder === "src" ? "src/*.ts" : folder}`);
}

const library = join(root, "dist", "index.js");
if (existsSync(library)) {
  const code = await bundle(library);
  const size = (/** @type {number} */ bytes) => `${(bytes / 1024).toFixed(1)} KiB`;
  console.log(`library: ${size(gzipSync(code, { level: 9 }).length)} gzipped, ${size(code.length)} minified`);
}

const path = join(cache, "tests.json");
const tests = existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : undefined;
const passed = tests?.numPassedTests ?? 0;
// A file that fails to load, or an error outside any test, is a failure without a failed test.
const failed = tests ? Math.max(tests.numFailedTests, tests.success ? 0 : 1) : 1;
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);

/** The library as an application would ship it: one minified file. @param {string} input */
async function bundle(input) {
  const { build } = await import("vite");
  const result = await build({
    configFile: false,
    logLevel: "error",
    build: {
      write: false,
      target: "es2022",
      minify: true,
      rolldownOptions: {
        input,
        external: ["webgpu", /^node:/],
        preserveEntrySignatures: "strict",
        output: { codeSplitting: false },
      },
    },
  });
  const [output] = Array.isArray(result) ? result : [result];
  if (!output || !("output" in output)) throw new Error("vite gave no output");
  return Buffer.from(output.output.map((file) => (file.type === "chunk" ? file.code : "")).join(""));
}

/** @param {string} folder */
function subfolders(folder) {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => `${folder}/${entry.name}`)
    .sort();
}

/** @param {string} folder @param {boolean} recursive @returns {string[]} */
function sources(folder, recursive) {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive, withFileTypes: true })
    .filter((entry) => entry.isFile() && sourceFile.test(entry.name))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .map((path) => join(root, path));
}

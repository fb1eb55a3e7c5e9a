// npm run docs: the API reference, static pages in docs/api made of the comments in the package's declarations.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { cache, root } from "./environment.mjs";

const TYPEDOC = "typedoc@0.28.20";
/** TypeDoc 0.28 reads with TypeScript up to 6.0; TypeScript 7 has no API for it. So both live in a folder of their own. */
const TYPESCRIPT = "typescript@5.9.3";

const [out = join(root, "docs", "api")] = process.argv.slice(2);
const folder = join(cache, "docs");
mkdirSync(folder, { recursive: true });
const typedoc = join(folder, "node_modules", "typedoc", "bin", "typedoc");
if (!existsSync(typedoc))
  run("npm", "install", "--prefix", folder, "--no-save", "--ignore-scripts", "--loglevel=error", TYPEDOC, TYPESCRIPT);

run(process.execPath, join(root, "node_modules", "vite", "bin", "vite.js"), "build", "--logLevel", "warn");
const { name, exports, version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
// Each by the name that is imported, "gatewise/node"; the single file has the first one's declarations.
/** @type {Map<string, string>} */
const modules = new Map();
for (const [path, { types }] of Object.entries(exports)) if (types && !modules.has(types)) modules.set(types, path);
const declarations = [...modules].map(([types, path]) => {
  const copy = join(folder, types.replace("./dist/", ""));
  writeFileSync(copy, `/** @module ${path.replace(".", name)} */\n${readFileSync(join(root, types), "utf8")}`);
  return copy;
});
const tsconfig = join(folder, "tsconfig.json");
const compilerOptions = {
  target: "ES2022",
  lib: ["ES2022", "DOM", "ESNext.Disposable"],
  module: "ESNext",
  moduleResolution: "bundler",
  types: ["@webgpu/types"],
  typeRoots: [join(root, "node_modules")],
  strict: true,
};
writeFileSync(tsconfig, JSON.stringify({ compilerOptions, files: declarations }));
run(
  process.execPath,
  typedoc,
  ...declarations,
  "--name",
  `Gatewise ${version}`,
  "--tsconfig",
  tsconfig,
  "--out",
  out,
  "--readme",
  "none",
  "--disableSources",
  "--treatWarningsAsErrors",
);

/** @param {string} program @param {string[]} args */
function run(program, ...args) {
  const { status } = spawnSync(program, args, { cwd: root, stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
}

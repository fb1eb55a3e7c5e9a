#!/usr/bin/env node
// Runs a Node program with the adapter that setup found: node scripts/with-adapter.mjs PROGRAM [ARGUMENTS]
// PROGRAM is a file or the name of an installed package's command, such as vitest.
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { readEnvironment, root, runWithAdapter } from "./environment.mjs";

const [program, ...args] = process.argv.slice(2);
if (!program) fail("usage: node scripts/with-adapter.mjs PROGRAM [ARGUMENTS]");
if (!readEnvironment().adapter) fail("with-adapter: nothing is set up yet; run: npm run setup");
process.exit(await runWithAdapter(locate(program), args));

/** @param {string} name @returns {string} */
function locate(name) {
  if (existsSync(name)) return resolve(name);
  const manifest = join(root, "node_modules", name, "package.json");
  if (existsSync(manifest)) {
    const { bin } = JSON.parse(readFileSync(manifest, "utf8"));
    const path = typeof bin === "string" ? bin : bin?.[name];
    if (path) return join(root, "node_modules", name, path);
  }
  return fail(`with-adapter: no file and no installed command is called ${name}; if it is part of dist/, run: npm run setup`);
}

/** @param {string} message @returns {never} */
function fail(message) {
  console.error(message);
  process.exit(1);
}

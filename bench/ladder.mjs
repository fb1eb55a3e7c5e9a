#!/usr/bin/env node
// npm run bench:ladder -- [NAME…] [--rounds 7]: see bench/README.md.
import { parseArgs } from "node:util";
import { createServer } from "vite";
import { root } from "../scripts/environment.mjs";

const { values, positionals } = parseArgs({ allowPositionals: true, options: { rounds: { type: "string", default: "7" } } });
const vite = await createServer({
  root,
  configFile: false,
  logLevel: "error",
  appType: "custom",
  server: { middlewareMode: true, hmr: false, ws: false, watch: null },
  optimizeDeps: { noDiscovery: true },
});
const { main } = await vite.ssrLoadModule("/bench/ladders/run.ts");
const code = await main(positionals, Number(values.rounds));
await vite.close();
// Dawn would keep the process.
process.exit(code);

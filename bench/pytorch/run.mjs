#!/usr/bin/env node
// node bench/pytorch/run.mjs logits CHECKPOINT, or exchange …: what the checks in Python compare with.
import { createServer } from "vite";
import { root } from "../../scripts/environment.mjs";

const [name, ...args] = process.argv.slice(2);
const vite = await createServer({
  root,
  configFile: false,
  logLevel: "error",
  appType: "custom",
  server: { middlewareMode: true, hmr: false, ws: false, watch: null },
  optimizeDeps: { noDiscovery: true },
});
const { main } = await vite.ssrLoadModule(`/bench/pytorch/${name}.ts`);
await main(...args);
await vite.close();

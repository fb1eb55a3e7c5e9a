#!/usr/bin/env node
// node bench/pytorch/logits.mjs CHECKPOINT: what check_transformers.py compares with.
import { createServer } from "vite";
import { root } from "../../scripts/environment.mjs";

const vite = await createServer({
  root,
  configFile: false,
  logLevel: "error",
  appType: "custom",
  server: { middlewareMode: true, hmr: false, ws: false, watch: null },
  optimizeDeps: { noDiscovery: true },
});
const { main } = await vite.ssrLoadModule("/bench/pytorch/logits.ts");
await main(process.argv[2]);
await vite.close();

// Sources run in Node as they stand, for scripts whose part is written in TypeScript.
import { createServer } from "vite";
import { root } from "./environment.mjs";
import { wasmModule } from "./wasm-module.mjs";

/**
 * Calls `main` of the module at `path`, from the project's root on, and resolves to what it gives.
 * @param {string} path @param {...unknown} args @returns {Promise<any>}
 */
export async function runSource(path, ...args) {
  const vite = await createServer({
    root,
    configFile: false,
    logLevel: "error",
    appType: "custom",
    plugins: [wasmModule()],
    server: { middlewareMode: true, hmr: false, ws: false, watch: null },
    optimizeDeps: { noDiscovery: true },
  });
  try {
    const { main } = await vite.ssrLoadModule(path);
    return await main(...args);
  } finally {
    await vite.close();
  }
}

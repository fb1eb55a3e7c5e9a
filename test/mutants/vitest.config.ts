// The tests that mutants are put to: of shaders the checks of all kernels; of TypeScript what runs in this process, the
// runtime's tests of test/gpu too, on an adapter that no mutant can take down.
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { wasmModule } from "../../scripts/wasm-module.mjs";

const shaders = process.env.GATEWISE_MUTATE !== undefined;
const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** How the names of the tests in test/reference begin that are run. */
const { GATEWISE_MUTANT_TESTS: begins = "" } = process.env;

/** What of test/gpu is about the runtime, and not about what a GPU computes. */
const RUNTIME = ["disposal", "opening", "plans", "runtime"];

/**
 * Tests that no mutant can be put to, by what they use: in the processes that one starts there is none, in the text of all
 * of src/ there are all of them at once, the lists made by hand are of sources without any, and damaged files are judged by
 * the clock as well.
 */
const UNFIT = /"node:child_process"|"src"|"test\/mutants"|\/mutated-checkpoints\.ts"/;

const fakeAdapter = {
  name: "fake-adapter",
  enforce: "pre",
  resolveId: (source: string, importer = "") =>
    source === "./device.ts" && importer.includes("/test/gpu/") ? at("fake-adapter.ts") : undefined,
} as const;

export default defineConfig({
  resolve: { alias: [{ find: /^gatewise$/, replacement: at("../../src/index.ts") }] },
  plugins: shaders ? [wasmModule()] : [wasmModule(), fakeAdapter],
  test: {
    include: shaders
      ? ["test/mutants/shaders.test.ts"]
      : [`test/reference/${begins}*.test.ts`, `test/gpu/{${RUNTIME.join()}}.test.ts`],
    exclude: readdirSync(at("../reference"))
      .filter((name) => UNFIT.test(readFileSync(at(`../reference/${name}`), "utf8")))
      .map((name) => `test/reference/${name}`),
    testTimeout: shaders ? 3_600_000 : 60_000,
    hookTimeout: 60_000,
    pool: "forks",
  },
});

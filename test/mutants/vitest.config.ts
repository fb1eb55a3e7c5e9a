// The tests that mutants are put to: of shaders the checks of all kernels, of TypeScript what runs in this process.
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const shaders = process.env.GATEWISE_MUTATE !== undefined;
const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  resolve: { alias: [{ find: /^gatewise$/, replacement: at("../../src/index.ts") }] },
  test: {
    include: [shaders ? "test/mutants/shaders.test.ts" : "test/reference/**/*.test.ts"],
    // No mutant is in the processes that these start; the damaged checkpoints are judged by the clock, too.
    exclude: readdirSync(at("../reference"))
      .filter((name) => readFileSync(at(`../reference/${name}`), "utf8").includes("node:child_process"))
      .concat("mutated-checkpoints.test.ts")
      .map((name) => `test/reference/${name}`),
    testTimeout: shaders ? 3_600_000 : 60_000,
    hookTimeout: 60_000,
    pool: "forks",
  },
});

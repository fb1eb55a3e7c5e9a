// The tests that mutants are put to: of shaders the checks of all kernels, of TypeScript what runs in this process.
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const shaders = process.env.GATEWISE_MUTATE !== undefined;
const index = fileURLToPath(new URL("../../src/index.ts", import.meta.url));

export default defineConfig({
  resolve: { alias: [{ find: /^gatewise$/, replacement: index }] },
  test: {
    include: [shaders ? "test/mutants/shaders.test.ts" : "test/reference/**/*.test.ts"],
    // The command line is tested as it was built, where no mutant is.
    exclude: ["test/reference/{cli,terminal,stop,files}*.test.ts"],
    testTimeout: shaders ? 3_600_000 : 60_000,
    hookTimeout: 60_000,
    pool: "forks",
  },
});

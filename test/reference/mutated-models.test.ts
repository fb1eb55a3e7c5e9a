// Files of models from anywhere are read or refused: at once, with an error of Gatewise's own, and for little memory.
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { importTensors } from "../../src/interop/index.ts";
import { readSafetensors } from "../../src/training/safetensors.ts";
import { tryModels, wholeModels } from "../fixtures/mutated-models.ts";

const models = wholeModels(readSafetensors(readFileSync("test/fixtures/models.safetensors")));

it("whole, they are read", () => {
  for (const files of models)
    importTensors(files, {
      nonlinearity: files["config.json"] ? undefined : "tanh",
      resetAfter: files["config.json"] ? undefined : true,
    });
});

it("damaged in 1,000 ways, they give only GatewiseErrors, each within 50 ms, and ask for at most four times their size", () => {
  const outcomes = tryModels(models, 1_000, 1);
  expect(outcomes.read).toBeGreaterThan(50);
  expect(outcomes.E_BAD_CHECKPOINT).toBeGreaterThan(400);
  expect(outcomes.E_CONFIG).toBeGreaterThan(20);
});

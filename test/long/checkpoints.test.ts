import { afterAll, expect, it } from "vitest";
import { openDevice } from "../../src/runtime/open.ts";
import { tryMutations } from "../fixtures/mutated-checkpoints.ts";

const device = await openDevice({ prefer: "cpu" });
afterAll(() => device.dispose());

it("20,000 damaged checkpoints give only GatewiseErrors, each within 50 ms, and ask for at most twice their size", async () => {
  const { findings, outcomes } = await tryMutations(device, 20_000, 1_000_000);
  expect(findings).toEqual([]);
  // What is found only with the text, or with memory, is rare.
  expect(Object.keys(outcomes)).toEqual(expect.arrayContaining(["read", "E_BAD_CHECKPOINT", "E_DATA"]));
});

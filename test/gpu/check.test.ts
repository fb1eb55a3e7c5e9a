// checkGradients on this adapter: it passes, it fails for everything that is broken on purpose, and it leaves nothing.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CELL_NAMES, inBlock, type CellName } from "../../src/models/cells.ts";
import { LanguageModel } from "../../src/models/language-model.ts";
import { Recurrent } from "../../src/models/recurrent.ts";
import type { Device } from "../../src/runtime/device.ts";
import { BREAKAGES, checkGradients, CHECKED_CELLS, type Breakage, type CheckedCell } from "../../src/training/gradient-check.ts";
import type { WebGpuDevice } from "../../src/runtime/webgpu-device.ts";
import { testDevice } from "./device.ts";

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});
afterAll(() => device.dispose());

const failures = (results: readonly { passed: boolean }[]): unknown => results.filter((r) => !r.passed);

it("passes, quick form, on this adapter", async () => {
  const report = await checkGradients(device, { quick: true });
  expect(failures(report.results)).toEqual([]);
  expect(report.results.filter((r) => r.part === "gradients")).toHaveLength(2 * Object.keys(CHECKED_CELLS).length);
  expect(report.results.filter((r) => r.part === "probe").length).toBeGreaterThanOrEqual(6);
  expect(report.passed).toBe(true);
});

it("passes for a user's own models", async () => {
  const layer = Recurrent.create(device, {
    cell: "lstm",
    inputSize: 3,
    hiddenSize: 6,
    numLayers: 2,
    bidirectional: true,
    seed: 9,
  });
  const model = LanguageModel.create(device, { cell: "gru", vocabSize: 17, hiddenSize: 9, numLayers: 2, dropout: 0.3, seed: 9 });
  for (const each of [layer, model]) {
    const report = await checkGradients(device, { quick: true, cells: [], model: each });
    expect(failures(report.results)).toEqual([]);
    expect(report.results.at(-1)!.name).toContain("your");
  }
  layer.dispose();
  model.dispose();
});

describe("reports, naming a tensor, a device that", () => {
  const cellsFor: Partial<Record<Breakage, readonly CheckedCell[]>> = { "reset-before": ["gru"] };
  for (const breakage of BREAKAGES) {
    for (const cell of cellsFor[breakage] ?? CELL_NAMES) {
      it(`has ${cell} with ${breakage}`, async () => {
        const report = await checkGradients(device, { quick: true, cells: [cell], breakage });
        const found = report.results.filter((r) => !r.passed);
        expect(report.passed).toBe(false);
        expect(found.map((r) => r.name)).toContain(`${cell}, loss on all steps`);
        for (const result of found) expect(result.tensor, result.name).toMatch(/^(rnn|head|embedding|backbone)\.|^loss$/);
        if (breakage === "zero-gradient")
          expect(found[0]!.tensor).toBe(
            inBlock({ cell: cell as CellName }) ? "backbone.layers.0.norm.weight" : "rnn.weight_ih_l0",
          );
      });
    }
  }
});

it("leaves no buffer behind", async () => {
  // Without the buffers kept for the next read: how many there are depends on how many reads happened to overlap.
  const held = (): unknown => {
    (device as Partial<WebGpuDevice>).dropReadbacks?.();
    return device.memory();
  };
  await checkGradients(device, { quick: true, cells: ["lstm"] });
  const before = held();
  await checkGradients(device, { quick: true, cells: ["lstm"] });
  expect(held()).toEqual(before);
});

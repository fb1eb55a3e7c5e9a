// The GPU against PyTorch: the layer, the loss and the optimizers, in float32 against float64.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Device } from "../../src/runtime/device.ts";
import { compareCase, compareCrossEntropy, compareOptimizer } from "../fixtures/compare.ts";
import { nameOf, readFixtures } from "../fixtures/read.ts";
import { testDevice } from "./device.ts";

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});
afterAll(() => device.dispose());

const fixtures = await readFixtures();

describe("the layer equals PyTorch's on the GPU, to 1e-5 forward and 1e-4 in gradients:", () => {
  for (const cell of new Set(fixtures.cases.map((each) => each.cell))) {
    it(`${cell} at all sizes`, async () => {
      const cases = fixtures.cases.filter((each) => each.cell === cell);
      expect(cases.length).toBeGreaterThan(12);
      for (const each of cases) {
        const { forward, gradients } = await compareCase(device, fixtures, each);
        expect(forward.error, `${nameOf(each)}: ${forward.tensor}`).toBeLessThan(1e-5);
        expect(gradients.error, `${nameOf(each)}: ${gradients.tensor}`).toBeLessThan(1e-4);
      }
    });
  }
});

it("ten steps of every optimizer equal PyTorch's on the GPU, to 1e-5", async () => {
  for (const each of fixtures.optimizers) {
    const { error, tensor } = await compareOptimizer(device, fixtures, each);
    expect(error, `${JSON.stringify(each)} ${tensor}`).toBeLessThan(1e-5);
  }
});

it("the mean cross-entropy and its gradient equal PyTorch's on the GPU, to 1e-5", async () => {
  for (const each of fixtures.crossEntropy) {
    const { error, tensor } = await compareCrossEntropy(device, fixtures, each);
    expect(error, `${each.N} rows of ${each.V} logits: ${tensor}`).toBeLessThan(1e-5);
  }
});

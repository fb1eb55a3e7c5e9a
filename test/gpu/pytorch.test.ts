import { afterAll, beforeAll, expect, it } from "vitest";
import type { Device } from "../../src/runtime/device.ts";
import { compareCase } from "../fixtures/compare.ts";
import { readFixtures } from "../fixtures/read.ts";
import { testDevice } from "./device.ts";

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});
afterAll(() => device.dispose());

it("the layer equals PyTorch's on the GPU, to 1e-5 forward and 1e-4 in gradients", async () => {
  const fixtures = await readFixtures();
  expect(fixtures.cases.length).toBeGreaterThan(40);
  for (const each of fixtures.cases) {
    const { forward, gradients } = await compareCase(device, fixtures, each);
    expect(forward.error, `${JSON.stringify(each)} ${forward.tensor}`).toBeLessThan(1e-5);
    expect(gradients.error, `${JSON.stringify(each)} ${gradients.tensor}`).toBeLessThan(1e-4);
  }
});

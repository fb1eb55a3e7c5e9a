// S4D over very many steps in float32.
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Device } from "../../src/runtime/device.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { s4dErrors } from "../cells/s4d-lengths.ts";
import { testDevice } from "../gpu/device.ts";

let gpu: Device;
let cpu: Device;
beforeAll(async () => {
  gpu = await testDevice();
  cpu = await openDevice({ prefer: "cpu", precision: "float64" });
});
afterAll(() => {
  gpu.dispose();
  cpu.dispose();
});

it("over 8,192 steps outputs are within 5e-5 of the reference, last states and gradients within 2e-4", async () => {
  const { y, others } = await s4dErrors(gpu, cpu, 8192, 1);
  expect(y.error).toBeLessThan(5e-5);
  expect(others.error, others.tensor).toBeLessThan(2e-4);
});

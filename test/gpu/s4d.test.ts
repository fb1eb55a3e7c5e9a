// S4D over many steps in float32; over 8,192 of them in test/long/s4d.test.ts.
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Device } from "../../src/runtime/device.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { s4dErrors } from "../cells/s4d-lengths.ts";
import { testDevice } from "./device.ts";

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

// With Δ ten times as fast angles reach 220.
it.each([
  [64, 1, 1e-5, 2e-5],
  [1024, 1, 2e-5, 1e-4],
  [64, 10, 1e-5, 2e-5],
])(
  "over %i steps, Δ times %i, outputs are within %f of the reference, last states and gradients within %f",
  async (T, faster, ofY, ofOthers) => {
    const { y, others } = await s4dErrors(gpu, cpu, T, faster);
    expect(y.error).toBeLessThan(ofY);
    expect(others.error, others.tensor).toBeLessThan(ofOthers);
  },
);

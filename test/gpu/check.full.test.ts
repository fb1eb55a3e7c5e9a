// The gradient check with all of its parts. Node runs it in seconds, Chromium in more than a minute.
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Device } from "../../src/runtime/device.ts";
import { checkGradients } from "../../src/training/gradient-check.ts";
import { testDevice } from "./device.ts";

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});
afterAll(() => device.dispose());

it("the gradient check passes for one cell in full: kernels, differences and the derivative along the gradient", async () => {
  const report = await checkGradients(device, { cells: ["gru"] });
  expect(report.results.filter((r) => !r.passed)).toEqual([]);
  for (const part of ["kernel", "gradients", "differences", "direction", "probe"] as const) {
    expect(
      report.results.some((r) => r.part === part),
      part,
    ).toBe(true);
  }
});

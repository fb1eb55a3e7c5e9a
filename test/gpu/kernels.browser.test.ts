// Every kernel in the variant that untuned steps take, as the browser compiles it. All variants: kernels.full.test.ts.
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Device } from "../../src/runtime/device.ts";
import { chooseVariant } from "../../src/runtime/kernel.ts";
import { differences } from "../../src/runtime/verify.ts";
import { allEntries } from "../../src/training/kernel-list.ts";
import { testDevice } from "./device.ts";

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});
afterAll(() => device.dispose());

test.each([...allEntries()])("%s computes every case as untuned steps do", async (_, kernelEntry) => {
  const cases = kernelEntry.cases();
  expect(cases.length).toBeGreaterThan(0);
  for (const each of cases) {
    const variant = chooseVariant(kernelEntry, each.params, { family: "software", subgroupSize: device.subgroupSize });
    expect(await differences(device, kernelEntry, [each], [variant])).toEqual([]);
  }
});

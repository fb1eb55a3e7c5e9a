// The kernels of cells that are not in the library, in every variant.
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Device } from "../../src/runtime/device.ts";
import type { Entry } from "../../src/runtime/kernel.ts";
import { differences } from "../../src/runtime/verify.ts";
import { indrnn } from "../cells/indrnn.ts";
import { mgu } from "../cells/mgu.ts";
import { ugrnn } from "../cells/ugrnn.ts";
import { testDevice } from "./device.ts";

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});
afterAll(() => device.dispose());

const entries: readonly Entry[] = [...Object.values(indrnn), ...Object.values(ugrnn), ...Object.values(mgu)].map(
  (entry) => entry as unknown as Entry,
);
it.each(entries.map((entry) => [`${entry.kernel}.${entry.name}`, entry] as const))(
  "%s equals its reference",
  async (_, entry) => {
    expect(await differences(device, entry)).toEqual([]);
  },
);

// The rungs that are .wgsl files of bench/ladders, which nothing else runs: each still does what the kernel does that it led to.
import { afterAll, beforeAll, expect, it } from "vitest";
import { LADDERS, wrongRungs } from "../../bench/ladders/ladders.ts";
import type { Device } from "../../src/runtime/device.ts";
import { testDevice } from "./device.ts";

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});
afterAll(() => device.dispose());

it.each(LADDERS.map(({ name }) => name))("every rung of the ladder %s equals the reference", async (name) => {
  const ladder = LADDERS.find((each) => each.name === name)!;
  const own = ladder.rungs.filter(({ entry }) => entry !== ladder.entry);
  expect(await wrongRungs(device, { ...ladder, rungs: own })).toEqual(new Map());
});

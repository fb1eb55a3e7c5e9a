// The WebAssembly device as the browser's own engine runs it: every kernel in all builds, and the gradient check.
import { expect, test } from "vitest";
import { differences } from "../../src/runtime/verify.ts";
import { WasmDevice } from "../../src/runtime/wasm-device.ts";
import { BUILDS } from "../../src/runtime/wasm-module.ts";
import { checkGradients } from "../../src/training/gradient-check.ts";
import { allEntries } from "../../src/training/kernel-list.ts";

test.each(BUILDS)("every kernel computes every case by %s SIMD, and the gradients are right", async (simd) => {
  // Wide tiles are not taken where they are slower, unless nothing else is.
  const device = (await WasmDevice.open({ builds: [simd] })) as WasmDevice;
  expect(device.description).toMatch(simd === "plain" ? /^WebAssembly SIMD, \d/ : new RegExp(`^WebAssembly SIMD, ${simd}`));
  for (const [, entry] of allEntries()) expect(await differences(device, entry)).toEqual([]);
  const { results } = await checkGradients(device, { quick: true });
  expect(results.filter(({ passed }) => !passed)).toEqual([]);
  device.dispose();
});

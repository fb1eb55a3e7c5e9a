import type { Device } from "../../src/runtime/device.ts";
import { openDevice } from "../../src/runtime/open.ts";

/**
 * The WebGPU adapter of the machine under test: the browser's own, in Node the one of npm `webgpu`. A machine
 * without one fails: a skipped test would say that kernels work which nobody ran.
 */
export async function testAdapter(): Promise<GPUAdapter> {
  const adapter = await (await entryPoint()).requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) throw new Error("no WebGPU adapter; run `npm run setup`, which finds one or says what to install");
  return adapter;
}

/** The device under test: Gatewise's on that adapter, with the variants that nobody tuned, or the one of WebAssembly. */
export async function testDevice(): Promise<Device> {
  if (typeof document === "undefined" && process.env.GATEWISE_TEST_DEVICE === "wasm") return openDevice({ prefer: "wasm" });
  return openDevice({ gpu: await entryPoint(), prefer: "webgpu", tuning: "off" });
}

// Dawn crashes some processes when its instance is collected before they end, so the process keeps it.
const keeper = globalThis as typeof globalThis & { gatewiseGpu?: GPU };

async function entryPoint(): Promise<GPU> {
  if (typeof document === "undefined") {
    const { create } = await import("webgpu");
    return (keeper.gatewiseGpu ??= create([]));
  }
  if (!navigator.gpu) throw new Error("this browser has no navigator.gpu; run `npm run setup`, which looks for one that has");
  return navigator.gpu;
}

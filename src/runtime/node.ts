import { GatewiseError } from "../errors.ts";
import { openDevice, type Device, type OpenDeviceOptions } from "./device.ts";

/**
 * Opens a device in Node, with WebGPU from the optional peer dependency `webgpu` (Dawn). Dawn keeps the process alive:
 * end it with process.exit when the work is done.
 *
 * @throws GatewiseError E_NO_WEBGPU when `webgpu` is not installed or finds no adapter.
 * @example
 * import { openNodeDevice } from "gatewise/node";
 * const device = await openNodeDevice();
 */
export async function openNodeDevice(options: OpenDeviceOptions = {}): Promise<Device> {
  if (options.prefer === "cpu" || options.gpuDevice || options.gpu) return openDevice(options);
  return openDevice({ ...options, gpu: await nodeGpu() });
}

const holder = globalThis as { __gatewiseGpu?: GPU };

/** Dawn's `navigator.gpu`, made once and kept for the life of the process: collected, it takes Node down with it. */
async function nodeGpu(): Promise<GPU> {
  if (holder.__gatewiseGpu) return holder.__gatewiseGpu;
  let dawn: typeof import("webgpu");
  try {
    dawn = await import("webgpu");
  } catch (cause) {
    throw new GatewiseError(
      "E_NO_WEBGPU",
      'Node has no WebGPU of its own: run "npm install webgpu", or use the CPU with { prefer: "cpu" }',
      { cause },
    );
  }
  return (holder.__gatewiseGpu = dawn.create([]));
}

import { GatewiseError } from "../errors.ts";
import type { Device } from "../runtime/device.ts";
import { openNodeDevice } from "../runtime/node.ts";
import { warn } from "./progress.ts";

export type DeviceChoice = "auto" | "webgpu" | "cpu";

/**
 * Opens the device of --device: "auto" takes the CPU, and says so, where there is no WebGPU.
 *
 * @throws GatewiseError E_NO_WEBGPU for "webgpu" without an adapter
 */
async function openChosenDevice(choice: DeviceChoice): Promise<Device> {
  if (choice === "cpu") return openNodeDevice({ prefer: "cpu" });
  try {
    return await openNodeDevice();
  } catch (error) {
    if (choice === "webgpu" || !(error instanceof GatewiseError && error.code === "E_NO_WEBGPU")) throw error;
    warn(`no WebGPU adapter, so this runs on the CPU, many times slower; "gatewise doctor" says what is missing`);
    return openNodeDevice({ prefer: "cpu" });
  }
}

/** Calls `use` with the device of --device and lets go of it afterwards. */
export async function withDevice<T>(choice: DeviceChoice, use: (device: Device) => Promise<T>): Promise<T> {
  const device = await openChosenDevice(choice);
  try {
    return await use(device);
  } finally {
    device.dispose();
  }
}

import { GatewiseError } from "../errors.ts";
import { whyNotHere, type Device } from "../runtime/device.ts";
import { openNodeDevice } from "../runtime/node.ts";
import type { TuningProgress } from "../runtime/tuner.ts";
import { duration, live, say, warn } from "./progress.ts";

export type DeviceChoice = "auto" | "webgpu" | "cpu";

/** The flags that decide where and how to compute. */
export interface DeviceFlags {
  readonly device: DeviceChoice;
  /** False with --no-tune. */
  readonly tune?: boolean;
  readonly retune?: boolean;
}

/** Says that kernels are being tuned, and afterwards how long it took. */
function showTuning(): (progress: TuningProgress) => void {
  let begun = 0;
  return ({ key, done, of }) => {
    if (done === 0) begun = performance.now();
    if (done < of) live(`tuning kernels for this adapter, once: ${done + 1}/${of} · ${key}`);
    else
      say(`tuned ${of} ${of === 1 ? "kernel" : "kernels"} for this adapter in ${duration((performance.now() - begun) / 1000)}`);
  };
}

/**
 * Opens the device of --device: "auto" takes the next best one, and says why, where there is no WebGPU.
 *
 * @throws GatewiseError E_NO_WEBGPU for "webgpu" where no device comes, whatever the reason
 */
async function openChosenDevice({ device: prefer, tune = true, retune }: DeviceFlags): Promise<Device> {
  let device: Device;
  try {
    device = await openNodeDevice({ prefer, tuning: !tune ? "off" : retune ? "again" : "on", onTuning: showTuning() });
  } catch (error) {
    throw new GatewiseError("E_NO_WEBGPU", `${whyNotHere(error)}, or take --device cpu`, { cause: error });
  }
  const { kind, description, fallbackReason } = device;
  if (fallbackReason !== undefined) {
    const instead =
      kind === "cpu"
        ? "no WebGPU adapter, so this runs on the CPU, many times slower"
        : `no hardware adapter, so this runs on ${description}`;
    warn(`${instead}; "gatewise doctor" says what is missing (${fallbackReason})`);
  }
  return device;
}

/** Calls `use` with the device that the flags ask for and lets go of it afterwards. */
export async function withDevice<T>(flags: DeviceFlags, use: (device: Device) => Promise<T>): Promise<T> {
  const device = await openChosenDevice(flags);
  try {
    return await use(device);
  } finally {
    device.dispose();
  }
}

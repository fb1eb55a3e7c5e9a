// The device, as the page knows it.
import { signal } from "@preact/signals";
import type { CheckResult } from "../../../training/gradient-check.ts";
import type { DeviceChoice, DeviceInfo } from "../../protocol.ts";
import { command, status, worker } from "./link.ts";

export const info = signal<DeviceInfo | undefined>(undefined);
/** Why there is no WebGPU device, while there is none. */
export const noWebGpu = signal<string | undefined>(undefined);
/** What the check of its gradients has found so far. */
export const checkResults = signal<readonly CheckResult[]>([]);

/** Opens a device; without WebGPU the CPU, and says why. */
export async function open(choice: DeviceChoice): Promise<void> {
  let result = await worker.open(choice);
  if (!result.ok && choice === "webgpu") {
    noWebGpu.value = result.message;
    result = await worker.open("cpu");
  } else if (choice === "webgpu") {
    noWebGpu.value = undefined;
  }
  if (result.ok) info.value = result.device;
  else status.value = result.message;
}

export const recover = (choice: DeviceChoice): Promise<void> => command(() => worker.recover(choice));

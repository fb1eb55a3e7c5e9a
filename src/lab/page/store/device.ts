// The device, as the page knows it.
import { signal } from "@preact/signals";
import type { CheckResult } from "../../../training/gradient-check.ts";
import type { DeviceInfo } from "../../protocol.ts";
import type { DeviceChoice } from "../../../runtime/device.ts";
import { command, status, worker } from "./link.ts";

export const info = signal<DeviceInfo | undefined>(undefined);
/** Whether one was asked for. */
export const asked = signal(false);
/** Why there is no GPU, while there is none and nothing else was asked for. */
export const noGpu = signal<string | undefined>(undefined);
/** What the check of its gradients has found so far. */
export const checkResults = signal<readonly CheckResult[]>([]);

/** Opens a device; where there is no WebGPU that which the library takes instead, and says why. */
export async function open(choice: DeviceChoice): Promise<void> {
  asked.value = true;
  let result = await worker.open(choice);
  const failure = !result.ok && choice === "webgpu" ? result.message : undefined;
  if (failure !== undefined) result = await worker.open("wasm");
  if (!result.ok) {
    status.value = result.message;
    return;
  }
  info.value = result.device;
  noGpu.value = failure ?? result.device.fallbackReason;
}

export const recover = (choice: DeviceChoice): Promise<void> => command(() => worker.recover(choice));

import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { GatewiseError } from "../errors.ts";
import { CPU_ADVICE } from "./adapter.ts";
import { CpuDevice } from "./cpu-device.ts";
import { checkDeviceOptions, openDevice, whyNotHere, type Device, type OpenDeviceOptions } from "./device.ts";
import type { TuningStore } from "./tuner.ts";

/**
 * Opens a device in Node, with WebGPU from the optional peer dependency `webgpu` (Dawn). Dawn keeps the process alive:
 * end it with process.exit when the work is done. Kernels are tuned on first use; what was found is kept in the
 * user's cache folder (`cacheFolder`), unless `tuning` is "off".
 *
 * @throws GatewiseError E_NO_WEBGPU when `webgpu` is not installed or finds no adapter.
 * @example
 * import { openNodeDevice } from "gatewise/node";
 * const device = await openNodeDevice();
 */
export async function openNodeDevice(options: OpenDeviceOptions = {}): Promise<Device> {
  checkDeviceOptions(options);
  if (options.prefer === "cpu" || options.gpuDevice || options.gpu) return openDevice(options);
  let gpu: GPU;
  try {
    gpu = await nodeGpu();
  } catch (error) {
    if (options.prefer !== "auto") throw error;
    return new CpuDevice(options.precision, whyNotHere(error));
  }
  return openDevice({ tuningStore: fileStore(), ...options, gpu });
}

const holder = globalThis as { __gatewiseGpu?: GPU };

/** Dawn's `navigator.gpu`, made once and kept for the life of the process: collected, it takes Node down with it. */
async function nodeGpu(): Promise<GPU> {
  if (holder.__gatewiseGpu) return holder.__gatewiseGpu;
  try {
    const { create } = await import("webgpu");
    return (holder.__gatewiseGpu = create([]));
  } catch (cause) {
    throw new GatewiseError(
      "E_NO_WEBGPU",
      `Node has no WebGPU of its own, and the package "webgpu" cannot be loaded: run "npm install webgpu", ${CPU_ADVICE}`,
      { cause },
    );
  }
}

/** Where Gatewise keeps what it measured: $GATEWISE_CACHE, else gatewise/ in the user's cache folder. */
export function cacheFolder(): string {
  const { GATEWISE_CACHE, XDG_CACHE_HOME, LOCALAPPDATA } = process.env;
  return GATEWISE_CACHE || join(XDG_CACHE_HOME || LOCALAPPDATA || join(homedir(), ".cache"), "gatewise");
}

/** Files of the cache folder. One that cannot be read or written costs only the time to measure again. */
export function fileStore(folder = cacheFolder()): TuningStore {
  return {
    load: (name) => readFile(join(folder, `${name}.json`), "utf8").catch(() => undefined),
    async save(name, text) {
      const path = join(folder, `${name}.json`);
      const temporary = `${path}.${process.pid}.tmp`;
      try {
        await mkdir(folder, { recursive: true });
        await writeFile(temporary, text);
        await rename(temporary, path);
      } catch {
        // A folder that cannot be written is no reason to stop.
      }
    },
  };
}

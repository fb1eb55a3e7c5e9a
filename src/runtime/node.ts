import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { GatewiseError } from "../errors.ts";
import { openDevice, type Device, type OpenDeviceOptions } from "./device.ts";
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
  if (options.prefer === "cpu" || options.gpuDevice || options.gpu) return openDevice(options);
  return openDevice({ tuningStore: fileStore(), ...options, gpu: await nodeGpu() });
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

import { readdirSync } from "node:fs";
import { mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { join } from "node:path";
import { GatewiseError } from "../errors.ts";
import { OTHER_DEVICE } from "./adapter.ts";
import { CpuDevice } from "./cpu-device.ts";
import type { Device } from "./device.ts";
import { checkDeviceOptions, openChosen, openWasmDevice, preferred, whyNotHere, type OpenDeviceOptions } from "./open.ts";
import type { TuningStore } from "./tuning-memory.ts";

/**
 * Opens a device in Node: the fastest one here, unless `prefer` says which. WebGPU comes from the optional peer dependency `webgpu`
 * (Dawn), which keeps the process alive: end it with process.exit when the work is done. Kernels are tuned on first use; what was
 * found is kept in the user's cache folder (`cacheFolder`), unless `tuning` is "off".
 *
 * @throws GatewiseError E_CONFIG for an option that is none; where WebGPU was asked for, E_NO_WEBGPU when `webgpu` is not installed
 * or finds no adapter
 * @example
 * import { openNodeDevice } from "gatewise/node";
 * const device = await openNodeDevice();
 */
export async function openNodeDevice(options: OpenDeviceOptions = {}): Promise<Device> {
  checkDeviceOptions(options);
  const openWasm = (reason?: string): Promise<Device> => openWasmDevice(options, reason);
  const { prefer = preferred(options) } = options;
  if (prefer === "cpu" || prefer === "wasm" || options.gpuDevice || options.gpu) return openChosen(options, openWasm);
  let gpu: GPU;
  try {
    if (prefer === "auto" && process.platform === "linux") checkForHardware(namesIn("/dev"));
    gpu = await nodeGpu();
  } catch (error) {
    if (prefer === "webgpu") throw error;
    const reason = whyNotHere(error);
    return options.precision === "float64" ? new CpuDevice("float64", reason) : openWasm(reason);
  }
  return openChosen({ tuningStore: fileStore(), engine: nodeEngine(), ...options, gpu }, openWasm);
}

/** A folder's files; undefined where nobody may look. */
function namesIn(folder: string): readonly string[] | undefined {
  try {
    return readdirSync(folder);
  } catch {
    return undefined;
  }
}

/** In /dev, what the drivers of Linux's GPUs work through: DRM, NVIDIA's, AMD's compute, WSL's, and those of phones and boards. */
const GPU_FILES = /^(dri|nvidia.*|kfd|dxg|mali\d*|kgsl-3d\d+|nvhost-gpu|nvgpu|pvrsrvkm)$/;

/**
 * A machine that shows no GPU need not be asked for adapters: software ones alone would come, after a tenth of a second and two
 * warnings about their limits that Dawn (npm webgpu 0.6.2) writes to the process's stderr whatever it is told.
 *
 * @throws GatewiseError E_NO_WEBGPU
 */
export function checkForHardware(devices: readonly string[] | undefined): void {
  if (devices && !devices.some((name) => GPU_FILES.test(name)))
    throw new GatewiseError("E_NO_WEBGPU", "Linux shows no GPU here: /dev has neither dri nor another driver's file");
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
      `Node has no WebGPU of its own, and the package "webgpu" cannot be loaded: run "npm install webgpu", ${OTHER_DEVICE}`,
      { cause },
    );
  }
}

/** What drives adapters in Node, with its version. */
export function nodeEngine(): string | undefined {
  try {
    const { version } = createRequire(import.meta.url)("webgpu/package.json") as { version: string };
    return `npm webgpu ${version} (Dawn)`;
  } catch {
    return undefined; // not installed, or bundled
  }
}

/** Where Gatewise keeps what it measured: $GATEWISE_CACHE, else gatewise/ in the user's cache folder. */
export function cacheFolder(): string {
  const { GATEWISE_CACHE, XDG_CACHE_HOME, LOCALAPPDATA } = process.env;
  return GATEWISE_CACHE || join(XDG_CACHE_HOME || LOCALAPPDATA || join(homedir(), ".cache"), "gatewise");
}

/** Files of the cache folder. One that cannot be read or written costs only the time to measure again. */
export function fileStore(folder = cacheFolder()): Required<TuningStore> {
  const pathOf = (name: string): string => join(folder, `${name}.json`);
  const load = (name: string): Promise<string | undefined> => readFile(pathOf(name), "utf8").catch(() => undefined);
  const update = async (name: string, change: (text: string | undefined) => string): Promise<void> => {
    const path = pathOf(name);
    try {
      await mkdir(folder, { recursive: true });
      await locked(`${path}.lock`, async () => {
        const temporary = `${path}.tmp`;
        await writeFile(temporary, change(await load(name)));
        await rename(temporary, path);
      });
    } catch {
      // A folder that cannot be written is no reason to stop.
    }
  };
  return { load, update, save: (name, text) => update(name, () => text) };
}

/** Milliseconds after which a lock was left behind by a process that died: nothing is done under it that takes long. */
const LONGEST_LOCK = 3000;

/** Does `work` while no other process does its own under the same lock. */
async function locked(path: string, work: () => Promise<void>): Promise<void> {
  for (;;) {
    try {
      await writeFile(path, "", { flag: "wx" });
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    // Of those that find a dead one's lock only one may break it, once: the next could be somebody's.
    if (await isLeftBehind(path)) await locked(`${path}.old`, async () => void ((await isLeftBehind(path)) && (await rm(path))));
    else await new Promise((resolve) => setTimeout(resolve, 5 + 10 * Math.random()));
  }
  try {
    await work();
  } finally {
    await rm(path, { force: true });
  }
}

async function isLeftBehind(lock: string): Promise<boolean> {
  const made = await stat(lock).catch(() => undefined);
  return made !== undefined && Math.abs(Date.now() - made.mtimeMs) > LONGEST_LOCK;
}

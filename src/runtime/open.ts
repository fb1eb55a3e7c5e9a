// Opens devices: the one place that knows all implementations.
import { checkOptions, shown } from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import { checkGpuDevice, checkLimits, OTHER_DEVICE, infoOfDevice, requestGpuDevice, type AdapterInfo } from "./adapter.ts";
import { browserStore } from "./browser-store.ts";
import { CpuDevice } from "./cpu-device.ts";
import { DEVICE_CHOICES, type Device, type DeviceChoice } from "./device.ts";
import { probeFamily } from "./probe.ts";
import { KernelTuner, type TunerOptions, type TuningProgress } from "./tuner.ts";
import type { TuningStore } from "./tuning-memory.ts";
import { BUILDS, TRIED } from "./wasm-module.ts";
import type { Spawn, ThreadWorker } from "./wasm-threads.ts";
import { WebGpuDevice } from "./webgpu-device.ts";
import type { Gpu, GpuDevice } from "./webgpu-types.ts";

/** How a WebGPU device is opened. */
export interface WebGpuOptions {
  /**
   * A GPUDevice of the caller's own. Gatewise neither destroys it nor listens to its errors: what the caller does on it
   * is the caller's own affair, and what Gatewise does is not seen by the caller's handlers.
   */
  readonly gpuDevice?: GpuDevice;
  /** Where to ask for an adapter; by default `navigator.gpu`. */
  readonly gpu?: Gpu;
  /** "high-performance" by default. */
  readonly powerPreference?: "low-power" | "high-performance";
  /** Milliseconds that an adapter and its device may take to come; 15,000 by default. */
  readonly openMilliseconds?: number;
  /** Ends the wait for a device. */
  readonly signal?: AbortSignal;
  /** Milliseconds of GPU work that one submit should hold; 50 by default. */
  readonly submitMilliseconds?: number;
  /**
   * Whether kernels are tuned: on first use of a shape the variants are checked and timed on this adapter, and the
   * fastest is remembered in `tuningStore`. "again" forgets what was remembered. Default: "on" where there is a store
   * (in browsers and their workers IndexedDB), else "off", which takes what usually suits such adapters.
   */
  readonly tuning?: "on" | "off" | "again";
  /** Where what was tuned is kept between sessions. */
  readonly tuningStore?: TuningStore;
  /**
   * Milliseconds that tuning may take in all while this device is open, compilation included; 5000 by default. What
   * does not fit keeps what usually suits such adapters, and is tuned another time.
   */
  readonly tuningMilliseconds?: number;
  /** What drives the adapter, with its version; what was tuned is remembered by it. The browser, by default. */
  readonly engine?: string;
  /** Called before each choice that is tuned, and at the end. */
  readonly onTuning?: (progress: TuningProgress) => void;
}

/** Which device to open, and how. */
export interface OpenDeviceOptions extends WebGpuOptions {
  /**
   * Which device to open. "auto", the default, takes a hardware adapter; where there is none WebAssembly, and the CPU where that
   * cannot be had; the device's `fallbackReason` says why. "webgpu", the default with a `gpuDevice`, must be there, and may be a
   * software adapter.
   */
  readonly prefer?: "auto" | "webgpu" | "wasm" | "cpu";
  /**
   * Threads of the WebAssembly device: by default one a core, eight at the most. The numbers do not depend on it. A page that is not
   * cross-origin isolated has one.
   */
  readonly threads?: number;
  /**
   * Makes the worker of a thread, in a page whose policy allows none made of a text (`worker-src` without `blob:`): of a file that
   * has `import "gatewise/thread"`, or of dist/thread.js itself. Where it cannot be loaded the device has one thread.
   */
  readonly worker?: () => ThreadWorker;
  /**
   * Which build of the WebAssembly device: "relaxed", the default, is faster, and "plain" where the engine has no relaxed SIMD
   * (Node 20 has it with --experimental-wasm-relaxed-simd). "plain" gives the same bits in every engine. "wide", an experiment, is
   * "relaxed" with larger tiles, where a probe of 50 ms finds them faster: in Node from 24 on with --experimental-wasm-revectorize.
   */
  readonly simd?: "relaxed" | "plain" | "wide";
  /** Number format of the CPU device. */
  readonly precision?: "float32" | "float64";
}

const OPTIONS: Readonly<Record<keyof OpenDeviceOptions, readonly unknown[] | undefined>> = {
  prefer: DEVICE_CHOICES,
  precision: ["float32", "float64"],
  threads: undefined,
  worker: undefined,
  simd: BUILDS,
  powerPreference: ["low-power", "high-performance"],
  tuning: ["on", "off", "again"],
  tuningStore: undefined,
  tuningMilliseconds: undefined,
  engine: undefined,
  onTuning: undefined,
  gpu: undefined,
  gpuDevice: undefined,
  openMilliseconds: undefined,
  submitMilliseconds: undefined,
  signal: undefined,
};

/**
 * Opens a device: the fastest one here, unless `prefer` says which. In Node use `openNodeDevice` from "gatewise/node", which
 * brings WebGPU along.
 *
 * @throws GatewiseError E_CONFIG for an option that is none; where WebGPU was asked for, E_NO_WEBGPU when there is no WebGPU, no
 * adapter or no answer, and E_LIMIT when the adapter is too small
 * @example
 * const device = await openDevice();
 * const cpu = await openDevice({ prefer: "cpu", precision: "float64" });
 */
export async function openDevice(options: OpenDeviceOptions = {}): Promise<Device> {
  checkDeviceOptions(options);
  return openChosen(options, (reason) => openWasmDevice(options, reason));
}

/** What is opened where nothing is said: a device of the caller's own is not passed over, and only the CPU has float64. */
export const preferred = ({ gpuDevice, precision }: OpenDeviceOptions): DeviceChoice =>
  gpuDevice ? "webgpu" : precision === "float64" ? "cpu" : "auto";

/** Opens what checked options ask for; `openWasm` opens the WebAssembly device, and is told for what it stands in. */
export async function openChosen(options: OpenDeviceOptions, openWasm: (reason?: string) => Promise<Device>): Promise<Device> {
  const { prefer = preferred(options), precision = "float32" } = options;
  if (prefer === "cpu") return new CpuDevice(precision);
  if (prefer === "wasm") return openWasm();
  if (prefer === "webgpu") return requestWebGpuDevice(options);
  let reason: string;
  try {
    const device = await requestWebGpuDevice(options);
    if (device.family === "gpu") return device;
    device.dispose();
    reason = `the only adapter is ${device.description}`;
  } catch (error) {
    reason = whyNotHere(error);
  }
  return precision === "float64" ? new CpuDevice(precision, reason) : openWasm(reason);
}

/** Threads of a WebAssembly device, if nothing else is said. */
const MOST_THREADS = 8;

/**
 * Opens the WebAssembly device. Where WebAssembly cannot do it the CPU device does, and says why; where no thread can be started,
 * because nothing is shared there, it has one.
 */
export async function openWasmDevice(
  options: Pick<OpenDeviceOptions, "threads" | "simd" | "worker">,
  reason?: string,
  cores?: number,
  spawn?: Spawn,
): Promise<Device> {
  const { WasmDevice, coresHere, spawnHere } = await import("./wasm-device.ts");
  const { threads = Math.min(cores ?? coresHere(), MOST_THREADS), simd = "relaxed", worker } = options;
  const builds = TRIED[simd];
  const threaded = { threads, builds, spawn: spawn ?? spawnHere(worker), fallbackReason: reason };
  const opened = await WasmDevice.open(threaded).catch(() => WasmDevice.open({ builds, fallbackReason: reason }));
  return typeof opened === "string" ? new CpuDevice("float32", reason ? `${reason}; ${opened}` : opened) : opened;
}

/** @throws GatewiseError E_CONFIG */
export function checkDeviceOptions(options: OpenDeviceOptions): void {
  checkOptions("openDevice", options, Object.keys(OPTIONS));
  for (const [name, values] of Object.entries(OPTIONS)) {
    const value = options[name as keyof OpenDeviceOptions];
    if (value === undefined) continue;
    const known = values?.map((each) => JSON.stringify(each)).join(", ");
    if (values && !values.includes(value))
      throw new GatewiseError("E_CONFIG", `openDevice: ${name} must be one of ${known}, got ${shown(value)}`);
    if (name === "worker" && typeof value !== "function")
      throw new GatewiseError("E_CONFIG", `openDevice: worker must be a function that makes a Worker, got ${shown(value)}`);
    if (name === "threads" && !(Number.isInteger(value) && Number(value) >= 1))
      throw new GatewiseError("E_CONFIG", `openDevice: threads must be an integer from 1 on, got ${shown(value)}`);
    if (name.endsWith("Milliseconds") && !(typeof value === "number" && value > 0))
      throw new GatewiseError("E_CONFIG", `openDevice: ${name} must be a number above 0, got ${shown(value)}`);
  }
}

/** Why a kind of device cannot be had here, without the advice to take another; other errors are thrown on. */
export function whyNotHere(error: unknown): string {
  if (!(error instanceof GatewiseError && ["E_NO_WEBGPU", "E_LIMIT", "E_DEVICE_LOST"].includes(error.code))) throw error;
  return error.message.replace(`, ${OTHER_DEVICE}`, "");
}

/** How long an adapter may take, if nothing else is said; the GPU process of a browser starts in a few seconds. */
const OPEN_MILLISECONDS = 15_000;
/** GPU work that one submit should hold, if nothing else is said. */
const SUBMIT_MILLISECONDS = 50;

async function requestWebGpuDevice(options: WebGpuOptions): Promise<WebGpuDevice> {
  const { gpuDevice, openMilliseconds = OPEN_MILLISECONDS, submitMilliseconds = SUBMIT_MILLISECONDS } = options;
  if (gpuDevice !== undefined) checkGpuDevice(gpuDevice);
  const { device, info } = gpuDevice
    ? { device: gpuDevice, info: infoOfDevice(gpuDevice) }
    : await requestGpuDevice({ ...options, deadline: performance.now() + openMilliseconds });
  let opened: WebGpuDevice | undefined;
  try {
    checkLimits(device);
    opened = new WebGpuDevice(device, info, submitMilliseconds, gpuDevice === undefined);
    const tuning = tunerOptions(options);
    if (tuning) opened.tuner = new KernelTuner(opened, identityOf(opened, info, options.engine), tuning);
    // Where kernels are tuned, an adapter whose name does not say that it is software is asked by a measurement.
    if (opened.tuner && opened.family === "gpu") opened.family = await opened.tuner.family(() => probeFamily(opened!));
    return opened;
  } catch (error) {
    if (opened) opened.dispose();
    else if (!gpuDevice) device.destroy();
    throw error;
  }
}

/** What the tuner is to do; undefined if it is to do nothing. */
function tunerOptions(options: WebGpuOptions): TunerOptions | undefined {
  const { tuning, tuningStore = browserStore(), tuningMilliseconds, onTuning } = options;
  if (tuning === "off" || (tuning === undefined && !tuningStore)) return undefined;
  return { store: tuningStore, again: tuning === "again", milliseconds: tuningMilliseconds, onProgress: onTuning };
}

/** What the fastest variant may depend on. */
function identityOf({ gpuDevice, subgroupSize }: WebGpuDevice, info: AdapterInfo, engine: string | undefined): string {
  const { limits, features } = gpuDevice;
  return JSON.stringify([
    engine ?? globalThis.navigator?.userAgent,
    info.vendor,
    info.architecture,
    info.device,
    info.description,
    limits.maxComputeInvocationsPerWorkgroup,
    limits.maxComputeWorkgroupStorageSize,
    limits.maxStorageBufferBindingSize,
    features.has("shader-f16"),
    subgroupSize,
  ]);
}

// Finds an adapter and a device on it, and says why there is none.
import { GatewiseError } from "../errors.ts";
import { shown } from "../checks.ts";
import { abortable } from "../turns.ts";
import { MAX_WORKGROUPS } from "./kernel.ts";

/** What an adapter says about itself; browsers before Chrome 127 say nothing, and some mask it. */
export type AdapterInfo = ReturnType<typeof infoFrom>;

export interface AdapterRequest {
  readonly gpu?: GPU | undefined;
  readonly powerPreference?: GPUPowerPreference | undefined;
  /** Time, as of performance.now, at which an answer is no longer waited for. */
  readonly deadline: number;
  readonly signal?: AbortSignal | undefined;
}

/** Storage buffers that one entry point may bind. */
export const MAX_BINDINGS = 8;

/**
 * What the kernels take of a device. WebGPU guarantees as much; adapters in its compatibility mode, and devices that
 * somebody wrapped, may have less.
 */
export const NEEDED_LIMITS = {
  maxStorageBuffersPerShaderStage: MAX_BINDINGS,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupSizeY: 16,
  maxComputeWorkgroupStorageSize: 16384,
  maxComputeWorkgroupsPerDimension: MAX_WORKGROUPS,
} as const satisfies Partial<Record<keyof GPUSupportedLimits, number>>;

/** Features that are used where an adapter has them. */
export const FEATURES = ["timestamp-query", "shader-f16", "subgroups"] as const;
export const OTHER_DEVICE = 'or open a device without a GPU with { prefer: "auto" }';

/** Plain and whole, whatever the browser offers. */
function infoFrom(info: Partial<GPUAdapterInfo> = {}, fallback = false) {
  const { vendor = "", architecture = "", device = "", description = "", isFallbackAdapter = fallback } = info;
  const { subgroupMinSize, subgroupMaxSize } = info;
  return { vendor, architecture, device, description, isFallbackAdapter, subgroupMinSize, subgroupMaxSize };
}

/** What a device that is there says about its adapter: nothing before Chrome 132. */
export const infoOfDevice = (device: GPUDevice): AdapterInfo =>
  infoFrom((device as { readonly adapterInfo?: GPUAdapterInfo }).adapterInfo);

/** `GPUAdapter` as browsers had it before `info`. */
type OlderAdapter = Partial<Pick<GPUAdapter, "info">> & {
  readonly isFallbackAdapter?: boolean;
  requestAdapterInfo?(): Promise<GPUAdapterInfo>;
};

async function infoOfAdapter(adapter: GPUAdapter & OlderAdapter): Promise<AdapterInfo> {
  const info = adapter.info ?? (await adapter.requestAdapterInfo?.().catch(() => undefined));
  return infoFrom(info, adapter.isFallbackAdapter);
}

/**
 * Finds an adapter and makes a device on it. An adapter that does not come, or that will give no device, is asked for
 * once more, without the preference: both happen while a driver starts again, and some adapters refuse what they offer.
 *
 * @throws GatewiseError E_NO_WEBGPU with the cause; E_LIMIT if the device has less than Gatewise needs
 */
export async function requestGpuDevice(request: AdapterRequest): Promise<{ device: GPUDevice; info: AdapterInfo }> {
  const { deadline, signal } = request;
  const gpu = request.gpu ?? globalThis.navigator?.gpu;
  if (!gpu) throw noWebGpu();
  if (typeof gpu.requestAdapter !== "function")
    throw new GatewiseError("E_CONFIG", `openDevice: gpu must be a GPU such as navigator.gpu, got ${shown(gpu)}`);
  signal?.throwIfAborted();
  const milliseconds = Math.max(0, deadline - performance.now());
  let late = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const givenUp = new Promise<never>((_, reject) => {
    const why = `WebGPU is here but did not answer within ${Number((milliseconds / 1000).toPrecision(2))} s: restart the browser or update the graphics driver, ${OTHER_DEVICE}`;
    timer = setTimeout(() => reject(new GatewiseError("E_NO_WEBGPU", why)), milliseconds);
  });
  const found = findDevice(gpu, request).then((result) => {
    if (late) result.device.destroy();
    return result;
  });
  try {
    return await abortable(signal, Promise.race([found, givenUp]));
  } catch (error) {
    late = true;
    found.catch(() => {});
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

async function findDevice(
  gpu: GPU,
  { powerPreference = "high-performance" }: AdapterRequest,
): Promise<{ device: GPUDevice; info: AdapterInfo }> {
  let cause: unknown;
  let refused = false;
  for (const options of [{ powerPreference }, {}]) {
    let adapter: GPUAdapter | null;
    try {
      adapter = await gpu.requestAdapter(options);
    } catch (error) {
      cause = error;
      continue;
    }
    if (!adapter) continue;
    try {
      // One that refused what its adapter offers may give a plain device.
      const device = await adapter.requestDevice(refused ? {} : offered(adapter));
      const loss = await Promise.race([device.lost, undefined]);
      if (loss) throw new Error(`the device was lost as it came: ${loss.message || loss.reason}`);
      return { device, info: await infoOfAdapter(adapter) };
    } catch (error) {
      cause = error;
      refused = true;
    }
  }
  const why = cause === undefined ? "" : ` (${messageOf(cause)})`;
  const advice = `update the graphics driver or enable hardware acceleration, ${OTHER_DEVICE}`;
  if (!refused) throw new GatewiseError("E_NO_WEBGPU", `WebGPU is here but offers no adapter${why}: ${advice}`, { cause });
  throw new GatewiseError(
    /limit/i.test(messageOf(cause)) ? "E_LIMIT" : "E_NO_WEBGPU",
    `WebGPU has an adapter, but it gives no device${why}: ${advice}`,
    { cause },
  );
}

/** The first line of what went wrong; drivers explain themselves over several. */
const messageOf = (error: unknown): string => (error instanceof Error ? error.message.trim().split("\n", 1)[0]! : shown(error));

/** All that an adapter offers of what Gatewise can use. */
function offered({ features, limits }: GPUAdapter): GPUDeviceDescriptor {
  return {
    label: "gatewise",
    requiredFeatures: FEATURES.filter((feature) => features.has(feature)),
    requiredLimits: {
      maxBufferSize: limits.maxBufferSize,
      maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
    },
  };
}

function noWebGpu(): GatewiseError {
  // Browsers hide WebGPU from pages that came over plain http, except from this machine itself.
  if (globalThis.isSecureContext === false) {
    return new GatewiseError(
      "E_NO_WEBGPU",
      `this page's address is not a secure one, and browsers offer WebGPU to secure pages only: serve it over https, or from localhost, ${OTHER_DEVICE}`,
    );
  }
  return new GatewiseError(
    "E_NO_WEBGPU",
    `no WebGPU here: use a browser that has it (Chrome or Edge 113+, Safari 26+, Firefox 141+), in Node import openNodeDevice from "gatewise/node", ${OTHER_DEVICE}`,
  );
}

/** @throws GatewiseError E_CONFIG if a caller's `gpuDevice` is none */
export function checkGpuDevice(value: unknown): asserts value is GPUDevice {
  const has = (name: string): boolean => typeof (value as Record<string, unknown> | null)?.[name] === "function";
  if (has("createBuffer") && has("pushErrorScope")) return;
  const given = has("requestDevice")
    ? "a GPUAdapter; pass await adapter.requestDevice()"
    : has("requestAdapter")
      ? "a GPU; pass it as gpu"
      : shown(value);
  throw new GatewiseError("E_CONFIG", `openDevice: gpuDevice must be a GPUDevice, got ${given}`);
}

/** @throws GatewiseError E_LIMIT if a device has less than the kernels take */
export function checkLimits({ limits }: GPUDevice): void {
  for (const [name, needed] of Object.entries(NEEDED_LIMITS)) {
    const given = limits[name as keyof typeof NEEDED_LIMITS];
    if (given >= needed || given === undefined) continue;
    throw new GatewiseError(
      "E_LIMIT",
      `this GPU device has ${name} ${given}, Gatewise needs ${needed}: request a device without compatibility mode and with requiredLimits: { ${name}: ${needed} }, ${OTHER_DEVICE}`,
    );
  }
}

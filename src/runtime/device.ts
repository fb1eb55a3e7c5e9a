import { checkOptions, shown } from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import { CPU_ADVICE } from "./adapter.ts";
import { CpuDevice } from "./cpu-device.ts";
import type { Target } from "./kernel.ts";
import type { Choices, FlatTensors, Recorder } from "./recorder.ts";
import type { NumberArray, Tensor, TensorSpec } from "./tensor.ts";
import type { Tuner } from "./tuner.ts";
import { requestWebGpuDevice, type WebGpuOptions } from "./webgpu-device.ts";

/** Tensors, and the dense values in logical order to write to them. */
export type Writes = readonly (readonly [Tensor, NumberArray])[];

/** A recorded list of commands. */
export interface Plan<Made = unknown> {
  readonly name: string;
  /** What `build` gave back: the tensors to write and read, say. */
  readonly made: Made;
  /** Dispatches in one run. */
  readonly dispatches: number;
  /** Bytes of the tensors that belong to the plan. */
  readonly bytes: number;
  /** What was taken where there were several ways: recorded with these `choices`, a plan gives the same bits. */
  readonly choices: Choices;
  /**
   * Enqueues the whole list once, after `writes`, whose values must stay as they are until this resolves. It does when
   * the device is ready for more, which is usually at once: at most two submits are in flight. It does not mean that the
   * work is done; reading a tensor waits for that. After `dispose` this and all that follows is E_DISPOSED.
   *
   * @throws the signal's reason when it is aborted, which leaves the list undone from some place on
   */
  run(writes?: Writes, signal?: AbortSignal): Promise<void>;
  /** Enqueues the whole list once and reads a tensor afterwards, with no submit of its own. Dense, in logical order. */
  runAndRead(tensor: Tensor, signal?: AbortSignal): Promise<NumberArray>;
  /** Runs the list once with a timestamp around every dispatch and sums by entry point; slowest first. */
  profile(): Promise<readonly KernelTime[]>;
  dispose(): void;
}

/** Time that one entry point took in a profiled run. */
export interface KernelTime {
  readonly kernel: string;
  readonly count: number;
  readonly milliseconds: number;
}

export interface RecordOptions {
  readonly signal?: AbortSignal | undefined;
  /** Choices that are made already: they are not tuned. */
  readonly choices?: Choices | undefined;
}

/**
 * Where tensors live and plans run: a GPU through WebGPU, or the CPU through the kernels' references. After `dispose`
 * everything but `free` and `memory` answers E_DISPOSED, as does what is asked of a tensor that was freed.
 */
export interface Device extends Target {
  readonly kind: "webgpu" | "cpu";
  /** For people: "llvmpipe (software) · WebGPU", "CPU float32". */
  readonly description: string;
  /** Why this is not the device that was preferred: one line for people; undefined where it is. */
  readonly fallbackReason?: string | undefined;
  /** The underlying GPUDevice; undefined on the CPU device. */
  readonly gpuDevice: GPUDevice | undefined;
  /** Bytes that one tensor may have at the most; Infinity where memory alone decides. */
  readonly maxTensorBytes: number;
  /** What was tuned; undefined where nothing is. */
  readonly tuner: Tuner | undefined;
  /** Resolves with the reason when the device is lost; never on the CPU. */
  readonly lost: Promise<string>;

  /** Makes tensors, all zero; throws E_LIMIT, before anything is allocated, if they do not fit. */
  tensor(spec: TensorSpec): Tensor;
  /** Makes tensors that lie one after another in one buffer, so that one dispatch can reach them all. */
  flatTensors(name: string, specs: readonly TensorSpec[]): FlatTensors;
  free(...tensors: readonly Tensor[]): void;
  /** Writes dense values in logical order. */
  write(tensor: Tensor, values: NumberArray): void;
  /** Reads dense values in logical order, after everything enqueued before. */
  read(tensor: Tensor): Promise<NumberArray>;

  /**
   * Records a plan. `build` lists the commands and gives back what the plan is to keep as `made`; then the tensors are checked and allocated, and the pipelines
   * compiled in parallel. Where kernels are tuned, choices that are not made yet are made before.
   *
   * @throws GatewiseError E_LIMIT, E_SHADER, E_DEVICE_LOST, E_DISPOSED; the signal's reason when it is aborted
   */
  record<Made>(name: string, build: (recorder: Recorder) => Made, options?: RecordOptions): Promise<Plan<Made>>;
  /** Resolves when everything enqueued is done. */
  finish(): Promise<void>;
  /** Buffers and bytes now allocated by this device. */
  memory(): { readonly buffers: number; readonly bytes: number };
  dispose(): void;
  [Symbol.dispose](): void;
}

const KINDS = ["auto", "webgpu", "cpu"] as const;
const PRECISIONS = ["float32", "float64"] as const;

export interface OpenDeviceOptions extends WebGpuOptions {
  /**
   * Which device to open; by default WebGPU, which must be there. "auto" takes the next best where it is not, a software
   * adapter and then the CPU; the device's `fallbackReason` says why.
   */
  readonly prefer?: (typeof KINDS)[number];
  /** Number format of the CPU device. */
  readonly precision?: (typeof PRECISIONS)[number];
}

const OPTIONS: Readonly<Record<keyof OpenDeviceOptions, readonly unknown[] | undefined>> = {
  prefer: KINDS,
  precision: PRECISIONS,
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
 * Opens a device. In Node use `openNodeDevice` from "gatewise/node", which brings WebGPU along.
 *
 * @throws GatewiseError E_NO_WEBGPU when there is no WebGPU, no adapter or no answer; E_LIMIT when the adapter is too
 * small; E_CONFIG for an option that is none.
 * @example
 * const device = await openDevice();
 * const cpu = await openDevice({ prefer: "cpu", precision: "float64" });
 */
export async function openDevice(options: OpenDeviceOptions = {}): Promise<Device> {
  checkDeviceOptions(options);
  const { prefer = "webgpu", precision = "float32" } = options;
  if (prefer === "cpu") return new CpuDevice(precision);
  if (prefer === "webgpu") return requestWebGpuDevice(options);
  let reason: string | undefined;
  for (let tries = 0; tries < 2; tries++) {
    try {
      return await requestWebGpuDevice(options, reason);
    } catch (error) {
      reason ??= whyNotHere(error);
      // One that does not answer would not answer again.
      if (options.gpuDevice || /did not answer/.test(reason)) break;
    }
  }
  return new CpuDevice(precision, reason);
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
    if (name.endsWith("Milliseconds") && !(typeof value === "number" && value > 0))
      throw new GatewiseError("E_CONFIG", `openDevice: ${name} must be a number above 0, got ${shown(value)}`);
  }
}

/** Why a kind of device cannot be had here, without the advice to take the CPU; other errors are thrown on. */
export function whyNotHere(error: unknown): string {
  if (!(error instanceof GatewiseError && ["E_NO_WEBGPU", "E_LIMIT", "E_DEVICE_LOST"].includes(error.code))) throw error;
  return error.message.replace(`, ${CPU_ADVICE}`, "");
}

/** @throws GatewiseError E_CONFIG unless `device` is one, opened and awaited */
export function checkDevice(where: string, device: unknown): asserts device is Device {
  if (typeof (device as Device | undefined)?.flatTensors === "function") return;
  throw new GatewiseError("E_CONFIG", `${where}: expected a device, as openDevice gives it, got ${shown(device)}`);
}

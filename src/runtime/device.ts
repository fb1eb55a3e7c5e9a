import { GatewiseError } from "../errors.ts";
import { CpuDevice } from "./cpu-device.ts";
import type { Target } from "./kernel.ts";
import type { FlatTensors, Recorder } from "./recorder.ts";
import type { NumberArray, Tensor, TensorSpec } from "./tensor.ts";
import type { Tuner } from "./tuner.ts";
import { requestWebGpuDevice, type WebGpuOptions } from "./webgpu-device.ts";

/** A recorded list of commands. */
export interface Plan {
  readonly name: string;
  /** Dispatches in one run. */
  readonly dispatches: number;
  /** Bytes of the tensors that belong to the plan. */
  readonly bytes: number;
  /**
   * Enqueues the whole list once. Resolves when the device is ready for more, which is usually at once: at most
   * two submits are in flight. It does not mean that the work is done; reading a tensor waits for that.
   */
  run(): Promise<void>;
  /** Enqueues the whole list once and reads a tensor afterwards, with no submit of its own. Dense, in logical order. */
  runAndRead(tensor: Tensor): Promise<NumberArray>;
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

/** Where tensors live and plans run: a GPU through WebGPU, or the CPU through the kernels' references. */
export interface Device extends Target {
  readonly kind: "webgpu" | "cpu";
  /** For people: "llvmpipe (software) · WebGPU", "CPU float32". */
  readonly description: string;
  /** The underlying GPUDevice; undefined on the CPU device. */
  readonly gpuDevice: GPUDevice | undefined;
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
   * Records a plan. `build` lists the commands; then the tensors are checked and allocated, and the pipelines
   * compiled in parallel.
   *
   * @throws GatewiseError E_LIMIT, E_SHADER, E_DEVICE_LOST
   */
  record(name: string, build: (recorder: Recorder) => void): Promise<Plan>;
  /** Resolves when everything enqueued is done. */
  finish(): Promise<void>;
  /** Buffers and bytes now allocated by this device. */
  memory(): { readonly buffers: number; readonly bytes: number };
  dispose(): void;
  [Symbol.dispose](): void;
}

export interface OpenDeviceOptions extends WebGpuOptions {
  /** Which device to open; by default WebGPU, which must be there. */
  readonly prefer?: "webgpu" | "cpu";
  /** Number format of the CPU device. */
  readonly precision?: "float32" | "float64";
}

/**
 * Opens a device. In Node use `openNodeDevice` from "gatewise/node", which brings WebGPU along.
 *
 * @throws GatewiseError E_NO_WEBGPU when there is no WebGPU or no adapter; E_LIMIT when the adapter is too small.
 * @example
 * const device = await openDevice();
 * const cpu = await openDevice({ prefer: "cpu", precision: "float64" });
 */
export async function openDevice(options: OpenDeviceOptions = {}): Promise<Device> {
  const { prefer = "webgpu", precision = "float32" } = options;
  if (prefer === "cpu") return new CpuDevice(precision);
  if (prefer !== "webgpu") {
    throw new GatewiseError("E_CONFIG", `openDevice: prefer must be "webgpu" or "cpu", got ${JSON.stringify(prefer)}`);
  }
  return requestWebGpuDevice(options);
}

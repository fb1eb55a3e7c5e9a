import { shown } from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import type { Family, Target } from "./kernel.ts";
import type { Choices, FlatTensors, Recorder } from "./recorder.ts";
import type { NumberArray, Tensor, TensorSpec } from "./tensor.ts";
import type { Tuned } from "./tuning-memory.ts";
import type { GpuDevice } from "./webgpu-types.ts";

/** What devices can be asked for: the fastest one here, or one of a kind. */
export const DEVICE_CHOICES = ["auto", "webgpu", "wasm", "cpu"] as const;
export type DeviceChoice = (typeof DEVICE_CHOICES)[number];

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
  /** Kernel and entry point: "lstm.forward". */
  readonly kernel: string;
  /** Dispatches of it. */
  readonly count: number;
  /** Time of all of them. */
  readonly milliseconds: number;
}

export interface RecordOptions {
  readonly signal?: AbortSignal | undefined;
  /** Choices that are made already: they are not tuned. */
  readonly choices?: Choices | undefined;
}

/** Finds out which of several ways to do the same work is fastest on a device, and remembers it. */
export interface Tuner {
  /** What was chosen, by the key of the choice. */
  readonly results: ReadonlyMap<string, Tuned>;
  /** Whether what was found before, in checkpoints too, is not to be used. */
  readonly again: boolean;
  /** Milliseconds spent tuning since the device was opened. */
  readonly milliseconds: number;
  /** @internal The family of the adapter, remembered, or found by `find`. */
  family(find: () => Promise<Family>): Promise<Family>;
  /** @internal What to record with. */
  choices(): Promise<Choices>;
  /**
   * @internal
   * Makes the choices that a plan meets and that are not made yet, as far as time allows; says whether anything
   * changed. Those in `settled` are the caller's.
   *
   * @throws the signal's reason, when it is aborted, as soon as what is being tried has ended
   */
  tune(recorder: Recorder, settled: Choices, signal?: AbortSignal): Promise<boolean>;
  /** @internal Resolves when no tuning is under way and what is to be kept of it is. */
  idle(): Promise<void>;
}

/**
 * Where tensors live and plans run: a GPU through WebGPU, or the CPU through the kernels' references. After `dispose`
 * everything but `free` and `memory` answers E_DISPOSED, as does what is asked of a tensor that was freed.
 */
export interface Device extends Target {
  /** What computes. */
  readonly kind: "webgpu" | "wasm" | "cpu";
  /** For people: "llvmpipe (software) · WebGPU", "WebAssembly SIMD, relaxed, 2 threads", "CPU float32". */
  readonly description: string;
  /** Why this is not the device that was preferred: one line for people; undefined where it is. */
  readonly fallbackReason?: string | undefined;
  /** The underlying GPUDevice; undefined on the CPU device. */
  readonly gpuDevice: GpuDevice | undefined;
  /** Bytes that one tensor may have at the most; Infinity where memory alone decides. */
  readonly maxTensorBytes: number;
  /** What was tuned; undefined where nothing is. */
  readonly tuner: Tuner | undefined;
  /** Resolves with the reason when the device is lost; never on the CPU. */
  readonly lost: Promise<string>;

  /** @internal Makes tensors, all zero; throws E_LIMIT, before anything is allocated, if they do not fit. */
  tensor(spec: TensorSpec): Tensor;
  /** @internal Makes tensors that lie one after another in one buffer, so that one dispatch can reach them all. */
  flatTensors(name: string, specs: readonly TensorSpec[]): FlatTensors;
  /** @internal */
  free(...tensors: readonly Tensor[]): void;
  /** @internal Writes dense values in logical order. */
  write(tensor: Tensor, values: NumberArray): void;
  /** @internal Reads dense values in logical order, after everything enqueued before. */
  read(tensor: Tensor): Promise<NumberArray>;

  /**
   * @internal
   * Records a plan. `build` lists the commands and gives back what the plan is to keep as `made`; then the tensors are checked and allocated, and the pipelines
   * compiled in parallel. Where kernels are tuned, choices that are not made yet are made before.
   *
   * @throws GatewiseError E_LIMIT, E_SHADER, E_DEVICE_LOST, E_DISPOSED; the signal's reason when it is aborted
   */
  record<Made>(name: string, build: (recorder: Recorder) => Made, options?: RecordOptions): Promise<Plan<Made>>;
  /** @internal Resolves when everything enqueued is done. */
  finish(): Promise<void>;
  /** Buffers and bytes now allocated by this device. */
  memory(): { readonly buffers: number; readonly bytes: number };
  /** Frees everything that was made on it. */
  dispose(): void;
  [Symbol.dispose](): void;
}

/** @throws GatewiseError E_CONFIG unless `device` is one, opened and awaited */
export function checkDevice(where: string, device: unknown): asserts device is Device {
  if (typeof (device as Device | undefined)?.flatTensors === "function") return;
  throw new GatewiseError("E_CONFIG", `${where}: expected a device, as openDevice gives it, got ${shown(device)}`);
}

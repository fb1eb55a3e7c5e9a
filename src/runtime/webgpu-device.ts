import { GatewiseError } from "../errors.ts";
import type { Device, Plan } from "./device.ts";
import type { Entry, Family, Variant } from "./kernel.ts";
import { fromHalf, toHalf } from "./half.ts";
import { probeFamily } from "./probe.ts";
import { makeFlatTensors, makeTensor, Recorder, type Command, type FlatTensors } from "./recorder.ts";
import { assembleShader, describeShaderMessage } from "./shader.ts";
import { SubmitPacer } from "./submit-pacer.ts";
import { bytesOf, fromStored, toStored, type NumberArray, type Tensor, type TensorSpec, type TensorStorage } from "./tensor.ts";
import { Tuner, type TunerOptions, type TuningProgress, type TuningStore } from "./tuner.ts";
import { MAP_READ, STAGE_COMPUTE, USAGE } from "./webgpu-constants.ts";
import { WebGpuPlan } from "./webgpu-plan.ts";

export interface WebGpuOptions {
  /** A GPUDevice of the caller's own; Gatewise then neither destroys it nor asks for limits. */
  readonly gpuDevice?: GPUDevice;
  /** Where to ask for an adapter; by default `navigator.gpu`. */
  readonly gpu?: GPU;
  readonly powerPreference?: GPUPowerPreference;
  /** Milliseconds of GPU work that one submit should hold; 50 by default. */
  readonly submitMilliseconds?: number;
  /**
   * Whether kernels are tuned: on first use of a shape the variants are checked and timed on this adapter, and the
   * fastest is remembered in `tuningStore`. "again" forgets what was remembered. Default: "on" where there is a store
   * (in browsers local storage), else "off", which takes what usually suits such adapters.
   */
  readonly tuning?: "on" | "off" | "again";
  readonly tuningStore?: TuningStore;
  /** Called before each choice that is tuned, and at the end. */
  readonly onTuning?: (progress: TuningProgress) => void;
}

/** A compiled entry point. */
export interface Pipeline {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

/** Storage buffers that one entry point may bind: WebGPU's guaranteed minimum, so that no adapter falls short. */
export const MAX_BINDINGS = 8;
/** Read-back buffers up to this size are kept for the next read. */
const MAX_POOLED_BYTES = 1 << 20;

export async function requestWebGpuDevice(options: WebGpuOptions): Promise<WebGpuDevice> {
  if (options.gpuDevice) {
    return withFamily(new WebGpuDevice(options.gpuDevice, options.gpuDevice.adapterInfo, options, false));
  }
  const gpu = options.gpu ?? globalThis.navigator?.gpu;
  if (!gpu) {
    throw new GatewiseError(
      "E_NO_WEBGPU",
      'no WebGPU here: use a browser that has it (Chrome or Edge 113+, Safari 26+, Firefox 141+), in Node import openNodeDevice from "gatewise/node", or open the CPU device with { prefer: "cpu" }',
    );
  }
  const adapter = await gpu.requestAdapter({ powerPreference: options.powerPreference ?? "high-performance" });
  if (!adapter) {
    throw new GatewiseError(
      "E_NO_WEBGPU",
      'WebGPU is here but offers no adapter: update the graphics driver or enable hardware acceleration, or open the CPU device with { prefer: "cpu" }',
    );
  }
  const { limits } = adapter;
  const device = await adapter.requestDevice({
    label: "gatewise",
    requiredFeatures: (["timestamp-query", "shader-f16", "subgroups"] as const).filter((feature) =>
      adapter.features.has(feature),
    ),
    requiredLimits: {
      maxBufferSize: limits.maxBufferSize,
      maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
    },
  });
  return withFamily(new WebGpuDevice(device, adapter.info, options, true));
}

/** Where kernels are tuned, an adapter whose name does not say that it is software is asked by a measurement. */
async function withFamily(device: WebGpuDevice): Promise<WebGpuDevice> {
  if (device.tuner && device.family === "gpu") device.family = await device.tuner.family(() => probeFamily(device));
  return device;
}

/** What the tuner is to do; undefined if it is to do nothing. */
function tunerOptions({ tuning, tuningStore = localStore(), onTuning }: WebGpuOptions): TunerOptions | undefined {
  if (tuning === "off" || (tuning === undefined && !tuningStore)) return undefined;
  return { store: tuningStore, again: tuning === "again", onProgress: onTuning };
}

/** The browser's local storage, where there is one. */
function localStore(): TuningStore | undefined {
  try {
    const storage = globalThis.localStorage;
    if (typeof storage?.getItem !== "function") return undefined;
    return {
      load: (name) => storage.getItem(`gatewise.${name}`) ?? undefined,
      save: (name, text) => storage.setItem(`gatewise.${name}`, text),
    };
  } catch {
    return undefined; // forbidden to this page
  }
}

/** What the fastest variant may depend on. */
function identityOf(info: GPUAdapterInfo, { limits, features }: GPUDevice): string {
  return JSON.stringify([
    info.vendor,
    info.architecture,
    info.device,
    info.description,
    limits.maxComputeInvocationsPerWorkgroup,
    limits.maxComputeWorkgroupStorageSize,
    limits.maxStorageBufferBindingSize,
    features.has("shader-f16"),
    subgroupSizeOf(info, features),
  ]);
}

function subgroupSizeOf({ subgroupMinSize, subgroupMaxSize }: GPUAdapterInfo, features: GPUSupportedFeatures): number {
  return features.has("subgroups") && subgroupMinSize === subgroupMaxSize ? (subgroupMinSize ?? 0) : 0;
}

/** Whether the adapter runs shaders on the CPU. */
function isSoftware(info: GPUAdapterInfo): boolean {
  const name = `${info.vendor} ${info.architecture} ${info.device} ${info.description}`;
  return info.isFallbackAdapter || /llvmpipe|lavapipe|swiftshader|software|basic render/i.test(name);
}

function describe(info: GPUAdapterInfo): string {
  const name = info.description || info.device || [info.vendor, info.architecture].filter(Boolean).join(" ") || "unknown adapter";
  return `${name}${isSoftware(info) ? " (software)" : ""} · WebGPU`;
}

export class WebGpuDevice implements Device {
  readonly kind = "webgpu";
  family: Family;
  readonly subgroupSize: number;
  readonly description: string;
  readonly lost: Promise<string>;
  readonly pacer: SubmitPacer;
  readonly tuner: Tuner | undefined;
  private lostReason: string | undefined;
  private firstError: GPUError | undefined;
  private readonly storages = new Set<TensorStorage>();
  private readonly pipelines = new Map<string, Promise<Pipeline>>();
  private readonly idleReadbacks = new Map<number, GPUBuffer[]>();
  private readonly onError = (event: GPUUncapturedErrorEvent): void => {
    event.preventDefault();
    this.firstError ??= event.error;
  };
  private helperBuffers = 0;
  private helperBytes = 0;

  constructor(
    readonly gpuDevice: GPUDevice,
    info: GPUAdapterInfo,
    options: WebGpuOptions,
    private readonly owned: boolean,
  ) {
    this.family = isSoftware(info) ? "software" : "gpu";
    this.subgroupSize = subgroupSizeOf(info, gpuDevice.features);
    this.description = describe(info);
    this.pacer = new SubmitPacer(gpuDevice.queue, this.family, options.submitMilliseconds ?? 50);
    const tuning = tunerOptions(options);
    this.tuner = tuning && new Tuner(this, identityOf(info, gpuDevice), tuning);
    this.lost = gpuDevice.lost.then((loss) => (this.lostReason = loss.message || loss.reason));
    gpuDevice.addEventListener("uncapturederror", this.onError);
  }

  tensor(spec: TensorSpec): Tensor {
    const tensor = makeTensor(spec);
    this.allocate([tensor]);
    return tensor;
  }

  flatTensors(name: string, specs: readonly TensorSpec[]): FlatTensors {
    const flat = makeFlatTensors(name, specs);
    this.allocate([flat.whole]);
    return flat;
  }

  /** Checks every tensor against the limits first, so that a plan that does not fit leaves nothing behind. */
  allocate(tensors: readonly Tensor[]): void {
    this.throwIfLost();
    const { maxBufferSize, maxStorageBufferBindingSize } = this.gpuDevice.limits;
    const limit = Math.min(maxBufferSize, maxStorageBufferBindingSize);
    for (const { name, shape, storage } of tensors) {
      if (storage.bytes > limit) {
        throw new GatewiseError(
          "E_LIMIT",
          `${name} [${shape.join(", ")}] needs ${mebibytes(storage.bytes)}, but this adapter binds at most ${mebibytes(limit)}; make the hidden size, the batch or the sequence smaller`,
        );
      }
    }
    for (const { name, storage } of tensors) {
      storage.buffer = this.gpuDevice.createBuffer({
        label: name,
        size: storage.bytes,
        usage: USAGE.STORAGE | USAGE.COPY_SRC | USAGE.COPY_DST,
      });
      this.storages.add(storage);
    }
  }

  free(...tensors: readonly Tensor[]): void {
    for (const { storage } of tensors) {
      storage.buffer?.destroy();
      storage.buffer = undefined;
      this.storages.delete(storage);
    }
  }

  write(tensor: Tensor, values: NumberArray): void {
    const stored = toStored(tensor, values);
    const data =
      tensor.dtype === "f16"
        ? Uint16Array.from(stored, toHalf)
        : stored instanceof Float64Array
          ? Float32Array.from(stored)
          : stored;
    this.gpuDevice.queue.writeBuffer(
      tensor.storage.buffer!,
      tensor.offset * bytesOf(tensor.dtype),
      data as GPUAllowSharedBufferSource,
    );
  }

  async read(tensor: Tensor): Promise<NumberArray> {
    this.throwIfLost();
    const encoder = this.gpuDevice.createCommandEncoder();
    const arrived = this.encodeRead(encoder, tensor);
    this.gpuDevice.queue.submit([encoder.finish()]);
    return arrived();
  }

  /** Encodes the copy of a tensor to the host; the function that it returns waits for it, and is called once submitted. */
  encodeRead(encoder: GPUCommandEncoder, tensor: Tensor): () => Promise<NumberArray> {
    const bytes = tensor.length * bytesOf(tensor.dtype);
    const staging = this.takeReadback(bytes);
    encoder.copyBufferToBuffer(tensor.storage.buffer!, tensor.offset * bytesOf(tensor.dtype), staging, 0, bytes);
    return async () => {
      try {
        await staging.mapAsync(MAP_READ, 0, bytes);
      } catch (cause) {
        staging.destroy();
        this.countHelper(-bytes);
        // The promise of the loss may settle after the one that failed by it.
        await Promise.race([this.lost, new Promise((resolve) => setTimeout(resolve, 100))]);
        this.throwIfFailed(cause);
        throw cause;
      }
      const copied = staging.getMappedRange(0, bytes).slice(0);
      const stored =
        tensor.dtype === "u32"
          ? new Uint32Array(copied)
          : tensor.dtype === "f16"
            ? Float32Array.from(new Uint16Array(copied), fromHalf)
            : new Float32Array(copied);
      staging.unmap();
      this.returnReadback(staging);
      this.throwIfFailed();
      return fromStored(tensor, stored);
    };
  }

  private takeReadback(bytes: number): GPUBuffer {
    const idle = this.idleReadbacks.get(bytes)?.pop();
    if (idle) return idle;
    this.countHelper(bytes);
    return this.gpuDevice.createBuffer({
      label: "read-back",
      size: bytes,
      usage: USAGE.MAP_READ | USAGE.COPY_DST,
    });
  }

  private returnReadback(staging: GPUBuffer): void {
    if (staging.size > MAX_POOLED_BYTES) {
      staging.destroy();
      this.countHelper(-staging.size);
      return;
    }
    const idle = this.idleReadbacks.get(staging.size);
    if (idle) idle.push(staging);
    else this.idleReadbacks.set(staging.size, [staging]);
  }

  /** Lets go of the buffers that are kept for the next read. */
  dropReadbacks(): void {
    for (const buffer of [...this.idleReadbacks.values()].flat()) {
      this.countHelper(-buffer.size);
      buffer.destroy();
    }
    this.idleReadbacks.clear();
  }

  /** Counts buffers that are no tensors: uniforms and read-backs; `bytes` negative when one goes. */
  countHelper(bytes: number): void {
    this.helperBuffers += Math.sign(bytes);
    this.helperBytes += bytes;
  }

  async record(name: string, build: (recorder: Recorder) => void): Promise<Plan> {
    this.throwIfLost();
    let recorder = new Recorder(this, await this.tuner?.choices());
    build(recorder);
    if (this.tuner && recorder.choices.size > 0 && (await this.tuner.tune(recorder))) {
      recorder = new Recorder(this, await this.tuner.choices());
      build(recorder);
    }
    const pipelines = await this.compileAll(recorder.commands);
    this.gpuDevice.pushErrorScope("out-of-memory");
    try {
      this.allocate(recorder.tensors);
    } finally {
      const error = await this.gpuDevice.popErrorScope();
      if (error) {
        this.free(...recorder.tensors);
        // eslint-disable-next-line no-unsafe-finally -- the allocation's own error, if any, is the same one
        throw new GatewiseError("E_LIMIT", `${name}: out of GPU memory; make the model or the batch smaller (${error.message})`);
      }
    }
    return new WebGpuPlan(this, name, recorder, pipelines);
  }

  /** A plan of commands whose tensors are there already. */
  async recordCommands(name: string, commands: Command[]): Promise<Plan> {
    return new WebGpuPlan(this, name, { commands, tensors: [] }, await this.compileAll(commands));
  }

  compileAll(commands: readonly Command[]): Promise<readonly (Pipeline | undefined)[]> {
    return Promise.all(commands.map((c) => (c.kind === "dispatch" ? this.pipeline(c.entry, c.variant, c.halves) : undefined)));
  }

  /** The compiled entry point, from the cache if it was compiled before. */
  private pipeline(entry: Entry, variant: Variant, halves: readonly string[]): Promise<Pipeline> {
    const { entryPoint, constants, subgroupSize } = variant;
    const key = `${entry.kernel}.${entry.name} ${JSON.stringify([entryPoint, constants, subgroupSize, halves])}`;
    let compiled = this.pipelines.get(key);
    if (!compiled) {
      compiled = this.compile(entry, variant, halves);
      this.pipelines.set(key, compiled);
      compiled.catch(() => this.pipelines.delete(key));
    }
    return compiled;
  }

  private async compile(entry: Entry, variant: Variant, halves: readonly string[]): Promise<Pipeline> {
    const device = this.gpuDevice;
    const { entryPoint = entry.name } = variant;
    const label = `${entry.kernel}.${entryPoint}`;
    const accesses = Object.values(entry.bindings);
    if (accesses.length > MAX_BINDINGS) throw new Error(`${label}: ${accesses.length} tensors, at most ${MAX_BINDINGS}`);
    const code = assembleShader(entry, variant, halves);
    device.pushErrorScope("validation");
    const module = device.createShaderModule({ label, code });
    const layout = device.createBindGroupLayout({
      label,
      entries: [
        { binding: 0, visibility: STAGE_COMPUTE, buffer: { type: "uniform", hasDynamicOffset: true } },
        ...accesses.map((access, i): GPUBindGroupLayoutEntry => ({
          binding: i + 1,
          visibility: STAGE_COMPUTE,
          buffer: { type: access === "read" ? "read-only-storage" : "storage" },
        })),
      ],
    });
    const pending = device.createComputePipelineAsync({
      label,
      layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module, entryPoint },
    });
    const scope = device.popErrorScope();
    const [pipeline, info, error] = await Promise.all([pending.catch((e: Error) => e), module.getCompilationInfo(), scope]);
    const messages = info.messages.filter((m) => m.type === "error").map((m) => describeShaderMessage(entry, variant, m));
    if (messages.length > 0) throw new GatewiseError("E_SHADER", messages.join("\n"));
    if (pipeline instanceof Error) {
      this.throwIfLost(pipeline);
      throw new GatewiseError("E_SHADER", `${label}: ${pipeline.message}`, { cause: pipeline });
    }
    if (error) throw new GatewiseError("E_SHADER", `${label}: ${error.message}`);
    return { pipeline, layout };
  }

  async finish(): Promise<void> {
    this.throwIfLost();
    await this.gpuDevice.queue.onSubmittedWorkDone();
    this.throwIfFailed();
  }

  throwIfLost(cause?: unknown): void {
    if (this.lostReason === undefined) return;
    throw new GatewiseError("E_DEVICE_LOST", `the GPU device was lost: ${this.lostReason}`, { cause });
  }

  private throwIfFailed(cause?: unknown): void {
    this.throwIfLost(cause);
    const error = this.firstError;
    if (!error) return;
    this.firstError = undefined;
    throw new GatewiseError(
      error.constructor.name === "GPUOutOfMemoryError" ? "E_LIMIT" : "E_SHADER",
      `WebGPU reported: ${error.message}`,
      { cause },
    );
  }

  memory(): { buffers: number; bytes: number } {
    let bytes = this.helperBytes;
    for (const storage of this.storages) bytes += storage.bytes;
    return { buffers: this.storages.size + this.helperBuffers, bytes };
  }

  dispose(): void {
    for (const storage of this.storages) {
      storage.buffer?.destroy();
      storage.buffer = undefined;
    }
    this.storages.clear();
    this.dropReadbacks();
    this.pipelines.clear();
    this.helperBuffers = 0;
    this.helperBytes = 0;
    this.gpuDevice.removeEventListener("uncapturederror", this.onError);
    if (this.owned) this.gpuDevice.destroy();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}

const mebibytes = (bytes: number): string => `${(bytes / 1048576).toFixed(1)} MiB`;

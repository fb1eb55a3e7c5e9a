import { disposedError, GatewiseError } from "../errors.ts";
import { MAX_BINDINGS, type AdapterInfo } from "./adapter.ts";
import { abortable } from "../turns.ts";
import type { Device, Plan, RecordOptions, Tuner } from "./device.ts";
import { ErrorScopes, type Fault } from "./error-scopes.ts";
import type { Entry, Family, Variant } from "./kernel.ts";
import { fromHalf, toHalf } from "./half.ts";
import { copyMapped, Readbacks } from "./readbacks.ts";
import { makeFlatTensors, makeTensor, Recorder, type Command, type FlatTensors } from "./recorder.ts";
import { assembleShader, describeShaderMessage } from "./shader.ts";
import { SubmitPacer } from "./submit-pacer.ts";
import {
  bytesOf,
  fromStored,
  notHere,
  toStored,
  type NumberArray,
  type Tensor,
  type TensorSpec,
  type TensorStorage,
} from "./tensor.ts";
import { STAGE_COMPUTE, USAGE } from "./webgpu-constants.ts";
import { WebGpuPlan, type Pipeline, type Recorded } from "./webgpu-plan.ts";

/** How long the news of a loss may take after the call that failed by it. */
const LOSS_MILLISECONDS = 100;

function subgroupSizeOf({ subgroupMinSize, subgroupMaxSize }: AdapterInfo, features: GPUSupportedFeatures): number {
  return features.has("subgroups") && subgroupMinSize === subgroupMaxSize ? (subgroupMinSize ?? 0) : 0;
}

/** Whether the adapter runs shaders on the CPU. */
function isSoftware(info: AdapterInfo): boolean {
  const name = `${info.vendor} ${info.architecture} ${info.device} ${info.description}`;
  return info.isFallbackAdapter || /llvmpipe|lavapipe|swiftshader|software|basic render/i.test(name);
}

function describe(info: AdapterInfo): string {
  const name = info.description || info.device || [info.vendor, info.architecture].filter(Boolean).join(" ") || "unknown adapter";
  return `${name}${isSoftware(info) ? " (software)" : ""} · WebGPU`;
}

export class WebGpuDevice implements Device {
  readonly kind = "webgpu";
  readonly fallbackReason = undefined;
  family: Family;
  readonly subgroupSize: number;
  readonly description: string;
  readonly maxTensorBytes: number;
  readonly lost: Promise<string>;
  readonly pacer: SubmitPacer;
  /** Set by whoever opens the device, before anyone records. */
  tuner: Tuner | undefined;
  /** Every call of WebGPU that can go wrong is made through these. */
  readonly scopes: ErrorScopes;
  private lostReason: string | undefined;
  private disposed = false;
  private readonly storages = new Set<TensorStorage>();
  /** Buffers that are no tensors: params, read-backs, timestamps. */
  private readonly helpers = new Set<GPUBuffer>();
  private readonly readbacks: Readbacks;
  private readonly pipelines = new Map<string, Promise<Pipeline>>();

  constructor(
    readonly gpuDevice: GPUDevice,
    info: AdapterInfo,
    submitMilliseconds: number,
    private readonly owned: boolean,
  ) {
    this.family = isSoftware(info) ? "software" : "gpu";
    this.subgroupSize = subgroupSizeOf(info, gpuDevice.features);
    this.description = describe(info);
    this.maxTensorBytes = Math.min(gpuDevice.limits.maxBufferSize, gpuDevice.limits.maxStorageBufferBindingSize);
    this.scopes = new ErrorScopes(gpuDevice);
    this.readbacks = new Readbacks(
      (descriptor) => this.makeHelper(descriptor),
      (buffer) => this.destroyHelper(buffer),
    );
    this.pacer = new SubmitPacer(gpuDevice.queue, this.family, submitMilliseconds);
    this.lost = gpuDevice.lost.then((loss) => (this.lostReason = loss.message || loss.reason));
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
    this.check();
    for (const { name, shape, storage } of tensors) {
      if (storage.bytes > this.maxTensorBytes) {
        throw new GatewiseError(
          "E_LIMIT",
          `${name} [${shape.join(", ")}] needs ${mebibytes(storage.bytes)}, but this adapter binds at most ${mebibytes(this.maxTensorBytes)}; make the hidden size, the batch or the sequence smaller`,
        );
      }
    }
    this.scopes.run(() => {
      for (const { name, storage } of tensors) {
        storage.buffer = this.gpuDevice.createBuffer({
          label: name,
          size: storage.bytes,
          usage: USAGE.STORAGE | USAGE.COPY_SRC | USAGE.COPY_DST,
        });
        this.storages.add(storage);
      }
    });
  }

  free(...tensors: readonly Tensor[]): void {
    for (const { storage } of tensors) {
      // Those of another device are not this one's to free.
      if (!this.storages.delete(storage)) continue;
      storage.buffer!.destroy();
      storage.buffer = undefined;
    }
  }

  /** Makes a buffer that is no tensor, which `memory` counts until it is destroyed. */
  makeHelper(descriptor: GPUBufferDescriptor): GPUBuffer {
    const buffer = this.scopes.run(() => this.gpuDevice.createBuffer(descriptor));
    this.helpers.add(buffer);
    return buffer;
  }

  destroyHelper(buffer: GPUBuffer): void {
    buffer.destroy();
    this.helpers.delete(buffer);
  }

  write(tensor: Tensor, values: NumberArray): void {
    this.check(tensor);
    const stored = toStored(tensor, values);
    const data =
      tensor.dtype === "f16"
        ? Uint16Array.from(stored, toHalf)
        : stored instanceof Float64Array
          ? Float32Array.from(stored)
          : stored;
    const at = tensor.offset * bytesOf(tensor.dtype);
    this.scopes.run(() => this.gpuDevice.queue.writeBuffer(tensor.storage.buffer!, at, data as GPUAllowSharedBufferSource));
  }

  async read(tensor: Tensor): Promise<NumberArray> {
    this.check(tensor);
    return this.scopes.run(() => {
      const encoder = this.gpuDevice.createCommandEncoder();
      const arrived = this.encodeRead(encoder, tensor);
      this.gpuDevice.queue.submit([encoder.finish()]);
      return arrived();
    });
  }

  /** Encodes the copy of a tensor to the host; the function that it returns waits for it, and is called once submitted. */
  encodeRead(encoder: GPUCommandEncoder, tensor: Tensor): () => Promise<NumberArray> {
    const bytes = tensor.length * bytesOf(tensor.dtype);
    const staging = this.readbacks.take(bytes);
    encoder.copyBufferToBuffer(tensor.storage.buffer!, tensor.offset * bytesOf(tensor.dtype), staging, 0, bytes);
    return async () => {
      let copied: ArrayBuffer;
      try {
        copied = await copyMapped(staging, bytes);
      } catch (cause) {
        this.destroyHelper(staging);
        throw await this.failure(cause);
      }
      if (!this.disposed) this.readbacks.give(staging);
      await this.judge();
      const stored =
        tensor.dtype === "u32"
          ? new Uint32Array(copied)
          : tensor.dtype === "f16"
            ? Float32Array.from(new Uint16Array(copied), fromHalf)
            : new Float32Array(copied);
      return fromStored(tensor, stored);
    };
  }

  /** Lets go of the buffers that are kept for the next read. */
  dropReadbacks(): void {
    this.readbacks.drop();
  }

  record<Made>(name: string, build: (recorder: Recorder) => Made, options: RecordOptions = {}): Promise<Plan<Made>> {
    return abortable(options.signal, this.recordNow(name, build, options));
  }

  private async recordNow<Made>(name: string, build: (recorder: Recorder) => Made, options: RecordOptions): Promise<Plan<Made>> {
    const { signal, choices: settled = new Map<string, string>() } = options;
    this.check();
    signal?.throwIfAborted();
    const record = async () => {
      const recorder = new Recorder(this, new Map([...((await this.tuner?.choices()) ?? []), ...settled]));
      return { recorder, made: build(recorder) };
    };
    let recorded = await record();
    const { choices } = recorded.recorder;
    if (this.tuner && choices.size > 0 && (await this.tuner.tune(recorded.recorder, settled, signal))) recorded = await record();
    return this.makePlan(name, recorded, signal);
  }

  /** A plan of commands whose tensors are there already. */
  recordCommands(name: string, commands: Command[]): Promise<Plan> {
    return this.makePlan(name, { recorder: { commands, tensors: [], taken: new Map() }, made: undefined });
  }

  private async makePlan<Made>(name: string, recorded: Recorded<Made>, signal?: AbortSignal): Promise<Plan<Made>> {
    const { tensors, commands } = recorded.recorder;
    const pipelines = await this.compileAll(commands);
    this.check();
    signal?.throwIfAborted();
    let plan: WebGpuPlan<Made> | undefined;
    try {
      const { fault } = this.scopes.capture(() => {
        this.allocate(tensors);
        plan = new WebGpuPlan(this, name, recorded, pipelines);
      });
      const found = await fault;
      if (found) throw await this.failure(found, name);
      this.check();
      // Nobody is there to take it.
      signal?.throwIfAborted();
      return plan!;
    } catch (error) {
      plan?.dispose();
      this.free(...tensors);
      if (signal?.aborted) throw signal.reason;
      throw error instanceof GatewiseError ? error : await this.failure(error, name);
    }
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
    const { value, fault } = this.scopes.capture(() => {
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
      return { layout, pending: pending.catch((e: Error) => e), info: module.getCompilationInfo().catch(() => undefined) };
    });
    const { layout } = value;
    const [pipeline, info, found] = await Promise.all([value.pending, value.info, fault]);
    const errors = (info?.messages ?? []).filter(({ type }) => type === "error");
    if (errors.length > 0) {
      const message = errors.map((each) => describeShaderMessage(entry, variant, each)).join("\n");
      // Under wgpu the loss of the device is a message of the compiler too, one without a place.
      throw errors.some(({ lineNum }) => lineNum > 0)
        ? new GatewiseError("E_SHADER", message)
        : await this.failure({ message }, label);
    }
    if (pipeline instanceof Error || found) throw await this.failure(found ?? pipeline, label);
    return { pipeline: pipeline as GPUComputePipeline, layout };
  }

  async finish(): Promise<void> {
    this.check();
    try {
      await this.gpuDevice.queue.onSubmittedWorkDone();
    } catch (cause) {
      throw await this.failure(cause);
    }
    await this.judge();
  }

  /** @throws GatewiseError E_DISPOSED, also for a tensor that is not on this device; E_DEVICE_LOST */
  check(tensor?: Tensor): void {
    if (this.disposed) throw disposedError("this device");
    if (this.lostReason !== undefined) throw new GatewiseError("E_DEVICE_LOST", `the GPU device was lost: ${this.lostReason}`);
    if (tensor && !this.storages.has(tensor.storage)) throw notHere(tensor.name);
  }

  /** Throws what went wrong so far, when WebGPU has judged all calls that were made. */
  async judge(): Promise<void> {
    const fault = await this.scopes.take();
    this.check();
    if (fault) throw await this.failure(fault);
  }

  /** What to throw for something that went wrong: above all the loss of the device, which fails every call by its own error. */
  async failure(cause: unknown, where = "WebGPU"): Promise<GatewiseError> {
    const { filter, message } = cause as Partial<Fault>;
    if (this.lostReason === undefined && !this.disposed) {
      await Promise.race([this.lost, new Promise((resolve) => setTimeout(resolve, LOSS_MILLISECONDS))]);
    }
    try {
      this.check();
    } catch (error) {
      return error as GatewiseError;
    }
    // createBuffer throws a RangeError where there is no memory to map.
    if (filter === "out-of-memory" || cause instanceof RangeError) {
      return new GatewiseError("E_LIMIT", `${where}: out of GPU memory; make the model or the batch smaller (${message})`, {
        cause,
      });
    }
    return new GatewiseError("E_SHADER", `${where} reported: ${message}`, { cause });
  }

  memory(): { buffers: number; bytes: number } {
    let bytes = 0;
    for (const storage of this.storages) bytes += storage.bytes;
    for (const buffer of this.helpers) bytes += buffer.size;
    return { buffers: this.storages.size + this.helpers.size, bytes };
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    for (const storage of this.storages) {
      storage.buffer!.destroy();
      storage.buffer = undefined;
    }
    this.storages.clear();
    // Those of reads under way too: what awaits them gets E_DISPOSED.
    for (const buffer of this.helpers) buffer.destroy();
    this.helpers.clear();
    this.pipelines.clear();
    if (this.owned) this.gpuDevice.destroy();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}

const mebibytes = (bytes: number): string => `${(bytes / 1048576).toFixed(1)} MiB`;

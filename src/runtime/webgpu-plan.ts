import type { KernelTime, Plan, Writes } from "./device.ts";
import { disposedError, GatewiseError } from "../errors.ts";
import { abortable } from "../turns.ts";
import { tensorsOf, type Choices, type Command, type DispatchCommand, type Recorder } from "./recorder.ts";
import { bytesOf, notHere, type NumberArray, type Tensor } from "./tensor.ts";
import { USAGE } from "./webgpu-constants.ts";
import { copyMapped } from "./readbacks.ts";
import type { ErrorScopes } from "./error-scopes.ts";
import type { SubmitPacer } from "./submit-pacer.ts";

/** A compiled entry point. */
export interface Pipeline {
  readonly pipeline: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
}

/** What a plan needs of its device. */
export interface PlanHost {
  readonly gpuDevice: GPUDevice;
  readonly pacer: SubmitPacer;
  readonly scopes: ErrorScopes;
  check(tensor?: Tensor): void;
  judge(): Promise<void>;
  failure(cause: unknown, where?: string): Promise<GatewiseError>;
  write(tensor: Tensor, values: NumberArray): void;
  free(...tensors: readonly Tensor[]): void;
  makeHelper(descriptor: GPUBufferDescriptor): GPUBuffer;
  destroyHelper(buffer: GPUBuffer): void;
  encodeRead(encoder: GPUCommandEncoder, tensor: Tensor): () => Promise<NumberArray>;
}

/** A dispatch with its WebGPU objects. */
interface ReadyDispatch {
  readonly pipeline: GPUComputePipeline;
  readonly bindGroup: GPUBindGroup;
  /** Place of its params in the plan's uniform buffer, as `setBindGroup` wants it. */
  readonly paramsOffset: number;
}

/** Work that a dispatch costs however small it is, in the unit of `Entry.work`. */
const DISPATCH_WORK = 20_000;
/** Timestamps that one query set holds (WebGPU's maximum is 4096). */
const QUERIES = 4096;

/** What a plan is made of: its commands and tensors, and what its `build` gave back. */
export interface Recorded<Made> {
  readonly recorder: Pick<Recorder, "commands" | "tensors" | "taken">;
  readonly made: Made;
}

/** Commands compiled into pipelines, bind groups and one uniform buffer; a run only encodes and submits. */
export class WebGpuPlan<Made> implements Plan<Made> {
  readonly made: Made;
  readonly dispatches: number;
  readonly bytes: number;
  readonly choices: Choices;
  private readonly commands: readonly Command[];
  /** The plan's own tensors. */
  private readonly tensors: readonly Tensor[];
  private readonly touched: readonly Tensor[];
  private readonly ready: readonly (ReadyDispatch | undefined)[];
  private readonly uniforms: GPUBuffer;
  private readonly offsets: Uint32Array;
  /** Index of the first command of each submit, and after the last the number of commands. */
  private readonly cuts: number[] = [];
  private readonly cutWork: number[] = [];
  private cutBudget = 0;

  constructor(
    private readonly device: PlanHost,
    readonly name: string,
    { recorder, made }: Recorded<Made>,
    pipelines: readonly (Pipeline | undefined)[],
  ) {
    this.made = made;
    this.commands = recorder.commands;
    this.tensors = recorder.tensors;
    this.choices = recorder.taken;
    this.touched = tensorsOf(recorder.commands);
    this.dispatches = pipelines.filter(Boolean).length;
    this.bytes = recorder.tensors.reduce((sum, t) => sum + t.storage.bytes, 0);
    const params = packParams(recorder.commands, device.gpuDevice.limits.minUniformBufferOffsetAlignment);
    this.uniforms = device.makeHelper({
      label: `${name} params`,
      size: params.bytes.byteLength,
      usage: USAGE.UNIFORM,
      mappedAtCreation: true,
    });
    this.offsets = params.offsets;
    try {
      new Uint8Array(this.uniforms.getMappedRange()).set(params.bytes);
      this.uniforms.unmap();
      const bindGroups = new Map<string, GPUBindGroup>();
      this.ready = recorder.commands.map((command, i): ReadyDispatch | undefined => {
        if (command.kind !== "dispatch") return undefined;
        const { pipeline, layout } = pipelines[i]!;
        return { pipeline, bindGroup: this.bindGroup(command, layout, bindGroups), paramsOffset: i };
      });
    } catch (error) {
      // There is no plan yet that could be disposed of.
      device.destroyHelper(this.uniforms);
      throw error;
    }
  }

  /** Dispatches with the same layout and tensors, such as the time steps of a cell, share one bind group. */
  private bindGroup(command: DispatchCommand, layout: GPUBindGroupLayout, made: Map<string, GPUBindGroup>): GPUBindGroup {
    const { entry, tensors } = command;
    const key = `${entry.kernel}.${entry.name} ${command.variant.name} ${command.halves.join()} ${tensors.map((t) => `${storageId(t)}+${t.offset}`).join(" ")}`;
    let group = made.get(key);
    if (!group) {
      group = this.device.gpuDevice.createBindGroup({
        label: `${this.name} ${entry.kernel}.${entry.name}`,
        layout,
        entries: [
          { binding: 0, resource: { buffer: this.uniforms, offset: 0, size: paramBytes(command) } },
          ...tensors.map((t, i) => ({
            binding: i + 1,
            resource: { buffer: t.storage.buffer!, offset: t.offset * bytesOf(t.dtype), size: t.length * bytesOf(t.dtype) },
          })),
        ],
      });
      made.set(key, group);
    }
    return group;
  }

  async run(writes?: Writes, signal?: AbortSignal): Promise<void> {
    await this.submit(writes, signal);
  }

  async runAndRead(tensor: Tensor, signal?: AbortSignal): Promise<NumberArray> {
    this.check();
    this.device.check(tensor);
    const { arrived } = await this.submit([], signal, tensor);
    return abortable(signal, arrived!);
  }

  /** @throws GatewiseError E_DISPOSED where the plan, the device or a tensor of the list is gone; E_DEVICE_LOST */
  private check(): void {
    this.device.check();
    if (this.disposed) throw disposedError(`the plan "${this.name}"`);
    for (const { name, storage } of this.touched) if (!storage.buffer) throw notHere(name);
  }

  /** Submits the list in parts; with the first one go `writes`, with the last one the copy of `read`, if any. */
  private async submit(writes: Writes = [], signal?: AbortSignal, read?: Tensor): Promise<{ arrived?: Promise<NumberArray> }> {
    const { device } = this;
    const { gpuDevice, pacer, scopes } = device;
    this.check();
    if (scopes.failed) await device.judge();
    this.cut();
    let arrived: Promise<NumberArray> | undefined;
    for (let part = 0; part + 1 < this.cuts.length; part++) {
      await abortable(signal, pacer.ready());
      this.check();
      // One set of scopes for all of a step: on a small model they are a few hundredths of its time.
      scopes.run(() => {
        if (part === 0) for (const [tensor, values] of writes) device.write(tensor, values);
        const encoder = gpuDevice.createCommandEncoder();
        this.encode(encoder, this.cuts[part]!, this.cuts[part + 1]!);
        const copied = read && part + 2 === this.cuts.length ? device.encodeRead(encoder, read) : undefined;
        gpuDevice.queue.submit([encoder.finish()]);
        arrived = copied?.();
      });
      pacer.submitted(this.cutWork[part]!);
    }
    // Whoever awaits it gets its error; until then it must not count as unhandled.
    arrived?.catch(() => {});
    await abortable(signal, pacer.ready());
    return { ...(arrived && { arrived }) };
  }

  private encode(encoder: GPUCommandEncoder, from: number, to: number): void {
    let pass: GPUComputePassEncoder | undefined;
    let current: GPUComputePipeline | undefined;
    for (let i = from; i < to; i++) {
      const command = this.commands[i]!;
      if (command.kind !== "dispatch") {
        pass?.end();
        pass = undefined;
        encodeTransfer(encoder, command);
        continue;
      }
      if (!pass) {
        pass = encoder.beginComputePass();
        current = undefined;
      }
      const { pipeline, bindGroup } = this.ready[i]!;
      if (pipeline !== current) pass.setPipeline(pipeline);
      current = pipeline;
      this.encodeDispatch(pass, i, bindGroup);
    }
    pass?.end();
  }

  private encodeDispatch(pass: GPUComputePassEncoder, i: number, bindGroup: GPUBindGroup): void {
    const { workgroups } = this.commands[i] as DispatchCommand;
    pass.setBindGroup(0, bindGroup, this.offsets, i, 1);
    pass.dispatchWorkgroups(workgroups[0], workgroups[1], workgroups[2]);
  }

  /** Cuts the list into submits of the pacer's budget, when that has changed enough to matter. */
  private cut(): void {
    const { budget } = this.device.pacer;
    if (this.cutBudget > 0 && budget / this.cutBudget < 1.5 && this.cutBudget / budget < 1.5) return;
    this.cutBudget = budget;
    this.cuts.length = 0;
    this.cutWork.length = 0;
    this.cuts.push(0);
    let work = 0;
    for (let i = 0; i < this.commands.length; i++) {
      const command = this.commands[i]!;
      const cost = command.kind === "dispatch" ? command.work + DISPATCH_WORK : 0;
      if (work > 0 && work + cost > budget) {
        this.cuts.push(i);
        this.cutWork.push(work);
        work = 0;
      }
      work += cost;
    }
    this.cuts.push(this.commands.length);
    this.cutWork.push(work);
  }

  async profile(): Promise<readonly KernelTime[]> {
    const { device } = this;
    const { gpuDevice, scopes } = device;
    this.check();
    if (!gpuDevice.features.has("timestamp-query")) {
      throw new GatewiseError("E_LIMIT", "this adapter has no timestamp-query, so kernels cannot be timed one by one");
    }
    const querySet = scopes.run(() => gpuDevice.createQuerySet({ type: "timestamp", count: QUERIES }));
    const usage = USAGE.QUERY_RESOLVE | USAGE.COPY_SRC;
    const resolved = device.makeHelper({ label: "timestamps", size: QUERIES * 8, usage });
    const readable = device.makeHelper({ size: QUERIES * 8, usage: USAGE.MAP_READ | USAGE.COPY_DST });
    const times = new Map<string, { count: number; milliseconds: number }>();
    try {
      for (let from = 0; from < this.commands.length; from += QUERIES / 2) {
        const to = Math.min(from + QUERIES / 2, this.commands.length);
        this.check();
        const copied = scopes.run(() => {
          const encoder = gpuDevice.createCommandEncoder();
          this.encodeTimed(encoder, querySet, from, to);
          encoder.resolveQuerySet(querySet, 0, 2 * (to - from), resolved, 0);
          encoder.copyBufferToBuffer(resolved, 0, readable, 0, 16 * (to - from));
          gpuDevice.queue.submit([encoder.finish()]);
          return copyMapped(readable, 16 * (to - from));
        });
        const stamps = new BigUint64Array(await copied);
        for (let i = from; i < to; i++) {
          const command = this.commands[i]!;
          if (command.kind !== "dispatch") continue;
          const key = `${command.entry.kernel}.${command.entry.name}`;
          const time = times.get(key) ?? { count: 0, milliseconds: 0 };
          const nanoseconds = Number(stamps[2 * (i - from) + 1]! - stamps[2 * (i - from)]!);
          times.set(key, { count: time.count + 1, milliseconds: time.milliseconds + nanoseconds / 1e6 });
        }
      }
      await device.judge();
    } catch (cause) {
      throw cause instanceof GatewiseError ? cause : await device.failure(cause);
    } finally {
      querySet.destroy();
      device.destroyHelper(resolved);
      device.destroyHelper(readable);
    }
    return [...times].map(([kernel, time]) => ({ kernel, ...time })).sort((a, b) => b.milliseconds - a.milliseconds);
  }

  /** Encodes some commands, each dispatch in a pass of its own with a timestamp before and after. */
  private encodeTimed(encoder: GPUCommandEncoder, querySet: GPUQuerySet, from: number, to: number): void {
    for (let i = from; i < to; i++) {
      const command = this.commands[i]!;
      if (command.kind !== "dispatch") {
        encodeTransfer(encoder, command);
        continue;
      }
      const query = 2 * (i - from);
      const pass = encoder.beginComputePass({
        timestampWrites: { querySet, beginningOfPassWriteIndex: query, endOfPassWriteIndex: query + 1 },
      });
      pass.setPipeline(this.ready[i]!.pipeline);
      this.encodeDispatch(pass, i, this.ready[i]!.bindGroup);
      pass.end();
    }
  }

  private disposed = false;
  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.device.free(...this.tensors);
    this.device.destroyHelper(this.uniforms);
  }
}

function encodeTransfer(encoder: GPUCommandEncoder, command: Exclude<Command, DispatchCommand>): void {
  if (command.kind === "clear") {
    const { storage, offset, length, dtype } = command.tensor;
    encoder.clearBuffer(storage.buffer!, offset * bytesOf(dtype), length * bytesOf(dtype));
    return;
  }
  const { from, to } = command;
  encoder.copyBufferToBuffer(
    from.storage.buffer!,
    (from.offset + command.fromOffset) * bytesOf(from.dtype),
    to.storage.buffer!,
    (to.offset + command.toOffset) * bytesOf(to.dtype),
    command.length * bytesOf(from.dtype),
  );
}

/** Size of a dispatch's uniform struct, as a binding wants it. */
const paramBytes = (command: DispatchCommand): number =>
  Math.max(16, Math.ceil(Object.keys(command.entry.params).length / 4) * 16);

/** Lays the params of all dispatches into one buffer, equal ones once; offsets[i] belongs to command i. */
function packParams(commands: readonly Command[], alignment: number): { bytes: Uint8Array; offsets: Uint32Array } {
  const slots = new Map<string, number>();
  const blocks: DataView[] = [];
  const offsets = new Uint32Array(commands.length);
  let stride = alignment;
  for (const command of commands)
    if (command.kind === "dispatch") stride = Math.max(stride, Math.ceil(paramBytes(command) / alignment) * alignment);
  commands.forEach((command, i) => {
    if (command.kind !== "dispatch") return;
    const fields = Object.entries(command.entry.params);
    const key = fields.map(([name, type]) => `${type}${command.params[name]}`).join();
    let slot = slots.get(key);
    if (slot === undefined) {
      slot = blocks.length;
      slots.set(key, slot);
      const view = new DataView(new ArrayBuffer(stride));
      fields.forEach(([name, type], field) => {
        if (type === "f32") view.setFloat32(4 * field, command.params[name]!, true);
        else view.setUint32(4 * field, command.params[name]!, true);
      });
      blocks.push(view);
    }
    offsets[i] = slot * stride;
  });
  const bytes = new Uint8Array(Math.max(blocks.length, 1) * stride);
  blocks.forEach((view, slot) => bytes.set(new Uint8Array(view.buffer), slot * stride));
  return { bytes, offsets };
}

const storageIds = new WeakMap<object, number>();
let nextStorageId = 0;
function storageId(tensor: Tensor): number {
  let id = storageIds.get(tensor.storage);
  if (id === undefined) storageIds.set(tensor.storage, (id = nextStorageId++));
  return id;
}

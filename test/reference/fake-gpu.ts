// WebGPU without a GPU: buffers, encoders, scopes and queues as the specification has them, as far as Gatewise uses it.
// What a dispatch computes is the kernel's reference on the bytes that are bound, so that what a plan makes of its
// commands can be compared with the CPU device, bit for bit. Wrong calls are reported as WebGPU reports them.
import { fromHalf, toHalf } from "../../src/runtime/half.ts";
import type { Entry } from "../../src/runtime/kernel.ts";
import type { NumberArray } from "../../src/runtime/tensor.ts";
import { allEntries } from "../../src/training/kernel-list.ts";

const USAGE = { MAP_READ: 1, COPY_SRC: 4, COPY_DST: 8, UNIFORM: 0x40, STORAGE: 0x80, QUERY_RESOLVE: 0x200 } as const;

export const INFO = {
  vendor: "acme",
  architecture: "a1",
  device: "d1",
  description: "llvmpipe, a fake",
  isFallbackAdapter: false,
};
export const LIMITS = {
  maxBufferSize: 1 << 28,
  maxStorageBufferBindingSize: 1 << 27,
  maxStorageBuffersPerShaderStage: 8,
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupSizeY: 256,
  maxComputeWorkgroupStorageSize: 16384,
  maxComputeWorkgroupsPerDimension: 65535,
  minUniformBufferOffsetAlignment: 256,
};

/** One dispatch, as the GPU sees it. */
export interface Dispatched {
  /** "lstm.forward": kernel and WGSL function. */
  readonly name: string;
  /** The shader's text. */
  readonly code: string;
  readonly workgroups: readonly number[];
  readonly params: Readonly<Record<string, number>>;
  readonly arrays: Readonly<Record<string, NumberArray>>;
}

export interface FakeOptions {
  readonly info?: object;
  readonly limits?: object;
  readonly features?: readonly string[];
  /** Kernels beside Gatewise's own, by their full names. */
  readonly entries?: ReadonlyMap<string, Entry>;
  /** Milliseconds that a dispatch takes; none, if left out. */
  readonly cost?: (dispatched: Dispatched) => number;
  /** What a dispatch does after its kernel's reference. */
  readonly after?: (dispatched: Dispatched) => void;
  /** What the compiler has to say of a shader. */
  readonly compile?: (code: string) => readonly Partial<GPUCompilationMessage>[];
  /** Waits until a time, as of performance.now. */
  readonly until?: (time: number) => Promise<void>;
}

const later = (time: number): Promise<void> =>
  time <= performance.now() ? Promise.resolve() : new Promise((resolve) => setTimeout(resolve, time - performance.now()));

/** An array of which nothing is read or written past its ends, which a GPU would hide. */
const bounded = (array: NumberArray, label: string, name: string): NumberArray => {
  const at = (key: string | symbol): void => {
    if (!(key in array)) throw new Error(`${label} reaches past ${name}: ${String(key)}, of ${array.length}`);
  };
  return new Proxy(array, {
    get(_, key) {
      at(key);
      const value: unknown = Reflect.get(array, key);
      return typeof value === "function" ? value.bind(array) : value;
    },
    set(_, key, value) {
      at(key);
      return Reflect.set(array, key, value);
    },
  });
};

class FakeBuffer {
  readonly label: string;
  readonly size: number;
  readonly usage: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
  state: "unmapped" | "pending" | "mapped" | "destroyed" = "unmapped";
  private readonly ranges: { from: number; range: ArrayBuffer }[] = [];
  private failMap: ((error: Error) => void) | undefined;

  constructor(
    private readonly device: FakeDevice,
    { label = "", size, usage, mappedAtCreation = false }: GPUBufferDescriptor,
  ) {
    this.label = label;
    this.size = size;
    this.usage = usage;
    this.bytes = new Uint8Array(size);
    if (mappedAtCreation) this.state = "mapped";
    if (mappedAtCreation && size % 4 !== 0) throw new RangeError(`${label}: mapped at creation, of ${size} bytes`);
  }

  async mapAsync(mode: number, offset = 0, size = this.size - offset): Promise<void> {
    const wrong =
      this.device.require(this.state === "unmapped", `mapAsync of a buffer that is ${this.state}`) ??
      this.device.require(mode === 1 && (this.usage & USAGE.MAP_READ) !== 0, "mapAsync without the usage for it") ??
      this.device.require(offset % 8 === 0 && size % 4 === 0 && offset + size <= this.size, "mapAsync past the end");
    if (wrong) throw new DOMException(wrong, "OperationError");
    this.state = "pending";
    const destroyed = new Promise<never>((_, reject) => (this.failMap = reject));
    destroyed.catch(() => {});
    await Promise.race([this.device.done(), destroyed]);
    if (this.state === "pending") this.state = "mapped";
  }

  getMappedRange(from = 0, size = this.size - from): ArrayBuffer {
    if (this.state !== "mapped" || from % 8 !== 0 || size % 4 !== 0 || from + size > this.size)
      throw new DOMException(`getMappedRange of a buffer that is ${this.state}`, "OperationError");
    const range = this.bytes.slice(from, from + size).buffer;
    this.ranges.push({ from, range });
    return range;
  }

  unmap(): void {
    for (const { from, range } of this.ranges.splice(0)) {
      if (!(this.usage & USAGE.MAP_READ)) this.bytes.set(new Uint8Array(range), from);
      // Nobody reads or writes it any more.
      structuredClone(range, { transfer: [range] });
    }
    if (this.state === "mapped") this.state = "unmapped";
  }

  destroy(): void {
    if (this.state === "mapped") this.unmap();
    if (this.state === "pending") this.failMap?.(new DOMException("the buffer was destroyed before it was mapped", "AbortError"));
    this.state = "destroyed";
  }
}

interface FakeModule {
  readonly label: string;
  readonly code: string;
  readonly messages: readonly Partial<GPUCompilationMessage>[];
  readonly getCompilationInfo: () => Promise<unknown>;
}
interface FakePipeline {
  readonly name: string;
  readonly code: string;
  readonly layout: GPUBindGroupLayoutDescriptor;
}
interface FakeGroup {
  readonly layout: GPUBindGroupLayoutDescriptor;
  readonly bindings: { readonly buffer: FakeBuffer; readonly offset: number; readonly size: number }[];
}
interface Work {
  readonly buffers: readonly FakeBuffer[];
  readonly execute: () => void;
}

class FakeEncoder {
  private work: Work[] | undefined = [];
  private inPass = false;

  constructor(private readonly device: FakeDevice) {}

  private push(ok: boolean, what: string, buffers: readonly FakeBuffer[], execute: () => void): void {
    const wrong = this.device.require(ok && this.work !== undefined && !this.inPass, what);
    if (!wrong) this.work!.push({ buffers, execute });
  }

  copyBufferToBuffer(from: FakeBuffer, fromAt: number, to: FakeBuffer, toAt: number, size: number): void {
    const ok =
      [fromAt, toAt, size].every((each) => each % 4 === 0 && each >= 0) && fromAt + size <= from.size && toAt + size <= to.size;
    const usages = (from.usage & USAGE.COPY_SRC) !== 0 && (to.usage & USAGE.COPY_DST) !== 0 && from !== to;
    this.push(ok && usages, `copy of ${size} bytes from ${from.label} at ${fromAt} to ${to.label} at ${toAt}`, [from, to], () =>
      to.bytes.set(from.bytes.subarray(fromAt, fromAt + size), toAt),
    );
  }

  clearBuffer(buffer: FakeBuffer, at = 0, size = buffer.size - at): void {
    const ok = at % 4 === 0 && size % 4 === 0 && at + size <= buffer.size && (buffer.usage & USAGE.COPY_DST) !== 0;
    this.push(ok, `clear of ${size} bytes at ${at}`, [buffer], () => void buffer.bytes.fill(0, at, at + size));
  }

  resolveQuerySet(set: FakeQuerySet, first: number, count: number, to: FakeBuffer, at: number): void {
    const ok =
      at % 256 === 0 && at + 8 * count <= to.size && first + count <= set.stamps.length && (to.usage & USAGE.QUERY_RESOLVE) !== 0;
    this.push(ok && !set.destroyed, `resolve of ${count} queries`, [to], () =>
      new BigUint64Array(to.bytes.buffer, at, count).set(set.stamps.subarray(first, first + count)),
    );
  }

  beginComputePass({ timestampWrites }: GPUComputePassDescriptor = {}): object {
    const { device } = this;
    device.require(!this.inPass, "a pass within a pass");
    this.inPass = true;
    const own: Work[] = [];
    let pipeline: FakePipeline | undefined;
    let group: FakeGroup | undefined;
    let dynamic = 0;
    const stamp = (index: number | undefined): void => {
      const set = timestampWrites!.querySet as unknown as FakeQuerySet;
      if (index === undefined) return;
      device.require(index < set.stamps.length, `a timestamp at ${index}, of ${set.stamps.length}`);
      set.stamps[index] = BigInt(Math.round(device.busyUntil * 1e6));
    };
    return {
      setPipeline: (each: FakePipeline) => {
        device.calls.setPipeline++;
        pipeline = each;
      },
      setBindGroup: (index: number, each: FakeGroup, offsets: Uint32Array, start: number, length: number) => {
        group = each;
        dynamic = offsets[start]!;
        const { buffer, size } = each.bindings[0]!;
        const aligned = dynamic % device.limits.minUniformBufferOffsetAlignment === 0 && dynamic + size <= buffer.size;
        if (index !== 0 || length !== 1 || !aligned) {
          device.require(false, `a dynamic offset of ${dynamic}, of ${buffer.size}`);
          group = undefined;
        }
      },
      dispatchWorkgroups: (...workgroups: number[]) => {
        const counts = workgroups.every((each) => Number.isInteger(each) && each > 0 && each <= 65535);
        const fits = pipeline !== undefined && group !== undefined && group.layout === pipeline.layout;
        if (device.require(fits && counts, `a dispatch of ${String(workgroups)} workgroups without pipeline or group`)) return;
        const [{ name, code }, { bindings }, at] = [pipeline!, group!, dynamic];
        own.push({
          buffers: bindings.map(({ buffer }) => buffer),
          execute: () => device.dispatch(name, code, bindings, at, workgroups),
        });
      },
      end: () => {
        this.inPass = false;
        const buffers = own.flatMap((each) => each.buffers);
        const execute = (): void => {
          if (timestampWrites) stamp(timestampWrites.beginningOfPassWriteIndex);
          for (const each of own) each.execute();
          if (timestampWrites) stamp(timestampWrites.endOfPassWriteIndex);
        };
        this.work?.push({ buffers, execute });
      },
    };
  }

  finish(): { work: readonly Work[] } {
    this.device.require(this.work !== undefined && !this.inPass, "finish of an encoder that is open or finished");
    const work = this.work ?? [];
    this.work = undefined;
    return { work };
  }
}

class FakeQuerySet {
  destroyed = false;
  readonly stamps: BigUint64Array;
  constructor(count: number) {
    this.stamps = new BigUint64Array(count);
  }
  destroy(): void {
    this.destroyed = true;
  }
}

class FakeQueue {
  constructor(private readonly device: FakeDevice) {}

  submit(lists: readonly { work: readonly Work[] }[]): void {
    const { device } = this;
    device.calls.submit++;
    if (device.gone) return;
    for (const { work } of lists) {
      const used = work.flatMap(({ buffers }) => buffers).find(({ state }) => state !== "unmapped");
      if (device.require(!used, `submit with the buffer ${used?.label}, which is ${used?.state}`)) continue;
      device.busyUntil = Math.max(device.busyUntil, performance.now());
      for (const { execute } of work) execute();
    }
  }

  writeBuffer(buffer: FakeBuffer, at: number, data: ArrayBufferView): void {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    const ok = at % 4 === 0 && bytes.length % 4 === 0 && at + bytes.length <= buffer.size;
    const usable = buffer.state === "unmapped" && (buffer.usage & USAGE.COPY_DST) !== 0;
    if (!this.device.require(ok && usable, `write of ${bytes.length} bytes at ${at}, of ${buffer.size}`))
      buffer.bytes.set(bytes, at);
  }

  onSubmittedWorkDone(): Promise<void> {
    return this.device.done();
  }
}

export class FakeDevice extends EventTarget {
  readonly adapterInfo: object;
  readonly limits: typeof LIMITS;
  readonly features: ReadonlySet<string>;
  readonly queue: FakeQueue = new FakeQueue(this);
  readonly lost: Promise<{ reason: string; message: string }>;
  gone = false;
  // What is WebGPU's own are methods, all else is not: tests wrap what WebGPU can do.
  /** When the GPU has done what was submitted, as of performance.now. */
  busyUntil = 0;
  readonly dispatched: Dispatched[] = [];
  readonly calls = { submit: 0, setPipeline: 0, createBindGroup: 0 };
  readonly buffers: FakeBuffer[] = [];
  readonly querySets: FakeQuerySet[] = [];
  /** Kinds of dispatches that were seen to stay within what is bound. */
  private readonly watched = new Set<string>();
  private readonly scopes: { readonly filter: string; error?: { message: string } }[] = [];
  private settle!: (loss: { reason: string; message: string }) => void;
  private readonly entries: ReadonlyMap<string, Entry>;

  constructor(private readonly options: FakeOptions = {}) {
    super();
    this.adapterInfo = { ...INFO, ...options.info };
    this.limits = { ...LIMITS, ...options.limits };
    this.features = new Set(options.features ?? []);
    this.entries = new Map([...allEntries(), ...(options.entries ?? [])]);
    this.lost = new Promise((resolve) => (this.settle = resolve));
  }

  destroy(): void {
    this.lose("destroyed", "the device was destroyed");
  }

  /** Ends the device, by its owner's hand or the driver's. */
  readonly lose = (reason: string, message: string): void => {
    this.gone = true;
    for (const buffer of this.buffers) buffer.destroy();
    this.settle({ reason, message });
  };

  readonly done = (): Promise<void> => (this.options.until ?? later)(this.busyUntil);

  /** Reports what is not as it must be, to the scope that waits for it, else to everybody. */
  readonly require = (ok: boolean, message: string, filter = "validation"): string | undefined => {
    if (ok || this.gone) return undefined;
    const scope = this.scopes.filter((each) => each.filter === filter).at(-1);
    if (scope) scope.error ??= { message };
    else this.dispatchEvent(Object.assign(new Event("uncapturederror", { cancelable: true }), { error: { message } }));
    return message;
  };

  pushErrorScope(filter: string): void {
    if (!["validation", "out-of-memory", "internal"].includes(filter)) throw new TypeError(`no filter ${filter}`);
    this.scopes.push({ filter });
  }

  async popErrorScope(): Promise<{ message: string } | null> {
    const scope = this.scopes.pop();
    if (!scope) throw new DOMException("no scope is open", "OperationError");
    await this.done();
    return scope.error ?? null;
  }

  createBuffer(descriptor: GPUBufferDescriptor): FakeBuffer {
    const buffer = new FakeBuffer(this, descriptor);
    const isTensor = (descriptor.usage & USAGE.STORAGE) !== 0;
    this.require(!isTensor || (descriptor.label ?? "") !== "", "a tensor without a name, which debuggers would show");
    this.require(descriptor.usage > 0, `a buffer of usage ${descriptor.usage}`);
    this.require(descriptor.size <= this.limits.maxBufferSize, `a buffer of ${descriptor.size} bytes`);
    this.buffers.push(buffer);
    return buffer;
  }

  createQuerySet({ count }: GPUQuerySetDescriptor): FakeQuerySet {
    this.require(this.features.has("timestamp-query") && count <= 4096, `${count} queries`);
    const set = new FakeQuerySet(count);
    this.querySets.push(set);
    return set;
  }

  createShaderModule({ label = "", code }: GPUShaderModuleDescriptor): FakeModule {
    const messages = this.options.compile?.(code) ?? [];
    this.require(!messages.some(({ type }) => type === "error"), `${label} does not compile`);
    return { label, code, messages, getCompilationInfo: async () => ({ messages }) };
  }

  createBindGroupLayout(descriptor: GPUBindGroupLayoutDescriptor): GPUBindGroupLayoutDescriptor {
    const numbers = [...descriptor.entries].map(({ binding, visibility }) => (visibility === 4 ? binding : -1));
    this.require(String(numbers) === String([...numbers.keys()]), `bindings ${String(numbers)}`);
    // The params at an offset that each dispatch gives, the tensors where the group says.
    for (const { binding, buffer: { type = "uniform", hasDynamicOffset = false } = {} } of descriptor.entries) {
      if (!["uniform", "storage", "read-only-storage"].includes(type)) throw new TypeError(`no buffer is of type ${type}`);
      this.require(
        (type === "uniform") === (binding === 0) && hasDynamicOffset === (binding === 0),
        `binding ${binding}: ${type}`,
      );
    }
    return descriptor;
  }

  createPipelineLayout({ bindGroupLayouts }: { bindGroupLayouts: GPUBindGroupLayoutDescriptor[] }): GPUBindGroupLayoutDescriptor {
    return bindGroupLayouts[0]!;
  }

  async createComputePipelineAsync(descriptor: {
    label: string;
    layout: GPUBindGroupLayoutDescriptor;
    compute: { module: FakeModule; entryPoint: string };
  }): Promise<FakePipeline> {
    const { label, layout, compute } = descriptor;
    const { code, messages } = compute.module;
    const known = code.includes(`fn ${compute.entryPoint}(`) && label.endsWith(`.${compute.entryPoint}`);
    const width = new RegExp(`@workgroup_size\\((\\d+)\\)\\s+fn ${compute.entryPoint}\\(`).exec(code)?.[1];
    if (!known || Number(width) > this.limits.maxComputeInvocationsPerWorkgroup || messages.some(({ type }) => type === "error"))
      throw new DOMException(`${label} has no entry point ${compute.entryPoint}`, "GPUPipelineError");
    for (const { binding, buffer } of layout.entries) {
      const declared = this.declarations(code, binding);
      const type = binding === 0 ? "uniform" : buffer!.type === "storage" ? "read_write" : "read";
      if (declared.length > 0 && !declared.some(({ access }) => access === type))
        throw new DOMException(`${label}: binding ${binding} is not ${type}`, "GPUPipelineError");
    }
    return { name: label, code, layout };
  }

  createBindGroup({ layout, entries }: { layout: GPUBindGroupLayoutDescriptor; entries: GPUBindGroupEntry[] }): FakeGroup {
    this.calls.createBindGroup++;
    const bindings = entries.map(({ resource }) => resource as unknown as FakeGroup["bindings"][number]);
    const declared = [...layout.entries];
    this.require(declared.length === bindings.length, `${bindings.length} bindings of ${declared.length}`);
    bindings.forEach(({ buffer, offset, size }, i) => {
      const usage = i === 0 ? USAGE.UNIFORM : USAGE.STORAGE;
      const ok = offset % 256 === 0 && size > 0 && size % 4 === 0 && offset + size <= buffer.size && (buffer.usage & usage) !== 0;
      this.require(ok && entries[i]!.binding === i, `binding ${i}: ${size} bytes at ${offset} of ${buffer.label}`);
      const other = bindings.findIndex((each, j) => j > i && each.buffer === buffer);
      const types = [i, other].map((each) => declared[each]?.buffer?.type);
      this.require(other < 0 || types[0] === types[1], `${buffer.label} is read and written by one dispatch`);
    });
    return { layout, bindings };
  }

  createCommandEncoder(): FakeEncoder {
    return new FakeEncoder(this);
  }

  private readonly declarations = (code: string, binding: number): { access: string; name: string; type: string }[] => {
    const pattern = new RegExp(`@binding\\(${binding}\\) var<(?:storage, )?(\\w+)> (\\w+): (?:array<(\\w+))?`, "g");
    return [...code.matchAll(pattern)].map(([, access, name, type]) => ({ access: access!, name: name!, type: type ?? "" }));
  };

  /** The kernel that was compiled: several entry points may be one function, with other constants. */
  private readonly entryOf = (label: string, code: string): Entry => {
    for (const entry of this.entries.values()) {
      for (const { entryPoint = entry.name, constants = {} } of entry.variants) {
        if (`${entry.kernel}.${entryPoint}` !== label) continue;
        if (Object.entries(constants).every(([name, value]) => code.includes(`const ${name}: u32 = ${value}u;`))) return entry;
      }
    }
    throw new Error(`no kernel ${label}`);
  };

  /** Runs a kernel's reference on what is bound. */
  readonly dispatch = (
    label: string,
    code: string,
    bindings: FakeGroup["bindings"],
    at: number,
    workgroups: readonly number[],
  ): void => {
    const entry = this.entryOf(label, code);
    const { bytes } = bindings[0]!.buffer;
    const view = new DataView(bytes.buffer, bindings[0]!.offset + at, bindings[0]!.size);
    const params: Record<string, number> = {};
    for (const [i, [name, type]] of Object.entries(entry.params).entries())
      params[name] = type === "f32" ? view.getFloat32(4 * i, true) : view.getUint32(4 * i, true);
    const halves: (() => void)[] = [];
    const arrays = Object.fromEntries(
      Object.keys(entry.bindings).map((name, i) => {
        const { buffer, offset, size } = bindings[i + 1]!;
        const declared = this.declarations(code, i + 1);
        const { type } = declared.find((each) => each.name === name) ?? declared[0]!;
        if (code.includes(`alias ${type} = vec4<f16>;`)) {
          const words = new Uint16Array(buffer.bytes.buffer, offset, size / 2);
          const values = Float32Array.from(words, fromHalf);
          halves.push(() => values.forEach((value, at) => (words[at] = toHalf(value))));
          return [name, values];
        }
        const ArrayType = type === "u32" ? Uint32Array : Float32Array;
        return [name, new ArrayType(buffer.bytes.buffer, offset, size / 4)];
      }),
    );
    const dispatched = { name: label, code, workgroups, params, arrays };
    // Once of each kind, since looking costs more than computing.
    const kind = JSON.stringify([label, params, bindings.map(({ size }) => size)]);
    const watched = Object.entries(arrays).map(([name, array]) => [name, bounded(array, label, name)]);
    entry.reference(this.watched.has(kind) ? arrays : Object.fromEntries(watched), params);
    this.watched.add(kind);
    this.options.after?.(dispatched);
    for (const round of halves) round();
    this.dispatched.push(dispatched);
    this.busyUntil += this.options.cost?.(dispatched) ?? 0;
  };
}

/** A GPUDevice that nothing but this process runs, and the way to see inside. */
export function makeFakeDevice(options: FakeOptions = {}): { gpuDevice: GPUDevice; fake: FakeDevice } {
  const fake = new FakeDevice(options);
  return { gpuDevice: fake as unknown as GPUDevice, fake };
}

/** An adapter, which gives one device. */
class FakeAdapter {
  readonly info: object;
  readonly limits: typeof LIMITS;
  readonly features: ReadonlySet<string>;
  private used = false;

  constructor(private readonly options: FakeOptions) {
    this.info = { ...INFO, ...options.info };
    this.limits = { ...LIMITS, ...options.limits };
    this.features = new Set(options.features ?? []);
  }

  async requestDevice({ requiredFeatures = [], requiredLimits = {} }: GPUDeviceDescriptor = {}): Promise<GPUDevice> {
    if (this.used) throw new DOMException("the adapter has given its device", "OperationError");
    this.used = true;
    const features = [...requiredFeatures];
    if (!features.every((each) => this.features.has(each))) throw new TypeError("no such feature");
    const limits = { ...this.limits, maxBufferSize: 1 << 28, maxStorageBufferBindingSize: 1 << 27, ...requiredLimits };
    return makeFakeDevice({ ...this.options, limits, features }).gpuDevice;
  }
}

export const makeFakeAdapter = (options: FakeOptions = {}): GPUAdapter => new FakeAdapter(options) as unknown as GPUAdapter;

import { disposedError, GatewiseError } from "../errors.ts";
import type { Device, KernelTime, Plan, RecordOptions } from "./device.ts";
import type { Family } from "./kernel.ts";
import { makeFlatTensors, makeTensor, Recorder, tensorsOf, type Command, type FlatTensors } from "./recorder.ts";
import { fromStored, notHere, toStored, type NumberArray, type Tensor, type TensorSpec, type TensorStorage } from "./tensor.ts";

/** Milliseconds of work after which the event loop may breathe. */
const SLICE = 30;

/** The error for a tensor that does not fit, before anything was allocated. */
export const memoryError = (name: string, bytes: number, cause?: unknown): GatewiseError =>
  new GatewiseError("E_LIMIT", `${name}: ${bytes} bytes do not fit in memory; make the model or the batch smaller`, { cause });

const arrayOf = (tensor: Tensor): NumberArray => tensor.storage.array!.subarray(tensor.offset, tensor.offset + tensor.length);

/** Lets timers and signals in; faster than setTimeout, whose delay browsers clamp to 4 ms. */
function breathe(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(0);
  });
}

/** What devices share whose tensors lie in the host's own memory, and whose plans are done when `run` resolves. */
export abstract class HostDevice implements Device {
  abstract readonly kind: "cpu" | "wasm";
  abstract readonly family: Family;
  abstract readonly description: string;
  readonly subgroupSize = 0;
  readonly gpuDevice = undefined;
  readonly maxTensorBytes: number = Infinity;
  readonly tuner = undefined;
  readonly lost = new Promise<string>(() => {});
  protected readonly storages = new Set<TensorStorage>();
  /** Over all plans: a long loop of short plans must let signals in too. */
  private lastBreath = performance.now();
  private disposed = false;

  constructor(readonly fallbackReason?: string) {}

  /** Makes the arrays of tensors, all zero: of every one, or, where they do not fit, of none. */
  protected abstract place(tensors: readonly Tensor[]): void;
  /** Lets go of what lies behind a storage. */
  protected release(storage: TensorStorage): void {
    storage.array = undefined;
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

  /** @throws GatewiseError E_DISPOSED, also for a tensor that is not on this device */
  private check(tensor?: Tensor): void {
    if (this.disposed) throw disposedError("this device");
    if (tensor && !this.storages.has(tensor.storage)) throw notHere(tensor.name);
  }

  private allocate(tensors: readonly Tensor[]): void {
    this.check();
    this.place(tensors);
    for (const { storage } of tensors) this.storages.add(storage);
  }

  free(...tensors: readonly Tensor[]): void {
    // Those of another device are not this one's to free.
    for (const { storage } of tensors) if (this.storages.delete(storage)) this.release(storage);
  }

  write(tensor: Tensor, values: NumberArray): void {
    this.check(tensor);
    arrayOf(tensor).set(toStored(tensor, values));
  }

  async read(tensor: Tensor): Promise<NumberArray> {
    this.check(tensor);
    const dense = fromStored(tensor, arrayOf(tensor));
    return dense.buffer === tensor.storage.array!.buffer ? dense.slice() : dense;
  }

  async record<Made>(name: string, build: (recorder: Recorder) => Made, { signal }: RecordOptions = {}): Promise<Plan<Made>> {
    this.check();
    signal?.throwIfAborted();
    const recorder = new Recorder(this);
    const made = build(recorder);
    this.allocate(recorder.tensors);
    const { commands } = recorder;
    const touched = tensorsOf(commands);
    // Emptied by dispose, so that the arrays can go.
    let steps: { readonly command: Command; readonly run: () => void }[];
    try {
      steps = commands.map((command) => ({ command, run: this.executor(command) }));
    } catch (error) {
      this.free(...recorder.tensors);
      throw error;
    }
    let disposed = false;
    const check = (): void => {
      this.check();
      if (disposed) throw disposedError(`the plan "${name}"`);
      for (const tensor of touched) this.check(tensor);
    };

    const run = async (signal?: AbortSignal, times?: Map<string, { count: number; milliseconds: number }>): Promise<void> => {
      check();
      signal?.throwIfAborted();
      for (const { command, run: execute } of steps) {
        const begin = performance.now();
        execute();
        const end = performance.now();
        if (times && command.kind === "dispatch") {
          const key = `${command.entry.kernel}.${command.entry.name}`;
          const entry = times.get(key) ?? { count: 0, milliseconds: 0 };
          times.set(key, { count: entry.count + 1, milliseconds: entry.milliseconds + end - begin });
        }
        if (end - this.lastBreath > SLICE) {
          await breathe();
          this.lastBreath = performance.now();
          check();
          signal?.throwIfAborted();
        }
      }
    };
    return {
      name,
      made,
      dispatches: commands.filter((c) => c.kind === "dispatch").length,
      bytes: recorder.tensors.reduce((sum, t) => sum + t.storage.bytes, 0),
      // There are no variants here.
      choices: new Map(),
      run: async (writes = [], signal) => {
        check();
        for (const [tensor, values] of writes) this.write(tensor, values);
        await run(signal);
      },
      runAndRead: async (tensor, signal) => {
        await run(signal);
        return this.read(tensor);
      },
      profile: async () => {
        const times = new Map<string, { count: number; milliseconds: number }>();
        await run(undefined, times);
        return [...times]
          .map(([kernel, time]): KernelTime => ({ kernel, ...time }))
          .sort((a, b) => b.milliseconds - a.milliseconds);
      },
      dispose: () => {
        disposed = true;
        steps = [];
        this.free(...recorder.tensors);
      },
    };
  }

  async finish(): Promise<void> {
    this.check();
  }

  memory(): { buffers: number; bytes: number } {
    let bytes = 0;
    for (const storage of this.storages) bytes += storage.array!.byteLength;
    return { buffers: this.storages.size, bytes };
  }

  dispose(): void {
    this.disposed = true;
    for (const storage of this.storages) this.release(storage);
    this.storages.clear();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** What runs a command. The arrays are looked up at every run: they may move. */
  protected executor(command: Command): () => void {
    switch (command.kind) {
      case "dispatch": {
        const { entry, tensors, params } = command;
        const names = Object.keys(entry.bindings);
        return () => entry.reference(Object.fromEntries(names.map((name, i) => [name, arrayOf(tensors[i]!)])), params);
      }
      case "copy": {
        const { from, to, fromOffset, toOffset, length } = command;
        return () => arrayOf(to).set(arrayOf(from).subarray(fromOffset, fromOffset + length), toOffset);
      }
      case "clear":
        return () => void arrayOf(command.tensor).fill(0);
    }
  }
}

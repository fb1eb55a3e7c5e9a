import { disposedError, GatewiseError } from "../errors.ts";
import type { Device, KernelTime, Plan, RecordOptions } from "./device.ts";
import { makeFlatTensors, makeTensor, Recorder, tensorsOf, type Command, type FlatTensors } from "./recorder.ts";
import { fromStored, notHere, toStored, type NumberArray, type Tensor, type TensorSpec, type TensorStorage } from "./tensor.ts";

/** Milliseconds of work after which the event loop may breathe. */
const SLICE = 30;

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

/** Runs every kernel's reference: the definition of what the GPU computes, and the fallback without one. */
export class CpuDevice implements Device {
  readonly kind = "cpu";
  readonly family = "software";
  readonly subgroupSize = 0;
  readonly gpuDevice = undefined;
  readonly maxTensorBytes = Infinity;
  readonly tuner = undefined;
  readonly lost = new Promise<string>(() => {});
  readonly description: string;
  private readonly storages = new Set<TensorStorage>();
  /** Over all plans: a long loop of short plans must let signals in too. */
  private lastBreath = performance.now();

  private disposed = false;

  constructor(
    private readonly precision: "float32" | "float64" = "float32",
    readonly fallbackReason?: string,
  ) {
    this.description = `CPU ${precision}`;
  }

  tensor(spec: TensorSpec): Tensor {
    const tensor = makeTensor(spec);
    this.allocate(tensor);
    return tensor;
  }

  flatTensors(name: string, specs: readonly TensorSpec[]): FlatTensors {
    const flat = makeFlatTensors(name, specs);
    this.allocate(flat.whole);
    return flat;
  }

  /** @throws GatewiseError E_DISPOSED, also for a tensor that is not on this device */
  private check(tensor?: Tensor): void {
    if (this.disposed) throw disposedError("this device");
    if (tensor && !this.storages.has(tensor.storage)) throw notHere(tensor.name);
  }

  private allocate(tensor: Tensor): void {
    this.check();
    const { storage } = tensor;
    const Constructor = tensor.dtype === "u32" ? Uint32Array : this.precision === "float64" ? Float64Array : Float32Array;
    try {
      storage.array = new Constructor(tensor.length);
    } catch (cause) {
      throw new GatewiseError(
        "E_LIMIT",
        `${tensor.name}: ${storage.bytes} bytes do not fit in memory; make the model or the batch smaller`,
        { cause },
      );
    }
    this.storages.add(storage);
  }

  free(...tensors: readonly Tensor[]): void {
    // Those of another device are not this one's to free.
    for (const { storage } of tensors) if (this.storages.delete(storage)) storage.array = undefined;
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
    try {
      for (const tensor of recorder.tensors) this.allocate(tensor);
    } catch (error) {
      this.free(...recorder.tensors);
      throw error;
    }
    const { commands } = recorder;
    const touched = tensorsOf(commands);
    // Emptied by dispose, so that the arrays can go.
    let steps = commands.map((command) => ({ command, run: executor(command) }));
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
      // The references have no variants.
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
    for (const storage of this.storages) storage.array = undefined;
    this.storages.clear();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}

function executor(command: Command): () => void {
  switch (command.kind) {
    case "dispatch": {
      const names = Object.keys(command.entry.bindings);
      const arrays = Object.fromEntries(names.map((name, i) => [name, arrayOf(command.tensors[i]!)]));
      return () => command.entry.reference(arrays, command.params);
    }
    case "copy": {
      const { from, to, fromOffset, toOffset, length } = command;
      const source = arrayOf(from).subarray(fromOffset, fromOffset + length);
      const target = arrayOf(to);
      return () => target.set(source, toOffset);
    }
    case "clear": {
      const target = arrayOf(command.tensor);
      return () => void target.fill(0);
    }
  }
}

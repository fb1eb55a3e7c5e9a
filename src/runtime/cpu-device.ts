import { GatewiseError } from "../errors.ts";
import type { Device, KernelTime, Plan } from "./device.ts";
import { makeFlatTensors, makeTensor, Recorder, type Command, type FlatTensors } from "./recorder.ts";
import { fromStored, toStored, type NumberArray, type Tensor, type TensorSpec, type TensorStorage } from "./tensor.ts";

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
  readonly tuner = undefined;
  readonly lost = new Promise<string>(() => {});
  readonly description: string;
  private readonly storages = new Set<TensorStorage>();
  /** Over all plans: a long loop of short plans must let signals in too. */
  private lastBreath = performance.now();

  constructor(private readonly precision: "float32" | "float64") {
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

  private allocate(tensor: Tensor): void {
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
    for (const { storage } of tensors) {
      storage.array = undefined;
      this.storages.delete(storage);
    }
  }

  write(tensor: Tensor, values: NumberArray): void {
    arrayOf(tensor).set(toStored(tensor, values));
  }

  async read(tensor: Tensor): Promise<NumberArray> {
    const dense = fromStored(tensor, arrayOf(tensor));
    return dense.buffer === tensor.storage.array!.buffer ? dense.slice() : dense;
  }

  async record(name: string, build: (recorder: Recorder) => void): Promise<Plan> {
    const recorder = new Recorder(this);
    build(recorder);
    for (const tensor of recorder.tensors) this.allocate(tensor);
    const steps = recorder.commands.map((command) => ({ command, run: executor(command) }));

    const run = async (times?: Map<string, { count: number; milliseconds: number }>): Promise<void> => {
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
        }
      }
    };
    return {
      name,
      dispatches: recorder.commands.filter((c) => c.kind === "dispatch").length,
      bytes: recorder.tensors.reduce((sum, t) => sum + t.storage.bytes, 0),
      run: () => run(),
      runAndRead: async (tensor) => {
        await run();
        return this.read(tensor);
      },
      profile: async () => {
        const times = new Map<string, { count: number; milliseconds: number }>();
        await run(times);
        return [...times]
          .map(([kernel, time]): KernelTime => ({ kernel, ...time }))
          .sort((a, b) => b.milliseconds - a.milliseconds);
      },
      dispose: () => this.free(...recorder.tensors),
    };
  }

  async finish(): Promise<void> {}

  memory(): { buffers: number; bytes: number } {
    let bytes = 0;
    for (const storage of this.storages) bytes += storage.array!.byteLength;
    return { buffers: this.storages.size, bytes };
  }

  dispose(): void {
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

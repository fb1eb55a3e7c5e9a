import { HostDevice, memoryError } from "./host-device.ts";
import type { Command, DispatchCommand } from "./recorder.ts";
import type { NumberArray, Tensor, TensorStorage } from "./tensor.ts";
import { MAX_PAGES, WasmHeap } from "./wasm-heap.ts";
import { formName, instantiate, scratchName, type CompiledModule, type Form } from "./wasm-module.ts";

/** The first bytes of the memory are the module's own. */
const MODULE_BYTES = 4096;

/** Where a storage lies. */
interface Place {
  readonly address: number;
  readonly length: number;
  readonly Constructor: new (buffer: ArrayBufferLike, address: number, length: number) => NumberArray;
}

/**
 * Runs plans over one WebAssembly memory: the WebAssembly form of an entry point where it has one, else its reference, on the
 * same numbers. f32 only.
 */
export class WasmDevice extends HostDevice {
  readonly kind = "wasm";
  readonly family = "wasm";
  override readonly maxTensorBytes = 2 ** 32;
  readonly description: string;
  private readonly heap: WasmHeap;
  private readonly places = new Map<TensorStorage, Place>();
  private readonly forms: Readonly<Record<string, Form | undefined>>;
  /** What the forms write to while they run: as much as the neediest dispatch of all plans wants. */
  private scratch = { address: 0, bytes: 0 };

  constructor(compiled: CompiledModule, fallbackReason?: string) {
    super(fallbackReason);
    const memory = new WebAssembly.Memory({ initial: 1, maximum: MAX_PAGES });
    this.heap = new WasmHeap(memory, MODULE_BYTES);
    this.forms = instantiate(compiled, memory);
    this.description = `WebAssembly SIMD, ${compiled.build === "relaxed" ? "relaxed, " : ""}1 thread`;
  }

  protected place(tensors: readonly Tensor[]): void {
    const addresses = this.take(tensors.map(({ length }) => 4 * length));
    if (!addresses) {
      const most = tensors.reduce((a, b) => (b.length > a.length ? b : a));
      throw memoryError(most.name, 4 * most.length);
    }
    tensors.forEach(({ dtype, length, storage }, i) => {
      const place = { address: addresses[i]!, length, Constructor: dtype === "u32" ? Uint32Array : Float32Array };
      this.places.set(storage, place);
      storage.array = this.view(place);
    });
  }

  protected override release(storage: TensorStorage): void {
    super.release(storage);
    this.heap.give(this.places.get(storage)!.address);
    this.places.delete(storage);
  }

  private view({ address, length, Constructor }: Place): NumberArray {
    return new Constructor(this.heap.memory.buffer, address, length);
  }

  /** Takes parts of the memory; where that makes it grow, the arrays over it are made anew. */
  private take(sizes: readonly number[]): readonly number[] | undefined {
    const { buffer } = this.heap.memory;
    const addresses = this.heap.take(sizes);
    if (this.heap.memory.buffer !== buffer) for (const [storage, place] of this.places) storage.array = this.view(place);
    return addresses;
  }

  protected override executor(command: Command): () => void {
    const form = command.kind === "dispatch" && this.forms[formName(command.entry)];
    return form ? this.call(form, command) : super.executor(command);
  }

  private call(form: Form, { entry, tensors, params }: DispatchCommand): () => void {
    const numbers = Object.keys(entry.params).map((name) => params[name]!);
    this.reserve(this.forms[scratchName(entry)]?.(...numbers) ?? 0, entry.kernel);
    const addresses = tensors.map(({ storage, offset }) => this.places.get(storage)!.address + 4 * offset);
    const given = [...addresses, ...numbers];
    return () => void form(...given, this.scratch.address, 0, 1);
  }

  private reserve(bytes: number, name: string): void {
    if (bytes <= this.scratch.bytes) return;
    if (this.scratch.bytes > 0) this.heap.give(this.scratch.address);
    const taken = this.take([bytes]);
    if (!taken) throw memoryError(`scratch of ${name}`, bytes);
    this.scratch = { address: taken[0]!, bytes };
  }
}

import { HostDevice, memoryError } from "./host-device.ts";
import type { Command, DispatchCommand } from "./recorder.ts";
import type { NumberArray, Tensor, TensorStorage } from "./tensor.ts";
import { MAX_PAGES, WasmHeap } from "./wasm-heap.ts";
import {
  compileModule,
  formName,
  instantiate,
  MODULE_BYTES,
  scratchName,
  type Build,
  type CompiledModule,
  type Form,
} from "./wasm-module.ts";
import { Crew, type Spawn } from "./wasm-threads.ts";
import { fasterTiles } from "./wasm-tiles.ts";

export { coresHere, spawnHere } from "./wasm-threads.ts";

/** Work from which a dispatch is worth waking the other threads. */
const SHARED_WORK = 1e6;

/** Where a storage lies. */
interface Place {
  readonly address: number;
  readonly length: number;
  readonly Constructor: new (buffer: ArrayBufferLike, address: number, length: number) => NumberArray;
}

export interface WasmOptions {
  readonly threads?: number;
  /** What starts the other threads. */
  readonly spawn?: Spawn | undefined;
  readonly builds?: readonly Build[];
  readonly fallbackReason?: string | undefined;
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

  private constructor(
    compiled: CompiledModule,
    memory: WebAssembly.Memory,
    private readonly crew: Crew | undefined,
    fallbackReason?: string,
  ) {
    super(fallbackReason);
    this.heap = new WasmHeap(memory, MODULE_BYTES);
    this.forms = instantiate(compiled, memory);
    const threads = crew ? `${crew.parts} threads` : "1 thread";
    this.description = `WebAssembly SIMD, ${compiled.build === "plain" ? "" : `${compiled.build}, `}${threads}`;
  }

  /** Opens a device of so many threads, or says why there can be none. */
  static async open({ threads = 1, spawn, builds, fallbackReason }: WasmOptions = {}): Promise<WasmDevice | string> {
    const shared = threads > 1 && spawn !== undefined;
    const first = await compileModule({ ...(builds && { builds }), shared });
    if (typeof first === "string") return first;
    const other = first.build === "wide" && builds?.includes("relaxed") && (await compileModule({ builds: ["relaxed"], shared }));
    const compiled = typeof other === "object" ? fasterTiles(first, other, shared) : first;
    const memory = new WebAssembly.Memory({ initial: 1, maximum: MAX_PAGES, shared });
    const crew = shared ? await Crew.start(compiled.module, memory, threads, spawn) : undefined;
    return new WasmDevice(compiled, memory, crew, fallbackReason);
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

  private call(form: Form, { entry, tensors, params, work }: DispatchCommand): () => void {
    const numbers = Object.keys(entry.params).map((name) => params[name]!);
    this.reserve(this.forms[scratchName(entry)]?.(...numbers) ?? 0, entry.kernel);
    const addresses = tensors.map(({ storage, offset }) => this.places.get(storage)!.address + 4 * offset);
    const given = [...addresses, ...numbers];
    const { crew } = this;
    if (!crew || work < SHARED_WORK) return () => void form(...given, this.scratch.address, 0, 1);
    const name = formName(entry);
    return () => {
      const { address, bytes } = this.scratch;
      crew.run(name, [...given, address, bytes], () => form(...given, address, 0, crew.parts));
    };
  }

  override dispose(): void {
    super.dispose();
    this.crew?.dispose();
  }

  private reserve(bytes: number, name: string): void {
    if (bytes <= this.scratch.bytes) return;
    // Before the old one is given: plans that are there go on with it where there is no room.
    const taken = this.take([bytes * (this.crew?.parts ?? 1)]);
    if (!taken) throw memoryError(`scratch of ${name}`, bytes);
    if (this.scratch.bytes > 0) this.heap.give(this.scratch.address);
    this.scratch = { address: taken[0]!, bytes };
  }
}

// The parts of one WebAssembly memory that are in use and those that are free: first fit, in order of their addresses.

/** Starts of parts are multiples of this, so that no vector crosses a line of the cache. */
const ALIGNMENT = 64;
const PAGE = 65536;
/** Bytes behind the last part that vectors may read. */
const MARGIN = 64;
/** What a 32-bit memory can have at the most. */
export const MAX_PAGES = 65536;

interface Part {
  readonly address: number;
  readonly bytes: number;
}

export class WasmHeap {
  /** What is free below `end`, in order; no two of them touch. */
  private free: Part[] = [];
  private readonly used = new Map<number, number>();
  /** Behind everything that was ever taken. */
  private end: number;

  /** @param begin bytes at the start of the memory that are not the heap's */
  constructor(
    readonly memory: WebAssembly.Memory,
    begin: number,
  ) {
    this.end = alignedUp(begin);
  }

  /** Takes parts of so many bytes, zeroed; undefined, and nothing taken, where they do not fit. */
  take(sizes: readonly number[]): readonly number[] | undefined {
    const before = { free: [...this.free], end: this.end };
    const addresses = sizes.map((bytes) => this.place(alignedUp(Math.max(bytes, 1))));
    const missing = this.end + MARGIN - this.memory.buffer.byteLength;
    try {
      if (this.end + MARGIN > MAX_PAGES * PAGE) throw new RangeError("more than a memory can have");
      if (missing > 0) this.memory.grow(Math.ceil(missing / PAGE));
    } catch {
      this.free = before.free;
      this.end = before.end;
      return undefined;
    }
    const bytes = new Uint8Array(this.memory.buffer);
    addresses.forEach((address, i) => {
      const size = alignedUp(Math.max(sizes[i]!, 1));
      this.used.set(address, size);
      // What lies above was never written.
      if (address < before.end) bytes.fill(0, address, address + size);
    });
    return addresses;
  }

  private place(bytes: number): number {
    const index = this.free.findIndex((part) => part.bytes >= bytes);
    if (index < 0) {
      const last = this.free.at(-1);
      const address = last && last.address + last.bytes === this.end ? this.free.pop()!.address : this.end;
      this.end = address + bytes;
      return address;
    }
    const { address, bytes: size } = this.free[index]!;
    this.free.splice(index, 1, ...(size > bytes ? [{ address: address + bytes, bytes: size - bytes }] : []));
    return address;
  }

  give(address: number): void {
    const bytes = this.used.get(address);
    if (bytes === undefined) throw new Error(`nothing was taken at ${address}`);
    this.used.delete(address);
    let at = this.free.findIndex((part) => part.address > address);
    if (at < 0) at = this.free.length;
    let part: Part = { address, bytes };
    const [before, after] = [this.free[at - 1], this.free[at]];
    if (after && address + bytes === after.address) {
      part = { address, bytes: bytes + after.bytes };
      this.free.splice(at, 1);
    }
    if (before && before.address + before.bytes === address) {
      part = { address: before.address, bytes: before.bytes + part.bytes };
      this.free.splice(--at, 1);
    }
    this.free.splice(at, 0, part);
  }
}

const alignedUp = (bytes: number): number => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

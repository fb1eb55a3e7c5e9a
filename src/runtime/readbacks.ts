import { MAP_READ, USAGE } from "./webgpu-constants.ts";

/** Buffers up to this size are kept for the next read; larger ones are not worth their memory. */
const MOST_KEPT_BYTES = 1 << 20;
/** Buffers that are kept: as many as a training loop has logs under way, and some. */
const MOST_KEPT = 16;
const LEAST_BYTES = 256;

/** Buffers that results are copied to on their way to the host. A few are kept, so that a loop that reads makes none. */
export class Readbacks {
  /** The one that waits longest first. */
  private idle: GPUBuffer[] = [];

  constructor(
    private readonly make: (descriptor: GPUBufferDescriptor) => GPUBuffer,
    private readonly destroy: (buffer: GPUBuffer) => void,
  ) {}

  /** A buffer of at least `bytes`. Sizes are rounded up to powers of two, so that one serves many lengths. */
  take(bytes: number): GPUBuffer {
    const size = bytes > MOST_KEPT_BYTES ? bytes : Math.max(LEAST_BYTES, 2 ** Math.ceil(Math.log2(bytes)));
    const found = this.idle.findIndex((buffer) => buffer.size === size);
    if (found >= 0) return this.idle.splice(found, 1)[0]!;
    return this.make({ label: "read-back", size, usage: USAGE.MAP_READ | USAGE.COPY_DST });
  }

  /** Takes a buffer back when it was read and unmapped. */
  give(buffer: GPUBuffer): void {
    if (buffer.size > MOST_KEPT_BYTES) return this.destroy(buffer);
    this.idle.push(buffer);
    if (this.idle.length > MOST_KEPT) this.destroy(this.idle.shift()!);
  }

  /** Lets go of the buffers that are kept. */
  drop(): void {
    for (const buffer of this.idle) this.destroy(buffer);
    this.idle = [];
  }
}

/** Waits until a buffer is mapped and copies what it holds. */
export async function copyMapped(buffer: GPUBuffer, bytes: number): Promise<ArrayBuffer> {
  await buffer.mapAsync(MAP_READ, 0, bytes);
  const copied = buffer.getMappedRange(0, bytes).slice(0);
  buffer.unmap();
  return copied;
}

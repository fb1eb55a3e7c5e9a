import { HostDevice, memoryError } from "./host-device.ts";
import type { Tensor } from "./tensor.ts";

/** Runs every kernel's reference: the definition of what other devices compute, and the fallback without them. */
export class CpuDevice extends HostDevice {
  readonly kind = "cpu";
  readonly family = "software";
  readonly description: string;

  constructor(
    private readonly precision: "float32" | "float64" = "float32",
    fallbackReason?: string,
  ) {
    super(fallbackReason);
    this.description = `CPU ${precision}`;
  }

  protected place(tensors: readonly Tensor[]): void {
    for (const { name, dtype, length, storage } of tensors) {
      const Constructor = dtype === "u32" ? Uint32Array : this.precision === "float64" ? Float64Array : Float32Array;
      try {
        storage.array = new Constructor(length);
      } catch (cause) {
        for (const each of tensors) each.storage.array = undefined;
        throw memoryError(name, storage.bytes, cause);
      }
    }
  }
}

import { GatewiseError } from "../errors.ts";

/** Element type of a tensor. */
export type DType = "f32" | "u32" | "f16";

/** Bytes of an element on a GPU. On the CPU f16 is kept as the device's own format. */
export const bytesOf = (dtype: DType): number => (dtype === "f16" ? 2 : 4);

/** A typed array that a kernel's reference reads and writes. */
export type NumberArray = Float32Array | Float64Array | Uint32Array;

/** What a tensor is made from: its name, its logical shape, and how it lies in memory. */
export interface TensorSpec {
  readonly name: string;
  /** The logical shape, as PyTorch would print it. */
  readonly shape: readonly number[];
  /**
   * The shape in memory: the same rank, each axis at least as long. Kernels want the innermost axis, and every
   * unit axis, padded with zeros to a multiple of four (`pad4`), so that they can load `vec4f` everywhere.
   * Default: the innermost axis of f32 tensors padded, nothing else.
   */
  readonly stored?: readonly number[];
  readonly dtype?: DType;
}

/** A named array on a device. Plain data: the device that made it reads, writes and frees it. */
export interface Tensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly stored: readonly number[];
  readonly dtype: DType;
  /** Elements in memory, padding included. */
  readonly length: number;
  /** First element in the storage that it shares with its siblings; 0 for a tensor of its own. */
  readonly offset: number;
  readonly storage: TensorStorage;
}

/** The memory behind one or more tensors: a GPUBuffer on WebGPU, a typed array on the CPU. */
export interface TensorStorage {
  /** Bytes, counted by `device.memory()`. */
  readonly bytes: number;
  buffer: GPUBuffer | undefined;
  array: NumberArray | undefined;
}

/** The error for a tensor that is used where it is not. */
export const notHere = (name: string): GatewiseError =>
  new GatewiseError("E_DISPOSED", `${name} is not on this device: it was freed, or made by another device`);

/** `n` rounded up to a multiple of four: the row length of every padded axis. */
export const pad4 = (n: number): number => Math.ceil(n / 4) * 4;

/** Number of elements of a shape. */
export const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** The shape of `spec` in memory. */
export function storedShape(spec: TensorSpec): readonly number[] {
  if (spec.stored) return spec.stored;
  if (spec.dtype === "u32" || spec.shape.length === 0) return spec.shape;
  return [...spec.shape.slice(0, -1), pad4(spec.shape.at(-1)!)];
}

/** Copies between a dense array in logical order and one in stored order (padding untouched). */
function forEachRow(tensor: Tensor, copy: (dense: number, stored: number, length: number) => void): void {
  const { shape, stored } = tensor;
  const inner = shape.at(-1) ?? 1;
  const rows = sizeOf(shape) / Math.max(inner, 1);
  for (let row = 0; row < rows; row++) {
    let rest = row;
    let at = 0;
    let stride = stored.at(-1) ?? 1;
    for (let axis = shape.length - 2; axis >= 0; axis--) {
      at += (rest % shape[axis]!) * stride;
      rest = Math.floor(rest / shape[axis]!);
      stride *= stored[axis]!;
    }
    copy(row * inner, at, inner);
  }
}

const isDense = (tensor: Tensor): boolean => tensor.stored.every((n, axis) => n === tensor.shape[axis]);

/** Dense values in logical order → values in stored order, zeros in the padding. */
export function toStored<A extends NumberArray>(tensor: Tensor, dense: A): A {
  const expected = sizeOf(tensor.shape);
  if (dense.length !== expected) {
    throw new GatewiseError(
      "E_SHAPE",
      `${tensor.name}: expected ${expected} values for shape [${tensor.shape.join(", ")}], got ${dense.length}`,
    );
  }
  if (isDense(tensor)) return dense;
  const out = new (dense.constructor as new (n: number) => A)(tensor.length);
  forEachRow(tensor, (from, to, n) => out.set(dense.subarray(from, from + n) as never, to));
  return out;
}

/** Values in stored order → dense values in logical order. */
export function fromStored<A extends NumberArray>(tensor: Tensor, stored: A): A {
  const size = sizeOf(tensor.shape);
  // Storage is never smaller than one vec4f, so that even a dense tensor may be shorter than its memory.
  if (isDense(tensor)) return stored.length === size ? stored : (stored.slice(0, size) as A);
  const out = new (stored.constructor as new (n: number) => A)(size);
  forEachRow(tensor, (to, from, n) => out.set(stored.subarray(from, from + n) as never, to));
  return out;
}

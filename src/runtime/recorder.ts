import { GatewiseError } from "../errors.ts";
import { chooseVariant, type Bindings, type Entry, type Family, type Params, type ParamTypes, type Variant } from "./kernel.ts";
import { sizeOf, storedShape, type Tensor, type TensorSpec, type TensorStorage } from "./tensor.ts";

/** One dispatch of an entry point, ready to be replayed. */
export interface DispatchCommand {
  readonly kind: "dispatch";
  readonly entry: Entry;
  readonly variant: Variant;
  readonly params: Params;
  /** In binding order. */
  readonly tensors: readonly Tensor[];
  readonly workgroups: readonly [number, number, number];
  readonly work: number;
}
/** Copies `length` elements; offsets count elements within the tensors, in stored order. */
export interface CopyCommand {
  readonly kind: "copy";
  readonly from: Tensor;
  readonly fromOffset: number;
  readonly to: Tensor;
  readonly toOffset: number;
  readonly length: number;
}
/** Sets a tensor to zero. */
export interface ClearCommand {
  readonly kind: "clear";
  readonly tensor: Tensor;
}
export type Command = DispatchCommand | CopyCommand | ClearCommand;

const MAX_WORKGROUPS = 65535;

/**
 * Collects the commands of a plan and the tensors that live as long as it does. Nothing is allocated until the
 * device has seen the whole plan and checked it against its limits.
 */
export class Recorder {
  readonly commands: Command[] = [];
  readonly tensors: Tensor[] = [];

  constructor(private readonly family: Family) {}

  /** A tensor that belongs to the plan; zero at first. */
  tensor(spec: TensorSpec): Tensor {
    const tensor = makeTensor(spec);
    this.tensors.push(tensor);
    return tensor;
  }

  dispatch<P extends ParamTypes, B extends Bindings>(
    entry: Entry<P, B>,
    tensors: { readonly [K in keyof B]: Tensor },
    params: Params<P>,
    variantName?: string,
  ): void {
    const variant = chooseVariant(entry as unknown as Entry, params as Params, this.family, variantName);
    const [x, y = 1, z = 1] = entry.workgroups(params, variant.constants ?? {});
    if (x === 0 || y === 0 || z === 0) return;
    if (x > MAX_WORKGROUPS || y > MAX_WORKGROUPS || z > MAX_WORKGROUPS) {
      throw new GatewiseError(
        "E_LIMIT",
        `${entry.kernel}.${entry.name}: ${x}×${y}×${z} workgroups, at most ${MAX_WORKGROUPS} a dimension; make batch or sizes smaller`,
      );
    }
    this.commands.push({
      kind: "dispatch",
      entry: entry as unknown as Entry,
      variant,
      params: params as Params,
      tensors: Object.keys(entry.bindings).map((name) => {
        const tensor = tensors[name];
        if (!tensor) throw new Error(`${entry.kernel}.${entry.name}: tensor "${name}" is missing`);
        return tensor;
      }),
      workgroups: [x, y, z],
      work: entry.work(params),
    });
  }

  copy(from: Tensor, to: Tensor, options: { fromOffset?: number; toOffset?: number; length?: number } = {}): void {
    const { fromOffset = 0, toOffset = 0, length = Math.min(from.length - fromOffset, to.length - toOffset) } = options;
    this.commands.push({ kind: "copy", from, fromOffset, to, toOffset, length });
  }

  clear(tensor: Tensor): void {
    this.commands.push({ kind: "clear", tensor });
  }
}

/** A tensor with storage of its own that is not yet allocated. */
export function makeTensor(spec: TensorSpec): Tensor {
  const stored = storedShape(spec);
  // A buffer of no bytes cannot be bound.
  const length = Math.max(sizeOf(stored), 4);
  const storage: TensorStorage = { bytes: length * 4, buffer: undefined, array: undefined };
  return { name: spec.name, shape: spec.shape, stored, dtype: spec.dtype ?? "f32", length, offset: 0, storage };
}

/** Elements between the starts of tensors that share a buffer: bindings start at multiples of 256 bytes. */
const FLAT_ALIGNMENT = 64;

/** Tensors that lie one after another in one storage, and the whole of it. */
export interface FlatTensors {
  readonly whole: Tensor;
  readonly parts: readonly Tensor[];
}

export function makeFlatTensors(name: string, specs: readonly TensorSpec[]): FlatTensors {
  let length = 0;
  const offsets = specs.map((spec) => {
    const offset = length;
    length += Math.ceil(sizeOf(storedShape(spec)) / FLAT_ALIGNMENT) * FLAT_ALIGNMENT;
    return offset;
  });
  const whole = makeTensor({ name, shape: [length] });
  const parts = specs.map((spec, i): Tensor => {
    const stored = storedShape(spec);
    const offset = offsets[i]!;
    return { name: spec.name, shape: spec.shape, stored, dtype: "f32", length: sizeOf(stored), offset, storage: whole.storage };
  });
  return { whole, parts };
}

import { GatewiseError } from "../errors.ts";
import {
  ableVariants,
  chooseVariant,
  MAX_WORKGROUPS,
  type Bindings,
  type Entry,
  type Family,
  type Target,
  type Params,
  type ParamTypes,
  type Variant,
} from "./kernel.ts";
import { bytesOf, sizeOf, storedShape, type Tensor, type TensorSpec, type TensorStorage } from "./tensor.ts";

/** One dispatch of an entry point, ready to be replayed. */
export interface DispatchCommand {
  readonly kind: "dispatch";
  readonly entry: Entry;
  readonly variant: Variant;
  readonly params: Params;
  /** In binding order. */
  readonly tensors: readonly Tensor[];
  /** The shader's aliases that stand for f16 here. */
  readonly halves: readonly string[];
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

/** Ways to do the same work, of which the tuner takes the fastest. */
export interface Choice {
  /** What is chosen and for which sizes, rounded up to powers of two: "lstm.forward 64 128". */
  readonly key: string;
  readonly candidates: Readonly<Record<string, Candidate>>;
  /** What is taken without tuning. */
  readonly preferred: string;
  /** Work of the plan that it decides about, in the unit of `Entry.work`. */
  work: number;
}

export interface Candidate {
  readonly record: (recorder: Recorder) => void;
  /** Less of the same work, to time it; the whole, if left out. */
  readonly trial?: (recorder: Recorder) => void;
}

/** Names of candidates by the key of the choice; a name that no candidate has, such as "", stands for the preferred one. */
export type Choices = ReadonlyMap<string, string>;

/**
 * Collects the commands of a plan and the tensors that live as long as it does. Nothing is allocated until the
 * device has seen the whole plan and checked it against its limits.
 */
export class Recorder {
  readonly commands: Command[] = [];
  readonly tensors: Tensor[] = [];
  /** The choices that this plan meets, in the order in which they must be made: each after those it contains. */
  readonly choices = new Map<string, Choice>();
  private dummy: Tensor | undefined;

  constructor(
    private readonly target: Target,
    private readonly chosen: Choices = new Map(),
  ) {}

  get family(): Family {
    return this.target.family;
  }

  /** What was recorded for every choice; "" where it was the preferred one, because nothing was chosen. */
  get taken(): Choices {
    return new Map([...this.choices.values()].map(({ key, candidates }) => [key, this.chosenOf(key, candidates) ?? ""]));
  }

  /** The candidate that was chosen; undefined if none was, or one that there is not. */
  private chosenOf(key: string, candidates: Choice["candidates"]): string | undefined {
    const name = this.chosen.get(key);
    return name !== undefined && Object.hasOwn(candidates, name) ? name : undefined;
  }

  /** A tensor that belongs to the plan; zero at first. */
  tensor(spec: TensorSpec): Tensor {
    const tensor = makeTensor(spec);
    this.tensors.push(tensor);
    return tensor;
  }

  /** A tensor to bind where an entry point has a binding that it will not touch. */
  unused(): Tensor {
    return (this.dummy ??= this.tensor({ name: "unused", shape: [4] }));
  }

  /** Records one of `candidates`, which do the same: what was chosen for these sizes, else the preferred one. */
  choose(name: string, sizes: readonly number[], candidates: Choice["candidates"], prefer: (family: Family) => string): void {
    const preferred = prefer(this.family);
    const choice = this.meet(name, sizes, candidates, preferred);
    // The choices inside each candidate come first, so that the candidates are compared at their best.
    const work = Object.values(candidates).map((candidate) => {
      const inner = new Recorder(this.target, this.chosen);
      candidate.record(inner);
      for (const each of inner.choices.values()) {
        this.meet(each.key, [], each.candidates, each.preferred).work += each.work;
      }
      return workOf(inner.commands);
    });
    choice.work += Math.max(...work);
    this.choices.delete(choice.key);
    this.choices.set(choice.key, choice);
    candidates[this.chosenOf(choice.key, candidates) ?? preferred]!.record(this);
  }

  private meet(name: string, sizes: readonly number[], candidates: Choice["candidates"], preferred: string): Choice {
    const key = [name, ...sizes.map((size) => 2 ** Math.ceil(Math.log2(Math.max(size, 1))))].join(" ");
    let choice = this.choices.get(key);
    if (!choice) this.choices.set(key, (choice = { key, candidates, preferred, work: 0 }));
    return choice;
  }

  dispatch<P extends ParamTypes, B extends Bindings>(
    entry: Entry<P, B>,
    tensors: { readonly [K in keyof B]: Tensor },
    params: Params<P>,
    variantName?: string,
  ): void {
    const variant =
      variantName === undefined
        ? this.variantFor(entry as unknown as Entry, tensors, params as Params)
        : chooseVariant(entry as unknown as Entry, params as Params, this.target, variantName);
    const workgroups = variant.workgroups?.(params as Params) ?? entry.workgroups(params, variant.constants ?? {});
    const [x, y = 1, z = 1] = workgroups;
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
      halves: halvesOf(entry as unknown as Entry, tensors),
      tensors: Object.keys(entry.bindings).map((name) => {
        const tensor = tensors[name];
        if (!tensor) throw new Error(`${entry.kernel}.${entry.name}: tensor "${name}" is missing`);
        return tensor;
      }),
      workgroups: [x, y, z],
      work: entry.work(params),
    });
  }

  /** The variant that was tuned for these params, else the family's own. */
  private variantFor(entry: Entry, tensors: Readonly<Record<string, Tensor>>, params: Params): Variant {
    const own = chooseVariant(entry, params, this.target);
    const able = entry.tuneBy ? ableVariants(entry, params, this.target) : [];
    if (able.length < 2) return own;
    const trial = entry.tuneWith?.(params) ?? params;
    const candidates = Object.fromEntries(
      able.map(({ name }): [string, Candidate] => [
        name,
        {
          record: (r) => r.dispatch(entry, tensors, params, name),
          trial: (r) => r.dispatch(entry, tensors, trial, name),
        },
      ]),
    );
    const choice = this.meet(
      `${entry.kernel}.${entry.name}${halvesOf(entry, tensors).length > 0 ? " f16" : ""}`,
      entry.tuneBy!(params),
      candidates,
      own.name,
    );
    choice.work += entry.work(params);
    const taken = this.chosen.get(choice.key);
    return able.find(({ name }) => name === taken) ?? own;
  }

  copy(from: Tensor, to: Tensor, options: { fromOffset?: number; toOffset?: number; length?: number } = {}): void {
    const { fromOffset = 0, toOffset = 0, length = Math.min(from.length - fromOffset, to.length - toOffset) } = options;
    this.commands.push({ kind: "copy", from, fromOffset, to, toOffset, length });
  }

  clear(tensor: Tensor): void {
    this.commands.push({ kind: "clear", tensor });
  }
}

/** Work of some commands, in the unit of `Entry.work`. */
export const workOf = (commands: readonly Command[]): number =>
  commands.reduce((sum, command) => sum + (command.kind === "dispatch" ? command.work : 0), 0);

/** The tensors that some commands touch, one for each storage. */
export function tensorsOf(commands: readonly Command[]): readonly Tensor[] {
  const found = new Map<TensorStorage, Tensor>();
  for (const command of commands) {
    const touched =
      command.kind === "dispatch" ? command.tensors : command.kind === "copy" ? [command.from, command.to] : [command.tensor];
    for (const tensor of touched) found.set(tensor.storage, tensor);
  }
  return [...found.values()];
}

/** The aliases of a shader that stand for f16, by the tensors that are bound. */
function halvesOf({ kernel, name, halves = {} }: Entry, tensors: Readonly<Record<string, Tensor>>): readonly string[] {
  const found = new Set<string>();
  for (const [binding, { dtype }] of Object.entries(tensors)) {
    if (dtype !== "f16") continue;
    const alias = halves[binding];
    if (!alias) throw new Error(`${kernel}.${name}: tensor "${binding}" cannot be f16`);
    found.add(alias);
  }
  return [...found];
}

/** A tensor with storage of its own that is not yet allocated. */
export function makeTensor(spec: TensorSpec): Tensor {
  const stored = storedShape(spec);
  // A buffer of no bytes cannot be bound.
  const length = Math.max(sizeOf(stored), 4);
  const storage: TensorStorage = { bytes: length * bytesOf(spec.dtype ?? "f32"), buffer: undefined, array: undefined };
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

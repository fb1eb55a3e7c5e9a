// Parameters on a device: flat buffers of them, their initial values, and state dicts.
import { copyNumbers, shown } from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import type { ParameterSpec } from "../kernels/cell.ts";
import { fillNormal, fillUniform } from "../random.ts";
import type { Device } from "../runtime/device.ts";
import { makeFlatTensors, type FlatTensors } from "../runtime/recorder.ts";
import { sizeOf, type Tensor } from "../runtime/tensor.ts";

/** Parameters, their gradients and optimizer moments lie in flat buffers of this kind, with the same offsets. */
export interface ParameterSet {
  readonly specs: readonly ParameterSpec[];
  readonly flat: FlatTensors;
  readonly byName: Readonly<Record<string, Tensor>>;
  /** Counts the changes of the values, so that a backward pass can tell that they are not those of its forward pass. */
  version: number;
}

/** Parameters by PyTorch's names, dense, in PyTorch's shapes. */
export type StateDict = Record<string, Float32Array>;

export function makeParameterSet(device: Device, label: string, specs: readonly ParameterSpec[]): ParameterSet {
  const flat = device.flatTensors(
    label,
    specs.map((spec) => ({ ...spec.tensor, name: `${label}.${spec.name}` })),
  );
  return { specs, flat, byName: Object.fromEntries(specs.map((spec, i) => [spec.name, flat.parts[i]!])), version: 0 };
}

/** How many elements weight decay acts on: those in front of the first parameter that it leaves alone. */
export function decayedLength({ specs, flat }: ParameterSet): number {
  const first = specs.findIndex(({ decay }) => decay === false);
  return first < 0 ? flat.whole.length : flat.parts[first]!.offset;
}

/**
 * Checks that parameters fit into one tensor of the device, before any is made.
 *
 * @param sizes the sizes that decide, under the names of their options; `specsOf` gives the parameters of others
 * @throws GatewiseError E_LIMIT that says how large each may be
 */
export function checkFits<S extends Readonly<Record<string, number>>>(
  where: string,
  device: Device,
  sizes: S,
  specsOf: (sizes: S) => readonly ParameterSpec[],
): void {
  const most = device.maxTensorBytes;
  const bytesOf = (changed: object): number => {
    const specs = specsOf({ ...sizes, ...changed }).map(({ tensor }) => tensor);
    return makeFlatTensors("parameters", specs).whole.storage.bytes;
  };
  if (bytesOf({}) <= most) return;
  const mebibytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  const advice = Object.entries(sizes).flatMap(([name, size]) => {
    let [fits, tooLarge] = [0, size];
    while (tooLarge - fits > 1) {
      const middle = (fits + tooLarge) >> 1;
      if (bytesOf({ [name]: middle }) <= most) fits = middle;
      else tooLarge = middle;
    }
    return fits > 0 ? [`${name} at most ${fits}`] : [];
  });
  const given = Object.entries(sizes).map(([name, size]) => `${name} ${size}`);
  throw new GatewiseError(
    "E_LIMIT",
    `${where}: the parameters of ${given.join(", ")} need ${mebibytes(bytesOf({}))}, but this adapter binds at most ${mebibytes(most)}; ` +
      (advice.length > 0 ? `with the others as they are, ${advice.join(", or ")}` : "make all of these smaller"),
  );
}

/** Initial values of parameter number `index` under `seed`: the same on every device. */
export function initialValues({ shape, initializer }: ParameterSpec, seed: number, index: number): Float32Array {
  const values = new Float32Array(sizeOf(shape));
  switch (initializer.kind) {
    case "normal":
      fillNormal(values, seed, index);
      if (initializer.deviation !== undefined) values.forEach((x, i) => (values[i] = x * initializer.deviation!));
      break;
    case "drawn":
      // fillUniform gives [−½, ½).
      fillUniform(values, 0.5, seed, index);
      values.forEach((x, i) => (values[i] = initializer.from(x + 0.5, i)));
      break;
    case "uniform":
      fillUniform(values, initializer.bound, seed, index);
      if (initializer.constant) values.fill(initializer.constant.value, initializer.constant.from, initializer.constant.to);
      break;
    case "orthogonal": {
      const H = shape[1]!;
      const normal = new Float64Array(values.length);
      fillNormal(normal, seed, index);
      for (let block = 0; block < values.length; block += H * H) orthogonalize(normal.subarray(block, block + H * H), H);
      values.set(normal);
    }
  }
  return values;
}

/** Modified Gram–Schmidt over the rows of an H × H matrix, in place. */
function orthogonalize(matrix: Float64Array, H: number): void {
  for (let i = 0; i < H; i++) {
    const row = matrix.subarray(i * H, (i + 1) * H);
    for (let j = 0; j < i; j++) {
      const other = matrix.subarray(j * H, (j + 1) * H);
      const along = row.reduce((sum, x, k) => sum + x * other[k]!, 0);
      for (let k = 0; k < H; k++) row[k]! -= along * other[k]!;
    }
    const norm = Math.sqrt(row.reduce((sum, x) => sum + x * x, 0));
    for (let k = 0; k < H; k++) row[k]! /= norm;
  }
}

/** Reads every tensor of a set as dense values in PyTorch's order; a float64 device gives Float64Arrays. */
export async function readStateDict(device: Device, set: ParameterSet): Promise<StateDict> {
  const values = await Promise.all(set.flat.parts.map((tensor) => device.read(tensor)));
  return Object.fromEntries(set.specs.map(({ name }, i) => [name, values[i] as Float32Array]));
}

/**
 * Checks and copies a state dict, which must hold exactly the set's names, and returns what writes it.
 *
 * @throws GatewiseError E_SHAPE naming the tensor that is missing, unknown or of another size; nothing is written then.
 */
export function writeStateDict(
  device: Device,
  set: ParameterSet,
  values: Readonly<Record<string, ArrayLike<number>>>,
): () => void {
  if (typeof values !== "object" || values === null || values instanceof Promise)
    throw new GatewiseError("E_SHAPE", `loadStateDict: expected an object of arrays by name, got ${shown(values)}`);
  const names = new Set(set.specs.map(({ name }) => name));
  for (const name of Object.keys(values)) {
    if (!names.has(name)) {
      throw new GatewiseError("E_SHAPE", `loadStateDict: unknown tensor "${name}"; this model has ${[...names].join(", ")}`);
    }
  }
  const copies = set.specs.map(({ name, shape }) => {
    const given = values[name];
    if (given === undefined) throw new GatewiseError("E_SHAPE", `loadStateDict: "${name}" [${shape.join(", ")}] is missing`);
    const copy = copyNumbers(`loadStateDict: "${name}"`, given);
    if (copy.length === sizeOf(shape)) return copy;
    throw new GatewiseError(
      "E_SHAPE",
      `loadStateDict: "${name}" must be [${shape.join(", ")}] (${sizeOf(shape)} values), got ${copy.length} values`,
    );
  });
  return () => {
    set.version++;
    copies.forEach((copy, i) => device.write(set.flat.parts[i]!, copy));
  };
}

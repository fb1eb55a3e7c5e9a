// Tensors in files that may come from anywhere: one file or several, and the index of several.
import { checkBytes, shown } from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import { ALL_DTYPES, copyTensor, parseJson, readHeader, type NamedTensor, type TensorPlace } from "../training/safetensors.ts";

/** ModelFiles by their names, as bytes or, what is text, as strings. */
export type ModelFiles = Readonly<Record<string, string | ArrayBufferLike | ArrayBufferView | undefined>>;

/** A tensor where it lies. */
export interface StoredTensor extends TensorPlace {
  readonly file: Uint8Array;
}
export type StoredTensors = Readonly<Record<string, StoredTensor>>;

const bad = (message: string, cause?: unknown): GatewiseError => new GatewiseError("E_BAD_CHECKPOINT", message, { cause });

export const copyStored = ({ file, ...place }: StoredTensor): NamedTensor => copyTensor(file, place);

/** Whether two tensors are the same, byte for byte. */
export const sameTensor = (a: StoredTensor, b: StoredTensor): boolean =>
  a.dtype === b.dtype &&
  a.shape.join() === b.shape.join() &&
  a.file.subarray(a.from, a.to).every((byte, i) => byte === b.file[b.from + i]);

/** The text of a file. @throws GatewiseError E_DATA */
export function textOf(files: ModelFiles, name: string): string | undefined {
  const file = Object.hasOwn(files, name) ? files[name] : undefined;
  return file === undefined || typeof file === "string" ? file : new TextDecoder().decode(checkBytes(name, file));
}

/** An object of a file of JSON. @throws GatewiseError E_BAD_CHECKPOINT */
export function objectOf(files: ModelFiles, name: string): Readonly<Record<string, unknown>> | undefined {
  const text = textOf(files, name);
  if (text === undefined) return undefined;
  const value = parseJson(`${name} is damaged: it`, text);
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw bad(`${name} must be an object, got ${shown(value)}`);
  return value as Readonly<Record<string, unknown>>;
}

const INDEX = /\.safetensors\.index\.json$/;

/** The files that an index of several names; undefined where there is no index. @throws GatewiseError E_BAD_CHECKPOINT */
export function indexedFiles(files: ModelFiles): ReadonlyMap<string, string> | undefined {
  const index = Object.keys(files).find((name) => INDEX.test(name) && files[name] !== undefined);
  if (index === undefined) return undefined;
  const map = objectOf(files, index)!.weight_map;
  const entries = typeof map === "object" && map !== null && !Array.isArray(map) ? Object.entries(map as object) : [];
  // A name with a slash would lead out of the folder.
  if (entries.length === 0 || !entries.every(([, file]) => typeof file === "string" && /^[^/\\]+\.safetensors$/.test(file)))
    throw bad(`${index}: weight_map must say which .safetensors file each tensor is in`);
  return new Map(entries as [string, string][]);
}

/**
 * All tensors of a model's files, none copied yet.
 *
 * @throws GatewiseError E_BAD_CHECKPOINT for damaged files, or where files and their index differ; E_DATA
 */
export function readStored(files: ModelFiles): {
  readonly tensors: StoredTensors;
  readonly metadata: Readonly<Record<string, string>>;
} {
  const indexed = indexedFiles(files);
  const names = indexed
    ? [...new Set(indexed.values())]
    : Object.keys(files).filter((name) => isWeights(name) && files[name] !== undefined);
  if (names.length === 0) throw bad("there is no .safetensors file; expected one, such as model.safetensors");
  // A name may be "__proto__".
  const tensors = Object.create(null) as Record<string, StoredTensor>;
  let metadata: Readonly<Record<string, string>> = {};
  for (const name of names) {
    if (!Object.hasOwn(files, name) || files[name] === undefined) throw bad(`${name} is missing, which the index names`);
    const file = checkBytes(name, files[name]);
    const header = within(name, () => readHeader(file, ALL_DTYPES));
    for (const [tensor, place] of Object.entries(header.places)) {
      if (Object.hasOwn(tensors, tensor)) throw bad(`${shown(tensor)} is in two of the files`);
      if (indexed && indexed.get(tensor) !== name)
        throw bad(`${name} has ${shown(tensor)}, which the index does not place there`);
      tensors[tensor] = { ...place, file };
    }
    ({ metadata } = header);
  }
  for (const tensor of indexed?.keys() ?? [])
    if (!Object.hasOwn(tensors, tensor)) throw bad(`${shown(tensor)} is in no file, but in the index`);
  return { tensors, metadata };
}

const isWeights = (name: string): boolean => name.endsWith(".safetensors") && name !== OPTIMIZER;
export const OPTIMIZER = "optimizer.safetensors";

/** Does `work`, and names the file in its errors. */
export function within<T>(name: string, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (!(cause instanceof GatewiseError)) throw cause;
    throw new GatewiseError(cause.code, `${name}: ${cause.message}`, { cause });
  }
}

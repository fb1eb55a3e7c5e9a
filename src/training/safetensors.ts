// The safetensors file format: 8 bytes of header length, a JSON header, then the tensors' bytes.
// https://github.com/huggingface/safetensors describes it.
import { checkBytes, checkObject, checkOptions, shown } from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import { fromHalf } from "../runtime/half.ts";
import { sizeOf } from "../runtime/tensor.ts";
import { otherKind } from "./file-kinds.ts";

/** Numbers of a shape, the last axis innermost. */
export interface NamedTensor {
  /** As PyTorch would print it. */
  readonly shape: readonly number[];
  /** Its values, dense. */
  readonly data: Float32Array;
}

/** What a .safetensors file holds. */
export interface Safetensors {
  /** The tensors by name. */
  readonly tensors: Readonly<Record<string, NamedTensor>>;
  /** The header's `__metadata__`: strings only, as the format demands. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** What a tensor's numbers may be: their size in bytes, and how one is read; the file's bytes are little-endian. */
const DTYPES = {
  F32: { bytes: 4, read: (view: DataView, at: number) => view.getFloat32(at, true) },
  F16: { bytes: 2, read: (view: DataView, at: number) => fromHalf(view.getUint16(at, true)) },
  BF16: {
    bytes: 2,
    read(view: DataView, at: number) {
      // The upper half of a float32.
      word.setUint16(2, view.getUint16(at, true), true);
      return word.getFloat32(0, true);
    },
  },
  F64: { bytes: 8, read: (view: DataView, at: number) => view.getFloat64(at, true) },
} as const;
export type Dtype = keyof typeof DTYPES;
export const ALL_DTYPES = Object.keys(DTYPES) as readonly Dtype[];
const word = new DataView(new ArrayBuffer(4));

const HEADER_LENGTH_BYTES = 8;
/** The format's own limit. */
const MAX_HEADER = 100_000_000;

/**
 * Encodes float32 tensors as a .safetensors file, in the order given. The same tensors and metadata give the same bytes.
 *
 * @example
 * writeSafetensors({ tensors: { "head.bias": { shape: [2], data: Float32Array.of(1, 2) } }, metadata: { format: "pt" } });
 * @throws GatewiseError E_CONFIG for fields that are unknown, metadata that is no text, or a name that the format keeps for
 * itself; E_SHAPE for a tensor that has not the numbers of its shape
 */
export function writeSafetensors(file: Pick<Safetensors, "tensors"> & Partial<Safetensors>): Uint8Array {
  const { tensors, metadata } = checkContent(file);
  let offset = 0;
  const entries = Object.entries(tensors).map(([name, { shape, data }]) => {
    const from = offset;
    offset += data.byteLength;
    return [name, { dtype: "F32", shape, data_offsets: [from, offset] }] as const;
  });
  // Whatever a name is: setting a field "__proto__" would make none.
  const header = Object.fromEntries<unknown>([["__metadata__", metadata], ...entries]);
  const json = new TextEncoder().encode(JSON.stringify(header));
  // Tensors start at a multiple of 8, the header padded with spaces.
  const headerLength = Math.ceil(json.length / 8) * 8;
  const bytes = new Uint8Array(HEADER_LENGTH_BYTES + headerLength + offset).fill(
    0x20,
    HEADER_LENGTH_BYTES,
    HEADER_LENGTH_BYTES + headerLength,
  );
  new DataView(bytes.buffer).setBigUint64(0, BigInt(headerLength), true);
  bytes.set(json, HEADER_LENGTH_BYTES);
  let at = HEADER_LENGTH_BYTES + headerLength;
  for (const { data } of Object.values(tensors)) {
    bytes.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return bytes;
}

/** A tensor as the header announces it: its shape, and where in the file its bytes lie. */
export interface TensorPlace {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly from: number;
  readonly to: number;
}

export interface SafetensorsHeader {
  readonly places: Readonly<Record<string, TensorPlace>>;
  readonly metadata: Readonly<Record<string, string>>;
}

/**
 * Decodes a .safetensors file. Numbers in F16, BF16 and F64 become the nearest float32.
 *
 * @param file the file's bytes: a Uint8Array or other view, or an ArrayBuffer
 * @throws GatewiseError E_BAD_CHECKPOINT that says what is wrong with the bytes, E_DATA if these are none
 */
export function readSafetensors(file: ArrayBufferLike | ArrayBufferView): Safetensors {
  const bytes = checkBytes("readSafetensors", file);
  const { places, metadata } = readHeader(bytes, ALL_DTYPES);
  return { tensors: copyTensors(bytes, places), metadata };
}

/** Copies a tensor out of a file, because a Float32Array cannot start at any byte; to the nearest float32. */
export function copyTensor(bytes: Uint8Array, { dtype, shape, from, to }: TensorPlace): NamedTensor {
  const data = new Float32Array(sizeOf(shape));
  if (dtype === "F32") new Uint8Array(data.buffer).set(bytes.subarray(from, to));
  else {
    const view = new DataView(bytes.buffer, bytes.byteOffset + from, to - from);
    const { bytes: size, read } = DTYPES[dtype];
    for (let i = 0; i < data.length; i++) data[i] = read(view, i * size);
  }
  return { shape, data };
}

export const copyTensors = (bytes: Uint8Array, places: SafetensorsHeader["places"]): Safetensors["tensors"] =>
  Object.fromEntries(Object.entries(places).map(([name, place]) => [name, copyTensor(bytes, place)]));

/** @throws GatewiseError E_CONFIG, E_SHAPE */
function checkContent(file: unknown): Safetensors {
  checkObject("writeSafetensors", file);
  checkOptions("writeSafetensors", file, ["tensors", "metadata"]);
  const { tensors, metadata = {} } = file as Partial<Safetensors>;
  checkObject("writeSafetensors: tensors", tensors);
  checkObject("writeSafetensors: metadata", metadata);
  for (const [key, text] of Object.entries<unknown>(metadata))
    if (typeof text !== "string")
      throw new GatewiseError("E_CONFIG", `writeSafetensors: metadata must be strings, ${shown(key)} is ${shown(text)}`);
  if (Object.hasOwn(tensors, "__metadata__"))
    throw new GatewiseError("E_CONFIG", 'writeSafetensors: a tensor must not be called "__metadata__" in this format');
  for (const [name, { shape, data }] of Object.entries<Partial<NamedTensor>>(tensors))
    if (!isSizes(shape) || !(data instanceof Float32Array) || data.length !== sizeOf(shape))
      throw new GatewiseError(
        "E_SHAPE",
        `writeSafetensors: ${shown(name)} must have a shape and a Float32Array of so many numbers, got ${shown(shape)} and ${shown(data)}`,
      );
  return { tensors, metadata };
}

const fail = (problem: string): never => {
  throw new GatewiseError("E_BAD_CHECKPOINT", `not a whole .safetensors file: ${problem}`);
};

/**
 * Reads what a file says of itself, and checks that its bytes hold all of it. No tensor is copied yet: whoever knows
 * which shapes to expect can compare them first.
 *
 * @param dtypes what its numbers may be
 * @throws GatewiseError E_BAD_CHECKPOINT
 */
export function readHeader(bytes: Uint8Array, dtypes: readonly Dtype[] = ["F32"]): SafetensorsHeader {
  if (bytes.length < HEADER_LENGTH_BYTES) fail(`${bytes.length} bytes, at least ${HEADER_LENGTH_BYTES} expected`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headerLength = Number(view.getBigUint64(0, true));
  const start = HEADER_LENGTH_BYTES + headerLength;
  if (headerLength > MAX_HEADER || start > bytes.length) {
    const other = otherKind(bytes);
    if (other) fail(other);
  }
  if (headerLength > MAX_HEADER) fail(`its header claims ${headerLength} bytes; this is some other kind of file`);
  if (start > bytes.length) fail(`cut short: the header needs ${start} bytes, the file has ${bytes.length}`);
  const header = parseJson("not a .safetensors file: its header", textOf(bytes.subarray(HEADER_LENGTH_BYTES, start)));
  if (typeof header !== "object" || header === null || Array.isArray(header)) return fail("its header is no object");
  const { __metadata__: metadata = {}, ...tensors } = header as Record<string, unknown>;
  const places = Object.fromEntries(
    Object.entries(tensors).map(([name, value]) => [name, placeOf(name, value, start, bytes.length, dtypes)]),
  );
  // The format wants the bytes after the header covered once, with nothing between.
  let end = start;
  for (const [name, { from, to }] of Object.entries(places).sort(([, a], [, b]) => a.from - b.from || a.to - b.to)) {
    if (from !== end) fail(`tensor ${shown(name)} begins at byte ${from - start} of the data, not at ${end - start}`);
    end = to;
  }
  if (end !== bytes.length) fail(`${bytes.length - end} bytes follow the last tensor`);
  return { places, metadata: stringsOf(metadata) };
}

function stringsOf(metadata: unknown): Record<string, string> {
  if (typeof metadata !== "object" || metadata === null || Array.isArray(metadata))
    return fail(`its __metadata__ must be an object, got ${shown(metadata)}`);
  for (const [key, text] of Object.entries(metadata))
    if (typeof text !== "string") fail(`its metadata must be strings, ${shown(key)} is ${shown(text)}`);
  return metadata as Record<string, string>;
}

function placeOf(name: string, value: unknown, start: number, fileLength: number, dtypes: readonly Dtype[]): TensorPlace {
  const { dtype, shape, data_offsets: offsets } = (value ?? {}) as { dtype?: unknown; shape?: unknown; data_offsets?: unknown };
  const tensor = `tensor ${shown(name)}`;
  const known = dtypes.find((each) => each === dtype);
  if (!known) {
    const found = typeof dtype === "string" ? dtype.slice(0, 20) : shown(dtype);
    return fail(`${tensor} is ${found}, only ${dtypes.join(", ")} is read`);
  }
  if (!isSizes(shape) || !isSizes(offsets) || offsets.length !== 2) return fail(`${tensor} has no valid shape and place`);
  const [from, to] = offsets as [number, number];
  const size = sizeOf(shape) * DTYPES[known].bytes;
  if (to - from !== size) return fail(`${tensor} ${shownShape(shape)} should have ${size} bytes, has ${to - from}`);
  if (start + to > fileLength) return fail(`cut short: ${tensor} ends at byte ${start + to}, the file at ${fileLength}`);
  return { dtype: known, shape, from: start + from, to: start + to };
}

const isSizes = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);

/** "[20, 5]"; of a damaged file's endless shape only its rank. */
export const shownShape = (shape: readonly number[]): string =>
  shape.length > 8 ? `of ${shape.length} axes` : `[${shape.join(", ")}]`;

/** The text of UTF-8, or, of bytes that are none, one that is no JSON either. */
function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return "";
  }
}

/** What a JSON string says: "\\u0061" is "a". One with a wrong escape stays as it is, because its text is no JSON. */
function unescaped(string: string): string {
  if (!string.includes("\\")) return string.slice(1, -1);
  try {
    return JSON.parse(string) as string;
  } catch {
    return string;
  }
}

/** Nesting that nothing in a checkpoint comes near. JSON.parse takes long over much more, and recursion overflows. */
const MAX_DEPTH = 16;

/**
 * Parses JSON from a file that may come from anywhere. What one object has twice under a name is refused: JSON.parse
 * would keep the last in silence, other readers the first.
 *
 * @param where beginning of the error's message
 * @throws GatewiseError E_BAD_CHECKPOINT
 */
export function parseJson(where: string, json: string): unknown {
  const refuse = (problem: string, cause?: unknown): never => {
    throw new GatewiseError("E_BAD_CHECKPOINT", `${where} ${problem}`, { cause });
  };
  /** The names so far of each object that is open; undefined for arrays, and before the first name. */
  const open: (Set<string> | undefined)[] = [];
  let twice: string | undefined;
  let string = '""';
  // What the scan makes of a text that is no JSON does not matter: JSON.parse has the last word.
  for (let i = 0; i < json.length; i++) {
    const character = json[i];
    if (character === "{" || character === "[") {
      if (open.push(undefined) > MAX_DEPTH) refuse(`is nested deeper than ${MAX_DEPTH} levels`);
    } else if (character === "}" || character === "]") open.pop();
    else if (character === '"') {
      const begin = i;
      while (++i < json.length && json[i] !== '"') if (json[i] === "\\") i++;
      string = json.slice(begin, i + 1);
    } else if (character === ":" && open.length > 0) {
      const names = (open[open.length - 1] ??= new Set());
      const name = unescaped(string);
      if (names.has(name)) twice ??= name;
      names.add(name);
    }
  }
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    return refuse("is not JSON", cause);
  }
  if (twice !== undefined) refuse(`has the name ${shown(twice)} twice`);
  return value;
}

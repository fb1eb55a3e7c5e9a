// The safetensors file format: 8 bytes of header length, a JSON header, then the tensors' bytes.
// https://github.com/huggingface/safetensors describes it.
import { GatewiseError } from "../errors.ts";

export interface NamedTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

export interface SafeTensors {
  readonly tensors: Readonly<Record<string, NamedTensor>>;
  /** The header's `__metadata__`: strings only, as the format demands. */
  readonly metadata: Readonly<Record<string, string>>;
}

const HEADER_LENGTH_BYTES = 8;
/** The format's own limit. */
const MAX_HEADER = 100_000_000;

/** Encodes float32 tensors, in the order given. The same tensors and metadata give the same bytes. */
export function encodeSafeTensors({ tensors, metadata }: SafeTensors): Uint8Array {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let offset = 0;
  for (const [name, { shape, data }] of Object.entries(tensors)) {
    header[name] = { dtype: "F32", shape, data_offsets: [offset, offset + data.byteLength] };
    offset += data.byteLength;
  }
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

/**
 * Decodes a file of float32 tensors.
 *
 * @throws GatewiseError E_BAD_CHECKPOINT that says what is wrong with the bytes.
 */
export function decodeSafeTensors(bytes: Uint8Array): SafeTensors {
  const fail = (problem: string): never => {
    throw new GatewiseError("E_BAD_CHECKPOINT", `not a whole .safetensors file: ${problem}`);
  };
  if (bytes.length < HEADER_LENGTH_BYTES) fail(`${bytes.length} bytes, at least ${HEADER_LENGTH_BYTES} expected`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const headerLength = Number(view.getBigUint64(0, true));
  if (headerLength > MAX_HEADER) fail(`its header claims ${headerLength} bytes; this is some other kind of file`);
  const start = HEADER_LENGTH_BYTES + headerLength;
  if (start > bytes.length) fail(`cut short: the header needs ${start} bytes, the file has ${bytes.length}`);
  let header: Record<string, unknown>;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(HEADER_LENGTH_BYTES, start)));
  } catch (cause) {
    throw new GatewiseError("E_BAD_CHECKPOINT", "not a .safetensors file: its header is not JSON", { cause });
  }
  if (typeof header !== "object" || header === null || Array.isArray(header)) fail("its header is no object");
  const metadata: Record<string, string> = {};
  const tensors: Record<string, NamedTensor> = {};
  const places: [name: string, from: number, to: number][] = [];
  for (const [name, value] of Object.entries(header)) {
    if (name === "__metadata__") {
      for (const [key, text] of Object.entries((value ?? {}) as object)) metadata[key] = String(text);
      continue;
    }
    tensors[name] = decodeTensor(name, value, bytes, start, fail);
    places.push([name, ...(value as { data_offsets: [number, number] }).data_offsets]);
  }
  // The format wants the bytes after the header covered once, with nothing between.
  let end = 0;
  for (const [name, from, to] of places.sort((a, b) => a[1] - b[1] || a[2] - b[2])) {
    if (from !== end) fail(`tensor "${name}" begins at byte ${from} of the data, not at ${end}`);
    end = to;
  }
  if (start + end !== bytes.length) fail(`${bytes.length - start - end} bytes follow the last tensor`);
  return { tensors, metadata };
}

function decodeTensor(
  name: string,
  value: unknown,
  bytes: Uint8Array,
  start: number,
  fail: (problem: string) => never,
): NamedTensor {
  const { dtype, shape, data_offsets: offsets } = (value ?? {}) as { dtype?: unknown; shape?: unknown; data_offsets?: unknown };
  if (dtype !== "F32") return fail(`tensor "${name}" is ${String(dtype)}, only F32 is read`);
  if (!isSizes(shape) || !isSizes(offsets) || offsets.length !== 2) return fail(`tensor "${name}" has no valid shape and place`);
  const [from, to] = offsets as [number, number];
  const size = shape.reduce((a, b) => a * b, 1);
  if (to - from !== 4 * size)
    return fail(`tensor "${name}" [${shape.join(", ")}] should have ${4 * size} bytes, has ${to - from}`);
  if (start + to > bytes.length)
    return fail(`cut short: tensor "${name}" ends at byte ${start + to}, the file at ${bytes.length}`);
  // A copy, because a Float32Array cannot start at any byte. (Not bytes.slice: Node's Buffer makes that a view.)
  const first = bytes.byteOffset + start;
  return { shape, data: new Float32Array(bytes.buffer.slice(first + from, first + to) as ArrayBuffer) };
}

const isSizes = (value: unknown): value is number[] => Array.isArray(value) && value.every((n) => Number.isInteger(n) && n >= 0);

// What public functions check of what they are given, and how their errors show it.
import { GatewiseError, type ErrorCode } from "./errors.ts";

/** A value as an error message shows it: short, and never with the side effects of the caller's own toString. */
export function shown(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  if (typeof value === "bigint") return `${value}n`;
  if (value === null || typeof value !== "object") return typeof value === "function" ? "a function" : String(value);
  if (value instanceof Promise) return "a promise; await it first";
  if (ArrayBuffer.isView(value)) return `${value.constructor.name} of ${(value as Uint8Array).length ?? value.byteLength}`;
  if (value instanceof ArrayBuffer) return `ArrayBuffer of ${value.byteLength} bytes`;
  if (Array.isArray(value)) return `an array of ${value.length}`;
  return "an object";
}

/** The known name that differs least from `name`, if one is near enough to have been meant. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const plain = (text: string): string => text.replaceAll(/[-_\s]/g, "").toLowerCase();
  let best: string | undefined;
  let least = Infinity;
  for (const each of known) {
    const distance = plain(each) === plain(name) ? 0 : editDistance(plain(name), plain(each));
    if (distance < least) [best, least] = [each, distance];
  }
  return best !== undefined && least <= Math.max(2, Math.floor(best.length / 3)) ? best : undefined;
}

/** Levenshtein's distance. Names are short; longer ones are nobody's typing error. */
function editDistance(a: string, b: string): number {
  if (a.length > 40 || b.length > 40) return Infinity;
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + Number(a[i - 1] !== b[j - 1]));
    row = next;
  }
  return row[b.length]!;
}

/** @throws GatewiseError E_CONFIG unless `options` is an object of named fields, and no list, map or promise */
export function checkObject(where: string, options: unknown): asserts options is object {
  const named = typeof options === "object" && options !== null && !(Symbol.iterator in options) && !(options instanceof Promise);
  if (!named) throw new GatewiseError("E_CONFIG", `${where}: options must be an object, got ${shown(options)}`);
}

/**
 * Refuses options that are no object of named fields, or that have a field that is not among `known`: a misspelt option
 * that is ignored would train something else than what was asked for. Fields that are undefined count as left out.
 *
 * @param known every name that is understood; `also` maps names of other libraries to what they are called here
 * @throws GatewiseError E_CONFIG with the nearest known name
 */
export function checkOptions(
  where: string,
  options: unknown,
  known: readonly string[],
  also: Readonly<Record<string, string>> = {},
): void {
  if (options === undefined) return;
  checkObject(where, options);
  // Spreading, which fills in defaults, takes an object's own fields only.
  for (const name of known)
    if ((options as Record<string, unknown>)[name] !== undefined && !Object.hasOwn(options, name))
      throw new GatewiseError("E_CONFIG", `${where}: the option "${name}" must be the object's own, it is inherited`);
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined || known.includes(name)) continue;
    const meant = (Object.hasOwn(also, name) ? also[name] : undefined) ?? nearest(name, known);
    const advice = meant === undefined ? `known are ${known.join(", ")}` : `did you mean "${meant}"?`;
    throw new GatewiseError("E_CONFIG", `${where}: unknown option ${shown(name)}; ${advice}`);
  }
}

/** The names of an options object; the compiler sees to it that they are all and no others. */
export const namesOf = <Options extends object>(names: { readonly [K in keyof Required<Options>]: true }): readonly string[] =>
  Object.keys(names);

/** Options without those that are undefined, which count as left out. */
export const given = <Options extends object>(options: Options): Options =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Options;

/** @throws GatewiseError E_CONFIG unless `value` is one of `values` */
export function checkOneOf(where: string, value: unknown, values: readonly unknown[]): void {
  if (values.includes(value)) return;
  throw new GatewiseError("E_CONFIG", `${where} must be one of ${values.join(", ")}, got ${shown(value)}`);
}

/** @throws GatewiseError E_CONFIG unless `value` is a number, not NaN, that is `ok`, which `expected` says in words */
export function checkNumber(
  where: string,
  value: unknown,
  ok: (value: number) => boolean,
  expected: string,
): asserts value is number {
  if (typeof value === "number" && ok(value)) return;
  throw new GatewiseError("E_CONFIG", `${where} must be ${expected}, got ${shown(value)}`);
}

/** @throws GatewiseError `code` unless `value` is an integer from `least` to `most` */
export function checkInteger(
  where: string,
  value: unknown,
  least: number,
  most = Number.MAX_SAFE_INTEGER,
  code: ErrorCode = "E_CONFIG",
): asserts value is number {
  if (Number.isInteger(value) && (value as number) >= least && (value as number) <= most) return;
  const range = most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`;
  throw new GatewiseError(code, `${where} must be an integer ${range}, got ${shown(value)}`);
}

/** Whether a value can be asked whether it was aborted. */
export const isSignal = (value: unknown): value is AbortSignal =>
  typeof (value as AbortSignal | undefined)?.throwIfAborted === "function";

/** @throws GatewiseError E_CONFIG unless `value` is an AbortSignal, or left out */
export function checkSignal(where: string, value: unknown): void {
  if (value !== undefined && !isSignal(value))
    throw new GatewiseError("E_CONFIG", `${where}: signal must be an AbortSignal, got ${shown(value)}`);
}

/** Seeds are 32 bits wide; larger ones would wrap round to another seed's run. @throws GatewiseError E_CONFIG */
export function checkSeed(where: string, value: unknown): asserts value is number {
  checkInteger(where, value, 0, 2 ** 32 - 1);
}

/** Whether a value is a plain array or a typed array of numbers (not of bigints). */
const isNumbers = (value: unknown): value is ArrayLike<number> =>
  Array.isArray(value) ||
  (ArrayBuffer.isView(value) &&
    !(value instanceof DataView) &&
    !(value instanceof BigInt64Array || value instanceof BigUint64Array));

/**
 * Numbers as callers have them: any array, plain or typed. NaN and Infinity are values like others.
 *
 * @throws GatewiseError E_SHAPE if it is none, or holds something that is no number
 */
export function checkNumbers(where: string, value: unknown): asserts value is ArrayLike<number> {
  if (!isNumbers(value)) throw new GatewiseError("E_SHAPE", `${where} must be an array of numbers, got ${shown(value)}`);
  if (!Array.isArray(value)) return;
  for (let i = 0; i < value.length; i++)
    if (typeof value[i] !== "number")
      throw new GatewiseError("E_SHAPE", `${where} must hold numbers only, got ${shown(value[i])} at ${i}`);
}

/** A copy of numbers as callers have them, in float64 if they are no floats. @throws GatewiseError E_SHAPE */
export function copyNumbers(where: string, value: unknown): Float32Array | Float64Array {
  checkNumbers(where, value);
  return value instanceof Float32Array ? new Float32Array(value) : new Float64Array(value);
}

/**
 * Tokens as callers have them: any array of integers.
 *
 * @param vocabSize V; tokens must be below it
 * @throws GatewiseError E_DATA that names the first value that is no token
 */
export function checkTokens(where: string, value: unknown, vocabSize: number): asserts value is ArrayLike<number> {
  if (!isNumbers(value))
    throw new GatewiseError("E_DATA", `${where} must be an array of integers (a Uint32Array is best), got ${shown(value)}`);
  for (let i = 0; i < value.length; i++) {
    const token = value[i] as unknown;
    if (Number.isInteger(token) && (token as number) >= 0 && (token as number) < vocabSize) continue;
    throw new GatewiseError(
      "E_DATA",
      `${where}: token ${shown(token)} at ${i} is not in the model's vocabulary of ${vocabSize}; encode the text with the model's tokenizer`,
    );
  }
}

/** A copy of tokens as callers have them. @throws GatewiseError E_DATA */
export function copyTokens(where: string, value: unknown, vocabSize: number): Uint32Array {
  checkTokens(where, value, vocabSize);
  return new Uint32Array(value);
}

/** @throws GatewiseError E_DATA unless `value` is a string */
export function checkText(where: string, value: unknown): asserts value is string {
  if (typeof value !== "string") throw new GatewiseError("E_DATA", `${where} must be a string, got ${shown(value)}`);
}

/** @throws GatewiseError E_CONFIG unless `value` is a function, or left out */
export function checkFunction(where: string, value: unknown): void {
  if (value !== undefined && typeof value !== "function")
    throw new GatewiseError("E_CONFIG", `${where} must be a function, got ${shown(value)}`);
}

/** Bytes as callers have them, of a file or an answer. @throws GatewiseError E_DATA */
export function checkBytes(where: string, value: unknown): Uint8Array {
  try {
    if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    if (value instanceof ArrayBuffer || (typeof SharedArrayBuffer !== "undefined" && value instanceof SharedArrayBuffer))
      return new Uint8Array(value);
  } catch (cause) {
    const message = `${where} must be bytes that are here still; these were transferred, to another thread perhaps: send a copy`;
    throw new GatewiseError("E_DATA", message, { cause });
  }
  throw new GatewiseError("E_DATA", `${where} must be bytes, a Uint8Array or an ArrayBuffer, got ${shown(value)}`);
}

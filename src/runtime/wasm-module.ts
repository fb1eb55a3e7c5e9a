// The WebAssembly forms of entry points: a function for each entry that has one, called <kernel>_<entry>, which is given the
// addresses of the tensors in the order of their bindings, the params in theirs, and then the address of its scratch, which
// thread it is, and how many there are. <kernel>_scratch says how many bytes of scratch a thread needs with such params, if any.
import type { Entry } from "./kernel.ts";

export type Form = (...numbers: number[]) => number;

/**
 * Which build of the module runs: what relaxed SIMD rounds once, plain SIMD rounds twice. The wide one gives the bits of the relaxed
 * one by larger tiles, faster only where the engine makes one instruction of two: see wasm-tiles.ts.
 */
export const BUILDS = ["relaxed", "plain", "wide"] as const;
export type Build = (typeof BUILDS)[number];

/** The builds that are tried where one is asked for. */
export const TRIED: Readonly<Record<Build, readonly Build[]>> = {
  relaxed: ["relaxed", "plain"],
  plain: ["plain"],
  wide: ["wide", "relaxed", "plain"],
};

/** The first bytes of the memory are the module's own. */
export const MODULE_BYTES = 4096;

export interface CompiledModule {
  readonly module: WebAssembly.Module;
  readonly build: Build;
}

/** How the limits of a memory begin that has a maximum and is shared. */
const SHARED = 3;
/** Where the limits of the module's memory begin, which it imports as env.memory. */
const limitsOf = (bytes: Uint8Array): number => {
  const name = "\x03env\x06memory\x02";
  const at = bytes.findIndex((_, i) => [...name].every((c, k) => bytes[i + k] === c.charCodeAt(0)));
  return at + name.length;
};

async function unpack(): Promise<(build: Build) => Uint8Array<ArrayBuffer>> {
  const { block, lengths, packed } = await import("../../wasm?module");
  const stream = new Blob([Uint8Array.from(atob(packed), (c) => c.charCodeAt(0))]).stream();
  const byTurns = await new Response(stream.pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
  const builds = Object.keys(lengths);
  return (build) => {
    const bytes = new Uint8Array(byTurns.byteLength / builds.length);
    for (let to = 0, from = block * builds.indexOf(build); to < bytes.length; to += block, from += block * builds.length)
      bytes.set(new Uint8Array(byTurns, from, block), to);
    return bytes.slice(0, lengths[build]);
  };
}

/** Compiles the first of `builds` that can run here, or says why none can. */
export async function compileModule({ builds = TRIED.relaxed, shared = false } = {}): Promise<CompiledModule | string> {
  if (typeof WebAssembly === "undefined") return "there is no WebAssembly here";
  try {
    const bytesOf = await unpack();
    for (const build of builds) {
      const bytes = bytesOf(build);
      if (shared) bytes[limitsOf(bytes)] = SHARED;
      if (WebAssembly.validate(bytes)) return { module: await WebAssembly.compile(bytes), build };
    }
  } catch (error) {
    return `WebAssembly is not allowed here (${(error as Error).message})`;
  }
  return "WebAssembly has no SIMD here";
}

export const instantiate = ({ module }: CompiledModule, memory: WebAssembly.Memory): Readonly<Record<string, Form | undefined>> =>
  new WebAssembly.Instance(module, { env: { memory } }).exports as Record<string, Form>;

/** What an entry's form is called in the module. */
export const formName = ({ kernel, name }: Pick<Entry, "kernel" | "name">): string => `${kernel}_${name}`.replaceAll("-", "_");
export const scratchName = ({ kernel }: Pick<Entry, "kernel">): string => `${kernel}_scratch`.replaceAll("-", "_");

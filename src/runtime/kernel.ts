import type { NumberArray, TensorSpec } from "./tensor.ts";

/** How an entry point uses a tensor. */
export type Access = "read" | "read_write";
export type ParamType = "u32" | "f32";

/** The fields of an entry point's uniform struct, in order. All are 4 bytes, so field i lies at byte 4·i. */
export type ParamTypes = Readonly<Record<string, ParamType>>;
/** The tensors of an entry point, in the order of their binding numbers, which start at 1 (0 is the params). */
export type Bindings = Readonly<Record<string, Access>>;

export type Params<P extends ParamTypes = ParamTypes> = { readonly [K in keyof P]: number };
/** Values for the `const NAME: u32 = …;` lines of a shader that a variant replaces. */
export type Constants = Readonly<Record<string, number>>;

/**
 * Which adapters a variant is meant for. Software adapters pay dearly for barriers and want register tiles
 * straight from storage; GPUs want workgroup-memory tiles. Without an adapter, in WebAssembly, a dispatch is the larger the better.
 */
export type Family = "software" | "gpu" | "wasm";

/** What decides which variants an adapter can run and which suit it. */
export interface Target {
  /** Which of the kernels' variants suit it. */
  readonly family: Family;
  /** Invocations of a subgroup, where all subgroups are of one size and shaders may use them; else 0. */
  readonly subgroupSize: number;
}

/** One way to compile an entry point. */
export interface Variant {
  readonly name: string;
  /** The WGSL function, if it is not the entry's own name. */
  readonly entryPoint?: string;
  readonly constants?: Constants;
  /** The family of adapters that it is made for; any, if left out. */
  readonly family?: Family;
  /** The size of the subgroups that it uses; if left out it uses none. */
  readonly subgroupSize?: number;
  /** Workgroups to dispatch, where they are not the entry's. */
  readonly workgroups?: (params: Params) => Workgroups;
  /** Whether it is the one to take for these params on this family; the first variant is, where none says so. */
  readonly preferred?: (params: Params, family: Family) => boolean;
  /** Whether it may run at all for these params; always, if left out. */
  readonly supports?: (params: Params) => boolean;
}

/** Workgroups along x, y, z. */
export type Workgroups = readonly [number, number?, number?];

/** One dispatch to check against the reference: its params, its tensors, and what to fill them with. */
export interface KernelCase {
  readonly name: string;
  readonly params: Params;
  readonly tensors: Readonly<Record<string, CaseTensor>>;
}
export type CaseTensor = Omit<TensorSpec, "name"> & {
  /** Value of logical element i; uniform in [-1, 1) if left out (f32), 0 (u32). */
  readonly fill?: (i: number) => number;
};

/** What `defineKernel` is given for one entry point. */
export interface EntrySpec<P extends ParamTypes, B extends Bindings> {
  readonly params: P;
  readonly bindings: B;
  /** Bindings that may hold f16, and the alias of the shader (`alias NAME = vec4f;`) that stands for four of them. */
  readonly halves?: Readonly<Record<string, string>>;
  readonly variants?: readonly Variant[];
  /** Workgroups to dispatch along x, y, z. */
  readonly workgroups: (params: Params<P>, constants: Constants) => Workgroups;
  /** The sizes that decide which variant is fastest; where none are given, the family decides alone. */
  readonly tuneBy?: (params: Params<P>) => readonly number[];
  /** Params of less work, on the same tensors, that tell as well which variant is fastest. */
  readonly tuneWith?: (params: Params<P>) => Params<P>;
  /** Floating-point operations, or memory operations where those dominate: what submits are bounded by. */
  readonly work: (params: Params<P>) => number;
  /** The definition: plain loops over arrays in stored order, in float32 or float64. */
  readonly reference: (tensors: { readonly [K in keyof B]: NumberArray }, params: Params<P>) => void;
  /** Cases at odd sizes; every variant is checked on each that it supports. */
  readonly cases: () => readonly KernelCase[];
}

/** An entry point of a kernel: what a plan dispatches. */
export interface Entry<P extends ParamTypes = ParamTypes, B extends Bindings = Bindings> extends EntrySpec<P, B> {
  readonly kernel: string;
  readonly name: string;
  /** WGSL files in the order in which they are joined; the last one is the kernel's own. */
  readonly files: readonly ShaderFile[];
  readonly variants: readonly Variant[];
}

/** A file of shaders/, by its basename. */
export interface ShaderFile {
  readonly name: string;
  readonly source: string;
  /** What stands in its place in variants that use subgroups: another file, or nothing. */
  readonly withSubgroups?: ShaderFile | null;
}

const DEFAULT_VARIANT: readonly Variant[] = [{ name: "default" }];

/** Declares one entry point; only there so that TypeScript infers its params and bindings. */
export function entry<const P extends ParamTypes, const B extends Bindings>(spec: EntrySpec<P, B>): EntrySpec<P, B> {
  return spec;
}

/**
 * Makes a kernel: one op, one WGSL file of the same name, its entry points, and the files it shares with others.
 *
 * @example
 * export const lstm = defineKernel("lstm", source, { forward: entry({ … }), backward: entry({ … }) });
 * recorder.dispatch(lstm.forward, { h, c, … }, { T, B, H, t });
 */
export function defineKernel<E extends Record<string, EntrySpec<any, any>>>(
  name: string,
  source: string,
  entries: E,
  include: readonly ShaderFile[] = [],
): { readonly [K in keyof E]: E[K] extends EntrySpec<infer P, infer B> ? Entry<P, B> : never } {
  const files = [...include, { name, source }];
  const kernel: Record<string, unknown> = {};
  for (const [entryName, spec] of Object.entries(entries)) {
    kernel[entryName] = { variants: DEFAULT_VARIANT, ...spec, kernel: name, name: entryName, files };
  }
  return kernel as never;
}

/** Whether a variant, of whatever family, can run with these params on an adapter. */
export const canRun = ({ subgroupSize, supports }: Variant, params: Params, target: Pick<Target, "subgroupSize">): boolean =>
  (subgroupSize ?? target.subgroupSize) === target.subgroupSize && (supports?.(params) ?? true);

/** The variants that can run with these params, those made for other families left out; without shaders any stands for all. */
export function ableVariants(entry: Entry, params: Params, target: Target): readonly Variant[] {
  if (target.family === "wasm") return entry.variants.slice(0, 1);
  return entry.variants.filter((v) => (v.family ?? target.family) === target.family && canRun(v, params, target));
}

/** The variant to use: the one asked for by name, of whatever family, else the preferred one, else the first. */
export function chooseVariant(entry: Entry, params: Params, target: Target, name?: string): Variant {
  const able = ableVariants(entry, params, target);
  const chosen = name
    ? entry.variants.find((v) => v.name === name && canRun(v, params, target))
    : (able.find((v) => v.preferred?.(params, target.family)) ?? able[0]);
  if (!chosen) {
    throw new Error(`${entry.kernel}.${entry.name}: no variant ${name ?? ""} for ${JSON.stringify(params)}`);
  }
  return chosen;
}

/** Workgroups that one dimension may have: WebGPU's guaranteed limit. */
export const MAX_WORKGROUPS = 65535;

/** Workgroups along x and y that cover `items`, `size` each; `linearWorkgroup` in the prelude numbers them. */
export function linearWorkgroups(items: number, size: number): readonly [number, number] {
  const count = divideUp(items, size);
  const y = Math.max(divideUp(count, MAX_WORKGROUPS), 1);
  return [divideUp(count, y), y];
}

/** `ceil(a / b)`, the number of workgroups that cover `a` items. */
export const divideUp = (a: number, b: number): number => Math.ceil(a / b);

// The proof of a kernel: the same inputs through its reference in float64 and through its WGSL on a GPU.
import { STREAM, fraction, randomWord } from "../random.ts";
import { abortable } from "../turns.ts";
import { CpuDevice } from "./cpu-device.ts";
import type { Device, Plan } from "./device.ts";
import { canRun, type Entry, type KernelCase, type Variant } from "./kernel.ts";
import type { Recorder } from "./recorder.ts";
import { sizeOf, toStored, type DType, type NumberArray, type Tensor } from "./tensor.ts";

/** Relative L2 distance between GPU and reference that a tensor may have. */
export const TOLERANCE = 1e-5;
/** The same where weights and activations are f16, whose numbers have 11 binary digits. */
export const HALF_TOLERANCE = 2e-3;

/**
 * Runs every case of an entry point in every variant that can run it here, of whatever family, and says what differs
 * from the reference: nothing, if all is well. With `half` all tensors that may be f16 are. With `elements` each element
 * has to be right by itself, however small it is beside the others of its tensor: within the tolerance of its own
 * size, plus what inputs that are off by a few ulp would make of it.
 */
export async function differences(
  device: Device,
  entry: Entry,
  cases: readonly KernelCase[] = entry.cases(),
  variants: readonly Variant[] = entry.variants,
  half = false,
  signal?: AbortSignal,
  elements = false,
): Promise<string[]> {
  const cpu = new CpuDevice("float64");
  const found: string[] = [];
  const tolerance = half ? HALF_TOLERANCE : TOLERANCE;
  for (const each of half ? cases.map((one) => halved(one, entry)) : cases) {
    const inputs = fillTensors(each);
    const expected = await runCase(cpu, entry, each, inputs, signal);
    const unsure = elements ? await sensitivity(cpu, entry, each, inputs, expected, signal) : undefined;
    const able = variants.filter((variant) => canRun(variant, each.params, device));
    for (const variant of device.family === "wasm" ? able.slice(0, 1) : able) {
      const actual = await runCase(device, entry, each, inputs, signal, variant.name);
      for (const [name, values] of actual) {
        const difference = compare(values, expected.get(name)!, tolerance, unsure?.get(name));
        if (difference)
          found.push(`${entry.kernel}.${entry.name}, ${each.name}, variant "${variant.name}", ${name}: ${difference}`);
      }
    }
  }
  cpu.dispose();
  return found;
}

/** A case with every tensor f16 that may be. */
const halved = (each: KernelCase, { halves = {} }: Entry): KernelCase => ({
  ...each,
  name: `${each.name} f16`,
  tensors: Object.fromEntries(
    Object.entries(each.tensors).map(([name, spec]) => [name, name in halves ? { ...spec, dtype: "f16" as const } : spec]),
  ),
});

/** What the tensors of a case start with: the same float32 numbers for both devices, in logical order. */
function fillTensors(each: KernelCase): Map<string, NumberArray> {
  return new Map(
    Object.entries(each.tensors).map(([name, spec], index) => {
      const uniform = (i: number): number => 2 * fraction(randomWord(1, index, i, STREAM.init)) - 1;
      const size = sizeOf(spec.shape);
      return [
        name,
        spec.dtype === "u32"
          ? Uint32Array.from({ length: size }, (_, i) => spec.fill?.(i) ?? 0)
          : Float32Array.from({ length: size }, (_, i) => (spec.fill ?? uniform)(i)),
      ];
    }),
  );
}

/** A tensor in stored order, and which of its elements are padding. */
interface StoredValues {
  readonly values: NumberArray;
  readonly dtype: DType;
  readonly isPadding: (i: number) => boolean;
}

/** Dispatches a case once and reads every tensor that the entry point may write. */
async function runCase(
  device: Device,
  entry: Entry,
  each: KernelCase,
  inputs: ReadonlyMap<string, NumberArray>,
  signal: AbortSignal | undefined,
  variantName?: string,
): Promise<Map<string, StoredValues>> {
  const tensors: Record<string, Tensor> = {};
  const results = new Map<string, StoredValues>();
  let plan: Plan | undefined;
  try {
    for (const [name, spec] of Object.entries(each.tensors)) {
      tensors[name] = device.tensor({ name, ...spec });
      device.write(tensors[name], inputs.get(name)!);
    }
    const build = (recorder: Recorder): void => recorder.dispatch(entry, tensors, each.params, variantName);
    plan = await device.record(each.name, build, { signal });
    await plan.run([], signal);
    for (const [name, access] of Object.entries(entry.bindings)) {
      if (access !== "read_write") continue;
      const tensor = tensors[name]!;
      const inside = toStored(tensor, new Uint8Array(sizeOf(tensor.shape)).fill(1) as never) as unknown as Uint8Array;
      // As a tensor without padding, so that the padding is read too.
      const values = await abortable(signal, device.read({ ...tensor, shape: tensor.stored }));
      results.set(name, { values: values.subarray(0, inside.length), dtype: tensor.dtype, isPadding: (i) => inside[i] === 0 });
    }
  } finally {
    plan?.dispose();
    device.free(...Object.values(tensors));
  }
  return results;
}

/** How far inputs that are off by a few ulp, each by another amount, move the elements of the outputs. */
async function sensitivity(
  cpu: Device,
  entry: Entry,
  each: KernelCase,
  inputs: ReadonlyMap<string, NumberArray>,
  expected: ReadonlyMap<string, StoredValues>,
  signal: AbortSignal | undefined,
): Promise<Map<string, Float64Array>> {
  const moved = new Map([...expected].map(([name, { values }]) => [name, new Float64Array(values.length)]));
  for (let trial = 0; trial < 4; trial++) {
    const off = (i: number): number => 1 + (fraction(randomWord(trial, inputs.size, i, STREAM.init)) - 0.5) * 2 ** -20;
    const nearby = new Map(
      [...inputs].map(([name, values]) => [
        name,
        values instanceof Uint32Array ? values : Float64Array.from(values, (x, i) => x * off(i)),
      ]),
    );
    for (const [name, { values }] of await runCase(cpu, entry, each, nearby, signal)) {
      const most = moved.get(name)!;
      const wanted = expected.get(name)!.values;
      values.forEach((value, i) => (most[i] = Math.max(most[i]!, Math.abs(value - wanted[i]!))));
    }
  }
  return moved;
}

/** Rounding in sums of a few hundred terms, in units of what `sensitivity` finds. */
const ROUNDING = 16;
/** The smallest normal f32, below which adapters may take zero. */
const SMALLEST = 2 ** -126;

/** Why `actual` is not `expected`, or undefined if it is, within the tolerance; `unsure` as `sensitivity` gives it. */
function compare(actual: StoredValues, expected: StoredValues, tolerance: number, unsure?: Float64Array): string | undefined {
  let error = 0;
  let norm = 0;
  let worst = 0;
  for (let i = 0; i < expected.values.length; i++) {
    const [value, wanted] = [actual.values[i]!, expected.values[i]!];
    const difference = Math.abs(value - wanted);
    if (actual.isPadding(i)) {
      if (value !== 0) return `padding at ${i} holds ${value}, not 0`;
    } else if (actual.dtype === "u32" || !Number.isFinite(wanted) || !Number.isFinite(value)) {
      if (Number.isFinite(value) !== Number.isFinite(wanted) || difference > 0) return `element ${i} is ${value}, not ${wanted}`;
    } else if (unsure && difference > tolerance * Math.abs(wanted) + ROUNDING * unsure[i]! + SMALLEST) {
      return `element ${i} is ${value}, not ${wanted}`;
    } else {
      error += difference ** 2;
      norm += wanted ** 2;
      if (difference > Math.abs(actual.values[worst]! - expected.values[worst]!)) worst = i;
    }
  }
  const relative = error === 0 ? 0 : Math.sqrt(error / norm);
  if (relative <= tolerance) return undefined;
  const example = `worst at ${worst}: ${actual.values[worst]}, not ${expected.values[worst]}`;
  return `relative L2 ${relative.toExponential(1)} > ${tolerance}, ${example}`;
}

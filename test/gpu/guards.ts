// What a driver's own order and bounds hide: that nothing is written behind a tensor, whatever stands there, and that the
// order in which workgroups run, and between barriers their lanes, changes no bit. Software adapters run them in order, one
// after another; here they also run backwards.
import { fraction, randomWord } from "../../src/random.ts";
import type { Device } from "../../src/runtime/device.ts";
import { canRun, type Entry, type KernelCase, type ShaderFile, type Variant } from "../../src/runtime/kernel.ts";
import { sizeOf, storedShape, type NumberArray, type Tensor } from "../../src/runtime/tensor.ts";

/** Elements behind each tensor, inside its binding. */
const GUARD = 4096;
const guardOf = (tensor: Tensor): NumberArray =>
  tensor.dtype === "u32" ? new Uint32Array(GUARD).fill(0xabcdef) : new Float32Array(GUARD).fill(1e30);

/** A shader whose workgroups, and lanes if it is `laneByLane`, stand elsewhere than where they run. */
function reversed(source: string, laneByLane: boolean): string {
  const heads = /@compute\s+@workgroup_size\(([^)]*)\)\s*fn (\w+)\(([^{]*?),?\s*\)\s*\{/g;
  return source.replace(heads, (_, sizes: string, name: string, list: string) => {
    const size = `vec3u(${[...sizes.split(","), "1", "1"].slice(0, 3).join(",")})`;
    // What each builtin is where workgroup and lane are others; `run_…`: what it is.
    const placed: Record<string, string> = {
      workgroup_id: "run_num_workgroups - 1u - run_workgroup_id",
      global_invocation_id: `(run_num_workgroups - 1u - run_workgroup_id) * ${size} + ${
        laneByLane ? `${size} - 1u - run_local_invocation_id` : "run_local_invocation_id"
      }`,
      ...(laneByLane && {
        local_invocation_id: `${size} - 1u - run_local_invocation_id`,
        local_invocation_index: `${size}.x * ${size}.y * ${size}.z - 1u - run_local_invocation_index`,
      }),
    };
    const builtins = new Set(["num_workgroups", "workgroup_id", "local_invocation_id"]);
    let body = "";
    for (const [, builtin, own] of list.matchAll(/@builtin\((\w+)\)\s*(\w+):/g)) {
      builtins.add(builtin!);
      body += `let ${own} = ${placed[builtin!] ?? `run_${builtin}`};`;
    }
    const head = [...builtins].map((each) => `@builtin(${each}) run_${each}: ${each.endsWith("_index") ? "u32" : "vec3u"}`);
    return `@compute @workgroup_size(${sizes}) fn ${name}(${head.join(", ")}) { ${body}`;
  });
}

function reversedEntry(one: Entry, laneByLane: boolean): Entry {
  const file = (each: ShaderFile): ShaderFile => ({
    ...each,
    source: reversed(each.source, laneByLane),
    ...(each.withSubgroups && { withSubgroups: file(each.withSubgroups) }),
  });
  return { ...one, kernel: `${one.kernel} backwards ${laneByLane}`, files: one.files.map(file) };
}

/** Runs a case with guards behind its tensors; returns what it wrote, and the bindings whose guards were written. */
async function run(
  device: Device,
  one: Entry,
  each: KernelCase,
  variant: Variant,
): Promise<{ written: Record<string, NumberArray>; broken: string[] }> {
  const tensors: Record<string, Tensor> = {};
  for (const [index, [name, spec]] of Object.entries(each.tensors).entries()) {
    const stored = storedShape({ name, ...spec });
    const length = Math.max(sizeOf(stored), 4);
    const whole = device.tensor({ name, shape: [length + GUARD], stored: [length + GUARD], dtype: spec.dtype ?? "f32" });
    const size = sizeOf(spec.shape);
    const uniform = (i: number): number => 2 * fraction(randomWord(2, index, i, 99)) - 1;
    tensors[name] = { ...whole, shape: spec.shape, stored };
    device.write(
      tensors[name],
      spec.dtype === "u32"
        ? Uint32Array.from({ length: size }, (_, i) => spec.fill?.(i) ?? 0)
        : Float32Array.from({ length: size }, (_, i) => (spec.fill ?? uniform)(i)),
    );
    device.write({ ...whole, shape: [GUARD], stored: [GUARD], offset: length, length: GUARD }, guardOf(whole));
  }
  const plan = await device.record(each.name, (recorder) => recorder.dispatch(one, tensors, each.params, variant.name));
  await plan.run();
  const [written, broken]: [Record<string, NumberArray>, string[]] = [{}, []];
  for (const [name, access] of Object.entries(one.bindings)) {
    if (access !== "read_write") continue;
    const tensor = tensors[name]!;
    const all = await device.read({ ...tensor, shape: [tensor.length], stored: [tensor.length] });
    const guard = guardOf(tensor);
    const at = tensor.length - GUARD;
    const first = guard.findIndex((value, i) => all[at + i] !== value);
    if (first >= 0) broken.push(`${name}: ${all[at + first]} behind its end, at ${at} + ${first}`);
    written[name] = all.slice(0, at);
  }
  plan.dispose();
  device.free(...Object.values(tensors));
  return { written, broken };
}

const bits = (values: NumberArray): Uint32Array => new Uint32Array(values.buffer, values.byteOffset, values.length);

/** What goes wrong with an entry point, variant by variant, at the largest size that it has a case for. */
export async function faults(device: Device, one: Entry, variants = one.variants): Promise<string[]> {
  const found: string[] = [];
  const volume = ({ tensors }: KernelCase): number => Object.values(tensors).reduce((sum, { shape }) => sum + sizeOf(shape), 0);
  for (const variant of variants) {
    const able = one.cases().filter(({ params }) => canRun(variant, params, device));
    const each = able.reduce((a, b) => (volume(b) > volume(a) ? b : a), able[0]!);
    if (!each) continue;
    const where = `${one.kernel}.${one.name}, ${variant.name}, ${each.name}`;
    const plain = await run(device, one, each, variant);
    const backwards = await run(device, reversedEntry(one, !variant.subgroupSize), each, variant);
    found.push(...[...plain.broken, ...backwards.broken].map((broken) => `${where}: ${broken}`));
    for (const [name, values] of Object.entries(plain.written)) {
      const [a, b] = [bits(values), bits(backwards.written[name]!)];
      const first = a.findIndex((word, i) => word !== b[i]);
      if (first >= 0)
        found.push(`${where}, backwards: ${name} differs at ${first}: ${values[first]}, ${backwards.written[name]![first]}`);
    }
  }
  return found;
}

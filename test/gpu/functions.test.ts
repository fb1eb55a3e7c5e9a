// The functions of shaders/prelude.wgsl, and of kernels that have some of their own, number by number.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import s4d from "../../shaders/s4d.wgsl?raw";
import selectiveScan from "../../shaders/selective-scan.wgsl?raw";
import type { Device } from "../../src/runtime/device.ts";
import { defineKernel, entry, linearWorkgroups } from "../../src/runtime/kernel.ts";
import { testDevice } from "./device.ts";

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});
afterAll(() => device.dispose());

/** Numbers of both signs over the whole range of normal floats, many to a binade, and what lies at its ends. */
const positive = Float32Array.from(
  { length: 254 * 64 },
  (_, i) => 2 ** (Math.floor(i / 64) - 126) * (1 + ((i % 64) + (i % 7) / 7) / 64),
);
const NUMBERS = Float32Array.of(0, -0, ...positive, ...positive.map((x) => -x));

/** The distance of two numbers in ulp of the first; below the normal numbers, which adapters may flush, all are one. */
function ulps(wanted: number, y: number): number {
  const smallest = 2 ** -126;
  if (Math.abs(wanted) < smallest) return Math.abs(y) <= smallest && y * wanted >= 0 ? 0 : Infinity;
  return Math.abs(y - wanted) / 2 ** (Math.floor(Math.log2(Math.abs(wanted))) - 23);
}

/** @param functions what the expression calls besides the prelude */
async function compute(expression: string, x: Float32Array, functions = ""): Promise<Float32Array> {
  const source = /* wgsl */ `
    ${functions}
    struct Params { count: u32 }
    @group(0) @binding(0) var<uniform> params: Params;
    @group(0) @binding(1) var<storage, read> x: array<vec4f>;
    @group(0) @binding(2) var<storage, read_write> y: array<vec4f>;
    @compute @workgroup_size(64)
    fn forward(@builtin(global_invocation_id) id: vec3u) {
      if (id.x < params.count) {
        let v = x[id.x];
        y[id.x] = ${expression};
      }
    }`;
  const { forward } = defineKernel(`function ${expression}`, source, {
    forward: entry({
      params: { count: "u32" },
      bindings: { x: "read", y: "read_write" },
      workgroups: ({ count }) => linearWorkgroups(count, 64),
      work: () => 1,
      reference() {},
      cases: () => [],
    }),
  });
  const shape = [x.length];
  const [from, to] = [device.tensor({ name: "x", shape }), device.tensor({ name: "y", shape })];
  device.write(from, x);
  const plan = await device.record("function", (r) =>
    r.dispatch(forward, { x: from, y: to }, { count: Math.ceil(x.length / 4) }),
  );
  await plan.run();
  const values = await device.read(to);
  plan.dispose();
  device.free(from, to);
  return values as Float32Array;
}

const FUNCTIONS: Record<string, readonly [string, (x: number) => number, (x: number) => boolean]> = {
  tanh: ["safeTanh(v)", Math.tanh, () => true],
  sigmoid: ["sigmoid(v)", (x) => 1 / (1 + Math.exp(-x)), () => true],
  "exp of what is not above zero": ["expNegative(v)", Math.exp, (x) => x <= 0],
  "log1p of what is not below zero": [
    "vec4f(log1p(v.x), log1p(v.y), log1p(v.z), log1p(v.w))",
    Math.log1p,
    (x) => x >= 0 && x < 3e38,
  ],
};

describe("over all exponents, within 4 ulp of the true value:", () => {
  test.each(Object.entries(FUNCTIONS))("%s", async (_, [expression, truth, inDomain]) => {
    const x = NUMBERS.filter(inDomain);
    const y = await compute(expression, x);
    let worst = { off: 0, x: 0, y: 0 };
    x.forEach((value, i) => {
      const off = ulps(truth(value), y[i]!);
      if (!(off <= worst.off)) worst = { off, x: value, y: y[i]! };
    });
    expect(worst.off, JSON.stringify(worst)).toBeLessThanOrEqual(4);
  });
});

/** A function of a kernel's own, as its text has it. */
const functionOf = (source: string, name: string): string => new RegExp(`^fn ${name}\\([^]*?^}`, "m").exec(source)![0];
const ofEach = (call: (v: string) => string): string => `vec4f(${[..."xyzw"].map((axis) => call(`v.${axis}`)).join()})`;
/** How far its parts of π/2 reach: 2¹⁵ of them. */
const isAngle = (x: number): boolean => Math.abs(x) < 2 ** 15 * 1.57;

describe("kernels' own functions are near the true value:", () => {
  test.each<[string, number, string, string, string, (x: number) => number, (x: number) => boolean]>([
    ["cos, many turns round", 1e-6, s4d, "circle", ofEach((v) => `circle(${v}).x`), Math.cos, isAngle],
    ["sin, many turns round", 1e-6, s4d, "circle", ofEach((v) => `circle(${v}).y`), Math.sin, isAngle],
    ["exp2 of what is not above zero", 2e-7, selectiveScan, "exp2Negative", "exp2Negative(v)", (x) => 2 ** x, (x) => x <= 0],
    [
      "1 - exp2 of what is not above zero",
      2e-7,
      selectiveScan,
      "oneMinusExp2",
      "oneMinusExp2(v)",
      (x) => -Math.expm1(x * Math.LN2),
      (x) => x <= 0,
    ],
  ])("%s, to %f", async (_, most, source, name, expression, truth, inDomain) => {
    const x = NUMBERS.filter(inDomain);
    const y = await compute(expression, x, functionOf(source, name));
    let worst = { off: 0, x: 0, y: 0 };
    x.forEach((value, i) => {
      const off = Math.abs(y[i]! - truth(value));
      if (!(off <= worst.off)) worst = { off, x: value, y: y[i]! };
    });
    expect(worst.off, JSON.stringify(worst)).toBeLessThanOrEqual(most);
  });
});

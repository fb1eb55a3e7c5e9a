// The adapter of test/gpu's tests while StrykerJS runs them: no GPU, nor any driver that a mutant could take down. It
// stands in the place of test/gpu/device.ts.
import { defineKernel, entry, type Entry } from "../../src/runtime/kernel.ts";
import type { Device } from "../../src/runtime/device.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { makeFakeAdapter, type Dispatched, type FakeOptions } from "../reference/fake-gpu.ts";

/** The kernel of the tests' own, as its shader has it. */
const doubling = defineKernel("doubling", "", {
  forward: entry({
    params: { count: "u32" },
    bindings: { x: "read", y: "read_write" },
    workgroups: () => [1],
    work: () => 1,
    reference({ x, y }, { count }) {
      for (let i = 0; i < count; i++) y[i] = 2 * x[i]!;
    },
    cases: () => [],
  }),
});

/** A `const NAME: u32 = …u;` of a shader. */
const constant = (code: string, name: string): number =>
  Number(new RegExp(`^const ${name}: u32 = (\\d+)u;`, "m").exec(code)?.[1]);

const OPTIONS: FakeOptions = {
  features: ["timestamp-query", "shader-f16"],
  entries: new Map([["doubling.forward", doubling.forward as unknown as Entry]]),
  cost: ({ name, code }) => (name === "doubling.forward" ? (constant(code, "LOOPS") || 1) / 200 : 1e-3),
  after({ name, code, params, arrays }: Dispatched) {
    const fault = name === "doubling.forward" ? constant(code, "FAULT") : 0;
    const from = fault === 1 ? 0 : fault === 2 ? 1001 : params.count!;
    for (let i = from; i < params.count!; i++) arrays.y![i]! += 0.01;
  },
  compile(code) {
    const line = code.split("\n").findIndex((each) => each.includes("return 1u;"));
    return line < 0 ? [] : [{ type: "error", lineNum: line + 1, linePos: 3, message: "wrong type" }];
  },
};

export const testAdapter = async (): Promise<GPUAdapter> => makeFakeAdapter(OPTIONS);

export const testDevice = (): Promise<Device> =>
  openDevice({ gpu: { requestAdapter: testAdapter } as unknown as GPU, prefer: "webgpu", tuning: "off" });

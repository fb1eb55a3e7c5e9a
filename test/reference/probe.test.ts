// What an adapter can do at the most, of one whose times are known.
import { afterEach, expect, it, vi } from "vitest";
import { openDevice } from "../../src/runtime/open.ts";
import { CpuDevice } from "../../src/runtime/cpu-device.ts";
import type { Entry } from "../../src/runtime/kernel.ts";
import { probe, probeAdapter, probeFamily } from "../../src/runtime/probe.ts";
import { makeFakeDevice, type Dispatched } from "./fake-gpu.ts";

afterEach(() => vi.restoreAllMocks());

/** Milliseconds of a dispatch: of multiply-adds in f32 and f16, of barriers, and of a large copy and a small one. */
function cost({ name, code, params }: Dispatched): number {
  if (name === "probe.fma_") return code.startsWith("enable f16;") ? 10.5 : 20.5;
  if (name === "probe.barrier") return 8.5;
  return params.count! > 1 ? 64.5 : 0.5;
}

it.each([
  ["software", 200],
  ["gpu", 4000],
] as const)(
  "the limits of a %s adapter are its work over the time that is left without a submit's own",
  async (family, rounds) => {
    let time = 1000;
    vi.spyOn(performance, "now").mockImplementation(() => (time += 1e-6));
    const entries = new Map([["probe.fma", { ...probe.fma, reference: () => {} } as unknown as Entry]]);
    const { gpuDevice } = makeFakeDevice({
      cost,
      entries,
      features: ["shader-f16"],
      info: { description: family },
      limits: { maxStorageBufferBindingSize: 1 << 18 },
      until: async (then) => void (time = Math.max(time, then)),
    });
    const device = await openDevice({ gpuDevice, tuning: "off" });
    expect(device.family).toBe(family);
    const limits = await probeAdapter(device);
    // 256 workgroups of 64 invocations, of eight chains of four numbers each; a multiply and an add count as two.
    const operations = 256 * 64 * 8 * 4 * rounds * 2;
    const expected = {
      gigaflops: operations / 20e-3 / 1e9,
      gigaflopsHalf: operations / 10e-3 / 1e9,
      gigabytesPerSecond: (2 * 2 ** 18) / 64e-3 / 1e9,
      dispatch: 500,
      submit: 500,
      readBack: 500,
      barrier: 8e6 / 4000,
    };
    expect(Object.keys(limits).sort()).toEqual(Object.keys(expected).sort());
    for (const [name, value] of Object.entries(expected))
      expect(limits[name as keyof typeof expected]! / value, name).toBeCloseTo(1, 3);
    device.dispose();
  },
);

it("an adapter's family is found with two tensors of 64 vec4s, which are gone afterwards", async () => {
  const { gpuDevice, fake } = makeFakeDevice();
  const device = await openDevice({ gpuDevice, tuning: "off" });
  expect(await probeFamily(device)).toMatch(/^(gpu|software)$/);
  expect(fake.buffers.slice(0, 2).map(({ label, size }) => [label, size])).toEqual([
    ["probe x", 1024],
    ["probe y", 1024],
  ]);
  expect(fake.dispatched.map(({ name, params }) => [name, params.count])).toEqual([
    ["probe.barrier", 0],
    ["probe.barrier", 0],
    ["probe.barrier", 20_000],
    ["probe.barrier", 20_000],
  ]);
  expect(device.memory()).toEqual({ buffers: 0, bytes: 0 });
  device.dispose();
});

it("the probe's cases are of one, some and many rounds, their tensors no larger than what is touched", () => {
  const told = ({ cases }: Pick<Entry, "cases">): unknown[] =>
    cases().map(({ name, params, tensors }) => [name, params, tensors.x!.shape, tensors.y!.shape]);
  expect(told(probe.fma as unknown as Entry)).toEqual([
    ["1 rounds", { count: 1 }, [256], [65_536]],
    ["3 rounds", { count: 3 }, [256], [65_536]],
    ["65 rounds", { count: 65 }, [256], [65_536]],
  ]);
  expect(told(probe.copy as unknown as Entry)).toEqual([
    ["1 vec4", { count: 1 }, [4], [4]],
    ["3 vec4", { count: 3 }, [12], [12]],
    ["65 vec4", { count: 65 }, [260], [260]],
    ["1000 vec4", { count: 1000 }, [4000], [4000]],
  ]);
  expect(told(probe.barrier as unknown as Entry)).toEqual(
    [0, 1, 3, 65].map((count) => [`${count} rounds`, { count }, [256], [256]]),
  );
  // Chains of s·a + b stay small, whatever the rounds, where |a| is below 1.
  const { fill } = probe.fma.cases()[0]!.tensors.x!;
  expect(Array.from({ length: 8 }, (_, i) => fill!(i))).toEqual([-0.375, -0.25, -0.125, 0, 0.125, 0.25, 0.375, -0.375]);
});

it("the probe's kernels compute sums of geometric series, a copy, and 64 vec4s that move on by one each round", async () => {
  const device = new CpuDevice("float64");
  const run = async (of: keyof typeof probe, x: readonly number[], length: number, count: number): Promise<number[]> => {
    const [input, output] = [device.tensor({ name: "x", shape: [x.length] }), device.tensor({ name: "y", shape: [length] })];
    device.write(input, Float64Array.from(x));
    const plan = await device.record("probe", (r) => r.dispatch(probe[of], { x: input, y: output }, { count }));
    const values = Array.from(await plan.runAndRead(output));
    device.free(input, output);
    return values;
  };
  const x = Array.from({ length: 256 }, (_, i) => ((i * 29) % 64) / 128);
  const moved = await run("barrier", x, 256, 65);
  expect(moved).toEqual([...x.slice(4), ...x.slice(0, 4)]);
  expect(await run("barrier", x, 256, 0)).toEqual(x);
  expect(await run("copy", x, 256, 3)).toEqual([...x.slice(0, 12), ...Array.from({ length: 244 }, () => 0)]);
  for (const count of [1, 3]) {
    const sums = await run("fma", x, 65_536, count);
    const wrong = sums.findIndex((sum, i) => {
      const [s, a, b] = [x[i % 256]!, x[i % 4]!, x[4 + (i % 4)]!];
      // Eight chains from s, s + 1, … s + 7.
      return !(Math.abs(sum - (a ** count * (8 * s + 28) + (8 * b * (1 - a ** count)) / (1 - a))) <= 1e-9);
    });
    expect(wrong).toBe(-1);
  }
});

it("the probe's work is its multiplies and adds, the bytes that a copy moves over four, and what passes a barrier", () => {
  const count = 10;
  expect([probe.fma, probe.copy, probe.barrier].map(({ work }) => work({ count }))).toEqual([
    2 * 8 * 4 * 16_384 * 10,
    2 * 4 * 10,
    64 * 4 * 10,
  ]);
  expect(probe.copy.workgroups({ count: 65 }, {})).toEqual([2, 1]);
  expect(probe.fma.workgroups({ count }, {})).toEqual([256]);
  expect(probe.barrier.workgroups({ count }, {})).toEqual([1]);
});

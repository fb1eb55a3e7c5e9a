// What an adapter can do at the most, of one whose times are known.
import { afterEach, expect, it, vi } from "vitest";
import { openDevice } from "../../src/runtime/open.ts";
import type { Entry } from "../../src/runtime/kernel.ts";
import { probe, probeAdapter } from "../../src/runtime/probe.ts";
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
      limits: { maxStorageBufferBindingSize: 1 << 20 },
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
      gigabytesPerSecond: (2 * 2 ** 20) / 64e-3 / 1e9,
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

// What the tuner's trials are filled with and how their results are compared. The numbers of the fill were computed in
// Python from the definition of pcg4d.
import { expect, it } from "vitest";
import { makeTensor } from "../../src/runtime/recorder.ts";
import type { DType, NumberArray, Tensor, TensorStorage } from "../../src/runtime/tensor.ts";
import { difference, fill } from "../../src/runtime/tuning-trial.ts";
import type { WebGpuDevice } from "../../src/runtime/webgpu-device.ts";

/** What `fill` writes to a tensor of this length. */
function filled(length: number, index: number, dtype?: DType): NumberArray | undefined {
  let written: NumberArray | undefined;
  const device = { write: (_: Tensor, values: NumberArray) => void (written = values) } as unknown as WebGpuDevice;
  fill(device, makeTensor({ name: "x", shape: [length], ...(dtype && { dtype }) }), index);
  return written;
}

it("a trial's tensors hold pcg4d's numbers between -0.1 and 0.1, others for each tensor", () => {
  for (const [index, values] of [
    [0, [-0.06531456857919693, 0.07774502038955688, -0.04285096004605293]],
    [3, [0.09083481878042221, -0.05445196479558945, -0.021910082548856735]],
  ] as const) {
    const all = filled(4100, index)!;
    expect([all[0], all[1], all[4098]]).toEqual(values);
    const [least, most] = [Math.min(...all), Math.max(...all)];
    expect(least).toBeGreaterThanOrEqual(-0.1);
    expect(least).toBeLessThan(-0.0999);
    expect(most).toBeLessThan(0.1);
    expect(most).toBeGreaterThan(0.0999);
    expect(filled(4, index, "f16")!.slice(0, 2)).toEqual(Float32Array.from(values.slice(0, 2)));
  }
});

it("a trial's tensor repeats its numbers after 4,099 of them, to its very end, whatever its length", () => {
  const first = filled(4096, 5)!;
  for (const length of [4, 4096, 4100, 8196, 8200, 20_000]) {
    const all = filled(length, 5)!;
    expect(all).toHaveLength(length);
    const wrong = all.findIndex((value, i) => i % 4099 < 4096 && value !== first[i % 4099]);
    expect(wrong, `${length}`).toBe(-1);
    expect(all.findIndex((value, i) => i >= 4099 && value !== all[i - 4099])).toBe(-1);
    expect(all.includes(0)).toBe(false);
  }
});

it("a trial's integers stay zero, which any index may be", () => {
  expect(filled(8, 0, "u32")).toBeUndefined();
});

it("two candidates agree within 1e-4 of a result's length, and say by how much they do not", () => {
  const [x, y] = [{}, {}] as TensorStorage[];
  const compared = (expected: readonly number[], actual: readonly number[]): string | undefined =>
    difference(new Map([[x!, Float64Array.from(expected)]]), new Map([[x!, Float64Array.from(actual)]]));
  expect(compared([3, 4], [3, 4])).toBeUndefined();
  expect(compared([0, 0], [0, 0])).toBeUndefined();
  expect(compared([3, 4], [3.00049, 4])).toBeUndefined();
  expect(compared([3, 4], [3.00051, 4])).toBe("differs from the preferred one at the real shape: relative L2 1.0e-4");
  expect(compared([3, 4], [2.4, 3.2])).toContain("relative L2 2.0e-1");
  expect(compared([0, 0], [0, 1e-9])).toContain("relative L2 Infinity");
  // What only one of them writes is not compared, the rest is.
  const [one, other] = [Float64Array.of(1), Float64Array.of(2)];
  expect(difference(new Map([[x!, one]]), new Map([[y!, other]]))).toBeUndefined();
  expect(
    difference(
      new Map([[x!, one]]),
      new Map([
        [y!, other],
        [x!, other],
      ]),
    ),
  ).toContain("relative L2 1.0e+0");
});

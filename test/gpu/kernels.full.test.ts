import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { lstm } from "../../src/kernels/lstm.ts";
import type { Device } from "../../src/runtime/device.ts";
import { fraction, randomWord } from "../../src/random.ts";
import type { Entry, KernelCase } from "../../src/runtime/kernel.ts";
import { sizeOf } from "../../src/runtime/tensor.ts";
import { differences } from "../../src/runtime/verify.ts";
import { allEntries } from "../../src/training/kernel-list.ts";
import { testDevice } from "./device.ts";
import { extraCases, ofAllSizes } from "./extra-cases.ts";

let device: Device;

beforeAll(async () => {
  device = await testDevice();
});

afterAll(() => device.dispose());

describe("on the GPU, within 1e-5 of the float64 reference,", () => {
  test.each([...allEntries()])("%s computes every case in every variant", async (_, kernelEntry) => {
    expect(await differences(device, kernelEntry, [...kernelEntry.cases(), ...extraCases(kernelEntry)])).toEqual([]);
  });

  test("and there are more, of several tiles, for every recurrent step", () => {
    const steps = [...allEntries()].filter(([, { params }]) => "gather" in params);
    expect(steps.length).toBeGreaterThanOrEqual(10);
    for (const [name, step] of steps) expect(extraCases(step).length, name).toBeGreaterThanOrEqual(2);
  });
});

/** Of every variant one case that it supports, and another, in which options of the kernel may differ. */
function someCases(kernelEntry: Entry): [readonly KernelCase[], readonly KernelCase[]] {
  const cases = kernelEntry.cases();
  const able = kernelEntry.variants.map(({ supports }) => cases.filter(({ params }) => supports?.(params) ?? true));
  const at = (share: number): readonly KernelCase[] => [...new Set(able.map((each) => each[Math.floor(share * each.length)]!))];
  return [at(1 / 4), at(3 / 4)];
}

/** A case in whose tensor `name` a few elements are ±`value`; zeros stay, as padding is. */
function poisoned(each: KernelCase, name: string, value: number): KernelCase {
  const spec = each.tensors[name]!;
  const size = sizeOf(spec.shape);
  const fill = (i: number): number => {
    const before = spec.fill?.(i) ?? 2 * fraction(randomWord(1, size, i, 0)) - 1;
    return before !== 0 && (i === size >> 1 || i % 101 === 100) ? value * (-1) ** i : before;
  };
  return { ...each, name: `${each.name}, ${value} in ${name}`, tensors: { ...each.tensors, [name]: { ...spec, fill } } };
}

describe("what is not finite in any input is not finite in the outputs where the reference's is not, and elsewhere is right:", () => {
  test.each([...allEntries()])("%s, every tensor, every variant", async (_, kernelEntry) => {
    const floats = Object.keys(kernelEntry.bindings).filter((name) => kernelEntry.cases()[0]!.tensors[name]!.dtype !== "u32");
    const [first, second] = someCases(kernelEntry);
    const poison = (cases: readonly KernelCase[], value: number): KernelCase[] =>
      cases.flatMap((each) => floats.map((name) => poisoned(each, name, value)));
    const cases = [...poison(first, NaN), ...poison(second, NaN), ...poison(second, Infinity)];
    expect(await differences(device, kernelEntry, cases)).toEqual([]);
  });
});

describe("element by element, the small ones beside large ones too, as exact as their inputs:", () => {
  test.each([...allEntries()])("%s", async (_, kernelEntry) => {
    const cases = someCases(kernelEntry)
      .flat()
      .flatMap((each) => [each, ofAllSizes(each)]);
    expect(await differences(device, kernelEntry, cases, kernelEntry.variants, false, undefined, true)).toEqual([]);
  });
});

test("checking a kernel leaves no buffer behind", async () => {
  const before = device.memory();
  await differences(device, lstm.forward as unknown as Entry, lstm.forward.cases().slice(0, 1));
  expect(device.memory()).toEqual(before);
});

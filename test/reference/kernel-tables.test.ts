import { describe, expect, test } from "vitest";
import { chooseVariant } from "../../src/runtime/kernel.ts";
import { assembleShader } from "../../src/runtime/shader.ts";
import { allEntries } from "../../src/training/kernel-list.ts";

const targets = (["software", "gpu"] as const).flatMap((family) =>
  [0, 4, 8, 32].map((subgroupSize) => ({ family, subgroupSize })),
);
const entries = [...allEntries()];

test("there are kernels, or the tests below would pass over nothing", () => {
  expect(entries.map(([name]) => name)).toEqual(expect.arrayContaining(["lstm.forward", "lstm.backward", "matmul.nn"]));
});

describe.each(entries)("%s", (_, entry) => {
  const cases = entry.cases();

  test("has cases with names of their own, with the params and tensors that it declares", () => {
    expect(new Set(cases.map((c) => c.name)).size).toBe(cases.length);
    for (const { params, tensors } of cases) {
      expect(Object.keys(params)).toEqual(Object.keys(entry.params));
      expect(Object.keys(tensors)).toEqual(expect.arrayContaining(Object.keys(entry.bindings)));
    }
  });

  // The partial sums that a norm is made of are always 1024.
  if (entry.name !== "norm") {
    test("is checked at sizes 1, 3 and 65, among its params or its tensors' axes", () => {
      const sizes = cases.flatMap((c) => [...Object.values(c.params), ...Object.values(c.tensors).flatMap((t) => t.shape)]);
      expect(sizes).toEqual(expect.arrayContaining([1, 3, 65]));
    });
  }

  test("has a case for every variant, and a variant for every case on every kind of adapter", () => {
    for (const variant of entry.variants) {
      expect(
        cases.filter((c) => variant.supports?.(c.params) ?? true),
        variant.name,
      ).not.toHaveLength(0);
      expect(() => assembleShader(entry, variant)).not.toThrow();
    }
    for (const { params } of cases) {
      for (const target of targets) {
        expect([undefined, target.subgroupSize]).toContain(chooseVariant(entry, params, target).subgroupSize);
      }
    }
  });

  test("binds at most 8 tensors", () => {
    expect(Object.keys(entry.bindings).length).toBeLessThanOrEqual(8);
  });
});

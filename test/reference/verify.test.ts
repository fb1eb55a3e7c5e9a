// What a kernel is checked with: the numbers that both devices begin from.
import { expect, it } from "vitest";
import { defineKernel, entry } from "../../src/runtime/kernel.ts";
import type { CaseTensor } from "../../src/runtime/kernel.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { differences } from "../../src/runtime/verify.ts";
import type { Entry } from "../../src/runtime/kernel.ts";

/** The tensors that the reference of a case is given. */
async function givenTo(tensors: Readonly<Record<string, CaseTensor>>): Promise<Readonly<Record<string, readonly number[]>>> {
  const seen: Record<string, readonly number[]> = {};
  const { copy } = defineKernel("copy", "", {
    copy: entry({
      params: { count: "u32" },
      bindings: { whole: "read", filled: "read", drawn: "read", out: "read_write" },
      workgroups: () => [1],
      work: () => 1,
      reference(given) {
        for (const [name, values] of Object.entries(given)) seen[name] = Array.from(values);
      },
      cases: () => [{ name: "one", params: { count: 1 }, tensors }],
    }),
  });
  const device = await openDevice({ prefer: "cpu", precision: "float64" });
  expect(await differences(device, copy as unknown as Entry)).toEqual([]);
  device.dispose();
  return seen;
}

it("integers are as the case fills them, or zero; numbers as it fills them, or drawn, others for each tensor", async () => {
  const seen = await givenTo({
    whole: { shape: [5], dtype: "u32" },
    filled: { shape: [5], dtype: "u32", fill: (i) => 3 * i + 1 },
    drawn: { shape: [4] },
    out: { shape: [4] },
  });
  expect(seen.whole!.slice(0, 5)).toEqual([0, 0, 0, 0, 0]);
  expect(seen.filled!.slice(0, 5)).toEqual([1, 4, 7, 10, 13]);
  expect(new Set([...seen.drawn!, ...seen.out!]).size).toBe(8);
  expect(seen.drawn!.every((x) => x >= -1 && x < 1 && x !== 0)).toBe(true);
  const numbers = await givenTo({
    whole: { shape: [1], dtype: "u32" },
    filled: { shape: [1], dtype: "u32" },
    drawn: { shape: [4], fill: (i) => i / 2 },
    out: { shape: [4] },
  });
  expect(numbers.drawn).toEqual([0, 0.5, 1, 1.5]);
});

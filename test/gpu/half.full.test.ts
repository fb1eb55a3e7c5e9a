// The kernels of float16 where the adapter has it, in every variant; where it has not, the error that says so.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { lstm } from "../../src/kernels/lstm.ts";
import { LanguageModel } from "../../src/models/language-model.ts";
import type { Device } from "../../src/runtime/device.ts";
import type { Entry } from "../../src/runtime/kernel.ts";
import { differences } from "../../src/runtime/verify.ts";
import { allEntries } from "../../src/training/kernel-list.ts";
import { testDevice } from "./device.ts";

let device: Device;
let hasHalf: boolean;

beforeAll(async () => {
  device = await testDevice();
  hasHalf = device.gpuDevice!.features.has("shader-f16");
});
afterAll(() => device.dispose());

const entries = [...allEntries()].filter(([, entry]) => entry.halves);

describe("float16", () => {
  test("has kernels that may use it", () => {
    expect(entries.map(([name]) => name)).toEqual(
      expect.arrayContaining(["lstm.forward", "lstm.backward", "transpose.forward", "cast.forward"]),
    );
  });

  test.each(entries)("%s computes every case in every variant, or the adapter refuses a model", async (_, entry) => {
    if (!hasHalf) {
      expect(() => LanguageModel.create(device, { vocabSize: 3, precision: "f16" })).toThrow(/precision must be "f32" here/);
      return;
    }
    expect(await differences(device, entry, entry.cases(), entry.variants, true)).toEqual([]);
  });

  test("a reference that swaps two gates is found out", async () => {
    if (!hasHalf) return expect(device.gpuDevice!.features.has("shader-f16")).toBe(false);
    const reference: typeof lstm.forward.reference = (arrays, params) => {
      const width = 4 * 68;
      const packed = arrays.packed.slice();
      for (let row = 0; row < packed.length; row += width) packed.set(arrays.packed.subarray(row, row + 68) as never, row + 68);
      lstm.forward.reference({ ...arrays, packed }, params);
    };
    const each = lstm.forward.cases().find(({ params }) => params.H === 65 && params.count === 1)!;
    const broken = { ...lstm.forward, reference } as unknown as Entry;
    expect(await differences(device, broken, [each], broken.variants, true)).not.toEqual([]);
  });
});

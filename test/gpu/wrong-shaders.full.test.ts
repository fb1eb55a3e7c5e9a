// The check of kernels itself: shaders and references with faults, which it must find.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { lstm } from "../../src/kernels/lstm.ts";
import { rnn } from "../../src/kernels/rnn.ts";
import type { Device } from "../../src/runtime/device.ts";
import { defineKernel, entry, type Entry } from "../../src/runtime/kernel.ts";
import type { NumberArray } from "../../src/runtime/tensor.ts";
import { differences } from "../../src/runtime/verify.ts";
import { testDevice } from "./device.ts";
import { ofAllSizes } from "./extra-cases.ts";

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});
afterAll(() => device.dispose());

test("element by element a tanh of the shader language's own is not as exact as its inputs", async () => {
  const files = rnn.forward.files.map((file) => ({
    ...file,
    source: file.source.replace("safeTanh(a)", "tanh(clamp(a, vec4f(-10.0), vec4f(10.0)))"),
  }));
  const loose = { ...rnn.forward, kernel: "rnn with tanh", files } as unknown as Entry;
  const each = ofAllSizes(rnn.forward.cases().find(({ params }) => params.B === 65 && !params.relu)!);
  const variants = loose.variants.filter(({ name }) => name === "8 rows");
  expect(await differences(device, loose, [each], variants)).toEqual([]);
  expect(await differences(device, loose, [each], variants, false, undefined, true)).toEqual([
    expect.stringMatching(/of all sizes, variant "8 rows", h: element \d+ is/),
  ]);
});

type Reference = typeof lstm.forward.reference;

describe("the check reports an LSTM whose reference", () => {
  const H = 65;
  const width = 4 * 68;
  const lstmCase = lstm.forward.cases().find((c) => c.params.H === H && c.params.t === 1)!;

  const swapGates = (values: NumberArray): NumberArray => {
    const swapped = values.slice();
    for (let row = 0; row < values.length; row += width) {
      swapped.set(values.subarray(row, row + 68) as never, row + 68);
      swapped.set(values.subarray(row + 68, row + 2 * 68) as never, row);
    }
    return swapped;
  };
  const wrong: Record<string, Reference> = {
    "swaps two gates": (arrays, params) => lstm.forward.reference({ ...arrays, packed: swapGates(arrays.packed) }, params),
    "forgets the recurrent bias": (arrays, params) => {
      const packed = arrays.packed.slice().fill(0, -width);
      lstm.forward.reference({ ...arrays, packed }, params);
    },
    "is one step off in time": (arrays, params) => {
      const step = params.B * 68;
      const h = arrays.h.slice().copyWithin(params.t * step, (params.t - 1) * step, params.t * step);
      lstm.forward.reference({ ...arrays, h }, params);
      arrays.h.set(h.subarray((params.t + 1) * step) as never, (params.t + 1) * step);
    },
    "ignores the gather": (arrays, params) => lstm.forward.reference(arrays, { ...params, gather: 0 }),
  };

  test("is right: not at all", async () => {
    expect(await differences(device, lstm.forward as unknown as Entry, [lstmCase])).toEqual([]);
  });

  test.each(Object.entries(wrong))("%s", async (_, reference) => {
    const broken = { ...lstm.forward, reference } as unknown as Entry;
    const found = await differences(device, broken, [lstmCase]);
    expect(found).toEqual(expect.arrayContaining([expect.stringMatching(/t=1 .* variant "8 rows", h: relative L2/)]));
  });
});

describe("the check reports a shader that", () => {
  const source = /* wgsl */ `
    struct Params { fault: u32 }
    @group(0) @binding(0) var<uniform> params: Params;
    @group(0) @binding(1) var<storage, read_write> values: array<vec4f>;
    @group(0) @binding(2) var<storage, read_write> counts: array<u32>;

    @compute @workgroup_size(1)
    fn forward() {
      values[0] = vec4f(1.0, 2.0, 3.0, 0.0);
      counts[2] = 5u;
      switch params.fault {
        case 1u: { values[0].y = 2.0001; }
        case 2u: { values[0].w = 1e-30; }
        case 3u: { values[0].x = bitcast<f32>(0x7fc00000u + counts[0]); }
        case 4u: { counts[2] = 6u; }
        default: {}
      }
    }`;
  const { forward } = defineKernel("control", source, {
    forward: entry({
      params: { fault: "u32" },
      bindings: { values: "read_write", counts: "read_write" },
      workgroups: () => [1],
      work: () => 1,
      reference({ values, counts }) {
        values.set([1, 2, 3]);
        counts[2] = 5;
      },
      cases: () =>
        [0, 1, 2, 3, 4].map((fault) => ({
          name: `fault ${fault}`,
          params: { fault },
          tensors: { values: { shape: [1, 3] }, counts: { shape: [3], dtype: "u32" } },
        })),
    }),
  });
  const control = forward as unknown as Entry;

  test.each([
    [0, "is right: not at all", []],
    [1, "is off by a little", [/fault 1, variant "default", values: relative L2 .* worst at 1: 2\.0000998/]],
    [2, "writes into the padding", [/padding at 3 holds/]],
    [3, "computes NaN", [/element 0 is NaN, not 1/]],
    [4, "is off by one in an integer", [/counts: element 2 is 6, not 5/]],
  ])("fault %i: %s", async (fault, _, messages) => {
    const found = await differences(device, control, [control.cases()[fault]!]);
    expect(found).toEqual(messages.map((message) => expect.stringMatching(message)));
  });
});

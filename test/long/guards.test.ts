import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Device } from "../../src/runtime/device.ts";
import { defineKernel, entry, type Entry } from "../../src/runtime/kernel.ts";
import { allEntries } from "../../src/training/kernel-list.ts";
import { testDevice } from "../gpu/device.ts";
import { faults } from "../gpu/guards.ts";

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});
afterAll(() => device.dispose());

describe("nothing is written behind a tensor, and the order of the workgroups changes no bit:", () => {
  it.each([...allEntries()])("%s", async (_, one) => {
    expect(await faults(device, one)).toEqual([]);
  });
});

describe("the check sees a shader that", () => {
  const kernel = (body: string): Entry =>
    defineKernel(
      `control ${body.length}`,
      /* wgsl */ `
      struct Params { N: u32 }
      @group(0) @binding(0) var<uniform> params: Params;
      @group(0) @binding(1) var<storage, read_write> y: array<f32>;
      @compute @workgroup_size(8)
      fn forward(@builtin(global_invocation_id) id: vec3u) {
        ${body}
      }`,
      {
        forward: entry({
          params: { N: "u32" },
          bindings: { y: "read_write" },
          workgroups: ({ N }) => [Math.ceil(N / 8)],
          work: () => 1,
          reference: () => {},
          cases: () => [{ name: "36", params: { N: 36 }, tensors: { y: { shape: [36] } } }],
        }),
      },
    ).forward as unknown as Entry;

  it("is right: nothing", async () => {
    expect(await faults(device, kernel("if (id.x < params.N) { y[id.x] = f32(id.x); }"))).toEqual([]);
  });
  it("has no bound", async () => {
    const found = await faults(device, kernel("y[id.x] = f32(id.x);"));
    expect(found[0]).toMatch(/y: 36 behind its end, at 36 \+ 0/);
  });
  it("writes into the next workgroup's part", async () => {
    const found = await faults(
      device,
      kernel(
        "if (id.x < params.N) { y[id.x] = f32(id.x); if (id.x % 8u == 7u && id.x + 1u < params.N) { y[id.x + 1u] = 0.5; } }",
      ),
    );
    expect(found.join()).toMatch(/backwards: y differs at 8: 8, 0\.5/);
  });
});

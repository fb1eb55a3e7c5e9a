import { defineKernel, entry, type Variant } from "../../src/runtime/kernel.ts";
import type { Recorder } from "../../src/runtime/recorder.ts";

/** A kernel that doubles numbers, in as many ways as there are variants. */
function doubling(variants: readonly Variant[], work = 1e9) {
  const source = /* wgsl */ `
    struct Params { count: u32 }
    @group(0) @binding(0) var<uniform> params: Params;
    @group(0) @binding(1) var<storage, read> x: array<f32>;
    @group(0) @binding(2) var<storage, read_write> y: array<f32>;
const FAULT: u32 = 0u;
const LOOPS: u32 = 1u;

    @compute @workgroup_size(64)
    fn forward(@builtin(global_invocation_id) id: vec3u) {
      if (id.x >= params.count) { return; }
      for (var i = 0u; i < LOOPS; i++) {
        y[id.x] = 2.0 * x[id.x] * cos(f32(i) * 1e-30);
      }
      if (FAULT == 1u || (FAULT == 2u && id.x > 1000u)) { y[id.x] += 0.01; }
    }
    @compute @workgroup_size(4096)
    fn tooWide() {}`;
  return defineKernel("doubling", source, {
    forward: entry({
      params: { count: "u32" },
      bindings: { x: "read", y: "read_write" },
      variants,
      workgroups: ({ count }) => [Math.ceil(count / 64)],
      tuneBy: ({ count }) => [count],
      // More than it does, so that the tuner cares.
      work: () => work,
      reference({ x, y }, { count }) {
        for (let i = 0; i < count; i++) y[i] = 2 * x[i]!;
      },
      cases: () => [{ name: "65", params: { count: 65 }, tensors: { x: { shape: [65] }, y: { shape: [65] } } }],
    }),
  }).forward;
}

export const SLOW: Variant = { name: "slow", constants: { LOOPS: 300 } };
export const FAST: Variant = { name: "fast" };

export const recordDoubling =
  (variants: readonly Variant[], work?: number, count = 1 << 16) =>
  (recorder: Recorder): void => {
    const [x, y] = [recorder.tensor({ name: "x", shape: [count] }), recorder.tensor({ name: "y", shape: [count] })];
    recorder.dispatch(doubling(variants, work), { x, y }, { count });
  };

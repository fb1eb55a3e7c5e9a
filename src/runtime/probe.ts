// Measures what an adapter, or another device, can do at the most, so that kernels can be told as a share of it.
import source from "../../shaders/probe.wgsl?raw";
import type { Device, Plan } from "./device.ts";
import { defineKernel, entry, linearWorkgroups, type Family } from "./kernel.ts";
import type { Recorder } from "./recorder.ts";
import type { NumberArray, Tensor } from "./tensor.ts";

const LANES = 64;
/** Multiply-adds of one invocation in one round: eight chains of a vec4f. */
const CHAINS = 32;

const bindings = { x: "read", y: "read_write" } as const;
const params = { count: "u32" } as const;
type Arrays = { readonly x: NumberArray; readonly y: NumberArray };

const fma = entry({
  params,
  bindings,
  halves: { x: "Number4", y: "Number4" },
  variants: [{ name: "default", entryPoint: "fma_" }],
  workgroups: () => [FMA_WORKGROUPS],
  work: ({ count }) => 2 * CHAINS * FMA_WORKGROUPS * LANES * count,
  reference({ x, y }: Arrays, { count }) {
    for (let i = 0; i < 4 * FMA_WORKGROUPS * LANES; i++) {
      let sum = 0;
      for (let chain = 0; chain < 8; chain++) {
        let s = x[((i >> 2) % 64) * 4 + (i % 4)]! + chain;
        for (let round = 0; round < count; round++) s = s * x[i % 4]! + x[4 + (i % 4)]!;
        sum += s;
      }
      y[i] = sum;
    }
  },
  cases: () =>
    [1, 3, 65].map((count) => ({
      name: `${count} rounds`,
      params: { count },
      // Short of 1, so that the chains converge, in f16 too.
      tensors: { x: { shape: [256], fill: (i: number) => ((i % 7) - 3) / 8 }, y: { shape: [4 * FMA_WORKGROUPS * LANES] } },
    })),
});
const FMA_WORKGROUPS = 256;

const copy = entry({
  params,
  bindings,
  workgroups: ({ count }) => linearWorkgroups(count, LANES),
  work: ({ count }) => 8 * count,
  reference({ x, y }: Arrays, { count }) {
    for (let i = 0; i < 4 * count; i++) y[i] = x[i]!;
  },
  cases: () =>
    [1, 3, 65, 1000].map((count) => ({
      name: `${count} vec4`,
      params: { count },
      tensors: { x: { shape: [4 * count] }, y: { shape: [4 * count] } },
    })),
});

const barrier = entry({
  params,
  bindings,
  workgroups: () => [1],
  work: ({ count }) => 4 * LANES * count,
  reference({ x, y }: Arrays, { count }) {
    for (let i = 0; i < 4 * LANES; i++) y[i] = x[(i + 4 * count) % (4 * LANES)]!;
  },
  cases: () =>
    [0, 1, 3, 65].map((count) => ({
      name: `${count} rounds`,
      params: { count },
      tensors: { x: { shape: [4 * LANES] }, y: { shape: [4 * LANES] } },
    })),
});

export const probe = defineKernel("probe", source, { fma, copy, barrier });

/** An adapter's own limits, measured. */
export interface AdapterLimits {
  /** Multiply-adds of f32, counted as two operations, in 10⁹ a second. */
  readonly gigaflops: number;
  /** The same of f16, where the adapter has it. */
  readonly gigaflopsHalf?: number;
  /** Bytes read plus bytes written by a copy, in 10⁹ a second. */
  readonly gigabytesPerSecond: number;
  /** Microseconds that one more dispatch in a pass costs. */
  readonly dispatch: number;
  /** Microseconds that one more submit costs. */
  readonly submit: number;
  /** Microseconds of a submit and the wait for a number that it computed. */
  readonly readBack: number;
  /** Nanoseconds of a barrier of 64 invocations, on WebGPU. */
  readonly barrier?: number;
}

/** Rounds of multiply-adds: about 20 ms on a software adapter. */
const FMA_ROUNDS = { software: 200, wasm: 200, gpu: 4000 } as const;
/** Bytes that a copy reads: more than any cache holds. */
const COPY_BYTES = 64 << 20;
const DISPATCHES = 200;
const SUBMITS = 20;
const BARRIERS = 4000;
/** Times that everything is measured; the best counts. */
const ROUNDS = 3;

/**
 * Measures an adapter's limits, in a few hundred milliseconds.
 *
 * @throws GatewiseError E_DEVICE_LOST
 */
export async function probeAdapter(device: Device): Promise<AdapterLimits> {
  const plans: Plan[] = [];
  const plan = async (build: (recorder: Recorder) => void): Promise<Plan> => {
    const made = await device.record("probe", build);
    plans.push(made);
    return made;
  };
  const dispatch = (recorder: Recorder, of: "fma" | "copy" | "barrier", x: Tensor, y: Tensor, count: number): void =>
    recorder.dispatch(probe[of], { x, y }, { count });
  const small = device.tensor({ name: "probe x", shape: [4 * FMA_WORKGROUPS * LANES] });
  const result = device.tensor({ name: "probe y", shape: [4 * FMA_WORKGROUPS * LANES] });
  const copied = Math.min(COPY_BYTES, device.gpuDevice?.limits.maxStorageBufferBindingSize ?? COPY_BYTES);
  try {
    device.write(small, new Float32Array(small.length).fill(0.5));
    const one = await plan((r) => dispatch(r, "copy", small, result, 1));
    const many = await plan((r) => {
      for (let i = 0; i < DISPATCHES; i++) dispatch(r, "copy", small, result, 1);
    });
    const rounds = FMA_ROUNDS[device.family];
    const halves = device.gpuDevice?.features.has("shader-f16")
      ? await plan((r) => {
          const [x, y] = ["x", "y"].map((name) => r.tensor({ name, shape: small.shape, dtype: "f16" }));
          dispatch(r, "fma", x!, y!, rounds);
        })
      : undefined;
    const flops = await plan((r) => dispatch(r, "fma", small, result, rounds));
    const barriers = await plan((r) => dispatch(r, "barrier", small, result, BARRIERS));
    const copy = await plan((r) => {
      const [x, y] = [r.tensor({ name: "x", shape: [copied / 4] }), r.tensor({ name: "y", shape: [copied / 4] })];
      dispatch(r, "copy", x, y, copied / 16);
    });
    const time = async (of: Plan, times = 1): Promise<number> => {
      const begun = performance.now();
      for (let i = 0; i < times; i++) await of.run();
      await device.finish();
      return performance.now() - begun;
    };
    for (const each of plans) await time(each); // compiles, and wakes the adapter
    const best = {
      one: Infinity,
      many: Infinity,
      flops: Infinity,
      halves: Infinity,
      barriers: Infinity,
      copy: Infinity,
      submits: Infinity,
      read: Infinity,
    };
    const note = (name: keyof typeof best, milliseconds: number): void => void (best[name] = Math.min(best[name], milliseconds));
    for (let round = 0; round < ROUNDS; round++) {
      note("one", await time(one));
      note("many", await time(many));
      note("flops", await time(flops));
      if (halves) note("halves", await time(halves));
      note("barriers", await time(barriers));
      note("copy", await time(copy));
      note("submits", await time(one, SUBMITS));
      const begun = performance.now();
      await one.run();
      await device.read({ ...result, shape: [4], stored: [4], length: 4 });
      note("read", performance.now() - begun);
    }
    // What is left of a time when an empty submit is taken off; a clock can be coarser than the difference.
    const net = (milliseconds: number): number => Math.max(milliseconds - best.one, 1e-4);
    const rate = (milliseconds: number): number => (2 * CHAINS * FMA_WORKGROUPS * LANES * rounds) / net(milliseconds) / 1e6;
    return {
      gigaflops: rate(best.flops),
      ...(halves && { gigaflopsHalf: rate(best.halves) }),
      gigabytesPerSecond: (2 * copied) / net(best.copy) / 1e6,
      dispatch: (1000 * net(best.many)) / (DISPATCHES - 1),
      submit: (1000 * net(best.submits)) / (SUBMITS - 1),
      readBack: 1000 * best.read,
      ...(device.gpuDevice && { barrier: (1e6 * net(best.barriers)) / BARRIERS }),
    };
  } finally {
    for (const each of plans) each.dispose();
    device.free(small, result);
  }
}

/** Above this many nanoseconds a barrier of 64 invocations is one of a software adapter: GPUs need some tens. */
const DEAR_BARRIER = 250;
const FAMILY_BARRIERS = 20_000;

/** Which family of variants suits an adapter, by what its barriers cost. Takes some tens of milliseconds. */
export async function probeFamily(device: Device): Promise<Family> {
  const x = device.tensor({ name: "probe x", shape: [4 * LANES] });
  const y = device.tensor({ name: "probe y", shape: [4 * LANES] });
  const plans: Plan[] = [];
  const time = async (count: number): Promise<number> => {
    const plan = await device.record("probe", (r) => r.dispatch(probe.barrier, { x, y }, { count }));
    plans.push(plan);
    let best = Infinity;
    for (let i = 0; i < 2; i++) {
      const begun = performance.now();
      await plan.run();
      await device.finish();
      best = Math.min(best, performance.now() - begun);
    }
    return best;
  };
  try {
    const without = await time(0);
    const nanoseconds = (1e6 * ((await time(FAMILY_BARRIERS)) - without)) / FAMILY_BARRIERS;
    return nanoseconds > DEAR_BARRIER ? "software" : "gpu";
  } finally {
    for (const plan of plans) plan.dispose();
    device.free(x, y);
  }
}

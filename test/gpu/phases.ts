// Everything that a device does, and a way to interfere at each of its calls of WebGPU.
import { openDevice } from "../../src/runtime/open.ts";
import { defineKernel, entry } from "../../src/runtime/kernel.ts";

/** Replaces a method of an object of the test's own. */
export function wrap(object: object, name: string, around: (call: () => unknown) => unknown): void {
  const original = Reflect.get(object, name) as (...args: unknown[]) => unknown;
  Object.defineProperty(object, name, {
    configurable: true,
    value: (...args: unknown[]) => around(() => original.apply(object, args)),
  });
}

/** Wraps all that a GPUDevice and its queue can do, but for error scopes and events; `around` gets the method's name. */
export function wrapWork(gpuDevice: GPUDevice, around: (name: string, call: () => unknown) => unknown): void {
  for (const object of [gpuDevice, gpuDevice.queue])
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(Object.getPrototypeOf(object))))
      if (typeof value === "function" && !/^constructor$|^destroy$|Scope$|Listener$|Event$/.test(name))
        wrap(object, name, (call) => around(name, call));
}

/** Doubles numbers in two ways, between which the tuner chooses. */
const doubling = defineKernel(
  "doubling",
  /* wgsl */ `
  struct Params { count: u32 }
  @group(0) @binding(0) var<uniform> params: Params;
  @group(0) @binding(1) var<storage, read> x: array<f32>;
  @group(0) @binding(2) var<storage, read_write> y: array<f32>;
const LANES: u32 = 64u;
  @compute @workgroup_size(LANES)
  fn forward(@builtin(global_invocation_id) id: vec3u) {
    if (id.x < params.count) { y[id.x] = 2.0 * x[id.x]; }
  }`,
  {
    forward: entry({
      params: { count: "u32" },
      bindings: { x: "read", y: "read_write" },
      variants: [{ name: "64" }, { name: "32", constants: { LANES: 32 } }],
      workgroups: ({ count }) => [Math.ceil(count / 32)],
      tuneBy: ({ count }) => [count],
      work: () => 1e9, // more than it does, so that the tuner cares
      reference({ x, y }, { count }) {
        for (let i = 0; i < count; i++) y[i] = 2 * x[i]!;
      },
      cases: () => [{ name: "65", params: { count: 65 }, tensors: { x: { shape: [65] }, y: { shape: [65] } } }],
    }),
  },
).forward;

/** What `everything` gives. */
export const EXPECTED: readonly number[] = [...Array.from({ length: 64 }, () => 3), 7, 7, 7, 7];

/** Everything that a device does, from its opening to its dispose: all above it is made of this. */
export async function everything(gpuDevice: GPUDevice, tuning: "on" | "off" = "on"): Promise<readonly number[]> {
  const device = await openDevice({ gpuDevice, tuning, tuningStore: { load: () => undefined, save: () => {} } });
  try {
    const x = device.tensor({ name: "x", shape: [64] });
    const { parts } = device.flatTensors("flat", [
      { name: "a", shape: [4] },
      { name: "y", shape: [64] },
    ]);
    device.write(x, new Float32Array(64).fill(1.5));
    const plan = await device.record("doubling", (recorder) => {
      const own = recorder.tensor({ name: "own", shape: [64] });
      recorder.copy(x, own);
      recorder.dispatch(doubling, { x: own, y: parts[1]! }, { count: 64 });
      recorder.clear(own);
    });
    await plan.run([[parts[0]!, new Float32Array(4).fill(7)]]);
    const results = [...(await plan.runAndRead(parts[1]!)), ...(await device.read(parts[0]!))];
    if (gpuDevice.features.has("timestamp-query")) await plan.profile();
    await device.finish();
    plan.dispose();
    return results;
  } finally {
    device.dispose();
  }
}

/** How often each method of WebGPU is called in `everything`. */
export async function callsOf(gpuDevice: GPUDevice, tuning: "on" | "off"): Promise<ReadonlyMap<string, number>> {
  const counts = new Map<string, number>();
  wrapWork(gpuDevice, (name, call) => {
    counts.set(name, (counts.get(name) ?? 0) + 1);
    return call();
  });
  await everything(gpuDevice, tuning);
  return counts;
}

/**
 * Runs `everything` again and again, each time with `trouble` at another call of WebGPU: the first, one in the middle
 * and the last of each method. `check` gets what was thrown, if anything.
 */
export async function atEveryCall(
  tuning: "on" | "off",
  newDevice: () => Promise<GPUDevice>,
  trouble: (gpuDevice: GPUDevice) => void,
  check: (error: unknown, method: string, where: string) => void,
): Promise<void> {
  const first = await newDevice();
  const counts = await callsOf(first, tuning);
  first.destroy();
  for (const [method, count] of counts) {
    for (const at of new Set([1, Math.ceil(count / 2), count])) {
      const gpuDevice = await newDevice();
      let calls = 0;
      let inTrouble = false;
      wrapWork(gpuDevice, (name, call) => {
        if (name === method && !inTrouble && ++calls === at) {
          inTrouble = true;
          trouble(gpuDevice);
          inTrouble = false;
        }
        return call();
      });
      const error: unknown = await everything(gpuDevice, tuning).then(
        () => undefined,
        (thrown) => thrown as unknown,
      );
      // How many submits the tuner's work is cut into depends on the time they take: the last ones may not come again.
      if (calls >= at) check(error, method, `${method}, call ${at} of ${count}`);
      gpuDevice.destroy();
    }
  }
}

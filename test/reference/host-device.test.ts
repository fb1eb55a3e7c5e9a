// The devices whose tensors lie in the host's memory: what a plan says of itself, how long its kernels take by a clock of the
// test's own, and when timers, signals and whoever disposes of something are let in.
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { CpuDevice } from "../../src/runtime/cpu-device.ts";
import type { Device, Plan } from "../../src/runtime/device.ts";
import { defineKernel, entry, type Entry } from "../../src/runtime/kernel.ts";
import type { Tensor } from "../../src/runtime/tensor.ts";
import { WasmDevice } from "../../src/runtime/wasm-device.ts";

let clock = 1000;
beforeEach(() => void vi.spyOn(performance, "now").mockImplementation(() => clock));
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

/** A kernel that adds one to x, and takes as long as its param says. */
const makeKernel = (name: string): Entry =>
  defineKernel(name, "", {
    forward: entry({
      params: { milliseconds: "f32" },
      bindings: { x: "read_write" },
      workgroups: () => [1],
      work: () => 1,
      reference({ x }, { milliseconds }) {
        for (let i = 0; i < x.length; i++) x[i]!++;
        clock += milliseconds;
      },
      cases: () => [],
    }),
  }).forward as unknown as Entry;
const [quick, slow] = [makeKernel("quick"), makeKernel("slow")];

const kinds: readonly (readonly [string, () => Promise<Device>])[] = [
  ["cpu", async () => new CpuDevice()],
  ["wasm", async () => (await WasmDevice.open()) as WasmDevice],
];

describe.each(kinds)("on %s,", (_, open) => {
  let device: Device;
  let x: Tensor;
  beforeEach(async () => {
    device = await open();
    x = device.tensor({ name: "x", shape: [4] });
  });
  afterEach(() => device.dispose());

  /** A plan of dispatches that take so long each. */
  const lasting = (...milliseconds: number[]): Promise<Plan> =>
    device.record("lasting", (r) => milliseconds.forEach((each) => r.dispatch(slow, { x }, { milliseconds: each })));

  it("a plan says what it is: its name, its dispatches, the bytes of its own tensors, and what was made", async () => {
    const plan = await device.record("own", (r) => {
      const made = [r.tensor({ name: "a", shape: [3, 5] }), r.tensor({ name: "b", shape: [2], dtype: "u32" })];
      r.clear(x);
      r.dispatch(quick, { x }, { milliseconds: 0 });
      r.copy(x, made[0]!);
      r.dispatch(slow, { x }, { milliseconds: 0 });
      r.clear(made[1]!);
      return made;
    });
    // Rows of five are eight wide; no tensor has less than four numbers.
    expect(plan).toMatchObject({ name: "own", dispatches: 2, bytes: 4 * 24 + 16, choices: new Map() });
    expect(plan.made.map(({ name }) => name)).toEqual(["a", "b"]);
    expect(device.memory()).toEqual({ buffers: 3, bytes: 4 * 24 + 16 + 16 });
    plan.dispose();
    expect(device.memory()).toEqual({ buffers: 1, bytes: 16 });
    device.free(x);
    expect(device.memory()).toEqual({ buffers: 0, bytes: 0 });
  });

  it("numbers that were read stay what they were, and are the reader's own", async () => {
    device.write(x, Float32Array.of(1, 2, 3, 4));
    const read = await device.read(x);
    device.write(x, Float32Array.of(5, 6, 7, 8));
    expect(read).toEqual(Float32Array.of(1, 2, 3, 4));
    read.fill(0);
    expect(await device.read(x)).toEqual(Float32Array.of(5, 6, 7, 8));
    const rows = device.tensor({ name: "rows", shape: [2, 3] });
    device.write(rows, Float32Array.of(1, 2, 3, 4, 5, 6));
    expect(await device.read(rows)).toEqual(Float32Array.of(1, 2, 3, 4, 5, 6));
  });

  it("plans copy and clear parts, at their places in what they share, and write before they run", async () => {
    const { parts } = device.flatTensors("flat", [
      { name: "a", shape: [12] },
      { name: "b", shape: [12] },
    ]);
    const [from, to] = parts as [Tensor, Tensor];
    const plan = await device.record("moves", (r) => {
      r.copy(from, to, { fromOffset: 2, toOffset: 4, length: 5 });
      r.clear({ ...from, offset: from.offset + 4, length: 4 });
      r.dispatch(quick, { x: from }, { milliseconds: 0 });
    });
    await plan.run([[from, Float32Array.from({ length: 12 }, (_, i) => i)]]);
    expect([...(await device.read(to))]).toEqual([0, 0, 0, 0, 2, 3, 4, 5, 6, 0, 0, 0]);
    expect([...(await device.read(from))]).toEqual([1, 2, 3, 4, 1, 1, 1, 1, 9, 10, 11, 12]);
    expect([...(await plan.runAndRead(to))]).toEqual([0, 0, 0, 0, 3, 4, 1, 1, 1, 0, 0, 0]);
  });

  it("a profile sums the time of each kernel, slowest first, of what a run does", async () => {
    const plan = await device.record("profiled", (r) => {
      for (const milliseconds of [1, 2]) r.dispatch(quick, { x }, { milliseconds });
      r.copy(x, r.tensor({ name: "y", shape: [4] }));
      for (const milliseconds of [4, 0.5, 3]) r.dispatch(slow, { x }, { milliseconds });
      r.clear(x);
      r.dispatch(quick, { x }, { milliseconds: 2 });
    });
    expect(await plan.profile()).toEqual([
      { kernel: "slow.forward", count: 3, milliseconds: 7.5 },
      { kernel: "quick.forward", count: 3, milliseconds: 5 },
    ]);
    expect([...(await device.read(x))]).toEqual([1, 1, 1, 1]);
  });

  it("others are let in when work has taken more than 30 ms, over however many plans, and nothing is left open", async () => {
    let breaths = 0;
    const closed = vi.fn();
    const { MessageChannel } = globalThis;
    vi.stubGlobal(
      "MessageChannel",
      class extends MessageChannel {
        constructor() {
          super();
          breaths++;
          this.port1.addEventListener("close", closed);
        }
      },
    );
    const [ten, long] = [await lasting(10), await lasting(31, 31, 15, 15, 1)];
    const after: number[] = [];
    for (let run = 0; run < 8; run++) {
      await ten.run();
      after.push(breaths);
    }
    expect(after).toEqual([0, 0, 0, 1, 1, 1, 1, 2]);
    await long.run();
    expect(breaths).toBe(2 + 3);
    await vi.waitFor(() => expect(closed).toHaveBeenCalledTimes(5));
  });

  it("a signal ends a run where it lets others in, and before it begins", async () => {
    const reason = new Error("enough");
    const controller = new AbortController();
    const plan = await lasting(1, 40, 1);
    setTimeout(() => controller.abort(reason));
    // Whoever is let in has waited for longer than a signal.
    const breathe = new Promise((resolve) => setTimeout(resolve, 20));
    const running = (async () => {
      for (let run = 0; run < 1000; run++) await plan.run([], controller.signal);
    })();
    await expect(running).rejects.toBe(reason);
    await breathe;
    const [count] = await device.read(x);
    // In the midst of a run: its first two dispatches, not the third.
    expect(count! % 3).toBe(2);
    for (const call of [
      () => plan.run([], controller.signal),
      () => plan.runAndRead(x, controller.signal),
      () => device.record("none", (r) => r.clear(x), { signal: controller.signal }),
    ])
      await expect(call()).rejects.toBe(reason);
    expect([...(await device.read(x))]).toEqual([count, count, count, count]);
  });

  it.each([
    ["the device", "this device", (): void => device.dispose()],
    ["the device by its symbol", "this device", (): void => device[Symbol.dispose]()],
    ["the tensor", "x is not on this device", (): void => device.free(x)],
    ["the plan", 'the plan "lasting"', (plan: Plan): void => plan.dispose()],
  ])("whoever is let in may dispose of %s, which ends the run", async (_, what, dispose) => {
    const plan = await lasting(40, 1);
    const reading = device.tensor({ name: "other", shape: [4] });
    const ran = plan.runAndRead(reading);
    dispose(plan);
    await expect(ran).rejects.toMatchObject({ code: "E_DISPOSED", message: expect.stringContaining(what) as string });
  });

  it("what is freed lets go of its numbers, and so does all that a device held", () => {
    const y = device.tensor({ name: "y", shape: [4] });
    device.free(x);
    expect([x.storage.array, y.storage.array]).toEqual([undefined, new Float32Array(4)]);
    device.dispose();
    expect(y.storage.array).toBeUndefined();
  });
});

it("the CPU device has numbers of the precision that it is of, and whole ones, and says what did not fit and why", async () => {
  for (const [device, description, third] of [
    [new CpuDevice(), "CPU float32", Math.fround(1 / 3)],
    [new CpuDevice("float32"), "CPU float32", Math.fround(1 / 3)],
    [new CpuDevice("float64", "no GPU"), "CPU float64", 1 / 3],
  ] as const) {
    expect(device).toMatchObject({ kind: "cpu", family: "software", description });
    const [x, whole] = [device.tensor({ name: "x", shape: [1] }), device.tensor({ name: "t", shape: [2], dtype: "u32" })];
    device.write(x, Float64Array.of(1 / 3));
    expect((await device.read(x))[0]).toBe(third);
    device.write(whole, Uint32Array.of(7, 0xffffffff));
    expect(await device.read(whole)).toEqual(Uint32Array.of(7, 0xffffffff));
    expect(() => device.tensor({ name: "h", shape: [2 ** 40] })).toThrow(
      expect.objectContaining({
        code: "E_LIMIT",
        message: "h: 4398046511104 bytes do not fit in memory; make the model or the batch smaller",
        cause: expect.any(RangeError) as Error,
      }),
    );
    device.dispose();
  }
});

// The WebGPU device on a GPU that is none: what it encodes, counts, compiles and reports. What plans compute must be what
// the CPU device computes, bit for bit, because both run the references.
import { afterEach, describe, expect, it, vi } from "vitest";
import { LanguageModel, type LanguageModelOptions } from "../../src/models/language-model.ts";
import { CpuDevice } from "../../src/runtime/cpu-device.ts";
import type { Device, Plan } from "../../src/runtime/device.ts";
import { openDevice, type OpenDeviceOptions } from "../../src/runtime/open.ts";
import { defineKernel, entry, type Entry } from "../../src/runtime/kernel.ts";
import type { Recorder } from "../../src/runtime/recorder.ts";
import type { Tensor } from "../../src/runtime/tensor.ts";
import type { WebGpuDevice } from "../../src/runtime/webgpu-device.ts";
import { differences } from "../../src/runtime/verify.ts";
import { Trainer } from "../../src/training/trainer.ts";
import { makeFakeAdapter, makeFakeDevice, type FakeDevice, type FakeOptions } from "./fake-gpu.ts";

/** A kernel whose work is its param: y[0] += by, at y's `at`. */
const makeKernel = (name: string): Entry =>
  defineKernel(
    name,
    `alias Y4 = vec4f;
@binding(0) var<uniform> params: Params;
@binding(1) var<storage, read> x: array<Y4>;
@binding(2) var<storage, read_write> y: array<Y4>;
fn forward() {}`,
    {
      forward: entry({
        params: { at: "u32", work: "u32", by: "f32", a: "u32", b: "u32" },
        bindings: { x: "read", y: "read_write" },
        halves: { x: "Y4", y: "Y4" },
        workgroups: ({ work }) => [Number(work > 0), 2, 3],
        work: ({ work }) => work,
        reference({ x, y }, { at, by }) {
          y[at]! += by + x[0]!;
        },
        cases: () => [],
      }),
    },
  ).forward as unknown as Entry;
const [one, two] = [makeKernel("one"), makeKernel("two")];
const PARAMS = { at: 0, work: 30_000, by: 1, a: 0, b: 0 };
const entries = new Map([one, two].map((each) => [`${each.kernel}.forward`, each] as const));

const opened: Device[] = [];
afterEach(() => opened.splice(0).forEach((device) => device.dispose()));

async function open(options: OpenDeviceOptions = {}, fakeOptions: FakeOptions = {}) {
  const { gpuDevice, fake } = makeFakeDevice({ entries, ...fakeOptions });
  const reported: string[] = [];
  fake.addEventListener("uncapturederror", (event) => reported.push((event as unknown as GPUUncapturedErrorEvent).error.message));
  const device = await openDevice({ gpuDevice, tuning: "off", ...options });
  opened.push(device);
  return { device, fake, reported };
}
const tensors = (device: Device, ...names: string[]): Tensor[] => names.map((name) => device.tensor({ name, shape: [4] }));

describe("a training on the WebGPU device gives what the CPU device does, whose params are of float64,", () => {
  const MODELS: Partial<LanguageModelOptions>[] = [
    { cell: "lstm", numLayers: 2, dropout: 0.3 },
    { cell: "gru", resetAfter: false },
    { cell: "rnn", input: "one-hot" },
  ];
  const train = async (device: Device, options: Partial<LanguageModelOptions>): Promise<number[]> => {
    const model = LanguageModel.create(device, { vocabSize: 5, embeddingSize: 3, hiddenSize: 6, seed: 3, ...options });
    const tokens = Uint32Array.from({ length: 600 }, (_, i) => (i * i) % 5);
    const trainer = Trainer.create(model, tokens, { batchSize: 2, seqLen: 7, valFraction: 0.2, evalInterval: 2, logInterval: 1 });
    const told: number[] = [];
    for await (const event of trainer.run({ maxSteps: 3 })) {
      if (event.event === "step") told.push(event.loss, event.gradNorm);
      if (event.event === "eval") told.push(event.valLoss);
    }
    return [...told, ...Object.values(await model.stateDict()).flatMap((values) => [...values])];
  };

  it.each(MODELS)("%o, and the same bits however finely it is cut", async (options) => {
    const expected = await train(await openDevice({ prefer: "cpu" }), options);
    const found: number[][] = [];
    for (const submitMilliseconds of [1e-6, 0.1, 1000]) {
      const { device, reported } = await open({ submitMilliseconds });
      found.push(await train(device, options));
      expect(reported).toEqual([]);
    }
    expect(found[1]).toEqual(found[0]);
    expect(found[2]).toEqual(found[0]);
    expect(expected.length).toBeGreaterThan(100);
    expect(found[0]).toHaveLength(expected.length);
    found[0]!.forEach((value, i) => expect(Math.abs(value - expected[i]!)).toBeLessThan(1e-5));
  });
});

describe("a plan", () => {
  it("is cut where a submit's work would be passed, each dispatch costing 20,000 beside its own work", async () => {
    // 2,000,000 a millisecond on a software adapter.
    for (const [budget, submits] of [
      [49_999, 5],
      [99_999, 5],
      [100_000, 3],
      [149_999, 3],
      [150_000, 2],
      [250_000, 1],
    ] as const) {
      const { device, fake } = await open({ submitMilliseconds: budget / 2e6 });
      const [x, y] = tensors(device, "x", "y") as [Tensor, Tensor];
      const plan = await device.record("five", (r) => {
        for (let i = 0; i < 5; i++) r.dispatch(one, { x, y }, PARAMS);
      });
      expect(Array.from(await plan.runAndRead(y))).toEqual([5, 0, 0, 0]);
      expect(fake.calls.submit, `${budget}`).toBe(submits);
      expect([plan.dispatches, plan.bytes, plan.name]).toEqual([5, 0, "five"]);
    }
  });

  it("is cut anew when a submit's budget has changed by half, not before", async () => {
    const { device, fake } = await open({ submitMilliseconds: 0.05 });
    const [x, y] = tensors(device, "x", "y") as [Tensor, Tensor];
    const plan = await device.record("five", (r) => {
      for (let i = 0; i < 6; i++) r.dispatch(one, { x, y }, PARAMS);
    });
    const { pacer } = device as WebGpuDevice;
    // What the time of these submits would teach is no matter here, what they say of their work is.
    const submitted = vi.spyOn(pacer, "submitted").mockImplementation(() => {});
    for (const [budget, submits] of [
      [100_000, 3],
      [149_000, 3],
      [151_000, 2],
      [101_000, 2],
      [100_000, 3],
      [67_000, 3],
      [66_000, 6],
    ] as const) {
      pacer.budget = budget;
      fake.calls.submit = 0;
      submitted.mockClear();
      await plan.run();
      expect(fake.calls.submit, `${budget}`).toBe(submits);
      expect(submitted.mock.calls).toEqual(Array.from({ length: submits }, () => [300_000 / submits]));
    }
  });

  it("keeps each set of params once, in a slot of the alignment, and hands each dispatch its own", async () => {
    const { device, fake, reported } = await open();
    const [x, y] = tensors(device, "x", "y") as [Tensor, Tensor];
    const before = device.memory();
    const plan = await device.record("params", (r) => {
      for (const by of [0.5, -2, 0.5]) r.dispatch(one, { x, y }, { ...PARAMS, at: 2, by, a: 7, b: 0xffffffff });
    });
    expect(device.memory()).toEqual({ buffers: before.buffers + 1, bytes: before.bytes + 512 });
    await plan.run();
    expect(fake.dispatched.map(({ params }) => params)).toEqual(
      [0.5, -2, 0.5].map((by) => ({ ...PARAMS, at: 2, by, a: 7, b: 0xffffffff })),
    );
    expect(fake.dispatched[0]!.workgroups).toEqual([1, 2, 3]);
    expect(Array.from(await device.read(y))).toEqual([0, 0, -1, 0]);
    expect(reported).toEqual([]);
    plan.dispose();
    plan.dispose();
    await expect(plan.run()).rejects.toThrow('the plan "params" was disposed; make another');
    await device.finish();
    expect(device.memory().bytes - before.bytes).toBe(256); // the read-back's
  });

  it("keeps params of other types apart, though their numbers are the same", async () => {
    const whole: Entry = { ...makeKernel("whole"), params: { ...one.params, by: "u32" } };
    const { device, fake } = await open({}, { entries: new Map([...entries, ["whole.forward", whole]]) });
    const [x, y] = tensors(device, "x", "y") as [Tensor, Tensor];
    const plan = await device.record("types", (r) => {
      for (const each of [one, whole, one]) r.dispatch(each, { x, y }, PARAMS);
    });
    await plan.run();
    expect(fake.dispatched.map(({ params }) => params)).toEqual([PARAMS, PARAMS, PARAMS]);
    expect(Array.from(await device.read(y))).toEqual([3, 0, 0, 0]);
  });

  it("has slots as wide as the adapter asks for, and at least one", async () => {
    for (const [alignment, slots] of [
      [32, 32],
      [16, 32],
      [512, 512],
    ] as const) {
      const { device } = await open({}, { limits: { minUniformBufferOffsetAlignment: alignment } });
      const [x, y] = tensors(device, "x", "y") as [Tensor, Tensor];
      const before = device.memory().bytes;
      const plan = await device.record("params", (r) => {
        for (const by of [1, 2, 3]) r.dispatch(one, { x, y }, { ...PARAMS, by });
      });
      expect(device.memory().bytes - before).toBe(3 * slots);
      expect((await plan.runAndRead(y))[0]).toBe(6);
      const clearing = await device.record("none", (r) => r.clear(y));
      expect(device.memory().bytes - before).toBe(3 * slots + alignment + 256);
      expect((await clearing.runAndRead(y))[0]).toBe(0);
    }
  });

  it("makes one bind group for the same tensors, and sets a pipeline once a pass while it is the same", async () => {
    const { device, fake } = await open();
    const [x, y] = tensors(device, "x", "y") as [Tensor, Tensor];
    const { parts } = device.flatTensors("flat", [
      { name: "a", shape: [4] },
      { name: "b", shape: [4] },
    ]);
    const plan = await device.record("groups", (r) => {
      r.dispatch(one, { x, y }, PARAMS);
      r.dispatch(one, { x, y }, { ...PARAMS, by: 2 });
      r.dispatch(one, { x, y: parts[0]! }, PARAMS);
      r.dispatch(one, { x, y: parts[1]! }, { ...PARAMS, by: 3 });
      r.dispatch(two, { x, y }, PARAMS);
      r.copy(y, x);
      r.dispatch(two, { x, y }, PARAMS);
    });
    expect([plan.dispatches, fake.calls.createBindGroup]).toEqual([6, 4]);
    await plan.run();
    expect(fake.calls).toMatchObject({ submit: 1, setPipeline: 3 });
    expect([(await device.read(y))[0], (await device.read(parts[0]!))[0], (await device.read(parts[1]!))[0]]).toEqual([9, 1, 3]);
  });

  it("opens its two scopes once a submit, writes and a read included, and does not wait for what they say", async () => {
    let stuck = false;
    const { device, fake } = await open({}, { until: () => (stuck ? new Promise(() => {}) : Promise.resolve()) });
    const [x, y] = tensors(device, "x", "y") as [Tensor, Tensor];
    const plan = await device.record("scoped", (r) => r.dispatch(one, { x, y }, PARAMS));
    const pushed = vi.spyOn(fake, "pushErrorScope");
    await plan.run([[x, Float32Array.of(1, 0, 0, 0)]]);
    expect(pushed.mock.calls).toEqual([["validation"], ["out-of-memory"]]);
    expect(Array.from(await plan.runAndRead(y))).toEqual([4, 0, 0, 0]);
    expect(pushed).toHaveBeenCalledTimes(4);
    stuck = true;
    const runs = (async () => {
      for (let i = 0; i < 3; i++) await plan.run();
      return "done";
    })();
    expect(await Promise.race([runs, new Promise((resolve) => setTimeout(resolve, 5000))])).toBe("done");
  });

  it("copies and clears parts, of numbers in half precision too", async () => {
    const { device, reported } = await open();
    for (const dtype of ["f32", "f16"] as const) {
      const [from, to] = ["from", "to"].map((name) => device.tensor({ name, shape: [12], dtype })) as [Tensor, Tensor];
      device.write(
        from,
        Float32Array.from({ length: 12 }, (_, i) => i + 0.5),
      );
      const plan = await device.record("moves", (r) => {
        r.copy(from, to, { fromOffset: 2, toOffset: 4, length: 6 });
        r.clear(from);
      });
      expect(Array.from(await plan.runAndRead(to))).toEqual([0, 0, 0, 0, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 0, 0]);
      expect(Array.from(await device.read(from))).toEqual(Array.from({ length: 12 }, () => 0));
      // Without a length: as much as there is of both.
      device.write(from, new Float32Array(12).fill(1));
      const rest = await device.record("rest", (r) => r.copy(from, to, { toOffset: 10 }));
      expect(Array.from((await rest.runAndRead(to)).slice(8))).toEqual([6.5, 7.5, 1, 1]);
      device.write(to, new Float32Array(12));
      const end = await device.record("end", (r) => r.copy(from, to, { fromOffset: 10 }));
      expect(Array.from(await end.runAndRead(to))).toEqual([1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
      // A part of a tensor as a tensor.
      device.write(from, new Float32Array(12).fill(1));
      const part = await device.record("part", (r) => r.clear({ ...from, offset: from.offset + 4, length: 6 }));
      expect(Array.from(await part.runAndRead(from))).toEqual([1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1]);
    }
    expect(reported).toEqual([]);
  });

  it("is told from its twin in half precision: a kernel is compiled for what is bound", async () => {
    const { device, fake } = await open();
    const [x, y] = tensors(device, "x", "y") as [Tensor, Tensor];
    const half = device.tensor({ name: "half", shape: [4], dtype: "f16" });
    device.write(half, Float32Array.of(0.25, 0, 0, 0));
    const plan = await device.record("both", (r) => {
      r.dispatch(one, { x, y }, PARAMS);
      r.dispatch(one, { x: half, y: r.tensor({ name: "own", shape: [4], dtype: "f16" }) }, PARAMS);
    });
    await plan.run();
    expect(fake.dispatched.map(({ code }) => code.startsWith("enable f16;"))).toEqual([false, true]);
    expect(fake.dispatched[1]!.arrays.y![0]).toBe(1.25);
    expect(plan.bytes).toBe(8);
  });
});

describe("a dispatch", () => {
  it("of more workgroups than a dimension may have is E_LIMIT, in whichever, and of none is left out", async () => {
    const { device } = await open();
    const [x, y] = tensors(device, "x", "y") as [Tensor, Tensor];
    const record = (...workgroups: [number, number, number]): Promise<Plan> =>
      device.record("plan", (r) => r.dispatch({ ...one, workgroups: () => workgroups }, { x, y }, PARAMS));
    for (const axis of [0, 1, 2]) {
      const along = (count: number): Promise<Plan> =>
        record(...([0, 1, 2].map((each) => (each === axis ? count : 1)) as [number, number, number]));
      expect((await along(65_535)).dispatches).toBe(1);
      expect((await along(0)).dispatches).toBe(0);
      await expect(along(65_536)).rejects.toMatchObject({ code: "E_LIMIT", message: expect.stringContaining("at most 65535") });
    }
  });

  it("by a variant's name takes that of any family, if it can run", async () => {
    const { device } = await open();
    const [x, y] = tensors(device, "x", "y") as [Tensor, Tensor];
    const variants = [{ name: "own" }, { name: "theirs", family: "gpu" }, { name: "small", supports: () => false }] as const;
    const record = (name: string): Promise<Plan> =>
      device.record("plan", (r) => r.dispatch({ ...one, variants }, { x, y }, PARAMS, name));
    expect((await record("theirs")).dispatches).toBe(1);
    for (const none of ["small", "unknown"]) await expect(record(none)).rejects.toThrow(`one.forward: no variant ${none} for`);
    const theirs = variants.slice(1);
    const without = device.record("plan", (r) => r.dispatch({ ...one, variants: theirs }, { x, y }, PARAMS));
    await expect(without).rejects.toThrow(/^one\.forward: no variant {2}for \{"at":0,/);
  });
});

describe("the profile of a plan", () => {
  const cost: FakeOptions["cost"] = ({ name }) => (name.startsWith("one") ? 2 : 3);
  const features = ["timestamp-query"];
  const record = (r: Recorder, x: Tensor, y: Tensor): void => {
    r.dispatch(one, { x, y }, PARAMS);
    r.clear(x);
    for (let i = 0; i < 3; i++) r.dispatch(two, { x, y }, PARAMS);
    r.dispatch(one, { x, y }, PARAMS);
  };

  it("sums the times of each kernel, slowest first, computes what a run does, and leaves nothing behind", async () => {
    const { device, fake, reported } = await open({}, { cost, features });
    const [x, y] = tensors(device, "x", "y") as [Tensor, Tensor];
    const plan = await device.record("profiled", (r) => record(r, x, y));
    const before = device.memory();
    const times = await plan.profile();
    expect(times.map(({ kernel, count }) => [kernel, count])).toEqual([
      ["two.forward", 3],
      ["one.forward", 2],
    ]);
    expect(times[0]!.milliseconds).toBeCloseTo(9, 3);
    expect(times[1]!.milliseconds).toBeCloseTo(4, 3);
    expect(device.memory()).toEqual(before);
    expect(fake.querySets.map(({ destroyed }) => destroyed)).toEqual([true]);
    expect((await device.read(y))[0]).toBe(5);
    expect(reported).toEqual([]);
  });

  it("takes as many rounds as a query set's 4,096 timestamps need", async () => {
    const { device, fake, reported } = await open({}, { features, cost: () => 0.001 });
    const [x, y] = tensors(device, "x", "y") as [Tensor, Tensor];
    for (const [count, rounds] of [
      [2048, 1],
      [2049, 2],
    ] as const) {
      const plan = await device.record("long", (r) => {
        for (let i = 0; i < count; i++) r.dispatch(one, { x, y }, PARAMS);
      });
      fake.calls.submit = 0;
      const [time] = await plan.profile();
      expect(time).toMatchObject({ kernel: "one.forward", count });
      expect(time!.milliseconds).toBeCloseTo(count * 0.001, 2);
      expect(fake.calls.submit).toBe(rounds);
    }
    expect(reported).toEqual([]);
  });

  it("is E_LIMIT without timestamps, and the fault where one is reported", async () => {
    const without = await open({}, { cost });
    const [x, y] = tensors(without.device, "x", "y") as [Tensor, Tensor];
    const plan = await without.device.record("profiled", (r) => record(r, x, y));
    await expect(plan.profile()).rejects.toMatchObject({ code: "E_LIMIT", message: expect.stringContaining("timestamp-query") });
    expect(without.fake.calls.submit).toBe(0);
    const { device, fake } = await open({}, { cost, features });
    const [a, b] = tensors(device, "a", "b") as [Tensor, Tensor];
    const own = await device.record("profiled", (r) => record(r, a, b));
    const before = device.memory();
    vi.spyOn(fake, "createCommandEncoder").mockImplementationOnce(
      () => (fake.require(false, "no encoder"), fake.createCommandEncoder()),
    );
    await expect(own.profile()).rejects.toMatchObject({ code: "E_SHADER", message: "WebGPU reported: no encoder" });
    expect(device.memory()).toEqual(before);
  });
});

describe("what the device says of its adapter", () => {
  it.each([
    [{ description: "Fast 9000" }, "Fast 9000 · WebGPU", "gpu"],
    [{ description: "", device: "fast-9" }, "fast-9 · WebGPU", "gpu"],
    [{ description: "", device: "", vendor: "acme", architecture: "a1" }, "acme a1 · WebGPU", "gpu"],
    [{ description: "", device: "", vendor: "acme", architecture: "" }, "acme · WebGPU", "gpu"],
    [{ description: "", device: "", vendor: "", architecture: "" }, "unknown adapter · WebGPU", "gpu"],
    [{ description: "Fast 9000", isFallbackAdapter: true }, "Fast 9000 (software) · WebGPU", "software"],
    [{ description: "LLVMpipe 1" }, "LLVMpipe 1 (software) · WebGPU", "software"],
    [{ description: "x", vendor: "swiftshader" }, "x (software) · WebGPU", "software"],
    [{ description: "x", architecture: "lavapipe" }, "x (software) · WebGPU", "software"],
    [{ description: "x", device: "Basic Render" }, "x (software) · WebGPU", "software"],
  ] as const)("%o: %s", async (info, description, family) => {
    const { device } = await open({}, { info });
    expect(device).toMatchObject({ description, family, kind: "webgpu" });
  });

  it("older adapters say beside what they are that they are a fallback", async () => {
    for (const isFallbackAdapter of [true, false]) {
      const older = {
        info: undefined,
        requestAdapterInfo: async () => ({ vendor: "acme", architecture: "one" }),
        isFallbackAdapter,
      };
      const gpu = { requestAdapter: async () => Object.assign(makeFakeAdapter(), older) } as unknown as GPU;
      const device = await openDevice({ gpu, prefer: "webgpu", tuning: "off" });
      expect(device.description).toBe(`acme one${isFallbackAdapter ? " (software)" : ""} · WebGPU`);
      expect(device.family).toBe(isFallbackAdapter ? "software" : "gpu");
      device.dispose();
    }
  });

  it("subgroups count where all are of one size and shaders may use them", async () => {
    for (const [subgroupMinSize, subgroupMaxSize, features, size] of [
      [8, 8, ["subgroups"], 8],
      [8, 16, ["subgroups"], 0],
      [8, 8, [], 0],
      [undefined, undefined, ["subgroups"], 0],
    ] as const) {
      const { device } = await open({}, { features, info: { subgroupMinSize, subgroupMaxSize } });
      expect(device.subgroupSize).toBe(size);
    }
  });

  it("all that it offers for tensors is asked for", async () => {
    const limits = { maxBufferSize: 2 ** 30, maxStorageBufferBindingSize: 2 ** 29 };
    const gpu = { requestAdapter: async () => makeFakeAdapter({ limits }) } as unknown as GPU;
    const device = await openDevice({ gpu, prefer: "webgpu", tuning: "off" });
    expect(device.gpuDevice!.limits).toMatchObject(limits);
    expect(device.maxTensorBytes).toBe(2 ** 29);
    device.dispose();
  });

  it("a tensor may have what both limits allow, and one too large is refused before anything is made", async () => {
    for (const limits of [{ maxBufferSize: 2 << 20 }, { maxStorageBufferBindingSize: 2 << 20 }]) {
      const { device } = await open({}, { limits });
      expect(device.maxTensorBytes).toBe(2 << 20);
      device.free(device.tensor({ name: "fits", shape: [512, 1024] }));
      const record = device.record("plan", (r) => {
        r.tensor({ name: "small", shape: [4] });
        r.tensor({ name: "h", shape: [513, 1024] });
      });
      await expect(record).rejects.toMatchObject({
        code: "E_LIMIT",
        message:
          "h [513, 1024] needs 2.0 MiB, but this adapter binds at most 2.0 MiB; make the hidden size, the batch or the sequence smaller",
      });
      expect(device.memory()).toEqual({ buffers: 0, bytes: 0 });
    }
  });
});

it("the CPU device computes in float32, unless it is told otherwise", async () => {
  const values = Float64Array.of(0.1, 1 / 3, 1e-9, 1);
  for (const [device, expected] of [
    [new CpuDevice(), Float32Array.from(values)],
    [new CpuDevice("float32"), Float32Array.from(values)],
    [new CpuDevice("float64"), values],
  ] as const) {
    const x = device.tensor({ name: "x", shape: [4] });
    device.write(x, values);
    expect(await device.read(x)).toEqual(expected);
  }
});

it("the CPU device frees its own tensors alone, and a plan of it that was disposed of writes nothing", async () => {
  const [device, other] = [new CpuDevice(), new CpuDevice()];
  const x = device.tensor({ name: "x", shape: [4] });
  device.write(x, Float32Array.of(1, 2, 3, 4));
  other.free(x);
  const plan = await device.record("copy", (r) => r.copy(x, r.tensor({ name: "y", shape: [4] })));
  plan.dispose();
  await expect(plan.run([[x, new Float32Array(4)]])).rejects.toMatchObject({ code: "E_DISPOSED" });
  expect(Array.from(await device.read(x))).toEqual([1, 2, 3, 4]);
  device.free(x);
  expect(device.memory()).toEqual({ buffers: 0, bytes: 0 });
});

it("a plan that does not fit in memory leaves nothing behind on the CPU device", async () => {
  const device = new CpuDevice();
  const huge = { name: "h", shape: [2 ** 40] };
  const refused = { code: "E_LIMIT", message: expect.stringMatching(/^h: \d+ bytes do not fit in memory/) as string };
  const record = device.record("plan", (r) => [r.tensor({ name: "small", shape: [4] }), r.tensor(huge)]);
  await expect(record).rejects.toMatchObject(refused);
  expect(() => device.tensor(huge)).toThrow(expect.objectContaining(refused));
  expect(device.memory()).toEqual({ buffers: 0, bytes: 0 });
});

it("a limit that a device does not tell, as one that somebody wrapped, counts as kept", async () => {
  const { device } = await open({}, { limits: { maxComputeWorkgroupStorageSize: undefined } });
  expect(device.kind).toBe("webgpu");
});

it("the wait for an adapter leaves no timer behind, however it ends", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  try {
    for (const adapter of [makeFakeAdapter(), null]) {
      const gpu = { requestAdapter: async () => adapter } as unknown as GPU;
      const device = await openDevice({ gpu, prefer: "webgpu", tuning: "off" }).catch((error: Error) => error);
      expect(device).toMatchObject(adapter ? { kind: "webgpu" } : { code: "E_NO_WEBGPU" });
      expect(vi.getTimerCount()).toBe(0);
    }
  } finally {
    vi.useRealTimers();
  }
});

it("what stands in says why the first choice is not there", async () => {
  const requestAdapter = async (): Promise<never> => {
    throw new Error("the driver starts again");
  };
  const device = await openDevice({ gpu: { requestAdapter } as unknown as GPU });
  expect(device).toMatchObject({ kind: "wasm", fallbackReason: expect.stringContaining("(the driver starts again)") as string });
  device.dispose();
});

it.each([
  ["a software adapter that is passed over", { prefer: "auto" }, {}, "wasm", true],
  ["a software adapter that is asked for", { prefer: "webgpu" }, {}, "webgpu", false],
  ["a GPU", { prefer: "auto" }, { info: { description: "a GPU" } }, "webgpu", false],
  ["one of too little", { prefer: "auto" }, { limits: { maxComputeWorkgroupStorageSize: 1 } }, "wasm", true],
] as const)("the device of %s is let go of, if nobody gets it", async (_, options, fakeOptions, kind, gone) => {
  const adapter = makeFakeAdapter(fakeOptions);
  const made: FakeDevice[] = [];
  const request = adapter.requestDevice.bind(adapter);
  adapter.requestDevice = async (descriptor) => {
    const device = await request(descriptor);
    made.push(device as unknown as FakeDevice);
    return device;
  };
  const gpu = { requestAdapter: async () => adapter } as unknown as GPU;
  const device = await openDevice({ gpu, tuning: "off", ...options });
  expect([device.kind, made.map((each) => each.gone)]).toEqual([kind, [gone]]);
  device.dispose();
});

it("an adapter that does not answer is not asked again", async () => {
  let asked = 0;
  const requestAdapter = (): Promise<never> => (asked++, new Promise(() => {}));
  const device = await openDevice({ prefer: "auto", gpu: { requestAdapter } as unknown as GPU, openMilliseconds: 20 });
  expect(device).toMatchObject({ kind: "wasm", fallbackReason: expect.stringContaining("did not answer") });
  device.dispose();
  expect(asked).toBe(1);
});

it("what stands in for a device that is not there computes in the precision that was asked for", async () => {
  for (const [precision, description] of [
    ["float32", /^WebAssembly SIMD/],
    ["float64", /^CPU float64$/],
  ] as const) {
    const device = await openDevice({ prefer: "auto", gpu: undefined, precision });
    expect(device.description).toMatch(description);
    expect(device.fallbackReason).toMatch(/WebGPU/);
    device.dispose();
  }
  expect(await openDevice({ precision: "float64" })).toMatchObject({ description: "CPU float64", fallbackReason: undefined });
});

describe("tensors", () => {
  it("take and give every kind of numbers, at their place in what they share", async () => {
    const { device, reported } = await open();
    const values = [0, 1, -2, 0.5, 65504, 3];
    for (const ArrayType of [Float32Array, Float64Array]) {
      const x = device.tensor({ name: "x", shape: [2, 3] });
      device.write(x, ArrayType.from(values));
      expect(await device.read(x)).toEqual(Float32Array.from(values));
      const half = device.tensor({ name: "half", shape: [2, 3], dtype: "f16" });
      device.write(half, ArrayType.from(values));
      expect(await device.read(half)).toEqual(Float32Array.from(values));
      expect(half.storage.bytes).toBe(16);
    }
    const tokens = device.tensor({ name: "tokens", shape: [5], dtype: "u32" });
    device.write(tokens, Uint32Array.of(1, 2, 0xffffffff, 4, 5));
    expect(await device.read(tokens)).toEqual(Uint32Array.of(1, 2, 0xffffffff, 4, 5));
    const { whole, parts } = device.flatTensors("flat", [
      { name: "a", shape: [2] },
      { name: "b", shape: [3] },
    ]);
    device.write(parts[1]!, Float32Array.of(7, 8, 9));
    expect(Array.from(await device.read(parts[1]!))).toEqual([7, 8, 9]);
    expect(Array.from((await device.read(whole)).subarray(60, 68))).toEqual([0, 0, 0, 0, 7, 8, 9, 0]);
    expect(reported).toEqual([]);
  });

  it("keep at most 16 buffers for reads to come, however many were read at once", async () => {
    const { device, fake } = await open();
    const [x] = tensors(device, "x") as [Tensor];
    device.write(x, Float32Array.of(1, 2, 3, 4));
    const values = await Promise.all(Array.from({ length: 40 }, () => device.read(x)));
    for (const each of values) expect(Array.from(each)).toEqual([1, 2, 3, 4]);
    const kept = fake.buffers.filter(({ state, label }) => label !== "x" && state !== "destroyed").length;
    expect(kept).toBe(16);
    expect(device.memory().buffers).toBe(1 + kept);
    (device as WebGpuDevice).dropReadbacks();
    expect(device.memory()).toEqual({ buffers: 1, bytes: 16 });
    expect(Array.from(await device.read(x))).toEqual([1, 2, 3, 4]);
    expect(device.memory().buffers).toBe(2);
  });

  it("of up to a mebibyte leave their buffer for the next read, larger ones none", async () => {
    const { device } = await open();
    for (const [length, kept] of [
      [1 << 18, 1 << 20],
      [(1 << 18) + 4, 0],
    ] as const) {
      const x = device.tensor({ name: "x", shape: [length] });
      await device.read(x);
      device.free(x);
      expect(device.memory().bytes).toBe(kept);
      (device as WebGpuDevice).dropReadbacks();
    }
  });

  it("are counted while they are there, and destroyed once, by their own device only", async () => {
    const [{ device, fake }, other] = [await open(), await open()];
    const [x, y] = tensors(device, "x", "y") as [Tensor, Tensor];
    expect(device.memory()).toEqual({ buffers: 2, bytes: 32 });
    expect(fake.buffers.map(({ label }) => label)).toEqual(["x", "y"]);
    other.device.free(x);
    expect(device.memory().buffers).toBe(2);
    device.free(x, x, y);
    expect(device.memory()).toEqual({ buffers: 0, bytes: 0 });
    expect(fake.buffers.map(({ state }) => state)).toEqual(["destroyed", "destroyed"]);
    expect(() => device.write(x, new Float32Array(4))).toThrow(expect.objectContaining({ code: "E_DISPOSED" }));
    const z = device.tensor({ name: "z", shape: [4] });
    device.dispose();
    device.dispose();
    expect([z.storage.buffer, fake.buffers.at(-1)!.state, fake.gone]).toEqual([undefined, "destroyed", false]);
  });
});

describe("shaders", () => {
  const record = (device: Device): Promise<unknown> => {
    const [x, y] = tensors(device, "x", "y") as [Tensor, Tensor];
    return device.record("plan", (r) => r.dispatch(one, { x, y }, PARAMS));
  };

  it("are compiled once for all plans, and again after a failure", async () => {
    let bad = true;
    const { device, fake } = await open({}, { compile: () => (bad ? [{ type: "error", lineNum: 0, message: "busy" }] : []) });
    const compiled = vi.spyOn(fake, "createShaderModule");
    await expect(record(device)).rejects.toMatchObject({
      code: "E_SHADER",
      message: "one.forward reported: shaders/one.wgsl: busy",
    });
    bad = false;
    for (let i = 0; i < 3; i++) await record(device);
    expect(compiled.mock.calls.map(([{ label }]) => label)).toEqual(["one.forward", "one.forward"]);
  });

  it("that do not compile are named with every error's place, and no warning's", async () => {
    const { device } = await open(
      {},
      {
        compile: (code) => {
          const line = code.split("\n").findIndex((each) => each.includes("alias Y4")) + 1;
          return [
            { type: "error", lineNum: line, linePos: 3, message: "first" },
            { type: "warning", lineNum: line, linePos: 1, message: "harmless" },
            { type: "error", lineNum: line + 4, linePos: 2, message: "second" },
          ];
        },
      },
    );
    const error = (await record(device).catch((each: unknown) => each)) as Error;
    expect(error).toMatchObject({ code: "E_SHADER" });
    expect(error.message).toMatch(/^shaders\/one\.wgsl:1:3: first\n[^]*\nshaders\/one\.wgsl:5:2: second\n/);
    expect(error.message).not.toContain("harmless");
  });

  it("that do not compile are a fault of the shader where one of the errors has a place", async () => {
    const compile = (): { type: "error"; lineNum: number; linePos: number; message: string }[] => [
      { type: "error", lineNum: 0, linePos: 0, message: "too much" },
      { type: "error", lineNum: 1, linePos: 1, message: "wrong" },
    ];
    const { device } = await open({}, { compile });
    await expect(record(device)).rejects.toMatchObject({
      code: "E_SHADER",
      message: expect.stringMatching(/^shaders\/one\.wgsl: too much\nshaders\/prelude\.wgsl:1:1: wrong\n/) as string,
    });
  });

  it("of which WebGPU makes no pipeline, or reports something, are named with what it says", async () => {
    const { device, fake } = await open();
    const create = vi.spyOn(fake, "createComputePipelineAsync").mockRejectedValueOnce(new Error("no pipeline today"));
    await expect(record(device)).rejects.toMatchObject({ code: "E_SHADER", message: "one.forward reported: no pipeline today" });
    const layout = fake.createBindGroupLayout.bind(fake);
    fake.createBindGroupLayout = (each) => (fake.require(false, "no layout"), layout(each));
    await expect(record(device)).rejects.toMatchObject({ code: "E_SHADER", message: "one.forward reported: no layout" });
    fake.createBindGroupLayout = layout;
    await record(device);
    expect(create).toHaveBeenCalledTimes(3);
  });

  it("with warnings alone are taken", async () => {
    const { device } = await open({}, { compile: () => [{ type: "warning", lineNum: 1, linePos: 1, message: "hm" }] });
    await record(device);
  });

  it("of more than eight tensors are a mistake of ours, and of eight are none", async () => {
    const { device, fake } = await open();
    const [x] = tensors(device, "x") as [Tensor];
    const wide = (count: number): Promise<Plan> => {
      const bindings = Object.fromEntries(Array.from({ length: count }, (_, i) => [`x${i}`, "read" as const]));
      const inputs = Object.fromEntries(Object.keys(bindings).map((name) => [name, x]));
      // Without its declarations, which are of two tensors.
      const files = [{ name: "one", source: "fn forward() {}" }];
      return device.record("wide", (r) => r.dispatch({ ...one, bindings, files }, inputs, PARAMS));
    };
    await expect(wide(9)).rejects.toThrow(/one\.forward: 9 tensors, at most 8/);
    expect((await wide(8)).dispatches).toBe(1);
    expect(fake.calls.createBindGroup).toBe(1);
  });
});

it("a device that is disposed of lets go of everything: tensors, params, and buffers kept for reads", async () => {
  const { device, fake } = await open();
  const [x, y] = tensors(device, "x", "y") as [Tensor, Tensor];
  const plan = await device.record("plan", (r) => r.dispatch(one, { x, y }, PARAMS));
  await plan.runAndRead(y);
  device[Symbol.dispose]();
  expect(fake.buffers.map(({ state }) => state)).toEqual(fake.buffers.map(() => "destroyed"));
  expect(fake.gone).toBe(false);
});

it("what a plan is to read must be there before it runs", async () => {
  const { device, fake } = await open();
  const [x, y, z] = tensors(device, "x", "y", "z") as [Tensor, Tensor, Tensor];
  const plan = await device.record("plan", (r) => r.dispatch(one, { x, y }, PARAMS));
  device.free(z);
  await expect(plan.runAndRead(z)).rejects.toMatchObject({ code: "E_DISPOSED", message: expect.stringMatching(/^z is not on/) });
  expect(fake.calls.submit).toBe(0);
});

describe("what WebGPU reports", () => {
  it("of memory is E_LIMIT, of anything else E_SHADER, once, with where it was", async () => {
    const { device, fake } = await open();
    const [x] = tensors(device, "x") as [Tensor];
    const write = fake.queue.writeBuffer.bind(fake.queue);
    for (const [filter, code, message] of [
      ["out-of-memory", "E_LIMIT", "WebGPU: out of GPU memory; make the model or the batch smaller (no room)"],
      ["validation", "E_SHADER", "WebGPU reported: no room"],
    ] as const) {
      fake.queue.writeBuffer = (...args) => (fake.require(false, "no room", filter), write(...args));
      device.write(x, new Float32Array(4));
      fake.queue.writeBuffer = write;
      await expect(device.finish()).rejects.toMatchObject({ code, message, cause: { filter, message: "no room" } });
      await device.finish();
      expect(Array.from(await device.read(x))).toEqual([0, 0, 0, 0]);
    }
  });

  it("of two things is the first, of one thing the want of memory", async () => {
    const { device, fake } = await open();
    const [x] = tensors(device, "x") as [Tensor];
    const write = fake.queue.writeBuffer.bind(fake.queue);
    let count = 0;
    fake.queue.writeBuffer = (...args) => {
      fake.require(false, `number ${++count}`);
      if (count === 1) fake.require(false, "memory", "out-of-memory");
      write(...args);
    };
    for (let i = 0; i < 3; i++) device.write(x, new Float32Array(4));
    await expect(device.read(x)).rejects.toThrow(/memory/);
    await device.finish();
  });

  it("in a plan's making frees what it made; a plan that is run later throws it before it works", async () => {
    const { device, fake } = await open();
    const [x, y] = tensors(device, "x", "y") as [Tensor, Tensor];
    const before = device.memory();
    const group = fake.createBindGroup.bind(fake);
    const build = (r: Recorder): void => r.dispatch(one, { x, y: r.tensor({ name: "own", shape: [4] }) }, PARAMS);
    fake.createBindGroup = (each) => (fake.require(false, "no group"), group(each));
    await expect(device.record("plan", build)).rejects.toMatchObject({ message: "plan reported: no group" });
    fake.createBindGroup = () => {
      throw new RangeError("nothing left");
    };
    await expect(device.record("plan", build)).rejects.toMatchObject({
      code: "E_LIMIT",
      message: "plan: out of GPU memory; make the model or the batch smaller (nothing left)",
    });
    fake.createBindGroup = group;
    expect(device.memory()).toEqual(before);
    const plan = await device.record("plan", (r) => r.dispatch(one, { x, y }, PARAMS));
    const submit = fake.queue.submit.bind(fake.queue);
    fake.queue.submit = (lists) => (fake.require(false, "bad submit"), submit(lists));
    await plan.run();
    fake.queue.submit = submit;
    await new Promise((resolve) => setTimeout(resolve));
    await expect(plan.run()).rejects.toThrow(/bad submit/);
    expect(fake.calls.submit).toBe(1);
    await plan.run();
    expect((await device.read(y))[0]).toBe(2);
  });

  it("when the device is lost is E_DEVICE_LOST with the reason, from then on", async () => {
    for (const [message, shown] of [
      ["the driver died", "the driver died"],
      ["", "unknown"],
    ] as const) {
      const { device, fake } = await open();
      const [x, y] = tensors(device, "x", "y") as [Tensor, Tensor];
      const plan = await device.record("plan", (r) => r.dispatch(one, { x, y }, PARAMS));
      const reading = device.read(x);
      fake.lose("unknown", message);
      await expect(reading).rejects.toMatchObject({ code: "E_DEVICE_LOST" });
      expect(await device.lost).toBe(shown);
      for (const call of [() => plan.run(), () => plan.runAndRead(x), () => device.read(x), () => device.finish()])
        await expect(call()).rejects.toMatchObject({ code: "E_DEVICE_LOST", message: `the GPU device was lost: ${shown}` });
    }
  });

  it("in a read leaves no buffer of it behind", async () => {
    const { device, fake } = await open();
    const [x, y] = tensors(device, "x", "y") as [Tensor, Tensor];
    const plan = await device.record("plan", (r) => r.dispatch(one, { x, y }, PARAMS));
    const before = device.memory();
    const reads = [device.read(x), plan.runAndRead(y)];
    fake.lose("unknown", "the driver died");
    for (const read of reads) await expect(read).rejects.toMatchObject({ code: "E_DEVICE_LOST" });
    expect(device.memory()).toEqual(before);
  });

  it("of a call that a loss failed is the loss, though the news of it come later", async () => {
    const { device, fake } = await open();
    const [x] = tensors(device, "x") as [Tensor];
    fake.queue.onSubmittedWorkDone = () => {
      setTimeout(() => fake.lose("unknown", "the driver died"), 10);
      return Promise.reject(new DOMException("no more work", "OperationError"));
    };
    await expect(device.finish()).rejects.toMatchObject({ code: "E_DEVICE_LOST" });
    await expect(device.read(x)).rejects.toMatchObject({ code: "E_DEVICE_LOST" });
  });

  it("to the caller, of calls of the caller's own, is none of the device's business", async () => {
    const { device, fake, reported } = await open();
    fake.createBuffer({ size: 4, usage: 0 });
    await device.finish();
    expect(reported).toEqual(["a buffer of usage 0"]);
  });

  it("after a call that throws goes to whom it belongs, as before", async () => {
    const { device, fake, reported } = await open();
    const [x] = tensors(device, "x") as [Tensor];
    const write = fake.queue.writeBuffer.bind(fake.queue);
    fake.queue.writeBuffer = () => {
      throw new TypeError("no buffer");
    };
    expect(() => device.write(x, new Float32Array(4))).toThrow("no buffer");
    fake.createBuffer({ size: 4, usage: 0 });
    expect(reported).toEqual(["a buffer of usage 0"]);
    fake.queue.writeBuffer = (...args) => (fake.require(false, "bad write"), write(...args));
    device.write(x, new Float32Array(4));
    await expect(device.finish()).rejects.toThrow(/bad write/);
    expect(reported).toHaveLength(1);
  });
});

describe("a signal", () => {
  it("that is aborted ends recording and running with its reason, and what was made is freed", async () => {
    const { device } = await open();
    const [x, y] = tensors(device, "x", "y") as [Tensor, Tensor];
    const before = device.memory();
    const reason = new Error("enough");
    let built = 0;
    const build = (r: Recorder): void => {
      built++;
      r.dispatch(one, { x, y: r.tensor({ name: "own", shape: [4] }) }, PARAMS);
    };
    await expect(device.record("plan", build, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(built).toBe(0);
    const controller = new AbortController();
    const recording = device.record("plan", build, { signal: controller.signal });
    controller.abort(reason);
    await expect(recording).rejects.toBe(reason);
    await device.finish();
    await new Promise((resolve) => setTimeout(resolve));
    expect(device.memory()).toEqual(before);
    const plan = await device.record("plan", build);
    await expect(plan.run([], AbortSignal.abort(reason))).rejects.toBe(reason);
    await expect(plan.runAndRead(y, AbortSignal.abort(reason))).rejects.toBe(reason);
  });
});

describe("the proof of a kernel", () => {
  const add = (after: FakeOptions["after"]) => open({}, { after });
  const checked: Entry = {
    ...one,
    cases: () => [
      {
        name: "three",
        params: { ...PARAMS, at: 1 },
        tensors: { x: { shape: [3], fill: (i) => i + 1 }, y: { shape: [2, 3], fill: () => 10 } },
      },
    ],
  };

  it("finds nothing where all is right, and says what differs where it is not", async () => {
    const { device } = await open();
    expect(await differences(device, checked)).toEqual([]);
    const off = await add(({ arrays }) => void (arrays.y![1] = 12.1));
    expect(await differences(off.device, checked)).toEqual([
      'one.forward, three, variant "default", y: relative L2 3.9e-3 > 0.00001, worst at 1: 12.100000381469727, not 12',
    ]);
    const padded = await add(({ arrays }) => void (arrays.y![3] = 5));
    expect(await differences(padded.device, checked)).toEqual([
      'one.forward, three, variant "default", y: padding at 3 holds 5, not 0',
    ]);
    for (const bad of [NaN, Infinity]) {
      const broken = await add(({ arrays }) => void (arrays.y![2] = bad));
      expect(await differences(broken.device, checked)).toEqual([
        `one.forward, three, variant "default", y: element 2 is ${bad}, not 10`,
      ]);
    }
    for (const each of [device, off.device, padded.device]) expect(each.memory().buffers).toBeLessThanOrEqual(1);
  });

  it("is of the variants that the GPU can run, whose subgroups the reference has not", async () => {
    const variants = [{ name: "plain" }, ...[8, 16].map((subgroupSize) => ({ name: `by ${subgroupSize}`, subgroupSize }))];
    const { device } = await open(
      {},
      {
        features: ["subgroups"],
        info: { subgroupMinSize: 8, subgroupMaxSize: 8 },
        after: ({ arrays }) => void (arrays.y![1] = 12.1),
      },
    );
    const found = await differences(device, { ...checked, variants });
    expect(found.map((each) => /variant "(.*)", y: /.exec(each)?.[1])).toEqual(["plain", "by 8"]);
  });

  it("is exact to 1e-5 of a tensor's length, in half precision to 2e-3", async () => {
    // √(5 · 100 + 144) = 25.377
    for (const [half, error, found] of [
      [false, 0.9e-5, 0],
      [false, 1.2e-5, 1],
      [true, 1.5e-3, 0],
      [true, 4e-3, 1],
    ] as const) {
      const { device } = await add(({ arrays }) => void (arrays.y![0]! += error * 25.377));
      const all = await differences(device, checked, undefined, undefined, half);
      expect(all, `${error}`).toHaveLength(found);
      if (half && found) expect(all[0]).toContain("one.forward, three f16,");
    }
  });

  it("is of tensors that are all zero, too", async () => {
    const zero: Entry = {
      ...one,
      cases: () => [
        {
          name: "zero",
          params: { ...PARAMS, by: 0 },
          tensors: { x: { shape: [4], fill: () => 0 }, y: { shape: [4], fill: () => 0 } },
        },
      ],
    };
    const right = await open();
    expect(await differences(right.device, zero)).toEqual([]);
    const { device } = await add(({ arrays }) => void (arrays.y![2] = 1e-30));
    expect(await differences(device, zero)).toEqual([
      'one.forward, zero, variant "default", y: relative L2 Infinity > 0.00001, worst at 2: 1.0000000031710769e-30, not 0',
    ]);
  });

  it("has its right numbers from float64, in which 2²⁴ + 1 is another number than 2²⁴", async () => {
    const counting: Entry = {
      ...one,
      reference({ y }) {
        y![0] = 2 ** 24 + 1;
        y![1] = y![0]! - 2 ** 24;
        y![0] = 0;
      },
      cases: () => [{ name: "counting", params: PARAMS, tensors: { x: { shape: [4] }, y: { shape: [4], fill: () => 0 } } }],
    };
    expect(await differences(new CpuDevice("float32"), counting)).toEqual([
      'one.forward, counting, variant "default", y: relative L2 1.0e+0 > 0.00001, worst at 1: 0, not 1',
    ]);
    expect(await differences(new CpuDevice("float64"), counting)).toEqual([]);
  });

  it("of each element by itself allows for what inputs that are off by a few ulp make of it", async () => {
    // 1 + by = 2⁻²⁰, of which an ulp of the 1 is a sixteenth.
    const near: Entry = {
      ...one,
      cases: () => [
        {
          name: "near",
          params: { ...PARAMS, by: 2 ** -20 - 1 },
          tensors: { x: { shape: [4], fill: () => 1 }, y: { shape: [4], fill: (i) => (i ? 1000 : 0) } },
        },
      ],
    };
    for (const [error, found] of [
      [2 ** -24, 0],
      [1e-4, 1],
    ] as const) {
      const { device } = await add(({ arrays }) => void (arrays.y![0]! += error));
      const all = await differences(device, near, undefined, undefined, false, undefined, true);
      expect(all, String(all)).toHaveLength(found);
    }
  });

  it("of each element by itself sees a small one beside large ones", async () => {
    const small: Entry = {
      ...one,
      cases: () => [
        {
          name: "small",
          params: { ...PARAMS, by: 0 },
          tensors: { x: { shape: [4], fill: () => 1e-3 }, y: { shape: [8], fill: (i) => (i ? 1e6 : 0) } },
        },
      ],
    };
    const { device } = await add(({ arrays }) => void (arrays.y![0]! *= 1.001));
    expect(await differences(device, small)).toEqual([]);
    const found = await differences(device, small, undefined, undefined, false, undefined, true);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(/element 0 is 0\.00100/);
    const right = await open();
    expect(await differences(right.device, small, undefined, undefined, false, undefined, true)).toEqual([]);
  });
});

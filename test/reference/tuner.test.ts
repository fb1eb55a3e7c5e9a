// The tuner's decisions, on a GPU whose variants take the time that the test says, by a clock that nothing else moves.
import { getEventListeners } from "node:events";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Device } from "../../src/runtime/device.ts";
import { openDevice, type OpenDeviceOptions } from "../../src/runtime/open.ts";
import { defineKernel, entry, type Entry, type Variant } from "../../src/runtime/kernel.ts";
import { Recorder } from "../../src/runtime/recorder.ts";
import type { Tensor } from "../../src/runtime/tensor.ts";
import type { TuningProgress } from "../../src/runtime/tuner.ts";
import { hash, type TuningStore } from "../../src/runtime/tuning-memory.ts";
import { makeFakeDevice, type FakeDevice, type FakeOptions } from "./fake-gpu.ts";

let time = 0;
beforeEach(() => {
  time = 1000;
  vi.spyOn(performance, "now").mockImplementation(() => (time += 1e-4));
});
afterEach(() => vi.restoreAllMocks());

/** A variant whose dispatch takes so many microseconds. */
const taking = (name: string, microseconds: number, more: Partial<Variant> = {}): Variant => ({
  name,
  constants: { COST: microseconds },
  ...more,
});

/** y = 2x, in several ways. */
const racing = (variants: readonly Variant[], work = 1e9, kernel = "racing"): Entry =>
  defineKernel(
    kernel,
    `const COST: u32 = 0u;
@binding(0) var<uniform> params: Params;
@binding(1) var<storage, read> x: array<f32>;
@binding(2) var<storage, read_write> y: array<f32>;
fn forward() {}
fn missing () {}`,
    {
      forward: entry({
        params: { count: "u32" },
        bindings: { x: "read", y: "read_write" },
        variants,
        workgroups: () => [1],
        tuneBy: ({ count }) => [count],
        work: () => work,
        reference({ x, y }, { count }) {
          for (let i = 0; i < count; i++) y[i] = 2 * x[i]!;
        },
        cases: () =>
          [3, 5].map((count) => ({ name: `${count}`, params: { count }, tensors: { x: { shape: [8] }, y: { shape: [8] } } })),
      }),
    },
  ).forward as unknown as Entry;

/** The same in half precision: a shader's alias stands for the type of both. */
const halfRacing = (variants: readonly Variant[]): Entry => {
  const { files, ...rest } = racing(variants);
  const source = files.at(-1)!.source.replaceAll("array<f32>", "array<Y4>");
  return { ...rest, files: [{ name: "racing", source: `alias Y4 = vec4f;\n${source}` }], halves: { x: "Y4", y: "Y4" } };
};

const COUNT = 100;
const KEY = "racing.forward 128";
const costOf = (code: string): number => Number(/const COST: u32 = (\d+)u;/.exec(code)![1]);

interface Race {
  readonly device: Device;
  readonly fake: FakeDevice;
  readonly told: TuningProgress[];
  readonly run: (...entries: readonly Entry[]) => Promise<ReadonlyMap<string, string>>;
}

async function open(
  store: TuningStore | undefined,
  options: OpenDeviceOptions = {},
  fakeOptions: FakeOptions = {},
): Promise<Race> {
  const all = ["racing", "other"].map((kernel) => [`${kernel}.forward`, racing([{ name: "any" }], 1, kernel)] as const);
  const { gpuDevice, fake } = makeFakeDevice({
    entries: new Map(all),
    cost: ({ code }) => costOf(code) / 1000,
    until: async (then) => void (time = Math.max(time, then)),
    ...fakeOptions,
  });
  const told: TuningProgress[] = [];
  const onTuning = (progress: TuningProgress): void => void told.push(progress);
  const device = await openDevice({ gpuDevice, tuning: "on", tuningStore: store, tuningMilliseconds: 1e6, onTuning, ...options });
  const run: Race["run"] = async (...entries) => {
    const plan = await device.record("plan", (r) => {
      const [x, y] = [r.tensor({ name: "x", shape: [COUNT] }), r.tensor({ name: "y", shape: [COUNT] })];
      for (const each of entries) r.dispatch(each, { x, y }, { count: COUNT });
    });
    plan.dispose();
    return plan.choices;
  };
  return { device, fake, told, run };
}

const memory = (): Required<Pick<TuningStore, "load" | "save">> & { text: string | undefined } => ({
  text: undefined,
  load() {
    return this.text;
  },
  save(_name, text) {
    this.text = text;
  },
});

describe("the tuner takes", () => {
  it.each([
    [[100, 90, 50, 80], "v2"],
    [[100, 98, 99], "v0"],
    [[100, 96], "v1"],
    [[50, 100, 200], "v0"],
    [[100, 50, 49], "v2"],
  ])("of %o the one that is fastest, if by more than a thirtieth: %s", async (costs, chosen) => {
    const { device, run } = await open(memory());
    const choices = await run(racing(costs.map((cost, i) => taking(`v${i}`, cost))));
    expect(choices.get(KEY)).toBe(chosen);
    const result = device.tuner!.results.get(KEY)!;
    expect(result).toMatchObject({ chosen, preferred: "v0", rejected: {} });
    costs.forEach((cost, i) => expect(result.milliseconds[`v${i}`]! * 1000).toBeCloseTo(cost, -0.5));
    // Nothing is left but what the next read would make.
    expect(device.memory()).toEqual({ buffers: 0, bytes: 0 });
    device.dispose();
  });

  it("its time, and is idle when what is under way is decided and kept", async () => {
    const store = memory();
    let begin!: () => void;
    const begun = new Promise<void>((resolve) => (begin = resolve));
    const { device, run } = await open(store, { onTuning: begin });
    const running = run(racing([taking("slow", 100), taking("fast", 50)]));
    await begun;
    expect(device.tuner!.results.size).toBe(0);
    await device.tuner!.idle();
    expect(device.tuner!.results.get(KEY)).toMatchObject({ chosen: "fast" });
    expect(JSON.parse(store.text!).choices[KEY]).toMatchObject({ chosen: "fast" });
    await running;
    await device.tuner!.idle();
  });

  it("one that is preferred by its own word where that is faster than the first", async () => {
    const { device, run } = await open(memory());
    await run(racing([taking("first", 100), taking("mine", 99, { preferred: () => true })]));
    expect(device.tuner!.results.get(KEY)).toMatchObject({ chosen: "mine", preferred: "mine" });
  });

  it("no more than eight into the race, the preferred one first, and drops at once what takes three times as long", async () => {
    const { device, fake, run } = await open(memory());
    const costs = [100, 110, 120, 290, 310, 900, 100, 105, 10, 10];
    const variants = costs.map((cost, i) => taking(`v${i}`, cost + i, i === 9 ? { preferred: () => true } : {}));
    await run(racing(variants));
    const { milliseconds } = device.tuner!.results.get(KEY)!;
    expect(Object.keys(milliseconds).sort()).toEqual(["v0", "v1", "v2", "v3", "v4", "v5", "v6", "v9"]);
    expect(device.tuner!.results.get(KEY)!.chosen).toBe("v9");
    // Each is checked, compared and timed twice; all but the fastest take more than three times as long.
    const runs = (cost: number): number => fake.dispatched.filter(({ code }) => costOf(code) === cost).length;
    expect(costs.map((cost, i) => runs(cost + i))).toEqual([4, 4, 4, 4, 4, 4, 4, 0, 0, 4]);
  });

  it("only plans of some work, and of them what is a fiftieth of it", async () => {
    const variants = [taking("slow", 100), taking("fast", 10)];
    for (const [work, other, tuned] of [
      [2e7, 0, [KEY]],
      [1.99e7, 0, []],
      [1e8, 1.9e6, [KEY]],
      [9.8e7, 2e6, [KEY, "other.forward 128"]],
    ] as const) {
      const { device, run, told } = await open(memory());
      await run(racing(variants, work), ...(other ? [racing(variants, other, "other")] : []));
      expect([...device.tuner!.results.keys()], `${work}`).toEqual(tuned);
      expect(told.length).toBe(tuned.length === 0 ? 0 : tuned.length + 1);
      expect(device.tuner!.milliseconds > 0).toBe(tuned.length > 0);
    }
  });

  it("what many dispatches together are a fiftieth of, though none is by itself", async () => {
    const variants = [taking("slow", 100), taking("fast", 10)];
    const { device, run } = await open(memory());
    await run(racing(variants, 1e8), ...Array.from({ length: 10 }, () => racing(variants, 3e5, "other")));
    expect([...device.tuner!.results.keys()]).toEqual([KEY, "other.forward 128"]);
  });

  it("what a choice contains before the choice itself, so that its candidates race at their best", async () => {
    const { device, told } = await open(memory());
    const inner = racing([taking("slow", 100), taking("fast", 10)]);
    await device.record("plan", (r) => {
      const [x, y] = [r.tensor({ name: "x", shape: [COUNT] }), r.tensor({ name: "y", shape: [COUNT] })];
      const once = (recorder: Recorder): void => recorder.dispatch(inner, { x, y }, { count: COUNT });
      const thrice = (recorder: Recorder): void => [1, 2, 3].forEach(() => once(recorder));
      r.choose("outer", [COUNT], { once: { record: once }, thrice: { record: thrice } }, () => "thrice");
    });
    expect(told.map(({ key }) => key)).toEqual([KEY, "outer 128", ""]);
    const { chosen, milliseconds, rejected } = device.tuner!.results.get("outer 128")!;
    expect([chosen, rejected]).toEqual(["once", {}]);
    expect(milliseconds.once! * 1000).toBeCloseTo(10, -0.5);
  });

  it("a choice for as much of the plan as its largest candidate is of it", async () => {
    const { device, told } = await open(memory());
    const inner = racing([taking("only", 10)]);
    await device.record("plan", (r) => {
      const [x, y] = [r.tensor({ name: "x", shape: [COUNT] }), r.tensor({ name: "y", shape: [COUNT] })];
      const little = racing([taking("only", 10)], 1);
      const by = (each: Entry) => ({ record: (of: Recorder) => of.dispatch(each, { x, y }, { count: COUNT }) });
      r.choose("outer", [COUNT], { large: by(inner), little: by(little) }, () => "large");
    });
    expect(told.map(({ key }) => key)).toEqual(["outer 128", ""]);
  });

  it("what is asked for, though there is no store to remember it", async () => {
    const { run } = await open(undefined);
    expect((await run(racing([taking("slow", 100), taking("fast", 10)]))).get(KEY)).toBe("fast");
  });
});

describe("the tuner rejects", () => {
  const variants = [taking("slow", 100), taking("wrong", 5), taking("fast", 50)];
  const when = (wrong: (count: number) => boolean, error: number): FakeOptions => ({
    after: ({ code, params, arrays }) => {
      if (costOf(code) === 5 && wrong(params.count!)) arrays.y![1]! += error;
    },
  });

  it("a variant that misses the reference, and one that differs at the real shape only", async () => {
    for (const [fake, reason] of [
      [when((count) => count < COUNT, 0.1), /^racing\.forward, 5, variant "wrong", y: relative L2/],
      [when((count) => count === COUNT, 0.1), /^differs from the preferred one at the real shape: relative L2 \d/],
    ] as const) {
      const { device, run } = await open(memory(), {}, fake);
      await run(racing(variants));
      const result = device.tuner!.results.get(KEY)!;
      expect(result).toMatchObject({ chosen: "fast", rejected: { wrong: expect.stringMatching(reason) } });
      expect(Object.keys(result.milliseconds).sort()).toEqual(["fast", "slow"]);
      expect(device.memory()).toEqual({ buffers: 0, bytes: 0 });
    }
  });

  it("a variant that missed the reference once also for other sizes", async () => {
    const { device } = await open(
      memory(),
      {},
      when((count) => count < COUNT, 0.1),
    );
    for (const count of [COUNT, 3 * COUNT])
      await device.record("plan", (r) => {
        const [x, y] = ["x", "y"].map((name) => r.tensor({ name, shape: [count] })) as [Tensor, Tensor];
        r.dispatch(racing(variants), { x, y }, { count });
      });
    for (const key of [KEY, "racing.forward 512"])
      expect(device.tuner!.results.get(key)).toMatchObject({ chosen: "fast", rejected: { wrong: expect.any(String) } });
  });

  it("a variant that misses the reference in the precision that it would run in, and in that alone", async () => {
    for (const [wrongIn, dtype, key, rejected] of [
      ["f16", "f16", "racing.forward f16 128", /^racing\.forward, 5 f16, variant "wrong", y: relative L2/],
      ["f16", "f32", KEY, undefined],
      ["f32", "f16", "racing.forward f16 128", undefined],
    ] as const) {
      const { device } = await open(
        memory(),
        {},
        {
          after: ({ code, params, arrays }) => {
            const ran = code.startsWith("enable f16;") ? "f16" : "f32";
            if (costOf(code) === 5 && params.count! < COUNT && ran === wrongIn) arrays.y![1]! += 0.1;
          },
        },
      );
      await device.record("plan", (r) => {
        const [x, y] = ["x", "y"].map((name) => r.tensor({ name, shape: [COUNT], dtype })) as [Tensor, Tensor];
        r.dispatch(halfRacing(variants), { x, y }, { count: COUNT });
      });
      expect(device.tuner!.results.get(key)).toMatchObject(
        rejected ? { chosen: "fast", rejected: { wrong: expect.stringMatching(rejected) } } : { chosen: "wrong", rejected: {} },
      );
    }
  });

  it("the preferred one too, though nothing else is faster than nothing", async () => {
    const { device, run } = await open(
      memory(),
      {},
      when((count) => count === 5, 0.1),
    );
    await run(racing([taking("preferred and wrong", 5), taking("slow", 100)]));
    expect(device.tuner!.results.get(KEY)).toMatchObject({ chosen: "slow", preferred: "preferred and wrong" });
  });

  it("one that gives NaN at the real shape", async () => {
    const { device, run } = await open(
      memory(),
      {},
      when((count) => count === COUNT, NaN),
    );
    await run(racing(variants));
    expect(device.tuner!.results.get(KEY)).toMatchObject({
      chosen: "fast",
      rejected: { wrong: expect.stringContaining("at the real shape: relative L2 NaN") },
    });
  });

  it("no variant for the rounding of another order", async () => {
    const { device, run } = await open(
      memory(),
      {},
      when((count) => count === COUNT, 5e-6),
    );
    await run(racing(variants));
    expect(device.tuner!.results.get(KEY)).toMatchObject({ chosen: "wrong", rejected: {} });
  });

  it("what does not compile; and all of them where none is right, which nobody remembers", async () => {
    const store = memory();
    const { device, run } = await open(store);
    await run(racing([taking("slow", 100), taking("wrong", 5, { entryPoint: "absent" })]));
    expect(device.tuner!.results.get(KEY)).toMatchObject({
      chosen: "slow",
      rejected: { wrong: expect.stringContaining("absent") },
    });
    const other = await open(memory(), {}, { after: ({ arrays }) => void (arrays.y![0]! += 1) });
    await expect(other.run(racing(variants))).rejects.toMatchObject({
      code: "E_SHADER",
      message: expect.stringMatching(
        /^racing\.forward 128: no variant computes the right thing here\nslow: .*\nwrong: .*\nfast: /,
      ),
    });
    expect(other.device.memory()).toEqual({ buffers: 0, bytes: 0 });
  });

  it("what there is no room to try, and leaves nothing of it", async () => {
    const { device, fake, run } = await open(memory());
    const group = fake.createBindGroup.bind(fake);
    let trials = 0;
    fake.createBindGroup = (each: Parameters<typeof group>[0] & { label?: string }) => {
      // The preferred one has two plans, one to be compared and one to be timed.
      if (each.label!.startsWith("tuning ") && ++trials > 2) throw new RangeError("nothing left");
      return group(each);
    };
    await run(racing([taking("slow", 100), taking("fast", 50)]));
    expect(device.tuner!.results.get(KEY)).toMatchObject({
      chosen: "slow",
      rejected: { fast: expect.stringContaining("out of GPU memory") },
    });
    expect(device.memory()).toEqual({ buffers: 0, bytes: 0 });
  });

  it("none of a choice that takes more room than there is for trying: the plan has the preferred one, and nobody remembers that", async () => {
    const limits = { maxBufferSize: 2 ** 29, maxStorageBufferBindingSize: 2 ** 29 };
    const store = memory();
    const { device, fake, told } = await open(store, {}, { limits });
    const plan = await device.record("plan", (r) => {
      const [x, y] = ["x", "y"].map((name) => r.tensor({ name, shape: [257 << 18] })) as [Tensor, Tensor];
      r.dispatch(racing(variants), { x, y }, { count: COUNT });
    });
    // Candidates were checked, at the sizes of their cases.
    expect(new Set(fake.dispatched.map(({ params }) => params.count))).toEqual(new Set([5]));
    expect([plan.choices.get(KEY), device.tuner!.results.size, JSON.parse(store.text!).choices]).toEqual(["", 0, {}]);
    expect(told.map(({ key }) => key)).toEqual([KEY, ""]);
    plan.dispose();
    // What is small enough is tuned all the same.
    const small = await open(store);
    expect((await small.run(racing(variants))).get(KEY)).toBe("wrong");
  });

  it("a variant that the device was lost with, from then on, and says so", async () => {
    const store = memory();
    const dying: FakeOptions = {
      after: ({ code, params }) => void (costOf(code) === 5 && params.count === COUNT && race.fake.lose("unknown", "hung")),
    };
    const race = await open(store, {}, dying);
    await expect(race.run(racing(variants))).rejects.toMatchObject({
      code: "E_DEVICE_LOST",
      message:
        'the GPU device was lost: hung; it happened while "wrong" was tried for racing.forward 128, which is passed over from now on; with --no-tune ({ tuning: "off" } in the library) none is tried',
      cause: expect.objectContaining({ code: "E_DEVICE_LOST", message: "the GPU device was lost: hung" }),
    });
    expect(JSON.parse(store.text!)).toMatchObject({ lost: { [KEY]: ["wrong"] }, trying: [], choices: {} });
    const next = await open(store);
    await next.run(racing(variants));
    expect(next.told[0]!.passedOver).toEqual([`${KEY}: "wrong" is passed over, because the device was lost when it was tried`]);
    expect(next.device.tuner!.results.get(KEY)).toMatchObject({
      chosen: "fast",
      rejected: { wrong: "the device was lost when it was tried" },
    });
    expect(next.fake.dispatched.some(({ code }) => costOf(code) === 5)).toBe(false);
  });

  it("none for a device that is disposed of meanwhile, which ends it all", async () => {
    const store = memory();
    const race = await open(store, {}, { after: ({ code }) => void (costOf(code) === 5 && race.device.dispose()) });
    await expect(race.run(racing(variants))).rejects.toMatchObject({
      code: "E_DISPOSED",
      message: "this device was disposed; make another",
    });
    const { lost, trying } = JSON.parse(store.text!);
    expect({ lost, trying }).toEqual({ lost: {}, trying: [] });
  });

  it("none for a device that its owner destroyed", async () => {
    const store = memory();
    const dying: FakeOptions = { after: ({ code }) => void (costOf(code) === 5 && race.fake.destroy()) };
    const race = await open(store, {}, dying);
    await expect(race.run(racing(variants))).rejects.toMatchObject({
      code: "E_DEVICE_LOST",
      message: "the GPU device was lost: the device was destroyed",
    });
    await new Promise((resolve) => setTimeout(resolve));
    const { lost, trying } = JSON.parse(store.text!);
    expect({ lost, trying }).toEqual({ lost: {}, trying: [] });
  });
});

describe("the tuner remembers", () => {
  const variants = [taking("slow", 100), taking("fast", 50)];

  it("what it chose, for every later device, and tunes nothing that is settled or known", async () => {
    const store = memory();
    const first = await open(store);
    await first.run(racing(variants));
    expect(first.told.map(({ key, done, of }) => [key, done, of])).toEqual([
      [KEY, 0, 1],
      ["", 1, 1],
    ]);
    expect(first.told[1]!.left).toBeLessThan(first.told[0]!.left);
    await first.run(racing(variants));
    const second = await open(store);
    expect((await second.run(racing(variants))).get(KEY)).toBe("fast");
    expect([first.told.length, second.told.length, second.device.tuner!.milliseconds]).toEqual([2, 0, 0]);
    const settled = await open(memory());
    const plan = await settled.device.record(
      "plan",
      (r) => {
        const [x, y] = [r.tensor({ name: "x", shape: [COUNT] }), r.tensor({ name: "y", shape: [COUNT] })];
        r.dispatch(racing(variants), { x, y }, { count: COUNT });
      },
      { choices: new Map([[KEY, "slow"]]) },
    );
    expect([plan.choices.get(KEY), settled.told.length]).toEqual(["slow", 0]);
  });

  it("less than what a plan is given: a resumed run takes its checkpoint's", async () => {
    const store = memory();
    await (await open(store)).run(racing(variants));
    const { device } = await open(store);
    const build = (r: Recorder): void => {
      const [x, y] = [r.tensor({ name: "x", shape: [COUNT] }), r.tensor({ name: "y", shape: [COUNT] })];
      r.dispatch(racing(variants), { x, y }, { count: COUNT });
    };
    expect((await device.record("plan", build)).choices.get(KEY)).toBe("fast");
    expect((await device.record("plan", build, { choices: new Map([[KEY, "slow"]]) })).choices.get(KEY)).toBe("slow");
  });

  it("nothing that cannot run: sizes that round up to the same may differ in what they allow", async () => {
    const { device, fake } = await open(memory(), { tuning: "off" });
    const some = racing([...variants, taking("faster", 10, { supports: ({ count }) => count! <= COUNT })]);
    const choices = new Map([[KEY, "faster"]]);
    const build = (r: Recorder): void => {
      const [x, y] = [r.tensor({ name: "x", shape: [128] }), r.tensor({ name: "y", shape: [128] })];
      for (const count of [COUNT, 120]) r.dispatch(some, { x, y }, { count });
    };
    await (await device.record("plan", build, { choices })).run();
    expect(fake.dispatched.map(({ code, params }) => [params.count, costOf(code)])).toEqual([
      [COUNT, 10],
      [120, 100],
    ]);
  });

  it("what it found last where the store has another", async () => {
    const store = memory();
    await (await open(store)).run(racing(variants));
    const changed = [taking("slow", 100), taking("fast", 200)];
    await (await open(store, { tuning: "again" })).run(racing(changed));
    const next = await open(store);
    expect((await next.run(racing(changed))).get(KEY)).toBe("slow");
    expect(next.told).toEqual([]);
    const third = [taking("slow", 100), taking("fast", 10)];
    await (await open(store)).run(racing(third));
    const last = await open(store);
    expect((await last.run(racing(third))).get(KEY)).toBe("fast");
    expect(last.told).toEqual([]);
  });

  it("nothing when it is to tune again, and nothing of other shaders", async () => {
    const store = memory();
    await (await open(store)).run(racing(variants));
    const again = await open(store, { tuning: "again" });
    await again.run(racing(variants));
    expect(again.told).toHaveLength(2);
    const changed = await open(store);
    await changed.run(racing([taking("slow", 100), taking("fast", 200)]));
    expect(changed.device.tuner!.results.get(KEY)!.chosen).toBe("slow");
    // Also in a plan that is too small to tune.
    const small = await open(store);
    expect((await small.run(racing(variants, 1))).get(KEY)).toBe("");
    expect([small.device.tuner!.results.size, small.told.length]).toEqual([0, 0]);
  });

  it("no name that nothing bears here: a remembered one is found out anew, a checkpoint's gives way to the preferred one", async () => {
    const store = memory();
    await (await open(store)).run(racing(variants));
    for (const chosen of ["faster", "toString"]) {
      const { sum: _, ...saved } = JSON.parse(store.text!);
      saved.choices[KEY].chosen = chosen;
      store.text = JSON.stringify({ ...saved, sum: hash(JSON.stringify(saved)) });
      const { device, run, told } = await open(store);
      expect((await run(racing(variants))).get(KEY)).toBe("fast");
      expect([device.tuner!.results.get(KEY)!.chosen, told.length]).toEqual(["fast", 2]);
    }
    const { device, fake } = await open(undefined, { tuning: "off" });
    const plan = await device.record(
      "plan",
      (r) => {
        const [x, y] = [r.tensor({ name: "x", shape: [COUNT] }), r.tensor({ name: "y", shape: [COUNT] })];
        r.dispatch(racing(variants), { x, y }, { count: COUNT });
      },
      { choices: new Map([[KEY, "faster"]]) },
    );
    await plan.run();
    expect([plan.choices.get(KEY), fake.dispatched.map(({ code }) => costOf(code))]).toEqual(["", [100]]);
  });

  it("to leave a choice alone that another process is trying just now, and says so", async () => {
    const store = memory();
    await (await open(store)).device.tuner!.family(async () => "software");
    const { sum: _, ...saved } = JSON.parse(store.text!);
    saved.trying = [{ key: KEY, candidate: "fast", at: Date.now(), by: "another" }];
    store.text = JSON.stringify({ ...saved, sum: hash(JSON.stringify(saved)) });
    const race = await open(store);
    expect((await race.run(racing(variants))).get(KEY)).toBe("");
    expect(race.told.map(({ key, done }) => [key, done])).toEqual([
      [KEY, 0],
      ["", 0],
    ]);
    expect(race.told[0]!.passedOver).toEqual([
      `${KEY}: not tuned now, because another program is trying it, or has just ended while it did`,
    ]);
  });
});

describe("the tuner's time", () => {
  const variants = [taking("slow", 1000), taking("fast", 500)];

  it("leaves no timer behind", async () => {
    const { device, run } = await open(undefined);
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      await run(racing(variants));
      expect([device.tuner!.results.size, vi.getTimerCount()]).toEqual([1, 0]);
    } finally {
      vi.useRealTimers();
    }
  });

  it("is all that it takes: a second choice keeps what is preferred, untold, where the first has used it up", async () => {
    const race = await open(memory(), { tuningMilliseconds: 5 });
    expect((await race.run(racing([taking("slow", 100_000), taking("fast", 50_000), taking("third", 50_000)]))).get(KEY)).toBe(
      "",
    );
    expect(race.device.tuner!.results.size).toBe(0);
    expect(race.told.at(-1)).toMatchObject({ key: "", done: 0, of: 1, left: 0 });
    const { length } = race.told;
    await race.run(racing(variants, 1e9, "other"));
    expect(race.told).toHaveLength(length);
    expect(race.device.memory()).toEqual({ buffers: 0, bytes: 0 });
  });

  it("is counted over all plans", async () => {
    const { device, run } = await open(memory());
    const begun = time;
    await run(racing(variants));
    const first = device.tuner!.milliseconds;
    // Each of the two is run four times, and three times or more in the race.
    expect(first).toBeGreaterThan(4 * 1.5 + 2 * 1.5);
    expect(first).toBeLessThan(time - begun);
    await run(racing([taking("slow", 10), taking("fast", 5)], 1e9, "other"));
    expect(device.tuner!.milliseconds).toBeGreaterThan(first);
    expect(device.tuner!.milliseconds).toBeLessThan(time - begun);
  });

  it("is not begun to be spent on candidates that those before them say will not be tried in time", async () => {
    // To enter takes four runs: 400 ms, 4 s, and 400 ms for each of the last two.
    const some = [100_000, 1_000_000, 100_001, 100_002].map((cost, i) => taking(`v${i}`, cost));
    for (const [tuningMilliseconds, chosen] of [
      [9500, "v0"],
      [8500, ""],
    ] as const) {
      const { fake, run } = await open(memory(), { tuningMilliseconds });
      expect((await run(racing(some))).get(KEY)).toBe(chosen);
      expect(fake.dispatched.some(({ code }) => costOf(code) > 100_000 && costOf(code) < 200_000)).toBe(chosen !== "");
    }
  });

  it("is up when it is, though what is being tried does not end", async () => {
    let isHung = false;
    const ends: number[] = [];
    const onTuning = ({ key, done }: TuningProgress): void => {
      if (key !== "") return;
      isHung = false;
      ends.push(done);
    };
    const { device, fake, run } = await open(
      memory(),
      { tuningMilliseconds: 50, onTuning },
      {
        after: ({ code }) => void (isHung ||= costOf(code) === 500),
        until: () => (isHung ? new Promise(() => {}) : Promise.resolve()),
      },
    );
    expect((await run(racing([taking("slow", 1000), taking("hung", 500)]))).get(KEY)).toBe("");
    expect([ends, device.tuner!.results.size]).toEqual([[0], 0]);
    expect(fake.dispatched.filter(({ code }) => costOf(code) === 500)).toHaveLength(1);
  });

  it("decides whether a plan is recorded anew: where something was chosen, or what was known is not to be any more", async () => {
    const store = memory();
    const recorded = async (race: Race, entry: Entry): Promise<[builds: number, choice: string | undefined]> => {
      let builds = 0;
      const plan = await race.device.record("plan", (r) => {
        builds++;
        const [x, y] = [r.tensor({ name: "x", shape: [COUNT] }), r.tensor({ name: "y", shape: [COUNT] })];
        r.dispatch(entry, { x, y }, { count: COUNT });
      });
      return [builds, plan.choices.get(KEY)];
    };
    const first = await open(store);
    expect(await recorded(first, racing(variants))).toEqual([2, "fast"]);
    expect(await recorded(first, racing(variants))).toEqual([1, "fast"]);
    // There is no time to choose among others than those that were known.
    const [slower, late] = [[taking("slow", 100_000), taking("fast", 50_000)], { tuningMilliseconds: 5 }];
    expect(await recorded(await open(store, late), racing(slower))).toEqual([2, ""]);
    expect(await recorded(await open(memory(), late), racing(slower))).toEqual([1, ""]);
  });

  it("is not begun for a signal that was aborted before", async () => {
    const { device, fake } = await open(memory());
    const recorder = new Recorder(device);
    const [x, y] = ["x", "y"].map((name) => recorder.tensor({ name, shape: [COUNT] })) as [Tensor, Tensor];
    recorder.dispatch(racing(variants), { x, y }, { count: COUNT });
    const reason = new Error("enough");
    await expect(device.tuner!.tune(recorder, new Map(), AbortSignal.abort(reason))).rejects.toBe(reason);
    expect(fake.dispatched).toEqual([]);
  });

  it("leaves no listener at a signal that outlives it", async () => {
    const { device } = await open(memory());
    const { signal } = new AbortController();
    await device.record(
      "plan",
      (r) => {
        const [x, y] = [r.tensor({ name: "x", shape: [COUNT] }), r.tensor({ name: "y", shape: [COUNT] })];
        r.dispatch(racing(variants), { x, y }, { count: COUNT });
      },
      { signal },
    );
    expect(device.tuner!.results.size).toBe(1);
    expect(getEventListeners(signal, "abort")).toEqual([]);
  });

  it("does not suffice by a clock that ticks too rarely, which is found out before anything is timed", async () => {
    vi.mocked(performance.now).mockImplementation(() => Math.floor((time += 1e-2)));
    for (const [tuningMilliseconds, size] of [
      [79, 0],
      [100_000, 1],
    ] as const) {
      const race = await open(memory(), { tuningMilliseconds });
      await race.run(racing(variants));
      expect(race.device.tuner!.results.size).toBe(size);
      // Checked and compared: both of the one that is preferred.
      if (size === 0) expect(race.fake.dispatched.map(({ code }) => costOf(code))).toEqual([1000, 1000]);
    }
  });

  it("does not suffice by a clock that stands, however much there is", async () => {
    const race = await open(memory(), { tuningMilliseconds: Infinity });
    const { now } = performance;
    // By no spy, which would take a while to be asked so often.
    performance.now = () => 1000;
    try {
      expect((await race.run(racing(variants))).get(KEY)).toBe("");
    } finally {
      performance.now = now;
    }
    expect([race.device.tuner!.results.size, race.fake.dispatched.length]).toEqual([0, 2]);
  });

  it("ends with its signal, by the signal's reason, and nothing is held against what was tried", async () => {
    const store = memory();
    const controller = new AbortController();
    const reason = new Error("enough");
    const race = await open(store, { onTuning: () => controller.abort(reason) });
    const tuning = race.device.record(
      "plan",
      (r) => {
        const [x, y] = [r.tensor({ name: "x", shape: [COUNT] }), r.tensor({ name: "y", shape: [COUNT] })];
        r.dispatch(racing(variants), { x, y }, { count: COUNT });
      },
      { signal: controller.signal },
    );
    await expect(tuning).rejects.toBe(reason);
    await race.device.tuner!.idle();
    expect(race.device.tuner!.results.size).toBe(0);
    expect(race.device.memory()).toEqual({ buffers: 0, bytes: 0 });
  });

  it("begins with a question that an adapter may fail at: its device is let go of then, and a caller's own left to the caller", async () => {
    for (const own of [true, false]) {
      const { gpuDevice, fake } = makeFakeDevice({
        info: { description: "Fast 9000" },
        after: () => void fake.require(false, "no barrier"),
      });
      const { limits, features, adapterInfo: info } = fake;
      const gpu = { requestAdapter: async () => ({ limits, features, info, requestDevice: async () => gpuDevice }) };
      const options = own ? { gpu: gpu as unknown as GPU } : { gpuDevice };
      await expect(openDevice({ ...options, tuningStore: memory() })).rejects.toThrow(/no barrier/);
      expect(fake.gone).toBe(own);
      expect(fake.buffers.filter(({ state }) => state !== "destroyed")).toEqual([]);
    }
  });

  it("begins with what kind of adapter it is: one whose barriers are dear is a software one, whatever its name", async () => {
    // 20,000 barriers and none.
    for (const [milliseconds, family] of [
      [4, "gpu"],
      [6, "software"],
    ] as const) {
      const cost: FakeOptions["cost"] = ({ name, params }) =>
        name === "probe.barrier" && params.count! > 0 ? milliseconds + 1 : 1;
      const { device } = await open(memory(), {}, { info: { description: "Fast 9000" }, cost });
      expect(device.family).toBe(family);
      expect(device.memory().bytes).toBe(0);
    }
  });
});

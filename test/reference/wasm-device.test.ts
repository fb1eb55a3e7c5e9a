// The WebAssembly device by itself: what it is called, what it runs by forms, and the scratch that it takes for them. The forms
// are in wasm.test.ts, its memory in wasm-heap.test.ts.
import { setFlagsFromString } from "node:v8";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { conv1d } from "../../src/kernels/conv1d.ts";
import { recordMatmul } from "../../src/kernels/matmul.ts";
import type { Entry } from "../../src/runtime/kernel.ts";
import { probe } from "../../src/runtime/probe.ts";
import type { Tensor } from "../../src/runtime/tensor.ts";
import { WasmDevice, type WasmOptions } from "../../src/runtime/wasm-device.ts";
import { WasmHeap } from "../../src/runtime/wasm-heap.ts";
import { compileModule, formName, scratchName } from "../../src/runtime/wasm-module.ts";
import { Crew, type Spawn } from "../../src/runtime/wasm-threads.ts";

// Of the Nodes that Gatewise runs on, 20 alone does not take it by itself.
beforeAll(() => setFlagsFromString("--experimental-wasm-relaxed-simd"));
afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

async function open(options: WasmOptions = {}): Promise<WasmDevice> {
  const device = await WasmDevice.open(options);
  if (typeof device === "string") throw new Error(device);
  return device;
}

const spawn: Spawn = async () => ({ terminate() {} });

it.each([
  [{}, "WebAssembly SIMD, relaxed, 1 thread"],
  [{ builds: ["plain"] }, "WebAssembly SIMD, 1 thread"],
  [{ builds: ["plain", "relaxed"] }, "WebAssembly SIMD, 1 thread"],
  [{ threads: 3 }, "WebAssembly SIMD, relaxed, 1 thread"],
  [{ threads: 3, spawn }, "WebAssembly SIMD, relaxed, 3 threads"],
  [{ threads: 1, spawn }, "WebAssembly SIMD, relaxed, 1 thread"],
] as const)("of %o is called %s", async (options, description) => {
  const device = await open(options);
  expect(device).toMatchObject({ description, kind: "wasm", family: "wasm", maxTensorBytes: 2 ** 32 });
  device.dispose();
});

describe("the module", () => {
  it("is none where there is no WebAssembly", async () => {
    vi.stubGlobal("WebAssembly", undefined);
    expect(await compileModule()).toBe("there is no WebAssembly here");
  });

  it("is none where a page's policy forbids it, whose reason is told", async () => {
    vi.spyOn(WebAssembly, "compile").mockRejectedValue(new Error("blocked by the policy"));
    expect(await compileModule()).toBe("WebAssembly is not allowed here (blocked by the policy)");
  });

  it("is the first of the builds that the engine takes", async () => {
    expect(await compileModule()).toMatchObject({ build: "relaxed" });
    vi.spyOn(WebAssembly, "validate").mockReturnValueOnce(false);
    expect(await compileModule()).toMatchObject({ build: "plain" });
  });
});

it("tensors hold numbers of their kind, and the largest that does not fit is named", async () => {
  const device = await open();
  const [x, whole] = [device.tensor({ name: "x", shape: [2] }), device.tensor({ name: "t", shape: [2], dtype: "u32" })];
  device.write(x, Float32Array.of(-0.5, 3));
  device.write(whole, Uint32Array.of(7, 0xffffffff));
  expect([await device.read(x), await device.read(whole)]).toEqual([Float32Array.of(-0.5, 3), Uint32Array.of(7, 0xffffffff)]);
  const record = device.record("large", (r) => [1, 3, 2].map((i) => r.tensor({ name: `part ${i}`, shape: [i * 2 ** 28] })));
  await expect(record).rejects.toMatchObject({
    code: "E_LIMIT",
    message: "part 3: 3221225472 bytes do not fit in memory; make the model or the batch smaller",
  });
  device.dispose();
});

it("a tensor that is freed gives its place to the next one", async () => {
  const device = await open();
  const [x] = ["x", "y"].map((name) => device.tensor({ name, shape: [64] })) as [Tensor, Tensor];
  const { byteOffset } = x.storage.array!;
  device.free(x);
  expect(x.storage.array).toBeUndefined();
  expect(device.tensor({ name: "z", shape: [64] }).storage.array!.byteOffset).toBe(byteOffset);
  device.dispose();
});

describe("forms", () => {
  it("have names of letters that their language takes", () => {
    expect(formName({ kernel: "gru-reset-before", name: "forward" })).toBe("gru_reset_before_forward");
    expect(scratchName({ kernel: "gru-reset-before" })).toBe("gru_reset_before_scratch");
  });

  it("compute on what lies at its place in what it shares", async () => {
    const device = await open();
    const names = ["before", "a", "b", "c"];
    const { parts } = device.flatTensors(
      "flat",
      names.map((name) => ({ name, shape: [2, 2] })),
    );
    const [, a, b, c] = parts as [Tensor, Tensor, Tensor, Tensor];
    const plan = await device.record("product and copy", (r) => {
      const matrix = (tensor: Tensor) => ({ tensor, rows: 2, columns: 2 });
      recordMatmul(r, "nn", matrix(a), matrix(b), matrix(c));
      r.dispatch(probe.copy, { x: c, y: parts[0]! }, { count: 2 });
    });
    await plan.run([
      [a, Float32Array.of(1, 2, 3, 4)],
      [b, Float32Array.of(5, 6, 7, 8)],
    ]);
    const product = Float32Array.of(19, 22, 43, 50);
    expect(await Promise.all(parts.map((part) => device.read(part)))).toEqual([
      product,
      Float32Array.of(1, 2, 3, 4),
      Float32Array.of(5, 6, 7, 8),
      product,
    ]);
    device.dispose();
  });

  it.each([
    [2, 125_000, true],
    [2, 124_999, false],
    [1, 125_000, false],
  ])("are shared by threads where it is worth waking them: %i, %i vectors copied: %s", async (threads, count, shared) => {
    const device = await open({ threads, spawn });
    const run = vi.spyOn(Crew.prototype, "run").mockImplementation((_name, _numbers, own) => own());
    const [x, y] = ["x", "y"].map((name) => device.tensor({ name, shape: [4 * count] })) as [Tensor, Tensor];
    device.write(x, new Float32Array(4 * count).fill(1));
    const plan = await device.record("copy", (r) => r.dispatch(probe.copy, { x, y }, { count }));
    await plan.run();
    const [from, to] = [x.storage.array!.byteOffset, y.storage.array!.byteOffset];
    expect(run.mock.calls.map(([name, numbers]) => [name, numbers])).toEqual(
      shared ? [["probe_copy", [from, to, count, 0, 0]]] : [],
    );
    // This thread's part: the first of two, or all.
    const copied = Array.from(await device.read(y)).filter((each) => each === 1);
    expect(copied.length).toBe(shared ? 2 * count : 4 * count);
    device.dispose();
  });
});

describe("scratch", () => {
  const entry = conv1d.forward as unknown as Entry;
  /** Parts of the memory that are taken while a convolution of W channels and K taps is recorded, and given back. */
  async function takenBy(device: WasmDevice, W: number, K: number, of: Entry = entry) {
    const { params, tensors: specs } = entry.cases()[0]!;
    const made: Record<string, Tensor> = {};
    for (const [name, spec] of Object.entries(specs)) made[name] = device.tensor({ name, ...spec, shape: [4096] });
    const [take, give] = [vi.spyOn(WasmHeap.prototype, "take"), vi.spyOn(WasmHeap.prototype, "give")];
    const plan = await device.record("convolution", (r) => r.dispatch(of, made, { ...params, B: 1, W, K, t: 0, count: 1 }));
    const taken = take.mock.calls.flatMap(([sizes]) => sizes);
    const given = give.mock.calls.length;
    take.mockRestore();
    give.mockRestore();
    return { plan, taken, given };
  }
  // A row of channels for each tap and the bias, in float32.
  const bytes = (W: number, K: number): number => 4 * W * (K + 1);

  it.each([1, 3])("is taken once for all plans, as much as the neediest wants, for each of %i threads", async (threads) => {
    const device = await open({ threads, spawn });
    expect(await takenBy(device, 8, 4)).toMatchObject({ taken: [threads * bytes(8, 4)], given: 0 });
    expect(await takenBy(device, 8, 4)).toMatchObject({ taken: [], given: 0 });
    expect(await takenBy(device, 4, 4)).toMatchObject({ taken: [], given: 0 });
    expect(await takenBy(device, 16, 4)).toMatchObject({ taken: [threads * bytes(16, 4)], given: 1 });
    device.dispose();
  });

  it("that does not fit is said to be its kernel's, and what was there stays", async () => {
    const device = await open();
    await takenBy(device, 8, 4);
    const take = vi.spyOn(WasmHeap.prototype, "take").mockImplementation((sizes) => (sizes.length === 0 ? [] : undefined));
    const { params, tensors: specs } = entry.cases()[0]!;
    const tensors = Object.fromEntries(Object.keys(specs).map((name) => [name, {} as Tensor]));
    const record = device.record("large", (r) => r.dispatch(entry, tensors, { ...params, B: 1, W: 64, K: 4 }));
    await expect(record).rejects.toMatchObject({
      code: "E_LIMIT",
      message: `scratch of conv1d: ${bytes(64, 4)} bytes do not fit in memory; make the model or the batch smaller`,
    });
    take.mockRestore();
    expect(await takenBy(device, 8, 4)).toMatchObject({ taken: [], given: 0 });
    device.dispose();
  });

  it("is what forms write to: an entry that has one is never computed by its reference", async () => {
    const device = await open();
    const reference = vi.fn();
    const { plan } = await takenBy(device, 8, 4, { ...entry, reference });
    await plan.run();
    expect(reference).not.toHaveBeenCalled();
    const other = await takenBy(device, 8, 4, { ...entry, kernel: "unknown", reference });
    await other.plan.run();
    expect([reference.mock.calls.length, other.taken]).toEqual([1, []]);
    device.dispose();
  });
});

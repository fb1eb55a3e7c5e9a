// What opening a device asks for, what it says where there is none, and which one stands in.
import { EventEmitter } from "node:events";
import { afterEach, describe, expect, it, vi } from "vitest";
import { GatewiseError, type ErrorCode } from "../../src/errors.ts";
import { openNodeDevice } from "../../src/runtime/node.ts";
import { openDevice, openWasmDevice, whyNotHere, type OpenDeviceOptions } from "../../src/runtime/open.ts";
import type { Spawn } from "../../src/runtime/wasm-threads.ts";
import { makeFakeAdapter, makeFakeDevice } from "./fake-gpu.ts";

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

const OTHER = 'or open a device without a GPU with { prefer: "auto" }';
const open = (requestAdapter: () => Promise<unknown>, options: OpenDeviceOptions = {}) =>
  openDevice({ gpu: { requestAdapter } as unknown as GPU, prefer: "webgpu", tuning: "off", ...options });
const isRefused = (code: ErrorCode, message: string) => expect.objectContaining({ code, message });

describe("where there is no adapter or no device, what is said", () => {
  const advice = `update the graphics driver or enable hardware acceleration, ${OTHER}`;
  /** An adapter whose device is lost as it comes. */
  const losing = async (message: string): Promise<unknown> => ({
    ...makeFakeAdapter(),
    requestDevice: async (): Promise<GPUDevice> => {
      const { gpuDevice, fake } = makeFakeDevice();
      fake.lose("unknown", message);
      return gpuDevice;
    },
  });
  const cases: readonly (readonly [string, () => Promise<unknown>, ErrorCode, string])[] = [
    ["there is none", async () => null, "E_NO_WEBGPU", `WebGPU is here but offers no adapter: ${advice}`],
    [
      "asking fails, in several lines",
      () => Promise.reject(new Error("\n  the driver is busy\nat 0x1\n")),
      "E_NO_WEBGPU",
      `WebGPU is here but offers no adapter (the driver is busy): ${advice}`,
    ],
    [
      "what fails is no error",
      () => Promise.reject("busy"),
      "E_NO_WEBGPU",
      `WebGPU is here but offers no adapter ("busy"): ${advice}`,
    ],
    [
      "the device is lost as it comes",
      () => losing("the driver died"),
      "E_NO_WEBGPU",
      `WebGPU has an adapter, but it gives no device (the device was lost as it came: the driver died): ${advice}`,
    ],
    [
      "the device is lost without a word",
      () => losing(""),
      "E_NO_WEBGPU",
      `WebGPU has an adapter, but it gives no device (the device was lost as it came: unknown): ${advice}`,
    ],
    [
      "a limit is too high",
      async () => ({ ...makeFakeAdapter(), requestDevice: () => Promise.reject(new Error("Limit exceeded")) }),
      "E_LIMIT",
      `WebGPU has an adapter, but it gives no device (Limit exceeded): ${advice}`,
    ],
  ];
  it.each(cases)("if %s", async (_, requestAdapter, code, message) => {
    await expect(open(requestAdapter)).rejects.toEqual(isRefused(code, message));
  });

  it("if there is no WebGPU at all", async () => {
    await expect(openDevice({ prefer: "webgpu" })).rejects.toEqual(
      isRefused(
        "E_NO_WEBGPU",
        `no WebGPU here: use a browser that has it (Chrome or Edge 113+, Safari 26+, Firefox 141+), in Node import openNodeDevice from "gatewise/node", ${OTHER}`,
      ),
    );
  });

  it("to whom another device will do is the same without the advice to take it, and an error of another kind is none of it", () => {
    for (const code of ["E_NO_WEBGPU", "E_LIMIT", "E_DEVICE_LOST"] as const)
      expect(whyNotHere(new GatewiseError(code, `not today, ${OTHER}`))).toBe("not today");
    for (const error of [new GatewiseError("E_CONFIG", "no"), new Error("no"), "no"])
      expect(() => whyNotHere(error)).toThrow(error as Error);
  });
});

it("of an adapter is asked what it has of what is used: features, and the largest buffers", async () => {
  const adapter = makeFakeAdapter({
    features: ["subgroups", "texture-compression-bc", "timestamp-query"],
    limits: { maxBufferSize: 2 ** 30, maxStorageBufferBindingSize: 2 ** 29, maxComputeWorkgroupStorageSize: 65536 },
  });
  const request = vi.spyOn(adapter, "requestDevice");
  (await open(async () => adapter)).dispose();
  expect(request.mock.calls).toEqual([
    [
      {
        label: "gatewise",
        requiredFeatures: ["timestamp-query", "subgroups"],
        requiredLimits: { maxBufferSize: 2 ** 30, maxStorageBufferBindingSize: 2 ** 29 },
      },
    ],
  ]);
});

it.each([
  [{ threads: 0 }, "openDevice: threads must be an integer from 1 on, got 0"],
  [{ threads: 1.5 }, "openDevice: threads must be an integer from 1 on, got 1.5"],
  [{ threads: "2" }, 'openDevice: threads must be an integer from 1 on, got "2"'],
  [{ worker: "worker.js" }, 'openDevice: worker must be a function that makes a Worker, got "worker.js"'],
  [{ simd: "fast" }, 'openDevice: simd must be one of "relaxed", "plain", "wide", got "fast"'],
  [{ openMilliseconds: Number.NaN }, "openDevice: openMilliseconds must be a number above 0, got NaN"],
  [{ treads: 2 }, 'openDevice: unknown option "treads"; did you mean "threads"?'],
  [{ gpuDevice: { createBuffer() {} } }, /^openDevice: gpuDevice must be a GPUDevice, got /],
])("%j is E_CONFIG", async (options, message) => {
  const opening = openDevice(options as OpenDeviceOptions);
  await expect(opening).rejects.toMatchObject({ code: "E_CONFIG" });
  await expect(opening).rejects.toThrow(message);
});

it("the CPU device that is asked for is of float32, unless it is to be of float64", async () => {
  expect((await openDevice({ prefer: "cpu" })).description).toBe("CPU float32");
  expect((await openDevice({ prefer: "cpu", precision: "float64" })).description).toBe("CPU float64");
});

it.each([
  [undefined, "WebAssembly has no SIMD here"],
  ["no GPU", "no GPU; WebAssembly has no SIMD here"],
])("where WebAssembly cannot do it the CPU does, and says so after the reason %o", async (reason, fallbackReason) => {
  vi.spyOn(WebAssembly, "validate").mockReturnValue(false);
  expect(await openWasmDevice({}, reason)).toMatchObject({ description: "CPU float32", fallbackReason });
});

describe("WebAssembly's threads are as many as", () => {
  /** What Node has of its own; nothing, on a page. */
  const builtins = (modules: Readonly<Record<string, object>>): void =>
    void vi.spyOn(process, "getBuiltinModule").mockImplementation(((name: string) => modules[name]) as never);
  const threads = async (of: ReturnType<typeof openWasmDevice>): Promise<string> => {
    const device = await of;
    device.dispose();
    return /\d+ threads?$/.exec(device.description)![0];
  };

  it.each([
    [{ "node:os": { availableParallelism: () => 3 } }, { hardwareConcurrency: 5 }, "3 threads"],
    [{}, { hardwareConcurrency: 5 }, "5 threads"],
    [{}, { hardwareConcurrency: 64 }, "8 threads"],
    [{}, {}, "1 thread"],
    [{}, undefined, "1 thread"],
  ])("the cores that are known of: %o, %o: %s", async (modules, navigator, expected) => {
    builtins(modules);
    vi.stubGlobal("navigator", navigator);
    const spawn: Spawn = async () => ({ terminate() {} });
    expect(await threads(openWasmDevice({}, undefined, undefined, spawn))).toBe(expected);
  });

  it.each([
    [true, 2, "3 threads"],
    [false, 0, "1 thread"],
  ])("are asked for on a page, if that is isolated (%s), which starts %i workers", async (isolated, started, expected) => {
    let workers = 0;
    class PageWorker {
      onmessage: (() => void) | undefined;
      onerror = undefined;
      constructor(readonly address?: string | URL) {
        workers++;
      }
      postMessage(): void {
        queueMicrotask(() => this.onmessage!());
      }
      terminate(): void {}
    }
    builtins({});
    vi.stubGlobal("crossOriginIsolated", isolated);
    vi.stubGlobal("Worker", PageWorker);
    expect(await threads(openWasmDevice({ threads: 3 }))).toBe(expected);
    expect(workers).toBe(started);
    // By the page's own workers, where it makes some.
    const made: PageWorker[] = [];
    const worker = (): PageWorker => (made.push(new PageWorker()), made.at(-1)!);
    expect(await threads(openWasmDevice({ threads: 3, worker }))).toBe(expected);
    expect([made.length, workers]).toEqual([started, 2 * started]);
  });

  it("one where an isolated page has no workers", async () => {
    builtins({});
    vi.stubGlobal("crossOriginIsolated", true);
    expect(await threads(openWasmDevice({ threads: 3 }))).toBe("1 thread");
  });

  it("are asked for in Node, or one, where Node starts none", async () => {
    expect(await threads(openNodeDevice({ prefer: "wasm", threads: 2 }))).toBe("2 threads");
    class FailingWorker extends EventEmitter {
      constructor() {
        super();
        setTimeout(() => this.emit("error", new Error("no more threads")));
      }
    }
    builtins({ "node:worker_threads": { Worker: FailingWorker } });
    expect(await threads(openNodeDevice({ prefer: "wasm", threads: 2 }))).toBe("1 thread");
  });
});

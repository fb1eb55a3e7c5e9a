// A device that does not come, comes late, or is not what it should be: what openDevice makes of it.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { NEEDED_LIMITS } from "../../src/runtime/adapter.ts";
import type { Device } from "../../src/runtime/device.ts";
import { openDevice, type OpenDeviceOptions } from "../../src/runtime/open.ts";
import { testAdapter } from "./device.ts";

type Adapters = (asked: GPURequestAdapterOptions, times: number) => Promise<GPUAdapter | null>;

/** A `navigator.gpu` of the test's own, and what it was asked for. */
function gpuOf(adapters: Adapters): { gpu: GPU; asked: GPURequestAdapterOptions[] } {
  const asked: GPURequestAdapterOptions[] = [];
  const requestAdapter = (options: GPURequestAdapterOptions): Promise<GPUAdapter | null> => {
    asked.push(options);
    return adapters(options, asked.length);
  };
  return { gpu: { requestAdapter } as GPU, asked };
}

/** An adapter with some of its members replaced. */
async function adapterWith(members: Readonly<Record<string, unknown>>): Promise<GPUAdapter> {
  const adapter = await testAdapter();
  for (const [name, value] of Object.entries(members)) Object.defineProperty(adapter, name, { value });
  return adapter;
}

const failure = new DOMException("the driver is not well", "OperationError");
const never = new Promise<never>(() => {});
const open = (gpu: GPU, options: OpenDeviceOptions = {}): Promise<Device> =>
  openDevice({ gpu, prefer: "webgpu", tuning: "off", ...options });

/** Opens a device and asks it for something. */
async function works(device: Device): Promise<void> {
  const x = device.tensor({ name: "x", shape: [4] });
  device.write(x, Float32Array.of(1, 2, 3, 4));
  expect(Array.from(await device.read(x))).toEqual([1, 2, 3, 4]);
  device.dispose();
}

let usedUp: GPUAdapter;
let gpuDevice: GPUDevice;
beforeAll(async () => {
  usedUp = await testAdapter();
  (await usedUp.requestDevice()).destroy();
  gpuDevice = await (await testAdapter()).requestDevice();
});
afterAll(() => gpuDevice.destroy());

describe("one more try is enough where", () => {
  const once: readonly (readonly [string, Adapters])[] = [
    ["there is no adapter the first time", async (_, times) => (times === 1 ? null : testAdapter())],
    ["there is none for high performance", async ({ powerPreference }) => (powerPreference ? null : testAdapter())],
    ["asking fails the first time", (_, times) => (times === 1 ? Promise.reject(failure) : testAdapter())],
    ["the first adapter is used up", async (_, times) => (times === 1 ? usedUp : testAdapter())],
    [
      "an adapter refuses what it offers",
      async () => {
        const adapter = await testAdapter();
        const request = adapter.requestDevice.bind(adapter);
        const refusing = (wanted: GPUDeviceDescriptor = {}): Promise<GPUDevice> =>
          wanted.requiredFeatures || wanted.requiredLimits ? Promise.reject(new TypeError("not that one")) : request(wanted);
        Object.defineProperty(adapter, "requestDevice", { value: refusing });
        return adapter;
      },
    ],
    [
      "the first device is lost as it comes",
      async (_, times) => {
        const adapter = await testAdapter();
        const request = adapter.requestDevice.bind(adapter);
        const losing = async (wanted: GPUDeviceDescriptor): Promise<GPUDevice> => {
          const device = await request(wanted);
          device.destroy();
          await device.lost;
          return device;
        };
        if (times === 1) Object.defineProperty(adapter, "requestDevice", { value: losing });
        return adapter;
      },
    ],
  ];
  it.each(once)("%s", async (_, adapters) => {
    const { gpu, asked } = gpuOf(adapters);
    const device = await open(gpu);
    expect(device).toMatchObject({ kind: "webgpu", fallbackReason: undefined });
    await works(device);
    expect(asked).toEqual([{ powerPreference: "high-performance" }, {}]);
  });
});

const absent: readonly (readonly [string, Adapters, string, unknown])[] = [
  ["there is never an adapter", async () => null, "E_NO_WEBGPU", undefined],
  ["asking for one fails", () => Promise.reject(failure), "E_NO_WEBGPU", failure],
  [
    "asking for one throws",
    () => {
      throw failure;
    },
    "E_NO_WEBGPU",
    failure,
  ],
  ["every adapter is used up", async () => usedUp, "E_NO_WEBGPU", expect.anything()],
  ["no adapter gives a device", () => adapterWith({ requestDevice: () => Promise.reject(failure) }), "E_NO_WEBGPU", failure],
  [
    "no adapter's limits hold",
    () => adapterWith({ requestDevice: () => Promise.reject(new DOMException("limit too large", "OperationError")) }),
    "E_LIMIT",
    expect.objectContaining({ message: "limit too large" }),
  ],
  ["asking is never answered", () => never, "E_NO_WEBGPU", undefined],
  ["asking for the device is never answered", () => adapterWith({ requestDevice: () => never }), "E_NO_WEBGPU", undefined],
];

describe.each(absent)("where %s,", (_, adapters, code, cause) => {
  it(`"webgpu" is refused with ${code} and its cause`, async () => {
    const refused: unknown = await open(gpuOf(adapters).gpu, { openMilliseconds: 60 }).catch((error: unknown) => error);
    expect(refused).toMatchObject({ name: "GatewiseError", code });
    expect((refused as Error).cause).toEqual(cause);
  });

  it('"auto" goes on to WebAssembly and says why in one line', async () => {
    const device = await open(gpuOf(adapters).gpu, { prefer: "auto", openMilliseconds: 60 });
    expect(device.kind).toBe("wasm");
    expect(device.fallbackReason).toMatch(/^WebGPU (is here|has an adapter)[^\n]+$/);
    await works(device);
  });
});

it('"auto", the default, takes an adapter of hardware, and WebAssembly before one of software, and says why', async () => {
  const adapter = await testAdapter();
  const named = (description: string): GPU =>
    gpuOf(async () => Object.defineProperty(adapter, "info", { value: { description }, configurable: true })).gpu;
  const software = await open(named("LLVMpipe 9000"), { prefer: undefined });
  const fallbackReason = "the only adapter is LLVMpipe 9000 (software) · WebGPU";
  expect(software).toMatchObject({ kind: "wasm", fallbackReason });
  await works(software);
});

it("a device that comes after the limit of time is let go of", async () => {
  let late: GPUDevice | undefined;
  const adapter = await testAdapter();
  const request = adapter.requestDevice.bind(adapter);
  const slow = async (): Promise<GPUDevice> => {
    await new Promise((resolve) => setTimeout(resolve, 150));
    return (late = await request());
  };
  Object.defineProperty(adapter, "requestDevice", { value: slow });
  await expect(open(gpuOf(async () => adapter).gpu, { openMilliseconds: 50 })).rejects.toThrow(/did not answer within 0.05 s/);
  await expect.poll(() => late).toBeDefined();
  expect((await late!.lost).reason).toBe("destroyed");
});

it("the wait ends when its signal is aborted, with the signal's reason", async () => {
  const abort = new AbortController();
  const opening = open(gpuOf(() => never).gpu, { signal: abort.signal });
  const reason = new Error("enough");
  abort.abort(reason);
  await expect(opening).rejects.toBe(reason);
  await expect(open(gpuOf(() => never).gpu, { signal: abort.signal })).rejects.toBe(reason);
});

describe("a device of the caller's own that is none is E_CONFIG:", () => {
  it.each([
    ["a promise", () => (async () => gpuDevice)(), /a promise; await it first/],
    ["an adapter", () => testAdapter().then((adapter) => ({ adapter })), /a GPUAdapter; pass await adapter.requestDevice\(\)/],
    ["navigator.gpu", () => ({ requestAdapter: () => null }), /a GPU; pass it as gpu/],
    ["null", () => null, /got null/],
    ["a word", () => "high-performance", /got "high-performance"/],
  ])("%s", async (name, make, message) => {
    const made = name === "an adapter" ? ((await make()) as { adapter: unknown }).adapter : make();
    const opening = openDevice({ gpuDevice: made as GPUDevice, tuning: "off" });
    await expect(opening).rejects.toMatchObject({ code: "E_CONFIG", message: expect.stringMatching(message) as string });
  });
});

it.each([
  [{ powerPreference: "fast" }, /powerPreference must be one of "low-power", "high-performance", got "fast"/],
  [{ prefer: "gpu" }, /prefer must be one of "auto", "webgpu", "wasm", "cpu", got "gpu"/],
  [{ precision: "f64" }, /precision/],
  [{ tuning: true }, /tuning/],
  [{ openMilliseconds: 0 }, /openMilliseconds/],
  [{ submitMilliseconds: "50" }, /submitMilliseconds/],
  [{ gpu: {} }, /gpu must be a GPU such as navigator.gpu/],
  [{ powerPreferance: "low-power" }, /did you mean "powerPreference"/],
])("openDevice(%j) is E_CONFIG", async (options, message) => {
  const opening = openDevice(options as OpenDeviceOptions);
  await expect(opening).rejects.toMatchObject({ code: "E_CONFIG", message: expect.stringMatching(message) as string });
});

describe("limits", () => {
  it.each(Object.entries(NEEDED_LIMITS))("a device with less than the %s that kernels take is E_LIMIT", async (name, needed) => {
    const device = await (await testAdapter()).requestDevice();
    const { limits } = device;
    const less = new Proxy(limits, {
      get: (_, key) => (key === name ? needed - 1 : (limits as unknown as Record<string | symbol, unknown>)[key]),
    });
    Object.defineProperty(device, "limits", { value: less });
    const opening = openDevice({ gpuDevice: device, tuning: "off" });
    await expect(opening).rejects.toMatchObject({ code: "E_LIMIT" });
    await expect(opening).rejects.toThrow(new RegExp(`${name} ${needed - 1}, Gatewise needs ${needed}`));
    // It is the caller's, and stays as it was.
    expect(await Promise.race([device.lost, "there"])).toBe("there");
    device.destroy();
  });

  it("are those that WebGPU guarantees, so that its plain devices pass", async () => {
    const device = await openDevice({ gpuDevice, tuning: "off" });
    await works(device);
  });
});

describe("an adapter that says nothing about itself is an unknown one", () => {
  it.each([
    ["without info, as before Chrome 127", { info: undefined }],
    ["with masked names", { info: { vendor: "", architecture: "", device: "", description: "" } }],
    ["with the older way to ask that fails", { info: undefined, requestAdapterInfo: () => Promise.reject(failure) }],
  ])("%s", async (_, members) => {
    const device = await open(gpuOf(() => adapterWith(members)).gpu);
    expect(device.description).toBe("unknown adapter · WebGPU");
    await works(device);
  });

  it("or one whose name comes in the older way", async () => {
    const requestAdapterInfo = async () => ({ vendor: "acme", architecture: "one" });
    const device = await open(gpuOf(() => adapterWith({ info: undefined, requestAdapterInfo })).gpu);
    expect(device.description).toBe("acme one · WebGPU");
    device.dispose();
  });

  it("and so is that of a device without adapterInfo, as before Chrome 132", async () => {
    const device = await (await testAdapter()).requestDevice();
    Object.defineProperty(device, "adapterInfo", { value: undefined });
    const opened = await openDevice({ gpuDevice: device, tuning: "off" });
    expect(opened.description).toBe("unknown adapter · WebGPU");
    await works(opened);
    device.destroy();
  });
});

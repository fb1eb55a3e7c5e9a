// What tuning remembers belongs to one adapter: on another one nothing of it is taken.
import { describe, expect, it, vi } from "vitest";
import { openDevice } from "../../src/runtime/open.ts";
import type { TuningStore } from "../../src/runtime/tuning-memory.ts";

const INFO = {
  vendor: "acme",
  architecture: "a1",
  device: "d1",
  description: "llvmpipe 1",
  subgroupMinSize: 8,
  subgroupMaxSize: 8,
};
const LIMITS = {
  maxComputeInvocationsPerWorkgroup: 256,
  maxComputeWorkgroupStorageSize: 16384,
  maxStorageBufferBindingSize: 1 << 27,
  maxBufferSize: 1 << 28,
  maxStorageBuffersPerShaderStage: 8,
  maxComputeWorkgroupsPerDimension: 65535,
  maxComputeWorkgroupSizeX: 256,
  maxComputeWorkgroupSizeY: 256,
  maxComputeWorkgroupSizeZ: 64,
  maxUniformBufferBindingSize: 65536,
  maxDynamicUniformBuffersPerPipelineLayout: 8,
  minUniformBufferOffsetAlignment: 256,
};

/** A GPUDevice that nothing is run on. */
const makeGpuDevice = (info: object, limits: object, features: readonly string[]): GPUDevice =>
  ({
    adapterInfo: { ...INFO, ...info },
    limits: { ...LIMITS, ...limits },
    features: new Set(features),
    queue: {},
    lost: new Promise(() => {}),
    createBuffer: () => {},
    pushErrorScope: () => {},
    addEventListener: () => {},
    removeEventListener: () => {},
  }) as unknown as GPUDevice;

/** The names under which devices with these properties keep what they found, and what they find of others. */
async function remembered(
  store: TuningStore,
  info: object = {},
  limits: object = {},
  features: readonly string[] = ["subgroups"],
  engine?: string,
): Promise<{ found: string; asked: boolean }> {
  const gpuDevice = makeGpuDevice(info, limits, features);
  const device = await openDevice({ gpuDevice, tuning: "on", tuningStore: store, ...(engine && { engine }) });
  let asked = false;
  const found = await device.tuner!.family(async () => {
    asked = true;
    return "software";
  });
  device.dispose();
  return { found, asked };
}

const memory = (): TuningStore & { texts: Map<string, string> } => {
  const texts = new Map<string, string>();
  return { texts, load: (name) => texts.get(name), save: (name, text) => void texts.set(name, text) };
};

describe("what was found on one adapter is remembered", () => {
  it("for the same one", async () => {
    const store = memory();
    expect(await remembered(store)).toEqual({ found: "software", asked: true });
    expect(await remembered(store)).toEqual({ found: "software", asked: false });
    expect(store.texts.size).toBe(1);
  });

  it("also where nothing is said of it, but not where it is to be found again", async () => {
    for (const [options, times] of [
      [{}, 0],
      [{ tuning: "on" }, 0],
      [{ tuning: "again" }, 1],
    ] as const) {
      const store = memory();
      await remembered(store);
      const gpuDevice = makeGpuDevice({}, {}, ["subgroups"]);
      const device = await openDevice({ gpuDevice, tuningStore: store, ...options });
      const find = vi.fn(async () => "software" as const);
      await device.tuner!.family(find);
      expect(find).toHaveBeenCalledTimes(times);
      device.dispose();
    }
  });

  for (const [what, info, limits, features] of [
    ["vendor", { vendor: "other" }],
    ["architecture", { architecture: "a2" }],
    ["device", { device: "d2" }],
    ["description", { description: "llvmpipe 2" }],
    ["size of subgroups", { subgroupMinSize: 4, subgroupMaxSize: 4 }],
    ["invocations a workgroup", {}, { maxComputeInvocationsPerWorkgroup: 1024 }],
    ["workgroup memory", {}, { maxComputeWorkgroupStorageSize: 32768 }],
    ["size of bindings", {}, { maxStorageBufferBindingSize: 1 << 30 }],
    ["half precision", {}, {}, ["subgroups", "shader-f16"]],
    ["subgroups", {}, {}, []],
  ] as const) {
    it(`not for one with another ${what}`, async () => {
      const store = memory();
      await remembered(store);
      expect((await remembered(store, info, limits, features)).asked).toBe(true);
      expect(store.texts.size).toBe(2);
      // Nor has it replaced what was there.
      expect((await remembered(store)).asked).toBe(false);
    });
  }

  it("not for one that another engine drives: the one that is named, else the browser", async () => {
    const store = memory();
    const askedBy = async (browser: string, engine?: string): Promise<boolean> => {
      vi.stubGlobal("navigator", { userAgent: browser });
      const { asked } = await remembered(store, {}, {}, undefined, engine);
      vi.unstubAllGlobals();
      return asked;
    };
    expect([await askedBy("a", "Dawn 1"), await askedBy("a", "Dawn 2"), await askedBy("a"), await askedBy("b")]).not.toContain(
      false,
    );
    expect([await askedBy("b", "Dawn 1"), await askedBy("b")]).not.toContain(true);
  });

  it("not for one whose file has the same name by chance", async () => {
    const [mine, theirs] = [memory(), memory()];
    await remembered(mine);
    await remembered(theirs, { vendor: "other" });
    const shared: TuningStore = { load: () => [...theirs.texts.values()][0], save: () => {} };
    expect((await remembered(shared)).asked).toBe(true);
  });
});

// Node's own: where the cache lies, that a folder which cannot be made is no reason to stop, and whose GPU it opens.
import fs, { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { create } from "webgpu";
import { cacheFolder, checkForHardware, fileStore, nodeEngine, openNodeDevice } from "../../src/runtime/node.ts";
import { INFO, makeFakeAdapter } from "./fake-gpu.ts";

vi.mock("webgpu", () => ({ create: vi.fn() }));
afterEach(() => void vi.unstubAllEnvs());

/** A machine that runs Linux and has these in /dev, as long as `work` takes. */
async function onLinux(devices: readonly string[], work: () => Promise<void>): Promise<void> {
  const files = vi.spyOn(fs, "readdirSync").mockReturnValue(devices as never);
  const platform = vi.spyOn(process, "platform", "get").mockReturnValue("linux");
  syncBuiltinESMExports();
  try {
    await work();
  } finally {
    files.mockRestore();
    platform.mockRestore();
    syncBuiltinESMExports();
  }
}

const own = join(homedir(), ".cache", "gatewise");
it.each([
  ["where GATEWISE_CACHE says, before all", { GATEWISE_CACHE: "/a", XDG_CACHE_HOME: "/b", LOCALAPPDATA: "/c" }, "/a"],
  [
    "in the cache folder that Linux names",
    { GATEWISE_CACHE: "", XDG_CACHE_HOME: "/b", LOCALAPPDATA: "/c" },
    join("/b", "gatewise"),
  ],
  ["in the one that Windows names", { GATEWISE_CACHE: "", XDG_CACHE_HOME: "", LOCALAPPDATA: "/c" }, join("/c", "gatewise")],
  ["else in the home", { GATEWISE_CACHE: "", XDG_CACHE_HOME: "", LOCALAPPDATA: "" }, own],
])("the cache lies %s", (_, environment, folder) => {
  for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
  expect(cacheFolder()).toBe(folder);
});

it("a store in a folder that cannot be made reads nothing and fails at nothing", async () => {
  const store = fileStore("/dev/null/folder");
  await store.save("tuning", "text");
  await store.update("tuning", () => "text");
  expect(await store.load("tuning")).toBeUndefined();
});

describe("a store in a folder", () => {
  let folder: string;
  beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), "gatewise-cache-"))));
  afterEach(() => rmSync(folder, { recursive: true }));

  it("keeps each text in a file of its name, in a folder that it makes, and nothing beside them", async () => {
    const inner = join(folder, "a", "b");
    const store = fileStore(inner);
    expect(await store.load("one")).toBeUndefined();
    await store.save("one", "first");
    await store.save("two", "second");
    await store.update("one", (text) => `${text}, changed`);
    expect(readdirSync(inner)).toEqual(["one.json", "two.json"]);
    expect(readFileSync(join(inner, "one.json"), "utf8")).toBe("first, changed");
    expect(await fileStore(inner).load("two")).toBe("second");
  });

  it("has none of a change that fails, and no lock that the next one would wait for", async () => {
    const store = fileStore(folder);
    await store.save("tuning", "before");
    await store.update("tuning", () => {
      throw new Error("no text came of it");
    });
    expect(await store.load("tuning")).toBe("before");
    expect(readdirSync(folder)).toEqual(["tuning.json"]);
    await store.update("tuning", (text) => `${text}, and after`);
    expect(await store.load("tuning")).toBe("before, and after");
  });

  it("loses no change of those that are made at once, and has none of a name that is no file's", async () => {
    const stores = [fileStore(folder), fileStore(folder)];
    await stores[0]!.save("no/file", "text");
    await Promise.all(
      Array.from({ length: 30 }, (_, i) => stores[i % 2]!.update("tuning", (text) => (text ?? "") + String.fromCharCode(97 + i))),
    );
    expect([...(await stores[0]!.load("tuning"))!].sort().join("")).toBe("abcdefghijklmnopqrstuvwxyz{|}~");
    expect(readdirSync(folder)).toEqual(["tuning.json"]);
  });

  /** A lock that somebody made so many milliseconds ago. */
  const lock = (name: string, age: number): string => {
    const path = join(folder, name);
    writeFileSync(path, "");
    const made = (Date.now() - age) / 1000;
    utimesSync(path, made, made);
    return path;
  };
  const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

  it.each([
    ["another's lock is there", ["tuning.json.lock"], 0],
    ["another's lock is there for half a second", ["tuning.json.lock"], 500],
    ["another is breaking a lock that was left behind", ["tuning.json.lock.old", "tuning.json.lock"], 0],
  ])("waits while %s", async (_, names, age) => {
    const [first, second] = names.map((name, i) => lock(name, i === 1 ? 60_000 : age));
    let saved = false;
    const saving = Promise.resolve(fileStore(folder).save("tuning", "text")).then(() => (saved = true));
    await pause(60);
    expect([saved, existsSync(join(folder, "tuning.json")), existsSync(first!)]).toEqual([false, false, true]);
    if (second) expect(existsSync(second)).toBe(true);
    rmSync(first!);
    await saving;
    expect(readdirSync(folder)).toEqual(["tuning.json"]);
  });

  it.each([
    ["of four seconds ago", 4000],
    ["of a clock that has been set back", -60_000],
  ])("breaks a lock %s, which nobody can hold any more", async (_, age) => {
    lock("tuning.json.lock", age);
    await Promise.all(["a", "b", "c"].map((each) => fileStore(folder).update("tuning", (text) => (text ?? "") + each)));
    expect([...(await fileStore(folder).load("tuning"))!].sort()).toEqual(["a", "b", "c"]);
    expect(readdirSync(folder)).toEqual(["tuning.json"]);
  });
});

describe("Node without the package that brings WebGPU", () => {
  const cause = new Error("Cannot find package");
  beforeEach(() => {
    // Where Linux shows no GPU nobody looks for the package.
    vi.spyOn(process, "platform", "get").mockReturnValue("darwin");
    Reflect.deleteProperty(globalThis, "__gatewiseGpu");
    vi.mocked(create).mockImplementation(() => {
      throw cause;
    });
  });

  afterEach(() => void vi.restoreAllMocks());

  it("says how to get it to whoever asks for WebGPU, with the cause", async () => {
    await expect(openNodeDevice({ prefer: "webgpu" })).rejects.toMatchObject({
      code: "E_NO_WEBGPU",
      message:
        'Node has no WebGPU of its own, and the package "webgpu" cannot be loaded: run "npm install webgpu", or open a device without a GPU with { prefer: "auto" }',
      cause,
    });
  });

  it.each([
    [{}, "wasm", /^WebAssembly SIMD/],
    [{ prefer: "auto", precision: "float64" }, "cpu", /^CPU float64$/],
  ] as const)("opens for %j a device that says why it stands in", (options, kind, description) =>
    onLinux(["dri"], async () => {
      const device = await openNodeDevice(options);
      expect(device).toMatchObject({
        kind,
        description: expect.stringMatching(description) as string,
        fallbackReason: 'Node has no WebGPU of its own, and the package "webgpu" cannot be loaded: run "npm install webgpu"',
      });
      device.dispose();
    }),
  );

  it.each([
    [{ prefer: "cpu", precision: "float64" }, "CPU float64"],
    [{ precision: "float64" }, "CPU float64"],
    [{ prefer: "wasm", threads: 1, simd: "plain" }, "WebAssembly SIMD, 1 thread"],
  ] as const)("opens for %j what was asked for, and does not look for WebGPU", async (options, description) => {
    vi.mocked(create).mockClear();
    const device = await openNodeDevice(options);
    expect(device).toMatchObject({ description, fallbackReason: undefined });
    expect(create).not.toHaveBeenCalled();
    device.dispose();
  });
});

it("what drives adapters in Node is named with its version", () => {
  const { version } = JSON.parse(readFileSync("node_modules/webgpu/package.json", "utf8")) as { version: string };
  expect(nodeEngine()).toBe(`npm webgpu ${version} (Dawn)`);
});

it("Dawn is made once and kept, since collected it would take Node down with it", async () => {
  const requestAdapter = async (): Promise<GPUAdapter> => makeFakeAdapter();
  vi.mocked(create).mockImplementation(() => ({ requestAdapter }) as unknown as GPU);
  vi.mocked(create).mockClear();
  for (let opening = 0; opening < 2; opening++) (await openNodeDevice({ prefer: "webgpu", tuning: "off" })).dispose();
  expect(vi.mocked(create).mock.calls).toEqual([[[]]]);
});

it("a store and an engine of the caller's go before Node's own", async () => {
  const gpu = { requestAdapter: async () => makeFakeAdapter() } as unknown as GPU;
  (globalThis as { __gatewiseGpu?: GPU }).__gatewiseGpu = gpu;
  const texts: string[] = [];
  const tuningStore = { load: () => undefined, save: (_: string, text: string) => void texts.push(text) };
  const device = await openNodeDevice({ prefer: "webgpu", tuningStore, engine: "an engine" });
  await device.tuner!.family(async () => "software");
  expect(JSON.parse(JSON.parse(texts[0]!).adapter)[0]).toBe("an engine");
  device.dispose();
});

it("a GPU of the caller's is the one that is opened", async () => {
  const gpu = { requestAdapter: async () => makeFakeAdapter() } as unknown as GPU;
  const device = await openNodeDevice({ gpu, prefer: "webgpu", tuning: "off" });
  expect(device.description).toContain(INFO.description);
  device.dispose();
});

it.each(["dri", "nvidia0", "nvidiactl", "kfd", "dxg", "mali0", "kgsl-3d0"])("a machine with /dev/%s may have a GPU", (name) => {
  expect(() => checkForHardware(["null", name, "tty1"])).not.toThrow();
});

it("a machine whose devices nobody may look at may have a GPU", () => expect(() => checkForHardware(undefined)).not.toThrow());

it("a machine that has no driver's file is asked for no adapter", async () => {
  expect(() => checkForHardware(["null", "drift", "loop-mali0", "tty1"])).toThrow(
    expect.objectContaining({ code: "E_NO_WEBGPU", message: expect.stringContaining("/dev has neither dri") }),
  );
  vi.mocked(create).mockClear();
  await onLinux([], async () => {
    const device = await openNodeDevice({ threads: 1 });
    expect(device.fallbackReason).toContain("Linux shows no GPU");
    expect(create).not.toHaveBeenCalled();
    device.dispose();
  });
});

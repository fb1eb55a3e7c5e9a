// Node's own: where the cache lies, that a folder which cannot be made is no reason to stop, and whose GPU it opens.
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, it, vi } from "vitest";
import { create } from "webgpu";
import { cacheFolder, fileStore, openNodeDevice } from "../../src/runtime/node.ts";
import { INFO, makeFakeAdapter } from "./fake-gpu.ts";

vi.mock("webgpu", () => ({ create: vi.fn() }));
afterEach(() => void vi.unstubAllEnvs());

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

it("a change that fails leaves the text as it was, and no lock that the next one would wait for", async () => {
  const folder = mkdtempSync(join(tmpdir(), "gatewise-cache-"));
  const store = fileStore(folder);
  await store.save("tuning", "before");
  await store.update("tuning", () => {
    throw new Error("no text came of it");
  });
  expect(await store.load("tuning")).toBe("before");
  expect(readdirSync(folder)).toEqual(["tuning.json"]);
  await store.update("tuning", (text) => `${text}, and after`);
  expect(await store.load("tuning")).toBe("before, and after");
  rmSync(folder, { recursive: true });
});

it("Dawn is made once and kept, since collected it would take Node down with it", async () => {
  const requestAdapter = async (): Promise<GPUAdapter> => makeFakeAdapter();
  vi.mocked(create).mockImplementation(() => ({ requestAdapter }) as unknown as GPU);
  for (let opening = 0; opening < 2; opening++) (await openNodeDevice({ prefer: "webgpu", tuning: "off" })).dispose();
  expect(create).toHaveBeenCalledOnce();
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

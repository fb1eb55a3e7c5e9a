// Node's own: where the cache lies, that a folder which cannot be made is no reason to stop, and whose GPU it opens.
import { homedir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, it, vi } from "vitest";
import { cacheFolder, fileStore, openNodeDevice } from "../../src/runtime/node.ts";
import { INFO, makeFakeAdapter } from "./fake-gpu.ts";

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

it("a GPU of the caller's is the one that is opened", async () => {
  const gpu = { requestAdapter: async () => makeFakeAdapter() } as unknown as GPU;
  const device = await openNodeDevice({ gpu, prefer: "webgpu", tuning: "off" });
  expect(device.description).toContain(INFO.description);
  device.dispose();
});

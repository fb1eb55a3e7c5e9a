// The threads of the WebAssembly device: what each is given, that all are waited for, and that none outlives its device.
import { resolveObjectURL } from "node:buffer";
import { createContext, runInContext } from "node:vm";
import { Worker } from "node:worker_threads";
import { main } from "assemblyscript/asc";
import { beforeAll, expect, test, vi } from "vitest";
import { openDevice, openWasmDevice } from "../../src/runtime/open.ts";
import { WasmDevice } from "../../src/runtime/wasm-device.ts";
import { Crew, spawnWorker, type Spawn } from "../../src/runtime/wasm-threads.ts";

/** What starts threads in Node, and promises that they end. */
function makeSpawn(): { readonly spawn: Spawn; readonly ends: Promise<unknown>[] } {
  const ends: Promise<unknown>[] = [];
  const spawn: Spawn = async (serve, workerData) => {
    const worker = new Worker(`(${serve})(require("node:worker_threads").workerData)`, { eval: true, workerData });
    ends.push(new Promise((resolve) => worker.once("exit", resolve)));
    return worker;
  };
  return { spawn, ends };
}

/** A form that says in its scratch what it was given; the later its part, the longer it takes. */
const MARK = `
  export function mark(mark: i32, scratch: usize, part: i32, parts: i32): void {
    let random: u32 = 1;
    for (let i = 0; i < part * 3_000_000; i++) random = random * 1664525 + 1013904223;
    store<i32>(scratch, mark);
    store<i32>(scratch, part, 4);
    store<i32>(scratch, parts, 8);
    store<u32>(scratch, random | 1, 12);
  }`;

async function compile(source: string): Promise<WebAssembly.Module> {
  let bytes: Uint8Array<ArrayBuffer> | undefined;
  const shared = ["--importMemory", "--sharedMemory", "--maximumMemory", "16", "--enable", "threads", "--runtime", "stub"];
  const { stderr } = await main(["form.ts", ...shared, "--outFile", "form.wasm"], {
    readFile: (name) => (name === "form.ts" ? source : null),
    writeFile: (_, contents) => void (bytes = Uint8Array.from(contents as Uint8Array)),
    listFiles: () => [],
  });
  if (!bytes) throw new Error(String(stderr));
  return WebAssembly.compile(bytes);
}

let module: WebAssembly.Module;
beforeAll(async () => void (module = await compile(MARK)));

test.each([2, 4])("of %i each does its own part in scratch of its own, and all have when a dispatch is over", async (parts) => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 16, shared: true });
  const { spawn, ends } = makeSpawn();
  const crew = await Crew.start(module, memory, parts, spawn);
  expect(crew.parts).toBe(parts);
  const words = new Int32Array(memory.buffer);
  const [address, bytes] = [2048, 64];
  for (let run = 1; run <= 5; run++) {
    words.fill(0);
    crew.run("mark", [run, address, bytes], () => words.set([run, 0, parts, 1], address / 4));
    for (let part = 0; part < parts; part++) {
      const at = (address + part * bytes) / 4;
      expect([...words.subarray(at, at + 3)], `part ${part} of run ${run}`).toEqual([run, part, parts]);
    }
    expect(words.filter((word) => word !== 0)).toHaveLength(4 * parts - 1);
  }
  crew.dispose();
  await Promise.all(ends);
});

test("a thread that is woken for nothing does nothing, and one that fails is told of", async () => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 16, shared: true });
  const { spawn, ends } = makeSpawn();
  let control: Int32Array | undefined;
  const crew = await Crew.start(module, memory, 2, (serve, data) => {
    control = new Int32Array(data.control);
    return spawn(serve, data);
  });
  const words = new Int32Array(memory.buffer);
  const [address, bytes] = [2048, 64];
  crew.run("mark", [1, address, bytes], () => {});
  words.fill(0);
  // As the caller's own notify does that comes when the thread sleeps again.
  await vi.waitFor(() => expect(Atomics.notify(control!, 0)).toBe(1));
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(words.every((word) => word === 0)).toBe(true);
  crew.run("mark", [2, address, bytes], () => {});
  expect(words[(address + bytes) / 4]).toBe(2);
  // Its scratch is beyond the memory.
  expect(() => crew.run("mark", [3, 0, 2 ** 24], () => {})).toThrow("a thread of WebAssembly failed in mark");
  crew.run("mark", [4, address, bytes], () => {});
  expect(words[(address + bytes) / 4]).toBe(4);
  crew.dispose();
  await Promise.all(ends);
});

test.each([
  ["the main thread of a page, which may not sleep, waits for its threads awake", {}, false],
  ["any other thread sleeps until its threads are done", undefined, true],
])("%s", async (_, page, sleeps) => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 16, shared: true });
  const { spawn, ends } = makeSpawn();
  const crew = await Crew.start(module, memory, 4, spawn);
  vi.stubGlobal("document", page);
  const wait = vi.spyOn(Atomics, "wait");
  try {
    crew.run("mark", [1, 2048, 64], () => {});
    // Of the last, which takes longest.
    expect(new Int32Array(memory.buffer)[(2048 + 3 * 64) / 4 + 1]).toBe(3);
    expect(wait.mock.calls.length > 0).toBe(sleeps);
  } finally {
    wait.mockRestore();
    vi.unstubAllGlobals();
    crew.dispose();
  }
  await Promise.all(ends);
});

test("none outlives its device", async () => {
  const { spawn, ends } = makeSpawn();
  const device = await WasmDevice.open({ threads: 3, spawn });
  if (typeof device === "string") throw new Error(device);
  expect(ends).toHaveLength(2);
  device.dispose();
  await Promise.all(ends);
});

test("those that were started end where another cannot be", async () => {
  const { spawn, ends } = makeSpawn();
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 16, shared: true });
  const some: Spawn = (serve, data) => (data.part === 2 ? Promise.reject(new Error("no more workers")) : spawn(serve, data));
  await expect(Crew.start(module, memory, 4, some)).rejects.toThrow("no more workers");
  expect(ends).toHaveLength(2);
  await Promise.all(ends);
});

test.each([
  ["that starts", "message"],
  ["that does not", "error"],
])("a page's worker %s leaves no address of its text behind", async (_, event) => {
  const urls: string[] = [];
  class PageWorker {
    onmessage?: (event: unknown) => void;
    onerror?: (event: unknown) => void;
    constructor(url: string) {
      urls.push(url);
      expect(resolveObjectURL(url)).toBeDefined();
    }
    postMessage(): void {
      queueMicrotask(() => this[`on${event as "message" | "error"}`]!("an event"));
    }
  }
  vi.stubGlobal("Worker", PageWorker);
  try {
    const spawned = spawnWorker("() => {}", {} as never);
    if (event === "error") await expect(spawned).rejects.toBe("an event");
    else expect(await spawned).toBeInstanceOf(PageWorker);
    expect(urls).toHaveLength(1);
    expect(resolveObjectURL(urls[0]!)).toBeUndefined();
  } finally {
    vi.unstubAllGlobals();
  }
});

test("a page's worker is a script that says that it is there, and then does with its data what it is sent", async () => {
  let script: Blob | undefined;
  const posted: unknown[] = [];
  class PageWorker {
    onmessage?: () => void;
    constructor(url: string) {
      script = resolveObjectURL(url) as Blob;
    }
    postMessage(...message: unknown[]): void {
      posted.push(message);
      queueMicrotask(() => this.onmessage!());
    }
  }
  vi.stubGlobal("Worker", PageWorker);
  const data = { part: 7 } as never;
  await spawnWorker("({ part }) => postMessage(part)", data).finally(() => vi.unstubAllGlobals());
  expect([posted, script!.type]).toEqual([[[data, []]], "text/javascript"]);
  const said: unknown[] = [];
  const worker = createContext({ postMessage: (message: unknown) => said.push(message) });
  runInContext(await script!.text(), worker);
  expect(said).toEqual([]);
  (worker as { onmessage(event: object): void }).onmessage({ data });
  expect(said).toEqual(["ready", 7]);
});

test.each([
  [3, undefined, 3],
  [20, undefined, 8],
  [1, undefined, 1],
  [2, 5, 5],
  [20, 1, 1],
])("on %i cores, where %s are asked for, there are %i", async (cores, threads, count) => {
  let started = 0;
  const spawn: Spawn = async () => (started++, { terminate() {} });
  const device = await openWasmDevice({ ...(threads && { threads }) }, undefined, cores, spawn);
  expect(device.description).toMatch(new RegExp(`, ${count} threads?$`));
  expect(started).toBe(count - 1);
  device.dispose();
});

test("there is one, and a device all the same, where no other can be started", async () => {
  const device = await openWasmDevice({ threads: 4 }, "no GPU", 4, () => Promise.reject(new Error("no workers here")));
  expect(device).toMatchObject({ kind: "wasm", description: expect.stringMatching(/, 1 thread$/), fallbackReason: "no GPU" });
  device.dispose();
});

test("Node starts them for openDevice too", async () => {
  const device = await openDevice({ prefer: "wasm", threads: 2 });
  expect(device.description).toMatch(/, 2 threads$/);
  device.dispose();
});

test("what makes a worker is a function", async () => {
  await expect(openDevice({ worker: "thread.js" as never })).rejects.toMatchObject({
    code: "E_CONFIG",
    message: 'openDevice: worker must be a function that makes a Worker, got "thread.js"',
  });
});

// The WebAssembly forms and the memory that they run over.
import { setFlagsFromString } from "node:v8";
import { beforeAll, describe, expect, test, vi } from "vitest";
import { gzipSync } from "node:zlib";
import { fraction, randomWord, STREAM } from "../../src/random.ts";
import { benchmarkKernels, kernelBenchmarks } from "../../src/bench/kernels.ts";
import { recordMatmul, type Matrix } from "../../src/kernels/matmul.ts";
import { LanguageModel } from "../../src/models/language-model.ts";
import { Recurrent } from "../../src/models/recurrent.ts";
import type { Entry, KernelCase } from "../../src/runtime/kernel.ts";
import { openNodeDevice } from "../../src/runtime/node.ts";
import { Trainer } from "../../src/training/trainer.ts";
import { probeAdapter, type AdapterLimits } from "../../src/runtime/probe.ts";
import { spawnHere, WasmDevice } from "../../src/runtime/wasm-device.ts";
import { WasmHeap } from "../../src/runtime/wasm-heap.ts";
import {
  BUILDS,
  compileModule,
  formName,
  instantiate,
  scratchName,
  type Build,
  type CompiledModule,
} from "../../src/runtime/wasm-module.ts";
import { fasterTiles } from "../../src/runtime/wasm-tiles.ts";
import { differences } from "../../src/runtime/verify.ts";
import { makeTensor } from "../../src/runtime/recorder.ts";
import { sizeOf, toStored } from "../../src/runtime/tensor.ts";
import { allEntries } from "../../src/training/kernel-list.ts";
import { extraCases } from "../gpu/extra-cases.ts";

const entries = [...allEntries()].map(([, entry]) => entry);
const compiled = new Map<Build, CompiledModule>();

/** A device with one build, on this thread. */
async function open(build: Build): Promise<WasmDevice> {
  const device = await WasmDevice.open({ builds: [build] });
  if (typeof device === "string") throw new Error(device);
  return device;
}

beforeAll(async () => {
  // Of the Nodes that Gatewise runs on, 20 alone does not take it by itself.
  setFlagsFromString("--experimental-wasm-relaxed-simd");
  for (const build of BUILDS) {
    const module = await compileModule({ builds: [build] });
    if (typeof module === "string") throw new Error(module);
    compiled.set(build, module);
  }
});

const formsOf = (build: Build) => {
  const all = instantiate(compiled.get(build)!, new WebAssembly.Memory({ initial: 1, maximum: 65536 }));
  return Object.entries(all).filter(([, form]) => typeof form === "function");
};

/** What a case's tensors begin with. */
function stored({ tensors }: KernelCase, names: readonly string[]): readonly Uint8Array[] {
  return names.map((name, i) => {
    const { fill = (at: number) => fraction(randomWord(1, i, at, STREAM.init)), ...spec } = tensors[name]!;
    const tensor = makeTensor({ name, ...spec });
    const values = Array.from({ length: sizeOf(spec.shape) }, (_, at) => fill(at));
    const { buffer } = toStored(tensor, tensor.dtype === "u32" ? Uint32Array.from(values) : Float32Array.from(values));
    return new Uint8Array(buffer);
  });
}

/** The tensors after all parts of a form have run, one after the other. */
function bitsInParts(entry: Entry, { params }: KernelCase, inputs: readonly Uint8Array[], parts: number): Buffer {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 65536 });
  const forms = instantiate(compiled.get("plain")!, memory);
  const numbers = Object.keys(entry.params).map((name) => params[name]!);
  const each = forms[scratchName(entry)]?.(...numbers) ?? 0;
  const places = new WasmHeap(memory, 4096).take([...inputs.map(({ length }) => length), parts * each])!;
  inputs.forEach((bytes, i) => new Uint8Array(memory.buffer, places[i]).set(bytes));
  for (let part = 0; part < parts; part++)
    forms[formName(entry)]!(...places.slice(0, -1), ...numbers, places.at(-1)! + part * each, part, parts);
  return Buffer.from(memory.buffer, places[0], places.at(-1)! - places[0]!);
}

test("every form makes the same bits in one part, two, three and nine", () => {
  const names = new Set(formsOf("plain").map(([name]) => name));
  for (const entry of entries.filter((each) => names.has(formName(each)))) {
    for (const each of entry.cases()) {
      const inputs = stored(each, Object.keys(entry.bindings));
      const whole = bitsInParts(entry, each, inputs, 1);
      for (const parts of [2, 3, 9])
        expect(bitsInParts(entry, each, inputs, parts).equals(whole), `${formName(entry)}, ${each.name}`).toBe(true);
    }
  }
});

describe.each(BUILDS)("in the build of %s SIMD", (build) => {
  test("every form is called as an entry and takes its tensors, its params, its scratch, and its part in the work", () => {
    const arities = new Map(
      entries.map((entry) => [formName(entry), Object.keys(entry.bindings).length + Object.keys(entry.params).length + 3]),
    );
    const scratch = new Set(entries.map(scratchName));
    const forms = formsOf(build).filter(([name]) => !scratch.has(name));
    expect(forms.length).toBeGreaterThan(10);
    for (const [name, form] of forms) expect(form!.length, name).toBe(arities.get(name));
  });

  test("every form computes the cases of its entry", { timeout: 120_000 }, async () => {
    const names = new Set(formsOf(build).map(([name]) => name));
    const device = await open(build);
    for (const entry of entries.filter((each) => names.has(formName(each)))) {
      expect(await differences(device, entry, [...entry.cases(), ...extraCases(entry)]), formName(entry)).toEqual([]);
    }
    device.dispose();
  });
});

test("the module adds at most 20 KB to what is downloaded", async () => {
  expect(gzipSync((await import("../../wasm?module")).packed).length).toBeLessThan(20_000);
});

describe("a memory of which parts are taken and given back", () => {
  test("has what was taken zeroed, apart from each other, and in place of what was given back", () => {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 1024 });
    const heap = new WasmHeap(memory, 100);
    const held = new Map<number, { bytes: number; mark: number }>();
    let total = 0;
    let most = 0;
    for (let step = 1; step < 2000; step++) {
      const draw = (of: number): number => fraction(randomWord(step, of, 0, 0));
      if (held.size > 0 && draw(1) < 0.5) {
        const [address, { bytes, mark }] = [...held][Math.floor(draw(2) * held.size)]!;
        expect(new Set(new Uint8Array(memory.buffer, address, bytes))).toEqual(new Set([mark]));
        heap.give(address);
        held.delete(address);
        total -= bytes;
      } else {
        const sizes = [1 + Math.floor(draw(3) * 20_000), 1 + Math.floor(draw(4) * 300)];
        heap.take(sizes)!.forEach((address, i) => {
          const bytes = new Uint8Array(memory.buffer, address, sizes[i]);
          expect(address).toBeGreaterThanOrEqual(100);
          expect(new Set(bytes)).toEqual(new Set([0]));
          bytes.fill(1 + (step % 255));
          held.set(address, { bytes: sizes[i]!, mark: 1 + (step % 255) });
          total += sizes[i]!;
        });
      }
      most = Math.max(most, total);
    }
    expect(memory.buffer.byteLength).toBeLessThan(1.5 * most + 65536);
  });

  test("takes all or nothing", () => {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 4 });
    const heap = new WasmHeap(memory, 0);
    expect(heap.take([100_000, 200_000])).toBeUndefined();
    expect(memory.buffer.byteLength).toBe(65536);
    const [first] = heap.take([100_000])!;
    expect(heap.take([200_000])).toBeUndefined();
    heap.give(first!);
    expect(heap.take([200_000])).toEqual([first]);
  });
});

describe("the device", () => {
  test("refuses a plan that does not fit into a memory, before anything is allocated", async () => {
    const device = await open("plain");
    device.tensor({ name: "x", shape: [1000] });
    const before = device.memory();
    const plan = device.record("large", (r) => [1, 2, 3].map((i) => r.tensor({ name: `part ${i}`, shape: [2 ** 29] })));
    await expect(plan).rejects.toMatchObject({
      code: "E_LIMIT",
      message: expect.stringMatching(/^part 1: .* do not fit in memory/),
    });
    expect(device.memory()).toEqual(before);
    device.dispose();
  });

  test("refuses a plan whose scratch does not fit, and leaves what is there as it is", async () => {
    const device = await open("plain");
    const layer = Recurrent.create(device, { cell: "lstm", inputSize: 3, hiddenSize: 400 });
    const product = await device.record("product", (r) => {
      const [a, b, c] = ["a", "b", "c"].map((name) => r.tensor({ name, shape: [4, 4] }));
      recordMatmul(r, "nn", ...([a!, b!, c!].map((tensor) => ({ tensor, rows: 4, columns: 4 })) as [Matrix, Matrix, Matrix]));
      return { a: a!, b: b!, c: c! };
    });
    const before = device.memory();
    const { take } = WasmHeap.prototype;
    // Scratch alone is taken by itself while a plan is recorded.
    const full = vi.spyOn(WasmHeap.prototype, "take").mockImplementation(function (this: WasmHeap, sizes) {
      return sizes.length === 1 ? undefined : take.call(this, sizes);
    });
    await expect(layer.forward(new Float32Array(2 * 3 * 3), { T: 2, B: 3 })).rejects.toMatchObject({
      code: "E_LIMIT",
      message: expect.stringMatching(/^scratch of /),
    });
    full.mockRestore();
    expect(device.memory()).toEqual(before);
    // Where the product's scratch would be, had it been given away.
    const others = Array.from({ length: 20 }, (_, i) => device.tensor({ name: `other ${i}`, shape: [64] }));
    const { a, b, c } = product.made;
    device.write(
      a,
      Float32Array.from({ length: 16 }, (_, i) => i + 1),
    );
    device.write(
      b,
      Float32Array.from({ length: 16 }, (_, i) => Number(i % 5 === 0)),
    );
    await product.run();
    expect(await device.read(c)).toEqual(Float32Array.from({ length: 16 }, (_, i) => i + 1));
    for (const other of others) expect(await device.read(other)).toEqual(new Float32Array(64));
    device.dispose();
  });

  test("is of the build that is asked for, or says why it cannot be", async () => {
    const plain = await openNodeDevice({ prefer: "wasm", threads: 1, simd: "plain" });
    expect(plain.description).toBe("WebAssembly SIMD, 1 thread");
    plain.dispose();
    // Where an engine has no relaxed SIMD, plain stands in.
    const validate = vi.spyOn(WebAssembly, "validate").mockReturnValueOnce(false);
    const other = await openNodeDevice({ prefer: "wasm", threads: 1, simd: "relaxed" });
    expect(other.description).toBe("WebAssembly SIMD, 1 thread");
    other.dispose();
    validate.mockReturnValue(false);
    const none = await openNodeDevice({ prefer: "wasm", simd: "relaxed" });
    expect(none).toMatchObject({ kind: "cpu", fallbackReason: "WebAssembly has no SIMD here" });
    validate.mockRestore();
  });

  test("knows its own limits, which no product of its own exceeds", async () => {
    const device = await openNodeDevice({ prefer: "wasm", threads: 1 });
    const { gigaflops, gigabytesPerSecond, barrier } = await probeAdapter(device);
    expect(barrier).toBeUndefined();
    expect(gigabytesPerSecond).toBeGreaterThan(0.1);
    const [product] = await benchmarkKernels(
      device,
      kernelBenchmarks().filter(({ kernel, sizes }) => kernel === "matmul nn" && sizes === "512×512×512"),
      { gigaflops, gigabytesPerSecond } as AdapterLimits,
    );
    // The references reach a fiftieth of it; the machine may have others to serve.
    expect(product!.share).toBeGreaterThan(0.05);
    expect(product!.share).toBeLessThan(2);
    device.dispose();
  });

  test("gives the same bits with one thread, two and three, and by wide tiles", async () => {
    const train = async (threads: number, simd: Build = "relaxed"): Promise<readonly unknown[]> => {
      // By themselves wide tiles are not taken where they are slower.
      const device = (await WasmDevice.open({ threads, builds: [simd], spawn: spawnHere() })) as WasmDevice;
      expect(device.description).toBe(`WebAssembly SIMD, ${simd}, ${threads === 1 ? "1 thread" : `${threads} threads`}`);
      const model = LanguageModel.create(device, { cell: "lstm", vocabSize: 41, embeddingSize: 12, hiddenSize: 70, seed: 3 });
      const tokens = Uint32Array.from({ length: 3000 }, (_, i) => (i * i + (i >> 2)) % 41);
      const trainer = Trainer.create(model, tokens, { batchSize: 18, seqLen: 12, valFraction: 0, logInterval: 1 });
      const losses: unknown[] = [];
      for await (const event of trainer.run({ maxSteps: 3 })) if (event.event === "step") losses.push(event.loss);
      losses.push(await model.stateDict());
      trainer.dispose();
      device.dispose();
      return losses;
    };
    const [one, two, three] = [await train(1), await train(2), await train(3)];
    expect(one.slice(0, 3).every(Number.isFinite)).toBe(true);
    expect(two).toEqual(one);
    expect(three).toEqual(one);
    expect(await train(2, "wide")).toEqual(one);
  });

  test("takes wide tiles where they are clearly faster, by several turns of each", async () => {
    const [wide, relaxed] = [await compileModule({ builds: ["wide"] }), await compileModule({ builds: ["relaxed"] })];
    const timed = (speeds: Record<string, number[]>) =>
      fasterTiles(wide as CompiledModule, relaxed as CompiledModule, false, ({ build }) => {
        const turns = speeds[build]!;
        return () => turns.shift()!;
      }).build;
    expect(timed({ wide: [1, 1, 1, 24], relaxed: [20, 1, 20, 20] })).toBe("wide");
    expect(timed({ wide: [1, 21, 1, 1], relaxed: [1, 1, 1, 20] })).toBe("relaxed");
    // Without its flag an engine gains nothing by them, and loses a third.
    const device = (await WasmDevice.open({ builds: ["wide", "relaxed", "plain"] })) as WasmDevice;
    expect(device.description).toBe("WebAssembly SIMD, relaxed, 1 thread");
    device.dispose();
  });

  test("trains 1,000 steps in the memory of the first", async () => {
    const grow = vi.spyOn(WebAssembly.Memory.prototype, "grow");
    const device = await open("plain");
    const model = LanguageModel.create(device, { cell: "mamba", vocabSize: 5, embeddingSize: 4, hiddenSize: 4, seed: 1 });
    const tokens = Uint32Array.from({ length: 300 }, (_, i) => i % 5);
    const trainer = Trainer.create(model, tokens, { batchSize: 2, seqLen: 5, valFraction: 0 });
    const train = async (maxSteps: number): Promise<void> => {
      for await (const _ of trainer.run({ maxSteps }));
    };
    await train(3);
    const before = device.memory();
    expect(grow).toHaveBeenCalled();
    grow.mockClear();
    await train(1000);
    expect(grow).not.toHaveBeenCalled();
    expect(device.memory()).toEqual(before);
    grow.mockRestore();
    device.dispose();
  });

  test("makes tensors, plans and models again and again in the memory of those that are gone", async () => {
    const device = await open("plain");
    const [taken, given] = [vi.spyOn(WasmHeap.prototype, "take"), vi.spyOn(WasmHeap.prototype, "give")];
    const make = async (hiddenSize = 40): Promise<void> => {
      const model = LanguageModel.create(device, { cell: "lstm", vocabSize: 5, embeddingSize: 4, hiddenSize, seed: 1 });
      const trainer = Trainer.create(model, new Uint32Array(300), { batchSize: 2, seqLen: 5, valFraction: 0 });
      for await (const _ of trainer.run({ maxSteps: 1 }));
      trainer.dispose();
      model.dispose();
      device.free(device.tensor({ name: "x", shape: [2 ** 16] }));
    };
    await make();
    const grow = vi.spyOn(WebAssembly.Memory.prototype, "grow");
    for (let again = 0; again < 5; again++) await make();
    expect(grow).not.toHaveBeenCalled();
    grow.mockRestore();
    await make(80);
    const left = taken.mock.results.flatMap(({ value }) => value as number[]).length - given.mock.calls.length;
    expect(left, "the scratch of the neediest").toBe(1);
    vi.restoreAllMocks();
    device.dispose();
  });

  test("keeps numbers while its memory grows", async () => {
    const device = await open("plain");
    const x = device.tensor({ name: "x", shape: [5] });
    device.write(x, Float32Array.of(1, 2, 3, 4, 5));
    const copies = await device.record("copy", (r) => {
      const y = r.tensor({ name: "y", shape: [5] });
      r.copy(x, y);
      return y;
    });
    device.tensor({ name: "large", shape: [2 ** 22] });
    await copies.run();
    expect(await device.read(copies.made)).toEqual(Float32Array.of(1, 2, 3, 4, 5));
    device.dispose();
  });
});

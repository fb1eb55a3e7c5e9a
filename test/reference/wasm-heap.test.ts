// Where the parts of a WebAssembly memory lie, by addresses worked out by hand: first fit, in steps of 64 bytes.
import { describe, expect, it, vi } from "vitest";
import { WasmHeap } from "../../src/runtime/wasm-heap.ts";

const PAGE = 65536;

const makeHeap = (begin = 0, maximum = 64): WasmHeap => new WasmHeap(new WebAssembly.Memory({ initial: 1, maximum }), begin);

describe("parts of a memory", () => {
  it.each([
    [0, 0],
    [1, 64],
    [64, 64],
    [100, 128],
  ])("begin behind its first %i bytes, at %i, and lie one after another at multiples of 64", (begin, first) => {
    const heap = makeHeap(begin);
    expect(heap.take([1, 64, 65, 0, 200])).toEqual([0, 64, 128, 256, 320].map((at) => first + at));
    expect(heap.take([1])).toEqual([first + 576]);
  });

  it("lie in the first gap that is wide enough, at its start", () => {
    const heap = makeHeap();
    expect(heap.take([128, 64, 256, 64, 192, 64])).toEqual([0, 128, 192, 448, 512, 704]);
    for (const address of [0, 192, 512]) heap.give(address);
    // Gaps of 128 at 0, of 256 at 192, of 192 at 512.
    expect(heap.take([192])).toEqual([192]);
    expect(heap.take([65])).toEqual([0]);
    expect(heap.take([128])).toEqual([512]);
    // Of each gap but the first 64 are left.
    expect(heap.take([64, 64, 64])).toEqual([384, 640, 768]);
  });

  it.each([
    ["before", [64, 128], 128],
    ["behind", [128, 64], 128],
    ["on both sides", [64, 192, 128], 192],
    ["on both sides, the later first", [192, 64, 128], 192],
  ])("that are given back become one gap with those %s", (_, given, bytes) => {
    const heap = makeHeap();
    heap.take([64, 64, 64, 64, 64]);
    for (const address of given) heap.give(address);
    expect(heap.take([bytes])).toEqual([64]);
    // Nothing of it is left.
    expect(heap.take([64])).toEqual([320]);
  });

  it("that filled a gap to its last byte become one with their neighbours again", () => {
    const heap = makeHeap();
    heap.take([64, 64, 64, 64]);
    heap.give(64);
    expect(heap.take([64])).toEqual([64]);
    for (const address of [0, 64, 128]) heap.give(address);
    expect(heap.take([192])).toEqual([0]);
  });

  it("that are given back one from another stay gaps of their own, in the order of their addresses", () => {
    const heap = makeHeap();
    heap.take([64, 64, 64, 64, 64, 64, 64]);
    for (const address of [320, 64, 192]) heap.give(address);
    expect(heap.take([128])).toEqual([448]);
    expect(heap.take([64, 64, 64, 64])).toEqual([64, 192, 320, 576]);
  });

  it("grow out of a gap at the end, which is too small, and out of no other", () => {
    const heap = makeHeap();
    heap.take([64, 64, 64]);
    heap.give(128);
    expect(heap.take([200])).toEqual([128]);
    expect(heap.take([1])).toEqual([384]);
    heap.give(0);
    expect(heap.take([128])).toEqual([448]);
    expect(heap.take([64])).toEqual([0]);
  });

  it("are zero to their end, whatever stood there, and others are left as they are", () => {
    const heap = makeHeap();
    heap.take([64, 200, 64]);
    const bytes = new Uint8Array(heap.memory.buffer);
    bytes.fill(7);
    heap.give(64);
    expect(heap.take([129])).toEqual([64]);
    expect([63, 64, 64 + 191, 64 + 192].map((at) => bytes[at])).toEqual([7, 0, 0, 7]);
    // What was never taken is not written: the memory's own pages are zero, and untouched ones cost nothing.
    const fill = vi.spyOn(Uint8Array.prototype, "fill");
    heap.take([PAGE]);
    expect(fill).not.toHaveBeenCalled();
    fill.mockRestore();
  });

  it("are zero where they grow out of a gap", () => {
    const heap = makeHeap();
    heap.take([64]);
    new Uint8Array(heap.memory.buffer).fill(7, 0, 64);
    heap.give(0);
    expect(heap.take([128])).toEqual([0]);
    expect(new Set(new Uint8Array(heap.memory.buffer, 0, 128))).toEqual(new Set([0]));
  });

  it("can be given back once", () => {
    const heap = makeHeap();
    heap.take([64, 64]);
    heap.give(0);
    for (const address of [0, 32, 128]) expect(() => heap.give(address)).toThrow(`nothing was taken at ${address}`);
    heap.give(64);
    expect(heap.take([128])).toEqual([0]);
  });
});

describe("a memory", () => {
  it.each([
    [PAGE - 64, 1],
    [PAGE - 63, 2],
    [2 * PAGE - 64, 2],
    [2 * PAGE - 63, 3],
    [10 * PAGE, 11],
  ])("of which %i bytes are taken has %i pages, with 64 bytes behind them that vectors may read", (bytes, pages) => {
    const heap = makeHeap();
    const { buffer } = heap.memory;
    expect(heap.take([bytes])).toEqual([0]);
    expect(heap.memory.buffer.byteLength).toBe(pages * PAGE);
    // Whoever grows a memory, be it by nothing, takes away the arrays over it.
    expect(heap.memory.buffer === buffer).toBe(pages === 1);
  });

  it("that cannot grow gives nothing, and is as it was before", () => {
    const heap = makeHeap(0, 2);
    heap.take([64, 64, 64]);
    heap.give(64);
    heap.give(128);
    // The first of them would fit.
    expect(heap.take([64, 2 * PAGE])).toBeUndefined();
    expect(heap.memory.buffer.byteLength).toBe(PAGE);
    expect(heap.take([128])).toEqual([64]);
    expect(heap.take([64])).toEqual([192]);
    // To the last byte that a memory of two pages has room for.
    expect(heap.take([2 * PAGE - 256 - 63])).toBeUndefined();
    expect(heap.take([2 * PAGE - 256 - 64])).toEqual([256]);
  });

  it("has four gigabytes at the most, for more of which the engine is not even asked", () => {
    const memory = { buffer: new ArrayBuffer(PAGE), grow: vi.fn() };
    const heap = new WasmHeap(memory as unknown as WebAssembly.Memory, 64);
    expect(heap.take([2 ** 32 - 127])).toBeUndefined();
    expect(memory.grow).not.toHaveBeenCalled();
    expect(heap.take([2 ** 32 - 128])).toEqual([64]);
    expect(memory.grow.mock.calls).toEqual([[65535]]);
  });
});

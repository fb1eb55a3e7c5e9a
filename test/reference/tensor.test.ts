// Dense values to padded ones and back, and how tensors share a buffer.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { openDevice } from "../../src/runtime/open.ts";
import { makeFlatTensors, makeTensor } from "../../src/runtime/recorder.ts";
import { fromStored, pad4, sizeOf, storedShape, toStored, type NumberArray, type TensorSpec } from "../../src/runtime/tensor.ts";

const axis = fc.integer({ min: 1, max: 6 });
const shapeOf = (maxLength: number) => fc.array(axis, { maxLength });
/** A shape in memory with each axis at least as long. */
const anySpec: fc.Arbitrary<TensorSpec> = fc.oneof(
  fc.record({ name: fc.constant("x"), shape: shapeOf(4), dtype: fc.constantFrom("f32", "u32") }),
  fc
    .array(fc.tuple(axis, fc.integer({ min: 0, max: 3 })), { minLength: 1, maxLength: 4 })
    .map((axes) => ({ name: "x", shape: axes.map(([n]) => n), stored: axes.map(([n, extra]) => n + extra) })),
  // Gates [G, H, in], as parameters lie.
  fc.tuple(fc.integer({ min: 1, max: 4 }), axis, axis).map(([G, H, I]) => ({
    name: "x",
    shape: [G, H, I],
    stored: [G, pad4(H), pad4(I)],
  })),
);
const arrays = fc.constantFrom(Float32Array, Float64Array, Uint32Array);

/** Where in memory element `i` of the logical order lies, by the definition of row-major order. */
function placeOf(i: number, shape: readonly number[], stored: readonly number[]): number {
  const index = shape.map((n, axis) => Math.floor(i / sizeOf(shape.slice(axis + 1))) % n);
  return index.reduce((at, n, axis) => at + n * sizeOf(stored.slice(axis + 1)), 0);
}

describe("padding", () => {
  it("puts every value where row-major order has it, and zeros everywhere else", () => {
    fc.assert(
      fc.property(anySpec, arrays, (spec, ArrayType) => {
        const tensor = makeTensor(spec);
        const dense = new ArrayType(sizeOf(tensor.shape)).map((_: number, i: number) => i + 1);
        const stored = toStored<NumberArray>(tensor, dense);
        const expected = Array<number>(sizeOf(tensor.stored)).fill(0);
        dense.forEach((value, i) => (expected[placeOf(i, tensor.shape, tensor.stored)] = value));
        expect(stored).toBeInstanceOf(ArrayType);
        expect([...stored].slice(0, expected.length)).toEqual(expected);
        expect([...stored].slice(expected.length).every((value) => value === 0)).toBe(true);
        expect(stored.length).toBeLessThanOrEqual(tensor.length);
      }),
    );
  });

  it("comes off again to the same values, whatever the padding holds by then", () => {
    fc.assert(
      fc.property(anySpec, arrays, (spec, ArrayType) => {
        const tensor = makeTensor(spec);
        const dense = new ArrayType(sizeOf(tensor.shape)).map((_: number, i: number) => i + 1);
        const memory = new ArrayType(tensor.length).fill(99);
        dense.forEach((value, i) => (memory[placeOf(i, tensor.shape, tensor.stored)] = value));
        const back = fromStored<NumberArray>(tensor, memory);
        expect(back).toBeInstanceOf(ArrayType);
        expect([...back]).toEqual([...dense]);
        expect([...fromStored<NumberArray>(tensor, toStored<NumberArray>(tensor, dense))]).toEqual([...dense]);
      }),
    );
  });

  it("of gates lies between the units of one gate and the next, and behind each row", () => {
    const tensor = makeTensor({ name: "w", shape: [2, 3, 2], stored: [2, 4, 4] });
    const values = Float32Array.from({ length: 12 }, (_, i) => i + 1);
    const rows = [
      [1, 2, 0, 0],
      [3, 4, 0, 0],
      [5, 6, 0, 0],
      [0, 0, 0, 0],
    ];
    const second = [
      [7, 8, 0, 0],
      [9, 10, 0, 0],
      [11, 12, 0, 0],
      [0, 0, 0, 0],
    ];
    expect([...toStored(tensor, values)]).toEqual([...rows, ...second].flat());
  });

  it("is by default that of the innermost axis of floats to a multiple of four, and none of integers", () => {
    expect([0, 1, 3, 4, 5, 8, 4294967295].map(pad4)).toEqual([0, 4, 4, 4, 8, 8, 4294967296]);
    expect(storedShape({ name: "x", shape: [3, 5] })).toEqual([3, 8]);
    expect(storedShape({ name: "x", shape: [3, 4] })).toEqual([3, 4]);
    expect(storedShape({ name: "x", shape: [] })).toEqual([]);
    expect(storedShape({ name: "x", shape: [3, 5], dtype: "u32" })).toEqual([3, 5]);
    expect(storedShape({ name: "x", shape: [3, 2], stored: [3, 2] })).toEqual([3, 2]);
  });

  it("is refused for an array of another size, by the tensor's name and shape", () => {
    const tensor = makeTensor({ name: "rnn.weight_hh_l0", shape: [2, 3] });
    for (const length of [0, 5, 8]) {
      expect(() => toStored(tensor, new Float32Array(length))).toThrow(expect.objectContaining({ code: "E_SHAPE" }));
      expect(() => toStored(tensor, new Float32Array(length))).toThrow(
        `rnn.weight_hh_l0: expected 6 values for shape [2, 3], got ${length}`,
      );
    }
  });
});

describe("tensors that share a buffer", () => {
  it("begin at multiples of 256 bytes, one behind the other, and never overlap", () => {
    fc.assert(
      fc.property(fc.array(anySpec, { minLength: 1, maxLength: 8 }), (specs) => {
        const { whole, parts } = makeFlatTensors("flat", specs);
        let end = 0;
        for (const { offset, length, storage } of parts) {
          expect(offset % 64).toBe(0);
          expect(offset - end).toBeGreaterThanOrEqual(0);
          expect(offset - end).toBeLessThan(64);
          expect(storage).toBe(whole.storage);
          end = offset + length;
        }
        expect(whole.length).toBeGreaterThanOrEqual(end);
        expect(whole.storage.bytes).toBe(4 * whole.length);
      }),
    );
  });

  it("keep their own values when their neighbours are written, and leave the padding zero", async () => {
    const device = await openDevice({ prefer: "cpu" });
    const floats = anySpec.filter(({ dtype }) => dtype !== "u32");
    await fc.assert(
      fc.asyncProperty(fc.array(floats, { minLength: 1, maxLength: 5 }), async (specs) => {
        const { whole, parts } = device.flatTensors("flat", specs);
        const values = parts.map(({ shape }, n) => Float32Array.from({ length: sizeOf(shape) }, (_, i) => 100 * n + i + 1));
        for (let n = parts.length - 1; n >= 0; n--) device.write(parts[n]!, values[n]!);
        expect(await Promise.all(parts.map((part) => device.read(part)))).toEqual(values);
        const all = await device.read(whole);
        expect(all.filter((value: number) => value !== 0)).toHaveLength(values.reduce((sum, { length }) => sum + length, 0));
        device.free(whole);
      }),
      { numRuns: 50 },
    );
    expect(device.memory()).toEqual({ buffers: 0, bytes: 0 });
    device.dispose();
  });
});

it("what is read from a tensor is a copy, which later writes do not change", async () => {
  const device = await openDevice({ prefer: "cpu" });
  for (const shape of [[4], [3], [2, 4]]) {
    const tensor = device.tensor({ name: "x", shape });
    const size = sizeOf(shape);
    device.write(tensor, new Float32Array(size).fill(1));
    const read = await device.read(tensor);
    device.write(tensor, new Float32Array(size).fill(2));
    expect(read).toEqual(new Float32Array(size).fill(1));
  }
  device.dispose();
});

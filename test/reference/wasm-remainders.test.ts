// What the WebAssembly forms do four, eight or sixteen numbers at a time, at every size up to past two of these.
import { setFlagsFromString } from "node:v8";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { embedding } from "../../src/kernels/embedding.ts";
import { recordMatmul, type Matrix } from "../../src/kernels/matmul.ts";
import { fraction, randomWord } from "../../src/random.ts";
import { pad4, type Tensor } from "../../src/runtime/tensor.ts";
import { WasmDevice } from "../../src/runtime/wasm-device.ts";

// Of the Nodes that Gatewise runs on, 20 alone does not take it by itself.
beforeAll(() => setFlagsFromString("--experimental-wasm-relaxed-simd"));

describe.each(["plain", "relaxed", "wide"] as const)("in the build of %s SIMD", (build) => {
  let device: WasmDevice;
  beforeAll(async () => {
    const opened = await WasmDevice.open({ builds: [build] });
    if (typeof opened === "string") throw new Error(opened);
    device = opened;
  });
  afterAll(() => device.dispose());

  // Small integers, whose sums are exact in any order.
  const numbers = (count: number, seed: number): Float32Array =>
    Float32Array.from({ length: count }, (_, i) => Math.floor(9 * fraction(randomWord(seed, i, 0, 0))) - 4);

  test.each(["nn", "nt", "tn", "tt"] as const)("products (%s) are the sums that they stand for", async (op) => {
    const shape = (rows: number, columns: number, transposed: boolean) => (transposed ? [columns, rows] : [rows, columns]);
    const sizes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 18];
    for (const [M, N, K] of sizes.flatMap((M) => sizes.map((N, i) => [M, N, sizes[(M + 3 * i) % sizes.length]!] as const))) {
      const [aShape, bShape] = [shape(M, K, op[0] === "t"), shape(K, N, op[1] === "t")];
      const plan = await device.record("product", (r) => {
        const matrix = (name: string, [rows, columns]: readonly number[]): Matrix => ({
          tensor: r.tensor({ name, shape: [rows!, columns!] }),
          rows: rows!,
          columns: columns!,
        });
        const [a, b, c] = [matrix("a", aShape), matrix("b", bShape), matrix("c", [M, N])];
        const vector = r.tensor({ name: "vector", shape: [op[0] === "t" ? M : N] });
        recordMatmul(r, op, a, b, c, op[0] === "t" ? { rowSums: vector } : { bias: vector });
        return { a: a.tensor, b: b.tensor, c: c.tensor, vector };
      });
      const { a, b, c, vector } = plan.made;
      const [ofA, ofB, bias] = [numbers(M * K, 1), numbers(K * N, 2), numbers(N, 3)];
      const writes: [Tensor, Float32Array][] = [
        [a, ofA],
        [b, ofB],
      ];
      await plan.run(op[0] === "t" ? writes : [...writes, [vector, bias]]);
      const [left, right] = [
        (m: number, k: number): number => ofA[op[0] === "t" ? k * M + m : m * K + k]!,
        (k: number, n: number): number => ofB[op[1] === "t" ? n * K + k : k * N + n]!,
      ];
      const sums = (count: number, of: (k: number) => number, start = 0): number =>
        Array.from({ length: count }, (_, k) => of(k)).reduce((sum, each) => sum + each, start);
      const expected = Array.from({ length: M * N }, (_, i) => {
        const [m, n] = [Math.floor(i / N), i % N];
        return sums(K, (k) => left(m, k) * right(k, n), op[0] === "t" ? 0 : bias[n]);
      });
      expect([...(await device.read(c))], `${M} × ${N} × ${K}`).toEqual(expected);
      if (op[0] === "t")
        expect([...(await device.read(vector))], `${M} sums of ${K}`).toEqual(
          Array.from({ length: M }, (_, m) => sums(K, (k) => left(m, k))),
        );
      plan.dispose();
    }
  });

  test("gradients of embeddings are the sums over their tokens", async () => {
    const [N, V] = [9, 3];
    const tokens = Array.from({ length: N }, (_, i) => (i * i) % V);
    const order = tokens.map((_, i) => i).sort((a, b) => tokens[a]! - tokens[b]! || a - b);
    const starts = Array.from({ length: V + 1 }, (_, v) => tokens.filter((token) => token < v).length);
    for (let width = 1; width <= 36; width++) {
      const plan = await device.record("gradient", (r) => {
        const u32 = (name: string, length: number): Tensor => r.tensor({ name, shape: [length], dtype: "u32" });
        const made = { order: u32("order", N), starts: u32("starts", V + 1) };
        const [dY, dWeight] = [r.tensor({ name: "dY", shape: [N, width] }), r.tensor({ name: "dWeight", shape: [V, width] })];
        r.dispatch(embedding.backward, { ...made, dY, dWeight }, { N, V, W: pad4(width) });
        return { ...made, dY, dWeight };
      });
      const dY = numbers(N * width, 4);
      await plan.run([
        [plan.made.dY, dY],
        [plan.made.order, Uint32Array.from(order)],
        [plan.made.starts, Uint32Array.from(starts)],
      ]);
      const expected = Array.from({ length: V * width }, () => 0);
      dY.forEach((value, i) => (expected[tokens[Math.floor(i / width)]! * width + (i % width)]! += value));
      expect([...(await device.read(plan.made.dWeight))], `width ${width}`).toEqual(expected);
      plan.dispose();
    }
  });
});

// The runtime's promises where today's models seldom go: plans in several submits, tensors that share a buffer, errors
// that WebGPU reports late, large read-backs.
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { recordMatmul, type Matrix } from "../../src/kernels/matmul.ts";
import type { Device } from "../../src/runtime/device.ts";
import { openDevice } from "../../src/runtime/open.ts";
import type { Tensor } from "../../src/runtime/tensor.ts";
import { testDevice } from "./device.ts";

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});
afterAll(() => device.dispose());

const N = 8;
const square = (tensor: Tensor): Matrix => ({ tensor, rows: N, columns: N });
/** A device of its own on the same GPU, whose submits hold one dispatch each. */
const finelyCut = (): Promise<Device> => openDevice({ gpuDevice: device.gpuDevice!, submitMilliseconds: 1e-6, tuning: "off" });
const identity = Float32Array.from({ length: N * N }, (_, i) => Number(i % (N + 1) === 0));

describe("a plan in several submits", () => {
  it("reads a tensor back as it is after the last of them, every time", async () => {
    const own = await finelyCut();
    const [one, sum] = [own.tensor({ name: "one", shape: [N, N] }), own.tensor({ name: "sum", shape: [N, N] })];
    own.write(one, identity);
    const plan = await own.record("sums", (recorder) => {
      for (let i = 0; i < 12; i++) recordMatmul(recorder, "nn", square(one), square(one), square(sum), { accumulate: true });
    });
    const submit = vi.spyOn(own.gpuDevice!.queue, "submit");
    try {
      for (const wanted of [12, 24, 36]) {
        submit.mockClear();
        const values = await plan.runAndRead(sum);
        expect(Array.from(values)).toEqual(Array.from(identity, (x) => wanted * x));
        // The read-back goes with the last submit.
        expect(submit.mock.calls.length).toBe(12);
      }
    } finally {
      submit.mockRestore();
    }
    plan.dispose();
    own.dispose();
  });

  it("copies and clears between its submits in their place", async () => {
    const own = await finelyCut();
    const [one, sum, copy] = ["one", "sum", "copy"].map((name) => own.tensor({ name, shape: [N, N] })) as [
      Tensor,
      Tensor,
      Tensor,
    ];
    own.write(one, identity);
    const plan = await own.record("sums", (recorder) => {
      const add = (): void => recordMatmul(recorder, "nn", square(one), square(one), square(sum), { accumulate: true });
      add();
      recorder.clear(sum);
      add();
      add();
      // Rows 1 to 3 to the place of rows 4 to 6.
      recorder.copy(sum, copy, { fromOffset: N, toOffset: 4 * N, length: 3 * N });
      add();
    });
    const moved = Array.from({ length: N * N }, () => 0);
    for (let row = 1; row <= 3; row++) moved[(row + 3) * N + row] = 2;
    expect(Array.from(await plan.runAndRead(copy))).toEqual(moved);
    expect(Array.from(await own.read(sum))).toEqual(Array.from(identity, (x) => 3 * x));
    plan.dispose();
    own.dispose();
  });
});

it("dispatches of one kernel on tensors that share a buffer each reach their own", async () => {
  const flat = device.flatTensors("flat", [
    { name: "a", shape: [N, N] },
    { name: "b", shape: [N, N] },
    { name: "c", shape: [N, N] },
  ]);
  const [a, b, c] = flat.parts as [Tensor, Tensor, Tensor];
  const x = device.tensor({ name: "x", shape: [N, N] });
  const y = device.tensor({ name: "y", shape: [N, N] });
  device.write(
    x,
    Float32Array.from({ length: N * N }, (_, i) => i),
  );
  device.write(y, identity);
  const plan = await device.record("products", (recorder) => {
    recordMatmul(recorder, "nn", square(x), square(y), square(a));
    recordMatmul(recorder, "tn", square(x), square(y), square(b));
    recordMatmul(recorder, "nn", square(x), square(y), square(c));
    recordMatmul(recorder, "nn", square(y), square(y), square(a), { accumulate: true });
  });
  await plan.run();
  const values = (f: (row: number, column: number) => number): number[] =>
    Array.from({ length: N * N }, (_, i) => f(Math.floor(i / N), i % N));
  expect(Array.from(await device.read(a))).toEqual(values((r, k) => r * N + k + Number(r === k)));
  expect(Array.from(await device.read(b))).toEqual(values((r, k) => k * N + r));
  expect(Array.from(await device.read(c))).toEqual(values((r, k) => r * N + k));
  plan.dispose();
  device.free(flat.whole, x, y);
});

it("a read-back of more than a megabyte leaves no memory counted, and a small one's buffer is used again", async () => {
  const large = device.tensor({ name: "large", shape: [600, 1000] });
  const small = device.tensor({ name: "small", shape: [100] });
  await device.read(small);
  const before = device.memory();
  for (let i = 0; i < 3; i++) {
    expect(await device.read(large)).toHaveLength(600_000);
    await device.read(small);
  }
  expect(device.memory()).toEqual(before);
  device.free(large, small);
});

describe("what WebGPU reports late", () => {
  /** A device on which a write past the end of a buffer was enqueued. */
  async function misused(): Promise<{ own: Device; tensor: Tensor }> {
    const own = await openDevice({ gpuDevice: device.gpuDevice!, tuning: "off" });
    const tensor = own.tensor({ name: "x", shape: [4] });
    own.write({ ...tensor, length: 64, shape: [64], stored: [64] }, new Float32Array(64));
    await new Promise((resolve) => setTimeout(resolve, 50));
    return { own, tensor };
  }

  it("is thrown by finish, once: what was wrong then is not wrong for ever", async () => {
    const { own, tensor } = await misused();
    await expect(own.finish()).rejects.toMatchObject({ code: expect.stringMatching(/^E_/) });
    await own.finish();
    own.write(tensor, Float32Array.of(1, 2, 3, 4));
    expect(Array.from(await own.read(tensor))).toEqual([1, 2, 3, 4]);
    own.dispose();
  });

  it("is thrown by a read as well, once", async () => {
    const { own, tensor } = await misused();
    await expect(own.read(tensor)).rejects.toMatchObject({ code: expect.stringMatching(/^E_/) });
    expect(await own.read(tensor)).toHaveLength(4);
    await own.finish();
    own.dispose();
  });
});

// The runtime's promises: errors that say where, profiles, devices of the caller's own, loss of the device.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { lstm } from "../../src/kernels/lstm.ts";
import { matmul, recordMatmul } from "../../src/kernels/matmul.ts";
import { chooseVariant, type Entry, type KernelCase } from "../../src/runtime/kernel.ts";
import type { Device } from "../../src/runtime/device.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { testAdapter, testDevice } from "./device.ts";

let device: Device;
beforeAll(async () => {
  device = await testDevice();
});
afterAll(() => device.dispose());

const square = (n: number, name: string) => ({ name, shape: [n, n] });

describe("a shader that does not compile", () => {
  it("is reported with its file, line and column, and two lines around it", async () => {
    const source = "const GATES: u32 = 4u;\n\nfn broken() -> f32 {\n  return 1u;\n}\n";
    const wrong: Entry = {
      ...(lstm.forward as unknown as Entry),
      files: [{ name: "lstm", source }],
      variants: [{ name: "plain" }],
      workgroups: () => [1],
    };
    const recorded = device.record("wrong", (recorder) => {
      const tensors = Object.keys(wrong.bindings).map((name) => [name, recorder.tensor({ name, shape: [4] })]);
      recorder.dispatch(wrong, Object.fromEntries(tensors), { B: 1, H: 1, t: 0, gather: 0, last: 1, relu: 0 });
    });
    await expect(recorded).rejects.toMatchObject({ code: "E_SHADER" });
    await expect(recorded).rejects.toThrow(/^shaders\/lstm\.wgsl:4:\d+: [^]*>\s+4 \|\s+return 1u;/);
  });
});

describe("a plan", () => {
  it("profiles its kernels, if the adapter has timestamps", async () => {
    const plan = await device.record("products", (recorder) => {
      const [a, b, c] = [recorder.tensor(square(64, "a")), recorder.tensor(square(64, "b")), recorder.tensor(square(64, "c"))];
      const matrix = (tensor: typeof a) => ({ tensor, rows: 64, columns: 64 });
      for (let i = 0; i < 3; i++) recordMatmul(recorder, "nn", matrix(a), matrix(b), matrix(c));
    });
    const times = plan.profile();
    if (device.gpuDevice!.features.has("timestamp-query")) {
      expect(await times).toMatchObject([{ kernel: "matmul.nn", count: 3 }]);
      expect((await times)[0]!.milliseconds).toBeGreaterThan(0);
    } else {
      await expect(times).rejects.toMatchObject({ code: "E_LIMIT" });
    }
    plan.dispose();
  });

  it("cut into many submits gives the bits that one submit gives", async () => {
    const results: Float32Array[] = [];
    for (const submitMilliseconds of [1e-4, 1e6]) {
      const own = await openDevice({ gpuDevice: device.gpuDevice!, submitMilliseconds, tuning: "off" });
      const [a, c] = [own.tensor(square(65, "a")), own.tensor(square(65, "c"))];
      own.write(
        a,
        Float32Array.from({ length: 65 * 65 }, (_, i) => Math.sin(i)),
      );
      const plan = await own.record("sums", (recorder) => {
        const matrix = (tensor: typeof a) => ({ tensor, rows: 65, columns: 65 });
        for (let i = 0; i < 20; i++) recordMatmul(recorder, "nt", matrix(a), matrix(a), matrix(c), { accumulate: true });
      });
      await plan.run();
      results.push((await own.read(c)) as Float32Array);
      plan.dispose();
      own.dispose();
    }
    expect(results[0]).toEqual(results[1]);
    expect(results[0]!.some((x) => x !== 0)).toBe(true);
  });
});

describe("a device of the caller's own", () => {
  it("is used as it is and outlives Gatewise's", async () => {
    const gpuDevice = await (await testAdapter()).requestDevice();
    const own = await openDevice({ gpuDevice, tuning: "off" });
    expect(own.gpuDevice).toBe(gpuDevice);
    const tensor = own.tensor({ name: "x", shape: [3, 5] });
    own.write(
      tensor,
      Float32Array.from({ length: 15 }, (_, i) => i),
    );
    expect(Array.from(await own.read(tensor))).toEqual(Array.from({ length: 15 }, (_, i) => i));
    own.dispose();
    expect(own.memory()).toEqual({ buffers: 0, bytes: 0 });
    gpuDevice.createBuffer({ size: 16, usage: 8 }).destroy();
    gpuDevice.destroy();
  });

  it("that is lost makes every later call fail with E_DEVICE_LOST", async () => {
    const gpuDevice = await (await testAdapter()).requestDevice();
    const own = await openDevice({ gpuDevice, tuning: "off" });
    const tensor = own.tensor({ name: "x", shape: [4] });
    const plan = await own.record("product", (recorder) => {
      const matrix = { tensor: recorder.tensor(square(4, "a")), rows: 4, columns: 4 };
      recordMatmul(recorder, "nn", matrix, matrix, { ...matrix, tensor: recorder.tensor(square(4, "c")) });
    });
    gpuDevice.destroy();
    await own.lost;
    await expect(plan.run()).rejects.toMatchObject({ code: "E_DEVICE_LOST" });
    await expect(own.read(tensor)).rejects.toMatchObject({ code: "E_DEVICE_LOST" });
    await expect(own.finish()).rejects.toMatchObject({ code: "E_DEVICE_LOST" });
    expect(() => own.tensor({ name: "y", shape: [4] })).toThrow(/lost/);
  });
});

it("every entry point of matmul has both families of variants", () => {
  for (const entry of Object.values(matmul)) {
    const families = entry.variants.map(({ family }) => family);
    expect(families).toContain("gpu");
    expect(families).toContain(undefined);
  }
});

it("a software adapter gets the variants for its subgroups, where they are of a size that there are some for", () => {
  const [{ params }] = matmul.nn.cases().filter(({ params }) => params.M! > 64) as [KernelCase];
  const { family, subgroupSize } = device;
  const fits = family === "software" && [4, 8].includes(subgroupSize);
  expect(chooseVariant(matmul.nn as unknown as Entry, params, device).subgroupSize).toBe(fits ? subgroupSize : undefined);
  expect(() => chooseVariant(matmul.nn as unknown as Entry, params, device, "16×4 registers, subgroups of 3")).toThrow(
    /no variant/,
  );
});

// A sequence that takes several dispatches, because none may hold so much work.
import { afterAll, beforeAll, expect, it } from "vitest";
import { Recurrent } from "../../src/models/recurrent.ts";
import type { Device } from "../../src/runtime/device.ts";
import { openDevice } from "../../src/runtime/open.ts";
import { testDevice } from "../gpu/device.ts";

let gpu: Device;
let cpu: Device;
beforeAll(async () => {
  gpu = await testDevice();
  cpu = await openDevice({ prefer: "cpu", precision: "float64" });
});
afterAll(() => {
  gpu.dispose();
  cpu.dispose();
});

it("a GRU over 400 steps, which no one dispatch may hold, goes forward and backward as the reference does", async () => {
  const [T, B, H, inputSize] = [400, 20, 80, 2];
  const pass = async (device: Device): Promise<Record<string, ArrayLike<number>>> => {
    const layer = Recurrent.create(device, { cell: "gru", inputSize, hiddenSize: H, seed: 3 });
    const x = Float32Array.from({ length: T * B * inputSize }, (_, i) => Math.sin(i));
    const { output, hN } = await layer.forward(x, { T, B });
    const { dx, dh0, gradients } = await layer.backward(
      Float32Array.from({ length: T * B * H }, (_, i) => Math.cos(3 * i)),
      { dhN: Float32Array.from({ length: B * H }, (_, i) => Math.sin(5 * i)) },
    );
    layer.dispose();
    return { output, hN, dx, dh0, ...gradients };
  };
  const [found, wanted] = [await pass(gpu), await pass(cpu)];
  for (const [name, values] of Object.entries(wanted)) {
    let [error, norm] = [0, 0];
    for (let i = 0; i < values.length; i++) {
      error += (values[i]! - found[name]![i]!) ** 2;
      norm += values[i]! ** 2;
    }
    expect(Math.sqrt(error / norm), name).toBeLessThan(1e-4);
  }
});

// How far S4D in float32 is from the reference in float64 over many steps.
import type { CellName } from "../../src/models/cells.ts";
import { Recurrent } from "../../src/models/recurrent.ts";
import type { Device } from "../../src/runtime/device.ts";
import { worstTensor } from "../../src/training/check/comparisons.ts";
import { draw } from "../fixtures/read.ts";

/** Relative L2 of the outputs, and of the worst among last states and gradients; all Δ times a factor. */
export async function s4dErrors(gpu: Device, cpu: Device, T: number, faster: number) {
  const [B, H, N] = [2, 6, 16];
  const pass = async (device: Device) => {
    const layer = Recurrent.create(device, { cell: "s4d" as string as CellName, inputSize: H, hiddenSize: H, seed: 5 });
    const weights = await layer.stateDict();
    layer.loadStateDict({ ...weights, log_dt_l0: weights.log_dt_l0!.map((log) => Math.fround(log + Math.log(faster))) });
    const state = B * H * N;
    const single = (stream: number, length: number): Float32Array => Float32Array.from(draw(1, stream, length));
    const { output, hN } = await layer.forward(single(0, T * B * H), { T, B, h0: single(1, state) });
    const { dx, dh0, gradients } = await layer.backward(single(2, T * B * H), { dhN: single(3, state) });
    layer.dispose();
    return { outputs: { output }, others: { hN, dx, dh0, ...gradients } };
  };
  const [found, wanted] = [await pass(gpu), await pass(cpu)];
  return { y: worstTensor(found.outputs, wanted.outputs), others: worstTensor(found.others, wanted.others) };
}

// Two LSTM layers, forward: layer by layer, as the library does it, against a wavefront over (layer, step).
import source from "./02-wavefront.wgsl?raw";
import { timeInterleaved, type Timing } from "../../../src/bench/measure.ts";
import { recordMatmul } from "../../../src/kernels/matmul.ts";
import { CELLS } from "../../../src/models/cells.ts";
import { makeLayer, outputs, recordSteps, type Layer } from "../../../src/models/recurrent-layer.ts";
import type { Device } from "../../../src/runtime/device.ts";
import { defineKernel, entry } from "../../../src/runtime/kernel.ts";
import { sizeOf, type Tensor } from "../../../src/runtime/tensor.ts";

const { step } = defineKernel("wavefront", source, {
  step: entry({
    params: { B: "u32", H: "u32", T: "u32", d: "u32" },
    bindings: {
      xProjection: "read",
      rows: "read",
      packed: "read",
      inputs: "read",
      h: "read_write",
      c: "read_write",
      gates: "read_write",
    },
    workgroups: ({ B, H }) => [Math.ceil(H / 32), Math.ceil(B / 8), L],
    work: ({ B, H }) => 8 * B * H * H * (2 * L - 1),
    // It is held against the library's layers, which the tests hold against theirs.
    reference: () => {
      throw new Error("the wavefront is checked against the library's layers");
    },
    cases: () => [],
  }),
});

const L = 2;
const V = 73;

export interface WavefrontResult {
  readonly name: string;
  readonly timing: Timing;
  readonly dispatches: number;
}

/** Times both; H a multiple of four. @throws Error if their outputs differ. */
export async function compareWavefront(
  device: Device,
  { B, H, T }: { B: number; H: number; T: number },
  rounds: number,
): Promise<readonly WavefrontResult[]> {
  const wave = (size: number, phase: number): Float32Array =>
    Float32Array.from({ length: size }, (_, i) => 0.1 * Math.sin(i * 12.9898 + phase));
  let top!: Tensor;
  const layers: Layer[] = [];
  const weights: Tensor[] = [];
  const plain = await device.record("layers", (r) => {
    const table = r.tensor({ name: "table", shape: [V, 4, H] });
    const rows = r.tensor({ name: "rows", shape: [T, B], dtype: "u32" });
    const shape = { cell: CELLS.lstm, T, B, H, relu: false };
    layers.length = 0;
    weights.length = 0;
    layers.push(makeLayer(r, "l0", shape, { xProjection: table, rows, gather: true }));
    const projection = r.tensor({ name: "projection", shape: [T, B, 4, H] });
    layers.push(makeLayer(r, "l1", shape, { xProjection: projection, rows, gather: false }));
    const [weightIh, biasIh] = [r.tensor({ name: "W_ih", shape: [4 * H, H] }), r.tensor({ name: "b_ih", shape: [4 * H] })];
    weights.push(table, weightIh, biasIh);
    recordSteps(r, layers[0]!);
    const w = { tensor: weightIh, rows: 4 * H, columns: H };
    recordMatmul(r, "nt", outputs(layers[0]!), w, { tensor: projection, rows: T * B, columns: 4 * H }, { bias: biasIh });
    recordSteps(r, layers[1]!);
    top = layers[1]!.tensors.h;
  });
  const made: Record<string, Tensor> = {};
  const wavefront = await device.record("wavefront", (r) => {
    const tensor = (name: string, ...shape: number[]): Tensor => (made[name] = r.tensor({ name, shape }));
    const tensors = {
      xProjection: tensor("table", V, 4, H),
      rows: r.tensor({ name: "rows", shape: [T, B], dtype: "u32" }),
      packed: tensor("packed", L, H + 1, 4, H),
      inputs: tensor("inputs", L, H + 1, 4, H),
      h: tensor("h", L, T + 1, B, H),
      c: tensor("c", L, T + 1, B, H),
      gates: tensor("gates", L, T, B, 4, H),
    };
    for (let d = 0; d < T + L - 1; d++) r.dispatch(step, tensors, { B, H, T, d });
  });
  // The same numbers for both, each in its own layout.
  const block = 4 * H * (H + 1);
  const packed = wave(L * block, 1);
  const inputs = wave(L * block, 2);
  const table = wave(V * 4 * H, 3);
  device.write(made.table!, table);
  device.write(made.packed!, packed);
  device.write(made.inputs!, inputs);
  device.write(weights[0]!, table);
  for (const [l, { tensors }] of layers.entries()) device.write(tensors.packed, packed.subarray(l * block, (l + 1) * block));
  const second = inputs.subarray(block);
  device.write(
    weights[1]!,
    Float32Array.from({ length: 4 * H * H }, (_, i) => second[(i % H) * 4 * H + Math.floor(i / H)]!),
  );
  device.write(weights[2]!, second.subarray(4 * H * H));
  try {
    const run = async (plan: typeof plain): Promise<void> => {
      await plan.run();
      await device.finish();
    };
    await run(plain);
    await run(wavefront);
    const expected = await device.read(top);
    const actual = (await device.read(made.h!)).subarray(sizeOf(top.shape));
    let error = 0;
    let norm = 0;
    for (let i = 0; i < expected.length; i++) {
      error += (expected[i]! - actual[i]!) ** 2;
      norm += expected[i]! ** 2;
    }
    if (!(error <= 1e-10 * norm)) throw new Error(`the wavefront's outputs differ: relative L2 ${Math.sqrt(error / norm)}`);
    const timings = await timeInterleaved(
      [plain, wavefront].map((plan) => ({ times: 1, run: () => run(plan) })),
      rounds,
    );
    return [
      { name: "01 layer by layer", timing: timings[0]!, dispatches: plain.dispatches },
      { name: "02-wavefront", timing: timings[1]!, dispatches: wavefront.dispatches },
    ];
  } finally {
    plain.dispose();
    wavefront.dispose();
  }
}

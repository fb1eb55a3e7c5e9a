// Two LSTM layers, forward: layer by layer, as the library does it, against a wavefront over (layer, step).
import source from "./02-wavefront.wgsl?raw";
import { timeInterleaved, type Timing } from "../../../src/bench/measure.ts";
import type { CellLayer } from "../../../src/kernels/cell.ts";
import { lstmCell } from "../../../src/kernels/lstm.ts";
import type { Device, Plan } from "../../../src/runtime/device.ts";
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
  const plain = await device.record("layers", (r) => {
    const tokens = r.tensor({ name: "tokens", shape: [T, B], dtype: "u32" });
    const config = { hiddenSize: H };
    const weightsOf = (inputSize: number): Record<string, Tensor> =>
      Object.fromEntries(lstmCell.parameters(config, [inputSize]).map((spec) => [spec.name, r.tensor(spec.tensor)]));
    const weights = [weightsOf(V), weightsOf(H)];
    const site = { T, B, config };
    const first = lstmCell.record(r, {
      ...site,
      name: "l0",
      weights: weights[0]!,
      input: { parts: [], tokens: { tokens, V } },
    });
    const second = lstmCell.record(r, { ...site, name: "l1", weights: weights[1]!, input: { parts: [first.output] } });
    const each = (f: (layer: CellLayer) => void): void => [first, second].forEach(f);
    each(({ forward }) => forward.begin());
    each(({ forward }) => forward.steps(0, T));
    return { weights, top: second.tensors.h! };
  });
  const wavefront = await device.record("wavefront", (r) => {
    const tensor = (name: string, ...shape: number[]): Tensor => r.tensor({ name, shape });
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
    return tensors;
  });
  const { weights, top } = plain.made;
  const made = wavefront.made;
  // The same numbers for both, each in its own layout.
  const block = 4 * H * (H + 1);
  const packed = wave(L * block, 1);
  const inputs = wave(L * block, 2);
  const table = wave(V * 4 * H, 3);
  device.write(made.xProjection, table);
  device.write(made.packed, packed);
  device.write(made.inputs, inputs);
  /** W [4·H, columns] from Wᵀ. */
  const transposed = (values: Float32Array, columns: number): Float32Array =>
    Float32Array.from({ length: 4 * H * columns }, (_, i) => values[(i % columns) * 4 * H + Math.floor(i / columns)]!);
  const ofLayer = (values: Float32Array, l: number): Float32Array => values.subarray(l * block, (l + 1) * block);
  for (const [l, tensors] of weights.entries()) {
    device.write(tensors.weight_ih!, l === 0 ? transposed(table, V) : transposed(ofLayer(inputs, l), H));
    if (l > 0) device.write(tensors.bias_ih!, ofLayer(inputs, l).subarray(4 * H * H));
    device.write(tensors.weight_hh!, transposed(ofLayer(packed, l), H));
    device.write(tensors.bias_hh!, ofLayer(packed, l).subarray(4 * H * H));
  }
  try {
    const run = async (plan: Plan): Promise<void> => {
      await plan.run();
      await device.finish();
    };
    await run(plain);
    await run(wavefront);
    const expected = await device.read(top);
    const actual = (await device.read(made.h)).subarray(sizeOf(top.shape));
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

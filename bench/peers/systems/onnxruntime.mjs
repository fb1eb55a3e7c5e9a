// ONNX Runtime Web: one LSTM node, forward only; it does not train.
import { forwardData } from "../task.mjs";

/** @param {import("../task.mjs").Task} task @returns {Promise<import("../task.mjs").System>} */
export async function setup(task) {
  const ort = await import("onnxruntime-web/webgpu");
  const { onnx } = (await import("onnx-proto")).default;
  const { H, B, T, E } = task;
  const data = forwardData(task);
  // ONNX has the gates in the order i, o, f, g, and both biases in one row.
  const reordered = (/** @type {Float32Array} */ values, /** @type {number} */ width) => {
    const block = H * width;
    const out = new Float32Array(values.length);
    [0, 3, 1, 2].forEach((from, to) => out.set(values.subarray(from * block, (from + 1) * block), to * block));
    return out;
  };
  const bias = new Float32Array(8 * H);
  bias.set(reordered(data.biasIh, 1), 0);
  bias.set(reordered(data.biasHh, 1), 4 * H);
  const FLOAT = 1;
  const tensor = (/** @type {string} */ name, /** @type {number[]} */ dims, /** @type {Float32Array} */ values) => ({
    name,
    dims,
    dataType: FLOAT,
    rawData: new Uint8Array(values.buffer),
  });
  const valueInfo = (/** @type {string} */ name, /** @type {number[]} */ dims) => ({
    name,
    type: { tensorType: { elemType: FLOAT, shape: { dim: dims.map((dimValue) => ({ dimValue })) } } },
  });
  const model = onnx.ModelProto.encode(
    onnx.ModelProto.fromObject({
      irVersion: 8,
      opsetImport: [{ domain: "", version: 14 }],
      graph: {
        name: "lstm",
        input: [valueInfo("x", [T, B, E])],
        output: [valueInfo("y", [T, 1, B, H])],
        initializer: [
          tensor("w", [1, 4 * H, E], reordered(data.weightIh, E)),
          tensor("r", [1, 4 * H, H], reordered(data.weightHh, H)),
          tensor("b", [1, 8 * H], bias),
        ],
        node: [
          { opType: "LSTM", input: ["x", "w", "r", "b"], output: ["y"], attribute: [{ name: "hidden_size", type: 2, i: H }] },
        ],
      },
    }),
  ).finish();
  ort.env.wasm.numThreads = 1;
  const session = await ort.InferenceSession.create(model, { executionProviders: ["webgpu"] });
  return {
    async step() {
      const { y } = await session.run({ x: new ort.Tensor("float32", data.x, [T, B, E]) });
      const values = /** @type {Float32Array} */ (await y.getData());
      return values.reduce((a, b) => a + b, 0);
    },
  };
}

// TensorFlow.js with its layers, as its users train: embedding → recurrent layer → dense softmax, trainOnBatch with Adam.
import { batchOf, LEARNING_RATE } from "../task.mjs";

/** @param {import("../task.mjs").Task} task @param {{ backend?: string }} [options] @returns {Promise<import("../task.mjs").System>} */
export async function setup(task, { backend = "webgpu" } = {}) {
  const tf = await import("@tensorflow/tfjs");
  if (backend === "webgpu") await import("@tensorflow/tfjs-backend-webgpu");
  if (!(await tf.setBackend(backend))) throw new Error(`TensorFlow.js has no ${backend} backend here`);
  await tf.ready();
  const { cell, H, B, T, V, E } = task;
  const recurrent = { rnn: tf.layers.simpleRNN, gru: tf.layers.gru, lstm: tf.layers.lstm }[cell];
  const model = tf.sequential();
  model.add(tf.layers.embedding({ inputDim: V, outputDim: E, inputLength: T }));
  // Keras's own default is the sigmoid that is cut from lines; the others use the true one.
  // Its default, orthogonal recurrent weights, takes all the memory there is at H = 512.
  const start = { recurrentInitializer: "glorotUniform" };
  model.add(recurrent({ units: H, returnSequences: true, ...start, ...(cell !== "rnn" && { recurrentActivation: "sigmoid" }) }));
  model.add(tf.layers.dense({ units: V, activation: "softmax" }));
  model.compile({ optimizer: tf.train.adam(LEARNING_RATE), loss: "categoricalCrossentropy" });
  return {
    async step(step) {
      const { inputs, targets } = batchOf(task, step);
      // Batch-major here.
      const x = tf.tidy(() => tf.transpose(tf.tensor2d(inputs, [T, B], "int32")));
      const y = tf.tidy(() => tf.oneHot(tf.transpose(tf.tensor2d(targets, [T, B], "int32")), V));
      const loss = await model.trainOnBatch(x, y);
      tf.dispose([x, y]);
      return /** @type {number} */ (loss);
    },
  };
}

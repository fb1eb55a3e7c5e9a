// Gatewise through its public API, from the build in dist/.
import { LanguageModel, openDevice, Recurrent, Trainer } from "../../../dist/index.js";
import { forwardData, LEARNING_RATE } from "../task.mjs";

/** @param {import("../task.mjs").Task} task @param {{ tuningStore?: any }} [options] @returns {Promise<import("../task.mjs").System>} */
export async function setup(task, options = {}) {
  const { kind, cell, H, B, T, V, E, tokens } = task;
  const device = await openDevice({ prefer: "webgpu", ...options });
  if (kind === "forward") {
    const { x, weightIh, weightHh, biasIh, biasHh } = forwardData(task);
    const layer = Recurrent.create(device, { cell, inputSize: E, hiddenSize: H });
    layer.loadStateDict({ weight_ih_l0: weightIh, weight_hh_l0: weightHh, bias_ih_l0: biasIh, bias_hh_l0: biasHh });
    return {
      async step() {
        const { output } = await layer.forward(x, { T, B });
        return output.reduce((/** @type {number} */ a, /** @type {number} */ b) => a + b, 0);
      },
    };
  }
  const model = LanguageModel.create(device, { cell, vocabSize: V, embeddingSize: E, hiddenSize: H, seed: 1 });
  const trainer = Trainer.create(model, Uint32Array.from(tokens), {
    batchSize: B,
    seqLen: T,
    learningRate: LEARNING_RATE,
    clip: 0,
    valFraction: 0,
    logInterval: 1,
  });
  // A run of many steps, as users have it: each step's loss is read while the next ones compute.
  return {
    async steps(count) {
      const losses = [];
      for await (const event of trainer.run({ maxSteps: trainer.step + count }))
        if (event.event === "step") losses.push(event.loss);
      return losses;
    },
  };
}

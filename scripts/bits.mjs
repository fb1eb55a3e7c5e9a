#!/usr/bin/env node
// What must not change while code is moved: a hash of every bit that trains, samples, and goes through a recurrent layer,
// one a line. Compare its output before and after:
//   node scripts/bits.mjs [cpu|webgpu] [FOLDER]     FOLDER: a build, dist by default
// GATEWISE_ADAPTER=swiftshader or system says which adapter. Nothing is tuned, so that the choices are always the same.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { findAdapter } from "./adapter.mjs";

const [kind = "cpu", folder = "dist"] = process.argv.slice(2);
if (kind === "webgpu" && !process.env.GATEWISE_BITS) {
  // Drivers are named by the environment of a process at its start.
  const env = { ...process.env, ...(await findAdapter()).env, GATEWISE_BITS: "1" };
  process.exit(spawnSync(process.execPath, process.argv.slice(1), { stdio: "inherit", env }).status ?? 1);
}

const { CharTokenizer, CHECKED_CELLS, LanguageModel, PRESETS, Recurrent, saveCheckpoint, Trainer } = await import(
  pathToFileURL(resolve(folder, "index.js")).href
);
const { openNodeDevice } = await import(pathToFileURL(resolve(folder, "node.js")).href);
const device = await openNodeDevice({ prefer: kind, tuning: "off" });
console.error(device.description);

/** @param {Record<string, any>} values */
function hash(values) {
  const sum = createHash("sha256");
  for (const [name, value] of Object.entries(values)) {
    sum.update(name);
    sum.update(ArrayBuffer.isView(value) ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength) : String(value));
  }
  return sum.digest("hex").slice(0, 16);
}

/** @param {string} name @param {() => Promise<Record<string, any>>} run */
async function report(name, run) {
  const result = await run().catch((error) => ({ error: error.code ?? error }));
  console.log(`${hash(result)}  ${name}${"error" in result ? ` (${result.error})` : ""}`);
}

/** Every form of every cell. */
const CELLS = Object.entries(CHECKED_CELLS).flatMap(([name, form]) =>
  "input" in form ? [] : [/** @type {const} */ ([name.replaceAll("-", " "), form])],
);

/** @param {number} length @param {number} seed */
const numbers = (length, seed) => Float32Array.from({ length }, (_, i) => Math.sin(1.7 * i * i + 12.9 * i + seed));

/** @param {Record<string, any>} config */
async function hasCellState(config) {
  const layer = Recurrent.create(device, config);
  const { c } = await layer.step(new Float32Array(config.inputSize), { B: 1 });
  layer.dispose();
  return c !== undefined;
}

/** @param {Record<string, any>} options @param {{ T: number, B: number, lengths?: number[], states?: boolean }} call */
async function passes(options, { T, B, lengths, states }) {
  const layer = Recurrent.create(device, { inputSize: 3, hiddenSize: 5, seed: 3, ...options });
  const { inputSize, hiddenSize: H, numLayers, bidirectional, dropout } = layer.config;
  const D = bidirectional ? 2 : 1;
  /** @param {number} seed */
  const state = (seed) => (states ? numbers(numLayers * D * B * H, seed) : undefined);
  const ofCell = await hasCellState({ ...layer.config, bidirectional: false });
  const given = { T, B, lengths, training: dropout > 0, h0: state(2), ...(ofCell && { c0: state(3) }) };
  const results = { ...(await layer.forward(numbers(T * B * inputSize, 1), given)) };
  const finals = { dhN: state(5), ...(ofCell && { dcN: state(6) }) };
  const { gradients, ...rest } = await layer.backward(numbers(T * B * D * H, 4), finals);
  Object.assign(results, rest, gradients);
  if (D === 1) Object.assign(results, await layer.step(numbers(B * inputSize, 7), { B }));
  layer.dispose();
  return results;
}

const TEXT = "the quick brown fox jumps over the lazy dog. ".repeat(40);

/** @param {Record<string, any>} config @param {Record<string, any>} settings */
async function training(config, settings) {
  const tokenizer = CharTokenizer.fromText(TEXT);
  // The presets of blocks bring sizes; their embeddings are as wide as the blocks.
  const embeddingSize = "hiddenSize" in (PRESETS[config.cell] ?? {}) ? 13 : 6;
  const model = LanguageModel.create(device, { embeddingSize, hiddenSize: 13, seed: 2, ...config, vocabSize: tokenizer.size });
  const options = { batchSize: 5, seqLen: 7, logInterval: 1, evalInterval: 3, valFraction: 0.1, sampleInterval: 0, seed: 4 };
  const trainer = Trainer.create(model, tokenizer.encode(TEXT), { ...options, tokenizer, ...settings });
  /** @type {Record<string, any>} */
  const results = {};
  for await (const event of trainer.run({ maxSteps: 4 })) {
    if (event.event === "step") results[`loss ${event.step}`] = event.loss;
    if (event.event === "eval") results[`valLoss ${event.step}`] = event.valLoss;
  }
  Object.assign(results, { dispatches: trainer.dispatches, checkpoint: new Uint8Array(await saveCheckpoint(trainer)) });
  results.text = await model.sample(tokenizer, { prompt: "the ", length: 80, seed: 5 });
  trainer.dispose();
  model.dispose();
  return results;
}

for (const [name, cell] of CELLS) {
  for (const bidirectional of [false, true])
    for (const numLayers of [1, 3])
      for (const lengths of [undefined, [4, 0, 2]])
        for (const states of [false, true]) {
          const title = [name, bidirectional && "two directions", `${numLayers} layers`, lengths && "ragged", states && "states"];
          await report(`Recurrent: ${title.filter(Boolean).join(", ")}`, () =>
            passes({ ...cell, bidirectional, numLayers }, { T: 4, B: 3, lengths, states }),
          );
        }
  for (const bidirectional of [false, true])
    await report(`Recurrent: ${name}, dropout${bidirectional ? ", two directions" : ""}`, () =>
      passes({ ...cell, bidirectional, numLayers: 3, dropout: 0.4 }, { T: 4, B: 3, lengths: [4, 1, 3], states: true }),
    );
  await report(`Recurrent: ${name}, no bias`, () => passes({ ...cell, bias: false, numLayers: 2 }, { T: 4, B: 3 }));
  await report(`Recurrent: ${name}, wide`, () =>
    passes({ ...cell, hiddenSize: 70, inputSize: 9 }, { T: 6, B: 17, states: true }),
  );
  for (const input of ["embedding", "one-hot"]) {
    await report(`training: ${name}, ${input}`, () => training({ ...cell, input }, {}));
    await report(`training: ${name}, ${input}, three layers, dropout, last step, zero state`, () =>
      training({ ...cell, input, numLayers: 3, dropout: 0.3, orthogonal: true }, { loss: "last", state: "zero" }),
    );
  }
  await report(`training: ${name}, a batch smaller than the vocabulary`, () =>
    training({ ...cell, numLayers: 2 }, { batchSize: 2, seqLen: 3, optimizer: "sgd" }),
  );
  await report(`training: ${name}, f16`, () => training({ ...cell, numLayers: 2, precision: "f16" }, {}));
}
await report("training: lstm, forget bias", () => training({ cell: "lstm", forgetBias: 1 }, {}));
device.dispose();

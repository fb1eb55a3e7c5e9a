// node examples/read-checkpoint.mjs MODEL.safetensors: opens what was trained elsewhere, and lets it write. A page does the
// same with the bytes that `fetch` or a file input gives it.
import { readFile } from "node:fs/promises";
import { loadCheckpoint, modelFromCheckpoint } from "gatewise";
import { openNodeDevice } from "gatewise/node";

const checkpoint = loadCheckpoint(await readFile(process.argv[2] ?? "model.safetensors"));
const model = modelFromCheckpoint(await openNodeDevice(), checkpoint);
console.log(await model.sample(checkpoint.tokenizer, { length: 200, temperature: 0.8, seed: 1 }));
process.exit();

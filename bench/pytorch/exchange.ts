// The part of check_pytorch.py that is Gatewise's: runs as folders for PyTorch, and what comes of folders from there.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CharTokenizer } from "../../src/data/tokenizer.ts";
import { exportPyTorch, importTensors, type ModelFiles } from "../../src/interop/index.ts";
import { cellForms, inBlock } from "../../src/models/cells.ts";
import { LanguageModel, type LanguageModelOptions } from "../../src/models/language-model.ts";
import { PRESETS } from "../../src/models/presets.ts";
import type { Device } from "../../src/runtime/device.ts";
import { openDevice } from "../../src/runtime/open.ts";
import {
  loadCheckpoint,
  modelFromCheckpoint,
  resumeTrainer,
  saveCheckpoint,
  type Checkpoint,
} from "../../src/training/checkpoint.ts";
import { Trainer } from "../../src/training/trainer.ts";
import { logitsOf } from "./logits.ts";

const [T, B] = [33, 3];
/** Steps that Gatewise does first, and those that both do then. */
const [BEFORE, AFTER] = [10, 20];
const SIZES = { batchSize: 4, seqLen: 16, learningRate: 5e-3, logInterval: 1, evalInterval: 0, sampleInterval: 0 };

/** Every form of one to three layers on both inputs, and the presets in blocks. */
function cases(): Readonly<Record<string, Omit<LanguageModelOptions, "vocabSize">>> {
  const bare = Object.entries(cellForms()).filter(([, form]) => !inBlock(form));
  return Object.fromEntries([
    ...bare.flatMap(([name, form]) =>
      [1, 2, 3].flatMap((numLayers) =>
        (["embedding", "one-hot"] as const).map((input) => [
          `${name}-${input}-${numLayers}`,
          { ...form, input, numLayers, hiddenSize: 24, embeddingSize: 12 },
        ]),
      ),
    ),
    ...Object.entries(PRESETS).filter(([, preset]) => inBlock(preset)),
  ]);
}

async function losses(trainer: Trainer, steps: number): Promise<readonly number[]> {
  const found: number[] = [];
  for await (const event of trainer.run({ maxSteps: trainer.step + steps })) if (event.event === "step") found.push(event.loss);
  return found;
}

/** A checkpoint's logits, and the losses of its next steps. */
async function told(device: Device, checkpoint: Checkpoint, text: string): Promise<object> {
  const V = checkpoint.config.vocabSize;
  const model = modelFromCheckpoint(device, checkpoint);
  const tokens = Uint32Array.from({ length: T * B }, (_, i) => (i * i + 3 * i) % V);
  const logits = await logitsOf(model, tokens, T, B);
  const trainer = resumeTrainer(model, checkpoint.tokenizer.encode(text), checkpoint);
  const next = await losses(trainer, AFTER);
  trainer.dispose();
  model.dispose();
  return { T, B, V, tokens: [...tokens], logits: [...logits], losses: next, step: checkpoint.training!.step };
}

const filesIn = (folder: string): ModelFiles =>
  Object.fromEntries(
    readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
      entry.isFile() ? [[entry.name, readFileSync(join(folder, entry.name))]] : [],
    ),
  );

/** Makes FOLDER/CASE of each case, and FOLDER/CASE.json of what it computes. */
async function make(device: Device, folder: string, text: string): Promise<void> {
  const tokenizer = CharTokenizer.fromText(text);
  for (const [name, options] of Object.entries(cases())) {
    const model = LanguageModel.create(device, { ...options, vocabSize: tokenizer.size });
    const trainer = Trainer.create(model, tokenizer.encode(text), { ...SIZES, totalSteps: BEFORE + AFTER, tokenizer });
    await losses(trainer, BEFORE);
    const bytes = await saveCheckpoint(trainer);
    trainer.dispose();
    model.dispose();
    const checkpoint = loadCheckpoint(bytes);
    const files = exportPyTorch(checkpoint);
    mkdirSync(join(folder, name));
    for (const [file, content] of Object.entries<string | Uint8Array>({ ...files }))
      writeFileSync(join(folder, name, file), content);
    writeFileSync(join(folder, `${name}.json`), JSON.stringify(await told(device, checkpoint, text)));
  }
}

/** Reads FOLDER/NAME of each name, which PyTorch trained, and writes FOLDER/NAME.json of what it computes here. */
async function back(device: Device, folder: string, text: string, names: readonly string[]): Promise<void> {
  for (const name of names) {
    const checkpoint = importTensors(filesIn(join(folder, name)));
    writeFileSync(join(folder, `${name}.json`), JSON.stringify(await told(device, checkpoint, text)));
  }
}

export async function main(what: "make" | "back", folder: string, ...names: readonly string[]): Promise<void> {
  const device = await openDevice({ prefer: "cpu" });
  const text = readFileSync(join(folder, "text.txt"), "utf8");
  await (what === "make" ? make(device, folder, text) : back(device, folder, text, names));
  device.dispose();
}

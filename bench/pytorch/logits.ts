// A model's logits, for others to compare with theirs.
import { findCheckpoint } from "../../src/cli/files.ts";
import type { LanguageModel } from "../../src/models/language-model.ts";
import { recordPass } from "../../src/models/pass.ts";
import { openDevice } from "../../src/runtime/open.ts";
import type { NumberArray } from "../../src/runtime/tensor.ts";
import { modelFromCheckpoint } from "../../src/training/checkpoint.ts";

/** Logits [T, B, V] of tokens [T, B], from a zero state. */
export async function logitsOf(model: LanguageModel, tokens: Uint32Array, T: number, B: number): Promise<NumberArray> {
  const { device } = model;
  const plan = await device.record("logits", (recorder) => recordPass(recorder, model, { T, B, loss: "all" }));
  try {
    device.write(plan.made.inputs, tokens);
    device.write(plan.made.targets, tokens);
    await plan.run();
    return await device.read(plan.made.logits);
  } finally {
    plan.dispose();
  }
}

/** Prints those of a checkpoint, or of a run's newest, over tokens of all kinds, as JSON. */
export async function main(path: string): Promise<void> {
  const [T, B] = [64, 2];
  const { checkpoint } = await findCheckpoint(path, () => {});
  const V = checkpoint.config.vocabSize;
  const model = modelFromCheckpoint(await openDevice({ prefer: "cpu" }), checkpoint);
  const tokens = Uint32Array.from({ length: T * B }, (_, i) => (i * i + 3 * i) % V);
  console.log(JSON.stringify({ T, B, V, tokens: [...tokens], logits: [...(await logitsOf(model, tokens, T, B))] }));
}

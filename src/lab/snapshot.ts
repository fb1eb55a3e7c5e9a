// Snapshots of models that are made here, not in the training worker: small ones that a view trains, and models as they began.
import type { CharTokenizer } from "../data/tokenizer.ts";
import { LanguageModel } from "../models/language-model.ts";
import { openDevice } from "../runtime/device.ts";
import type { ModelSnapshot } from "./protocol.ts";

/** A model as it is now, to be traced. */
export async function snapshotOf(model: LanguageModel, tokenizer: CharTokenizer): Promise<ModelSnapshot> {
  const stateDict = await model.stateDict();
  return { preset: "lstm", step: 0, seed: 1, config: model.config, stateDict, tokenizer: tokenizer.toJSON() };
}

/** A model with the weights that its seed gives: as it was before its first step, if it began freshly. */
export async function freshSnapshot(snapshot: ModelSnapshot): Promise<ModelSnapshot> {
  const device = await openDevice({ prefer: "cpu", precision: "float64" });
  try {
    const model = LanguageModel.create(device, { ...snapshot.config, seed: snapshot.seed });
    return { ...snapshot, step: 0, stateDict: await model.stateDict() };
  } finally {
    device.dispose();
  }
}

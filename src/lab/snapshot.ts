// Snapshots that the inspector's worker makes itself: of small models that a view trains, and of models before training.
import type { CharTokenizer } from "../data/tokenizer.ts";
import { parameterCount } from "../models/config.ts";
import { LanguageModel } from "../models/language-model.ts";
import { openDevice } from "../runtime/device.ts";
import type { ModelSnapshot } from "./protocol.ts";

/** A model as it is now, to be traced. */
export async function snapshotOf(model: LanguageModel, tokenizer: CharTokenizer): Promise<ModelSnapshot> {
  const stateDict = await model.stateDict();
  return { preset: "lstm", step: 0, seed: 1, config: model.config, stateDict, tokenizer: tokenizer.toJSON() };
}

/** The same model untrained, with the weights that its seed gives. */
async function freshSnapshot(snapshot: ModelSnapshot): Promise<ModelSnapshot> {
  const device = await openDevice({ prefer: "cpu", precision: "float64" });
  try {
    const model = LanguageModel.create(device, { ...snapshot.config, seed: snapshot.seed });
    return { ...snapshot, step: 0, stateDict: await model.stateDict() };
  } finally {
    device.dispose();
  }
}

/** Multiplications that a view may cost: about a second. */
const WORK = 1e9;
const LEAST_READ = 300;

/** The beginning of a text, as much of it as reading does not take long: fewer characters for larger models. */
export function readable({ config }: ModelSnapshot, text: string, most: number): readonly string[] {
  const affordable = Math.max(LEAST_READ, Math.floor(WORK / parameterCount(config)));
  return [...text].slice(0, Math.min(most, affordable));
}

const kept = new Map<string, unknown>();
const MOST_KEPT = 16;

/** What a snapshot's untrained model gives for a text: as long as a model trains that stays the same, and is computed once. */
export async function ofUntrained<T>(
  snapshot: ModelSnapshot,
  what: string,
  text: string,
  compute: (fresh: ModelSnapshot) => T,
): Promise<T> {
  const key = JSON.stringify([what, snapshot.config, snapshot.seed, snapshot.tokenizer.codePoints, text]);
  if (!kept.has(key)) {
    if (kept.size >= MOST_KEPT) kept.delete(kept.keys().next().value!);
    kept.set(key, compute(await freshSnapshot(snapshot)));
  }
  return kept.get(key) as T;
}

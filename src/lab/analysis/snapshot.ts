// What the inspector's worker makes of a snapshot: the same model with fresh weights, and how much of a text it may read.
import { parameterCount } from "../../models/config.ts";
import { LanguageModel } from "../../models/language-model.ts";
import type { ModelSnapshot } from "../protocol.ts";
import { onReference } from "./reference.ts";

/** The same model untrained, with the weights that its seed gives. */
export const freshSnapshot = (snapshot: ModelSnapshot): Promise<ModelSnapshot> =>
  onReference(async (device) => {
    const model = LanguageModel.create(device, { ...snapshot.config, seed: snapshot.seed });
    return { ...snapshot, step: 0, stateDict: await model.stateDict() };
  });

/** Multiplications that looking into a model may take: about a second. */
const WORK = 1e9;
/** Characters that are read in any case. */
const LEAST_READ = 100;

/** How often something may be done that takes so many passes over all parameters: less often in larger models. */
export const affordable = ({ config }: ModelSnapshot, passes: number, most: number, least: number): number =>
  Math.max(least, Math.min(most, Math.floor(WORK / (passes * parameterCount(config)))));

/** The beginning of a text, as much of it as reading does not take long. */
export const readable = (snapshot: ModelSnapshot, text: string, most: number): string =>
  [...text].slice(0, affordable(snapshot, 1, most, Math.min(most, LEAST_READ))).join("");

const kept = new Map<string, unknown>();
const MOST_KEPT = 16;

/** What a snapshot's untrained model gives for a text: as long as a model trains that stays the same, and is computed once. */
export async function ofUntrained<T>(
  snapshot: ModelSnapshot,
  what: string,
  text: string,
  compute: (fresh: ModelSnapshot) => Promise<T> | T,
): Promise<T> {
  const key = JSON.stringify([what, snapshot.config, snapshot.seed, snapshot.tokenizer, text]);
  if (!kept.has(key)) {
    if (kept.size >= MOST_KEPT) kept.delete(kept.keys().next().value!);
    kept.set(key, await compute(await freshSnapshot(snapshot)));
  }
  return kept.get(key) as T;
}

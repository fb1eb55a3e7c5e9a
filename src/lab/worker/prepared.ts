// The models of the prepared runs, fetched when they are asked for, and what they write.
import { GatewiseError } from "../../errors.ts";
import type { PresetName } from "../../models/presets.ts";
import { openDevice } from "../../runtime/open.ts";
import { loadCheckpoint } from "../../training/checkpoint.ts";
import { tokenizerOf } from "../analysis/pieces.ts";
import { modelOn } from "../analysis/reference.ts";
import { freshSnapshot } from "../analysis/snapshot.ts";
import { PREPARED, preparedOf } from "../prepared.ts";
import type { ModelSnapshot, TokenizerJson } from "../protocol.ts";

const FILES = import.meta.glob<string>("../prepared/*/*.safetensors", { query: "?url", import: "default", eager: true });

const kept = new Map<string, Promise<ModelSnapshot>>();

/** A prepared model after a step that was kept; the one of step 0 is made of the seed. */
export function preparedModel(preset: PresetName, step: number): Promise<ModelSnapshot> {
  const name = `${preset} ${step}`;
  const model = kept.get(name) ?? makeModel(preset, step);
  kept.set(name, model);
  // What could not be loaded is asked for again the next time.
  model.catch(() => kept.delete(name));
  return model;
}

async function makeModel(preset: PresetName, step: number): Promise<ModelSnapshot> {
  const { settings, steps } = PREPARED[preparedOf(preset)];
  if (step === 0) return freshSnapshot(await preparedModel(preset, steps.at(-1)!));
  const response = await fetch(FILES[`../prepared/${preset}/checkpoint-${step}.safetensors`]!).catch(() => undefined);
  if (!response?.ok) throw new GatewiseError("E_DATA", "a prepared model could not be loaded; are you offline?");
  const { config, tensors, tokenizer } = loadCheckpoint(await response.arrayBuffer());
  return {
    preset,
    step,
    seed: settings.seed,
    config,
    stateDict: Object.fromEntries(Object.entries(tensors).map(([tensor, { data }]) => [tensor, data])),
    tokenizer: tokenizer.toJSON() as TokenizerJson,
  };
}

let writing = new AbortController();

export interface Wish {
  readonly prompt?: string;
  readonly length: number;
  readonly seed: number;
}

/** Has a prepared model write, piece by piece, in place of what was being written before. */
export async function write(preset: PresetName, step: number, wish: Wish, onText: (text: string) => void): Promise<void> {
  writing.abort();
  const { signal } = (writing = new AbortController());
  const snapshot = await preparedModel(preset, step);
  const device = await openDevice({ prefer: "cpu" });
  try {
    const model = modelOn(device, snapshot);
    await model.sample(tokenizerOf(snapshot), { ...wish, temperature: 0.5, signal, onText });
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    device.dispose();
  }
}

// The steps of the evolution: models by name, each by what differs.
import { inBlock } from "./cells.ts";
import type { LanguageModelConfig } from "./config.ts";

/** Configurations by name, in the order in which the field found them. */
export const PRESETS = {
  "one-hot-rnn": { cell: "rnn", input: "one-hot" },
  "embedding-rnn": { cell: "rnn", input: "embedding" },
  gru: { cell: "gru", input: "embedding" },
  lstm: { cell: "lstm", input: "embedding" },
  // About 100,000 parameters each.
  "min-gru": { cell: "min-gru", input: "embedding", hiddenSize: 48, numLayers: 3 },
  "min-lstm": { cell: "min-lstm", input: "embedding", hiddenSize: 42, numLayers: 3 },
  s4d: { cell: "s4d", input: "embedding", hiddenSize: 68, numLayers: 3 },
  mamba: { cell: "mamba", input: "embedding", hiddenSize: 64, numLayers: 3 },
} as const satisfies Record<string, Partial<LanguageModelConfig>>;
/** A name in `PRESETS`. */
export type PresetName = keyof typeof PRESETS;
export const PRESET_NAMES = Object.keys(PRESETS) as readonly PresetName[];
/** The generations that are of one size, to be set side by side; the others stand in blocks and have sizes of their own. */
export const GENERATIONS: readonly PresetName[] = PRESET_NAMES.filter((name) => !inBlock(PRESETS[name]));

/** "lstm", "one-hot-rnn": the preset that has a configuration's cell and input, or what it would be called. */
export function modelName({ cell, input }: Pick<LanguageModelConfig, "cell" | "input">): string {
  const preset = PRESET_NAMES.find((name) => PRESETS[name].cell === cell && PRESETS[name].input === input);
  return preset ?? (input === "one-hot" ? `${input}-${cell}` : cell);
}

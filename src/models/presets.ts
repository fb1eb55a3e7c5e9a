// The steps of the evolution: models by name, each by what differs.
import type { LanguageModelConfig } from "./config.ts";

export const PRESETS = {
  "one-hot-rnn": { cell: "rnn", input: "one-hot" },
  "embedding-rnn": { cell: "rnn", input: "embedding" },
  gru: { cell: "gru", input: "embedding" },
  lstm: { cell: "lstm", input: "embedding" },
} as const satisfies Record<string, Partial<LanguageModelConfig>>;
export type PresetName = keyof typeof PRESETS;
export const PRESET_NAMES = Object.keys(PRESETS) as readonly PresetName[];

/** "lstm", "one-hot-rnn": the preset that has a configuration's cell and input, or what it would be called. */
export function modelName({ cell, input }: Pick<LanguageModelConfig, "cell" | "input">): string {
  const preset = PRESET_NAMES.find((name) => PRESETS[name].cell === cell && PRESETS[name].input === input);
  return preset ?? (input === "one-hot" ? `${input}-${cell}` : cell);
}

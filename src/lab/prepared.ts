// The runs that the lab brings along, so that there is something to see before anything was trained here: how they are
// trained (`npm run lab:prepare`), and which of their steps are kept. Step 0 is kept by none: the seed gives it.
import { GENERATIONS, PRESET_NAMES, type PresetName } from "../models/presets.ts";
import { presetsOf, RACE } from "./kinds.ts";
import { defaultsFor, type Settings } from "./settings.ts";

const settings: Settings = {
  ...defaultsFor("gpu", RACE),
  hiddenSize: 64,
  embeddingSize: 32,
  totalSteps: 3000,
  learningRate: 5e-3,
  schedule: "cosine",
};
const scans = PRESET_NAMES.filter((name) => !GENERATIONS.includes(name)).join();

const SCAN_STEPS = 800;

interface PreparedRun {
  readonly settings: Settings;
  /** Steps whose models can be looked at. */
  readonly steps: readonly number[];
}
export const PREPARED = {
  race: { settings, steps: [0, 10, 100, settings.totalSteps] },
  // In blocks they learn in fewer steps, which take longer.
  scans: {
    settings: { ...settings, presets: scans, hiddenSize: 48, numLayers: 2, totalSteps: SCAN_STEPS },
    steps: [0, SCAN_STEPS],
  },
} as const satisfies Record<string, PreparedRun>;
/** Those that were tried on the tasks of memory. */
export const MEMORY_PRESETS: readonly PresetName[] = ["one-hot-rnn", "lstm", "min-gru"];

export type PreparedName = keyof typeof PREPARED;
export const PREPARED_NAMES = Object.keys(PREPARED) as readonly PreparedName[];

export const preparedPresets = (name: PreparedName): readonly PresetName[] => presetsOf(PREPARED[name].settings);
export const preparedOf = (preset: PresetName): PreparedName =>
  PREPARED_NAMES.find((name) => preparedPresets(name).includes(preset))!;

// The models that the lab trains, in one table: what each is called, and how its lines look. A preset of the library that
// has no entry here goes by its name and gets a colour of its own.
import { GatewiseError } from "../errors.ts";
import type { LanguageModelConfig } from "../models/config.ts";
import { GENERATIONS, PRESET_NAMES, PRESETS, type PresetName } from "../models/presets.ts";

interface Kind {
  readonly title: string;
  readonly note: string;
  /** On light paper, and on dark. */
  readonly colour: readonly [light: string, dark: string];
  /** Lengths of strokes and gaps; none for an unbroken line. */
  readonly dash: readonly number[];
}

const KNOWN: Readonly<Partial<Record<PresetName, Kind>>> = {
  "one-hot-rnn": { title: "One-hot RNN", note: "Elman, 1990: a state", colour: ["#a65a00", "#f0a64b"], dash: [2, 3] },
  "embedding-rnn": {
    title: "Embedding RNN",
    note: "learned vectors for characters",
    colour: ["#b3206f", "#f57fb9"],
    dash: [8, 4],
  },
  gru: { title: "GRU", note: "Cho et al., 2014: gates that keep the state", colour: ["#0b7a6f", "#48cdb9"], dash: [9, 3, 2, 3] },
  lstm: { title: "LSTM", note: "Hochreiter & Schmidhuber, 1997: a gated cell", colour: ["#4a3fb8", "#a49bff"], dash: [] },
  "min-gru": {
    title: "minGRU",
    note: "Feng et al., 2024: gates without h, a scan",
    colour: ["#2e7d32", "#86d789"],
    dash: [5, 2],
  },
  "min-lstm": { title: "minLSTM", note: "the same of an LSTM", colour: ["#1668b5", "#74bbff"], dash: [12, 3] },
  s4d: {
    title: "S4D",
    note: "Gu et al., 2022: a linear system, the same at all times",
    colour: ["#7d6608", "#d9c65a"],
    dash: [3, 3],
  },
  mamba: {
    title: "Mamba",
    note: "Gu & Dao, 2023: the text opens and closes it",
    colour: ["#b9252b", "#ff8a80"],
    dash: [14, 3, 4, 3],
  },
};

/** Hues that lie far apart, whatever their number. */
const plain = (name: string, i: number): Kind => ({
  title: name.toUpperCase(),
  note: "",
  colour: [`oklch(48% 0.12 ${(i * 137) % 360})`, `oklch(80% 0.12 ${(i * 137) % 360})`],
  dash: [i, 3],
});

export const KINDS = Object.fromEntries(
  PRESET_NAMES.map((name, i) => [name, KNOWN[name] ?? plain(name, i)]),
) as unknown as Readonly<Record<PresetName, Kind>>;

/** Several of them at once, on the same batches. */
export const RACE = "race";
export type Choice = PresetName | typeof RACE;
export const CHOICES: readonly Choice[] = [...PRESET_NAMES, RACE];

export const titleOf = (choice: Choice): string => (choice === RACE ? "Race" : KINDS[choice].title);
export const noteOf = (choice: Choice): string => (choice === RACE ? "several on the same batches" : KINDS[choice].note);

/** What is chosen: a preset, or the race of some, whose names stand as the command line takes them, "gru,lstm". */
export interface Chosen {
  readonly preset: Choice;
  readonly presets: string;
}

/** Those that race until a visitor chooses others: more curves would be too many at once. */
export const RACERS = GENERATIONS.join();

/** Whether each of a race's names is that of a preset, and none comes twice. */
export function isRace(presets: string): boolean {
  const names = presets.split(",");
  return new Set(names).size === names.length && names.every((name) => PRESET_NAMES.includes(name as PresetName));
}

/** The presets that a run of a choice trains. */
export const presetsOf = ({ preset, presets }: Chosen): readonly PresetName[] =>
  preset === RACE ? (presets.split(",") as PresetName[]) : [preset];

/** The preset that a configuration is closest to. @throws GatewiseError E_CONFIG for a cell that no preset has */
export function presetOf({ cell, input }: LanguageModelConfig): PresetName {
  const alike = PRESET_NAMES.filter((name) => PRESETS[name].cell === cell);
  const found = alike.find((name) => PRESETS[name].input === input) ?? alike[0];
  if (found === undefined) throw new GatewiseError("E_CONFIG", `the lab has no model with the cell ${cell}`);
  return found;
}

const colourOf = (preset: PresetName): string => `var(--${preset})`;
/** For lines of SVG, and for what is written in their colour. */
export const lineStyle = (preset: PresetName) => ({ stroke: colourOf(preset), strokeDasharray: KINDS[preset].dash.join(" ") });
export const inkStyle = (preset: PresetName) => ({ fill: colourOf(preset) });

/** The style sheet in which each model's colour has its name. */
export function kindColours(): CSSStyleSheet {
  const sheet = new CSSStyleSheet();
  const root = (i: 0 | 1): string => `:root { ${PRESET_NAMES.map((name) => `--${name}: ${KINDS[name].colour[i]};`).join(" ")} }`;
  sheet.replaceSync(`${root(0)} @media (prefers-color-scheme: dark) { ${root(1)} }`);
  return sheet;
}

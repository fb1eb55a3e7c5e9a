// What a visitor can set: one table of fields makes the form, the checks of what comes from outside (address, storage,
// files), the address itself and the command line that does the same.
import * as v from "valibot";
import { given, nearest, shown } from "../checks.ts";
import { BOOKS } from "../data/books.ts";
import { GatewiseError } from "../errors.ts";
import { DEVICE_CHOICES, type DeviceChoice } from "../runtime/device.ts";
import type { TokenizerKind } from "../data/tokenizers.ts";
import type { OptimizerName } from "../training/optimizers.ts";
import type { ScheduleName } from "../training/schedule.ts";
import { CELL_DEFAULTS, CELL_NUMBERS, MEMORY_OPTIONS, usedBy, type CellNumber, type MemoryOption } from "../models/cells.ts";
import type { LanguageModelConfig } from "../models/config.ts";
import { PRESETS } from "../models/presets.ts";
import { CHOICES, isRace, presetsOf, RACE, RACERS, type Choice } from "./kinds.ts";

const OPTIMIZERS = ["adam", "adamw", "rmsprop", "sgd"] as const satisfies readonly OptimizerName[];
const SCHEDULES = ["constant", "cosine", "step"] as const satisfies readonly ScheduleName[];
const TOKENIZERS = ["char", "byte", "word", "bpe"] as const satisfies readonly TokenizerKind[];
/** Those whose vocabulary has a size that can be asked for. */
const SIZED: readonly TokenizerKind[] = ["word", "bpe"];
/** Tokens of such a vocabulary, if nothing else is said. */
export const VOCABULARY = 1024;

interface NumberField {
  readonly flag: string;
  readonly label: string;
  readonly help: string;
  readonly least: number;
  readonly most: number;
  readonly integer: boolean;
}
const field =
  (integer: boolean) =>
  (flag: string, label: string, least: number, most: number, help: string): NumberField => ({
    flag,
    label,
    help,
    least,
    most,
    integer,
  });
const [whole, real] = [field(true), field(false)];

/** "--state-size <n>" is the field "State size", which the command line calls state-size. */
function named(flags: string): readonly [flag: string, label: string] {
  const flag = /[a-z-]+/.exec(flags.slice(2))![0];
  return [flag, flag[0]!.toUpperCase() + flag.slice(1).replaceAll("-", " ")];
}

/** Flags as the command line's. */
export const NUMBERS = {
  hiddenSize: whole("hidden", "Hidden units", 1, 1024, "how much the state can hold; of scan cells the width of their block"),
  embeddingSize: whole("embedding", "Embedding size", 1, 512, "length of a character's vector"),
  numLayers: whole("layers", "Layers", 1, 4, "recurrent layers"),
  dropout: real("dropout", "Dropout", 0, 0.9, "between layers"),
  ...(Object.fromEntries(
    CELL_NUMBERS.map(({ name, range, flags, help }) => [name, whole(...named(flags), ...range, help)]),
  ) as Record<CellNumber, NumberField>),
  ...(Object.fromEntries(
    MEMORY_OPTIONS.map(({ name, flags, help }) => [name, real(...named(flags), 0, 10, `${help}; 0 for chance`)]),
  ) as Record<MemoryOption, NumberField>),
  batchSize: whole("batch", "Batch", 1, 256, "places in the text read side by side"),
  seqLen: whole("seq", "Sequence", 2, 256, "characters that gradients flow back through"),
  totalSteps: whole("steps", "Steps", 1, 1_000_000, "training steps"),
  learningRate: real("lr", "Learning rate", 1e-6, 10, "size of a step"),
  warmupSteps: whole("warmup", "Warm-up", 0, 100_000, "steps until the full rate"),
  clip: real("clip", "Clip", 0, 1000, "largest gradient norm; 0 for none"),
  weightDecay: real("weight-decay", "Weight decay", 0, 1, "pull of the weights to zero"),
  valFraction: real("val", "Validation part", 0, 0.5, "end of the text that is not trained on"),
  evalInterval: whole("eval-every", "Validate every", 0, 100_000, "steps between validations; 0 for none"),
  vocabSize: whole(
    "vocab-size",
    "Vocabulary",
    256,
    65_536,
    "most tokens, those of the 256 bytes included, of words or of pieces of words",
  ),
  seed: whole("seed", "Seed", 0, 4_294_967_295, "the same seed gives the same run"),
} as const satisfies Record<string, NumberField>;
export type NumberName = keyof typeof NUMBERS;
export const NUMBER_NAMES = Object.keys(NUMBERS) as readonly NumberName[];

export const WORDS = {
  optimizer: { flag: "optimizer", label: "Optimizer", words: OPTIMIZERS },
  schedule: { flag: "schedule", label: "Schedule", words: SCHEDULES },
  tokenizer: { flag: "tokenizer", label: "Tokens are", words: TOKENIZERS },
} as const;
export type WordName = keyof typeof WORDS;

export type Settings = Readonly<Record<NumberName, number>> & {
  /** A bundled book's name, or "own" for a text that was dropped or pasted. */
  readonly data: string;
  readonly preset: Choice;
  /** Those of a race. */
  readonly presets: string;
  readonly optimizer: OptimizerName;
  readonly schedule: ScheduleName;
  readonly tokenizer: TokenizerKind;
};

/** Whether its vocabulary is as large as the setting says, at the most. */
export const isSized = ({ tokenizer }: Pick<Settings, "tokenizer">): boolean => SIZED.includes(tokenizer);

/** How samples are drawn; may change while training goes on. */
export interface Sampling {
  readonly temperature: number;
  /** 0 for no limit. */
  readonly topK: number;
  readonly prompt: string;
}
export const SAMPLING: Sampling = { temperature: 0.8, topK: 0, prompt: "" };

const number = ({ least, most, integer }: NumberField) => {
  const ranged = v.pipe(v.number(), v.minValue(least), v.maxValue(most));
  return integer ? v.pipe(ranged, v.integer()) : ranged;
};
const NUMBER_SCHEMAS = Object.fromEntries(NUMBER_NAMES.map((name) => [name, number(NUMBERS[name])])) as Record<
  NumberName,
  ReturnType<typeof number>
>;
const PICKED = {
  data: v.picklist(["own", ...BOOKS.map(({ name }) => name)]),
  preset: v.picklist(CHOICES),
  presets: v.pipe(v.string(), v.check(isRace)),
  optimizer: v.picklist(OPTIMIZERS),
  schedule: v.picklist(SCHEDULES),
  tokenizer: v.picklist(TOKENIZERS),
};
export const SettingsSchema = v.object({ ...PICKED, ...NUMBER_SCHEMAS });
/**
 * Settings of a run that exists: a checkpoint may have brought sizes that the form does not offer, and it may be from a time
 * when there was less to choose.
 */
export const StoredSettingsSchema = v.object({
  ...PICKED,
  presets: v.optional(PICKED.presets, RACERS),
  tokenizer: v.optional(PICKED.tokenizer, "char"),
  ...(Object.fromEntries(
    NUMBER_NAMES.map((name) => [name, number({ ...NUMBERS[name], least: 0, most: Number.MAX_SAFE_INTEGER })]),
  ) as typeof NUMBER_SCHEMAS),
  seed: NUMBER_SCHEMAS.seed,
  vocabSize: v.optional(NUMBER_SCHEMAS.vocabSize, VOCABULARY),
  ...(Object.fromEntries(
    CELL_NUMBERS.map(({ name }) => [name, v.optional(NUMBER_SCHEMAS[name], CELL_DEFAULTS[name])]),
  ) as unknown as Pick<typeof NUMBER_SCHEMAS, CellNumber>),
  ...(Object.fromEntries(MEMORY_OPTIONS.map(({ name }) => [name, v.optional(NUMBER_SCHEMAS[name], 0)])) as unknown as Pick<
    typeof NUMBER_SCHEMAS,
    MemoryOption
  >),
});

/** Settings that the form could have given. @throws GatewiseError E_CONFIG that names the field that it could not */
export function checkForm(settings: Settings): Settings {
  const wrong = NUMBER_NAMES.find((name) => !fits(name, settings[name]));
  if (wrong === undefined) return settings;
  const { label } = NUMBERS[wrong];
  throw new GatewiseError("E_CONFIG", `${label} must be ${rangeOf(NUMBERS[wrong])}, got ${shown(settings[wrong])}`);
}
export const SamplingSchema = v.object({
  temperature: v.pipe(v.number(), v.minValue(0), v.maxValue(2)),
  topK: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(100)),
  prompt: v.pipe(v.string(), v.maxLength(200)),
});

/** What a number field takes, for people: "an integer from 1 to 1,024". */
export const rangeOf = ({ least, most, integer }: NumberField): string =>
  `${integer ? "a whole number" : "a number"} from ${least.toLocaleString("en")} to ${most.toLocaleString("en")}`;

/** Whether a number is one that the field takes. */
export const fits = (name: NumberName, value: number): boolean => v.is(NUMBER_SCHEMAS[name], value);

const VAL_FRACTION = 0.1;
/** Characters that tell the validation loss well enough; of a long book more would take longer than the training. */
const ENOUGH_VALIDATION = 20_000;
export const valFractionFor = (characters: number): number =>
  characters * VAL_FRACTION <= ENOUGH_VALIDATION ? VAL_FRACTION : Number((ENOUGH_VALIDATION / characters).toPrecision(2));

export type DeviceFamily = "gpu" | "software" | "wasm" | "cpu";

/** What is left of a preset's own width and of its layers. */
const SMALLER = { width: 1 / 2, layers: 2 } as const;
const SHARES = { gpu: { width: 1, layers: 3 }, software: SMALLER, wasm: SMALLER, cpu: { width: 1 / 4, layers: 1 } } as const;

/** Where a preset has sizes of its own, those that an adapter handles well. */
function ownSizes(family: DeviceFamily, preset: Choice): Partial<Settings> {
  const { hiddenSize, numLayers }: Partial<LanguageModelConfig> = preset === RACE ? {} : PRESETS[preset];
  const { width, layers } = SHARES[family];
  return given({
    hiddenSize: hiddenSize && 2 * Math.round((hiddenSize * width) / 2),
    numLayers: numLayers && Math.min(numLayers, layers),
  });
}

/** The sizes that an adapter handles well: each learns to write words within a minute or two. */
export function defaultsFor(family: DeviceFamily, preset: Choice = "lstm"): Settings {
  const shared = {
    data: "alice",
    preset,
    presets: RACERS,
    optimizer: "adam",
    schedule: "constant",
    tokenizer: "char",
    vocabSize: VOCABULARY,
    numLayers: 1,
    dropout: 0,
    ...(Object.fromEntries(CELL_NUMBERS.map(({ name }) => [name, CELL_DEFAULTS[name]])) as Record<CellNumber, number>),
    ...(Object.fromEntries(MEMORY_OPTIONS.map(({ name, longMemory }) => [name, longMemory])) as Record<MemoryOption, number>),
    warmupSteps: 0,
    clip: 1,
    weightDecay: 0,
    valFraction: VAL_FRACTION,
    seed: 1,
  } as const;
  const gpu = { hiddenSize: 128, embeddingSize: 64, batchSize: 32, seqLen: 64, totalSteps: 2000, learningRate: 2e-3 };
  const software = { hiddenSize: 64, embeddingSize: 32, batchSize: 16, seqLen: 32, totalSteps: 1000, learningRate: 1e-2 };
  const cpu = { hiddenSize: 32, embeddingSize: 16, batchSize: 8, seqLen: 24, totalSteps: 600, learningRate: 1e-2 };
  const sizes = {
    gpu: { ...gpu, evalInterval: 200 },
    software: { ...software, evalInterval: 100 },
    wasm: { ...software, evalInterval: 100 },
    cpu: { ...cpu, evalInterval: 100 },
  };
  return { ...shared, ...sizes[family], ...ownSizes(family, preset) };
}

/** Another model, with its own sizes where those of the one before were as they are by default. */
export function withPreset(settings: Settings, preset: Choice, family: DeviceFamily): Settings {
  const [before, after] = [defaultsFor(family, settings.preset), defaultsFor(family, preset)];
  const untouched = NUMBER_NAMES.filter((name) => settings[name] === before[name]);
  return { ...settings, preset, ...Object.fromEntries(untouched.map((name) => [name, after[name]])) };
}

/** What an address says of the page itself, whatever is trained. */
export interface PageAsked {
  /** What to compute on; the best there is, if nothing is said. */
  readonly device?: DeviceChoice;
  /** The view that is to be shown alone, for a page of somebody else's. */
  readonly embed?: string;
}

/** What the address says, field by field, and what of it was not understood. */
export interface FromAddress {
  readonly settings: Partial<Settings>;
  readonly sampling: Partial<Sampling>;
  readonly page: PageAsked;
  readonly ignored: readonly string[];
}

const WORD_FIELDS = ["data", "preset", "presets", "optimizer", "schedule", "tokenizer"] as const;
const { entries: SETTINGS } = SettingsSchema;
const { entries: DRAWN } = SamplingSchema;
/** All that an address holds, by its name there: a field of the settings, of the sampling, or of the page. */
const ADDRESS: Readonly<Record<string, readonly [of: "settings" | "sampling" | "page", field: string, v.GenericSchema]>> = {
  ...Object.fromEntries(WORD_FIELDS.map((name) => [name, ["settings", name, SETTINGS[name]]])),
  ...Object.fromEntries(NUMBER_NAMES.map((name) => [NUMBERS[name].flag, ["settings", name, SETTINGS[name]]])),
  temperature: ["sampling", "temperature", DRAWN.temperature],
  "top-k": ["sampling", "topK", DRAWN.topK],
  prompt: ["sampling", "prompt", DRAWN.prompt],
  device: ["page", "device", v.picklist(DEVICE_CHOICES)],
  embed: ["page", "embed", v.pipe(v.string(), v.maxLength(40))],
};

/** Reads an address's query. Whatever is no valid value of a field, or no field, is left out and named. */
export function readAddress(query: string): FromAddress {
  const found: Readonly<Record<"settings" | "sampling" | "page", Record<string, unknown>>> = {
    settings: {},
    sampling: {},
    page: {},
  };
  const given = new URLSearchParams(query);
  const ignored: string[] = [];
  for (const name of new Set(given.keys())) {
    if (Object.hasOwn(ADDRESS, name)) continue;
    const meant = nearest(name, Object.keys(ADDRESS));
    ignored.push(meant === undefined ? shown(name) : `${name} (did you mean ${meant}?)`);
  }
  for (const [name, [of, field, schema]] of Object.entries(ADDRESS)) {
    const text = given.get(name);
    if (text === null) continue;
    const value = [text, parseNumber(text)].find((value) => v.is(schema, value));
    if (value === undefined) ignored.push(name);
    else found[of][field] = value;
  }
  return { ...found, ignored } as FromAddress;
}

/** Number("") is 0, which nobody meant; adding 0 makes −0 plain. */
const parseNumber = (text: string): number => (text.trim() === "" ? NaN : Number(text) + 0);

/** The whole configuration as an address's query, so that it means the same on every device. */
export function writeAddress(settings: Settings, sampling: Sampling, page: PageAsked = {}): string {
  const all: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
    settings: { ...settings },
    sampling: { ...sampling },
    page: { ...page },
  };
  const given = Object.entries(ADDRESS).flatMap(([name, [of, field]]) => {
    const value = all[of]![field];
    return value === undefined ? [] : [[name, String(value)]];
  });
  return `?${new URLSearchParams(given)}`;
}

/** The command line's options that do the same, by their names there. */
function optionsOf(settings: Settings, textName: string): readonly (readonly [name: string, value: string | number])[] {
  const race = settings.preset === RACE;
  const used = presetsOf(settings).map((preset) => usedBy(PRESETS[preset], NUMBERS));
  const isMeant = (name: NumberName): boolean =>
    used.some((fields) => name in fields) &&
    (name !== "vocabSize" || isSized(settings)) &&
    // What a memory begins from is left to the cell where it is 0.
    !(settings[name] === 0 && MEMORY_OPTIONS.some((option) => option.name === name));
  const { data, optimizer, schedule, tokenizer } = settings;
  return [
    ["data", data === "own" ? `./${textName}` : data],
    race ? ["presets", settings.presets] : ["preset", settings.preset],
    ["optimizer", optimizer],
    ["schedule", schedule],
    ...(tokenizer === "char" ? [] : [[race ? "tokenizers" : "tokenizer", tokenizer] as const]),
    ...NUMBER_NAMES.filter(isMeant).map((name) => [NUMBERS[name].flag, settings[name]] as const),
  ];
}

/** The command that does the same in a terminal; `flags` for what is no setting of the page. */
export function commandLine(settings: Settings, textName: string, flags: readonly string[] = []): string {
  const words = optionsOf(settings, textName).flatMap(([name, value]) => [`--${name}`, shellQuote(String(value))]);
  return [`npx gatewise ${settings.preset === RACE ? "compare" : "train"}`, ...words, ...flags].join(" ");
}

/** The same as a file for --config. */
export function configFile(settings: Settings, textName: string, flags: readonly string[] = []): string {
  const more = flags.map((flag) => {
    const [name, value] = flag.slice(2).split(" ");
    return [name, value ?? true] as const;
  });
  return `${JSON.stringify(Object.fromEntries([...optionsOf(settings, textName), ...more]), null, 2)}\n`;
}

/** What --data takes: a text of the visitor's own lies where they have it. */
export const dataArgument = ({ data }: Pick<Settings, "data">, textName: string): string =>
  data === "own" ? shellQuote(`./${textName}`) : data;

const shellQuote = (text: string): string => (/^[\w.,/-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

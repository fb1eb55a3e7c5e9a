// The flags of training and the fields they set: one table for parsing, for --help, for what a resumed run may
// change, and for error messages that name the flag instead of the field.
import { Command, InvalidArgumentError, Option } from "commander";
import { given } from "../checks.ts";
import { bookNames } from "../data/books.ts";
import type { CellOption } from "../kernels/cell.ts";
import { DEFAULT_PATTERN } from "./data.ts";
import { SIZED_KINDS, TOKENIZER_KINDS } from "../data/tokenizers.ts";
import { CELL_NAMES, CELL_OPTIONS, inBlock, type CellOptions } from "../models/cells.ts";
import { LANGUAGE_MODEL_DEFAULTS, type LanguageModelConfig } from "../models/config.ts";
import { PRESET_NAMES, PRESETS, type PresetName } from "../models/presets.ts";
import { DEVICE_CHOICES } from "../runtime/device.ts";
import { BUILDS } from "../runtime/wasm-module.ts";
import { OPTIMIZER_NAMES } from "../training/optimizers.ts";
import { TRAINING_DEFAULTS, type TrainingOptions } from "../training/options.ts";
import { SCHEDULES } from "../training/schedule.ts";

/** The shape of a model: its configuration but for the vocabulary, which the text decides. */
export type ModelOptions = Omit<LanguageModelConfig, "vocabSize">;

interface Flag<Field> {
  readonly field: Field;
  readonly flags: string;
  readonly help: string;
  /** Allowed words; without them the flag takes a number, or nothing if it names no argument. */
  readonly words?: readonly string[];
}

const MODEL_FLAGS: readonly Flag<keyof ModelOptions>[] = [
  { field: "cell", flags: "--cell <name>", help: "recurrent cell", words: CELL_NAMES },
  { field: "input", flags: "--input <kind>", help: "how characters enter", words: ["embedding", "one-hot"] },
  { field: "hiddenSize", flags: "--hidden <n>", help: "hidden units of a layer" },
  { field: "embeddingSize", flags: "--embedding <n>", help: "size of the embeddings" },
  { field: "numLayers", flags: "--layers <n>", help: "recurrent layers" },
  { field: "dropout", flags: "--dropout <p>", help: "probability of dropping an output between layers" },
  ...Object.entries<CellOption>(CELL_OPTIONS).map(([field, { flags, help, values, words }]) => ({
    field: field as keyof CellOptions,
    flags,
    help,
    ...(values && { words: words ?? values.map(String) }),
  })),
  {
    field: "precision",
    flags: "--precision <format>",
    help: "of recurrent weights and saved activations",
    words: ["f32", "f16"],
  },
  { field: "orthogonal", flags: "--orthogonal", help: "start from orthogonal recurrent weights" },
];

const TRAINING_FLAGS: readonly Flag<keyof TrainingOptions>[] = [
  { field: "batchSize", flags: "--batch <n>", help: "streams or windows side by side" },
  { field: "seqLen", flags: "--seq <n>", help: "tokens that gradients flow back through" },
  { field: "totalSteps", flags: "--steps <n>", help: "training steps, from the run's first" },
  { field: "loss", flags: "--loss <steps>", help: "loss on all time steps or the last", words: ["all", "last"] },
  { field: "state", flags: "--state <kind>", help: "carry the state, or random windows from zero", words: ["carry", "zero"] },
  { field: "optimizer", flags: "--optimizer <name>", help: "optimizer", words: OPTIMIZER_NAMES },
  { field: "learningRate", flags: "--lr <x>", help: "learning rate" },
  { field: "momentum", flags: "--momentum <x>", help: "SGD: momentum" },
  { field: "schedule", flags: "--schedule <name>", help: "learning-rate schedule", words: SCHEDULES },
  { field: "warmupSteps", flags: "--warmup <n>", help: "steps of linear warm-up" },
  { field: "clip", flags: "--clip <x>", help: "largest gradient norm; 0 for no clipping" },
  { field: "weightDecay", flags: "--weight-decay <x>", help: "weight decay" },
  { field: "valFraction", flags: "--val <part>", help: "part of the text for validation, behind that for training" },
  { field: "testFraction", flags: "--test <part>", help: 'last part of the text, for "gatewise eval --split test" alone' },
  { field: "evalInterval", flags: "--eval-every <n>", help: "steps between validations; 0 for none" },
  { field: "evalTokens", flags: "--eval-chars <n>", help: "tokens that a validation reads, evenly spread; 0 for all" },
  { field: "patience", flags: "--patience <n>", help: "end after as many validations without a new best; 0: never" },
  { field: "sampleInterval", flags: "--sample-every <n>", help: "steps between samples; 0 for none" },
  { field: "logInterval", flags: "--log-every <n>", help: "steps between reports, each a line if you give it; 0 for none" },
  { field: "checkpointInterval", flags: "--checkpoint-every <n>", help: "steps between checkpoints; 0: only at the end" },
  { field: "seed", flags: "--seed <n>", help: "of the weights, windows and dropout" },
];

const VOCAB_SIZE: Flag<"vocabSize"> = {
  field: "vocabSize",
  flags: "--vocab-size <n>",
  help: `tokens at the most: of ${SIZED_KINDS.join(" and ")}, by default 4096 and 1024`,
};
const ENCODING: Flag<"encoding"> = {
  field: "encoding",
  flags: "--encoding <name>",
  help: "of the text, such as GB18030 or KOI8-R; by default it is found out, and said",
};
const ALL_FLAGS: readonly Flag<string>[] = [...MODEL_FLAGS, ...TRAINING_FLAGS];
const DEFAULTS: Readonly<Record<string, unknown>> = { ...LANGUAGE_MODEL_DEFAULTS, ...TRAINING_DEFAULTS };

/** A cell's option may have words for its values, such as "after" for true; others stand for themselves. */
function translate(field: string, value: unknown, from: "values" | "words", to: "values" | "words"): unknown {
  const option = Object.entries<CellOption>(CELL_OPTIONS).find(([name]) => name === field)?.[1];
  return option?.words ? option[to]![option[from]!.indexOf(value as never)] : value;
}
const toField = (field: string, word: unknown): unknown => translate(field, word, "words", "values");
const toFlag = (field: string, value: unknown): unknown => translate(field, value, "values", "words");

/** Parses a number as a whole: Number("") is 0, and parseFloat would take "12x". */
function parseNumber(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || Number.isNaN(value)) throw new InvalidArgumentError("expected a number");
  return value;
}

/** A parser that also checks what it parsed. */
const parseChecked =
  (ok: (value: number) => boolean, expected: string) =>
  (text: string): number => {
    const value = parseNumber(text);
    if (!ok(value)) throw new InvalidArgumentError(`expected ${expected}`);
    return value;
  };

export const parseInteger = (least: number, most = Infinity): ((text: string) => number) =>
  parseChecked(
    (value) => Number.isSafeInteger(value) && value >= least && value <= most,
    `an integer ${most === Infinity ? `of at least ${least}` : `from ${least} to ${most}`}`,
  );
/** "128,512": sizes, one or more. */
export const parseSizes = (text: string): readonly number[] => text.split(",").map(parseInteger(1));
/** "gru,lstm": names of a table, one or more. */
const parseNames =
  <Name extends string>(names: readonly Name[]): ((text: string) => readonly Name[]) =>
  (text) =>
    text.split(",").map((each) => {
      const name = names.find((known) => known === each.trim());
      if (!name) throw new InvalidArgumentError(`expected names of ${names.join(", ")}, separated by commas`);
      return name;
    });
export const parseTemperature = parseChecked((value) => value >= 0 && value < Infinity, "a number of at least 0");
export const parseProbability = parseChecked((value) => value > 0 && value <= 1, "a number above 0 and at most 1");

/** Headings of --help. */
export const GROUP = {
  text: "Text:",
  model: "Model:",
  training: "Training:",
  reports: "Validation, samples, checkpoints:",
  run: "Run:",
  output: "Device and output:",
} as const;
const REPORTS: readonly string[] = [
  "valFraction",
  "testFraction",
  "evalInterval",
  "evalTokens",
  "patience",
  "sampleInterval",
  "logInterval",
  "checkpointInterval",
];
const groupOf = (field: string): string =>
  field in LANGUAGE_MODEL_DEFAULTS || field in CELL_OPTIONS
    ? GROUP.model
    : REPORTS.includes(field)
      ? GROUP.reports
      : GROUP.training;

function commanderOption({ field, flags, help, words }: Flag<string>, fallback: unknown): Option {
  const option = new Option(flags, help).helpGroup(field === "vocabSize" ? GROUP.text : groupOf(field));
  if (words) option.choices([...words]);
  else if (option.required) option.argParser(parseNumber);
  const value = toFlag(field, fallback);
  return value === undefined || value === false ? option : option.default(value);
}

/** Adds the flags that set `fields`, or all of them, with defaults that the command may change. */
export function addTrainingFlags(
  command: Command,
  fields?: readonly string[],
  defaults: Readonly<Record<string, unknown>> = {},
): Command {
  for (const flag of ALL_FLAGS) {
    if (!fields || fields.includes(flag.field))
      command.addOption(commanderOption(flag, defaults[flag.field] ?? DEFAULTS[flag.field]));
  }
  return command;
}

/** Adds the flags that say what a model is, without defaults: whoever does not type them says nothing. */
export function addModelFlags(command: Command, fields: readonly string[]): Command {
  for (const flag of MODEL_FLAGS) if (fields.includes(flag.field)) command.addOption(commanderOption(flag, undefined));
  return command;
}

/** What a text is, in help. */
const TEXTS = `a file, a folder, an http(s) address, - for standard input, or a book: ${bookNames()}; .gz too`;
/** The text's flags. Several texts are arguments. */
export const dataOptions = (fallback?: string): readonly Option[] =>
  [
    new Option("--data <text>", TEXTS).default(fallback),
    new Option("--pattern <files>", `which files of a folder; by default ${DEFAULT_PATTERN}`),
    new Option(ENCODING.flags, ENCODING.help),
  ].map((option) => option.helpGroup(GROUP.text));
export const tokenizerOption = (): Option =>
  new Option("--tokenizer <kind>", "what tokens are: characters, bytes, words, or pieces of words learned from the text")
    .helpGroup(GROUP.text)
    .choices(TOKENIZER_KINDS)
    .default("char");
export const vocabSizeOption = (): Option => commanderOption(VOCAB_SIZE, undefined);
export const bestOption = (): Option => new Option("--best", "the run's best checkpoint, not its newest");
export const evalCharsOption = (): Option =>
  new Option("--eval-chars <n>", "read as many tokens, evenly spread, or 0 for all; by default a part as its run does").argParser(
    parseInteger(0),
  );
/** "90", "90s", "10m", "1h30m": a time in milliseconds, of at most what a timer can wait for. */
export function parseTime(text: string): number {
  const [all, hours, minutes, seconds] = /^(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s?)?$/.exec(text) ?? [];
  const time = 1000 * (3600 * Number(hours ?? 0) + 60 * Number(minutes ?? 0) + Number(seconds ?? 0));
  if (!all || !(time > 0 && time < 2 ** 31))
    throw new InvalidArgumentError('expected a time such as "90s", "10m" or "1h30m", of at most 24 days');
  return Math.ceil(time);
}
export const deviceOption = (): Option =>
  new Option("--device <kind>", "where to compute; auto takes a GPU, else WebAssembly, else the CPU")
    .helpGroup(GROUP.output)
    .choices(DEVICE_CHOICES)
    .default("auto");
export const threadsOption = (): Option =>
  new Option("--threads <n>", "of WebAssembly; by default one a core, eight at the most")
    .helpGroup(GROUP.output)
    .argParser(parseInteger(1, 64));
export const simdOption = (): Option =>
  new Option(
    "--simd <build>",
    "of WebAssembly; by default relaxed where the engine has it; plain gives the same bits everywhere; wide, an experiment, is for Node from 24 on",
  )
    .helpGroup(GROUP.output)
    .choices(BUILDS);
export const noTuneOption = (): Option => new Option("--no-tune", "take the default kernel variants").helpGroup(GROUP.output);
export const retuneOption = (): Option =>
  new Option("--retune", "measure anew which kernel variants are fastest here, for two minutes at most")
    .helpGroup(GROUP.output)
    .conflicts(["tune"]);
export const rawOption = (): Option =>
  new Option("--raw", "send control characters of texts and names to the terminal as they are").helpGroup(GROUP.output);
export const jsonOption = (): Option => new Option("--json", "print one JSON object a line").helpGroup(GROUP.output);
export const presetsOption = (fallback: readonly PresetName[]): Option =>
  new Option("--presets <names>", `which, separated by commas: of ${PRESET_NAMES.join(", ")}`)
    .argParser(parseNames(PRESET_NAMES))
    .default(fallback, fallback.join(","));
export const configOption = (from: string): Option =>
  new Option("--config <file>", `options from a file, as ${from}; what is typed goes before`);
export const tokenizersOption = (): Option =>
  new Option(
    "--tokenizers <names>",
    `which, separated by commas: of ${TOKENIZER_KINDS.join(", ")}; each with a model of about 300,000 parameters`,
  ).argParser(parseNames(TOKENIZER_KINDS));
export const presetOption = (): Option =>
  new Option("--preset <name>", "sets --cell, --input and, where the step says them, sizes: a step of the evolution")
    .helpGroup(GROUP.model)
    .choices(PRESET_NAMES)
    .conflicts(["cell", "input"]);

/** Whether an option was typed, or stands in the file that --config names. */
export const isGiven = (command: Command, name: string): boolean =>
  ["cli", "config"].includes(command.getOptionValueSource(name) ?? "");

export interface GivenOptions {
  readonly model: Partial<ModelOptions>;
  readonly training: Partial<TrainingOptions>;
}

/**
 * The values of a command's training flags: all of them, and those that the user typed. A model's own defaults are left to
 * the library, which knows what follows from what else is given; what a preset says stands before a command's defaults,
 * and what is typed before both.
 */
export function readTrainingFlags(
  command: Command,
  preset = command.getOptionValue("preset") as PresetName | undefined,
): { readonly all: GivenOptions; readonly typed: GivenOptions } {
  const collect = (flags: readonly Flag<string>[], wanted: (value: unknown, field: string, typed: boolean) => boolean): object =>
    Object.fromEntries(
      flags.flatMap(({ field, flags: text }) => {
        const name = new Option(text).attributeName();
        const value = toField(field, command.getOptionValue(name));
        const typed = isGiven(command, name);
        return value !== undefined && wanted(value, field, typed) ? [[field, value]] : [];
      }),
    );
  const typed = collect(MODEL_FLAGS, (_value, _field, typed) => typed);
  const own = collect(MODEL_FLAGS, (value, field) => value !== DEFAULTS[field]);
  const chosen = preset && PRESETS[preset];
  const model: Partial<ModelOptions> = { ...own, ...chosen, ...typed };
  // A block's embeddings are as wide as the block, whatever is a command's default.
  const width = model.cell && inBlock({ cell: model.cell }) && !("embeddingSize" in typed) ? { embeddingSize: undefined } : {};
  return {
    all: { model: given({ ...model, ...width }), training: collect(TRAINING_FLAGS, () => true) },
    typed: { model: { ...chosen, ...typed }, training: collect(TRAINING_FLAGS, (_value, _field, typed) => typed) },
  };
}

/** The flag that sets a field: "--hidden" for "hiddenSize". */
export const flagOf = (field: string): string | undefined =>
  [...ALL_FLAGS, VOCAB_SIZE, ENCODING].find((flag) => flag.field === field)?.flags.split(" ")[0];

/** An error message of the library in the words of the command line: it begins with the flag, not the field. */
export const inFlags = (message: string): string => message.replace(/^\w+(?= must be )/, (field) => flagOf(field) ?? field);

/** What was asked for and does nothing, for people. */
export function idleFlags(
  { dropout, numLayers }: Pick<LanguageModelConfig, "dropout" | "numLayers">,
  { momentum, optimizer }: Pick<TrainingOptions, "momentum" | "optimizer">,
): readonly string[] {
  return [
    ...(dropout > 0 && numLayers === 1 ? ["--dropout acts between layers, and this model has one: it does nothing"] : []),
    ...(momentum > 0 && optimizer !== "sgd" ? [`--momentum is SGD's: with ${optimizer} it does nothing`] : []),
  ];
}

/** The settings of a model and its training as their flags take them: { "hidden": 128, "gru-reset": "after", … }. */
export function flagsOf(settings: object): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    ALL_FLAGS.flatMap(({ field, flags }) => {
      const value = toFlag(field, (settings as Readonly<Record<string, unknown>>)[field]);
      return value === undefined || value === false ? [] : [[new Option(flags).name(), value]];
    }),
  );
}

/** A field's value as its flag takes it. */
export const flagValue = (field: string, value: unknown): string => String(toFlag(field, value));

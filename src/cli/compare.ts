// The evolution in one command: presets, trained one after another on the same batches; or tokenizers, on the same text.
import type { Command } from "commander";
import { splitTokens } from "../data/batches.ts";
import { byteLength, CharTokenizer, type Tokenizer } from "../data/tokenizer.ts";
import { makeTokenizer, SIZED_KINDS, type TokenizerKind } from "../data/tokenizers.ts";
import { GatewiseError } from "../errors.ts";
import { languageModelConfig, parameterCount, type LanguageModelConfig } from "../models/config.ts";
import { PRESETS, type PresetName } from "../models/presets.ts";
import { CELL_NUMBERS, hasOption, inBlock, MEMORY_OPTIONS, usedBy } from "../models/cells.ts";
import { LanguageModel } from "../models/language-model.ts";
import type { Device } from "../runtime/device.ts";
import type { EvalEvent } from "../training/events.ts";
import { trainingOptions, type TrainingOptions } from "../training/options.ts";
import { Trainer } from "../training/trainer.ts";
import { loadText, readPrompt, unitOf, type DataNames, type ReadingOptions } from "./data.ts";
import { withDevice, type DeviceFlags } from "./device.ts";
import { flagOf, idleFlags, isGiven, readTrainingFlags } from "./options.ts";
import { count, duration, live, percent, plainTable, print, printJson, Progress, rate, say, warn } from "./progress.ts";
import { listenForStop } from "./stop.ts";

/** What the short form, the default, trains with: one to three minutes on two cores without a GPU. */
export const COMPARE_DEFAULTS = {
  hiddenSize: 64,
  embeddingSize: 32,
  batchSize: 16,
  seqLen: 32,
  totalSteps: 600,
  learningRate: 1e-2,
  valFraction: 0.1,
  evalInterval: 200,
  logInterval: 10,
};
/** Parameters, about, of models whose tokenizers are compared: what differs is then what they are spent on. */
const PARAMETERS = 300_000;
/** What samples begin with, unless the text lacks a character of it. */
const PROMPT = "Alice ";
/** Bytes of a sample, about. */
const SAMPLE_LENGTH = 240;
/** Options that only some of the models have. */
const OWN_OPTIONS = [...CELL_NUMBERS, ...MEMORY_OPTIONS];
/** Flags that compare takes. */
export const COMPARE_FLAGS = [
  ...Object.keys(COMPARE_DEFAULTS),
  "numLayers",
  "dropout",
  "optimizer",
  "schedule",
  "warmupSteps",
  "clip",
  "weightDecay",
  "seed",
  ...OWN_OPTIONS.map(({ name }) => name),
];

export interface CompareFlags extends DeviceFlags, ReadingOptions {
  readonly presets: readonly PresetName[];
  readonly tokenizers?: readonly TokenizerKind[];
  readonly vocabSize?: number;
  readonly data: DataNames;
  readonly prompt?: string;
  readonly markdown?: boolean;
  readonly json?: boolean;
}

/** A model to be trained, and the text as it reads it. */
interface Contender {
  readonly name: string;
  readonly preset: PresetName;
  readonly tokenizer: Tokenizer;
  readonly tokens: Uint32Array;
  readonly config: LanguageModelConfig;
  readonly options: TrainingOptions;
}

interface Row {
  readonly preset: PresetName;
  readonly tokenizer: string;
  readonly vocabulary: number;
  readonly hiddenSize: number;
  readonly parameters: number;
  readonly valLoss: number;
  readonly bestValLoss: number;
  readonly valBitsPerToken: number;
  readonly valBitsPerByte: number;
  readonly valBpc?: number;
  readonly valAccuracy: number;
  readonly tokensPerSecond: number;
  readonly charactersPerSecond?: number;
  readonly sample: string;
}

/** `gatewise compare`. Returns the exit code. */
export async function compare(flags: CompareFlags, command: Command): Promise<number> {
  const options = trainingOptions({ ...readTrainingFlags(command).all.training, sampleInterval: 0, checkpointInterval: 0 });
  const { tokenizers = ["char"], vocabSize } = flags;
  const one = flags.tokenizers && !isGiven(command, "presets");
  const presets = one ? (["lstm"] as const) : flags.presets;
  if (vocabSize !== undefined && !tokenizers.some((kind) => SIZED_KINDS.includes(kind)))
    throw new GatewiseError("E_CONFIG", `--vocab-size is for --tokenizers ${SIZED_KINDS.join(" and ")}`);
  const text = await loadText(flags.data, { pattern: flags.pattern, encoding: flags.encoding });
  const texts = tokenizers.map((kind) => {
    const tokenizer = makeTokenizer(kind, text.text, SIZED_KINDS.includes(kind) ? vocabSize : undefined);
    const tokens = tokenizer.encode(text.text);
    const valFraction = flags.tokenizers ? sameValidation(tokens, tokenizer, options.valFraction) : options.valFraction;
    return { kind, tokenizer, tokens, options: { ...options, valFraction } };
  });
  const prompt = flags.prompt ?? (texts.every(({ tokenizer }) => knows(tokenizer, PROMPT)) ? PROMPT : "");
  for (const { tokenizer } of texts) tokenizer.encode(readPrompt(prompt, tokenizer));
  if (
    options.evalInterval === 0 ||
    texts.some(({ tokens, options: { valFraction } }) => splitTokens(tokens, valFraction).val.length < 2)
  )
    throw new GatewiseError("E_CONFIG", "compare needs a validation part: give --val more than 0 and --eval-every at least 1");
  const sized = flags.tokenizers !== undefined && !isGiven(command, "hidden");
  const contenders = presets.flatMap((preset) =>
    texts.map(({ kind, ...own }): Contender => {
      const model = usedBy(PRESETS[preset], readTrainingFlags(command, preset).all.model);
      const given = { ...model, vocabSize: own.tokenizer.size };
      const typed = isGiven(command, "embedding") ? model.embeddingSize : undefined;
      const name = !flags.tokenizers ? preset : presets.length > 1 ? `${preset}, ${kind}` : kind;
      return { name, preset, ...own, config: sized ? ofSize(PARAMETERS, given, typed) : languageModelConfig(given) };
    }),
  );
  const typed = readTrainingFlags(command).typed.model;
  const unused = OWN_OPTIONS.find(
    ({ name }) => typed[name] !== undefined && !presets.some((preset) => hasOption(PRESETS[preset].cell, name)),
  );
  if (unused)
    throw new GatewiseError("E_CONFIG", `${flagOf(unused.name)} is an option of none of ${presets.join(", ")}; leave it out`);
  const columns = flags.tokenizers ? TOKENIZER_COLUMNS : PRESET_COLUMNS;
  idleFlags(contenders[0]!.config, options).forEach(warn);

  return withDevice(flags, async (device) => {
    const stop = listenForStop(() => say("stopping after this step"));
    const begun = performance.now();
    if (!flags.json) {
      say(`device: ${device.description}`);
      const [{ tokenizer, tokens }] = texts as [(typeof texts)[0]];
      const long = flags.tokenizers
        ? `${count(byteLength(text.text))} bytes`
        : `${count(tokens.length)} characters, vocabulary of ${tokenizer.size}`;
      say(`text:   ${text.name}, ${long}`);
      const { totalSteps, batchSize, seqLen, seed } = options;
      const unit = flags.tokenizers ? "tokens" : "characters";
      const sizes = [...new Set(contenders.map(({ config }) => config.hiddenSize))].join(", ");
      say(`each:   ${totalSteps} steps of ${batchSize} × ${seqLen} ${unit}, H=${sizes}, seed ${seed}`);
    }
    const rows: (Row & { readonly name: string })[] = [];
    let failure: unknown;
    for (const contender of contenders) {
      const { name } = contender;
      const row = await trainOne(device, contender).catch((error: unknown) => {
        failure =
          error instanceof GatewiseError ? new GatewiseError(error.code, `${name}: ${error.message}`, { cause: error }) : error;
      });
      // What the others reached is worth a table.
      if (!row || stop.exitCode !== undefined) break;
      rows.push({ name, ...row });
      if (flags.json) printJson({ v: 1, event: "compare", ...row });
    }
    if (!flags.json && rows.length > 0) {
      const lines = [Object.keys(columns), ...rows.map((row) => Object.values(columns).map((cell) => cell(row)))];
      print(flags.markdown ? markdownTable(lines) : plainTable(lines));
      for (const { name, sample } of rows) print(`\n--- ${name}\n${sample}\n`);
      say(`${duration((performance.now() - begun) / 1000)} on ${device.description}, ${new Date().toISOString().slice(0, 10)}`);
    }
    if (failure && stop.exitCode === undefined) throw failure;
    return stop.exitCode ?? 0;

    async function trainOne(device: Device, { name, preset, tokenizer, tokens, config, options }: Contender): Promise<Row> {
      const model = LanguageModel.create(device, { ...config, seed: options.seed });
      const progress = new Progress(options, { label: `${name.padEnd(13)} `, unit: unitOf(tokenizer) });
      const trainer = Trainer.create(model, tokens, {
        ...options,
        tokenizer,
        onEvaluation: (done, of) => flags.json || progress.evaluating(done, of),
      });
      const rates: number[] = [];
      let last: EvalEvent | undefined;
      live(`${name}: preparing…`);
      try {
        for await (const event of trainer.run({ maxSteps: options.totalSteps, signal: stop.signal })) {
          if (event.event === "start") progress.begin(event);
          else if (event.event === "step") {
            rates.push(event.tokensPerSecond);
            if (!flags.json) progress.step(event);
          } else if (event.event === "eval") {
            last = event;
            if (!flags.json) progress.evaluated(event);
          }
        }
        // About as long a text, whatever a token is.
        const length = Math.ceil((SAMPLE_LENGTH * tokens.length) / byteLength(text.text));
        const sampling = { prompt: readPrompt(prompt, tokenizer), length, seed: options.seed, signal: stop.signal };
        const rate = median(rates);
        return {
          preset,
          tokenizer: tokenizer.toJSON().kind,
          vocabulary: tokenizer.size,
          hiddenSize: config.hiddenSize,
          parameters: model.parameterCount,
          valLoss: last?.valLoss ?? NaN,
          bestValLoss: trainer.bestValLoss,
          valBitsPerToken: last?.valBitsPerToken ?? NaN,
          valBitsPerByte: last?.valBitsPerByte ?? NaN,
          ...(tokenizer instanceof CharTokenizer && { valBpc: last?.valBpc ?? NaN }),
          valAccuracy: last?.valAccuracy ?? NaN,
          tokensPerSecond: rate,
          ...(tokenizer instanceof CharTokenizer && { charactersPerSecond: rate }),
          sample: stop.exitCode === undefined ? await model.sample(tokenizer, sampling) : "",
        };
      } finally {
        trainer.dispose();
        model.dispose();
      }
    }
  });
}

const knows = (tokenizer: Tokenizer, text: string): boolean =>
  !(tokenizer instanceof CharTokenizer) || [...text].every((character) => tokenizer.characters.includes(character));

/** The part of the tokens that begins where the last `fraction` of the text's bytes does, so that all are told of the same text. */
function sameValidation(tokens: Uint32Array, { byteLengths }: Tokenizer, fraction: number): number {
  const lengths = Array.from(byteLengths!);
  const whole = tokens.reduce((sum, token) => sum + lengths[token]!, 0);
  let left = whole - Math.floor(whole * fraction);
  let first = 0;
  while (left > 0 && first < tokens.length) left -= lengths[tokens[first++]!]!;
  // Half a token more: rounding must not take one away.
  return first === tokens.length ? 0 : (tokens.length - first + 0.5) / tokens.length;
}

/** A configuration with about so many parameters, its embeddings half as wide as its layers, if nothing else is said. */
function ofSize(
  parameters: number,
  given: Partial<LanguageModelConfig> & { readonly vocabSize: number },
  embeddingSize: number | undefined,
): LanguageModelConfig {
  const sized = (hiddenSize: number): LanguageModelConfig => {
    const width = embeddingSize ?? (given.cell && inBlock({ cell: given.cell }) ? undefined : hiddenSize / 2);
    return languageModelConfig({ ...given, hiddenSize, embeddingSize: width });
  };
  let config = sized(4);
  for (let next = sized(8); ; next = sized(next.hiddenSize + 4)) {
    const far = (one: LanguageModelConfig): number => Math.abs(parameterCount(one) - parameters);
    if (far(next) > far(config)) return config;
    config = next;
  }
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;

type Columns = Readonly<Record<string, (row: Row & { readonly name: string }) => string>>;
const PRESET_COLUMNS: Columns = {
  preset: ({ name }) => name,
  parameters: ({ parameters }) => count(parameters),
  "val. loss": ({ valLoss }) => valLoss.toFixed(3),
  best: ({ bestValLoss }) => bestValLoss.toFixed(3),
  "bits/char": ({ valBitsPerToken }) => valBitsPerToken.toFixed(3),
  accuracy: ({ valAccuracy }) => percent(valAccuracy),
  "chars/s": ({ tokensPerSecond }) => rate(tokensPerSecond),
};
const TOKENIZER_COLUMNS: Columns = {
  tokenizer: ({ name }) => name,
  vocabulary: ({ vocabulary }) => count(vocabulary),
  hidden: ({ hiddenSize }) => count(hiddenSize),
  parameters: ({ parameters }) => count(parameters),
  "val. loss": ({ valLoss }) => valLoss.toFixed(3),
  "bits/token": ({ valBitsPerToken }) => valBitsPerToken.toFixed(3),
  "bits/byte": ({ valBitsPerByte }) => valBitsPerByte.toFixed(3),
  accuracy: ({ valAccuracy }) => percent(valAccuracy),
  "tokens/s": ({ tokensPerSecond }) => rate(tokensPerSecond),
};

function markdownTable([headings, ...rows]: readonly (readonly string[])[]): string {
  return [headings!, headings!.map((_, i) => (i === 0 ? "---" : "---:")), ...rows]
    .map((line) => `| ${line.join(" | ")} |\n`)
    .join("");
}

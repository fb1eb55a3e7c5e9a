// The evolution in one command: presets, trained one after another on the same batches.
import type { Command } from "commander";
import { splitTokens } from "../data/batches.ts";
import { CharTokenizer } from "../data/tokenizer.ts";
import { GatewiseError } from "../errors.ts";
import { languageModelConfig } from "../models/config.ts";
import type { PresetName } from "../models/presets.ts";
import { LanguageModel } from "../models/language-model.ts";
import type { Device } from "../runtime/device.ts";
import type { EvalEvent } from "../training/events.ts";
import { trainingOptions } from "../training/options.ts";
import { Trainer } from "../training/trainer.ts";
import { loadText, readPrompt } from "./data.ts";
import { withDevice, type DeviceFlags } from "./device.ts";
import { idleFlags, readTrainingFlags } from "./options.ts";
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
/** What samples begin with, unless the text lacks a character of it. */
const PROMPT = "Alice ";
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
];

export interface CompareFlags extends DeviceFlags {
  readonly presets: readonly PresetName[];
  readonly data: string;
  readonly prompt?: string;
  readonly markdown?: boolean;
  readonly json?: boolean;
}

interface Row {
  readonly preset: PresetName;
  readonly parameters: number;
  readonly valLoss: number;
  readonly bestValLoss: number;
  readonly valBpc: number;
  readonly valAccuracy: number;
  readonly charactersPerSecond: number;
  readonly sample: string;
}

/** `gatewise compare`. Returns the exit code. */
export async function compare(flags: CompareFlags, command: Command): Promise<number> {
  const { training } = readTrainingFlags(command).all;
  const options = trainingOptions({ ...training, sampleInterval: 0, checkpointInterval: 0 });
  const text = await loadText(flags.data);
  const tokenizer = CharTokenizer.fromText(text.text);
  const tokens = tokenizer.encode(text.text);
  const prompt =
    flags.prompt !== undefined
      ? readPrompt(flags.prompt, tokenizer)
      : [...PROMPT].every((character) => tokenizer.characters.includes(character))
        ? PROMPT
        : "";
  tokenizer.encode(prompt);
  if (options.evalInterval === 0 || splitTokens(tokens, options.valFraction).val.length < 2) {
    throw new GatewiseError("E_CONFIG", "compare needs a validation part: give --val more than 0 and --eval-every at least 1");
  }
  const config = (preset: PresetName) =>
    languageModelConfig({ ...readTrainingFlags(command, preset).all.model, vocabSize: tokenizer.size });
  const { presets } = flags;
  const sizes = new Set(presets.map((preset) => config(preset).hiddenSize));
  idleFlags(config(presets[0]!), options).forEach(warn);

  return withDevice(flags, async (device) => {
    const stop = listenForStop(() => say("stopping after this step"));
    const begun = performance.now();
    if (!flags.json) {
      say(`device: ${device.description}`);
      say(`text:   ${text.name}, ${count(tokens.length)} characters, vocabulary of ${tokenizer.size}`);
      const { totalSteps, batchSize, seqLen, seed } = options;
      say(`each:   ${totalSteps} steps of ${batchSize} × ${seqLen} characters, H=${[...sizes].join(", ")}, seed ${seed}`);
    }
    const rows: Row[] = [];
    let failure: unknown;
    for (const preset of presets) {
      const row = await trainPreset(device, preset).catch((error: unknown) => {
        failure =
          error instanceof GatewiseError ? new GatewiseError(error.code, `${preset}: ${error.message}`, { cause: error }) : error;
      });
      // What the others reached is worth a table.
      if (!row || stop.exitCode !== undefined) break;
      rows.push(row);
      if (flags.json) printJson({ v: 1, event: "compare", ...row });
    }
    if (!flags.json && rows.length > 0) {
      print(flags.markdown ? markdownTable(rows) : plainTable([HEADINGS, ...rows.map(cells)]));
      for (const { preset, sample } of rows) print(`\n--- ${preset}\n${sample}\n`);
      say(`${duration((performance.now() - begun) / 1000)} on ${device.description}, ${new Date().toISOString().slice(0, 10)}`);
    }
    if (failure && stop.exitCode === undefined) throw failure;
    return stop.exitCode ?? 0;

    async function trainPreset(device: Device, preset: PresetName): Promise<Row> {
      const model = LanguageModel.create(device, { ...config(preset), seed: options.seed });
      const trainer = Trainer.create(model, tokens, options);
      const progress = new Progress(options.totalSteps, options.batchSize * options.seqLen, `${preset.padEnd(13)} `);
      const rates: number[] = [];
      let last: EvalEvent | undefined;
      live(`${preset}: preparing…`);
      try {
        for await (const event of trainer.run({ maxSteps: options.totalSteps, signal: stop.signal })) {
          if (event.event === "step") {
            rates.push(event.tokensPerSecond);
            if (!flags.json) progress.step(event);
          } else if (event.event === "eval") {
            last = event;
            if (!flags.json) progress.evaluated(event);
          }
        }
        const sample =
          stop.exitCode === undefined
            ? await model.sample(tokenizer, { prompt, length: 240, seed: options.seed, signal: stop.signal })
            : "";
        return {
          preset,
          parameters: model.parameterCount,
          valLoss: last?.valLoss ?? NaN,
          bestValLoss: trainer.bestValLoss,
          valBpc: last?.valBpc ?? NaN,
          valAccuracy: last?.valAccuracy ?? NaN,
          charactersPerSecond: median(rates),
          sample,
        };
      } finally {
        trainer.dispose();
        model.dispose();
      }
    }
  });
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;

const HEADINGS = ["preset", "parameters", "val. loss", "best", "bits/char", "accuracy", "chars/s"];
const cells = (row: Row): string[] => [
  row.preset,
  count(row.parameters),
  row.valLoss.toFixed(3),
  row.bestValLoss.toFixed(3),
  row.valBpc.toFixed(3),
  percent(row.valAccuracy),
  rate(row.charactersPerSecond),
];

const markdownTable = (rows: readonly Row[]): string =>
  [HEADINGS, HEADINGS.map((_, i) => (i === 0 ? "---" : "---:")), ...rows.map(cells)]
    .map((line) => `| ${line.join(" | ")} |\n`)
    .join("");

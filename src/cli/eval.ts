// `gatewise eval`: what a model's guesses cost on a text, or on the parts that its run kept for that.
import { splitTokens } from "../data/batches.ts";
import { GatewiseError } from "../errors.ts";
import { modelFromCheckpoint, sameText } from "../training/checkpoint.ts";
import { makeEvaluator } from "../training/evaluate.ts";
import { trainingOptions } from "../training/options.ts";
import { ByteTokenizer } from "../data/byte-tokenizer.ts";
import { loadText, unitOf, type DataNames, type ReadingOptions, type TextSource } from "./data.ts";
import { withDevice, type DeviceFlags } from "./device.ts";
import { findCheckpoint, readRunInfo, whichCheckpoint, type FoundCheckpoint, type RunInfo } from "./files.ts";
import { fitVocabulary, LEAVE_OUT, type Unknown } from "./fine-tune.ts";
import { count, live, percent, print, printJson, say, warn } from "./progress.ts";
import { listenForStop } from "./stop.ts";
import { loadKnownText, tokensOf } from "./run-text.ts";

export const SPLITS = ["train", "val", "test", "all"] as const;
type Split = (typeof SPLITS)[number];
const PART_NAMES: Readonly<Record<Split, string>> = {
  train: "training part",
  val: "validation part",
  test: "test part",
  all: "the whole text",
};

interface EvalFlags extends DeviceFlags, ReadingOptions {
  readonly best?: boolean;
  readonly data?: DataNames;
  readonly split?: Split;
  readonly evalChars?: number;
  readonly unknown?: Unknown;
  readonly json?: boolean;
}

/** `gatewise eval`. Returns the exit code. */
export async function evaluate(path: string, flags: EvalFlags): Promise<number> {
  const found = await findCheckpoint(path, warn, { best: flags.best ?? false });
  const { checkpoint } = found;
  const { tokenizer, training } = checkpoint;
  const split = flags.split ?? (flags.data === undefined ? "val" : "all");
  const known = await readRunInfo(found.folder);
  const unknown = flags.unknown ?? (flags.data === undefined ? known.unknown : undefined);
  const { text } = fitVocabulary(checkpoint, await chooseText(found, known, split, flags), { unknown, advice: LEAVE_OUT });
  const tokens = tokensOf(text, tokenizer);
  const options = trainingOptions({ ...training?.options });
  if (split !== "all" && !sameText(checkpoint, tokens))
    warn(`${text.source} is not the text that this run was trained on: its parts may hold what the model has learned`);
  const part = split === "all" ? tokens : splitTokens(tokens, options.valFraction, options.testFraction)[split];
  if (part.length < 2) {
    const advice = split === "test" ? "train with --test, or take another --split" : "take another --split";
    throw new GatewiseError("E_DATA", `the ${PART_NAMES[split]} of ${text.name} has ${part.length} tokens, too few; ${advice}`);
  }
  return withDevice(flags, async (device) => {
    const stop = listenForStop(() => live(""));
    const model = modelFromCheckpoint(device, checkpoint);
    const unit = unitOf(tokenizer);
    if (!flags.json) {
      say(`model:  ${whichCheckpoint(found)}`);
      say(`device: ${device.description}`);
      say(`text:   ${text.name}, ${PART_NAMES[split]}, ${count(part.length)} ${unit}s`);
    }
    try {
      live("preparing…");
      const evaluator = await makeEvaluator(model, part, {
        ...options,
        // A part is read as its run reads it; a text that was asked for, whole.
        evalTokens: flags.evalChars ?? (split === "all" ? 0 : options.evalTokens),
        tokenizer,
        signal: stop.signal,
        ...(checkpoint.device === device.description && !flags.retune && { choices: checkpoint.tuning }),
      });
      const result = await evaluator.evaluate(stop.signal, (done, of) => live(`evaluating: ${percent(done / of)}`));
      evaluator.dispose();
      if (flags.json)
        printJson({ v: 1, event: "evaluation", path: found.path, step: training?.step, data: text.source, split, ...result });
      else {
        const { loss, bitsPerToken, bitsPerByte, perplexity, accuracy, tokens: predicted } = result;
        const figures = [
          `loss ${loss.toFixed(4)}`,
          `${bitsPerToken.toFixed(3)} bits/${unit}`,
          ...(bitsPerByte === undefined ? [] : [`${bitsPerByte.toFixed(3)} bits/byte`]),
          `perplexity ${perplexity.toPrecision(4)}`,
          `${percent(accuracy)} of next ${unit}s right`,
          `${count(predicted)} ${unit}s predicted`,
        ];
        print(`${figures.join(" · ")}\n`);
      }
    } catch (error) {
      if (stop.exitCode === undefined) throw error;
    } finally {
      model.dispose();
    }
    return stop.exitCode ?? 0;
  });
}

/** The text that was asked for, or the run's own. @throws GatewiseError E_CONFIG where there is none */
async function chooseText(
  found: FoundCheckpoint,
  known: Partial<RunInfo>,
  split: Split,
  { data, pattern, encoding }: EvalFlags,
): Promise<TextSource> {
  const { checkpoint, folder, path } = found;
  if (split !== "all" && !checkpoint.training)
    throw new GatewiseError("E_CONFIG", `${path} holds a model but no run, so that no text has parts; leave --split out`);
  const binary = checkpoint.tokenizer instanceof ByteTokenizer;
  if (data !== undefined) return loadText(data, { pattern, encoding, binary });
  if (known.data === undefined)
    throw new GatewiseError(
      "E_CONFIG",
      `there is no run.json beside ${path} to say which text the run reads; give it with --data`,
    );
  return loadKnownText(folder, known, binary);
}

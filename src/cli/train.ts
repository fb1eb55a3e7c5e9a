import type { Command } from "commander";
import { dirname, join, resolve } from "node:path";
import { ByteTokenizer } from "../data/byte-tokenizer.ts";
import { makeTokenizer, SIZED_KINDS, type TokenizerKind } from "../data/tokenizers.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import { given } from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import { languageModelConfig, type LanguageModelConfig } from "../models/config.ts";
import { modelName } from "../models/presets.ts";
import { LanguageModel } from "../models/language-model.ts";
import type { Device } from "../runtime/device.ts";
import { checkPrecision, modelFromCheckpoint, resumeTrainer, sameText, type ResumeNotice } from "../training/checkpoint.ts";
import { makeEvaluator, type Evaluation } from "../training/evaluate.ts";
import type { StartEvent } from "../training/events.ts";
import { trainingOptions, type TrainingOptions } from "../training/options.ts";
import { restartSchedule } from "../training/schedule.ts";
import { Trainer, type TrainerOptions } from "../training/trainer.ts";
import { loadText, PIPE, readPrompt, unitOf, vocabularyOf, type DataNames, type ReadingOptions } from "./data.ts";
import { withDevice, type DeviceFlags } from "./device.ts";
import { checkUnknownFlags, fitVocabulary, LEAVE_OUT, type UnknownFlags } from "./fine-tune.ts";
import { checkpointsIn, findCheckpoint, lockRun, readRunInfo, type FoundCheckpoint, type RunInfo } from "./files.ts";
import { Keeper, type Run } from "./keeper.ts";
import { lockFolder, type Lock } from "./lock.ts";
import { endOf, reportEnd } from "./ending.ts";
import { RunLog } from "./log.ts";
import { loadKnownText, tokensOf } from "./run-text.ts";
import { flagOf, flagValue, idleFlags, isGiven, readTrainingFlags, type ModelOptions } from "./options.ts";
import { count, live, print, printJson, Progress, quote, say, shown, warn } from "./progress.ts";
import { listenForStop } from "./stop.ts";
import { compareWithWasm } from "./without-gpu.ts";

interface TrainFlags extends DeviceFlags, ReadingOptions, UnknownFlags {
  readonly data: DataNames;
  readonly out?: string;
  readonly resume?: string;
  readonly initFrom?: string;
  readonly scheduleFrom?: "reached" | "peak";
  readonly tokenizer: TokenizerKind;
  readonly vocabSize?: number;
  readonly keep: number;
  readonly time?: number;
  readonly samplePrompt?: string;
  readonly sampleLength?: number;
  readonly sampleTemperature?: number;
  readonly json?: boolean;
}

/** Exit code of a run whose last step is not where it belongs. */
const NOT_SAVED = 1;

/** Milliseconds after which a first step is long enough to say why. */
const FIRST_STEP_PATIENCE = 1000;

/** `gatewise train`. Returns the exit code. */
export async function train(flags: TrainFlags, command: Command): Promise<number> {
  const run = await planRun(flags, command);
  return withDevice({ ...flags, ...given({ simd: run.simd }), device: run.device }, (device) =>
    trainOn(device, run, flags.json ?? false),
  );
}

/** Finds out everything that can be wrong with what was asked for, while nothing is written yet. */
async function planRun(flags: TrainFlags, command: Command): Promise<Run> {
  const { all, typed } = readTrainingFlags(command);
  const typedFlag = (name: string): boolean => isGiven(command, name);
  const path = flags.resume ?? flags.initFrom;
  const resumes = flags.resume !== undefined;
  // Before anything is read that another process may be about to change.
  const lock = resumes ? await lockRun(flags.resume!) : undefined;
  const found = path === undefined ? undefined : await findCheckpoint(path, warn);
  const saved = found?.checkpoint;
  if (resumes && !saved!.training) {
    throw new GatewiseError("E_BAD_CHECKPOINT", `${path} holds a model but no run; start a new run from it with --init-from`);
  }

  const known = found && resumes ? await readRunInfo(found.folder) : {};
  if (resumes && !known.data && !typedFlag("data")) {
    throw new GatewiseError(
      "E_CONFIG",
      `there is no run.json beside ${found!.path} to say which text the run reads; give it with --data`,
    );
  }
  if (flags.scheduleFrom && !resumes)
    throw new GatewiseError("E_CONFIG", "--schedule-from is for a run that goes on; give it with --resume");
  if (flags.scheduleFrom === "reached" && typed.training.learningRate !== undefined)
    throw new GatewiseError("E_CONFIG", "--schedule-from reached begins at the rate that the run had come to; leave --lr out");
  const done = resumes ? saved!.training!.step : 0;
  const before = saved?.training?.options;
  const options = trainingOptions(
    resumes
      ? { ...before!, ...(flags.scheduleFrom && restartSchedule(done, before!, flags.scheduleFrom)), ...typed.training }
      : all.training,
  );
  if (resumes && done >= options.totalSteps) {
    throw new GatewiseError("E_CONFIG", `the run is complete at step ${done}; to go on, give --steps a number above it`);
  }

  const remembered = resumes && !typedFlag("data");
  const binary = saved ? saved.tokenizer instanceof ByteTokenizer : flags.tokenizer === "byte";
  const source = remembered
    ? await loadKnownText(found!.folder, known, binary)
    : await loadText(flags.data, { pattern: flags.pattern, encoding: flags.encoding, binary });
  checkUnknownFlags(flags);
  const { checkpoint, text } = saved
    ? fitVocabulary(saved, source, wishOf(flags, known), options.seed)
    : { checkpoint: undefined, text: source };
  if (!checkpoint && SIZED_KINDS.includes(flags.tokenizer)) live("learning the vocabulary…");
  const tokenizer = checkpoint?.tokenizer ?? makeTokenizer(flags.tokenizer, text.text, flags.vocabSize);
  if (checkpoint) checkTokenizer(tokenizer, typedFlag("tokenizer") ? flags.tokenizer : undefined, flags.vocabSize);
  const tokens = tokensOf(text, tokenizer);
  if (resumes && !sameText(checkpoint!, tokens)) {
    warn(`${text.source} is not the text that this run was trained on; it goes on, but not as the unbroken run would have`);
  }
  const config = checkpoint
    ? changedConfig(checkpoint.config, typed.model)
    : languageModelConfig({ ...all.model, vocabSize: tokenizer.size });
  idleFlags(config, options).forEach(warn);
  const samplePrompt = flags.samplePrompt ?? known.sample?.prompt;
  const name = `${text.name}-${modelName(config)}-${config.hiddenSize}`;
  return {
    text,
    tokenizer,
    tokens,
    config,
    options,
    resumes,
    known,
    device: resumes && !typedFlag("device") ? (known.device ?? flags.device) : flags.device,
    simd: flags.simd ?? known.simd,
    keep: resumes && !typedFlag("keep") ? (known.keep ?? flags.keep) : flags.keep,
    milliseconds: flags.time,
    begun: resumes ? begunOf(known) : begunOf({ ...flags, ...(flags.initFrom && { initFrom: resolve(flags.initFrom) }) }),
    everyReport: typedFlag("logEvery"),
    sample: given({
      prompt: samplePrompt === undefined ? undefined : checkPrompt(samplePrompt, tokenizer),
      length: flags.sampleLength ?? known.sample?.length,
      temperature: flags.sampleTemperature ?? known.sample?.temperature,
    }),
    from: checkpoint && { ...checkpoint, config },
    fromPath: found?.path,
    folder: await lockChosen(await chooseFolder(flags, resumes ? found : undefined, name), lock),
  };
}

const begunOf = ({ initFrom, extendVocabulary, unknown }: Run["begun"] | UnknownFlags): Run["begun"] =>
  given({ initFrom, extendVocabulary: extendVocabulary || undefined, unknown });

/** What becomes of characters that the model does not know: what was asked for, or what this run did with them before. */
const wishOf = ({ extendVocabulary: extend, unknown, resume }: TrainFlags, known: Partial<RunInfo>) => ({
  extend,
  unknown: unknown ?? known.unknown,
  advice:
    resume === undefined
      ? `give the model rows for them with --extend-vocabulary, or ${LEAVE_OUT}`
      : `a run goes on with the characters that it began with: for this text begin a new one, --init-from ${quote(resume)} with --extend-vocabulary or --unknown`,
});

/** @throws GatewiseError E_CONFIG unless a checkpoint's tokenizer is as it was asked for, if it was */
function checkTokenizer(tokenizer: Tokenizer, kind: TokenizerKind | undefined, vocabSize: number | undefined): void {
  const has = tokenizer.toJSON().kind;
  const misfit =
    kind !== undefined && kind !== has
      ? `--tokenizer ${kind} does not fit the checkpoint's model (${has})`
      : vocabSize !== undefined && vocabSize !== tokenizer.size
        ? `--vocab-size ${vocabSize} does not fit the checkpoint's model (${tokenizer.size})`
        : undefined;
  if (misfit) throw new GatewiseError("E_CONFIG", `${misfit}; leave it out`);
}

/** A prompt as the tokenizer reads it. @throws GatewiseError E_DATA for one that it cannot read */
function checkPrompt(text: string, tokenizer: Tokenizer): string {
  const prompt = readPrompt(text, tokenizer);
  tokenizer.encode(prompt);
  return prompt;
}

/** Holds the lock of a folder to continue in, and lets go of that of any other. */
async function lockChosen(folder: Run["folder"], resumed: Lock | undefined): Promise<Run["folder"]> {
  if (!folder.claimed) {
    resumed?.release();
    return folder;
  }
  const lock = resumed ?? (await lockFolder(folder.path));
  if (lock.heldBy) throw lock.heldBy;
  return { ...folder, lock };
}

/** A checkpoint's configuration with those things changed that its weights do not depend on. */
function changedConfig(config: LanguageModelConfig, typed: Partial<ModelOptions>): LanguageModelConfig {
  for (const field of Object.keys(typed) as (keyof ModelOptions)[]) {
    if (field === "dropout" || field === "precision" || typed[field] === config[field]) continue;
    const has = config[field] === undefined ? "none" : flagValue(field, config[field]);
    throw new GatewiseError(
      "E_CONFIG",
      `${flagOf(field)} ${flagValue(field, typed[field])} does not fit the checkpoint's model (${has}); leave it out`,
    );
  }
  return languageModelConfig({ ...config, ...typed });
}

/**
 * A resumed run goes on in its own folder, unless that has later checkpoints, which it would overwrite: then it is a
 * branch and gets a folder of its own.
 */
async function chooseFolder(
  { out, resume }: TrainFlags,
  resumed: FoundCheckpoint | undefined,
  name: string,
): Promise<Run["folder"]> {
  if (out !== undefined)
    return { path: withoutSlash(out), typed: true, claimed: resumed !== undefined && resolve(out) === resolve(resumed.folder) };
  if (!resumed) return { path: join("runs", name), claimed: false };
  const { folder, checkpoint } = resumed;
  // A checkpoint that lies by itself, in a folder for downloads perhaps: nothing there is the run's to change.
  if ((await readRunInfo(folder)).data === undefined) return { path: join("runs", name), claimed: false };
  // The folder itself stands for its newest checkpoint, even if another process has just saved a newer one.
  const branches = resolve(resume!) !== resolve(folder) && (await newerCheckpoint(folder, checkpoint.training!.step));
  return { path: withoutSlash(folder), claimed: !branches };
}

/** A path without the slash that a shell's completion leaves, which would make "-2" a folder inside another run's. */
const withoutSlash = (path: string): string => path.replace(/(?<=.)[/\\]+$/, "");

/** Whether a folder has a whole checkpoint of a later step. */
async function newerCheckpoint(folder: string, step: number): Promise<boolean> {
  if (!(await checkpointsIn(folder)).some((checkpoint) => checkpoint.step > step)) return false;
  const newest = await findCheckpoint(folder, () => {});
  return (newest.checkpoint.training?.step ?? 0) > step;
}

async function trainOn(device: Device, run: Run, json: boolean): Promise<number> {
  const { config, options, tokenizer, tokens, from } = run;
  const model = from ? modelFromCheckpoint(device, from) : LanguageModel.create(device, { ...config, seed: options.seed });
  if (from) checkPrecision(model, from);
  const keeper = new Keeper(run, device);
  const progress = new Progress(options, {
    unit: unitOf(tokenizer),
    everyReport: run.everyReport,
    milliseconds: run.milliseconds,
  });
  const settings: TrainerOptions = {
    ...options,
    tokenizer,
    sample: run.sample,
    ...(!json && { onEvaluation: (done, of) => progress.evaluating(done, of) }),
    // The trainer keeps a checkpoint only after a step that it was asked for.
    onCheckpoint: (trainer) => keeper.keep(trainer),
  };
  const trainer = run.resumes
    ? resumeTrainer(model, tokens, from!, settings, (notice) => tell(notice, run))
    : Trainer.create(model, tokens, settings);
  const log = new RunLog(() => keeper.ownFolder);
  try {
    return await follow(trainer, run, { keeper, log, progress, json });
  } catch (error) {
    log.end();
    throw await keeper.advise(error, options);
  } finally {
    trainer.dispose();
    model.dispose();
  }
}

/** What a resumed run does in another way, and the flags for those who want it otherwise. */
function tell({ about, message }: ResumeNotice, { options, from }: Run): void {
  const given = options.scheduleStart !== from!.training!.options.scheduleStart;
  const advice =
    "--schedule-from reached goes on from the rate that it had, --schedule-from peak begins a new schedule at the peak";
  warn(about === "learningRate" && !given ? `${message}; ${advice}` : message);
}

/** Who is told of a run's events. */
interface Followers {
  readonly keeper: Keeper;
  readonly log: RunLog;
  readonly progress: Progress;
  readonly json: boolean;
}

/** Runs the training and reports it. Returns the exit code. */
async function follow(trainer: Trainer, run: Run, { keeper, log, progress, json }: Followers): Promise<number> {
  const { options, text, tokens, tokenizer } = run;
  const stop = listenForStop(() => say("stopping after this step and saving; once more to stop at once"));
  let valLoss: number | undefined;
  const from = trainer.step;
  let first: NodeJS.Timeout | undefined;
  let rescued = false;
  let rate = NaN;
  live("preparing…");
  const timeUp = run.milliseconds === undefined ? undefined : AbortSignal.timeout(run.milliseconds);
  const signal = timeUp ? AbortSignal.any([stop.signal, timeUp]) : stop.signal;
  for await (const told of trainer.run({ maxSteps: options.totalSteps, signal })) {
    const event = endOf(told, timeUp?.aborted === true && stop.exitCode === undefined);
    switch (event.event) {
      case "start": {
        const folder = await keeper.open();
        if (run.resumes) await log.continue(dirname(run.fromPath!), event.step);
        const { parameters, device } = event;
        if (json)
          printJson({
            ...event,
            tokenizer: tokenizer.toJSON().kind,
            vocabulary: tokenizer.size,
            characters: tokens.length,
            data: text.source,
            encoding: text.encoding,
            out: folder,
          });
        else {
          say(`device: ${device}`);
          const model = `${modelName(run.config)} · ${count(parameters)} parameters · ${vocabularyOf(tokenizer)}`;
          say(`model:  ${model} · text: ${text.name}, ${count(tokens.length)} ${unitOf(tokenizer)}s`);
          if (text.source === PIPE) say("the text came through a pipe: to resume this run, give it again with --data");
          say(`run:    ${shown(folder)}${event.step > 0 ? `, from step ${event.step}` : ""}`);
        }
        progress.begin(event);
        warnOfSilence(options, event);
        live("first step…");
        if (trainer.model.device.kind !== "webgpu") break;
        const why = "the first step takes longer: the driver compiles its kernels, and keeps them for the next start if it can";
        first = setTimeout(() => stop.exitCode ?? say(why), FIRST_STEP_PATIENCE);
        break;
      }
      case "step":
        clearTimeout(first);
        rate = event.tokensPerSecond;
        keeper.saw(event);
        log.add(event);
        if (json) printJson(event);
        else progress.step(event);
        break;
      case "eval": {
        valLoss = event.valLoss;
        log.add(event);
        const best = event.best ? await keeper.keepBest(trainer, event) : undefined;
        if (!json) progress.evaluated(event, best);
        else {
          printJson(event);
          if (best !== undefined) printJson({ v: 1, event: "checkpoint", step: event.step, path: best, best: true });
        }
        break;
      }
      case "sample":
        if (json) printJson(event);
        else {
          say(`step ${event.step} writes:`);
          print(`${event.text}\n\n`);
        }
        break;
      case "checkpoint":
        keeper.reported = event.path;
        if (json) printJson(event);
        break;
      case "end": {
        clearTimeout(first);
        log.end();
        const stopped = event.reason === "aborted" && event.step - from <= 1;
        const kept = stopped ? await keeper.keepSoon(trainer) : await keeper.keepLast(trainer);
        if (kept === undefined) {
          if (json) printJson(event);
          else say(`stopped before the first step was done; nothing to save${run.resumes ? ", the run is as it was" : ""}`);
          break;
        }
        const { path: saved } = kept;
        rescued = kept.rescued;
        if (json && keeper.reported !== saved) printJson({ v: 1, event: "checkpoint", step: event.step, path: saved });
        // Without a validation part the figure that tells whether it learned anything is taken on the text itself.
        const memory = options.valFraction === 0 && event.reason === "done" ? await evaluateText(trainer) : undefined;
        if (json) printJson({ ...event, ...(memory && { trainAccuracy: memory.accuracy }), out: keeper.folder });
        else {
          reportEnd(event, { run, saved, folder: keeper.folder, valLoss, memory, trainingLoss: progress.trainingLoss });
          const { kind, family } = trainer.model.device;
          if (kind === "webgpu" && family === "software" && event.reason === "done") await compareWithWasm(run, rate);
        }
      }
    }
  }
  return rescued ? NOT_SAVED : (stop.exitCode ?? 0);
}

/** What was asked for and will not come. */
function warnOfSilence({ valFraction, evalInterval }: TrainingOptions, { trainTokens, valTokens }: StartEvent): void {
  if (valFraction === 0 || evalInterval === 0 || valTokens > 1) return;
  const part = `${valTokens === 0 ? "nothing" : "one character"} of ${count(trainTokens + valTokens)}`;
  warn(
    `--val ${valFraction} leaves ${part} for validation, too little: no validation loss comes; use a larger --val or a longer text`,
  );
}

async function evaluateText({ model, tokens, options, settings, step }: Trainer): Promise<Evaluation> {
  // Of a long text no more than was trained on: the figure must not take longer than the training did.
  const most = 1 + step * options.batchSize * options.seqLen;
  const evaluator = await makeEvaluator(model, tokens.subarray(0, most), { ...options, tokenizer: settings.tokenizer });
  try {
    return await evaluator.evaluate();
  } finally {
    evaluator.dispose();
  }
}

// One model of a run with its trainer and its log. A race has several, which train on the same batches.
import { given } from "../../checks.ts";
import { splitTokens } from "../../data/batches.ts";
import { CharTokenizer, type Tokenizer } from "../../data/tokenizer.ts";
import type { TokenizerKind } from "../../data/tokenizers.ts";
import { GatewiseError } from "../../errors.ts";
import type { CellOption } from "../../kernels/cell.ts";
import { CELL_DEFAULTS, CELL_NUMBERS, layerOf, MEMORY_OPTIONS, usedBy, type CellOptions } from "../../models/cells.ts";
import { languageModelConfig, type LanguageModelConfig } from "../../models/config.ts";
import { PRESETS, type PresetName } from "../../models/presets.ts";
import { LanguageModel } from "../../models/language-model.ts";
import type { Device } from "../../runtime/device.ts";
import { loadCheckpoint, modelFromCheckpoint, resumeTrainer, saveCheckpoint, type Intervals } from "../../training/checkpoint.ts";
import type { TrainingEvent } from "../../training/events.ts";
import { TRAINING_DEFAULTS, type TrainingOptions } from "../../training/options.ts";
import { Trainer, type TrainerOptions } from "../../training/trainer.ts";
import { knows } from "../analysis/pieces.ts";
import { countCharacters, visible } from "../format.ts";
import { EVAL_FIELDS, STEP_FIELDS, type ModelSnapshot, type Post, type TokenizerJson } from "../protocol.ts";
import { isSized, NUMBER_NAMES, NUMBERS, VOCABULARY, type NumberName, type Settings } from "../settings.ts";
import { tokenizerFor, tokensBy, type LoadedText } from "./texts.ts";

/** Rows of STEP_FIELDS and of EVAL_FIELDS numbers. */
const LOGS = { points: STEP_FIELDS, evaluations: EVAL_FIELDS } as const;
type LogName = keyof typeof LOGS;
const LOG_NAMES = Object.keys(LOGS) as readonly LogName[];
type Rows = Record<LogName, number[]>;

export class Lane {
  log: Rows = { points: [], evaluations: [] };
  /** The model and its training as they were last saved, and at which step. */
  snapshot: { readonly step: number; readonly bytes: Uint8Array } | undefined;
  /** Why it trains no more, where that is not the run's end. */
  failure: string | undefined;
  private finished = false;
  /** Numbers of the log that the page has. */
  private readonly sent: Record<LogName, number> = { points: 0, evaluations: 0 };
  /** Milliseconds and steps of the time in which it trained, for the rate. */
  private readonly pace = { milliseconds: 0, steps: 0 };
  private events: AsyncGenerator<TrainingEvent, void, void> | undefined;
  /** What ends its present events. */
  private signal: AbortSignal | undefined;
  /** Tokens a character: losses and rates are told by characters, so that they can be compared whatever a token is. */
  private readonly density: { readonly train: number; readonly val: number };

  /**
   * `intervals`: what its checkpoints say in place of LOGGING. `needsText`: why it cannot be trained on the text that there
   * is; it writes and is looked into all the same.
   */
  private constructor(
    readonly preset: PresetName,
    readonly model: LanguageModel,
    readonly trainer: Trainer,
    private readonly intervals: Intervals,
    readonly needsText?: string,
  ) {
    const { train, val } = splitTokens(trainer.tokens, trainer.options.valFraction);
    this.density = { train: this.densityOf(train), val: this.densityOf(val) };
  }

  private densityOf(tokens: Uint32Array): number {
    const { tokenizer } = this;
    return tokenizer instanceof CharTokenizer || tokens.length === 0
      ? 1
      : tokens.length / Math.max(1, countCharacters(tokenizer.decode(tokens)));
  }

  get tokenizer(): Tokenizer {
    return this.trainer.settings.tokenizer!;
  }

  /** A model at step 0. */
  static create(device: Device, settings: Settings, preset: PresetName, text: Pick<LoadedText, "text" | "bytes">): Lane {
    const tokenizer = tokenizerFor(text, settings);
    const model = LanguageModel.create(device, { ...laneConfig(settings, preset, tokenizer.size), seed: settings.seed });
    return orFree(model, () => {
      const trainer = Trainer.create(model, tokensBy(tokenizer, text), trainerOptions(settings, tokenizer));
      return new Lane(preset, model, trainer, TRAINING_DEFAULTS);
    });
  }

  /** A model as a checkpoint left it, in f32 where the device has no f16; on a text that has other characters to look at only. */
  static restore(device: Device, preset: PresetName, bytes: Uint8Array, text: LoadedText, saved = loadCheckpoint(bytes)): Lane {
    const { tokenizer, training } = saved;
    const options = training?.options ?? TRAINING_DEFAULTS;
    const unknown = text.info.vocabulary.filter((character) => !knows(tokenizer, character));
    const needsText =
      unknown.length === 0
        ? undefined
        : `${text.info.title} has characters that this model was never shown, such as ${quoted(unknown)}: open the text that it was trained on to train it further`;
    const tokens = needsText ? standIn(tokenizer, options) : tokensBy(tokenizer, text);
    const model = modelFromCheckpoint(device, saved);
    return orFree(model, () => {
      const trainer = resumeTrainer(model, tokens, { ...saved, config: model.config }, LOGGING);
      const lane = new Lane(preset, model, trainer, options, needsText);
      lane.snapshot = { step: trainer.step, bytes };
      return lane;
    });
  }

  /** Goes on with a log: what lies beyond the step that it stands at never happened. */
  goOn(log: Readonly<Rows>, totalSteps: number, failure?: string): void {
    for (const name of LOG_NAMES) {
      const [rows, fields] = [log[name], LOGS[name]];
      let end = rows.length;
      while (end > 0 && rows[end - fields]! > this.step) end -= fields;
      this.log[name] = rows.slice(0, end);
    }
    this.failure = failure;
    this.endAt(totalSteps);
  }

  /** Says where the run ends. It is done when its last validation is, which may have been cut short. */
  endAt(totalSteps: number): void {
    this.finished = this.step >= totalSteps && !this.trainer.evaluationDue;
  }

  get step(): number {
    return this.trainer.step;
  }

  /** The last step that was heard of. */
  get loggedStep(): number {
    return this.log.points.at(-STEP_FIELDS) ?? 0;
  }

  /** Whether there is anything left to train. */
  get active(): boolean {
    return this.failure === undefined && !this.finished;
  }

  /** Begins a stretch of training, which ends when it is aborted. `exact`: one step at a time, each when it is asked for. */
  start(maxSteps: number, signal: AbortSignal, exact = false): void {
    this.signal = signal;
    this.events = this.trainer.run({ maxSteps, signal, exact });
  }

  /** Trains until the next number is there. Returns false when the stretch has come to an end. */
  async pull(): Promise<boolean> {
    const begun = performance.now();
    const before = this.step;
    try {
      const { value, done } = await this.events!.next();
      if (done) return false;
      if (value.event === "step") {
        this.log.points.push(value.step, value.loss * this.density.train, value.gradNorm, value.learningRate);
        this.pace.milliseconds += performance.now() - begun;
        this.pace.steps += this.step - before;
      } else if (value.event === "eval") {
        this.log.evaluations.push(value.step, value.valLoss * this.density.val, value.valAccuracy);
      } else if (value.event === "end" && value.reason === "done") {
        this.finished = !this.trainer.evaluationDue;
      }
      return true;
    } catch (error) {
      // Stopped while it was compiled or tuned.
      if (!(this.signal?.aborted && error === this.signal.reason)) this.stopAtNaN(error);
      return false;
    }
  }

  /** Waits until the stretch is over: a trainer has one at a time. */
  async end(): Promise<void> {
    await this.events?.return();
  }

  /** Keeps the model as it stands. One whose numbers are not finite stops, and keeps what it had. */
  async takeSnapshot(): Promise<void> {
    if (this.failure !== undefined || this.needsText !== undefined) return;
    const { step } = this;
    const { logInterval, sampleInterval, checkpointInterval } = this.intervals;
    try {
      const bytes = await saveCheckpoint(this.trainer, { logInterval, sampleInterval, checkpointInterval });
      this.snapshot = { step, bytes };
    } catch (error) {
      this.stopAtNaN(error);
    }
  }

  private stopAtNaN(error: unknown): void {
    if (!(error instanceof GatewiseError) || error.code !== "E_NAN_LOSS") throw error;
    this.failure = error.message;
  }

  /** The model as the views look at it. */
  async look(): Promise<ModelSnapshot> {
    const { preset, step, model, trainer } = this;
    const tokenizer = this.tokenizer.toJSON() as TokenizerJson;
    return { preset, step, seed: trainer.options.seed, config: model.config, stateDict: await model.stateDict(), tokenizer };
  }

  /** Sends the page what it does not have of the lane, number `lane` of the run; all of it, if it is to begin `anew`. */
  report(post: Post, lane: number, anew = false): void {
    for (const event of LOG_NAMES) {
      const from = anew ? 0 : this.sent[event];
      const values = Float32Array.from(this.log[event].slice(from));
      if (anew || values.length > 0) post({ event, lane, from: from / LOGS[event], values }, [values.buffer]);
      this.sent[event] = this.log[event].length;
    }
    const { milliseconds, steps } = this.pace;
    if (steps === 0 || milliseconds <= 250) return;
    const { batchSize, seqLen } = this.trainer.options;
    const stepsPerSecond = (1000 * steps) / milliseconds;
    const charactersPerSecond = (stepsPerSecond * batchSize * seqLen) / this.density.train;
    post({ event: "rate", lane, charactersPerSecond, stepsPerSecond });
    // The last seconds count more than those before.
    const kept = Math.min(1, 3000 / milliseconds);
    this.pace.milliseconds *= kept;
    this.pace.steps *= kept;
  }

  /** The whole log, for a page that has nothing of it. */
  wholeLog(): Readonly<Record<LogName, Float32Array>> {
    for (const name of LOG_NAMES) this.sent[name] = this.log[name].length;
    return { points: Float32Array.from(this.log.points), evaluations: Float32Array.from(this.log.evaluations) };
  }

  /** Its settings as the page's fields. */
  get settings() {
    const { options } = this.trainer;
    const all = { ...CELL_DEFAULTS, ...this.model.config, ...options };
    const numbers = Object.fromEntries(NUMBER_NAMES.map((name) => [name, Math.max(0, all[name] ?? 0)])) as Record<
      NumberName,
      number
    >;
    const kind = { tokenizer: this.tokenizer.toJSON().kind as TokenizerKind };
    const vocabSize = isSized(kind) ? this.model.config.vocabSize : VOCABULARY;
    return { ...numbers, ...kind, vocabSize, optimizer: options.optimizer, schedule: options.schedule };
  }

  /** Options of the command line for what a checkpoint says and the page has no field for. */
  get flags(): string[] {
    const { config } = this.model;
    const { options } = this.trainer;
    const flags = [];
    if (config.input !== PRESETS[this.preset].input) flags.push(`--input ${config.input}`);
    for (const [name, { fallback, flags: flag, values, words }] of Object.entries<CellOption>(layerOf(config).options)) {
      const value: unknown = config[name as keyof CellOptions];
      // What a field says is none of them; a field's 0 says that nothing was given.
      if (name in NUMBERS && typeof value === "number" && value > 0) continue;
      if (value !== fallback) flags.push(`${flag.split(" ")[0]} ${words?.[values!.indexOf(value)] ?? String(value)}`);
    }
    if (config.orthogonal) flags.push("--orthogonal");
    if (config.precision !== "f32") flags.push(`--precision ${config.precision}`);
    if (options.loss !== "all") flags.push(`--loss ${options.loss}`);
    if (options.state !== "carry") flags.push(`--state ${options.state}`);
    if (options.momentum > 0) flags.push(`--momentum ${options.momentum}`);
    return flags;
  }

  dispose(): void {
    this.trainer.dispose();
    this.model.dispose();
  }
}

/** Makes the models of a run, or none of them. */
export async function makeLanes(
  presets: readonly PresetName[],
  make: (preset: PresetName, index: number) => Promise<Lane> | Lane,
): Promise<readonly Lane[]> {
  const lanes: Lane[] = [];
  try {
    for (const [i, preset] of presets.entries()) lanes.push(await make(preset, i));
  } catch (error) {
    for (const lane of lanes) lane.dispose();
    throw error;
  }
  return lanes;
}

/** Some characters of many. */
const quoted = (characters: readonly string[]): string =>
  characters
    .slice(0, 3)
    .map((character) => `“${visible(character)}”`)
    .join(", ");

/** Tokens in place of a text that is not there: enough for a trainer, which never comes to read them. */
const standIn = ({ size }: Tokenizer, { batchSize, seqLen }: TrainingOptions): Uint32Array =>
  Uint32Array.from({ length: 4 * batchSize * seqLen + 10_000 }, (_, i) => i % size);

function orFree<T>(model: LanguageModel, make: () => T): T {
  try {
    return make();
  } catch (error) {
    model.dispose();
    throw error;
  }
}

export const laneConfig = (settings: Settings, preset: PresetName, vocabSize: number): LanguageModelConfig => {
  const { embeddingSize, hiddenSize, numLayers, dropout } = settings;
  const own = Object.fromEntries(CELL_NUMBERS.map(({ name }) => [name, settings[name]]));
  const memory = Object.fromEntries(MEMORY_OPTIONS.map(({ name }) => [name, settings[name] || undefined]));
  const sizes = usedBy(PRESETS[preset], given({ embeddingSize, hiddenSize, numLayers, dropout, ...own, ...memory }));
  return languageModelConfig({ ...PRESETS[preset], ...sizes, vocabSize });
};

/** Every step is logged, so that the log of a resumed run has no gaps; samples and checkpoints are the lab's own. */
const LOGGING: Required<Intervals> = { logInterval: 1, sampleInterval: 0, checkpointInterval: 0 };

const trainerOptions = (settings: Settings, tokenizer: Tokenizer): TrainerOptions => {
  const { batchSize, seqLen, optimizer, learningRate, schedule, warmupSteps, totalSteps, clip, weightDecay } = settings;
  const { valFraction, evalInterval, seed } = settings;
  const training = { batchSize, seqLen, optimizer, learningRate, schedule, warmupSteps, totalSteps, clip, weightDecay };
  return { tokenizer, ...training, valFraction, evalInterval, seed, ...LOGGING };
};

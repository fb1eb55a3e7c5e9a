// A training run: one class, whose steps, evaluations, samples and checkpoints share their order and their state, which is
// why it has more than 400 lines.
import { checkSignal, copyTokens } from "../checks.ts";
import { createBatches, sortByToken, splitTokens, type Batches } from "../data/batches.ts";
import { GatewiseError } from "../errors.ts";
import { METRIC } from "../kernels/reduce.ts";
import { checkModel, type LanguageModel } from "../models/language-model.ts";
import type { Tensors } from "../kernels/cell.ts";
import { makeState, recordPass, type PassInputs } from "../models/pass.ts";
import { decayedLength, makeParameterSet, readStateDict, type ParameterSet, type StateDict } from "../models/parameters.ts";
import type { Plan } from "../runtime/device.ts";
import type { Choices, Recorder } from "../runtime/recorder.ts";
import { sizeOf, type NumberArray, type Tensor, type TensorSpec } from "../runtime/tensor.ts";
import { abortable, Lifetime } from "../turns.ts";
import type { EndEvent, EvalEvent, StepEvent, TrainingEvent } from "./events.ts";
import { recordEvaluation, type Evaluation, type RecordedEvaluation } from "./evaluate.ts";
import { makeHostBuffers, MAX_BATCH_TOKENS, tooLarge, type HostBuffers } from "./host-buffers.ts";
import { LogQueue, throwIfNotFinite } from "./log-queue.ts";
import { BETA1, BETA2, OPTIMIZERS, recordUpdate, type Moment } from "./optimizers.ts";
import {
  checkTrainerOptions,
  runOptions,
  trainingOptions,
  type RunOptions,
  type TrainerSettings,
  type TrainingOptions,
} from "./options.ts";
import { learningRateAt } from "./schedule.ts";

export type { RunOptions } from "./options.ts";

/** What a trainer is made with. */
export type TrainerOptions = Partial<TrainingOptions> & TrainerSettings<Trainer>;

/** Logs in a row with a loss this many times that of a uniform guess, ln V, that end a run as exploded. */
const EXPLODED_FACTOR = 4;
const EXPLODED_LOGS = 3;
/** Whether a loss is so high that no sound parameters give it. */
export const isExploded = (loss: number, vocabSize: number): boolean =>
  !(loss <= EXPLODED_FACTOR * Math.max(Math.log(vocabSize), 1));

/** What a training step writes, and the arrays it writes it from: their size is the options' claim, which a checkpoint may make. */
type StepPlan = Plan<PassInputs & { readonly host: HostBuffers }>;

/**
 * Trains a language model by truncated backpropagation through time.
 *
 * @example
 * const trainer = Trainer.create(model, tokenizer.encode(text), { batchSize: 64, seqLen: 64, learningRate: 2e-3 });
 * for await (const event of trainer.run({ maxSteps: 1000 })) if (event.event === "step") console.log(event.loss);
 */
export class Trainer {
  /** @internal Whose turn it is to work on the model's parameters: one step, one evaluation, one save. */
  readonly life: Lifetime;
  /** Steps done since the run's first. */
  step = 0;
  /** The lowest validation loss so far; Infinity before the first evaluation. */
  bestValLoss = Infinity;
  /** Step of the best validation loss; 0 where there is none. */
  bestStep = 0;
  /** @internal Evaluations since the best one. */
  sinceBest = 0;
  /** @internal Step at which the moments began from zero: Adam's bias corrections count from it. */
  momentsSince = 0;
  /** @internal Whether the evaluation of the step just done was cut short, or is to come: the next run begins with it. */
  evaluationDue = false;
  /**
   * @internal The kernels that its passes take where there are several, which round in different ways: set by a resumed run before
   * its first step, else known after it.
   */
  choices: Choices = new Map();
  /** How it trains, defaults filled in. */
  readonly options: TrainingOptions;
  /** @internal Optimizer moments, laid out as the parameters. */
  readonly moments: Readonly<Partial<Record<Moment, ParameterSet>>>;
  /** @internal The carried state; undefined where windows start from zero. */
  readonly state: Tensors | undefined;
  private readonly gradients: ParameterSet;
  private readonly metrics: Tensor;
  private readonly schedule: Tensor;
  private readonly rng: Tensor;
  private readonly batches: Batches;
  private readonly trainTokens: number;
  private readonly valTokens: Uint32Array;
  private plan: StepPlan | undefined;
  private evaluation: RecordedEvaluation | undefined;
  private running = false;
  private explodedLogs = 0;
  /** Of the last evaluation of a run. */
  private valLoss: number | undefined;

  private constructor(
    /** What is trained. */
    readonly model: LanguageModel,
    /** The text, validation part included. */
    readonly tokens: Uint32Array,
    /** What it was made with. */
    readonly settings: TrainerOptions,
    batches?: Batches,
  ) {
    const { device, config } = model;
    this.life = new Lifetime("trainer", model.life);
    const { tokenizer: _, sample: __, onEvaluation: ___, onCheckpoint: ____, ...training } = settings;
    this.options = trainingOptions(training);
    const { batchSize: B, seqLen: T, state, valFraction, testFraction } = this.options;
    const { train, val } = splitTokens(tokens, valFraction, testFraction);
    this.batches = batches ?? createBatches(train, this.options);
    if (B * T > MAX_BATCH_TOKENS) throw tooLarge(B, T);
    this.valTokens = val;
    this.trainTokens = train.length;
    const allocated: Tensor[] = [];
    const make = (spec: TensorSpec): Tensor => {
      const tensor = device.tensor(spec);
      allocated.push(tensor);
      return tensor;
    };
    const keep = (set: ParameterSet): ParameterSet => {
      allocated.push(set.flat.whole);
      return set;
    };
    try {
      this.gradients = keep(makeParameterSet(device, "gradients", model.parameters.specs));
      const moments = OPTIMIZERS[this.options.optimizer].moments as readonly Moment[];
      this.moments = Object.fromEntries(
        moments.map((name) => [name, keep(makeParameterSet(device, name, model.parameters.specs))]),
      );
      this.state = state === "carry" ? makeState(make, config, B) : undefined;
      this.metrics = make({ name: "metrics", shape: [METRIC.count] });
      this.schedule = make({ name: "schedule", shape: [4] });
      this.rng = make({ name: "rng", shape: [4], dtype: "u32" });
    } catch (error) {
      device.free(...allocated);
      throw error;
    }
  }

  /**
   * Prepares training of `model` on `tokens`, any array of integers, which is copied.
   *
   * @throws GatewiseError E_CONFIG for options unknown or out of range, E_DATA for a text too short or a token out of
   * range, E_LIMIT if it does not fit, E_DISPOSED.
   */
  static create(model: LanguageModel, tokens: ArrayLike<number>, options: TrainerOptions = {}): Trainer {
    checkModel("Trainer.create", model);
    checkTrainerOptions("Trainer.create", options);
    return new Trainer(model, copyTokens("Trainer.create", tokens, model.config.vocabSize), options);
  }

  /** @internal Prepares training on windows of one's own instead of a text's, each from a zero state; saved it cannot be. */
  static onBatches(model: LanguageModel, batches: Batches, options: TrainerOptions): Trainer {
    checkModel("Trainer.onBatches", model);
    checkTrainerOptions("Trainer.onBatches", options);
    return new Trainer(model, new Uint32Array(0), { ...options, state: "zero" }, batches);
  }

  /** Records the training step and its evaluation, once. */
  private async prepare(signal: AbortSignal | undefined): Promise<StepPlan> {
    if (this.plan) return this.plan;
    const { model, options, gradients, metrics } = this;
    const { batchSize: B, seqLen: T, loss } = options;
    const host = makeHostBuffers(options, model.config);
    const record = (recorder: Recorder): StepPlan["made"] => {
      const pass = recordPass(recorder, model, { T, B, loss, state: this.state, rng: this.rng, gradients });
      const moments = Object.fromEntries(Object.entries(this.moments).map(([name, set]) => [name, set.flat.whole]));
      recordUpdate(
        recorder,
        {
          parameters: model.parameters.flat.whole,
          gradients: gradients.flat.whole,
          moments,
          schedule: this.schedule,
          metrics,
          rows: pass.rows,
        },
        { ...options, decayed: decayedLength(model.parameters) },
      );
      return { ...pass, host };
    };
    const plan = await model.device.record("train", record, { signal, choices: this.choices });
    this.choices = new Map([...this.choices, ...plan.choices]);
    // Before the first step, so that every checkpoint says what evaluations take too.
    try {
      if (options.evalInterval > 0 && this.valTokens.length > 1) await this.recordedEvaluation(signal);
    } catch (error) {
      plan.dispose();
      throw error;
    }
    return (this.plan = plan);
  }

  /** Dispatches in one training step; known after the first. */
  get dispatches(): number | undefined {
    return this.plan?.dispatches;
  }

  /** Enqueues one training step: uploads its batch and numbers, replays the plan, and puts its log, if any, among `logs`. */
  private async enqueueStep(plan: StepPlan, logs: LogQueue | undefined, evaluates: boolean): Promise<void> {
    const { options, model, step } = this;
    const { host, inputs, targets, order, starts } = plan.made;
    const { device } = model;
    const restart = this.batches.fill(step, host.inputs, host.targets);
    sortByToken(host.inputs, model.config.vocabSize, host.order, host.starts);
    const learningRate = learningRateAt(step, options);
    host.schedule[0] = learningRate;
    const updates = step - this.momentsSince + 1;
    host.schedule[1] = 1 - BETA1 ** updates;
    host.schedule[2] = 1 - BETA2 ** updates;
    host.rng[0] = options.seed;
    host.rng[1] = step;
    const writes: [Tensor, NumberArray][] = [
      [inputs, host.inputs],
      [targets, host.firstTarget ? host.targets.subarray(host.firstTarget) : host.targets],
      [order, host.order],
      [starts, host.starts],
      [this.schedule, host.schedule],
      [this.rng, host.rng],
    ];
    if (restart)
      for (const tensor of Object.values(this.state ?? {}))
        writes.push([tensor, host.zeroState.subarray(0, sizeOf(tensor.shape))]);
    model.parameters.version++;
    await plan.run(writes);
    this.step++;
    this.evaluationDue = evaluates;
    // At once: a log's time is that at which its numbers are here, not a moment of the evaluation behind it.
    logs?.push(this.step, learningRate, device.read(this.metrics));
  }

  /**
   * Trains up to step `maxSteps`, counted from the run's first step, and yields what happens. Calling it again with
   * a larger number continues. Aborting ends it after the current step with an "end" event.
   *
   * Numbers come back from the device while later steps are done: at a "step" event `trainer.step` may be some steps
   * ahead of the event's. With `exact` it is not, nor is it at any other event.
   *
   * @throws GatewiseError E_NAN_LOSS when the loss or gradient is not finite, or the loss exploded; the parameters
   * are those from before. E_DEVICE_LOST when the GPU is gone. E_CONFIG while another run of this trainer is under way.
   * E_DISPOSED.
   */
  run(options: RunOptions): AsyncGenerator<TrainingEvent, void, void> {
    const { maxSteps, signal, exact } = runOptions(options);
    return this.alone(this.events(maxSteps, signal, exact));
  }

  /** Two runs at once would each take part of the steps and tell of them as if they were all. */
  private async *alone(events: AsyncGenerator<TrainingEvent, void, void>): AsyncGenerator<TrainingEvent, void, void> {
    if (this.running)
      throw new GatewiseError(
        "E_CONFIG",
        "Trainer.run: a run of this trainer is under way; let it end, or leave its loop, before the next",
      );
    this.running = true;
    try {
      yield* events;
    } finally {
      this.running = false;
    }
  }

  private async *events(
    maxSteps: number,
    signal: AbortSignal | undefined,
    exact: boolean,
  ): AsyncGenerator<TrainingEvent, void, void> {
    const { options, model, settings } = this;
    const begun = performance.now();
    let patient = true;
    if (this.sinceBest >= options.patience) this.sinceBest = 0;
    const plan = await unlessAborted(
      signal,
      this.life.serve("Trainer.run", () => this.prepare(signal), signal),
    );
    const seconds = (): number => (performance.now() - begun) / 1000;
    const end = (loss: number): EndEvent => ({
      v: 1,
      event: "end",
      step: this.step,
      reason: this.step >= maxSteps ? "done" : patient ? "aborted" : "patience",
      seconds: seconds(),
      loss,
      ...(this.valLoss !== undefined && { valLoss: this.valLoss }),
      ...(Number.isFinite(this.bestValLoss) && { bestValLoss: this.bestValLoss }),
    });
    if (!plan) return yield end(NaN);
    yield {
      v: 1,
      event: "start",
      device: model.device.description,
      parameters: model.parameterCount,
      step: this.step,
      trainTokens: this.trainTokens,
      valTokens: this.valTokens.length,
      config: model.config,
      options,
    };
    let evaluationBegun = Infinity;
    const begin = (): void => void (evaluationBegun = performance.now());
    const evaluate = (): Promise<EvalEvent> =>
      this.life.serve("Trainer.run", () => this.evaluateStep(signal, begin, seconds), signal);
    if (this.evaluationDue && this.valTokens.length > 1) {
      const event = await unlessAborted(signal, evaluate());
      if (event) yield event;
    }
    const logs = new LogQueue(performance.now(), this.step, options.batchSize * options.seqLen, begun);
    let loss = NaN;
    const stopped = (): boolean => signal?.aborted ?? false;
    let first = true;
    const finished = (): Promise<true> =>
      abortable(
        signal,
        model.device.finish().then(() => true as const),
      );
    while (this.step < maxSteps && patient && !stopped()) {
      const next = this.step + 1;
      const due = (interval: number): boolean => interval > 0 && (next % interval === 0 || next === maxSteps);
      const evaluates = due(options.evalInterval) && this.valTokens.length > 1;
      const samples = due(options.sampleInterval) && settings.tokenizer !== undefined;
      const keeps = due(options.checkpointInterval) && settings.onCheckpoint !== undefined;
      const log = due(options.logInterval) ? logs : undefined;
      const stepping = this.life.serve("Trainer.run", () => this.enqueueStep(plan, log, evaluates));
      // Asked for at once, so that no save comes between the step and its evaluation.
      const evaluating = evaluates ? evaluate() : undefined;
      evaluating?.catch(() => {}); // Awaited below, after the events of the step.
      await stepping;
      // With some drivers the first step compiles its kernels, for seconds: whoever wants it waits for it in saving.
      if (first && (await unlessAborted(signal, finished())) === undefined) return yield end(NaN);
      first = false;
      // The loop waits for a read-back only before it uses the parameters for something else.
      await logs.settle(exact || evaluates || samples || keeps);
      let paused = performance.now();
      for (let event = logs.shift(); event; event = logs.shift()) {
        this.checkLog(event);
        loss = event.loss;
        yield event;
      }
      if (!evaluates && !samples && !keeps) continue;
      let best = false;
      if (evaluating) {
        const event = await unlessAborted(signal, evaluating);
        paused = Math.min(paused, evaluationBegun);
        best = event?.best ?? false;
        if (event) yield event;
        patient = options.patience === 0 || this.sinceBest < options.patience;
      } else await this.checkFinite();
      if (samples) {
        const text = await unlessAborted(
          signal,
          model.sample(settings.tokenizer!, { length: 200, seed: next, ...settings.sample, signal }),
        );
        if (text !== undefined) yield { v: 1, event: "sample", step: next, text };
      }
      const path = keeps ? await settings.onCheckpoint!(this, { step: next, best }) : undefined;
      if (path !== undefined) yield { v: 1, event: "checkpoint", step: next, path };
      logs.pausedFor(performance.now() - paused);
    }
    // Aborted while whoever reads the events was busy: the numbers still on their way belong to steps that were done.
    await logs.settle(true);
    for (let event = logs.shift(); event; event = logs.shift()) {
      this.checkLog(event);
      loss = event.loss;
      yield event;
    }
    await model.device.finish();
    await this.checkFinite();
    yield end(loss);
  }

  /**
   * Loss and accuracy on the validation part; training goes on as if it had not happened. During a run it is of the
   * weights between two steps.
   *
   * @throws GatewiseError E_DATA if there is no validation part, E_DISPOSED
   */
  async evaluate(signal?: AbortSignal): Promise<Evaluation> {
    checkSignal("Trainer.evaluate", signal);
    return this.life.serve("Trainer.evaluate", () => this.evaluateNow(signal), signal);
  }

  private async evaluateNow(signal?: AbortSignal): Promise<Evaluation> {
    return (await this.recordedEvaluation(signal)).evaluate(signal, this.settings.onEvaluation);
  }

  private async recordedEvaluation(signal: AbortSignal | undefined): Promise<RecordedEvaluation> {
    if (this.evaluation) return this.evaluation;
    const { batchSize, seqLen, evalTokens } = this.options;
    const { choices } = this;
    const sizes = { batchSize, seqLen, evalTokens };
    this.evaluation = await recordEvaluation(this.model, this.valTokens, this.settings.tokenizer, { ...sizes, signal, choices });
    this.choices = new Map([...choices, ...this.evaluation.choices]);
    return this.evaluation;
  }

  /** The run's own evaluation of the step just done; calls `begin` when the device has done that. */
  private async evaluateStep(signal: AbortSignal | undefined, begin: () => void, seconds: () => number): Promise<EvalEvent> {
    await this.readFinite();
    begin();
    const { loss, bitsPerToken, bitsPerByte, bitsPerCharacter, accuracy } = await this.evaluateNow(signal);
    this.evaluationDue = false;
    const best = loss < this.bestValLoss;
    this.valLoss = loss;
    this.sinceBest = best ? 0 : this.sinceBest + 1;
    if (best) [this.bestValLoss, this.bestStep] = [loss, this.step];
    return {
      v: 1,
      event: "eval",
      step: this.step,
      seconds: seconds(),
      valLoss: loss,
      valBitsPerToken: bitsPerToken,
      ...(bitsPerByte !== undefined && { valBitsPerByte: bitsPerByte }),
      ...(bitsPerCharacter !== undefined && { valBpc: bitsPerCharacter }),
      valAccuracy: accuracy,
      best,
    };
  }

  private checkLog({ step, loss }: StepEvent): void {
    const { vocabSize } = this.model.config;
    this.explodedLogs = isExploded(loss, vocabSize) ? this.explodedLogs + 1 : 0;
    if (this.explodedLogs < EXPLODED_LOGS) return;
    const uniform = Math.log(vocabSize);
    throw new GatewiseError(
      "E_NAN_LOSS",
      `step ${step}: the loss exploded to ${loss.toFixed(1)} nats, where guessing costs ${uniform.toFixed(2)}; lower the learning rate, or clip the gradient`,
    );
  }

  /**
   * The last line of defence before parameters are kept: no step so far had a gradient that was not finite.
   *
   * @throws GatewiseError E_NAN_LOSS, E_DISPOSED
   */
  checkFinite(): Promise<void> {
    return this.life.serve("Trainer.checkFinite", () => this.readFinite());
  }

  /** @internal `checkFinite` for whoever has the turn. */
  async readFinite(): Promise<void> {
    throwIfNotFinite(this.step, await this.model.device.read(this.metrics));
  }

  /** The gradients of the last step, under the parameters' names; before clipping. @throws GatewiseError E_DISPOSED */
  gradientDict(): Promise<StateDict> {
    return this.life.serve("Trainer.gradientDict", () => readStateDict(this.model.device, this.gradients));
  }

  /** Frees all but the model; a call that is being served ends first, and a run with E_DISPOSED. */
  dispose(): void {
    this.life.dispose(() => {
      this.plan?.dispose();
      this.evaluation?.dispose();
      const { device } = this.model;
      for (const set of [this.gradients, ...Object.values(this.moments)]) device.free(set.flat.whole);
      device.free(...Object.values(this.state ?? {}), this.metrics, this.schedule, this.rng);
    });
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** The value, or undefined if waiting for it was aborted, whatever the reason that was given. */
async function unlessAborted<T>(signal: AbortSignal | undefined, value: Promise<T>): Promise<T | undefined> {
  try {
    return await value;
  } catch (error) {
    if (signal?.aborted && error === signal.reason) return undefined;
    throw error;
  }
}

import { createBatches, sortByToken, splitTokens, type Batches } from "../data/batches.ts";
import { GatewiseError } from "../errors.ts";
import { METRIC } from "../kernels/reduce.ts";
import type { LanguageModelConfig } from "../models/config.ts";
import type { LanguageModel } from "../models/language-model.ts";
import { makeState, recordPass, type PassInputs, type RecurrentState } from "../models/pass.ts";
import { makeParameterSet, readStateDict, type ParameterSet, type StateDict } from "../models/parameters.ts";
import type { TextCodec } from "../models/sample.ts";
import type { Plan } from "../runtime/device.ts";
import type { Tensor, TensorSpec } from "../runtime/tensor.ts";
import type { EvalEvent, StepEvent, TrainingEvent } from "./events.ts";
import { makeEvaluator, type Evaluation, type Evaluator } from "./evaluate.ts";
import { LogQueue, throwIfNotFinite } from "./log-queue.ts";
import { BETA1, BETA2, OPTIMIZERS, recordUpdate, type Moment } from "./optimizers.ts";
import { trainingOptions, type TrainingOptions } from "./options.ts";
import { learningRateAt } from "./schedule.ts";

export interface TrainerOptions extends Partial<TrainingOptions> {
  /** The text's tokenizer: needed for samples while training and for checkpoints. */
  readonly tokenizer?: TextCodec & { toJSON(): unknown };
  /** How to sample while training. */
  readonly sample?: { readonly prompt?: string; readonly length?: number; readonly temperature?: number };
  /** Called every `checkpointInterval` steps; keeps the checkpoint and returns where, for the event. */
  readonly onCheckpoint?: (trainer: Trainer, info: { readonly step: number; readonly best: boolean }) => Promise<string>;
}

/** Logs in a row with a loss this many times that of a uniform guess, ln V, that end a run as exploded. */
const EXPLODED_FACTOR = 4;
const EXPLODED_LOGS = 3;
/** Whether a loss is so high that no sound parameters give it. */
export const isExploded = (loss: number, vocabSize: number): boolean =>
  !(loss <= EXPLODED_FACTOR * Math.max(Math.log(vocabSize), 1));

/**
 * Trains a language model by truncated backpropagation through time.
 *
 * @example
 * const trainer = Trainer.create(model, tokenizer.encode(text), { batchSize: 64, seqLen: 64, learningRate: 2e-3 });
 * for await (const event of trainer.run({ maxSteps: 1000 })) if (event.event === "step") console.log(event.loss);
 */
export class Trainer {
  /** Steps done since the run's first. */
  step = 0;
  bestValLoss = Infinity;
  /** Step at which the moments began from zero: Adam's bias corrections count from it. */
  momentsSince = 0;
  readonly options: TrainingOptions;
  /** Optimizer moments, laid out as the parameters. */
  readonly moments: Readonly<Partial<Record<Moment, ParameterSet>>>;
  /** The carried state; undefined where windows start from zero. */
  readonly state: RecurrentState | undefined;
  private readonly gradients: ParameterSet;
  private readonly metrics: Tensor;
  private readonly schedule: Tensor;
  private readonly rng: Tensor;
  private readonly batches: Batches;
  private readonly trainTokens: number;
  private readonly valTokens: Uint32Array;
  private plan: Plan | undefined;
  private pass: PassInputs | undefined;
  private evaluator: Evaluator | undefined;
  /** Made with the plan: their size is the options' claim, which a checkpoint may make. */
  private host!: HostBuffers;
  private explodedLogs = 0;

  private constructor(
    readonly model: LanguageModel,
    readonly tokens: Uint32Array,
    readonly settings: TrainerOptions,
  ) {
    const { device, config } = model;
    this.options = trainingOptions(settings);
    const { batchSize: B, seqLen: T, state, valFraction } = this.options;
    const wrong = tokens.findIndex((token) => token >= config.vocabSize);
    if (wrong >= 0) {
      throw new GatewiseError(
        "E_DATA",
        `token ${tokens[wrong]} at ${wrong} is not in the model's vocabulary of ${config.vocabSize}; encode the text with the model's tokenizer`,
      );
    }
    const { train, val } = splitTokens(tokens, valFraction);
    this.batches = createBatches(train, this.options);
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
   * Prepares training of `model` on `tokens`.
   *
   * @throws GatewiseError E_CONFIG for options out of range, E_DATA for a text too short or a token out of range, E_LIMIT if it does not fit.
   */
  static create(model: LanguageModel, tokens: Uint32Array, options: TrainerOptions = {}): Trainer {
    return new Trainer(model, tokens, options);
  }

  /** Records the training step, once. */
  private async prepare(): Promise<Plan> {
    if (this.plan) return this.plan;
    const { model, options, gradients, metrics } = this;
    const { batchSize: B, seqLen: T, loss } = options;
    this.host = makeHostBuffers(options, model.config);
    this.plan = await model.device.record("train", (recorder) => {
      this.pass = recordPass(recorder, model, { T, B, loss, state: this.state, rng: this.rng, gradients });
      const moments = Object.fromEntries(Object.entries(this.moments).map(([name, set]) => [name, set.flat.whole]));
      recordUpdate(
        recorder,
        {
          parameters: model.parameters.flat.whole,
          gradients: gradients.flat.whole,
          moments,
          schedule: this.schedule,
          metrics,
          rows: this.pass.rows,
        },
        options,
      );
    });
    return this.plan;
  }

  /** Dispatches in one training step; known after the first. */
  get dispatches(): number | undefined {
    return this.plan?.dispatches;
  }

  /** Enqueues one training step: uploads its batch and numbers, replays the plan. */
  private async enqueueStep(plan: Plan): Promise<void> {
    const { host, options, pass, model, step } = this;
    const { device } = model;
    const restart = this.batches.fill(step, host.inputs, host.targets);
    sortByToken(host.inputs, model.config.vocabSize, host.order, host.starts);
    host.schedule[0] = learningRateAt(step, options);
    const updates = step - this.momentsSince + 1;
    host.schedule[1] = 1 - BETA1 ** updates;
    host.schedule[2] = 1 - BETA2 ** updates;
    host.rng[0] = options.seed;
    host.rng[1] = step;
    device.writeAll([
      [pass!.inputs, host.inputs],
      [pass!.targets, host.firstTarget ? host.targets.subarray(host.firstTarget) : host.targets],
      [pass!.order, host.order],
      [pass!.starts, host.starts],
      [this.schedule, host.schedule],
      [this.rng, host.rng],
    ]);
    if (restart && this.state) {
      device.write(this.state.h, host.zeroState);
      if (this.state.c) device.write(this.state.c, host.zeroState);
    }
    await plan.run();
    this.step++;
  }

  /**
   * Trains up to step `maxSteps`, counted from the run's first step, and yields what happens. Calling it again with
   * a larger number continues. Aborting ends it after the current step with an "end" event.
   *
   * @throws GatewiseError E_NAN_LOSS when the loss or gradient is not finite, or the loss exploded; the parameters
   * are those from before. E_DEVICE_LOST when the GPU is gone.
   */
  async *run({
    maxSteps,
    signal,
  }: {
    maxSteps: number;
    signal?: AbortSignal | undefined;
  }): AsyncGenerator<TrainingEvent, void, void> {
    const { options, model, settings } = this;
    const begun = performance.now();
    const plan = await this.prepare();
    yield {
      v: 1,
      event: "start",
      device: model.device.description,
      parameters: model.parameterCount,
      step: this.step,
      trainTokens: this.trainTokens,
      valTokens: this.valTokens.length,
    };
    const logs = new LogQueue(performance.now(), this.step, options.batchSize * options.seqLen);
    let loss = NaN;
    const due = (interval: number): boolean => interval > 0 && (this.step % interval === 0 || this.step === maxSteps);

    const stopped = (): boolean => signal?.aborted ?? false;
    while (this.step < maxSteps && !stopped()) {
      await this.enqueueStep(plan);
      if (due(options.logInterval)) logs.push(this.step, this.host.schedule[0]!, model.device.read(this.metrics));
      const evaluates = due(options.evalInterval) && this.valTokens.length > 1;
      const samples = due(options.sampleInterval) && settings.tokenizer !== undefined;
      const keeps = due(options.checkpointInterval) && settings.onCheckpoint !== undefined;
      // The loop waits for a read-back only before it uses the parameters for something else.
      await logs.settle(evaluates || samples || keeps || stopped() || this.step === maxSteps);
      for (let event = logs.shift(); event; event = logs.shift()) {
        this.checkLog(event);
        loss = event.loss;
        yield event;
      }
      if (!evaluates && !samples && !keeps) continue;
      await this.checkFinite();
      const paused = performance.now();
      let best = false;
      if (evaluates) {
        // Even when stopping: a resumed run would not make up for it, and could keep another best.
        const event = this.evaluated(await this.evaluate());
        best = event.best;
        yield event;
      }
      if (samples) {
        const text = await unlessAborted(
          signal,
          model.sample(settings.tokenizer!, { length: 200, seed: this.step, ...settings.sample, signal }),
        );
        if (text !== undefined) yield { v: 1, event: "sample", step: this.step, text };
      }
      if (keeps)
        yield { v: 1, event: "checkpoint", step: this.step, path: await settings.onCheckpoint!(this, { step: this.step, best }) };
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
    yield {
      v: 1,
      event: "end",
      step: this.step,
      reason: this.step >= maxSteps ? "done" : "aborted",
      seconds: (performance.now() - begun) / 1000,
      loss,
      ...(Number.isFinite(this.bestValLoss) && { bestValLoss: this.bestValLoss }),
    };
  }

  /**
   * Loss and accuracy on the validation part; training goes on as if it had not happened.
   *
   * @throws GatewiseError E_DATA if there is no validation part
   */
  async evaluate(signal?: AbortSignal): Promise<Evaluation> {
    this.evaluator ??= await makeEvaluator(this.model, this.valTokens, this.options);
    return this.evaluator.evaluate(signal);
  }

  private evaluated({ loss, bitsPerCharacter, accuracy }: Evaluation): EvalEvent {
    const best = loss < this.bestValLoss;
    if (best) this.bestValLoss = loss;
    return { v: 1, event: "eval", step: this.step, valLoss: loss, valBpc: bitsPerCharacter, valAccuracy: accuracy, best };
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

  /** The last line of defence before parameters are kept: no step so far had a gradient that was not finite. */
  async checkFinite(): Promise<void> {
    throwIfNotFinite(this.step, await this.model.device.read(this.metrics));
  }

  /** The gradients of the last step, under the parameters' names; before clipping. */
  gradientDict(): Promise<StateDict> {
    return readStateDict(this.model.device, this.gradients);
  }

  dispose(): void {
    this.plan?.dispose();
    this.evaluator?.dispose();
    const { device } = this.model;
    for (const set of [this.gradients, ...Object.values(this.moments)]) device.free(set.flat.whole);
    for (const tensor of [this.state?.h, this.state?.c, this.metrics, this.schedule, this.rng]) if (tensor) device.free(tensor);
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** T·B beyond which no device can bind the logits: 4 GiB at four characters. */
const MAX_BATCH_TOKENS = 2 ** 28;

const tooLarge = (B: number, T: number, cause?: unknown): GatewiseError =>
  new GatewiseError("E_LIMIT", `batchSize ${B} × seqLen ${T} does not fit in memory; make them smaller`, { cause });

/** Arrays that every step fills again. */
interface HostBuffers {
  readonly inputs: Uint32Array;
  readonly targets: Uint32Array;
  readonly order: Uint32Array;
  readonly starts: Uint32Array;
  readonly schedule: Float32Array;
  readonly rng: Uint32Array;
  readonly zeroState: Float32Array;
  /** Where the targets that count begin: with loss "last", those of the last step. */
  readonly firstTarget: number;
}

function makeHostBuffers({ batchSize: B, seqLen: T, loss }: TrainingOptions, config: LanguageModelConfig): HostBuffers {
  try {
    return {
      inputs: new Uint32Array(T * B),
      targets: new Uint32Array(T * B),
      order: new Uint32Array(T * B),
      starts: new Uint32Array(config.vocabSize + 1),
      schedule: new Float32Array(4),
      rng: new Uint32Array(4),
      zeroState: new Float32Array(config.numLayers * B * config.hiddenSize),
      firstTarget: loss === "all" ? 0 : (T - 1) * B,
    };
  } catch (cause) {
    throw tooLarge(B, T, cause);
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

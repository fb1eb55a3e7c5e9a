import { checkOptions, checkSignal, copyTokens } from "../checks.ts";
import { evaluationWindows } from "../data/batches.ts";
import { CharTokenizer, type Tokenizer } from "../data/tokenizer.ts";
import { GatewiseError } from "../errors.ts";
import { METRIC, reduce } from "../kernels/reduce.ts";
import { checkModel, type LanguageModel } from "../models/language-model.ts";
import { makeState, recordPass } from "../models/pass.ts";
import type { Plan, RecordOptions } from "../runtime/device.ts";
import type { Choices, Recorder } from "../runtime/recorder.ts";
import { sizeOf } from "../runtime/tensor.ts";
import { abortable, Lifetime } from "../turns.ts";
import { TRAINING_DEFAULTS, trainingOptions, type TrainingOptions } from "./options.ts";

export interface Evaluation {
  /** Mean nats per token. */
  readonly loss: number;
  /** loss / ln 2 */
  readonly bitsPerToken: number;
  /** The same of characters; where the tokenizer is known to have other tokens there is none. */
  readonly bitsPerCharacter?: number;
  /** Bits of all predicted tokens over the bytes that they stand for; undefined unless the tokenizer says these. */
  readonly bitsPerByte?: number;
  readonly perplexity: number;
  /** Part of the tokens that were the model's first guess. */
  readonly accuracy: number;
  /** Predicted tokens: all but the first of each stream. */
  readonly tokens: number;
}

export interface Evaluator {
  /** @throws GatewiseError E_DISPOSED */
  evaluate(signal?: AbortSignal): Promise<Evaluation>;
  dispose(): void;
  [Symbol.dispose](): void;
}

/** A trainer's own options may be passed as they are. */
export interface EvaluatorOptions extends Pick<TrainingOptions, "batchSize" | "seqLen"> {
  readonly signal?: AbortSignal | undefined;
  /** Which kernels it takes where there are several, as `Checkpoint.tuning` has them; tuned, if left out. */
  readonly choices?: Choices | undefined;
  /** The text's, so that its loss can be told per byte. */
  readonly tokenizer?: Tokenizer | undefined;
}

const EVALUATOR_NAMES = [...Object.keys(TRAINING_DEFAULTS), "signal", "choices", "tokenizer"];

/** Characters that a stream should have at least, so that few of them are predicted without a past. */
const STREAM_LENGTH = 1024;

/**
 * Records an evaluation of a model over a text: every token once, from a zero state that is carried along. It has
 * tensors of its own and leaves the training's alone; an evaluation during a run is of the weights between two steps.
 *
 * @param tokens any array of integers; it is copied
 * @param options batchSize and seqLen, as a trainer's
 * @throws GatewiseError E_DATA if there are less than two tokens or one is not in the vocabulary, E_CONFIG, E_DISPOSED
 */
export async function makeEvaluator(
  model: LanguageModel,
  tokens: ArrayLike<number>,
  options: EvaluatorOptions,
): Promise<Evaluator> {
  checkModel("makeEvaluator", model);
  checkOptions("makeEvaluator", options, EVALUATOR_NAMES);
  const { signal, choices, tokenizer, ...sizes } = options ?? {};
  checkSignal("makeEvaluator", signal);
  const { batchSize, seqLen } = trainingOptions(sizes);
  const text = copyTokens("makeEvaluator: tokens", tokens, model.config.vocabSize);
  const life = new Lifetime("evaluator", model.life);
  const evaluation = await life.serve(
    "makeEvaluator",
    () => recordEvaluation(model, text, tokenizer, { batchSize, seqLen, signal, choices }),
    signal,
  );
  const dispose = (): void => life.dispose(() => evaluation.dispose());
  return {
    async evaluate(signal) {
      checkSignal("evaluate", signal);
      return life.serve("Evaluator.evaluate", () => evaluation.evaluate(signal), signal);
    },
    dispose,
    [Symbol.dispose]: dispose,
  };
}

/** An evaluation that does not wait for its turn: whoever runs it has taken the model's. */
export type RecordedEvaluation = Pick<Evaluator, "evaluate" | "dispose"> & Pick<Plan, "choices">;

/** @throws GatewiseError E_DATA if there are less than two tokens */
export async function recordEvaluation(
  model: LanguageModel,
  tokens: Uint32Array,
  tokenizer: Tokenizer | undefined,
  options: { readonly batchSize: number; readonly seqLen: number } & RecordOptions,
): Promise<RecordedEvaluation> {
  if (tokens.length < 2) {
    throw new GatewiseError(
      "E_DATA",
      `evaluation: needs at least 2 tokens, got ${tokens.length}; use a longer text or a larger validation part`,
    );
  }
  const { device } = model;
  const B = Math.max(1, Math.min(options.batchSize, Math.floor(tokens.length / STREAM_LENGTH)));
  const T = Math.min(options.seqLen, tokens.length - 1);
  const windows = evaluationWindows(tokens, B, T);
  const record = (recorder: Recorder) => {
    const metrics = recorder.tensor({ name: "metrics", shape: [METRIC.count] });
    const state = makeState((spec) => recorder.tensor(spec), model.config, B);
    const pass = recordPass(recorder, model, { T, B, loss: "all", state });
    // Sums over all windows.
    recorder.dispatch(reduce.sum, { rows: pass.rows, metrics }, { N: T * B, scale: 1, accumulate: 1 });
    return { metrics, state, pass };
  };
  const plan = await device.record("evaluate", record, options);
  const { metrics, state, pass } = plan.made;
  const bytes = bytesIn(tokens.subarray(1), tokenizer?.byteLengths);
  const inputs = new Uint32Array(T * B);
  const targets = new Uint32Array(T * B);
  return {
    choices: plan.choices,
    async evaluate(signal) {
      device.write(metrics, new Float32Array(METRIC.count));
      for (const tensor of Object.values(state)) device.write(tensor, new Float32Array(sizeOf(tensor.shape)));
      for (let window = 0; window < windows.count; window++) {
        signal?.throwIfAborted();
        windows.fill(window, inputs, targets);
        device.write(pass.inputs, inputs);
        device.write(pass.targets, targets);
        await plan.run([], signal);
      }
      const sums = await abortable(signal, device.read(metrics));
      const loss = sums[METRIC.loss]! / windows.targets;
      return {
        loss,
        bitsPerToken: loss / Math.LN2,
        ...((!tokenizer || tokenizer instanceof CharTokenizer) && { bitsPerCharacter: loss / Math.LN2 }),
        ...(bytes && { bitsPerByte: sums[METRIC.loss]! / Math.LN2 / bytes }),
        perplexity: Math.exp(loss),
        accuracy: sums[METRIC.correct]! / windows.targets,
        tokens: windows.targets,
      };
    },
    dispose: () => plan.dispose(),
  };
}

/** The bytes that tokens stand for. */
const bytesIn = (tokens: Uint32Array, lengths: ArrayLike<number> | undefined): number | undefined =>
  lengths && tokens.reduce((sum, token) => sum + lengths[token]!, 0);

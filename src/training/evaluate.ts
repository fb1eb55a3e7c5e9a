import { checkFunction, checkOptions, checkSignal, copyTokens, given } from "../checks.ts";
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
import { checkTokenizer, TRAINING_DEFAULTS, trainingOptions, type TrainingOptions } from "./options.ts";

/** What a model's predictions of a text are worth. */
export interface Evaluation {
  /** Mean nats per token. */
  readonly loss: number;
  /** loss / ln 2 */
  readonly bitsPerToken: number;
  /** The same of characters; where the tokenizer is known to have other tokens there is none. */
  readonly bitsPerCharacter?: number;
  /** Bits of all predicted tokens over the bytes that they stand for; undefined unless the tokenizer says these. */
  readonly bitsPerByte?: number;
  /** exp(loss). */
  readonly perplexity: number;
  /** Part of the tokens that were the model's first guess. */
  readonly accuracy: number;
  /** Predicted tokens: all but the first of each stream. */
  readonly tokens: number;
}

/** An evaluation of a model over a text, made ready. */
export interface Evaluator {
  /**
   * What the predictions of the model, as it is now, are worth.
   *
   * @param onProgress told, as it goes on, how many windows of how many are done
   * @throws GatewiseError E_DISPOSED
   */
  evaluate(signal?: AbortSignal, onProgress?: (done: number, of: number) => void): Promise<Evaluation>;
  /** Frees its tensors. */
  dispose(): void;
  [Symbol.dispose](): void;
}

/** A trainer's own options may be passed as they are. */
export interface EvaluatorOptions extends Pick<TrainingOptions, "batchSize" | "seqLen"> {
  /** Tokens that are read at most, about, evenly spread over the text; 0, the default, for all. */
  readonly evalTokens?: number | undefined;
  /** Ends it with its reason. */
  readonly signal?: AbortSignal | undefined;
  /** Which kernels it takes where there are several, as `Checkpoint.tuning` has them; tuned, if left out. */
  readonly choices?: Choices | undefined;
  /** The text's, so that its loss can be told per byte. */
  readonly tokenizer?: Tokenizer | undefined;
}

const EVALUATOR_NAMES = [...Object.keys(TRAINING_DEFAULTS), "signal", "choices", "tokenizer"];

/** Characters that a stream should have at least, so that few are read twice. */
const STREAM_LENGTH = 1024;

/**
 * Records an evaluation of a model over a text: every token once, from a state that is carried along, or an even selection.
 * Where it reads several streams side by side, each reads the end of the one in front of it first, so that how many they are
 * makes no difference. It has tensors of its own and leaves the training's alone; an evaluation during a run is of the
 * weights between two steps.
 *
 * @param tokens any array of integers; it is copied
 * @param options batchSize, seqLen and evalTokens, as a trainer's
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
  checkTokenizer("makeEvaluator", tokenizer);
  const { batchSize, seqLen, evalTokens } = trainingOptions({ evalTokens: 0, ...given(sizes) });
  const text = copyTokens("makeEvaluator: tokens", tokens, model.config.vocabSize);
  const life = new Lifetime("evaluator", model.life);
  const evaluation = await life.serve(
    "makeEvaluator",
    () => recordEvaluation(model, text, tokenizer, { batchSize, seqLen, evalTokens, signal, choices }),
    signal,
  );
  const dispose = (): void => life.dispose(() => evaluation.dispose());
  return {
    async evaluate(signal, onProgress) {
      checkSignal("evaluate", signal);
      checkFunction("evaluate: onProgress", onProgress);
      return life.serve("Evaluator.evaluate", () => evaluation.evaluate(signal, onProgress), signal);
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
  options: Pick<TrainingOptions, "batchSize" | "seqLen" | "evalTokens"> & RecordOptions,
): Promise<RecordedEvaluation> {
  if (tokens.length < 2) {
    throw new GatewiseError(
      "E_DATA",
      `evaluation: needs at least 2 tokens, got ${tokens.length}; use a longer text or a larger validation part`,
    );
  }
  const { device } = model;
  const most = options.evalTokens || Infinity;
  const B = Math.max(1, Math.min(options.batchSize, Math.floor(Math.min(tokens.length, most) / STREAM_LENGTH)));
  const T = Math.min(options.seqLen, tokens.length - 1);
  const windows = evaluationWindows(tokens, B, T, most);
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
  const lengths = tokenizer?.byteLengths;
  const inputs = new Uint32Array(T * B);
  const targets = new Uint32Array(T * B);
  return {
    choices: plan.choices,
    async evaluate(signal, onProgress) {
      device.write(metrics, new Float32Array(METRIC.count));
      for (const tensor of Object.values(state)) device.write(tensor, new Float32Array(sizeOf(tensor.shape)));
      let bytes = 0;
      for (let window = 0; window < windows.count; window++) {
        signal?.throwIfAborted();
        windows.fill(window, inputs, targets);
        if (lengths) for (const target of targets) bytes += lengths[target] ?? 0;
        device.write(pass.inputs, inputs);
        device.write(pass.targets, targets);
        await plan.run([], signal);
        onProgress?.(window + 1, windows.count);
      }
      const sums = await abortable(signal, device.read(metrics));
      const loss = sums[METRIC.loss]! / windows.targets;
      return {
        loss,
        bitsPerToken: loss / Math.LN2,
        ...((!tokenizer || tokenizer instanceof CharTokenizer) && { bitsPerCharacter: loss / Math.LN2 }),
        ...(bytes > 0 && { bitsPerByte: sums[METRIC.loss]! / Math.LN2 / bytes }),
        perplexity: Math.exp(loss),
        accuracy: sums[METRIC.correct]! / windows.targets,
        tokens: windows.targets,
      };
    },
    dispose: () => plan.dispose(),
  };
}

// The optimizers: how many moments each keeps, and its update of all parameters in one dispatch.
import { adam } from "../kernels/adam.ts";
import { PARTIAL_COUNT, PARTIAL_SHAPE, reduce, SMALL_GRADIENT } from "../kernels/reduce.ts";
import { rmsprop } from "../kernels/rmsprop.ts";
import { sgd } from "../kernels/sgd.ts";
import type { Recorder } from "../runtime/recorder.ts";
import type { Tensor } from "../runtime/tensor.ts";

/** What an update reads and writes, each a whole flat buffer. */
export interface UpdateTensors {
  readonly parameters: Tensor;
  readonly gradients: Tensor;
  readonly moments: Readonly<Partial<Record<Moment, Tensor>>>;
  /** f32 [4]: learning rate, bias corrections 1 − β₁ᵗ and 1 − β₂ᵗ. */
  readonly schedule: Tensor;
  /** f32 [8], see kernels/reduce.ts. */
  readonly metrics: Tensor;
}

/** m: running mean of the gradients, or SGD's momentum; v: running mean of their squares. */
export type Moment = "m" | "v";

interface UpdateOptions {
  readonly weightDecay: number;
  readonly momentum: number;
  /** Which of the parameters decay: the first so many elements; all, if left out. */
  readonly decayed?: number;
}

const sizesOf = ({ parameters }: UpdateTensors, { decayed = parameters.length }: UpdateOptions) => ({
  count: parameters.length / 4,
  decayed: decayed / 4,
});

interface Optimizer {
  readonly moments: readonly Moment[];
  readonly record: (recorder: Recorder, tensors: UpdateTensors, options: UpdateOptions) => void;
}

export const BETA1 = 0.9;
export const BETA2 = 0.999;
export const EPSILON = 1e-8;
/** PyTorch's smoothing constant of RMSprop. */
export const ALPHA = 0.99;

const recordAdam =
  (decoupled: 0 | 1): Optimizer["record"] =>
  (recorder, t, options) =>
    recorder.dispatch(
      adam.update,
      {
        parameters: t.parameters,
        gradients: t.gradients,
        m: t.moments.m!,
        v: t.moments.v!,
        schedule: t.schedule,
        metrics: t.metrics,
      },
      {
        ...sizesOf(t, options),
        decoupled,
        oneMinusBeta1: 1 - BETA1,
        oneMinusBeta2: 1 - BETA2,
        epsilon: EPSILON,
        weightDecay: options.weightDecay,
      },
    );

/**
 * The optimizers: Adam (Kingma & Ba 2015), AdamW, whose weight decay stands apart from the gradient (Loshchilov & Hutter
 * 2019), RMSprop (Tieleman & Hinton 2012), and SGD with momentum.
 */
export type OptimizerName = "adam" | "adamw" | "rmsprop" | "sgd";

export const OPTIMIZERS: Readonly<Record<OptimizerName, Optimizer>> = {
  adam: { moments: ["m", "v"], record: recordAdam(0) },
  adamw: { moments: ["m", "v"], record: recordAdam(1) },
  rmsprop: {
    moments: ["v"],
    record: (recorder, t, options) =>
      recorder.dispatch(
        rmsprop.update,
        { parameters: t.parameters, gradients: t.gradients, v: t.moments.v!, schedule: t.schedule, metrics: t.metrics },
        { ...sizesOf(t, options), oneMinusAlpha: 1 - ALPHA, epsilon: EPSILON, weightDecay: options.weightDecay },
      ),
  },
  sgd: {
    moments: ["m"],
    record: (recorder, t, options) =>
      recorder.dispatch(
        sgd.update,
        { parameters: t.parameters, gradients: t.gradients, m: t.moments.m!, schedule: t.schedule, metrics: t.metrics },
        { ...sizesOf(t, options), momentum: options.momentum, weightDecay: options.weightDecay },
      ),
  },
};

export const OPTIMIZER_NAMES = Object.keys(OPTIMIZERS) as readonly OptimizerName[];

/**
 * Records what follows the backward pass: loss and accuracy over the `rows` of the predictions, the global norm of
 * the gradients, the clip factor that follows from it, and the update.
 */
export function recordUpdate(
  recorder: Recorder,
  tensors: UpdateTensors & { readonly rows: Tensor },
  options: UpdateOptions & { readonly optimizer: OptimizerName; readonly clip: number },
): void {
  const { gradients, rows, metrics } = tensors;
  const N = rows.shape[0]!;
  const count = gradients.length / 4;
  const small = count <= SMALL_GRADIENT;
  const params = { clip: options.clip, N, scale: 1 / N };
  if (small) recorder.dispatch(reduce.norm, { values: gradients, rows, metrics }, { ...params, count, squares: 1 });
  else {
    const partials = recorder.tensor({ name: "partials", ...PARTIAL_SHAPE });
    recorder.dispatch(reduce.squares, { values: gradients, partials }, { count });
    recorder.dispatch(reduce.norm, { values: partials, rows, metrics }, { ...params, count: PARTIAL_COUNT, squares: 0 });
  }
  OPTIMIZERS[options.optimizer].record(recorder, tensors, options);
}

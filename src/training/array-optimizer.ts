// The trainer's update for arrays of one's own: a `Recurrent`'s weights, and whatever stands before or behind it.
import { checkNumber, checkOptions, given, shown } from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import { METRIC } from "../kernels/reduce.ts";
import type { StateDict } from "../models/parameters.ts";
import { CpuDevice } from "../runtime/cpu-device.ts";
import { Turns } from "../turns.ts";
import { BETA1, BETA2, OPTIMIZERS, recordUpdate, type Moment, type OptimizerName } from "./optimizers.ts";
import { trainingOptions, type TrainingOptions } from "./options.ts";

/** What an optimizer of arrays may be told; the defaults are a trainer's. */
export interface ArrayOptimizerOptions extends Partial<
  Pick<TrainingOptions, "optimizer" | "learningRate" | "momentum" | "weightDecay" | "clip">
> {}

/** Changes arrays by their gradients, step by step. */
export interface ArrayOptimizer {
  /** Which optimizer it is. */
  readonly optimizer: OptimizerName;
  /** Updates so far. */
  readonly step: number;
  /**
   * Changes all arrays in place, by the trainer's own arithmetic in f32.
   *
   * @param gradients one for each array, under its name and of its length
   * @param learningRate of this update, where a schedule says so; else the option's
   * @returns the global norm of the gradients, before it is clipped
   * @throws GatewiseError E_SHAPE for gradients that are not those of the arrays, E_CONFIG, E_NAN_LOSS for one that is not finite;
   * nothing is changed then
   */
  update(gradients: StateDict, learningRate?: number): Promise<number>;
}

const NAMES = ["optimizer", "learningRate", "momentum", "weightDecay", "clip"] as const;

/**
 * An optimizer for arrays of one's own, such as `await layer.stateDict()` of a `Recurrent` and the weights of a head. It works on
 * the CPU, and keeps the moments itself. Weight decay acts on every array.
 *
 * @throws GatewiseError E_CONFIG for options unknown or out of range, E_SHAPE for what are no Float32Arrays by name
 * @example
 * const layer = Recurrent.create(device, { cell: "gru", inputSize: 3, hiddenSize: 16 });
 * const weights = await layer.stateDict();
 * const optimizer = await makeOptimizer(weights, { optimizer: "adam", learningRate: 1e-2 });
 * const { output } = await layer.forward(x, { T, B });
 * const { gradients } = await layer.backward(dOutput); // the loss's gradient with respect to output
 * await optimizer.update(gradients);
 * layer.loadStateDict(weights);
 */
export async function makeOptimizer(weights: StateDict, options: ArrayOptimizerOptions = {}): Promise<ArrayOptimizer> {
  checkOptions("makeOptimizer", options, NAMES);
  const settings = trainingOptions(given(options ?? {}));
  checkArrays(weights);
  const arrays = Object.entries(weights);
  const device = new CpuDevice("float32");
  const flat = (label: string) =>
    device.flatTensors(
      label,
      arrays.map(([name, { length }]) => ({ name: `${label}.${name}`, shape: [length] })),
    );
  const make = (name: string, shape: readonly number[]) => device.tensor({ name, shape });
  const [parameters, gradients] = [flat("parameters"), flat("gradients")];
  const moments = Object.fromEntries(
    (OPTIMIZERS[settings.optimizer].moments as readonly Moment[]).map((name) => [name, flat(name).whole]),
  );
  const [schedule, metrics, rows] = [make("schedule", [4]), make("metrics", [METRIC.count]), make("rows", [1, 2])];
  const tensors = { parameters: parameters.whole, gradients: gradients.whole, moments, schedule, metrics, rows };
  const plan = await device.record("update", (recorder) => recordUpdate(recorder, tensors, settings));
  const turns = new Turns();
  let step = 0;
  return {
    optimizer: settings.optimizer,
    get step() {
      return step;
    },
    async update(given, learningRate = settings.learningRate) {
      checkNumber("update: learningRate", learningRate, (rate) => rate >= 0 && rate < Infinity, "a number of at least 0");
      const copies = arrays.map(([name, { length }]) => {
        const gradient = given[name];
        if (gradient?.length !== length)
          throw new GatewiseError("E_SHAPE", `update: expected ${length} numbers for "${name}", got ${shown(gradient)}`);
        if (!gradient.every(Number.isFinite))
          throw new GatewiseError("E_NAN_LOSS", `update: the gradient of "${name}" is not finite; lower the learning rate`);
        return gradient.slice();
      });
      const unknown = Object.keys(given).find((name) => !(name in weights));
      if (unknown !== undefined) throw new GatewiseError("E_SHAPE", `update: "${unknown}" is none of the optimizer's arrays`);
      return turns.take(async () => {
        step++;
        const rates = Float32Array.of(learningRate, 1 - BETA1 ** step, 1 - BETA2 ** step, 0);
        await plan.run([
          ...arrays.map(([, array], i) => [parameters.parts[i]!, array] as const),
          ...copies.map((copy, i) => [gradients.parts[i]!, copy] as const),
          [schedule, rates],
        ]);
        const updated = await Promise.all(parameters.parts.map((part) => device.read(part)));
        arrays.forEach(([, array], i) => array.set(updated[i]!));
        return (await device.read(metrics))[METRIC.norm]!;
      });
    },
  };
}

/** @throws GatewiseError E_SHAPE unless they are Float32Arrays by name */
function checkArrays(weights: StateDict): void {
  if (typeof weights !== "object" || weights === null || Object.keys(weights).length === 0)
    throw new GatewiseError("E_SHAPE", `makeOptimizer: expected Float32Arrays by name, got ${shown(weights)}`);
  for (const [name, array] of Object.entries(weights))
    if (!(array instanceof Float32Array))
      throw new GatewiseError("E_SHAPE", `makeOptimizer: expected a Float32Array for "${name}", got ${shown(array)}`);
}

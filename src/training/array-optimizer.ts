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
  const places = placesOf(weights);
  const length = Math.max(4, 4 * Math.ceil(places.reduce((sum, { size }) => sum + size, 0) / 4));
  const device = new CpuDevice("float32");
  const make = (name: string, shape: readonly number[] = [length]) => device.tensor({ name, shape });
  const [parameters, gradients, schedule, metrics] = [
    make("parameters"),
    make("gradients"),
    make("schedule", [4]),
    make("metrics", [METRIC.count]),
  ];
  const moments = Object.fromEntries(
    (OPTIMIZERS[settings.optimizer].moments as readonly Moment[]).map((name) => [name, make(name)]),
  );
  const plan = await device.record("update", (recorder) =>
    recordUpdate(recorder, { parameters, gradients, moments, schedule, metrics, rows: make("rows", [1, 2]) }, settings),
  );
  const turns = new Turns();
  let step = 0;
  return {
    optimizer: settings.optimizer,
    get step() {
      return step;
    },
    async update(given, learningRate = settings.learningRate) {
      checkNumber("update: learningRate", learningRate, (rate) => rate >= 0 && rate < Infinity, "a number of at least 0");
      const flat = new Float32Array(length);
      for (const { name, size, at } of places) {
        const gradient = given[name];
        if (gradient?.length !== size)
          throw new GatewiseError("E_SHAPE", `update: expected ${size} numbers for "${name}", got ${shown(gradient)}`);
        if (!gradient.every(Number.isFinite))
          throw new GatewiseError("E_NAN_LOSS", `update: the gradient of "${name}" is not finite; lower the learning rate`);
        flat.set(gradient, at);
      }
      const unknown = Object.keys(given).find((name) => !(name in weights));
      if (unknown !== undefined) throw new GatewiseError("E_SHAPE", `update: "${unknown}" is none of the optimizer's arrays`);
      return turns.take(async () => {
        const values = new Float32Array(length);
        for (const { name, at } of places) values.set(weights[name]!, at);
        step++;
        await plan.run([
          [parameters, values],
          [gradients, flat],
          [schedule, Float32Array.of(learningRate, 1 - BETA1 ** step, 1 - BETA2 ** step, 0)],
        ]);
        const [updated, told] = await Promise.all([device.read(parameters), device.read(metrics)]);
        for (const { name, size, at } of places) weights[name]!.set(updated.subarray(at, at + size));
        return told[METRIC.norm]!;
      });
    },
  };
}

/** Where arrays lie in a flat one. @throws GatewiseError E_SHAPE */
function placesOf(weights: StateDict): readonly { readonly name: string; readonly size: number; readonly at: number }[] {
  if (typeof weights !== "object" || weights === null || Object.keys(weights).length === 0)
    throw new GatewiseError("E_SHAPE", `makeOptimizer: expected Float32Arrays by name, got ${shown(weights)}`);
  let end = 0;
  return Object.entries(weights).map(([name, array]) => {
    if (!(array instanceof Float32Array))
      throw new GatewiseError("E_SHAPE", `makeOptimizer: expected a Float32Array for "${name}", got ${shown(array)}`);
    const at = end;
    end += array.length;
    return { name, size: array.length, at };
  });
}

// A model's pass over fixed random tokens, to compare devices by, whole or broken.
import { sortByToken } from "../../data/batches.ts";
import { METRIC, reduce } from "../../kernels/reduce.ts";
import type { LanguageModelConfig } from "../../models/config.ts";
import { LanguageModel } from "../../models/language-model.ts";
import { makeParameterSet, type ParameterSet } from "../../models/parameters.ts";
import { makeState, recordPass, type PassInputs } from "../../models/pass.ts";
import { fraction, randomWord } from "../../random.ts";
import type { Device } from "../../runtime/device.ts";
import type { Recorder } from "../../runtime/recorder.ts";
import { sizeOf, type NumberArray, type Tensor } from "../../runtime/tensor.ts";
import { abortable } from "../../turns.ts";
import { breakConfig, breakGradients, breakTokens, breakWeights, type Breakage } from "./sabotage.ts";

export interface PassSizes {
  readonly T: number;
  readonly B: number;
  readonly loss: "all" | "last";
}

/** A model's forward and backward pass over fixed random tokens, from a fixed random state. */
export interface PassHarness {
  readonly model: LanguageModel;
  readonly gradients: ParameterSet;
  /** Runs the pass; resolves with the loss, after which `gradients` holds its gradients. */
  run(): Promise<number>;
  readGradients(): Promise<Readonly<Record<string, NumberArray>>>;
  dispose(): void;
}

/** Uniform in [−1, 1): number `i` of a stream. */
export const random = (i: number, stream: number): number => 2 * fraction(randomWord(7, stream, i, 99)) - 1;

export interface HarnessOptions {
  readonly breakage?: Breakage | undefined;
  readonly weights?: Readonly<Record<string, ArrayLike<number>>>;
  readonly signal?: AbortSignal | undefined;
}

/** Makes a harness with weights of about 1, so that no gate is nearly linear; `weights` replaces them. */
export async function makePassHarness(
  device: Device,
  config: LanguageModelConfig,
  { T, B, loss }: PassSizes,
  options: HarnessOptions = {},
): Promise<PassHarness> {
  const { breakage, signal } = options;
  const model = LanguageModel.create(device, breakConfig(config, breakage));
  const weights =
    options.weights ??
    Object.fromEntries(
      model.parameters.specs.map(({ name, shape, initializer }, p) => {
        const scale = initializer.kind === "normal" ? 1 : 0.7;
        return [name, Float64Array.from({ length: sizeOf(shape) }, (_, i) => Math.fround(scale * random(i, p)))];
      }),
    );
  model.loadStateDict(breakWeights(weights, config, breakage));
  const { vocabSize: V } = config;
  const gradients = makeParameterSet(device, "gradients", model.parameters.specs);
  const metrics = device.tensor({ name: "metrics", shape: [METRIC.count] });
  const rng = device.tensor({ name: "rng", shape: [4], dtype: "u32" });
  device.write(rng, Uint32Array.of(5, 6, 0, 0));
  const state = makeState((spec) => device.tensor(spec), config, B);
  const free = (): void => {
    for (const tensor of [gradients.flat.whole, metrics, rng, ...Object.values(state)]) device.free(tensor);
    model.dispose();
  };
  const record = (recorder: Recorder): PassInputs => {
    const pass = recordPass(recorder, model, { T, B, loss, state, rng, gradients });
    const N = pass.rows.shape[0]!;
    recorder.dispatch(reduce.sum, { rows: pass.rows, metrics }, { N, scale: 1 / N, accumulate: 0 });
    return pass;
  };
  const plan = await device.record("check", record, { signal }).catch((error: unknown) => {
    free();
    throw error;
  });
  const pass = plan.made;
  const targets = Uint32Array.from({ length: T * B }, (_, i) => randomWord(1, 4, i, 3) % V);
  const { shift } = breakTokens(targets, B, breakage);
  const inputs = Uint32Array.from({ length: T * B }, (_, i) => randomWord(1, 2, i + shift, 3) % V);
  const order = new Uint32Array(T * B);
  const starts = new Uint32Array(V + 1);
  sortByToken(inputs, V, order, starts);
  device.write(pass.inputs, inputs);
  device.write(pass.targets, loss === "all" ? targets : targets.subarray((T - 1) * B));
  device.write(pass.order, order);
  device.write(pass.starts, starts);
  const writeRandom = (tensor: Tensor, stream: number): void =>
    device.write(
      tensor,
      Float64Array.from({ length: sizeOf(tensor.shape) }, (_, i) => Math.fround(random(i, stream))),
    );
  return {
    model,
    gradients,
    async run() {
      Object.values(state).forEach((tensor, i) => writeRandom(tensor, 50 + i));
      await plan.run([], signal);
      return (await abortable(signal, device.read(metrics)))[METRIC.loss]!;
    },
    async readGradients() {
      const reads = gradients.flat.parts.map((tensor) => device.read(tensor));
      const values = await abortable(signal, Promise.all(reads));
      const named = Object.fromEntries(gradients.specs.map(({ name }, i) => [name, values[i]!]));
      breakGradients(named, config, breakage);
      return named;
    },
    dispose() {
      plan.dispose();
      free();
    },
  };
}

/** Calls `use` with harnesses of the same pass on two devices. */
export async function withHarnesses<T>(
  devices: readonly [Device, Device],
  make: (device: Device) => Promise<PassHarness>,
  use: (one: PassHarness, other: PassHarness) => Promise<T>,
): Promise<T> {
  const one = await make(devices[0]);
  let other: PassHarness | undefined;
  try {
    other = await make(devices[1]);
    return await use(one, other);
  } finally {
    one.dispose();
    other?.dispose();
  }
}

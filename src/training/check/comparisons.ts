// What is compared: gradients on a device with the float64 reference's, the reference's with finite differences, and the loss
// along the gradient.
import type { LanguageModelConfig } from "../../models/config.ts";
import type { LanguageModel } from "../../models/language-model.ts";
import type { StateDict } from "../../models/parameters.ts";
import { Recurrent } from "../../models/recurrent.ts";
import type { Device } from "../../runtime/device.ts";
import { sizeOf } from "../../runtime/tensor.ts";
import { makePassHarness, random, withHarnesses, type HarnessOptions, type PassHarness, type PassSizes } from "./harness.ts";

/** One check. */
export interface CheckResult {
  /**
   * "kernel": an entry point against its reference; "gradients": a model's against the float64 reference;
   * "differences": the reference against finite differences; "direction": the derivative along the gradient, on the
   * device alone; "probe": what drivers get wrong.
   */
  readonly part: "kernel" | "gradients" | "differences" | "direction" | "probe";
  /** What was checked: "lstm.forward", "gru". */
  readonly name: string;
  /** Whether its error is within the tolerance. */
  readonly passed: boolean;
  /** Relative L2 of the worst tensor, or the probe's own measure. */
  readonly error: number;
  /** The most that the error may be. */
  readonly tolerance: number;
  /** The worst tensor. */
  readonly tensor?: string;
  /** Its worst element: "[17] is 0.1, not 0.2". */
  readonly detail?: string;
}

/** Relative L2 that a tensor may be off by: on a device against the float64 reference, and the reference itself. */
const GRADIENT_TOLERANCE = 1e-4;
const DIFFERENCE_TOLERANCE = 1e-6;
/** Central differences of a float32 loss are no better. */
const DIRECTION_TOLERANCE = 1e-2;
/** Denominator of a relative error at least: a gradient of a tensor this small is noise. */
const SMALLEST_NORM = 1e-6;

/** The worst tensor of `actual` against `expected`, by relative L2, with its worst element. */
export function worstTensor(
  actual: Readonly<Record<string, ArrayLike<number>>>,
  expected: Readonly<Record<string, ArrayLike<number>>>,
): { error: number; tensor: string; detail: string } {
  let worst = { error: 0, tensor: "", detail: "" };
  for (const [tensor, wanted] of Object.entries(expected)) {
    const values = actual[tensor];
    if (values?.length !== wanted.length)
      return { error: Infinity, tensor, detail: `${values?.length ?? "no"} values, not ${wanted.length}` };
    let difference = 0;
    let norm = 0;
    let at = 0;
    for (let i = 0; i < wanted.length; i++) {
      // Of what is not finite only the same is no difference.
      if (Object.is(values[i], wanted[i])) {
        norm += Number.isFinite(wanted[i]) ? wanted[i]! ** 2 : 0;
        continue;
      }
      const off = Math.abs(values[i]! - wanted[i]!);
      difference += off ** 2;
      norm += wanted[i]! ** 2;
      if (!(off <= Math.abs(values[at]! - wanted[at]!))) at = i;
    }
    const error = Math.sqrt(difference) / Math.max(Math.sqrt(norm), SMALLEST_NORM);
    if (!(error <= worst.error))
      worst = { error: Number.isNaN(error) ? Infinity : error, tensor, detail: `[${at}] is ${values[at]}, not ${wanted[at]}` };
  }
  return worst;
}

export async function compareModels(
  device: Device,
  cpu: Device,
  name: string,
  config: LanguageModelConfig,
  sizes: PassSizes,
  options: HarnessOptions,
): Promise<CheckResult> {
  return withHarnesses(
    [device, cpu],
    (each) => makePassHarness(each, config, sizes, each === cpu ? {} : options),
    (onDevice, onCpu) => compareHarnesses(name, onDevice, onCpu),
  );
}

async function compareHarnesses(name: string, onDevice: PassHarness, onCpu: PassHarness): Promise<CheckResult> {
  const [loss, expectedLoss] = [await onDevice.run(), await onCpu.run()];
  const worst = worstTensor(
    { ...(await onDevice.readGradients()), loss: [loss] },
    { ...(await onCpu.readGradients()), loss: [expectedLoss] },
  );
  return { part: "gradients", name, passed: worst.error <= GRADIENT_TOLERANCE, tolerance: GRADIENT_TOLERANCE, ...worst };
}

/** A user's own language model, at its own sizes and weights. */
export async function checkLanguageModel(
  device: Device,
  cpu: Device,
  model: LanguageModel,
  weights: StateDict,
  signal: AbortSignal | undefined,
): Promise<CheckResult> {
  const sizes: PassSizes = { T: 4, B: 2, loss: "all" };
  return withHarnesses(
    [device, cpu],
    (each) => makePassHarness(each, model.config, sizes, { weights, signal }),
    (onDevice, onCpu) => compareHarnesses("your language model", onDevice, onCpu),
  );
}

/** A user's own recurrent layer, at its own sizes and weights: a copy of it, so that its last forward pass stays its own. */
export async function checkRecurrent(
  cpu: Device,
  { device, config }: Recurrent,
  weights: StateDict,
  signal?: AbortSignal,
): Promise<CheckResult> {
  const { inputSize, hiddenSize, bidirectional, cell } = config;
  const [T, B] = [4, 2];
  const x = Float32Array.from({ length: T * B * inputSize }, (_, i) => random(i, 60));
  const dOutput = Float32Array.from({ length: T * B * hiddenSize * (bidirectional ? 2 : 1) }, (_, i) => random(i, 61));
  const run = async (on: Device): Promise<Record<string, ArrayLike<number>>> => {
    const layer = Recurrent.create(on, config);
    try {
      layer.loadStateDict(weights);
      const { output, hN } = await layer.forward(x, { T, B, signal });
      const { dx, dh0, gradients } = await layer.backward(dOutput, { signal });
      return { output, hN, dx, dh0, ...gradients };
    } finally {
      layer.dispose();
    }
  };
  const worst = worstTensor(await run(device), await run(cpu));
  const passed = worst.error <= GRADIENT_TOLERANCE;
  return { part: "gradients", name: `your ${cell} layer`, passed, tolerance: GRADIENT_TOLERANCE, ...worst };
}

/** Elements of a parameter that finite differences look at: a spread of them. */
const ELEMENTS = 8;

/** Central differences of the loss in float64 against the gradients, per parameter. */
export async function compareWithDifferences(
  cpu: Device,
  name: string,
  config: LanguageModelConfig,
  sizes: PassSizes,
  harness?: PassHarness,
): Promise<CheckResult> {
  const own = harness ?? (await makePassHarness(cpu, config, sizes));
  await own.run();
  const analytic = await own.readGradients();
  const numeric: Record<string, number[]> = {};
  const sampled: Record<string, number[]> = {};
  const epsilon = 1e-5;
  for (const [p, { name: parameter, shape }] of own.model.parameters.specs.entries()) {
    const tensor = own.model.parameters.flat.parts[p]!;
    const values = Float64Array.from(await cpu.read(tensor));
    const lossAt = async (i: number, value: number): Promise<number> => {
      const before = values[i]!;
      values[i] = value;
      cpu.write(tensor, values);
      values[i] = before;
      return own.run();
    };
    numeric[parameter] = [];
    sampled[parameter] = [];
    for (let i = 0; i < values.length; i += Math.max(1, Math.floor(sizeOf(shape) / ELEMENTS))) {
      const [up, down] = [await lossAt(i, values[i]! + epsilon), await lossAt(i, values[i]! - epsilon)];
      numeric[parameter].push((up - down) / (2 * epsilon));
      sampled[parameter].push(analytic[parameter]![i]!);
    }
    cpu.write(tensor, values);
  }
  if (!harness) own.dispose();
  const worst = worstTensor(sampled, numeric);
  return { part: "differences", name, passed: worst.error <= DIFFERENCE_TOLERANCE, tolerance: DIFFERENCE_TOLERANCE, ...worst };
}

/** (L(θ + εv) − L(θ − εv)) / 2ε against ‖g‖, v the gradient's direction: no reference involved. */
export async function compareAlongGradient(
  device: Device,
  name: string,
  config: LanguageModelConfig,
  sizes: PassSizes,
  options: HarnessOptions,
): Promise<CheckResult> {
  const harness = await makePassHarness(device, config, sizes, options);
  try {
    return await alongGradient(name, harness);
  } finally {
    harness.dispose();
  }
}

async function alongGradient(name: string, harness: PassHarness): Promise<CheckResult> {
  await harness.run();
  const gradients = await harness.readGradients();
  const weights = await harness.model.stateDict();
  let square = 0;
  for (const values of Object.values(gradients)) for (const g of values) square += g * g;
  const norm = Math.sqrt(square);
  const lossAt = async (step: number): Promise<number> => {
    harness.model.loadStateDict(
      Object.fromEntries(
        Object.entries(weights).map(([key, values]) => [
          key,
          Float64Array.from(values, (w, i) => w + (step / norm) * gradients[key]![i]!),
        ]),
      ),
    );
    return harness.run();
  };
  const epsilon = 1e-2;
  const slope = ((await lossAt(epsilon)) - (await lossAt(-epsilon))) / (2 * epsilon);
  const error = Math.abs(slope / norm - 1);
  const passed = error <= DIRECTION_TOLERANCE;
  return {
    part: "direction",
    name,
    passed,
    error: Number.isNaN(error) ? Infinity : error,
    tolerance: DIRECTION_TOLERANCE,
    detail: `slope ${slope}, gradient norm ${norm}`,
  };
}

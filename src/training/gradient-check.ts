// The check that users can run: are the gradients that this device computes right? More than 400 lines: harness, comparisons and
// probes in one place.
import { checkFunction, checkOneOf, checkOptions, checkSignal, namesOf, shown } from "../checks.ts";
import { IGNORE, sortByToken } from "../data/batches.ts";
import { lstm } from "../kernels/lstm.ts";
import { matmul } from "../kernels/matmul.ts";
import { METRIC, PARTIAL_COUNT, PARTIAL_SHAPE, reduce } from "../kernels/reduce.ts";
import { rnn } from "../kernels/rnn.ts";
import { CELL_NAMES, cellForms, CELLS, type FormName } from "../models/cells.ts";
import { languageModelConfig, type LanguageModelConfig } from "../models/config.ts";
import { PRESETS, type PresetName } from "../models/presets.ts";
import { LanguageModel } from "../models/language-model.ts";
import { makeParameterSet, type ParameterSet, type StateDict } from "../models/parameters.ts";
import { makeState, recordPass, type PassInputs } from "../models/pass.ts";
import { Recurrent } from "../models/recurrent.ts";
import { GatewiseError } from "../errors.ts";
import { fraction, randomWord } from "../random.ts";
import { CpuDevice } from "../runtime/cpu-device.ts";
import { checkDevice, type Device } from "../runtime/device.ts";
import type { Entry } from "../runtime/kernel.ts";
import type { Recorder } from "../runtime/recorder.ts";
import { abortable } from "../turns.ts";
import { pad4, sizeOf, type NumberArray, type Tensor } from "../runtime/tensor.ts";
import { differences } from "../runtime/verify.ts";
import { allEntries } from "./kernel-list.ts";

/** The forms of all cells, and those that presets read one-hot, each under a name of its own. */
export const CHECKED_CELLS: Readonly<Record<CheckedCell, Partial<LanguageModelConfig>>> = Object.fromEntries(
  CELL_NAMES.flatMap((cell) => [
    ...Object.entries(cellForms()).filter(([, form]) => form.cell === cell),
    ...Object.values(PRESETS)
      .filter((preset) => preset.cell === cell && preset.input === "one-hot")
      .map((preset) => [`${cell}-${preset.input}`, preset] as const),
  ]),
) as Record<CheckedCell, Partial<LanguageModelConfig>>;
type OneHot<P> = P extends { readonly cell: infer C extends string; readonly input: "one-hot" } ? `${C}-one-hot` : never;
export type CheckedCell = FormName | OneHot<(typeof PRESETS)[PresetName]>;

/** Ways to break a model on purpose, on the device under test only: what proves that the check can fail. */
export const BREAKAGES = [
  "swap-gates",
  "drop-bias",
  "reset-before",
  "transpose",
  "shift-time",
  "zero-gradient",
  "skip-last-row",
] as const;
export type Breakage = (typeof BREAKAGES)[number];

export interface CheckOptions {
  /** All by default. */
  readonly cells?: readonly CheckedCell[];
  /** Only each cell's gradients against the reference, and the probes: seconds, even on a software adapter. */
  readonly quick?: boolean;
  /** Also check this model's own gradients, at its own sizes and weights. */
  readonly model?: LanguageModel | Recurrent;
  readonly breakage?: Breakage;
  readonly signal?: AbortSignal;
  /** Called with each result as it comes. */
  readonly onResult?: (result: CheckResult) => void;
}

const CHECK_NAMES = namesOf<CheckOptions>({
  cells: true,
  quick: true,
  model: true,
  breakage: true,
  signal: true,
  onResult: true,
});

/** @throws GatewiseError E_CONFIG */
function checkCheckOptions(options: CheckOptions): void {
  checkOptions("checkGradients", options, CHECK_NAMES);
  const { cells, quick = false, model, breakage, signal, onResult } = options;
  if (cells !== undefined && !Array.isArray(cells))
    throw new GatewiseError("E_CONFIG", `checkGradients: cells must be an array of names, got ${shown(cells)}`);
  for (const cell of cells ?? []) checkOneOf("checkGradients: each of cells", cell, Object.keys(CHECKED_CELLS));
  checkOneOf("checkGradients: quick", quick, [true, false]);
  if (model !== undefined && !(model instanceof LanguageModel || model instanceof Recurrent))
    throw new GatewiseError("E_CONFIG", `checkGradients: model must be a LanguageModel or a Recurrent, got ${shown(model)}`);
  if (breakage !== undefined) checkOneOf("checkGradients: breakage", breakage, BREAKAGES);
  checkSignal("checkGradients", signal);
  checkFunction("checkGradients: onResult", onResult);
}

export interface CheckResult {
  /**
   * "kernel": an entry point against its reference; "gradients": a model's against the float64 reference;
   * "differences": the reference against finite differences; "direction": the derivative along the gradient, on the
   * device alone; "probe": what drivers get wrong.
   */
  readonly part: "kernel" | "gradients" | "differences" | "direction" | "probe";
  readonly name: string;
  readonly passed: boolean;
  /** Relative L2 of the worst tensor, or the probe's own measure. */
  readonly error: number;
  readonly tolerance: number;
  /** The worst tensor. */
  readonly tensor?: string;
  /** Its worst element: "[17] is 0.1, not 0.2". */
  readonly detail?: string;
}

export interface CheckReport {
  readonly passed: boolean;
  readonly device: string;
  readonly seconds: number;
  readonly results: readonly CheckResult[];
}

/** Relative L2 that a tensor may be off by: on a device against the float64 reference, and the reference itself. */
const GRADIENT_TOLERANCE = 1e-4;
const DIFFERENCE_TOLERANCE = 1e-6;
/** Central differences of a float32 loss are no better. */
const DIRECTION_TOLERANCE = 1e-2;
const PROBE_TOLERANCE = 1e-6;
/** Denominator of a relative error at least: a gradient of a tensor this small is noise. */
const SMALLEST_NORM = 1e-6;

/**
 * Checks the gradients that a device computes: kernel by kernel and model by model against the float64 reference, the
 * reference against finite differences, and what drivers are known to get wrong.
 *
 * @throws GatewiseError E_DEVICE_LOST, E_SHADER, E_DISPOSED; E_CONFIG for options unknown or out of range; E_NAN_LOSS for a model whose parameters are not all finite, for which the
 * device is not to blame. A wrong gradient is a result, not an error.
 * @example
 * const report = await checkGradients(device, { quick: true });
 * if (!report.passed) console.warn(report.results.filter((r) => !r.passed));
 */
export async function checkGradients(device: Device, options: CheckOptions = {}): Promise<CheckReport> {
  checkDevice("checkGradients", device);
  checkCheckOptions(options);
  return abortable(options.signal, checkAll(device, options));
}

async function checkAll(device: Device, options: CheckOptions): Promise<CheckReport> {
  const { cells = Object.keys(CHECKED_CELLS) as CheckedCell[], quick = false, model, breakage, signal, onResult } = options;
  const begun = performance.now();
  const weights = await model?.stateDict();
  if (weights) requireFinite(weights);
  const cpu = new CpuDevice("float64");
  const results: CheckResult[] = [];
  const add = (result: CheckResult): void => {
    results.push(result);
    onResult?.(result);
    signal?.throwIfAborted();
  };
  for (const result of await probes(device, signal)) add(result);
  add(await workgroupMemoryProbe(device, signal));
  const cases = cells.flatMap((cell) =>
    (["all", "last"] as const).map((loss) => ({
      name: `${cell}, loss on ${loss} steps`,
      config: languageModelConfig({
        ...CHECKED_CELLS[cell],
        vocabSize: 11,
        embeddingSize: 6,
        hiddenSize: 13,
        numLayers: quick ? 1 : 2,
      }),
      sizes: { T: 5, B: 3, loss },
    })),
  );
  // All at once, so that their pipelines compile in parallel: on a software adapter that is most of the time.
  const compared = cases.map(({ name, config, sizes }) => compareModels(device, cpu, name, config, sizes, { breakage, signal }));
  const ended = Promise.allSettled(compared);
  try {
    for (const result of compared) add(await result);
  } finally {
    await ended;
  }
  for (const { name, config, sizes } of quick ? [] : cases) {
    add(await compareWithDifferences(cpu, name, config, sizes));
    add(await compareAlongGradient(device, name, config, sizes, { breakage, signal }));
  }
  if (model instanceof LanguageModel) add(await checkLanguageModel(device, cpu, model, weights!, signal));
  if (model instanceof Recurrent) add(await checkRecurrent(cpu, model, weights!, signal));
  if (!quick) {
    for (const [name, entry] of allEntries()) {
      const found = await differences(device, entry, undefined, undefined, false, signal);
      const worst = found[0];
      add({
        part: "kernel",
        name,
        passed: !worst,
        error: worst ? Infinity : 0,
        tolerance: 1e-5,
        ...(worst && { detail: worst }),
      });
    }
  }
  cpu.dispose();
  return {
    passed: results.every((r) => r.passed),
    device: device.description,
    seconds: (performance.now() - begun) / 1000,
    results,
  };
}

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

const random = (i: number, stream: number): number => 2 * fraction(randomWord(7, stream, i, 99)) - 1;

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
  // Some breakages are other forms of a cell: "gru-reset-before".
  const model = LanguageModel.create(device, { ...config, ...CELLS[config.cell].forms[`${config.cell}-${breakage}`] });
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
  const shift = breakage === "shift-time" ? B : 0;
  const inputs = Uint32Array.from({ length: T * B }, (_, i) => randomWord(1, 2, i + shift, 3) % V);
  const targets = Uint32Array.from({ length: T * B }, (_, i) => randomWord(1, 4, i, 3) % V);
  if (breakage === "skip-last-row") for (let t = 0; t < T; t++) targets[t * B + B - 1] = IGNORE;
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
      if (breakage === "zero-gradient") named["rnn.weight_ih_l0"]!.fill(0);
      return named;
    },
    dispose() {
      plan.dispose();
      free();
    },
  };
}

/** Calls `use` with harnesses of the same pass on two devices. */
async function withHarnesses<T>(
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

function breakWeights(
  weights: Readonly<Record<string, ArrayLike<number>>>,
  config: LanguageModelConfig,
  breakage: Breakage | undefined,
): Readonly<Record<string, ArrayLike<number>>> {
  const H = config.hiddenSize;
  const hh = Float64Array.from(weights["rnn.weight_hh_l0"]!);
  const block = H * H;
  switch (breakage) {
    case "swap-gates": {
      // The vanilla RNN has one gate only: two of its units change places instead.
      const size = hh.length > block ? block : H;
      const first = hh.slice(0, size);
      hh.copyWithin(0, size, 2 * size).set(first, size);
      return { ...weights, "rnn.weight_hh_l0": hh };
    }
    case "transpose":
      for (let gate = 0; gate < hh.length; gate += block) {
        const before = hh.slice(gate, gate + block);
        for (let i = 0; i < H; i++) for (let j = 0; j < H; j++) hh[gate + i * H + j] = before[j * H + i]!;
      }
      return { ...weights, "rnn.weight_hh_l0": hh };
    case "drop-bias":
      return { ...weights, "rnn.bias_hh_l0": new Float64Array(weights["rnn.bias_hh_l0"]!.length) };
    default:
      return weights;
  }
}

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

async function compareModels(
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

/** No device can be judged by a model that is not finite. */
function requireFinite(weights: Readonly<Record<string, ArrayLike<number>>>): void {
  for (const [name, values] of Object.entries(weights)) {
    const at = Array.prototype.findIndex.call(values, (value: number) => !Number.isFinite(value));
    if (at < 0) continue;
    throw new GatewiseError(
      "E_NAN_LOSS",
      `${name}[${at}] of the model to check is ${values[at]}, so that its gradients tell nothing about the device; ` +
        `load finite weights, from an earlier checkpoint perhaps`,
    );
  }
}

/** A user's own language model, at its own sizes and weights. */
async function checkLanguageModel(
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
async function checkRecurrent(
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
async function compareAlongGradient(
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

/** A product in every variant, those with tiles in workgroup memory and barriers among them. */
async function workgroupMemoryProbe(device: Device, signal: AbortSignal | undefined): Promise<CheckResult> {
  const cases = matmul.nn.cases().slice(-4, -3);
  const [worst] = await differences(device, matmul.nn as unknown as Entry, cases, undefined, false, signal);
  const error = worst ? Infinity : 0;
  const detail = worst ? { detail: worst } : {};
  return { part: "probe", name: "workgroup memory and barriers", passed: !worst, error, tolerance: 1e-5, ...detail };
}

const SATURATED = [0, 0.5, -0.5, 9, -9, 45, -45, 89, -89, 1e4, -1e4];

/** What drivers are known to get wrong: tanh and exp of large numbers, and noticing what is not finite. */
async function probes(device: Device, signal: AbortSignal | undefined): Promise<readonly CheckResult[]> {
  const probe = (name: string, error: number): CheckResult => ({
    part: "probe",
    name,
    passed: error <= PROBE_TOLERANCE,
    error: Number.isNaN(error) ? Infinity : error,
    tolerance: PROBE_TOLERANCE,
  });
  const worst = (actual: ArrayLike<number>, expected: readonly number[]): number =>
    expected.reduce((most, value, i) => (Math.abs(actual[i]! - value) <= most ? most : Math.abs(actual[i]! - value)), 0);
  const H = SATURATED.length;
  const record = (recorder: Recorder) => {
    const wide = (name: string, shape: readonly number[]): Tensor =>
      recorder.tensor({ name, shape, stored: [...shape.slice(0, -1), pad4(shape.at(-1)!)] });
    const rows = recorder.tensor({ name: "rows", shape: [1, 1], dtype: "u32" });
    const params = { B: 1, H, t: 0, count: 1, gather: 0, last: 1, relu: 0 };
    const xRnn = wide("x", [1, 1, H]);
    const xLstm = wide("x", [1, 4, H]);
    const h = wide("h", [2, 1, H]);
    const gates = wide("gates", [1, 1, 4, H]);
    const values = recorder.tensor({ name: "values", shape: [64] });
    const metrics = recorder.tensor({ name: "metrics", shape: [METRIC.count] });
    const partials = recorder.tensor({ name: "partials", ...PARTIAL_SHAPE });
    recorder.dispatch(rnn.forward, { xProjection: xRnn, rows, packed: wide("packed", [pad4(H) + 1, 1, H]), h }, params);
    const lstmTensors = { h: wide("h", [2, 1, H]), c: wide("c", [2, 1, H]), gates };
    recorder.dispatch(
      lstm.forward,
      { xProjection: xLstm, rows, packed: wide("packed", [pad4(H) + 1, 4, H]), ...lstmTensors },
      params,
    );
    recorder.dispatch(reduce.squares, { values, partials }, { count: 16 });
    const losses = recorder.tensor({ name: "losses", shape: [1, 2], stored: [1, 2] });
    recorder.dispatch(
      reduce.norm,
      { values: partials, rows: losses, metrics },
      { count: PARTIAL_COUNT, squares: 0, clip: 1, N: 1, scale: 1 },
    );
    return { h, gates, xRnn, xLstm, values, metrics };
  };
  const plan = await device.record("probes", record, { signal });
  const { h, gates, xRnn, xLstm, values, metrics } = plan.made;
  const results: CheckResult[] = [];
  try {
    device.write(xRnn, Float32Array.from(SATURATED));
    device.write(xLstm, Float32Array.from([...SATURATED, ...SATURATED, ...SATURATED, ...SATURATED]));
    await plan.run([], signal);
    results.push(probe("tanh of up to ±1e4", worst((await device.read(h)).subarray(H), SATURATED.map(Math.tanh))));
    results.push(
      probe(
        "sigmoid of up to ±1e4",
        worst(
          await device.read(gates),
          SATURATED.map((x) => 1 / (1 + Math.exp(-x))),
        ),
      ),
    );
    for (const [name, bad] of [
      ["NaN", NaN],
      ["infinity", Infinity],
    ] as const) {
      device.write(metrics, new Float32Array(METRIC.count));
      device.write(
        values,
        Float32Array.from({ length: 64 }, (_, i) => (i === 37 ? bad : 0.5)),
      );
      await plan.run([], signal);
      const noticed = await device.read(metrics);
      results.push(
        probe(`${name} in a gradient is noticed`, noticed[METRIC.skipped] === 1 && noticed[METRIC.factor] === 0 ? 0 : Infinity),
      );
    }
    device.write(metrics, new Float32Array(METRIC.count));
    device.write(values, new Float32Array(64).fill(0.5));
    await plan.run([], signal);
    const finite = await device.read(metrics);
    results.push(
      probe("a finite gradient is not mistaken", finite[METRIC.skipped] === 0 ? Math.abs(finite[METRIC.norm]! - 4) : Infinity),
    );
    for (const size of [1e30, 1e-30]) {
      device.write(values, new Float32Array(64).fill(size));
      await plan.run([], signal);
      const norm = (await device.read(metrics))[METRIC.norm]!;
      results.push(probe(`the norm of gradients of ${size}`, Math.abs(norm / (8 * size) - 1)));
    }
  } finally {
    plan.dispose();
  }
  return results;
}

// The check that users can run: are the gradients that this device computes right?
import { checkFunction, checkOneOf, checkOptions, checkSignal, namesOf, shown } from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import { CELL_NAMES, cellForms, embedded, type CellForm, type FormName } from "../models/cells.ts";
import { languageModelConfig, type LanguageModelConfig } from "../models/config.ts";
import { LanguageModel } from "../models/language-model.ts";
import { PRESETS, type PresetName } from "../models/presets.ts";
import { Recurrent } from "../models/recurrent.ts";
import { CpuDevice } from "../runtime/cpu-device.ts";
import { checkDevice, type Device } from "../runtime/device.ts";
import { differences } from "../runtime/verify.ts";
import { abortable } from "../turns.ts";
import {
  checkLanguageModel,
  checkRecurrent,
  compareAlongGradient,
  compareModels,
  compareWithDifferences,
  type CheckResult,
} from "./check/comparisons.ts";
import { probes, workgroupMemoryProbe } from "./check/probes.ts";
import { BREAKAGES, type Breakage } from "./check/sabotage.ts";
import { allEntries } from "./kernel-list.ts";

export type { CheckResult } from "./check/comparisons.ts";
export { BREAKAGES, type Breakage } from "./check/sabotage.ts";

/** The forms of all cells, and those that presets read one-hot, each under a name of its own. */
export const CHECKED_CELLS: Readonly<Record<CheckedCell, Partial<LanguageModelConfig>>> = Object.fromEntries(
  CELL_NAMES.flatMap((cell) => [
    ...Object.entries(cellForms()).filter(([, form]) => form.cell === cell),
    ...Object.values(PRESETS)
      .filter((preset) => preset.cell === cell && preset.input === "one-hot")
      .map((preset) => [`${cell}-${preset.input}`, preset] as const),
  ]),
) as Record<CheckedCell, Partial<LanguageModelConfig>>;
/** A form of a cell, or a cell read one-hot. */
export type CheckedCell =
  | FormName
  | {
      [P in PresetName]: (typeof PRESETS)[P] extends { readonly cell: infer C extends string; readonly input: "one-hot" }
        ? `${C}-one-hot`
        : never;
    }[PresetName];

/** What `checkGradients` checks. */
export interface CheckOptions {
  /** All by default. */
  readonly cells?: readonly CheckedCell[];
  /** Only each cell's gradients against the reference, and the probes: seconds, even on a software adapter. */
  readonly quick?: boolean;
  /** Also check this model's own gradients, at its own sizes and weights. */
  readonly model?: LanguageModel | Recurrent;
  /** A fault to put in, to see that it is found. */
  readonly breakage?: Breakage;
  /** Ends the check with its reason. */
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

/** What `checkGradients` found. */
export interface CheckReport {
  /** Whether every check passed. */
  readonly passed: boolean;
  /** The device's description. */
  readonly device: string;
  /** Time that it took. */
  readonly seconds: number;
  /** Each check, in the order in which it was made. */
  readonly results: readonly CheckResult[];
}

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
        hiddenSize: 13,
        ...embedded(CHECKED_CELLS[cell] as CellForm, 6),
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

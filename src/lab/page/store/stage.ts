// The run on the stage, and what can be done with it.
import { batch, computed, effect, signal } from "@preact/signals";
import * as Comlink from "comlink";
import { bestEvaluation, curveOf, lastStep, type Curve } from "../../draw/curves.ts";
import { titleOf } from "../../kinds.ts";
import {
  EVAL_FIELDS,
  STEP_FIELDS,
  type LaneInfo,
  type Log,
  type Measured,
  type Phase,
  type RunInfo,
  type TextSource,
} from "../../protocol.ts";
import type { Sampling } from "../../settings.ts";
import { info } from "./device.ts";
import { keepFiles } from "./lasting.ts";
import { busy, command, status, worker } from "./link.ts";
import * as plan from "./plan.ts";
import * as table from "./table.ts";

export interface LaneView extends Omit<LaneInfo, "step"> {
  readonly charactersPerSecond?: number;
  readonly stepsPerSecond?: number;
  readonly sample?: { readonly step: number; readonly text: string; readonly measured: Measured; readonly note?: string };
  readonly stopped?: string;
}

export const phase = signal<Phase>("idle");
export const run = signal<RunInfo | undefined>(undefined);
export const lanes = signal<readonly LaneView[]>([]);
export let curves: readonly Curve[] = [];
/** Counts changes of `curves`, which are too large to be copied for every point. */
export const curvesVersion = signal(0);
/** What counting the characters of its text gets, once that is known. */
export const baselines = signal<Readonly<Record<string, number>> | undefined>(undefined);
export const savedAt = signal<number | undefined>(undefined);
/** Why nothing is kept, if that is so. */
export const unsaved = signal<string | undefined>(undefined);

export const training = computed(() => phase.value === "training" || phase.value === "recovering");
/** Whether the set-up can be changed: not while a run stands on it. */
export const editable = computed(() => run.value === undefined && !busy.value);
/** Whether a text can be chosen: for the next run, or for one that needs its own. */
export const textWanted = computed(() => editable.value || (run.value?.needsText !== undefined && !busy.value));

/** Steps that all models have done; one that stopped for good holds up nothing. */
export function stepsDone(): number {
  // A checkpoint that was opened has steps, and no log of them.
  const steps = curves.map(({ points }, i) => lastStep(points, STEP_FIELDS) || (run.value?.lanes[i]?.step ?? 0));
  const going = steps.filter((_, i) => lanes.value[i]?.stopped === undefined);
  return Math.min(...(going.length > 0 ? going : [Math.max(0, ...steps)]));
}

/** Says how things stand; where something is amiss that stays said. */
export function announcePhase(): void {
  const step = stepsDone();
  const words: Partial<Record<Phase, string>> = {
    idle: "",
    training: "Training.",
    paused: step > 0 ? `Paused at step ${step.toLocaleString("en")}.` : "",
    done: `Done: ${step.toLocaleString("en")} steps.`,
  };
  status.value = words[phase.value] ?? status.value;
}

/** Puts values in place of those that a curve has from a row on. */
export function replaceRows(lane: number, field: "points" | "evaluations", row: number, values: Float32Array): void {
  const rows = curves[lane]?.[field];
  if (!rows) return;
  rows.length = Math.min(rows.length, row * { points: STEP_FIELDS, evaluations: EVAL_FIELDS }[field]);
  for (const value of values) rows.push(value);
  curvesVersion.value++;
}

export function changeLane(index: number, change: Partial<LaneView>): void {
  lanes.value = lanes.value.map((lane, i) => (i === index ? { ...lane, ...change } : lane));
}

/** Makes a run take the stage, with what it has logged so far. */
function show(info: RunInfo, logs: readonly Log[] = []): void {
  batch(() => {
    run.value = info;
    curves = info.lanes.map(({ preset }, i) => curveOf(titleOf(preset), preset, logs[i]));
    lanes.value = info.lanes.map(({ preset, parameters }) => ({ preset, parameters }));
    plan.settings.value = info.settings;
    plan.textProblem.value = undefined;
    curvesVersion.value++;
    // What has steps already came from the disk, or went there at once.
    savedAt.value = stepsDone() || undefined;
    // Its curves are on the stage now.
    table.showCurves(info.id, []);
  });
  table.rememberStage(info.id);
  plan.writeUrl();
  baselines.value = undefined;
  void worker.baselines().then((result) => {
    if (result.ok && run.value?.id === info.id) baselines.value = result.baselines;
  });
}

/** Enters a new run into the table of runs. */
function enter({ id, settings, text, lanes: models }: RunInfo, name: string): void {
  table.add({
    id,
    name,
    created: Date.now(),
    title: text.title,
    settings,
    models: models.map(({ preset, step }) => ({ preset, step, best: null, rate: null })),
  });
}

/** Brings the run's line in the table up to date. */
export function summarise(): void {
  if (!run.value) return;
  const models = curves.map(({ preset, points, evaluations }, i) => ({
    preset,
    step: lastStep(points, STEP_FIELDS),
    best: bestEvaluation(evaluations) ?? null,
    rate: lanes.value[i]?.charactersPerSecond ?? null,
  }));
  table.change(run.value.id, { settings: run.value.settings, models });
}

/** Whether there is a run that can be trained; makes one if there is none. */
async function create(): Promise<boolean> {
  if (run.value?.needsText !== undefined) status.value = `${run.value.needsText}.`;
  if (run.value) return run.value.needsText === undefined;
  phase.value = "preparing";
  status.value = "Reading the book.";
  await plan.textLoad;
  status.value = "Making the models.";
  const result = await worker.create(plan.settings.value, plan.sampling.value);
  if (!result.ok) {
    // The device may have been lost over it.
    if (phase.value === "preparing") phase.value = "idle";
    status.value = result.message;
    return false;
  }
  show(result.run);
  const { preset, hiddenSize } = result.run.settings;
  enter(result.run, `${titleOf(preset)} · ${hiddenSize} units`);
  return true;
}

/** Milliseconds without a change of the set-up after which it is rehearsed. */
const REST = 2000;
let restTimer = 0;
effect(() => {
  const settings = plan.settings.value;
  clearTimeout(restTimer);
  if (phase.value !== "idle" || !editable.value || !plan.text.value || !info.value) return;
  const later = (): void => void (restTimer = window.setTimeout(rest, REST));
  const rest = (): void => {
    // Elsewhere the page has other things to compute.
    const shown = document.visibilityState === "visible" && document.getElementById("go")?.checkVisibility();
    if (shown) void plan.rehearse(settings);
    else later();
  };
  later();
});

export const train = (): Promise<void> =>
  command(async () => {
    void keepFiles();
    if (await create()) await worker.train();
  });
/** Goes on beyond the end of a run that is done, for as long again. */
export const trainFurther = (): Promise<void> =>
  command(async () => {
    const totalSteps = 2 * run.value!.settings.totalSteps;
    await worker.extend(totalSteps);
    plan.change({ ...run.value!.settings, totalSteps });
    run.value = { ...run.value!, settings: plan.settings.value };
    summarise();
    await worker.train();
  });
export const pause = (): Promise<void> => command(() => worker.pause());
export const step = (): Promise<void> =>
  command(async () => {
    if (await create()) await worker.step();
  });
export const reset = (): Promise<void> =>
  command(async () => {
    await worker.reset();
    batch(() => {
      run.value = undefined;
      lanes.value = [];
      curves = [];
      baselines.value = undefined;
      curvesVersion.value++;
      status.value = "Ready for a new run.";
    });
    table.rememberStage(undefined);
  });

let sampleTimer = 0;
export function changeSampling(change: Partial<Sampling>): void {
  const { sampling, writeUrl } = plan;
  sampling.value = { ...sampling.value, ...change };
  clearTimeout(sampleTimer);
  sampleTimer = window.setTimeout(() => {
    writeUrl();
    void worker.setSampling(sampling.value);
    if (run.value && !training.value) void worker.sample();
  }, 250);
}

/** Restores a stored run, paused where it was last saved. `asked`: how samples are to be drawn, if not as they were. */
export async function restore(id: string, asked: Partial<Sampling> = {}): Promise<boolean> {
  const summary = table.runs.value.find((stored) => stored.id === id);
  if (!summary) return false;
  const result = await worker.restore(id);
  if (!result.ok) {
    status.value = `The run “${summary.name}” could not be restored: ${result.message}`;
    return false;
  }
  batch(() => {
    plan.sampling.value = { ...result.sampling, ...asked };
    plan.text.value = result.run.text;
    show(result.run, result.logs);
    status.value = `Restored “${summary.name}” at step ${stepsDone().toLocaleString("en")}.`;
  });
  void worker.setSampling(plan.sampling.value);
  void worker.sample();
  return true;
}
export const openRun = (id: string): Promise<void> =>
  command(async () => {
    await plan.textLoad;
    await restore(id);
  });

export const openCheckpoint = (file: File): Promise<void> =>
  command(async () => {
    await plan.textLoad;
    await openBytes(new Uint8Array(await file.arrayBuffer()), file.name.slice(0, 80));
  });

async function openBytes(bytes: Uint8Array<ArrayBuffer>, name: string): Promise<void> {
  const { settings, sampling } = plan;
  const result = await worker.openCheckpoint(Comlink.transfer(bytes, [bytes.buffer]), settings.value, sampling.value);
  if (!result.ok) {
    status.value = `${name} could not be opened: ${result.message}`;
    return;
  }
  show(result.run);
  enter(result.run, name);
  status.value = result.notice;
  await worker.sample();
}

/** The visitor's choice of a text: of the next run, or of a run that had none to train on. */
export async function chooseText(source: TextSource): Promise<void> {
  await plan.chooseText(source);
  const { needsText, id, settings } = run.value ?? {};
  if (needsText === undefined || plan.textProblem.value) return;
  const { data } = plan.settings.value;
  await command(async () => {
    const result = await worker.checkpoint(0);
    if (!result.ok) return;
    const name = table.runs.value.find((line) => line.id === id)?.name ?? titleOf(settings!.preset);
    plan.settings.value = { ...settings!, data };
    await openBytes(result.bytes, name);
    // It stands in the table again, with its text.
    await table.forget(id!);
  });
}

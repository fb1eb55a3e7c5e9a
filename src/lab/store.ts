// What the page knows, as signals, and what it can ask the training worker to do.
import { batch, computed, effect, signal } from "@preact/signals";
import * as Comlink from "comlink";
import { get, set } from "idb-keyval";
import * as v from "valibot";
import type { PresetName } from "../models/config.ts";
import type { CheckResult } from "../training/gradient-check.ts";
import { bestEvaluation, lastStep, type Curve } from "./curves.ts";
import {
  EVAL_FIELDS,
  STEP_FIELDS,
  type DeviceChoice,
  type DeviceInfo,
  type Estimate,
  type LabEvent,
  type LabWorker,
  type Phase,
  type RunInfo,
  type TextInfo,
  type TextSource,
} from "./protocol.ts";
import {
  defaultsFor,
  NUMBERS,
  PRESET_NAMES,
  PRESET_TITLES,
  presetsOf,
  RACE,
  readAddress,
  SAMPLING,
  SettingsSchema,
  writeAddress,
  type Sampling,
  type Settings,
} from "./settings.ts";
import { scriptUrl } from "./trusted.ts";
import workerUrl from "./worker.ts?worker&url";

export interface LaneView {
  readonly preset: PresetName;
  readonly parameters: number;
  readonly charactersPerSecond: number | undefined;
  readonly sample: { readonly step: number; readonly text: string; readonly note?: string } | undefined;
  readonly stopped: string | undefined;
}

/** A run in the table of runs. */
export interface RunSummary {
  readonly id: string;
  readonly name: string;
  readonly created: number;
  readonly title: string;
  readonly settings: Settings;
  readonly models: readonly {
    readonly preset: PresetName;
    readonly step: number;
    readonly best: number | null;
    readonly rate: number | null;
  }[];
}

const RunSummarySchema = v.object({
  id: v.pipe(v.string(), v.regex(/^[a-z0-9-]{1,40}$/)),
  name: v.pipe(v.string(), v.maxLength(80)),
  created: v.number(),
  title: v.pipe(v.string(), v.maxLength(200)),
  settings: SettingsSchema,
  models: v.array(
    v.object({
      preset: v.picklist(PRESET_NAMES),
      step: v.number(),
      best: v.nullable(v.number()),
      rate: v.nullable(v.number()),
    }),
  ),
});
const RUNS = "runs";
const MOST_RUNS = 40;

export const phase = signal<Phase>("idle");
/** The last thing worth saying; read out by screen readers. */
export const status = signal("");
export const device = signal<DeviceInfo | undefined>(undefined);
/** Why there is no WebGPU device, while there is none. */
export const noWebGpu = signal<string | undefined>(undefined);
export const text = signal<TextInfo | undefined>(undefined);
export const textProblem = signal<string | undefined>(undefined);
export const settings = signal<Settings>(defaultsFor("gpu"));
export const sampling = signal<Sampling>(SAMPLING);
export const estimate = signal<Estimate | string | undefined>(undefined);
export const run = signal<RunInfo | undefined>(undefined);
export const lanes = signal<readonly LaneView[]>([]);
export const runs = signal<readonly RunSummary[]>([]);
/** Curves of stored runs that are shown beside the present one, by run. */
export const compared = signal<ReadonlyMap<string, readonly Curve[]>>(new Map());
/** Counts changes of `curves`, which are too large to be copied for every point. */
export const curvesVersion = signal(0);
export const savedAt = signal<number | undefined>(undefined);
export const checkResults = signal<readonly CheckResult[]>([]);
/** Whether a command is under way that the buttons should wait for. */
export const busy = signal(false);

export let curves: readonly Curve[] = [];

export const training = computed(() => phase.value === "training" || phase.value === "recovering");
/** Whether the set-up can be changed: not while a run stands on it. */
export const editable = computed(() => run.value === undefined && !busy.value);

export const worker: Comlink.Remote<LabWorker> = Comlink.wrap<LabWorker>(
  new Worker(scriptUrl(workerUrl), { type: "module", name: "training" }),
);

// --- what the worker tells --------------------------------------------------------------------------------------------

function hear(event: LabEvent): void {
  switch (event.event) {
    case "phase": {
      const before = phase.value;
      phase.value = event.phase;
      if (event.message) status.value = event.message;
      // What came back says so itself.
      else if (before !== event.phase && before !== "recovering") announcePhase(event.phase);
      break;
    }
    case "points":
      replaceFrom(event.lane, "points", event.from * STEP_FIELDS, event.values);
      break;
    case "evaluations":
      replaceFrom(event.lane, "evaluations", event.from * EVAL_FIELDS, event.values);
      break;
    case "rate":
      changeLane(event.lane, { charactersPerSecond: event.charactersPerSecond });
      break;
    case "sample":
      changeLane(event.lane, { sample: event });
      break;
    case "lane-stopped":
      changeLane(event.lane, { stopped: event.message });
      status.value = `${titleOf(event.lane)} stopped at step ${event.step}: ${event.message}`;
      break;
    case "saved":
      savedAt.value = Math.min(...event.steps);
      summarise();
      break;
    case "device":
      device.value = event.device;
      status.value = event.message;
      break;
    case "notice":
      status.value = event.message;
      break;
    case "check":
      checkResults.value = [...checkResults.value, event.result];
  }
}

const titleOf = (lane: number): string => PRESET_TITLES[curves[lane]!.preset];

function announcePhase(next: Phase): void {
  const step = run.value ? Math.max(0, ...curves.map(({ points }) => lastStep(points, STEP_FIELDS))) : 0;
  const words: Partial<Record<Phase, string>> = {
    training: "Training.",
    paused: step > 0 ? `Paused at step ${step.toLocaleString("en")}.` : "",
    done: `Done: ${step.toLocaleString("en")} steps.`,
  };
  if (words[next] !== undefined) status.value = words[next];
}

function replaceFrom(lane: number, field: "points" | "evaluations", from: number, values: Float32Array): void {
  const curve = curves[lane];
  if (!curve) return;
  const rows = curve[field];
  rows.length = Math.min(rows.length, from);
  for (const value of values) rows.push(value);
  curvesVersion.value++;
}

function changeLane(index: number, change: Partial<LaneView>): void {
  lanes.value = lanes.value.map((lane, i) => (i === index ? { ...lane, ...change } : lane));
}

// --- opening ----------------------------------------------------------------------------------------------------------

/** Opens the device, the text and, if the page was left in the middle of one, the run. */
export async function begin(): Promise<void> {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = ({ data }: MessageEvent<LabEvent>) => batch(() => hear(data));
  void worker.connect(Comlink.transfer(port2, [port2]));
  const asked = readAddress(location.search);
  const stored = loadRuns();
  await openDevice("webgpu");
  const family = device.value?.family ?? "cpu";
  settings.value = { ...defaultsFor(family), ...asked.settings };
  sampling.value = { ...SAMPLING, ...asked.sampling };
  if (asked.ignored.length > 0)
    status.value = `Not understood in the address, and left at its default: ${asked.ignored.join(", ")}.`;
  runs.value = await stored;
  const last = runs.value[0];
  const same = last && Object.entries(asked.settings).every(([name, value]) => last.settings[name as keyof Settings] === value);
  if (last && same && device.value && last.models.some(({ step }) => step > 0) && (await restore(last.id))) return;
  const { data } = settings.value;
  await loadText(data === "own" ? { book: "alice" } : { book: data });
}

/** Opens a device; without WebGPU the CPU, and says why. */
export async function openDevice(choice: DeviceChoice): Promise<void> {
  let result = await worker.open(choice);
  if (!result.ok && choice === "webgpu") {
    noWebGpu.value = result.message;
    result = await worker.open("cpu");
  } else if (choice === "webgpu") {
    noWebGpu.value = undefined;
  }
  if (result.ok) device.value = result.device;
  else status.value = result.message;
}

/** The visitor's choice of a text; the address follows it. */
export async function chooseText(source: TextSource): Promise<void> {
  await loadText(source);
  if (!textProblem.value) writeUrl();
}

async function loadText(source: TextSource): Promise<void> {
  textProblem.value = undefined;
  const result = await worker.loadText("bytes" in source ? Comlink.transfer(source, [source.bytes.buffer]) : source);
  if (!result.ok) {
    textProblem.value = result.message;
    status.value = result.message;
    return;
  }
  text.value = result.text;
  settings.value = { ...settings.value, data: result.text.data };
  const { title, characters, vocabulary } = result.text;
  if (run.value === undefined && status.value === "")
    status.value = `${title}: ${characters.toLocaleString("en")} characters, ${vocabulary.length} different ones.`;
}

// The estimate follows the settings and the text.
effect(() => {
  const wanted = settings.value;
  if (!text.value) return;
  void worker.estimate(wanted).then((result) => {
    if (settings.peek() === wanted) estimate.value = result.ok ? result.estimate : result.message;
  });
});

// --- training ---------------------------------------------------------------------------------------------------------

/** Makes a run take the stage. */
function show(info: RunInfo): void {
  batch(() => {
    run.value = info;
    curves = info.lanes.map(({ preset }) => ({ label: PRESET_TITLES[preset], preset, points: [], evaluations: [] }));
    lanes.value = info.lanes.map(({ preset, parameters }) => ({
      preset,
      parameters,
      charactersPerSecond: undefined,
      sample: undefined,
      stopped: undefined,
    }));
    savedAt.value = undefined;
    curvesVersion.value++;
  });
}

async function create(): Promise<boolean> {
  if (run.value) return true;
  phase.value = "preparing";
  const result = await worker.create(settings.value, sampling.value);
  if (!result.ok) {
    phase.value = "idle";
    status.value = result.message;
    return false;
  }
  show(result.run);
  const { id, settings: used } = result.run;
  const name = `${used.preset === RACE ? "Race" : PRESET_TITLES[used.preset]} · ${used.hiddenSize} units`;
  const models = presetsOf(used).map((preset) => ({ preset, step: 0, best: null, rate: null }));
  keepRuns([{ id, name, created: Date.now(), title: result.run.text.title, settings: used, models }, ...runs.value]);
  writeUrl();
  return true;
}

/** Runs a command while the buttons wait. */
async function command(task: () => Promise<unknown>): Promise<void> {
  if (busy.value) return;
  busy.value = true;
  try {
    await task();
  } catch (error) {
    status.value = error instanceof Error ? error.message : String(error);
  } finally {
    busy.value = false;
  }
}

export const train = (): Promise<void> =>
  command(async () => {
    if (await create()) await worker.train();
  });
/** Goes on beyond the end of a run that is done, for as long again. */
export const trainFurther = (): Promise<void> =>
  command(async () => {
    const { settings: used } = run.value!;
    const totalSteps = Math.min(NUMBERS.totalSteps.most, 2 * used.totalSteps);
    await worker.extend(totalSteps);
    run.value = { ...run.value!, settings: { ...used, totalSteps } };
    settings.value = { ...settings.value, totalSteps };
    writeUrl();
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
      curvesVersion.value++;
      status.value = "Ready for a new run.";
    });
  });
export const recover = (choice: DeviceChoice): Promise<void> => command(() => worker.recover(choice));

export function changeSettings(change: Partial<Settings>): void {
  settings.value = { ...settings.value, ...change };
  writeUrl();
}

let sampleTimer = 0;
export function changeSampling(change: Partial<Sampling>): void {
  sampling.value = { ...sampling.value, ...change };
  clearTimeout(sampleTimer);
  sampleTimer = window.setTimeout(() => {
    writeUrl();
    void worker.setSampling(sampling.value);
    if (run.value && !training.value) void worker.sample();
  }, 250);
}

function writeUrl(): void {
  history.replaceState(null, "", writeAddress(settings.value, sampling.value) + location.hash);
}

/** Restores a stored run, paused where it was last saved. */
export async function restore(id: string): Promise<boolean> {
  const summary = runs.value.find((stored) => stored.id === id);
  // The curves come while the worker restores, so that they need somewhere to go.
  if (!summary) return false;
  curves = summary.models.map(({ preset }) => ({ label: PRESET_TITLES[preset], preset, points: [], evaluations: [] }));
  const result = await worker.restore(id);
  if (!result.ok) {
    curves = [];
    status.value = `The run “${summary.name}” could not be restored: ${result.message}`;
    return false;
  }
  batch(() => {
    const restored = curves;
    show(result.run);
    curves = restored;
    curvesVersion.value++;
    settings.value = result.run.settings;
    sampling.value = result.sampling;
    text.value = result.run.text;
    const step = Math.min(...result.run.lanes.map((lane) => lane.step));
    status.value = `Restored “${summary.name}” at step ${step.toLocaleString("en")}.`;
  });
  writeUrl();
  return true;
}

export async function openCheckpoint(file: File): Promise<void> {
  await command(async () => {
    const bytes = new Uint8Array(await file.arrayBuffer());
    const result = await worker.openCheckpoint(Comlink.transfer(bytes, [bytes.buffer]), settings.value, sampling.value);
    if (!result.ok) {
      status.value = `${file.name} could not be opened: ${result.message}`;
      return;
    }
    show(result.run);
    settings.value = result.run.settings;
    status.value = result.notice;
    const { id, settings: used, lanes: opened } = result.run;
    const models = opened.map(({ preset, step }) => ({ preset, step, best: null, rate: null }));
    const summary = {
      id,
      name: file.name.slice(0, 80),
      created: Date.now(),
      title: result.run.text.title,
      settings: used,
      models,
    };
    keepRuns([summary, ...runs.value]);
    await worker.sample();
  });
}

// --- the table of runs ------------------------------------------------------------------------------------------------

async function loadRuns(): Promise<readonly RunSummary[]> {
  const stored: unknown = await get(RUNS).catch(() => undefined);
  if (!Array.isArray(stored)) return [];
  return stored.filter((entry): entry is RunSummary => v.is(RunSummarySchema, entry));
}

function keepRuns(next: readonly RunSummary[]): void {
  for (const old of next.slice(MOST_RUNS)) void worker.remove(old.id);
  runs.value = next.slice(0, MOST_RUNS);
  void set(RUNS, runs.value).catch(() => {});
}

/** Brings the present run's line in the table up to date. */
function summarise(): void {
  const present = run.value;
  if (!present) return;
  const models = curves.map(({ preset, points, evaluations }, i) => ({
    preset,
    step: lastStep(points, STEP_FIELDS),
    best: bestEvaluation(evaluations) ?? null,
    rate: lanes.value[i]?.charactersPerSecond ?? null,
  }));
  keepRuns(runs.value.map((stored) => (stored.id === present.id ? { ...stored, models } : stored)));
}

export function renameRun(id: string, name: string): void {
  const trimmed = name.trim().slice(0, 80);
  if (trimmed) keepRuns(runs.value.map((stored) => (stored.id === id ? { ...stored, name: trimmed } : stored)));
}

export async function removeRun(id: string): Promise<void> {
  if (run.value?.id === id) return;
  await worker.remove(id);
  showRun(id, []);
  keepRuns(runs.value.filter((stored) => stored.id !== id));
}

function showRun(id: string, shown: readonly Curve[]): void {
  const next = new Map(compared.value);
  if (shown.length > 0) next.set(id, shown);
  else next.delete(id);
  compared.value = next;
  curvesVersion.value++;
}

/** Shows a stored run's curves beside the present ones, or hides them. */
export async function compareRun({ id, name, models }: RunSummary): Promise<void> {
  if (compared.value.has(id)) return showRun(id, []);
  const logs = await worker.storedLogs(id);
  const found = logs.map(({ points, evaluations }, i) => ({
    label: `${name}${models.length > 1 ? `: ${PRESET_TITLES[models[i]!.preset]}` : ""}`,
    preset: models[i]!.preset,
    points: Array.from(points),
    evaluations: Array.from(evaluations),
  }));
  if (found.length === 0) status.value = `Nothing was saved of “${name}”.`;
  showRun(id, found);
}

// A page that is left in the middle of a run leaves it saved.
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "hidden" && training.value) void worker.save();
});

// What the page knows, as signals, and what it can ask the training worker to do.
import { batch, computed, effect, signal } from "@preact/signals";
import * as Comlink from "comlink";
import { get, update } from "idb-keyval";
import type { PresetName } from "../models/config.ts";
import type { CheckResult } from "../training/gradient-check.ts";
import { bestEvaluation, lastStep, type Curve } from "./curves.ts";
import { titleOf } from "./kinds.ts";
import {
  EVAL_FIELDS,
  STEP_FIELDS,
  type DeviceChoice,
  type DeviceInfo,
  type Estimate,
  type LabEvent,
  type LabWorker,
  type Log,
  type Phase,
  type RunInfo,
  type TextInfo,
  type TextSource,
} from "./protocol.ts";
import { defaultsFor, readAddress, SAMPLING, valFractionFor, writeAddress, type Sampling, type Settings } from "./settings.ts";
import { MOST_RUNS, validRuns, type RunSummary } from "./stored.ts";
import { scriptUrl } from "./trusted.ts";
import workerUrl from "./worker.ts?worker&url";

export interface LaneView {
  readonly preset: PresetName;
  readonly parameters: number;
  readonly charactersPerSecond: number | undefined;
  readonly sample: { readonly step: number; readonly text: string; readonly note?: string } | undefined;
  readonly stopped: string | undefined;
}

/** Names in the browser's storage. */
const RUNS = "runs";
const STAGE = "stage";

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
/** Why nothing is kept, if that is so. */
export const unsaved = signal<string | undefined>(undefined);
export const checkResults = signal<readonly CheckResult[]>([]);
/** Whether a command is under way that the buttons should wait for. */
export const busy = signal(false);

export let curves: readonly Curve[] = [];

export const training = computed(() => phase.value === "training" || phase.value === "recovering");
/** Whether the set-up can be changed: not while a run stands on it. */
export const editable = computed(() => run.value === undefined && !busy.value);

const thread = new Worker(scriptUrl(workerUrl), { type: "module", name: "training" });
thread.addEventListener("error", ({ message }) => {
  status.value = `The lab’s worker ${message ? `failed: ${message}` : "could not be loaded"}; reload the page.`;
});
export const worker: Comlink.Remote<LabWorker> = Comlink.wrap<LabWorker>(thread);

// --- what the worker tells --------------------------------------------------------------------------------------------

function hear(event: LabEvent): void {
  switch (event.event) {
    case "phase": {
      const before = phase.value;
      phase.value = event.phase;
      if (event.message) status.value = event.message;
      // What came back says so itself.
      else if (!event.quiet && before !== event.phase && before !== "recovering") announcePhase(event.phase);
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
      status.value = `${curves[event.lane]!.label} stopped: ${event.message}`;
      break;
    case "saved":
      savedAt.value = event.step;
      savingTakes = event.milliseconds;
      unsaved.value = undefined;
      summarise();
      break;
    case "unsaved":
      unsaved.value = event.message;
      break;
    case "device":
      device.value = event.device;
      if (run.value) run.value = { ...run.value, device: event.device.description };
      status.value = event.message;
      break;
    case "notice":
      status.value = event.message;
      break;
    case "tuning":
      if (!event.over)
        status.value = `Finding out, once, how this device computes fastest: choice ${event.done + 1} of ${event.of}.`;
      else announcePhase(phase.value);
      break;
    case "check-begins":
      checkResults.value = [];
      break;
    case "check":
      checkResults.value = [...checkResults.value, event.result];
  }
}

/** Steps that all models have done; one that stopped for good holds up nothing. */
export function stepsDone(): number {
  // A checkpoint that was opened has steps, and no log of them.
  const steps = curves.map(({ points }, i) => lastStep(points, STEP_FIELDS) || (run.value?.lanes[i]?.step ?? 0));
  const going = steps.filter((_, i) => lanes.value[i]?.stopped === undefined);
  return Math.min(...(going.length > 0 ? going : [Math.max(0, ...steps)]));
}

function announcePhase(next: Phase): void {
  const step = stepsDone();
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
    status.value = `Not understood in the address, and left at its default: ${listed(asked.ignored)}.`;
  runs.value = (await stored) ?? [];
  await command(async () => {
    const id = await onStage();
    const last = runs.value.find((summary) => summary.id === id);
    const same = last && Object.entries(asked.settings).every(([name, value]) => last.settings[name as keyof Settings] === value);
    if (last && same && device.value && (await restore(last.id, asked.sampling))) return;
    const { data } = settings.value;
    if (data === "own") status.value = "This address is of a text of somebody’s own, which it does not hold: open or paste it.";
    await loadText({ book: data === "own" ? "alice" : data }, asked.settings.valFraction === undefined);
  });
}

/** Few of many names. */
const listed = (names: readonly string[], most = 6): string =>
  names.slice(0, most).join(", ") + (names.length > most ? ` and ${names.length - most} more` : "");

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

/** The text that is on its way; what needs a text waits for it. */
let textLoad: Promise<void> = Promise.resolve();

/** The visitor's choice of a text; the address follows it. */
export async function chooseText(source: TextSource): Promise<void> {
  // Whoever has set the validation part has meant it.
  await (textLoad = loadText(source, settings.value.valFraction === valFractionFor(text.value?.characters ?? 0)));
  if (!textProblem.value) writeUrl();
}

/** `fits`: whether the validation part is to be what the text's length suggests. */
async function loadText(source: TextSource, fits: boolean): Promise<void> {
  textProblem.value = undefined;
  const result = await worker.loadText("bytes" in source ? Comlink.transfer(source, [source.bytes.buffer]) : source);
  if (!result.ok) {
    textProblem.value = result.message;
    status.value = result.message;
    return;
  }
  const { title, characters, vocabulary, data } = result.text;
  text.value = result.text;
  textProblem.value = undefined;
  settings.value = { ...settings.value, data, ...(fits && { valFraction: valFractionFor(characters) }) };
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

/** Makes a run take the stage, with what it has logged so far. */
function show(info: RunInfo, logs: readonly Log[] = []): void {
  batch(() => {
    run.value = info;
    curves = info.lanes.map(({ preset }, i) => ({
      label: titleOf(preset),
      preset,
      points: Array.from(logs[i]?.points ?? []),
      evaluations: Array.from(logs[i]?.evaluations ?? []),
    }));
    lanes.value = info.lanes.map(({ preset, parameters }) => ({
      preset,
      parameters,
      charactersPerSecond: undefined,
      sample: undefined,
      stopped: undefined,
    }));
    settings.value = info.settings;
    textProblem.value = undefined;
    // What has steps already came from the disk, or went there at once.
    savedAt.value = stepsDone() || undefined;
    // Its curves are on the stage now.
    showRun(info.id, []);
  });
  rememberStage(info.id);
  writeUrl();
}

/** The line of a run in the table of runs. */
function enter({ id, settings: used, text: read, lanes: models }: RunInfo, name: string): void {
  const line: RunSummary = {
    id,
    name,
    created: Date.now(),
    title: read.title,
    settings: used,
    models: models.map(({ preset, step }) => ({ preset, step, best: null, rate: null })),
  };
  changeRuns((table) => [line, ...table]);
  for (const old of runs.value.slice(MOST_RUNS)) void forget(old.id);
}

async function create(): Promise<boolean> {
  if (run.value) return true;
  phase.value = "preparing";
  await textLoad;
  const result = await worker.create(settings.value, sampling.value);
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
    const totalSteps = 2 * used.totalSteps;
    await worker.extend(totalSteps);
    run.value = { ...run.value!, settings: { ...used, totalSteps } };
    settings.value = run.value.settings;
    summarise();
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
    rememberStage(undefined);
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

/** Restores a stored run, paused where it was last saved. `asked`: how samples are to be drawn, if not as they were. */
export async function restore(id: string, asked: Partial<Sampling> = {}): Promise<boolean> {
  const summary = runs.value.find((stored) => stored.id === id);
  if (!summary) return false;
  const result = await worker.restore(id);
  if (!result.ok) {
    status.value = `The run “${summary.name}” could not be restored: ${result.message}`;
    return false;
  }
  batch(() => {
    sampling.value = { ...result.sampling, ...asked };
    text.value = result.run.text;
    show(result.run, result.logs);
    status.value = `Restored “${summary.name}” at step ${stepsDone().toLocaleString("en")}.`;
  });
  void worker.setSampling(sampling.value);
  return true;
}
export const openRun = (id: string): Promise<void> =>
  command(async () => {
    await textLoad;
    await restore(id);
  });

export const openCheckpoint = (file: File): Promise<void> =>
  command(async () => {
    const bytes = new Uint8Array(await file.arrayBuffer());
    await textLoad;
    const result = await worker.openCheckpoint(Comlink.transfer(bytes, [bytes.buffer]), settings.value, sampling.value);
    if (!result.ok) {
      status.value = `${file.name} could not be opened: ${result.message}`;
      return;
    }
    show(result.run);
    enter(result.run, file.name.slice(0, 80));
    status.value = result.notice;
    await worker.sample();
  });

// --- what the browser keeps -------------------------------------------------------------------------------------------

/** A browser may have no storage, or refuse it, even at once: then things last as long as the page. */
async function tryStorage<T>(task: () => Promise<T>): Promise<T | undefined> {
  try {
    return await task();
  } catch {
    return undefined;
  }
}

/** The run that this tab shows comes back after a reload; a new tab begins with the one that was shown last. */
function rememberStage(id: string | undefined): void {
  void tryStorage(async () => {
    const before = sessionStorage.getItem(STAGE);
    sessionStorage.setItem(STAGE, id ?? "");
    // A tab that has left its run leaves alone what another one shows.
    await update(STAGE, (last) => id ?? (last === before ? undefined : last));
  });
}
const onStage = (): Promise<unknown> => tryStorage(async () => sessionStorage.getItem(STAGE) ?? (await get(STAGE)));

// --- the table of runs ------------------------------------------------------------------------------------------------

/** Undefined where there is no storage. */
const loadRuns = (): Promise<readonly RunSummary[] | undefined> => tryStorage(async () => validRuns(await get(RUNS)));

/** Changes the table, here and on the disk, where another tab may have changed other lines of it. */
function changeRuns(change: (table: readonly RunSummary[]) => readonly RunSummary[]): void {
  runs.value = change(runs.value);
  void tryStorage(() => update(RUNS, (stored) => change(validRuns(stored))));
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
  const { id, settings: used } = present;
  changeRuns((table) => table.map((line) => (line.id === id ? { ...line, settings: used, models } : line)));
}

export function renameRun(id: string, name: string): void {
  const trimmed = name.trim().slice(0, 80);
  if (trimmed) changeRuns((table) => table.map((line) => (line.id === id ? { ...line, name: trimmed } : line)));
}

export async function removeRun(id: string): Promise<void> {
  if (!(await forget(id))) status.value = "This run is open in another tab.";
}

/** Deletes a run, unless a page has it open. */
async function forget(id: string): Promise<boolean> {
  if (!(await worker.remove(id))) return false;
  showRun(id, []);
  changeRuns((table) => table.filter((line) => line.id !== id));
  return true;
}

function showRun(id: string, shown: readonly Curve[]): void {
  const next = new Map(compared.value);
  if (shown.length > 0) next.set(id, shown);
  else next.delete(id);
  compared.value = next;
  curvesVersion.value++;
}

/** Shows a stored run's curves beside the present ones, or hides them. */
export async function compareRun({ id, name }: RunSummary): Promise<void> {
  if (compared.value.has(id)) return showRun(id, []);
  const logs = await worker.storedLogs(id);
  const found = logs.map(({ preset, points, evaluations }) => ({
    label: `${name}${logs.length > 1 ? `: ${titleOf(preset)}` : ""}`,
    preset,
    points: Array.from(points),
    evaluations: Array.from(evaluations),
  }));
  if (found.length === 0) status.value = `Nothing was saved of “${name}”.`;
  showRun(id, found);
}

// --- leaving the page -------------------------------------------------------------------------------------------------

/** Milliseconds that a page which is left holds still, at the most, until its run is kept. */
const HOLD = 400;
/** What the last save took. */
let savingTakes = 0;
/** When the run was asked to be kept because the page is left; undefined once it is. */
let leftAt: number | undefined;

/** Has the worker keep the run as it stands, if it trains. */
function keepNow(): void {
  if (!training.value || leftAt !== undefined) return;
  const asked = (leftAt = performance.now());
  void worker.save().finally(() => {
    if (leftAt === asked) leftAt = undefined;
  });
}

// Here the browser may still ask whether to leave: where steps would be lost, it does.
addEventListener("beforeunload", (event) => {
  keepNow();
  const lost = stepsDone() > (savedAt.value ?? 0) && (unsaved.value !== undefined || (training.value && savingTakes > HOLD));
  if (lost) event.preventDefault();
});

// A worker ends with its page, in the middle of a write too, and nothing but time tells a page that holds still how far
// its worker is: Atomics.wait is not for pages, and messages come only when this has returned.
addEventListener("pagehide", () => {
  keepNow();
  const until = (leftAt ?? -Infinity) + HOLD;
  while (performance.now() < until);
});

// A page that is hidden may be ended without another word, on a phone; one that is come back to may find the table changed.
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "hidden") keepNow();
  else void loadRuns().then((table) => (runs.value = table ?? runs.value));
});

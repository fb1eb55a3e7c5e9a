// The training worker: owns the device, the models and their trainers. The page sends commands and hears what happens;
// while a run trains, whatever else wants the device waits for a moment between two steps.
import * as Comlink from "comlink";
import { GatewiseError } from "../errors.ts";
import { PRESETS, type PresetName } from "../models/config.ts";
import { CPU_ADVICE } from "../runtime/adapter.ts";
import { openDevice, type Device } from "../runtime/device.ts";
import type { TuningProgress } from "../runtime/tuner.ts";
import type { WebGpuOptions } from "../runtime/webgpu-device.ts";
import { loadCheckpoint, sameText } from "../training/checkpoint.ts";
import { checkGradients } from "../training/gradient-check.ts";
import { estimateRun } from "./estimate.ts";
import { presetOf, presetsOf } from "./kinds.ts";
import {
  disposeLane,
  isActive,
  isDone,
  laneFromCheckpoint,
  makeLanes,
  newLane,
  pull,
  setLog,
  start,
  takeSnapshot,
  type Lane,
} from "./lane.ts";
import {
  EVAL_FIELDS,
  STEP_FIELDS,
  type DeviceChoice,
  type DeviceInfo,
  type LabEvent,
  type LabWorker,
  type Log,
  type Phase,
  type Result,
  type RunInfo,
} from "./protocol.ts";
import { checkForm, NUMBER_NAMES, SAMPLING, type NumberName, type Sampling, type Settings } from "./settings.ts";
import { claimRun, readLog, readRun, readRunFile, removeRun, writeRun, writeRunFile } from "./storage.ts";
import { loadText, type LoadedText } from "./texts.ts";

/** Milliseconds between two reports to the page. */
const REPORT_INTERVAL = 100;
/** Snapshots and samples may take a part of the time, and come no more often than this, in milliseconds. */
const SAVE_INTERVAL = 3000;
/** The first snapshot comes early, so long after the first step: what was not saved yet is lost with the device. */
const FIRST_SAVE = 1500;
const SAMPLE_INTERVAL = 4000;
const FIRST_SAMPLE = 2500;
const SHARE = { save: 1 / 30, sample: 1 / 6 };
const SAMPLE_LENGTH = 240;
/** A device that came may still have to be asked what it is like; the library itself waits 15 s for it to come. */
const OPEN_LIMIT = 20_000;
/** Milliseconds that tuning may take of a visit: whoever presses Train waits for the first loss. The rest is for the next. */
const TUNING = 1000;
/** Devices opened in a row after losses; a device that trained this long without one counts as sound again. */
const TRIES = 3;
const TRY_DELAYS = [50, 2000, 6000];
const SOUND_AFTER = 20_000;

interface Run {
  readonly id: string;
  settings: Settings;
  readonly text: LoadedText;
  lanes: Lane[];
  /** Lets go of the run's files, which until then are this page's alone. */
  readonly release: () => void;
  /** Whether the text can be had again, from the disk if it is the visitor's own: no checkpoint is of use without it. */
  textKept: boolean;
}

let port: MessagePort | undefined;
let device: Device | undefined;
let deviceInfo: DeviceInfo | undefined;
let loaded: LoadedText | undefined;
let textQueue: Promise<unknown> = Promise.resolve();
let run: Run | undefined;
let phase: Phase = "idle";
let sampling: Sampling = SAMPLING;
let tries = 0;
let recoveredAt = 0;
let checkAbort: AbortController | undefined;

const post = (event: LabEvent, transfer: Transferable[] = []): void => port?.postMessage(event, transfer);

function setPhase(next: Phase, message?: string, quiet = false): void {
  phase = next;
  post({ event: "phase", phase, quiet, ...(message !== undefined && { message }) });
}

// --- one thing at a time on the device --------------------------------------------------------------------------------

let queue: Promise<unknown> = Promise.resolve();
/** Commands that wait for the device. */
let waiting = 0;

/** Runs a task when nothing else uses the device: between two steps of a run that trains. */
function exclusive<T>(task: () => Promise<T>): Promise<T> {
  waiting++;
  const result = queue.then(task).finally(() => waiting--);
  queue = result.catch(() => {});
  return result;
}

/** Ends what is under way on the device and may be left undone: tuning and sampling. Steps are always done to their end. */
let halt: (() => void) | undefined;

const codeOf = (error: unknown): string => (error instanceof GatewiseError ? error.code : "E_UNKNOWN");
/** What went wrong, for whoever reads a page: not how a program would go on. */
const messageOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).replace(`, ${CPU_ADVICE}`, "");
const isLoss = (error: unknown): boolean => codeOf(error) === "E_DEVICE_LOST";

/** A task's result, or why there is none. */
async function answer<T extends object>(task: () => Promise<T> | T): Promise<Result<T>> {
  try {
    return { ok: true, ...(await task()) };
  } catch (error) {
    return { ok: false, code: codeOf(error), message: messageOf(error) };
  }
}

/** The same for a task on the device; one that is lost on the way is replaced and the task tried once more. */
function attempt<T extends object>(task: () => Promise<T>): Promise<Result<T>> {
  const used = device;
  return answer(async () => {
    try {
      return await exclusive(task);
    } catch (error) {
      if (!isLoss(error) || !used || !(await exclusive(() => recoverFrom(used)))) throw error;
      return exclusive(task);
    }
  });
}

/** The same for a task that answers nothing. */
const perform = (task: () => Promise<void>): Promise<Result<object>> =>
  attempt(async () => {
    await task();
    return {};
  });

// --- the device -------------------------------------------------------------------------------------------------------

async function open(choice: DeviceChoice, tuning: WebGpuOptions = { tuningMilliseconds: TUNING, onTuning }): Promise<DeviceInfo> {
  device?.dispose();
  device = undefined;
  const opening = openDevice({ prefer: choice, ...tuning });
  try {
    device = await withLimit(opening, OPEN_LIMIT);
  } catch (error) {
    // One that comes after all is not wanted any more.
    opening.then(
      (late) => late.dispose(),
      () => {},
    );
    throw error;
  }
  const { kind, family, description } = device;
  deviceInfo = { kind, family: kind === "cpu" ? "cpu" : family, description };
  return deviceInfo;
}

function onTuning({ key, done, of }: TuningProgress): void {
  post({ event: "tuning", done, of, over: key === "" });
}

function withLimit<T>(promise: Promise<T>, milliseconds: number): Promise<T> {
  const late = new Promise<never>((_, reject) =>
    setTimeout(() => reject(new GatewiseError("E_NO_WEBGPU", "the graphics driver did not answer")), milliseconds),
  );
  return Promise.race([promise, late]);
}

const wait = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

function requireDevice(): Device {
  if (!device) throw new GatewiseError("E_DEVICE_LOST", "no device is open");
  return device;
}
function requireRun(): Run {
  if (!run) throw new GatewiseError("E_CONFIG", "there is no run");
  return run;
}

/** Whether training goes on once a device is back. */
let resumes = false;

/** Opens the device again after the loss of `lost` and puts the run back to its last snapshot. At most three tries in a row. */
async function recoverFrom(lost: Device): Promise<boolean> {
  if (phase === "lost") return false;
  // Whoever else met the same loss was faster.
  if (device !== undefined && device !== lost) return true;
  resumes = phase === "training";
  if (performance.now() - recoveredAt > SOUND_AFTER) tries = 0;
  setPhase("recovering", "The graphics device was lost.");
  while (tries < TRIES) {
    const delay = TRY_DELAYS[tries]!;
    tries++;
    await wait(delay);
    try {
      await reopen("webgpu");
      recoveredAt = performance.now();
      const trains = resumes && restingPhase() === "paused";
      const step = run ? Math.min(...run.lanes.map((lane) => lane.trainer.step)) : 0;
      const from = `${trains ? "Training resumed from" : "The run is back at"} the last snapshot, at step ${step}.`;
      post({
        event: "device",
        device: deviceInfo!,
        message: `The graphics device was lost and is back.${run ? ` ${from}` : ""}`,
      });
      if (trains) setPhase("training");
      else rest();
      return true;
    } catch (error) {
      post({ event: "notice", message: `Try ${tries} of ${TRIES} to open the device again: ${messageOf(error)}` });
    }
  }
  const kept = run ? " Your run can go on on the CPU, from its last snapshot." : "";
  setPhase("lost", `The graphics device was lost and did not come back.${kept}`);
  return false;
}

/** What a run is in that does not train. */
function restingPhase(): Phase {
  if (!device) return "lost";
  if (!run) return "idle";
  if (run.lanes.some(isActive)) return "paused";
  return run.lanes.every((lane) => lane.failure !== undefined) ? "failed" : "done";
}

function rest(quiet = false): void {
  const next = restingPhase();
  setPhase(next, next === "failed" ? run?.lanes[0]?.failure : undefined, quiet);
}

/** Opens a device and puts the run on it, as it was last saved. */
async function reopen(choice: DeviceChoice): Promise<void> {
  if (run) for (const lane of run.lanes) disposeLane(lane);
  // What is known already is used; a device that was lost is none to try more on.
  await open(choice, { tuningMilliseconds: 1 });
  if (!run) return;
  const { settings, text, lanes } = run;
  try {
    run.lanes = await makeLanes(
      lanes.map(({ preset }) => preset),
      (preset, i) => {
        const old = lanes[i]!;
        const lane = old.snapshot
          ? laneFromCheckpoint(device!, preset, old.snapshot.bytes, text)
          : newLane(device!, settings, preset, text);
        setLog(lane, old.points, old.evaluations);
        lane.failure = old.failure;
        lane.finished = isDone(lane, settings.totalSteps);
        return lane;
      },
    );
  } catch (error) {
    // A device that does not hold the run is none for it.
    device?.dispose();
    device = undefined;
    throw error;
  }
  run.lanes.forEach((lane, i) => {
    const { points, evaluations } = wholeLog(lane);
    post({ event: "points", lane: i, from: 0, values: points });
    post({ event: "evaluations", lane: i, from: 0, values: evaluations });
  });
}

// --- training ---------------------------------------------------------------------------------------------------------

/** Trains until the run ends or is paused. */
async function trainLoop(): Promise<void> {
  // A loop that has not noticed a pause yet takes up again.
  if (requestSample) return;
  // Compiling and tuning take their time: what is due counts from the first step.
  let [saveAt, sampleAt] = [Infinity, Infinity];
  const before = logged();
  const due = (): number => {
    if (saveAt === Infinity && logged() > before)
      [saveAt, sampleAt] = [performance.now() + FIRST_SAVE, Math.min(sampleAt, performance.now() + FIRST_SAMPLE)];
    return Math.min(saveAt, sampleAt);
  };
  requestSample = () => {
    sampleAt = Math.min(sampleAt, performance.now() + 200);
  };
  while (phase === "training") {
    const used = device!;
    try {
      // Commands that came in the meantime go first: they are in the queue before this stretch.
      const resampled = await exclusive(async () => {
        if (phase !== "training") return false;
        await stretch(due);
        report();
        if (performance.now() >= saveAt) {
          saveAt = performance.now() + (await timed(saveRun, SAVE_INTERVAL, SHARE.save));
        }
        return performance.now() >= sampleAt;
      });
      if (resampled && phase === "training")
        sampleAt = performance.now() + (await timed(() => exclusive(sampleAll), SAMPLE_INTERVAL, SHARE.sample));
      if (phase === "training" && !run?.lanes.some(isActive)) await exclusive(finishRun);
    } catch (error) {
      if (isLoss(error) && (await exclusive(() => recoverFrom(used)))) continue;
      if (!isLoss(error)) setPhase("paused", messageOf(error));
      break;
    }
  }
  requestSample = undefined;
}
let requestSample: (() => void) | undefined;

const logged = (): number => requireRun().lanes.reduce((sum, { points }) => sum + points.length, 0);

/** Does something and returns how long to wait until the next time, so that it takes no more than its share. */
async function timed(task: () => Promise<void>, least: number, share: number): Promise<number> {
  const begun = performance.now();
  await task();
  return Math.max(least, (performance.now() - begun) / share);
}

/** Trains the lanes in turns, the one that is behind first, until something else is due. Leaves no number unreported. */
async function stretch(deadline: () => number): Promise<void> {
  const { lanes, settings } = requireRun();
  const active = lanes.filter(isActive);
  const controller = new AbortController();
  const leave = (lane: Lane): void => {
    active.splice(active.indexOf(lane), 1);
    reportFailure(lane);
  };
  let reportAt = performance.now() + REPORT_INTERVAL;
  try {
    for (const lane of active) start(lane, settings.totalSteps, controller.signal);
    // Their first event comes when they are tuned. Only a halt ends that: other commands wait, or it would begin anew
    // after each.
    halt = () => controller.abort();
    for (const lane of lanes.filter(isActive)) if (!(await pull(lane))) leave(lane);
    halt = undefined;
    let turn = 0;
    while (!controller.signal.aborted && active.length > 0) {
      turn %= active.length;
      const lane = active.reduce((least, other) => (stepOf(other) < stepOf(least) ? other : least), active[turn]!);
      if ((await pull(lane)) && isActive(lane)) turn++;
      else leave(lane);
      if (performance.now() >= reportAt) {
        report();
        reportAt = performance.now() + REPORT_INTERVAL;
      }
      // A loop that never waits for a device (the CPU's) must let commands in.
      await breathe();
      // Between two steps: a run that is ended in its first one tells nothing of it. Only a pause cuts a validation short.
      const due = performance.now() >= deadline() || waiting > 1;
      if (phase !== "training" || (due && !lanes.some(({ trainer }) => trainer.evaluationDue))) controller.abort();
    }
    for (const lane of active) {
      while (await pull(lane));
      reportFailure(lane);
    }
  } finally {
    halt = undefined;
    // A trainer has one run at a time, until its events are over.
    for (const { events } of lanes) await events?.return();
  }
}

const stepOf = (lane: Lane): number => lane.points.at(-STEP_FIELDS) ?? 0;

const breath = new MessageChannel();
function breathe(): Promise<void> {
  return new Promise((resolve) => {
    breath.port1.onmessage = () => resolve();
    breath.port2.postMessage(0);
  });
}

/** One training step of every model. */
async function singleStep(): Promise<void> {
  const { lanes, settings } = requireRun();
  for (const lane of lanes.filter(isActive)) {
    const controller = new AbortController();
    start(lane, settings.totalSteps, controller.signal, true);
    halt = () => controller.abort();
    const before = lane.trainer.step;
    const begun = await pull(lane);
    halt = undefined;
    if (begun) {
      // A validation that was cut short comes before the step, the step's own after it.
      while ((lane.trainer.step === before || lane.trainer.evaluationDue) && (await pull(lane)));
      controller.abort();
      while (await pull(lane));
    }
    await lane.events?.return();
    reportFailure(lane);
  }
  report();
  await saveRun();
  if (!lanes.some(isActive)) await finishRun();
}

async function finishRun(): Promise<void> {
  await saveRun();
  if (restingPhase() === "done") await sampleAll();
  rest();
}

function reportFailure(lane: Lane): void {
  if (lane.failure !== undefined) post({ event: "lane-stopped", lane: requireRun().lanes.indexOf(lane), message: lane.failure });
}

/** Sends the page what it does not have yet. */
function report(): void {
  run?.lanes.forEach((lane, i) => {
    if (lane.points.length > lane.sentPoints) {
      const values = Float32Array.from(lane.points.slice(lane.sentPoints));
      post({ event: "points", lane: i, from: lane.sentPoints / STEP_FIELDS, values }, [values.buffer]);
      lane.sentPoints = lane.points.length;
    }
    if (lane.evaluations.length > lane.sentEvaluations) {
      const values = Float32Array.from(lane.evaluations.slice(lane.sentEvaluations));
      post({ event: "evaluations", lane: i, from: lane.sentEvaluations / EVAL_FIELDS, values }, [values.buffer]);
      lane.sentEvaluations = lane.evaluations.length;
    }
    const { milliseconds, steps } = lane.pace;
    if (steps > 0 && milliseconds > 250) {
      const { batchSize, seqLen } = lane.trainer.options;
      post({ event: "rate", lane: i, charactersPerSecond: (steps * batchSize * seqLen * 1000) / milliseconds });
      // The last seconds count more than those before.
      const kept = Math.min(1, 3000 / milliseconds);
      lane.pace.milliseconds *= kept;
      lane.pace.steps *= kept;
    }
  });
}

/** All that a lane has logged, for a page that has nothing of it. */
function wholeLog(lane: Lane): Log {
  lane.sentPoints = lane.points.length;
  lane.sentEvaluations = lane.evaluations.length;
  return { points: Float32Array.from(lane.points), evaluations: Float32Array.from(lane.evaluations) };
}

// --- what a run leaves ------------------------------------------------------------------------------------------------

const checkpointName = (preset: PresetName): string => `${preset}.safetensors`;
const logName = (preset: PresetName): string => `${preset}.log`;
const evaluationsName = (preset: PresetName): string => `${preset}.evaluations`;

/** Takes a snapshot of every model and writes it to the disk. */
async function saveRun(): Promise<void> {
  const begun = performance.now();
  const current = requireRun();
  for (const lane of current.lanes) {
    // Nothing new: the device need not be asked.
    if (lane.failure !== undefined || lane.trainer.step === (lane.snapshot?.step ?? 0)) continue;
    await takeSnapshot(lane);
    reportFailure(lane);
  }
  await keep(current, begun);
}

/** The log first, which may be longer than the checkpoint. */
async function writeLane(id: string, { preset, snapshot, points, evaluations }: Lane): Promise<void> {
  await Promise.all([
    writeRunFile(id, logName(preset), Float32Array.from(points)),
    writeRunFile(id, evaluationsName(preset), Float32Array.from(evaluations)),
  ]);
  await writeRunFile(id, checkpointName(preset), snapshot!.bytes);
}

/** Writes what there is of a run to the disk. */
async function keep(current: Run, begun = performance.now()): Promise<void> {
  const { id, lanes, text } = current;
  const kept = lanes.filter(({ snapshot }) => snapshot !== undefined);
  try {
    if (!current.textKept) await writeRunFile(id, "text.txt", text.text);
    current.textKept = true;
    // All at once: a page that is left waits for it.
    await Promise.all([describeRun(), ...kept.map((lane) => writeLane(id, lane))]);
    if (kept.length === 0) return;
    const sound = kept.filter(({ failure }) => failure === undefined);
    const steps = (sound.length > 0 ? sound : kept).map(({ snapshot }) => snapshot!.step);
    post({ event: "saved", step: Math.min(...steps), milliseconds: performance.now() - begun });
  } catch (error) {
    // A browser may keep no files (private windows, a full disk): training goes on all the same.
    post({ event: "unsaved", message: messageOf(error) });
  }
}

async function describeRun(): Promise<void> {
  const { id, settings, text, lanes } = requireRun();
  await writeRun({ id, settings, sampling, presets: lanes.map((lane) => lane.preset), title: text.info.title });
}

async function sampleAll(): Promise<void> {
  const { lanes } = requireRun();
  const controller = new AbortController();
  const { signal } = controller;
  halt = () => controller.abort();
  try {
    for (const [i, { model, trainer, failure }] of lanes.entries()) {
      if (failure !== undefined) continue;
      const codec = trainer.settings.tokenizer!;
      const known = [...sampling.prompt].filter((character) => isKnown(codec, character));
      const left = [...sampling.prompt].filter((character) => !isKnown(codec, character));
      const text = await model
        .sample(codec, {
          prompt: known.join(""),
          length: SAMPLE_LENGTH,
          temperature: sampling.temperature,
          topK: sampling.topK,
          seed: trainer.step,
          signal,
        })
        .catch((error: unknown) => {
          if (!signal.aborted || error !== signal.reason) throw error;
        });
      if (text === undefined) return;
      const note = left.length > 0 ? `This book has no “${[...new Set(left)].join("")}”: left out of the prompt.` : undefined;
      post({ event: "sample", lane: i, step: trainer.step, text, ...(note && { note }) });
    }
  } finally {
    halt = undefined;
  }
}

function isKnown(codec: { encode(text: string): Uint32Array }, character: string): boolean {
  try {
    codec.encode(character);
    return true;
  } catch {
    return false;
  }
}

function describe({ id, settings, text, lanes }: Run): RunInfo {
  return {
    id,
    settings,
    text: text.info,
    device: deviceInfo!.description,
    flags: flagsOf(lanes[0]!),
    lanes: lanes.map(({ preset, model, trainer }) => ({ preset, parameters: model.parameterCount, step: trainer.step })),
  };
}

/** Options of the command line for what a checkpoint says and the page has no field for. */
function flagsOf({ preset, model: { config }, trainer: { options } }: Lane): string[] {
  const flags = [];
  if (config.input !== PRESETS[preset].input) flags.push(`--input ${config.input}`);
  if (!config.resetAfter) flags.push("--gru-reset before");
  if (config.nonlinearity !== "tanh") flags.push(`--nonlinearity ${config.nonlinearity}`);
  if (config.forgetBias !== undefined) flags.push(`--forget-bias ${config.forgetBias}`);
  if (config.orthogonal) flags.push("--orthogonal");
  if (config.precision !== "f32") flags.push(`--precision ${config.precision}`);
  if (options.loss !== "all") flags.push(`--loss ${options.loss}`);
  if (options.state !== "carry") flags.push(`--state ${options.state}`);
  if (options.momentum > 0) flags.push(`--momentum ${options.momentum}`);
  return flags;
}

function requireText(): LoadedText {
  if (!loaded) throw new GatewiseError("E_DATA", "no text is loaded");
  return loaded;
}

function dropRun(): void {
  run?.lanes.forEach(disposeLane);
  run?.release();
  run = undefined;
}

/** Makes a run the one that is trained, in place of the one before. */
function putOnStage(next: Omit<Run, "textKept">): { readonly run: RunInfo } {
  dropRun();
  run = { ...next, textKept: next.text.info.data !== "own" };
  loaded = next.text;
  rest(true);
  return { run: describe(run) };
}

/** Makes a run of its own of models that were just made, and keeps it at once: it may be left before the first step. */
async function newRun(settings: Settings, text: LoadedText, lanes: Lane[]): Promise<{ readonly run: RunInfo }> {
  const id = `run-${Date.now().toString(36)}-${Math.floor(Math.random() * 1e6).toString(36)}`;
  const result = putOnStage({ id, settings, text, lanes, release: (await claimRun(id)) ?? (() => {}) });
  await keep(requireRun());
  return result;
}

/** A lane of a file that says which model it should hold. */
function restoredLane(preset: PresetName, bytes: Uint8Array, text: LoadedText): Lane {
  const checkpoint = loadCheckpoint(bytes);
  const found = presetOf(checkpoint.config);
  if (found !== preset) throw new GatewiseError("E_BAD_CHECKPOINT", `${checkpointName(preset)} holds another model: ${found}`);
  return laneFromCheckpoint(requireDevice(), preset, bytes, text, checkpoint);
}

const base = new URL(import.meta.env.BASE_URL === "./" ? "../" : import.meta.env.BASE_URL, self.location.href).href;

const worker: LabWorker = {
  connect: (given) => {
    port = given;
  },
  open: (choice) =>
    attempt(async () => {
      dropRun();
      return { device: await open(choice) };
    }),
  loadText: (source) => {
    // One after the other, so that the last one asked for is the one that stays.
    const next = textQueue.then(async () => (loaded = await loadText(source, base)));
    textQueue = next.catch(() => {});
    return answer(async () => ({ text: (await next).info }));
  },
  estimate: (settings) => answer(() => ({ estimate: estimateRun(settings, requireText().info) })),
  create: (settings, wanted) =>
    attempt(async () => {
      const text = requireText();
      dropRun();
      sampling = wanted;
      const lanes = await makeLanes(presetsOf(settings), (preset) => newLane(requireDevice(), settings, preset, text));
      return newRun(settings, text, lanes);
    }),
  train: async () => {
    if (!run || phase === "training" || phase === "recovering") return;
    setPhase("training");
    void trainLoop();
  },
  pause: async () => {
    if (phase === "recovering") resumes = false;
    if (phase !== "training") return;
    // The page hears of it when it has the last numbers.
    phase = "paused";
    halt?.();
    await perform(async () => {
      report();
      await saveRun();
    });
    if (phase === "paused") rest();
  },
  extend: async (totalSteps) => {
    if (!run || phase === "training") return;
    run.settings = { ...run.settings, totalSteps };
    for (const lane of run.lanes) lane.finished = isDone(lane, totalSteps);
    await exclusive(describeRun).catch(() => {});
    rest(true);
  },
  step: async () => {
    if (!run || phase === "training") return;
    await perform(singleStep);
  },
  reset: async () => {
    // Ends a stretch of training, if one is under way.
    phase = "idle";
    halt?.();
    await exclusive(async () => dropRun());
    rest();
  },
  setSampling: (wanted) => {
    sampling = wanted;
    requestSample?.();
  },
  sample: async () => {
    if (!run) return;
    if (phase === "training" && requestSample) requestSample();
    else await perform(sampleAll);
  },
  recover: async (choice) => {
    await exclusive(async () => {
      try {
        tries = 0;
        await reopen(choice);
        post({ event: "device", device: deviceInfo!, message: `Now on ${deviceInfo!.description}.` });
        rest();
      } catch (error) {
        setPhase("lost", messageOf(error));
      }
    });
  },
  snapshot: (index) =>
    attempt(async () => {
      const { preset, model, trainer } = laneAt(index);
      const stateDict = await model.stateDict();
      const tokenizer = trainer.settings.tokenizer!.toJSON() as { kind: "char"; codePoints: readonly number[] };
      const snapshot = { preset, step: trainer.step, seed: trainer.options.seed, config: model.config, stateDict, tokenizer };
      return { snapshot };
    }).then((result) =>
      result.ok
        ? Comlink.transfer(
            result,
            Object.values(result.snapshot.stateDict).map((values) => values.buffer as ArrayBuffer),
          )
        : result,
    ),
  passage: async (from, length) => (run?.text ?? loaded)?.text.slice(from, from + length) ?? "",
  checkpoint: (index) =>
    attempt(async () => {
      const lane = laneAt(index);
      // Without a device what was kept is all that there is.
      if (device) await takeSnapshot(lane);
      if (!lane.snapshot) throw new GatewiseError("E_DATA", "nothing of this model was kept before it stopped");
      // A copy: what is transferred is gone here.
      return { bytes: lane.snapshot.bytes.slice() };
    }).then((result) => (result.ok ? Comlink.transfer(result, [result.bytes.buffer as ArrayBuffer]) : result)),
  openCheckpoint: (bytes, settings, wanted) =>
    attempt(async () => {
      const text = requireText();
      const checkpoint = loadCheckpoint(bytes);
      const preset = presetOf(checkpoint.config);
      const lane = laneFromCheckpoint(requireDevice(), preset, bytes, text, checkpoint);
      sampling = wanted;
      const own = settingsOf(lane);
      const { step } = lane.trainer;
      // A run that had come to its end goes on for as many steps as the page is set to.
      const totalSteps = step < own.totalSteps ? own.totalSteps : step + settings.totalSteps;
      const result = await newRun({ ...settings, preset, ...own, totalSteps }, text, [lane]);
      const { precision } = checkpoint.config;
      const otherwise = [
        ...(sameText(checkpoint, lane.trainer.tokens) ? [] : [`on another text than ${text.info.title}`]),
        ...(lane.model.config.precision === precision ? [] : [`in ${precision}, which this device does not have`]),
      ].join(", and ");
      const notice = otherwise
        ? `Opened at step ${step}. It was trained ${otherwise}; it goes on, but not as the unbroken run would.`
        : `Opened at step ${step}; it continues as the unbroken run would.`;
      return { ...result, notice };
    }),
  save: async () => {
    if (!run) return;
    halt?.();
    await perform(saveRun);
  },
  restore: (id) =>
    attempt(async () => {
      const release = await claimRun(id);
      if (!release) throw new GatewiseError("E_DATA", "it is open in another tab");
      try {
        const stored = await readRun(id);
        if (!stored) throw new GatewiseError("E_DATA", "nothing was saved of it");
        const { settings, presets, title } = stored;
        const own = settings.data === "own" ? await readRunFile(id, "text.txt") : undefined;
        if (settings.data === "own" && !own?.length) throw new GatewiseError("E_DATA", "the stored run's text is missing");
        const text = await loadText(own ? { bytes: own, name: title } : { book: settings.data }, base);
        const lanes = await makeLanes(presets, async (preset) => {
          const bytes = await readRunFile(id, checkpointName(preset));
          const lane = bytes ? restoredLane(preset, bytes, text) : newLane(requireDevice(), checkForm(settings), preset, text);
          setLog(lane, await readLog(id, logName(preset), STEP_FIELDS), await readLog(id, evaluationsName(preset), EVAL_FIELDS));
          lane.finished = isDone(lane, settings.totalSteps);
          return lane;
        });
        sampling = stored.sampling;
        return { ...putOnStage({ id, settings, text, lanes, release }), sampling, logs: lanes.map(wholeLog) };
      } catch (error) {
        release();
        throw error;
      }
    }),
  storedLogs: async (id) => {
    try {
      const logs = [];
      for (const preset of (await readRun(id))?.presets ?? []) {
        logs.push({
          preset,
          points: Float32Array.from(await readLog(id, logName(preset), STEP_FIELDS)),
          evaluations: Float32Array.from(await readLog(id, evaluationsName(preset), EVAL_FIELDS)),
        });
      }
      return logs;
    } catch {
      return [];
    }
  },
  remove: async (id) => {
    const release = run?.id === id ? undefined : await claimRun(id);
    if (!release) return false;
    // Where files cannot be reached there are none.
    await removeRun(id).catch(() => {});
    release();
    return true;
  },
  check: (quick) => {
    checkAbort = new AbortController();
    const { signal } = checkAbort;
    return attempt(async () => {
      post({ event: "check-begins" });
      const report = await checkGradients(requireDevice(), {
        quick,
        signal,
        onResult: (result) => post({ event: "check", result }),
      });
      return { passed: report.passed, checks: report.results.length, seconds: report.seconds, device: report.device };
    });
  },
  cancelCheck: () => checkAbort?.abort(new GatewiseError("E_CONFIG", "cancelled")),
};

function laneAt(index: number): Lane {
  const lane = requireRun().lanes[index];
  if (!lane) throw new GatewiseError("E_CONFIG", `the run has no model ${index}`);
  return lane;
}

/** A lane's settings as the page's fields. */
function settingsOf({ model: { config }, trainer: { options } }: Lane) {
  const all = { ...config, ...options };
  const numbers = Object.fromEntries(NUMBER_NAMES.map((name) => [name, all[name]])) as Record<NumberName, number>;
  return { ...numbers, optimizer: options.optimizer, schedule: options.schedule };
}

Comlink.expose(worker);

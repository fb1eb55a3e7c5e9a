// The training worker: owns the device, the models and their trainers. The page sends commands and hears what happens;
// while a run trains, whatever else wants the device waits for a moment between two steps.
import * as Comlink from "comlink";
import { GatewiseError } from "../errors.ts";
import { parameterCount, type LanguageModelConfig, type PresetName } from "../models/config.ts";
import { cellOf } from "../models/cells.ts";
import { openDevice, type Device } from "../runtime/device.ts";
import { loadCheckpoint, sameText } from "../training/checkpoint.ts";
import { checkGradients } from "../training/gradient-check.ts";
import { OPTIMIZERS } from "../training/optimizers.ts";
import { disposeLane, isActive, laneConfig, laneFromCheckpoint, newLane, pull, setLog, takeSnapshot, type Lane } from "./lane.ts";
import {
  EVAL_FIELDS,
  STEP_FIELDS,
  type DeviceChoice,
  type DeviceInfo,
  type Estimate,
  type LabEvent,
  type LabWorker,
  type Phase,
  type Result,
  type RunInfo,
} from "./protocol.ts";
import { presetsOf, SAMPLING, type Sampling, type Settings } from "./settings.ts";
import { readLog, readRun, readRunFile, removeRun, writeRun, writeRunFile } from "./storage.ts";
import { loadText, type LoadedText } from "./texts.ts";

/** Milliseconds between two reports to the page. */
const REPORT_INTERVAL = 100;
/** Snapshots and samples may take a part of the time, and come no more often than this, in milliseconds. */
const SAVE_INTERVAL = 8000;
/** The first snapshot comes early: what was not saved yet is lost with the device. */
const FIRST_SAVE = 1500;
const SAMPLE_INTERVAL = 4000;
const FIRST_SAMPLE = 2500;
const SHARE = { save: 1 / 30, sample: 1 / 6 };
const SAMPLE_LENGTH = 240;
/** Devices opened in a row after losses; a device that trained this long without one counts as sound again. */
const TRIES = 3;
const TRY_DELAYS = [50, 2000, 6000];
const SOUND_AFTER = 20_000;

interface Run {
  readonly id: string;
  settings: Settings;
  readonly text: LoadedText;
  lanes: Lane[];
}

let port: MessagePort | undefined;
let device: Device | undefined;
let deviceInfo: DeviceInfo | undefined;
let loaded: LoadedText | undefined;
let run: Run | undefined;
let phase: Phase = "idle";
let sampling: Sampling = SAMPLING;
let tries = 0;
let recoveredAt = 0;
let checkAbort: AbortController | undefined;

const post = (event: LabEvent, transfer: Transferable[] = []): void => port?.postMessage(event, transfer);

function setPhase(next: Phase, message?: string): void {
  phase = next;
  post({ event: "phase", phase, ...(message !== undefined && { message }) });
}

// --- one thing at a time on the device --------------------------------------------------------------------------------

let queue: Promise<unknown> = Promise.resolve();
/** Ends the stretch of training that is under way, if one is. */
let interrupt: (() => void) | undefined;
/** Commands that wait for the device. */
let waiting = 0;

/** Runs a task when nothing else uses the device: between two steps of a run that trains. */
function exclusive<T>(task: () => Promise<T>): Promise<T> {
  waiting++;
  interrupt?.();
  const result = queue.then(task).finally(() => waiting--);
  queue = result.catch(() => {});
  return result;
}

const codeOf = (error: unknown): string => (error instanceof GatewiseError ? error.code : "E_UNKNOWN");
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
const isLoss = (error: unknown): boolean => codeOf(error) === "E_DEVICE_LOST";

/** A task's result, or why there is none; a device that is lost on the way is replaced and the task tried once more. */
async function attempt<T extends object>(task: () => Promise<T>): Promise<Result<T>> {
  const used = device;
  try {
    return { ok: true, ...(await exclusive(task)) };
  } catch (error) {
    if (isLoss(error) && used && (await exclusive(() => recoverFrom(used)))) {
      try {
        return { ok: true, ...(await exclusive(task)) };
      } catch (second) {
        return { ok: false, code: codeOf(second), message: messageOf(second) };
      }
    }
    return { ok: false, code: codeOf(error), message: messageOf(error) };
  }
}

// --- the device -------------------------------------------------------------------------------------------------------

async function open(choice: DeviceChoice): Promise<DeviceInfo> {
  device?.dispose();
  device = undefined;
  device = await withLimit(openDevice({ prefer: choice }), 15_000);
  const { kind, family, description } = device;
  deviceInfo = { kind, family: kind === "cpu" ? "cpu" : family, description };
  return deviceInfo;
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

/** Opens the device again after the loss of `lost` and puts the run back to its last snapshot. At most three tries in a row. */
async function recoverFrom(lost: Device): Promise<boolean> {
  // Whoever else met the same loss was faster.
  if (device !== undefined && device !== lost) return true;
  const resumes = phase === "training";
  if (performance.now() - recoveredAt > SOUND_AFTER) tries = 0;
  setPhase("recovering", "The graphics device was lost.");
  while (tries < TRIES) {
    const delay = TRY_DELAYS[tries]!;
    tries++;
    await wait(delay);
    try {
      await reopen("webgpu");
      recoveredAt = performance.now();
      const step = run ? Math.min(...run.lanes.map((lane) => lane.trainer.step)) : 0;
      const from = run ? ` Training resumed from the last snapshot, at step ${step}.` : "";
      post({ event: "device", device: deviceInfo!, message: `The graphics device was lost and is back.${from}` });
      setPhase(resumes ? "training" : run ? "paused" : "idle");
      return true;
    } catch (error) {
      post({ event: "notice", message: `Try ${tries} of ${TRIES} to open the device again: ${messageOf(error)}` });
    }
  }
  setPhase("lost", "The graphics device was lost and did not come back. Your run is saved; it can go on on the CPU.");
  return false;
}

/** Opens a device and puts the run on it, as it was last saved. */
async function reopen(choice: DeviceChoice): Promise<void> {
  if (run) for (const lane of run.lanes) disposeLane(lane);
  const opened = await open(choice);
  if (!run) return;
  const { settings, text } = run;
  run.lanes = run.lanes.map((old) => {
    const lane = old.snapshot
      ? laneFromCheckpoint(device!, old.preset, old.snapshot, text)
      : newLane(device!, settings, old.preset, text);
    setLog(lane, old.points, old.evaluations);
    return lane;
  });
  reportAll();
  deviceInfo = opened;
}

// --- training ---------------------------------------------------------------------------------------------------------

/** Trains until the run ends or is paused. */
async function trainLoop(): Promise<void> {
  // A loop that has not noticed a pause yet takes up again.
  if (requestSample) return;
  let saveAt = performance.now() + FIRST_SAVE;
  let sampleAt = performance.now() + FIRST_SAMPLE;
  requestSample = () => {
    sampleAt = Math.min(sampleAt, performance.now() + 200);
    interrupt?.();
  };
  while (phase === "training") {
    const used = device!;
    try {
      // Commands that came in the meantime go first: they are in the queue before this stretch.
      const resampled = await exclusive(async () => {
        await stretch(() => Math.min(saveAt, sampleAt));
        report();
        if (performance.now() >= saveAt || !run?.lanes.some(isActive)) {
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
  interrupt = () => controller.abort();
  let reportAt = performance.now() + REPORT_INTERVAL;
  try {
    for (const lane of active) {
      const { trainer } = lane;
      lane.events = trainer.run({ maxSteps: settings.totalSteps, signal: controller.signal });
    }
    let turn = 0;
    while (!controller.signal.aborted && active.length > 0) {
      turn %= active.length;
      const lane = active.reduce((least, other) => (stepOf(other) < stepOf(least) ? other : least), active[turn]!);
      if ((await pull(lane)) && isActive(lane)) turn++;
      else {
        active.splice(active.indexOf(lane), 1);
        reportFailure(lane);
      }
      if (performance.now() >= reportAt) {
        report();
        reportAt = performance.now() + REPORT_INTERVAL;
      }
      // A loop that never waits for a device (the CPU's) must let commands in.
      await breathe();
      if (performance.now() >= deadline() || waiting > 1 || phase !== "training") controller.abort();
    }
    for (const lane of active) {
      while (await pull(lane));
      reportFailure(lane);
    }
  } finally {
    interrupt = undefined;
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
    const { trainer } = lane;
    lane.events = trainer.run({ maxSteps: settings.totalSteps, signal: controller.signal });
    // After "start" the step is on its way as soon as it is asked for; then nothing more may follow.
    await pull(lane);
    const step = pull(lane);
    controller.abort();
    if (await step) while (await pull(lane));
    reportFailure(lane);
  }
  report();
  await saveRun();
  if (!lanes.some(isActive)) await finishRun();
}

async function finishRun(): Promise<void> {
  const { lanes } = requireRun();
  await saveRun();
  if (lanes.every((lane) => lane.failure !== undefined)) return setPhase("failed", lanes[0]!.failure);
  await sampleAll();
  setPhase("done");
}

function reportFailure(lane: Lane): void {
  const { failure, trainer } = lane;
  if (failure !== undefined)
    post({ event: "lane-stopped", lane: requireRun().lanes.indexOf(lane), step: trainer.step, message: failure });
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

/** Sends the page all that there is, in place of what it has. */
function reportAll(): void {
  run?.lanes.forEach((lane, i) => {
    post({ event: "points", lane: i, from: 0, values: Float32Array.from(lane.points) });
    post({ event: "evaluations", lane: i, from: 0, values: Float32Array.from(lane.evaluations) });
    lane.sentPoints = lane.points.length;
    lane.sentEvaluations = lane.evaluations.length;
  });
}

// --- what a run leaves ------------------------------------------------------------------------------------------------

const checkpointName = (preset: PresetName): string => `${preset}.safetensors`;
const logName = (preset: PresetName): string => `${preset}.log`;
const evaluationsName = (preset: PresetName): string => `${preset}.evaluations`;

let storageFailed = false;

/** Takes a snapshot of every model and writes it to the disk: the log first, which may be longer than the checkpoint. */
async function saveRun(): Promise<void> {
  const { id, lanes } = requireRun();
  for (const lane of lanes) {
    try {
      await takeSnapshot(lane);
    } catch (error) {
      if (codeOf(error) !== "E_NAN_LOSS") throw error;
      lane.failure = messageOf(error);
    }
  }
  try {
    for (const { preset, snapshot, points, evaluations } of lanes) {
      if (!snapshot) continue;
      await writeRunFile(id, logName(preset), Float32Array.from(points));
      await writeRunFile(id, evaluationsName(preset), Float32Array.from(evaluations));
      await writeRunFile(id, checkpointName(preset), snapshot);
    }
    await describeRun();
    post({ event: "saved", steps: lanes.map((lane) => lane.trainer.step) });
  } catch (error) {
    // A browser may keep no files (private windows, a full disk): training goes on all the same.
    if (!storageFailed) post({ event: "notice", message: `This browser keeps no files for the lab (${messageOf(error)}).` });
    storageFailed = true;
  }
}

async function describeRun(): Promise<void> {
  const { id, settings, text, lanes } = requireRun();
  await writeRun({ id, settings, sampling, presets: lanes.map((lane) => lane.preset), title: text.info.title });
}

async function sampleAll(): Promise<void> {
  const { lanes } = requireRun();
  for (const [i, { model, trainer, failure }] of lanes.entries()) {
    if (failure !== undefined) continue;
    const codec = trainer.settings.tokenizer!;
    const known = [...sampling.prompt].filter((character) => isKnown(codec, character));
    const left = [...sampling.prompt].filter((character) => !isKnown(codec, character));
    const text = await model.sample(codec, {
      prompt: known.join(""),
      length: SAMPLE_LENGTH,
      temperature: sampling.temperature,
      topK: sampling.topK,
      seed: trainer.step,
    });
    const note = left.length > 0 ? `This book has no “${[...new Set(left)].join("")}”: left out of the prompt.` : undefined;
    post({ event: "sample", lane: i, step: trainer.step, text, ...(note && { note }) });
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

const newId = (): string => `run-${Date.now().toString(36)}-${Math.floor(Math.random() * 1e6).toString(36)}`;

function describe({ id, settings, text, lanes }: Run): RunInfo {
  return {
    id,
    settings,
    text: text.info,
    device: deviceInfo!.description,
    lanes: lanes.map(({ preset, model, trainer }) => ({ preset, parameters: model.parameterCount, step: trainer.step })),
  };
}

function requireText(): LoadedText {
  if (!loaded) throw new GatewiseError("E_DATA", "no text is loaded");
  return loaded;
}

function dropRun(): void {
  if (run) for (const lane of run.lanes) disposeLane(lane);
  run = undefined;
}

/** Bytes and operations of a run, from the shapes of what a training step keeps. */
function estimateRun(settings: Settings, vocabSize: number): Estimate {
  const { batchSize: B, seqLen: T, numLayers: L, totalSteps } = settings;
  const moments = OPTIMIZERS[settings.optimizer].moments.length;
  let [parameters, values, flop, dispatches] = [0, 0, 0, 0];
  for (const preset of presetsOf(settings)) {
    const config = laneConfig(settings, preset, vocabSize);
    const { gates: G, savedGates, cellState, separateProjection } = cellOf(config);
    const { hiddenSize: H, vocabSize: V, embeddingSize: E } = config;
    const count = parameterCount(config);
    parameters += count;
    const forward = L * T * B * H * (1 + Number(cellState) + savedGates) + (L - 1) * T * B * G * H + T * B * V;
    const backward = L * T * B * H * (1 + G * (1 + Number(separateProjection)));
    // Validation has a forward pass of its own; packed weights and tables come with each.
    values += count * (2 + moments) + 2 * forward + backward + 2 * (V + H) * G * H;
    const input = config.input === "embedding" ? 6 * V * E * G * H : 0;
    flop += totalSteps * (input + T * B * (6 * L * G * H * H + 6 * (L - 1) * G * H * H + 6 * H * V));
    dispatches += totalSteps * (2 * T * L + 24);
  }
  return { parameters, bytes: values * 4, flop, dispatches };
}

/** The preset that a configuration is closest to. */
const presetOf = ({ cell, input }: LanguageModelConfig): PresetName =>
  cell !== "rnn" ? cell : input === "one-hot" ? "one-hot-rnn" : "embedding-rnn";

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
  loadText: async (source) => {
    try {
      loaded = await loadText(source, base);
      return { ok: true, text: loaded.info };
    } catch (error) {
      return { ok: false, code: codeOf(error), message: messageOf(error) };
    }
  },
  estimate: async (settings) => {
    try {
      return { ok: true, estimate: estimateRun(settings, requireText().tokenizer.size) };
    } catch (error) {
      return { ok: false, code: codeOf(error), message: messageOf(error) };
    }
  },
  create: (settings, wanted) =>
    attempt(async () => {
      dropRun();
      const text = requireText();
      sampling = wanted;
      const lanes: Lane[] = [];
      try {
        for (const preset of presetsOf(settings)) lanes.push(newLane(requireDevice(), settings, preset, text));
      } catch (error) {
        lanes.forEach(disposeLane);
        throw error;
      }
      run = { id: newId(), settings, text, lanes };
      if (text.info.data === "own") await writeRunFile(run.id, "text.txt", text.text).catch(() => {});
      setPhase("paused");
      return { run: describe(run) };
    }),
  train: async () => {
    if (!run || phase === "training" || phase === "recovering") return;
    setPhase("training");
    void trainLoop();
  },
  pause: async () => {
    if (phase !== "training") return;
    setPhase("paused");
    const { ok } = await attempt(async () => {
      report();
      await saveRun();
      return {};
    });
    if (ok) post({ event: "phase", phase });
  },
  extend: async (totalSteps) => {
    if (!run || phase === "training") return;
    run.settings = { ...run.settings, totalSteps };
    for (const lane of run.lanes) lane.finished = lane.trainer.step >= totalSteps;
    await exclusive(describeRun).catch(() => {});
    setPhase(run.lanes.some(isActive) ? "paused" : "done");
  },
  step: async () => {
    if (!run || phase === "training") return;
    await attempt(async () => {
      await singleStep();
      return {};
    });
  },
  reset: async () => {
    setPhase("idle");
    await exclusive(async () => dropRun());
  },
  setSampling: (wanted) => {
    sampling = wanted;
    requestSample?.();
  },
  sample: async () => {
    if (!run) return;
    if (phase === "training" && requestSample) requestSample();
    else
      await attempt(async () => {
        await sampleAll();
        return {};
      });
  },
  recover: async (choice) => {
    await exclusive(async () => {
      try {
        tries = 0;
        await reopen(choice);
        post({ event: "device", device: deviceInfo!, message: `Now on ${deviceInfo!.description}.` });
        setPhase(run ? "paused" : "idle");
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
      await takeSnapshot(lane);
      // A copy: what is transferred is gone here.
      return { bytes: lane.snapshot!.slice() };
    }).then((result) => (result.ok ? Comlink.transfer(result, [result.bytes.buffer as ArrayBuffer]) : result)),
  openCheckpoint: (bytes, settings, wanted) =>
    attempt(async () => {
      dropRun();
      sampling = wanted;
      const text = requireText();
      const preset = presetOf(loadCheckpoint(bytes).config);
      const lane = laneFromCheckpoint(requireDevice(), preset, bytes, text);
      const same = sameText(loadCheckpoint(bytes), lane.trainer.tokens);
      const own = settingsOf(lane);
      // A run that had come to its end goes on for as many steps as the page is set to.
      const totalSteps = lane.trainer.step < own.totalSteps ? own.totalSteps : lane.trainer.step + settings.totalSteps;
      run = { id: newId(), settings: { ...settings, preset, ...own, totalSteps }, text, lanes: [lane] };
      if (text.info.data === "own") await writeRunFile(run.id, "text.txt", text.text).catch(() => {});
      setPhase("paused");
      const notice = same
        ? `Opened at step ${lane.trainer.step}; it continues as the unbroken run would.`
        : `Opened at step ${lane.trainer.step}. It was trained on another text than ${text.info.title}; it goes on, but not as the unbroken run would.`;
      return { run: describe(run), notice };
    }),
  save: async () => {
    if (run)
      await attempt(async () => {
        await saveRun();
        return {};
      });
  },
  restore: (id) =>
    attempt(async () => {
      dropRun();
      const stored = await readRun(id);
      if (!stored) throw new GatewiseError("E_DATA", "the stored run is missing or damaged");
      const own = stored.settings.data === "own" ? await readRunFile(id, "text.txt") : undefined;
      if (stored.settings.data === "own" && !own) throw new GatewiseError("E_DATA", "the stored run's text is missing");
      loaded = await loadText(own ? { bytes: own, name: stored.title } : { book: stored.settings.data }, base);
      sampling = stored.sampling;
      const lanes: Lane[] = [];
      for (const preset of stored.presets) {
        const bytes = await readRunFile(id, checkpointName(preset));
        const lane = bytes
          ? laneFromCheckpoint(requireDevice(), preset, bytes, loaded)
          : newLane(requireDevice(), stored.settings, preset, loaded);
        setLog(lane, await readLog(id, logName(preset), STEP_FIELDS), await readLog(id, evaluationsName(preset), EVAL_FIELDS));
        lane.finished = lane.trainer.step >= stored.settings.totalSteps;
        lanes.push(lane);
      }
      run = { id, settings: stored.settings, text: loaded, lanes };
      setPhase(lanes.some(isActive) ? "paused" : "done");
      reportAll();
      return { run: describe(run), sampling };
    }),
  storedLogs: async (id) => {
    const stored = await readRun(id);
    const logs = [];
    for (const preset of stored?.presets ?? []) {
      logs.push({
        points: Float32Array.from(await readLog(id, logName(preset), STEP_FIELDS)),
        evaluations: Float32Array.from(await readLog(id, evaluationsName(preset), EVAL_FIELDS)),
      });
    }
    return logs;
  },
  remove: async (id) => {
    if (run?.id !== id) await removeRun(id);
  },
  check: (quick) => {
    checkAbort = new AbortController();
    const { signal } = checkAbort;
    return attempt(async () => {
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

/** A lane's settings as the page's fields, where it has them. */
function settingsOf({ model, trainer }: Lane) {
  const { hiddenSize, embeddingSize, numLayers, dropout } = model.config;
  const { batchSize, seqLen, totalSteps, learningRate, warmupSteps, clip, weightDecay, valFraction, evalInterval, seed } =
    trainer.options;
  const { optimizer, schedule } = trainer.options;
  const numbers = {
    batchSize,
    seqLen,
    totalSteps,
    learningRate,
    warmupSteps,
    clip,
    weightDecay,
    valFraction,
    evalInterval,
    seed,
  };
  return { hiddenSize, embeddingSize, numLayers, dropout, optimizer, schedule, ...numbers };
}

Comlink.expose(worker);

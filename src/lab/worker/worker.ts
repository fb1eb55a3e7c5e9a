// The training worker: keeps the device and the run, and does with them what the page asks for.
import * as Comlink from "comlink";
import { GatewiseError } from "../../errors.ts";
import type { DeviceChoice } from "../../runtime/device.ts";
import { checkGradients, type CheckResult } from "../../training/gradient-check.ts";
import { timeLayers } from "../experiments/clocks.ts";
import { answer, messageOf } from "./answer.ts";
import { DeviceKeeper } from "./device-keeper.ts";
import { estimateRun } from "./estimate.ts";
import { keptRun, newRun, runOfCheckpoint } from "./openings.ts";
import type { Post, Result, RunInfo, TextSource } from "../protocol.ts";
import { rehearse } from "./rehearsal.ts";
import { Run, type Parts } from "./run.ts";
import type { Sampling, Settings } from "../settings.ts";
import { claimRun, readLog, readRun, removeRun } from "./storage.ts";
import { Bookmark } from "./texts.ts";

let port: MessagePort | undefined;
let run: Run | undefined;
let checking: AbortController | undefined;
let rehearsing: AbortController | undefined;

const post: Post = (event, transfer = []) => port?.postMessage(event, transfer);
const base = new URL(import.meta.env.BASE_URL === "./" ? "../" : import.meta.env.BASE_URL, self.location.href).href;
const bookmark = new Bookmark(base);
const keeper = new DeviceKeeper(post, {
  onLost: () => announce("The graphics device was lost."),
  onFound: async (device) => run?.moveTo(device),
  onEnd(found) {
    if (run) run.training &&= found && run.active;
    if (found) {
      const from = run?.training ? "Training resumed from" : "The run is back at";
      const back = run ? ` ${from} the last snapshot, at step ${run.step}.` : "";
      post({ event: "device", device: keeper.info!, message: `The graphics device was lost and is back.${back}` });
      announce();
    } else {
      const kept = run ? " Your run can go on on the CPU, from its last snapshot." : "";
      announce(`The graphics device was lost and did not come back.${kept}`);
    }
  },
});

/** Tells the page how things stand. `quiet`: the answer to a command says more. */
function announce(message?: string, quiet = false): void {
  const phase = keeper.recovering ? "recovering" : !keeper.device ? "lost" : (run?.phase ?? "idle");
  const why = message ?? (phase === "failed" ? run?.failure : undefined);
  post({ event: "phase", phase, quiet, ...(why !== undefined && { message: why }) });
}

/** The result of a task that uses the device, or why there is none. Nothing waits for a rehearsal. */
function attempt<T extends object>(task: () => Promise<T>): Promise<Result<T>> {
  rehearsing?.abort(new GatewiseError("E_CONFIG", "something else is to be done"));
  return answer(() => keeper.use(task));
}
/** Waits for what tells the page itself how it went. */
const settled = async (task: Promise<void> | undefined): Promise<void> => void (await Promise.allSettled([task]));

const transferred = <T extends object>(result: Result<T>, arrays: (value: T) => readonly ArrayBufferView[]): Result<T> =>
  result.ok
    ? Comlink.transfer(
        result,
        arrays(result).map(({ buffer }) => buffer as ArrayBuffer),
      )
    : result;

function requireRun(): Run {
  if (!run) throw new GatewiseError("E_CONFIG", "there is no run");
  return run;
}

function dropRun(): void {
  run?.drop();
  run = undefined;
}

/** Makes a run the one that is trained, in place of the one before. */
function putOnStage(parts: Parts): RunInfo {
  dropRun();
  run = new Run({ keeper, post, announce }, parts);
  bookmark.loaded = parts.text;
  announce(undefined, true);
  return run.describe();
}

/** The same for a new one, which is kept at once: it may be left before the first step. */
async function putNewOnStage(parts: Parts): Promise<RunInfo> {
  const info = putOnStage(parts);
  await requireRun().keeping.keep();
  return info;
}

const worker = {
  open: (choice: DeviceChoice) =>
    attempt(async () => {
      dropRun();
      return { device: await keeper.open(choice) };
    }),
  loadText: (source: TextSource) => answer(async () => ({ text: (await bookmark.load(source)).info })),
  estimate: (settings: Settings) => answer(() => ({ estimate: estimateRun(settings, bookmark.text.info) })),
  /** Takes a few steps of what would be trained, unless something else is to be done. */
  rehearse(settings: Settings) {
    const { signal } = (rehearsing = new AbortController());
    return answer(() => keeper.use(async () => ({ seconds: await rehearse(keeper.present, settings, bookmark.text, signal) })));
  },
  /** Makes the models and trainers of a new run, at step 0. */
  create: (settings: Settings, sampling: Sampling) =>
    attempt(async () => {
      const { text } = bookmark;
      dropRun();
      return { run: await putNewOnStage(await newRun(keeper.present, settings, sampling, text)) };
    }),
  async train(): Promise<void> {
    if (run && !run.training && !keeper.recovering && run.needsText === undefined) void run.train();
  },
  async pause(): Promise<void> {
    if (!run?.training) return;
    if (keeper.recovering) return run.halt();
    await settled(run.pause());
    announce();
  },
  /** Moves the end of the run. */
  async extend(totalSteps: number): Promise<void> {
    if (!run || run.training) return;
    await settled(run.extend(totalSteps));
    announce(undefined, true);
  },
  async step(): Promise<void> {
    if (run && !run.training && run.needsText === undefined) await settled(keeper.use(() => requireRun().singleStep()));
  },
  /** Lets go of the run; what it saved stays. */
  async reset(): Promise<void> {
    run?.halt();
    await keeper.alone(async () => dropRun());
    announce();
  },
  setSampling: (wanted: Sampling): void => run?.setSampling(wanted),
  /** Samples at once, also while paused. */
  sample: (): Promise<void> => settled(run?.sampleNow()),
  /** Opens the device again, or the CPU, and continues from the last snapshot. */
  async recover(choice: DeviceChoice): Promise<void> {
    await keeper.alone(async () => {
      try {
        if (run) run.training = false;
        const device = await keeper.reopen(choice);
        post({ event: "device", device, message: `Now on ${device.description}.` });
        announce();
      } catch (error) {
        announce(messageOf(error));
      }
    });
  },
  async snapshot(index: number) {
    const result = await attempt(async () => ({ snapshot: await requireRun().lane(index).look() }));
    return transferred(result, ({ snapshot }) => Object.values(snapshot.stateDict));
  },
  baselines: () => answer(() => ({ baselines: requireRun().baselines() })),
  /** Part of the run's text. */
  passage: async (from: number, length: number): Promise<string> => bookmark.loaded?.text.slice(from, from + length) ?? "",
  async checkpoint(index: number) {
    const result = await attempt(async () => {
      const lane = requireRun().lane(index);
      // Without a device what was kept is all that there is.
      if (keeper.device) await lane.takeSnapshot();
      if (!lane.snapshot) throw new GatewiseError("E_DATA", "nothing of this model was kept before it stopped");
      // A copy: what is transferred is gone here.
      return { bytes: lane.snapshot.bytes.slice() };
    });
    return transferred(result, ({ bytes }) => [bytes]);
  },
  /** Makes a run of a checkpoint, on the text that is loaded. */
  openCheckpoint: (bytes: Uint8Array, settings: Settings, sampling: Sampling) =>
    attempt(async () => {
      const { parts, notice } = await runOfCheckpoint(keeper.present, bytes, settings, sampling, bookmark.text);
      return { run: await putNewOnStage(parts), notice };
    }),
  /** Keeps the run as it stands, at once. */
  async save(): Promise<void> {
    run?.interrupt();
    await settled(run && keeper.use(() => requireRun().save()));
  },
  /** Looks whether what was kept of the run is still there, and writes it again if not. */
  checkKept: (): Promise<void> => settled(run?.keeping.check()),
  restore: (id: string) =>
    attempt(async () => {
      const parts = await keptRun(keeper.present, id, base);
      return { run: putOnStage(parts), sampling: parts.sampling, logs: parts.lanes.map((lane) => lane.wholeLog()) };
    }),
  /** The logs of a stored run's models; none if nothing is kept. */
  async storedLogs(id: string) {
    try {
      return await Promise.all(((await readRun(id))?.presets ?? []).map((preset) => readLog(id, preset)));
    } catch {
      return [];
    }
  },
  /** Deletes a stored run; returns false if a page has it open. */
  async remove(id: string): Promise<boolean> {
    const release = run?.id === id ? undefined : await claimRun(id);
    if (!release) return false;
    // Where files cannot be reached there are none.
    await removeRun(id).catch(() => {});
    release();
    return true;
  },
  /** Milliseconds that a layer whose steps are a chain and one that is a scan take over T steps. */
  timeLayers: (T: number) => attempt(async () => ({ milliseconds: await timeLayers(keeper.present, T) })),
  check(quick: boolean) {
    const { signal } = (checking = new AbortController());
    return attempt(async () => {
      post({ event: "check-begins" });
      const onResult = (result: CheckResult) => post({ event: "check", result });
      const { passed, results, seconds, device } = await checkGradients(keeper.present, { quick, signal, onResult });
      return { passed, checks: results.length, seconds, device };
    });
  },
  cancelCheck: (): void => checking?.abort(new GatewiseError("E_CONFIG", "cancelled")),
};

export type LabWorker = typeof worker;
addEventListener("message", ({ ports: [commands, events] }) => {
  port = events;
  Comlink.expose(worker, commands!);
});

// What tells cells apart: small models of every preset, trained on tasks that only memory solves.
import { memoryConfig, trainMemory, type MemoryEvent } from "../bench/memory.ts";
import { checkLag, TASK_NAMES, TASKS, type TaskName } from "../data/tasks.ts";
import { GatewiseError } from "../errors.ts";
import { LanguageModel } from "../models/language-model.ts";
import type { PresetName } from "../models/presets.ts";
import type { Device } from "../runtime/device.ts";
import { withDevice, type DeviceFlags } from "./device.ts";
import { count, duration, live, percent, plainTable, print, printJson, say } from "./progress.ts";
import { listenForStop } from "./stop.ts";

export interface MemoryFlags extends DeviceFlags {
  readonly task: TaskName | "all";
  readonly presets: readonly PresetName[];
  readonly lag?: number;
  readonly steps?: number;
  readonly seed: number;
  readonly json?: boolean;
}

/** `gatewise memory`. Returns the exit code. */
export async function memory(flags: MemoryFlags): Promise<number> {
  const { lag, steps, seed } = flags;
  const tasks = flags.task === "all" ? TASK_NAMES : [flags.task];
  for (const task of tasks) checkLag(task, lag ?? TASKS[task].lag);
  return withDevice(flags, async (device) => {
    const stop = listenForStop(() => say("stopping"));
    const begun = performance.now();
    if (!flags.json) say(`device: ${device.description}`);
    const rows: MemoryEvent[] = [];
    let failure: unknown;
    try {
      for (const task of tasks) {
        if (!flags.json) say(`${task} at lag ${lag ?? TASKS[task].lag}: ${percent(TASKS[task].chance)} right by chance`);
        for (const preset of flags.presets) await tryPreset(device, task, preset);
      }
    } catch (error) {
      failure = error;
    }
    // What the others reached is worth a table.
    if (!flags.json && rows.length > 0) {
      print(plainTable([HEADINGS, ...rows.map(cells)]));
      say(`${duration((performance.now() - begun) / 1000)} on ${device.description}, ${new Date().toISOString().slice(0, 10)}`);
    }
    if (failure !== undefined && stop.exitCode === undefined) throw failure;
    return stop.exitCode ?? 0;

    async function tryPreset(device: Device, task: TaskName, preset: PresetName): Promise<void> {
      const name = `${task} · ${preset}`;
      live(`${name}: preparing…`);
      let model: LanguageModel | undefined;
      try {
        model = LanguageModel.create(device, { ...memoryConfig(preset, task), seed });
        for await (const event of trainMemory(model, { task, lag, steps, seed, signal: stop.signal })) {
          if (event.event === "progress") {
            live(`${name}: step ${event.step}/${event.steps} · ${percent(event.accuracy)} right`);
            continue;
          }
          rows.push(event);
          if (flags.json) printJson(event);
          else say(`${name}: ${percent(event.accuracy)} right after ${event.steps} steps${event.solved ? ", solved" : ""}`);
        }
      } catch (error) {
        throw error instanceof GatewiseError
          ? new GatewiseError(error.code, `${task}, ${preset}: ${error.message}`, { cause: error })
          : error;
      } finally {
        model?.dispose();
      }
    }
  });
}

const HEADINGS = ["task · preset", "lag", "parameters", "steps", "right", "solved"];
const cells = ({ task, lag, preset, parameters, steps, accuracy, solved }: MemoryEvent): string[] => [
  `${task} · ${preset}`,
  count(lag),
  count(parameters),
  count(steps),
  percent(accuracy),
  solved ? "yes" : "no",
];

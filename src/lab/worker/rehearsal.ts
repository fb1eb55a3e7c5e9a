// The first steps of what would be trained, taken while nothing else is to be done: its kernels are compiled and tuned
// then, and how long a step takes on this device is known.
import type { Device } from "../../runtime/device.ts";
import { presetsOf } from "../kinds.ts";
import type { Settings } from "../settings.ts";
import { Lane, makeLanes } from "./lane.ts";
import type { LoadedText } from "./texts.ts";

/** Steps of each model, and milliseconds after which no more are taken. The later half is timed: engines warm up. */
const STEPS = 60;
const ENOUGH = 800;

/** Seconds of a step of all models. @throws the signal's reason when it is aborted */
export async function rehearse(device: Device, settings: Settings, text: LoadedText, signal: AbortSignal): Promise<number> {
  const lanes = await makeLanes(presetsOf(settings), (preset) => Lane.create(device, settings, preset, text));
  try {
    let seconds = 0;
    for (const lane of lanes) {
      lane.start(STEPS, signal);
      // The first comes when all is compiled and tuned.
      await lane.pull();
      const begun = performance.now();
      const reached = [[lane.loggedStep, begun] as const];
      while (performance.now() - begun < ENOUGH && (await lane.pull())) reached.push([lane.loggedStep, performance.now()]);
      await lane.end();
      signal.throwIfAborted();
      const [[from, since], [to, until]] = [reached[reached.length >> 1]!, reached.at(-1)!];
      seconds += (until - since) / 1000 / Math.max(1, to - from);
    }
    return seconds;
  } finally {
    for (const lane of lanes) lane.dispose();
  }
}

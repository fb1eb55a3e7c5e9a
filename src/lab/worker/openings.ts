// The ways in which a run begins: from settings, from a checkpoint, or from what was kept of it.
import { GatewiseError } from "../../errors.ts";
import type { Device } from "../../runtime/device.ts";
import { loadCheckpoint, sameText } from "../../training/checkpoint.ts";
import { presetOf, presetsOf } from "../kinds.ts";
import { Lane, makeLanes } from "./lane.ts";
import type { Parts } from "./run.ts";
import { checkForm, type Sampling, type Settings } from "../settings.ts";
import { claimRun, readCheckpoint, readLog, readRun, readRunFile } from "./storage.ts";
import { loadText, type LoadedText } from "./texts.ts";

/** A run of its own, that nothing was kept of yet. */
async function unkept(parts: Omit<Parts, "id" | "release">): Promise<Parts> {
  const id = `run-${Date.now().toString(36)}-${Math.floor(Math.random() * 1e6).toString(36)}`;
  return { id, ...parts, release: (await claimRun(id)) ?? (() => {}) };
}

/** New models. */
export async function newRun(device: Device, settings: Settings, sampling: Sampling, text: LoadedText): Promise<Parts> {
  const lanes = await makeLanes(presetsOf(settings), (preset) => Lane.create(device, settings, preset, text));
  return unkept({ settings, sampling, text, lanes });
}

/** The model of a checkpoint, on a text that may be another one than it was trained on. */
export async function runOfCheckpoint(
  device: Device,
  bytes: Uint8Array,
  settings: Settings,
  sampling: Sampling,
  text: LoadedText,
): Promise<{ readonly parts: Parts; readonly notice: string }> {
  const checkpoint = loadCheckpoint(bytes);
  const preset = presetOf(checkpoint.config);
  const lane = Lane.restore(device, preset, bytes, text, checkpoint);
  const { step, settings: own } = lane;
  // A run that had come to its end goes on for as many steps as the page is set to.
  const totalSteps = step < own.totalSteps ? own.totalSteps : step + settings.totalSteps;
  const { precision } = checkpoint.config;
  if (lane.needsText !== undefined)
    return {
      parts: await unkept({ settings: { ...settings, preset, ...own, totalSteps }, sampling, text, lanes: [lane] }),
      notice: `Opened at step ${step}, to write and to be looked into. ${lane.needsText}.`,
    };
  const otherwise = [
    ...(sameText(checkpoint, lane.trainer.tokens) ? [] : [`on another text than ${text.info.title}`]),
    ...(lane.model.config.precision === precision ? [] : [`in ${precision}, which this device does not have`]),
  ].join(", and ");
  return {
    parts: await unkept({ settings: { ...settings, preset, ...own, totalSteps }, sampling, text, lanes: [lane] }),
    notice: otherwise
      ? `Opened at step ${step}. It was trained ${otherwise}; it goes on, but not as the unbroken run would.`
      : `Opened at step ${step}; it continues as the unbroken run would.`,
  };
}

/** A run as it was last kept, which no other page may have open. */
export async function keptRun(device: Device, id: string, base: string): Promise<Parts> {
  const release = await claimRun(id);
  if (!release) throw new GatewiseError("E_DATA", "it is open in another tab");
  try {
    const stored = await readRun(id);
    if (!stored) throw new GatewiseError("E_DATA", "nothing was saved of it");
    const { settings, sampling, presets, title } = stored;
    const own = settings.data === "own" ? await readRunFile(id, "text.txt") : undefined;
    if (settings.data === "own" && !own?.length) throw new GatewiseError("E_DATA", "the stored run's text is missing");
    const text = await loadText(own ? { bytes: own, name: title } : { book: settings.data }, base);
    const lanes = await makeLanes(presets, async (preset) => {
      const bytes = await readCheckpoint(id, preset);
      const lane = bytes ? keptLane(device, preset, bytes, text) : Lane.create(device, checkForm(settings), preset, text);
      lane.goOn(await readLog(id, preset), settings.totalSteps);
      return lane;
    });
    return { id, settings, sampling, text, lanes, release };
  } catch (error) {
    release();
    throw error;
  }
}

/** A lane of a file that says which model it should hold. */
function keptLane(device: Device, preset: Lane["preset"], bytes: Uint8Array, text: LoadedText): Lane {
  const checkpoint = loadCheckpoint(bytes);
  const found = presetOf(checkpoint.config);
  if (found !== preset) throw new GatewiseError("E_BAD_CHECKPOINT", `${preset}.safetensors holds another model: ${found}`);
  return Lane.restore(device, preset, bytes, text, checkpoint);
}

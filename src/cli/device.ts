import { setFlagsFromString } from "node:v8";
import { given } from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import type { Device, DeviceChoice } from "../runtime/device.ts";
import { whyNotHere } from "../runtime/open.ts";
import { openNodeDevice } from "../runtime/node.ts";
import type { Build } from "../runtime/wasm-module.ts";
import type { TuningProgress } from "../runtime/tuner.ts";
import { duration, live, say, warn } from "./progress.ts";
import { isStopping } from "./stop.ts";

/** The flags that decide where and how to compute. */
export interface DeviceFlags {
  readonly device: DeviceChoice;
  /** Of WebAssembly. */
  readonly threads?: number;
  readonly simd?: Build;
  /** False with --no-tune. */
  readonly tune?: boolean;
  readonly retune?: boolean;
  /** Milliseconds that tuning may take; what a person bears by default, and more with --retune. */
  readonly tuningMilliseconds?: number;
}

/** Milliseconds that tuning may take where somebody asked for it. */
export const PATIENT_TUNING = 120_000;
/** Milliseconds that an interrupted tuning has to note what it was trying. */
const LAST_WORDS = 300;

/** Says that kernels are being tuned, and afterwards how long it took. */
function showTuning(): (progress: TuningProgress) => void {
  let begun: number | undefined;
  const warned = new Set<string>();
  return ({ key, done, of, left, passedOver }) => {
    for (const each of passedOver) {
      if (!warned.has(each)) warn(`${each}; --retune tries all anew, --no-tune none`);
      warned.add(each);
    }
    if (begun === undefined)
      say(`tuning kernels for this adapter, once: at most ${duration(left / 1000)} (--no-tune does without)`);
    begun ??= performance.now();
    if (key !== "") return live(`tuning kernels for this adapter: ${done + 1}/${of} · ${key}`);
    if (isStopping()) return;
    const taken = duration((performance.now() - begun) / 1000);
    const rest = done < of ? "; the others take their default form, and their turn at another start or with --retune" : "";
    say(`tuned ${done < of ? `${done} of ` : ""}${of} ${of === 1 ? "kernel" : "kernels"} in ${taken}${rest}`);
    begun = undefined;
  };
}

/** Flags of its engine that a build wants; taken as long as nothing was compiled that needs them. --simd plain leaves them. */
function takeFlags(simd: Build | undefined): void {
  const version = Number.parseInt(process.versions.node);
  if (version === 20) setFlagsFromString("--experimental-wasm-relaxed-simd");
  if (version >= 24 && simd === "wide") setFlagsFromString("--experimental-wasm-revectorize");
}

/**
 * Opens the device of --device: "auto" takes the next best one, and says why, where there is no WebGPU.
 *
 * @throws GatewiseError E_NO_WEBGPU for "webgpu" where no device comes, whatever the reason
 */
async function openChosenDevice({ device: prefer, tune = true, retune, ...flags }: DeviceFlags): Promise<Device> {
  if (flags.simd !== "plain") takeFlags(flags.simd);
  const tuningMilliseconds = retune ? PATIENT_TUNING : flags.tuningMilliseconds;
  let device: Device;
  try {
    device = await openNodeDevice({
      prefer,
      ...given({ threads: flags.threads, simd: flags.simd, tuningMilliseconds }),
      tuning: !tune ? "off" : retune ? "again" : "on",
      onTuning: showTuning(),
    });
  } catch (error) {
    throw new GatewiseError("E_NO_WEBGPU", `${whyNotHere(error)}, or take --device wasm`, { cause: error });
  }
  const { kind, description, fallbackReason } = device;
  if (fallbackReason !== undefined) {
    const instead =
      kind === "cpu"
        ? "no WebGPU adapter, so this runs on the CPU, many times slower"
        : `no hardware adapter, so this runs on ${description}`;
    warn(`${instead}; "gatewise doctor" says what is missing (${fallbackReason})`);
  }
  return device;
}

/** Calls `use` with the device that the flags ask for and lets go of it afterwards. */
export async function withDevice<T>(flags: DeviceFlags, use: (device: Device) => Promise<T>): Promise<T> {
  const device = await openChosenDevice(flags);
  try {
    return await use(device);
  } finally {
    if (isStopping()) {
      await Promise.race([device.tuner?.idle(), new Promise((resolve) => setTimeout(resolve, LAST_WORDS))]);
      // Destroying waits for all work that was submitted, for seconds where shaders compile; the process ends now anyway.
    } else device.dispose();
  }
}

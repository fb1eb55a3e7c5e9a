// The lab's one device: whatever computes on it takes its turn, and one that is lost is replaced.
import { GatewiseError } from "../../errors.ts";
import { openDevice, type WebGpuOptions } from "../../runtime/open.ts";
import threadUrl from "../../runtime/thread.ts?worker&url";
import { Turns } from "../../turns.ts";
import { scriptUrl } from "../trusted.ts";
import { messageOf } from "./answer.ts";
import type { DeviceInfo, Post } from "../protocol.ts";
import type { Device, DeviceChoice } from "../../runtime/device.ts";

/** A device that came may still have to be asked what it is like; the library itself waits 15 s for it to come. */
const OPEN_LIMIT = 20_000;
/** Milliseconds that tuning may take of a visit: whoever presses Train waits for the first loss. The rest is for the next. */
const TUNING = 1000;
/** Milliseconds between two reports of what is compiled. */
const TELL_EVERY = 250;
/** Of a file, as the page's policy wants all workers to be. */
const startThread = (): Worker => new Worker(scriptUrl(threadUrl), { type: "module", name: "thread" });
/** Devices opened in a row after losses; a device that trained this long without one counts as sound again. */
const TRY_DELAYS = [50, 2000, 6000];
const SOUND_AFTER = 20_000;

/** What becomes of what stands on the device. */
export interface Losses {
  /** The device is gone; another one is looked for. */
  onLost(): void;
  /** Another one is there, to be used in its place. It is given up again if that fails. */
  onFound(device: Device): Promise<void>;
  /** The search is over. */
  onEnd(found: boolean): void;
}

export const isLoss = (error: unknown): boolean => error instanceof GatewiseError && error.code === "E_DEVICE_LOST";

export class DeviceKeeper {
  device: Device | undefined;
  /** The device, or the last one that there was, for people. */
  info: DeviceInfo | undefined;
  /** Tasks that wait for the device or are under way on it. */
  waiting = 0;
  /** Whether another device is looked for. */
  recovering = false;
  private readonly turns = new Turns();
  private tries = 0;
  private recoveredAt = 0;

  constructor(
    private readonly post: Post,
    private readonly losses: Losses,
  ) {}

  /** @throws GatewiseError E_DEVICE_LOST where there is none */
  get present(): Device {
    if (!this.device) throw new GatewiseError("E_DEVICE_LOST", "no device is open");
    return this.device;
  }

  /** Does a task when nothing else uses the device: between two steps of a run that trains. */
  alone<T>(task: () => Promise<T>): Promise<T> {
    this.waiting++;
    return this.turns.take(task).finally(() => this.waiting--);
  }

  /** The same; a device that is lost on the way is replaced and the task tried once more. */
  async use<T>(task: () => Promise<T>): Promise<T> {
    const used = this.device;
    try {
      return await this.alone(task);
    } catch (error) {
      if (!isLoss(error) || !used || !(await this.alone(() => this.recoverFrom(used)))) throw error;
      return this.alone(task);
    }
  }

  /** Opens a device in place of the one there is. */
  async open(
    choice: DeviceChoice,
    tuning: WebGpuOptions = { tuningMilliseconds: TUNING, onTuning: this.onTuning },
  ): Promise<DeviceInfo> {
    this.close();
    const opening = openDevice({ prefer: choice, worker: startThread, ...tuning });
    try {
      this.device = await withLimit(opening, OPEN_LIMIT);
    } catch (error) {
      // One that comes after all is not wanted any more.
      opening.then(
        (late) => late.dispose(),
        () => {},
      );
      throw error;
    }
    if (this.device.gpuDevice) this.countCompilations(this.device.gpuDevice as GPUDevice);
    const { kind, family, description, fallbackReason } = this.device;
    return (this.info = { family: kind === "cpu" ? "cpu" : family, description, fallbackReason });
  }

  /** Has the page told how many of the kernels that were asked for are compiled, now and then. */
  private countCompilations(gpu: GPUDevice): void {
    const compile = gpu.createComputePipelineAsync.bind(gpu);
    let [done, of, toldAt] = [0, 0, 0];
    gpu.createComputePipelineAsync = async (descriptor) => {
      of++;
      try {
        return await compile(descriptor);
      } finally {
        done++;
        if (performance.now() - toldAt > TELL_EVERY) {
          toldAt = performance.now();
          this.post({ event: "compiling", done, of });
        }
      }
    };
  }

  /** Opens a device on the visitor's word and puts on it what stood on the one before. */
  async reopen(choice: DeviceChoice): Promise<DeviceInfo> {
    this.tries = 0;
    return this.replace(choice);
  }

  private async replace(choice: DeviceChoice): Promise<DeviceInfo> {
    // What is known already is used; a device that was lost is none to try more on.
    const info = await this.open(choice, { tuningMilliseconds: 1 });
    try {
      await this.losses.onFound(this.present);
    } catch (error) {
      this.close();
      throw error;
    }
    return info;
  }

  private close(): void {
    this.device?.dispose();
    this.device = undefined;
  }

  /** Opens a device in place of one that was lost. At most three tries in a row. */
  private async recoverFrom(lost: Device): Promise<boolean> {
    // Whoever else met the same loss was faster.
    if (this.device !== lost) return this.device !== undefined;
    if (performance.now() - this.recoveredAt > SOUND_AFTER) this.tries = 0;
    this.recovering = true;
    this.losses.onLost();
    let found = false;
    while (!found && this.tries < TRY_DELAYS.length) {
      await new Promise((resolve) => setTimeout(resolve, TRY_DELAYS[this.tries++]));
      try {
        await this.replace("webgpu");
        this.recoveredAt = performance.now();
        found = true;
      } catch (error) {
        const message = `Try ${this.tries} of ${TRY_DELAYS.length} to open the device again: ${messageOf(error)}`;
        this.post({ event: "notice", message });
      }
    }
    this.recovering = false;
    this.losses.onEnd(found);
    return found;
  }

  private readonly onTuning: WebGpuOptions["onTuning"] = ({ key, done, of }) =>
    this.post({ event: "tuning", done, of, over: key === "" });
}

function withLimit<T>(promise: Promise<T>, milliseconds: number): Promise<T> {
  const late = new Promise<never>((_, reject) =>
    setTimeout(() => reject(new GatewiseError("E_NO_WEBGPU", "the graphics driver did not answer")), milliseconds),
  );
  return Promise.race([promise, late]);
}

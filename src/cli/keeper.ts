import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import type { Tokenizer } from "../data/tokenizer.ts";
import { given } from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import type { LanguageModelConfig } from "../models/config.ts";
import type { Device } from "../runtime/device.ts";
import { saveCheckpoint, type Checkpoint } from "../training/checkpoint.ts";
import type { EvalEvent, StepEvent } from "../training/events.ts";
import type { TrainingOptions } from "../training/options.ts";
import type { TextSource } from "./data.ts";
import type { DeviceFlags } from "./device.ts";
import { isExploded, type Trainer } from "../training/trainer.ts";
import {
  claimFolder,
  isFile,
  KEPT,
  keepBest,
  keepCheckpoint,
  releaseFolder,
  removeLeftovers,
  soundCheckpoint,
  writeRunInfo,
  type RunInfo,
  type SampleSettings,
} from "./files.ts";
import type { Lock } from "./lock.ts";
import { programName, quote, shown, warn } from "./progress.ts";

/** Everything about a run that is known before a device is opened. */
export interface Run {
  readonly text: TextSource;
  readonly tokenizer: Tokenizer;
  readonly tokens: Uint32Array;
  readonly config: LanguageModelConfig;
  readonly options: TrainingOptions;
  readonly device: DeviceFlags["device"];
  readonly simd: DeviceFlags["simd"];
  /** Checkpoints that stay, 0 for all. */
  readonly keep: number;
  /** Where its weights came from, and what became of characters that they did not know, where that was said. */
  readonly begun: Pick<RunInfo, "initFrom" | "extendVocabulary" | "unknown">;
  /** Milliseconds after which the run ends. */
  readonly milliseconds: number | undefined;
  /** Whether each report gets a line. */
  readonly everyReport: boolean;
  /** How to sample while training, where that was said. */
  readonly sample: SampleSettings;
  /** The checkpoint that the weights come from, and its file. */
  readonly from: Checkpoint | undefined;
  readonly fromPath: string | undefined;
  /** Whether the checkpoint's run goes on, rather than a new one beginning from its weights. */
  readonly resumes: boolean;
  /** Where checkpoints go: a folder to continue in, with its lock, or the one wished for a new run, perhaps by the user. */
  readonly folder: { readonly path: string; readonly claimed: boolean; readonly typed?: boolean; readonly lock?: Lock };
  /** What run.json said. */
  readonly known: Partial<RunInfo>;
}

/** A rate at which the optimizers train whose step does not depend on the gradient's size. */
const MOST_RATE = 0.01;
/** Milliseconds that a run may take to save what little it has when it is stopped in its first step. */
const SAVE_PATIENCE = 500;

/** Where a run's last step is, and whether that is elsewhere than in its folder. */
interface LastSave {
  readonly path: string;
  readonly rescued: boolean;
}

/**
 * Keeps the checkpoints of one run. What cannot be written in the midst of it is said and costs no step: the next
 * checkpoint, and at last the end, try again.
 */
export class Keeper {
  folder = "";
  /** The checkpoint that an event has already told of. */
  reported: string | undefined;
  private lock: Lock | undefined;
  /** The run as it was last encoded: a step may be kept both as the newest and as the best. */
  private last: { readonly step: number; readonly bytes: Uint8Array } | undefined;
  private saved: { readonly step: number; readonly path: string } | undefined;
  /** The best checkpoint, while it waits to be written. */
  private best: Uint8Array | undefined;
  /** The last step at which the loss was seen to be sound: it speaks for the checkpoints of steps before it. */
  private proven: number;
  private info: RunInfo;

  constructor(
    private readonly run: Run,
    device: Device,
  ) {
    this.lock = run.folder.lock;
    const { source: data, reading } = run.text;
    const keep = run.keep === KEPT ? undefined : run.keep;
    const sample = Object.keys(run.sample).length > 0 ? run.sample : undefined;
    const { simd, begun, known } = run;
    const { bytesPerToken } = known;
    const adapter = device.description;
    this.info = given({ data, ...reading, device: run.device, adapter, keep, simd, ...begun, sample, bytesPerToken });
    // Without reports nothing can be told apart.
    this.proven = run.options.logInterval === 0 ? Infinity : run.resumes ? run.from!.training!.step + 1 : 0;
  }

  saw({ step, loss }: StepEvent): void {
    if (!isExploded(loss, this.run.config.vocabSize)) this.proven = Math.max(this.proven, step);
  }

  /** Makes the run's folder: not before the first step is about to be taken, so that bad input leaves nothing behind. */
  async open(): Promise<string> {
    const { folder, known } = this.run;
    if (!folder.claimed) {
      const claimed = await this.claim(folder.path);
      if (folder.typed && claimed !== folder.path)
        warn(
          `${shown(folder.path)} has a run, which stays as it is; this one goes to ${shown(claimed)} (train --resume ${quote(shown(folder.path))} goes on with that one)`,
        );
      return claimed;
    }
    this.folder = folder.path;
    if (known.adapter !== undefined && known.adapter !== this.info.adapter) {
      warn(`this run was trained on ${known.adapter}; on ${this.info.adapter} it goes on, but not bit for bit`);
    }
    await removeLeftovers(this.folder);
    await writeRunInfo(this.folder, this.info);
    return this.folder;
  }

  private async claim(wanted: string): Promise<string> {
    this.lock?.release();
    const { folder, lock } = await claimFolder(wanted, this.info);
    this.lock = lock;
    return (this.folder = folder);
  }

  private async encode(trainer: Trainer): Promise<Uint8Array> {
    if (this.last?.step !== trainer.step) this.last = { step: trainer.step, bytes: await saveCheckpoint(trainer) };
    return this.last.bytes;
  }

  /** Saves this step, unless it is saved already, and returns where; undefined if it could not be. */
  async keep(trainer: Trainer): Promise<string | undefined> {
    const { step } = trainer;
    if (this.saved?.step === step) return this.saved.path;
    const bytes = await this.encode(trainer);
    try {
      await this.write(bytes, step);
    } catch (error) {
      warn(`step ${step} is not saved: ${(error as Error).message}; the run goes on, and saves again at its next checkpoint`);
      return undefined;
    }
    return this.saved!.path;
  }

  /** Keeps this step as the best and returns where; where that fails, it is tried again with the next checkpoint. */
  async keepBest(trainer: Trainer, { valBitsPerToken, valBitsPerByte }: EvalEvent): Promise<string | undefined> {
    this.best = await this.encode(trainer);
    if (valBitsPerByte !== undefined && this.info.bytesPerToken === undefined) {
      this.info = { ...this.info, bytesPerToken: Number((valBitsPerToken / valBitsPerByte).toPrecision(9)) };
      // What it is for can do without.
      await writeRunInfo(this.folder, this.info).catch(() => {});
    }
    return this.writeBest().catch((error: Error) => {
      warn(`the best checkpoint so far is not saved: ${error.message}`);
      return undefined;
    });
  }

  /**
   * Saves the run's last step. If its folder does not take it, a folder for temporary files does.
   *
   * @throws an error that says why neither does
   */
  async keepLast(trainer: Trainer): Promise<LastSave> {
    const { step } = trainer;
    if (this.saved?.step === step && (await isFile(this.saved.path))) return { path: this.saved.path, rescued: false };
    const bytes = await this.encode(trainer);
    try {
      return { path: await this.write(bytes, step), rescued: false };
    } catch (error) {
      const { message } = error as Error;
      const path = await this.rescue(bytes, step).catch((second: Error) => {
        throw new Error(`step ${step} could not be saved: ${message}; nor elsewhere: ${second.message}`, { cause: error });
      });
      warn(`${message}; step ${step} is saved in ${path} instead, which others may clear away: move its folder from there`);
      return { path, rescued: true };
    }
  }

  /** Saves a run that was stopped in its first step, unless that takes longer than anybody waits: then nothing is left. */
  async keepSoon(trainer: Trainer): Promise<LastSave | undefined> {
    const late = new Promise<undefined>((resolve) => setTimeout(resolve, SAVE_PATIENCE));
    const saved = this.folder === "" ? undefined : await Promise.race([this.keepLast(trainer), late]);
    if (saved === undefined && this.folder !== "" && !this.run.folder.claimed) await releaseFolder(this.folder, this.lock);
    return saved;
  }

  private async rescue(bytes: Uint8Array, step: number): Promise<string> {
    const before = this.folder;
    const folder = await this.claim(join(tmpdir(), `gatewise-${basename(resolve(before))}`));
    try {
      return await this.write(bytes, step);
    } catch (error) {
      await releaseFolder(folder, this.lock);
      this.folder = before;
      throw error;
    }
  }

  private async write(bytes: Uint8Array, step: number): Promise<string> {
    const path = await this.inFolder(() => keepCheckpoint(this.folder, step, bytes, this.proven, this.run.keep));
    this.saved = { step, path };
    await this.writeBest().catch(() => {});
    return path;
  }

  private async writeBest(): Promise<string | undefined> {
    const { best } = this;
    if (!best) return undefined;
    const path = await this.inFolder(() => keepBest(this.folder, best));
    this.best = undefined;
    return path;
  }

  /** Writes into the folder. If that was moved away, removed, or taken by another process, the run gets a new one. */
  private async inFolder<T>(write: () => Promise<T>): Promise<T> {
    if (!this.lock!.isHeld()) {
      const before = this.folder;
      await this.claim(before);
      warn(`the run's folder ${shown(before)} was moved or removed; the run goes on in a new one, ${shown(this.folder)}`);
    }
    return write();
  }

  /** The folder, as long as no other run has it. */
  get ownFolder(): string | undefined {
    return this.lock?.isHeld() ? this.folder : undefined;
  }

  /** An error of the run with what became of it and what to do; an empty folder is given back. */
  async advise(error: unknown, { learningRate, optimizer }: TrainingOptions): Promise<unknown> {
    if (this.folder === "") return error;
    const diverged = error instanceof GatewiseError && error.code === "E_NAN_LOSS";
    const kept =
      (await soundCheckpoint(this.folder, diverged ? this.proven : Infinity)) ??
      (this.run.resumes ? this.run.fromPath : undefined);
    if (!this.run.folder.claimed) await releaseFolder(this.folder, this.lock);
    if (!(error instanceof Error) || (!kept && !diverged && !isLost(error))) return error;
    const rate = Math.min(learningRate / 3, optimizer === "sgd" ? Infinity : MOST_RATE);
    const lower = diverged ? ` --lr ${Number(rate.toPrecision(1))}` : "";
    const advice = kept
      ? `the last good checkpoint is ${shown(kept)}; to go on: ${programName()} train --resume ${quote(shown(kept))}${lower}`
      : `no good checkpoint was saved yet; start again${lower && ` with${lower}`}`;
    const message = `${error.message}; ${advice}`;
    return error instanceof GatewiseError
      ? new GatewiseError(error.code, message, { cause: error })
      : new Error(message, { cause: error });
  }
}

const isLost = (error: Error): boolean => error instanceof GatewiseError && error.code === "E_DEVICE_LOST";

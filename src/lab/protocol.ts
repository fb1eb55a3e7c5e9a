// What the page and its training worker say to each other. Commands go over Comlink; what happens comes back over one
// port, numbers as transferred arrays, so that neither side ever waits for the other.
import type { TokenizerKind } from "../data/tokenizers.ts";
import type { LanguageModelConfig } from "../models/config.ts";
import type { PresetName } from "../models/presets.ts";
import type { StateDict } from "../models/parameters.ts";
import type { CheckResult } from "../training/gradient-check.ts";
import type { DeviceFamily, Sampling, Settings } from "./settings.ts";

export interface DeviceInfo {
  readonly family: DeviceFamily;
  readonly description: string;
  /** Why it is not the device that was preferred. */
  readonly fallbackReason?: string | undefined;
}

/** A command that may fail for a reason that the page tells people. */
export type Result<T> = ({ readonly ok: true } & T) | { readonly ok: false; readonly code: string; readonly message: string };

/** A text as the page shows it; the text itself stays in the worker. */
export interface TextInfo {
  /** A bundled book's name, or "own". */
  readonly data: string;
  readonly title: string;
  /** Fit for a file's name. */
  readonly name: string;
  readonly encoding: string;
  readonly characters: number;
  readonly vocabulary: readonly string[];
  readonly opening: string;
  /** Characters of Project Gutenberg's header and footer that were left out. */
  readonly stripped: number;
}

/** Larger than any book; what follows would only slow things down. */
export const MOST_BYTES = 64 * 1024 * 1024;

export type TextSource = { readonly book: string } | { readonly bytes: Uint8Array; readonly name: string };

export interface Estimate {
  readonly parameters: number;
  readonly bytes: number;
  /** Steps, and validations as the parts of steps that they take. */
  readonly passes: number;
  /** Floating-point operations of the whole run. */
  readonly flop: number;
  readonly dispatches: number;
}

export interface LaneInfo {
  readonly preset: PresetName;
  readonly parameters: number;
  readonly step: number;
}

export interface RunInfo {
  readonly id: string;
  readonly settings: Settings;
  readonly text: TextInfo;
  readonly device: string;
  /** Options of the command line for what the page has no field for: a checkpoint may bring them. */
  readonly flags: readonly string[];
  /** Why it cannot be trained on its text; it writes and is looked into all the same. */
  readonly needsText?: string;
  readonly lanes: readonly LaneInfo[];
}

export type Phase =
  /** Nothing to train yet. */
  | "idle"
  | "preparing"
  | "training"
  | "paused"
  /** The device is gone and another one is being opened. */
  | "recovering"
  /** No device came back. */
  | "lost"
  | "done"
  /** Every model has stopped at a number that is not finite. */
  | "failed";

/** Numbers in a row of `points`: step, loss, gradient norm, learning rate. */
export const STEP_FIELDS = 4;
/** Numbers in a row of `evaluations`: step, validation loss, accuracy. */
export const EVAL_FIELDS = 3;

/** What one model of a run has logged: rows of STEP_FIELDS and of EVAL_FIELDS numbers. */
export interface Log {
  readonly points: ArrayLike<number>;
  readonly evaluations: ArrayLike<number>;
}

/** How far a network has come, by what it writes. */
export interface Measured {
  readonly learned: "noise" | "letters" | "words" | "quotes";
  /** Parts of a sample's pairs of characters, and of its words, that stand in the book. */
  readonly pairs: number;
  readonly words: number;
}

export type LabEvent =
  /** Quiet: it follows from a command whose answer says more. */
  | { readonly event: "phase"; readonly phase: Phase; readonly message?: string; readonly quiet?: boolean }
  /** Rows of a lane, from its row number `from`; what the page has from there on is replaced. */
  | { readonly event: "points" | "evaluations"; readonly lane: number; readonly from: number; readonly values: Float32Array }
  | { readonly event: "rate"; readonly lane: number; readonly charactersPerSecond: number; readonly stepsPerSecond: number }
  | {
      readonly event: "sample";
      readonly lane: number;
      readonly step: number;
      readonly text: string;
      readonly measured: Measured;
      readonly note?: string;
    }
  | { readonly event: "lane-stopped"; readonly lane: number; readonly message: string }
  /**
   * Where the models that still train stand on the disk, the least of their steps, and how long it took to put them there.
   * `again`: they were there before, and the browser has thrown them away.
   */
  | { readonly event: "saved"; readonly step: number; readonly milliseconds: number; readonly again: boolean }
  /** Why nothing is kept; training goes on all the same. */
  | { readonly event: "unsaved"; readonly message: string }
  | { readonly event: "device"; readonly device: DeviceInfo; readonly message: string }
  | { readonly event: "notice"; readonly message: string }
  /** So many of the kernels that were asked for so far are compiled. */
  | { readonly event: "compiling"; readonly done: number; readonly of: number }
  /** Forms of kernels are tried on this device, once: so many choices of so many are made. */
  | { readonly event: "tuning"; readonly done: number; readonly of: number; readonly over: boolean }
  /** The check begins, perhaps anew after a loss of the device. */
  | { readonly event: "check-begins" }
  | { readonly event: "check"; readonly result: CheckResult };

/** Tells the page what happens. */
export type Post = (event: LabEvent, transfer?: Transferable[]) => void;

export type TokenizerJson =
  { readonly kind: "char"; readonly codePoints: readonly number[] } | { readonly kind: Exclude<TokenizerKind, "char"> };

/** A model as the views look at it: plain data, computed on elsewhere. */
export interface ModelSnapshot {
  readonly preset: PresetName;
  readonly step: number;
  readonly seed: number;
  readonly config: LanguageModelConfig;
  readonly stateDict: StateDict;
  /** As tokenizerFromJSON reads it. */
  readonly tokenizer: TokenizerJson;
}

/** A run on the disk: what its checkpoints do not say. */
export interface StoredRun {
  readonly id: string;
  readonly settings: Settings;
  readonly sampling: Sampling;
  readonly presets: readonly PresetName[];
  readonly title: string;
}

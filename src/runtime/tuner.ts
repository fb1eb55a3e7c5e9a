// Finds out which of several ways to do the same work is fastest on this adapter, and remembers it.
import { GatewiseError } from "../errors.ts";
import { STREAM, fraction, randomWord } from "../random.ts";
import type { Plan } from "./device.ts";
import { canRun, type Entry, type Family, type Variant } from "./kernel.ts";
import { makeTensor, Recorder, workOf, type Candidate, type Choice, type DispatchCommand } from "./recorder.ts";
import { shaderFiles } from "./shader.ts";
import { bytesOf, type NumberArray, type Tensor, type TensorStorage } from "./tensor.ts";
import { differences } from "./verify.ts";
import type { WebGpuDevice } from "./webgpu-device.ts";

/** Where results outlive the process: small texts by name. A text that cannot be read counts as none. */
export interface TuningStore {
  load(name: string): Promise<string | undefined> | string | undefined;
  save(name: string, text: string): Promise<void> | void;
}

/** What was chosen, and why. */
export interface Tuned {
  readonly chosen: string;
  /** What was taken without tuning. */
  readonly preferred: string;
  /** Milliseconds by candidate, the best of some runs; those that lost early ran least. */
  readonly milliseconds: Readonly<Record<string, number>>;
  /** Candidates that computed something else, and what; they are never taken. */
  readonly rejected: Readonly<Record<string, string>>;
  /** Hash of the candidates' shaders. */
  readonly shaders: string;
}

export interface TuningProgress {
  readonly key: string;
  readonly done: number;
  readonly of: number;
}

export interface TunerOptions {
  readonly store?: TuningStore | undefined;
  /** Forget what was found before. */
  readonly again?: boolean | undefined;
  readonly onProgress?: ((progress: TuningProgress) => void) | undefined;
}

const VERSION = 1;
/** Plans of less work than this (10 ms on a software adapter) gain nothing that tuning would not cost. */
const LEAST_WORK = 2e7;
/** A choice about a smaller part of the plan's work than this keeps its preference. */
const LEAST_SHARE = 0.02;
/** Candidates that are compared at the most. */
const MOST_CANDIDATES = 8;
/** How much faster than the preferred one a candidate must be: less is noise. */
const MARGIN = 0.97;
/** Relative L2 distance at the real shape between candidates, which add in different orders. */
const AGREEMENT = 1e-4;
/** Bytes up to which a result is compared at the real shape. */
const MOST_COMPARED = 16 << 20;
/** Bytes that the tensors of a candidate may take beside the model's own. */
const MOST_SCRATCH = 512 << 20;
/** A candidate whose first run takes this many times the best one's is out. */
const HOPELESS = 3;

export class Tuner {
  /** What was chosen, by the key of the choice. */
  readonly results = new Map<string, Tuned>();
  /** Milliseconds spent tuning since the device was opened. */
  milliseconds = 0;
  private loaded: Promise<void> | undefined;
  private last: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly device: WebGpuDevice,
    /** The adapter and its limits. */
    private readonly identity: string,
    private readonly options: TunerOptions,
  ) {}

  /** The family of the adapter, remembered, or found by `find`. */
  async family(find: () => Promise<Family>): Promise<Family> {
    await (this.loaded ??= this.load());
    if (!this.knownFamily) {
      this.knownFamily = await find();
      await this.save();
    }
    return this.knownFamily;
  }
  private knownFamily: Family | undefined;

  /** What to record with. */
  async choices(): Promise<ReadonlyMap<string, string>> {
    await (this.loaded ??= this.load());
    return new Map([...this.results].map(([key, { chosen }]) => [key, chosen]));
  }

  /** Makes the choices that a plan meets and that are not made yet; says whether anything changed. */
  tune(recorder: Recorder): Promise<boolean> {
    const next = this.last.then(() => this.tuneAll(recorder));
    this.last = next.catch(() => {});
    return next;
  }

  private async tuneAll(recorder: Recorder): Promise<boolean> {
    const total = workOf(recorder.commands);
    const choices = [...recorder.choices.values()];
    // Also where nothing will be tuned: a choice among other variants than these is none.
    const stale = choices.filter((choice) => this.results.has(choice.key) && this.isStale(choice));
    for (const { key } of stale) this.results.delete(key);
    const open = choices.filter(({ key, work }) => total >= LEAST_WORK && work >= LEAST_SHARE * total && !this.results.has(key));
    if (open.length === 0) return stale.length > 0;
    const begun = performance.now();
    await this.compile(open);
    for (const [done, choice] of open.entries()) {
      this.options.onProgress?.({ key: choice.key, done, of: open.length });
      this.results.set(choice.key, await this.decide(choice));
    }
    this.options.onProgress?.({ key: "", done: open.length, of: open.length });
    this.device.dropReadbacks();
    this.milliseconds += performance.now() - begun;
    await this.save();
    return true;
  }

  /** Compiles all that will be timed, in parallel. What does not compile will say so when it enters. */
  private async compile(open: readonly Choice[]): Promise<void> {
    const recorder = new Recorder(this.device);
    for (const { candidates } of open) for (const { record, trial = record } of Object.values(candidates)) trial(recorder);
    await this.device.compileAll(recorder.commands).catch(() => undefined);
  }

  /** Whether a remembered choice was made among other shaders or variants than these. */
  private isStale(choice: Choice): boolean {
    const { shaders } = this.results.get(choice.key)!;
    const current = hash(this.shadersOf(choice));
    return shaders !== current;
  }

  private shadersOf({ candidates }: Choice): string {
    const texts = Object.entries(candidates).map(([name, { record, trial }]) => {
      const recorder = new Recorder(this.device);
      (trial ?? record)(recorder);
      const files = new Set(
        dispatchesOf(recorder).flatMap(({ entry, variant }) => shaderFiles(entry, variant).map((file) => file.source)),
      );
      return [
        name,
        ...dispatchesOf(recorder)
          .map(({ variant }) => JSON.stringify(variant))
          .slice(0, 1),
        ...files,
      ].join("\n");
    });
    return texts.join("\n");
  }

  /** Successive halving: all candidates run a little, the better half of them more, until one is left. */
  private async decide(choice: Choice): Promise<Tuned> {
    const { candidates, preferred } = choice;
    const rejected: Record<string, string> = {};
    const milliseconds: Record<string, number> = {};
    const contests = new Map<string, Contestant>();
    try {
      let expected: Outputs | undefined;
      // The preferred one first: with it the others are compared.
      const names = [preferred, ...Object.keys(candidates).filter((name) => name !== preferred)].slice(0, MOST_CANDIDATES);
      for (const name of names) {
        try {
          const contestant = await this.enter(candidates[name]!);
          contests.set(name, contestant);
          const problem = contestant.problem ?? (expected && difference(expected, contestant.outputs));
          if (problem) {
            rejected[name] = problem;
            this.drop(contests, name);
            continue;
          }
          expected ??= contestant.outputs;
          milliseconds[name] = Math.min(await this.time(contestant), await this.time(contestant));
        } catch (error) {
          // A variant that this adapter cannot compile or hold is none; a lost device is no variant's fault.
          if (!(error instanceof GatewiseError) || error.code === "E_DEVICE_LOST") throw error;
          rejected[name] = error.message;
          this.drop(contests, name);
        }
      }
      const best = (): number => Math.min(...[...contests.keys()].map((name) => milliseconds[name]!));
      for (const name of contests.keys()) if (milliseconds[name]! > HOPELESS * best()) this.drop(contests, name);
      for (let runs = 2; contests.size > 1; runs++) {
        for (let run = 0; run < runs; run++) {
          for (const [name, contestant] of contests) {
            milliseconds[name] = Math.min(milliseconds[name]!, await this.time(contestant));
          }
        }
        const order = [...contests.keys()].sort((a, b) => milliseconds[a]! - milliseconds[b]!);
        for (const name of order.slice(Math.ceil(order.length / 2))) this.drop(contests, name);
      }
    } finally {
      for (const name of contests.keys()) this.drop(contests, name);
    }
    const names = Object.keys(milliseconds);
    if (names.length === 0) {
      const reasons = Object.entries(rejected).map(([name, why]) => `${name}: ${why}`);
      throw new GatewiseError("E_SHADER", `${choice.key}: no variant computes the right thing here\n${reasons.join("\n")}`);
    }
    const fastest = names.reduce((a, b) => (milliseconds[b]! < milliseconds[a]! ? b : a), names[0] ?? preferred);
    const worthIt = (milliseconds[fastest] ?? Infinity) < MARGIN * (milliseconds[preferred] ?? Infinity);
    const chosen = worthIt ? fastest : preferred;
    return { chosen, preferred, milliseconds, rejected, shaders: hash(this.shadersOf(choice)) };
  }

  /** Compiles a candidate, checks its kernels against the reference, and runs it once at the real shape. */
  private async enter({ record, trial = record }: Candidate): Promise<Contestant> {
    const { device } = this;
    const recorder = new Recorder(device, await this.choices());
    trial(recorder);
    const dispatches = dispatchesOf(recorder);
    const problem = await this.verify(dispatches);
    const work = workOf(dispatches);
    // As often as a plan needs to run for a few milliseconds.
    const times = Math.min(64, Math.max(1, Math.round(device.pacer.budget / 16 / Math.max(work, 1))));
    const scratch = new Map<TensorStorage, Tensor>();
    const moved = (tensor: Tensor): Tensor => {
      let own = scratch.get(tensor.storage);
      if (!own) {
        own = makeTensor({ name: "scratch", shape: [tensor.storage.bytes / bytesOf(tensor.dtype)], dtype: tensor.dtype });
        scratch.set(tensor.storage, own);
      }
      return { ...tensor, storage: own.storage };
    };
    const commands = recorder.commands.map((command) =>
      command.kind === "dispatch" ? { ...command, tensors: command.tensors.map(moved) } : command,
    );
    const tensors = [...scratch.values()];
    const bytes = tensors.reduce((sum, { storage }) => sum + storage.bytes, 0);
    if (bytes > MOST_SCRATCH) throw new GatewiseError("E_LIMIT", `${bytes} bytes are more than tuning may take`);
    device.allocate(tensors);
    try {
      for (const [index, tensor] of tensors.entries()) fill(device, tensor, index);
      const once = await device.recordCommands("tuning", commands);
      await once.run();
      const outputs: Outputs = new Map();
      for (const [storage, tensor] of scratch) {
        const written = commands.some(
          (c) => c.kind === "dispatch" && c.tensors.some((t, i) => t.storage === tensor.storage && isWritten(c.entry, i)),
        );
        if (written && storage.bytes <= MOST_COMPARED) outputs.set(storage, await device.read(tensor));
      }
      await device.finish();
      once.dispose();
      const plan = await device.recordCommands("tuning", Array.from({ length: times }, () => commands).flat());
      return { plan, tensors, outputs, times, problem };
    } catch (error) {
      device.free(...tensors);
      throw error;
    }
  }

  private async verify(dispatches: readonly DispatchCommand[]): Promise<string | undefined> {
    const kinds = new Map<string, { entry: Entry; variant: Variant; half: boolean }>();
    for (const { entry, variant, halves } of dispatches) {
      const half = halves.length > 0;
      kinds.set(`${entry.kernel}.${entry.name} ${variant.name} ${half}`, { entry, variant, half });
    }
    for (const [name, { entry, variant, half }] of kinds) {
      if (this.verified.has(name)) continue;
      const cases = entry.cases().filter(({ params }) => canRun(variant, params, this.device));
      const some = cases.filter((_, i) => i === cases.length - 1 || i === cases.length >> 1);
      const [found] = await differences(this.device, entry, some, [variant], half);
      if (found) return found;
      this.verified.add(name);
    }
    return undefined;
  }
  private readonly verified = new Set<string>();

  private async time({ plan, times }: Contestant): Promise<number> {
    const begun = performance.now();
    await plan.run();
    await this.device.finish();
    return (performance.now() - begun) / times;
  }

  private drop(contests: Map<string, Contestant>, name: string): void {
    const contestant = contests.get(name);
    if (!contestant) return;
    contestant.plan.dispose();
    this.device.free(...contestant.tensors);
    contests.delete(name);
  }

  private get fileName(): string {
    return `tuning-${hash(this.identity)}`;
  }

  private async load(): Promise<void> {
    if (this.options.again) return;
    const saved = parse(await this.fromStore());
    if (saved?.version !== VERSION || saved.adapter !== this.identity) return;
    if (saved.family === "software" || saved.family === "gpu") this.knownFamily = saved.family;
    for (const [key, tuned] of Object.entries(saved.choices)) if (isTuned(tuned)) this.results.set(key, tuned);
  }

  private async save(): Promise<void> {
    const saved: SavedTuning = {
      version: VERSION,
      adapter: this.identity,
      ...(this.knownFamily && { family: this.knownFamily }),
      choices: Object.fromEntries(this.results),
    };
    try {
      await this.options.store?.save(this.fileName, JSON.stringify(saved, null, 1));
    } catch {
      // A store that is full or forbidden costs the memory, not the work.
    }
  }

  private async fromStore(): Promise<string | undefined> {
    try {
      return await this.options.store?.load(this.fileName);
    } catch {
      return undefined;
    }
  }
}

interface SavedTuning {
  readonly version: number;
  readonly adapter: string;
  readonly family?: Family;
  readonly choices: Readonly<Record<string, Tuned>>;
}

/** A candidate in the running: `plan` does its work `times` times. */
interface Contestant {
  readonly plan: Plan;
  readonly tensors: readonly Tensor[];
  readonly outputs: Outputs;
  readonly times: number;
  readonly problem: string | undefined;
}

/** What a candidate wrote, by the storage that it stands for. */
type Outputs = Map<TensorStorage, NumberArray>;

const dispatchesOf = ({ commands }: Recorder): readonly DispatchCommand[] => commands.filter((c) => c.kind === "dispatch");

const isWritten = (entry: Entry, binding: number): boolean => Object.values(entry.bindings)[binding] === "read_write";

/** Small numbers as they occur in training, the same for every candidate; integers are zero, which any index may be. */
function fill(device: WebGpuDevice, tensor: Tensor, index: number): void {
  if (tensor.dtype === "u32") return;
  const values = new Float32Array(tensor.length);
  const period = Math.min(values.length, 4099);
  for (let i = 0; i < period; i++) values[i] = 0.2 * fraction(randomWord(7, index, i, STREAM.init)) - 0.1;
  for (let at = period; at < values.length; at += period) values.copyWithin(at, 0, Math.min(period, values.length - at));
  device.write(tensor, values);
}

/** How two candidates' results differ, or undefined if they agree. Only what both write is compared. */
function difference(expected: Outputs, actual: Outputs): string | undefined {
  for (const [storage, values] of actual) {
    const wanted = expected.get(storage);
    if (!wanted) continue;
    let error = 0;
    let norm = 0;
    for (let i = 0; i < wanted.length; i++) {
      error += (values[i]! - wanted[i]!) ** 2;
      norm += wanted[i]! ** 2;
    }
    if (!(error <= AGREEMENT ** 2 * norm)) {
      return `differs from the preferred one at the real shape: relative L2 ${Math.sqrt(error / norm).toExponential(1)}`;
    }
  }
  return undefined;
}

function parse(text: string | undefined): (Partial<SavedTuning> & { choices: object }) | undefined {
  try {
    const saved: unknown = JSON.parse(text ?? "");
    const usable = typeof saved === "object" && saved !== null && "choices" in saved && typeof saved.choices === "object";
    return usable && saved.choices ? (saved as SavedTuning) : undefined;
  } catch {
    return undefined;
  }
}

const isTuned = (value: unknown): value is Tuned =>
  typeof value === "object" &&
  value !== null &&
  "chosen" in value &&
  typeof value.chosen === "string" &&
  "shaders" in value &&
  "milliseconds" in value &&
  "rejected" in value &&
  isRecordOf("number", value.milliseconds) &&
  isRecordOf("string", value.rejected);

const isRecordOf = (type: "number" | "string", value: unknown): boolean =>
  typeof value === "object" && value !== null && Object.values(value).every((each) => typeof each === type);

/** FNV-1a, 32 bits twice: names of files and changes of shaders, not secrets. */
export function hash(text: string): string {
  let a = 0x811c9dc5;
  let b = 0x01000193;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    a = Math.imul(a ^ code, 0x01000193);
    b = Math.imul(b ^ code, 0x85ebca6b);
  }
  return [a, b].map((word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
}

// Finds out which of several ways to do the same work is fastest on this adapter, and remembers it.
import { GatewiseError } from "../errors.ts";
import { abortable, Turns } from "../turns.ts";
import type { Plan, Tuner } from "./device.ts";
import { canRun, type Entry, type Family, type Variant } from "./kernel.ts";
import { makeTensor, Recorder, workOf, type Candidate, type Choice, type Choices, type DispatchCommand } from "./recorder.ts";
import { shaderFiles } from "./shader.ts";
import { bytesOf, type Tensor, type TensorStorage } from "./tensor.ts";
import { hash, TuningMemory, type Tuned, type TuningStore } from "./tuning-memory.ts";
import { difference, dispatchesOf, fill, isWritten, tickOf, type Contestant, type Outputs } from "./tuning-trial.ts";
import { differences } from "./verify.ts";
import type { WebGpuDevice } from "./webgpu-device.ts";

/** How far tuning is. The last report of a plan has an empty `key`, and `done` less than `of` where time ran out. */
export interface TuningProgress {
  /** The choice that is made next. */
  readonly key: string;
  /** Choices made, of those that the plan needs. */
  readonly done: number;
  /** Choices to be made in all, as far as is known. */
  readonly of: number;
  /** Milliseconds that tuning may still take on this device. */
  readonly left: number;
  /** What is not tried because a device was lost in trying it, or may have been: sentences for people. */
  readonly passedOver: readonly string[];
}

export interface TunerOptions {
  readonly store?: TuningStore | undefined;
  /** Forget what was found before. */
  readonly again?: boolean | undefined;
  /** Milliseconds that tuning may take in all, compilation included. */
  readonly milliseconds?: number | undefined;
  readonly onProgress?: ((progress: TuningProgress) => void) | undefined;
}

/** Milliseconds that tuning takes at the most, unless told otherwise. */
const PATIENCE = 5000;
/** Plans of less work than this (10 ms on a software adapter) gain nothing that tuning would not cost. */
const LEAST_WORK = 2e7;
/** A choice about a smaller part of the plan's work than this keeps its preference. */
const LEAST_SHARE = 0.02;
/** Candidates that are compared at the most. */
const MOST_CANDIDATES = 8;
/** How much faster than the preferred one a candidate must be: less is noise. */
const MARGIN = 0.97;
/** Bytes up to which a result is compared at the real shape. */
const MOST_COMPARED = 16 << 20;
/** Bytes that the tensors of a candidate may take beside the model's own. */
const MOST_SCRATCH = 512 << 20;
/** A candidate whose first run takes this many times the best one's is out. */
const HOPELESS = 3;
/** Ticks of the clock that a measurement lasts at least: browsers' clocks may tick as slowly as every 100 ms. */
const TICKS = 20;

/** The longest delay, in milliseconds, that timers know. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** Why tuning was stopped: the time for it was up. */
class OutOfTime extends Error {}

export class KernelTuner implements Tuner {
  readonly results: ReadonlyMap<string, Tuned>;
  readonly again: boolean;
  milliseconds = 0;
  private readonly memory: TuningMemory;
  private readonly budget: number;
  private readonly turns = new Turns();
  private loaded: Promise<void> | undefined;
  /** Stops the tuning that is under way: the caller did, or the time is up. */
  private stop = new AbortController().signal;
  /** When the time is up, as performance.now says it. */
  private deadline = Infinity;
  private tick: number | undefined;

  constructor(
    private readonly device: WebGpuDevice,
    /** The adapter, its limits, and what drives it. */
    identity: string,
    private readonly options: TunerOptions,
  ) {
    this.again = options.again ?? false;
    this.budget = options.milliseconds ?? PATIENCE;
    this.memory = new TuningMemory(options.store, identity, this.again);
    this.results = this.memory.choices;
  }

  async family(find: () => Promise<Family>): Promise<Family> {
    await (this.loaded ??= this.memory.load());
    if (!this.memory.family) {
      this.memory.family = await find();
      await this.memory.save();
    }
    return this.memory.family;
  }

  async choices(): Promise<Choices> {
    await (this.loaded ??= this.memory.load());
    return new Map([...this.results].map(([key, { chosen }]) => [key, chosen]));
  }

  tune(recorder: Recorder, settled: Choices, signal?: AbortSignal): Promise<boolean> {
    return this.turns.take(() => this.tuneAll(recorder, settled, signal));
  }

  idle(): Promise<void> {
    return this.turns.take(async () => {});
  }

  private async tuneAll(recorder: Recorder, settled: Choices, signal: AbortSignal | undefined): Promise<boolean> {
    const { memory } = this;
    const total = workOf(recorder.commands);
    const choices = [...recorder.choices.values()].filter(({ key }) => !settled.has(key));
    // Also where nothing will be tuned: a choice among other variants than these is none.
    const stale = choices.filter((choice) => this.isStale(choice));
    for (const { key } of stale) memory.forget(key);
    const open = choices.filter(({ key, work }) => total >= LEAST_WORK && work >= LEAST_SHARE * total && !this.results.has(key));
    const begun = performance.now();
    const left = this.budget - this.milliseconds;
    if (open.length === 0 || left <= 0) return stale.length > 0;
    this.deadline = begun + left;
    let done = 0;
    const report = (key: string): void =>
      this.options.onProgress?.({
        key,
        done,
        of: open.length,
        left: Math.max(0, this.deadline - performance.now()),
        passedOver: this.passedOver(open),
      });
    const stop = new AbortController();
    this.stop = stop.signal;
    const abort = (): void => stop.abort(signal!.reason);
    signal?.addEventListener("abort", abort);
    if (signal?.aborted) abort();
    const timer = setTimeout(() => stop.abort(new OutOfTime()), Math.min(left, LONGEST_TIMER));
    try {
      for (const choice of open) {
        await memory.load();
        if (!this.results.has(choice.key) || this.isStale(choice)) {
          report(choice.key);
          if (memory.elsewhere.has(choice.key)) continue;
          const tuned = await this.decide(choice);
          if (tuned) await memory.remember(choice.key, tuned);
        }
        done++;
      }
    } catch (error) {
      if (!(error instanceof OutOfTime)) throw error;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      this.milliseconds += performance.now() - begun;
      report("");
      this.device.dropReadbacks();
    }
    return done > 0 || stale.length > 0;
  }

  /** What of some choices is not tried, for people. */
  private passedOver(choices: readonly Choice[]): readonly string[] {
    return choices.flatMap(({ key }) => [
      ...[...this.memory.lostOf(key)].map(
        (name) => `${key}: "${name}" is passed over, because the device was lost when it was tried`,
      ),
      ...(this.memory.elsewhere.has(key)
        ? [`${key}: not tuned now, because another program is trying it, or has just ended while it did`]
        : []),
    ]);
  }

  /** Compiles what will be timed, in parallel. What does not compile will say so when it enters. */
  private async compile({ candidates }: Choice): Promise<void> {
    const recorder = new Recorder(this.device);
    for (const { record, trial = record } of Object.values(candidates)) trial(recorder);
    const compiled = this.device.compileAll(recorder.commands).catch(() => undefined);
    await abortable(this.stop, compiled);
  }

  /** Whether a remembered choice was made among other shaders or variants than these. */
  private isStale(choice: Choice): boolean {
    const tuned = this.results.get(choice.key);
    return (
      tuned !== undefined && (tuned.shaders !== hash(this.shadersOf(choice)) || !Object.hasOwn(choice.candidates, tuned.chosen))
    );
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

  /**
   * Successive halving: all candidates run a little, the better half of them more, until one is left. Undefined where there is no
   * room to try any.
   */
  private async decide(choice: Choice): Promise<Tuned | undefined> {
    const { key, candidates, preferred } = choice;
    const { memory } = this;
    const lost = memory.lostOf(key);
    const rejected: Record<string, string> = {};
    for (const name of lost) rejected[name] = "the device was lost when it was tried";
    const milliseconds: Record<string, number> = {};
    const contests = new Map<string, Contestant>();
    let current = preferred;
    let isCramped = false;
    try {
      await this.compile(choice);
      let expected: Outputs | undefined;
      // The preferred one first: with it the others are compared.
      const names = [preferred, ...Object.keys(candidates).filter((name) => name !== preferred)].slice(0, MOST_CANDIDATES);
      const begun = performance.now();
      for (const [entered, name] of names.filter((each) => !lost.has(each)).entries()) {
        // Drivers that compile when a kernel first runs may take seconds each: a choice that those so far say will not
        // be made in time is left, and the time with it, to the first step.
        const average = (performance.now() - begun) / entered;
        if (entered > 0 && average * (names.length - entered) > this.deadline - performance.now()) throw new OutOfTime();
        current = name;
        await memory.trying(key, name);
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
          // A variant that this adapter cannot compile or hold is none; a lost device ends it all.
          const itsOwn = error instanceof GatewiseError && !["E_DEVICE_LOST", "E_DISPOSED"].includes(error.code);
          if (!itsOwn || this.stop.aborted) throw error;
          isCramped ||= error.code === "E_LIMIT";
          rejected[name] = error.message;
          this.drop(contests, name);
        }
      }
      await memory.trying(key, undefined);
      const best = (): number => Math.min(...[...contests.keys()].map((name) => milliseconds[name]!));
      for (const name of contests.keys()) if (milliseconds[name]! > HOPELESS * best()) this.drop(contests, name);
      for (let runs = 2; contests.size > 1; runs++) {
        for (let run = 0; run < runs; run++) {
          for (const [name, contestant] of contests) {
            current = name;
            milliseconds[name] = Math.min(milliseconds[name]!, await this.time(contestant));
          }
        }
        const order = [...contests.keys()].sort((a, b) => milliseconds[a]! - milliseconds[b]!);
        for (const name of order.slice(Math.ceil(order.length / 2))) this.drop(contests, name);
      }
    } catch (error) {
      await memory.trying(key, undefined);
      if (this.stop.aborted) {
        // What was begun may still take the device with it.
        void this.device.finish().catch((failure: unknown) => this.blame(failure, key, current));
        throw this.stop.reason;
      }
      if (!(await this.blame(error, key, current))) throw error;
      throw new GatewiseError(
        "E_DEVICE_LOST",
        `${(error as Error).message}; it happened while "${current}" was tried for ${key}, which is passed over from now on; with --no-tune ({ tuning: "off" } in the library) none is tried`,
        { cause: error },
      );
    } finally {
      for (const name of contests.keys()) this.drop(contests, name);
    }
    const names = Object.keys(milliseconds);
    if (names.length === 0 && lost.size === 0) {
      if (isCramped) return undefined;
      const reasons = Object.entries(rejected).map(([name, why]) => `${name}: ${why}`);
      throw new GatewiseError("E_SHADER", `${choice.key}: no variant computes the right thing here\n${reasons.join("\n")}`);
    }
    const fastest = names.reduce((a, b) => (milliseconds[b]! < milliseconds[a]! ? b : a), names[0] ?? preferred);
    const worthIt = (milliseconds[fastest] ?? Infinity) < MARGIN * (milliseconds[preferred] ?? Infinity);
    const chosen = worthIt ? fastest : preferred;
    return { chosen, preferred, milliseconds, rejected, shaders: hash(this.shadersOf(choice)) };
  }

  /** Keeps that a candidate took the device with it, if that is what an error says. */
  private async blame(error: unknown, key: string, candidate: string): Promise<boolean> {
    if (!(error instanceof GatewiseError && error.code === "E_DEVICE_LOST")) return false;
    // A device that was destroyed is no candidate's fault.
    if ((await this.device.gpuDevice.lost).reason === "destroyed") return false;
    await this.memory.tookTheDevice(key, candidate);
    return true;
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
    let once: Plan | undefined;
    try {
      for (const [index, tensor] of tensors.entries()) fill(device, tensor, index);
      once = await device.recordCommands("tuning", commands);
      await once.run([], this.stop);
      const outputs: Outputs = new Map();
      for (const [storage, tensor] of scratch) {
        const written = commands.some(
          (c) => c.kind === "dispatch" && c.tensors.some((t, i) => t.storage === tensor.storage && isWritten(c.entry, i)),
        );
        if (written && storage.bytes <= MOST_COMPARED) outputs.set(storage, await abortable(this.stop, device.read(tensor)));
      }
      await abortable(this.stop, device.finish());
      const plan = await device.recordCommands("tuning", Array.from({ length: times }, () => commands).flat());
      return { plan, tensors, outputs, times, runs: 1, problem };
    } catch (error) {
      device.free(...tensors);
      throw error;
    } finally {
      once?.dispose();
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
      const [found] = await differences(this.device, entry, some, [variant], half, this.stop);
      if (found) return found;
      this.verified.add(name);
    }
    return undefined;
  }
  private readonly verified = new Set<string>();

  /** Milliseconds of a contestant's work, of as many runs as the clock needs to tell. */
  private async time(contestant: Contestant): Promise<number> {
    const enough = TICKS * (this.tick ??= tickOf(() => performance.now()));
    // By a clock that stands, or ticks too rarely to compare two candidates in the time there is, twice each, nothing is
    // ever chosen: what was measured would be lost, at every start anew.
    if (enough === Infinity || 4 * enough > this.budget) throw new OutOfTime();
    for (;;) {
      const begun = performance.now();
      for (let run = 0; run < contestant.runs; run++) await contestant.plan.run([], this.stop);
      await abortable(this.stop, this.device.finish());
      const elapsed = performance.now() - begun;
      if (elapsed >= enough && elapsed > 0) return elapsed / (contestant.runs * contestant.times);
      // By no more than this, because an elapsed time of few ticks says little.
      contestant.runs *= elapsed > 0 ? Math.min(8, Math.ceil((1.5 * enough) / elapsed)) : 8;
    }
  }

  private drop(contests: Map<string, Contestant>, name: string): void {
    const contestant = contests.get(name);
    if (!contestant) return;
    contestant.plan.dispose();
    this.device.free(...contestant.tensors);
    contests.delete(name);
  }
}

// A run: its models, which train in turns, the text that they read, and what is kept of them. While it trains, whatever
// else wants the device waits for a moment between two steps.
import { CharTokenizer } from "../../data/tokenizer.ts";
import { GatewiseError } from "../../errors.ts";
import type { Device } from "../../runtime/device.ts";
import { baselinesOf, type Baselines } from "../analysis/baselines.ts";
import { knows } from "../analysis/pieces.ts";
import { measure, stockOf, type Stock } from "../analysis/learned.ts";
import { messageOf } from "./answer.ts";
import { isLoss, type DeviceKeeper } from "./device-keeper.ts";
import { Keeping } from "./keeping.ts";
import { Lane, makeLanes } from "./lane.ts";
import type { Phase, Post, RunInfo } from "../protocol.ts";
import type { Sampling, Settings } from "../settings.ts";
import type { LoadedText } from "./texts.ts";

/** Milliseconds between two reports to the page. */
const REPORT_INTERVAL = 100;
/** Snapshots and samples may take a part of the time, and come no more often than this, in milliseconds. */
const SAVE_INTERVAL = 3000;
/** The first snapshot comes early, so long after the first step: what was not saved yet is lost with the device. */
const FIRST_SAVE = 1500;
const SAMPLE_INTERVAL = 4000;
const FIRST_SAMPLE = 2500;
const SHARE = { save: 1 / 30, sample: 1 / 6 };
const SAMPLE_LENGTH = 240;
/** Characters that take no more than a moment to count. */
const MOST_COUNTED = 500_000;

/** What a run has of the worker around it. */
export interface Surroundings {
  readonly keeper: DeviceKeeper;
  readonly post: Post;
  /** Tells the page how things stand, and why. */
  readonly announce: (message?: string) => void;
}

/** What a run is made of. */
export interface Parts {
  readonly id: string;
  readonly settings: Settings;
  readonly sampling: Sampling;
  readonly text: LoadedText;
  readonly lanes: readonly Lane[];
  /** Lets go of the run's files, which until then are this page's alone. */
  readonly release: () => void;
}

export class Run {
  readonly id: string;
  settings: Settings;
  sampling: Sampling;
  lanes: readonly Lane[];
  /** Whether it is to train; its loop goes on between two steps, or ends. */
  training = false;
  readonly text: LoadedText;
  private stock: Stock | undefined;
  readonly keeping: Keeping;
  private readonly release: () => void;
  /** Ends what is under way and may be left undone: tuning and sampling. Steps are always done to their end. */
  private stop: (() => void) | undefined;
  /** While the loop of its training goes on: samples soon. */
  private sampleSoon: (() => void) | undefined;

  constructor(
    private readonly around: Surroundings,
    { id, settings, sampling, text, lanes, release }: Parts,
  ) {
    [this.id, this.settings, this.sampling, this.lanes] = [id, settings, sampling, lanes];
    [this.text, this.release] = [text, release];
    this.keeping = new Keeping(this, around.post);
  }

  /** Whether there is anything left to train. */
  get active(): boolean {
    return this.lanes.some(({ active }) => active);
  }

  /** Why no model trains any more, where that is not the run's end. */
  get failure(): string | undefined {
    return this.lanes.every(({ failure }) => failure !== undefined) ? this.lanes[0]!.failure : undefined;
  }

  /** Why it cannot be trained on the text that there is. */
  get needsText(): string | undefined {
    return this.lanes.find(({ needsText }) => needsText !== undefined)?.needsText;
  }

  get phase(): Phase {
    if (this.training) return "training";
    if (this.active) return "paused";
    return this.failure === undefined ? "done" : "failed";
  }

  /** The step that all models have reached. */
  get step(): number {
    return Math.min(...this.lanes.map(({ step }) => step));
  }

  describe(): RunInfo {
    return {
      id: this.id,
      settings: this.settings,
      text: this.text.info,
      device: this.around.keeper.info!.description,
      flags: this.lanes[0]!.flags,
      ...(this.needsText !== undefined && { needsText: this.needsText }),
      lanes: this.lanes.map(({ preset, model, step }) => ({ preset, parameters: model.parameterCount, step })),
    };
  }

  /** What counting the characters of its text gets, or of the beginning of a long one. */
  baselines(): Baselines {
    const { text, info } = this.text;
    // Each may be a pair, the last one cut.
    const beginning = text.slice(0, 2 * MOST_COUNTED).replace(/[\ud800-\udbff]$/, "");
    const tokens = CharTokenizer.fromText(info.vocabulary.join("")).encode(beginning).subarray(0, MOST_COUNTED);
    return baselinesOf(tokens, info.vocabulary.length, this.settings.valFraction);
  }

  /** @throws GatewiseError E_CONFIG */
  lane(index: number): Lane {
    const lane = this.lanes[index];
    if (!lane) throw new GatewiseError("E_CONFIG", `the run has no model ${index}`);
    return lane;
  }

  /** Puts the run on another device, as it was last saved. */
  async moveTo(device: Device): Promise<void> {
    const { lanes, settings, text } = this;
    for (const lane of lanes) lane.dispose();
    this.lanes = await makeLanes(
      lanes.map(({ preset }) => preset),
      (preset, i) => {
        const { snapshot, log, failure } = lanes[i]!;
        const lane = snapshot ? Lane.restore(device, preset, snapshot.bytes, text) : Lane.create(device, settings, preset, text);
        lane.goOn(log, settings.totalSteps, failure);
        return lane;
      },
    );
    this.report(true);
  }

  /** Lets go of everything; what was saved stays. */
  drop(): void {
    this.training = false;
    for (const lane of this.lanes) lane.dispose();
    this.keeping.end();
    this.release();
  }

  /** Trains until the run ends or is paused. */
  async train(): Promise<void> {
    const { keeper, announce } = this.around;
    this.training = true;
    announce();
    // A loop that has not noticed a pause yet takes up again.
    if (this.sampleSoon) return;
    // Compiling and tuning take their time: what is due counts from the first step.
    let [saveAt, sampleAt] = [Infinity, Infinity];
    const logged = (): number => this.lanes.reduce((sum, { log }) => sum + log.points.length, 0);
    const before = logged();
    const due = (): number => {
      if (saveAt === Infinity && logged() > before)
        [saveAt, sampleAt] = [performance.now() + FIRST_SAVE, Math.min(sampleAt, performance.now() + FIRST_SAMPLE)];
      return Math.min(saveAt, sampleAt);
    };
    this.sampleSoon = () => {
      sampleAt = Math.min(sampleAt, performance.now() + 200);
    };
    while (this.training) {
      try {
        // Commands that came in the meantime go first: they are in the queue before this stretch.
        const resampled = await keeper.use(async () => {
          if (!this.training) return false;
          await this.stretch(due);
          if (performance.now() >= saveAt) saveAt = await dueAgain(() => this.save(), SAVE_INTERVAL, SHARE.save);
          return performance.now() >= sampleAt;
        });
        if (resampled && this.training)
          sampleAt = await dueAgain(() => keeper.use(() => this.sample()), SAMPLE_INTERVAL, SHARE.sample);
        if (this.training && !this.active) await keeper.use(() => this.finish());
      } catch (error) {
        // One that was lost again is replaced in the next turn; where none came back, the page has been told.
        if (isLoss(error) && keeper.device) continue;
        this.training = false;
        if (!isLoss(error)) announce(messageOf(error));
      }
    }
    this.sampleSoon = undefined;
  }

  /** Ends tuning and sampling: whoever asks for something else does not wait for them. */
  interrupt(): void {
    this.stop?.();
  }

  /** Ends the training too, between two steps. */
  halt(): void {
    this.training = false;
    this.interrupt();
  }

  /** The same, and keeps what there is. The page hears of it when it has the last numbers. */
  async pause(): Promise<void> {
    this.halt();
    await this.around.keeper.use(async () => {
      this.report();
      await this.save();
    });
  }

  /** Moves the end of the run. */
  async extend(totalSteps: number): Promise<void> {
    this.settings = { ...this.settings, totalSteps };
    for (const lane of this.lanes) lane.endAt(totalSteps);
    await this.around.keeper.alone(() => this.keeping.describe());
  }

  /** Does what may be left undone. */
  private async stoppable<T>(controller: AbortController, task: () => Promise<T>): Promise<T> {
    this.stop = () => controller.abort();
    try {
      return await task();
    } finally {
      this.stop = undefined;
    }
  }

  /** Trains the lanes in turns, the one that is behind first, until something else is due. Leaves no number unreported. */
  private async stretch(deadline: () => number): Promise<void> {
    const { lanes, settings, around } = this;
    const active = lanes.filter((lane) => lane.active);
    const controller = new AbortController();
    const leave = (lane: Lane): void => {
      active.splice(active.indexOf(lane), 1);
      this.reportFailure(lane);
    };
    let reportAt = performance.now() + REPORT_INTERVAL;
    try {
      for (const lane of active) lane.start(settings.totalSteps, controller.signal);
      // Their first event comes when they are tuned. Only a halt ends that: other commands wait, or it would begin anew
      // after each.
      await this.stoppable(controller, async () => {
        for (const lane of lanes.filter((lane) => lane.active)) if (!(await lane.pull())) leave(lane);
      });
      let turn = 0;
      while (!controller.signal.aborted && active.length > 0) {
        turn %= active.length;
        const lane = active.reduce((least, other) => (other.loggedStep < least.loggedStep ? other : least), active[turn]!);
        if ((await lane.pull()) && lane.active) turn++;
        else leave(lane);
        if (performance.now() >= reportAt) {
          this.report();
          reportAt = performance.now() + REPORT_INTERVAL;
        }
        // A loop that never waits for a device (the CPU's) must let commands in.
        await breathe();
        // Between two steps: a run that is ended in its first one tells nothing of it. Only a pause cuts a validation short.
        const due = performance.now() >= deadline() || around.keeper.waiting > 1;
        if (!this.training || (due && !lanes.some(({ trainer }) => trainer.evaluationDue))) controller.abort();
      }
      for (const lane of active) {
        while (await lane.pull());
        this.reportFailure(lane);
      }
    } finally {
      for (const lane of lanes) await lane.end();
    }
    this.report();
  }

  /** One training step of every model. */
  async singleStep(): Promise<void> {
    for (const lane of this.lanes.filter(({ active }) => active)) {
      const controller = new AbortController();
      lane.start(this.settings.totalSteps, controller.signal, true);
      const before = lane.step;
      if (await this.stoppable(controller, () => lane.pull())) {
        // A validation that was cut short comes before the step, the step's own after it.
        while ((lane.step === before || lane.trainer.evaluationDue) && (await lane.pull()));
        controller.abort();
        while (await lane.pull());
      }
      await lane.end();
      this.reportFailure(lane);
    }
    this.report();
    await this.save();
    if (!this.active) await this.finish();
  }

  private async finish(): Promise<void> {
    await this.save();
    if (this.failure === undefined) await this.sample();
    this.training = false;
    this.around.announce();
  }

  private report(anew = false): void {
    this.lanes.forEach((lane, i) => lane.report(this.around.post, i, anew));
  }

  private reportFailure(lane: Lane): void {
    if (lane.failure === undefined) return;
    this.around.post({ event: "lane-stopped", lane: this.lanes.indexOf(lane), message: lane.failure });
  }

  /** Samples otherwise from now on. */
  setSampling(wanted: Sampling): void {
    this.sampling = wanted;
    this.sampleSoon?.();
  }

  /** Samples at once, or in a moment while it trains. */
  async sampleNow(): Promise<void> {
    if (this.training && this.sampleSoon) this.sampleSoon();
    else await this.around.keeper.use(() => this.sample());
  }

  private async sample(): Promise<void> {
    const { prompt, temperature, topK } = this.sampling;
    const controller = new AbortController();
    const { signal } = controller;
    await this.stoppable(controller, async () => {
      for (const [lane, { model, step, tokenizer: codec, failure }] of this.lanes.entries()) {
        if (failure !== undefined) continue;
        const known = [...prompt].filter((character) => knows(codec, character));
        const left = [...prompt].filter((character) => !knows(codec, character));
        const options = { prompt: known.join(""), length: SAMPLE_LENGTH, temperature, topK, seed: step, signal };
        const text = await model.sample(codec, options).catch((error: unknown) => {
          if (!signal.aborted || error !== signal.reason) throw error;
        });
        if (text === undefined) return;
        const note = left.length > 0 ? `This book has no “${[...new Set(left)].join("")}”: left out of the prompt.` : undefined;
        const measured = measure(text, (this.stock ??= stockOf(this.text.text)));
        this.around.post({ event: "sample", lane, step, text, measured, ...(note && { note }) });
      }
    });
  }

  /** Takes a snapshot of every model and writes it to the disk. */
  async save(): Promise<void> {
    const begun = performance.now();
    for (const lane of this.lanes) {
      // Nothing new: the device need not be asked.
      if (lane.failure !== undefined || lane.step === (lane.snapshot?.step ?? 0)) continue;
      await lane.takeSnapshot();
      this.reportFailure(lane);
    }
    await this.keeping.keep(begun);
  }
}

/** Does something and returns when it is due again, so that it takes no more than its share of the time. */
async function dueAgain(task: () => Promise<void>, least: number, share: number): Promise<number> {
  const begun = performance.now();
  await task();
  return begun + Math.max(least, (performance.now() - begun) / share);
}

const breath = new MessageChannel();
function breathe(): Promise<void> {
  return new Promise((resolve) => {
    breath.port1.onmessage = () => resolve();
    breath.port2.postMessage(0);
  });
}

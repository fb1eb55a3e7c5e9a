import { GatewiseError } from "../errors.ts";
import { METRIC } from "../kernels/reduce.ts";
import type { StepEvent } from "./events.ts";

/** Read-backs that may be under way before the loop waits for the oldest. */
const MAX_PENDING_READS = 8;
/** Milliseconds of training that a rate is taken over at least, as soon as there are as many. */
const RATE_WINDOW = 1000;

interface PendingLog {
  readonly step: number;
  readonly learningRate: number;
  readonly read: Promise<void>;
  metrics: ArrayLike<number> | undefined;
  /** Milliseconds of the clock at which its numbers came. */
  time: number;
}

/** That all steps up to `step` were done at `time`, milliseconds of the clock without the pauses. */
interface Mark {
  readonly step: number;
  readonly time: number;
}

/** Logs whose numbers are still on their way from the device, in order. */
export class LogQueue {
  private readonly pending: PendingLog[] = [];
  /** The last one that is a window old, and all later ones. */
  private readonly marks: Mark[];
  /** The newest step whose numbers are here. */
  private newest: Mark;
  private paused = 0;

  constructor(
    time: number,
    step: number,
    private readonly tokensPerStep: number,
    /** When the run began, of which its events tell the seconds. */
    private readonly begun = time,
  ) {
    this.newest = { step, time };
    this.marks = [this.newest];
  }

  push(step: number, learningRate: number, values: Promise<ArrayLike<number>>): void {
    const log: PendingLog = {
      step,
      learningRate,
      metrics: undefined,
      time: NaN,
      read: values.then((metrics) => {
        log.metrics = metrics;
        log.time = performance.now();
        if (step > this.newest.step) this.newest = { step, time: log.time - this.paused };
      }),
    };
    // Whoever awaits `read` gets the error; until then it must not count as unhandled.
    log.read.catch(() => {});
    this.pending.push(log);
  }

  /** Waits for all logs, or only for the oldest if too many are under way. */
  async settle(all: boolean): Promise<void> {
    if (all) for (const log of this.pending) await log.read;
    else if (this.pending.length > MAX_PENDING_READS) await this.pending[0]!.read;
  }

  /** The oldest log, if its numbers are here. @throws GatewiseError E_NAN_LOSS */
  shift(): StepEvent | undefined {
    const log = this.pending[0];
    if (!log?.metrics) return undefined;
    throwIfNotFinite(log.step, log.metrics);
    const tokensPerSecond = this.rate();
    this.pending.shift();
    return {
      v: 1,
      event: "step",
      step: log.step,
      seconds: (log.time - this.begun) / 1000,
      loss: log.metrics[METRIC.loss]!,
      tokensPerSecond,
      learningRate: log.learningRate,
      gradNorm: log.metrics[METRIC.norm]!,
    };
  }

  /**
   * Tokens a second over the last window. Numbers arrive late and together, so that the time between two of them says
   * nothing: what counts is the newest step that is known to be done, and how long ago an older one was.
   */
  private rate(): number {
    const { marks, newest } = this;
    if (newest !== marks.at(-1)) marks.push(newest);
    while (marks.length > 2 && newest.time - marks[1]!.time >= RATE_WINDOW) marks.shift();
    const begin = marks[0]!;
    // Where the clock is coarse, less than one of its ticks may have gone by.
    return ((newest.step - begin.step) * this.tokensPerStep) / Math.max(1e-3, (newest.time - begin.time) / 1000);
  }

  /** Time that went into something else does not count against the rate. */
  pausedFor(milliseconds: number): void {
    this.paused += milliseconds;
  }
}

/** After one gradient that is not finite the optimizer rests for good, so that a later, finite loss means nothing. */
export function throwIfNotFinite(step: number, metrics: ArrayLike<number>): void {
  const [loss, norm] = [metrics[METRIC.loss]!, metrics[METRIC.norm]!];
  if (metrics[METRIC.skipped] === 0 && Number.isFinite(loss) && Number.isFinite(norm)) return;
  throw new GatewiseError(
    "E_NAN_LOSS",
    `by step ${step} a gradient was not finite (loss ${loss}, gradient norm ${norm} now); the parameters are those from ` +
      "before it. Lower the learning rate, or clip the gradient",
  );
}

import type { Family } from "./kernel.ts";

/** Work per millisecond to assume before anything was measured; low, so that the first submits are short. */
const FIRST_GUESS: Readonly<Record<Family, number>> = { software: 2e6, wasm: 2e6, gpu: 50e6 };
/** Submits that are longer than this many times the target are cut; shorter than the inverse, joined. */
const TOLERANCE = 2;
/** Submits in flight at the most, whatever they hold. */
const MAX_IN_FLIGHT = 32;

/**
 * Keeps each submit near a length in time, so that no watchdog ends it and the page stays responsive, and keeps
 * about two of them in flight, so that the GPU never waits for JavaScript.
 */
export class SubmitPacer {
  /** Work that one submit should hold now. */
  budget: number;
  private readonly inFlight: { readonly done: Promise<void>; readonly work: number }[] = [];
  private workInFlight = 0;
  private lastDone = 0;

  constructor(
    private readonly queue: GPUQueue,
    family: Family,
    private readonly target: number,
  ) {
    this.budget = FIRST_GUESS[family] * target;
  }

  /** Resolves when less than two submits' worth of work is in flight. */
  async ready(): Promise<void> {
    while (this.inFlight.length > 0 && (this.workInFlight >= 2 * this.budget || this.inFlight.length >= MAX_IN_FLIGHT)) {
      await this.inFlight[0]!.done;
    }
  }

  /** Notes that `work` was just submitted, and learns from the time it takes. */
  submitted(work: number): void {
    const begun = performance.now();
    const done = this.queue.onSubmittedWorkDone().then(
      () => this.completed(work, begun),
      () => this.completed(work, Infinity),
    );
    this.inFlight.push({ done, work });
    this.workInFlight += work;
  }

  private completed(work: number, begun: number): void {
    this.inFlight.shift();
    this.workInFlight -= work;
    const now = performance.now();
    const elapsed = now - Math.max(begun, this.lastDone);
    this.lastDone = now;
    if (!(elapsed > 0) || begun === Infinity) return;
    // Within the tolerance nothing changes: a browser that reports completion only every 100 ms (Firefox) would
    // otherwise cut the submits ever finer. A full submit that came back early says that more fits.
    const tooLong = elapsed > this.target * TOLERANCE && work > 0;
    const tooShort = elapsed < this.target / TOLERANCE && work >= this.budget / 2;
    if (tooLong || tooShort) {
      const fitting = (work / elapsed) * this.target;
      this.budget = Math.min(Math.max(fitting, this.budget / 4), this.budget * 4);
    }
  }
}

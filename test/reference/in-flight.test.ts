// How much work waits on the queue, and what its time teaches, on a queue that completes when the test says so.
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { SubmitPacer } from "../../src/runtime/submit-pacer.ts";

/** A queue whose submits complete in order, each when `complete` is called, well or badly. */
function makeQueue() {
  const waiting: { resolve: () => void; reject: (reason: Error) => void }[] = [];
  const queue = {
    onSubmittedWorkDone: () => new Promise<void>((resolve, reject) => waiting.push({ resolve, reject })),
  } as unknown as GPUQueue;
  const complete = async (failed = false): Promise<void> => {
    const next = waiting.shift()!;
    if (failed) next.reject(new Error("lost"));
    else next.resolve();
    await settled();
  };
  return { queue, complete };
}

const settled = async (): Promise<void> => {
  for (let i = 0; i < 10; i++) await Promise.resolve();
};

async function isReady(pacer: SubmitPacer): Promise<boolean> {
  let ready = false;
  void pacer.ready().then(() => (ready = true));
  await settled();
  return ready;
}

const TARGET = 50;

describe("submits in flight", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it("are at most two budgets' worth, and more may come as they complete, however many came before", async () => {
    const { queue, complete } = makeQueue();
    const pacer = new SubmitPacer(queue, "gpu", TARGET);
    for (let round = 0; round < 100; round++) {
      expect(await isReady(pacer)).toBe(true);
      pacer.submitted(pacer.budget);
      expect(await isReady(pacer), `one submit in flight, round ${round}`).toBe(true);
      pacer.submitted(pacer.budget);
      expect(await isReady(pacer), `two submits in flight, round ${round}`).toBe(false);
      vi.advanceTimersByTime(TARGET);
      await complete(round % 7 === 3);
      expect(await isReady(pacer), `one of two done, round ${round}`).toBe(true);
      vi.advanceTimersByTime(TARGET);
      await complete();
    }
  });

  it("are few, however small", async () => {
    const { queue, complete } = makeQueue();
    const pacer = new SubmitPacer(queue, "software", TARGET);
    let count = 0;
    while (count < 1000 && (await isReady(pacer))) {
      pacer.submitted(1);
      count++;
    }
    expect(count).toBe(32);
    await complete();
    expect(await isReady(pacer)).toBe(true);
  });

  it("teach by the time from the one before them, not by the time that they waited", async () => {
    const { queue, complete } = makeQueue();
    const pacer = new SubmitPacer(queue, "gpu", TARGET);
    const before = pacer.budget;
    for (let i = 0; i < 5; i++) pacer.submitted(before);
    for (let i = 0; i < 5; i++) {
      vi.advanceTimersByTime(TARGET);
      await complete();
      expect(pacer.budget).toBe(before);
    }
    // The queue was empty for an hour: that was no work either.
    vi.advanceTimersByTime(3_600_000);
    pacer.submitted(before);
    vi.advanceTimersByTime(TARGET);
    await complete();
    expect(pacer.budget).toBe(before);
  });

  it("that are too long or too short change the budget by what would have fitted, at most fourfold", async () => {
    for (const [milliseconds, factor] of [
      [2.5 * TARGET, 1 / 2.5],
      [100 * TARGET, 1 / 4],
      [TARGET / 2.5, 2.5],
      [TARGET / 100, 4],
      [1.9 * TARGET, 1],
      [TARGET / 1.9, 1],
    ] as const) {
      const { queue, complete } = makeQueue();
      const pacer = new SubmitPacer(queue, "gpu", TARGET);
      const before = pacer.budget;
      pacer.submitted(before);
      vi.advanceTimersByTime(milliseconds);
      await complete();
      expect(pacer.budget / before, `after ${milliseconds} ms`).toBeCloseTo(factor, 6);
    }
  });

  it("that were lost, or held no work, or were small and quick, teach nothing", async () => {
    const { queue, complete } = makeQueue();
    const pacer = new SubmitPacer(queue, "gpu", TARGET);
    const before = pacer.budget;
    pacer.submitted(before);
    vi.advanceTimersByTime(100 * TARGET);
    await complete(true);
    // Copies alone, behind somebody else's work.
    pacer.submitted(0);
    vi.advanceTimersByTime(100 * TARGET);
    await complete();
    expect(pacer.budget).toBe(before);
    // Done in the same tick of the clock.
    pacer.submitted(before);
    await complete();
    expect(pacer.budget).toBe(before);
    pacer.submitted(before / 3);
    vi.advanceTimersByTime(1);
    await complete();
    expect(pacer.budget).toBe(before);
  });
});

import { describe, expect, it, vi } from "vitest";
import { SubmitPacer } from "../../src/runtime/submit-pacer.ts";

/** A queue on a fake clock that does `rate` work a millisecond, one submit after another. */
function makeQueue(rate: number): { queue: GPUQueue; submit(pacer: SubmitPacer, work: number): number } {
  let free = 0;
  let next = 0;
  const queue = {
    onSubmittedWorkDone: () => new Promise<void>((resolve) => setTimeout(resolve, next - performance.now())),
  } as GPUQueue;
  return {
    queue,
    submit(pacer, work) {
      free = Math.max(free, performance.now()) + work / rate;
      next = free;
      pacer.submitted(work);
      return work / rate;
    },
  };
}

describe("submits", () => {
  for (const [name, rate] of [
    ["a slow adapter", 1e5],
    ["a fast adapter", 1e9],
  ] as const) {
    it(`come to hold about the target's time on ${name}, and never starve it`, async () => {
      vi.useFakeTimers();
      try {
        const { queue, submit } = makeQueue(rate);
        const pacer = new SubmitPacer(queue, "gpu", 50);
        const lengths: number[] = [];
        const loop = (async () => {
          for (let i = 0; i < 60; i++) {
            await pacer.ready();
            lengths.push(submit(pacer, pacer.budget));
          }
        })();
        await vi.advanceTimersByTimeAsync(1e7);
        await loop;
        for (const length of lengths.slice(-20)) {
          expect(length).toBeGreaterThan(20);
          expect(length).toBeLessThan(110);
        }
      } finally {
        vi.useRealTimers();
      }
    });
  }

  it("are not cut finer because completion is only reported every 100 ms", async () => {
    vi.useFakeTimers();
    try {
      const queue = {
        onSubmittedWorkDone: () => new Promise<void>((resolve) => setTimeout(resolve, 100 - (performance.now() % 100))),
      } as GPUQueue;
      const pacer = new SubmitPacer(queue, "gpu", 50);
      const before = pacer.budget;
      const loop = (async () => {
        for (let i = 0; i < 50; i++) {
          await pacer.ready();
          pacer.submitted(pacer.budget);
        }
      })();
      await vi.advanceTimersByTimeAsync(1e5);
      await loop;
      expect(pacer.budget).toBeGreaterThanOrEqual(before);
    } finally {
      vi.useRealTimers();
    }
  });
});

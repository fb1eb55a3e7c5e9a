// A rate is work over time, however the numbers of the steps come back from the device.
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { LogQueue, throwIfNotFinite } from "../../src/training/log-queue.ts";
import { METRIC } from "../../src/kernels/reduce.ts";

beforeEach(() => void vi.useFakeTimers({ toFake: ["performance", "setTimeout"] }));
afterEach(() => void vi.useRealTimers());

const TOKENS = 32;
const metrics = Float32Array.from({ length: METRIC.count }, (_, i) => Number(i === METRIC.loss));

/**
 * Trains on a device that does a step in `stepTime` milliseconds and gives its numbers back only every `poll`
 * milliseconds, all that are done at once or, `apart`, one timer's call after another. Returns what the events say.
 */
async function ratesOf(
  stepTime: (step: number) => number,
  poll: number,
  { steps = 200, apart = false, pauseEvery = 0 } = {},
): Promise<readonly { step: number; rate: number; at: number }[]> {
  const queue = new LogQueue(performance.now(), 0, TOKENS);
  const rates: { step: number; rate: number; at: number }[] = [];
  let done = performance.now();
  for (let step = 1; step <= steps; step++) {
    done = Math.max(done, performance.now()) + stepTime(step);
    const back = Math.ceil(done / poll) * poll - performance.now();
    queue.push(step, 1, new Promise((resolve) => setTimeout(resolve, back, metrics)));
    const pauses = pauseEvery > 0 && step % pauseEvery === 0;
    const settled = queue.settle(pauses || step === steps);
    const wait = { over: false };
    void settled.then(() => (wait.over = true));
    await Promise.resolve();
    for (await settledSoon(); !wait.over; await settledSoon())
      await (apart ? vi.advanceTimersToNextTimerAsync() : vi.advanceTimersByTimeAsync(poll - (performance.now() % poll)));
    await settled;
    for (let event = queue.shift(); event; event = queue.shift())
      rates.push({ step: event.step, rate: event.tokensPerSecond, at: performance.now() });
    if (pauses) {
      // An evaluation of five seconds.
      await vi.advanceTimersByTimeAsync(5000);
      queue.pausedFor(5000);
    }
  }
  expect(rates.map(({ step }) => step)).toEqual(Array.from({ length: steps }, (_, i) => i + 1));
  return rates;
}
const settledSoon = async (): Promise<void> => {
  for (let i = 0; i < 5; i++) await Promise.resolve();
};

for (const poll of [10, 100, 400]) {
  for (const stepTime of [2, 25, 90, 1500]) {
    it(`${stepTime} ms a step, numbers back every ${poll} ms: every event is right within a factor of two`, async () => {
      // With nine numbers under way the loop waits, and the device with it.
      const right = (1000 * TOKENS) / Math.max(stepTime, poll / 9);
      for (const { rate } of await ratesOf(() => stepTime, poll)) {
        expect(rate).toBeGreaterThan(right / 2);
        expect(rate).toBeLessThan(right * 2);
      }
    });
  }
}

it("numbers that come back together but are told one after another are right from the second window on", async () => {
  for (const { rate, at } of await ratesOf(() => 25, 200, { apart: true })) {
    if (at < 1200) continue;
    expect(Math.abs(rate / 1280 - 1)).toBeLessThan(0.5);
  }
});

it("pauses do not count as training", async () => {
  for (const { rate } of await ratesOf(() => 25, 10, { pauseEvery: 50 })) {
    expect(rate).toBeGreaterThan(700);
    expect(rate).toBeLessThan(1500);
  }
});

it("a device that becomes four times slower is told so within two seconds", async () => {
  const rates = await ratesOf((step) => (step <= 100 ? 20 : 80), 10, { steps: 200 });
  const fast = rates.filter(({ step }) => step <= 100);
  const changed = rates.find(({ step }) => step === 101)!.at;
  const slow = rates.filter(({ at }) => at > changed + 2000);
  expect(slow.length).toBeGreaterThan(20);
  for (const { rate } of fast) expect(Math.abs(rate / 1600 - 1)).toBeLessThan(0.5);
  for (const { rate } of slow) expect(Math.abs(rate / 400 - 1)).toBeLessThan(0.25);
});

it("a rate is that of the steps of the last second at least, and no more of them than it takes", async () => {
  const queue = new LogQueue(performance.now(), 0, TOKENS);
  const rates: number[] = [];
  for (const [i, milliseconds] of [600, 600, 300, 300, 600].entries()) {
    queue.push(i + 1, 1, new Promise((resolve) => setTimeout(resolve, milliseconds, metrics)));
    await vi.advanceTimersByTimeAsync(milliseconds);
    rates.push(queue.shift()!.tokensPerSecond);
  }
  // 1, 2 and 3 steps from the beginning, then 3 in 1200 ms, from the first on, and 3 in 1200 ms, from the second on.
  const right = [1 / 0.6, 2 / 1.2, 3 / 1.5, 3 / 1.2, 3 / 1.2];
  rates.forEach((rate, i) => expect(rate, `step ${i + 1}`).toBeCloseTo(TOKENS * right[i]!, 6));
});

it("numbers that overtake those of the step before count from when they came", async () => {
  const queue = new LogQueue(performance.now(), 0, TOKENS);
  queue.push(1, 1, new Promise((resolve) => setTimeout(resolve, 20, metrics)));
  queue.push(2, 1, new Promise((resolve) => setTimeout(resolve, 10, metrics)));
  await vi.advanceTimersByTimeAsync(10);
  // In order, though the second's are here.
  expect(queue.shift()).toBeUndefined();
  await vi.advanceTimersByTimeAsync(10);
  // Two steps were done in 10 ms.
  for (const step of [1, 2]) expect(queue.shift()).toMatchObject({ step, tokensPerSecond: (2 * TOKENS) / 0.01 });
});

it("what is not finite, or once was not, says so with the numbers of now, and what to do", () => {
  const of = (loss: number, norm: number, skipped: number): Float32Array => {
    const values = new Float32Array(METRIC.count);
    [values[METRIC.loss], values[METRIC.norm], values[METRIC.skipped]] = [loss, norm, skipped];
    return values;
  };
  expect(() => throwIfNotFinite(7, of(2, 0.5, 0))).not.toThrow();
  for (const [loss, norm, skipped] of [
    [2, 0.5, 1],
    [NaN, 0.5, 0],
    [2, Infinity, 0],
  ] as const) {
    expect(() => throwIfNotFinite(7, of(loss, norm, skipped))).toThrow(
      expect.objectContaining({
        code: "E_NAN_LOSS",
        message:
          `by step 7 a gradient was not finite (loss ${loss}, gradient norm ${norm} now); the parameters are those from ` +
          "before it. Lower the learning rate, or clip the gradient",
      }),
    );
  }
});

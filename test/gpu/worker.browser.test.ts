import { expect, it } from "vitest";

/** The one message of a worker. */
async function answerOf<T>(worker: Worker): Promise<T> {
  const answer = await new Promise<T>((resolve, reject) => {
    worker.onmessage = ({ data }) => (typeof data === "string" ? reject(new Error(data)) : resolve(data));
    worker.onerror = (event) => reject(new Error(event.message));
  });
  worker.terminate();
  return answer;
}

it("trains in a worker as on the page", async () => {
  const losses = await answerOf<number[]>(new Worker(new URL("./training-worker.ts", import.meta.url), { type: "module" }));
  expect(losses).toHaveLength(5);
  expect(losses.every(Number.isFinite)).toBe(true);
  expect(losses.at(-1)!).toBeLessThan(losses[0]!);
});

it("remembers in a worker what another has tuned", async () => {
  const tune = () =>
    answerOf<{ chosen?: string; milliseconds?: number }>(
      new Worker(new URL("./tuning-worker.ts", import.meta.url), { type: "module" }),
    );
  indexedDB.deleteDatabase("gatewise-tuning");
  const first = await tune();
  expect(first.chosen).toBe("fast");
  expect(first.milliseconds).toBeGreaterThan(0);
  expect(await tune()).toEqual({ chosen: "fast", milliseconds: 0 });
});

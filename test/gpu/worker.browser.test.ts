import { expect, it } from "vitest";

it("trains in a worker as on the page", async () => {
  const worker = new Worker(new URL("./training-worker.ts", import.meta.url), { type: "module" });
  const losses = await new Promise<number[]>((resolve, reject) => {
    worker.onmessage = ({ data }) => (Array.isArray(data) ? resolve(data) : reject(new Error(String(data))));
    worker.onerror = (event) => reject(new Error(event.message));
  });
  worker.terminate();
  expect(losses).toHaveLength(5);
  expect(losses.every(Number.isFinite)).toBe(true);
  expect(losses.at(-1)!).toBeLessThan(losses[0]!);
});

// The page's way to its training worker, and what was last worth saying.
import { signal } from "@preact/signals";
import * as Comlink from "comlink";
import { scriptUrl } from "../../trusted.ts";
import type { LabWorker } from "../../worker/worker.ts";
import workerUrl from "../../worker/worker.ts?worker&url";

/** The last thing worth saying; read out by screen readers. */
export const status = signal("");
/** Whether a command is under way that the buttons should wait for. */
export const busy = signal(false);

const thread = new Worker(scriptUrl(workerUrl), { type: "module", name: "training" });
thread.addEventListener("error", ({ message }) => {
  status.value = `The lab’s worker ${message ? `failed: ${message}` : "could not be loaded"}; reload the page.`;
});
export const worker: Comlink.Remote<LabWorker> = Comlink.wrap<LabWorker>(thread);

/** Runs a command while the buttons wait. */
export async function command(task: () => Promise<unknown>): Promise<void> {
  if (busy.value) return;
  busy.value = true;
  try {
    await task();
  } catch (error) {
    status.value = error instanceof Error ? error.message : String(error);
  } finally {
    busy.value = false;
  }
}

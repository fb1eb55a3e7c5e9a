// The page's way to its training worker, which is started when something is to be trained, and what was last worth saying.
import { signal } from "@preact/signals";
import * as Comlink from "comlink";
import type { LabEvent } from "../../protocol.ts";
import { scriptUrl } from "../../trusted.ts";
import type { LabWorker } from "../../worker/worker.ts";
import workerUrl from "../../worker/worker.ts?worker&url";

/** The last thing worth saying; read out by screen readers. */
export const status = signal("");
/** Whether a command is under way that the buttons should wait for. */
export const busy = signal(false);

const commands = new MessageChannel();
/** What is asked of it before it is started waits until then. */
export const worker: Comlink.Remote<LabWorker> = Comlink.wrap<LabWorker>(commands.port1);

export function start(hear: (event: LabEvent) => void): void {
  const thread = new Worker(scriptUrl(workerUrl), { type: "module", name: "training" });
  thread.addEventListener("error", ({ message }) => {
    status.value = `The lab’s worker ${message ? `failed: ${message}` : "could not be loaded"}; reload the page.`;
  });
  const events = new MessageChannel();
  events.port1.onmessage = ({ data }: MessageEvent<LabEvent>) => hear(data);
  thread.postMessage(undefined, [commands.port2, events.port2]);
}

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

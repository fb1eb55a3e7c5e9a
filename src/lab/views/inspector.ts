// The views' way to the worker that computes for them.
import * as Comlink from "comlink";
import type { Inspector } from "../worker/inspect-worker.ts";
import workerUrl from "../worker/inspect-worker.ts?worker&url";
import { scriptUrl } from "../trusted.ts";

const thread = new Worker(scriptUrl(workerUrl), { type: "module", name: "inspector" });

const failure = new Promise<never>((_, reject) => {
  thread.addEventListener("error", ({ message }) =>
    reject(new Error(`what the views compute with ${message ? `failed: ${message}` : "could not be loaded"}; reload the page`)),
  );
});
failure.catch(() => {});

export const inspector: Comlink.Remote<Inspector> = Comlink.wrap<Inspector>(thread);

/** An answer of the inspector, or why there will be none. */
export const answered = <T>(answer: Promise<T>): Promise<T> => Promise.race([answer, failure]);

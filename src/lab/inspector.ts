// The views' way to the worker that computes for them.
import * as Comlink from "comlink";
import type { Inspector } from "./inspect-worker.ts";
import workerUrl from "./inspect-worker.ts?worker&url";
import { scriptUrl } from "./trusted.ts";

export const inspector: Comlink.Remote<Inspector> = Comlink.wrap<Inspector>(
  new Worker(scriptUrl(workerUrl), { type: "module", name: "inspector" }),
);

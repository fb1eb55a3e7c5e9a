// Runs the benchmarks beside the page, which stays free to draw.
import { GatewiseError } from "../src/errors.ts";
import { runBenchmarks, type Report, type ReportOptions } from "../src/bench/report.ts";
import { openDevice, type OpenDeviceOptions } from "../src/runtime/open.ts";
import { version } from "../package.json";

export type ToWorker =
  | {
      readonly type: "run";
      readonly engine: string;
      /** What to measure. */
      readonly device: OpenDeviceOptions["prefer"];
      readonly options: Pick<ReportOptions, "sections" | "hidden" | "rounds" | "seconds">;
      /** What earlier runs tuned: workers have no local storage. */
      readonly tuning: Readonly<Record<string, string>>;
    }
  | { readonly type: "stop" };
export type FromWorker =
  | { readonly type: "progress"; readonly what: string; readonly done: number }
  | { readonly type: "report"; readonly report: Report }
  | { readonly type: "save"; readonly name: string; readonly text: string }
  | { readonly type: "end"; readonly problem?: string };

const send = (message: FromWorker): void => postMessage(message);
let stop: AbortController | undefined;

addEventListener("message", ({ data }: MessageEvent<ToWorker>) => {
  if (data.type === "stop") stop?.abort();
  else void run(data);
});

async function run({ engine, device: prefer, options, tuning }: Extract<ToWorker, { type: "run" }>): Promise<void> {
  stop = new AbortController();
  try {
    const device = await openDevice({
      prefer,
      tuningStore: { load: (name) => tuning[name], save: (name, text) => send({ type: "save", name, text }) },
      onTuning: ({ key }) => key && send({ type: "progress", what: `tuning ${key}`, done: NaN }),
    });
    try {
      const about = { engine, version, cores: navigator.hardwareConcurrency };
      const report = await runBenchmarks(device, about, {
        ...options,
        signal: stop.signal,
        onProgress: (what, done) => send({ type: "progress", what, done }),
        onSection: (so) => send({ type: "report", report: so }),
      });
      send({ type: "report", report });
    } finally {
      device.dispose();
    }
    send({ type: "end" });
  } catch (error) {
    if (stop.signal.aborted) send({ type: "end" });
    else send({ type: "end", problem: error instanceof GatewiseError || error instanceof Error ? error.message : String(error) });
  }
}

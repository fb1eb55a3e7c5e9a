import { writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { createRequire } from "node:module";
import { GatewiseError } from "../errors.ts";
import { runBenchmarks, toMarkdown, type Report, type Section } from "../bench/report.ts";
import { PATIENT_TUNING, withDevice, type DeviceFlags } from "./device.ts";
import type { Device } from "../runtime/device.ts";
import { live, print, printJson, say } from "./progress.ts";
import { listenForStop } from "./stop.ts";
import { version } from "./version.ts";

export interface BenchFlags extends DeviceFlags {
  readonly kernel?: string;
  readonly train?: boolean;
  readonly deepbench?: boolean;
  readonly sampling?: boolean;
  readonly scaling?: boolean;
  readonly hidden?: readonly number[];
  readonly rounds: number;
  readonly seconds: number;
  readonly markdown?: string;
  readonly json?: boolean;
}

/** `gatewise bench`. Returns the exit code. */
export async function bench(flags: BenchFlags): Promise<number> {
  const asked: Section[] = [
    ...(flags.kernel === undefined ? [] : (["kernels"] as const)),
    ...(flags.train ? (["training"] as const) : []),
    ...(flags.deepbench ? (["deepbench"] as const) : []),
    ...(flags.sampling ? (["sampling"] as const) : []),
    ...(flags.scaling ? (["scaling"] as const) : []),
  ];
  // Hidden sizes alone ask for training steps.
  const sections = asked.length === 0 && flags.hidden ? (["training"] as const) : asked;
  // What is measured are the kernels at their best.
  return withDevice({ ...flags, tuningMilliseconds: PATIENT_TUNING }, async (device) => {
    const stop = listenForStop(() => say("stopping"));
    let last: Report | undefined;
    let failure: unknown;
    if (!flags.json) say(`device: ${device.description}`);
    try {
      const report = await runBenchmarks(
        device,
        { engine: engine(device), version: version(), cores: availableParallelism() },
        {
          ...(sections.length > 0 && { sections }),
          kernel: flags.kernel,
          hidden: flags.hidden,
          rounds: flags.rounds,
          seconds: flags.seconds,
          signal: stop.signal,
          onProgress: (what, done) => live(`${Math.round(100 * done)} % · ${what}`),
          onSection: (so) => (last = so),
        },
      );
      if (report.kernels?.length === 0) {
        throw new GatewiseError("E_CONFIG", `--kernel: no kernel's name contains ${JSON.stringify(flags.kernel)}`);
      }
      last = report;
    } catch (error) {
      failure = error;
    }
    // What was measured before a Ctrl-C or a failure is not lost.
    if (last) {
      if (flags.json) printJson(last);
      else print(toMarkdown(last));
      if (flags.markdown) await writeFile(flags.markdown, toMarkdown(last));
    }
    if (failure !== undefined && stop.exitCode === undefined) throw failure;
    return stop.exitCode ?? 0;
  });
}

function engine({ kind }: Device): string {
  const node = `Node ${process.version}`;
  if (kind !== "webgpu") return node;
  const { version: dawn } = createRequire(import.meta.url)("webgpu/package.json") as { version: string };
  return `${node} · npm webgpu ${dawn} (Dawn)`;
}

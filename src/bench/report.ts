// A benchmark's results as data and as Markdown, with what one must know to read them: adapter, engine, date.
import type { Device } from "../runtime/device.ts";
import type { AdapterLimits } from "../runtime/probe.ts";
import { benchmarkKernels, kernelBenchmarks, type KernelResult } from "./kernels.ts";
import type { Timing } from "./measure.ts";
import {
  benchmarkSampling,
  benchmarkScaling,
  benchmarkTraining,
  DEEP_BENCH,
  describeSizes,
  type SamplingResult,
  type ScalingResult,
  type Skipped,
  type TrainingResult,
  type TrainingSizes,
} from "./training.ts";
import { PRESET_NAMES } from "../models/presets.ts";
import { probeAdapter } from "../runtime/probe.ts";

export const SECTIONS = ["kernels", "training", "deepbench", "sampling", "scaling"] as const;
export type Section = (typeof SECTIONS)[number];

export interface ReportOptions {
  /** Sections to measure; all but the long "deepbench" by default. */
  readonly sections?: readonly Section[];
  /** Only kernels whose name contains this. */
  readonly kernel?: string | undefined;
  /** Hidden sizes of the training steps. */
  readonly hidden?: readonly number[] | undefined;
  readonly rounds?: number | undefined;
  /** Seconds that one measurement may take; what would take longer is left out, and said to be. */
  readonly seconds?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** What is measured now, and the share of all that is done. */
  readonly onProgress?: ((what: string, done: number) => void) | undefined;
  /** Each result as soon as it is there. */
  readonly onSection?: ((report: Report) => void) | undefined;
}

export interface Report {
  readonly v: 1;
  readonly event: "bench";
  readonly gatewise: string;
  readonly date: string;
  /** "llvmpipe (software) · WebGPU". */
  readonly adapter: string;
  /** The browser, or Node with Dawn. */
  readonly engine: string;
  readonly cores: number | undefined;
  readonly limits: AdapterLimits;
  /** Milliseconds spent tuning kernels in this run. */
  readonly tuning: number;
  readonly kernels?: readonly KernelResult[];
  readonly training?: readonly TrainingResult[];
  readonly deepbench?: readonly TrainingResult[];
  readonly sampling?: readonly SamplingResult[];
  readonly scaling?: readonly ScalingResult[];
  readonly skipped: readonly Skipped[];
}

/** Hidden sizes of the training steps, as far as memory and patience go. */
export const HIDDEN_SIZES = [64, 128, 256, 512, 1024, 2048, 4096] as const;
/** Floating-point operations of a kernel above which a software adapter would need seconds for it. */
const MOST_WORK = { software: 5e8, wasm: 2e9, gpu: 1e11 } as const;

/** Measures what is asked for. `engine` names browser or runtime, `version` Gatewise's own. */
export async function runBenchmarks(
  device: Device,
  about: { readonly engine: string; readonly version: string; readonly cores?: number },
  options: ReportOptions = {},
): Promise<Report> {
  const { sections = SECTIONS.filter((section) => section !== "deepbench"), kernel, signal, onProgress, onSection } = options;
  const rounds = options.rounds ?? 5;
  const seconds = options.seconds ?? 20;
  const share = (section: Section, part = 0): number => (sections.indexOf(section) + part) / sections.length;
  onProgress?.("the adapter's limits", 0);
  const report: { -readonly [K in keyof Report]: Report[K] } = {
    v: 1,
    event: "bench",
    gatewise: about.version,
    date: new Date().toISOString(),
    adapter: device.description,
    engine: about.engine,
    cores: about.cores,
    limits: await probeAdapter(device),
    tuning: 0,
    skipped: [],
  };
  const settings = { rounds, seconds, signal };
  const most = Math.max(...(options.hidden ?? HIDDEN_SIZES));
  for (const section of SECTIONS) {
    if (!sections.includes(section)) continue;
    signal?.throwIfAborted();
    if (section === "kernels") {
      const all = kernelBenchmarks(MOST_WORK[device.family], most).filter((each) => !kernel || each.kernel.includes(kernel));
      report.kernels = await benchmarkKernels(device, all, report.limits, {
        ...settings,
        onProgress: (done, of) => onProgress?.("kernels", share(section, done / of)),
      });
    } else if (section === "training" || section === "deepbench") {
      const sizes = section === "deepbench" ? DEEP_BENCH : trainingSizes(options.hidden ?? HIDDEN_SIZES);
      const { results, skipped } = await benchmarkTraining(device, sizes, {
        ...settings,
        onProgress: (what) =>
          onProgress?.(what, share(section, sizes.findIndex((each) => describeSizes(each) === what) / sizes.length)),
      });
      report[section] = results;
      report.skipped = [...report.skipped, ...skipped];
    } else if (section === "sampling") {
      onProgress?.("sampling", share(section));
      const made: SamplingResult[] = [];
      for (const preset of PRESET_NAMES) made.push(await benchmarkSampling(device, preset, Math.min(512, most), settings));
      report.sampling = made;
    } else {
      report.scaling = await benchmarkScaling(device, { ...settings, onProgress: (what) => onProgress?.(what, share(section)) });
    }
    report.tuning = device.tuner?.milliseconds ?? 0;
    onSection?.(report);
  }
  onProgress?.("done", 1);
  return report;
}

/** The presets at each hidden size; the batch of char-rnn's usual sizes. */
const trainingSizes = (hidden: readonly number[]): readonly TrainingSizes[] =>
  hidden.flatMap((H) => PRESET_NAMES.map((preset): TrainingSizes => ({ preset, H, B: 64, T: 50 })));

const digits = (value: number): string => (value >= 1000 ? String(Math.round(value)) : String(Number(value.toPrecision(3))));
const percent = (part: number): string => `${(100 * part).toFixed(part < 0.1 ? 1 : 0)} %`;
const mebibytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);
const spread = ({ median, min, max }: Timing): string => `${digits(median)} (${digits(min)}–${digits(max)})`;

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

/** A report for people. */
export function toMarkdown(report: Report): string {
  const { limits, kernels, training, deepbench, sampling, scaling, skipped } = report;
  const parts = [
    `# Gatewise ${report.gatewise} on ${report.adapter}`,
    `${report.engine}${report.cores ? ` · ${report.cores} CPU cores` : ""} · ${report.date.slice(0, 10)} · times are medians (min–max) in ms over interleaved rounds`,
    "## The adapter's own limits",
    table(
      ["f32 multiply-add", "f16 multiply-add", "copy", "dispatch", "submit", "submit + read-back", "barrier of 64"],
      [
        [
          `${digits(limits.gigaflops)} GFLOP/s`,
          limits.gigaflopsHalf ? `${digits(limits.gigaflopsHalf)} GFLOP/s` : "none",
          `${digits(limits.gigabytesPerSecond)} GB/s`,
          `${digits(limits.dispatch)} µs`,
          `${digits(limits.submit)} µs`,
          `${digits(limits.readBack)} µs`,
          limits.barrier === undefined ? "none" : `${digits(limits.barrier)} ns`,
        ],
      ],
    ),
  ];
  if (kernels) {
    parts.push(
      "## Kernels",
      table(
        ["kernel", "sizes", "ms", "rate", "of the limit", "of the plain matmul", "variant"],
        kernels.map((k) => [
          k.kernel,
          k.sizes,
          spread(k.milliseconds),
          `${digits(k.rate)} ${k.unit}`,
          percent(k.share),
          k.ofMatmul === undefined ? "" : k.ofMatmul.toFixed(2),
          k.variant,
        ]),
      ),
    );
  }
  for (const [title, results] of [
    ["Training steps", training],
    ["DeepBench's shapes", deepbench],
  ] as const) {
    if (!results) continue;
    const head = ["model", "ms a step", "characters/s", "GFLOP/s", "of the limit", "dispatches", "submits", "MiB", "parameters"];
    parts.push(
      `## ${title}`,
      table(
        head,
        results.map((r) => [
          describeSizes(r),
          spread(r.milliseconds),
          digits(r.tokensPerSecond),
          digits(r.gigaflops),
          percent(r.gigaflops / limits.gigaflops),
          String(r.dispatches),
          digits(r.submits),
          mebibytes(r.bytes),
          r.parameters.toLocaleString("en-US"),
        ]),
      ),
    );
  }
  if (sampling) {
    parts.push(
      "## Writing text, one character at a time",
      table(
        ["model", "ms a character", "ms for a prefix of 64 again", "ratio", "submits a character"],
        sampling.map((s) => [
          `${s.preset} H=${s.H}`,
          spread(s.character),
          spread(s.prefix),
          (s.prefix.median / s.character.median).toFixed(1),
          s.submitsPerCharacter.toFixed(3),
        ]),
      ),
    );
  }
  if (scaling) {
    parts.push(
      "## How the time of an LSTM training step grows",
      table(
        ["with", "at", "ms", "exponent"],
        scaling.map((s) => [s.axis, s.of, s.points.map(([n, ms]) => `${n}: ${digits(ms)}`).join(" · "), s.exponent.toFixed(2)]),
      ),
    );
  }
  if (skipped.length > 0) parts.push("## Left out", ...skipped.map(({ sizes, reason }) => `- ${sizes}: ${reason}`));
  return `${parts.join("\n\n").replaceAll("\n\n- ", "\n- ")}\n`;
}

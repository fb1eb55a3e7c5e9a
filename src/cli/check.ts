import { LanguageModel } from "../models/language-model.ts";
import { modelFromCheckpoint } from "../training/checkpoint.ts";
import {
  BREAKAGES,
  checkGradients,
  CHECKED_CELLS,
  type Breakage,
  type CheckedCell,
  type CheckResult,
} from "../training/gradient-check.ts";
import { GatewiseError } from "../errors.ts";
import { withDevice, type DeviceFlags } from "./device.ts";
import { findCheckpoint } from "./files.ts";
import { duration, live, print, printJson, say, warn } from "./progress.ts";

export interface CheckFlags extends DeviceFlags {
  readonly cell: string;
  readonly quick?: boolean;
  readonly model?: string;
  /** Breaks the model on the device on purpose: shows that the check can fail. */
  readonly break?: string;
  readonly json?: boolean;
}

/** Exit code of a check that found a wrong gradient. */
const CHECK_FAILED = 6;

const TITLES: Readonly<Record<CheckResult["part"], string>> = {
  probe: "what drivers get wrong",
  gradients: "gradients against the float64 reference",
  differences: "the reference against finite differences",
  direction: "the loss along its gradient, on the device alone",
  kernel: "kernels against their references",
};

/** `gatewise check`. Returns the exit code. */
export async function check(flags: CheckFlags): Promise<number> {
  const cells = flags.cell === "all" ? undefined : [oneOf("--cell", flags.cell, ["all", ...Object.keys(CHECKED_CELLS)])];
  const breakage = flags.break === undefined ? undefined : oneOf("--break", flags.break, BREAKAGES);
  const found = flags.model === undefined ? undefined : await findCheckpoint(flags.model, warn);
  return withDevice(flags, async (device) => {
    if (!flags.json) say(`device: ${device.description}`);
    let part = "";
    const onResult = (result: CheckResult): void => {
      if (flags.json) return printJson({ v: 1, event: "check", ...result, error: finite(result.error) });
      if (result.part !== part) print(`${part ? "\n" : ""}${TITLES[result.part]}\n`);
      part = result.part;
      print(`${row(result)}\n`);
      live("checking…");
    };
    let model: LanguageModel | undefined;
    try {
      model = found && modelFromCheckpoint(device, found.checkpoint);
      const report = await checkGradients(device, {
        ...(cells && { cells: cells as CheckedCell[] }),
        ...(model && { model }),
        ...(breakage && { breakage: breakage as Breakage }),
        quick: flags.quick ?? false,
        onResult,
      });
      const failed = report.results.filter((result) => !result.passed);
      if (flags.json) {
        printJson({
          v: 1,
          event: "end",
          passed: report.passed,
          checks: report.results.length,
          failed: failed.length,
          device: report.device,
          seconds: report.seconds,
        });
      } else {
        const verdict = report.passed
          ? `all ${report.results.length} checks passed`
          : `${failed.length} of ${report.results.length} checks failed`;
        print(`\n${verdict} in ${duration(report.seconds)} on ${report.device}\n`);
        if (!report.passed)
          say("do not trust gradients computed on this device; please report the lines above with your driver's version");
      }
      return report.passed ? 0 : CHECK_FAILED;
    } finally {
      model?.dispose();
    }
  });
}

function row({ name, passed, error, tolerance, tensor, detail, part }: CheckResult): string {
  const measure =
    part === "kernel" && passed ? "" : ` ${error === 0 ? "0" : error.toExponential(1)} (at most ${tolerance.toExponential(0)})`;
  const worst = tensor ? ` · worst ${tensor}` : "";
  return `  ${passed ? "ok  " : "FAIL"} ${name.padEnd(36)}${measure}${worst}${passed || !detail ? "" : ` ${detail}`}`;
}

/** JSON has no infinity. */
const finite = (x: number): number | null => (Number.isFinite(x) ? x : null);

function oneOf(flag: string, value: string, words: readonly string[]): string {
  if (words.includes(value)) return value;
  throw new GatewiseError("E_CONFIG", `${flag} must be one of ${words.join(", ")}, got ${value}`);
}

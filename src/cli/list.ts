// `gatewise list`: the runs in a folder, the newest first.
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { GatewiseError } from "../errors.ts";
import { parameterCount } from "../models/config.ts";
import { modelName } from "../models/presets.ts";
import { bitsPerByte, findCheckpoint, readRunInfo } from "./files.ts";
import { count, plainTable, print, printJson, say, shown } from "./progress.ts";

/** A run, or why it cannot be read. */
interface Listed {
  readonly run: string;
  /** When its newest checkpoint was written. */
  readonly date: Date;
  readonly problem?: string;
  readonly model?: string;
  readonly parameters?: number;
  readonly hiddenSize?: number;
  readonly numLayers?: number;
  readonly step?: number;
  readonly totalSteps?: number;
  readonly bestValLoss?: number;
  readonly bestStep?: number;
  /** The best loss by the bytes of the text: what runs of different tokenizers can be compared by. */
  readonly bestBitsPerByte?: number;
}

/** `gatewise list`. Returns the exit code. */
export async function list(folder: string, { json }: { readonly json?: boolean }): Promise<number> {
  const names = await readdir(folder, { withFileTypes: true }).catch((cause: unknown) => {
    throw new GatewiseError("E_DATA", `no folder of runs: ${folder}; train one, or name another`, { cause });
  });
  const runs = (await Promise.all(names.filter((entry) => entry.isDirectory()).map(({ name }) => look(join(folder, name)))))
    .filter((run) => run !== undefined)
    .sort((a, b) => b.date.getTime() - a.date.getTime());
  if (json) for (const run of runs) printJson({ v: 1, event: "run", ...run, date: run.date.toISOString() });
  else if (runs.length === 0) say(`no runs in ${shown(folder)}`);
  else print(plainTable([HEADINGS, ...runs.map(cells)]));
  return 0;
}

/** What there is to say of a folder; undefined of one without checkpoints. */
async function look(folder: string): Promise<Listed | undefined> {
  const files = (await readdir(folder)).filter((name) => name.endsWith(".safetensors"));
  if (files.length === 0) return undefined;
  const times = await Promise.all(files.map(async (name) => (await stat(join(folder, name))).mtimeMs));
  const found = { run: folder, date: new Date(Math.max(...times)) };
  try {
    const { config, training } = (await findCheckpoint(folder, () => {})).checkpoint;
    const bits = training?.bestValLoss == null ? undefined : bitsPerByte(training.bestValLoss, await readRunInfo(folder));
    return {
      ...found,
      model: modelName(config),
      parameters: parameterCount(config),
      hiddenSize: config.hiddenSize,
      numLayers: config.numLayers,
      ...(training && { step: training.step, totalSteps: training.options.totalSteps }),
      ...(training?.bestValLoss != null && { bestValLoss: training.bestValLoss }),
      ...(training?.bestStep != null && { bestStep: training.bestStep }),
      ...(bits !== undefined && { bestBitsPerByte: bits }),
    };
  } catch (error) {
    if (!(error instanceof GatewiseError)) throw error;
    return { ...found, problem: error.message };
  }
}

const HEADINGS = ["run", "model", "hidden", "layers", "parameters", "step", "best loss", "bits/byte", "at step", "saved"];
const text = (value: number | undefined): string => (value === undefined ? "" : count(value));
const cells = (run: Listed): string[] => [
  shown(run.run),
  run.model ?? "damaged",
  text(run.hiddenSize),
  text(run.numLayers),
  text(run.parameters),
  run.step === undefined ? "" : `${count(run.step)}/${count(run.totalSteps!)}`,
  run.bestValLoss?.toFixed(3) ?? "",
  run.bestBitsPerByte?.toFixed(2) ?? "",
  text(run.bestStep),
  run.date.toISOString().slice(0, 16).replace("T", " "),
];

// What comes back from the browser's storage, which anything on the same server may have changed: each kind is checked
// before it is used.
import * as v from "valibot";
import { shown } from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import type { StoredRun } from "./protocol.ts";
import { PRESET_NAMES, type PresetName } from "../models/presets.ts";
import { presetsOf } from "./kinds.ts";
import { SamplingSchema, StoredSettingsSchema, type Settings } from "./settings.ts";

const IdSchema = v.pipe(v.string(), v.regex(/^[a-z0-9-]{1,40}$/));
const StoredRunSchema = v.object({
  id: IdSchema,
  settings: StoredSettingsSchema,
  sampling: SamplingSchema,
  presets: v.pipe(v.array(v.picklist(PRESET_NAMES)), v.minLength(1), v.maxLength(PRESET_NAMES.length)),
  title: v.pipe(v.string(), v.maxLength(200)),
});

/** @throws GatewiseError E_DATA that names the field of `text`, a run.json, that is not as it is written here */
export function parseRun(text: string): StoredRun {
  const damaged = (why: string, cause?: unknown): GatewiseError =>
    new GatewiseError("E_DATA", `the run's description, run.json, is damaged: ${why}; delete the run`, { cause });
  let stored: unknown;
  try {
    stored = JSON.parse(text);
  } catch (cause) {
    throw damaged(`no JSON, but ${shown(text)}`, cause);
  }
  const { success, output, issues } = v.safeParse(StoredRunSchema, stored);
  if (!success) {
    const [issue] = issues;
    throw damaged(`${v.getDotPath(issue) ?? "all of it"}: expected ${issue.expected}, got ${shown(issue.input)}`);
  }
  const { settings, presets } = output as StoredRun;
  // A race that was run before there was a preset more goes on without it.
  const expected = presetsOf(settings);
  if (presets.some((preset, i) => expected.indexOf(preset) <= (i > 0 ? expected.indexOf(presets[i - 1]!) : -1)))
    throw damaged(`presets: expected ${expected.join(", ")}, got ${presets.join(", ")}`);
  return output as StoredRun;
}

/** A run in the table of runs. */
export interface RunSummary {
  readonly id: string;
  readonly name: string;
  readonly created: number;
  readonly title: string;
  readonly settings: Settings;
  readonly models: readonly {
    readonly preset: PresetName;
    readonly step: number;
    readonly best: number | null;
    readonly rate: number | null;
  }[];
}

/** The latest time that a Date holds. */
const LATEST = 8.64e15;
const finite = v.pipe(v.number(), v.finite());
const RunSummarySchema = v.object({
  id: IdSchema,
  name: v.pipe(v.string(), v.maxLength(80)),
  created: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(LATEST)),
  title: v.pipe(v.string(), v.maxLength(200)),
  settings: StoredSettingsSchema,
  models: v.pipe(
    v.array(
      v.object({
        preset: v.picklist(PRESET_NAMES),
        step: v.pipe(v.number(), v.safeInteger(), v.minValue(0)),
        best: v.nullable(finite),
        rate: v.nullable(finite),
      }),
    ),
    v.minLength(1),
    v.maxLength(PRESET_NAMES.length),
  ),
});

/** Runs that the table holds at the most. */
export const MOST_RUNS = 40;

/** The lines of a stored table that are as they are written here, each run once. */
export function validRuns(stored: unknown): readonly RunSummary[] {
  if (!Array.isArray(stored)) return [];
  const lines = stored.slice(0, 2 * MOST_RUNS).flatMap((line): RunSummary[] => {
    const { success, output } = v.safeParse(RunSummarySchema, line);
    return success ? [output as RunSummary] : [];
  });
  return lines.filter(({ id }, i) => lines.findIndex((line) => line.id === id) === i);
}

/** The rows of a log, up to the first that no training writes: steps are whole numbers that grow, losses are finite. */
export function soundRows(values: Float32Array, fields: number): number[] {
  let end = 0;
  for (let last = 0; end + fields <= values.length; end += fields) {
    const step = values[end]!;
    if (!(Number.isInteger(step) && step > last && values.subarray(end, end + fields).every(Number.isFinite))) break;
    last = step;
  }
  return Array.from(values.subarray(0, end));
}

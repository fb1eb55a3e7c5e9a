// What the views look at: the visitor's own run as it is now, or a prepared one after some step, and a passage of its book.
import { batch, computed, signal } from "@preact/signals";
import { fromStart } from "../../passage.ts";
import type { PresetName } from "../../../models/presets.ts";
import { changePlace, place } from "../../place.ts";
import { PREPARED, PREPARED_NAMES, preparedPresets, type PreparedName } from "../../prepared.ts";
import { readBook } from "../../prepared-files.ts";
import type { ModelSnapshot } from "../../protocol.ts";
import { answered, inspector } from "../../views/inspector.ts";
import { status, worker } from "./link.ts";
import * as plan from "./plan.ts";
import * as stage from "./stage.ts";

const PASSAGE_LENGTH = 160;
/** Characters that the views of a whole book are sure to get where it has as many, and those that they get at most. */
const [BOOK_LEAST, BOOK_LENGTH] = [3000, 12_000];

export const OWN = "own";
export type SourceName = typeof OWN | PreparedName;

/** The run that is looked into: the one that the address names, else the visitor's own, else the one that its model is of. */
export const source = computed((): SourceName => {
  const { run, model } = place.value.params;
  const own = stage.run.value !== undefined;
  if (run === OWN && own) return OWN;
  const named = PREPARED_NAMES.find((name) => name === run);
  if (named ?? own) return named ?? OWN;
  return PREPARED_NAMES.find((name) => preparedPresets(name).includes(model as PresetName)) ?? "race";
});
/** The steps at which a prepared run can be looked into, and the one that is. */
export const steps = computed(() => (source.value === OWN ? [] : PREPARED[source.value].steps));
export const step = computed(() => {
  const asked = Number(place.value.params.step);
  return steps.value.find((each) => each === asked) ?? steps.value.at(-1)!;
});
/** What is looked into, as long as that stays the same. */
export const subject = computed(() => (source.value === OWN ? stage.run.value!.id : `${source.value} ${step.value}`));

export const snapshots = signal<readonly ModelSnapshot[]>([]);
/** The model that is looked at: the one that the address names, else the last of the evolution. */
export const chosen = computed(() => {
  const named = snapshots.value.findIndex(({ preset }) => preset === place.value.params.model);
  return named >= 0 ? named : snapshots.value.length - 1;
});
/** Where in the book the passage begins, as a part of it, and a passage of the visitor's own, or "". */
export const position = computed(() => {
  const asked = Number(place.value.params.passage ?? NaN);
  return asked >= 0 && asked <= 1 ? asked : 0.02;
});
export const typed = computed(() => (place.value.params.text ?? "").slice(0, 300));
export const passage = signal("");
export const book = signal("");
/** Characters of the visitor's own passage that the book lacks. */
export const leftOut = signal<readonly string[]>([]);
/** Why a prepared run is not there. */
export const problem = signal<string | undefined>(undefined);

/** The models of the subject; undefined where they cannot be had. */
async function takeSnapshots(): Promise<readonly ModelSnapshot[] | undefined> {
  if (source.value !== OWN) {
    const asked = step.value;
    return Promise.all(preparedPresets(source.value).map((preset) => answered(inspector.prepared(preset, asked))));
  }
  const taken: ModelSnapshot[] = [];
  for (let lane = 0; lane < stage.lanes.value.length; lane++) {
    const result = await worker.snapshot(lane);
    if (!result.ok) {
      status.value = result.message;
      return undefined;
    }
    taken.push(result.snapshot);
  }
  return taken;
}

let refreshing = false;
/** Whether it was asked for again meanwhile. */
let again = false;
export async function refresh(): Promise<void> {
  if (refreshing) {
    again = true;
    return;
  }
  refreshing = true;
  again = false;
  const asked = subject.value;
  try {
    const taken = await takeSnapshots();
    if (!taken) return;
    problem.value = undefined;
    if (subject.value === asked) await findPassage(taken);
  } catch (error) {
    problem.value = error instanceof Error ? error.message : String(error);
  } finally {
    refreshing = false;
  }
  // The run has ended, say, or another one came: the models are not what they were.
  if (again || subject.value !== asked) await refresh();
}

/** The text that the subject reads. */
async function reader(): Promise<{ readonly length: number; readonly read: (from: number, length: number) => Promise<string> }> {
  if (source.value === OWN)
    return { length: plan.text.value?.characters ?? 0, read: (from, length) => worker.passage(from, length) };
  const text = await readBook();
  return { length: text.length, read: async (from, length) => text.slice(from, from + length) };
}

/** Shows the passage that is asked for, and newer models with it: never one without the other. */
export async function findPassage(taken?: readonly ModelSnapshot[]): Promise<void> {
  const snapshot = (taken ?? snapshots.value)[0];
  if (!snapshot) return;
  const { tokenizer } = snapshot;
  const points = tokenizer.kind === "char" ? new Set(tokenizer.codePoints) : undefined;
  // What spells in bytes knows all.
  const isKnown = (character: string): boolean => points?.has(character.codePointAt(0)!) ?? true;
  const clean = (words: string): string => [...words].filter(isKnown).join("");
  const { length, read } = await reader();
  const from = Math.floor(position.value * Math.max(0, length - 2 * PASSAGE_LENGTH));
  const longer = Math.min(from, Math.max(0, length - BOOK_LEAST));
  const around = await read(longer, BOOK_LENGTH);
  const wanted = typed.value || passageIn(await read(from, 2 * PASSAGE_LENGTH), from === 0);
  batch(() => {
    if (taken) snapshots.value = taken;
    book.value = clean(around);
    passage.value = clean(wanted);
    leftOut.value = typed.value ? [...new Set(wanted)].filter((character) => !isKnown(character)) : [];
  });
}

/** A passage that begins where a reader would. */
const passageIn = (around: string, whole: boolean): string =>
  (whole ? around.trimStart() : fromStart(around, PASSAGE_LENGTH)).slice(0, PASSAGE_LENGTH);

/** Looks into another run, whose models and steps are others. */
export const choose = (run: SourceName): void => changePlace({ run, model: undefined, step: undefined, unit: undefined });

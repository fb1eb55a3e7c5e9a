// The table of runs, which lies in the browser's storage, and the curves of those that are shown beside the present one.
import { signal } from "@preact/signals";
import { get, update } from "idb-keyval";
import { curveOf, type Curve } from "../../draw/curves.ts";
import { titleOf } from "../../kinds.ts";
import { MOST_RUNS, validRuns, type RunSummary } from "../../stored.ts";
import { status, worker } from "./link.ts";

/** Names in the browser's storage. */
const RUNS = "runs";
const STAGE = "stage";

export const runs = signal<readonly RunSummary[]>([]);
/** Curves of stored runs, by run. */
export const compared = signal<ReadonlyMap<string, readonly Curve[]>>(new Map());

/** A browser may have no storage, or refuse it, even at once: then things last as long as the page. */
async function tryStorage<T>(task: () => Promise<T>): Promise<T | undefined> {
  try {
    return await task();
  } catch {
    return undefined;
  }
}

/** The run that this tab shows comes back after a reload; a new tab begins with the one that was shown last. */
export function rememberStage(id: string | undefined): void {
  void tryStorage(async () => {
    const before = sessionStorage.getItem(STAGE);
    sessionStorage.setItem(STAGE, id ?? "");
    // A tab that has left its run leaves alone what another one shows.
    await update(STAGE, (last) => id ?? (last === before ? undefined : last));
  });
}
export const onStage = (): Promise<unknown> => tryStorage(async () => sessionStorage.getItem(STAGE) ?? (await get(STAGE)));

/** The table as it is stored; undefined where there is no storage. */
export const load = (): Promise<readonly RunSummary[] | undefined> => tryStorage(async () => validRuns(await get(RUNS)));

/** Changes the table, here and on the disk, where another tab may have changed other lines of it. */
function changeAll(change: (table: readonly RunSummary[]) => readonly RunSummary[]): void {
  runs.value = change(runs.value);
  void tryStorage(() => update(RUNS, (stored) => change(validRuns(stored))));
}

export function add(line: RunSummary): void {
  changeAll((table) => [line, ...table]);
  for (const old of runs.value.slice(MOST_RUNS)) void forget(old.id);
}

export const change = (id: string, to: Partial<RunSummary>): void =>
  changeAll((table) => table.map((line) => (line.id === id ? { ...line, ...to } : line)));

export function rename(id: string, name: string): void {
  const trimmed = name.trim().slice(0, 80);
  if (trimmed) change(id, { name: trimmed });
}

/** Milliseconds in which what was deleted can be had back. */
const REGRET = 10_000;
/** Runs that are deleted soon, by the timer that does it. */
export const leaving = signal<ReadonlyMap<string, number>>(new Map());

const leave = (id: string, timer?: number): void => {
  const next = new Map(leaving.value);
  if (timer === undefined) next.delete(id);
  else next.set(id, timer);
  leaving.value = next;
};

/** Deletes a run in a while. */
export function remove({ id, name }: RunSummary): void {
  status.value = `“${name}” is deleted in ${REGRET / 1000} seconds.`;
  const now = async (): Promise<void> => {
    leave(id);
    status.value = (await forget(id)) ? `“${name}” is deleted.` : "This run is open in another tab.";
  };
  leave(
    id,
    window.setTimeout(() => void now(), REGRET),
  );
}

/** Leaves in the table what was to be deleted. */
export function keep({ id, name }: RunSummary): void {
  clearTimeout(leaving.value.get(id));
  leave(id);
  status.value = `“${name}” stays.`;
}

/** Deletes a run at once, unless a page has it open. */
export async function forget(id: string): Promise<boolean> {
  if (!(await worker.remove(id))) return false;
  showCurves(id, []);
  changeAll((table) => table.filter((line) => line.id !== id));
  return true;
}

export function showCurves(id: string, curves: readonly Curve[]): void {
  const next = new Map(compared.value);
  if (curves.length > 0) next.set(id, curves);
  else next.delete(id);
  compared.value = next;
}

/** Shows a stored run's curves beside the present ones, or hides them. */
export async function compare({ id, name }: RunSummary): Promise<void> {
  if (compared.value.has(id)) return showCurves(id, []);
  const logs = await worker.storedLogs(id);
  if (logs.length === 0) status.value = `Nothing was saved of “${name}”.`;
  const labelOf = (log: (typeof logs)[number]): string => `${name}${logs.length > 1 ? `: ${titleOf(log.preset)}` : ""}`;
  showCurves(
    id,
    logs.map((log) => curveOf(labelOf(log), log.preset, log)),
  );
}

// Where in the page the visitor is, as the address's part after # says it: "#look/gates?model=lstm&at=40" is a tab, what is
// shown in it, and how that stands. Every state has an address: docs/lab.md has the names, which stay as they are.
import { computed, signal } from "@preact/signals";
import { readAddress } from "./settings.ts";

export const TAB_IDS = ["lessons", "train", "look", "check", "bench"] as const;
export type TabId = (typeof TAB_IDS)[number];

interface Place {
  readonly tab: TabId;
  /** The lesson or the view; "" for none. */
  readonly part: string;
  readonly params: Readonly<Record<string, string>>;
}

/** An address that says what to train, and no place, means the tab where that is done. */
const FIRST: TabId = Object.keys(readAddress(location.search).settings).length > 0 ? "train" : "lessons";

function readPlace(): Place {
  const [path, query = ""] = location.hash.slice(1).split("?") as [string, string?];
  const [tab, part = ""] = path.split("/");
  return {
    tab: TAB_IDS.find((id) => id === tab) ?? FIRST,
    part,
    params: Object.fromEntries(new URLSearchParams(query)),
  };
}

export const place = signal(readPlace());
/** For what stays as it is while a place changes only in what stands behind it. */
export const tabShown = computed(() => place.value.tab);
addEventListener("hashchange", () => {
  // One that was not written yet is not what was gone to.
  clearTimeout(writing);
  place.value = readPlace();
});

export function addressOf({ tab, part, params }: Place): string {
  const query = new URLSearchParams(params).toString();
  return `#${tab}${part && `/${part}`}${query && `?${query}`}`;
}

/** Browsers let a page change its address about three times a second. */
const WRITE = 350;
let writing = 0;

/** Changes what the address says of the place, without a step in the browser's history; undefined is not said. */
export function changePlace(changed: Readonly<Record<string, string | undefined>>): void {
  const all = Object.entries({ ...place.peek().params, ...changed }).filter(([, value]) => value !== undefined);
  place.value = { ...place.peek(), params: Object.fromEntries(all) as Record<string, string> };
  clearTimeout(writing);
  writing = window.setTimeout(
    () => history.replaceState(null, "", location.pathname + location.search + addressOf(place.peek())),
    WRITE,
  );
}

/** A number that the address keeps, or what it is where none is said; another than is offered is none. */
export function usePlacedNumber(
  name: string,
  fallback: number,
  { least = -Infinity, most = Infinity } = {},
): readonly [value: number, change: (value: number) => void] {
  const text = place.value.params[name];
  const value = text === undefined || text.trim() === "" ? NaN : Number(text);
  return [value >= least && value <= most ? value : fallback, (to) => changePlace({ [name]: String(to) })];
}

/** The same of several numbers, "0.5,1,0". */
export function usePlacedNumbers(
  name: string,
  fallback: readonly number[],
  { least = -Infinity, most = Infinity } = {},
): readonly [values: readonly number[], change: (values: readonly number[]) => void] {
  const values = (place.value.params[name] ?? "").split(",").map((text) => (text.trim() === "" ? NaN : Number(text)));
  const fit = values.length === fallback.length && values.every((value) => value >= least && value <= most);
  return [fit ? values : fallback, (to) => changePlace({ [name]: to.join() })];
}

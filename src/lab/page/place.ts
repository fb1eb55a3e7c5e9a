// Where in the page the visitor is: the address's part after #, a tab and, within "look", a view.
import { signal } from "@preact/signals";

export const TAB_IDS = ["train", "look", "check", "bench"] as const;
export type TabId = (typeof TAB_IDS)[number];

function readPlace(): { readonly tab: TabId; readonly view: string } {
  const [tab, view = ""] = location.hash.slice(1).split("/");
  return { tab: TAB_IDS.find((id) => id === tab) ?? "train", view };
}

export const place = signal(readPlace());
addEventListener("hashchange", () => (place.value = readPlace()));

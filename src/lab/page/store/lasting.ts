// For how long the browser keeps the lab's files.
import { signal } from "@preact/signals";

/**
 * "always": until the visitor deletes them; "perhaps": it may throw them away where space runs short; "window": it has
 * thrown some away, or has so little room as private windows have, whose files go with them.
 */
export type Lasting = "always" | "perhaps" | "window";
export const lasting = signal<Lasting>("perhaps");

/** Private windows have a part of the memory, others of the disk. */
const LITTLE_ROOM = 2 ** 31;

/** How it stands, without asking the visitor anything. */
export async function askLasting(): Promise<void> {
  const { storage } = navigator as { readonly storage?: StorageManager };
  if (await storage?.persisted().catch(() => false)) lasting.value = "always";
  else if (((await storage?.estimate().catch(() => undefined))?.quota ?? Infinity) < LITTLE_ROOM) lasting.value = "window";
}

/** Asks the browser to keep them; some ask the visitor, so this is for when there is something to keep. */
export async function keepFiles(): Promise<void> {
  const { storage } = navigator as { readonly storage?: StorageManager };
  if (lasting.value === "perhaps" && (await storage?.persist().catch(() => false))) lasting.value = "always";
}

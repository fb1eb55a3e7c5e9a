// What a command of the page's comes back with: a result, or why there is none.
import { GatewiseError } from "../../errors.ts";
import { OTHER_DEVICE } from "../../runtime/adapter.ts";
import type { Result } from "../protocol.ts";

/** What went wrong, for whoever reads a page: not how a program would go on. */
export const messageOf = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).replace(`, ${OTHER_DEVICE}`, "");

/** A task's result, or why there is none. */
export async function answer<T extends object>(task: () => Promise<T> | T): Promise<Result<T>> {
  try {
    return { ok: true, ...(await task()) };
  } catch (error) {
    return { ok: false, code: error instanceof GatewiseError ? error.code : "E_UNKNOWN", message: messageOf(error) };
  }
}

// The views' way to the worker that computes for them.
import { signal, type Signal } from "@preact/signals";
import * as Comlink from "comlink";
import { useEffect, useState } from "preact/hooks";
import type { Inspector } from "./inspect-worker.ts";
import workerUrl from "./inspect-worker.ts?worker&url";
import { scriptUrl } from "./trusted.ts";

export const inspector: Comlink.Remote<Inspector> = Comlink.wrap<Inspector>(
  new Worker(scriptUrl(workerUrl), { type: "module", name: "inspector" }),
);

/**
 * What a computation gives, again whenever what it depends on changes. The last result stays until the next is there,
 * and only the newest question is asked while one is being answered.
 */
export function useComputed<T>(
  compute: () => Promise<T>,
  depends: readonly unknown[],
): { readonly value: T | undefined; readonly problem: string | undefined } {
  const [state] = useState(() => ({
    result: signal<{ value: T | undefined; problem: string | undefined }>({ value: undefined, problem: undefined }) as Signal<{
      value: T | undefined;
      problem: string | undefined;
    }>,
    busy: false,
    next: undefined as (() => Promise<T>) | undefined,
  }));
  useEffect(() => {
    state.next = compute;
    if (!state.busy) void answer();
    async function answer(): Promise<void> {
      state.busy = true;
      while (state.next) {
        const ask = state.next;
        state.next = undefined;
        try {
          state.result.value = { value: await ask(), problem: undefined };
        } catch (error) {
          state.result.value = { value: undefined, problem: error instanceof Error ? error.message : String(error) };
        }
      }
      state.busy = false;
    }
  }, depends);
  return state.result.value;
}

// What a view shows is computed elsewhere and comes later: the hook that asks for it again whenever it must.
import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { answered } from "./inspector.ts";

/** Views whose newest question is not answered yet. */
export const pending = signal(0);

/**
 * What a computation gives, again whenever what it depends on changes. The last result stays until the next is there,
 * and only the newest question is asked while one is being answered.
 */
export function useComputed<T>(
  compute: () => Promise<T>,
  depends: readonly unknown[],
): { readonly value?: T; readonly problem?: string } {
  const [state] = useState(() => ({
    result: signal<{ readonly value?: T; readonly problem?: string }>({}),
    busy: false,
    next: undefined as (() => Promise<T>) | undefined,
  }));
  useEffect(() => {
    state.next = compute;
    if (!state.busy) void answer();
    async function answer(): Promise<void> {
      state.busy = true;
      pending.value++;
      while (state.next) {
        const ask = state.next;
        state.next = undefined;
        try {
          state.result.value = { value: await answered(ask()) };
        } catch (error) {
          state.result.value = { problem: error instanceof Error ? error.message : String(error) };
        }
      }
      state.busy = false;
      pending.value--;
    }
  }, depends);
  return state.result.value;
}

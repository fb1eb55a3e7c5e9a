// All kernels there are, for whoever checks or times every one of them.
import type { Entry } from "../runtime/kernel.ts";

/** All entry points of all kernels, by their full names ("lstm.forward"). */
export function allEntries(): ReadonlyMap<string, Entry> {
  const modules = import.meta.glob<Record<string, unknown>>(["../kernels/*.ts", "../runtime/probe.ts"], { eager: true });
  const entries = new Map<string, Entry>();
  for (const module of Object.values(modules)) {
    for (const exported of Object.values(module)) {
      for (const entry of Object.values(exported ?? {})) if (isEntry(entry)) entries.set(`${entry.kernel}.${entry.name}`, entry);
    }
  }
  return entries;
}

function isEntry(value: unknown): value is Entry {
  return typeof value === "object" && value !== null && "reference" in value && "cases" in value;
}

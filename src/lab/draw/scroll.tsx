// What may be wider or longer than its place: it scrolls by itself, by keyboard too, and has a name.
import type { ComponentChildren } from "preact";

export function Scroll({ label, of = "", children }: { label: string; of?: string; children: ComponentChildren }) {
  return (
    <div class={`${of} scroll`} tabIndex={0} role="region" aria-label={label}>
      {children}
    </div>
  );
}

// The names of a chart's lines, below it.
import type { ComponentChildren } from "preact";
import type { PresetName } from "../../models/presets.ts";
import { ModelKey } from "./model-key.tsx";

interface LegendProps {
  readonly lines: readonly { readonly label: string; readonly preset: PresetName; readonly wide?: boolean }[];
  /** What else is drawn. */
  readonly children?: ComponentChildren;
}

export function Legend({ lines, children }: LegendProps) {
  return (
    <ul class="legend">
      {lines.map(({ label, preset, wide }, i) => (
        <li key={i}>
          <ModelKey preset={preset} wide={wide} /> {label}
        </li>
      ))}
      {children && <li class="muted">{children}</li>}
    </ul>
  );
}

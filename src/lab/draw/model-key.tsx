// A model's colour and dash, as in the chart.
import type { PresetName } from "../../models/presets.ts";
import { lineStyle } from "../kinds.ts";

export function ModelKey({ preset, wide }: { preset: PresetName; wide?: boolean | undefined }) {
  return (
    <svg class={`key${wide ? " wide" : ""}`} viewBox="0 0 28 10" aria-hidden="true">
      <line style={lineStyle(preset)} x1="1" y1="5" x2="27" y2="5" />
    </svg>
  );
}

export function RaceKey({ presets }: { presets: readonly PresetName[] }) {
  return (
    <svg class="key race" viewBox="0 0 28 18" aria-hidden="true">
      {presets.map((preset, i) => {
        const y = 1.8 + (i * 14.4) / Math.max(1, presets.length - 1);
        return <line key={preset} style={lineStyle(preset)} x1="1" y1={y} x2="27" y2={y} />;
      })}
    </svg>
  );
}

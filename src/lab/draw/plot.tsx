// A small line plot as SVG: for the views, whose curves are short.
import type { PresetName } from "../../models/presets.ts";
import { inkStyle, lineStyle } from "../kinds.ts";
import { Legend } from "./legend.tsx";
import { narrow } from "./narrow.ts";

export interface PlotLine {
  readonly label: string;
  readonly preset: PresetName;
  readonly y: readonly number[];
  /** Thinner and paler: what it was, beside what it is. */
  readonly past?: boolean;
  /** Wider than others of its model. */
  readonly wide?: boolean;
  /** What lies around it, from and to. */
  readonly band?: readonly (readonly [low: number, high: number])[];
}

export interface PlotProps {
  readonly label: string;
  readonly x: readonly number[];
  readonly lines: readonly PlotLine[];
  readonly xTitle: string;
  readonly yTitle: string;
  /** Smallest value that a logarithmic axis goes down to. */
  readonly least: number;
  /** Whether x is logarithmic too, and its values are the ticks. */
  readonly doubling?: boolean;
}

/** Names stand at the ends of their lines, or where there is no room in a key below. */
const SIZES = {
  wide: { WIDTH: 940, HEIGHT: 390, LEFT: 62, RIGHT: 126 },
  narrow: { WIDTH: 400, HEIGHT: 340, LEFT: 62, RIGHT: 10 },
} as const;
const [TOP, BOTTOM] = [12, 46];

/** Lines over a logarithmic axis. */
export function LogPlot({ label, x, lines, xTitle, yTitle, least, doubling = false }: PlotProps) {
  const { WIDTH, HEIGHT, LEFT, RIGHT } = SIZES[narrow.value ? "narrow" : "wide"];
  const values = lines.flatMap(({ y }) => y.filter((value) => value > least));
  const top = Math.ceil(Math.log10(Math.max(...values, least * 10)));
  const bottom = Math.max(Math.log10(least), Math.floor(Math.log10(Math.min(...values, 10 ** top))));
  // What lies lower is drawn along the axis.
  const cut = lines.some(({ y }) => y.some((value) => value < 10 ** bottom));
  const [first, last] = [x[0] ?? 0, x.at(-1) ?? 1];
  const along = (value: number): number => (doubling ? Math.log2(value) : value);
  const toX = (value: number): number =>
    LEFT + ((along(value) - along(first)) / Math.max(1e-9, along(last) - along(first))) * (WIDTH - LEFT - RIGHT);
  const toY = (value: number): number => {
    const part = (Math.log10(Math.max(value, 10 ** bottom)) - bottom) / Math.max(1, top - bottom);
    return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM);
  };
  const points = (y: readonly number[]): string[] => y.map((value, i) => `${toX(x[i]!).toFixed(1)},${toY(value).toFixed(1)}`);
  const every = Math.max(1, Math.ceil((top - bottom) / 7));
  const decades = Array.from({ length: Math.floor((top - bottom) / every) + 1 }, (_, i) => bottom + i * every);
  const ticks = doubling
    ? x.filter((_, i) => !narrow.value || i % 2 === 0)
    : Array.from({ length: 6 }, (_, i) => Math.round(first + ((last - first) * i) / 5));
  const names = spread(
    lines.filter(({ past }) => !past).map((line) => ({ line, y: toY(line.y.at(-1)!) })),
    15,
    HEIGHT - BOTTOM,
  );
  return (
    <>
      <svg class="plot" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={label}>
        {decades.map((decade) => (
          <g key={decade}>
            <line class="grid" x1={LEFT} x2={WIDTH - RIGHT} y1={toY(10 ** decade)} y2={toY(10 ** decade)} />
            <text class="tick end" x={LEFT - 8} y={toY(10 ** decade) + 4}>
              {decade === bottom && cut ? "≤ " : ""}
              {decade >= -2 && decade <= 3 ? String(10 ** decade) : `1e${decade}`}
            </text>
          </g>
        ))}
        {ticks.map((tick) => (
          <text class="tick middle" key={tick} x={toX(tick)} y={HEIGHT - BOTTOM + 18}>
            {tick}
          </text>
        ))}
        <text class="tick middle" x={(LEFT + WIDTH - RIGHT) / 2} y={HEIGHT - 6}>
          {xTitle}
        </text>
        <text class="tick middle" transform={`translate(14 ${(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)`}>
          {yTitle}
        </text>
        {lines.map(
          ({ label: name, preset, band }) =>
            band && (
              <polygon
                key={name}
                class="band"
                style={inkStyle(preset)}
                points={[
                  ...points(band.map(([low]) => low)),
                  ...points(band.map(([, high]) => high)).map((_, i, all) => all.at(-1 - i)),
                ].join(" ")}
              />
            ),
        )}
        {lines.map(({ label: name, preset, y, past, wide }) => (
          <polyline
            key={`${name}${past ? " past" : ""}`}
            class={`curve${past ? " past" : ""}${wide ? " wide" : ""}`}
            style={lineStyle(preset)}
            points={points(y).join(" ")}
          />
        ))}
        {(narrow.value ? [] : names).map(({ line, y }) => (
          <text key={line.label} style={inkStyle(line.preset)} x={WIDTH - RIGHT + 8} y={y + 4}>
            {line.label}
          </text>
        ))}
      </svg>
      {narrow.value && <Legend lines={names.map(({ line }) => line)} />}
    </>
  );
}

/** Moves labels apart that would overlap, and none below `most`. */
function spread<T extends { y: number }>(labels: readonly T[], apart: number, most: number): readonly T[] {
  const sorted = [...labels].sort((a, b) => a.y - b.y);
  for (const [i, label] of sorted.entries()) if (i > 0) label.y = Math.max(label.y, sorted[i - 1]!.y + apart);
  const over = Math.max(0, (sorted.at(-1)?.y ?? 0) - most);
  for (const label of sorted) label.y -= over;
  return sorted;
}

// Curves as an SVG file that stands alone, on light and dark pages.

export interface Curve {
  readonly name: string;
  /** Pairs of step and value, in order. */
  readonly points: readonly (readonly [step: number, value: number])[];
}

const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [800, 450, 60, 20, 20, 45];
/** Okabe and Ito's colours, which the colour-blind can tell apart. */
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];
const TICKS = 6;

/** Round numbers from `least` to `most`: 1, 2 or 5 times a power of ten apart. */
function ticks(least: number, most: number): readonly number[] {
  const rough = (most - least || 1) / TICKS;
  const power = 10 ** Math.floor(Math.log10(rough));
  const distance = [1, 2, 5, 10].map((by) => by * power).find((each) => each >= rough)!;
  const from = Math.ceil(least / distance);
  return Array.from({ length: Math.floor(most / distance) - from + 1 }, (_, i) => (from + i) * distance);
}

const escape = (text: string): string => text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
const short = (value: number): string => String(Number(value.toPrecision(6)));

export function drawSvg(curves: readonly Curve[]): string {
  const all = curves.flatMap(({ points }) => points);
  const [x0, x1] = range(all.map(([step]) => step));
  const [y0, y1] = range(all.map(([, value]) => value));
  const x = (step: number): string => (LEFT + ((step - x0) / (x1 - x0 || 1)) * (WIDTH - LEFT - RIGHT)).toFixed(1);
  const y = (value: number): string => (HEIGHT - BOTTOM - ((value - y0) / (y1 - y0 || 1)) * (HEIGHT - TOP - BOTTOM)).toFixed(1);
  const rows = ticks(y0, y1).map(
    (value) =>
      `<path class="grid" d="M${LEFT} ${y(value)}H${WIDTH - RIGHT}"/><text x="${LEFT - 8}" y="${y(value)}" dy=".35em" text-anchor="end">${short(value)}</text>`,
  );
  const columns = ticks(x0, x1).map(
    (step) => `<text x="${x(step)}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle">${short(step)}</text>`,
  );
  // Colours that come again are dashed; a curve of one point is a dot.
  const lines = curves.map(({ points }, i) => {
    const stroke = `stroke="${COLOURS[i % COLOURS.length]}"`;
    const dash = i < COLOURS.length ? "" : ` stroke-dasharray="${2 + 4 * Math.floor(i / COLOURS.length)} 3"`;
    const [[step, value]] = points as [readonly [number, number]];
    return points.length === 1
      ? `<circle ${stroke} cx="${x(step)}" cy="${y(value)}" r="3"/>`
      : `<polyline ${stroke}${dash} points="${points.map(([step, value]) => `${x(step)},${y(value)}`).join(" ")}"/>`;
  });
  const legend = curves.map(
    ({ name }, i) =>
      `<text class="name" style="fill:${COLOURS[i % COLOURS.length]}" x="${WIDTH - RIGHT}" y="${TOP + 14 + 18 * i}" text-anchor="end">${escape(name)}</text>`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="13">`,
    "<style>text{fill:#777}.name{font-weight:bold}.grid{stroke:#8884}polyline,circle{fill:none;stroke-width:1.5}</style>",
    ...rows,
    ...columns,
    `<text x="${(LEFT + WIDTH - RIGHT) / 2}" y="${HEIGHT - 8}" text-anchor="middle">step</text>`,
    `<text x="14" y="${TOP}" transform="rotate(-90 14 ${TOP})" text-anchor="end" dy=".3em">loss (nats)</text>`,
    ...lines,
    ...legend,
    "</svg>\n",
  ].join("\n");
}

function range(values: readonly number[]): readonly [number, number] {
  return values.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, -Infinity]);
}

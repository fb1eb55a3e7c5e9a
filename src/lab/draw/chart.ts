// The chart of the loss: raw faint, smoothed bold, validation as marks. Each model has a colour and a dash of its own,
// and its name at the end of its line.
import type uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { bits, type Unit } from "../format.ts";
import { KINDS } from "../kinds.ts";
import { alignCurves, laterRange, type AlignedCurves, type Curve } from "./curves.ts";

export interface ChartOptions {
  readonly unit: Unit;
  readonly logarithmic: boolean;
  /** Whether the scale fits the later part of the curves, and the fall at their beginning runs out of it. */
  readonly closeUp: boolean;
  /** Losses to set the curves beside, in nats, by name. */
  readonly guides?: Readonly<Record<string, number>> | undefined;
}

export interface LossChart {
  update(curves: readonly Curve[], options: ChartOptions): void;
  toPng(title: string): Promise<Blob>;
  dispose(): void;
}

/** What the chart's lines and marks are. */
export const DRAWN =
  "faint: every step · bold: smoothed · rings: validation · dotted: what counting characters, pairs or triples gets";

/** What draws comes when there is first something to draw: the page is there before. */
let Plot: typeof uPlot | undefined;
const loading = loadPlot();

async function loadPlot(): Promise<void> {
  try {
    Intl.getCanonicalLocales(navigator.language);
  } catch {
    // Some browsers name a language that Intl does not know, en-US@posix, and uPlot asks for its format as it loads.
    Object.defineProperty(navigator, "language", { value: "en", configurable: true });
  }
  Plot = (await import("uplot")).default;
}

const HEIGHT = 320;
/** Room at the right for the names, where there is any, or for half of the last step's digits. */
const [LABEL_ROOM, DIGIT_ROOM] = [112, 26];
const NARROW = 520;

const variable = (element: Element, name: string): string => getComputedStyle(element).getPropertyValue(name).trim();

export function makeLossChart(container: HTMLElement): LossChart {
  let chart: uPlot | undefined;
  let shape = "";
  /** Whether something came while there was no room to draw it, on another tab of the page, or nothing to draw it with. */
  let missed = false;
  let last: { curves: readonly Curve[]; options: ChartOptions } | undefined;
  let drawn: AlignedCurves | undefined;

  const rebuild = (): void => {
    shape = "";
    if (last) update(last.curves, last.options);
  };
  const resized = new ResizeObserver(() => {
    if (container.clientWidth > 0 && (missed || container.clientWidth !== chart?.width)) rebuild();
  });
  resized.observe(container);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", rebuild);

  function update(curves: readonly Curve[], options: ChartOptions): void {
    last = { curves, options };
    missed = container.clientWidth === 0 || !Plot;
    if (!Plot || missed) return;
    const aligned = alignCurves(curves, options.unit === "bits" ? 1 / Math.LN2 : 1);
    drawn = aligned;
    const data: uPlot.AlignedData = [aligned.x, ...aligned.curves.flatMap(({ raw, smooth, val }) => [raw, smooth, val])];
    const wanted = JSON.stringify([options, curves.map(({ label, preset }) => [label, preset])]);
    if (!chart || wanted !== shape) {
      chart?.destroy();
      chart = new Plot(
        chartOptions(container, curves, options, () => drawn && laterRange(drawn)),
        data,
        container,
      );
      // Its canvas is an image to whoever cannot see it; the table beside it has the numbers.
      chart.root.setAttribute("aria-hidden", "true");
      shape = wanted;
      performance.mark("curves shown");
    } else {
      chart.setData(data);
    }
  }

  if (!Plot) void loading.then(rebuild);

  return {
    update,
    toPng: (title) => pngOf(chart!, container, title),
    dispose() {
      resized.disconnect();
      scheme.removeEventListener("change", rebuild);
      chart?.destroy();
    },
  };
}

function chartOptions(
  container: HTMLElement,
  curves: readonly Curve[],
  { unit, logarithmic, closeUp, guides = {} }: ChartOptions,
  later: () => readonly [number, number] | undefined,
): uPlot.Options {
  const width = container.clientWidth;
  const labelled = width >= NARROW && curves.length <= 8;
  const [ink, faint, grid] = ["--ink-2", "--ink-3", "--line"].map((name) => variable(container, name)) as [
    string,
    string,
    string,
  ];
  const font = `12px ${variable(container, "--sans") || "system-ui"}`;
  const axis: uPlot.Axis = { stroke: ink, font, grid: { stroke: grid, width: 1 }, ticks: { show: false }, gap: 6 };
  const colours = curves.map(({ preset }) => variable(container, `--${preset}`));
  return {
    width,
    height: HEIGHT,
    padding: [12, labelled ? LABEL_ROOM : DIGIT_ROOM, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
    scales: {
      x: { time: false, range: (_u, least, most) => [Math.min(1, least), Math.max(most, 10)] },
      y: {
        distr: logarithmic ? 3 : 1,
        range: (_u, dataLeast, dataMost) => {
          const [least, most] = (closeUp && later()) || [dataLeast, dataMost];
          if (!Number.isFinite(least) || !Number.isFinite(most)) return [1, 5];
          const room = logarithmic ? 1.05 : 0;
          const margin = Math.max(0.05, (most - least) * 0.06);
          return logarithmic ? [least / room, most * room] : [Math.max(0, least - margin), most + margin];
        },
      },
    },
    axes: [
      {
        ...axis,
        size: 34,
        values: (_u, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? tick.toLocaleString("en") : "")),
      },
      {
        ...axis,
        size: 46,
        label: unit === "nats" ? "loss, nats per character" : "loss, bits per character",
        labelFont: font,
        labelSize: 20,
        values: (_u, ticks) => ticks.map((tick) => (tick === null ? "" : String(Number(tick.toPrecision(3))))),
      },
    ],
    series: [
      {},
      ...curves.flatMap(({ preset }, i): uPlot.Series[] => {
        const stroke = colours[i]!;
        return [
          { stroke, alpha: 0.22, width: 1, points: { show: false }, spanGaps: true },
          { stroke, width: 2.25, dash: [...KINDS[preset].dash], points: { show: false }, spanGaps: true },
          {
            stroke,
            width: 0,
            paths: () => null,
            points: { show: true, size: 8, width: 2, fill: variable(container, "--paper") },
          },
        ];
      }),
    ],
    hooks: {
      drawAxes: [(u) => drawGuides(u, guides, unit, font, faint)],
      ...(labelled && { draw: [(u: uPlot) => drawNames(u, curves, colours, font, faint)] }),
    },
  };
}

/** Draws each guide that is in sight as a line across, with its name. */
function drawGuides(u: uPlot, guides: Readonly<Record<string, number>>, unit: Unit, font: string, faint: string): void {
  const { ctx, bbox } = u;
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.font = font.replace(/^\d+px/, `${11 * ratio}px`);
  ctx.textBaseline = "bottom";
  ctx.textAlign = "right";
  ctx.setLineDash([2 * ratio, 4 * ratio]);
  ctx.lineWidth = ratio;
  ctx.strokeStyle = ctx.fillStyle = faint;
  for (const [name, nats] of Object.entries(guides)) {
    const y = u.valToPos(unit === "bits" ? bits(nats) : nats, "y", true);
    if (!(y > bbox.top && y < bbox.top + bbox.height)) continue;
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.fillText(name, bbox.left + bbox.width - 4 * ratio, y - 2 * ratio);
  }
  ctx.restore();
}

/** Writes each name at the end of its line, moved apart where they would overlap. */
function drawNames(u: uPlot, curves: readonly Curve[], colours: readonly string[], font: string, faint: string): void {
  const { ctx } = u;
  const ratio = devicePixelRatio;
  const least = 15 * ratio;
  const ends = curves.flatMap(({ label }, i) => {
    const smooth = u.data[3 * i + 2]!;
    let at = smooth.length - 1;
    while (at >= 0 && smooth[at] === null) at--;
    return at < 0 ? [] : [{ label, colour: colours[i]!, y: u.valToPos(smooth[at]!, "y", true), wanted: 0 }];
  });
  ends.sort((a, b) => a.y - b.y);
  for (const [i, end] of ends.entries()) end.wanted = i === 0 ? end.y : Math.max(end.y, ends[i - 1]!.wanted + least);
  const over = (ends.at(-1)?.wanted ?? 0) - (u.bbox.top + u.bbox.height);
  ctx.save();
  ctx.font = font.replace(/^\d+px/, `${12 * ratio}px`);
  ctx.textBaseline = "middle";
  ctx.textAlign = "left";
  ctx.setLineDash([]);
  const x = u.bbox.left + u.bbox.width + 8 * ratio;
  for (const { label, colour, y, wanted } of ends) {
    const at = wanted - Math.max(0, over);
    ctx.strokeStyle = faint;
    ctx.lineWidth = ratio;
    ctx.beginPath();
    ctx.moveTo(u.bbox.left + u.bbox.width, y);
    ctx.lineTo(x - 2 * ratio, at);
    ctx.stroke();
    ctx.fillStyle = colour;
    ctx.fillText(label.length > 18 ? `${label.slice(0, 17)}…` : label, x + 2 * ratio, at);
  }
  ctx.restore();
}

/** The chart on paper, with its title and where it comes from. */
function pngOf(chart: uPlot, container: HTMLElement, title: string): Promise<Blob> {
  const source = chart.ctx.canvas;
  const ratio = devicePixelRatio;
  const canvas = document.createElement("canvas");
  canvas.width = source.width;
  canvas.height = source.height + 40 * ratio;
  const ctx = canvas.getContext("2d")!;
  ctx.fillStyle = variable(container, "--paper");
  ctx.fillRect(0, 0, canvas.width, canvas.height);
  ctx.fillStyle = variable(container, "--ink");
  ctx.font = `600 ${14 * ratio}px ${variable(container, "--sans") || "system-ui"}`;
  ctx.textBaseline = "middle";
  ctx.fillText(title, 16 * ratio, 22 * ratio, canvas.width - 32 * ratio);
  ctx.drawImage(source, 0, 40 * ratio);
  return new Promise((resolve, reject) =>
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("the browser made no image"))), "image/png"),
  );
}

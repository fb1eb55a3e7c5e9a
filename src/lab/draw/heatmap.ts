// Paints a matrix as an image of one pixel a cell, which the style sheet scales up with sharp edges.
import { signal } from "@preact/signals";

export interface Matrix {
  readonly rows: number;
  readonly columns: number;
  /** Row by row. */
  readonly values: ArrayLike<number>;
}

/** "signed": −limit, 0 and limit differ in hue and all in lightness; "part": from nothing to all. */
export type HeatKind = "signed" | "part";
/** Colours between which values lie: [at least, in the middle, at most], as red, green and blue. */
const scale = (...colours: string[]) => colours.map((colour) => colour.split(" ").map(Number));
const SCALES = {
  signed: { light: scale("176 42 48", "250 249 246", "30 96 170"), dark: scale("246 120 110", "29 29 36", "104 176 240") },
  part: { light: scale("250 249 246", "160 196 206", "8 74 92"), dark: scale("29 29 36", "34 96 112", "164 236 246") },
};

const darkness = matchMedia("(prefers-color-scheme: dark)");
/** Whether the page is dark: what is painted must be painted again when that changes. */
export const dark = signal(darkness.matches);
darkness.addEventListener("change", () => (dark.value = darkness.matches));

/** A value's colour; beyond the limit it is that of the limit. */
export function heatColour(value: number, kind: HeatKind, limit: number): readonly [number, number, number] {
  const colours = SCALES[kind][dark.value ? "dark" : "light"];
  const part = kind === "signed" ? (value / limit + 1) / 2 : value / limit;
  const at = Math.min(1, Math.max(0, part)) * 2;
  const [from, to] = colours.slice(at < 1 ? 0 : 1);
  const between = at < 1 ? at : at - 1;
  const mix = (i: number): number => Math.round(from![i]! + (to![i]! - from![i]!) * between);
  return [mix(0), mix(1), mix(2)];
}

export function paintHeatmap(canvas: HTMLCanvasElement, { rows, columns, values }: Matrix, kind: HeatKind, limit: number): void {
  canvas.width = Math.max(1, columns);
  canvas.height = Math.max(1, rows);
  const context = canvas.getContext("2d")!;
  const image = context.createImageData(canvas.width, canvas.height);
  for (let i = 0; i < rows * columns; i++) {
    const [r, g, b] = heatColour(values[i]!, kind, limit);
    image.data.set([r, g, b, 255], i * 4);
  }
  context.putImageData(image, 0, 0);
}

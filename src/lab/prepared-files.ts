// What the page reads of the prepared runs: their book, and their logs as the command line writes them, a row a step.
import { findBook, stripGutenberg } from "../data/books.ts";
import type { PresetName } from "../models/presets.ts";

let book: Promise<string> | undefined;
export const readBook = (): Promise<string> =>
  (book ??= fetch(new URL(`books/${findBook("alice")!.file}`, document.baseURI)).then(async (response) =>
    stripGutenberg(await response.text()),
  ));

/** By task and preset, what part of the answers was right at each lag, up to the first that was not solved. */
export const readMemory = async (): Promise<Readonly<Record<string, Readonly<Record<string, readonly number[]>>>>> =>
  (await import("./prepared/memory.json")).default;

const FILES = import.meta.glob<string>("./prepared/*/log.csv", { query: "?url", import: "default", eager: true });

export async function readLog(preset: PresetName): Promise<{ readonly points: number[]; readonly evaluations: number[] }> {
  const response = await fetch(FILES[`./prepared/${preset}/log.csv`]!);
  if (!response.ok) throw new Error(`the log of ${preset} could not be loaded`);
  const [header, ...lines] = (await response.text()).trimEnd().split("\n");
  const names = header!.split(",");
  const log = { points: [] as number[], evaluations: [] as number[] };
  for (const line of lines) {
    const row = Object.fromEntries(line.split(",").map((text, i) => [names[i]!, text === "" ? NaN : Number(text)]));
    log.points.push(row.step!, row.loss!, row.gradNorm!, row.learningRate!);
    if (!Number.isNaN(row.valLoss)) log.evaluations.push(row.step!, row.valLoss!, NaN);
  }
  return log;
}

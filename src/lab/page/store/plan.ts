// What the next run is to be, or the present one is: its text and its settings, which the address follows.
import { effect, signal } from "@preact/signals";
import * as Comlink from "comlink";
import type { Estimate, TextInfo, TextSource } from "../../protocol.ts";
import {
  defaultsFor,
  SAMPLING,
  valFractionFor,
  writeAddress,
  type PageAsked,
  type Sampling,
  type Settings,
} from "../../settings.ts";
import { status, worker } from "./link.ts";

export const text = signal<TextInfo | undefined>(undefined);
export const textProblem = signal<string | undefined>(undefined);
export const settings = signal<Settings>(defaultsFor("gpu"));
export const sampling = signal<Sampling>(SAMPLING);
/** What the address asks of the page itself; it stays there. */
export const page = signal<PageAsked>({});
/** What it will cost, or why that cannot be said. */
export const estimate = signal<Estimate | string | undefined>(undefined);

effect(() => {
  const wanted = settings.value;
  if (!text.value) return;
  void worker.estimate(wanted).then((result) => {
    if (settings.peek() === wanted) estimate.value = result.ok ? result.estimate : result.message;
  });
});

/** Seconds of a step, as measured here with these settings. */
export const pace = signal<{ readonly settings: Settings; readonly seconds: number } | undefined>(undefined);

/** Has the first steps of these settings taken, so that their kernels are ready and their pace is known. */
export async function rehearse(settings: Settings): Promise<void> {
  if (pace.value?.settings === settings) return;
  const result = await worker.rehearse(settings);
  if (result.ok) pace.value = { settings, seconds: result.seconds };
}

/** The text that is on its way; what needs a text waits for it. */
export let textLoad: Promise<void> = Promise.resolve();

/** The visitor's choice of a text. */
export async function chooseText(source: TextSource): Promise<void> {
  status.value = "";
  // Whoever has set the validation part has meant it.
  await (textLoad = loadText(source, settings.value.valFraction === valFractionFor(text.value?.characters ?? 0)));
  if (!textProblem.value) writeUrl();
}

/** `fits`: whether the validation part is to be what the text's length suggests. */
export async function loadText(source: TextSource, fits: boolean): Promise<void> {
  textProblem.value = undefined;
  const result = await worker.loadText("bytes" in source ? Comlink.transfer(source, [source.bytes.buffer]) : source);
  if (!result.ok) {
    textProblem.value = status.value = result.message;
    return;
  }
  const { title, characters, vocabulary, data } = result.text;
  text.value = result.text;
  textProblem.value = undefined;
  settings.value = { ...settings.value, data, ...(fits && { valFraction: valFractionFor(characters) }) };
  if (status.value === "")
    status.value = `${title}: ${characters.toLocaleString("en")} characters, ${vocabulary.length} different ones.`;
}

export function change(changed: Partial<Settings>): void {
  settings.value = { ...settings.value, ...changed };
  writeUrl();
}

export function writeUrl(): void {
  history.replaceState(null, "", writeAddress(settings.value, sampling.value, page.value) + location.hash);
}

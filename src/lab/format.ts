// Numbers and names for people.
import type { ModelSnapshot } from "./protocol.ts";

const WORDS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];
export const inWords = (n: number): string => WORDS[n] ?? count(n);
export const count = (n: number): string => Math.round(n).toLocaleString("en");

/** With so many digits after the point, a true minus sign, and no minus before zero. */
export const fixed = (x: number, digits: number): string =>
  x
    .toFixed(digits)
    .replace(/^-(?=0?\.?0*$)/, "")
    .replace("-", "−");

export function rate(perSecond: number): string {
  if (perSecond < 1000) return `${Math.round(perSecond)} chars/s`;
  return `${(perSecond / 1000).toFixed(perSecond < 10_000 ? 1 : 0)}k chars/s`;
}

export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return "–";
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} min`;
}

export function bytes(n: number): string {
  const units = ["B", "KiB", "MiB", "GiB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, n)) / 10));
  const value = n / 1024 ** power;
  return `${value < 10 && power > 0 ? value.toFixed(1) : Math.round(value)} ${units[power]}`;
}

export const bits = (nats: number): number => nats / Math.LN2;

/** Units of a loss. */
export type Unit = "nats" | "bits";
export const unitOf = (unit: Unit): string => (unit === "nats" ? "nats" : "bits per character");
export const inUnit = (nats: number, unit: Unit): string => (unit === "nats" ? nats.toFixed(3) : bits(nats).toFixed(2));

/** What a model reads one after another. */
export const unitOfText = ({ tokenizer }: Pick<ModelSnapshot, "tokenizer">): "character" | "token" =>
  tokenizer.kind === "char" ? "character" : "token";

/** Code points. */
export function countCharacters(text: string): number {
  let pairs = 0;
  for (let i = 0; i < text.length; i++) if (text.codePointAt(i)! > 0xffff) pairs++;
  return text.length - pairs;
}

/** White space as a person can see it. */
export const visible = (text: string): string => text.replaceAll("\n", "⏎").replaceAll(" ", "␣").replaceAll("\t", "⇥");

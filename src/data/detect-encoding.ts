// Which encoding a text's bytes are in, for programs: the detector is larger than the library wants to be.
import { analyse } from "chardet";
import { certainEncoding, fits } from "./encodings.ts";

/** Bytes that are looked at. */
const SAMPLE = 65536;
/** ASCII bytes around others that are looked at too: a book in Russian may begin in English. */
const AROUND = 64;
/** Bytes past ASCII from which on there is something to go by. */
const LEAST = 8;
/** Out of a hundred; below it the guess is as bad as any. */
const LEAST_CONFIDENCE = 15;
/** The likeliest encoding of a text's bytes, as people write it. Those of no text have one too. */
export function detectEncoding(bytes: Uint8Array): string {
  const certain = certainEncoding(bytes);
  if (certain) return certain;
  const sample = pastAscii(bytes);
  const enough = sample.filter((byte) => byte > 0x7f).length >= LEAST;
  const likely = enough ? analyse(sample).filter(({ confidence }) => confidence >= LEAST_CONFIDENCE) : [];
  const name = likely.find(({ name }) => fits(bytes, name))?.name ?? "windows-1252";
  // Whoever wrote Latin-1 wrote for readers of Windows-1252, as the web has it.
  return name === "ISO-8859-1" ? "Windows-1252" : name.replace("windows", "Windows");
}

/** The first parts of a text in which bytes past ASCII stand. */
function pastAscii(bytes: Uint8Array): Uint8Array {
  const sample = new Uint8Array(SAMPLE);
  let length = 0;
  let end = 0;
  for (let i = 0; i < bytes.length && length < SAMPLE; i++) {
    if (bytes[i]! < 0x80) continue;
    const part = bytes.subarray(Math.max(end, i - AROUND), (end = Math.max(end, i + 1)));
    sample.set(part.subarray(0, SAMPLE - length), length);
    length += Math.min(part.length, SAMPLE - length);
  }
  return sample.subarray(0, length);
}

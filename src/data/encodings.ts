// The bytes of a text file as text. What they do not say themselves can be guessed: detect-encoding.ts, for programs.
import { GatewiseError } from "../errors.ts";

/** Bytes that are looked at closely. */
const SAMPLE = 65536;

/** What shows that pairs of bytes are not the units of a text. */
const NO_TEXT = /(?![\t\n\f\r])[\p{Cc}\p{Cn}\p{Co}]/u;

/** Whether bytes are text in an encoding, without a mistake. An encoding that is not known is none of theirs. */
export function fits(bytes: Uint8Array, encoding: string): boolean {
  try {
    new TextDecoder(encoding, { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}

/**
 * The encoding that bytes tell by themselves: by a byte-order mark, by zero bytes, which only UTF-16 has, or because what
 * is no UTF-8 is hardly ever UTF-8 by chance, or all but.
 */
export function certainEncoding(bytes: Uint8Array): string | undefined {
  // A mark of UTF-16 with two zero bytes is one of UTF-32, which nothing here reads.
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return bytes[2] === 0 && bytes[3] === 0 ? undefined : "UTF-16LE";
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return "UTF-16BE";
  if (bytes.includes(0)) return utf16Without(bytes.subarray(0, SAMPLE));
  if (fits(bytes, "utf-8")) return isIso2022(bytes) ? "ISO-2022-JP" : "UTF-8";
  return isNearlyUtf8(bytes) ? "UTF-8" : undefined;
}

/** Whether ESC $ B or ESC $ @ stands among seven-bit bytes: so Japanese letters were sent. */
function isIso2022(bytes: Uint8Array): boolean {
  for (let i = bytes.indexOf(ESC); i >= 0; i = bytes.indexOf(ESC, i + 1))
    if (bytes[i + 1] === 0x24 && [0x40, 0x42].includes(bytes[i + 2]!)) return true;
  return false;
}
const ESC = 0x1b;

/** Whether bytes are those of no text: zero bytes, which of texts UTF-16 alone has, or many that no text has in it. */
export function isNoText(bytes: Uint8Array): boolean {
  const sample = bytes.subarray(0, SAMPLE);
  const strange = sample.filter((byte) => byte < 0x20 && !(byte >= 0x08 && byte <= 0x0d) && byte !== 0x1a && byte !== ESC).length;
  // All of it is decoded only where that may tell.
  return (bytes.includes(0) || strange > sample.length / MOST_STRANGE) && certainEncoding(bytes) === undefined;
}
/** One byte of so many may be one that texts do not have. */
const MOST_STRANGE = 500;

/** Characters past ASCII that must stand for each fault in UTF-8: bytes of other encodings are hardly ever one. */
const SOUND = 10;
/** Bytes that are decoded at once. */
const PART = 1 << 20;

/** Whether bytes are UTF-8 but for a fault here and there: a file that was cut in a character's midst, or a stray byte. */
function isNearlyUtf8(bytes: Uint8Array): boolean {
  const decoder = new TextDecoder("utf-8");
  let [sound, faults] = [0, 0];
  for (let at = 0; at < bytes.length; at += PART) {
    const text = decoder.decode(bytes.subarray(at, at + PART), { stream: at + PART < bytes.length });
    faults += text.match(/\ufffd/g)?.length ?? 0;
    sound += text.match(/(?!\ufffd)[^\0-\x7f]/gu)?.length ?? 0;
  }
  return sound >= SOUND * faults;
}

/** Which UTF-16 bytes are that have no mark: the one in which they are characters, with white space between them. */
function utf16Without(bytes: Uint8Array): string | undefined {
  const spaces = (encoding: string): number => {
    if (bytes.length % 2 === 1) return 0;
    const text = new TextDecoder(encoding).decode(bytes);
    return NO_TEXT.test(text) ? 0 : text.split(/[ \t\n\r\u3000]/).length - 1;
  };
  const [little, big] = [spaces("utf-16le"), spaces("utf-16be")];
  return little === big ? undefined : little > big ? "UTF-16LE" : "UTF-16BE";
}

/** Characters 0x80 to 0x9f of Windows-1252. */
const WINDOWS_1252 = "€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ";

/**
 * Bytes of a text file as text: in the encoding given, else UTF-8 or UTF-16 where they are that, else Windows-1252.
 *
 * @param source what the bytes are, for the message
 * @throws GatewiseError E_DATA if it is no text, E_CONFIG for an encoding that is not known
 */
export function decodeText(bytes: Uint8Array, source: string, encoding = certainEncoding(bytes) ?? "windows-1252"): string {
  const decoder = decoderOf(encoding);
  const text = decoder.decode(bytes);
  if (text.includes("\0"))
    throw new GatewiseError("E_DATA", `${source} is no text file (it contains NUL bytes); give a plain .txt`);
  // Node 20 decodes windows-1252 as Latin-1, whose place for quotes and dashes holds control characters.
  if (decoder.encoding !== "windows-1252") return text;
  return text.replace(/[\x80-\x9f]/g, (c) => WINDOWS_1252[c.charCodeAt(0) - 0x80]!);
}

function decoderOf(encoding: string): TextDecoder {
  try {
    return new TextDecoder(encoding);
  } catch (cause) {
    const known = "UTF-8, UTF-16LE, Windows-1252, Windows-1251, KOI8-R, GB18030, Big5, Shift_JIS, EUC-JP, EUC-KR";
    throw new GatewiseError("E_CONFIG", `encoding must be one such as ${known}, got "${encoding}"`, { cause });
  }
}

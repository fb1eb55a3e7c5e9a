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
 * is no UTF-8 is hardly ever UTF-8 by chance.
 */
export function certainEncoding(bytes: Uint8Array): string | undefined {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return "UTF-16LE";
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return "UTF-16BE";
  if (bytes.includes(0)) return utf16Without(bytes.subarray(0, SAMPLE));
  return fits(bytes, "utf-8") ? "UTF-8" : undefined;
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

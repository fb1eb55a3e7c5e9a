// What becomes of a text's characters that a checkpoint's model does not know.
import { CharTokenizer } from "../data/tokenizer.ts";
import { GatewiseError } from "../errors.ts";
import type { Checkpoint } from "../training/checkpoint.ts";
import { extendVocabulary } from "../training/vocabulary.ts";
import type { TextSource } from "./data.ts";
import { count, say } from "./progress.ts";

export const UNKNOWN = ["drop", "replace"] as const;
export type Unknown = (typeof UNKNOWN)[number];

export interface UnknownFlags {
  readonly initFrom?: string;
  readonly extendVocabulary?: boolean;
  readonly unknown?: Unknown;
}

/** What is to become of the characters that a model does not know. */
interface Wish {
  readonly extend?: boolean | undefined;
  readonly unknown?: Unknown | undefined;
  /** What can be asked for, where nothing was. */
  readonly advice: string;
}

export const LEAVE_OUT = "leave them out with --unknown drop, or put another in their place with --unknown replace";

/** What stands for unknown characters: the first of these that the model knows. */
const SUBSTITUTES = ["\uFFFD", "?", "_", " "];
/** Characters that are named. */
const NAMED = 8;

interface Fitted {
  readonly checkpoint: Checkpoint;
  readonly text: TextSource;
}

/** @throws GatewiseError E_CONFIG for what is asked of no fine-tuning */
export function checkUnknownFlags({ initFrom, extendVocabulary, unknown }: UnknownFlags): void {
  const asked = extendVocabulary ? "--extend-vocabulary" : unknown && "--unknown";
  if (asked && initFrom === undefined)
    throw new GatewiseError("E_CONFIG", `${asked} is for a model that learns another text; give it with --init-from`);
}

/**
 * A checkpoint and a text that fit each other, by what was asked for.
 *
 * @param seed of new rows
 * @throws GatewiseError E_CONFIG, E_DATA that says what can be asked for
 */
export function fitVocabulary(checkpoint: Checkpoint, text: TextSource, { extend, unknown, advice }: Wish, seed = 0): Fitted {
  const { tokenizer } = checkpoint;
  if (!(tokenizer instanceof CharTokenizer)) return { checkpoint, text };
  const counts = tokenizer.unknownIn(text.text);
  const characters = [...counts.keys()];
  if (characters.length === 0) return { checkpoint, text };
  const times = [...counts.values()].reduce((sum, each) => sum + each, 0);
  const named = characters
    .slice(0, NAMED)
    .map((character) => JSON.stringify(character))
    .join(" ");
  const which =
    `${count(characters.length)} character${characters.length > 1 ? "s" : ""} that the model does not know ` +
    `(${named}${characters.length > NAMED ? " …" : ""}; ${count(times)} of ${count([...text.text].length)} in the text)`;
  if (extend) {
    say(`${which}: it has rows for them now`);
    return { checkpoint: extendVocabulary(checkpoint, text.text, seed), text };
  }
  if (!unknown) throw new GatewiseError("E_DATA", `${text.name} has ${which}; ${advice}`);
  const substitute = unknown === "drop" ? "" : SUBSTITUTES.find((each) => tokenizer.characters.includes(each));
  if (substitute === undefined)
    throw new GatewiseError(
      "E_CONFIG",
      `the model knows none of ${SUBSTITUTES.map((c) => JSON.stringify(c)).join(", ")} to put in the place of ${which}; use --unknown drop`,
    );
  say(`${which}: ${unknown === "drop" ? "left out" : `${JSON.stringify(substitute)} stands for them`}`);
  const points = characters.map((character) => `\\u{${character.codePointAt(0)!.toString(16)}}`).join("");
  return { checkpoint, text: { ...text, text: text.text.replace(new RegExp(`[${points}]`, "gu"), substitute) } };
}

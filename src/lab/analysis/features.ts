// Things in a text that a unit may keep track of, each a number a character.

export type Feature = (characters: readonly string[]) => Float32Array;

const isLetter = (character: string | undefined): boolean => character !== undefined && /\p{L}/u.test(character);
const isBlankLine = (all: readonly string[], i: number): boolean => all[i] === "\n" && all[i - 1] === "\n";

export const FEATURES: Readonly<Record<string, Feature>> = {
  "inside quotation marks": insideQuotes,
  "position in the line": (all) => sinceLast(all, (i) => all[i] === "\n", 80),
  "position in the word": (all) => sinceLast(all, (i) => !isLetter(all[i]), 12),
  "inside a word": (all) => Float32Array.from(all, (c) => Number(isLetter(c))),
  "nearness of the sentence’s end": (all) => nearnessOfEnd(all, 20),
  "a capital letter": (all) => Float32Array.from(all, (c) => Number(/\p{Lu}/u.test(c))),
  "position in the paragraph": (all) => sinceLast(all, (i) => isBlankLine(all, i), 200),
  "in a heading": inHeading,
  "position after a heading": sinceHeading,
};

/** Words whose first letters an apostrophe stands for. */
const ELISION = /^(?:t(?:is|was|were|will|would)|em|gainst|gins|twixt|tween|bout|cause|til)\b/i;
/** A straight mark opens nothing unless another one closes it within so many characters and the same paragraph. */
const LONGEST_QUOTATION = 2000;
const OPENS = /[“„«「『‘]/;
const CLOSES: Readonly<Record<string, string>> = { "“": "”", "„": "“”", "«": "»", "「": "」", "『": "』", "‘": "’" };

/** Quotation marks, straight or curly, of many languages; an apostrophe is none. A blank line ends what was left open. */
function insideQuotes(all: readonly string[]): Float32Array {
  const isApostrophe = (i: number): boolean =>
    /['‘’]/.test(all[i]!) && ((isLetter(all[i - 1]) && isLetter(all[i + 1])) || ELISION.test(all.slice(i + 1, i + 8).join("")));
  // Straight marks that open look like those that close: but they have a word right after them, and none right before.
  const canOpen = (i: number): boolean =>
    /[\s\p{Pd}\p{Ps}\p{Pi}"']/u.test(all[i - 1] ?? " ") && /[^\s\p{Pd}]/u.test(all[i + 1] ?? " ");
  const canClose = (i: number): boolean => !/['"]/.test(all[i]!) || /\S/.test(all[i - 1] ?? " ");
  const isClosed = (from: number): boolean => {
    for (let i = from + 1; i < Math.min(all.length, from + LONGEST_QUOTATION) && !isBlankLine(all, i); i++)
      if (all[i] === all[from] && !isApostrophe(i) && !canOpen(i)) return true;
    return false;
  };
  // Those that are open, the innermost last; a mark closes the nearest of its kind with all inside it.
  const open: string[] = [];
  return Float32Array.from(all, (c, i) => {
    const closes = open.map((mark) => (CLOSES[mark] ?? mark).includes(c)).lastIndexOf(true);
    if (isBlankLine(all, i)) open.length = 0;
    else if (isApostrophe(i)) return Number(open.length > 0);
    else if (closes >= 0 && canClose(i)) open.length = closes;
    else if (OPENS.test(c) || (/['"]/.test(c) && canOpen(i) && isClosed(i))) open.push(c);
    return Number(open.length > 0);
  });
}

/** Characters since the last at which something ends, up to `most`. */
function sinceLast(all: readonly string[], endsAt: (index: number) => boolean, most: number): Float32Array {
  let count = 0;
  return Float32Array.from(all, (_, i) => (count = endsAt(i) ? 0 : Math.min(most, count + 1)));
}

/** `most` where a sentence ends, one less for each character before it. */
function nearnessOfEnd(all: readonly string[], most: number): Float32Array {
  const nearness = new Float32Array(all.length);
  let now = 0;
  for (let i = all.length - 1; i >= 0; i--)
    nearness[i] = now = /\p{Sentence_Terminal}/u.test(all[i]!) ? most : Math.max(0, now - 1);
  return nearness;
}

const PART = /^\[?(?:chapter|book|part|volume|canto|letter|stave|act|scene)\s+(?:the\s+\w+|\d+|[ivxlc]+)\b/i;
const LATIN = /^(?:actus|sc(?:o?e)?na)\s+\w+/i;
const CAPITALS = /^(?=.*\p{Lu}.*\p{Lu})\P{Ll}+$/u;
const LONGEST_HEADING = 70;

/** Lines that are headings, as [from, to) in characters: "CHAPTER IV. The Rabbit", "Scene 2", or capitals between blank lines. */
export function headings(all: readonly string[]): readonly (readonly [from: number, to: number])[] {
  const found: [number, number][] = [];
  let from = 0;
  let before = "";
  const lines = all.join("").split("\n");
  lines.forEach((line, i) => {
    const words = line.trim();
    const length = [...line.trimEnd()].length;
    const indent = length - [...words].length;
    const alone = before === "" && words.length > 0 && words.length <= LONGEST_HEADING;
    if (alone && (PART.test(words) || LATIN.test(words) || (CAPITALS.test(words) && (lines[i + 1] ?? "").trim() === "")))
      found.push([from + indent, from + length]);
    from += [...line].length + 1;
    before = words;
  });
  return found;
}

function inHeading(all: readonly string[]): Float32Array {
  const inside = new Float32Array(all.length);
  for (const [from, to] of headings(all)) inside.fill(1, from, to);
  return inside;
}

/** Characters after the last heading, up to 400; as many before the first one, which nobody has seen. */
function sinceHeading(all: readonly string[]): Float32Array {
  const most = 400;
  const since = new Float32Array(all.length).fill(most);
  for (const [from, to] of headings(all)) for (let i = from; i < all.length; i++) since[i] = Math.min(most, Math.max(0, i - to));
  return since;
}

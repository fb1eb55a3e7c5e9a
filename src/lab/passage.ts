// Where a piece of a text begins, so that it reads well.

/** What ends a line or a sentence, with the space behind it. */
const END = /\n\s*|[.!?…]["'”’»)]*\s+/u;

/** The text from where its first line or sentence begins, if one does within so many characters; else from a word on. */
export function fromStart(text: string, within: number): string {
  const near = text.slice(0, within);
  const end = END.exec(near) ?? /\s+/.exec(near);
  return end ? text.slice(end.index + end[0].length) : text;
}

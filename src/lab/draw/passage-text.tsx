// A passage with a colour behind every character, in which one position is chosen: by pointing, or by the arrow keys.
import { visible } from "../format.ts";

export interface PassageTextProps {
  /** Characters, or what else the model's tokens stand for. */
  readonly pieces: readonly string[];
  readonly label: string;
  readonly chosen: number;
  readonly onChoose: (index: number) => void;
  /** The colour behind a character, as red, green and blue. */
  readonly colour?: ((index: number) => readonly [number, number, number] | undefined) | undefined;
  /** What is to say about a position: read out while it is chosen. */
  readonly describe: (index: number) => string;
}

export function PassageText({ pieces, label, chosen, onChoose, colour, describe }: PassageTextProps) {
  const last = pieces.length - 1;
  const onKeyDown = (event: KeyboardEvent): void => {
    const moves: Readonly<Record<string, number>> = {
      ArrowLeft: chosen - 1,
      ArrowRight: chosen + 1,
      ArrowUp: nextLine(event.currentTarget as HTMLElement, chosen, -1),
      ArrowDown: nextLine(event.currentTarget as HTMLElement, chosen, 1),
      Home: 0,
      End: last,
    };
    const to = moves[event.key];
    if (to === undefined) return;
    event.preventDefault();
    onChoose(Math.min(last, Math.max(0, to)));
  };
  const onPoint = (event: PointerEvent): void => {
    const index = (event.target as HTMLElement).dataset.at;
    if (index !== undefined) onChoose(Number(index));
  };
  return (
    <div
      class="passage-text"
      role="slider"
      tabIndex={0}
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={Math.max(0, last)}
      aria-valuenow={chosen}
      aria-valuetext={pieces[chosen] === undefined ? "" : describe(chosen)}
      onKeyDown={onKeyDown}
      onPointerOver={onPoint}
      onPointerDown={onPoint}
    >
      {pieces.map((piece, i) => {
        const rgb = colour?.(i);
        return (
          <span
            key={i}
            data-at={i}
            class={i === chosen ? "at" : undefined}
            style={{ backgroundColor: rgb ? `rgb(${rgb.join(" ")})` : "", color: rgb ? inkOn(rgb) : "" }}
          >
            {piece === "" ? "·" : piece.replaceAll("\n", "⏎\n").replaceAll(" ", "\u00a0\u200b")}
          </span>
        );
      })}
    </div>
  );
}

/** The character above or below one, as the lines are broken now. */
function nextLine(text: HTMLElement, from: number, direction: 1 | -1): number {
  const places = Array.from(text.children, (child) => child.getBoundingClientRect());
  const start = places[from];
  if (!start) return from;
  let best = from;
  for (let i = from + direction, line: number | undefined; places[i]; i += direction) {
    const { top, left } = places[i]!;
    if (Math.abs(top - start.top) < start.height / 2) continue;
    line ??= top;
    if (Math.abs(top - line) >= start.height / 2) break;
    if (best === from || Math.abs(left - start.left) < Math.abs(places[best]!.left - start.left)) best = i;
  }
  return best;
}

/** Black or white, whichever is easier to read on a colour. */
export function inkOn([r, g, b]: readonly [number, number, number]): string {
  const linear = (c: number): number => ((c / 255 + 0.055) / 1.055) ** 2.4;
  const light = 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  return light > 0.18 ? "#000" : "#fff";
}

/** A character between quotes, spaces and line ends made visible. */
export const quoted = (character: string): string => `“${visible(character)}”`;

import { useState } from "preact/hooks";
import type { CharacterMap } from "../analysis/character-map.ts";
import { inWords, visible } from "../format.ts";
import { usePlacedNumber } from "../place.ts";
import { PREPARED } from "../prepared.ts";
import { readBook } from "../prepared-files.ts";
import { inspector } from "../views/inspector.ts";
import { Waiting } from "../views/reading.tsx";
import { useComputed } from "../views/use-computed.ts";
import type { Lesson, PictureProps } from "./frame/lesson.tsx";
import { TrainedFor, useTold } from "./frame/parts.tsx";

const { steps } = PREPARED.race;
const PRESET = "embedding-rnn";
const SPACE = "expected";
const VOWELS = [..."aeiou"];

interface Placed {
  readonly letter: string;
  readonly x: number;
  readonly y: number;
  /** The small letters that lie nearest. */
  readonly nearest: readonly string[];
}

/** The small letters of a map, each with its place and its neighbours. */
function lettersOf(characters: readonly string[], map: CharacterMap): readonly Placed[] {
  return characters.flatMap((letter, i) =>
    /[a-z]/.test(letter)
      ? [
          {
            letter,
            x: map.points[2 * i]!,
            y: map.points[2 * i + 1]!,
            nearest: map.nearest[i]!.map((j) => characters[j]!),
          },
        ]
      : [],
  );
}

/** How many vowels have a vowel as their nearest neighbour. */
const pairs = (letters: readonly Placed[]): number =>
  letters.filter(({ letter, nearest }) => VOWELS.includes(letter) && VOWELS.includes(nearest[0]!)).length;

function Picture({ guess, tell }: PictureProps) {
  const [at, setAt] = usePlacedNumber("look", steps.length - 1, { least: 0, most: steps.length - 1 });
  const [chosen, setChosen] = useState("e");
  const { value, problem } = useComputed(async () => {
    // Small letters alone, so that the map is theirs.
    const text = (await readBook()).slice(0, 50_000).replace(/[^a-z]/g, "");
    const maps = [];
    for (const step of steps) {
      const snapshot = await inspector.prepared(PRESET, step);
      const { names, now } = await inspector.characters(snapshot, [SPACE], text);
      maps.push(lettersOf(names, now));
    }
    return maps;
  }, []);
  useTold(tell, value && pairs(value.at(-1)!));
  if (!value) return <Waiting problem={problem}>Looking where the letters lie…</Waiting>;
  // Before the guess the map is untrained: where chance put the letters.
  const look = guess === undefined ? 0 : at;
  const letters = value[look]!;
  const { nearest } = letters.find(({ letter }) => letter === chosen)!;
  return (
    <>
      <LetterMap letters={letters} chosen={chosen} onChoose={setChosen} />
      <p>
        Nearest to <b>{chosen}</b>: {nearest.map(visible).join(", ")}. Of the five vowels{" "}
        <b data-value="pairs">{inWords(pairs(letters))}</b> {pairs(letters) === 1 ? "has" : "have"} another vowel as the nearest
        letter.
      </p>
      {guess === undefined ? (
        <p class="small muted">This is the untrained network: the letters lie where chance has put them.</p>
      ) : (
        <TrainedFor steps={steps} at={at} onChange={setAt} />
      )}
    </>
  );
}

const [SIZE, EDGE] = [340, 22];

function LetterMap(props: { letters: readonly Placed[]; chosen: string; onChoose: (letter: string) => void }) {
  const { letters, chosen, onChoose } = props;
  const range = (of: (letter: Placed) => number) => {
    const all = letters.map(of);
    const [least, most] = [Math.min(...all), Math.max(...all)];
    return (value: number) => EDGE + ((value - least) / (most - least || 1)) * (SIZE - 2 * EDGE);
  };
  const [toX, toY] = [range(({ x }) => x), range(({ y }) => y)];
  return (
    <svg class="letter-map" viewBox={`0 0 ${SIZE} ${SIZE}`} role="group" aria-label="Where the letters lie; choose one">
      {letters.map(({ letter, x, y }) => (
        <g
          key={letter}
          class={`${VOWELS.includes(letter) ? "vowel" : ""}${letter === chosen ? " at" : ""}`}
          transform={`translate(${toX(x).toFixed(1)} ${toY(y).toFixed(1)})`}
          role="button"
          tabindex={0}
          aria-label={`${letter}${VOWELS.includes(letter) ? ", a vowel" : ""}`}
          aria-pressed={letter === chosen}
          onClick={() => onChoose(letter)}
          onKeyDown={(event) => {
            if (event.key === "Enter" || event.key === " ") {
              event.preventDefault();
              onChoose(letter);
            }
          }}
        >
          <circle r="12" />
          <text y="5">{letter}</text>
        </g>
      ))}
    </svg>
  );
}

const lesson: Lesson = {
  question: (
    <>
      To a computer letters come as numbers. <b>One-hot</b> gives each a place of its own: a is 1 0 0 …, b is 0 1 0 …, and all lie
      equally far apart. An <b>embedding</b> gives each a few numbers that the network may move. Nobody tells it what a vowel is.
      Will it find out?
    </>
  ),
  guess: {
    label: "After training, how many of a, e, i, o, u lie nearest to another vowel?",
    least: 0,
    most: 5,
    step: 1,
    start: 2,
    say: (value) => `${value} of 5`,
  },
  Picture,
  why: (
    <>
      After a vowel much the same comes as after another one, so whatever the network learns about one of them is right for the
      others too. Training pulls each letter to where its guesses get better, and letters that behave alike end up side by side.
    </>
  ),
  tryThis: (
    <>
      Choose a letter and turn the training from 0 up: which neighbours does it find first? Vowels find each other soon; rare
      letters, such as q, x and z, lie near much else, for little was learned of them.
    </>
  ),
  equation: (
    <>
      x<sub>t</sub> = E[c<sub>t</sub>]
      <small>
        the row of a table E for the letter c<sub>t</sub>; with one-hot letters W x<sub>t</sub> is a column of W, so that W is
        such a table too
      </small>
    </>
  ),
  exercise: <>In a one-hot code of 73 characters, how far apart are two letters, and is any pair nearer than another?</>,
  solution: (
    <>
      Two places differ, by 1 each: the distance is √2 for every pair. The code says nothing of who is like whom; all of that must
      be learned behind it.
    </>
  ),
};
export default lesson;

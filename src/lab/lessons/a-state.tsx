import type { ComponentChildren } from "preact";
import { LETTERS_STEPS, LETTERS_UNITS } from "../experiments/letters.ts";
import { BASELINE_NAMES } from "../analysis/baselines.ts";
import { Select } from "../draw/forms.tsx";
import { bits, count, fixed, inWords, visible } from "../format.ts";
import { lineStyle, titleOf } from "../kinds.ts";
import { changePlace, place, usePlacedNumber } from "../place.ts";
import { PREPARED } from "../prepared.ts";
import { inspector } from "../views/inspector.ts";
import { useComputed } from "../views/use-computed.ts";
import { Waiting } from "../views/reading.tsx";
import { readBook, readLog } from "../prepared-files.ts";
import type { Lesson, PictureProps } from "./frame/lesson.tsx";
import { TrainedFor, useTold } from "./frame/parts.tsx";
import { bestEvaluation } from "../draw/curves.ts";

/** By pattern: its letters, and where its first doubt lies, after which letter comes which. */
const PATTERNS = {
  wave: { letters: "abcdedcb", doubt: 2, next: "d" },
  word: { letters: "hello ", doubt: 3, next: "o" },
} as const;
type Pattern = keyof typeof PATTERNS;
const TITLES: Readonly<Record<Pattern, string>> = { wave: "a wave: abcdedcb", word: "a word: hello" };
const TIMES = 2;

function Picture({ guess, tell }: PictureProps) {
  const asked = place.value.params.pattern;
  const pattern: Pattern = asked === "word" ? "word" : "wave";
  const { letters, doubt, next } = PATTERNS[pattern];
  const [look, setLook] = usePlacedNumber("look", LETTERS_STEPS.length - 1, { least: 0, most: LETTERS_STEPS.length - 1 });
  const { value, problem } = useComputed(
    async () => ({ ...(await inspector.learnLetters(letters, TIMES)), of: letters }),
    [letters],
  );
  const V = value?.letters.length ?? 0;
  const read = [...letters.repeat(TIMES)];
  const sure = (at: number): number => value!.expected[at]![(letters.length + doubt) * V + value!.letters.indexOf(next)]!;
  // What is shown of the pattern before stays no longer.
  const there = value?.of === letters ? value : undefined;
  useTold(tell, there && Math.round(100 * sure(LETTERS_STEPS.length - 1)));
  if (!there) return <Waiting problem={problem}>A network of {inWords(LETTERS_UNITS)} units is learning it now…</Waiting>;
  const expected = guess === undefined ? undefined : there.expected[look]!;
  return (
    <>
      <label class="row small">
        It reads{" "}
        <Select
          class="inline"
          value={pattern}
          options={TITLES}
          onChoose={(to) => changePlace({ pattern: to, guess: undefined, look: undefined })}
        />
      </label>
      <Letters read={read} letters={there.letters} expected={expected} doubt={letters.length + doubt} />
      {guess === undefined ? (
        <p class="small muted">The line is what comes. Guess, and see what the network expects at each place.</p>
      ) : (
        <>
          <TrainedFor steps={LETTERS_STEPS} at={look} onChange={setLook} />
          <p class="small muted">
            The larger a dot, the surer the network is of that letter. After the marked {letters[doubt]} it gives {next}{" "}
            <b data-value="sure">{fixed(100 * sure(look), 0)} %</b>.
          </p>
          <Counting />
        </>
      )}
    </>
  );
}

const [COLUMN, ROW, TOP] = [22, 24, 14];

/** The letters as heights, and in front of each what was expected there. */
function Letters(props: {
  readonly read: readonly string[];
  readonly letters: readonly string[];
  readonly expected: Float32Array | undefined;
  readonly doubt: number;
}) {
  const { read, letters, expected, doubt } = props;
  const V = letters.length;
  const x = (t: number): number => (t + 0.5) * COLUMN;
  const y = (letter: number): number => TOP + (V - 1 - letter + 0.5) * ROW;
  const places = read.map((letter, t) => `${x(t)},${y(letters.indexOf(letter))}`);
  const height = TOP + V * ROW + 26;
  return (
    <svg
      class="letters"
      viewBox={`0 0 ${(read.length + 1) * COLUMN} ${height}`}
      role="img"
      aria-label={`The letters ${read.map(visible).join(" ")}, one after another, the higher the later in the alphabet.`}
    >
      <polyline class="truth" points={places.join(" ")} />
      <rect class="doubt" x={x(doubt) - COLUMN / 2} y={TOP - 6} width={COLUMN} height={V * ROW + 28} rx="5" />
      {read.map((letter, t) => (
        <text key={t} x={x(t)} y={height - 8}>
          {visible(letter)}
        </text>
      ))}
      {expected &&
        read.map((_, t) =>
          letters.map((letter, v) => (
            <circle key={`${t} ${v}`} cx={x(t + 1)} cy={y(v)} r={9 * Math.sqrt(expected[t * V + v]!)}>
              <title>
                after {visible(read[t]!)}: {visible(letter)} {fixed(100 * expected[t * V + v]!, 0)} %
              </title>
            </circle>
          )),
        )}
    </svg>
  );
}

/** What counting letters gets on the book, beside a network with a state. */
function Counting() {
  const { value, problem } = useComputed(async () => {
    const counted = await inspector.baselines(await readBook(), PREPARED.race.settings.valFraction);
    return { counted, network: bestEvaluation((await readLog("one-hot-rnn")).evaluations)! };
  }, []);
  if (!value) return <Waiting problem={problem}>Counting the letters of a book…</Waiting>;
  const rows: readonly (readonly [ComponentChildren, number])[] = [
    ...BASELINE_NAMES.map((name, n) => [WORDS[n], value.counted[name]] as const),
    [`the ${titleOf("one-hot-rnn")}, with a state`, value.network],
  ];
  return (
    <figure class="counting">
      <figcaption>
        And on a whole book? Bits of surprise a letter, on a part of <i>Alice</i> that was kept apart: less is better.
      </figcaption>
      <ul>
        {rows.map(([what, nats], i) => (
          <li key={i}>
            <span>{what}</span>
            <i
              style={{
                width: `${(bits(nats) / bits(rows[0]![1])) * 100}%`,
                ...(i === 3 && { background: lineStyle("one-hot-rnn").stroke }),
              }}
            />
            <b data-value={i === 3 ? "network" : BASELINE_NAMES[i]}>{fixed(bits(nats), 2)}</b>
          </li>
        ))}
      </ul>
    </figure>
  );
}
const WORDS = ["how common each letter is", "counted after the last letter", "counted after the last two"];

const lesson: Lesson = {
  question: (
    <>
      A network reads letters, one at a time, and says which comes next. In this wave a <b>c</b> comes twice: on the way up a d
      follows it, on the way down a b. Whoever sees only the last letter cannot know. Can the network?
    </>
  ),
  guess: {
    label: "When it has learned, how sure is it of what follows the marked letter?",
    least: 0,
    most: 100,
    step: 1,
    start: 50,
    say: (value) => `${count(value)} %`,
  },
  Picture,
  why: (
    <>
      Besides the letter it reads its own <b>state</b>: a few numbers that it left for itself one step ago. In them it can keep
      whether the wave goes up, and nobody told it to: that made its guesses better, so it stayed.
    </>
  ),
  tryThis: (
    <>
      Choose the word hello: after one l comes another, after the second an o. Guess again, then turn back the training and watch
      when the network begins to tell them apart.
    </>
  ),
  equation: (
    <>
      h<sub>t</sub> = tanh(W x<sub>t</sub> + U h<sub>t−1</sub> + b)
      <small>
        x<sub>t</sub> is the letter, h the state; what it expects next is softmax(V h<sub>t</sub> + d)
      </small>
    </>
  ),
  exercise: <>Counting after the last two letters solves the wave too. Make up a repeating pattern that this does not solve.</>,
  solution: (
    <>
      Any in which the same two letters are followed by different ones, such as aab aac: after “aa” comes a b or a c by turns. One
      needs to remember four letters; a state can remember one bit, “b is next”.
    </>
  ),
};
export default lesson;

import { inWords } from "../format.ts";
import view from "../views/parallel.tsx";
import type { Lesson, PictureProps } from "./frame/lesson.tsx";
import { useTold } from "./frame/parts.tsx";

/** As many letters as the picture begins with, and the rounds that a tree takes for them. */
const LETTERS = 8;
const ROUNDS = Math.log2(LETTERS);

function Picture({ guess, tell, device, clock }: PictureProps) {
  useTold(tell, ROUNDS);
  if (guess === undefined)
    return (
      <p class="small muted">
        The picture takes both kinds through the same letters, round by round, with the numbers of real layers.
      </p>
    );
  return <view.Content snapshots={[]} chosen={0} passage="" book="" device={device} clock={clock} />;
}

const lesson: Lesson = {
  question: (
    <>
      An LSTM must finish one step before it can begin the next: {inWords(LETTERS)} letters are {inWords(LETTERS)} steps, one
      after another, and a machine with a thousand hands is of no use. Suppose that a step were as simple as <b>h′ = a h + b</b>,
      with a and b known from the letter alone. How many rounds would it take with many hands?
    </>
  ),
  guess: {
    label: `Rounds until all ${inWords(LETTERS)} states are known:`,
    least: 1,
    most: LETTERS,
    step: 1,
    start: LETTERS,
    say: (value) => (value === 1 ? "1 round" : `${value} rounds`),
  },
  Picture,
  why: (
    <>
      Two such steps after one another are one such step again, so neighbours can be joined in pairs, the pairs in pairs, and so
      on: every round doubles how far each has looked back. That is a <b>scan</b>; minGRU, S4D and Mamba are built so that it
      works for them.
    </>
  ),
  tryThis: (
    <>Go through the rounds and compare the rows of the tree with the chain below. Then measure both on the device you sit at.</>
  ),
  equation: (
    <>
      first (a₁, b₁), then (a₂, b₂): (a₂ a₁, a₂ b₁ + b₂)
      <small>log₂ T rounds in place of T; what is given up: a and b cannot look at h</small>
    </>
  ),
  exercise: (
    <>
      Parity asks whether the number of 1s so far is odd: at each 1 the state must turn over. Why can h′ = a h + b with 0 ≤ a ≤ 1
      not do that, and an LSTM can?
    </>
  ),
  solution: (
    <>
      To turn over is to come from high to low and from low to high at the same letter: a must be negative, or a and b must depend
      on h. The gates of an LSTM see h. The lesson before this one has the test: choose the task Parity.
    </>
  ),
};
export default lesson;

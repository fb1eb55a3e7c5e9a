import { fixed } from "../format.ts";
import { usePlacedNumbers } from "../place.ts";
import { ByHand, type Goal } from "./frame/hand.tsx";
import type { Lesson, PictureProps } from "./frame/lesson.tsx";
import { useTold } from "./frame/parts.tsx";
import { Trained } from "./frame/trained.tsx";

const [FIRST, SECOND] = [0.4, 0.6];
const INPUT = [FIRST, 0, 0, SECOND, 0, 0];
const HALVES = INPUT.map(() => 0.5);
const near = (value: number, to: number): boolean => Math.abs(value - to) < 0.08;
const [ON, OFF] = [1, 0];
const keep = { i: [ON, OFF, OFF, OFF, OFF, OFF], f: [OFF, ON, ON, ON, ON, ON] };
const open = INPUT.map(() => ON);

const GOALS: readonly Goal[] = [
  { title: "Write the first input, and keep it to the end", met: ({ c }) => near(c![5]!, FIRST), gates: { ...keep, o: HALVES } },
  {
    title: "Overwrite it with the second, at step 4",
    met: ({ c }) => near(c![2]!, FIRST) && near(c![5]!, SECOND),
    gates: { i: [ON, OFF, OFF, ON, OFF, OFF], f: [OFF, ON, ON, OFF, ON, ON], o: HALVES },
  },
  {
    title: "Keep the first, and read it out only at the end",
    met: ({ c, h }) => near(c![5]!, FIRST) && near(h![5]!, Math.tanh(FIRST)) && h!.slice(0, 5).every((value) => near(value, 0)),
    gates: { ...keep, o: [OFF, OFF, OFF, OFF, OFF, ON] },
  },
  {
    title: "Count: let both inputs add up",
    met: ({ c }) => near(c![2]!, FIRST) && near(c![5]!, FIRST + SECOND),
    gates: { i: [ON, OFF, OFF, ON, OFF, OFF], f: open, o: open },
  },
];

/** Steps after which half is to be left, and the gate that does it. */
const STEPS = 20;
const HALF = Math.round(100 * 0.5 ** (1 / STEPS)) / 100;

function Picture({ guess, tell }: PictureProps) {
  useTold(tell, HALF);
  const [f] = usePlacedNumbers("f", HALVES, { least: 0, most: 1 });
  const way = f.slice(1).reduce((product, gate) => product * gate, 1);
  return (
    <>
      <ByHand
        cell="lstm"
        input={{ name: "g", values: INPUT }}
        gates={{ i: "how much it writes", f: "how much it keeps", o: "how much it shows" }}
        states={{ c: "the cell", h: "what the rest of the network sees" }}
        goals={GOALS}
      />
      <p>
        The gradient’s way back through the cell, ∂c₆/∂c₁, is the product of f from step 2 to 6:{" "}
        <b data-value="way">{fixed(way, 3)}</b>.
      </p>
      {guess !== undefined && <Trained preset="lstm" gate="f" low="0: forgets" high="1: keeps" />}
    </>
  );
}

const lesson: Lesson = {
  question: (
    <>
      The LSTM keeps its memory apart, in a <b>cell</b> c, behind three gates: i says how much is written, f how much of the old
      is kept, o how much is shown. Only the forget gate f multiplies what the cell holds.
    </>
  ),
  guess: {
    label: `Where must f stand for half of what the cell holds to be left after ${STEPS} steps?`,
    least: 0.5,
    most: 1,
    step: 0.01,
    start: 0.75,
    say: (value) => fixed(value, 2),
  },
  Picture,
  why: (
    <>
      What is kept is multiplied by f at each step, and {HALF} multiplied by itself {STEPS} times is about a half. The same f
      multiplies the gradient on its way back through the cell, with no matrix and no tanh in between: a highway, as long as f
      stays near 1.
    </>
  ),
  tryThis: (
    <>
      Bring about the four things above the picture. The last of them a GRU cannot do: it mixes what comes with what it had, and
      no mixture of {FIRST} and {SECOND} is {FIRST + SECOND}.
    </>
  ),
  equation: (
    <>
      c<sub>t</sub> = f<sub>t</sub> c<sub>t−1</sub> + i<sub>t</sub> g<sub>t</sub>, h<sub>t</sub> = o<sub>t</sub> tanh(c
      <sub>t</sub>)<small>i, f, o = σ(W x + U h + b), g = tanh(…), each with weights of its own</small>
    </>
  ),
  exercise: <>Put f at 0.9 in all steps. What is ∂c₆/∂c₁ then, and what would be left after 100 steps?</>,
  solution: <>0.9⁵ = 0.590, as the picture says; 0.9¹⁰⁰ is 3 in 100,000. Even a good gate forgets, if it is not held at 1.</>,
};
export default lesson;

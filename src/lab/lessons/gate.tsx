import { fixed } from "../format.ts";
import { inspector } from "../views/inspector.ts";
import { useComputed } from "../views/use-computed.ts";
import { ByHand, type Goal } from "./frame/hand.tsx";
import type { Lesson, PictureProps } from "./frame/lesson.tsx";
import { useTold } from "./frame/parts.tsx";
import { Trained } from "./frame/trained.tsx";

const INPUT = [1, 0, 0, -1, 0, 0];
const all = (value: number): number[] => INPUT.map(() => value);
const near = (value: number, to: number): boolean => Math.abs(value - to) < 0.1;

const GOALS: readonly Goal[] = [
  { title: "Keep the first input to the end", met: ({ h }) => near(h![5]!, 1), gates: { z: [0, 1, 1, 1, 1, 1] } },
  { title: "Forget it after one step", met: ({ h }) => near(h![0]!, 1) && near(h![1]!, 0), gates: { z: [0, 0, 0, 0, 0, 0] } },
  {
    title: "Overwrite it with the second, at step 4, and keep that",
    met: ({ h }) => near(h![2]!, 1) && near(h![5]!, -1),
    gates: { z: [0, 1, 1, 0, 1, 1] },
  },
];

/** What is left at the end of the first input alone, with all gates at one half. */
function useLeft(): number | undefined {
  const { value } = useComputed(
    () => inspector.gatesByHand("gru", { n: INPUT.map((_, t) => Number(t === 0)), z: all(0.5), r: all(1) }),
    [],
  );
  return value?.h!.at(-1);
}

function Picture({ guess, tell }: PictureProps) {
  const left = useLeft();
  useTold(tell, left === undefined ? undefined : Math.round(100 * left));
  return (
    <>
      <ByHand
        cell="gru"
        input={{ name: "n", values: INPUT }}
        gates={{ z: "how much it keeps" }}
        fixed={{ r: all(1) }}
        states={{ h: "the state" }}
        goals={GOALS}
      />
      {guess !== undefined && <Trained preset="gru" gate="z" low="0: takes in" high="1: keeps" />}
    </>
  );
}

const lesson: Lesson = {
  question: (
    <>
      A plain RNN makes its whole state anew at every step, so that nothing lasts. The GRU has a <b>gate</b> z for each number of
      its state: at 1 it keeps what it had, at 0 it takes the new value n, in between it mixes. Here you are the gate. All stand
      at one half now.
    </>
  ),
  guess: {
    label: "With all gates at one half, how much of the first input is left in the state at the end?",
    least: 0,
    most: 100,
    step: 1,
    start: 50,
    say: (value) => `${fixed(value, 0)} %`,
  },
  Picture,
  why: (
    <>
      Each gate of one half halves what was there: ½ taken in, and halved five times more. A gate at 1 multiplies by 1, as often
      as you like, and what multiplies the state on its way forward multiplies the <b>gradient</b> on its way back.
    </>
  ),
  tryThis: (
    <>
      Bring about the three things above the picture, by dragging. Then look at what a trained GRU has chosen, letter by letter.
    </>
  ),
  equation: (
    <>
      h<sub>t</sub> = (1 − z<sub>t</sub>) n<sub>t</sub> + z<sub>t</sub> h<sub>t−1</sub>
      <small>
        z<sub>t</sub> = σ(W x<sub>t</sub> + U h<sub>t−1</sub> + b): the network sets its gates itself, by what it reads and what
        it holds
      </small>
    </>
  ),
  exercise: <>To keep 90 % of something for 100 steps, where must z stand?</>,
  solution: <>z¹⁰⁰ = 0.9, so z = 0.9^(1/100) = 0.9989. Near the end of its range σ is flat, so the network can hold it there.</>,
};
export default lesson;

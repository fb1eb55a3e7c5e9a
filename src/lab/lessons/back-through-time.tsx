import { useState } from "preact/hooks";
import { fixed } from "../format.ts";
import { usePlacedNumber, usePlacedNumbers } from "../place.ts";
import { inspector } from "../views/inspector.ts";
import { Waiting } from "../views/reading.tsx";
import { useComputed } from "../views/use-computed.ts";
import type { Lesson, PictureProps } from "./frame/lesson.tsx";
import { Bar, Dial, Slider, StepGrid, StepRow, useTold } from "./frame/parts.tsx";

const START = [0.5, 0, 0, 0, 0.25, 0];
const T = START.length;
const CHANGED = 2;
const [WEIGHT, TARGET] = [1.2, 1];
const SIGN = { least: -1, most: 1 };

function Picture({ guess, tell }: PictureProps) {
  const [x, setX] = usePlacedNumbers("x", START, SIGN);
  const [w, setW] = usePlacedNumber("w", 0.9, { least: -1.5, most: 1.5 });
  const [cut, setCut] = usePlacedNumber("cut", T, { least: 1, most: T });
  /** Steps that were done: T forward, then back. */
  const [done, setDone] = useState(2 * T);
  const { value, problem } = useComputed(async () => {
    const before = await inspector.unroll(START, WEIGHT, w, TARGET);
    const other = await inspector.unroll(
      START.map((each, t) => (t === CHANGED ? 1 : each)),
      WEIGHT,
      w,
      TARGET,
    );
    return {
      now: await inspector.unroll(x, WEIGHT, w, TARGET),
      changed: before.h.filter((h, t) => Math.abs(h - other.h[t]!) > 1e-6).length,
    };
  }, [x.join(), w]);
  useTold(tell, value?.changed);
  if (!value) return <Waiting problem={problem}>Computing…</Waiting>;
  const { h, dh, loss } = value.now;
  const back = (t: number): boolean => done >= T + (T - t);
  const isCut = (t: number): boolean => t < T - cut;
  return (
    <>
      <div class="row small">
        <button type="button" aria-disabled={done === 0} onClick={() => setDone(Math.max(0, done - 1))}>
          ← Back a step
        </button>
        <button type="button" class="primary" aria-disabled={done === 2 * T} onClick={() => setDone(Math.min(2 * T, done + 1))}>
          Next step →
        </button>
        <button type="button" onClick={() => setDone(0)}>
          From the start
        </button>
        <span class="muted" role="status">
          {done === 0
            ? "nothing computed yet"
            : done <= T
              ? `forward: step ${done} of ${T}`
              : done < 2 * T
                ? `back: step ${done - T} of ${T}`
                : "all computed"}
        </span>
      </div>
      <StepGrid label="The network unrolled: a column is a step" steps={T}>
        <StepRow title="x: what it reads" note="drag">
          {x.map((each, t) => (
            <Slider
              key={t}
              name="x"
              step={t}
              least={-1}
              value={each}
              onChange={(to) => setX(x.map((old, s) => (s === t ? to : old)))}
            />
          ))}
        </StepRow>
        <StepRow title="h: the state, from left to right">
          {h.map((each, t) => (
            <Bar key={t} name="h" step={t} value={each} digits={3} later={t >= done} link={t < T - 1 ? "→" : undefined} />
          ))}
        </StepRow>
        <StepRow title="∂L/∂h: the gradient, from right to left" note={isCut(0) ? "cut off where it is 0" : undefined}>
          {dh.map((each, t) => (
            <Bar
              key={t}
              name="dh"
              step={t}
              value={isCut(t) ? 0 : each}
              digits={3}
              later={!back(t)}
              link={t < T - 1 ? "←" : undefined}
            />
          ))}
        </StepRow>
      </StepGrid>
      <p>
        It should say {TARGET} at the end and says {fixed(h.at(-1)!, 3)}: L = ½ ({fixed(h.at(-1)!, 3)} − {TARGET})² ={" "}
        <b>{fixed(loss, 4)}</b>.
      </p>
      {guess !== undefined && (
        <div class="dials">
          <Dial label="w, from state to state" least={-1.5} most={1.5} step={0.1} value={w} say={fixed(w, 1)} onChange={setW} />
          <Dial
            label="Gradients go back over"
            least={1}
            most={T}
            step={1}
            value={cut}
            say={cut === T ? "all steps" : cut === 1 ? "1 step" : `${cut} steps`}
            onChange={setCut}
          />
        </div>
      )}
    </>
  );
}

const lesson: Lesson = {
  question: (
    <>
      Here is a network of one unit, laid out in time: the same unit {T} times, each handing its state to the next. The numbers
      are real. If you change only what it reads at step {CHANGED + 1}, which states become others?
    </>
  ),
  guess: {
    label: `How many of the ${T} states change?`,
    least: 0,
    most: T,
    step: 1,
    start: 1,
    say: (value) => `${value} of ${T}`,
  },
  Picture,
  why: (
    <>
      Each state is made of the one before, so a change runs on to all that come later, and the loss at the end feels every input.
      The gradient walks the same way back: at each step it is multiplied by w and by the slope of tanh, 1 − h².
    </>
  ),
  tryThis: (
    <>
      Drag an x and watch what changes to its right. Go from the start, step by step, forward and back. Then let gradients go back
      over 2 steps only: that is <b>truncation</b>, and what stood earlier gets no blame at all.
    </>
  ),
  equation: (
    <>
      h<sub>t</sub> = tanh({WEIGHT} x<sub>t</sub> + w h<sub>t−1</sub>)
      <br />
      ∂L/∂h<sub>t−1</sub> = w (1 − h<sub>t</sub>²) ∂L/∂h<sub>t</sub>
    </>
  ),
  exercise: <>Take the last two columns, with w = 0.9. Compute ∂L/∂h₅ from ∂L/∂h₆ and h₆ by hand.</>,
  solution: (
    <>
      Multiply ∂L/∂h₆ by 0.9 and by 1 − h₆²: the number in the fifth column must come out, to the last digit shown or one beside
      it.
    </>
  ),
};
export default lesson;

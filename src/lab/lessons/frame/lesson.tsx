// What a lesson is, and the frame around all of them: a question, a guess, the picture that answers, why, a thing to try, the
// equation, and an exercise.
import type { ComponentChildren, ComponentType } from "preact";
import { useState } from "preact/hooks";
import { changePlace, place } from "../../place.ts";
import type { ViewProps } from "../../views/view.ts";
import { GuessScale, type GuessScaleProps } from "./guess.tsx";

/** What a picture may need of the page around it. */
export type Around = Pick<ViewProps, "device" | "clock">;

export interface PictureProps extends Around {
  /** Whether the visitor has guessed, so that the answer may be shown. */
  readonly guess: number | undefined;
  /** Says the answer, once it is known, as a number of the guess's kind. */
  readonly tell: (answer: number) => void;
}

export interface Lesson {
  readonly question: ComponentChildren;
  readonly guess: Pick<GuessScaleProps, "label" | "least" | "most" | "step" | "say"> & {
    readonly start: number;
    /** What the answer is of, where the picture can show something else too. */
    readonly of?: string;
  };
  readonly Picture: ComponentType<PictureProps>;
  /** Two sentences. */
  readonly why: ComponentChildren;
  readonly tryThis: ComponentChildren;
  readonly equation: ComponentChildren;
  readonly exercise: ComponentChildren;
  readonly solution: ComponentChildren;
}

export function LessonFrame({ lesson, ...around }: Around & { lesson: Lesson }) {
  const { question, guess, Picture, why, tryThis, equation, exercise, solution } = lesson;
  const { label, least, most, step, start, say, of } = guess;
  const asked = place.value.params.guess;
  const given = asked !== undefined && Number(asked) >= least && Number(asked) <= most ? Number(asked) : undefined;
  const [moved, setMoved] = useState(given ?? start);
  const [answer, tell] = useState<number>();
  return (
    <>
      <p class="question">{question}</p>
      <form
        class="guess"
        onSubmit={(event) => {
          event.preventDefault();
          changePlace({ guess: String(moved) });
        }}
      >
        <span aria-hidden="true">{label}</span>
        <GuessScale
          {...{ label, least, most, step, say }}
          value={moved}
          answer={given === undefined ? undefined : answer}
          onChange={setMoved}
        />
        <button class={given === undefined ? "primary" : undefined}>
          {given === undefined ? "That is my guess" : "Guess again"}
        </button>
      </form>
      <p class="verdict-line" role="status" data-answer={given === undefined ? undefined : answer}>
        {given !== undefined && answer !== undefined && (
          <>
            You guessed <b>{say(given)}</b>; it is <b>{say(answer)}</b>
            {of && `, ${of}`}.
          </>
        )}
      </p>
      <div class="picture">
        <Picture guess={given} tell={tell} {...around} />
      </div>
      <dl class="after">
        {given !== undefined && (
          <>
            <dt>Why</dt>
            <dd>{why}</dd>
          </>
        )}
        <dt>Try</dt>
        <dd>{tryThis}</dd>
        <dt>The equation</dt>
        <dd class="equation">{equation}</dd>
        <dt>Exercise</dt>
        <dd>
          {exercise}
          <details>
            <summary>Solution</summary>
            <p>{solution}</p>
          </details>
        </dd>
      </dl>
    </>
  );
}

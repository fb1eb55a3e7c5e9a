// A page for teachers, to print: ten minutes with a class, what to ask, and what should be heard.
import { LESSONS } from "../lessons/frame/index.ts";

interface Item {
  readonly minutes: string;
  readonly what: string;
  readonly lesson?: string;
  readonly ask: string;
  readonly hear: string;
}
const PLAN: readonly Item[] = [
  {
    minutes: "0–1",
    what: "Show the first screen. Turn the training from 3,000 steps back to 0 and up again.",
    ask: "What has it learned first: letters, words, or sentences?",
    hear: "How common letters are, then short words and spaces, then spelling; sense hardly at all.",
  },
  {
    minutes: "1–3",
    what: "The wave. Everyone guesses, by hands, before you press.",
    lesson: "a-state",
    ask: "The same letter, two futures. What must the reader carry along?",
    hear: "Where it comes from: a state.",
  },
  {
    minutes: "3–5",
    what: "Drag one input and watch all that comes after it; then go back step by step.",
    lesson: "back-through-time",
    ask: "Which input is to blame for the error at the end, and how would the network know?",
    hear: "All of them; the error is handed back, one factor a step.",
  },
  {
    minutes: "5–7",
    what: "Guess what is left after 30 letters, then turn W_hh up, then the forget bias.",
    lesson: "vanishing",
    ask: "Why is there no good value in between?",
    hear: "A product of 30 equal factors is nearly 0 or huge, unless they are 1.",
  },
  {
    minutes: "7–9",
    what: "A pupil drags the gates of the cell until it keeps, overwrites, and reads out at the end.",
    lesson: "cell",
    ask: "Which gate did you need for the gradient to come back?",
    hear: "f, and nothing else.",
  },
  {
    minutes: "9–10",
    what: "Press “Train the same from nothing” and leave it running.",
    ask: "What will it write when we come back?",
    hear: "Bets are fine. On one device the curves of a seed are the same every time.",
  },
];

export function Teachers() {
  return (
    <article class="card lesson teachers" aria-labelledby="teachers-title">
      <p class="small no-print">
        <a href="#lessons">All lessons</a>
      </p>
      <h2 id="teachers-title">Ten minutes with recurrent networks</h2>
      <p>
        For a class that knows what a function is; derivatives help from minute 3 on. One screen is enough. Nothing is installed,
        nothing leaves the page, and it works without a network once it was opened.
      </p>
      <ol class="plan">
        {PLAN.map(({ minutes, what, lesson, ask, hear }) => (
          <li key={minutes}>
            <b>Minutes {minutes}.</b> {what}{" "}
            {lesson && <a href={`#lessons/${lesson}`}>{LESSONS.find(({ name }) => name === lesson)!.title}</a>}
            <br />
            <i>Ask:</i> {ask} <br />
            <i>Hope to hear:</i> {hear}
          </li>
        ))}
      </ol>
      <h3>If there is more time</h3>
      <p>
        Embeddings (which letters end up as neighbours?), memory (which network remembers longest?), parallel in time (why are
        today’s models built otherwise?). Each lesson ends in an exercise with its solution folded away.
      </p>
      <h3>To link to</h3>
      <p>
        Each lesson, and each state of it, has an address: copy it from the address bar. A view alone fits into a page of yours:{" "}
        <code>?embed=gradient-flow</code>.
      </p>
      <button type="button" class="no-print" onClick={() => print()}>
        Print this page
      </button>
    </article>
  );
}

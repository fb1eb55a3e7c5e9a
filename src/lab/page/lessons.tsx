// The Lessons tab: what is there at once, the list of lessons, and the one that is open.
import "./lessons.css";
import { useEffect, useRef, useState } from "preact/hooks";
import { place } from "../place.ts";
import { LESSONS, loadLesson, type LessonEntry } from "../lessons/frame/index.ts";
import { LessonFrame, type Lesson } from "../lessons/frame/lesson.tsx";
import * as device from "./store/device.ts";
import { timeLayers } from "./store/begin.ts";
import { Race } from "./race.tsx";
import { Teachers } from "./teachers.tsx";

export function LessonsTab() {
  const { part } = place.value;
  const at = LESSONS.findIndex(({ name }) => name === part);
  if (part === "teachers") return <Teachers />;
  if (at >= 0) return <Open key={part} entry={LESSONS[at]!} at={at} />;
  return (
    <div class="lessons">
      <Race />
      <section class="card" aria-labelledby="lessons-title">
        <h2 id="lessons-title">Eight short lessons</h2>
        <p class="muted">
          Each asks a question, lets you guess, and answers with a network that computes here, in this page. No training needed.
        </p>
        <ol class="lesson-list">
          {LESSONS.map(({ name, title, line, minutes }) => (
            <li key={name}>
              <a href={`#lessons/${name}`}>{title}</a> <small class="muted">{minutes} minutes</small>
              <p class="muted">{line}</p>
            </li>
          ))}
        </ol>
        <p class="small">
          <a href="#lessons/teachers">For teachers: a plan of ten minutes, to print</a>
        </p>
      </section>
    </div>
  );
}

function Open({ entry: { name, title, minutes }, at }: { entry: LessonEntry; at: number }) {
  const [lesson, setLesson] = useState<Lesson>();
  const [problem, setProblem] = useState(false);
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    // The link that led here is gone.
    heading.current!.focus();
    loadLesson(name).then(setLesson, () => setProblem(true));
  }, [name]);
  const next = LESSONS[at + 1];
  return (
    <article class="card lesson" data-lesson={name} aria-labelledby="lesson-title">
      <p class="small">
        <a href="#lessons">All lessons</a> · {at + 1} of {LESSONS.length} · {minutes} minutes
      </p>
      <h2 id="lesson-title" tabIndex={-1} ref={heading}>
        {title}
      </h2>
      {lesson && <LessonFrame lesson={lesson} device={device.info.value} clock={timeLayers} />}
      {problem && (
        <p class="problem" role="alert">
          This lesson could not be loaded. Reload the page to try again.
        </p>
      )}
      <p class="next">
        {next ? <a href={`#lessons/${next.name}`}>Next: {next.title}</a> : <a href="#look">Now look inside whole networks</a>}
      </p>
    </article>
  );
}

import { TASKS, type TaskName } from "../../data/tasks.ts";
import type { PresetName } from "../../models/presets.ts";
import { Select } from "../draw/forms.tsx";
import { ModelKey } from "../draw/model-key.tsx";
import { Table } from "../draw/table.tsx";
import { fixed } from "../format.ts";
import { titleOf } from "../kinds.ts";
import { changePlace, place } from "../place.ts";
import { MEMORY_PRESETS } from "../prepared.ts";
import { readMemory } from "../prepared-files.ts";
import { MemoryTasks } from "../views/memory.tsx";
import { Waiting } from "../views/reading.tsx";
import { useComputed } from "../views/use-computed.ts";
import type { Lesson, PictureProps } from "./frame/lesson.tsx";
import { useTold } from "./frame/parts.tsx";

const NAMES = Object.keys(TASKS) as readonly TaskName[];
const TITLES = Object.fromEntries(NAMES.map((name) => [name, TASKS[name].title])) as Readonly<Record<TaskName, string>>;
const GUESSED: TaskName = "latch";
const { lags: LAGS } = TASKS[GUESSED];

/** How many lags were solved, one after another. */
const solvedOf = (task: TaskName, parts: readonly number[]): number => parts.filter((part) => part >= TASKS[task].solved).length;

function Picture({ guess, tell }: PictureProps) {
  const task = NAMES.find((name) => name === place.value.params.task) ?? GUESSED;
  const { value, problem } = useComputed(readMemory, []);
  useTold(tell, value && solvedOf(GUESSED, value[GUESSED]!["one-hot-rnn"]!));
  if (!value) return <Waiting problem={problem}>Looking up what they remembered…</Waiting>;
  const { explanation, lags, solved, chance } = TASKS[task];
  if (guess === undefined) return <p class="small muted">The task, Latch: {TASKS[GUESSED].explanation}</p>;
  const row = (preset: PresetName) => {
    const parts = value[task]![preset]!;
    return (
      <tr key={preset} data-remembers={preset}>
        <th scope="row">
          <ModelKey preset={preset} /> {titleOf(preset)}
        </th>
        {lags.map((lag, i) => (
          <td key={lag} class={`number${(parts[i] ?? 0) >= solved ? " good" : ""}`} data-value={parts[i]}>
            {parts[i] === undefined ? "–" : parts[i] >= solved ? "✓" : `${fixed(100 * parts[i], 0)} %`}
          </td>
        ))}
      </tr>
    );
  };
  return (
    <>
      <label class="row small">
        Task <Select class="inline" value={task} options={TITLES} onChoose={(name) => changePlace({ task: name })} />
      </label>
      <p>
        {explanation} Guessing gets {fixed(100 * chance, 0)} %.
      </p>
      <Table label="What each remembers" columns={["Lag, in steps", ...lags.map((lag) => ({ number: String(lag) }))]}>
        {MEMORY_PRESETS.map(row)}
      </Table>
      <p class="small muted">
        ✓ is solved, {fixed(100 * solved, 0)} % right; else the part of the answers that is right, on what they never saw.
        Prepared. Each has at most 5,000 numbers to learn, and goes on to the next lag if it solves one. Another start may move
        the end of a row by a column.
      </p>
      <details>
        <summary>Train them here, all eight kinds</summary>
        <MemoryTasks of={task} />
      </details>
    </>
  );
}

const lesson: Lesson = {
  question: (
    <>
      Guessing the next letter of a book needs little memory. So ask for memory itself: in a stream of small letters a capital
      comes, rarely, and at each step the network must say which capital was the <b>last</b>. How long does a small plain RNN hold
      on to it?
    </>
  ),
  guess: {
    label: "The longest time that it learns to hold it:",
    least: 0,
    most: LAGS.length,
    step: 1,
    start: LAGS.length,
    say: (value) => (value === 0 ? `not even ${LAGS[0]} steps` : `${LAGS[value - 1]} steps`),
    of: "at Latch",
  },
  Picture,
  why: (
    <>
      Every letter that it reads shakes the whole state of the plain RNN, and training finds no way to hold one thing still
      meanwhile. A gate that shuts while small letters pass keeps it as it is, for 4 steps or for 64.
    </>
  ),
  tryThis: (
    <>
      Choose Parity: minGRU, a scan, fails where the plain RNN does not, for its state can keep and fade but not turn over. No
      kind wins everywhere.
    </>
  ),
  equation: (
    <>
      y<sub>t</sub> = the last capital of x<sub>1</sub> … x<sub>t</sub>
      <small>with a gate: h = (1 − z) n + z h, where z is near 0 at capitals and near 1 elsewhere</small>
    </>
  ),
  exercise: <>Delay asks for the letter of k steps ago, one of 8. How many bits must a state hold at least for a delay of 16?</>,
  solution: <>16 letters of 3 bits each: 48 bits, at every moment, and all of them move on by one place at every step.</>,
};
export default lesson;

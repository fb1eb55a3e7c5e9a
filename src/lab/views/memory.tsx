import { signal } from "@preact/signals";
import { useState } from "preact/hooks";
import type { PresetName } from "../../models/config.ts";
import { visible } from "../format.ts";
import { heatColour, isDark } from "../heatmap.ts";
import { inspector } from "../inspector.ts";
import { MEMORY_TASKS, type MemoryTaskName } from "../memory-tasks.ts";
import { PassageText, quoted } from "../passage-text.tsx";
import { PRESET_NAMES, PRESET_TITLES } from "../settings.ts";
import { ModelKey } from "../setup.tsx";
import { Waiting } from "../reading.tsx";
import { useComputed } from "../use-computed.ts";
import type { View, ViewProps } from "./view.ts";

function Content({ snapshots, chosen, passage }: ViewProps) {
  const snapshot = snapshots[chosen]!;
  const [at, setAt] = useState(70);
  const characters = [...passage];
  const position = Math.min(at, characters.length - 1);
  const { value, problem } = useComputed(
    async () => ({ ...(await inspector.connectivity(snapshot, passage, position)), passage, position }),
    [snapshot, passage, position],
  );
  if (!value || characters.length === 0) return <Waiting problem={problem}>Following the prediction back…</Waiting>;
  const most = Math.max(1e-12, ...value.influence);
  const part = (i: number): number => (value.influence[i] ?? 0) / most;
  const dark = isDark();
  const guess = String.fromCodePoint(snapshot.tokenizer.codePoints[value.guess]!);
  // How many of the last characters make up nine tenths of all influence.
  const total = value.influence.reduce((sum, x) => sum + x, 0);
  let reach = 0;
  for (let sum = 0; reach < value.influence.length && sum < 0.9 * total; reach++)
    sum += value.influence[value.influence.length - 1 - reach]!;
  return (
    <>
      <PassageText
        text={value.passage}
        label="Position in the passage"
        chosen={position}
        onChoose={setAt}
        colour={(i) => (i <= value.position ? heatColour(Math.sqrt(part(i)), "part", 1, dark) : undefined)}
        describe={(i) =>
          `${quoted(characters[i]!)}, ${i <= value.position ? `${(100 * part(i)).toFixed(0)} percent of the strongest influence` : "not read yet"}`
        }
      />
      <p>
        After{" "}
        <code>
          …
          {characters
            .slice(Math.max(0, value.position - 14), value.position + 1)
            .map(visible)
            .join("")}
        </code>{" "}
        the model expects <b>{quoted(guess)}</b> ({(100 * value.probability).toFixed(0)} %). Nine tenths of what moves this guess
        lie in the last{" "}
        <b>
          <output data-value="reach">{reach}</output> characters
        </b>
        .
      </p>
      <p class="small muted">Colours show the square root, so that small influences stay visible.</p>
      <MemoryTasks />
    </>
  );
}

/** Characters between what is to be remembered and the answer. */
const LAGS = [2, 4, 8];
/** Part of the answers that must be right for a lag to count as solved. */
const SOLVED = 0.9;
const TASKS = Object.keys(MEMORY_TASKS) as readonly MemoryTaskName[];

const task = signal<MemoryTaskName>("recall");
/** By task and preset, a part for each lag; outlives the tab: it is a quarter of a minute's work. */
const accuracies = signal<Readonly<Record<string, readonly number[]>>>({});
const trying = signal(false);
const failed = signal<string | undefined>(undefined);

const found = (preset: PresetName): readonly number[] => accuracies.value[`${task.value} ${preset}`] ?? [];

async function tryMemories(name: MemoryTaskName): Promise<void> {
  trying.value = true;
  failed.value = undefined;
  accuracies.value = Object.fromEntries(Object.entries(accuracies.value).filter(([key]) => !key.startsWith(`${name} `)));
  try {
    for (const lag of LAGS) {
      for (const preset of PRESET_NAMES) {
        const key = `${name} ${preset}`;
        const accuracy = await inspector.memoryAccuracy(preset, name, lag);
        accuracies.value = { ...accuracies.value, [key]: [...(accuracies.value[key] ?? []), accuracy] };
      }
    }
  } catch (error) {
    failed.value = error instanceof Error ? error.message : String(error);
  }
  trying.value = false;
}

/** The longest lag that was solved, all shorter ones included. */
function longest(parts: readonly number[]): number {
  const unsolved = parts.findIndex((accuracy) => accuracy < SOLVED);
  return LAGS[(unsolved === -1 ? parts.length : unsolved) - 1] ?? 0;
}

/** Tasks that only memory solves, for new small networks of all four kinds. */
function MemoryTasks() {
  const { explanation, chance } = MEMORY_TASKS[task.value];
  return (
    <div class="prose">
      <h3>A test of memory</h3>
      <p>
        {explanation} New small networks of each kind (24 units) train on this for 1,000 steps on the CPU; then the part of new
        questions that they answer rightly is counted, and 90 % counts as solved. Guessing gets {100 * chance} %; one run is one
        try, and luck plays a part at the edge.
      </p>
      <div class="row">
        <label>
          Task{" "}
          <select
            class="inline"
            value={task.value}
            disabled={trying.value}
            onChange={(event) => (task.value = event.currentTarget.value as MemoryTaskName)}
          >
            {TASKS.map((name) => (
              <option key={name} value={name}>
                {MEMORY_TASKS[name].title}
              </option>
            ))}
          </select>
        </label>
        <button type="button" disabled={trying.value} onClick={() => void tryMemories(task.value)}>
          {trying.value ? "Training…" : "Try their memory"}
        </button>
        <span class="small muted">about a quarter of a minute</span>
      </div>
      {failed.value && <p class="problem">{failed.value}</p>}
      {PRESET_NAMES.some((preset) => found(preset).length > 0) && (
        <div class="scroll" tabIndex={0} role="region" aria-label="The test of memory">
          <table>
            <thead>
              <tr>
                <th scope="col">Model</th>
                {LAGS.map((lag) => (
                  <th scope="col" class="number" key={lag}>
                    {lag} characters
                  </th>
                ))}
                <th scope="col" class="number">
                  Longest solved
                </th>
              </tr>
            </thead>
            <tbody>
              {PRESET_NAMES.map((preset) => {
                const parts = found(preset);
                return (
                  <tr key={preset} data-memory={preset}>
                    <th scope="row">
                      <ModelKey preset={preset} /> {PRESET_TITLES[preset]}
                    </th>
                    {LAGS.map((lag, i) => (
                      <td class={`number${(parts[i] ?? 0) >= SOLVED ? " good" : ""}`} key={lag}>
                        {parts[i] === undefined ? "…" : `${parts[i] >= SOLVED ? "✓ " : ""}${(100 * parts[i]).toFixed(0)} %`}
                      </td>
                    ))}
                    <td class="number" data-value="longest">
                      {parts.length < LAGS.length ? "…" : longest(parts)}
                    </td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </div>
      )}
    </div>
  );
}

const view: View = {
  title: "What moved this guess",
  intro: (
    <>
      Choose a character. The colour behind each one before it says how much a small change of it would move the model’s first
      guess at what comes next: its memory, as far as it is used here. A plain RNN hardly looks further than a word back; gated
      networks can hold on to a quotation mark or a name.
    </>
  ),
  equation: (
    <>
      ‖∂ logit<sub>guess</sub>(t) / ∂x<sub>s</sub>‖, s ≤ t<small>computed by backpropagation through time in float64</small>
    </>
  ),
  uses: "passage",
  Content,
};
export default view;

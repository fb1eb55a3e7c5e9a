import { signal } from "@preact/signals";
import { useState } from "preact/hooks";
import { visible } from "../format.ts";
import { heatColour, isDark } from "../heatmap.ts";
import { inspector, useComputed } from "../inspector.ts";
import { PassageText, quoted } from "../passage-text.tsx";
import { PRESET_NAMES, PRESET_TITLES } from "../settings.ts";
import { ModelKey } from "../setup.tsx";
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
  if (problem) return <p class="problem">{problem}</p>;
  if (!value || characters.length === 0) return <p class="muted computing">Following the prediction back…</p>;
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
      <Recall />
    </>
  );
}

/** Characters between a letter and its recall. */
const LAGS = [2, 4, 8];
/** Part of the letters that must be right for a lag to count as solved; guessing gets a quarter. */
const SOLVED = 0.9;

/** Outlives the tab: a quarter of a minute's work. */
const accuracies = signal<Readonly<Record<string, readonly number[]>>>({});
const trying = signal(false);

async function tryMemories(): Promise<void> {
  trying.value = true;
  accuracies.value = {};
  for (const lag of LAGS) {
    for (const preset of PRESET_NAMES) {
      const accuracy = await inspector.recallAccuracy(preset, lag);
      accuracies.value = { ...accuracies.value, [preset]: [...(accuracies.value[preset] ?? []), accuracy] };
    }
  }
  trying.value = false;
}

/** The longest lag that was solved, all shorter ones included. */
function longest(found: readonly number[]): number {
  const failed = found.findIndex((accuracy) => accuracy < SOLVED);
  return LAGS[(failed === -1 ? found.length : failed) - 1] ?? 0;
}

/** A task that only memory solves, for new small networks of all four kinds. */
function Recall() {
  return (
    <div class="prose">
      <h3>A test of memory</h3>
      <p>
        A letter, a pause, a question mark: which letter was it? New small networks of each kind (24 units) train on this for
        1,000 steps on the CPU; then the part of new questions that they answer rightly is counted. Guessing gets 25 %; one run is
        one try, and luck plays a part at the edge.
      </p>
      <div class="row">
        <button type="button" disabled={trying.value} onClick={() => void tryMemories()}>
          {trying.value ? "Training…" : "Try their memory"}
        </button>
        <span class="small muted">about a quarter of a minute</span>
      </div>
      {Object.keys(accuracies.value).length > 0 && (
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
                const found = accuracies.value[preset] ?? [];
                return (
                  <tr key={preset} data-recall={preset}>
                    <th scope="row">
                      <ModelKey preset={preset} /> {PRESET_TITLES[preset]}
                    </th>
                    {LAGS.map((lag, i) => (
                      <td class={`number${(found[i] ?? 0) >= SOLVED ? " good" : ""}`} key={lag}>
                        {found[i] === undefined ? "…" : `${found[i] >= SOLVED ? "✓ " : ""}${(100 * found[i]).toFixed(0)} %`}
                      </td>
                    ))}
                    <td class="number" data-value="longest">
                      {found.length < LAGS.length ? "…" : longest(found)}
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

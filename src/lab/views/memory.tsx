import { useState } from "preact/hooks";
import { visible } from "../format.ts";
import { heatColour, isDark } from "../heatmap.ts";
import { inspector, useComputed } from "../inspector.ts";
import { PassageText, quoted } from "../passage-text.tsx";
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
    </>
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

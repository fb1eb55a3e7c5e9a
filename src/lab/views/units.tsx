import { useState } from "preact/hooks";
import { heatColour, isDark } from "../heatmap.ts";
import { inspector } from "../inspector.ts";
import { PassageText, quoted } from "../passage-text.tsx";
import { UnitInput, Waiting } from "../reading.tsx";
import { useComputed } from "../use-computed.ts";
import type { View, ViewProps } from "./view.ts";

/** Characters that are coloured; the ranking reads more. */
const SHOWN = 900;

function Content({ snapshots, chosen, book }: ViewProps) {
  const snapshot = snapshots[chosen]!;
  const [unit, setUnit] = useState<number | undefined>(undefined);
  const [at, setAt] = useState(0);
  const { value, problem } = useComputed(async () => ({ ...(await inspector.units(snapshot, book)), book }), [snapshot, book]);
  if (!value || value.steps === 0) return <Waiting problem={problem}>Reading…</Waiting>;
  const shown = Math.min(unit ?? value.features[0]!.best[0]!.unit, value.units - 1);
  const characters = [...value.book].slice(0, SHOWN);
  const position = Math.min(at, characters.length - 1);
  const valueAt = (t: number): number => value.values[t * value.units + shown]!;
  let limit = 0.05;
  for (let t = 0; t < characters.length; t++) limit = Math.max(limit, Math.abs(valueAt(t)));
  const dark = isDark();
  return (
    <div class="columns">
      <div>
        <div class="row head">
          <h3>Unit {shown} reads</h3>
          <UnitInput units={value.units} unit={shown} onChoose={setUnit} />
          <span class="small muted">
            at {quoted(characters[position]!)}: {valueAt(position).toFixed(2)}
          </span>
        </div>
        <PassageText
          text={characters.join("")}
          label="Position in the text"
          chosen={position}
          onChoose={setAt}
          colour={(i) => heatColour(valueAt(i), "signed", limit, dark)}
          describe={(i) => `${quoted(characters[i]!)}, ${valueAt(i).toFixed(2)}`}
        />
        <div class="scale">
          <span>−{limit.toFixed(1)}</span>
          <i class="signed" />
          <span>{limit.toFixed(1)}</span>
        </div>
      </div>
      <div>
        <h3>Who follows what</h3>
        <div class="scroll" tabIndex={0} role="region" aria-label="Units by what they follow">
          <table>
            <thead>
              <tr>
                <th scope="col">In the text</th>
                <th scope="col">Units, by correlation</th>
              </tr>
            </thead>
            <tbody>
              {value.features.map(({ name, best }) => (
                <tr key={name}>
                  <th scope="row">{name}</th>
                  <td>
                    <span class="row small">
                      {best.map((found) => (
                        <button
                          type="button"
                          key={found.unit}
                          aria-pressed={found.unit === shown}
                          onClick={() => setUnit(found.unit)}
                        >
                          {found.unit} <span class="muted">{found.correlation.toFixed(2)}</span>
                          <span class="hidden"> for {name}</span>
                        </button>
                      ))}
                    </span>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </div>
    </div>
  );
}

const view: View = {
  title: "A unit reads the book",
  intro: (
    <>
      Nobody tells the network what a quotation or a line is, yet after some training single units keep track of them. Pick a unit
      and see its value behind each character; the table finds the units that follow something best. What a unit follows well
      before training is chance: small correlations mean little.
    </>
  ),
  equation: (
    <>
      corr(c<sub>j</sub>(t), feature(t))
      <small>over {(3000).toLocaleString("en")} characters; c for the LSTM, h for the others</small>
    </>
  ),
  uses: "book",
  Content,
};
export default view;

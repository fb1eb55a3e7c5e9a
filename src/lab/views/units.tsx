import { useRef } from "preact/hooks";
import { count, fixed, unitOfText } from "../format.ts";
import { heatColour } from "../draw/heatmap.ts";
import { inspector } from "./inspector.ts";
import { PassageText, quoted } from "../draw/passage-text.tsx";
import { ColourScale, UnitInput, Waiting } from "./reading.tsx";
import { Table } from "../draw/table.tsx";
import { usePlacedNumber } from "../place.ts";
import { useComputed } from "./use-computed.ts";
import type { View, ViewProps } from "./view.ts";

/** Characters that are coloured; the ranking reads more. */
const SHOWN = 900;

function Content({ snapshots, chosen, book }: ViewProps) {
  const snapshot = snapshots[chosen]!;
  const [placedUnit, setUnit] = usePlacedNumber("unit", -1, { least: 0 });
  const unit = placedUnit < 0 ? undefined : placedUnit;
  const first = useRef<number | undefined>(undefined);
  const [at, setAt] = usePlacedNumber("at", 0, { least: 0 });
  const { value, problem } = useComputed(() => inspector.units(snapshot, book, SHOWN), [snapshot, book]);
  if (!value || value.steps === 0) return <Waiting problem={problem}>Reading…</Waiting>;
  // Until one is chosen it stays the one that was shown first, whoever follows best now.
  first.current ??= value.features[0]!.best[0]?.unit ?? 0;
  const shown = Math.min(unit ?? first.current, value.units - 1);
  const { pieces } = value;
  const position = Math.min(at, pieces.length - 1);
  const valueAt = (t: number): number => value.values[t * value.units + shown]!;
  let limit = 0.05;
  for (let t = 0; t < pieces.length; t++) limit = Math.max(limit, Math.abs(valueAt(t)));
  return (
    <div class="columns even">
      <div>
        <div class="row head">
          <h3>Unit {shown} reads</h3>
          <UnitInput units={value.units} unit={shown} onChoose={setUnit} />
          <span class="small muted">
            at <span class="glyph">{quoted(pieces[position]!)}</span>: {fixed(valueAt(position), 2)}
          </span>
        </div>
        <PassageText
          pieces={pieces}
          label="Position in the text"
          chosen={position}
          onChoose={setAt}
          colour={(i) => heatColour(valueAt(i), "signed", limit)}
          describe={(i) => `${quoted(pieces[i]!)}, ${fixed(valueAt(i), 2)}`}
        />
        <ColourScale kind="signed" from={fixed(-limit, 1)} to={fixed(limit, 1)} />
      </div>
      <div>
        <h3>Who follows what</h3>
        <Table label="Units by what they follow" columns={["In the text", "Units, by correlation", { number: "Untrained" }]}>
          {value.features.map(({ name, best }) => (
            <tr key={name} data-feature={name}>
              <th scope="row">{name}</th>
              {best.length === 0 ? (
                <td colSpan={2} class="small muted">
                  not in this part of the text
                </td>
              ) : (
                <>
                  <td>
                    <span class="row small">
                      {best.map((found) => (
                        <button
                          type="button"
                          key={found.unit}
                          aria-pressed={found.unit === shown}
                          onClick={() => setUnit(found.unit)}
                        >
                          {found.unit} <span class="muted">{fixed(found.correlation, 2)}</span>
                          <span class="hidden"> for {name}</span>
                        </button>
                      ))}
                    </span>
                  </td>
                  <td class="number muted">{fixed(Math.abs(value.untrained[name]!), 2)}</td>
                </>
              )}
            </tr>
          ))}
        </Table>
        <p class="small muted">
          Over {count(value.steps)} {unitOfText(snapshot)}s from here. Untrained: the best of any unit, whatever its sign, in the
          same network with fresh weights.
        </p>
      </div>
    </div>
  );
}

const view: View = {
  title: "A unit reads the book",
  intro: (
    <>
      Nobody tells the network what a quotation or a line is, yet single units come to keep track of them. Pick a unit and see its
      value behind each character; the table finds the units that follow something best. An untrained network follows some of it
      too, for letters and spaces show through any random weights: what is learned is what lies above that.
    </>
  ),
  equation: (
    <>
      corr(c<sub>j</sub>(t), feature(t))
      <small>
        c for the LSTM, y where a channel holds many numbers, h for the others, of the top layer; 1 if the two rise and fall
        together, −1 if one falls as the other rises
      </small>
    </>
  ),
  uses: "book",
  topLayer: true,
  Content,
};
export default view;

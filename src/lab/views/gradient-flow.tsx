import { inspector } from "./inspector.ts";
import { titleOf } from "../kinds.ts";
import { LogPlot, type PlotLine } from "../draw/plot.tsx";
import type { PresetName } from "../../models/presets.ts";
import { Table } from "../draw/table.tsx";
import { Waiting } from "./reading.tsx";
import { useComputed } from "./use-computed.ts";
import type { View, ViewProps } from "./view.ts";

const LAGS = 40;
/** Where the axis ends. */
const LEAST = 1e-9;
const lags = Array.from({ length: LAGS + 1 }, (_, k) => k);
const SHOWN = [0, 1, 5, 10, 20, 30, 40];

const short = (value: number): string => (value >= 0.01 ? value.toFixed(3) : value.toExponential(1));

/** Where several things are carried, each has its line. */
const nameOf = (preset: PresetName, of: string, paths: number): string =>
  paths > 1 ? `${titleOf(preset)}, ${of}` : titleOf(preset);

function Content({ snapshots, book }: ViewProps) {
  const { value, problem } = useComputed(async () => {
    const flows = [];
    for (const snapshot of snapshots) {
      const { preset } = snapshot;
      const { now, untrained } = await inspector.gradientFlow(snapshot, book, LAGS);
      flows.push(...now.map((path, i) => ({ ...path, preset, name: nameOf(preset, path.of, now.length), fresh: untrained[i]! })));
    }
    return flows;
  }, [snapshots, book]);
  if (!value || value.length === 0) return <Waiting problem={problem}>Following the gradients back…</Waiting>;
  const lines = value.flatMap(({ preset, name, parts, fresh }, i): PlotLine[] => {
    const wide = value[i - 1]?.preset === preset;
    return [
      { label: name, preset, wide, past: true, y: fresh.parts.map(({ median }) => median) },
      { label: name, preset, wide, y: parts.map(({ median }) => median), band: parts.map(({ low, high }) => [low, high]) },
    ];
  });
  const summary = value.map(({ name, parts }) => `${name} ${short(parts[30]!.median)} at 30 characters back`).join(", ");
  return (
    <>
      <LogPlot
        label={`The gradient by lag, in parts of what it is at 0: ${summary}. The table has more of the values.`}
        x={lags}
        lines={lines}
        xTitle="characters back, k"
        yTitle="gradient, in parts of that at 0"
        least={LEAST}
      />
      <p class="small muted">
        bold: now · thin: the same network with fresh weights · wide: what is carried beside h · over {value[0]!.places} places in
        the text, the median, and around it half of them
      </p>
      <Table
        label="The gradient in parts of that at 0, as a table"
        columns={["Characters back", ...SHOWN.map((k) => ({ number: String(k) }))]}
      >
        {value.flatMap(({ preset, of, name, parts, fresh }) =>
          [
            { when: "now", y: parts },
            { when: "untrained", y: fresh.parts },
          ].map(({ when, y }) => (
            <tr key={`${name} ${when}`} data-flow={`${preset} ${of} ${when}`}>
              <th scope="row">
                {name}, {when}
              </th>
              {SHOWN.map((k) => (
                <td class="number" key={k} data-value={y[k]!.median}>
                  {short(y[k]!.median)}
                </td>
              ))}
            </tr>
          )),
        )}
      </Table>
    </>
  );
}

const view: View = {
  title: "How far back the gradient reaches",
  intro: (
    <>
      To learn that a character long ago matters now, the error made now must reach it. On its way back it is multiplied once a
      character: in a plain RNN by W<sub>hh</sub> and a slope of at most 1, so that it fades away or grows exponentially. Gates
      give it another way, where it is only multiplied by z or f, which the network can hold near 1: an LSTM’s is its cell c,
      which has a line of its own, and the higher its forget bias, the further that reaches before anything is learned. Training
      then also shuts gates, as at the end of a word of which nothing is needed any more: compare the thin lines first. So a
      trained LSTM’s c may well fade sooner than that of a fresh one with a large forget bias, whose gates all stand open: it has
      learned what to forget, for the next letter of a book asks for little of what is long past. In a block the curves show what
      reaches the residual stream that it read: there the step is h = a ⊙ h + b, and nothing but the products of a, each between 0
      and 1, lie on the way.
    </>
  ),
  equation: (
    <>
      ‖∂L<sub>t</sub> / ∂h<sub>t−k</sub>‖ / ‖∂L<sub>t</sub> / ∂h<sub>t</sub>‖; the same of r, which a block reads, and of c as
      step t − k finds it
      <small>
        RNN: ∂h<sub>t</sub>/∂h<sub>t−1</sub> = diag(1 − h<sub>t</sub>²) W<sub>hh</sub>; with ReLU diag(h<sub>t</sub> &gt; 0) W
        <sub>hh</sub>
        <br />
        GRU: ∂h<sub>t</sub>/∂h<sub>t−1</sub> = diag(z<sub>t</sub>) + what goes through the gates and n
        <br />
        LSTM: ∂c<sub>t</sub>/∂c<sub>t−1</sub> = diag(f<sub>t</sub>) + what goes through h and the gates
        <br />
        minGRU: ∂h<sub>t</sub>/∂h<sub>t−1</sub> = diag(1 − z<sub>t</sub>), Mamba: diag(e
        <sup>
          Δ<sub>t</sub>A
        </sup>
        ), and nothing else
      </small>
    </>
  ),
  uses: "book",
  showsAll: true,
  topLayer: true,
  Content,
};
export default view;

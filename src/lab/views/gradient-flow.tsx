import { inspector } from "./inspector.ts";
import { titleOf } from "../kinds.ts";
import { LogPlot } from "../draw/plot.tsx";
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

function Content({ snapshots, book }: ViewProps) {
  const { value, problem } = useComputed(async () => {
    const flows = [];
    for (const snapshot of snapshots)
      flows.push({ ...(await inspector.gradientFlow(snapshot, book, LAGS)), preset: snapshot.preset });
    return flows;
  }, [snapshots, book]);
  if (!value || value.length === 0) return <Waiting problem={problem}>Following the gradients back…</Waiting>;
  const lines = value.flatMap(({ preset, now, untrained }) => [
    { label: titleOf(preset), preset, y: untrained, past: true },
    { label: titleOf(preset), preset, y: now },
  ]);
  const summary = value.map(({ preset, now }) => `${titleOf(preset)} ${short(now[30]!)} at 30 characters back`).join(", ");
  return (
    <>
      <LogPlot
        label={`Norm of the gradient by lag: ${summary}. The table has more of the values.`}
        x={lags}
        lines={lines}
        xTitle="characters back, k"
        yTitle="gradient norm"
        least={LEAST}
      />
      <p class="small muted">bold: now · thin: the same network with fresh weights</p>
      <Table label="Gradient norms as a table" columns={["Characters back", ...SHOWN.map((k) => ({ number: String(k) }))]}>
        {value.flatMap(({ preset, now, untrained }) =>
          [
            { name: "now", y: now },
            { name: "untrained", y: untrained },
          ].map(({ name, y }) => (
            <tr key={`${preset} ${name}`} data-flow={`${preset} ${name}`}>
              <th scope="row">
                {titleOf(preset)}, {name}
              </th>
              {SHOWN.map((k) => (
                <td class="number" key={k} data-value={y[k]}>
                  {short(y[k]!)}
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
      give it another way, where it is only multiplied by z or f, which the network can hold near 1. The curves show what reaches
      h; what reaches the cell of an LSTM by way of f comes on top. In a block they show what reaches the residual stream that the
      block read: there the step is h = a ⊙ h + b, and nothing but the products of a, each between 0 and 1, lie on the way.
    </>
  ),
  equation: (
    <>
      ‖∂L<sub>t</sub> / ∂h<sub>t−k</sub>‖, of a block ‖∂L<sub>t</sub> / ∂r<sub>t−k</sub>‖
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

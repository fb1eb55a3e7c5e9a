import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { fixed } from "../format.ts";
import { Select } from "../draw/forms.tsx";
import { dark, paintHeatmap, type HeatKind } from "../draw/heatmap.ts";
import { quoted } from "../draw/passage-text.tsx";
import { ColourScale, ReadingText, UnitInput, useReading, Waiting, type Reading } from "./reading.tsx";
import type { Trace } from "../analysis/trace.ts";
import type { View, ViewProps } from "./view.ts";

const TITLES: Readonly<Record<string, string>> = {
  i: "i, input gate",
  f: "f, forget gate",
  g: "g, candidate",
  o: "o, output gate",
  r: "r, reset gate",
  z: "z, update gate",
  n: "n, candidate",
  c: "c, cell",
  h: "h, state",
};
const titleOf = (name: string): string => TITLES[name] ?? name;
/** Gates lie between 0 and 1; states and candidates have a sign. */
const kindOf = ({ states, values }: Trace, name: string): HeatKind =>
  states.includes(name) || values[name]!.some((value) => value < 0) ? "signed" : "part";
const ORDERS = ["as they are", "by mean", "by how much they change"] as const;
type Order = (typeof ORDERS)[number];

/** The units in the order asked for, by what one gate's or state's values [T, H] do over the passage. */
function sortUnits(values: Float32Array, { steps, units }: Trace, order: Order): readonly number[] {
  const indices = Array.from({ length: units }, (_, j) => j);
  if (order === ORDERS[0]) return indices;
  const score = indices.map((j) => {
    let sum = 0;
    for (let t = 0; t < steps; t++) {
      const value = values[t * units + j]!;
      sum += order === ORDERS[1] ? value : t > 0 ? Math.abs(value - values[(t - 1) * units + j]!) : 0;
    }
    return sum / steps;
  });
  return indices.sort((a, b) => score[b]! - score[a]!);
}

function Content(props: ViewProps) {
  const [order, setOrder] = useState<Order>("as they are");
  const [wantedGate, setGate] = useState("f");
  const { reading, problem } = useReading(props);
  if (!reading) return <Waiting problem={problem}>Reading…</Waiting>;
  const { trace, characters, position, unit, look } = reading;
  const names = Object.keys(trace.values);
  // The gate that keeps what is held, where there is one.
  const gate = [wantedGate, "f", "z", "h"].find((name) => names.includes(name))!;
  const rows = sortUnits(trace.values[gate]!, trace, order);
  return (
    <>
      <ReadingText reading={reading} />
      <div class="row small">
        <label>
          Order of the units <Select class="inline" value={order} options={ORDERS} onChoose={setOrder} />
        </label>
        {order !== ORDERS[0] && (
          <label>
            of{" "}
            <Select
              class="inline"
              value={gate}
              options={Object.fromEntries(names.map((name) => [name, titleOf(name)]))}
              onChoose={setGate}
            />
          </label>
        )}
        <UnitInput units={trace.units} unit={unit} onChoose={(j) => look(position, j)} />
        <p class="values" data-value="gates">
          at {quoted(characters[position]!)}, unit {unit}:{" "}
          {names.map((name) => (
            <span key={name}>
              {name} = {fixed(trace.values[name]![position * trace.units + unit]!, 2)}
            </span>
          ))}
        </p>
      </div>
      <div class="heats">
        {names.map((name) => (
          <Heat key={name} name={name} reading={reading} rows={rows} />
        ))}
      </div>
    </>
  );
}

/** What 98 of 100 values stay below: a few cells that count far would leave the others without colour. */
function usualMost(values: Float32Array): number {
  const sizes = values.map(Math.abs).sort();
  return sizes[Math.floor(0.98 * (sizes.length - 1))]!;
}

/** One gate or state; `rows`: the unit in each row, the same in all heatmaps. */
function Heat({ name, reading, rows }: { name: string; reading: Reading; rows: readonly number[] }) {
  const { trace, characters, position, unit, look } = reading;
  const canvas = useRef<HTMLCanvasElement>(null);
  const values = trace.values[name]!;
  // Only gates are bound to 1: a cell counts, and so may a state without a squashing function.
  const kind = useMemo(() => kindOf(trace, name), [trace, name]);
  const limit = useMemo(() => (kind === "part" ? 1 : Math.max(1, usualMost(values))), [values]);
  const mean = useMemo(() => values.reduce((sum, value) => sum + value, 0) / values.length, [values]);
  useEffect(() => {
    const turned = new Float32Array(values.length);
    rows.forEach((j, row) => {
      for (let t = 0; t < trace.steps; t++) turned[row * trace.steps + t] = values[t * trace.units + j]!;
    });
    paintHeatmap(canvas.current!, { rows: trace.units, columns: trace.steps, values: turned }, kind, limit);
  }, [trace, name, rows.join(), dark.value]);
  const point = (event: PointerEvent): void => {
    const box = canvas.current!.getBoundingClientRect();
    const t = Math.floor(((event.clientX - box.left) / box.width) * trace.steps);
    const row = Math.floor(((event.clientY - box.top) / box.height) * trace.units);
    if (t >= 0 && t < trace.steps && row >= 0 && row < trace.units) look(t, rows[row]!);
  };
  return (
    <figure class="heat-figure">
      <figcaption>
        {titleOf(name)} <span class="muted">mean {fixed(mean, 2)}</span>
      </figcaption>
      <div class="heat-frame">
        <canvas
          ref={canvas}
          class="heat"
          role="img"
          aria-label={`${titleOf(name)}: ${trace.units} units over ${trace.steps} characters, mean ${fixed(mean, 2)}; at ${quoted(characters[position]!)} unit ${unit} is ${fixed(values[position * trace.units + unit]!, 2)}`}
          style={{ height: `${Math.min(192, Math.max(96, trace.units * 2))}px` }}
          onPointerMove={point}
          onPointerDown={point}
        />
        <i class="cursor" style={{ left: `${(position / trace.steps) * 100}%`, width: `${100 / trace.steps}%` }} />
        <i
          class="cursor row-cursor"
          style={{ top: `${(rows.indexOf(unit) / trace.units) * 100}%`, height: `${100 / trace.units}%` }}
        />
      </div>
      <ColourScale
        kind={kind}
        from={kind === "part" ? "0" : fixed(-limit, limit === 1 ? 0 : 1)}
        to={fixed(limit, limit === 1 ? 0 : 1)}
      />
    </figure>
  );
}

const view: View = {
  title: "The gates over a text",
  intro: (
    <>
      Left to right the passage, top to bottom the units of the network; the frame marks the chosen unit and character. A forget
      gate near 1 keeps what its unit holds, one near 0 lets go of it: look for stripes, where many units reset at once, at
      spaces, quotation marks and line ends. A plain RNN has no gates; there the state changes at every character.
    </>
  ),
  equation: (
    <>
      LSTM: c<sub>t</sub> = f<sub>t</sub> ⊙ c<sub>t−1</sub> + i<sub>t</sub> ⊙ g<sub>t</sub>, h<sub>t</sub> = o<sub>t</sub> ⊙
      tanh(c
      <sub>t</sub>)
      <br />
      GRU: h<sub>t</sub> = (1 − z<sub>t</sub>) ⊙ n<sub>t</sub> + z<sub>t</sub> ⊙ h<sub>t−1</sub>
    </>
  ),
  uses: "passage",
  topLayer: true,
  Content,
};
export default view;

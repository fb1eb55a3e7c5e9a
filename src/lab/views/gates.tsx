import type { ComponentChildren } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { fixed, visible } from "../format.ts";
import { changeOf } from "../analysis/units.ts";
import { Scroll } from "../draw/scroll.tsx";
import { inspector } from "./inspector.ts";
import type { ModelSnapshot } from "../protocol.ts";
import { useComputed } from "./use-computed.ts";
import { Select } from "../draw/forms.tsx";
import { dark, heatColour, paintHeatmap, type HeatKind } from "../draw/heatmap.ts";
import { quoted } from "../draw/passage-text.tsx";
import { ColourScale, LayerPicker, ReadingText, UnitInput, useReading, Waiting, type Reading } from "./reading.tsx";
import type { Trace } from "../analysis/trace.ts";
import type { View, ViewProps } from "./view.ts";

const TITLES: Readonly<Record<string, string>> = {
  i: "i, input gate",
  f: "f, forget gate",
  g: "g, candidate",
  o: "o, output gate",
  "f′": "f′, what is kept",
  r: "r, reset gate",
  z: "z, update gate",
  n: "n, candidate",
  Δ: "Δ, how far it opens",
  c: "c, cell",
  h: "h, state",
  y: "y, output",
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
  const meanOf = (j: number): number => values.reduce((sum, value, i) => (i % units === j ? sum + value : sum), 0) / steps;
  const score = order === ORDERS[1] ? indices.map(meanOf) : changeOf(values, units);
  return indices.sort((a, b) => score[b]! - score[a]!);
}

/** The least and the most of a gate's mean over all units, and where between them it is at a character. */
function meansOver(values: Float32Array, { steps, units }: Trace) {
  const means = Array.from(
    { length: steps },
    (_, t) => values.subarray(t * units, (t + 1) * units).reduce((sum, value) => sum + value, 0) / units,
  );
  const [least, most] = [Math.min(...means), Math.max(...means)];
  return { means, least, most, part: (t: number) => (means[t]! - least) / Math.max(1e-12, most - least) };
}

function Content(props: ViewProps) {
  const [order, setOrder] = useState<Order>("by how much they change");
  const [wantedGate, setGate] = useState("f");
  const { reading, problem } = useReading(props);
  if (!reading) return <Waiting problem={problem}>Reading…</Waiting>;
  const { trace, pieces, position, unit, look } = reading;
  const names = Object.keys(trace.values);
  const gates = names.filter((name) => !trace.states.includes(name));
  // The gate that keeps what is held, where there is one.
  const gate = [wantedGate, "f", "f′", "z"].find((name) => names.includes(name)) ?? gates.at(-1) ?? names[0]!;
  const rows = sortUnits(trace.values[gate]!, trace, order);
  const { means, least, most, part } = meansOver(trace.values[gate]!, trace);
  return (
    <>
      <ReadingText
        reading={reading}
        colour={gates.length > 0 ? (t) => heatColour(part(t), "part", 1) : undefined}
        say={(t) => `, mean ${gate} ${fixed(means[t]!, digitsOf(most))}`}
      />
      {gates.length === 0 ? (
        <p>
          This cell has no gates: nothing in it decides, character by character, what to keep and what to let in. What there is to
          see is {titleOf(trace.states[0]!)}, of every unit.
        </p>
      ) : (
        <ColourScale kind="part" from={`mean ${gate} ${fixed(least, digitsOf(most))}`} to={fixed(most, digitsOf(most))} />
      )}
      <div class="row small">
        {names.length > 1 && (
          <label>
            Behind the text{" "}
            <Select
              class="inline"
              value={gate}
              options={Object.fromEntries(names.map((name) => [name, titleOf(name)]))}
              onChoose={setGate}
            />
          </label>
        )}
        <label>
          Order of the units <Select class="inline" value={order} options={ORDERS} onChoose={setOrder} />
        </label>
        <LayerPicker reading={reading} />
        <UnitInput units={trace.units} unit={unit} onChoose={(j) => look(position, j)} />
        <p class="values" data-value="gates">
          at {quoted(pieces[position]!)}, unit {unit}:{" "}
          {names.map((name) => (
            <span key={name}>
              {name} = {fixed(trace.values[name]![position * trace.units + unit]!, 2)}
            </span>
          ))}
        </p>
      </div>
      <Strip name={gate} reading={reading} rows={rows.slice(0, STRIP)} />
      <Peaks snapshot={props.snapshots[props.chosen]!} book={props.book} layer={trace.layer} name={gate} unit={unit} />
      <h3>All gates and states, all units</h3>
      <div class="heats">
        {names.map((name) => (
          <Heat key={name} name={name} reading={reading} rows={rows} />
        ))}
      </div>
    </>
  );
}

/** Units of the strip, and how high each is. */
const [STRIP, STRIP_ROW] = [16, 14];

/** One gate of a few units, with the letters under it. */
function Strip({ name, reading, rows }: { name: string; reading: Reading; rows: readonly number[] }) {
  const { pieces, position } = reading;
  return (
    <Scroll label={`${titleOf(name)} of ${rows.length} units, letter by letter`}>
      <div class="strip">
        <Heat name={name} reading={reading} rows={rows} height={rows.length * STRIP_ROW}>
          <div class="under" aria-hidden="true">
            {pieces.map((piece, t) => (
              <span key={t} class={t === position ? "at" : undefined}>
                {visible([...piece][0] ?? "·")}
              </span>
            ))}
          </div>
        </Heat>
      </div>
    </Scroll>
  );
}

interface PeaksProps {
  readonly snapshot: ModelSnapshot;
  readonly book: string;
  readonly layer: number;
  readonly name: string;
  readonly unit: number;
}

/** Where else in the book the chosen unit is on. */
function Peaks({ snapshot, book, layer, name, unit }: PeaksProps) {
  const { value, problem } = useComputed(
    async () => ({ ...(await inspector.peaks(snapshot, book, layer, name, unit)), name, unit }),
    [snapshot, book, layer, name, unit],
  );
  return (
    <div class="peaks" data-value="peaks">
      <h3>{value ? `Where else ${value.name} of unit ${value.unit} is ${value.large ? "large" : "small"}` : "Where else"}</h3>
      {problem && <p class="problem">{problem}</p>}
      <ol class="snippets">
        {value?.places.map(({ before, piece, after, value: size }, i) => (
          <li key={i}>
            {fixed(size, 2)} …{visible(before)}
            <b>{visible(piece)}</b>
            {visible(after)}…
          </li>
        ))}
      </ol>
    </div>
  );
}

/** What 98 of 100 values stay below: a few cells that count far would leave the others without colour. */
function usualMost(values: Float32Array): number {
  const sizes = values.map(Math.abs).sort();
  return sizes[Math.floor(0.98 * (sizes.length - 1))]!;
}

/** The largest value of each unit, where most gates of a kind stay so near 0 that a scale up to 1 would show nothing. */
function ownScales(values: Float32Array, { steps, units }: Trace): Float32Array | undefined {
  const most = new Float32Array(units);
  for (let i = 0; i < steps * units; i++) most[i % units] = Math.max(most[i % units]!, values[i]!);
  return most.slice().sort()[units >> 1]! < 0.25 ? most : undefined;
}

/** Of numbers up to so much. */
const digitsOf = (most: number): number => (most < 0.2 ? 3 : 2);

interface HeatProps {
  readonly name: string;
  readonly reading: Reading;
  /** The unit in each row, the same in all heatmaps. */
  readonly rows: readonly number[];
  readonly height?: number;
  /** What stands under its columns. */
  readonly children?: ComponentChildren;
}

/** One gate or state. */
function Heat({ name, reading, rows, height = Math.min(320, Math.max(96, rows.length * 4)), children }: HeatProps) {
  const { trace, pieces, position, unit, look } = reading;
  const canvas = useRef<HTMLCanvasElement>(null);
  const values = trace.values[name]!;
  // Only gates are bound to 1: a cell counts, and so may a state without a squashing function.
  const kind = useMemo(() => kindOf(trace, name), [trace, name]);
  const scales = useMemo(() => (kind === "part" ? ownScales(values, trace) : undefined), [trace, name]);
  const limit = useMemo(() => (kind === "part" ? 1 : Math.max(1, usualMost(values))), [values]);
  const mean = useMemo(() => values.reduce((sum, value) => sum + value, 0) / values.length, [values]);
  useEffect(() => {
    const turned = new Float32Array(rows.length * trace.steps);
    rows.forEach((j, row) => {
      for (let t = 0; t < trace.steps; t++) turned[row * trace.steps + t] = values[t * trace.units + j]! / (scales?.[j] || 1);
    });
    paintHeatmap(canvas.current!, { rows: rows.length, columns: trace.steps, values: turned }, kind, limit);
  }, [trace, name, rows.join(), dark.value]);
  const point = (event: PointerEvent): void => {
    const box = canvas.current!.getBoundingClientRect();
    const t = Math.floor(((event.clientX - box.left) / box.width) * trace.steps);
    const row = Math.floor(((event.clientY - box.top) / box.height) * rows.length);
    if (t >= 0 && t < trace.steps && row >= 0 && row < rows.length) look(t, rows[row]!);
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
          aria-label={`${titleOf(name)}: ${rows.length} units over ${trace.steps} characters, mean ${fixed(mean, 2)}; at ${quoted(pieces[position]!)} unit ${unit} is ${fixed(values[position * trace.units + unit]!, 2)}`}
          style={{ height: `${height}px` }}
          onPointerMove={point}
          onPointerDown={point}
        />
        <i class="cursor" style={{ left: `${(position / trace.steps) * 100}%`, width: `${100 / trace.steps}%` }} />
        {rows.includes(unit) && (
          <i
            class="cursor row-cursor"
            style={{ top: `${(rows.indexOf(unit) / rows.length) * 100}%`, height: `${100 / rows.length}%` }}
          />
        )}
      </div>
      {children}
      <ColourScale
        kind={kind}
        from={kind === "part" ? "0" : fixed(-limit, limit === 1 ? 0 : 1)}
        to={scales ? "the most that its unit has here" : fixed(limit, limit === 1 ? 0 : 1)}
      />
    </figure>
  );
}

const view: View = {
  title: "The gates over a text",
  intro: (
    <>
      Left to right the passage, top to bottom the units of the network; the frame marks the chosen unit and character. A forget
      gate near 1 keeps what its unit holds, one near 0 lets go of it. The strip has the units whose gate changes most, with the
      letters below it: some open or shut at spaces, quotation marks or line ends; most gates of a short training do little. The
      gates of minGRU, minLSTM and Mamba see the text and not the state. Mamba’s Δ opens and closes: wide open a channel forgets
      and takes the character in, nearly shut it passes over it and keeps.
    </>
  ),
  equation: (
    <>
      LSTM: c<sub>t</sub> = f<sub>t</sub> ⊙ c<sub>t−1</sub> + i<sub>t</sub> ⊙ g<sub>t</sub>, h<sub>t</sub> = o<sub>t</sub> ⊙
      tanh(c
      <sub>t</sub>)
      <br />
      GRU: h<sub>t</sub> = (1 − z<sub>t</sub>) ⊙ n<sub>t</sub> + z<sub>t</sub> ⊙ h<sub>t−1</sub>
      <br />
      minGRU: h<sub>t</sub> = (1 − z<sub>t</sub>) ⊙ h<sub>t−1</sub> + z<sub>t</sub> ⊙ g<sub>t</sub>; minLSTM: with f′ for 1 − z
      <br />
      Mamba: h<sub>t</sub> = e
      <sup>
        Δ<sub>t</sub>A
      </sup>{" "}
      h<sub>t−1</sub> + Δ<sub>t</sub>B<sub>t</sub>x<sub>t</sub>, y<sub>t</sub> = C<sub>t</sub>·h<sub>t</sub> + D ⊙ x<sub>t</sub>
    </>
  ),
  uses: "passage",
  Content,
};
export default view;

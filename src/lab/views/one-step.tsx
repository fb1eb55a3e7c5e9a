import { quoted } from "../passage-text.tsx";
import { ReadingText, UnitInput, useReading, Waiting } from "../reading.tsx";
import type { Trace } from "../trace.ts";
import type { View, ViewProps } from "./view.ts";

interface Box {
  readonly name: string;
  readonly x: number;
  readonly y: number;
  readonly value: number;
  readonly note: string;
}

/** What flows through one unit at one step: boxes with their values, and the wires between them. */
function diagram(
  trace: Trace,
  t: number,
  unit: number,
): { readonly boxes: readonly Box[]; readonly wires: readonly (readonly [string, string])[] } {
  const at = (name: string, step = t): number => (step < 0 ? 0 : trace.values[name]![step * trace.units + unit]!);
  const box = (name: string, x: number, y: number, value: number, note: string): Box => ({ name, x, y, value, note });
  if (trace.values.c) {
    const [i, f, g, o] = [at("i"), at("f"), at("g"), at("o")];
    return {
      boxes: [
        box("c before", 70, 70, at("c", t - 1), "what it held"),
        box("f", 210, 160, f, "keep?"),
        box("f ⊙ c", 210, 70, f * at("c", t - 1), "kept"),
        box("i", 310, 160, i, "write?"),
        box("g", 430, 245, g, "candidate"),
        box("i ⊙ g", 430, 160, i * g, "written"),
        box("c", 430, 70, at("c"), "what it holds"),
        box("o", 660, 160, o, "show?"),
        box("tanh c", 540, 70, Math.tanh(at("c")), "squashed"),
        box("h", 660, 70, at("h"), "what others see"),
      ],
      wires: [
        ["c before", "f ⊙ c"],
        ["f", "f ⊙ c"],
        ["f ⊙ c", "c"],
        ["i", "i ⊙ g"],
        ["g", "i ⊙ g"],
        ["i ⊙ g", "c"],
        ["c", "tanh c"],
        ["tanh c", "h"],
        ["o", "h"],
      ],
    };
  }
  if (trace.values.z) {
    const [r, z, n] = [at("r"), at("z"), at("n")];
    return {
      boxes: [
        box("h before", 70, 70, at("h", t - 1), "what it held"),
        box("z", 230, 160, z, "keep?"),
        box("z ⊙ h", 230, 70, z * at("h", t - 1), "kept"),
        box("r", 380, 240, r, "look back?"),
        box("n", 500, 240, n, "candidate"),
        box("(1−z) ⊙ n", 500, 160, (1 - z) * n, "written"),
        box("h", 640, 70, at("h"), "what it holds"),
      ],
      wires: [
        ["h before", "z ⊙ h"],
        ["z", "z ⊙ h"],
        ["z ⊙ h", "h"],
        ["r", "n"],
        ["n", "(1−z) ⊙ n"],
        ["(1−z) ⊙ n", "h"],
      ],
    };
  }
  const h = at("h");
  return {
    boxes: [
      box("h before", 90, 100, at("h", t - 1), "what it held"),
      box("sum", 340, 100, Math.atanh(Math.max(-0.999999, Math.min(0.999999, h))), "of input and all units"),
      box("h", 590, 100, h, "tanh of the sum"),
    ],
    wires: [
      ["h before", "sum"],
      ["sum", "h"],
    ],
  };
}

function Content(props: ViewProps) {
  const { reading, problem } = useReading(props);
  if (!reading) return <Waiting problem={problem}>Reading…</Waiting>;
  const { trace, characters, position, unit, look } = reading;
  const { boxes, wires } = diagram(trace, position, unit);
  const find = (name: string): Box => boxes.find((box) => box.name === name)!;
  const words = boxes.map(({ name, value: number }) => `${name} ${number.toFixed(2)}`).join(", ");
  const height = Math.max(...boxes.map(({ y }) => y)) + 50;
  return (
    <>
      <ReadingText reading={reading} />
      <div class="row small">
        <button type="button" onClick={() => look(position - 1)}>
          ← Step back
        </button>
        <button type="button" onClick={() => look(position + 1)}>
          Next step →
        </button>
        <UnitInput units={trace.units} unit={unit} onChoose={(j) => look(position, j)} />
        <span class="muted">reads {quoted(characters[position]!)}</span>
      </div>
      <div class="scroll" tabIndex={0} role="region" aria-label="The cell’s diagram">
        <svg
          class="cell"
          viewBox={`0 0 730 ${height}`}
          role="img"
          aria-label={`Unit ${unit} at ${quoted(characters[position]!)}: ${words}`}
        >
          {wires.map(([from, to]) => {
            const [a, b] = [find(from), find(to)];
            return (
              <line
                key={`${from} ${to}`}
                x1={a.x}
                y1={a.y}
                x2={b.x}
                y2={b.y}
                style={{ strokeWidth: `${1 + 4 * Math.min(1, Math.abs(a.value))}px` }}
              />
            );
          })}
          {boxes.map(({ name, x, y, value: number, note }) => (
            <g key={name} transform={`translate(${x} ${y})`} class={number < 0 ? "negative" : "positive"}>
              <rect class="back" x="-46" y="-28" width="92" height="56" rx="9" />
              <rect
                class="front"
                x="-46"
                y="-28"
                width="92"
                height="56"
                rx="9"
                style={{ opacity: String(0.08 + 0.42 * Math.min(1, Math.abs(number))) }}
              />
              <text class="what" y="-11">
                {name}
              </text>
              <text class="number" y="7" data-box={name}>
                {number.toFixed(2)}
              </text>
              <text class="note" y="22">
                {note}
              </text>
            </g>
          ))}
        </svg>
      </div>
    </>
  );
}

const view: View = {
  title: "One unit, one step",
  intro: (
    <>
      The same numbers as in the heatmaps, for one unit and one character, on their way through the cell. Step through the
      passage: in an LSTM the upper line carries the cell’s value along, and only the gates touch it. Lines are as thick as what
      flows through them is large.
    </>
  ),
  equation: (
    <>
      c = f ⊙ c + i ⊙ g, h = o ⊙ tanh(c)
      <br />
      GRU: h = (1 − z) ⊙ n + z ⊙ h · RNN: h = tanh(a)
    </>
  ),
  uses: "passage",
  Content,
};
export default view;

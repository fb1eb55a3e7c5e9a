import { fixed } from "../format.ts";
import { quoted } from "../draw/passage-text.tsx";
import { LayerPicker, ReadingText, UnitInput, useReading, Waiting } from "./reading.tsx";
import { Scroll } from "../draw/scroll.tsx";
import type { Trace } from "../analysis/trace.ts";
import type { View, ViewProps } from "./view.ts";

/** Where a value stands, by its name: column and row, what it is in a word, and for a gate the function that squashes its sum. */
type Place = readonly [name: string, column: number, row: number, note: string, squash?: string];
interface Drawing {
  /** What a cell must have besides what stands in the places. */
  readonly needs?: string;
  readonly places: readonly Place[];
  /** "a > b, b > c". */
  readonly wires: string;
}

const LSTM: Drawing = {
  places: [
    ["c before", 0, 0, "what it held"],
    ["f", 1, 1, "keep?", "σ"],
    ["f ⊙ c", 1, 0, "kept"],
    ["g", 2, 2, "candidate", "tanh"],
    ["i", 3, 1, "write?", "σ"],
    ["i ⊙ g", 2, 1, "written"],
    ["c", 2, 0, "what it holds"],
    ["tanh c", 3, 0, "squashed"],
    ["o", 4, 1, "show?", "σ"],
    ["h", 4, 0, "what others see"],
  ],
  wires: "c before > f ⊙ c, f > f ⊙ c, f ⊙ c > c, i > i ⊙ g, g > i ⊙ g, i ⊙ g > c, c > tanh c, tanh c > h, o > h",
};

/** Of a GRU, but for the way of its reset gate. */
const GRU: Drawing = {
  places: [
    ["h before", 0, 0, "what it held"],
    ["z", 1, 1, "keep?", "σ"],
    ["z ⊙ h", 1, 0, "kept"],
    ["n", 2, 2, "candidate"],
    ["W x", 2, 3, "from the input"],
    ["(1 − z) ⊙ n", 2, 1, "written"],
    ["h", 2, 0, "what it holds"],
  ],
  wires: "h before > z ⊙ h, z > z ⊙ h, z ⊙ h > h, W x > n, n > (1 − z) ⊙ n, z > (1 − z) ⊙ n, (1 − z) ⊙ n > h",
};

/** Of a channel in a block: what it holds, and the block's gate behind it. */
const HELD: readonly Place[] = [
  ["h before", 0, 0, "what it held"],
  ["h", 2, 0, "what it holds"],
  ["gate", 3, 1, "the block’s, SiLU"],
  ["output ⊙ gate", 3, 0, "what goes on"],
];
const AFTER = "h > output ⊙ gate, gate > output ⊙ gate";

/** Of one that holds many numbers: what is read out of them. */
const READ_OUT: readonly Place[] = [
  ["u", 0, 1, "what it reads, x"],
  ["D x", 2, 2, "past the state"],
  ["y", 2, 1, "what comes out"],
  ["gate", 3, 0, "the block’s, SiLU"],
  ["output ⊙ gate", 3, 1, "what goes on"],
];
const PAST = "D x > y, y > output ⊙ gate, gate > output ⊙ gate";

/** The one whose names a cell has is drawn. */
const DRAWINGS: readonly Drawing[] = [
  LSTM,
  // The reset gate acts on what all units give, or on each of them before.
  {
    places: [...GRU.places, ["U h", 0, 2, "from all units"], ["r ⊙ U h", 1, 2, "let through"], ["r", 1, 3, "look back?", "σ"]],
    wires: `${GRU.wires}, h before > U h, U h > r ⊙ U h, r > r ⊙ U h, r ⊙ U h > n`,
  },
  {
    places: [
      ...GRU.places,
      ["r ⊙ h", 0, 2, "let through"],
      ["U (r ⊙ h)", 1, 2, "from all units"],
      ["r", 0, 3, "look back?", "σ"],
    ],
    wires: `${GRU.wires}, h before > r ⊙ h, r > r ⊙ h, r ⊙ h > U (r ⊙ h), U (r ⊙ h) > n`,
  },
  {
    places: [
      ...HELD,
      ["(1 − z) ⊙ h", 1, 0, "kept"],
      ["z", 1, 1, "write?", "σ"],
      ["z ⊙ g", 2, 1, "written"],
      ["g", 2, 2, "candidate"],
    ],
    wires: `h before > (1 − z) ⊙ h, z > (1 − z) ⊙ h, (1 − z) ⊙ h > h, z > z ⊙ g, g > z ⊙ g, z ⊙ g > h, ${AFTER}`,
  },
  {
    places: [
      ...HELD,
      ["f′ ⊙ h", 1, 0, "kept"],
      ["f′", 1, 1, "keep?"],
      ["i", 1, 2, "its share", "σ"],
      ["(1 − f′) ⊙ g", 2, 1, "written"],
      ["g", 2, 2, "candidate"],
    ],
    wires: `h before > f′ ⊙ h, i > f′, f′ > f′ ⊙ h, f′ ⊙ h > h, f′ > (1 − f′) ⊙ g, g > (1 − f′) ⊙ g, (1 − f′) ⊙ g > h, ${AFTER}`,
  },
  {
    places: [
      ...READ_OUT,
      ["Δ", 1, 0, "open?", "softplus"],
      ["C·e^(ΔA) h", 2, 0, "kept, read out"],
      ["C·ΔB x", 1, 1, "written, read out"],
    ],
    wires: `u > C·ΔB x, Δ > C·e^(ΔA) h, Δ > C·ΔB x, C·e^(ΔA) h > y, C·ΔB x > y, ${PAST}`,
  },
  {
    places: [...READ_OUT, ["C·a h", 2, 0, "kept, read out"], ["C·b x", 1, 1, "written, read out"]],
    wires: `u > C·b x, C·a h > y, C·b x > y, ${PAST}`,
  },
  ...["tanh a", "relu a"].map((needs): Drawing => ({
    needs,
    places: [
      ["W x", 0, 0, "from the input"],
      ["h before", 0, 1, "its own, of all"],
      ["U h", 1, 1, "from all units"],
      ["a", 1, 0, "the sum"],
      ["h", 2, 0, needs],
    ],
    wires: "W x > a, h before > U h, U h > a, a > h",
  })),
];

/** Any other cell: what it held, each of its gates, and what it holds. */
const plain = (gates: readonly string[], states: readonly string[]): Drawing => ({
  places: [
    [`${states[0]!} before`, 0, 0, "what it held"],
    ...gates.map((name, i): Place => [name, 1 + (i % 3), 1 + Math.floor(i / 3), "gate", ""]),
    ...states.map((name, i): Place => [name, 4 - (states.length - 1) + i, 0, "what it holds"]),
  ],
  wires: `${states[0]!} before > ${states[0]!}`,
});

interface Box {
  readonly name: string;
  readonly at: readonly [column: number, row: number];
  readonly value: number;
  readonly note: string;
  /** "σ(0.3 − 1.2)": what a gate adds up, and by which function it becomes the value. */
  readonly from: string | undefined;
}

/** What flows through one unit at one step: boxes with their values, and the wires between them. */
function diagram(trace: Trace, t: number, unit: number): { boxes: readonly Box[]; wires: readonly string[][] } {
  const { values, states, units: H, flow } = trace;
  const gates = Object.keys(values).filter((name) => !states.includes(name));
  const known: Record<string, number> = {};
  const parts = Object.entries({ ...flow?.parts, ...values });
  for (const [name, history] of parts) known[name] = history[t * H + unit]!;
  for (const name of states) known[`${name} before`] = t > 0 ? values[name]![(t - 1) * H + unit]! : 0;
  const blind = seesNoState(trace);
  const sum = (of: "input" | "state", gate: number): number => flow![of][(t * gates.length + gate) * H + unit]!;
  const added = (squash: string, gate: number): string => {
    const state = sum("state", gate);
    if (blind) return `${squash}(${fixed(sum("input", gate), 1)})`;
    return `${squash}(${fixed(sum("input", gate), 1)} ${state < 0 ? "−" : "+"} ${Math.abs(state).toFixed(1)})`;
  };
  const fits = ({ needs, places }: Drawing): boolean =>
    places.every(([name]) => name in known) && (needs === undefined || needs in known);
  const { places, wires } = DRAWINGS.find(fits) ?? plain(gates, states);
  return {
    boxes: places.map(([name, column, row, note, squash]) => ({
      name,
      at: [column, row],
      value: known[name]!,
      note,
      from: flow && squash !== undefined ? added(squash, gates.indexOf(name)) : undefined,
    })),
    wires: wires.split(", ").map((wire) => wire.split(" > ")),
  };
}

/** Whether the gates add up nothing that comes from the state. */
const seesNoState = ({ flow }: Trace): boolean => flow !== undefined && flow.state.every((sum) => sum === 0);

function Content(props: ViewProps) {
  const { reading, problem } = useReading(props);
  if (!reading) return <Waiting problem={problem}>Reading…</Waiting>;
  const { trace, pieces, position, unit, look } = reading;
  const { boxes, wires } = diagram(trace, position, unit);
  const words = boxes.map(({ name, value: number }) => `${name} ${fixed(number, 2)}`).join(", ");
  const rows = 1 + Math.max(...boxes.map(({ at: [, row] }) => row));
  return (
    <>
      <ReadingText reading={reading} />
      <div class="row small">
        <button type="button" aria-disabled={position === 0} onClick={() => look(position - 1)}>
          ← Step back
        </button>
        <button type="button" aria-disabled={position === pieces.length - 1} onClick={() => look(position + 1)}>
          Next step →
        </button>
        <LayerPicker reading={reading} />
        <UnitInput units={trace.units} unit={unit} onChoose={(j) => look(position, j)} />
        <span class="muted">
          reads <span class="glyph">{quoted(pieces[position]!)}</span>; {inBrackets(trace)}
        </span>
      </div>
      <Scroll label="The cell’s diagram">
        <svg
          class="cell"
          viewBox={`0 0 ${WIDTH} ${rows * ROW}`}
          role="img"
          aria-label={`Unit ${unit} at ${quoted(pieces[position]!)}: ${words}`}
        >
          {wires.map(([from, to]) => (
            <Wire
              key={`${from} ${to}`}
              from={boxes.find(({ name }) => name === from)!}
              to={boxes.find(({ name }) => name === to)!}
            />
          ))}
          {boxes.map((box) => (
            <BoxShape key={box.name} box={box} />
          ))}
        </svg>
      </Scroll>
    </>
  );
}

function inBrackets(trace: Trace): string {
  if (trace.flow?.input.length === 0) return "this cell has no gates";
  if (seesNoState(trace)) return "in brackets what a gate adds up, of what is read alone: it does not see the state";
  return `in brackets what comes from ${trace.layer > 0 ? "the layer below" : "the character"}, then from the states before`;
}

const [COLUMN, ROW] = [146, 108];
const [BOX_WIDTH, BOX_HEIGHT] = [112, 74];
const WIDTH = 5 * COLUMN;
const centre = ({ at: [column, row] }: Box): readonly [number, number] => [(column + 0.5) * COLUMN, (row + 0.5) * ROW];

/** From one box to the edge of another in its row or column; as thick as what flows through it is large. */
function Wire({ from, to }: { from: Box; to: Box }) {
  const [[x1, y1], [x2, y2]] = [centre(from), centre(to)];
  const [dx, dy] = [Math.sign(x2 - x1), Math.sign(y2 - y1)];
  const [x, y] = [x2 - (dx * BOX_WIDTH) / 2, y2 - (dy * BOX_HEIGHT) / 2];
  const width = 1 + 4 * Math.min(1, Math.abs(from.value));
  const tip = 6 + width;
  const across = 3 + width / 2;
  // Where the line ends and the tip begins.
  const [endX, endY] = [x - dx * tip, y - dy * tip];
  const corners = [x, y, endX - dy * across, endY - dx * across, endX + dy * across, endY + dx * across];
  return (
    <g class="wire">
      <line x1={x1} y1={y1} x2={endX} y2={endY} style={{ strokeWidth: `${width}px` }} />
      <polygon points={corners.join(" ")} />
    </g>
  );
}

function BoxShape({ box }: { box: Box }) {
  const { name, value, note, from } = box;
  const [x, y] = centre(box);
  const shape = { x: -BOX_WIDTH / 2, y: -BOX_HEIGHT / 2, width: BOX_WIDTH, height: BOX_HEIGHT, rx: 9 };
  return (
    <g transform={`translate(${x} ${y})`} class={value < 0 ? "negative" : "positive"}>
      <rect class="back" {...shape} />
      <rect class="front" {...shape} style={{ opacity: String(0.08 + 0.42 * Math.min(1, Math.abs(value))) }} />
      <text class="what" y={from ? -21 : -14}>
        {name}
      </text>
      <text class="number" y={from ? -2 : 5} data-box={name}>
        {fixed(value, 2)}
      </text>
      <text class="note" y={from ? 13 : 22}>
        {note}
      </text>
      {from && (
        <text class="note sum" y="27">
          {from}
        </text>
      )}
    </g>
  );
}

const view: View = {
  title: "One unit, one step",
  intro: (
    <>
      The same numbers as in the heatmaps, for one unit and one character, on their way through the cell. Step through the
      passage: in an LSTM the upper line carries the cell’s value along, and only the gates touch it. Below each gate stands what
      it adds up; lines are as thick as what flows through them is large.
    </>
  ),
  equation: (
    <>
      LSTM: c<sub>t</sub> = f ⊙ c<sub>t−1</sub> + i ⊙ g, h<sub>t</sub> = o ⊙ tanh(c<sub>t</sub>)
      <br />
      GRU: n = tanh(W x<sub>t</sub> + r ⊙ U h<sub>t−1</sub>), or with U (r ⊙ h<sub>t−1</sub>),
      <br />h<sub>t</sub> = (1 − z) ⊙ n + z ⊙ h<sub>t−1</sub>
      <br />
      RNN: h<sub>t</sub> = tanh(W x<sub>t</sub> + U h<sub>t−1</sub>), or max(0, ·)
      <small>
        i, f, o, r, z = σ(W x<sub>t</sub> + U h<sub>t−1</sub>), g with tanh; each with weights of its own, and a bias
      </small>
      In a block, of u = SiLU(conv(x)): minGRU h<sub>t</sub> = (1 − z) ⊙ h<sub>t−1</sub> + z ⊙ g,
      <br />
      S4D and Mamba y = C·h<sub>t</sub> + D u; and what goes on is the output ⊙ SiLU of the other branch
      <small>
        z = σ(W u<sub>t</sub>) and Δ = softplus(W u<sub>t</sub>), without h
      </small>
    </>
  ),
  uses: "passage",
  Content,
};
export default view;

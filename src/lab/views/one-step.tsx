import type { LanguageModelConfig } from "../../models/config.ts";
import { fixed } from "../format.ts";
import { quoted } from "../draw/passage-text.tsx";
import { ReadingText, UnitInput, useReading, Waiting } from "./reading.tsx";
import { Scroll } from "../draw/scroll.tsx";
import type { GateSums, Trace } from "../analysis/trace.ts";
import type { View, ViewProps } from "./view.ts";

interface Box {
  readonly name: string;
  /** Column and row of the diagram. */
  readonly at: readonly [column: number, row: number];
  readonly value: number;
  readonly note: string;
  /** What a gate adds up, and by which function it becomes the value. */
  readonly from?: string | undefined;
}
interface Diagram {
  readonly boxes: readonly Box[];
  readonly wires: readonly (readonly [from: string, to: string])[];
}

/** What one unit has at one step: its gates and states by name, now and before, and what its gates add up. */
type Step = ReturnType<typeof stepOf>;
function stepOf({ values, sums, units }: Trace, config: LanguageModelConfig, t: number, unit: number) {
  const gates = (sums?.input.length ?? 0) / values.h!.length;
  const value = (name: string, step: number): number => (step < 0 ? 0 : values[name]![step * units + unit]!);
  const sum = (of: keyof GateSums, gate: number): number => sums?.[of][(t * gates + gate) * units + unit] ?? 0;
  return {
    config,
    sum,
    at: (name: string): number => value(name, t),
    before: (name: string): number => value(name, t - 1),
    /** "σ(0.3 − 1.2)": a gate's sum in its squashing function. */
    added(squash: string, gate: number): string | undefined {
      const state = sum("state", gate);
      return sums && `${squash}(${fixed(sum("input", gate), 1)} ${state < 0 ? "−" : "+"} ${Math.abs(state).toFixed(1)})`;
    },
  };
}

function lstmDiagram({ at, before, added }: Step): Diagram {
  const [i, f, g, o] = [at("i"), at("f"), at("g"), at("o")];
  return {
    boxes: [
      { name: "c before", at: [0, 0], value: before("c"), note: "what it held" },
      { name: "f", at: [1, 1], value: f, note: "keep?", from: added("σ", 1) },
      { name: "f ⊙ c", at: [1, 0], value: f * before("c"), note: "kept" },
      { name: "g", at: [2, 2], value: g, note: "candidate", from: added("tanh", 2) },
      { name: "i", at: [3, 1], value: i, note: "write?", from: added("σ", 0) },
      { name: "i ⊙ g", at: [2, 1], value: i * g, note: "written" },
      { name: "c", at: [2, 0], value: at("c"), note: "what it holds" },
      { name: "tanh c", at: [3, 0], value: Math.tanh(at("c")), note: "squashed" },
      { name: "o", at: [4, 1], value: o, note: "show?", from: added("σ", 3) },
      { name: "h", at: [4, 0], value: at("h"), note: "what others see" },
    ],
    wires: wiresOf("c before > f ⊙ c, f > f ⊙ c, f ⊙ c > c, i > i ⊙ g, g > i ⊙ g, i ⊙ g > c, c > tanh c, tanh c > h, o > h"),
  };
}

function gruDiagram({ at, before, sum, added, config }: Step): Diagram {
  const [r, z, n] = [at("r"), at("z"), at("n")];
  const [input, state] = [sum("input", 2), sum("state", 2)];
  // The reset gate acts on what all units give, or on each of them before.
  const path: Diagram = config.resetAfter
    ? {
        boxes: [
          { name: "U h", at: [0, 2], value: state, note: "from all units" },
          { name: "r ⊙ U h", at: [1, 2], value: r * state, note: "let through" },
          { name: "r", at: [1, 3], value: r, note: "look back?", from: added("σ", 0) },
        ],
        wires: wiresOf("h before > U h, U h > r ⊙ U h, r > r ⊙ U h, r ⊙ U h > n"),
      }
    : {
        boxes: [
          { name: "r ⊙ h", at: [0, 2], value: r * before("h"), note: "let through" },
          { name: "U (r ⊙ h)", at: [1, 2], value: state, note: "from all units" },
          { name: "r", at: [0, 3], value: r, note: "look back?", from: added("σ", 0) },
        ],
        wires: wiresOf("h before > r ⊙ h, r > r ⊙ h, r ⊙ h > U (r ⊙ h), U (r ⊙ h) > n"),
      };
  return {
    boxes: [
      { name: "h before", at: [0, 0], value: before("h"), note: "what it held" },
      { name: "z", at: [1, 1], value: z, note: "keep?", from: added("σ", 1) },
      { name: "z ⊙ h", at: [1, 0], value: z * before("h"), note: "kept" },
      { name: "n", at: [2, 2], value: n, note: "candidate" },
      { name: "W x", at: [2, 3], value: input, note: "from the input" },
      { name: "(1 − z) ⊙ n", at: [2, 1], value: (1 - z) * n, note: "written" },
      { name: "h", at: [2, 0], value: at("h"), note: "what it holds" },
      ...path.boxes,
    ],
    wires: [
      ...wiresOf("h before > z ⊙ h, z > z ⊙ h, z ⊙ h > h, W x > n, n > (1 − z) ⊙ n, z > (1 − z) ⊙ n, (1 − z) ⊙ n > h"),
      ...path.wires,
    ],
  };
}

const rnnDiagram = ({ at, before, sum, config }: Step): Diagram => ({
  boxes: [
    { name: "W x", at: [0, 0], value: sum("input", 0), note: "from the input" },
    { name: "h before", at: [0, 1], value: before("h"), note: "its own, of all" },
    { name: "U h", at: [1, 1], value: sum("state", 0), note: "from all units" },
    { name: "a", at: [1, 0], value: sum("input", 0) + sum("state", 0), note: "the sum" },
    { name: "h", at: [2, 0], value: at("h"), note: `${config.nonlinearity} a` },
  ],
  wires: wiresOf("W x > a, h before > U h, U h > a, a > h"),
});

/** Any other cell: what it held, each of its gates, and what it holds. */
function plainDiagram({ at, before, added }: Step, gates: readonly string[], states: readonly string[]): Diagram {
  const state = states[0]!;
  return {
    boxes: [
      { name: `${state} before`, at: [0, 0], value: before(state), note: "what it held" },
      ...gates.map((name, i): Box => ({
        name,
        at: [1 + (i % 3), 1 + Math.floor(i / 3)],
        value: at(name),
        note: "gate",
        from: added("", i),
      })),
      ...states.map((name, i): Box => ({ name, at: [4 - (states.length - 1) + i, 0], value: at(name), note: "what it holds" })),
    ],
    wires: [[`${state} before`, state]],
  };
}

/** Drawings by the gates that a cell has. */
const DIAGRAMS: Readonly<Record<string, (step: Step) => Diagram>> = { ifgo: lstmDiagram, rzn: gruDiagram, "": rnnDiagram };

/** "a > b, b > c" as pairs. */
const wiresOf = (list: string): Diagram["wires"] => list.split(", ").map((wire) => wire.split(" > ") as [string, string]);

/** What flows through one unit at one step: boxes with their values, and the wires between them. */
function diagram(trace: Trace, config: LanguageModelConfig, t: number, unit: number): Diagram {
  const names = Object.keys(trace.values);
  const [gates, states] = [false, true].map((isState) => names.filter((name) => trace.states.includes(name) === isState));
  const step = stepOf(trace, config, t, unit);
  return (trace.sums && DIAGRAMS[gates!.join("")]?.(step)) ?? plainDiagram(step, gates!, states!);
}

function Content(props: ViewProps) {
  const { reading, problem } = useReading(props);
  if (!reading) return <Waiting problem={problem}>Reading…</Waiting>;
  const { trace, characters, position, unit, look } = reading;
  const { config } = props.snapshots[props.chosen]!;
  const { boxes, wires } = diagram(trace, config, position, unit);
  const words = boxes.map(({ name, value: number }) => `${name} ${fixed(number, 2)}`).join(", ");
  const rows = 1 + Math.max(...boxes.map(({ at: [, row] }) => row));
  return (
    <>
      <ReadingText reading={reading} />
      <div class="row small">
        <button type="button" aria-disabled={position === 0} onClick={() => look(position - 1)}>
          ← Step back
        </button>
        <button type="button" aria-disabled={position === characters.length - 1} onClick={() => look(position + 1)}>
          Next step →
        </button>
        <UnitInput units={trace.units} unit={unit} onChoose={(j) => look(position, j)} />
        <span class="muted">
          reads {quoted(characters[position]!)}; in brackets what comes from{" "}
          {config.numLayers > 1 ? "the layer below" : "the character"}, then from the states before
        </span>
      </div>
      <Scroll label="The cell’s diagram">
        <svg
          class="cell"
          viewBox={`0 0 ${WIDTH} ${rows * ROW}`}
          role="img"
          aria-label={`Unit ${unit} at ${quoted(characters[position]!)}: ${words}`}
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
    </>
  ),
  uses: "passage",
  topLayer: true,
  Content,
};
export default view;

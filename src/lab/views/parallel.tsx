import { useState } from "preact/hooks";
import { CHAIN, SCAN, combine, scanRounds, type Read, type Scanned, type Step } from "../analysis/scan-tree.ts";
import { count, fixed, inWords, visible } from "../format.ts";
import { Select } from "../draw/forms.tsx";
import { narrow } from "../draw/narrow.ts";
import { quoted } from "../draw/passage-text.tsx";
import { Scroll } from "../draw/scroll.tsx";
import { Table } from "../draw/table.tsx";
import { Clocks } from "./clocks.tsx";
import { lineStyle, titleOf } from "../kinds.ts";
import { inspector } from "./inspector.ts";
import { UnitInput, Waiting } from "./reading.tsx";
import { usePlacedNumber } from "../place.ts";
import { useComputed } from "./use-computed.ts";
import type { View, ViewProps } from "./view.ts";

const LENGTHS = ["8", "16"] as const;
/** Where no book is open yet. */
const TEXT = "Alice was beginning to get tired";

function Content({ snapshots, passage, clock, device }: ViewProps) {
  const [length, setLength] = useState<(typeof LENGTHS)[number]>("8");
  const [round, setRound] = useState(0);
  const [wantedUnit, setUnit] = usePlacedNumber("unit", 0, { least: 0 });
  const text = [...(passage || TEXT)].slice(0, Number(length)).join("");
  const { value, problem } = useComputed(
    async () => ({ ...(await inspector.readBoth(snapshots, text)), text }),
    [snapshots, text],
  );
  if (!value) return <Waiting problem={problem}>Reading…</Waiting>;
  const characters = [...value.text];
  const T = characters.length;
  const unit = Math.min(wantedUnit, value.scan.units - 1, value.chain.units - 1);
  const now = Math.min(round, T);
  const of = (values: Float32Array, { units }: Read, t: number): number => values[t * units + unit]!;
  const rounds = scanRounds(
    characters.map((_, t) => ({ a: of(value.scan.a, value.scan, t), b: of(value.scan.b, value.scan, t) })),
  );
  const chain = characters.map((_, t) => of(value.chain.h, value.chain, t));
  return (
    <>
      <div class="row small">
        <button type="button" aria-disabled={now === 0} onClick={() => setRound(Math.max(0, now - 1))}>
          ← Round back
        </button>
        <button type="button" class="primary" aria-disabled={now === T} onClick={() => setRound(Math.min(T, now + 1))}>
          Next round →
        </button>
        <label>
          Round{" "}
          <input
            type="range"
            min="0"
            max={T}
            step="1"
            value={now}
            aria-valuetext={tell(now, rounds.length - 1, T)}
            onInput={(event) => setRound(Number(event.currentTarget.value))}
          />
        </label>
        <label>
          Characters <Select class="inline" value={length} options={LENGTHS} onChoose={setLength} />
        </label>
        <UnitInput units={Math.min(value.scan.units, value.chain.units)} unit={unit} onChoose={setUnit} />
      </div>
      <p data-value="told">{tell(now, rounds.length - 1, T)}</p>
      <Scroll label="The tree and the chain">
        <Tree characters={characters} rounds={rounds} chain={chain} now={now} />
      </Scroll>
      <Worked rounds={rounds} now={now} characters={characters} />
      <p class="small muted">
        The numbers are those of channel {unit} of {whose(value.scan, SCAN)} and of unit {unit} of {whose(value.chain, CHAIN)},
        both in float64 from a zero state.
      </p>
      <details>
        <summary>The numbers as a table</summary>
        <Numbers characters={characters} rounds={rounds} scan={value.scan} chain={chain} unit={unit} />
      </details>
      <Clocks clock={clock} device={device} />
    </>
  );
}

const whose = ({ step }: Read, preset: typeof SCAN): string =>
  step === undefined ? `a fresh ${titleOf(preset)} layer` : `the ${titleOf(preset)} at step ${count(step)}`;

/** How far each has come. */
function tell(round: number, last: number, T: number): string {
  if (round === 0) return `Nothing is known yet but what each of the ${inWords(T)} characters does by itself: its a and b.`;
  const known = Math.min(T, 2 ** round);
  const scan =
    round >= last
      ? `the scan has had all ${inWords(T)} states since round ${last}`
      : `the scan knows the first ${inWords(known)} states`;
  const chain = round === T ? `and now the chain has them too: ${T} rounds against ${last}` : `the chain ${inWords(round)}`;
  return `After round ${round}: ${scan}, ${chain}.`;
}

const HEIGHT = 36;
/** Titles of rows stand at their left, or where there is no room above them. */
const SIZES = {
  wide: { LEFT: 92, TOP: 34, COLUMN: 62, ROW: 66, WIDTH: 54 },
  narrow: { LEFT: 0, TOP: 26, COLUMN: 40, ROW: 84, WIDTH: 37 },
} as const;

interface TreeProps {
  readonly characters: readonly string[];
  readonly rounds: readonly (readonly Step[])[];
  readonly chain: readonly number[];
  readonly now: number;
}

/** The rounds of the scan, one below the other, and below them the chain, one box a round. */
function Tree({ characters, rounds, chain, now }: TreeProps) {
  const { LEFT, TOP, COLUMN, ROW, WIDTH } = SIZES[narrow.value ? "narrow" : "wide"];
  const T = characters.length;
  const last = rounds.length - 1;
  const x = (t: number): number => LEFT + (t + 0.5) * COLUMN;
  const y = (row: number): number => TOP + (row + 0.5) * ROW;
  const chainY = y(last + 1) + 20;
  const shown = Math.min(now, last);
  const states = rounds[shown]!.slice(0, 2 ** shown).map(({ b }) => fixed(b, 2));
  const words = `${tell(now, last, T)} States of the scan: ${shown > 0 ? states.join(", ") : "none"}. Of the chain: ${
    now > 0
      ? chain
          .slice(0, now)
          .map((h) => fixed(h, 2))
          .join(", ")
      : "none"
  }.`;
  return (
    <svg
      class="tree"
      viewBox={`0 0 ${LEFT + T * COLUMN + 8} ${chainY + ROW / 2 + 6}`}
      style={{ minWidth: `${(LEFT + T * COLUMN) * 0.8}px` }}
      role="img"
      aria-label={words}
    >
      {characters.map((character, t) => (
        <text key={t} class="symbol" x={x(t)} y="22">
          {visible(character)}
        </text>
      ))}
      {rounds.map((row, s) => (
        <g key={s} class={s > now ? "later" : undefined}>
          {s > 0 &&
            row.map((_, t) => {
              const reach = 2 ** (s - 1);
              const from = t < reach ? [t] : [t - reach, t];
              return from.map((source) => (
                <line
                  key={`${t} ${source}`}
                  class={t < reach ? "same" : undefined}
                  style={t < reach ? undefined : lineStyle(SCAN)}
                  x1={x(source)}
                  y1={y(s - 1) + HEIGHT / 2}
                  x2={x(t)}
                  y2={y(s) - HEIGHT / 2}
                />
              ));
            })}
        </g>
      ))}
      {rounds.map((row, s) => (
        <g key={s} class={s > now ? "later" : undefined}>
          <RowTitle
            y={y(s)}
            title={s === 0 ? titleOf(SCAN) : `round ${s}`}
            note={s === 0 ? "a, b" : s === last ? "b is h" : `reaches ${2 ** s}`}
          />
          {row.map(({ a, b }, t) => (
            <Box
              key={t}
              at={[x(t), y(s)]}
              width={WIDTH}
              preset={SCAN}
              known={t < 2 ** s && s > 0}
              lines={s > now ? [] : [fixed(a, 2), fixed(b, 2)]}
            />
          ))}
        </g>
      ))}
      <RowTitle y={chainY} title={titleOf(CHAIN)} note="h, a round each" />
      {chain.map((h, t) => (
        <g key={t} class={t < now ? undefined : "later"}>
          {t > 0 && <line style={lineStyle(CHAIN)} x1={x(t - 1) + WIDTH / 2} y1={chainY} x2={x(t) - WIDTH / 2} y2={chainY} />}
          <Box at={[x(t), chainY]} width={WIDTH} preset={CHAIN} known lines={t < now ? [fixed(h, 2)] : []} />
        </g>
      ))}
    </svg>
  );
}

function RowTitle({ y, title, note }: { y: number; title: string; note: string }) {
  if (narrow.value)
    return (
      <text class="title" x="2" y={y - HEIGHT / 2 - 7}>
        {title}: {note}
      </text>
    );
  return (
    <>
      <text class="title" x="0" y={y - 2}>
        {title}
      </text>
      <text class="title" x="0" y={y + 13}>
        {note}
      </text>
    </>
  );
}

interface BoxProps {
  readonly at: readonly [x: number, y: number];
  readonly width: number;
  readonly preset: typeof SCAN;
  /** Whether it holds a state that is final. */
  readonly known: boolean;
  readonly lines: readonly string[];
}

function Box({ at: [x, y], width, preset, known, lines }: BoxProps) {
  return (
    <g transform={`translate(${x} ${y})`}>
      <rect
        x={-width / 2}
        y={-HEIGHT / 2}
        width={width}
        height={HEIGHT}
        rx="6"
        style={known ? { stroke: lineStyle(preset).stroke, strokeWidth: 2 } : undefined}
      />
      {lines.map((line, i) => (
        <text key={i} class={i === lines.length - 1 && known ? "state" : undefined} y={lines.length === 1 ? 4 : i * 14 - 3}>
          {line}
        </text>
      ))}
    </g>
  );
}

/** One of the combinations of a round, worked out. */
function Worked({ rounds, now, characters }: Pick<TreeProps, "rounds" | "now" | "characters">) {
  const s = Math.min(now, rounds.length - 1);
  if (s === 0)
    return (
      <p class="equation">Each character alone: h′ = a h + b, where a = 1 − z and b = z · g, and z and g see only the text.</p>
    );
  const t = characters.length - 1;
  const reach = 2 ** (s - 1);
  const [first, second] = [rounds[s - 1]![t - reach]!, rounds[s - 1]![t]!];
  const both = combine(first, second);
  const pair = ({ a, b }: Step): string => `(${fixed(a, 2)}, ${fixed(b, 2)})`;
  return (
    <p class="equation">
      Round {s}, at the last character {quoted(characters[t]!)}: first {pair(first)}, then {pair(second)} is ({fixed(second.a, 2)}{" "}
      · {fixed(first.a, 2)}, {fixed(second.a, 2)} · {fixed(first.b, 2)} + {fixed(second.b, 2)}) = {pair(both)}
    </p>
  );
}

interface NumbersProps extends Omit<TreeProps, "now"> {
  readonly scan: Scanned;
  readonly unit: number;
}

function Numbers({ characters, rounds, scan, chain, unit }: NumbersProps) {
  const rows: readonly (readonly [string, readonly number[]])[] = [
    ["a", rounds[0]!.map(({ a }) => a)],
    ["b", rounds[0]!.map(({ b }) => b)],
    ...rounds.slice(1).map((row, i) => [`b after round ${i + 1}`, row.map(({ b }) => b)] as const),
    [`h of the ${titleOf(SCAN)} layer, step by step`, characters.map((_, t) => scan.h[t * scan.units + unit]!)],
    [`h of the ${titleOf(CHAIN)}`, chain],
  ];
  return (
    <Table
      label="The numbers of the tree and the chain"
      name="tree"
      columns={["", ...characters.map((c) => ({ number: <code>{visible(c)}</code> }))]}
    >
      {rows.map(([name, values]) => (
        <tr key={name}>
          <th scope="row">{name}</th>
          {values.map((value, t) => (
            <td class="number" key={t} data-value={value}>
              {fixed(value, 3)}
            </td>
          ))}
        </tr>
      ))}
    </Table>
  );
}

const view: View = {
  title: "Parallel in time",
  intro: (
    <>
      A step of an LSTM needs the state before it, through a matrix and a tanh: T characters are T steps, one after another, on
      whatever device. Where the gates do not see the state, a step is h′ = a h + b, two such steps are one such step, and pairs
      may be combined in any grouping: after log₂ T rounds all states are there. What is given up: a step with 0 ≤ a ≤ 1 can keep
      and fade what is held, and never turn it over, so that such a cell counts no parity, which an LSTM learns. And the tree does
      more work than the chain, T log₂ T combinations; so real kernels cut the text into chunks, walk them side by side, and join
      their ends.
    </>
  ),
  equation: (
    <>
      h<sub>t</sub> = a<sub>t</sub> h<sub>t−1</sub> + b<sub>t</sub>
      <br />
      first (a₁, b₁), then (a₂, b₂): (a₂ a₁, a₂ b₁ + b₂)
      <small>
        minGRU: a = 1 − z, b = z ⊙ g, where z = σ(W<sub>z</sub> x<sub>t</sub>) and g = g(W<sub>g</sub> x<sub>t</sub>)
        <br />
        LSTM: its gates are of W x<sub>t</sub> + U h<sub>t−1</sub>, and there is no such pair
      </small>
    </>
  ),
  uses: "nothing",
  showsAll: true,
  alone: true,
  Content,
};
export default view;

import { useState } from "preact/hooks";
import type { BreakageName, Breakdown } from "../analysis.ts";
import { inspector } from "../inspector.ts";
import type { View, ViewProps } from "./view.ts";

const TITLES: Readonly<Record<BreakageName, string>> = {
  healthy: "As it should be",
  "learning-rate": "Learning rate a hundred times too high",
  "no-clipping": "Plain SGD at a high rate, no clipping",
  saturated: "Weights sixty times too large at the start",
};
const NAMES = Object.keys(TITLES) as readonly BreakageName[];

/** By model and breakage. */
type Results = Readonly<Partial<Record<string, Breakdown | "running">>>;

function Content({ snapshots, chosen, book }: ViewProps) {
  const [results, setResults] = useState<Results>({});
  const snapshot = snapshots[chosen]!;
  const keyOf = (name: BreakageName): string => `${snapshot.preset} ${name}`;
  const running = Object.values(results).includes("running");
  const run = async (names: readonly BreakageName[]): Promise<void> => {
    let known = results;
    for (const name of names) {
      setResults((known = { ...known, [keyOf(name)]: "running" }));
      setResults((known = { ...known, [keyOf(name)]: await inspector.breakModel(snapshot, name, book) }));
    }
  };
  return (
    <>
      <div class="row">
        <button type="button" class="primary" disabled={running} onClick={() => void run(NAMES)}>
          {running ? "Breaking…" : "Break it, four ways"}
        </button>
        <span class="small muted">Small networks of the chosen kind, 150 steps each on the CPU; your run is left alone.</span>
      </div>
      <div class="breakages">
        {NAMES.map((name) => (
          <article key={name} data-breakage={name}>
            <h3>{TITLES[name]}</h3>
            <Outcome result={results[keyOf(name)]} />
          </article>
        ))}
      </div>
    </>
  );
}

function Outcome({ result }: { result: Breakdown | "running" | undefined }) {
  if (result === undefined) return <p class="muted small">Not tried yet.</p>;
  if (result === "running") return <p class="muted small computing">Training…</p>;
  const { losses, slope, diagnosis } = result;
  return (
    <>
      <Spark losses={losses} />
      <p class={diagnosis ? "bad" : "good"}>
        <b>
          {diagnosis ? "✗ " : "✓ "}
          {diagnosis?.name ?? "Learning"}
        </b>
        {diagnosis ? `: ${diagnosis.advice}.` : `: the loss fell from ${losses[0]!.toFixed(2)} to ${losses.at(-1)!.toFixed(2)}.`}
      </p>
      <p class="small muted">mean slope of its tanhs: {slope.toFixed(3)}</p>
    </>
  );
}

/** The loss as a line from 0 to 12 nats. */
function Spark({ losses }: { losses: readonly number[] }) {
  const [width, height, top] = [300, 90, 12];
  const points = losses.map(
    (loss, i) => `${((i / 150) * width).toFixed(1)},${(height - (Math.min(top, loss) / top) * height).toFixed(1)}`,
  );
  return (
    <svg
      class="spark"
      viewBox={`0 0 ${width} ${height}`}
      role="img"
      aria-label={`Loss from ${losses[0]?.toFixed(1)} to ${losses.at(-1)?.toFixed(1)} in ${losses.length} steps`}
    >
      <line x1="0" x2={width} y1={height - (4.3 / top) * height} y2={height - (4.3 / top) * height} />
      <text x={width - 2} y={height - (4.3 / top) * height - 4}>
        guessing
      </text>
      <polyline points={points.join(" ")} />
    </svg>
  );
}

const view: View = {
  title: "Break it",
  intro: (
    <>
      Training fails in a few typical ways, and each leaves its mark. Too large a learning rate throws the weights about; without
      clipping one steep gradient can undo everything; weights that start too large pin every tanh at ±1, where its slope is
      nothing. The lab names what it sees.
    </>
  ),
  equation: (
    <>
      g ← g · min(1, clip / ‖g‖)
      <small>clipping; and tanh′(a) = 1 − tanh²(a), which is 0.0001 at a = 5</small>
    </>
  ),
  uses: "nothing",
  Content,
};
export default view;

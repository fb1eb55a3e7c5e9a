import { signal } from "@preact/signals";
import { BROKEN_STEPS, UNITS, type BreakageName, type Breakdown } from "../experiments/breakage.ts";
import { answered, inspector } from "./inspector.ts";
import { Select } from "../draw/forms.tsx";
import { inWords } from "../format.ts";
import { titleOf } from "../kinds.ts";
import { PRESET_NAMES, type PresetName } from "../../models/presets.ts";
import type { View, ViewProps } from "./view.ts";

const TITLES: Readonly<Record<BreakageName, string>> = {
  healthy: "As it should be: Adam, rate 0.01",
  "too-fast": "Learning rate 1, a hundred times too high",
  "too-slow": "Learning rate 0.0001, a hundred times too low",
  saturated: "The cell’s weights sixty times too large at the start",
  clipped: "Plain SGD, rate 30, with clipping at 0.05",
  unclipped: "The same without clipping",
};
const NAMES = Object.keys(TITLES) as readonly BreakageName[];

type Result = Breakdown | "running" | { readonly problem: string };
/** By model and breakage; outlives the view, as it goes on while another one is shown. */
const results = signal<Readonly<Partial<Record<string, Result>>>>({});
const running = signal(false);
const cancelled = signal(false);
/** The visitor's choice; until there is one, the model that is looked at. */
const picked = signal<PresetName | undefined>(undefined);

async function breakIt(preset: PresetName, book: string): Promise<void> {
  running.value = true;
  cancelled.value = false;
  const note = (name: BreakageName, result: Result): void => {
    results.value = { ...results.value, [`${preset} ${name}`]: result };
  };
  for (const name of NAMES) {
    if (cancelled.value) break;
    note(name, "running");
    note(
      name,
      await answered(inspector.breakModel(preset, name, book)).catch((error: unknown) => ({
        problem: error instanceof Error ? error.message : String(error),
      })),
    );
  }
  running.value = false;
}

function Content({ snapshots, chosen, book }: ViewProps) {
  const preset = picked.value ?? snapshots[chosen]?.preset ?? "lstm";
  return (
    <>
      <div class="row">
        <label>
          Kind{" "}
          <Select
            class="inline"
            value={preset}
            disabled={running.value}
            options={Object.fromEntries(PRESET_NAMES.map((name) => [name, titleOf(name)])) as Record<PresetName, string>}
            onChoose={(name) => (picked.value = name)}
          />
        </label>
        <button
          type="button"
          class="primary"
          aria-disabled={running.value ? cancelled.value : book === ""}
          onClick={() => {
            if (running.value) cancelled.value = true;
            else if (book !== "") void breakIt(preset, book);
          }}
        >
          {!running.value ? `Train it ${inWords(NAMES.length)} ways` : cancelled.value ? "Stopping…" : "Cancel"}
        </button>
        <span class="small muted">
          New networks with {UNITS} units, {BROKEN_STEPS} steps each on the CPU; your run is left alone.
        </span>
      </div>
      <div class="breakages">
        {NAMES.map((name) => (
          <article key={name} data-breakage={name}>
            <h3>{TITLES[name]}</h3>
            <Outcome result={results.value[`${preset} ${name}`]} />
          </article>
        ))}
      </div>
    </>
  );
}

const nats = (loss: number): string => (loss < 1000 ? loss.toFixed(2) : loss.toExponential(1));

function Outcome({ result }: { result: Result | undefined }) {
  if (result === undefined) return <p class="muted small">Not tried yet.</p>;
  if (result === "running") return <p class="muted small computing">Training…</p>;
  if ("problem" in result) return <p class="problem">{result.problem}</p>;
  const { losses, diagnosis, freedom } = result;
  return (
    <>
      {losses.length > 0 && <Spark result={result} />}
      <p class={diagnosis ? "bad" : "good"}>
        <b>
          {diagnosis ? "✗ " : "✓ "}
          {diagnosis?.name ?? "Learning"}
        </b>
        {diagnosis ? `: ${diagnosis.advice}.` : `: ${progress(result)}.`}
      </p>
      {freedom.of && (
        <p class="small muted">
          {freedom.of === "tanh"
            ? `mean slope of its tanhs: ${freedom.before.toFixed(3)} at the start, ${freedom.after.toFixed(3)} at the end`
            : `units above zero: ${(100 * freedom.before).toFixed(0)} % at the start, ${(100 * freedom.after).toFixed(0)} % at the end`}
        </p>
      )}
    </>
  );
}

function progress({ losses, entropy }: Breakdown): string {
  const [first, last] = [losses[0]!, losses.at(-1)!];
  if (first - last > 0.05) return `the loss fell from ${nats(first)} to ${nats(last)}`;
  return `the loss stayed at ${nats(last)}; a text without any order gives no less than ${nats(entropy)}`;
}

const [WIDTH, HEIGHT] = [330, 120];
const [LEFT, RIGHT, TOP, BOTTOM] = [28, 74, 8, 18];

/** The loss by step; as high as twice that of guessing, beyond which the line runs along the upper edge. */
function Spark({ result: { losses, guessing, entropy } }: { result: Breakdown }) {
  const most = Math.max(1, 2 * guessing);
  const toX = (step: number): number => LEFT + (step / BROKEN_STEPS) * (WIDTH - LEFT - RIGHT);
  const toY = (loss: number): number => TOP + (1 - Math.min(1, loss / most)) * (HEIGHT - TOP - BOTTOM);
  const highest = Math.max(...losses);
  const words = `Loss from ${nats(losses[0]!)} to ${nats(losses.at(-1)!)} in ${losses.length} steps, ${nats(highest)} at most`;
  const guides = [
    { name: "guessing", loss: guessing, y: toY(guessing) },
    { name: "frequency", loss: entropy, y: Math.max(toY(entropy), toY(guessing) + 11) },
  ];
  return (
    <svg class="spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={words}>
      {[0, most].map((loss) => (
        <text class="end" key={loss} x={LEFT - 4} y={toY(loss) + 3}>
          {loss.toFixed(1)}
        </text>
      ))}
      <text x={LEFT} y={HEIGHT - 5}>
        0
      </text>
      <text class="end" x={WIDTH - RIGHT} y={HEIGHT - 5}>
        {BROKEN_STEPS} steps
      </text>
      {highest > most && (
        <text class="middle" x={(LEFT + WIDTH - RIGHT) / 2} y={HEIGHT - 5}>
          cut, up to {nats(highest)}
        </text>
      )}
      <path d={`M${LEFT} ${TOP}V${HEIGHT - BOTTOM}H${WIDTH - RIGHT}`} />
      {guides.map(({ name, loss, y }) => (
        <g key={name}>
          <line x1={LEFT} x2={WIDTH - RIGHT} y1={toY(loss)} y2={toY(loss)} />
          <text x={WIDTH - RIGHT + 5} y={y + 3}>
            {name} {loss.toFixed(2)}
          </text>
        </g>
      ))}
      <polyline points={losses.map((loss, i) => `${toX(i + 1).toFixed(1)},${toY(loss).toFixed(1)}`).join(" ")} />
    </svg>
  );
}

const view: View = {
  title: "Break it",
  intro: (
    <>
      Training fails in a few typical ways, and each leaves its mark. Too large a learning rate throws the weights about, one too
      small leaves them where they are. Weights that start too large pin every tanh at ±1, where its slope is nothing; the scans
      have none to pin. And where gradients are steep it is clipping that keeps a step short: the last two differ in nothing else.
      The lab names what it sees.
    </>
  ),
  equation: (
    <>
      g ← g · min(1, clip / ‖g‖)
      <small>
        clipping; and tanh′(a) = 1 − tanh²(a), which is 0.0002 at a = 5. Loss in nats: guessing gives ln V, and knowing only how
        often each character comes gives the entropy of single characters.
      </small>
    </>
  ),
  uses: "nothing",
  showsAll: true,
  alone: true,
  Content,
};
export default view;

import { signal } from "@preact/signals";
import { proxy } from "comlink";
import { useEffect } from "preact/hooks";
import { MEMORY_SIZES } from "../../bench/memory.ts";
import { TASKS, type TaskName } from "../../data/tasks.ts";
import { PRESET_NAMES, type PresetName } from "../../models/presets.ts";
import type { StateDict } from "../../models/parameters.ts";
import { count, duration, unitOfText, visible } from "../format.ts";
import { Select } from "../draw/forms.tsx";
import { heatColour } from "../draw/heatmap.ts";
import { answered, inspector } from "./inspector.ts";
import { titleOf } from "../kinds.ts";
import type { ModelSnapshot } from "../protocol.ts";
import { PassageText, quoted } from "../draw/passage-text.tsx";
import { Table } from "../draw/table.tsx";
import { ModelKey } from "../draw/model-key.tsx";
import { ColourScale, Waiting } from "./reading.tsx";
import { usePlacedNumber } from "../place.ts";
import { useComputed } from "./use-computed.ts";
import type { View, ViewProps } from "./view.ts";

function Content({ snapshots, chosen, passage }: ViewProps) {
  const snapshot = snapshots[chosen];
  return (
    <>
      {snapshot && <Guess snapshot={snapshot} passage={passage} />}
      <MemoryTasks />
    </>
  );
}

function Guess({ snapshot, passage }: { snapshot: ModelSnapshot; passage: string }) {
  const [at, setAt] = usePlacedNumber("at", 70, { least: 0 });
  const { value, problem } = useComputed(() => inspector.connectivity(snapshot, passage, at), [snapshot, passage, at]);
  if (!value) return <Waiting problem={problem}>Following the prediction back…</Waiting>;
  const { pieces, name } = value;
  const most = Math.max(1e-12, ...value.influence);
  const part = (i: number): number => (value.influence[i] ?? 0) / most;
  // How many of the last characters make up nine tenths of all influence.
  const total = value.influence.reduce((sum, x) => sum + x, 0);
  let reach = 0;
  for (let sum = 0; reach < value.influence.length && sum < 0.9 * total; reach++)
    sum += value.influence[value.influence.length - 1 - reach]!;
  return (
    <>
      <PassageText
        pieces={pieces}
        label="Position in the passage"
        chosen={Math.min(at, pieces.length - 1)}
        onChoose={setAt}
        colour={(i) => (i <= value.position ? heatColour(Math.sqrt(part(i)), "part", 1) : undefined)}
        describe={(i) =>
          `${quoted(pieces[i]!)}, ${i <= value.position ? `${(100 * part(i)).toFixed(0)} percent of the strongest influence` : "not read yet"}`
        }
      />
      <p>
        After <code>…{visible(pieces.slice(Math.max(0, value.position - 14), value.position + 1).join(""))}</code> the model
        expects <b class="glyph">{quoted(name)}</b> ({(100 * value.probability).toFixed(0)} %).{" "}
        {total > 0 ? (
          <>
            Nine tenths of what moves this guess lie in the last{" "}
            <b>
              <output data-value="reach">{reach}</output> {unitOfText(snapshot)}
              {reach === 1 ? "" : "s"}
            </b>
            .
          </>
        ) : (
          "Nothing that it has read moves this guess."
        )}
      </p>
      <ColourScale kind="part" from="0" to="strongest" />
      <p class="small muted">
        Colours show the square root, so that small influences stay visible. Reading begins with this passage.
      </p>
      {total > 0 && <Strongest influence={value.influence} pieces={pieces} unit={unitOfText(snapshot)} />}
    </>
  );
}

const STRONGEST = 8;

interface StrongestProps {
  readonly influence: Float32Array;
  readonly pieces: readonly string[];
  readonly unit: string;
}

/** What moved a guess most, in numbers. */
function Strongest({ influence, pieces, unit }: StrongestProps) {
  const last = influence.length - 1;
  const order = Array.from(influence, (_, i) => i)
    .sort((a, b) => influence[b]! - influence[a]!)
    .slice(0, STRONGEST);
  const most = influence[order[0]!]!;
  const rows: Readonly<Record<string, (i: number) => string>> = {
    [`${unit}s back`]: (i) => String(last - i),
    "of the strongest": (i) => `${((100 * influence[i]!) / most).toFixed(0)} %`,
  };
  const columns = ["Moved it most", ...order.map((i) => ({ number: <code>{visible(pieces[i]!)}</code> }))];
  return (
    <Table label="What moved this guess most" class="narrow" name="strongest" columns={columns}>
      {Object.entries(rows).map(([name, of]) => (
        <tr key={name}>
          <th scope="row">{name}</th>
          {order.map((i) => (
            <td class="number" key={i}>
              {of(i)}
            </td>
          ))}
        </tr>
      ))}
    </Table>
  );
}

const TITLES = Object.fromEntries(Object.entries(TASKS).map(([name, { title }]) => [name, title])) as Readonly<
  Record<TaskName, string>
>;

const task = signal<TaskName>("adding");
/** By task and preset, the part of right answers for each lag that was tried; outlives the tab: it is minutes of work. */
const results = signal<Readonly<Record<string, readonly number[]>>>({});
/** What is being trained at this moment, and at which step. */
const trying = signal<{ readonly preset: PresetName; readonly lag: number; readonly step: number } | undefined>(undefined);
/** Seconds and characters of the steps that were done so far: how fast this device is. */
const pace = { seconds: 0, characters: 0 };
const cancelled = signal(false);
const failed = signal<string | undefined>(undefined);

const found = (preset: PresetName): readonly number[] => results.value[`${task.value} ${preset}`] ?? [];
/** Whether a kind has been tried at all lags, or has failed. */
const done = (parts: readonly number[]): boolean => {
  const { lags, solved } = TASKS[task.value];
  return parts.length === lags.length || (parts.at(-1) ?? 1) < solved;
};

/** Each kind goes on to twice the lag until it fails, and takes along what it has learned: from long lags alone few find the way. */
async function tryMemories(name: TaskName): Promise<void> {
  failed.value = undefined;
  cancelled.value = false;
  results.value = Object.fromEntries(Object.entries(results.value).filter(([key]) => !key.startsWith(`${name} `)));
  try {
    for (const preset of PRESET_NAMES) {
      const key = `${name} ${preset}`;
      let stateDict: StateDict | undefined;
      for (const lag of TASKS[name].lags) {
        let [before, at] = [0, performance.now()];
        trying.value = { preset, lag, step: 0 };
        const goesOn = (step: number): boolean => {
          if (step > before) {
            pace.seconds += (performance.now() - at) / 1000;
            pace.characters += (step - before) * TASKS[name].length(lag, false);
          }
          [before, at] = [step, performance.now()];
          trying.value = { preset, lag, step };
          return !cancelled.value;
        };
        const result = await answered(inspector.tryMemory(preset, name, lag, stateDict, proxy(goesOn)));
        if (cancelled.value) return;
        stateDict = result.stateDict;
        results.value = { ...results.value, [key]: [...(results.value[key] ?? []), result.right] };
        if (result.right < TASKS[name].solved) break;
      }
    }
  } catch (error) {
    failed.value = error instanceof Error ? error.message : String(error);
  } finally {
    trying.value = undefined;
  }
}

/** Seconds that are left at the most, if every kind goes on to the last lag, by the pace of the steps so far. */
function mostLeft({ preset, lag, step }: NonNullable<typeof trying.value>): number {
  const { steps, length, ...of } = TASKS[task.value];
  const lags: readonly number[] = of.lags;
  const whole = (from: number): number => lags.slice(from).reduce((sum, each) => sum + steps * length(each, false), 0);
  const kindsAfter = PRESET_NAMES.length - 1 - PRESET_NAMES.indexOf(preset);
  const characters = whole(lags.indexOf(lag)) - step * length(lag, false) + kindsAfter * whole(0);
  return (characters * pace.seconds) / pace.characters;
}

/** The longest lag that was solved. */
function longest(parts: readonly number[]): string {
  const { lags, solved } = TASKS[task.value];
  const count = parts.filter((part) => part >= solved).length;
  return count === 0 ? "none" : `${count === lags.length ? "≥ " : ""}${lags[count - 1]}`;
}

/** Tasks that only memory solves, for new small networks of every kind; `of`: the one that was chosen elsewhere. */
export function MemoryTasks({ of }: { of?: TaskName }) {
  useEffect(() => {
    if (of !== undefined && !trying.value) task.value = of;
  }, [of, trying.value]);
  const { explanation, chance, solved, steps } = TASKS[task.value];
  const now = trying.value;
  return (
    <div class="test">
      <h3>A test of memory</h3>
      <p>
        {explanation} A new small network of each kind, of at most {count(MEMORY_SIZES.small.parameters)} parameters, trains on
        this on the CPU, at most {count(steps)} steps, and is tested on what it never saw. If at least {100 * solved} % of its
        answers are right, it goes on with a lag twice as long. Guessing gets {100 * chance} %. All kinds train alike; the LSTM’s
        forget gates begin with a bias of 1, as is usual.
      </p>
      <div class="row">
        {of === undefined && (
          <label>
            Task{" "}
            <Select
              class="inline"
              value={task.value}
              disabled={now !== undefined}
              options={TITLES}
              onChoose={(name) => (task.value = name)}
            />
          </label>
        )}
        <button
          type="button"
          aria-disabled={now !== undefined && cancelled.value}
          onClick={() => (now ? (cancelled.value = true) : void tryMemories(task.value))}
        >
          {!now ? "Try their memory" : cancelled.value ? "Stopping…" : "Cancel"}
        </button>
        <span class="small muted" role="status">
          {now
            ? `Training: ${titleOf(now.preset)}, lag ${now.lag}${pace.seconds > 0 ? `; at most ${duration(mostLeft(now))} for all that is left` : ""}`
            : "how long it takes is said once the first steps are done"}
        </span>
      </div>
      {failed.value && <p class="problem">{failed.value}</p>}
      {(now !== undefined || PRESET_NAMES.some((preset) => found(preset).length > 0)) && <MemoryTable />}
    </div>
  );
}

function MemoryTable() {
  const { lags, solved } = TASKS[task.value];
  return (
    <>
      <Table
        label="The test of memory"
        columns={["Model", ...lags.map((lag) => ({ number: `lag ${lag}` })), { number: "Longest solved" }]}
      >
        {PRESET_NAMES.map((preset) => {
          const parts = found(preset);
          return (
            <tr key={preset} data-memory={preset}>
              <th scope="row">
                <ModelKey preset={preset} /> {titleOf(preset)}
              </th>
              {lags.map((lag, i) => (
                <td class={`number${(parts[i] ?? 0) >= solved ? " good" : ""}`} key={lag}>
                  {parts[i] !== undefined
                    ? `${parts[i] >= solved ? "✓ " : ""}${(100 * parts[i]).toFixed(0)} %`
                    : trying.value?.preset === preset && trying.value.lag === lag
                      ? "…"
                      : "–"}
                </td>
              ))}
              <td class="number" data-value="longest">
                {done(parts) ? longest(parts) : trying.value ? "…" : "–"}
              </td>
            </tr>
          );
        })}
      </Table>
      <p class="small muted">
        Each column: part of the answers that are right. One network of each kind, one try: another start may move the end of a
        row by a column or two.
      </p>
    </>
  );
}

const view: View = {
  title: "What moved this guess",
  intro: (
    <>
      Choose a character. The colour behind each one before it says how much a small change of it would move the model’s first
      guess at what comes next: its memory, as far as it is used here. After a short training that is a few characters, for little
      more decides what comes next; how far each kind can look back if it must, the test below shows.
    </>
  ),
  equation: (
    <>
      ‖∂ logit<sub>guess</sub>(t) / ∂x<sub>s</sub>‖, s ≤ t<small>computed by backpropagation through time in float64</small>
    </>
  ),
  uses: "passage",
  alone: true,
  Content,
};
export default view;

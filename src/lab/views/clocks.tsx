// The clocks of the view of what is parallel in time: both kinds of layer, timed on this device.
import { signal } from "@preact/signals";
import { exponent } from "../../bench/measure.ts";
import { CHAIN, SCAN } from "../analysis/scan-tree.ts";
import { CLOCK_LENGTHS, CLOCK_UNITS } from "../experiments/clocks.ts";
import { count } from "../format.ts";
import { ModelKey } from "../draw/model-key.tsx";
import { LogPlot } from "../draw/plot.tsx";
import { Table } from "../draw/table.tsx";
import { titleOf } from "../kinds.ts";
import type { ViewProps } from "./view.ts";

interface Clocked {
  readonly T: number;
  readonly milliseconds: readonly number[];
}
/** Of what was measured last; outlives the view. */
const clocked = signal<readonly Clocked[]>([]);
const measuring = signal<number | undefined>(undefined);
const stopping = signal(false);
const failed = signal<string | undefined>(undefined);
const CLOCKED = [CHAIN, SCAN] as const;

async function measure(clock: ViewProps["clock"]): Promise<void> {
  clocked.value = [];
  failed.value = undefined;
  stopping.value = false;
  for (const T of CLOCK_LENGTHS) {
    if (stopping.value) break;
    measuring.value = T;
    const result = await clock(T);
    if (result.ok) clocked.value = [...clocked.value, { T, milliseconds: result.milliseconds }];
    else {
      failed.value = result.message;
      break;
    }
  }
  measuring.value = undefined;
}

const milliseconds = (value: number): string => (value < 10 ? value.toFixed(2) : count(value));

/** Both clocks, here and now. */
export function Clocks({ clock, device }: Pick<ViewProps, "clock" | "device">) {
  const T = measuring.value;
  const done = clocked.value;
  const lines = CLOCKED.map((preset, i) => ({
    label: titleOf(preset),
    preset,
    y: done.map((each) => each.milliseconds[i]!),
  }));
  return (
    <div class="test">
      <h3>Both clocks, here and now</h3>
      <p>
        One pass forward and backward of an {titleOf(CHAIN)} layer and of a {titleOf(SCAN)} layer of {CLOCK_UNITS} units over one
        text, longer and longer, on {device?.description ?? "this device"}.
        {(device?.family === "cpu" || device?.family === "wasm") &&
          " The processor here computes on one thread, where nothing runs side by side: what the scan saves is work alone, the products with the state."}
      </p>
      <div class="row">
        <button
          type="button"
          aria-disabled={T !== undefined && stopping.value}
          onClick={() => (T !== undefined ? (stopping.value = true) : void measure(clock))}
        >
          {T === undefined ? "Measure both" : stopping.value ? "Stopping…" : "Stop"}
        </button>
        {T !== undefined && <progress max={CLOCK_LENGTHS.length} value={done.length} aria-label="Lengths measured" />}
        <span class="small muted" role="status">
          {T !== undefined ? `T = ${count(T)}` : done.length === 0 ? "some seconds; a software GPU takes longer" : ""}
        </span>
      </div>
      {failed.value && <p class="problem">{failed.value}</p>}
      {done.length > 1 && (
        <>
          <LogPlot
            label={`Milliseconds by characters, both axes logarithmic: ${summary(done)} The table has the values.`}
            x={done.map((each) => each.T)}
            lines={lines}
            xTitle="characters, T"
            yTitle="milliseconds"
            least={1e-3}
            doubling
          />
          <p data-value="summary">{summary(done)}</p>
        </>
      )}
      {done.length > 0 && (
        <Table
          label="Both clocks"
          class="narrow"
          name="clocks"
          columns={["", ...done.map((each) => ({ number: `T = ${count(each.T)}` }))]}
        >
          {CLOCKED.map((preset, i) => (
            <tr key={preset}>
              <th scope="row">
                <ModelKey preset={preset} /> {titleOf(preset)}, ms
              </th>
              {done.map((each) => (
                <td class="number" key={each.T}>
                  {milliseconds(each.milliseconds[i]!)}
                </td>
              ))}
            </tr>
          ))}
          <tr>
            <th scope="row">times as fast</th>
            {done.map(({ T: at, milliseconds: [chain, scan] }) => (
              <td class="number" key={at}>
                {(chain! / scan!).toFixed(1)}
              </td>
            ))}
          </tr>
        </Table>
      )}
    </div>
  );
}

/** How much faster the scan is at last, and how both grow. */
function summary(done: readonly Clocked[]): string {
  const { T, milliseconds: ends } = done.at(-1)!;
  const [chain, scan] = CLOCKED.map((_, i) => exponent(done.map((each) => [each.T, each.milliseconds[i]!])).toFixed(2));
  const [slow, fast] = ends as readonly [number, number];
  const faster =
    slow >= fast
      ? `the ${titleOf(SCAN)} is ${(slow / fast).toFixed(1)} times as fast`
      : `the ${titleOf(CHAIN)} is ${(fast / slow).toFixed(1)} times as fast`;
  return `At T = ${count(T)} ${faster}. Time grows as T to the power of ${chain} for the ${titleOf(CHAIN)} and of ${scan} for the ${titleOf(SCAN)}.`;
}

// The curves of the loss: as a chart, as a table, and as files.
import { computed, signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { DRAWN, makeLossChart, type ChartOptions, type LossChart } from "../draw/chart.ts";
import { alignCurves, curvesToCsv, curvesToJson, lastStep, smoothedLoss, tableSteps, type Curve } from "../draw/curves.ts";
import { download } from "./download.ts";
import { count } from "../format.ts";
import { Check } from "../draw/forms.tsx";
import { Legend } from "../draw/legend.tsx";
import { EVAL_FIELDS, STEP_FIELDS } from "../protocol.ts";
import * as stage from "./store/stage.ts";
import * as table from "./store/table.ts";
import { Table } from "../draw/table.tsx";

const chartOptions = signal<ChartOptions>({ unit: "nats", logarithmic: false, closeUp: false });
/** In which losses are shown, here and beside the chart. */
export const unit = computed(() => chartOptions.value.unit);

/** Those of the run on the stage, and those that are compared with it. */
const shownCurves = (): readonly Curve[] => [...stage.curves, ...[...table.compared.value.values()].flat()];

/** Milliseconds between two drawings of the chart: the eye needs no more, and the page keeps its frames. */
const REDRAW = 200;

export function Loss() {
  const container = useRef<HTMLDivElement>(null);
  const chart = useRef<LossChart | undefined>(undefined);
  useEffect(() => {
    const made = makeLossChart(container.current!);
    chart.current = made;
    let timer = 0;
    const draw = (): void => {
      timer = 0;
      made.update(shownCurves(), { ...chartOptions.value, guides: stage.baselines.value });
    };
    const soon = (): void => {
      timer ||= window.setTimeout(() => requestAnimationFrame(draw), REDRAW);
    };
    const stop = [stage.curvesVersion, stage.baselines, chartOptions, table.compared].map((source) => source.subscribe(soon));
    return () => {
      clearTimeout(timer);
      stop.forEach((end) => end());
      made.dispose();
    };
  }, []);
  const { logarithmic, closeUp } = chartOptions.value;
  return (
    <section class="card curves" aria-labelledby="curves-title">
      <div class="row head">
        <h2 id="curves-title">Loss</h2>
        <fieldset class="segments">
          <legend class="hidden">Unit</legend>
          {(["nats", "bits"] as const).map((name) => (
            <label key={name}>
              <input
                type="radio"
                name="unit"
                checked={unit.value === name}
                onChange={() => (chartOptions.value = { ...chartOptions.value, unit: name })}
              />
              <span>{name === "nats" ? "Nats" : "Bits per character"}</span>
            </label>
          ))}
        </fieldset>
        <Check checked={logarithmic} onChoose={(on) => (chartOptions.value = { ...chartOptions.value, logarithmic: on })}>
          Logarithmic
        </Check>
        <Check
          title="Fits the scale to the last three quarters, where the curves part"
          checked={closeUp}
          onChoose={(on) => (chartOptions.value = { ...chartOptions.value, closeUp: on })}
        >
          Close-up
        </Check>
        <span class="spacer" />
        <Exports chart={chart} />
      </div>
      <div class="chart" ref={container} role="img" aria-label={chartSummary()} />
      <CurveNames />
      <CurveTable />
    </section>
  );
}

function chartSummary(): string {
  void stage.curvesVersion.value;
  const parts = shownCurves().map(({ label, points, evaluations }) => {
    const loss = smoothedLoss(points);
    const val = evaluations.length > 0 ? `, validation ${evaluations.at(-EVAL_FIELDS + 1)!.toFixed(2)}` : "";
    return loss === undefined
      ? `${label}: no step yet`
      : `${label}: ${loss.toFixed(2)} nats at step ${lastStep(points, STEP_FIELDS)}${val}`;
  });
  const counted = Object.entries(stage.baselines.value ?? {}).map(([name, loss]) => `${name} ${loss.toFixed(2)}`);
  const beside = counted.length > 0 ? ` Counting characters gets: ${counted.join(", ")}.` : "";
  return parts.length > 0
    ? `Loss against training steps. ${parts.join("; ")}.${beside} All values are in the table below.`
    : "Loss against training steps; nothing is trained yet.";
}

function CurveNames() {
  void stage.curvesVersion.value;
  const shown = shownCurves();
  return <Legend lines={shown}>{shown.length > 0 ? DRAWN : "Press Train: the curves grow here."}</Legend>;
}

const tableOpen = signal(false);

function CurveTable() {
  return (
    <details class="as-table" onToggle={(event) => (tableOpen.value = event.currentTarget.open)}>
      <summary>The curves as a table</summary>
      {tableOpen.value && <CurveRows />}
    </details>
  );
}

function CurveRows() {
  void stage.curvesVersion.value;
  const shown = shownCurves();
  const { x, curves: aligned } = alignCurves(shown, chartOptions.value.unit === "bits" ? 1 / Math.LN2 : 1);
  if (shown.length === 0) return <p class="muted">Nothing is trained yet.</p>;
  const steps = tableSteps(x);
  // Validation is rarer than the rows: each row shows the last one up to its step.
  const lastVal = (curve: number, at: number): number | undefined => {
    for (let i = at; i >= 0; i--) if (aligned[curve]!.val[i] !== null) return aligned[curve]!.val[i]!;
    return undefined;
  };
  return (
    <Table
      label="The curves as a table"
      columns={["Step", ...shown.flatMap(({ label }) => [{ number: `${label}, training` }, { number: `${label}, validation` }])]}
    >
      {steps.map((at) => (
        <tr key={x[at]}>
          <th scope="row">{count(x[at]!)}</th>
          {aligned.map(({ smooth }, i) => [
            <td class="number" key={`train-${i}`}>
              {smooth[at]?.toFixed(3) ?? "–"}
            </td>,
            <td class="number" key={`val-${i}`}>
              {lastVal(i, at)?.toFixed(3) ?? "–"}
            </td>,
          ])}
        </tr>
      ))}
    </Table>
  );
}

function Exports({ chart }: { chart: { readonly current: LossChart | undefined } }) {
  void stage.curvesVersion.value;
  const empty = shownCurves().length === 0;
  const name = `gatewise-${stage.run.value?.settings.preset ?? "runs"}`;
  const about = (): object => ({
    device: stage.run.value?.device,
    settings: stage.run.value?.settings,
    text: stage.run.value?.text.title,
    exported: new Date().toISOString(),
  });
  const title = `Loss on ${stage.run.value?.text.title ?? "stored runs"} · ${stage.run.value?.device ?? ""}`;
  return (
    <span class="row small">
      <button type="button" disabled={empty} onClick={async () => download(`${name}.png`, await chart.current!.toPng(title))}>
        PNG<span class="hidden"> of the curves, download</span>
      </button>
      <button type="button" disabled={empty} onClick={() => download(`${name}.csv`, curvesToCsv(shownCurves()), "text/csv")}>
        CSV<span class="hidden"> of the curves, download</span>
      </button>
      <button
        type="button"
        disabled={empty}
        onClick={() => download(`${name}.json`, curvesToJson(shownCurves(), about()), "application/json")}
      >
        JSON<span class="hidden"> of the curves, download</span>
      </button>
    </span>
  );
}

// The Train tab: controls, curves, what the models write, and the table of runs.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { makeLossChart, type ChartOptions, type LossChart } from "./chart.ts";
import {
  alignCurves,
  bestEvaluation,
  curvesToCsv,
  curvesToJson,
  lastStep,
  smoothedLoss,
  tableSteps,
  type Curve,
} from "./curves.ts";
import { download } from "./download.ts";
import { bits, count, duration, rate } from "./format.ts";
import { titleOf } from "./kinds.ts";
import { EVAL_FIELDS, STEP_FIELDS } from "./protocol.ts";
import { Scroll } from "./scroll.tsx";
import { dataArgument } from "./settings.ts";
import { ModelKey, Setup } from "./setup.tsx";
import {
  busy,
  changeSampling,
  compared,
  compareRun,
  curves,
  curvesVersion,
  device,
  lanes,
  pause,
  phase,
  removeRun,
  renameRun,
  reset,
  openRun,
  run,
  runs,
  sampling,
  savedAt,
  settings,
  status,
  step,
  stepsDone,
  text,
  train,
  trainFurther,
  training,
  unsaved,
  worker,
} from "./store.ts";
import type { RunSummary } from "./stored.ts";

const chartOptions = signal<ChartOptions>({ unit: "nats", logarithmic: false, closeUp: false });

export function TrainTab() {
  return (
    <div class="train">
      <Setup />
      <div class="stage">
        <Controls />
        <Curves />
        <Samples />
        <Runs />
      </div>
    </div>
  );
}

const shownCurves = (): readonly Curve[] => [...curves, ...[...compared.value.values()].flat()];

// --- controls ---------------------------------------------------------------------------------------------------------

function Controls() {
  void curvesVersion.value;
  const running = training.value;
  const total = run.value?.settings.totalSteps ?? settings.value.totalSteps;
  const done = stepsDone();
  const over = phase.value === "done" || phase.value === "failed" || phase.value === "lost";
  const ready = device.value !== undefined && text.value !== undefined;
  const blocked = phase.value === "failed" || phase.value === "lost";
  const waiting = busy.value || phase.value === "recovering" || phase.value === "preparing";
  const [label, act] = running
    ? (["Pause", pause] as const)
    : phase.value === "done"
      ? (["Train further", trainFurther] as const)
      : phase.value === "preparing"
        ? (["Preparing…", train] as const)
        : ([done > 0 && !over ? "Resume" : "Train", train] as const);
  return (
    <section class="controls" aria-label="Controls">
      <div class="row">
        {/* One button throughout, so that the keyboard's focus stays on it; what only waits is not disabled, which would drop it. */}
        <button
          type="button"
          id="go"
          class="primary"
          disabled={!ready || blocked}
          aria-disabled={waiting}
          onClick={() => void act()}
        >
          {label}
        </button>
        <button type="button" disabled={!ready || over || running} aria-disabled={waiting} onClick={() => void step()}>
          Step
        </button>
        <button
          type="button"
          disabled={run.value === undefined || running}
          aria-disabled={waiting}
          onClick={async () => {
            await reset();
            document.getElementById("go")?.focus();
          }}
        >
          {over ? "New run" : "Reset"}
        </button>
      </div>
      <progress max={total} value={done} aria-label="Steps done" />
      <Figures done={done} total={total} />
      <CheckpointLine />
    </section>
  );
}

function Figures({ done, total }: { done: number; total: number }) {
  const speed = lanes.value.filter(({ stopped }) => !stopped).map((lane) => lane.charactersPerSecond ?? 0);
  const known = speed.length > 0 && speed.every(Boolean);
  const used = run.value?.settings ?? settings.value;
  // The models train in turns: their times add up.
  const seconds = speed.reduce((sum, perSecond) => sum + ((total - done) * used.batchSize * used.seqLen) / perSecond, 0);
  const losses = curves.map(({ points }) => smoothedLoss(points)).filter((loss) => loss !== undefined);
  const loss = losses.length > 0 ? Math.min(...losses) : undefined;
  const vals = curves.map(({ evaluations }) => bestEvaluation(evaluations)).filter((value) => value !== undefined);
  const val = vals.length > 0 ? Math.min(...vals) : undefined;
  const figures: readonly (readonly [string, string])[] = [
    ["Step", `${count(done)} of ${count(total)}`],
    ["Loss", loss === undefined ? "–" : loss.toFixed(3)],
    ["Bits per character", loss === undefined ? "–" : bits(loss).toFixed(2)],
    ["Best validation", val === undefined ? "–" : val.toFixed(3)],
    ["Speed", known ? rate(speed.length / speed.reduce((sum, perSecond) => sum + 1 / perSecond, 0)) : "–"],
    ["Time left", training.value && known ? duration(seconds) : "–"],
  ];
  return (
    <dl class="figures">
      {figures.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

async function downloadCheckpoint(lane: number): Promise<void> {
  const result = await worker.checkpoint(lane);
  if (!result.ok) {
    status.value = result.message;
    return;
  }
  const { preset } = lanes.value[lane]!;
  const name = `${run.value!.text.name.replace(/\.txt$/, "")}-${preset}-${run.value!.settings.hiddenSize}.safetensors`;
  download(name, result.bytes, "application/octet-stream");
  const { settings: used, text: read } = run.value!;
  const steps = stepsDone() < used.totalSteps ? used.totalSteps : stepsDone() + used.totalSteps;
  status.value = `Downloaded ${name}; it continues with: npx gatewise train --resume ${name} --data ${dataArgument(used, read.name)} --steps ${steps}`;
}

/** Always there, so that nothing moves when a run begins. */
function CheckpointLine() {
  if (!run.value)
    return (
      <p class="row small checkpoints muted">
        {unsaved.value
          ? "This browser keeps no files for the lab: download what you want to keep."
          : "Runs are saved in this browser as they go, and restored after a reload."}
      </p>
    );
  return (
    <div class="row small checkpoints">
      <span class={`saved ${unsaved.value ? "problem" : "muted"}`}>
        {unsaved.value
          ? `This browser keeps no files for the lab (${unsaved.value}); download what you want to keep`
          : savedAt.value === undefined
            ? "Not saved yet"
            : `Saved at step ${count(savedAt.value)}`}
      </span>
      {lanes.value.map(({ preset }, i) => (
        <button
          type="button"
          key={preset}
          title="The model and its training state, as .safetensors"
          onClick={() => void downloadCheckpoint(i)}
        >
          {lanes.value.length > 1 ? titleOf(preset) : "Checkpoint"}
          <span aria-hidden="true">↓</span>
          <span class="hidden"> checkpoint, download</span>
        </button>
      ))}
    </div>
  );
}

// --- curves -----------------------------------------------------------------------------------------------------------

/** Milliseconds between two drawings of the chart: the eye needs no more, and the page keeps its frames. */
const REDRAW = 200;

function Curves() {
  const container = useRef<HTMLDivElement>(null);
  const chart = useRef<LossChart | undefined>(undefined);
  useEffect(() => {
    const made = makeLossChart(container.current!);
    chart.current = made;
    let timer = 0;
    const draw = (): void => {
      timer = 0;
      made.update(shownCurves(), chartOptions.value);
    };
    const soon = (): void => {
      timer ||= window.setTimeout(() => requestAnimationFrame(draw), REDRAW);
    };
    const stop = [curvesVersion, chartOptions, compared].map((source) => source.subscribe(soon));
    return () => {
      clearTimeout(timer);
      stop.forEach((end) => end());
      made.dispose();
    };
  }, []);
  const { unit, logarithmic, closeUp } = chartOptions.value;
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
                checked={unit === name}
                onChange={() => (chartOptions.value = { ...chartOptions.value, unit: name })}
              />
              <span>{name === "nats" ? "Nats" : "Bits per character"}</span>
            </label>
          ))}
        </fieldset>
        <label class="check">
          <input
            type="checkbox"
            checked={logarithmic}
            onChange={(event) => (chartOptions.value = { ...chartOptions.value, logarithmic: event.currentTarget.checked })}
          />
          Logarithmic
        </label>
        <label class="check" title="Fits the scale to the last three quarters, where the curves part">
          <input
            type="checkbox"
            checked={closeUp}
            onChange={(event) => (chartOptions.value = { ...chartOptions.value, closeUp: event.currentTarget.checked })}
          />
          Close-up
        </label>
        <span class="spacer" />
        <Exports chart={chart} />
      </div>
      <div class="chart" ref={container} role="img" aria-label={chartSummary()} />
      <Legend />
      <CurveTable />
    </section>
  );
}

function chartSummary(): string {
  void curvesVersion.value;
  const parts = shownCurves().map(({ label, points, evaluations }) => {
    const loss = smoothedLoss(points);
    const val = evaluations.length > 0 ? `, validation ${evaluations.at(-EVAL_FIELDS + 1)!.toFixed(2)}` : "";
    return loss === undefined
      ? `${label}: no step yet`
      : `${label}: ${loss.toFixed(2)} nats at step ${lastStep(points, STEP_FIELDS)}${val}`;
  });
  return parts.length > 0
    ? `Loss against training steps. ${parts.join("; ")}. All values are in the table below.`
    : "Loss against training steps; nothing is trained yet.";
}

function Legend() {
  void curvesVersion.value;
  const shown = shownCurves();
  return (
    <ul class="legend">
      {shown.map(({ label, preset }, i) => (
        <li key={i}>
          <ModelKey preset={preset} /> {label}
        </li>
      ))}
      <li class="muted">
        {shown.length > 0 ? "faint: every step · bold: smoothed · rings: validation" : "Press Train: the curves grow here."}
      </li>
    </ul>
  );
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
  void curvesVersion.value;
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
    <Scroll label="The curves as a table">
      <table>
        <thead>
          <tr>
            <th scope="col">Step</th>
            {shown.map(({ label }, i) => [
              <th scope="col" class="number" key={`train-${i}`}>
                {label}, training
              </th>,
              <th scope="col" class="number" key={`val-${i}`}>
                {label}, validation
              </th>,
            ])}
          </tr>
        </thead>
        <tbody>
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
        </tbody>
      </table>
    </Scroll>
  );
}

function Exports({ chart }: { chart: { readonly current: LossChart | undefined } }) {
  void curvesVersion.value;
  const empty = shownCurves().length === 0;
  const name = `gatewise-${run.value?.settings.preset ?? "runs"}`;
  const about = (): object => ({
    device: run.value?.device,
    settings: run.value?.settings,
    text: run.value?.text.title,
    exported: new Date().toISOString(),
  });
  const title = `Loss on ${run.value?.text.title ?? "stored runs"} · ${run.value?.device ?? ""}`;
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

// --- samples ----------------------------------------------------------------------------------------------------------

function Samples() {
  const { temperature, topK, prompt } = sampling.value;
  const sampled = lanes.value.some((lane) => lane.sample);
  return (
    <section class="card samples" aria-labelledby="samples-title">
      <div class="row head">
        <h2 id="samples-title">What it writes</h2>
        <span class="spacer" />
        <button
          type="button"
          class="small"
          disabled={!sampled}
          onClick={() =>
            download(
              "gatewise-samples.txt",
              lanes.value
                .map(({ preset, sample }) => `--- ${titleOf(preset)}, step ${sample?.step ?? 0}\n${sample?.text ?? ""}\n`)
                .join("\n"),
            )
          }
        >
          Text<span class="hidden"> of the samples, download as .txt</span>
        </button>
      </div>
      <div class="sliders">
        <label>
          <span>
            Temperature <b aria-hidden="true">{temperature.toFixed(2)}</b>
          </span>
          <input
            type="range"
            min="0"
            max="2"
            step="0.05"
            value={temperature}
            title="Less is safer, more is wilder; 0 always takes the most likely character"
            onInput={(event) => changeSampling({ temperature: Number(event.currentTarget.value) })}
          />
        </label>
        <label>
          <span>
            Top-k <b aria-hidden="true">{topK === 0 ? "all" : topK}</b>
          </span>
          <input
            type="range"
            min="0"
            max="40"
            step="1"
            value={topK}
            aria-valuetext={topK === 0 ? "all" : String(topK)}
            title="Only the k most likely characters; all at the left end"
            onInput={(event) => changeSampling({ topK: Number(event.currentTarget.value) })}
          />
        </label>
        <label class="prompt">
          <span>Prompt</span>
          <input
            type="text"
            maxLength={200}
            value={prompt}
            placeholder="none: on a new line"
            onInput={(event) => changeSampling({ prompt: event.currentTarget.value })}
          />
        </label>
      </div>
      <div class={`texts${lanes.value.length > 1 ? " many" : ""}`}>
        {lanes.value.length === 0 && (
          <p class="text empty">
            A few seconds into training the network writes here, at first gibberish, then letters, words, sentences.
          </p>
        )}
        {lanes.value.map(({ preset, sample, stopped }) => (
          <article key={preset} aria-label={`${titleOf(preset)} writes`}>
            <h3>
              <ModelKey preset={preset} /> {titleOf(preset)}
              <span class="muted"> {stopped ? "stopped" : sample ? `at step ${count(sample.step)}` : ""}</span>
            </h3>
            {stopped && <p class="problem">{stopped}</p>}
            {sample?.note && <p class="muted">{sample.note}</p>}
            <Scroll label={`Text by ${titleOf(preset)}`} of="text">
              {sample?.text.replace(/^\n+/, "") ?? "…"}
            </Scroll>
          </article>
        ))}
      </div>
    </section>
  );
}

// --- runs -------------------------------------------------------------------------------------------------------------

function Runs() {
  if (runs.value.length === 0) return null;
  return (
    <section class="card runs" aria-labelledby="runs-title">
      <h2 id="runs-title">Runs</h2>
      <Scroll label="Table of runs">
        <table>
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">Book</th>
              <th scope="col" class="number">
                Steps
              </th>
              <th scope="col" class="number">
                Best validation
              </th>
              <th scope="col" class="number">
                Bits
              </th>
              <th scope="col">
                <span class="hidden">Actions</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {runs.value.map((summary) => (
              <RunRow key={summary.id} summary={summary} />
            ))}
          </tbody>
        </table>
      </Scroll>
    </section>
  );
}

function RunRow({ summary }: { summary: RunSummary }) {
  const { id, name, title, models } = summary;
  const present = run.value?.id === id;
  const bests = models.map(({ best }) => best).filter((best) => best !== null);
  const best = bests.length > 0 ? Math.min(...bests) : undefined;
  return (
    <tr class={present ? "present" : ""}>
      <th scope="row">
        <input
          class="name"
          type="text"
          aria-label="Name of the run"
          key={name}
          defaultValue={name}
          maxLength={80}
          onChange={(event) => renameRun(id, event.currentTarget.value)}
        />
        <span class="keys">
          {models.map(({ preset }) => (
            <ModelKey key={preset} preset={preset} />
          ))}
        </span>
      </th>
      <td>{title.split(",")[0]}</td>
      <td class="number">{count(Math.max(...models.map((model) => model.step)))}</td>
      <td class="number">{best?.toFixed(3) ?? "–"}</td>
      <td class="number">{best === undefined ? "–" : bits(best).toFixed(2)}</td>
      <td class="actions">
        {present ? (
          <span class="muted">on stage</span>
        ) : (
          <>
            <button type="button" class="small" aria-pressed={compared.value.has(id)} onClick={() => void compareRun(summary)}>
              Compare<span class="hidden"> {name}</span>
            </button>
            <button type="button" class="small" disabled={training.value || busy.value} onClick={() => void openRun(id)}>
              Open<span class="hidden"> {name}</span>
            </button>
            <button type="button" class="small" onClick={() => void removeRun(id)}>
              Delete<span class="hidden"> {name}</span>
            </button>
          </>
        )}
      </td>
    </tr>
  );
}

// What the bench page shows: the choice of sections, progress, the report as tables and a chart, and its export.
import { useEffect, useRef, useState } from "preact/hooks";
import { HIDDEN_SIZES, SECTIONS, toMarkdown, type Report, type Section } from "../src/bench/report.ts";
import { describeSizes } from "../src/bench/training.ts";
import { Scroll } from "../src/lab/draw/scroll.tsx";
import { scriptUrl } from "../src/lab/trusted.ts";
import { readAddress } from "../src/lab/settings.ts";
import { LogPlot } from "../src/lab/draw/plot.tsx";
import { PRESET_NAMES } from "../src/models/presets.ts";
import "./bench.css";
import type { FromWorker, ToWorker } from "./worker.ts";
import workerUrl from "./worker.ts?worker&url";

const TITLES: Readonly<Record<Section, string>> = {
  kernels: "Kernels",
  training: "Training steps",
  deepbench: "DeepBench’s shapes (long)",
  sampling: "Writing text",
  scaling: "Scaling with T, H and B",
};
const STORED = "gatewise.";

/** What earlier runs tuned on this device; nothing where the browser forbids the page its storage. */
function savedTuning(): Record<string, string> {
  try {
    const names = Object.keys(localStorage).filter((name) => name.startsWith(STORED));
    return Object.fromEntries(names.map((name) => [name.slice(STORED.length), localStorage.getItem(name)!]));
  } catch {
    return {};
  }
}

function saveTuning(name: string, text: string): void {
  try {
    localStorage.setItem(STORED + name, text);
  } catch {
    // Forbidden or full: the next run tunes anew.
  }
}

const rounded = (value: number): string =>
  value >= 1000 ? Math.round(value).toLocaleString("en-US") : String(Number(value.toPrecision(3)));

export function Bench() {
  const [sections, setSections] = useState<ReadonlySet<Section>>(new Set(["kernels", "training", "sampling"]));
  const [most, setMost] = useState(512);
  const [rounds, setRounds] = useState(5);
  const [progress, setProgress] = useState<{ what: string; done: number }>();
  const [report, setReport] = useState<Report>();
  const [message, setMessage] = useState("");
  const worker = useRef<Worker>(undefined);
  const running = progress !== undefined;

  useEffect(() => () => worker.current?.terminate(), []);

  const post = (data: ToWorker): void => worker.current?.postMessage(data);
  const start = (): void => {
    worker.current?.terminate();
    const made = new Worker(scriptUrl(workerUrl), { type: "module" });
    worker.current = made;
    const end = (problem = ""): void => {
      setProgress(undefined);
      setMessage(problem);
    };
    made.addEventListener("message", ({ data }: MessageEvent<FromWorker>) => {
      if (data.type === "report") setReport(data.report);
      else if (data.type === "save") saveTuning(data.name, data.text);
      else if (data.type === "end") end(data.problem ?? "Done.");
      else setProgress((before) => ({ what: data.what, done: Number.isNaN(data.done) ? (before?.done ?? 0) : data.done }));
    });
    made.addEventListener("error", ({ message: problem }) => end(problem || "The worker did not start."));
    setReport(undefined);
    setMessage("");
    setProgress({ what: "opening the device", done: 0 });
    post({
      type: "run",
      engine: navigator.userAgent,
      device: readAddress(location.search).page.device,
      tuning: savedTuning(),
      options: { sections: SECTIONS.filter((name) => sections.has(name)), hidden: HIDDEN_SIZES.filter((H) => H <= most), rounds },
    });
  };
  const toggle = (name: Section): void => {
    const next = new Set(sections);
    if (!next.delete(name)) next.add(name);
    setSections(next);
  };
  const copy = async (text: string, what: string): Promise<void> => {
    await navigator.clipboard.writeText(text).then(
      () => setMessage(`${what} copied.`),
      () => setMessage("This browser did not allow copying."),
    );
  };

  return (
    <div class="bench">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          start();
        }}
      >
        <fieldset disabled={running}>
          <legend>What to measure</legend>
          <div class="row choices">
            {SECTIONS.map((name) => (
              <label key={name} class="check">
                <input type="checkbox" checked={sections.has(name)} onChange={() => toggle(name)} /> {TITLES[name]}
              </label>
            ))}
          </div>
        </fieldset>
        <div class="row">
          <div class="field">
            <label for="bench-hidden">Hidden sizes up to</label>
            <select
              id="bench-hidden"
              value={most}
              disabled={running}
              onChange={({ currentTarget }) => setMost(Number(currentTarget.value))}
            >
              {HIDDEN_SIZES.map((H) => (
                <option key={H} value={H}>
                  {H}
                </option>
              ))}
            </select>
          </div>
          <div class="field">
            <label for="bench-rounds">Rounds</label>
            <input
              id="bench-rounds"
              type="number"
              min={1}
              max={50}
              value={rounds}
              disabled={running}
              onChange={({ currentTarget }) => setRounds(Math.min(50, Math.max(1, Math.round(currentTarget.valueAsNumber || 5))))}
            />
          </div>
          <button type="submit" class="primary" disabled={running || sections.size === 0}>
            Measure
          </button>
          <button type="button" disabled={!running} onClick={() => post({ type: "stop" })}>
            Stop
          </button>
        </div>
      </form>
      <p role="status" aria-live="polite" class="status">
        {progress ? `Measuring: ${progress.what}` : message}
      </p>
      {progress && <progress aria-label="Share of all measurements that is done" max={1} value={progress.done} />}
      {report && (
        <>
          <div class="row">
            <button type="button" onClick={() => void copy(toMarkdown(report), "The report")}>
              Copy the report as Markdown
            </button>
            <button type="button" onClick={() => void copy(JSON.stringify(report, null, 2), "The report")}>
              Copy it as JSON
            </button>
          </div>
          <Results report={report} />
        </>
      )}
    </div>
  );
}

function Results({ report }: { report: Report }) {
  const { limits, kernels, training, deepbench, sampling, scaling, skipped } = report;
  return (
    <div id="report">
      <p>
        {report.adapter} · {report.date.slice(0, 10)} · Gatewise {report.gatewise} · {report.engine}
      </p>
      <Table
        caption="The adapter’s own limits"
        head={[
          "f32 multiply-add, GFLOP/s",
          "copy, GB/s",
          "dispatch, µs",
          "submit, µs",
          "submit + read-back, µs",
          "barrier of 64, ns",
        ]}
        rows={[
          [limits.gigaflops, limits.gigabytesPerSecond, limits.dispatch, limits.submit, limits.readBack, limits.barrier].map(
            (value) => (value === undefined ? "none" : rounded(value)),
          ),
        ]}
      />
      {kernels && (
        <Table
          caption="Kernels"
          head={["kernel", "sizes", "ms", "rate", "share of the limit", "variant"]}
          rows={kernels.map((k) => [
            k.kernel,
            k.sizes,
            rounded(k.milliseconds.median),
            `${rounded(k.rate)} ${k.unit}`,
            <Share value={k.share} />,
            k.variant,
          ])}
        />
      )}
      {training && training.length > 0 && <Growth report={report} />}
      {[training, deepbench].map(
        (results, i) =>
          results &&
          results.length > 0 && (
            <Table
              key={i}
              caption={i === 0 ? "Training steps" : "DeepBench’s shapes"}
              head={["model", "ms a step", "characters/s", "share of the limit", "dispatches", "submits", "MiB"]}
              rows={results.map((r) => [
                describeSizes(r),
                rounded(r.milliseconds.median),
                rounded(r.tokensPerSecond),
                <Share value={r.gigaflops / limits.gigaflops} />,
                String(r.dispatches),
                rounded(r.submits),
                (r.bytes / 2 ** 20).toFixed(1),
              ])}
            />
          ),
      )}
      {sampling && (
        <Table
          caption="Writing text, one character at a time"
          head={["model", "ms a character", "ms for a prefix of 64 again", "ratio"]}
          rows={sampling.map((s) => [
            `${s.preset} H=${s.H}`,
            rounded(s.character.median),
            rounded(s.prefix.median),
            (s.prefix.median / s.character.median).toFixed(1),
          ])}
        />
      )}
      {scaling && (
        <Table
          caption="How the time of an LSTM training step grows"
          head={["with", "at", "size: ms", "exponent"]}
          rows={scaling.map((s) => [
            s.axis,
            s.of,
            s.points.map(([n, ms]) => `${n}: ${rounded(ms)}`).join(" · "),
            s.exponent.toFixed(2),
          ])}
        />
      )}
      {skipped.length > 0 && (
        <>
          <h3>Left out</h3>
          <ul>
            {skipped.map(({ sizes, reason }) => (
              <li key={sizes}>
                {sizes}: {reason}
              </li>
            ))}
          </ul>
        </>
      )}
    </div>
  );
}

/** Characters a second against the hidden size, a line for each model. */
function Growth({ report: { training = [] } }: { report: Report }) {
  const hidden = [...new Set(training.map(({ H }) => H))];
  const lines = PRESET_NAMES.flatMap((preset) => {
    const y = hidden.map((H) => training.find((r) => r.preset === preset && r.H === H)?.tokensPerSecond);
    const known = y.filter((value) => value !== undefined);
    return known.length > 0 ? [{ label: preset, preset, y: known }] : [];
  });
  if (hidden.length < 2) return null;
  return (
    <figure>
      <LogPlot
        label="Characters a second in training against the hidden size; the table below has the numbers"
        x={hidden}
        lines={lines}
        xTitle="hidden units"
        yTitle="characters/s"
        least={1}
        doubling
      />
    </figure>
  );
}

function Share({ value }: { value: number }) {
  const text = `${(100 * value).toFixed(value < 0.1 ? 1 : 0)} %`;
  return (
    <span class="share">
      <meter min={0} max={1} value={Math.min(1, value)} aria-label={text} /> {text}
    </span>
  );
}

function Table({ caption, head, rows }: { caption: string; head: readonly string[]; rows: readonly (readonly unknown[])[] }) {
  return (
    <Scroll label={caption}>
      <table>
        <caption>{caption}</caption>
        <thead>
          <tr>
            {head.map((title) => (
              <th key={title} scope="col">
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((cells, row) => (
            <tr key={row}>
              {cells.map((cell, column) => (
                <td key={head[column]}>{cell as preact.ComponentChildren}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  );
}

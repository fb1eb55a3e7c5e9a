// The first screen: the curves of the prepared race, and what its best network writes, after as many steps as the visitor likes.
import { useEffect, useRef, useState } from "preact/hooks";
import { proxy } from "comlink";
import { DRAWN, makeLossChart, type LossChart } from "../draw/chart.ts";
import { bestEvaluation, curveOf, type Curve } from "../draw/curves.ts";
import { Legend } from "../draw/legend.tsx";
import { ModelKey } from "../draw/model-key.tsx";
import { bits, count } from "../format.ts";
import { titleOf } from "../kinds.ts";
import { PREPARED, preparedPresets } from "../prepared.ts";
import { answered, inspector } from "../views/inspector.ts";
import { useComputed } from "../views/use-computed.ts";
import type { Measured } from "../protocol.ts";
import { readBook, readLog } from "../prepared-files.ts";
import { percent, Phase } from "./samples.tsx";
import { trainTheSame } from "./store/begin.ts";
import { TrainedFor } from "../lessons/frame/parts.tsx";

const PRESETS = preparedPresets("race");
const { steps } = PREPARED.race;

/** The best is the one whose validation loss is least at last. */
const bestOf = (curves: readonly Curve[]): Curve =>
  curves.reduce((a, b) => (bestEvaluation(b.evaluations)! < bestEvaluation(a.evaluations)! ? b : a));

export function Race() {
  const [curves, setCurves] = useState<readonly Curve[]>();
  const [problem, setProblem] = useState(false);
  useEffect(() => {
    Promise.all(PRESETS.map(async (preset) => curveOf(titleOf(preset), preset, await readLog(preset)))).then(setCurves, () =>
      setProblem(true),
    );
  }, []);
  return (
    <section class="card race-card" aria-labelledby="race-title">
      <h2 id="race-title">Four generations of networks learned to write like Alice</h2>
      {problem && <p class="problem">The prepared race could not be loaded; reload the page.</p>}
      <div class="race-pair">
        <Curves curves={curves} />
        {curves ? <Writing best={bestOf(curves)} /> : <div class="writing" />}
      </div>
      <div class="row">
        <button type="button" class="primary" onClick={() => void trainTheSame(PREPARED.race.settings)}>
          Train the same from nothing
        </button>
        <a href="#look/gradient-flow">Look inside these four</a>
      </div>
    </section>
  );
}

function Curves({ curves }: { curves: readonly Curve[] | undefined }) {
  const container = useRef<HTMLDivElement>(null);
  const chart = useRef<LossChart | undefined>(undefined);
  const { value: guides } = useComputed(
    async () => inspector.baselines(await readBook(), PREPARED.race.settings.valFraction),
    [],
  );
  useEffect(() => {
    const made = (chart.current = makeLossChart(container.current!));
    return () => made.dispose();
  }, []);
  useEffect(() => {
    if (curves) chart.current!.update(curves, { unit: "bits", logarithmic: false, closeUp: false, guides });
  }, [curves, guides]);
  const said = (name: string, loss: number): string => `${name} ${bits(loss).toFixed(2)}`;
  const words = curves?.map(({ label, evaluations }) => said(label, bestEvaluation(evaluations)!)).join(", ");
  const counted =
    guides &&
    Object.entries(guides)
      .map(([name, loss]) => said(name, loss))
      .join(", ");
  return (
    <figure class="race-curves">
      <div
        class="chart"
        ref={container}
        role="img"
        aria-label={`How surprised each was by the next letter, at last, in bits: ${words}.${counted ? ` Counting letters gets: ${counted}.` : ""}`}
      />
      <Legend lines={PRESETS.map((preset) => ({ preset, label: titleOf(preset) }))}>{DRAWN}</Legend>
      <figcaption class="small muted">
        How surprised each is by the next letter: less is better. Prepared, {count(steps.at(-1)!)} steps each
      </figcaption>
    </figure>
  );
}

const LENGTH = 330;
/** Characters a second: as fast as one reads along. */
const PACE = 60;

function Writing({ best: { preset, label } }: { best: Curve }) {
  const [at, setAt] = useState(steps.length - 1);
  const [seed, setSeed] = useState(1);
  const wanted = `${steps[at]} ${seed}`;
  const [shown, setShown] = useState({ of: "", text: "" });
  const [measured, setMeasured] = useState<Measured & { readonly of: string }>();
  const [problem, setProblem] = useState<string>();
  useEffect(() => {
    let written = "";
    let gone = false;
    let frame = 0;
    const begun = performance.now();
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const draw = (): void => {
      const most = still ? LENGTH : ((performance.now() - begun) / 1000) * PACE;
      setShown({ of: wanted, text: written.slice(0, Math.ceil(most)) });
      if (Math.min(most, written.length) < LENGTH && !gone) frame = requestAnimationFrame(draw);
    };
    const onText = (text: string): void => {
      if (gone) return;
      if (written === "") {
        performance.mark("text shown");
        frame = requestAnimationFrame(draw);
      }
      written += text;
    };
    setProblem(undefined);
    const write = async (): Promise<void> => {
      await answered(inspector.write(preset, steps[at]!, { prompt: "Alice ", length: LENGTH, seed }, proxy(onText)));
      if (!gone) setMeasured({ ...(await answered(inspector.measure(written, await readBook()))), of: wanted });
    };
    write().catch((error) => setProblem((error as Error).message));
    return () => {
      gone = true;
      cancelAnimationFrame(frame);
    };
  }, [at, seed, preset]);
  const words = at === 0 ? "untrained" : `after ${count(steps[at]!)} steps`;
  return (
    <div class="writing">
      <h3>
        <ModelKey preset={preset} /> What the {label} writes, {words}
      </h3>
      <p class="text" data-step={steps[at]}>
        {problem ?? `Alice ${shown.of === wanted ? shown.text : ""}`}
      </p>
      <p class="small muted learned">
        {measured?.of === wanted && (
          <>
            It has learned: <Phase {...measured} /> {percent(measured.words)} of its longer words are the book’s
          </>
        )}
      </p>
      <div class="row">
        <TrainedFor steps={steps} at={at} onChange={setAt} />
        <button type="button" class="small" onClick={() => setSeed(seed + 1)}>
          Write something else
        </button>
      </div>
    </div>
  );
}

// What the models write, and how their samples are drawn.
import type { Measured } from "../protocol.ts";
import { download } from "./download.ts";
import { count } from "../format.ts";
import { titleOf } from "../kinds.ts";
import { ModelKey } from "../draw/model-key.tsx";
import { Scroll } from "../draw/scroll.tsx";
import * as plan from "./store/plan.ts";
import * as stage from "./store/stage.ts";

export const percent = (part: number): string => `${(100 * part).toFixed(0)} %`;

/** How far it has come, and by which measure. */
export const Phase = ({ learned, pairs, words }: Measured) => (
  <span
    class="phase"
    data-learned={learned}
    title={`${percent(words)} of its words of three letters and more are the book’s, and ${percent(pairs)} of its pairs of characters`}
  >
    {learned}
  </span>
);

export function Samples() {
  const { temperature, topK, prompt } = plan.sampling.value;
  const sampled = stage.lanes.value.some((lane) => lane.sample);
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
              stage.lanes.value
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
            onInput={(event) => stage.changeSampling({ temperature: Number(event.currentTarget.value) })}
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
            onInput={(event) => stage.changeSampling({ topK: Number(event.currentTarget.value) })}
          />
        </label>
        <label class="prompt">
          <span>Prompt</span>
          <input
            type="text"
            maxLength={200}
            value={prompt}
            placeholder="none: on a new line"
            onInput={(event) => stage.changeSampling({ prompt: event.currentTarget.value })}
          />
        </label>
      </div>
      <div class={`texts${stage.lanes.value.length > 1 ? " many" : ""}`}>
        {stage.lanes.value.length === 0 && (
          <p class="text empty">
            A few seconds into training the network writes here, at first gibberish, then letters, words, sentences.
          </p>
        )}
        {stage.lanes.value.map(({ preset, sample, stopped }) => (
          <article key={preset} aria-label={`${titleOf(preset)} writes`}>
            <h3>
              <ModelKey preset={preset} /> {titleOf(preset)}
              <span class="muted"> {stopped ? "stopped" : sample ? `at step ${count(sample.step)}` : ""}</span>
              {sample && <Phase {...sample.measured} />}
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

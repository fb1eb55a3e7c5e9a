// The Look inside tab: chooses a view, a model and a passage, and keeps what the views look at up to date.
import { signal } from "@preact/signals";
import { Component, type ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { Select } from "../draw/forms.tsx";
import { quoted } from "../draw/passage-text.tsx";
import { count } from "../format.ts";
import { addressOf, changePlace, place } from "../place.ts";
import { titleOf } from "../kinds.ts";
import { ModelKey } from "../draw/model-key.tsx";
import * as device from "./store/device.ts";
import { timeLayers } from "./store/begin.ts";
import * as looked from "./store/looked.ts";
import * as stage from "./store/stage.ts";
import { pending } from "../views/use-computed.ts";
import type { View } from "../views/view.ts";

/** One file a view, loaded when it is first shown; the order is the story's. */
const FILES = import.meta.glob<{ default: View }>(["../views/*.tsx", "!../views/{reading,clocks}.tsx"]);
const TITLES: Readonly<Record<string, string>> = {
  "next-character": "Next character",
  gates: "Gates over text",
  "gradient-flow": "Gradient flow",
  units: "A unit reads",
  memory: "Memory",
  "one-step": "One step",
  parallel: "Parallel in time",
  embeddings: "Embeddings",
  "break-it": "Break it",
};
const NAMES = Object.keys(TITLES).filter((name) => `../views/${name}.tsx` in FILES);

/** Sentences to try, in which something has to be kept: an open quotation or bracket, a line, a count, who is spoken of. */
const SENTENCES = [
  "'I know who you are,' said the Queen, 'and who he is.' Then she was quiet.",
  "The Cat (it was a very large one (with many teeth)) looked at Alice (and grinned).",
  "one two three one two three one two three one two three one two three",
  "The King and the Queen were there. She said that he was, and he said that she was.",
];

/** Milliseconds between two looks at a model that trains, at least. */
const REFRESH = 3000;

/** Names of views whose files did not come. */
const missing = signal<readonly string[]>([]);
const view = signal<{ readonly name: string; readonly view: View } | undefined>(undefined);

export function LookTab() {
  const asked = place.value.part;
  const name = NAMES.includes(asked) ? asked : NAMES[0]!;
  return (
    <div class="look">
      <nav aria-label="Views" class="views">
        {NAMES.map((id) => (
          <a key={id} href={addressOfView(id)} aria-current={id === name ? "page" : undefined}>
            {TITLES[id]}
          </a>
        ))}
      </nav>
      {stage.run.value === undefined && (
        <p class="small muted">
          What you see are prepared networks, trained before you came. <a href="#train">Train one of your own</a>, and look into
          it while it learns.
        </p>
      )}
      <ViewOf name={name} />
    </div>
  );
}

/** Another view of the same models and passage. */
function addressOfView(part: string): string {
  const { unit: _, at: _at, ...params } = place.value.params;
  return addressOf({ tab: "look", part, params });
}

/** One view alone, as a page of somebody else's shows it. */
export function Embedded({ name }: { name: string }) {
  if (!NAMES.includes(name))
    return (
      <p class="problem">
        There is no view called {name}: {NAMES.join(", ")}.
      </p>
    );
  return (
    <main class="look">
      <ViewOf name={name} pictureFirst />
    </main>
  );
}

interface Shown {
  readonly name: string;
  /** Whether what it is about stands below the picture, and not above. */
  readonly pictureFirst?: boolean;
}

function ViewOf({ name, pictureFirst = false }: Shown) {
  useEffect(() => {
    // A file that comes late must not take the place of a view that was chosen since.
    let gone = false;
    void FILES[`../views/${name}.tsx`]!().then(
      (module) => gone || (view.value = { name, view: module.default }),
      () => (missing.value = [...missing.value, name]),
    );
    return () => {
      gone = true;
    };
  }, [name]);
  const { subject, position, typed } = looked;
  useEffect(() => {
    looked.snapshots.value = [];
    void looked.refresh();
  }, [subject.value]);
  useEffect(() => void looked.findPassage(), [position.value, typed.value]);
  const moving = stage.training.value && looked.source.value === looked.OWN;
  useEffect(() => {
    if (!moving) return;
    let timer = 0;
    const lookAfter = (milliseconds: number): void => {
      timer = window.setTimeout(() => void lookAgain(), milliseconds);
    };
    const lookAgain = async (): Promise<void> => {
      const begun = performance.now();
      // What is still being computed is not asked for again.
      if (document.visibilityState === "visible" && pending.value === 0) await looked.refresh();
      // Large models take their time to be read: that may be a small part of all.
      if (timer > 0) lookAfter(Math.max(REFRESH, 10 * (performance.now() - begun)));
    };
    lookAfter(REFRESH);
    return () => {
      clearTimeout(timer);
      timer = 0;
    };
  }, [moving]);
  useEffect(() => {
    // A run that came to its end, or went a step on, is not what it was; a prepared one stays.
    if (looked.source.value === looked.OWN) void looked.refresh();
  }, [stage.phase.value]);
  return <Stage name={name} pictureFirst={pictureFirst} />;
}

function Stage({ name, pictureFirst }: Shown) {
  const shown = view.value;
  const snapshot = looked.snapshots.value[looked.chosen.value];
  if (shown?.name !== name && missing.value.includes(name))
    return (
      <p class="problem" role="alert">
        This view could not be loaded. Reload the page to try again.
      </p>
    );
  if (looked.problem.value !== undefined && !snapshot)
    return (
      <p class="problem" role="alert">
        {looked.problem.value}
      </p>
    );
  if (!shown || shown.name !== name || !(snapshot || shown.view.alone)) return <p class="muted">Looking…</p>;
  const { title, intro, equation, uses, showsAll, topLayer, Content } = shown.view;
  const numLayers = snapshot?.config.numLayers ?? 1;
  const about = (
    <div class="about">
      <p>{intro}</p>
      <div class="equation">{equation}</div>
    </div>
  );
  return (
    <section
      class="card view"
      aria-labelledby="view-title"
      data-view={name}
      data-step={snapshot?.step}
      aria-busy={pending.value > 0}
    >
      <h2 id="view-title">{title}</h2>
      {!pictureFirst && about}
      <div class="pickers">
        <SourcePicker />
        {!showsAll && <ModelPicker />}
        {uses !== "nothing" && <PassagePicker own={uses === "passage"} />}
      </div>
      {looked.leftOut.value.length > 0 && uses === "passage" && (
        <p class="small" role="status">
          This book has no {looked.leftOut.value.map(quoted).join(", ")}: left out of your passage.
        </p>
      )}
      {topLayer && numLayers > 1 && (
        <p class="small muted">
          These models have {numLayers} layers; what is shown is the top one, which the guess is made from.
        </p>
      )}
      {uses === "passage" && looked.passage.value === "" ? (
        <p class="muted">There is nothing to read yet.</p>
      ) : (
        <Guarded key={name}>
          <Content
            snapshots={looked.snapshots.value}
            chosen={looked.chosen.value}
            passage={looked.passage.value}
            book={looked.book.value}
            device={device.info.value}
            clock={timeLayers}
          />
        </Guarded>
      )}
      {pictureFirst && about}
    </section>
  );
}

/** Shows what went wrong in a view instead of the view; the page around it stays. */
class Guarded extends Component<{ children: ComponentChildren }, { problem?: string | undefined }> {
  /** With another model or passage it may be well again. */
  override componentWillReceiveProps(): void {
    this.setState({ problem: undefined });
  }
  override componentDidCatch(error: unknown): void {
    this.setState({ problem: error instanceof Error ? error.message : String(error) });
  }
  render() {
    const { problem } = this.state;
    if (problem === undefined) return this.props.children;
    return (
      <p class="problem" role="alert">
        This view failed: {problem}
      </p>
    );
  }
}

const SOURCES: Readonly<Record<looked.SourceName, string>> = {
  own: "your run",
  race: "prepared: four generations",
  scans: "prepared: four that are scans",
};

/** Whose models are looked into, and those of a prepared run after how many steps. */
function SourcePicker() {
  const { source, step, steps, choose } = looked;
  const { own: _, ...prepared } = SOURCES;
  const at = steps.value.findIndex((each) => each === step.value);
  const words = step.value === 0 ? "untrained" : `after ${count(step.value)} steps`;
  return (
    <div class="source">
      <label>
        <span>Models</span>
        <Select
          value={source.value}
          options={(stage.run.value ? SOURCES : prepared) as Readonly<Record<looked.SourceName, string>>}
          onChoose={choose}
        />
      </label>
      {source.value !== looked.OWN && (
        <label>
          <span>
            <b>{words}</b> on Alice
          </span>
          <input
            type="range"
            min="0"
            max={steps.value.length - 1}
            step="1"
            value={at}
            aria-label="Steps that they were trained"
            aria-valuetext={words}
            onInput={(event) => changePlace({ step: String(steps.value[Number(event.currentTarget.value)]) })}
          />
        </label>
      )}
    </div>
  );
}

function ModelPicker() {
  return (
    <fieldset class="segments">
      <legend class="hidden">Model</legend>
      {looked.snapshots.value.map(({ preset, step }, i) => (
        <label key={preset}>
          <input
            type="radio"
            name="look-model"
            checked={i === looked.chosen.value}
            onChange={() => changePlace({ model: preset })}
          />
          <span>
            <ModelKey preset={preset} /> {titleOf(preset)} <small>at step {step}</small>
          </span>
        </label>
      ))}
    </fieldset>
  );
}

function PassagePicker({ own }: { own: boolean }) {
  return (
    <div class="passage">
      <label>
        <span>Passage of the book</span>
        <input
          type="range"
          min="0"
          max="1"
          step="0.005"
          value={looked.position.value}
          onInput={(event) => changePlace({ passage: event.currentTarget.value, text: undefined })}
        />
      </label>
      {own && (
        <label>
          <span>or your own</span>
          <input
            type="text"
            maxLength={300}
            value={looked.typed.value}
            placeholder="type here"
            list="sentences"
            onInput={(event) => changePlace({ text: event.currentTarget.value || undefined })}
          />
          <datalist id="sentences">
            {SENTENCES.map((sentence) => (
              <option key={sentence} value={sentence} />
            ))}
          </datalist>
        </label>
      )}
    </div>
  );
}

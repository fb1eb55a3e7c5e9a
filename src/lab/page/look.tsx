// The Look inside tab: chooses a view, a model and a passage, and keeps what the views look at up to date.
import { batch, computed, signal } from "@preact/signals";
import { Component, type ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { quoted } from "../draw/passage-text.tsx";
import { place } from "./place.ts";
import type { ModelSnapshot } from "../protocol.ts";
import { titleOf } from "../kinds.ts";
import { ModelKey } from "../draw/model-key.tsx";
import * as device from "./store/device.ts";
import { status, worker } from "./store/link.ts";
import * as plan from "./store/plan.ts";
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

const PASSAGE_LENGTH = 160;
/** Characters that the views of a whole book are sure to get where it has as many, and those that they get at most. */
const [BOOK_LEAST, BOOK_LENGTH] = [3000, 12_000];
/** Milliseconds between two looks at a model that trains, at least. */
const REFRESH = 3000;

const snapshots = signal<readonly ModelSnapshot[]>([]);
/** The visitor's choice of a model; until there is one, the last of the evolution. */
const picked = signal<number | undefined>(undefined);
const chosen = computed(() => Math.min(picked.value ?? Infinity, snapshots.value.length - 1));
/** Where in the book the passage begins, as a part of it. */
const position = signal(0.02);
/** A passage of the visitor's own; the book's if empty. */
const typed = signal("");
const passage = signal("");
const book = signal("");
/** Characters of the visitor's own passage that the book lacks. */
const leftOut = signal<readonly string[]>([]);
/** Names of views whose files did not come. */
const missing = signal<readonly string[]>([]);
const view = signal<{ readonly name: string; readonly view: View } | undefined>(undefined);

let refreshing = false;
/** Whether it was asked for again meanwhile. */
let again = false;
async function refresh(): Promise<void> {
  const id = stage.run.value?.id;
  if (id === undefined) return;
  if (refreshing) {
    again = true;
    return;
  }
  refreshing = true;
  again = false;
  try {
    const taken: ModelSnapshot[] = [];
    for (let lane = 0; lane < stage.lanes.value.length; lane++) {
      const result = await worker.snapshot(lane);
      if (!result.ok) {
        status.value = result.message;
        return;
      }
      taken.push(result.snapshot);
    }
    if (stage.run.value?.id === id) await findPassage(taken);
  } finally {
    refreshing = false;
  }
  // The run has ended, say, or another one came: the models are not what they were.
  if (again || stage.run.value?.id !== id) await refresh();
}

/** Shows the passage that is asked for, and newer models with it: never one without the other. */
async function findPassage(taken?: readonly ModelSnapshot[]): Promise<void> {
  const snapshot = (taken ?? snapshots.value)[0];
  if (!snapshot) return;
  const known = new Set(snapshot.tokenizer.codePoints.map((point) => String.fromCodePoint(point)));
  const from = Math.floor(position.value * Math.max(0, (plan.text.value?.characters ?? 0) - 2 * PASSAGE_LENGTH));
  const longer = Math.min(from, Math.max(0, (plan.text.value?.characters ?? 0) - BOOK_LEAST));
  const clean = (words: string): string => [...words].filter((character) => known.has(character)).join("");
  const around = await worker.passage(longer, BOOK_LENGTH);
  const wanted = typed.value || atLineStart(await worker.passage(from, 2 * PASSAGE_LENGTH));
  batch(() => {
    if (taken) snapshots.value = taken;
    book.value = clean(around);
    passage.value = clean(wanted);
    leftOut.value = typed.value ? [...new Set(wanted)].filter((character) => !known.has(character)) : [];
  });
}

/** A passage that begins with a line, where one begins soon. */
function atLineStart(around: string): string {
  const start = around.slice(0, PASSAGE_LENGTH).indexOf("\n") + 1;
  return around.slice(start).trimStart().slice(0, PASSAGE_LENGTH);
}

export function LookTab() {
  const name = NAMES.includes(place.value.view) ? place.value.view : NAMES[0];
  const present = stage.run.value?.id;
  useEffect(() => {
    if (!name) return;
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
  useEffect(() => {
    snapshots.value = [];
    void refresh();
  }, [present]);
  const moving = stage.training.value;
  useEffect(() => {
    void refresh();
    if (!moving) return;
    let timer = 0;
    const lookAfter = (milliseconds: number): void => {
      timer = window.setTimeout(() => void lookAgain(), milliseconds);
    };
    const lookAgain = async (): Promise<void> => {
      const begun = performance.now();
      // What is still being computed is not asked for again.
      if (document.visibilityState === "visible" && pending.value === 0) await refresh();
      // Large models take their time to be read: that may be a small part of all.
      if (timer > 0) lookAfter(Math.max(REFRESH, 10 * (performance.now() - begun)));
    };
    lookAfter(REFRESH);
    return () => {
      clearTimeout(timer);
      timer = 0;
    };
  }, [moving, stage.phase.value]);

  return (
    <div class="look">
      <nav aria-label="Views" class="views">
        {NAMES.map((id) => (
          <a key={id} href={`#look/${id}`} aria-current={id === name ? "page" : undefined}>
            {TITLES[id]}
          </a>
        ))}
      </nav>
      {stage.run.value === undefined && !(view.value?.name === name && view.value?.view.alone) ? (
        <NoModel />
      ) : (
        <Stage name={name} />
      )}
    </div>
  );
}

function NoModel() {
  return (
    <section class="card prose">
      <h2>No model yet</h2>
      <p>
        The views look into a network of yours, live, while it learns. <a href="#train">Train one</a>, or race several to compare
        them; a minute is enough to see something.
      </p>
    </section>
  );
}

function Stage({ name }: { name: string | undefined }) {
  const shown = view.value;
  const snapshot = snapshots.value[chosen.value];
  if (name && shown?.name !== name && missing.value.includes(name))
    return (
      <p class="problem" role="alert">
        This view could not be loaded. Reload the page to try again.
      </p>
    );
  if (!shown || shown.name !== name || !(snapshot || shown.view.alone)) return <p class="muted">Looking…</p>;
  const { title, intro, equation, uses, showsAll, topLayer, Content } = shown.view;
  const numLayers = snapshot?.config.numLayers ?? 1;
  return (
    <section
      class="card view"
      aria-labelledby="view-title"
      data-view={name}
      data-step={snapshot?.step}
      aria-busy={pending.value > 0}
    >
      <h2 id="view-title">{title}</h2>
      <div class="about">
        <p>{intro}</p>
        <div class="equation">{equation}</div>
      </div>
      <div class="pickers">
        {!showsAll && <ModelPicker />}
        {uses !== "nothing" && <PassagePicker own={uses === "passage"} />}
      </div>
      {leftOut.value.length > 0 && uses === "passage" && (
        <p class="small" role="status">
          This book has no {leftOut.value.map(quoted).join(", ")}: left out of your passage.
        </p>
      )}
      {topLayer && numLayers > 1 && (
        <p class="small muted">
          These models have {numLayers} layers; what is shown is the top one, which the guess is made from.
        </p>
      )}
      {uses === "passage" && passage.value === "" ? (
        <p class="muted">There is nothing to read yet.</p>
      ) : (
        <Guarded key={name}>
          <Content
            snapshots={snapshots.value}
            chosen={chosen.value}
            passage={passage.value}
            book={book.value}
            device={device.info.value}
            clock={worker.timeLayers}
          />
        </Guarded>
      )}
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

function ModelPicker() {
  return (
    <fieldset class="segments">
      <legend class="hidden">Model</legend>
      {snapshots.value.map(({ preset, step }, i) => (
        <label key={preset}>
          <input type="radio" name="look-model" checked={i === chosen.value} onChange={() => (picked.value = i)} />
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
          value={position.value}
          onInput={(event) => {
            position.value = Number(event.currentTarget.value);
            typed.value = "";
            void findPassage();
          }}
        />
      </label>
      {own && (
        <label>
          <span>or your own</span>
          <input
            type="text"
            maxLength={300}
            value={typed.value}
            placeholder="type here"
            onInput={(event) => {
              typed.value = event.currentTarget.value;
              void findPassage();
            }}
          />
        </label>
      )}
    </div>
  );
}

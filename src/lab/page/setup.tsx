// The set-up of a run: which text, which model, which sizes, and what that will cost.
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { BOOKS } from "../../data/books.ts";
import { CELL_NUMBERS, MEMORY_OPTIONS } from "../../models/cells.ts";
import { Check, FileButton, Select } from "../draw/forms.tsx";
import { bytes, count, duration, visible } from "../format.ts";
import { PRESET_NAMES, type PresetName } from "../../models/presets.ts";
import { CHOICES, noteOf, presetsOf, RACE, titleOf } from "../kinds.ts";
import { ModelKey, RaceKey } from "../draw/model-key.tsx";
import {
  commandLine,
  configFile,
  fits,
  isSized,
  NUMBERS,
  rangeOf,
  withPreset,
  WORDS,
  type NumberName,
  type Settings,
  type WordName,
} from "../settings.ts";
import * as device from "./store/device.ts";
import { begin } from "./store/begin.ts";
import { status } from "./store/link.ts";
import * as plan from "./store/plan.ts";
import * as stage from "./store/stage.ts";
import { MOST_BYTES } from "../protocol.ts";

/** The fields in rows of two; the words come in between. */
const BEFORE: readonly NumberName[] = [
  "hiddenSize",
  "embeddingSize",
  "numLayers",
  "dropout",
  ...CELL_NUMBERS.map(({ name }) => name),
  ...MEMORY_OPTIONS.map(({ name }) => name),
  "batchSize",
  "seqLen",
  "totalSteps",
  "seed",
];
const AFTER: readonly NumberName[] = ["learningRate", "warmupSteps", "clip", "weightDecay", "valFraction", "evalInterval"];

/** What is typed and not valid, by field. */
const problems = signal<Partial<Record<NumberName, string>>>({});

export function Setup() {
  const locked = !stage.editable.value;
  return (
    <form class="setup" onSubmit={(event) => event.preventDefault()} aria-label="Set-up">
      <BookField locked={!stage.textWanted.value} />
      <ModelField locked={locked} />
      <details class="sizes">
        <summary>Sizes and optimizer</summary>
        <fieldset disabled={locked}>
          <legend class="hidden">Sizes and optimizer</legend>
          <NumberFields names={BEFORE} />
          <WordFields />
          <NumberFields names={isSized(plan.settings.value) ? ["vocabSize", ...AFTER] : AFTER} />
          <Beyond />
        </fieldset>
      </details>
      <EstimateLine />
      <ShareLine />
    </form>
  );
}

async function readFile(file: File): Promise<void> {
  try {
    if (file.name.endsWith(".safetensors")) return await stage.openCheckpoint(file);
    if (file.size > MOST_BYTES)
      throw new Error(`${file.name} has ${bytes(file.size)}; the lab takes texts up to ${bytes(MOST_BYTES)}`);
    await stage.chooseText({ bytes: new Uint8Array(await file.arrayBuffer()), name: file.name });
  } catch (error) {
    // A folder, say, or a file that was deleted since.
    plan.textProblem.value = error instanceof Error ? error.message : String(error);
  }
}

const pasting = signal(false);

function BookField({ locked }: { locked: boolean }) {
  useEffect(() => {
    // Anywhere on the page will do to drop a book; where it is trained is where it leads to.
    const over = (event: DragEvent): void => {
      if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
    };
    const drop = (event: DragEvent): void => {
      const file = event.dataTransfer?.files[0];
      if (!file) return;
      event.preventDefault();
      location.hash = "train";
      void begin().then(() => {
        if (stage.textWanted.value) return readFile(file);
        status.value = stage.run.value ? "Reset the run before you choose another book." : "One moment; then drop it again.";
      });
    };
    addEventListener("dragover", over);
    addEventListener("drop", drop);
    return () => {
      removeEventListener("dragover", over);
      removeEventListener("drop", drop);
    };
  }, []);
  const titles = BOOKS.map(({ name, title, author }) => [name, author ? `${title} · ${author}` : title]);
  const own = plan.settings.value.data === "own" ? [["own", plan.text.value?.title ?? "Your text"]] : [];
  const books: Readonly<Record<string, string>> = Object.fromEntries([...own, ...titles]);
  return (
    <fieldset disabled={locked} class="book">
      <legend>Book</legend>
      <label class="hidden" for="book">
        Book
      </label>
      <Select
        id="book"
        value={plan.settings.value.data}
        options={books}
        onChoose={(book) => book !== "own" && void stage.chooseText({ book })}
      />
      <div class="row small">
        <FileButton label="Open a .txt" onFile={(file) => void readFile(file)} />
        <button type="button" aria-expanded={pasting.value} onClick={() => (pasting.value = !pasting.value)}>
          Paste a text
        </button>
        <span class="muted wide-only">or drop one</span>
      </div>
      {pasting.value && <PasteField />}
      {plan.textProblem.value && <p class="problem">{plan.textProblem.value}</p>}
      <TextFacts />
    </fieldset>
  );
}

function PasteField() {
  let area: HTMLTextAreaElement | null = null;
  return (
    <div class="paste">
      <label for="paste">Your text</label>
      <textarea id="paste" rows={5} ref={(element) => void (area = element)} />
      <button
        type="button"
        onClick={async () => {
          const pasted = area?.value ?? "";
          await stage.chooseText({ bytes: new TextEncoder().encode(pasted), name: "pasted text.txt" });
          // What was refused stays, to be made longer.
          pasting.value = plan.textProblem.value !== undefined;
        }}
      >
        Use this text
      </button>
    </div>
  );
}

function TextFacts() {
  const info = plan.text.value;
  if (!info) return <p class="facts">Loading the book…</p>;
  return (
    <>
      <p class="facts">
        {count(info.characters)} characters · {info.vocabulary.length} different · {info.encoding}
        {info.stripped > 0 && ` · Project Gutenberg’s header and footer left out`}
      </p>
      <details class="opening" open={info.data === "own"}>
        <summary>Its characters and beginning</summary>
        <p class="vocabulary">{info.vocabulary.map(visible).join(" ")}</p>
        <blockquote>{info.opening}</blockquote>
      </details>
    </>
  );
}

function ModelField({ locked }: { locked: boolean }) {
  const chosen = plan.settings.value;
  const family = device.info.value?.family ?? "cpu";
  return (
    <fieldset disabled={locked} class="models">
      <legend>Model</legend>
      {CHOICES.map((preset) => (
        <label key={preset} class="model">
          <input
            type="radio"
            name="preset"
            value={preset}
            checked={chosen.preset === preset}
            onChange={() => plan.change(withPreset(chosen, preset, family))}
          />
          {preset === RACE ? <RaceKey presets={presetsOf({ ...chosen, preset })} /> : <ModelKey preset={preset} />}
          <span>
            <b>{titleOf(preset)}</b>
            <small>{noteOf(preset)}</small>
          </span>
        </label>
      ))}
      {chosen.preset === RACE && <Racers racing={presetsOf(chosen)} />}
    </fieldset>
  );
}

/** Who races: one at least. */
function Racers({ racing }: { racing: readonly PresetName[] }) {
  const change = (preset: PresetName, on: boolean): void =>
    plan.change({ presets: PRESET_NAMES.filter((name) => (name === preset ? on : racing.includes(name))).join() });
  return (
    <fieldset class="racers">
      <legend class="hidden">In the race</legend>
      {PRESET_NAMES.map((preset) => (
        <Check
          key={preset}
          checked={racing.includes(preset)}
          disabled={racing.length === 1 && racing.includes(preset)}
          onChoose={(on) => change(preset, on)}
        >
          <ModelKey preset={preset} /> {titleOf(preset)}
        </Check>
      ))}
    </fieldset>
  );
}

function NumberFields({ names }: { names: readonly NumberName[] }) {
  return (
    <div class="fields">
      {names.map((name) => (
        <NumberField key={name} name={name} />
      ))}
    </div>
  );
}

function NumberField({ name }: { name: NumberName }) {
  const field = NUMBERS[name];
  const problem = problems.value[name];
  const id = `field-${field.flag}`;
  const take = (typed: string): void => {
    const value = Number(typed);
    const valid = typed.trim() !== "" && fits(name, value);
    problems.value = { ...problems.value, [name]: valid ? undefined : rangeOf(field) };
    if (valid) plan.change({ [name]: value });
  };
  return (
    <div class="field">
      <label for={id}>{field.label}</label>
      <input
        id={id}
        type="text"
        inputMode={field.integer ? "numeric" : "decimal"}
        autocomplete="off"
        value={String(plan.settings.value[name])}
        title={`${field.help}; ${rangeOf(field)}`}
        aria-invalid={problem !== undefined}
        aria-describedby={problem ? `${id}-problem` : undefined}
        onInput={(event) => take(event.currentTarget.value)}
        onBlur={(event) => {
          // What is not valid does not stay: the field shows what would be used.
          event.currentTarget.value = String(plan.settings.value[name]);
          problems.value = { ...problems.value, [name]: undefined };
        }}
      />
      {problem && (
        <small class="problem" id={`${id}-problem`}>
          {problem}
        </small>
      )}
    </div>
  );
}

function WordFields() {
  return (
    <div class="fields">
      {(Object.keys(WORDS) as WordName[]).map((name) => {
        const { flag, label, words } = WORDS[name];
        return (
          <div class="field" key={name}>
            <label for={`field-${flag}`}>{label}</label>
            <Select<string>
              id={`field-${flag}`}
              value={plan.settings.value[name]}
              options={words}
              onChoose={(word) => plan.change({ [name]: word } as Partial<Settings>)}
            />
          </div>
        );
      })}
    </div>
  );
}

/** What a checkpoint brought that has no field. */
function Beyond() {
  const flags = stage.run.value?.flags ?? [];
  if (flags.length === 0) return null;
  return (
    <p class="small">
      Beside these, from the checkpoint:{" "}
      {flags.map((flag) => (
        <code key={flag}>{flag} </code>
      ))}
    </p>
  );
}

/** Operations and dispatches a second, by what is known of adapters of a kind, until the first steps were timed here. */
const SPEEDS = { gpu: [4e11, 40_000], software: [2.2e9, 9000], wasm: [2e10, 1e5], cpu: [2.2e8, 1e6] } as const;

function EstimateLine() {
  const known = plan.estimate.value;
  if (typeof known === "string") return <p class="estimate problem">{known}</p>;
  if (!known || !device.info.value) return <p class="estimate">Estimating…</p>;
  const [flops, dispatches] = SPEEDS[device.info.value.family];
  const timed = plan.pace.value?.settings === plan.settings.value ? plan.pace.value.seconds : undefined;
  const seconds = timed === undefined ? known.flop / flops + known.dispatches / dispatches : timed * known.passes;
  return (
    <p class="estimate">
      {count(known.parameters)} parameters, about {bytes(known.bytes)} of memory,{" "}
      {timed === undefined ? "roughly" : "by the first steps"} {duration(seconds)} for {count(plan.settings.value.totalSteps)}{" "}
      steps here.
    </p>
  );
}

async function copy(what: string, words: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(words);
    status.value = `${what} copied.`;
  } catch {
    status.value = `This browser did not allow copying. ${what}: ${words}`;
  }
}

function ShareLine() {
  const ofRun = (write: typeof commandLine): string =>
    write(plan.settings.value, plan.text.value?.name ?? "text.txt", stage.run.value?.flags);
  return (
    <div class="row small">
      <button type="button" onClick={() => void copy("Command", ofRun(commandLine))} title="The same run in a terminal">
        Copy as command
      </button>
      <button
        type="button"
        onClick={() => void copy("Configuration", ofRun(configFile))}
        title="The same run’s options, for --config FILE"
      >
        Copy as config
      </button>
      <button
        type="button"
        onClick={() => {
          plan.change({});
          void copy("Link", location.href);
        }}
        title="This page with these settings"
      >
        Copy link
      </button>
      {stage.run.value === undefined && (
        <FileButton label="Open a checkpoint" accept=".safetensors" onFile={(file) => void stage.openCheckpoint(file)} />
      )}
    </div>
  );
}

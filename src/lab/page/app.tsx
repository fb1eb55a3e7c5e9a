// The shell: what the lab is, its tabs, what it runs on, and what just happened.
import type { ComponentChildren, ComponentType } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { PRESET_NAMES } from "../../models/presets.ts";
import { CheckTab } from "./check.tsx";
import { inWords } from "../format.ts";
import { LookTab } from "./look.tsx";
import { LessonsTab } from "./lessons.tsx";
import * as device from "./store/device.ts";
import { status } from "./store/link.ts";
import * as stage from "./store/stage.ts";
import { tabShown, type TabId } from "../place.ts";
import { TrainTab } from "./train.tsx";

/** The bench page, where there is one. */
const BENCH = Object.values(import.meta.glob<{ mountBench(element: HTMLElement): unknown }>("../../../bench/page.ts"))[0];

interface Tab {
  readonly id: TabId;
  readonly title: string;
  readonly content: ComponentType;
  /** Whether it stays as it is, and goes on, while another one is shown. */
  readonly stays?: boolean;
}
const TABS: readonly Tab[] = [
  { id: "lessons", title: "Lessons", content: LessonsTab },
  { id: "train", title: "Train", content: TrainTab, stays: true },
  { id: "look", title: "Look inside", content: LookTab },
  { id: "check", title: "Check", content: CheckTab },
  ...(BENCH ? [{ id: "bench" as const, title: "Bench", content: BenchTab, stays: true }] : []),
];

function BenchTab() {
  const element = useRef<HTMLDivElement>(null);
  useEffect(() => {
    BENCH!().then(
      ({ mountBench }) => mountBench(element.current!),
      () => (status.value = "The bench could not be loaded; reload the page."),
    );
  }, []);
  return (
    <section class="prose">
      <h2>How fast is this device?</h2>
      <p>
        Times every kernel, whole training steps and sampling, and sets them beside what this device can do at the most: its
        multiply-adds, its memory, its dispatches. A run that trains meanwhile would share the device; pause it first.
      </p>
      <div ref={element} />
    </section>
  );
}

export function App() {
  const tab = TABS.find(({ id }) => id === tabShown.value)?.id ?? "lessons";
  // A book can be dropped on any tab: Train is there from the start.
  const seen = useRef(new Set<TabId>(["train"]));
  seen.current.add(tab);
  return (
    <>
      <header class="top">
        <div class="title">
          <h1>Gatewise lab</h1>
          <p>
            Watch {inWords(PRESET_NAMES.length)} generations of recurrent networks learn a book, on your own{" "}
            {["wasm", "cpu"].includes(device.info.value?.family ?? "") ? "processor" : "GPU"}.
          </p>
        </div>
        <p class="device" title="What the lab computes on">
          <span class={`dot ${device.info.value ? device.info.value.family : "none"}`} aria-hidden="true" />
          {device.info.value?.description ?? (device.asked.value ? "Looking for a GPU…" : "The device is opened when you train")}
        </p>
      </header>
      <nav aria-label="Sections">
        <Tabs tab={tab} />
      </nav>
      {tab !== "lessons" && tab !== "look" && <NoGpu />}
      <p class="status" role="status" aria-live="polite" data-phase={stage.phase.value}>
        {status.value}
      </p>
      <Lost />
      <main>
        {TABS.map(({ id, content: Content, stays }) => (
          <div role="tabpanel" id={`panel-${id}`} aria-labelledby={`tab-${id}`} key={id} hidden={id !== tab} tabIndex={-1}>
            {(id === tab || (stays && seen.current.has(id))) && <Content />}
          </div>
        ))}
      </main>
      <footer class="bottom">
        <p>
          Everything runs in this page; no text, model or number leaves it. Checkpoints open in the <code>gatewise</code> command
          line and in PyTorch.
        </p>
      </footer>
    </>
  );
}

function Tabs({ tab }: { tab: TabId }) {
  const go = (id: TabId): void => {
    location.hash = id;
    document.getElementById(`tab-${id}`)?.focus();
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    const at = TABS.findIndex(({ id }) => id === tab);
    const last = TABS.length - 1;
    const moves: Readonly<Record<string, number>> = { ArrowRight: at + 1, ArrowLeft: at + last, Home: 0, End: last };
    const to = moves[event.key];
    if (to === undefined) return;
    event.preventDefault();
    go(TABS[to % TABS.length]!.id);
  };
  return (
    <div role="tablist" aria-label="Sections" class="tabs" onKeyDown={onKeyDown}>
      {TABS.map(({ id, title }) => (
        <button
          key={id}
          type="button"
          role="tab"
          id={`tab-${id}`}
          aria-selected={id === tab}
          aria-controls={`panel-${id}`}
          tabIndex={id === tab ? 0 : -1}
          onClick={() => go(id)}
        >
          {title}
        </button>
      ))}
    </div>
  );
}

export function Notice({ children, label }: { children: ComponentChildren; label: string }) {
  return (
    <section class="notice" aria-label={label}>
      {children}
    </section>
  );
}

/** Browsers by what their own identification says, each with what to do there. */
const BROWSERS: readonly (readonly [RegExp, string, string])[] = [
  [
    /Firefox\/(\d+)/,
    "Firefox",
    "WebGPU comes with Firefox 141 on Windows and 145 on macOS; elsewhere set dom.webgpu.enabled in about:config, or use Chrome.",
  ],
  [
    /Edg\/(\d+)/,
    "Edge",
    "WebGPU comes with Edge 113. Switch on “Use graphics acceleration when available” in Settings, System, and update the graphics driver.",
  ],
  [
    /(?:Headless)?Chrome\/(\d+)/,
    "Chrome",
    "WebGPU comes with Chrome 113. Switch on “Use graphics acceleration when available” in Settings, System, and update the graphics driver; on Linux also chrome://flags/#enable-unsafe-webgpu.",
  ],
  [/Version\/(\d+).*Safari/, "Safari", "WebGPU comes with Safari 26; before that, switch it on in Settings, Feature Flags."],
];

export function browserAdvice(agent: string): { name: string; advice: string } {
  for (const [pattern, name, advice] of BROWSERS) {
    const match = pattern.exec(agent);
    if (match) return { name: `${name} ${match[1]}`, advice };
  }
  return { name: "This browser", advice: "Use a recent Chrome, Edge, Safari or Firefox." };
}

function NoGpu() {
  if (device.noGpu.value === undefined) return null;
  const { name, advice } = browserAdvice(navigator.userAgent);
  return (
    <Notice label="No GPU">
      <p>
        <strong>{name} gives this page no GPU.</strong>{" "}
        {isSecureContext
          ? advice
          : `Its address, ${location.origin}, is not a secure one: browsers offer WebGPU only to pages that come over https or from localhost.`}{" "}
        Until then the lab computes {device.info.value?.family === "wasm" ? "by WebAssembly" : "a small network, slowly,"} on the
        processor, by the same mathematics.
      </p>
      {isSecureContext && "gpu" in navigator && <p class="small muted">What came when it was asked: {device.noGpu.value}.</p>}
      <button type="button" disabled={stage.run.value !== undefined} onClick={() => void device.open("webgpu")}>
        {device.noGpu.value.startsWith("the only adapter") ? "Use WebGPU nevertheless" : "Look for a GPU again"}
      </button>
    </Notice>
  );
}

function Lost() {
  useEffect(() => {
    if (stage.phase.value === "lost") document.getElementById("use-cpu")?.focus();
  }, [stage.phase.value]);
  if (stage.phase.value !== "lost") return null;
  return (
    <Notice label="Device lost">
      <p>
        <strong>The graphics device was lost and did not come back.</strong>{" "}
        {stage.run.value && "Your run is kept up to its last snapshot. "}
        The lab can go on on the CPU, or on the GPU once its driver has recovered.
      </p>
      <div class="row">
        <button type="button" id="use-cpu" class="primary" onClick={() => void device.recover("wasm")}>
          Go on on the CPU
        </button>
        <button type="button" onClick={() => void device.recover("webgpu")}>
          Try the GPU again
        </button>
      </div>
    </Notice>
  );
}

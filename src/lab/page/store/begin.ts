// How training begins on the page, what it hears of its worker, and how it is left.
import { batch, effect } from "@preact/signals";
import type { LabEvent } from "../../protocol.ts";
import { defaultsFor, readAddress, SAMPLING, type Settings } from "../../settings.ts";
import type { ViewProps } from "../../views/view.ts";
import { askLasting, lasting } from "./lasting.ts";
import * as device from "./device.ts";
import { tabShown, type TabId } from "../../place.ts";
import { command, start, status, worker } from "./link.ts";
import * as plan from "./plan.ts";
import * as stage from "./stage.ts";
import * as table from "./table.ts";

/** Tabs that do without the training worker and a device, as long as there is no run of the visitor's own. */
const WITHOUT: readonly TabId[] = ["lessons", "look"];

/** Begins when something can be trained, or if a run was left. */
export async function beginWhenNeeded(): Promise<void> {
  effect(() => {
    if (!WITHOUT.includes(tabShown.value)) void begin();
  });
  if (await table.onStage()) void begin();
}

let begun: Promise<void> | undefined;
/** Starts the worker and opens the device, the text and, if the page was left in the middle of one, the run: once. */
export const begin = (): Promise<void> => (begun ??= open());

async function open(): Promise<void> {
  start((event) => batch(() => hear(event)));
  const asked = readAddress(location.search);
  const stored = table.load();
  void askLasting();
  plan.page.value = asked.page;
  await device.open(asked.page.device ?? "auto");
  plan.settings.value = { ...defaultsFor(device.info.value?.family ?? "cpu", asked.settings.preset), ...asked.settings };
  plan.sampling.value = { ...SAMPLING, ...asked.sampling };
  if (asked.ignored.length > 0)
    status.value = `Not understood in the address, and left at its default: ${listed(asked.ignored)}.`;
  table.runs.value = (await stored) ?? [];
  await command(async () => {
    const id = await table.onStage();
    const last = table.runs.value.find((summary) => summary.id === id);
    const same = last && Object.entries(asked.settings).every(([name, value]) => last.settings[name as keyof Settings] === value);
    if (last && same && device.info.value && (await stage.restore(last.id, asked.sampling))) return;
    const { data } = plan.settings.value;
    if (data === "own") status.value = "This address is of a text of somebody’s own, which it does not hold: open or paste it.";
    await plan.loadText({ book: data === "own" ? "alice" : data }, asked.settings.valFraction === undefined);
  });
}

/** Goes to where a run is trained, and trains one of such settings in place of what is there. */
export async function trainTheSame(settings: Settings): Promise<void> {
  location.hash = "train";
  await begin();
  if (stage.run.value) await stage.reset();
  await plan.chooseText({ book: settings.data });
  plan.change(settings);
  await stage.train();
}

/** Times a chain and a scan of T steps on the device, in this order. */
export const timeLayers: ViewProps["clock"] = async (T) => {
  await begin();
  return worker.timeLayers(T);
};

/** Few of many names. */
const listed = (names: readonly string[], most = 6): string =>
  names.slice(0, most).join(", ") + (names.length > most ? ` and ${names.length - most} more` : "");

function hear(event: LabEvent): void {
  switch (event.event) {
    case "phase": {
      const before = stage.phase.value;
      stage.phase.value = event.phase;
      if (event.message) status.value = event.message;
      // What came back says so itself.
      else if (!event.quiet && before !== event.phase && before !== "recovering") stage.announcePhase();
      break;
    }
    case "points":
    case "evaluations":
      if (status.value.startsWith("Compiling")) stage.announcePhase();
      stage.replaceRows(event.lane, event.event, event.from, event.values);
      break;
    case "rate":
      stage.changeLane(event.lane, { charactersPerSecond: event.charactersPerSecond, stepsPerSecond: event.stepsPerSecond });
      break;
    case "sample":
      stage.changeLane(event.lane, { sample: event });
      break;
    case "lane-stopped":
      stage.changeLane(event.lane, { stopped: event.message });
      status.value = `${stage.curves[event.lane]!.label} stopped: ${event.message}`;
      break;
    case "saved":
      stage.savedAt.value = event.step;
      savingTakes = event.milliseconds;
      stage.unsaved.value = undefined;
      if (event.again) lasting.value = "window";
      stage.summarise();
      break;
    case "unsaved":
      stage.unsaved.value = event.message;
      break;
    case "device":
      device.info.value = event.device;
      if (stage.run.value) stage.run.value = { ...stage.run.value, device: event.device.description };
      status.value = event.message;
      break;
    case "notice":
      status.value = event.message;
      break;
    case "compiling":
      // Whoever pressed Train waits for it; that a lost device is back is to be read first.
      if (stage.training.value && !status.value.startsWith("The graphics device"))
        status.value = `Compiling kernels for this device: ${event.done} of ${event.of}.`;
      break;
    case "tuning":
      if (event.over) {
        // Without a run there is nothing more to say.
        status.value = "";
        stage.announcePhase();
      } else status.value = `Finding out, once, how this device computes fastest: choice ${event.done + 1} of ${event.of}.`;
      break;
    case "check-begins":
      device.checkResults.value = [];
      break;
    case "check":
      device.checkResults.value = [...device.checkResults.value, event.result];
  }
}

/** Milliseconds that news stands: then how things are does again. */
const NEWS = 60_000;
let newsTimer = 0;
status.subscribe(() => {
  clearTimeout(newsTimer);
  newsTimer = window.setTimeout(stage.announcePhase, NEWS);
});

// News belongs to the tab that it came on.
addEventListener("hashchange", ({ oldURL, newURL }) => {
  const tabOf = (url: string): string | undefined => new URL(url).hash.split(/[/?]/)[0];
  if (tabOf(oldURL) !== tabOf(newURL)) stage.announcePhase();
});

/** Milliseconds that a page which is left holds still, at the most, until its run is kept. */
const HOLD = 400;
/** What the last save took. */
let savingTakes = 0;
/** When the run was asked to be kept because the page is left; undefined once it is. */
let leftAt: number | undefined;

/** Has the worker keep the run as it stands, if it trains. */
function keepNow(): void {
  if (!stage.training.value || leftAt !== undefined) return;
  const asked = (leftAt = performance.now());
  void worker.save().finally(() => {
    if (leftAt === asked) leftAt = undefined;
  });
}

// Here the browser may still ask whether to leave: where steps would be lost, it does.
addEventListener("beforeunload", (event) => {
  keepNow();
  const { savedAt, unsaved, training, stepsDone } = stage;
  const lost = stepsDone() > (savedAt.value ?? 0) && (unsaved.value !== undefined || (training.value && savingTakes > HOLD));
  if (lost) event.preventDefault();
});

// A worker ends with its page, in the middle of a write too, and nothing but time tells a page that holds still how far
// its worker is: Atomics.wait is not for pages, and messages come only when this has returned.
addEventListener("pagehide", () => {
  keepNow();
  const until = (leftAt ?? -Infinity) + HOLD;
  while (performance.now() < until);
});

// A page that is hidden may be ended without another word, on a phone; one that is come back to may find the table changed.
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "hidden") keepNow();
  else {
    void worker.checkKept();
    void table.load().then((stored) => (table.runs.value = stored ?? table.runs.value));
  }
});

// The buttons of a run, how far it is, and its checkpoints.
import type { ComponentChildren } from "preact";
import type { PresetName } from "../../models/presets.ts";
import { bestEvaluation, leastOf, smoothedLoss } from "../draw/curves.ts";
import { download } from "./download.ts";
import { count, duration, inUnit, rate, unitOf } from "../format.ts";
import { ModelKey } from "../draw/model-key.tsx";
import { Table } from "../draw/table.tsx";
import { unit } from "./loss.tsx";
import { titleOf } from "../kinds.ts";
import { dataArgument } from "../settings.ts";
import * as device from "./store/device.ts";
import { busy, status, worker } from "./store/link.ts";
import { lasting, type Lasting } from "./store/lasting.ts";
import * as plan from "./store/plan.ts";
import * as stage from "./store/stage.ts";

export function Controls() {
  void stage.curvesVersion.value;
  const running = stage.training.value;
  const total = stage.run.value?.settings.totalSteps ?? plan.settings.value.totalSteps;
  const done = stage.stepsDone();
  const over = stage.phase.value === "done" || stage.phase.value === "failed" || stage.phase.value === "lost";
  const ready = device.info.value !== undefined && plan.text.value !== undefined;
  const blocked = stage.phase.value === "failed" || stage.phase.value === "lost";
  const waiting = busy.value || stage.phase.value === "recovering" || stage.phase.value === "preparing";
  const [label, act] = running
    ? (["Pause", stage.pause] as const)
    : stage.phase.value === "done"
      ? (["Train further", stage.trainFurther] as const)
      : stage.phase.value === "preparing"
        ? (["Preparing…", stage.train] as const)
        : ([done > 0 && !over ? "Resume" : "Train", stage.train] as const);
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
          aria-describedby={stage.phase.value === "done" ? "further" : undefined}
          onClick={() => void act()}
        >
          {label}
        </button>
        <button type="button" disabled={!ready || over || running} aria-disabled={waiting} onClick={() => void stage.step()}>
          Step
        </button>
        <button
          type="button"
          disabled={stage.run.value === undefined || running}
          aria-disabled={waiting}
          onClick={async () => {
            await stage.reset();
            document.getElementById("go")?.focus();
          }}
        >
          {over ? "New run" : "Reset"}
        </button>
      </div>
      {stage.phase.value === "done" && (
        <p class="small muted" id="further">
          Train further: {count(total)} steps more{timeOf(total)}.
        </p>
      )}
      <progress max={total} value={done} aria-label="Steps done" />
      <Figures done={done} total={total} />
      <CheckpointLine />
    </section>
  );
}

/** Characters, or steps, a second of the models that train; none where one's is not known yet. */
function speeds(of: "charactersPerSecond" | "stepsPerSecond"): readonly number[] {
  const speed = stage.lanes.value.filter(({ stopped }) => !stopped).map((lane) => lane[of] ?? 0);
  return speed.every(Boolean) ? speed : [];
}

/** Seconds of so many steps; the models train in turns, so their times add up. */
const secondsOf = (steps: number): number => speeds("stepsPerSecond").reduce((sum, perSecond) => sum + steps / perSecond, 0);

/** How long they take, if that is known. */
const timeOf = (steps: number): string => (speeds("stepsPerSecond").length > 0 ? `, about ${duration(secondsOf(steps))}` : "");

function Figures({ done, total }: { done: number; total: number }) {
  const speed = speeds("charactersPerSecond");
  const known = speed.length > 0;
  const losses = stage.curves.map(({ points }) => smoothedLoss(points));
  const best = stage.curves.map(({ evaluations }) => bestEvaluation(evaluations));
  const figures: readonly (readonly [string, ComponentChildren])[] = [
    ["Step", `${count(done)} of ${count(total)}`],
    ["Loss", <Leading losses={losses} />],
    ["Best validation", <Leading losses={best} />],
    ["Speed", known ? rate(speed.length / speed.reduce((sum, perSecond) => sum + 1 / perSecond, 0)) : "–"],
    ["Time left", stage.training.value && known ? duration(secondsOf(total - done)) : "–"],
  ];
  return (
    <>
      <dl class="figures">
        {figures.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      {stage.lanes.value.length > 1 && <Standings losses={losses} best={best} />}
    </>
  );
}

type Losses = readonly (number | undefined)[];

/** The least of the models' losses, and whose it is. */
function Leading({ losses }: { losses: Losses }) {
  const least = leastOf(losses);
  if (least === undefined) return <>–</>;
  const { preset } = stage.curves[losses.indexOf(least)]!;
  return (
    <>
      {inUnit(least, unit.value)} {unit.value}
      {losses.length > 1 && <small>{titleOf(preset)}</small>}
    </>
  );
}

/** A race as it stands, the one that leads first. */
function Standings({ losses, best }: { losses: Losses; best: Losses }) {
  const order = stage.lanes.value.map((_, i) => i);
  order.sort((a, b) => (best[a] ?? losses[a] ?? Infinity) - (best[b] ?? losses[b] ?? Infinity));
  const shown = (loss: number | undefined): string => (loss === undefined ? "–" : inUnit(loss, unit.value));
  return (
    <Table
      label="The race as it stands"
      name="race"
      columns={["Model", { number: `Loss, ${unitOf(unit.value)}` }, { number: "Best validation" }, { number: "Parameters" }]}
    >
      {order.map((i) => {
        const { preset, parameters } = stage.lanes.value[i]!;
        return (
          <tr key={preset}>
            <th scope="row">
              <ModelKey preset={preset} /> {titleOf(preset)}
            </th>
            <td class="number">{shown(losses[i])}</td>
            <td class="number">{shown(best[i])}</td>
            <td class="number">{count(parameters)}</td>
          </tr>
        );
      })}
    </Table>
  );
}

async function downloadCheckpoint(lane: number): Promise<void> {
  const result = await worker.checkpoint(lane);
  if (!result.ok) {
    status.value = result.message;
    return;
  }
  const { preset } = stage.lanes.value[lane]!;
  const name = `${stage.run.value!.text.name.replace(/\.txt$/, "")}-${preset}-${stage.run.value!.settings.hiddenSize}.safetensors`;
  download(name, result.bytes, "application/octet-stream");
  const { settings: used, text: read } = stage.run.value!;
  const steps = stage.stepsDone() < used.totalSteps ? used.totalSteps : stage.stepsDone() + used.totalSteps;
  status.value = `Downloaded ${name}, the model at step ${count(stage.stepsDone())}, its last; it continues with: npx gatewise train --resume ${name} --data ${dataArgument(used, read.name)} --steps ${steps}`;
}

const LASTS: Readonly<Record<Lasting, string>> = {
  always: ", until you delete it",
  perhaps: ", as long as the browser has room",
  window: ", until this window is closed at the most: download what you want to keep",
};

/** Always there, so that nothing moves when a run begins. */
function CheckpointLine() {
  if (!stage.run.value)
    return (
      <p class="row small checkpoints muted">
        {stage.unsaved.value
          ? "This browser keeps no files for the lab: download what you want to keep."
          : lasting.value === "window"
            ? "This window, as private ones do, keeps files until it is closed at the most: download what you want to keep."
            : "Runs are saved in this browser as they go, and restored after a reload."}
      </p>
    );
  const several = stage.lanes.value.length > 1;
  const whose = (preset: PresetName): string => (several ? `${titleOf(preset)}, last` : "Last checkpoint");
  return (
    <div class="row small checkpoints">
      <span class={`saved ${stage.unsaved.value ? "problem" : "muted"}`}>
        {stage.unsaved.value
          ? `This browser keeps no files for the lab (${stage.unsaved.value}); download what you want to keep`
          : stage.savedAt.value === undefined
            ? "Not saved yet"
            : `Saved at step ${count(stage.savedAt.value)}${LASTS[lasting.value]}`}
      </span>
      {stage.lanes.value.map(({ preset }, i) => (
        <button
          type="button"
          key={preset}
          title="The model as it is now, at its last step, and its training state, as .safetensors; the best before is not kept"
          aria-label={`${whose(preset)}${several ? " checkpoint" : ""}, download`}
          onClick={() => void downloadCheckpoint(i)}
        >
          {`${whose(preset)} `}
          <span aria-hidden="true">↓</span>
        </button>
      ))}
    </div>
  );
}

// What a person is told at the end of a run: what came of it, and what to do next.
import type { Evaluation } from "../training/evaluate.ts";
import type { EndEvent, TrainingEvent } from "../training/events.ts";
import { PIPE, unitOf } from "./data.ts";
import type { Run } from "./keeper.ts";
import { duration, percent, programName, quote, say, shown } from "./progress.ts";

export interface Ending {
  readonly run: Run;
  readonly saved: string;
  readonly folder: string;
  readonly valLoss: number | undefined;
  readonly memory: Evaluation | undefined;
  readonly trainingLoss: number;
}

/** What the command line adds to an event of a run's end: that the time of --time was up. */
export type RunEnd = Omit<EndEvent, "reason"> & { readonly reason: EndEvent["reason"] | "time" };
export const endOf = (event: TrainingEvent, timeUp: boolean): Exclude<TrainingEvent, EndEvent> | RunEnd =>
  event.event === "end" && event.reason === "aborted" && timeUp ? { ...event, reason: "time" } : event;

export function reportEnd(event: RunEnd, { run, saved, folder, valLoss, memory, trainingLoss }: Ending): void {
  const program = programName();
  const target = quote(shown(folder));
  const { totalSteps, schedule, patience } = run.options;
  // What came through a pipe has to come again.
  const resume = `${program} train --resume ${target}${run.text.source === PIPE ? " --data FILE" : ""}`;
  if (event.reason === "aborted") {
    say(`stopped at step ${event.step} of ${totalSteps}; saved ${shown(saved)}; to go on:`);
    say(`  ${resume}`);
    return;
  }
  const hasBetter = valLoss !== undefined && event.bestValLoss! < valLoss;
  const figures = [
    Number.isFinite(trainingLoss) && `training loss ${trainingLoss.toFixed(3)}`,
    valLoss !== undefined &&
      `validation loss ${valLoss.toFixed(3)}${hasBetter ? ` (best ${event.bestValLoss!.toFixed(3)})` : ""}`,
    memory && `next-${unitOf(run.tokenizer)} accuracy on the text ${percent(memory.accuracy)}`,
  ].filter(Boolean);
  if (event.reason === "time") say(`the time is up: stopped at step ${event.step} of ${totalSteps}`);
  if (event.reason === "patience") say(`no new best in ${patience} validations: stopped at step ${event.step} of ${totalSteps}`);
  say(`done: step ${event.step} after ${duration(event.seconds)} · ${figures.join(" · ")}`);
  say(`saved: ${shown(saved)}`);
  const prompt = run.text.source === "alice" ? ` --prompt "Alice "` : "";
  const best = hasBetter ? " --best" : "";
  say("next:");
  say(`  ${program} sample ${target}${prompt}${best}`);
  if (run.options.testFraction > 0) say(`  ${program} eval ${target}${best} --split test`);
  // Over more steps a schedule that has come to its end would raise the rate again.
  const from = schedule === "constant" ? "" : " --schedule-from reached";
  const more = event.reason === "time" ? "" : ` --steps ${2 * totalSteps}${from}`;
  say(`  ${resume}${more}`);
  say(`  ${program} info ${target}${best}`);
}

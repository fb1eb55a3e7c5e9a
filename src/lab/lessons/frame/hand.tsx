// A cell of one unit whose gates are dragged by hand, step by step: what its state does, and some things to bring about.
import type { Steps } from "../../analysis/by-hand.ts";
import { changePlace, usePlacedNumbers } from "../../place.ts";
import { inspector } from "../../views/inspector.ts";
import { Waiting } from "../../views/reading.tsx";
import { useComputed } from "../../views/use-computed.ts";
import { Bar, Slider, StepGrid, StepRow } from "./parts.tsx";

export interface Goal {
  readonly title: string;
  readonly met: (states: Steps) => boolean;
  /** Gates that bring it about. */
  readonly gates: Steps;
}

interface ByHandProps {
  readonly cell: "gru" | "lstm";
  /** What comes in at each step: the candidate, by its gate's name. */
  readonly input: { readonly name: string; readonly values: readonly number[] };
  /** The gates to drag, each with what it does, and those that stay as they are. */
  readonly gates: Readonly<Record<string, string>>;
  readonly fixed?: Steps;
  /** States that are shown, each with what it is. */
  readonly states: Readonly<Record<string, string>>;
  readonly goals: readonly Goal[];
}

const START = 0.5;
const RANGE = { least: 0, most: 1 };

export function ByHand({ cell, input, gates, fixed = {}, states, goals }: ByHandProps) {
  const steps = input.values.length;
  const names = Object.keys(gates);
  const halves = input.values.map(() => START);
  // As many of them every time: a lesson has its gates.
  const dragged = names.map((name) => usePlacedNumbers(name, halves, RANGE));
  const given: Steps = {
    ...fixed,
    [input.name]: input.values,
    ...Object.fromEntries(names.map((name, i) => [name, dragged[i]![0]])),
  };
  const { value: made, problem } = useComputed(() => inspector.gatesByHand(cell, given), [JSON.stringify(given)]);
  if (!made) return <Waiting problem={problem}>Computing…</Waiting>;
  return (
    <>
      <ul class="goals">
        {goals.map(({ title, met, gates: how }) => (
          <li key={title} class={met(made) ? "met" : undefined} data-met={met(made)}>
            <span class="mark" aria-hidden="true">
              {met(made) && "✓"}
            </span>
            <span>
              {title} <span class="hidden">{met(made) ? "done" : "not yet"}</span>
            </span>
            <button
              type="button"
              class="small"
              onClick={() => changePlace(Object.fromEntries(Object.entries(how).map(([name, values]) => [name, values.join()])))}
            >
              Show me<span class="hidden">: {title}</span>
            </button>
          </li>
        ))}
      </ul>
      <StepGrid label="Steps of the cell, from left to right" steps={steps}>
        <StepRow title={`${input.name}: what comes in`}>
          {input.values.map((value, t) => (
            <Bar key={t} name={input.name} step={t} value={value} />
          ))}
        </StepRow>
        {names.map((name, i) => (
          <StepRow key={name} title={`${name}: ${gates[name]}`} note="drag">
            {dragged[i]![0].map((value, t) => (
              <Slider
                key={t}
                name={name}
                step={t}
                value={value}
                onChange={(to) => dragged[i]![1](dragged[i]![0].map((old, s) => (s === t ? to : old)))}
              />
            ))}
          </StepRow>
        ))}
        {Object.entries(states).map(([name, what]) => (
          <StepRow key={name} title={`${name}: ${what}`}>
            {made[name]!.map((value, t) => (
              <Bar key={t} name={name} step={t} value={value} />
            ))}
          </StepRow>
        ))}
      </StepGrid>
    </>
  );
}

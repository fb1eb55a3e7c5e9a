// What the views of a passage share: the model's trace of it, and the choice of a position and of a unit.
import type { ComponentChildren } from "preact";
import type { HeatKind } from "../draw/heatmap.ts";
import { inspector } from "./inspector.ts";
import { PassageText, quoted, type PassageTextProps } from "../draw/passage-text.tsx";
import type { Trace } from "../analysis/trace.ts";
import { changeOf } from "../analysis/units.ts";
import { Select } from "../draw/forms.tsx";
import { usePlacedNumber } from "../place.ts";
import { useComputed } from "./use-computed.ts";
import type { ViewProps } from "./view.ts";

/** What stands in for a view until there is something to show. */
export function Waiting({ problem, children }: { problem: string | undefined; children: ComponentChildren }) {
  return problem ? <p class="problem">{problem}</p> : <p class="muted computing">{children}</p>;
}

export interface Reading {
  readonly trace: Trace;
  readonly pieces: readonly string[];
  /** The position and the unit that are looked at. */
  readonly position: number;
  readonly unit: number;
  readonly look: (position: number, unit?: number) => void;
  /** How many layers there are, and the choice of another one, from 0 on. */
  readonly layers: number;
  readonly chooseLayer: (layer: number) => void;
}

/** What the colours behind characters mean, from one end to the other. */
export function ColourScale({ kind, from, to }: { kind: HeatKind; from: string; to: string }) {
  return (
    <div class="scale">
      <span>{from}</span>
      <i class={kind} />
      <span>{to}</span>
    </div>
  );
}

/** The chosen model's trace of the passage, once it is there. */
export function useReading({ snapshots, chosen, passage }: ViewProps): { reading?: Reading; problem: string | undefined } {
  const snapshot = snapshots[chosen]!;
  const [at, setAt] = usePlacedNumber("at", 24, { least: 0 });
  const [wantedUnit, setUnit] = usePlacedNumber("unit", -1, { least: 0 });
  const layers = snapshot.config.numLayers;
  const [wantedLayer, setLayer] = usePlacedNumber("layer", layers, { least: 1, most: layers });
  const layer = Math.floor(wantedLayer) - 1;
  const { value: trace, problem } = useComputed(() => inspector.trace(snapshot, passage, layer), [snapshot, passage, layer]);
  if (!trace || trace.steps === 0) return { problem };
  const { pieces } = trace;
  const position = Math.min(at, pieces.length - 1);
  // Until one is chosen, one that does something here.
  const unit = wantedUnit < 0 ? liveliest(trace) : Math.min(wantedUnit, trace.units - 1);
  const look = (toPosition: number, toUnit = unit): void => {
    setAt(Math.max(0, Math.min(pieces.length - 1, toPosition)));
    setUnit(toUnit);
  };
  const chooseLayer = (to: number): void => setLayer(to + 1);
  return { reading: { trace, pieces, position, unit, look, layers, chooseLayer }, problem };
}

/** The unit whose state changes most over the passage. */
function liveliest({ values, states, units }: Trace): number {
  const change = changeOf(values[states.at(-1)!]!, units);
  return change.indexOf(Math.max(...change));
}

interface ReadingTextProps {
  readonly reading: Reading;
  readonly colour?: PassageTextProps["colour"];
  /** More to say of a position. */
  readonly say?: (index: number) => string;
}

/** The passage of a reading, to choose a position in. */
export function ReadingText({ reading: { pieces, position, look }, colour, say = () => "" }: ReadingTextProps) {
  return (
    <PassageText
      pieces={pieces}
      label="Position in the passage"
      chosen={position}
      onChoose={look}
      colour={colour}
      describe={(i) => `${quoted(pieces[i]!)} at ${i + 1} of ${pieces.length}${say(i)}`}
    />
  );
}

/** Which layer is looked at, where there are several. */
export function LayerPicker({ reading: { trace, layers, chooseLayer } }: { reading: Reading }) {
  if (layers === 1) return null;
  const titles = Array.from({ length: layers }, (_, l) => [
    String(l),
    `${l + 1} of ${layers}${l === layers - 1 ? ", the top one" : ""}`,
  ]);
  return (
    <label class="small">
      Layer{" "}
      <Select<string>
        class="inline"
        value={String(trace.layer)}
        options={Object.fromEntries(titles)}
        onChoose={(l) => chooseLayer(Number(l))}
      />
    </label>
  );
}

/** The number of a unit, to choose one by. */
export function UnitInput({ units, unit, onChoose }: { units: number; unit: number; onChoose: (unit: number) => void }) {
  return (
    <label class="small">
      Unit{" "}
      <input
        class="inline"
        type="number"
        min="0"
        max={units - 1}
        value={unit}
        onInput={(event) => onChoose(Math.max(0, Math.min(units - 1, Math.floor(Number(event.currentTarget.value)) || 0)))}
      />
    </label>
  );
}

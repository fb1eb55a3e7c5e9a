// What a prepared network's gate does over a line of the book: of the unit in which it moves most.
import type { PresetName } from "../../../models/presets.ts";
import { heatColour, dark } from "../../draw/heatmap.ts";
import { inkOn } from "../../draw/passage-text.tsx";
import { fixed, visible } from "../../format.ts";
import { titleOf } from "../../kinds.ts";
import { PREPARED } from "../../prepared.ts";
import { readBook } from "../../prepared-files.ts";
import { inspector } from "../../views/inspector.ts";
import { ColourScale, Waiting } from "../../views/reading.tsx";
import { useComputed } from "../../views/use-computed.ts";

/** A sentence of the first chapter. */
const BEGINS = "She took down a jar";
const LENGTH = 110;

/** The unit whose values [T, H] spread most. */
function liveliest(values: Float32Array, T: number, H: number): number {
  const spread = Array.from({ length: H }, (_, j) => {
    const own = Array.from({ length: T }, (_, t) => values[t * H + j]!);
    const mean = own.reduce((a, b) => a + b, 0) / T;
    return own.reduce((sum, x) => sum + (x - mean) ** 2, 0);
  });
  return spread.indexOf(Math.max(...spread));
}

export function Trained({ preset, gate, low, high }: { preset: PresetName; gate: string; low: string; high: string }) {
  const { value, problem } = useComputed(async () => {
    const text = await readBook();
    const from = text.indexOf(BEGINS);
    const piece = text.slice(from, from + LENGTH).replaceAll("\n", " ");
    const passage = piece.slice(0, piece.lastIndexOf(" "));
    const trace = await inspector.trace(await inspector.prepared(preset, PREPARED.race.steps.at(-1)!), passage);
    const unit = liveliest(trace.values[gate]!, trace.steps, trace.units);
    return { passage, unit, gates: Array.from({ length: trace.steps }, (_, t) => trace.values[gate]![t * trace.units + unit]!) };
  }, [preset, gate]);
  // Painted anew when the page turns dark.
  void dark.value;
  if (!value) return <Waiting problem={problem}>Reading…</Waiting>;
  const characters = [...value.passage];
  const least = value.gates.indexOf(Math.min(...value.gates));
  return (
    <figure class="trained" data-unit={value.unit}>
      <figcaption>
        And left to itself? The prepared {titleOf(preset)}, unit {value.unit}, its gate {gate} at each letter of the book:
      </figcaption>
      <p
        class="passage-text"
        role="img"
        aria-label={`${value.passage}: the gate is least, ${fixed(value.gates[least]!, 2)}, at ${visible(characters[least]!)}, letter ${least + 1}`}
      >
        {characters.map((character, t) => {
          const rgb = heatColour(value.gates[t]!, "part", 1);
          return (
            <span
              key={t}
              style={{ backgroundColor: `rgb(${rgb.join(" ")})`, color: inkOn(rgb) }}
              title={fixed(value.gates[t]!, 2)}
            >
              {character === " " ? "\u00a0\u200b" : character}
            </span>
          );
        })}
      </p>
      <ColourScale kind="part" from={low} to={high} />
    </figure>
  );
}

import { visible } from "../format.ts";
import { heatColour } from "../draw/heatmap.ts";
import { inspector } from "./inspector.ts";
import { PassageText, quoted } from "../draw/passage-text.tsx";
import { ColourScale, Waiting } from "./reading.tsx";
import { usePlacedNumber } from "../place.ts";
import { useComputed } from "./use-computed.ts";
import type { View, ViewProps } from "./view.ts";

/** Bits at which the colour is at its strongest. */
const MOST_SURPRISE = 8;
const SHOWN = 10;

function Content({ snapshots, chosen, passage }: ViewProps) {
  const snapshot = snapshots[chosen]!;
  const [at, setAt] = usePlacedNumber("at", 24, { least: 0 });
  const { value, problem } = useComputed(async () => {
    const result = await inspector.predictions(snapshot, passage);
    return { ...result, passage, points: snapshot.tokenizer.codePoints };
  }, [snapshot, passage]);
  if (!value || value.surprise.length === 0) return <Waiting problem={problem}>Reading…</Waiting>;
  const characters = [...value.passage];
  const position = Math.min(at, characters.length - 1);
  const V = value.points.length;
  const row = value.probabilities.subarray(position * V, (position + 1) * V);
  const top = Array.from(row, (probability, token) => ({ character: String.fromCodePoint(value.points[token]!), probability }))
    .sort((a, b) => b.probability - a.probability)
    .slice(0, SHOWN);
  const truth = characters[position]!;
  const surprise = value.surprise[position]!;
  const mean = value.surprise.reduce((sum, bits) => sum + bits, 0) / value.surprise.length;
  const own = row[value.points.indexOf(truth.codePointAt(0)!)]!;
  const rank = row.reduce((better, probability) => better + Number(probability > own), 1);
  return (
    <div class="columns">
      <div>
        <h3>Surprise, character by character</h3>
        <PassageText
          text={value.passage}
          label="Position in the passage"
          chosen={position}
          onChoose={setAt}
          colour={(i) => heatColour(value.surprise[i]!, "part", MOST_SURPRISE)}
          describe={(i) => `${quoted(characters[i]!)}, surprise ${value.surprise[i]!.toFixed(1)} bits`}
        />
        <ColourScale kind="part" from="0" to={`${MOST_SURPRISE} bits or more`} />
        <p class="small muted">
          The stronger the colour, the less the model expected the character. It begins to read at {quoted(value.after)}, which is
          not shown. Over this passage it pays <output data-value="mean">{mean.toFixed(2)}</output> bits a character; choose one
          by pointing or with the arrow keys.
        </p>
      </div>
      <div>
        <h3>
          After{" "}
          <code>
            …
            {characters
              .slice(Math.max(0, position - 12), position)
              .map(visible)
              .join("")}
          </code>
        </h3>
        <ol class="bars">
          {top.map(({ character, probability }) => (
            <li key={character} class={character === truth ? "truth" : undefined}>
              <span class="symbol">{visible(character)}</span>
              <span class="bar">
                <i style={{ width: `${(probability * 100).toFixed(2)}%` }} />
              </span>
              <span class="value">
                {(probability * 100).toFixed(1)} %{character === truth && <span class="good"> ✓ came</span>}
              </span>
            </li>
          ))}
        </ol>
        <p class="small">
          What came: <b class="glyph">{quoted(truth)}</b>, its guess number {rank}, {surprise.toFixed(2)} bits of surprise.
        </p>
      </div>
    </div>
  );
}

const view: View = {
  title: "What comes next?",
  intro: (
    <>
      All that these networks learn is to guess the next character: a probability for each one of the book’s. Where words begin
      anything may come and the surprise is high; inside a known word it falls towards nothing. The mean surprise is the loss, in
      bits.
    </>
  ),
  equation: (
    <>
      p(x<sub>t+1</sub> | x<sub>1</sub> … x<sub>t</sub>) = softmax(W<sub>head</sub> h<sub>t</sub> + b<sub>head</sub>)
      <small>surprise = −log₂ p of the character that came</small>
    </>
  ),
  uses: "passage",
  Content,
};
export default view;

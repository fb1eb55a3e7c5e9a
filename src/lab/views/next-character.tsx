import { countCharacters, unitOfText, visible } from "../format.ts";
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
  const { value, problem } = useComputed(() => inspector.predictions(snapshot, passage), [snapshot, passage]);
  if (!value || value.surprise.length === 0) return <Waiting problem={problem}>Reading…</Waiting>;
  const { names, tokens, pieces } = value;
  const unit = unitOfText(snapshot);
  const position = Math.min(at, pieces.length - 1);
  const V = names.length;
  const row = value.probabilities.subarray(position * V, (position + 1) * V);
  const top = Array.from(row, (probability, token) => ({ token, probability }))
    .sort((a, b) => b.probability - a.probability)
    .slice(0, SHOWN);
  const truth = tokens[position]!;
  const surprise = value.surprise[position]!;
  const mean = value.surprise.reduce((sum, bits) => sum + bits, 0) / countCharacters(pieces.join(""));
  const own = row[truth]!;
  const rank = row.reduce((better, probability) => better + Number(probability > own), 1);
  return (
    <div class="columns">
      <div>
        <h3>
          Surprise, {unit} by {unit}
        </h3>
        <PassageText
          pieces={pieces}
          label="Position in the passage"
          chosen={position}
          onChoose={setAt}
          colour={(i) => heatColour(value.surprise[i]!, "part", MOST_SURPRISE)}
          describe={(i) => `${quoted(pieces[i]!)}, surprise ${value.surprise[i]!.toFixed(1)} bits`}
        />
        <ColourScale kind="part" from="0" to={`${MOST_SURPRISE} bits or more`} />
        <p class="small muted">
          The stronger the colour, the less the model expected what stands there. It begins to read at {quoted(value.after)},
          which is not shown. Over this passage it pays <output data-value="mean">{mean.toFixed(2)}</output> bits a character;
          choose one by pointing or with the arrow keys.
        </p>
      </div>
      <div>
        <h3>
          After <code>…{visible(pieces.slice(Math.max(0, position - 12), position).join(""))}</code>
        </h3>
        <ol class="bars">
          {top.map(({ token, probability }) => (
            <li key={token} class={token === truth ? "truth" : undefined}>
              <span class="symbol">{visible(names[token]!)}</span>
              <span class="bar">
                <i style={{ width: `${(probability * 100).toFixed(2)}%` }} />
              </span>
              <span class="value">
                {(probability * 100).toFixed(1)} %{token === truth && <span class="good"> ✓ came</span>}
              </span>
            </li>
          ))}
        </ol>
        <p class="small">
          What came: <b class="glyph">{quoted(names[truth]!)}</b>, its guess number {rank}, {surprise.toFixed(2)} bits of
          surprise.
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

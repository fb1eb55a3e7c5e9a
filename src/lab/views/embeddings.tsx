import { visible } from "../format.ts";
import { inspector } from "../inspector.ts";
import { Waiting } from "../reading.tsx";
import { useComputed } from "../use-computed.ts";
import type { View, ViewProps } from "./view.ts";

const [WIDTH, HEIGHT, MARGIN] = [640, 440, 26];

const GROUPS = [
  { name: "vowels", shape: "circle", is: (c: string) => /[aeiouy]/.test(c) },
  { name: "other letters", shape: "square", is: (c: string) => /\p{Ll}/u.test(c) },
  { name: "capitals", shape: "diamond", is: (c: string) => /\p{Lu}/u.test(c) },
  { name: "digits", shape: "triangle", is: (c: string) => /\p{N}/u.test(c) },
  { name: "spaces and punctuation", shape: "none", is: () => true },
] as const;
const groupOf = (character: string): number => GROUPS.findIndex(({ is }) => is(character));

function Content({ snapshots, chosen }: ViewProps) {
  const snapshot = snapshots[chosen]!;
  const oneHot = snapshot.config.input === "one-hot";
  const { value, problem } = useComputed(
    async () => (oneHot ? undefined : { ...(await inspector.embeddings(snapshot)), points2: snapshot.tokenizer.codePoints }),
    [snapshot],
  );
  if (oneHot)
    return (
      <p>
        This network has no embedding: every character is a vector of zeros with a single 1, and every two of them are equally far
        apart. It is told nothing about which characters are alike, and has nowhere to put what it finds out but its recurrent
        weights. Choose another model above.
      </p>
    );
  if (!value) return <Waiting problem={problem}>Looking for the plane…</Waiting>;
  const characters = value.points2.map((point) => String.fromCodePoint(point));
  const xs = characters.map((_, i) => value.points[2 * i]!);
  const ys = characters.map((_, i) => value.points[2 * i + 1]!);
  const scaled = (values: readonly number[], size: number): readonly number[] => {
    const [least, most] = [Math.min(...values), Math.max(...values)];
    return values.map((x) => MARGIN + ((x - least) / Math.max(1e-9, most - least)) * (size - 2 * MARGIN));
  };
  const [left, top] = [scaled(xs, WIDTH), scaled(ys, HEIGHT)];
  const part = ((value.explained[0] + value.explained[1]) * 100).toFixed(0);
  return (
    <div class="columns wide-first">
      <div>
        <svg
          class="map"
          viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
          role="img"
          aria-label={`Map of ${characters.length} characters; the table beside it lists the nearest neighbours of each group.`}
        >
          {characters.map((character, i) => (
            <g
              key={character}
              class={`group-${groupOf(character)}`}
              transform={`translate(${left[i]!.toFixed(1)} ${top[i]!.toFixed(1)})`}
            >
              <Mark shape={GROUPS[groupOf(character)]!.shape} />
              <text>{visible(character)}</text>
            </g>
          ))}
        </svg>
      </div>
      <div>
        <ul class="groups">
          {GROUPS.map(({ name, shape }, i) => (
            <li key={name}>
              <svg viewBox="-14 -14 28 28" class={`map group-${i}`} aria-hidden="true">
                <g class={`group-${i}`}>
                  <Mark shape={shape} />
                </g>
              </svg>
              {name}
            </li>
          ))}
        </ul>
        <p class="small">
          The two directions hold {part} % of all differences. Mean distance inside a group against that to the rest, 1 where the
          group is nothing special:
        </p>
        <table>
          <tbody>
            {GROUPS.map(({ name }, i) => {
              const ratio = cohesion(snapshot.stateDict["embedding.weight"]!, snapshot.config.embeddingSize, characters, i);
              return (
                <tr key={name}>
                  <th scope="row">{name}</th>
                  <td class="number" data-cohesion={name}>
                    {ratio === undefined ? "–" : ratio.toFixed(2)}
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </div>
  );
}

function Mark({ shape }: { shape: (typeof GROUPS)[number]["shape"] }) {
  switch (shape) {
    case "circle":
      return <circle r="11" />;
    case "square":
      return <rect x="-10" y="-10" width="20" height="20" rx="3" />;
    case "diamond":
      return <polygon points="0,-13 13,0 0,13 -13,0" />;
    case "triangle":
      return <polygon points="0,-13 13,10 -13,10" />;
    case "none":
      return null;
  }
}

/** Mean distance between members of a group over that from them to all others, in the whole space. */
function cohesion(weights: Float32Array, E: number, characters: readonly string[], group: number): number | undefined {
  let [inside, insideCount, outside, outsideCount] = [0, 0, 0, 0];
  characters.forEach((a, i) => {
    if (groupOf(a) !== group) return;
    characters.forEach((b, j) => {
      if (i === j) return;
      let square = 0;
      for (let e = 0; e < E; e++) square += (weights[i * E + e]! - weights[j * E + e]!) ** 2;
      if (groupOf(b) === group) {
        inside += Math.sqrt(square);
        insideCount++;
      } else {
        outside += Math.sqrt(square);
        outsideCount++;
      }
    });
  });
  return insideCount > 0 && outsideCount > 0 ? inside / insideCount / (outside / outsideCount) : undefined;
}

const view: View = {
  title: "The map of characters",
  intro: (
    <>
      With an embedding each character has a vector that is learned along with everything else. Characters that behave alike drift
      together: vowels, capitals, punctuation. This is the plane through them that shows the most of their differences; train on
      and watch it form.
    </>
  ),
  equation: (
    <>
      x<sub>t</sub> = E[character], e<sub>v</sub> ↦ (u₁ · e<sub>v</sub>, u₂ · e<sub>v</sub>)
      <small>u₁, u₂: the principal directions of the rows of E; one-hot input has E = I</small>
    </>
  ),
  uses: "nothing",
  Content,
};
export default view;

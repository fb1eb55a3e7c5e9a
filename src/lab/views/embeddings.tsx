import type { JSX } from "preact";
import { useRef, useState } from "preact/hooks";
import { alignedWith, groupOf, GROUPS, RARE, type GroupName, type SpaceName } from "../analysis/character-map.ts";
import { modelNames } from "../../models/config.ts";
import { count, unitOfText, visible } from "../format.ts";
import { Select } from "../draw/forms.tsx";
import { inspector } from "./inspector.ts";
import { Waiting } from "./reading.tsx";
import { narrow } from "../draw/narrow.ts";
import { Table } from "../draw/table.tsx";
import { useComputed } from "./use-computed.ts";
import type { View, ViewProps } from "./view.ts";

const SIZES = { wide: { WIDTH: 640, HEIGHT: 470 }, narrow: { WIDTH: 340, HEIGHT: 470 } } as const;
const MARGIN = 24;
/** Centres of characters that are nearer than this are moved apart. */
const APART = 21;

const SPACES: Readonly<Record<SpaceName, string>> = {
  read: "as the first layer reads them, W · E",
  own: "their own vectors, E",
  expected: "as they are expected, W_head",
};
/** Where the head is the embedding. */
const TIED: Readonly<Partial<Record<SpaceName, string>>> = {
  read: SPACES.read,
  own: "their own vectors, E, by which they are expected too",
};

function Content({ snapshots, chosen, book }: ViewProps) {
  const snapshot = snapshots[chosen]!;
  const oneHot = snapshot.config.input === "one-hot";
  /** The visitor's choice; until there is one, the map that grouped best when they came. */
  const [wanted, setSpace] = useState<SpaceName | undefined>(undefined);
  const best = useRef<SpaceName | undefined>(undefined);
  const { head, embedding } = modelNames(snapshot.config);
  const spaces = head === embedding ? TIED : SPACES;
  const asked = [wanted ?? best.current].filter((name) => name !== undefined && name in spaces) as SpaceName[];
  const { value, problem } = useComputed(
    async () =>
      oneHot
        ? undefined
        : {
            ...(await inspector.characters(snapshot, asked.length > 0 ? asked : (Object.keys(spaces) as SpaceName[]), book)),
            snapshot,
          },
    [snapshot, wanted, book],
  );
  // What the map was turned like last, so that it does not turn while it forms.
  const last = useRef<{ readonly key: string; readonly points: Float32Array } | undefined>(undefined);
  if (oneHot)
    return (
      <p>
        This network has no embedding: every character is a vector of zeros with a single 1, and every two of them are equally far
        apart. It is told nothing about which characters are alike, and has nowhere to put what it finds out but the weights of
        its units.{snapshots.length > 1 && " Choose another model above."}
      </p>
    );
  if (!value || value.tokens.length === 0) return <Waiting problem={problem}>Looking for the plane…</Waiting>;
  best.current ??= value.space;
  const { names } = value;
  const key = JSON.stringify([value.snapshot.preset, value.space, value.tokens]);
  const now = alignedWith(value.now.points, last.current?.key === key ? last.current.points : value.untrained.points);
  last.current = { key, points: now };
  return (
    <>
      <label>
        Characters <Select class="inline" value={value.space} options={spaces as typeof SPACES} onChoose={setSpace} />
      </label>
      <div class="maps" data-space={value.space}>
        <Drawing title={`Now, at step ${count(value.snapshot.step)}`} names={names} parts={value.parts} points={now} />
        <Drawing title="Untrained" names={names} parts={value.parts} points={value.untrained.points} />
      </div>
      <p class="small muted">
        The planes hold {percent(value.now.explained)} of all differences now and {percent(value.untrained.explained)} untrained.
        Small and grey: fewer than {1000 * RARE} in 1,000 characters, hardly trained. Characters that would cover each other are
        moved apart.
        {value.tokens.length < snapshot.config.vocabSize &&
          ` Of ${count(snapshot.config.vocabSize)} ${unitOfText(snapshot)}s these are the ${value.tokens.length} most frequent.`}
      </p>
      <div class="columns">
        <Cohesion now={value.now.cohesion} untrained={value.untrained.cohesion} />
        <details>
          <summary>The nearest neighbours of each character</summary>
          <Table label="The nearest neighbours of each character" columns={["Character", "Now", "Untrained"]}>
            {names.map((name, v) =>
              value.parts[v]! < RARE ? null : (
                <tr key={name}>
                  <th scope="row">
                    <code>{visible(name)}</code>
                  </th>
                  {[value.now, value.untrained].map(({ nearest }, i) => (
                    <td key={i} data-nearest={`${name} ${i === 0 ? "now" : "untrained"}`}>
                      <code>{nearest[v]!.map((w) => visible(names[w]!)).join(" ")}</code>
                    </td>
                  ))}
                </tr>
              ),
            )}
          </Table>
        </details>
      </div>
    </>
  );
}

const percent = (part: number): string => `${(100 * part).toFixed(0)} %`;

interface DrawingProps {
  readonly title: string;
  readonly names: readonly string[];
  readonly parts: readonly number[];
  readonly points: Float32Array;
}

function Drawing({ title, names, parts, points }: DrawingProps) {
  const { WIDTH, HEIGHT } = SIZES[narrow.value ? "narrow" : "wide"];
  const places = spreadOut(points, WIDTH, HEIGHT);
  // Frequent ones are drawn over rare ones.
  const order = names.map((_, i) => names.length - 1 - i);
  return (
    <figure class="map-figure">
      <figcaption>{title}</figcaption>
      <svg
        class="map"
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        role="img"
        aria-label={`${title}: a map of ${names.length} characters. The tables below tell how near they lie.`}
      >
        {order.map((v) => {
          const group = groupOf(names[v]!);
          return (
            <g
              key={names[v]}
              class={`group-${GROUPS.indexOf(group)}${parts[v]! < RARE ? " rare" : ""}`}
              transform={`translate(${places[v]!.x.toFixed(1)} ${places[v]!.y.toFixed(1)})`}
            >
              <Mark group={group} />
              <text>{visible(names[v]!)}</text>
            </g>
          );
        })}
      </svg>
    </figure>
  );
}

/** Places on the drawing, one scale for both axes, so that distances are what they look like. */
function spreadOut(points: Float32Array, width: number, height: number): readonly { x: number; y: number }[] {
  const [xs, ys] = [points.filter((_, i) => i % 2 === 0), points.filter((_, i) => i % 2 === 1)];
  const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const scale = Math.min(
    (width - 2 * MARGIN) / Math.max(1e-9, right - left),
    (height - 2 * MARGIN) / Math.max(1e-9, bottom - top),
  );
  const places = Array.from(xs, (x, v) => ({
    x: width / 2 + (x - (left + right) / 2) * scale,
    y: height / 2 + (ys[v]! - (top + bottom) / 2) * scale,
  }));
  for (let round = 0; round < 30; round++)
    places.forEach((a, i) => {
      for (const b of places.slice(0, i)) {
        const [dx, dy] = [a.x - b.x, a.y - b.y];
        const far = Math.hypot(dx, dy);
        if (far >= APART) continue;
        // Two at the same place part along the line.
        const [ux, uy] = far > 0 ? [dx / far, dy / far] : [1, 0];
        const push = (APART - far) / 4;
        a.x += ux * push;
        a.y += uy * push;
        b.x -= ux * push;
        b.y -= uy * push;
      }
    });
  const within = (x: number, most: number): number => Math.min(most - MARGIN / 2, Math.max(MARGIN / 2, x));
  return places.map(({ x, y }) => ({ x: within(x, width), y: within(y, height) }));
}

type Cohesions = Readonly<Record<GroupName, number | undefined>>;

function Cohesion({ now, untrained }: { now: Cohesions; untrained: Cohesions }) {
  const known = GROUPS.filter((name) => now[name] !== undefined);
  return (
    <div>
      <Table label="How close the groups are" columns={["Group", { number: "Now" }, { number: "Untrained" }]}>
        {known.length === 0 && (
          <tr>
            <td colSpan={3}>No group has two characters and others beside it.</td>
          </tr>
        )}
        {known.map((name) => (
          <tr key={name}>
            <th scope="row" class="group">
              <svg viewBox="-14 -14 28 28" class="map" aria-hidden="true">
                <g class={`group-${GROUPS.indexOf(name)}`}>
                  <Mark group={name} />
                </g>
              </svg>{" "}
              {name}
            </th>
            {[now, untrained].map((cohesion, i) => (
              <td class="number" key={i} data-cohesion={`${name} ${i === 0 ? "now" : "untrained"}`}>
                {cohesion[name]!.toFixed(2)}
              </td>
            ))}
          </tr>
        ))}
      </Table>
      <p class="small muted">
        Mean distance of its characters to each other, in parts of that to all others: 1 where a group is nothing special, less
        where it draws together. In all dimensions, not only on the plane; frequent characters count more.
      </p>
    </div>
  );
}

function Mark({ group }: { group: GroupName }) {
  const marks: Readonly<Record<GroupName, JSX.Element | null>> = {
    vowels: <circle r="11" />,
    "other letters": <rect x="-10" y="-10" width="20" height="20" rx="3" />,
    capitals: <polygon points="0,-13 13,0 0,13 -13,0" />,
    digits: <polygon points="0,-13 13,10 -13,10" />,
    "spaces and signs": null,
  };
  return marks[group];
}

const view: View = {
  title: "The map of characters",
  intro: (
    <>
      With an embedding each character has a vector that is learned along with everything else. It stays near its random beginning
      for long, but what the gates read of it soon draws vowels, other letters and capitals together; clearest of all are the rows
      of W<sub>head</sub>, which say where a character is expected. The map is the plane that shows most of their differences:
      train on and watch it form.
    </>
  ),
  equation: (
    <>
      v ↦ (u₁ · v, u₂ · v)
      <small>
        u₁, u₂: the principal directions; v = W<sub>ih</sub> x with x = E[character], or x itself, or the character’s row of W
        <sub>head</sub>. One-hot input has E = I; a block reads the norm of E[character], and its head is E.
      </small>
    </>
  ),
  uses: "nothing",
  Content,
};
export default view;

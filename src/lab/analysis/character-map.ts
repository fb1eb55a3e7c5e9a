// Where characters lie: their vectors in a model, the plane through them, and which are near each other. Letters: V
// characters on the map, D numbers each.
import type { Tokenizer } from "../../data/tokenizer.ts";
import { plainProjection } from "../../kernels/block.ts";
import { inBlock } from "../../models/cells.ts";
import { modelNames } from "../../models/config.ts";
import type { ModelSnapshot } from "../protocol.ts";
import { nameOf } from "./pieces.ts";
import { layerWeights } from "./reference.ts";

/** Groups of characters; each is of the first that it fits. й and ў are written as vowels with a mark, and are none. */
const GROUP_TESTS = {
  vowels: /^(?!и\u0306|у\u0306)[aeiouyæœøıаеёиоуыэюяієαεηιοωυ]/u,
  "other letters": /^(?!\p{Lu})[\p{L}\p{M}]/u,
  capitals: /^\p{Lu}/u,
  digits: /^\p{N}/u,
  "spaces and signs": /^/u,
};
export type GroupName = keyof typeof GROUP_TESTS;
export const GROUPS = Object.keys(GROUP_TESTS) as readonly GroupName[];
/** Of what is longer its first that is no space. Accents do not matter. */
export const groupOf = (character: string): GroupName =>
  GROUPS.find((name) => GROUP_TESTS[name].test((character.trimStart() || character).normalize("NFD")))!;

/** "read": what the first layer's gates get of a character; "own": its embedding; "expected": what the state must be like. */
export type SpaceName = "read" | "own" | "expected";

export interface CharacterMap {
  /** [V, 2] */
  readonly points: Float32Array;
  /** Part of all differences that the plane holds. */
  readonly explained: number;
  /** Mean distance inside a group over that from it to the others; undefined for groups of one or none. */
  readonly cohesion: Readonly<Record<GroupName, number | undefined>>;
  /** For each character the nearest that are not rare, by their place in the list. */
  readonly nearest: readonly (readonly number[])[];
}

export interface ShownCharacters {
  /** Tokens, the most frequent first. */
  readonly tokens: readonly number[];
  readonly names: readonly string[];
  /** How often each comes, in parts of all. */
  readonly parts: readonly number[];
}

/** How far the groups are from drawing together: the mean of their cohesions, which fall as they do. */
export function looseness({ cohesion }: CharacterMap): number {
  const known = Object.values(cohesion).filter((value) => value !== undefined);
  return known.length > 0 ? known.reduce((a, b) => a + b, 0) / known.length : Infinity;
}

/** More could not be told apart. */
const MOST_SHOWN = 150;
/** A character that makes up less of a text has hardly been trained. */
export const RARE = 0.001;
const NEAREST = 3;

/** The characters to show, by how often they come in a text. */
export function shownCharacters(tokenizer: Tokenizer, text: ArrayLike<number>): ShownCharacters {
  const counts = new Float64Array(tokenizer.size);
  for (let i = 0; i < text.length; i++) counts[text[i]!] = counts[text[i]!]! + 1;
  const tokens = Array.from(counts, (_, token) => token)
    .sort((a, b) => counts[b]! - counts[a]! || a - b)
    .slice(0, MOST_SHOWN);
  const parts = tokens.map((token) => counts[token]! / Math.max(1, text.length));
  return { tokens, parts, names: tokens.map((token) => nameOf(tokenizer, token)) };
}

/** Puts the shown characters of a model with embeddings on their plane; frequent ones count more, because rare ones are still where chance put them. */
export function characterMap(snapshot: ModelSnapshot, space: SpaceName, { tokens, parts, names }: ShownCharacters): CharacterMap {
  const rows = tokens.map((token) => vectorOf(snapshot, space, token));
  const weights = parts.map((part) => Math.sqrt(part + 1e-4));
  const D = rows[0]!.length;
  const flat = new Float64Array(rows.length * D);
  rows.forEach((row, v) => flat.set(row, v * D));
  const { points, explained } = principalPlane(flat, rows.length, D, weights);
  const groups = names.map(groupOf);
  return {
    points,
    explained: explained[0] + explained[1],
    cohesion: Object.fromEntries(GROUPS.map((name) => [name, cohesion(rows, groups, weights, name)])) as CharacterMap["cohesion"],
    nearest: rows.map((row, v) =>
      rows
        .map((other, w) => ({ w, far: distance(row, other) }))
        .filter(({ w }) => w !== v && parts[w]! >= RARE)
        .sort((a, b) => a.far - b.far)
        .slice(0, NEAREST)
        .map(({ w }) => w),
    ),
  };
}

function vectorOf(snapshot: ModelSnapshot, space: SpaceName, token: number): Float64Array {
  const { config, stateDict } = snapshot;
  const { embeddingSize: E, hiddenSize: H } = config;
  if (space === "expected") return Float64Array.from(stateDict[modelNames(config).head]!.subarray(token * H, (token + 1) * H));
  const own = stateDict[modelNames(config).embedding]!.subarray(token * E, (token + 1) * E);
  if (space === "own") return Float64Array.from(own);
  const weights = layerWeights(snapshot, 0);
  if (inBlock(config)) return plainProjection(weights, Float64Array.from(own));
  const weight = weights.weight_ih!;
  return Float64Array.from({ length: weight.length / E }, (_, j) => own.reduce((sum, x, e) => sum + weight[j * E + e]! * x, 0));
}

function distance(a: Float64Array, b: Float64Array): number {
  let square = 0;
  for (let d = 0; d < a.length; d++) square += (a[d]! - b[d]!) ** 2;
  return Math.sqrt(square);
}

function cohesion(
  rows: readonly Float64Array[],
  groups: readonly GroupName[],
  weights: readonly number[],
  group: GroupName,
): number | undefined {
  const [inside, outside] = [
    { sum: 0, weight: 0 },
    { sum: 0, weight: 0 },
  ];
  rows.forEach((row, i) => {
    if (groups[i] !== group) return;
    rows.forEach((other, j) => {
      if (i === j) return;
      const to = groups[j] === group ? inside : outside;
      const weight = weights[i]! * weights[j]!;
      to.sum += weight * distance(row, other);
      to.weight += weight;
    });
  });
  if (inside.weight === 0 || outside.weight === 0) return undefined;
  return inside.sum / inside.weight / (outside.sum / outside.weight);
}

export interface Projection {
  /** [V, 2] */
  readonly points: Float32Array;
  /** Part of the variance that the two directions hold. */
  readonly explained: readonly [number, number];
}

/** Puts weighted rows [V, D] on the plane of their two principal directions, found by repeated multiplication. */
export function principalPlane(rows: ArrayLike<number>, V: number, D: number, weights: readonly number[]): Projection {
  const centred = Float64Array.from({ length: V * D }, (_, i) => rows[i]!);
  const whole = weights.reduce((sum, weight) => sum + weight, 0);
  for (let d = 0; d < D; d++) {
    let mean = 0;
    for (let v = 0; v < V; v++) mean += (weights[v]! / whole) * centred[v * D + d]!;
    for (let v = 0; v < V; v++) centred[v * D + d] = centred[v * D + d]! - mean;
  }
  const total = centred.reduce((sum, x, i) => sum + weights[Math.floor(i / D)]! * x * x, 0) || 1;
  const points = new Float32Array(V * 2);
  const explained: [number, number] = [0, 0];
  for (let axis = 0; axis < 2; axis++) {
    // Any start that is not orthogonal to the direction; the same every time, so that the map does not jump.
    let direction = Float64Array.from({ length: D }, (_, d) => Math.cos(1.7 * d + axis));
    const scores = new Float64Array(V);
    for (let round = 0; round < 200; round++) {
      project(centred, direction, scores);
      const next = new Float64Array(D);
      for (let v = 0; v < V; v++) for (let d = 0; d < D; d++) next[d] = next[d]! + weights[v]! * centred[v * D + d]! * scores[v]!;
      const length = Math.hypot(...next) || 1;
      direction = next.map((x) => x / length);
    }
    project(centred, direction, scores);
    for (let v = 0; v < V; v++) {
      points[v * 2 + axis] = scores[v]!;
      explained[axis] = explained[axis]! + (weights[v]! * scores[v]! ** 2) / total;
      for (let d = 0; d < D; d++) centred[v * D + d] = centred[v * D + d]! - scores[v]! * direction[d]!;
    }
  }
  return { points, explained };
}

function project(rows: Float64Array, direction: Float64Array, scores: Float64Array): void {
  const D = direction.length;
  for (let v = 0; v < scores.length; v++) {
    let sum = 0;
    for (let d = 0; d < D; d++) sum += rows[v * D + d]! * direction[d]!;
    scores[v] = sum;
  }
}

/** Turns points [V, 2], and mirrors them if need be, to lie as near to others as they can: a map that is made again stays put. */
export function alignedWith(points: Float32Array, others: Float32Array): Float32Array {
  const turned = [1, -1].map((mirror) => {
    let [along, across] = [0, 0];
    for (let i = 0; i + 1 < points.length; i += 2) {
      const [x, y, u, v] = [points[i]!, mirror * points[i + 1]!, others[i]!, others[i + 1]!];
      along += x * u + y * v;
      across += x * v - y * u;
    }
    return { mirror, fit: Math.hypot(along, across), angle: Math.atan2(across, along) };
  });
  const { mirror, angle } = turned[0]!.fit >= turned[1]!.fit ? turned[0]! : turned[1]!;
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
  return points.map((_, i) => {
    const [x, y] = [points[i & ~1]!, mirror * points[i | 1]!];
    return i & 1 ? sin * x + cos * y : cos * x - sin * y;
  });
}

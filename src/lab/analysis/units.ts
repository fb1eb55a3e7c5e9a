// What units keep track of: the correlation of each with each thing in the text. In the inspector's worker.
import { FEATURES } from "./features.ts";
import { atPieces, type Pieces } from "./pieces.ts";
import type { ModelSnapshot } from "../protocol.ts";
import { readModel } from "./trace.ts";

export interface Follower {
  readonly unit: number;
  readonly correlation: number;
}

export interface UnitReport {
  /** [T, H]: what is carried on behind the output, as the cell of an LSTM is, or else the output. */
  readonly values: Float32Array;
  readonly steps: number;
  readonly units: number;
  /** For each feature the units that follow it best; none where the text has nothing of it, or nothing else. */
  readonly features: readonly { readonly name: string; readonly best: readonly Follower[] }[];
}

const BEST = 3;

/** Reads a text and ranks the units, features that are followed best first. */
export async function reportUnits(snapshot: ModelSnapshot, { tokens, pieces }: Pieces): Promise<UnitReport> {
  const { values, states, steps, units } = await readModel(snapshot, tokens);
  const state = values[states.at(-1)!]!;
  const characters = [...pieces.join("")];
  const features = Object.entries(FEATURES).map(([name, feature]) => ({
    name,
    best: followers(state, units, atPieces(pieces, feature(characters))),
  }));
  features.sort((a, b) => Math.abs(b.best[0]?.correlation ?? 0) - Math.abs(a.best[0]?.correlation ?? 0));
  return { values: state, steps, units, features };
}

/** How much each unit of `values` [T, H] changes from character to character, on the average. */
export const changeOf = (values: Float32Array, units: number): Float64Array =>
  Float64Array.from({ length: units }, (_, j) => {
    let sum = 0;
    for (let i = j + units; i < values.length; i += units) sum += Math.abs(values[i]! - values[i - units]!);
    return sum / Math.max(1, values.length / units - 1);
  });

/** The characters at which values [T] are largest, the largest first; none so near another as `apart`. */
export function peaksOf(values: Float32Array, most: number, apart: number): readonly number[] {
  const order = Array.from(values, (_, t) => t).sort((a, b) => values[b]! - values[a]!);
  const peaks: number[] = [];
  for (const t of order) {
    if (peaks.length === most) break;
    if (peaks.every((peak) => Math.abs(peak - t) >= apart)) peaks.push(t);
  }
  return peaks;
}

/** The units of `values` [T, H] that follow a feature [T] best. */
export function followers(values: Float32Array, units: number, feature: Float32Array): readonly Follower[] {
  if (feature.every((value) => value === feature[0])) return [];
  return Array.from({ length: units }, (_, unit) => ({ unit, correlation: correlate(values, unit, units, feature) }))
    .sort((a, b) => Math.abs(b.correlation) - Math.abs(a.correlation))
    .slice(0, BEST);
}

/** Pearson's, 0 where one of the two is constant. */
function correlate(values: Float32Array, unit: number, units: number, feature: Float32Array): number {
  const n = feature.length;
  let [sx, sy, sxx, syy, sxy] = [0, 0, 0, 0, 0];
  for (let t = 0; t < n; t++) {
    const x = values[t * units + unit]!;
    const y = feature[t]!;
    sx += x;
    sy += y;
    sxx += x * x;
    syy += y * y;
    sxy += x * y;
  }
  const spread = (sxx - (sx * sx) / n) * (syy - (sy * sy) / n);
  return spread > 1e-12 ? (sxy - (sx * sy) / n) / Math.sqrt(spread) : 0;
}

// A scan as a tree: how steps h′ = a h + b combine, with the numbers of a real layer, and of one whose steps do not.
import { CharTokenizer } from "../../data/tokenizer.ts";
import { cellOf, insideConfig } from "../../models/cells.ts";
import { LanguageModel } from "../../models/language-model.ts";
import { PRESETS, type PresetName } from "../../models/presets.ts";
import type { ModelSnapshot } from "../protocol.ts";
import { knows, tokenizerOf } from "./pieces.ts";
import { cellWeights, onReference } from "./reference.ts";
import { readModel, layerInputs, type Trace } from "./trace.ts";

/** A step, or several as one: h′ = a h + b. */
export interface Step {
  readonly a: number;
  readonly b: number;
}

/** Two after one another are one again. */
export const combine = (first: Step, second: Step): Step => ({
  a: second.a * first.a,
  b: second.a * first.b + second.b,
});

/**
 * The rounds of a scan (Hillis & Steele 1986): in each, every step takes in what ends right before what it has taken in
 * so far, twice as many steps as in the round before. In the last row b are the states, from zero.
 */
export function scanRounds(steps: readonly Step[]): readonly (readonly Step[])[] {
  const rows = [steps];
  for (let reach = 1; reach < steps.length; reach *= 2) {
    const before = rows.at(-1)!;
    rows.push(before.map((step, t) => (t < reach ? step : combine(before[t - reach]!, step))));
  }
  return rows;
}

/** A layer that has read a text, [T, units] each. */
export interface Read {
  readonly units: number;
  readonly h: Float32Array;
  /** The training step of the model that it is of; none, if it is fresh. */
  readonly step: number | undefined;
}
export interface Scanned extends Read {
  readonly a: Float32Array;
  readonly b: Float32Array;
}

/** The presets whose layers stand side by side, and the units of fresh ones. */
export const SCAN: PresetName = "min-gru";
export const CHAIN: PresetName = "lstm";
const FRESH = { hiddenSize: 16, embeddingSize: 16, numLayers: 1 };

interface Reader {
  readonly snapshot: Pick<ModelSnapshot, "config" | "stateDict">;
  readonly tokens: Uint32Array;
  readonly step: number | undefined;
}

/** The run's own model of a preset, where it has one of characters that knows the text's; else a fresh one. */
async function readerOf(preset: PresetName, snapshots: readonly ModelSnapshot[], text: string): Promise<Reader> {
  const snapshot = snapshots.find((each) => each.preset === preset);
  if (snapshot?.tokenizer.kind === "char" && knows(tokenizerOf(snapshot), text))
    return { snapshot, tokens: tokenizerOf(snapshot).encode(text), step: snapshot.step };
  const tokenizer = CharTokenizer.fromText(text);
  return onReference(async (device) => {
    const model = LanguageModel.create(device, { ...PRESETS[preset], ...FRESH, vocabSize: tokenizer.size, seed: 1 });
    const made = { config: model.config, stateDict: await model.stateDict() };
    return { snapshot: made, tokens: tokenizer.encode(text), step: undefined };
  });
}

const readOf = ({ step }: Reader, { units, values }: Trace): Read => ({ units, h: values.h!, step });

/** A text read by a layer that is a scan, and by one that is not. */
export async function readBoth(snapshots: readonly ModelSnapshot[], text: string): Promise<{ scan: Scanned; chain: Read }> {
  const [scanner, chainer] = [await readerOf(SCAN, snapshots, text), await readerOf(CHAIN, snapshots, text)];
  const trace = await readModel(scanner.snapshot, scanner.tokens);
  const chain = readOf(chainer, await readModel(chainer.snapshot, chainer.tokens));
  return { scan: { ...readOf(scanner, trace), ...stepsOf(scanner, trace) }, chain };
}

/** a and b of every step and unit: from h = 0 a step of the cell gives b, and from h = 1 it gives a + b. */
function stepsOf({ snapshot, tokens }: Reader, trace: Trace): Pick<Scanned, "a" | "b"> {
  const { steps: T, units: H, block } = trace;
  const [cell, config] = [cellOf(snapshot.config), insideConfig(snapshot.config)];
  const weights = cellWeights(snapshot, config.numLayers - 1);
  const x = block?.u ?? layerInputs(snapshot, tokens, trace);
  const width = x.length / T;
  const [a, b] = [new Float32Array(T * H), new Float32Array(T * H)];
  for (let t = 0; t < T; t++) {
    const from = (h: number): Float64Array =>
      cell.step(config, weights, x.subarray(t * width, (t + 1) * width), { h: new Float64Array(H).fill(h) }).h!;
    const [zero, one] = [from(0), from(1)];
    b.set(zero, t * H);
    a.set(
      one.map((h, j) => h - zero[j]!),
      t * H,
    );
  }
  return { a, b };
}

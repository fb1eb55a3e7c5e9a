// Computes what the views show, beside the training worker, so that neither the page nor training waits for it.
import * as Comlink from "comlink";
import { memoryConfig, trainMemory } from "../../bench/memory.ts";
import type { TaskName } from "../../data/tasks.ts";
import { CharTokenizer } from "../../data/tokenizer.ts";
import { MEMORY_OPTIONS, usedBy } from "../../models/cells.ts";
import { languageModelConfig } from "../../models/config.ts";
import { LanguageModel } from "../../models/language-model.ts";
import type { StateDict } from "../../models/parameters.ts";
import { PRESETS, type PresetName } from "../../models/presets.ts";
import { openDevice } from "../../runtime/open.ts";
import { breakModel, type BreakageName, type Breakdown } from "../experiments/breakage.ts";
import { baselinesOf } from "../analysis/baselines.ts";
import { gatesByHand, unroll } from "../analysis/by-hand.ts";
import { characterMap, looseness, shownCharacters, type CharacterMap, type SpaceName } from "../analysis/character-map.ts";
import { connectivity } from "../analysis/connectivity.ts";
import { measure, stockOf } from "../analysis/learned.ts";
import { gradientPaths, PLACES, quartilesOf } from "../analysis/gradients.ts";
import { nameOf, piecesOf, startOf, tokenizerOf, type Pieces } from "../analysis/pieces.ts";
import type { ModelSnapshot } from "../protocol.ts";
import { readBoth } from "../analysis/scan-tree.ts";
import { affordable, ofUntrained, readable } from "../analysis/snapshot.ts";
import { flowOf, readModel, type Trace } from "../analysis/trace.ts";
import { peaksOf, reportUnits } from "../analysis/units.ts";

import { learnLetters } from "../experiments/letters.ts";
import { gradientsOfFresh } from "../experiments/untrained.ts";
import { preparedModel, write } from "./prepared.ts";

/** Characters that are read of a longer text, at most. */
const FLOW_LENGTH = 3000;
const UNITS_LENGTH = 12_000;
/** Places at which a unit is shown, how far from each other, and how many characters before each. */
const [PEAKS, PEAKS_APART, SNIPPET] = [6, 12, 24];
/** Places that gradients are followed back from in a large model. */
const LEAST_PLACES = 8;

const readBy = (snapshot: ModelSnapshot, text: string): Pieces => piecesOf(tokenizerOf(snapshot), text);

const inspector = {
  prepared: preparedModel,
  write,
  gatesByHand,
  unroll,
  learnLetters,
  gradientsOfFresh,
  /** What counting characters gets on a text. */
  baselines(text: string, valFraction: number) {
    const tokenizer = CharTokenizer.fromText(text);
    return baselinesOf(tokenizer.encode(text), tokenizer.size, valFraction);
  },
  /** How far a network that writes such a sample has come on a text. */
  measure: (sample: string, text: string) => measure(sample, stockOf(text)),
  /** Reads a passage, after a line break if the book has one, and says what the model expected at each of its tokens: [T, V], and in bits, [T]. */
  async predictions(snapshot: ModelSnapshot, passage: string) {
    const tokenizer = tokenizerOf(snapshot);
    const { tokens, pieces } = piecesOf(tokenizer, passage);
    const start = startOf(tokenizer);
    const { probabilities } = await readModel(snapshot, [start, ...tokens.slice(0, -1)]);
    const V = tokenizer.size;
    const surprise = Float32Array.from(tokens, (token, t) => -Math.log2(Math.max(1e-12, probabilities[t * V + token]!)));
    const names = Array.from({ length: V }, (_, token) => nameOf(tokenizer, token));
    return Comlink.transfer({ probabilities, surprise, after: names[start]!, names, tokens, pieces }, [
      probabilities.buffer,
      surprise.buffer,
    ]);
  },
  /** Every gate and state of a layer over a passage, and what the gates add up. */
  async trace(snapshot: ModelSnapshot, passage: string, layer?: number): Promise<Trace & Pick<Pieces, "pieces">> {
    const { tokens, pieces } = readBy(snapshot, passage);
    const trace = await readModel(snapshot, tokens, layer);
    return { ...trace, pieces, flow: flowOf(snapshot, tokens, trace) };
  },
  /** How far back the gradient reaches by each path, in parts of what it is at lag 0, over a longer text: in the model as it is, and untrained. */
  async gradientFlow(snapshot: ModelSnapshot, text: string, lags: number) {
    const read = readable(snapshot, text, FLOW_LENGTH);
    const places = affordable(snapshot, 3 * lags, PLACES, LEAST_PLACES);
    const flow = async (model: ModelSnapshot) =>
      (await gradientPaths(model, tokenizerOf(snapshot).encode(read), lags, places)).map((path) => ({
        of: path.of,
        places: path.norms[0]!.length,
        parts: quartilesOf(path),
      }));
    return { now: await flow(snapshot), untrained: await ofUntrained(snapshot, `flow ${lags}`, read, flow) };
  },
  /** Where the characters lie, now and in the untrained model, in that of some spaces which groups them best; how often they come is counted in a text. */
  async characters(snapshot: ModelSnapshot, spaces: readonly SpaceName[], text: string) {
    const tokenizer = tokenizerOf(snapshot);
    const shown = shownCharacters(tokenizer, tokenizer.encode(text));
    const maps = spaces.map((space) => ({ space, now: characterMap(snapshot, space, shown) }));
    const { space, now } = maps.reduce((best, map) => (looseness(map.now) < looseness(best.now) ? map : best));
    const fresh = (model: ModelSnapshot): CharacterMap => characterMap(model, space, shown);
    return { ...shown, space, now, untrained: await ofUntrained(snapshot, `map ${space}`, text, fresh) };
  },
  /** What every unit does over the first `shown` characters of a text, and what it follows best over more of it; by feature, how well a unit of the untrained model does. */
  async units(snapshot: ModelSnapshot, text: string, shown: number) {
    const read = readBy(snapshot, readable(snapshot, text, UNITS_LENGTH));
    const report = await reportUnits(snapshot, read);
    const untrained = await ofUntrained(snapshot, "units", read.pieces.join(""), async (fresh) => {
      const { features } = await reportUnits(fresh, read);
      return Object.fromEntries(features.map(({ name, best }) => [name, best[0]?.correlation ?? 0]));
    });
    return { ...report, pieces: read.pieces.slice(0, shown), values: report.values.slice(0, shown * report.units), untrained };
  },
  /** Where in a longer text a gate or state of a unit is what it seldom is, large or small: what stands around, and what it is there. */
  async peaks(snapshot: ModelSnapshot, text: string, layer: number, name: string, unit: number) {
    const { tokens, pieces } = readBy(snapshot, readable(snapshot, text, FLOW_LENGTH));
    const { values, units } = await readModel(snapshot, tokens, layer);
    const own = values[name]!.filter((_, i) => i % units === unit);
    const [least, most] = [Math.min(...own), Math.max(...own)];
    const large = own.reduce((sum, value) => sum + value, 0) / own.length < (least + most) / 2;
    const places = peaksOf(large ? own : own.map((value) => -value), PEAKS, PEAKS_APART).map((t) => ({
      before: [...pieces.slice(Math.max(0, t - SNIPPET), t).join("")].slice(-SNIPPET).join(""),
      piece: pieces[t]!,
      after: [...pieces.slice(t + 1, t + 1 + SNIPPET / 2).join("")].slice(0, SNIPPET / 2).join(""),
      value: own[t]!,
    }));
    return { large, places };
  },
  /** A short text read by a layer that is a scan, with what its steps are, and by one that is a chain. */
  readBoth,
  /** How far each token up to one of a passage moves the guess at what follows it. */
  async connectivity(snapshot: ModelSnapshot, passage: string, at: number) {
    const { tokens, pieces } = readBy(snapshot, passage);
    const position = Math.min(at, tokens.length - 1);
    const found = await connectivity(snapshot, tokens, position);
    return { ...found, position, pieces, name: nameOf(tokenizerOf(snapshot), found.guess) };
  },
  /**
   * Trains a small model on a task of memory, from the beginning or from what it was at a shorter lag, as long as it is to go
   * on: what part it got right, and what it is now.
   */
  async tryMemory(
    preset: PresetName,
    task: TaskName,
    lag: number,
    from: StateDict | undefined,
    goesOn: (step: number) => boolean,
  ) {
    const device = await openDevice({ prefer: "cpu" });
    try {
      const model = LanguageModel.create(device, memoryConfig(preset, task, "small"));
      if (from) model.loadStateDict(from);
      let right = 0;
      for await (const heard of trainMemory(model, { task, lag, size: "small" })) {
        right = heard.accuracy;
        if (heard.event === "progress" && !(await goesOn(heard.step))) break;
      }
      return { right, stateDict: await model.stateDict() };
    } finally {
      device.dispose();
    }
  },
  /** Trains a small model of a kind wrongly on a text. */
  breakModel(preset: PresetName, name: BreakageName, text: string): Promise<Breakdown> {
    const tokenizer = CharTokenizer.fromText(text);
    const long = usedBy(PRESETS[preset], Object.fromEntries(MEMORY_OPTIONS.map(({ name, longMemory }) => [name, longMemory])));
    const config = languageModelConfig({ ...PRESETS[preset], ...long, vocabSize: tokenizer.size });
    return breakModel({ config }, name, tokenizer, text);
  },
};
export type Inspector = typeof inspector;

Comlink.expose(inspector);

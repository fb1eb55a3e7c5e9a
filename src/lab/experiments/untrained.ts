// Networks with fresh weights, and how far back a gradient reaches in them: what decides it before anything is learned.
import { CharTokenizer } from "../../data/tokenizer.ts";
import { MEMORY_OPTIONS, usedBy } from "../../models/cells.ts";
import { LanguageModel } from "../../models/language-model.ts";
import { PRESETS, type PresetName } from "../../models/presets.ts";
import { gradientPaths, quartilesOf } from "../analysis/gradients.ts";
import { onReference } from "../analysis/reference.ts";

export interface Fresh {
  readonly preset: PresetName;
  /** What the recurrent weights are multiplied by. */
  readonly scale?: number;
  /** What the cell's memory begins from, where it has such an option: the LSTM's forget bias. */
  readonly bias?: number;
  readonly seed: number;
}

const UNITS = 64;
/** Places that gradients are followed back from: few, so that the picture follows the hand. */
const PLACES = 32;

/** By each path, the median of the gradient at lags from 0 on, in parts of that at 0. */
export async function gradientsOfFresh({ preset, scale = 1, bias, seed }: Fresh, text: string, lags: number) {
  const tokenizer = CharTokenizer.fromText(text);
  const snapshot = await onReference(async (device) => {
    const memory = Object.fromEntries(MEMORY_OPTIONS.map(({ name }) => [name, bias]));
    const own = usedBy(PRESETS[preset], bias === undefined ? {} : memory);
    const model = LanguageModel.create(device, {
      ...PRESETS[preset],
      ...own,
      hiddenSize: UNITS,
      vocabSize: tokenizer.size,
      seed,
    });
    const stateDict = Object.fromEntries(
      Object.entries(await model.stateDict()).map(([name, values]) => [
        name,
        name.includes("weight_hh") ? values.map((weight) => scale * weight) : values,
      ]),
    );
    return { preset, step: 0, seed, config: model.config, stateDict, tokenizer: tokenizer.toJSON() };
  });
  const paths = await gradientPaths(snapshot, tokenizer.encode(text), lags, PLACES);
  return paths.map((path) => ({ of: path.of, parts: quartilesOf(path).map(({ median }) => median) }));
}

// What a run will cost, before it is started.
import { BYTES } from "../../data/byte-tokenizer.ts";
import { inBlock, layerOf } from "../../models/cells.ts";
import { parameterCount } from "../../models/config.ts";
import { OPTIMIZERS } from "../../training/optimizers.ts";
import { presetsOf } from "../kinds.ts";
import { laneConfig } from "./lane.ts";
import type { Estimate, TextInfo } from "../protocol.ts";
import { isSized, type Settings } from "../settings.ts";

/** Dispatches of a pass over a layer of blocks, at the most, however many steps it has. */
const BLOCK_DISPATCHES = 20;

/** Bytes and operations of a run, from the shapes of what a training step keeps. */
export function estimateRun(settings: Settings, { vocabulary, characters }: TextInfo): Estimate {
  const size = isSized(settings) ? settings.vocabSize : settings.tokenizer === "byte" ? BYTES : vocabulary.length;
  const { batchSize: B, seqLen: T, numLayers: L, totalSteps, evalInterval, valFraction } = settings;
  const validations = evalInterval > 0 ? Math.ceil(totalSteps / evalInterval) : 0;
  const windows = validations * Math.ceil((characters * valFraction) / (B * T));
  const moments = OPTIMIZERS[settings.optimizer].moments.length;
  // A forward pass is a third of a step.
  const passes = totalSteps + windows / 3;
  let [parameters, values, flop, dispatches] = [0, 0, 0, 0];
  for (const preset of presetsOf(settings)) {
    const config = laneConfig(settings, preset, size);
    const { hiddenSize: H, vocabSize: V, embeddingSize: E } = config;
    const { inputWork, stepWork, forwardValues, backwardValues } = layerOf(config).costs(config, H);
    const block = inBlock(config);
    const width = inputWork / (2 * H);
    const count = parameterCount(config);
    parameters += count;
    const forward = T * B * (L * forwardValues + (L - 1) * width + V);
    const backward = L * T * B * backwardValues;
    // Validation has a forward pass of its own; packed weights and tables come with each.
    values += count * (2 + moments) + 2 * forward + backward + 2 * (V + H) * width;
    // The first layer reads a table of projections, a row a character; a block reads the rows themselves.
    const input = config.input === "embedding" && !block ? 6 * V * E * width : 0;
    const reading = block ? L : L - 1;
    flop += passes * (input + T * B * (3 * L * stepWork + 3 * reading * inputWork + 6 * H * V));
    const chain = L * (block ? BLOCK_DISPATCHES : T);
    dispatches += totalSteps * (2 * chain + 24) + windows * (chain + 8);
  }
  return { parameters, bytes: values * 4, passes, flop, dispatches };
}

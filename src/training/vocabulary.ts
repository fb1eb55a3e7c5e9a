import { checkSeed } from "../checks.ts";
import { CharTokenizer } from "../data/tokenizer.ts";
import { languageModelConfig, parameterSpecs } from "../models/config.ts";
import { initialValues } from "../models/parameters.ts";
import { checkDecoded, checkShapes, type Checkpoint } from "./checkpoint.ts";

/**
 * A checkpoint's model for a text with new characters: it gets rows for them, as a new model would have, and what it has
 * learned stays as it is. Its run stays behind. A model whose tokens are no characters knows every text, and stays the same.
 *
 * @param seed of the new rows
 * @throws GatewiseError E_CONFIG, E_DATA, E_BAD_CHECKPOINT
 */
export function extendVocabulary(checkpoint: Checkpoint, text: string, seed = 1): Checkpoint {
  const { config, tensors, training } = checkDecoded("extendVocabulary", checkpoint);
  checkSeed("seed", seed);
  checkShapes(config, training, tensors);
  const { tokenizer: before } = checkpoint;
  if (!(before instanceof CharTokenizer)) return checkpoint;
  const tokenizer = before.extended(text);
  const extended = languageModelConfig({ ...config, vocabSize: tokenizer.size });
  const parameters = parameterSpecs(extended).map((spec, i) => {
    const { name, shape } = spec;
    const old = tensors[name]!;
    if (old.shape.join() === shape.join()) return [name, old] as const;
    const data = initialValues(spec, seed, i);
    // Tokens are rows, or columns where they enter one-hot: the old tensor is the corner of the new one.
    const [width, columns] = [old.shape[1] ?? 1, shape[1] ?? 1];
    for (let row = 0; row < old.shape[0]!; row++) data.set(old.data.subarray(row * width, (row + 1) * width), row * columns);
    return [name, { shape, data }] as const;
  });
  return {
    config: extended,
    tokenizer,
    tensors: Object.fromEntries(parameters),
    training: undefined,
    device: undefined,
    tuning: new Map(),
  };
}

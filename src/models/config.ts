// The configuration of a language model: its fields, defaults, presets and parameters.
import { checkInteger, checkNumber, checkOneOf, checkOptions, given } from "../checks.ts";
import { sizeOf } from "../runtime/tensor.ts";
import { GatewiseError } from "../errors.ts";
import { plainParameter, type ParameterSpec, type StateSpec } from "../kernels/cell.ts";
import {
  CELL_DEFAULTS,
  CELL_NAMES,
  cellOf,
  checkCellOptions,
  inBlock,
  layerOf,
  withOwnOptions,
  type CellName,
  type CellOptions,
} from "./cells.ts";
import { bareLayers, stackParameters, stackStates, type Layers } from "./stack.ts";

/** What a language model is made of: input, L recurrent layers, a linear head over V. */
export interface LanguageModelConfig extends CellOptions {
  /** The recurrent cell of every layer; "lstm" by default. */
  readonly cell: CellName;
  /** What the first layer reads: rows of a table that is learned, or one-hot vectors; "embedding" by default. */
  readonly input: "embedding" | "one-hot";
  /** V, the number of tokens. */
  readonly vocabSize: number;
  /** E, 64 by default; unused with one-hot input. Of blocks it is their width. */
  readonly embeddingSize: number;
  /** H, 128 by default; of blocks their width, that of the residual stream. */
  readonly hiddenSize: number;
  /** L, layers one above the other; 1 by default. */
  readonly numLayers: number;
  /** Probability of zeroing an output between layers while training; 0 by default. */
  readonly dropout: number;
  /** Start from orthogonal recurrent weights instead of uniform ones; false by default. */
  readonly orthogonal: boolean;
  /**
   * Format of the recurrent weights as the steps read them and of the activations saved for backward; parameters,
   * gradients and all sums stay f32. "f16" needs an adapter with shader-f16; "f32" by default.
   */
  readonly precision: "f32" | "f16";
}

export const LANGUAGE_MODEL_DEFAULTS = {
  cell: "lstm",
  input: "embedding",
  embeddingSize: 64,
  hiddenSize: 128,
  numLayers: 1,
  dropout: 0,
  ...CELL_DEFAULTS,
  orthogonal: false,
  precision: "f32",
} as const satisfies Omit<LanguageModelConfig, "vocabSize">;
const NAMES = ["vocabSize", ...Object.keys(LANGUAGE_MODEL_DEFAULTS)];
const OTHER_NAMES = { hidden: "hiddenSize", embedding: "embeddingSize", layers: "numLayers" };

/** @throws GatewiseError E_CONFIG for options that a model does not have */
export const checkModelNames = (where: string, options: unknown, also: readonly string[] = []): void =>
  checkOptions(where, options, [...NAMES, ...also], OTHER_NAMES);

/**
 * Fills in defaults and checks every field.
 *
 * @throws GatewiseError E_CONFIG naming the field, what it must be and what came.
 */
export function languageModelConfig(options: Partial<LanguageModelConfig> & { readonly vocabSize: number }): LanguageModelConfig {
  checkModelNames("model", options);
  const { cell = LANGUAGE_MODEL_DEFAULTS.cell, hiddenSize = LANGUAGE_MODEL_DEFAULTS.hiddenSize } = options ?? {};
  checkOneOf("cell", cell, CELL_NAMES);
  const width = inBlock({ cell }) ? { embeddingSize: hiddenSize } : {};
  const config: LanguageModelConfig = withOwnOptions({ ...LANGUAGE_MODEL_DEFAULTS, ...width, ...given(options ?? {}) });
  checkOneOf("input", config.input, ["embedding", "one-hot"]);
  checkOneOf("orthogonal", config.orthogonal, [true, false]);
  checkOneOf("precision", config.precision, ["f32", "f16"]);
  for (const field of ["vocabSize", "embeddingSize", "hiddenSize"] as const) checkInteger(field, config[field], 1, 65536);
  checkInteger("numLayers", config.numLayers, 1, 64);
  checkNumber("dropout", config.dropout, (p) => p >= 0 && p < 1, "at least 0 and less than 1");
  checkCellOptions("", config);
  checkFeatures(config);
  // What a cell makes of its options it knows itself, such as that those of s4d come in pairs.
  layerOf(config).states(config);
  return config;
}

/** @throws GatewiseError E_CONFIG for what has no meaning with a cell */
function checkFeatures({ cell: name, input, embeddingSize, hiddenSize, orthogonal, precision }: LanguageModelConfig): void {
  const cell = cellOf({ cell: name });
  const refuse = (ok: boolean, message: string): void => {
    if (!ok) throw new GatewiseError("E_CONFIG", message);
  };
  refuse(!orthogonal || !cell.block, `orthogonal must be false with the cell ${name}, got true: it has no recurrent matrix`);
  refuse(precision === "f32" || !cell.onlyF32, `precision must be "f32" with the cell ${name}, got "${precision}"`);
  if (!cell.block) return;
  refuse(
    input === "embedding",
    `input must be "embedding" with the cell ${name}, got "${input}": its block adds to the embeddings`,
  );
  refuse(
    embeddingSize === hiddenSize,
    `embeddingSize must be hiddenSize, ${hiddenSize}, with the cell ${name}, got ${embeddingSize}: its block adds to the embeddings`,
  );
}

/** What a model's tensors outside of its layers are called; the head of a model of blocks is its embedding. */
export const modelNames = (config: Pick<LanguageModelConfig, "cell">): ModelNames =>
  inBlock(config)
    ? { embedding: "backbone.embeddings.weight", head: "backbone.embeddings.weight", norm: "backbone.norm_f.weight" }
    : { embedding: "embedding.weight", head: "head.weight", bias: "head.bias" };

export interface ModelNames {
  readonly embedding: string;
  readonly head: string;
  readonly bias?: string;
  /** Of the norm in front of the head. */
  readonly norm?: string;
}

/** A model's layers, and what their parameters are called. */
export const modelLayers = (config: Pick<LanguageModelConfig, "cell">): Layers =>
  inBlock(config) ? { cell: layerOf(config), nameOf: (name, l) => `backbone.layers.${l}.${name}` } : bareLayers(config, "rnn.");

/** The parameters of a model of this configuration, in the order in which they lie on the device. */
export function parameterSpecs(config: LanguageModelConfig): readonly ParameterSpec[] {
  const { vocabSize: V, embeddingSize: E, hiddenSize: H, input } = config;
  const { embedding, head, bias, norm } = modelNames(config);
  const uniform = { kind: "uniform", bound: 1 / Math.sqrt(H) } as const;
  const tied = head === embedding;
  const specs = [
    ...(input === "embedding" ? [plainParameter(embedding, [V, E], { kind: "normal", ...(tied && { deviation: 0.1 }) })] : []),
    ...stackParameters(config, input === "embedding" ? E : V, modelLayers(config)),
    ...(norm ? [plainParameter(norm, [H], { kind: "drawn", from: () => 1 })] : []),
    ...(tied ? [] : [plainParameter(head, [V, H], uniform)]),
    ...(bias ? [plainParameter(bias, [V], uniform)] : []),
  ];
  // Those that weight decay leaves alone come last.
  return [...specs.filter(({ decay }) => decay !== false), ...specs.filter(({ decay }) => decay === false)];
}

/** The tensors of the state of B streams under their names in checkpoints: "state.h" [L, B, H], … */
export const stateSpecs = (config: LanguageModelConfig, B: number): readonly StateSpec[] =>
  stackStates(config, B, modelLayers(config)).map((spec) => ({ ...spec, name: `state.${spec.name}` }));

/** Number of parameters of a model of this configuration. @throws GatewiseError E_CONFIG */
export const parameterCount = (config: LanguageModelConfig): number =>
  parameterSpecs(languageModelConfig(config)).reduce((sum, { shape }) => sum + sizeOf(shape), 0);

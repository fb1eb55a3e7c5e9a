// The configuration of a language model: its fields, defaults, presets and parameters.
import { checkInteger, checkNumber, checkOneOf, checkOptions, given } from "../checks.ts";
import { sizeOf } from "../runtime/tensor.ts";
import type { ParameterSpec, StateSpec } from "../kernels/cell.ts";
import { CELL_DEFAULTS, CELL_NAMES, checkCellOptions, type CellName, type CellOptions } from "./cells.ts";
import { plainParameter } from "./parameters.ts";
import { stackParameters, stackStates } from "./stack.ts";

export interface LanguageModelConfig extends CellOptions {
  readonly cell: CellName;
  readonly input: "embedding" | "one-hot";
  readonly vocabSize: number;
  /** E; unused with one-hot input. */
  readonly embeddingSize: number;
  readonly hiddenSize: number;
  readonly numLayers: number;
  /** Probability of zeroing an output between layers while training. */
  readonly dropout: number;
  /** Start from orthogonal recurrent weights instead of uniform ones. */
  readonly orthogonal: boolean;
  /**
   * Format of the recurrent weights as the steps read them and of the activations saved for backward; parameters,
   * gradients and all sums stay f32. f16 needs an adapter with shader-f16.
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
  const config: LanguageModelConfig = given({ ...LANGUAGE_MODEL_DEFAULTS, ...given(options ?? {}) });
  checkOneOf("cell", config.cell, CELL_NAMES);
  checkOneOf("input", config.input, ["embedding", "one-hot"]);
  checkOneOf("orthogonal", config.orthogonal, [true, false]);
  checkOneOf("precision", config.precision, ["f32", "f16"]);
  for (const field of ["vocabSize", "embeddingSize", "hiddenSize"] as const) checkInteger(field, config[field], 1, 65536);
  checkInteger("numLayers", config.numLayers, 1, 64);
  checkNumber("dropout", config.dropout, (p) => p >= 0 && p < 1, "at least 0 and less than 1");
  checkCellOptions("", config);
  return config;
}

/** The parameters of a model of this configuration, in the order in which they lie on the device. */
export function parameterSpecs(config: LanguageModelConfig): readonly ParameterSpec[] {
  const { vocabSize: V, embeddingSize: E, hiddenSize: H, input } = config;
  const bound = 1 / Math.sqrt(H);
  return [
    ...(input === "embedding" ? [plainParameter("embedding.weight", [V, E], { kind: "normal" })] : []),
    ...stackParameters(config, input === "embedding" ? E : V, PREFIX),
    plainParameter("head.weight", [V, H], { kind: "uniform", bound }),
    plainParameter("head.bias", [V], { kind: "uniform", bound }),
  ];
}

/** In front of the names of a model's recurrent parameters. */
export const PREFIX = "rnn.";

/** The tensors of the state of B streams under their names in checkpoints: "state.h" [L, B, H], … */
export const stateSpecs = (config: LanguageModelConfig, B: number): readonly StateSpec[] =>
  stackStates(config, B).map(({ name, shape }) => ({ name: `state.${name}`, shape }));

/** Number of parameters of a model of this configuration. @throws GatewiseError E_CONFIG */
export const parameterCount = (config: LanguageModelConfig): number =>
  parameterSpecs(languageModelConfig(config)).reduce((sum, { shape }) => sum + sizeOf(shape), 0);

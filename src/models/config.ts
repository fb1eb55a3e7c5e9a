// The configuration of a language model: its fields, defaults, presets and parameters.
import { checkInteger, checkNumber, checkOneOf, checkOptions, given } from "../checks.ts";
import { sizeOf } from "../runtime/tensor.ts";
import { CELL_NAMES, cellOf, checkCellOptions, type CellName } from "./cells.ts";
import { layerParameters, plainParameter, type ParameterSpec } from "./parameters.ts";

export interface LanguageModelConfig {
  readonly cell: CellName;
  readonly input: "embedding" | "one-hot";
  readonly vocabSize: number;
  /** E; unused with one-hot input. */
  readonly embeddingSize: number;
  readonly hiddenSize: number;
  readonly numLayers: number;
  /** Probability of zeroing an output between layers while training. */
  readonly dropout: number;
  /** GRU: whether the reset gate acts after the recurrent product (cuDNN, PyTorch) or before it (Cho et al. 2014). */
  readonly resetAfter: boolean;
  /** RNN: tanh, or relu. */
  readonly nonlinearity: "tanh" | "relu";
  /** LSTM: constant to start the forget gate's bias from; undefined leaves PyTorch's uniform values. */
  readonly forgetBias?: number | undefined;
  /** Start from orthogonal recurrent weights instead of uniform ones. */
  readonly orthogonal: boolean;
  /**
   * Format of the recurrent weights as the steps read them and of the activations saved for backward; parameters,
   * gradients and all sums stay f32. f16 needs an adapter with shader-f16.
   */
  readonly precision: "f32" | "f16";
}

/** The four steps of the evolution. */
export const PRESETS = {
  "one-hot-rnn": { cell: "rnn", input: "one-hot" },
  "embedding-rnn": { cell: "rnn", input: "embedding" },
  gru: { cell: "gru", input: "embedding" },
  lstm: { cell: "lstm", input: "embedding" },
} as const satisfies Record<string, Partial<LanguageModelConfig>>;
export type PresetName = keyof typeof PRESETS;
export const PRESET_NAMES = Object.keys(PRESETS) as readonly PresetName[];

export const LANGUAGE_MODEL_DEFAULTS = {
  cell: "lstm",
  input: "embedding",
  embeddingSize: 64,
  hiddenSize: 128,
  numLayers: 1,
  dropout: 0,
  resetAfter: true,
  nonlinearity: "tanh",
  forgetBias: undefined,
  orthogonal: false,
  precision: "f32",
} as const satisfies Required<Omit<LanguageModelConfig, "vocabSize" | "forgetBias">> & { forgetBias: undefined };
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
  checkOneOf("nonlinearity", config.nonlinearity, ["tanh", "relu"]);
  checkOneOf("resetAfter", config.resetAfter, [true, false]);
  checkOneOf("orthogonal", config.orthogonal, [true, false]);
  checkOneOf("precision", config.precision, ["f32", "f16"]);
  for (const field of ["vocabSize", "embeddingSize", "hiddenSize"] as const) checkInteger(field, config[field], 1, 65536);
  checkInteger("numLayers", config.numLayers, 1, 64);
  checkNumber("dropout", config.dropout, (p) => p >= 0 && p < 1, "at least 0 and less than 1");
  if (config.forgetBias !== undefined) checkNumber("forgetBias", config.forgetBias, Number.isFinite, "a number");
  checkCellOptions("", config);
  return config;
}

/** The parameters of a model of this configuration, in the order in which they lie on the device. */
export function parameterSpecs(config: LanguageModelConfig): readonly ParameterSpec[] {
  const { vocabSize: V, embeddingSize: E, hiddenSize: H, numLayers, input } = config;
  const { gates } = cellOf(config);
  const specs: ParameterSpec[] = [];
  if (input === "embedding") specs.push(plainParameter("embedding.weight", [V, E], { kind: "normal" }));
  for (let l = 0; l < numLayers; l++) {
    const inputSize = l > 0 ? H : input === "embedding" ? E : V;
    const options = { orthogonal: config.orthogonal, ...(config.cell === "lstm" && { forgetBias: config.forgetBias }) };
    specs.push(...layerParameters(`l${l}`, [inputSize], H, gates, options).map((s) => ({ ...s, name: `rnn.${s.name}` })));
  }
  const bound = 1 / Math.sqrt(H);
  specs.push(plainParameter("head.weight", [V, H], { kind: "uniform", bound }));
  specs.push(plainParameter("head.bias", [V], { kind: "uniform", bound }));
  return specs;
}

/** Number of parameters of a model of this configuration. @throws GatewiseError E_CONFIG */
export const parameterCount = (config: LanguageModelConfig): number =>
  parameterSpecs(languageModelConfig(config)).reduce((sum, { shape }) => sum + sizeOf(shape), 0);

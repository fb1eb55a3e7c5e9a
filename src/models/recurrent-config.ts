// The configuration of a recurrent layer: its fields, defaults and parameters.
import { checkInteger, checkNumber, checkOneOf, checkOptions, checkSeed, given } from "../checks.ts";
import { BLOCK_OPTIONS, type BlockOptions } from "../kernels/block.ts";
import type { CellOption, ParameterSpec } from "../kernels/cell.ts";
import { CELL_NAMES, CELL_OPTIONS, cellOf, checkCellOptions, withOwnOptions, type CellName, type CellOptions } from "./cells.ts";
import { stackParameters } from "./stack.ts";

/** Without the options of blocks, which only language models have. */
export interface RecurrentConfig extends Omit<CellOptions, keyof BlockOptions> {
  /** The recurrent cell of every layer. */
  readonly cell: CellName;
  /** Length of an input row. */
  readonly inputSize: number;
  /** H */
  readonly hiddenSize: number;
  /** L */
  readonly numLayers: number;
  /** Probability of zeroing an output between layers, in a forward pass with `training: true`. */
  readonly dropout: number;
  /** D = 2: a second direction reads every row from its end. */
  readonly bidirectional: boolean;
  /** Whether there are biases; true by default. */
  readonly bias: boolean;
}

/** A configuration, with defaults for what is left out, and the seed of the first weights. */
export type RecurrentOptions = Partial<RecurrentConfig> & {
  readonly cell: CellName;
  readonly inputSize: number;
  readonly hiddenSize: number;
  /** Of the initial weights and of dropout, 0 to 2³² − 1; 1 by default. */
  readonly seed?: number;
};

/** The options of cells alone, without those of a block around them. */
type BareOptions = Omit<CellOptions, keyof BlockOptions>;

const bare = Object.entries<CellOption>(CELL_OPTIONS).filter(([name]) => !(name in BLOCK_OPTIONS));
export const BARE_NAMES = bare.map(([name]) => name as keyof BareOptions);
const DEFAULTS = {
  numLayers: 1,
  dropout: 0,
  bidirectional: false,
  bias: true,
  ...(Object.fromEntries(bare.map(([name, { fallback }]) => [name, fallback])) as unknown as BareOptions),
} as const satisfies Omit<RecurrentConfig, "cell" | "inputSize" | "hiddenSize">;
const NAMES = ["cell", "inputSize", "hiddenSize", "seed", ...Object.keys(DEFAULTS)];

/** Fills in defaults and checks every field. @throws GatewiseError E_CONFIG */
export function recurrentConfig(options: RecurrentOptions): { readonly config: RecurrentConfig; readonly seed: number } {
  checkOptions("Recurrent", options, NAMES, { hidden: "hiddenSize", layers: "numLayers" });
  const { seed, ...all } = { ...DEFAULTS, seed: 1, ...given(options ?? {}) };
  checkSeed("Recurrent: seed", seed);
  checkOneOf("Recurrent: cell", all.cell, CELL_NAMES);
  const config = withOwnOptions(all, cellOf);
  checkInteger("Recurrent: inputSize", config.inputSize, 1, 65536);
  checkInteger("Recurrent: hiddenSize", config.hiddenSize, 1, 65536);
  checkInteger("Recurrent: numLayers", config.numLayers, 1, 64);
  checkNumber("Recurrent: dropout", config.dropout, (p) => p >= 0 && p < 1, "at least 0 and less than 1");
  for (const field of ["bidirectional", "bias"] as const) checkOneOf(`Recurrent: ${field}`, config[field], [true, false]);
  checkCellOptions("Recurrent: ", config, cellOf);
  return { config, seed };
}

/** The parameters of a layer of this configuration, in the order in which they lie on the device. */
export const recurrentSpecs = (config: RecurrentConfig): readonly ParameterSpec[] => stackParameters(config, config.inputSize);

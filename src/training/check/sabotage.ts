// Ways to break a model on purpose: what proves that the check can fail. They look at what parameters a cell has, not at
// which cell it is.
import { IGNORE } from "../../data/batches.ts";
import type { ParameterSpec, Values } from "../../kernels/cell.ts";
import { cellOf } from "../../models/cells.ts";
import { modelLayers, type LanguageModelConfig } from "../../models/config.ts";
import { stackParameters } from "../../models/stack.ts";

/** On the device under test only. */
export const BREAKAGES = [
  "swap-gates",
  "drop-bias",
  "reset-before",
  "transpose",
  "shift-time",
  "zero-gradient",
  "skip-last-row",
] as const;
/** A fault that `checkGradients` can be told to put in. */
export type Breakage = (typeof BREAKAGES)[number];

/** Some breakages are other forms of a cell: "gru-reset-before". */
export const breakConfig = (config: LanguageModelConfig, breakage: Breakage | undefined): LanguageModelConfig => ({
  ...config,
  ...cellOf(config).forms[`${config.cell}-${breakage}`],
});

/** The parameters of the first layer. */
function firstLayer(config: LanguageModelConfig): readonly ParameterSpec[] {
  const { input, vocabSize: V, embeddingSize: E } = config;
  return stackParameters({ ...config, numLayers: 1 }, input === "embedding" ? E : V, modelLayers(config));
}

export function breakWeights(weights: Values, config: LanguageModelConfig, breakage: Breakage | undefined): Values {
  const H = config.hiddenSize;
  const specs = firstLayer(config);
  // One that has a square block for each gate, or else whatever matrix there is.
  const square = specs.filter(({ shape }) => shape[1] === H).at(-1);
  const { name, shape } = square ?? specs.find((spec) => spec.shape.length === 2)!;
  const [rows, columns] = shape as [number, number];
  const broken = Float64Array.from(weights[name]!);
  switch (breakage) {
    case "swap-gates": {
      // Of one gate only, two units change places instead.
      const size = square && rows > H ? H * H : columns;
      const first = broken.slice(0, size);
      broken.copyWithin(0, size, 2 * size).set(first, size);
      return { ...weights, [name]: broken };
    }
    case "transpose": {
      const R = square ? H : rows;
      for (let block = 0; block < broken.length; block += R * columns) {
        const before = broken.slice(block, block + R * columns);
        for (let i = 0; i < R; i++) for (let j = 0; j < columns; j++) broken[block + i * columns + j] = before[j * R + i]!;
      }
      return { ...weights, [name]: broken };
    }
    case "drop-bias": {
      const bias = specs.filter(({ shape }) => shape.length === 1).at(-1)!.name;
      return { ...weights, [bias]: new Float64Array(weights[bias]!.length) };
    }
    default:
      return weights;
  }
}

/** Breaks what a pass reads: tokens [T, B], one step late, or one row of targets left out. */
export function breakTokens(targets: Uint32Array, B: number, breakage: Breakage | undefined): { readonly shift: number } {
  if (breakage === "skip-last-row") for (let i = B - 1; i < targets.length; i += B) targets[i] = IGNORE;
  return { shift: breakage === "shift-time" ? B : 0 };
}

/** Breaks the gradients that a pass gave. */
export function breakGradients(
  gradients: Readonly<Record<string, { fill(value: number): unknown }>>,
  config: LanguageModelConfig,
  breakage: Breakage | undefined,
): void {
  if (breakage === "zero-gradient") gradients[firstLayer(config)[0]!.name]!.fill(0);
}

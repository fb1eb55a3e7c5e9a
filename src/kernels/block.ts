// The block that scan cells stand in within a language model, Mamba's (Gu & Dao 2023), the same for all of them:
//   x, z = in_proj(RMSNorm(r))      r′ = r + out_proj(cell(SiLU(conv1d(x))) ⊙ SiLU(z))
// A block is a cell made of a cell: what stacks, models and checkpoints know of cells holds for it too. D: the block's width,
// the model's hiddenSize; Di = expand·D: the units of the cell inside. Parameters have the names and shapes of
// MambaForCausalLM in Hugging Face's transformers.
import type { Recorder } from "../runtime/recorder.ts";
import { pad4 } from "../runtime/tensor.ts";
import {
  gateParameter,
  gateTensor,
  plainParameter,
  rowSum,
  type Cell,
  type CellConfig,
  type CellLayer,
  type CellOption,
  type LayerSite,
  type ParameterSpec,
  type Tensors,
  type Values,
} from "./cell.ts";
import { convState, convWeight, makeConv } from "./conv1d.ts";
import { recordMatmul, type Matrix } from "./matmul.ts";
import { sigmoid } from "./recurrent.ts";
import { EPSILON, makeNorm } from "./rms-norm.ts";
import { rowsOfTokens } from "./rows.ts";
import { siluGate } from "./silu-gate.ts";

/** Of cells that language models put in a block of Mamba's kind (Gu & Dao 2023). */
const MIXER = "mixer.";

/** Of cells that language models put in a block of Mamba's kind (Gu & Dao 2023). */
export interface BlockOptions {
  /** Units of the cell inside for each of the block's width. */
  readonly expand?: number | undefined;
  /** K, the steps that the convolution over time spans. */
  readonly convSize?: number | undefined;
}

export const BLOCK_OPTIONS: { readonly [K in keyof BlockOptions]-?: CellOption<BlockOptions[K]> } = {
  expand: {
    fallback: 2,
    range: [1, 16],
    own: true,
    fromShapes: (shapeOf, D) => shapeOf(`${MIXER}in_proj.weight`)[0]! / 2 / D,
    transformers: "expand",
    flags: "--expand <n>",
    help: "scan cells: units of the cell in a block for each of its width",
  },
  convSize: {
    fallback: 4,
    range: [2, 16],
    own: true,
    fromShapes: (shapeOf) => shapeOf(`${MIXER}conv1d.weight`)[2]!,
    transformers: "conv_kernel",
    flags: "--conv <n>",
    help: "scan cells: steps that a block's convolution over time spans",
  },
};

type BlockConfig<O> = CellConfig & O & BlockOptions;

const sizesOf = <O>({ hiddenSize: D, expand = 2, convSize: K = 4 }: BlockConfig<O>) => ({ D, Di: expand * D, K });

/** The configuration of the cell inside. */
export const insideOf = <O>(config: BlockConfig<O>): CellConfig & O => ({
  ...config,
  hiddenSize: sizesOf(config).Di,
  blockSize: config.hiddenSize,
});

/** What a block calls a parameter of its cell. */
export const nameInBlock = (cell: Cell, own: string): string => MIXER + (cell.block?.names[own] ?? own);

/** A block around a cell. */
export function blockOf<O extends object>(cell: Cell<O>): Cell<O & BlockOptions> {
  const nameOf = (own: string): string => nameInBlock(cell, own);
  const inside = (config: BlockConfig<O>): readonly ParameterSpec[] => cell.parameters(insideOf(config), [sizesOf(config).Di]);
  /** What a block has by its own names, by those that its cell gives them. */
  const ofCell = <T>(config: BlockConfig<O>, all: Readonly<Record<string, T>>): Readonly<Record<string, T>> =>
    Object.fromEntries(inside(config).map(({ name }) => [name, all[nameOf(name)]!]));
  return {
    ...cell,
    options: { ...optionsInBlock(cell.options, nameOf), ...BLOCK_OPTIONS } as unknown as Cell<O & BlockOptions>["options"],
    states(config) {
      const { Di, K } = sizesOf(config);
      return [...cell.states(insideOf(config)), { name: "conv", ...convState(Di, K) }];
    },
    parameters(config) {
      const { D, Di, K } = sizesOf(config);
      const uniform = (fanIn: number) => ({ kind: "uniform", bound: 1 / Math.sqrt(fanIn) }) as const;
      const conv = `${MIXER}conv1d.weight`;
      return [
        plainParameter("norm.weight", [D], { kind: "drawn", from: () => 1 }),
        gateParameter(`${MIXER}in_proj.weight`, [2, Di, D], { kind: "normal", deviation: 0.1 }),
        { name: conv, shape: [Di, 1, K], tensor: convWeight(conv, Di, K), initializer: uniform(K) },
        plainParameter(`${MIXER}conv1d.bias`, [Di], { kind: "drawn", from: () => 0 }),
        ...inside(config).map((spec) => ({ ...spec, name: nameOf(spec.name) })),
        plainParameter(`${MIXER}out_proj.weight`, [D, Di], uniform(Di)),
      ];
    },
    costs(config) {
      const { D, Di, K } = sizesOf(config);
      const own = cell.costs(insideOf(config), Di);
      return {
        inputWork: own.inputWork + 2 * Di * (3 * D + K),
        stepWork: own.stepWork,
        forwardValues: own.forwardValues + 2 * D + 4 * Di,
        backwardValues: own.backwardValues + 2 * D + 4 * Di,
      };
    },
    record: (recorder, site) => recordBlock(recorder, cell, site, (all) => ofCell(site.config, all)),
    step: (config, weights, x, states) => plainStep(cell, config, weights, ofCell(config, weights), x, states),
    flow: undefined,
  };
}

/** A cell's options, which read shapes by the names that a block gives its parameters. */
const optionsInBlock = (options: Readonly<Record<string, CellOption>>, nameOf: (own: string) => string) =>
  Object.fromEntries(
    Object.entries(options).map(([name, { fromShapes, ...option }]) => [
      name,
      {
        ...option,
        ...(fromShapes && { fromShapes: (shapeOf, D) => fromShapes((own) => shapeOf(nameOf(own)), D) }),
      } satisfies CellOption,
    ]),
  );

function recordBlock<O extends object>(
  recorder: Recorder,
  cell: Cell<O>,
  site: LayerSite<O & BlockOptions>,
  ofCell: (all: Tensors) => Tensors,
): CellLayer {
  const { name, T, B, config, weights, states } = site;
  const { D, Di, K } = sizesOf(config);
  const [R, W] = [T * B, pad4(Di)];
  const matrix = (of: Recorder, part: string, columns: number): Matrix => ({
    tensor: of.tensor({ name: `${name}.${part}`, shape: [T, B, columns] }),
    rows: R,
    columns,
  });
  const input = rowsOfTokens(recorder, site);
  const x = input.rows;
  const norm = makeNorm(recorder, `${name}.norm`, weights["norm.weight"]!, R, D);
  // x and z of a row lie side by side.
  const xz: Matrix = { tensor: gateTensor(recorder, `${name}.xz`, [T, B, 2, Di]), rows: R, columns: 2 * W };
  const conv = makeConv(recorder, {
    name: `${name}.conv`,
    T,
    B,
    K,
    channels: Di,
    x: xz.tensor,
    stride: 2 * W,
    weights: mixerOf(weights),
    states: states && { initial: states.initial.conv!, final: states.final.conv! },
  });
  const inside = cell.record(recorder, {
    name: `${name}.cell`,
    T,
    B,
    config: insideOf(config),
    weights: ofCell(weights),
    input: { parts: [conv.y] },
    states,
  });
  const gated = matrix(recorder, "gated", Di);
  const output = matrix(recorder, "output", D);
  const inProjection: Matrix = { tensor: weights[`${MIXER}in_proj.weight`]!, rows: 2 * W, columns: D };
  const outProjection: Matrix = { tensor: weights[`${MIXER}out_proj.weight`]!, rows: D, columns: Di };
  const { output: y } = inside;
  const gateSizes = { W, zColumn: W, zStride: 2 * W };

  return {
    output,
    tensors: { ...inside.tensors, u: conv.y.tensor, xz: xz.tensor, output: output.tensor },
    forward: {
      begin() {
        conv.begin();
        inside.forward.begin();
      },
      steps(t, count) {
        const [first, rows] = [t * B, count * B];
        const part = (of: Matrix): Matrix => ({ ...of, rows, firstRow: (of.firstRow ?? 0) + first });
        input.steps(first, rows);
        norm.forward(part(x), first, output.tensor);
        recordMatmul(recorder, "nt", part(norm.y), inProjection, part(xz));
        conv.steps(t, count);
        inside.forward.steps(t, count);
        const sizes = { ...gateSizes, N: rows, first, yFirst: (y.firstRow ?? 0) + first };
        recorder.dispatch(siluGate.forward, { y: y.tensor, z: xz.tensor, out: gated.tensor }, sizes);
        recordMatmul(recorder, "nt", part(gated), outProjection, part(output), { accumulate: true });
      },
      end() {
        conv.end();
        inside.forward.end();
      },
    },
    backward(back, gradients) {
      const d = gradients.weights;
      const dOutput: Matrix = { tensor: gradients.dOutput, rows: R, columns: D };
      const dY = matrix(back, "dY", Di);
      const dU = matrix(back, "dU", Di);
      const dNormed = matrix(back, "dNormed", D);
      const dXz: Matrix = { ...xz, tensor: gateTensor(back, `${name}.dXz`, [T, B, 2, Di]) };
      const insideBack = inside.backward(back, { dOutput: dY.tensor, weights: d && ofCell(d), inputs: [dU] });
      return {
        begin() {
          if (d) recordMatmul(back, "tn", dOutput, gated, { ...outProjection, tensor: d[`${MIXER}out_proj.weight`]! });
          recordMatmul(back, "nn", dOutput, outProjection, dY);
          const sizes = { ...gateSizes, N: R, first: 0, yFirst: y.firstRow ?? 0 };
          back.dispatch(siluGate.backward, { y: y.tensor, z: xz.tensor, d: dY.tensor, dZ: dXz.tensor }, sizes);
          insideBack.begin();
        },
        steps: insideBack.steps,
        end() {
          insideBack.end();
          conv.backward(back, dU.tensor, dXz.tensor, d && mixerOf(d));
          if (d) recordMatmul(back, "tn", dXz, norm.y, { ...inProjection, tensor: d[`${MIXER}in_proj.weight`]! });
          recordMatmul(back, "nn", dXz, inProjection, dNormed);
          input.backward(back, gradients.inputs[0]!, (dX) =>
            norm.backward(back, x, dNormed.tensor, { dX, dWeight: d?.["norm.weight"], past: dOutput.tensor }),
          );
        },
      };
    },
  };
}

/** A block's tensors without what stands in front of the mixer's names. */
const mixerOf = (tensors: Tensors): Tensors =>
  Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [name.replace(MIXER, ""), tensor]));

const times = (matrix: ArrayLike<number>, by: ArrayLike<number>): Float64Array =>
  Float64Array.from({ length: matrix.length / by.length }, (_, row) => rowSum(matrix, row, by));
export const silu = (value: number): number => value * sigmoid(value);

/** x and z of a row of the block's input, from dense weights. */
export function plainProjection(weights: Values, r: Float64Array): Float64Array {
  const scale = 1 / Math.sqrt(r.reduce((sum, value) => sum + value * value, 0) / r.length + EPSILON);
  const normed = r.map((value, i) => value * scale * weights["norm.weight"]![i]!);
  return times(weights[`${MIXER}in_proj.weight`]!, normed);
}

/** One step of one row, from dense weights. */
function plainStep<O extends object>(
  cell: Cell<O>,
  config: BlockConfig<O>,
  weights: Values,
  ofCell: Values,
  x: ArrayLike<number>,
  states: Values,
): Readonly<Record<string, Float64Array>> {
  const { Di, K } = sizesOf(config);
  const r = Float64Array.from(x);
  const xz = plainProjection(weights, r);
  const window = Float64Array.from({ length: Di * K }, (_, i) =>
    i % K === K - 1 ? xz[Math.floor(i / K)]! : states.conv![Math.floor(i / K) * (K - 1) + (i % K)]!,
  );
  const [convolution, bias] = [weights[`${MIXER}conv1d.weight`]!, weights[`${MIXER}conv1d.bias`]!];
  const u = Float64Array.from({ length: Di }, (_, c) => {
    return silu(rowSum(convolution, c, window.subarray(c * K, (c + 1) * K), bias[c]));
  });
  const inside = cell.step(insideOf(config), ofCell, u, states);
  const gated = (inside.output ?? inside.h!).map((value, c) => value * silu(xz[Di + c]!));
  const out = times(weights[`${MIXER}out_proj.weight`]!, gated);
  const conv = window.filter((_, i) => i % K > 0);
  return { ...inside, conv, output: out.map((value, i) => value + r[i]!) };
}

// A recurrent layer recorded for one T and B: its plans, forward and backward.
import { dropout } from "../kernels/dropout.ts";
import { embedding } from "../kernels/embedding.ts";
import { recordMatmul, type Matrix } from "../kernels/matmul.ts";
import { scatter } from "../kernels/scatter.ts";
import type { Plan } from "../runtime/device.ts";
import type { Recorder } from "../runtime/recorder.ts";
import { pad4, sizeOf, type NumberArray, type Tensor } from "../runtime/tensor.ts";
import { cellOf, type Cell, type StepGradients } from "./cells.ts";
import type { ParameterSet } from "./parameters.ts";
import { joinHalves, splitHalves, writeOrders, type RowOrders } from "./ragged-rows.ts";
import type { BackwardInputs, BackwardResult, ForwardInputs, ForwardResult } from "./recurrent-calls.ts";
import { suffixOf } from "./recurrent-config.ts";
import type { Recurrent } from "./recurrent.ts";
import {
  gateMatrix,
  gateTensor,
  makeLayer,
  makeLayerGradients,
  outputs,
  recordPack,
  recordSteps,
  recordStepsBackward,
  recordWeightHhGradient,
  type Layer,
  type LayerWeights,
} from "./recurrent-layer.ts";

/** One layer in one direction, inside a session. Rows of the second direction are in its own order, last step first. */
interface Direction {
  readonly l: number;
  readonly d: number;
  /** Its place in [L·D, B, H]. */
  readonly index: number;
  readonly layer: Layer;
  readonly weights: LayerWeights;
  /** What it reads, in its own order: x, or the outputs of each direction below. */
  readonly inputs: readonly Matrix[];
  /** Its outputs in the text's order, after dropout. */
  output: Matrix;
}

/** Plans and tensors for one T and B. */
export interface Session {
  readonly T: number;
  readonly B: number;
  readonly training: boolean;
  /** `counter` numbers the dropout masks. */
  forward(inputs: ForwardInputs, counter: number): Promise<ForwardResult>;
  backward(inputs: BackwardInputs): Promise<BackwardResult>;
  dispose(): void;
}

interface SessionTensors extends RowOrders {
  readonly x: Tensor;
  readonly h0: Tensor;
  readonly c0: Tensor;
  readonly hN: Tensor;
  readonly cN: Tensor;
  readonly rng: Tensor;
}

/** What a session needs of its layer. */
type Owner = Pick<Recurrent, "device" | "config" | "parameters" | "seed"> & { readonly gradients: ParameterSet };

export async function makeSession(
  owner: Owner,
  { T, B, training, signal }: Pick<ForwardInputs, "T" | "B" | "training" | "signal">,
): Promise<Session> {
  const { device, config, parameters, gradients } = owner;
  const { inputSize, hiddenSize: H, numLayers, bidirectional } = config;
  const cell = cellOf(config);
  const D = bidirectional ? 2 : 1;
  const W = pad4(H);

  const record = (recorder: Recorder): { readonly tensors: SessionTensors; readonly directions: readonly Direction[] } => {
    const directions: Direction[] = [];
    const u32 = (name: string, length: number): Tensor => recorder.tensor({ name, shape: [length], dtype: "u32" });
    const state = (name: string): Tensor => recorder.tensor({ name, shape: [numLayers * D, B, H] });
    const tensors: SessionTensors = {
      x: recorder.tensor({ name: "x", shape: [T, B, inputSize] }),
      h0: state("h0"),
      c0: state("c0"),
      hN: state("hN"),
      cN: state("cN"),
      rng: u32("rng", 4),
      reversed: u32("reversed", T * B),
      reversedOutput: u32("reversedOutput", T * B),
      finalHistory: u32("finalHistory", B),
      finalOutput: u32("finalOutput", B),
      endsAt: u32("endsAt", T * B),
      empty: u32("empty", B),
    };
    let below: readonly Matrix[] = [{ tensor: tensors.x, rows: T * B, columns: inputSize }];
    for (let l = 0; l < numLayers; l++) {
      const made = Array.from({ length: D }, (_, d) => recordDirection(recorder, tensors, l, d, below));
      directions.push(...made);
      below = made.map((direction) => direction.output);
    }
    return { tensors, directions };
  };

  /** Gathers the rows [T, B] of a tensor, or of a history [T + 1, B] without its first step, in the other order. */
  function recordReverse(recorder: Recorder, tensors: RowOrders, name: string, from: Matrix): Matrix {
    const y = recorder.tensor({ name, shape: [T, B, from.columns] });
    const index = from.firstRow ? tensors.reversedOutput : tensors.reversed;
    const W = pad4(from.columns);
    recorder.dispatch(embedding.forward, { tokens: index, weight: from.tensor, y }, { N: T * B, V: from.tensor.length / W, W });
    return { tensor: y, rows: T * B, columns: from.columns };
  }

  function recordDirection(
    recorder: Recorder,
    tensors: SessionTensors,
    l: number,
    d: number,
    below: readonly Matrix[],
  ): Direction {
    const name = suffixOf(l, d);
    const weights = weightsOf(parameters, l, d);
    const index = l * D + d;
    const inputs = d === 0 ? below : below.map((from, i) => recordReverse(recorder, tensors, `${name}.input${i}`, from));
    const xProjection = gateTensor(recorder, `${name}.xProjection`, [T, B, cell.gates, H]);
    const projected: Matrix = { tensor: xProjection, rows: T * B, columns: cell.gates * W };
    inputs.forEach((input, i) => {
      const bias = i === 0 && weights.biasIh ? { bias: weights.biasIh } : {};
      recordMatmul(recorder, "nt", input, inputWeights(weights.weightIh, i), projected, { ...bias, accumulate: i > 0 });
    });
    const shape = { cell, T, B, H, relu: config.nonlinearity === "relu" };
    const layer = makeLayer(recorder, name, shape, { xProjection, rows: tensors.finalHistory, gather: false });
    const { h, c } = layer.tensors;
    recorder.copy(tensors.h0, h, { fromOffset: index * B * W, length: B * W });
    if (c) recorder.copy(tensors.c0, c, { fromOffset: index * B * W, length: B * W });
    recordPack(recorder, layer, weights);
    recordSteps(recorder, layer);
    for (const [history, target] of [
      [h, tensors.hN],
      [c, tensors.cN],
    ] as const) {
      if (!history) continue;
      const y = recorder.tensor({ name: `${name}.final`, shape: [B, H] });
      recorder.dispatch(embedding.forward, { tokens: tensors.finalHistory, weight: history, y }, { N: B, V: (T + 1) * B, W });
      recorder.copy(y, target, { toOffset: index * B * W, length: B * W });
    }
    let output = d === 0 ? outputs(layer) : recordReverse(recorder, tensors, `${name}.output`, outputs(layer));
    if (training && l + 1 < numLayers) {
      const y = recorder.tensor({ name: `${name}.dropped`, shape: [T, B, H] });
      const offset = (output.firstRow ?? 0) * W;
      recorder.dispatch(
        dropout.forward,
        { x: output.tensor, rng: tensors.rng, y },
        { N: T * B, W, offset, layer: index, p: config.dropout },
      );
      output = { tensor: y, rows: T * B, columns: H };
    }
    return { l, d, index, layer, weights, inputs, output };
  }

  const plan = await device.record(`${config.cell} forward`, record, { signal });
  const { tensors, directions } = plan.made;
  const readFloats = (tensor: Tensor): Promise<Float32Array> => device.read(tensor) as Promise<Float32Array>;
  let backwardPlan: Plan<BackwardTensors> | undefined;
  let lengths: readonly number[] = [];
  const io = { T, B, D, H };
  return {
    T,
    B,
    training,
    async forward({ x, h0, c0, signal, ...inputs }, counter) {
      lengths = inputs.lengths ?? Array.from({ length: B }, () => T);
      const stateSize = numLayers * D * B * H;
      // Whatever stands past a row's end must not matter, not even if it is NaN.
      device.write(tensors.x, inputs.lengths ? splitHalves(x, { T, B, D: 1, H: inputSize }, lengths)[0]! : x);
      device.write(tensors.h0, h0 ?? new Float32Array(stateSize));
      if (cell.cellState) device.write(tensors.c0, c0 ?? new Float32Array(stateSize));
      device.write(tensors.rng, Uint32Array.of(owner.seed, counter, 0, 0));
      writeOrders(device, tensors, T, B, lengths);
      await plan.run([], signal);
      const halves = await Promise.all(
        directions
          .slice(-D)
          .map(({ layer, d, output }) =>
            readFloats(d === 0 ? layer.tensors.h : output.tensor).then((all) => (d === 0 ? all.subarray(B * H) : all)),
          ),
      );
      return {
        output: joinHalves(halves, io, lengths),
        hN: await readFloats(tensors.hN),
        cN: cell.cellState ? await readFloats(tensors.cN) : undefined,
      };
    },
    async backward({ dOutput, dhN, dcN, signal }) {
      backwardPlan ??= await recordBackward(owner, directions, tensors, { T, B, training }, signal);
      const { dOutputs, dhNs, dcNs, dx, dh0, dc0 } = backwardPlan.made;
      splitHalves(dOutput, io, lengths).forEach((half, d) => device.write(dOutputs[d]!, half));
      const slice = (values: NumberArray | undefined, i: number): NumberArray =>
        values?.subarray(i * B * H, (i + 1) * B * H) ?? new Float32Array(B * H);
      dhNs.forEach((tensor, i) => device.write(tensor, slice(dhN, i)));
      dcNs.forEach((tensor, i) => device.write(tensor, slice(dcN, i)));
      await backwardPlan.run([], signal);
      const values = await Promise.all(gradients.flat.parts.map(readFloats));
      return {
        dx: await readFloats(dx),
        dh0: await readFloats(dh0),
        dc0: cell.cellState ? await readFloats(dc0) : undefined,
        gradients: Object.fromEntries(gradients.specs.map(({ name }, i) => [name, values[i]!])),
      };
    },
    dispose() {
      backwardPlan?.dispose();
      plan.dispose();
    },
  };
}

interface BackwardTensors {
  readonly dOutputs: readonly Tensor[];
  readonly dhNs: readonly Tensor[];
  readonly dcNs: readonly Tensor[];
  readonly dx: Tensor;
  readonly dh0: Tensor;
  readonly dc0: Tensor;
}

function recordBackward(
  owner: Owner,
  directions: readonly Direction[],
  tensors: SessionTensors,
  { T, B, training }: { T: number; B: number; training: boolean },
  signal: AbortSignal | undefined,
): Promise<Plan<BackwardTensors>> {
  const { device, config, parameters, gradients } = owner;
  const { inputSize, hiddenSize: H, numLayers, bidirectional } = config;
  const cell = cellOf(config);
  const D = bidirectional ? 2 : 1;
  const W = pad4(H);
  const record = (recorder: Recorder): BackwardTensors => {
    const tensor = (name: string, ...shape: number[]): Tensor => recorder.tensor({ name, shape });
    const each = (name: string): Tensor[] => directions.map(({ l, d }) => tensor(`${name} ${suffixOf(l, d)}`, B, H));
    const dx = tensor("dx", T, B, inputSize);
    const made: BackwardTensors = {
      dOutputs: Array.from({ length: D }, (_, d) => tensor(`dOutput${d}`, T, B, H)),
      dhNs: each("dhN"),
      dcNs: cell.cellState ? each("dcN") : [],
      dx,
      dh0: tensor("dh0", numLayers * D, B, H),
      dc0: tensor("dc0", numLayers * D, B, H),
    };
    const steps = directions.map(({ l, d, layer, weights }) => makeLayerGradients(recorder, suffixOf(l, d), layer, weights));
    for (const { dCarry } of steps) if (dCarry) recorder.clear(dCarry);
    /** Gradients of the outputs of each direction of the layer at hand, in the text's order. */
    let dOutputs: readonly Tensor[] = made.dOutputs;
    for (let l = numLayers - 1; l >= 0; l--) {
      const below = l > 0 ? Array.from({ length: D }, (_, d) => tensor(`dOutput ${suffixOf(l - 1, d)}`, T, B, H)) : [dx];
      for (let d = 0; d < D; d++) {
        const direction = directions[l * D + d]!;
        recordDirectionBackward(recorder, made, direction, steps[l * D + d]!, dOutputs[d]!, below);
      }
      if (training && l > 0) {
        below.forEach((dX, d) =>
          recorder.dispatch(
            dropout.backward,
            { dX, rng: tensors.rng },
            { N: T * B, W, offset: 0, layer: (l - 1) * D + d, p: config.dropout },
          ),
        );
      }
      dOutputs = below;
    }
    return made;
  };

  function recordDirectionBackward(
    recorder: Recorder,
    made: BackwardTensors,
    direction: Direction,
    step: StepGradients,
    dOutput: Tensor,
    below: readonly Tensor[],
  ): void {
    const { l, d, index, layer, inputs } = direction;
    const dWeights = weightsOf(gradients, l, d);
    // In the direction's own order, with the final state's gradient added where each row ends.
    if (d === 0) recorder.copy(dOutput, step.dOutput);
    else
      recorder.dispatch(
        embedding.forward,
        { tokens: tensors.reversed, weight: dOutput, y: step.dOutput },
        { N: T * B, V: T * B, W },
      );
    recorder.dispatch(
      scatter.forward,
      { x: made.dhNs[index]!, index: tensors.finalOutput, y: step.dOutput },
      { N: B, W, indexOffset: 0 },
    );
    const addFinal = (t: number): void =>
      recorder.dispatch(
        scatter.forward,
        { x: made.dcNs[index]!, index: tensors.endsAt, y: step.dCarry! },
        { N: B, W, indexOffset: t * B },
      );
    recordStepsBackward(recorder, layer, step, weightsOf(parameters, l, d), cell.cellState ? addFinal : undefined);
    recordInitialGradients(recorder, cell, layer, step, index, tensors.empty, made);
    recordWeightHhGradient(recorder, layer, step.dGates, dWeights);
    const dProjection = gateMatrix(layer, step.dProjection);
    inputs.forEach((input, i) => {
      const rowSums = i === 0 ? dWeights.biasIh : undefined;
      recordMatmul(recorder, "tn", dProjection, input, inputWeights(dWeights.weightIh, i), { rowSums });
      const target: Matrix = { tensor: below[i]!, rows: T * B, columns: input.columns };
      const weight = inputWeights(weightsOf(parameters, l, d).weightIh, i);
      if (d === 0) {
        recordMatmul(recorder, "nn", dProjection, weight, target);
        return;
      }
      const own = { ...target, tensor: recorder.tensor({ name: "dInput", shape: [T, B, input.columns] }) };
      recordMatmul(recorder, "nn", dProjection, weight, own);
      recorder.dispatch(
        scatter.forward,
        { x: own.tensor, index: tensors.reversed, y: target.tensor },
        { N: T * B, W: pad4(input.columns), indexOffset: 0 },
      );
    });
  }
  return device.record(`${config.cell} backward`, record, { signal });
}

/**
 * Records dh0 = dGates[0] · W_hh (+ what is carried past the gates) and, for the LSTM, dc0. The final state of a row
 * without steps is its initial one, and so is its gradient.
 */
function recordInitialGradients(
  recorder: Recorder,
  cell: Cell,
  layer: Layer,
  step: StepGradients,
  index: number,
  empty: Tensor,
  { dh0, dc0, dhNs, dcNs }: BackwardTensors,
): void {
  const { B, H } = layer.shape;
  const W = pad4(H);
  const place = { toOffset: index * B * W, length: B * W };
  const rows = { N: B, W, indexOffset: 0 };
  if (cell.cellState) {
    recorder.dispatch(scatter.forward, { x: dcNs[index]!, index: empty, y: step.dCarry! }, rows);
    recorder.copy(step.dCarry!, dc0, place);
  }
  const carriesH = cell.carry && !cell.cellState;
  const dh = carriesH ? step.dCarry! : recorder.tensor({ name: "dh0", shape: [B, H] });
  // The candidate of a reset-before GRU multiplies r ⊙ h: its part is in what is carried.
  const gates = cell.resetBefore ? 2 : cell.gates;
  const first: Matrix = { tensor: step.dGates, rows: B, columns: gates * W, stride: cell.gates * W };
  recordMatmul(
    recorder,
    "nn",
    first,
    { tensor: step.weight, rows: gates * W, columns: H },
    { tensor: dh, rows: B, columns: H },
    { accumulate: carriesH },
  );
  recorder.dispatch(scatter.forward, { x: dhNs[index]!, index: empty, y: dh }, rows);
  recorder.copy(dh, dh0, place);
}

const weightsOf = ({ byName }: ParameterSet, l: number, d: number): LayerWeights => ({
  weightIh: byName[`weight_ih_${suffixOf(l, d)}`]!,
  weightHh: byName[`weight_hh_${suffixOf(l, d)}`]!,
  biasIh: byName[`bias_ih_${suffixOf(l, d)}`],
  biasHh: byName[`bias_hh_${suffixOf(l, d)}`],
});

/** The columns of W_ih that multiply input i: all of them, or those of direction i below. */
function inputWeights(weightIh: Tensor, i: number): Matrix {
  const [gates, units, ...inner] = weightIh.stored as [number, number, ...number[]];
  const columns = weightIh.shape.at(-1)!;
  return { tensor: weightIh, rows: gates * units, columns, firstColumn: i * pad4(columns), stride: sizeOf(inner) };
}

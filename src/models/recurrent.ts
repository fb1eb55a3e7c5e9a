// A recurrent layer on any input, like torch.nn.RNN, GRU and LSTM: stacked, bidirectional, with rows of unequal length.
import { GatewiseError } from "../errors.ts";
import { dropout } from "../kernels/dropout.ts";
import { embedding } from "../kernels/embedding.ts";
import { recordMatmul, type Matrix } from "../kernels/matmul.ts";
import { NOWHERE, scatter } from "../kernels/scatter.ts";
import type { Device, Plan } from "../runtime/device.ts";
import type { Recorder } from "../runtime/recorder.ts";
import { pad4, sizeOf, type NumberArray, type Tensor } from "../runtime/tensor.ts";
import { CELL_NAMES, cellOf, type Cell, type CellName, type StepGradients } from "./cells.ts";
import {
  initialValues,
  layerParameters,
  makeParameterSet,
  readStateDict,
  writeStateDict,
  type ParameterSet,
  type ParameterSpec,
  type StateDict,
} from "./parameters.ts";
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

export interface RecurrentConfig {
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
  readonly bias: boolean;
  /** GRU: whether the reset gate acts after the recurrent product (cuDNN, PyTorch) or before it (Cho et al. 2014). */
  readonly resetAfter: boolean;
  /** RNN: tanh, or relu. */
  readonly nonlinearity: "tanh" | "relu";
}

export type RecurrentOptions = Partial<RecurrentConfig> & {
  readonly cell: CellName;
  readonly inputSize: number;
  readonly hiddenSize: number;
  readonly seed?: number;
};

const DEFAULTS = { numLayers: 1, dropout: 0, bidirectional: false, bias: true, resetAfter: true, nonlinearity: "tanh" } as const;

export interface ForwardOptions {
  /** Time steps and rows of the batch. */
  readonly T: number;
  readonly B: number;
  /** Initial states [L·D, B, H]; zero by default. c0 for the LSTM only. */
  readonly h0?: ArrayLike<number> | undefined;
  readonly c0?: ArrayLike<number> | undefined;
  /** Time steps of each row, 0 to T; later outputs are zero and hN is that of the row's own last step. */
  readonly lengths?: readonly number[] | undefined;
  /** Whether dropout acts; false by default. */
  readonly training?: boolean;
}

/** Results of a float64 device are Float64Arrays. */
export interface ForwardResult {
  /** [T, B, D·H] */
  readonly output: Float32Array;
  /** [L·D, B, H] */
  readonly hN: Float32Array;
  /** [L·D, B, H], LSTM only */
  readonly cN: Float32Array | undefined;
}

export interface BackwardResult {
  /** [T, B, inputSize] */
  readonly dx: Float32Array;
  /** [L·D, B, H] */
  readonly dh0: Float32Array;
  /** [L·D, B, H], LSTM only */
  readonly dc0: Float32Array | undefined;
  /** Under the parameters' names, in their shapes. */
  readonly gradients: Readonly<Record<string, Float32Array>>;
}

/** Fills in defaults and checks every field. @throws GatewiseError E_CONFIG */
function recurrentConfig(options: Partial<RecurrentConfig>): RecurrentConfig {
  const config = { ...DEFAULTS, ...options } as RecurrentConfig;
  const require = (ok: boolean, field: keyof RecurrentConfig, expected: string): void => {
    if (!ok) throw new GatewiseError("E_CONFIG", `Recurrent: ${field} must be ${expected}, got ${JSON.stringify(config[field])}`);
  };
  require(CELL_NAMES.includes(config.cell), "cell", `one of ${CELL_NAMES.join(", ")}`);
  for (const [field, most] of [
    ["inputSize", 65536],
    ["hiddenSize", 65536],
    ["numLayers", 64],
  ] as const) {
    require(Number.isInteger(config[field]) &&
      config[field] >= 1 &&
      config[field] <= most, field, `an integer from 1 to ${most}`);
  }
  require(config.dropout >= 0 && config.dropout < 1, "dropout", "at least 0 and less than 1");
  for (const field of ["bidirectional", "bias", "resetAfter"] as const)
    require(typeof config[field] === "boolean", field, "true or false");
  require(["tanh", "relu"].includes(config.nonlinearity), "nonlinearity", "tanh or relu");
  return config;
}

/** "l0", "l0_reverse", "l1", …: the suffix of PyTorch's parameter names. */
const suffixOf = (l: number, d: number): string => `l${l}${d === 1 ? "_reverse" : ""}`;

/**
 * A recurrent layer, time-major, with gradients of everything.
 *
 * @example
 * const layer = Recurrent.create(device, { cell: "lstm", inputSize: 3, hiddenSize: 16 });
 * const { output, hN, cN } = await layer.forward(x, { T, B });
 * const { dx, gradients } = await layer.backward(dOutput);
 */
export class Recurrent {
  private session: Session | undefined;
  private stepSession: Session | undefined;
  private seenTraining = 0;

  private constructor(
    readonly device: Device,
    readonly config: RecurrentConfig,
    readonly seed: number,
    readonly parameters: ParameterSet,
    private readonly gradients: ParameterSet,
  ) {}

  /** @throws GatewiseError E_CONFIG, E_LIMIT */
  static create(device: Device, options: RecurrentOptions): Recurrent {
    const { seed = 1, ...rest } = options;
    const config = recurrentConfig(rest);
    const { cell, inputSize, hiddenSize: H, numLayers, bidirectional, bias } = config;
    const { gates } = cellOf(config);
    const specs: ParameterSpec[] = [];
    for (let l = 0; l < numLayers; l++) {
      for (let d = 0; d <= Number(bidirectional); d++) {
        const input = l === 0 ? [inputSize] : bidirectional ? [2, H] : [H];
        specs.push(...layerParameters(suffixOf(l, d), input, H, gates, { bias }));
      }
    }
    const parameters = makeParameterSet(device, cell, specs);
    let gradients: ParameterSet;
    try {
      gradients = makeParameterSet(device, "gradients", specs);
    } catch (error) {
      device.free(parameters.flat.whole);
      throw error;
    }
    specs.forEach((spec, i) => device.write(parameters.flat.parts[i]!, initialValues(spec, seed, i)));
    return new Recurrent(device, config, seed, parameters, gradients);
  }

  stateDict(): Promise<StateDict> {
    return readStateDict(this.device, this.parameters);
  }

  /** @throws GatewiseError E_SHAPE */
  loadStateDict(values: Readonly<Record<string, ArrayLike<number>>>): void {
    writeStateDict(this.device, this.parameters, values);
  }

  /**
   * Runs x [T, B, inputSize] through the layer.
   *
   * @throws GatewiseError E_SHAPE naming the tensor, what was expected and what came; E_CONFIG for lengths out of range
   */
  async forward(x: ArrayLike<number>, options: ForwardOptions): Promise<ForwardResult> {
    checkForward(this.config, x, options);
    const { T, B } = options;
    const training = (options.training ?? false) && this.config.dropout > 0;
    if (this.session?.T !== T || this.session.B !== B || this.session.training !== training) {
      this.session?.dispose();
      this.session = undefined;
      this.session = await makeSession(this, T, B, training);
    }
    return this.session.forward(x, options, this.seenTraining++);
  }

  /**
   * Backpropagates through the last `forward`: dOutput [T, B, D·H], and optionally the gradients of hN and cN.
   *
   * @throws GatewiseError E_CONFIG before any forward pass, E_SHAPE
   */
  async backward(
    dOutput: ArrayLike<number>,
    finals: { readonly dhN?: ArrayLike<number> | undefined; readonly dcN?: ArrayLike<number> | undefined } = {},
  ): Promise<BackwardResult> {
    if (!this.session)
      throw new GatewiseError("E_CONFIG", "Recurrent.backward: call forward first; it keeps what backward needs");
    return this.session.backward(dOutput, finals, this.gradients);
  }

  /**
   * One time step, for streams: x [B, inputSize] and the state that the step before returned. Both directions need the
   * whole sequence, so that a bidirectional layer has no such form. The last `forward` is kept for `backward`.
   *
   * @throws GatewiseError E_CONFIG, E_SHAPE
   */
  async step(
    x: ArrayLike<number>,
    state: { readonly B: number; readonly h?: ArrayLike<number>; readonly c?: ArrayLike<number> | undefined },
  ): Promise<{ output: Float32Array; h: Float32Array; c: Float32Array | undefined }> {
    if (this.config.bidirectional)
      throw new GatewiseError("E_CONFIG", "Recurrent.step: a bidirectional layer reads whole sequences only");
    const options = { T: 1, B: state.B, h0: state.h, c0: state.c };
    checkForward(this.config, x, options);
    if (this.stepSession?.B !== state.B) {
      this.stepSession?.dispose();
      this.stepSession = undefined;
      this.stepSession = await makeSession(this, 1, state.B, false);
    }
    const { output, hN, cN } = await this.stepSession.forward(x, options, 0);
    return { output, h: hN, c: cN };
  }

  dispose(): void {
    this.session?.dispose();
    this.stepSession?.dispose();
    this.session = this.stepSession = undefined;
    this.device.free(this.parameters.flat.whole, this.gradients.flat.whole);
  }
  [Symbol.dispose](): void {
    this.dispose();
  }
}

function expectShape(name: string, values: ArrayLike<number>, shape: readonly (readonly [string, number])[]): void {
  const size = shape.reduce((product, [, n]) => product * n, 1);
  if (values.length === size) return;
  const letters = shape.map(([letter, n]) => `${letter}=${n}`).join(", ");
  throw new GatewiseError("E_SHAPE", `${name} must be [${letters}], that is ${size} values, got ${values.length}`);
}

function checkForward(config: RecurrentConfig, x: ArrayLike<number>, { T, B, h0, c0, lengths }: ForwardOptions): void {
  const { cell, inputSize, hiddenSize: H, numLayers, bidirectional } = config;
  for (const [name, n] of [
    ["T", T],
    ["B", B],
  ] as const) {
    if (!Number.isInteger(n) || n < 1)
      throw new GatewiseError("E_CONFIG", `${cell}.forward: ${name} must be an integer of at least 1, got ${n}`);
  }
  expectShape(`${cell}.forward: x`, x, [
    ["T", T],
    ["B", B],
    ["inputSize", inputSize],
  ]);
  const state = [
    ["L·D", numLayers * (bidirectional ? 2 : 1)],
    ["B", B],
    ["H", H],
  ] as const;
  if (h0) expectShape(`${cell}.forward: h0`, h0, state);
  if (c0 && !cellOf(config).cellState)
    throw new GatewiseError("E_SHAPE", `${cell}.forward: c0 was given, but only the lstm has a cell state`);
  if (c0) expectShape(`${cell}.forward: c0`, c0, state);
  if (!lengths) return;
  expectShape(`${cell}.forward: lengths`, lengths, [["B", B]]);
  const bad = lengths.find((n) => !Number.isInteger(n) || n < 0 || n > T);
  if (bad !== undefined)
    throw new GatewiseError("E_CONFIG", `${cell}.forward: lengths must be integers from 0 to T=${T}, got ${bad}`);
}

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
interface Session {
  readonly T: number;
  readonly B: number;
  readonly training: boolean;
  forward(x: ArrayLike<number>, options: ForwardOptions, counter: number): Promise<ForwardResult>;
  backward(
    dOutput: ArrayLike<number>,
    finals: { dhN?: ArrayLike<number> | undefined; dcN?: ArrayLike<number> | undefined },
    gradients: ParameterSet,
  ): Promise<BackwardResult>;
  dispose(): void;
}

interface SessionTensors {
  readonly x: Tensor;
  readonly h0: Tensor;
  readonly c0: Tensor;
  readonly hN: Tensor;
  readonly cN: Tensor;
  readonly rng: Tensor;
  /** u32 [T·B]: row t·B + b in the second direction's order; a permutation that is its own inverse. */
  readonly reversed: Tensor;
  /** The same among the rows of a history [T + 1, B]: the outputs in the text's order. */
  readonly reversedOutput: Tensor;
  /** u32 [B]: the row of each final state in a history [T + 1, B]. */
  readonly finalHistory: Tensor;
  /** u32 [B]: the row of each last output among [T, B]. */
  readonly finalOutput: Tensor;
  /** u32 [T, B]: b where row b ends after step t, else NOWHERE. */
  readonly endsAt: Tensor;
  /** u32 [B]: b where row b has no step at all, else NOWHERE. */
  readonly empty: Tensor;
}

async function makeSession(owner: Recurrent, T: number, B: number, training: boolean): Promise<Session> {
  const { device, config, parameters } = owner;
  const { inputSize, hiddenSize: H, numLayers, bidirectional } = config;
  const cell = cellOf(config);
  const D = bidirectional ? 2 : 1;
  const W = pad4(H);
  let tensors!: SessionTensors;
  const directions: Direction[] = [];

  const plan = await device.record(`${config.cell} forward`, (recorder) => {
    // Called again once kernels were tuned: only the last recording counts.
    directions.length = 0;
    const u32 = (name: string, length: number): Tensor => recorder.tensor({ name, shape: [length], dtype: "u32" });
    const state = (name: string): Tensor => recorder.tensor({ name, shape: [numLayers * D, B, H] });
    tensors = {
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
      const made = Array.from({ length: D }, (_, d) => recordDirection(recorder, l, d, below));
      directions.push(...made);
      below = made.map((direction) => direction.output);
    }
  });

  /** Gathers the rows [T, B] of a tensor, or of a history [T + 1, B] without its first step, in the other order. */
  function recordReverse(recorder: Recorder, name: string, from: Matrix): Matrix {
    const y = recorder.tensor({ name, shape: [T, B, from.columns] });
    const index = from.firstRow ? tensors.reversedOutput : tensors.reversed;
    const W = pad4(from.columns);
    recorder.dispatch(embedding.forward, { tokens: index, weight: from.tensor, y }, { N: T * B, V: from.tensor.length / W, W });
    return { tensor: y, rows: T * B, columns: from.columns };
  }

  function recordDirection(recorder: Recorder, l: number, d: number, below: readonly Matrix[]): Direction {
    const name = suffixOf(l, d);
    const weights = weightsOf(parameters, l, d);
    const index = l * D + d;
    const inputs = d === 0 ? below : below.map((from, i) => recordReverse(recorder, `${name}.input${i}`, from));
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
    let output = d === 0 ? outputs(layer) : recordReverse(recorder, `${name}.output`, outputs(layer));
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

  const readFloats = (tensor: Tensor): Promise<Float32Array> => device.read(tensor) as Promise<Float32Array>;
  let backwardPlan: BackwardPlan | undefined;
  let lengths: readonly number[] = [];
  const io = { T, B, D, H };
  return {
    T,
    B,
    training,
    async forward(x, options, counter) {
      lengths = options.lengths ?? Array.from({ length: B }, () => T);
      const stateSize = numLayers * D * B * H;
      // Whatever stands past a row's end must not matter, not even if it is NaN.
      device.write(tensors.x, options.lengths ? splitHalves(x, { T, B, D: 1, H: inputSize }, lengths)[0]! : typed(x));
      device.write(tensors.h0, options.h0 ? typed(options.h0) : new Float32Array(stateSize));
      if (cell.cellState) device.write(tensors.c0, options.c0 ? typed(options.c0) : new Float32Array(stateSize));
      device.write(tensors.rng, Uint32Array.of(owner.seed, counter, 0, 0));
      writeOrders(device, tensors, T, B, lengths);
      await plan.run();
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
    async backward(dOutput, { dhN, dcN }, gradients) {
      const state = [
        ["L·D", numLayers * D],
        ["B", B],
        ["H", H],
      ] as const;
      expectShape(`${config.cell}.backward: dOutput`, dOutput, [
        ["T", T],
        ["B", B],
        ["D·H", D * H],
      ]);
      if (dhN) expectShape(`${config.cell}.backward: dhN`, dhN, state);
      if (dcN && !cell.cellState)
        throw new GatewiseError("E_SHAPE", `${config.cell}.backward: dcN was given, but only the lstm has a cell state`);
      if (dcN) expectShape(`${config.cell}.backward: dcN`, dcN, state);
      backwardPlan ??= await recordBackward(owner, directions, tensors, gradients, { T, B, training });
      const { dOutputs, dhNs, dcNs, dx, dh0, dc0 } = backwardPlan;
      splitHalves(dOutput, io, lengths).forEach((half, d) => device.write(dOutputs[d]!, half));
      const slice = (values: ArrayLike<number> | undefined, i: number): NumberArray =>
        values ? typed(values).subarray(i * B * H, (i + 1) * B * H) : new Float32Array(B * H);
      dhNs.forEach((tensor, i) => device.write(tensor, slice(dhN, i)));
      dcNs.forEach((tensor, i) => device.write(tensor, slice(dcN, i)));
      await backwardPlan.plan.run();
      const values = await Promise.all(gradients.flat.parts.map(readFloats));
      return {
        dx: await readFloats(dx),
        dh0: await readFloats(dh0),
        dc0: cell.cellState ? await readFloats(dc0) : undefined,
        gradients: Object.fromEntries(gradients.specs.map(({ name }, i) => [name, values[i]!])),
      };
    },
    dispose() {
      backwardPlan?.plan.dispose();
      plan.dispose();
    },
  };
}

interface BackwardPlan {
  readonly plan: Plan;
  readonly dOutputs: readonly Tensor[];
  readonly dhNs: readonly Tensor[];
  readonly dcNs: readonly Tensor[];
  readonly dx: Tensor;
  readonly dh0: Tensor;
  readonly dc0: Tensor;
}

async function recordBackward(
  owner: Recurrent,
  directions: readonly Direction[],
  tensors: SessionTensors,
  gradients: ParameterSet,
  { T, B, training }: { T: number; B: number; training: boolean },
): Promise<BackwardPlan> {
  const { device, config, parameters } = owner;
  const { inputSize, hiddenSize: H, numLayers, bidirectional } = config;
  const cell = cellOf(config);
  const D = bidirectional ? 2 : 1;
  const W = pad4(H);
  let made!: Omit<BackwardPlan, "plan">;
  const plan = await device.record(`${config.cell} backward`, (recorder) => {
    const tensor = (name: string, ...shape: number[]): Tensor => recorder.tensor({ name, shape });
    const each = (name: string): Tensor[] => directions.map(({ l, d }) => tensor(`${name} ${suffixOf(l, d)}`, B, H));
    const dx = tensor("dx", T, B, inputSize);
    made = {
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
        recordDirectionBackward(recorder, direction, steps[l * D + d]!, dOutputs[d]!, below);
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
  });

  function recordDirectionBackward(
    recorder: Recorder,
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
  return { plan, ...made };
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
  { dh0, dc0, dhNs, dcNs }: Omit<BackwardPlan, "plan">,
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

/** Writes what order the second direction reads in, and where rows end. */
function writeOrders(device: Device, tensors: SessionTensors, T: number, B: number, lengths: readonly number[]): void {
  const reversed = new Uint32Array(T * B);
  const endsAt = new Uint32Array(T * B).fill(NOWHERE);
  lengths.forEach((length, b) => {
    for (let t = 0; t < T; t++) reversed[t * B + b] = (t < length ? length - 1 - t : t) * B + b;
    if (length > 0) endsAt[(length - 1) * B + b] = b;
  });
  device.write(tensors.reversed, reversed);
  device.write(
    tensors.reversedOutput,
    reversed.map((row) => row + B),
  );
  device.write(
    tensors.finalHistory,
    Uint32Array.from(lengths, (length, b) => length * B + b),
  );
  device.write(
    tensors.finalOutput,
    Uint32Array.from(lengths, (length, b) => (length > 0 ? (length - 1) * B + b : NOWHERE)),
  );
  device.write(
    tensors.empty,
    Uint32Array.from(lengths, (length, b) => (length > 0 ? NOWHERE : b)),
  );
  device.write(tensors.endsAt, endsAt);
}

interface HalfShape {
  readonly T: number;
  readonly B: number;
  readonly D: number;
  readonly H: number;
}

/** The outputs of each direction [T, B, H] as [T, B, D·H], zero past the end of a row. */
function joinHalves(halves: readonly Float32Array[], { T, B, D, H }: HalfShape, lengths: readonly number[]): Float32Array {
  const out = new (halves[0]!.constructor as Float32ArrayConstructor)(T * B * D * H);
  forEachValidRow(T, B, lengths, (row) =>
    halves.forEach((half, d) => out.set(half.subarray(row * H, (row + 1) * H), (row * D + d) * H)),
  );
  return out;
}

/** The opposite: the part of each direction, zero past the end of a row. */
function splitHalves(values: ArrayLike<number>, { T, B, D, H }: HalfShape, lengths: readonly number[]): NumberArray[] {
  const all = typed(values);
  const halves = Array.from({ length: D }, () => new (all.constructor as Float32ArrayConstructor)(T * B * H));
  forEachValidRow(T, B, lengths, (row) =>
    halves.forEach((half, d) => half.set(all.subarray((row * D + d) * H, (row * D + d + 1) * H) as Float32Array, row * H)),
  );
  return halves;
}

function forEachValidRow(T: number, B: number, lengths: readonly number[], visit: (row: number) => void): void {
  for (let t = 0; t < T; t++) for (let b = 0; b < B; b++) if (t < lengths[b]!) visit(t * B + b);
}

const typed = (values: ArrayLike<number>): Float32Array | Float64Array =>
  values instanceof Float32Array || values instanceof Float64Array ? values : Float64Array.from(values);

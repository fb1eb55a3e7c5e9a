// mamba: the selective state space model S6 (Gu & Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces",
// 2023), whose steps depend on the input. Each channel has N numbers of state:
//   dt ‖ B ‖ C = x · x_projᵀ, Δ = softplus(dt · dt_projᵀ + bias), A = −e^A_log,
//   h′ = e^(ΔA) h + ΔBx, y = C·h′ + D ⊙ x.
// Parameters have the names and shapes of Hugging Face's transformers. R: the width of dt.
import type { Recorder } from "../runtime/recorder.ts";
import { pad4, type Tensor } from "../runtime/tensor.ts";
import {
  checkOwnWidth,
  gateTensor,
  plainParameter,
  rowSum,
  type Cell,
  type CellConfig,
  type CellLayer,
  type LayerSite,
  type ParameterSpec,
  type UnitFlow,
  type Values,
} from "./cell.ts";
import { recordMatmul, type Matrix } from "./matmul.ts";
import { reduce } from "./reduce.ts";
import { KEPT, layerShape, partialsShape, selectiveScan, stateRows } from "./selective-scan.ts";
import { STATE_SIZE, stateSizeOption, type StateSizeOption } from "./state-size.ts";

/** Of Mamba's selective scan. */
export interface MambaOptions extends StateSizeOption {
  /** R; a sixteenth of the width, that of the block if there is one, if left out. */
  readonly timeStepRank?: number | undefined;
}

type MambaConfig = CellConfig & MambaOptions;

const sizesOf = ({ hiddenSize: H, blockSize, stateSize: N = STATE_SIZE, timeStepRank }: MambaConfig) => ({
  H,
  N,
  R: timeStepRank ?? Math.ceil((blockSize ?? H) / 16),
});

/** Work that one dispatch may hold: what keeps it under a quarter of a second. */
const DISPATCH_WORK = { software: 1e9, wasm: 1e9, gpu: 4e9 } as const;

export const mambaCell: Cell<MambaOptions, "mamba"> = {
  options: {
    stateSize: { ...stateSizeOption, fromShapes: (shapeOf) => shapeOf("A_log")[1]! },
    timeStepRank: {
      fallback: undefined,
      range: [1, 65536],
      own: true,
      fromShapes: (shapeOf) => shapeOf("dt_proj.weight")[1]!,
      transformers: "time_step_rank",
      flags: "--time-step-rank <n>",
      help: "mamba: numbers of which the steps Δ of all channels are made",
    },
  },
  forms: { mamba: {} },
  gates: ["Δ"],
  onlyF32: true,
  block: {
    names: {},
    transformers: {
      modelType: "mamba",
      architecture: "MambaForCausalLM",
      fields(config) {
        const { H, R } = sizesOf(config);
        return { intermediate_size: H, time_step_rank: R };
      },
    },
  },
  states: (config) => {
    const { H, N } = sizesOf(config);
    return [{ name: "h", shape: [H, N] }];
  },
  parameters,
  costs(config) {
    const { H, N, R } = sizesOf(config);
    return {
      inputWork: 2 * H * (2 * R + 2 * N),
      stepWork: 8 * H * N,
      forwardValues: 2 * H + R + 2 * N + (H * N) / KEPT,
      backwardValues: H + R + 2 * N + (H * N) / 16,
    };
  },
  record: recordLayer,
  step: (config, weights, x, before) => plainStep(config, weights, x, before).after,
  flow: (config, weights, x, before) => plainStep(config, weights, x, before).flow,
};

function parameters(config: MambaConfig, input: readonly number[]): readonly ParameterSpec[] {
  const { H, N, R } = sizesOf(config);
  checkOwnWidth("mamba", input, H);
  // Δ is log-uniform in [10⁻³, 10⁻¹] at first; this is what softplus makes it of.
  const beforeSoftplus = (u: number): number => {
    const delta = Math.exp(Math.log(1e-3) + u * Math.log(100));
    return delta + Math.log(-Math.expm1(-delta));
  };
  return [
    plainParameter("x_proj.weight", [R + 2 * N, H], { kind: "normal", deviation: 0.1 }),
    plainParameter("dt_proj.weight", [H, R], { kind: "uniform", bound: 1 / Math.sqrt(R) }),
    ...(config.bias === false ? [] : [plainParameter("dt_proj.bias", [H], { kind: "drawn", from: beforeSoftplus })]),
    { ...plainParameter("A_log", [H, N], { kind: "drawn", from: (_, i) => Math.log((i % N) + 1) }), decay: false },
    { ...plainParameter("D", [H], { kind: "drawn", from: () => 1 }), decay: false },
  ];
}

function recordLayer(recorder: Recorder, site: LayerSite<MambaOptions>): CellLayer {
  const { name, T, B, config, input, states, ends } = site;
  const weights = site.weights as Readonly<Record<string, Tensor>>;
  const { H, N, R } = sizesOf(config);
  const [W, S] = [pad4(H), pad4(N)];
  const [x] = input.parts as readonly [Matrix];
  const tensor = (of: Recorder, part: string, shape: readonly number[]): Tensor => of.tensor({ name: `${name}.${part}`, shape });
  const rows = stateRows({ T, B, N });
  const layer = tensor(recorder, "layer", layerShape({ H, N }));
  const kept = tensor(recorder, "states", [rows.rows, H]);
  const delta = gateTensor(recorder, `${name}.delta`, [T, B, 1, H]);
  const xDbl: Matrix = { tensor: tensor(recorder, "xDbl", [T, B, R + 2 * N]), rows: T * B, columns: R + 2 * N };
  const y: Matrix = { tensor: tensor(recorder, "y", [T, B, H]), rows: T * B, columns: H };
  const steps: Matrix = { tensor: delta, rows: T * B, columns: H };
  /** Its first columns, dt. */
  const dtOf = (of: Matrix): Matrix => ({ ...of, columns: R, stride: pad4(R + 2 * N) });
  const xProjection = (tensor: Tensor): Matrix => ({ tensor, rows: R + 2 * N, columns: H });
  const dtProjection = (tensor: Tensor): Matrix => ({ tensor, rows: H, columns: R });
  const params = { T, B, H, N, R, xOffset: (x.firstRow ?? 0) * W };

  /** Moves states between a tensor as they are carried, [B, H, N], and the rows here from `row` on. */
  const load = (r: Recorder, from: Tensor, inOffset: number, row: number): void =>
    r.dispatch(
      selectiveScan.turn,
      { matrices: from, turned: kept },
      { batch: B, rows: H, columns: S, inOffset, outOffset: row * W },
    );
  const store = (r: Recorder, row: number, to: Tensor, outOffset: number): void =>
    r.dispatch(
      selectiveScan.turn,
      { matrices: kept, turned: to },
      { batch: B, rows: S, columns: H, inOffset: row * W, outOffset },
    );

  /** The most steps that one dispatch may do, a multiple of those between states that are kept. */
  const mostSteps = (r: Recorder, stepWork: number): number =>
    KEPT * Math.max(1, Math.floor(DISPATCH_WORK[r.family] / (KEPT * stepWork)));

  return {
    output: y,
    tensors: { gates: delta, y: y.tensor },
    forward: {
      begin() {
        recorder.dispatch(selectiveScan.prepare, { aLog: weights.A_log!, d: weights.D!, prepared: layer }, { H, N });
        if (states) load(recorder, states.initial.h!.tensor, states.initial.h!.offset, 0);
      },
      steps(t, count) {
        const part = (of: Matrix): Matrix => ({ ...of, rows: count * B, firstRow: (of.firstRow ?? 0) + t * B });
        recordMatmul(recorder, "nt", part(x), xProjection(weights["x_proj.weight"]!), part(xDbl));
        const bias = weights["dt_proj.bias"];
        recordMatmul(recorder, "nt", part(dtOf(xDbl)), dtProjection(weights["dt_proj.weight"]!), part(steps), { bias });
        recorder.dispatch(
          selectiveScan.softplus,
          { lengths: ends?.lengths ?? recorder.unused(), values: delta },
          { B, H, t, count, ragged: Number(ends !== undefined) },
        );
        const tensors = { x: x.tensor, xDbl: xDbl.tensor, layer, delta, states: kept, y: y.tensor };
        const most = mostSteps(recorder, selectiveScan.forward.work({ ...params, t, count: 1 }));
        for (let first = t, next; first < t + count; first = next) {
          next = Math.min(t + count, first - (first % KEPT) + most);
          recorder.dispatch(selectiveScan.forward, tensors, { ...params, t: first, count: next - first });
        }
      },
      end() {
        if (states) store(recorder, rows.final, states.final.h!.tensor, states.final.h!.offset);
      },
    },
    backward(back, gradients) {
      const { dOutput, inputs, states: dStates } = gradients;
      const [dx] = inputs as readonly [Matrix];
      const dDelta: Matrix = { tensor: dOutput, rows: T * B, columns: H };
      const dXDbl: Matrix = { ...xDbl, tensor: tensor(back, "dXDbl", xDbl.tensor.shape) };
      const partials = tensor(back, "partials", partialsShape({ T, B, H, N }));
      return {
        begin() {
          // Gradients of states, of A and of D lie behind one another.
          const first = dStates ? rows.ofA : rows.gradient;
          back.clear({ ...kept, offset: kept.offset + first * W, length: (rows.rows - first) * W });
          if (dStates) load(back, dStates.final.h!, 0, rows.gradient);
        },
        steps(t, count) {
          const tensors = { x: x.tensor, xDbl: xDbl.tensor, layer, delta, dOutput, dX: dx.tensor, partials, kept };
          const most = mostSteps(back, selectiveScan.backward.work({ ...params, t, count: 1 }));
          for (let before = t + 1, low; before > t + 1 - count; before = low) {
            low = Math.max(t + 1 - count, KEPT * Math.ceil(before / KEPT) - most);
            back.dispatch(selectiveScan.backward, tensors, { ...params, t: before - 1, count: before - low });
          }
        },
        end() {
          if (dStates) store(back, rows.gradient, dStates.initial.h!.tensor, dStates.initial.h!.offset);
          // Of dt first, since this writes what pads dt, where B begins.
          recordMatmul(back, "nn", dDelta, dtProjection(weights["dt_proj.weight"]!), dtOf(dXDbl));
          back.dispatch(selectiveScan.sums, { parts: partials, dXDbl: dXDbl.tensor }, { T, B, H, N, R });
          recordMatmul(back, "nn", dXDbl, xProjection(weights["x_proj.weight"]!), dx, { accumulate: true });
          if (gradients.weights) recordWeights(gradients.weights as Readonly<Record<string, Tensor>>);
        },
      };

      function recordWeights(d: Readonly<Record<string, Tensor>>): void {
        const rowSums = d["dt_proj.bias"];
        recordMatmul(back, "tn", dDelta, dtOf(xDbl), dtProjection(d["dt_proj.weight"]!), { rowSums });
        recordMatmul(back, "tn", dXDbl, x, xProjection(d["x_proj.weight"]!));
        back.dispatch(
          selectiveScan.rates,
          { gathered: kept, scalars: layer, dALog: d.A_log! },
          { B, H, N, offset: rows.ofA * W },
        );
        back.dispatch(reduce.columns, { values: kept, out: d.D! }, { N: B, W, accumulate: 0, inOffset: rows.ofD * W });
      }
    },
  };
}

/** One step of one row, from dense weights. */
function plainStep(config: MambaConfig, weights: Values, x: ArrayLike<number>, { h }: Values) {
  const { H, N, R } = sizesOf(config);
  const xDbl = Array.from({ length: R + 2 * N }, (_, row) => rowSum(weights["x_proj.weight"]!, row, x));
  const dt = xDbl.slice(0, R);
  const after = { output: new Float64Array(H), h: new Float64Array(H * N), Δ: new Float64Array(H) };
  const flow = Array.from({ length: H }, (_, j): UnitFlow => {
    const sum = rowSum(weights["dt_proj.weight"]!, j, dt) + (weights["dt_proj.bias"]?.[j] ?? 0);
    const delta = Math.max(sum, 0) + Math.log1p(Math.exp(-Math.abs(sum)));
    let [kept, written] = [0, 0];
    for (let n = 0; n < N; n++) {
      const i = j * N + n;
      const old = Math.exp(-Math.exp(weights.A_log![i]!) * delta) * h![i]!;
      const put = delta * xDbl[R + n]! * x[j]!;
      after.h[i] = old + put;
      kept += xDbl[R + N + n]! * old;
      written += xDbl[R + N + n]! * put;
    }
    const past = weights.D![j]! * x[j]!;
    after.Δ[j] = delta;
    after.output[j] = past + kept + written;
    return { input: [sum], state: [0], before: {}, parts: { "C·e^(ΔA) h": kept, "C·ΔB x": written, "D x": past } };
  });
  return { after, flow };
}

// Cells that are a scan over a sequence (scan.ts): their gates' sums by one product over all steps, overwritten by what is
// kept of them, and the scan itself, in one dispatch or in two.
import type { Recorder } from "../runtime/recorder.ts";
import { divideUp } from "../runtime/kernel.ts";
import { sizeOf, type Tensor } from "../runtime/tensor.ts";
import {
  gateParameter,
  gateTensor,
  inParts,
  rowSum,
  SEQUENCE_WORK,
  type Cell,
  type CellConfig,
  type CellLayer,
  type Initializer,
  type LayerSite,
  type ParameterSpec,
  type UnitFlow,
  type Values,
} from "./cell.ts";
import { makeHistories, recordInitial } from "./histories.ts";
import { projectInput } from "./input-projection.ts";
import { recordScatter } from "./rows.ts";
import { lanesOf, type ScanEpilogues, type ScanKernel, type ScanParams } from "./scan.ts";

export interface ScanSpec extends ScanEpilogues {
  readonly name: string;
  readonly kernel: ScanKernel;
  /** The parts of the new h, for who looks inside. */
  readonly parts: (kept: Float64Array, before: number) => UnitFlow["parts"];
  /** What a block calls `weight_ih` and `bias_ih`, in front of ".weight" and ".bias". */
  readonly inBlock: string;
}

/** Chunks that a sequence is cut into at the most: each looks at the ends of all before it. */
const MOST_CHUNKS = 64;
/** Steps of a chunk at least. */
const LEAST_CHUNK = 64;
/** Lanes beyond which an adapter is busy without chunks, and steps below which nothing is gained by them. */
const FEW_LANES = { software: 128, wasm: 0, gpu: 4096 } as const;
const MANY_STEPS = 256;
/** The same, by so much, where it is not tried. */
const SIDE_BY_SIDE = 4;

export function scanCell(spec: ScanSpec): Cell<Record<never, never>> {
  const { name, gates, inBlock } = spec;
  const G = gates.length;
  return {
    options: {},
    forms: { [name]: {} },
    gates,
    onlyF32: true,
    block: { names: { weight_ih: `${inBlock}.weight`, bias_ih: `${inBlock}.bias` } },
    states: ({ hiddenSize }) => [{ name: "h", shape: [hiddenSize] }],
    parameters: (config, input) => parameters(config, input, G),
    costs: ({ hiddenSize: H }, inputSize) => ({
      inputWork: 2 * G * H * inputSize,
      stepWork: 15 * G * H,
      forwardValues: H * (1 + G),
      backwardValues: H * (1 + G),
    }),
    record: (recorder, site) => recordLayer(recorder, spec, site),
    step(config, weights, x, before) {
      const units = plainUnits(spec, config, weights, x, before);
      return {
        h: Float64Array.from(units, ({ h }) => h),
        ...Object.fromEntries(gates.map((gate, i) => [gate, Float64Array.from(units, ({ kept }) => kept[i]!)])),
      };
    },
    flow: (config, weights, x, before) => plainUnits(spec, config, weights, x, before).map(({ flow }) => flow),
  };
}

/** As torch's nn.Linear begins. */
function parameters({ hiddenSize: H, bias = true }: CellConfig, input: readonly number[], G: number): readonly ParameterSpec[] {
  const uniform: Initializer = { kind: "uniform", bound: 1 / Math.sqrt(sizeOf(input)) };
  return [gateParameter("weight_ih", [G, H, ...input], uniform), ...(bias ? [gateParameter("bias_ih", [G, H], uniform)] : [])];
}

function recordLayer(recorder: Recorder, { name: cell, kernel, gates: { length: G } }: ScanSpec, site: LayerSite): CellLayer {
  const { name, T, B, config, ends: rowEnds } = site;
  const H = config.hiddenSize;
  const projection = projectInput(recorder, site, G);
  const gates = projection.tensors.xProjection;
  const histories = makeHistories(recorder, site, ["h"]);
  const { h } = histories.tensors;

  /** Records `count` steps from t on, forward or back, each dispatch by `dispatch`. */
  const scan = (
    r: Recorder,
    way: "forward" | "backward",
    t: number,
    count: number,
    dispatch: (r: Recorder, form: "" | "Ends" | "Chunks", ends: Tensor, params: ScanParams) => void,
  ): void => {
    const lanes = lanesOf({ B, H });
    const oneDispatch = (r: Recorder): void => {
      const most = Math.floor(SEQUENCE_WORK[r.family] / kernel[way].work({ B, H, t, count: 1, chunk: 1 }));
      inParts(most, count, (done, part) =>
        dispatch(r, "", r.unused(), { B, H, t: way === "forward" ? t + done : t - done, count: part, chunk: part }),
      );
    };
    const twoDispatches = (r: Recorder): void => {
      const chunk = divideUp(count, Math.min(MOST_CHUNKS, divideUp(count, LEAST_CHUNK)));
      const ends = gateTensor(r, `${name}.ends`, [1 + divideUp(count, chunk), B, 2, H]);
      for (const form of ["Ends", "Chunks"] as const) dispatch(r, form, ends, { B, H, t, count, chunk });
    };
    if (count < MANY_STEPS || lanes > FEW_LANES[r.family]) return oneDispatch(r);
    const candidates = { "one dispatch": { record: oneDispatch }, "two dispatches": { record: twoDispatches } };
    r.choose(`${cell} ${way} of all steps`, [lanes, count], candidates, (family) =>
      lanes * SIDE_BY_SIDE <= FEW_LANES[family] && count >= SIDE_BY_SIDE * MANY_STEPS ? "two dispatches" : "one dispatch",
    );
  };

  return {
    output: histories.after,
    tensors: { ...histories.tensors, gates },
    forward: {
      begin() {
        histories.begin();
        projection.begin();
      },
      steps(t, count) {
        projection.steps(t, count);
        scan(recorder, "forward", t, count, (r, form, ends, params) =>
          r.dispatch(kernel[`forward${form}`], { ends, gates, h: h! }, params),
        );
      },
      end: histories.end,
    },
    backward(back, { dOutput, weights, inputs, states }) {
      const dProjection = gateTensor(back, `${name}.dProjection`, [T, B, G, H]);
      const dH = back.tensor({ name: `${name}.dH`, shape: [B, H] });
      return {
        begin() {
          back.clear(dH);
          if (states) recordScatter(back, states.final.h!, rowEnds!.finalOutput, dOutput);
        },
        steps(t, count) {
          const tensors = { dOutput, savedGates: gates, savedH: h!, dProjection, dH };
          scan(back, "backward", t, count, (r, form, ends, params) =>
            r.dispatch(kernel[`backward${form}`], { ends, ...tensors }, params),
          );
        },
        end() {
          if (states) recordInitial(back, site, states.initial.h!, dH, states.final.h!);
          projection.backward(back, dProjection, { weights, inputs });
        },
      };
    },
  };
}

interface PlainUnit {
  readonly h: number;
  readonly kept: Float64Array;
  readonly flow: UnitFlow;
}

/** One step of one row, unit by unit, from dense weights. */
function plainUnits(
  { gates, activate, stepOf, parts }: ScanSpec,
  { hiddenSize: H }: CellConfig,
  { weight_ih: weight, bias_ih: bias }: Values,
  x: ArrayLike<number>,
  { h }: Values,
): readonly PlainUnit[] {
  return Array.from({ length: H }, (_, u) => {
    const input = gates.map((_, gate) => {
      const row = gate * H + u;
      return rowSum(weight!, row, x, bias?.[row]);
    });
    const before = h![u]!;
    const kept = Float64Array.from(input);
    activate(kept);
    const [a, b] = stepOf(kept);
    const flow = { input, state: gates.map(() => 0), before: { h: before }, parts: parts(kept, before) };
    return { h: a * before + b, kept, flow };
  });
}

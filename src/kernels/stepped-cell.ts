// Cells that go step by step, each step a product of the state before with W_hh [G·H, H] in its kernel: rnn, gru, lstm and
// what is like them. A cell says its gates, its entry points and one unit's equations; parameters, tensors, the choice
// between a dispatch a step and one for many, and the gradients of weights and initial states are the same for all.
import type { Entry } from "../runtime/kernel.ts";
import type { Recorder } from "../runtime/recorder.ts";
import { pad4, type Tensor } from "../runtime/tensor.ts";
import { cast } from "./cast.ts";
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
  type Tensors,
  type UnitFlow,
  type UnitSums,
  type Values,
} from "./cell.ts";
import { makeHistories, recordInitial } from "./histories.ts";
import { projectInput, recordColumnSums } from "./input-projection.ts";
import { recordMatmul, type Matrix } from "./matmul.ts";
import { recordScatter } from "./rows.ts";
import { TRANSPOSE, transpose } from "./transpose.ts";

/**
 * A stepped cell. Its entry points bind these tensors by these names: xProjection, rows, packed, h (and c), gates forward;
 * dOutput, savedGates, savedH, savedC, weight, dGates, dProjection, and dH or dC backward. dProjection is there where the
 * gradients of x·W_ihᵀ and of h·W_hhᵀ differ; dH or dC carries the gradient of that state to the step before, past the
 * gates. An entry that binds `hidden` has h there, and in `h` what the entry before it left in `gatedH`: what the gates
 * from number `ofH` on multiply with W_hh instead of h.
 */
export interface SteppedSpec<O, F extends string = string> {
  readonly name: string;
  /** G names, in the order of the weights. */
  readonly gates: readonly string[];
  /** Values saved per unit and step for backward, besides the states: first the gates. */
  readonly saved: number;
  /** h, or h and c. */
  readonly states: readonly string[];
  readonly options: Cell<O>["options"];
  readonly forms: Cell<O, F>["forms"];
  readonly candidate?: NonNullable<Cell<O>["candidate"]>;
  readonly ofH?: number;
  /** The entry points of a step, in their order; where it is one, it can also do many steps. */
  readonly forward: readonly object[];
  readonly backward: readonly object[];
  /** Whether the steps' parameter `relu` is set. */
  readonly relu?: (config: O) => boolean;
  /** Values to begin from for a gate's bias. */
  readonly gateBias?: (config: O) => { readonly gate: number; readonly value: number } | undefined;
  /** One unit's step: its gates by number, and its states after it by name. The first gate makes gatedH, if there is one. */
  readonly unit: (sums: UnitSums, config: O) => UnitStep;
  /** What there is between the gates and the states, for who looks inside. */
  readonly parts?: (sums: UnitSums, step: UnitStep, config: O) => UnitFlow["parts"];
}

export interface UnitStep {
  readonly gates: readonly number[];
  readonly after: Readonly<Record<string, number>>;
}

/** Up to this many units a GPU streams the recurrent weights faster than it dispatches step by step. */
const SEQUENCE_UNITS = 256;
/** On a software adapter a step of more work than this costs more than its dispatch, and its barriers most. */
const SEQUENCE_STEP_WORK = 1e6;
/** Work of the steps that tell whether a sequence is faster. */
const TRIAL_WORK = 4e7;

export function steppedCell<O extends Record<never, never>, F extends string>(spec: SteppedSpec<O, F>): Cell<O, F> {
  const { gates, saved, states } = spec;
  const G = gates.length;
  const binds = (name: string): boolean => [...spec.forward, ...spec.backward].some((entry) => name in (entry as Entry).bindings);
  return {
    options: spec.options,
    forms: spec.forms,
    gates: saved > 0 ? gates : [],
    ...(spec.candidate && { candidate: spec.candidate }),
    states: ({ hiddenSize }) => states.map((name) => ({ name, shape: [hiddenSize] })),
    parameters: (config, input) => parameters(config, input, G, spec.gateBias?.(config)),
    costs: ({ hiddenSize: H }, inputSize) => ({
      inputWork: 2 * G * H * inputSize,
      stepWork: 2 * G * H * H,
      forwardValues: H * (states.length + saved),
      backwardValues: H * (1 + G * (binds("dProjection") ? 2 : 1)),
    }),
    record: (recorder, site) => recordLayer(recorder, spec, site, binds),
    step: (config, weights, x, before) => plainStep(spec, config, plainSums(spec, config, weights, x, before)),
    flow: (config, weights, x, before) =>
      plainSums(spec, config, weights, x, before).map((sums) => ({
        ...sums,
        parts: spec.parts?.(sums, spec.unit(sums, config), config) ?? {},
      })),
  };
}

function parameters(
  { hiddenSize: H, bias = true, orthogonal }: CellConfig,
  input: readonly number[],
  G: number,
  gateBias: { readonly gate: number; readonly value: number } | undefined,
): readonly ParameterSpec[] {
  const bound = 1 / Math.sqrt(H);
  const uniform: Initializer = { kind: "uniform", bound };
  const weights = [
    gateParameter("weight_ih", [G, H, ...input], uniform),
    gateParameter("weight_hh", [G, H, H], orthogonal ? { kind: "orthogonal" } : uniform),
  ];
  if (!bias) return weights;
  const from = H * (gateBias?.gate ?? 0);
  const biasWith = (value: number): Initializer => (gateBias ? { ...uniform, constant: { from, to: from + H, value } } : uniform);
  // The two biases of a gate add up, so its constant stands in one of them.
  return [
    ...weights,
    gateParameter("bias_ih", [G, H], biasWith(gateBias?.value ?? 0)),
    gateParameter("bias_hh", [G, H], biasWith(0)),
  ];
}

function recordLayer<O>(
  recorder: Recorder,
  spec: SteppedSpec<O>,
  site: LayerSite<O>,
  binds: (name: string) => boolean,
): CellLayer {
  const { name, T, B, config, weights, ends } = site;
  const { hiddenSize: H, precision } = config;
  const { weight_hh: weight, bias_hh: bias } = weights;
  const half = precision === "f16";
  const G = spec.gates.length;
  const W = pad4(H);
  const relu = Number(spec.relu?.(config) ?? false);
  const projection = projectInput(recorder, site, G);
  const histories = makeHistories(recorder, site, spec.states);
  const { before, after } = histories;
  const packed = gateTensor(recorder, `${name}.packed`, [W + 1, G, H], half);
  const gates = spec.saved > 0 ? gateTensor(recorder, `${name}.gates`, [T, B, spec.saved, H], half) : undefined;
  const gatedH = binds("gatedH") ? recorder.tensor({ name: `${name}.gatedH`, shape: [T, B, H] }) : undefined;
  const { h, c } = histories.tensors;
  const forwardTensors = { ...projection.tensors, packed, h, c, gates, gatedH };

  const step = (
    r: Recorder,
    entries: readonly object[],
    tensors: Readonly<Record<string, Tensor | undefined>>,
    t: number,
    count: number,
  ): void => {
    for (const each of entries) {
      const entry = each as Entry;
      const ofEntry = "hidden" in entry.bindings ? { ...tensors, hidden: h, h: gatedH } : tensors;
      const bound = Object.fromEntries(Object.keys(entry.bindings).map((key) => [key, ofEntry[key]!]));
      r.dispatch(entry, bound, { B, H, t, count, gather: projection.gather, last: Number(t === T - 1), relu });
    }
  };

  /** Records steps one a dispatch or, where the cell's entry can and it is faster, many: `record` is given how many were done. */
  const sequence = (
    r: Recorder,
    direction: "forward" | "backward",
    steps: number,
    record: (r: Recorder, done: number, count: number) => void,
  ): void => {
    const parts =
      (most: number, count: number) =>
      (r: Recorder): void =>
        inParts(most, count, (done, part) => record(r, done, part));
    const stepWork = 2 * G * B * H * H;
    const most = Math.min(steps, Math.floor(SEQUENCE_WORK[r.family] / stepWork));
    if (spec[direction].length > 1 || most <= 1) return parts(1, steps)(r);
    const trialSteps = Math.min(steps, Math.max(2, Math.round(TRIAL_WORK / stepWork)));
    const candidates = {
      steps: { record: parts(1, steps), trial: parts(1, trialSteps) },
      sequence: { record: parts(most, steps), trial: parts(most, trialSteps) },
    };
    const title = `${spec.name} ${direction}${relu ? " relu" : ""}${half ? " f16" : ""} of all steps`;
    r.choose(title, [B, H, steps], candidates, (family) =>
      family === "wasm" || (family === "gpu" ? H <= SEQUENCE_UNITS : stepWork <= SEQUENCE_STEP_WORK) ? "sequence" : "steps",
    );
  };

  return {
    output: after,
    tensors: { ...histories.tensors, ...(gates && { gates }) },
    forward: {
      begin() {
        histories.begin();
        projection.begin();
        // Once per change of the weights. Without a bias the last row stays as it was made: zero.
        recorder.dispatch(
          transpose.forward,
          { matrix: weight!, bias: bias ?? weight!, out: packed },
          { rows: G * W, columns: H, stride: W, mode: bias ? TRANSPOSE.append : TRANSPOSE.plain },
        );
      },
      steps(t, count) {
        projection.steps(t, count);
        sequence(recorder, "forward", count, (r, done, part) => step(r, spec.forward, forwardTensors, t + done, part));
      },
      end: histories.end,
    },
    backward(back, gradients) {
      const { dOutput, states } = gradients;
      const dGates = gateTensor(back, `${name}.dGates`, [T, B, G, H]);
      const dProjection = binds("dProjection") ? gateTensor(back, `${name}.dProjection`, [T, B, G, H]) : dGates;
      const ofWeight = half ? back.tensor({ ...weight!, name: `${name}.weight`, dtype: "f16" }) : weight!;
      const carry = (state: string): Tensor | undefined =>
        binds(state) ? back.tensor({ name: `${name}.${state}`, shape: [B, H] }) : undefined;
      const [dH, dC] = [carry("dH"), carry("dC")];
      const saved = { savedGates: gates, savedH: h, savedC: c };
      const tensors = { ...saved, dOutput, weight: ofWeight, dGates, dProjection, dH, dC };
      return {
        begin() {
          for (const carried of [dH, dC]) if (carried) back.clear(carried);
          if (half) back.dispatch(cast.forward, { x: weight!, y: ofWeight }, { count: weight!.length / 4 });
          if (states) recordScatter(back, states.final.h!, ends!.finalOutput, dOutput);
        },
        steps(t, count) {
          const record = (r: Recorder, done: number, part: number): void => step(r, spec.backward, tensors, t - done, part);
          if (!states || !dC) return sequence(back, "backward", count, record);
          // The final state of c comes in where its row ends.
          for (let done = 0; done < count; done++) {
            recordScatter(back, states.final.c!, ends!.endsAt, dC, (t - done) * B);
            record(back, done, 1);
          }
        },
        end() {
          if (states) recordInitialStates();
          if (gradients.weights) recordRecurrentWeights(gradients.weights);
          projection.backward(back, dProjection, gradients);
        },
      };

      /** dh0 = dGates[0] · W_hh, of the gates that multiply h, and what is carried past the gates. */
      function recordInitialStates(): void {
        const { initial, final } = states!;
        if (dC) recordInitial(back, site, initial.c!, dC, final.c!);
        const dh = dH ?? back.tensor({ name: `${name}.dh0`, shape: [B, H] });
        const columns = (spec.ofH ?? G) * W;
        recordMatmul(
          back,
          "nn",
          { tensor: dGates, rows: B, columns, stride: G * W },
          { tensor: ofWeight, rows: columns, columns: H },
          { tensor: dh, rows: B, columns: H },
          { accumulate: dH !== undefined },
        );
        recordInitial(back, site, initial.h!, dh, final.h!);
      }

      /** Records the gradients of W_hh, dGatesᵀ · h, or dGatesᵀ · gatedH for the gates that multiply that, and of b_hh. */
      function recordRecurrentWeights({ weight_hh: dWeight, bias_hh: dBias }: Tensors): void {
        const d = (first: number, count: number): Matrix => ({
          tensor: dGates,
          rows: T * B,
          columns: count * W,
          firstColumn: first * W,
          stride: G * W,
        });
        const target = (first: number, count: number): Matrix => ({
          tensor: dWeight!,
          rows: count * W,
          columns: H,
          firstRow: first * W,
        });
        const { ofH = G } = spec;
        const rowSums = gatedH ? undefined : dBias;
        recordMatmul(back, "tn", d(0, ofH), before, target(0, ofH), { rowSums });
        if (!gatedH) return;
        const gated: Matrix = { tensor: gatedH, rows: T * B, columns: H };
        recordMatmul(back, "tn", d(ofH, G - ofH), gated, target(ofH, G - ofH));
        if (dBias) recordColumnSums(back, d(0, G), dBias);
      }
    },
  };
}

/** What the gates of each unit add up at one step of one row, from dense weights. */
function plainSums<O>(
  { gates, states, ofH, unit }: SteppedSpec<O>,
  config: CellConfig & O,
  { weight_ih: wIh, weight_hh: wHh, bias_ih: bIh, bias_hh: bHh }: Values,
  x: ArrayLike<number>,
  before: Values,
): readonly UnitSums[] {
  const H = config.hiddenSize;
  const G = gates.length;
  const at = (u: number, h: (gate: number) => ArrayLike<number>): UnitSums => {
    const rows = Array.from({ length: G }, (_, gate) => gate * H + u);
    return {
      input: rows.map((row) => rowSum(wIh!, row, x, bIh?.[row])),
      state: rows.map((row, gate) => rowSum(wHh!, row, h(gate), bHh?.[row])),
      before: Object.fromEntries(states.map((name) => [name, before[name]![u]!])),
    };
  };
  const h = before.h!;
  const gatedH =
    ofH === undefined
      ? h
      : Float64Array.from(
          h,
          (value, u) =>
            unit(
              at(u, () => h),
              config,
            ).gates[0]! * value,
        );
  return Array.from({ length: H }, (_, u) => at(u, (gate) => (gate < (ofH ?? G) ? h : gatedH)));
}

/** The states after a step and its gates, unit by unit. */
function plainStep<O>(
  { gates, saved, states, unit }: SteppedSpec<O>,
  config: CellConfig & O,
  sums: readonly UnitSums[],
): Readonly<Record<string, Float64Array>> {
  const kept = saved > 0 ? gates : [];
  const found = sums.map((of) => unit(of, config));
  const ofStates = states.map((name) => [name, Float64Array.from(found, ({ after }) => after[name]!)]);
  return Object.fromEntries([
    ...ofStates,
    ...kept.map((name, gate) => [name, Float64Array.from(found, (of) => of.gates[gate]!)]),
  ]);
}

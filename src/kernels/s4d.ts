// s4d: a diagonal state space model (Gu et al. 2022, "On the Parameterization and Initialization of Diagonal State Space
// Models"). Each channel has P = N/2 complex pairs: h' = a h + b x, y = 2 Re Σ C h + D x, with A = −e^log_A_real + i A_imag,
// Δ = e^log_dt, a = e^(ΔA), b = (a − 1) / A, the same at all times. A complex number is two numbers, the innermost axis.
import source from "../../shaders/s4d.wgsl?raw";
import { GatewiseError } from "../errors.ts";
import { defineKernel, entry, linearWorkgroups } from "../runtime/kernel.ts";
import type { Recorder } from "../runtime/recorder.ts";
import { pad4, type NumberArray, type Tensor } from "../runtime/tensor.ts";
import {
  checkOwnWidth,
  inParts,
  plainParameter,
  SEQUENCE_WORK,
  type Cell,
  type CellConfig,
  type LayerGradients,
  type LayerSite,
  type ParameterSpec,
  type Pass,
  type StateSpec,
  type Tensors,
  type UnitFlow,
  type Values,
} from "./cell.ts";
import { at, conj, over, plus, put, scaled, times, ZERO, type Complex } from "./complex.ts";
import { coefficientTensor, complexScan, SIZES, unit, type ScanSizes } from "./complex-scan.ts";
import type { Matrix } from "./matmul.ts";
import { reduce } from "./reduce.ts";
import { STATE_SIZE, stateSizeOption, type StateSizeOption } from "./state-size.ts";

/** Of one pair: a, b, A, and the derivative of b by A. Not numbers, where ΔA is not finite. */
function coefficientsOf(logDt: number, logAReal: number, aImag: number) {
  const delta = Math.exp(logDt);
  const A: Complex = [-Math.exp(logAReal), aImag];
  const z = scaled(delta, A);
  if (!z.every(Number.isFinite)) return { delta, A, a: [NaN, NaN], b: [NaN, NaN], bByA: [NaN, NaN] } as const;
  const a = scaled(Math.exp(z[0]), [Math.cos(z[1]), Math.sin(z[1])]);
  // φ = (e^z − 1) / z and its derivative: b = Δ φ(ΔA). Where z is small, differences would lose their digits.
  let [phi, dPhi] = [ZERO, ZERO];
  if (z[0] ** 2 + z[1] ** 2 < 1) {
    for (let k = 20; k >= 0; k--) {
      phi = plus(times(phi, z), [INVERSE_FACTORIALS[k]!, 0]);
      dPhi = plus(times(dPhi, z), [(k + 1) * INVERSE_FACTORIALS[k + 1]!, 0]);
    }
  } else {
    phi = over(plus(a, [-1, 0]), z);
    dPhi = over(plus(a, scaled(-1, phi)), z);
  }
  return { delta, A, a, b: scaled(delta, phi), bByA: scaled(delta ** 2, dPhi) };
}

/** 1 / (k + 1)! */
const INVERSE_FACTORIALS = Array.from({ length: 22 }, (_, k) => {
  let product = 1;
  for (let i = 2; i <= k + 1; i++) product *= i;
  return 1 / product;
});

const PARAMS = { B: "u32", H: "u32", P: "u32" } as const;
type S4dParams = { readonly [K in keyof typeof PARAMS]: number };
const each = (items: (params: S4dParams) => number) => ({
  params: PARAMS,
  workgroups: (params: S4dParams) => linearWorkgroups(items(params), 8),
});

const coefficients = entry({
  ...each(({ H, P }) => H * P),
  bindings: { log_dt: "read", log_A_real: "read", A_imag: "read", C: "read", D: "read", made: "read_write" },
  work: ({ H, P }) => 200 * H * P,
  reference({ log_dt, log_A_real, A_imag, C, D, made }, { H, P }) {
    const stride = pad4(P);
    for (let j = 0; j < H; j++)
      for (let n = 0; n < P; n++) {
        const of = j * stride + n;
        const { a, b, A, bByA, delta } = coefficientsOf(log_dt[j]!, log_A_real[of]!, A_imag[of]!);
        [a, b, at(C, 2 * (j * P + n)), A, bByA, [delta, D[j]!] as const].forEach((value, k) =>
          put(made, (12 * j + 2 * k) * stride + n, value, stride),
        );
      }
  },
  cases: () => [
    ...SIZES.map((sizes) =>
      coefficientCase(
        sizes,
        "",
        (i) => -4 * unit(i, 1),
        (i, P) => Math.PI * (i % P),
      ),
    ),
    // What training could make of them: angles of many turns, decays that end at once or hardly ever.
    coefficientCase(
      SIZES[4]!,
      ", of wide range",
      (i) => 9 * unit(i, 1) - 7,
      (i) => 500 * unit(i, 2) - 250,
    ),
    coefficientCase(
      SIZES[4]!,
      ", of small steps",
      (i) => -12 - 12 * unit(i, 1),
      (i, P) => Math.PI * (i % P),
    ),
  ],
});

const gradients = entry({
  ...each(({ H }) => H),
  bindings: {
    coefficient: "read",
    ofOutput: "read",
    ofEnds: "read",
    dLog_dt: "read_write",
    dLog_A_real: "read_write",
    dA_imag: "read_write",
    dC: "read_write",
    dD: "read_write",
  },
  work: ({ H, P }) => 60 * H * P,
  reference({ coefficient, ofOutput, ofEnds, dLog_dt, dLog_A_real, dA_imag, dC, dD }, { H, P }) {
    const stride = pad4(P);
    for (let j = 0; j < H; j++) {
      let dDelta = 0;
      for (let n = 0; n < P; n++) {
        const made = (k: number): Complex => at(coefficient, (12 * j + k) * stride + n, stride);
        const [a, b, C, A, bByA] = [made(0), made(2), made(4), made(6), made(8)];
        const [xq, xLambda, hLambda, hDLambda] = sumsAt(ofOutput, 9 * j * stride + n, stride);
        const [endsXq, endsXLambda, , endsHDLambda] = sumsAt(ofEnds, 9 * j * stride + n, stride);
        put(dC, 2 * (j * P + n), scaled(2, plus(times(conj(b), xq), hLambda)));
        const c = conj(scaled(2, C));
        const db = plus(times(c, xq), endsXq);
        const da = plus(times(c, plus(times(conj(b), xLambda), hDLambda)), plus(times(conj(b), endsXLambda), endsHDLambda));
        // Of z = ΔA by a alone.
        const dz = times(conj(a), da);
        const dA = plus(scaled(made(10)[0], dz), times(conj(bByA), db));
        dLog_A_real[j * stride + n] = dA[0] * A[0];
        dA_imag[j * stride + n] = dA[1];
        // ∂b/∂Δ = a.
        dDelta += times(conj(A), dz)[0] + times(conj(a), db)[0];
      }
      dLog_dt[j] = coefficient[(12 * j + 10) * stride]! * dDelta;
      dD[j] = ofOutput[(9 * j + 8) * stride]!;
    }
  },
  cases: () =>
    SIZES.map(({ B, H, P }) => ({
      name: `H=${H} P=${P}`,
      params: { B, H, P },
      tensors: {
        coefficient: coefficientTensor(H, P),
        ofOutput: { shape: [H, 9, P] },
        ofEnds: { shape: [H, 9, P] },
        dLog_dt: { shape: [H] },
        dLog_A_real: { shape: [H, P] },
        dA_imag: { shape: [H, P] },
        dC: { shape: [H, P, 2], stored: [H, P, 2] },
        dD: { shape: [H] },
      },
    })),
});

/** Σ x q, Σ x λ', h̄₀ λ and h̄₀ λ' of a pair. */
const sumsAt = (sums: NumberArray, i: number, stride: number): readonly [Complex, Complex, Complex, Complex] => [
  at(sums, i, stride),
  at(sums, i + 2 * stride, stride),
  at(sums, i + 4 * stride, stride),
  at(sums, i + 6 * stride, stride),
];

const coefficientCase = (
  { B, H, P }: ScanSizes,
  name: string,
  logs: (i: number) => number,
  angles: (i: number, P: number) => number,
) => ({
  name: `H=${H} P=${P}${name}`,
  params: { B, H, P },
  tensors: {
    log_dt: { shape: [H], fill: logs },
    log_A_real: { shape: [H, P], fill: (i: number) => 6 * unit(i, 3) - 4 },
    A_imag: { shape: [H, P], fill: (i: number) => angles(i, P) },
    C: { shape: [H, P, 2], stored: [H, P, 2] },
    D: { shape: [H] },
    made: coefficientTensor(H, P),
  },
});

export const s4d = defineKernel("s4d", source, { coefficients, gradients });

/** P */
function pairsOf({ stateSize = STATE_SIZE }: StateSizeOption): number {
  if (stateSize % 2 === 0) return stateSize / 2;
  throw new GatewiseError(
    "E_CONFIG",
    `stateSize must be even with the cell s4d, whose states are pairs of numbers, got ${stateSize}`,
  );
}

/** Pairs are padded, not the two numbers of each. */
function stateOf(config: CellConfig & StateSizeOption): StateSpec {
  const [H, P] = [config.hiddenSize, pairsOf(config)];
  return { name: "h", shape: [H, P, 2], stored: [H, pad4(P), 2] };
}

export const s4dCell: Cell<StateSizeOption, "s4d"> = {
  options: { stateSize: { ...stateSizeOption, fromShapes: (shapeOf) => 2 * shapeOf("A_imag")[1]! } },
  forms: { s4d: {} },
  gates: [],
  onlyF32: true,
  block: { names: {} },
  states: (config) => [stateOf(config)],
  parameters,
  costs: (config) => ({
    inputWork: 0,
    stepWork: (16 * pairsOf(config) + 2) * config.hiddenSize,
    forwardValues: config.hiddenSize,
    backwardValues: config.hiddenSize,
  }),
  record: recordLayer,
  step: (config, weights, x, before) => plainStep(config, weights, x, before).after,
  flow: (config, weights, x, before) => plainStep(config, weights, x, before).flow,
};

/**
 * S4D-Lin: A = −½ + iπn. Δ is log-uniform in [10⁻², 1]. C is normal with variance ½ a part, as in the code that the paper's
 * authors published; D, normal there, is 1, as Mamba has it.
 */
function parameters(config: CellConfig & StateSizeOption, input: readonly number[]): readonly ParameterSpec[] {
  const { hiddenSize: H } = config;
  const P = pairsOf(config);
  checkOwnWidth("s4d", input, H);
  const drawn = (name: string, shape: readonly number[], from: (u: number, i: number) => number): ParameterSpec => ({
    ...plainParameter(name, shape, { kind: "drawn", from }),
    decay: false,
  });
  const C = { name: "C", shape: [H, P, 2], stored: [H, P, 2] };
  return [
    drawn("log_dt", [H], (u) => Math.log(1e-2) * (1 - u)),
    drawn("log_A_real", [H, P], () => Math.log(0.5)),
    drawn("A_imag", [H, P], (_, i) => Math.PI * (i % P)),
    { name: C.name, shape: C.shape, tensor: C, initializer: { kind: "normal", deviation: Math.SQRT1_2 } },
    drawn("D", [H], () => 1),
  ];
}

function recordLayer(recorder: Recorder, site: LayerSite<StateSizeOption>) {
  const { name, T, B, config, weights, input, states, ends } = site;
  const { log_dt, log_A_real, A_imag, C, D } = weights as Readonly<Record<string, Tensor>>;
  const H = config.hiddenSize;
  const P = pairsOf(config);
  const [x] = input.parts as readonly [Matrix];
  const tensor = (r: Recorder, own: string, ...shape: number[]): Tensor => r.tensor({ name: `${name}.${own}`, shape });
  const stateTensor = (r: Recorder, own: string): Tensor => {
    const { shape, stored } = stateOf(config);
    return r.tensor({ name: `${name}.${own}`, shape: [B, ...shape], stored: [B, ...stored!] });
  };
  const coefficient = tensor(recorder, "coefficient", H, 12, P);
  const [h, h0] = [stateTensor(recorder, "h"), stateTensor(recorder, "h0")];
  const y = tensor(recorder, "y", T, B, H);
  const params = {
    B,
    H,
    P,
    t: 0,
    count: T,
    ragged: Number(ends !== undefined),
    ends: 0,
    xOffset: offsetOf(x),
    xStride: strideOf(x),
    dxOffset: 0,
    dxStride: 0,
  };
  const lengths = (r: Recorder): Tensor => ends?.lengths ?? r.unused();
  /** Records steps in as many parts as keep each short. */
  const inShortParts = (r: Recorder, stepWork: number, count: number, record: (done: number, count: number) => void): void =>
    inParts(Math.floor(SEQUENCE_WORK[r.family] / stepWork), count, record);
  const forward: Pass = {
    begin() {
      recorder.dispatch(
        s4d.coefficients,
        { log_dt: log_dt!, log_A_real: log_A_real!, A_imag: A_imag!, C: C!, D: D!, made: coefficient },
        { B, H, P },
      );
      if (!states) return recorder.clear(h);
      const { tensor: from, offset: fromOffset } = states.initial.h!;
      for (const to of [h, h0]) recorder.copy(from, to, { fromOffset, length: h.length });
    },
    steps(t, count) {
      inShortParts(recorder, complexScan.forward.work({ ...params, count: 1 }), count, (done, part) =>
        recorder.dispatch(
          complexScan.forward,
          { coefficient, lengths: lengths(recorder), x: x.tensor, h, y },
          { ...params, t: t + done, count: part },
        ),
      );
    },
    end() {
      if (states) recorder.copy(h, states.final.h!.tensor, { toOffset: states.final.h!.offset, length: h.length });
    },
  };
  return {
    output: { tensor: y, rows: T * B, columns: H },
    tensors: { y },
    forward,
    backward(back: Recorder, { dOutput, weights: dWeights, inputs, states: dStates }: LayerGradients): Pass {
      const [dx] = inputs as readonly [Matrix];
      const direction = (of: string) => ({
        lambda: stateTensor(back, `${of}Lambda`),
        dLambda: stateTensor(back, `${of}DLambda`),
        sums: tensor(back, `${of}Sums`, B, H, 9, P),
        total: tensor(back, `${of}Total`, H, 9, P),
      });
      const ofOutput = direction("output");
      const ofEnds = dStates && direction("ends");
      const both = ofEnds ? [ofOutput, ofEnds] : [ofOutput];
      // Zero, where no gradients of final states come in.
      const ofEndsTotal = ofEnds?.total ?? tensor(back, "endsTotal", H, 9, P);
      const backParams = { ...params, dxOffset: offsetOf(dx), dxStride: strideOf(dx) };
      return {
        begin() {
          for (const { lambda, dLambda, sums } of both) for (const each of [lambda, dLambda, sums]) back.clear(each);
          if (ofEnds) back.copy(dStates!.final.h!, ofEnds.lambda);
        },
        steps(t, count) {
          inShortParts(back, complexScan.backward.work({ ...params, count: 1 }), count, (done, part) =>
            both.forEach(({ lambda, dLambda, sums }, i) =>
              back.dispatch(
                complexScan.backward,
                { coefficient, lengths: lengths(back), x: x.tensor, dOutput, lambda, dLambda, sums, dx: dx.tensor },
                { ...backParams, t: t - done, count: part, ends: i },
              ),
            ),
          );
        },
        end() {
          if (dWeights) recordWeights(dWeights);
          if (!ofEnds) return;
          const dInitial = stateTensor(back, "dInitial");
          const { lambda: fromOutput } = ofOutput;
          back.dispatch(
            complexScan.initial,
            { coefficients: coefficient, fromOutput, fromEnds: ofEnds.lambda, dInitial },
            params,
          );
          const { tensor: to, offset: toOffset } = dStates!.initial.h!;
          back.copy(dInitial, to, { toOffset, length: dInitial.length });
        },
      };

      function recordWeights(d: Tensors): void {
        const sizes = { N: B, W: H * 9 * pad4(P), accumulate: 0, inOffset: 0 };
        for (const { lambda, dLambda, sums, total } of both) {
          if (states) back.dispatch(complexScan.first, { h0, firstLambda: lambda, firstDLambda: dLambda, rowSums: sums }, params);
          back.dispatch(reduce.columns, { values: sums, out: total }, sizes);
        }
        back.dispatch(
          s4d.gradients,
          {
            coefficient,
            ofOutput: ofOutput.total,
            ofEnds: ofEndsTotal,
            dLog_dt: d.log_dt!,
            dLog_A_real: d.log_A_real!,
            dA_imag: d.A_imag!,
            dC: d.C!,
            dD: d.D!,
          },
          { B, H, P },
        );
      }
    },
  };
}

const strideOf = ({ stride, columns }: Matrix): number => stride ?? pad4(columns);
const offsetOf = (m: Matrix): number => (m.firstRow ?? 0) * strideOf(m) + (m.firstColumn ?? 0);

/** One step of one row, from dense weights. */
function plainStep(config: CellConfig & StateSizeOption, weights: Values, x: ArrayLike<number>, { h }: Values) {
  const H = config.hiddenSize;
  const P = pairsOf(config);
  const { log_dt, log_A_real, A_imag, C, D } = weights as Readonly<Record<string, ArrayLike<number>>>;
  const after = { output: new Float64Array(H), h: new Float64Array(2 * H * P) };
  const flow = Array.from({ length: H }, (_, j): UnitFlow => {
    let [kept, written] = [0, 0];
    for (let i = j * P; i < (j + 1) * P; i++) {
      const { a, b } = coefficientsOf(log_dt![j]!, log_A_real![i]!, A_imag![i]!);
      const [old, fresh] = [times(a, at(h!, 2 * i)), scaled(x[j]!, b)];
      const c = at(C!, 2 * i);
      put(after.h, 2 * i, plus(old, fresh));
      kept += 2 * times(c, old)[0];
      written += 2 * times(c, fresh)[0];
    }
    const past = D![j]! * x[j]!;
    after.output[j] = past + kept + written;
    return { input: [], state: [], before: {}, parts: { "C·a h": kept, "C·b x": written, "D x": past } };
  });
  return { after, flow };
}

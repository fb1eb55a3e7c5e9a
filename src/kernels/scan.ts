// The kernels of cells whose gates do not see h, so that a step is h′ = a ⊙ h + b, with a and b of the input alone: steps
// compose, and a sequence is a scan (Blelloch 1990; Martin & Cundy 2018). Since 0 ≤ a ≤ 1 it is stable as it stands,
// without logarithms. A cell brings what its gates do: here in numbers, in its shader in WGSL.
import source from "../../shaders/scan.wgsl?raw";
import { fraction, randomWord, STREAM } from "../random.ts";
import {
  defineKernel,
  divideUp,
  entry,
  linearWorkgroups,
  type CaseTensor,
  type Constants,
  type Family,
  type KernelCase,
  type Params,
  type Variant,
} from "../runtime/kernel.ts";
import { pad4, type NumberArray } from "../runtime/tensor.ts";
import { sigmoid, unitTensor } from "./recurrent.ts";

type Pair = readonly [a: number, b: number];

/** One unit's equations. `kept`: the numbers of a step that are kept, as many as there are gates. */
export interface ScanEpilogues {
  readonly gates: readonly string[];
  /** Makes of what the gates add up what is kept, in place. */
  activate(kept: Float64Array): void;
  stepOf(kept: Float64Array): Pair;
  /** Makes of what is kept the gradients of what the gates add up, in place, from that of the new h. */
  gradientsOf(kept: Float64Array, before: number, d: number): void;
}

/** The candidate of minGRU and minLSTM (Feng et al. 2024, appendix B), and its derivative by its value. */
export const candidate = (u: number): number => (u >= 0 ? u + 0.5 : sigmoid(u));
export const slopeOfCandidate = (g: number): number => (g >= 0.5 ? 1 : g * (1 - g));

/** The comments stand in shaders/scan.wgsl. */
const PARAMS = { B: "u32", H: "u32", t: "u32", count: "u32", chunk: "u32" } as const;
export type ScanParams = Params<typeof PARAMS>;

/** vec4s of units of all rows: each goes through the steps by itself. */
export const lanesOf = ({ B, H }: { readonly B: number; readonly H: number }): number => (B * pad4(H)) / 4;
const chunksOf = ({ count, chunk }: ScanParams): number => divideUp(count, chunk);

const serial = (WORKGROUP: number, AHEAD: number, family?: Family): Variant => ({
  name: `${WORKGROUP} lanes, ${AHEAD} ahead`,
  ...(family && { family }),
  constants: { WORKGROUP, AHEAD },
});

/** Lanes beyond which a GPU is busy without slices of the time beside each other. */
const SLICED_LANES = 4096;
const [LANES, SLICES, SPAN] = [16, 8, 16];

const variantsOf = (direction: "forward" | "backward"): readonly Variant[] => [
  serial(8, 1, "software"),
  // Backward it takes three times as long on llvmpipe at B=32, H=128.
  direction === "forward" ? serial(32, 4) : serial(32, 4, "gpu"),
  {
    name: `${LANES} lanes, ${SLICES} slices of ${SPAN} steps`,
    family: "gpu",
    entryPoint: `${direction}Slices`,
    constants: { LANES, SLICES, SPAN },
    workgroups: ({ B, H }) => linearWorkgroups(lanesOf({ B: B!, H: H! }), LANES),
    supports: ({ count }) => count! > SPAN,
    preferred: ({ B, H, count }) => count! >= 256 && lanesOf({ B: B!, H: H! }) <= SLICED_LANES,
  },
];

/** B, H, T, and which steps, if not all. */
const SIZES: readonly (readonly [B: number, H: number, T: number, first?: number, count?: number])[] = [
  [1, 1, 1],
  [3, 65, 2],
  [9, 3, 3],
  [1, 3, 65],
  [9, 65, 65],
  [3, 5, 70, 4, 65],
  [1, 1, 1000],
];

type CaseTensors = KernelCase["tensors"];
const casesOf =
  (direction: 1 | -1, chunked: boolean, tensors: (B: number, H: number, T: number) => CaseTensors) => (): KernelCase[] =>
    SIZES.map(([B, H, T, first = 0, count = T]) => {
      const chunk = chunked ? Math.ceil(count / 3) : count;
      return {
        name: `B=${B} H=${H} T=${T}${count < T ? `, ${count} steps from ${first}` : ""}`,
        params: { B, H, t: direction > 0 ? first : first + count - 1, count, chunk },
        tensors: { ends: unitTensor([chunked ? 1 + divideUp(count, chunk) : 1, B, 2, H]), ...tensors(B, H, T) },
      };
    });

/** What is kept of a gate lies between 0 and 1, or the scan would grow without bounds. */
const keptTensor = (...shape: number[]): CaseTensor => ({
  ...unitTensor(shape),
  fill: (i) => fraction(randomWord(1, 2, i, STREAM.init)),
});

/** A scan in one dispatch, in each direction; and one in two, `ends` and `chunks`, for few lanes and many steps. */
export function scanKernel(name: string, own: string, { gates, activate, stepOf, gradientsOf }: ScanEpilogues) {
  const G = gates.length;
  const kept = new Float64Array(G);
  const read = (values: NumberArray, { B, H }: ScanParams, t: number, b: number, u: number): Float64Array => {
    for (let i = 0; i < G; i++) kept[i] = values[((t * B + b) * G + i) * pad4(H) + u]!;
    return kept;
  };
  const write = (values: NumberArray, { B, H }: ScanParams, t: number, b: number, u: number): void => {
    for (let i = 0; i < G; i++) values[((t * B + b) * G + i) * pad4(H) + u] = kept[i]!;
  };
  /** Where a unit of a row stands in [T, B, H]. */
  const at = ({ B, H }: ScanParams, t: number, b: number, u: number): number => (t * B + b) * pad4(H) + u;
  const forEachUnit = ({ B, H }: ScanParams, visit: (b: number, u: number) => void): void => {
    for (let b = 0; b < B; b++) for (let u = 0; u < H; u++) visit(b, u);
  };
  const endAt = ({ B, H }: ScanParams, number: number, b: number, u: number): readonly [number, number] => {
    const first = (number * B + b) * 2 * pad4(H) + u;
    return [first, first + pad4(H)];
  };

  /** Writes what each chunk is, by its steps' number from the first one done, behind what a unit begins from. */
  function compose(
    ends: NumberArray,
    p: ScanParams,
    start: (b: number, u: number) => number,
    step: (done: number, b: number, u: number) => Pair,
  ): void {
    forEachUnit(p, (b, u) => {
      const put = (number: number, all: Pair): void => endAt(p, number, b, u).forEach((to, i) => (ends[to] = all[i]!));
      put(0, [0, start(b, u)]);
      for (let chunk = 0; chunk < chunksOf(p); chunk++) {
        let all: Pair = [1, 0];
        for (let done = chunk * p.chunk; done < Math.min((chunk + 1) * p.chunk, p.count); done++) {
          const [a, c] = step(done, b, u);
          all = [a * all[0], a * all[1] + c];
        }
        put(1 + chunk, all);
      }
    });
  }

  /** Goes through the chunks, each from where those before it end. `step` is given a state and returns the next. */
  function follow(
    ends: NumberArray,
    p: ScanParams,
    step: (state: number, done: number, b: number, u: number) => number,
    finish?: (state: number, b: number, u: number) => void,
  ): void {
    forEachUnit(p, (b, u) => {
      let start = 0;
      let state = 0;
      for (let chunk = 0; chunk < chunksOf(p); chunk++) {
        const [a, c] = endAt(p, chunk, b, u);
        state = start = ends[a]! * start + ends[c]!;
        for (let done = chunk * p.chunk; done < Math.min((chunk + 1) * p.chunk, p.count); done++) state = step(state, done, b, u);
      }
      finish?.(state, b, u);
    });
  }

  const oneDispatch = {
    params: PARAMS,
    workgroups: (p: ScanParams, { WORKGROUP }: Constants) => linearWorkgroups(lanesOf(p), WORKGROUP!),
    tuneBy: (p: ScanParams) => [lanesOf(p), p.count],
    tuneWith: (p: ScanParams) => ({ ...p, count: Math.min(p.count, 512) }),
    work: ({ B, H, count }: ScanParams) => 15 * G * B * H * count,
  };
  const twoDispatches = {
    params: PARAMS,
    variants: [8, 64].map((WORKGROUP): Variant => ({
      name: `${WORKGROUP} lanes`,
      constants: { WORKGROUP },
      family: WORKGROUP > 8 ? "gpu" : "software",
    })),
    workgroups: (p: ScanParams, { WORKGROUP }: Constants) => [divideUp(lanesOf(p), WORKGROUP!), chunksOf(p)] as const,
    work: ({ B, H, count }: ScanParams) => 15 * G * B * H * count,
  };

  const forwardBindings = { ends: "read_write", gates: "read_write", h: "read_write" } as const;
  /** Keeps what the gates of a step add up to. */
  const activated = (values: NumberArray, p: ScanParams, t: number, b: number, u: number): Pair => {
    activate(read(values, p, t, b, u));
    write(values, p, t, b, u);
    return stepOf(kept);
  };
  const history = (B: number, H: number, T: number): CaseTensor => ({ shape: [T + 1, B, H] });

  /** `scale`: gates add up to as much at the most, where more than 1; then they are all but open or shut. */
  const forwardCases =
    (chunked: boolean, scale = 1) =>
    (): KernelCase[] =>
      casesOf(1, chunked, (B, H, T) => ({
        gates: { ...unitTensor([T, B, G, H]), fill: (i) => scale * (2 * fraction(randomWord(1, 2, i, STREAM.init)) - 1) },
        h: history(B, H, T),
      }))().map((each) => (scale > 1 ? { ...each, name: `${each.name}, sums up to ${scale}` } : each));

  const forward = entry({
    ...oneDispatch,
    bindings: forwardBindings,
    variants: variantsOf("forward"),
    reference({ gates: values, h }, p) {
      for (let t = p.t; t < p.t + p.count; t++)
        forEachUnit(p, (b, u) => {
          const [a, c] = activated(values, p, t, b, u);
          h[at(p, t + 1, b, u)] = a * h[at(p, t, b, u)]! + c;
        });
    },
    cases: () => [...forwardCases(false)(), ...forwardCases(false, 200)().slice(1, 3)],
  });

  const forwardEnds = entry({
    ...twoDispatches,
    bindings: forwardBindings,
    reference({ ends, gates: values, h }, p) {
      compose(
        ends,
        p,
        (b, u) => h[at(p, p.t, b, u)]!,
        (done, b, u) => activated(values, p, p.t + done, b, u),
      );
    },
    cases: forwardCases(true),
  });

  const forwardChunks = entry({
    ...twoDispatches,
    bindings: forwardBindings,
    reference({ ends, gates: values, h }, p) {
      follow(ends, p, (state, done, b, u) => {
        const [a, c] = stepOf(read(values, p, p.t + done, b, u));
        return (h[at(p, p.t + done + 1, b, u)] = a * state + c);
      });
    },
    cases: casesOf(1, true, (B, H, T) => ({ gates: keptTensor(T, B, G, H), h: history(B, H, T) })),
  });

  const backwardBindings = {
    ends: "read_write",
    dOutput: "read",
    savedGates: "read",
    savedH: "read",
    dProjection: "read_write",
    dH: "read_write",
  } as const;
  const backwardCases = (chunked: boolean) =>
    casesOf(-1, chunked, (B, H, T) => ({
      dOutput: { shape: [T, B, H] },
      savedGates: keptTensor(T, B, G, H),
      savedH: history(B, H, T),
      dProjection: unitTensor([T, B, G, H]),
      dH: { shape: [B, H] },
    }));
  type BackwardArrays = { readonly [K in "dOutput" | "savedGates" | "savedH" | "dProjection"]: NumberArray };
  /** One step back, to the gradient of the state before it. */
  const stepBack = (arrays: BackwardArrays, p: ScanParams, t: number, b: number, u: number, later: number): number => {
    const d = arrays.dOutput[at(p, t, b, u)]! + later;
    const [a] = stepOf(read(arrays.savedGates, p, t, b, u));
    gradientsOf(kept, arrays.savedH[at(p, t, b, u)]!, d);
    write(arrays.dProjection, p, t, b, u);
    return a * d;
  };

  const backward = entry({
    ...oneDispatch,
    bindings: backwardBindings,
    variants: variantsOf("backward"),
    reference({ dH, ...arrays }, p) {
      for (let t = p.t; t > p.t - p.count; t--)
        forEachUnit(p, (b, u) => (dH[at(p, 0, b, u)] = stepBack(arrays, p, t, b, u, dH[at(p, 0, b, u)]!)));
    },
    cases: backwardCases(false),
  });

  const backwardEnds = entry({
    ...twoDispatches,
    bindings: backwardBindings,
    reference({ ends, dOutput, savedGates, dH }, p) {
      compose(
        ends,
        p,
        (b, u) => dH[at(p, 0, b, u)]!,
        (done, b, u) => {
          const [a] = stepOf(read(savedGates, p, p.t - done, b, u));
          return [a, a * dOutput[at(p, p.t - done, b, u)]!];
        },
      );
    },
    cases: backwardCases(true),
  });

  const backwardChunks = entry({
    ...twoDispatches,
    bindings: backwardBindings,
    reference({ ends, dH, ...arrays }, p) {
      follow(
        ends,
        p,
        (state, done, b, u) => stepBack(arrays, p, p.t - done, b, u, state),
        (state, b, u) => (dH[at(p, 0, b, u)] = state),
      );
    },
    cases: backwardCases(true),
  });

  const entries = { forward, forwardEnds, forwardChunks, backward, backwardEnds, backwardChunks };
  return defineKernel(name, own, entries, [{ name: "scan", source }]);
}

export type ScanKernel = ReturnType<typeof scanKernel>;

// A cell that is not in the library: IndRNN (Li et al. 2018), h′ = relu(x·W_ihᵀ + b_ih + u ⊙ h), which has no matrix W_hh.
// It stands for every cell that goes another way than the stepped ones, and goes in by the same door.
import type { Cell, Initializer } from "../../src/kernels/cell.ts";
import { makeHistories, recordInitial } from "../../src/kernels/histories.ts";
import { projectInput, recordColumnSums } from "../../src/kernels/input-projection.ts";
import { recordScatter } from "../../src/kernels/rows.ts";
import { gateParameter, gateTensor } from "../../src/kernels/cell.ts";
import { unitTensor } from "../../src/kernels/recurrent.ts";
import { defineKernel, divideUp, entry, type KernelCase } from "../../src/runtime/kernel.ts";
import { pad4 } from "../../src/runtime/tensor.ts";

const source = /* wgsl */ `
struct Params { B: u32, H: u32, t: u32, count: u32, gather: u32 }
@group(0) @binding(0) var<uniform> params: Params;

fn units() -> u32 {
  return (params.H + 3u) / 4u;
}

// ---- forward
@group(0) @binding(1) var<storage, read> xProjection: array<vec4f>; // [R, 1, H]
@group(0) @binding(2) var<storage, read> rows: array<u32>; // [T, B]
@group(0) @binding(3) var<storage, read> u: array<vec4f>; // [H]
@group(0) @binding(4) var<storage, read_write> h: array<vec4f>; // [T + 1, B, H]

@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3u) {
  let n = units();
  let unit = id.x % n;
  let b = id.x / n;
  for (var i = 0u; i < params.count && b < params.B; i++) {
    let cell = (params.t + i) * params.B + b;
    var row = cell;
    if (params.gather != 0u) {
      row = rows[cell];
    }
    let a = xProjection[row * n + unit] + u[unit] * h[cell * n + unit];
    h[(cell + params.B) * n + unit] = keepNaN(max(a, vec4f()), a);
  }
}

// ---- backward
@group(0) @binding(1) var<storage, read> dOutput: array<vec4f>; // [T, B, H]
@group(0) @binding(2) var<storage, read> savedH: array<vec4f>; // [T + 1, B, H]
@group(0) @binding(3) var<storage, read> weight: array<vec4f>; // u [H]
@group(0) @binding(4) var<storage, read_write> dProjection: array<vec4f>; // [T, B, 1, H]
@group(0) @binding(5) var<storage, read_write> dU: array<vec4f>; // [T, B, H]: each step's part
@group(0) @binding(6) var<storage, read_write> dH: array<vec4f>; // [B, H]: from step t + 1, then for t - 1

@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3u) {
  let n = units();
  let unit = id.x % n;
  let b = id.x / n;
  for (var i = 0u; i < params.count && b < params.B; i++) {
    let at = ((params.t - i) * params.B + b) * n + unit;
    let dh = dOutput[at] + dH[b * n + unit];
    let da = select(vec4f(), dh, savedH[at + params.B * n] > vec4f());
    dProjection[at] = da;
    dU[at] = da * savedH[at];
    dH[b * n + unit] = da * weight[unit];
  }
}
`;

const params = { B: "u32", H: "u32", t: "u32", count: "u32", gather: "u32" } as const;
const shared = {
  params,
  workgroups: ({ B, H }: { B: number; H: number }) => [divideUp((B * pad4(H)) / 4, 64)] as const,
  work: ({ B, H, count }: { B: number; H: number; count: number }) => 6 * B * H * count,
};
const cases = (tensors: (B: number, H: number, T: number) => KernelCase["tensors"], direction: 1 | -1): KernelCase[] =>
  [
    [1, 1, 1],
    [3, 5, 2],
    [2, 65, 3],
  ].map(([B, H, T]) => ({
    name: `B=${B} H=${H} T=${T}`,
    params: { B: B!, H: H!, t: direction > 0 ? 0 : T! - 1, count: T!, gather: Number(direction > 0) },
    tensors: tensors(B!, H!, T!),
  }));

const forward = entry({
  ...shared,
  bindings: { xProjection: "read", rows: "read", u: "read", h: "read_write" },
  reference({ xProjection, rows, u, h }, { B, H, t, count, gather }) {
    const n = pad4(H);
    for (let cell = t * B; cell < (t + count) * B; cell++)
      for (let j = 0; j < H; j++) {
        const a = xProjection[(gather ? rows[cell]! : cell) * n + j]! + u[j]! * h[cell * n + j]!;
        h[(cell + B) * n + j] = Math.max(a, 0);
      }
  },
  cases: () =>
    cases(
      (B, H, T) => ({
        xProjection: unitTensor([4, 1, H]),
        rows: { shape: [T, B], dtype: "u32", fill: (i) => (i * 3) % 4 },
        u: { shape: [H] },
        h: { shape: [T + 1, B, H] },
      }),
      1,
    ),
});

const backward = entry({
  ...shared,
  bindings: {
    dOutput: "read",
    savedH: "read",
    weight: "read",
    dProjection: "read_write",
    dU: "read_write",
    dH: "read_write",
  },
  reference({ dOutput, savedH, weight, dProjection, dU, dH }, { B, H, t, count }) {
    const n = pad4(H);
    for (let step = t; step > t - count; step--)
      for (let b = 0; b < B; b++)
        for (let j = 0; j < H; j++) {
          const at = (step * B + b) * n + j;
          const da = savedH[at + B * n]! > 0 ? dOutput[at]! + dH[b * n + j]! : 0;
          dProjection[at] = da;
          dU[at] = da * savedH[at]!;
          dH[b * n + j] = da * weight[j]!;
        }
  },
  cases: () =>
    cases(
      (B, H, T) => ({
        dOutput: { shape: [T, B, H] },
        savedH: { shape: [T + 1, B, H] },
        weight: { shape: [H] },
        dProjection: unitTensor([T, B, 1, H]),
        dU: { shape: [T, B, H] },
        dH: { shape: [B, H] },
      }),
      -1,
    ),
});

export const indrnn = defineKernel("indrnn", source, { forward, backward });

export const indrnnCell: Cell<Record<never, never>> = {
  options: {},
  forms: { indrnn: {} },
  gates: [],
  candidate: () => ({ name: "h", activation: "relu" }),
  states: ({ hiddenSize }) => [{ name: "h", shape: [hiddenSize] }],
  parameters({ hiddenSize: H, bias = true }, input) {
    const uniform: Initializer = { kind: "uniform", bound: 1 / Math.sqrt(H) };
    return [
      gateParameter("weight_ih", [1, H, ...input], uniform),
      { name: "weight_hh", shape: [H], tensor: { name: "weight_hh", shape: [H] }, initializer: { kind: "uniform", bound: 1 } },
      ...(bias ? [gateParameter("bias_ih", [1, H], uniform)] : []),
    ];
  },
  costs: ({ hiddenSize: H }, inputSize) => ({
    inputWork: 2 * H * inputSize,
    stepWork: 3 * H,
    forwardValues: H,
    backwardValues: 3 * H,
  }),
  record(recorder, site) {
    const { name, T, B, config, weights, ends } = site;
    const H = config.hiddenSize;
    const projection = projectInput(recorder, site, 1);
    const { tensors, after, begin, end } = makeHistories(recorder, site, ["h"]);
    const u = weights.weight_hh!;
    const { gather } = projection;
    return {
      output: after,
      tensors,
      forward: {
        begin() {
          begin();
          projection.begin();
        },
        steps(t, count) {
          projection.steps(t, count);
          recorder.dispatch(indrnn.forward, { ...projection.tensors, u, h: tensors.h! }, { B, H, t, count, gather });
        },
        end,
      },
      backward(back, { dOutput, weights: dWeights, inputs, states }) {
        const dProjection = gateTensor(back, `${name}.dProjection`, [T, B, 1, H]);
        const dU = back.tensor({ name: `${name}.dU`, shape: [T, B, H] });
        const dH = back.tensor({ name: `${name}.dH`, shape: [B, H] });
        return {
          begin() {
            back.clear(dH);
            if (states) recordScatter(back, states.final.h!, ends!.finalOutput, dOutput);
          },
          steps(t, count) {
            const all = { dOutput, savedH: tensors.h!, weight: u, dProjection, dU, dH };
            back.dispatch(indrnn.backward, all, { B, H, t, count, gather: 0 });
          },
          end() {
            if (states) recordInitial(back, site, states.initial.h!, dH, states.final.h!);
            if (dWeights) recordColumnSums(back, { tensor: dU, rows: T * B, columns: H }, dWeights.weight_hh!);
            projection.backward(back, dProjection, { weights: dWeights, inputs });
          },
        };
      },
    };
  },
  step: ({ hiddenSize }, { weight_ih: w, weight_hh: u, bias_ih: bias }, x, { h }) => ({
    h: Float64Array.from({ length: hiddenSize }, (_, j) => {
      let a = (bias?.[j] ?? 0) + u![j]! * h![j]!;
      for (let k = 0; k < x.length; k++) a += w![j * x.length + k]! * x[k]!;
      return Math.max(a, 0);
    }),
  }),
};
